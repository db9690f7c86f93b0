/* The thread accepts, reads up to the first HEADERS frame (a client's first stream is number 1), and writes one block
 * of frames over and over until the client goes or flood_stop() cuts the connection. */
#include "tests/support/flood.h"

#include <netinet/in.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"

enum {
    PREFACE_BYTES = 24,
    FRAME_HEAD_BYTES = 9,
    TYPE_DATA = 0,
    TYPE_HEADERS = 1,
    TYPE_PRIORITY = 2,
    TYPE_SETTINGS = 4,
    TYPE_PING = 6,
    TYPE_UNKNOWN = 99,
    FLAG_ACK = 1,
    FLAG_END_HEADERS = 4,
    HPACK_STATUS_200 = 0x88, /* RFC 7541 appendix A */
    BLOCK_BYTES = 64 * 1024
};

struct flood {
    enum flood_kind kind;
    SSL_CTX *tls;
    int listen_fd;
    uint16_t port;
    pthread_t thread;
    pthread_mutex_t lock; /* guards the rest */
    int fd;               /* of the connection; -1: none */
    bool is_over;
};

static void put_frame(struct buf *out, unsigned type, unsigned flags, unsigned stream, const char *payload, size_t len)
{
    const char head[FRAME_HEAD_BYTES] = {
        (char)(len >> 16), (char)(len >> 8), (char)len, (char)type, (char)flags, 0, 0, (char)(stream >> 8), (char)stream
    };
    buf_append(out, head, sizeof head);
    buf_append(out, payload, len);
}

static void put_block(enum flood_kind kind, struct buf *out)
{
    static const char zeros[1024];
    while (out->len < BLOCK_BYTES && !out->failed) {
        switch (kind) {
        case FLOOD_PINGS:
            put_frame(out, TYPE_PING, FLAG_ACK, 0, zeros, 8);
            break;
        case FLOOD_PRIORITY:
            put_frame(out, TYPE_PRIORITY, 0, 1, zeros, 5);
            break;
        case FLOOD_UNKNOWN:
            put_frame(out, TYPE_UNKNOWN, 0, 0, zeros, sizeof zeros);
            break;
        case FLOOD_EMPTY_DATA:
        case FLOOD_KINDS:
            put_frame(out, TYPE_DATA, 0, 1, zeros, 0);
            break;
        }
    }
}

static bool read_bytes(SSL *tls, void *bytes, size_t len)
{
    for (size_t got = 0, n; got < len; got += n)
        if (SSL_read_ex(tls, (char *)bytes + got, len - got, &n) != 1)
            return false;
    return true;
}

static bool skip_bytes(SSL *tls, size_t len)
{
    char ignored[256];
    for (size_t n; len > 0; len -= n) {
        n = len < sizeof ignored ? len : sizeof ignored;
        if (!read_bytes(tls, ignored, n))
            return false;
    }
    return true;
}

static bool await_request(SSL *tls)
{
    unsigned char head[FRAME_HEAD_BYTES] = { 0 };
    if (!skip_bytes(tls, PREFACE_BYTES))
        return false;
    do {
        if (!read_bytes(tls, head, sizeof head) ||
            !skip_bytes(tls, (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2]))
            return false;
    } while (head[3] != TYPE_HEADERS);
    return true;
}

static void serve(const struct flood *flood, SSL *tls)
{
    static const char status_200 = (char)HPACK_STATUS_200;
    struct buf begin = BUF_INIT(BLOCK_BYTES), block = BUF_INIT(2 * BLOCK_BYTES);
    size_t ignored;
    put_frame(&begin, TYPE_SETTINGS, 0, 0, "", 0);
    if (flood->kind == FLOOD_EMPTY_DATA)
        put_frame(&begin, TYPE_HEADERS, FLAG_END_HEADERS, 1, &status_200, 1);
    put_block(flood->kind, &block);
    bool goes_on = SSL_accept(tls) == 1 && await_request(tls) && !begin.failed && !block.failed &&
                   SSL_write_ex(tls, begin.data, begin.len, &ignored) == 1;
    while (goes_on)
        goes_on = SSL_write_ex(tls, block.data, block.len, &ignored) == 1;
    buf_done(&begin);
    buf_done(&block);
}

