/* The thread accepts, reads up to the first HEADERS frame (a client's first stream is number 1), and writes one block
 * of frames over and over until the client goes or h2_origin_stop() cuts the connection. */
#include "tests/support/h2_origin.h"

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
    TYPE_RST_STREAM = 3,
    TYPE_SETTINGS = 4,
    TYPE_PING = 6,
    TYPE_UNKNOWN = 99,
    FLAG_ACK = 1,
    FLAG_END_HEADERS = 4,
    HPACK_STATUS_200 = 0x88, /* RFC 7541 appendix A */
    KEPT_MAX = 16,
    BLOCK_BYTES = 64 * 1024
};

struct h2_origin {
    enum h2_kind kind;
    SSL_CTX *tls;
    int listen_fd;
    uint16_t port;
    pthread_t thread;
    int kept[KEPT_MAX]; /* that stay open after a refusal: the end must not overtake it. The thread's, then the
                           stopper's */
    size_t kept_count;
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

static void put_block(enum h2_kind kind, struct buf *out)
{
    static const char zeros[1024];
    while (out->len < BLOCK_BYTES && !out->failed) {
        switch (kind) {
        case H2_PINGS:
            put_frame(out, TYPE_PING, FLAG_ACK, 0, zeros, 8);
            break;
        case H2_PRIORITY:
            put_frame(out, TYPE_PRIORITY, 0, 1, zeros, 5);
            break;
        case H2_UNKNOWN:
            put_frame(out, TYPE_UNKNOWN, 0, 0, zeros, sizeof zeros);
            break;
        case H2_EMPTY_DATA:
        case H2_REFUSED:
        case H2_KINDS:
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

static void serve(const struct h2_origin *origin, SSL *tls)
{
    static const char status_200 = (char)HPACK_STATUS_200, refused_stream[] = { 0, 0, 0, 7 };
    struct buf begin = BUF_INIT(BLOCK_BYTES), block = BUF_INIT(2 * BLOCK_BYTES);
    size_t ignored;
    put_frame(&begin, TYPE_SETTINGS, 0, 0, "", 0);
    if (origin->kind == H2_EMPTY_DATA)
        put_frame(&begin, TYPE_HEADERS, FLAG_END_HEADERS, 1, &status_200, 1);
    if (origin->kind == H2_REFUSED)
        put_frame(&begin, TYPE_RST_STREAM, 0, 1, refused_stream, sizeof refused_stream);
    put_block(origin->kind, &block);
    bool has_begun = SSL_accept(tls) == 1 && await_request(tls) && !begin.failed && !block.failed &&
                     SSL_write_ex(tls, begin.data, begin.len, &ignored) == 1;
    while (has_begun && origin->kind != H2_REFUSED && SSL_write_ex(tls, block.data, block.len, &ignored) == 1) {
    }
    buf_done(&begin);
    buf_done(&block);
}

/* False: it is over. */
static bool hold(struct h2_origin *origin, int fd)
{
    pthread_mutex_lock(&origin->lock);
    bool goes_on = !origin->is_over;
    origin->fd = fd;
    pthread_mutex_unlock(&origin->lock);
    return goes_on;
}

static void *run(void *user)
{
    struct h2_origin *origin = user;
    int fd;
    while ((fd = accept4(origin->listen_fd, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        SSL *tls = SSL_new(origin->tls);
        if (hold(origin, fd) && tls && SSL_set_fd(tls, fd) == 1)
            serve(origin, tls);
        hold(origin, -1);
        SSL_free(tls);
        if (origin->kind == H2_REFUSED && origin->kept_count < KEPT_MAX)
            origin->kept[origin->kept_count++] = fd;
        else
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

static bool listen_somewhere(struct h2_origin *origin)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof address;
    origin->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (origin->listen_fd < 0 || bind(origin->listen_fd, (const struct sockaddr *)&address, len) != 0 ||
        listen(origin->listen_fd, 16) != 0 || getsockname(origin->listen_fd, (struct sockaddr *)&address, &len) != 0)
        return false;
    origin->port = ntohs(address.sin_port);
    return true;
}

/* Its writes to a connection that has gone must not end the test. */
static bool start_thread(struct h2_origin *origin)
{
    sigset_t pipe, before;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, &before);
    int error = pthread_create(&origin->thread, NULL, run, origin);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error == 0;
}

static void free_origin(struct h2_origin *origin)
{
    while (origin->kept_count)
        close(origin->kept[--origin->kept_count]);
    SSL_CTX_free(origin->tls);
    if (origin->listen_fd >= 0)
        close(origin->listen_fd);
    pthread_mutex_destroy(&origin->lock);
    free(origin);
}

struct h2_origin *h2_origin_start(enum h2_kind kind, const char *pem_path)
{
    struct h2_origin *origin = calloc(1, sizeof *origin);
    if (!origin)
        return NULL;
    origin->kind = kind;
    origin->fd = origin->listen_fd = -1;
    pthread_mutex_init(&origin->lock, NULL);
    origin->tls = new_tls(pem_path);
    if (origin->tls && listen_somewhere(origin) && start_thread(origin))
        return origin;
    free_origin(origin);
    return NULL;
}

void h2_origin_stop(struct h2_origin *origin)
{
    if (!origin)
        return;
    pthread_mutex_lock(&origin->lock);
    origin->is_over = true;
    shutdown(origin->listen_fd, SHUT_RDWR); /* ends the accept */
    if (origin->fd >= 0)
        shutdown(origin->fd, SHUT_RDWR);
    pthread_mutex_unlock(&origin->lock);
    pthread_join(origin->thread, NULL);
    free_origin(origin);
}

uint16_t h2_origin_port(const struct h2_origin *origin) { return origin->port; }
