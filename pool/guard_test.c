/* guard_test: a loop of its own, a canary in it, and one transfer after the other. */
#include "pool/guard_test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "pool/transfer.h"

enum { TIMEOUT_MS = 2000, URL_SIZE = 64 };

struct lab {
    struct curl_loop loop;
    struct resolver *resolver;
    struct egress_policy policy;
    struct memory_budget memory;
    struct transfer_env env;
    struct transfer *transfer;
    struct ledger ledger;
    bool has_ended;
    int listen_fd, peer_fd; /* the canary; -1: none */
    uint16_t port;
    unsigned accepted, requests;
};

/* ---- the canary */

static void on_request(void *user, int fd, uint32_t events)
{
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    struct lab *lab = user;
    char bytes[2048];
    (void)events;
    ssize_t n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n > 0) {
        lab->requests++;
        n = send(fd, answer, sizeof answer - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    if (n > 0)
        return;
    bool ignored = curl_loop_watch(&lab->loop, fd, 0, on_request, lab);
    (void)ignored;
}

static void on_connection(void *user, int fd, uint32_t events)
{
    struct lab *lab = user;
    (void)events;
    int peer = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (peer < 0)
        return;
    lab->accepted++;
    if (lab->peer_fd >= 0)
        close(lab->peer_fd);
    lab->peer_fd = peer;
    bool ignored = curl_loop_watch(&lab->loop, peer, EPOLLIN, on_request, lab);
    (void)ignored;
}

static bool open_canary(struct lab *lab)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof address;
    lab->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (lab->listen_fd < 0 || bind(lab->listen_fd, (const struct sockaddr *)&address, len) != 0 ||
        listen(lab->listen_fd, 8) != 0 || getsockname(lab->listen_fd, (struct sockaddr *)&address, &len) != 0)
        return false;
    lab->port = ntohs(address.sin_port);
    return curl_loop_watch(&lab->loop, lab->listen_fd, EPOLLIN, on_connection, lab);
}

/* ---- the transfers */

static void on_end(struct transfer *transfer)
{
    struct lab *lab = transfer_user(transfer);
    lab->has_ended = true;
}

static void on_awake(void *user) { (void)user; }

static void harvest(struct lab *lab)
{
    CURL *easy;
    CURLcode code;
    while ((easy = curl_loop_next_done(&lab->loop, &code)) != NULL)
        transfer_done(easy, code);
}

static void turn(struct lab *lab)
{
    curl_loop_run_due(&lab->loop);
    harvest(lab);
    curl_loop_wait(&lab->loop, !lab->has_ended, on_awake, NULL);
    harvest(lab);
}

/* Returns how it ended. */
static enum status fetch(struct lab *lab, const char *host)
{
    char url[URL_SIZE];
    snprintf(url, sizeof url, "http://%s:%u/", host, lab->port);
    struct fetch_item item = { .url = url,
                               .timeout_ms = TIMEOUT_MS,
                               .dns_timeout_ms = TIMEOUT_MS,
                               .connect_timeout_ms = TIMEOUT_MS,
                               .tls_timeout_ms = TIMEOUT_MS,
                               .first_byte_timeout_ms = TIMEOUT_MS };
    struct call_share call = { .body_bytes_max = SIZE_MAX };
    struct transfer_spec spec = { .item = &item,
                                  .call = &call,
                                  .deadline_ns = clock_now_ns() + TIMEOUT_MS * NS_PER_MS,
                                  .attempt = 1,
                                  .ledger = &lab->ledger,
                                  .user = lab };
    lab->has_ended = !transfer_start(lab->transfer, &spec);
    while (!lab->has_ended)
        turn(lab);
    enum status status = transfer_outcome(lab->transfer)->status;
    transfer_recycle(lab->transfer);
    ledger_clear(&lab->ledger);
    turn(lab); /* whatever may still be under way to the canary */
    return status;
}

static void allow_loopback(struct lab *lab, bool is_allowed)
{
    const char *message;
    bool ignored = egress_cidrs_parse(is_allowed ? "127.0.0.0/8" : "", &lab->policy.allow, &message);
    (void)ignored; /* it is right */
}

/* ---- the test */

static enum guard_result run(struct lab *lab, const char **ret_what)
{
    *ret_what = "every check together";
    if (fetch(lab, "127.0.0.1") != ST_BLOCKED_ADDRESS || lab->accepted > 0)
        return GUARD_BROKEN;
    *ret_what = "the check of an address before it is connected to (CURLOPT_OPENSOCKETFUNCTION)";
    lab->env.skips_url_check = true;
    if (fetch(lab, "127.0.0.1") != ST_BLOCKED_ADDRESS || fetch(lab, "localhost") != ST_BLOCKED_ADDRESS ||
        lab->accepted > 0)
        return GUARD_BROKEN;
    allow_loopback(lab, true);
    *ret_what = "the canary";
    if (fetch(lab, "localhost") != ST_OK || lab->requests != 1)
        return GUARD_UNTESTED;
    allow_loopback(lab, false);
    *ret_what = "the check of a kept connection (CURLOPT_PREREQFUNCTION)";
    return fetch(lab, "localhost") == ST_BLOCKED_ADDRESS && lab->accepted == 1 && lab->requests == 1 ? GUARD_HOLDS
                                                                                                     : GUARD_BROKEN;
}

static void set_up(struct lab *lab)
{
    lab->memory.max = 1 << 20;
    lab->env = (struct transfer_env){ .loop = &lab->loop,
                                      .resolver = lab->resolver,
                                      .policy = &lab->policy,
                                      .memory = &lab->memory,
                                      .user_agent_line = "User-Agent: twinpool guard test",
                                      .on_end = on_end };
    TAILQ_INIT(&lab->env.paused);
    lab->transfer = transfer_new(&lab->env);
}

enum guard_result guard_test_run(const char **ret_what)
{
    struct lab lab = { .listen_fd = -1, .peer_fd = -1 };
    enum guard_result result = GUARD_UNTESTED;
    *ret_what = "no memory or descriptors";
    if (!curl_loop_init(&lab.loop, 8))
        return result;
    curl_loop_bind(&lab.loop);
    lab.resolver = resolver_new(&lab.loop, "");
    if (lab.resolver)
        set_up(&lab);
    if (lab.transfer && !open_canary(&lab))
        *ret_what = "there is no loopback interface";
    else if (lab.transfer)
        result = run(&lab, ret_what);
    transfer_free(lab.transfer);
    ledger_done(&lab.ledger);
    resolver_free(lab.resolver);
    curl_loop_done(&lab.loop);
    curl_loop_bind(NULL);
    if (lab.listen_fd >= 0)
        close(lab.listen_fd);
    if (lab.peer_fd >= 0)
        close(lab.peer_fd);
    return result;
}