/* False: it is over. */
static bool hold(struct flood *flood, int fd)
{
    pthread_mutex_lock(&flood->lock);
    bool goes_on = !flood->is_over;
    flood->fd = fd;
    pthread_mutex_unlock(&flood->lock);
    return goes_on;
}

static void *run(void *user)
{
    struct flood *flood = user;
    int fd;
    while ((fd = accept4(flood->listen_fd, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        SSL *tls = SSL_new(flood->tls);
        if (hold(flood, fd) && tls && SSL_set_fd(tls, fd) == 1)
            serve(flood, tls);
        hold(flood, -1);
        SSL_free(tls);
        close(fd);
    }
    return NULL;
}

static int choose_h2(SSL *tls, const unsigned char **ret_name, unsigned char *ret_len, const unsigned char *offered,
                     unsigned len, void *user)
{
    static const unsigned char h2[] = "\x02h2";
    (void)tls;
    (void)user;
    return SSL_select_next_proto((unsigned char **)(uintptr_t)ret_name, ret_len, h2, sizeof h2 - 1, offered, len) ==
                   OPENSSL_NPN_NEGOTIATED
               ? SSL_TLSEXT_ERR_OK
               : SSL_TLSEXT_ERR_ALERT_FATAL;
}

static SSL_CTX *new_tls(const char *pem_path)
{
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
    if (tls && SSL_CTX_use_certificate_chain_file(tls, pem_path) == 1 &&
        SSL_CTX_use_PrivateKey_file(tls, pem_path, SSL_FILETYPE_PEM) == 1) {
        SSL_CTX_set_alpn_select_cb(tls, choose_h2, NULL);
        return tls;
    }
    SSL_CTX_free(tls);
    return NULL;
}

static bool listen_somewhere(struct flood *flood)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof address;
    flood->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (flood->listen_fd < 0 || bind(flood->listen_fd, (const struct sockaddr *)&address, len) != 0 ||
        listen(flood->listen_fd, 16) != 0 || getsockname(flood->listen_fd, (struct sockaddr *)&address, &len) != 0)
        return false;
    flood->port = ntohs(address.sin_port);
    return true;
}

/* Its writes to a connection that has gone must not end the test. */
static bool start_thread(struct flood *flood)
{
    sigset_t pipe, before;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, &before);
    int error = pthread_create(&flood->thread, NULL, run, flood);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error == 0;
}

static void free_flood(struct flood *flood)
{
    SSL_CTX_free(flood->tls);
    if (flood->listen_fd >= 0)
        close(flood->listen_fd);
    pthread_mutex_destroy(&flood->lock);
    free(flood);
}

struct flood *flood_start(enum flood_kind kind, const char *pem_path)
{
    struct flood *flood = calloc(1, sizeof *flood);
    if (!flood)
        return NULL;
    flood->kind = kind;
    flood->fd = flood->listen_fd = -1;
    pthread_mutex_init(&flood->lock, NULL);
    flood->tls = new_tls(pem_path);
    if (flood->tls && listen_somewhere(flood) && start_thread(flood))
        return flood;
    free_flood(flood);
    return NULL;
}

void flood_stop(struct flood *flood)
{
    if (!flood)
        return;
    pthread_mutex_lock(&flood->lock);
    flood->is_over = true;
    shutdown(flood->listen_fd, SHUT_RDWR); /* ends the accept */
    if (flood->fd >= 0)
        shutdown(flood->fd, SHUT_RDWR);
    pthread_mutex_unlock(&flood->lock);
    pthread_join(flood->thread, NULL);
    free_flood(flood);
}

uint16_t flood_port(const struct flood *flood) { return flood->port; }
