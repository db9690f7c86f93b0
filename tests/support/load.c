/* Each connection is a small state machine; a request's outcome is counted at the one place where it ends (finish()).
 * Timers are not worth a heap here: time-outs are looked for every few milliseconds over all connections. Latencies go
 * into a histogram with buckets of 1/64 of an octave, about 1 % wide. */
#include "tests/support/load.h"

#include <errno.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "tests/support/http_head.h"
#include "tests/support/timing.h"

enum {
    ANSWER_BYTES_MAX = 64 << 20,
    READ_STEP = 65536,
    EVENTS_PER_WAIT = 256,
    SWEEP_MS = 5,
    BUCKETS_PER_OCTAVE = 64,
    BUCKETS = 64 * 40
};

struct load {
    const struct load_config *config;
    struct load_result *result;
    int epoll_fd;
    struct conn *conns;
    uint64_t start_ns, end_ns, next_tick_ns, next_sweep_ns;
    uint64_t latencies[BUCKETS], refusals[BUCKETS];
    unsigned busy;
};

struct conn {
    int fd; /* -1: not connected */
    const char *request;
    size_t request_len, written;
    bool is_busy;             /* a request was sent (at least begun) and has no outcome yet */
    uint64_t sent_ns, due_ns; /* the latter: of the next request */
    uint32_t events;
    struct buf in;
};

static unsigned bucket_of(uint64_t ns)
{
    double octaves = log2((double)(ns | 1));
    unsigned bucket = (unsigned)(octaves * BUCKETS_PER_OCTAVE);
    return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

static double percentile_ms(const uint64_t *latencies, uint64_t count, double share)
{
    uint64_t wanted = (uint64_t)ceil(share * (double)count), seen = 0;
    for (unsigned i = 0; i < BUCKETS; i++) {
        seen += latencies[i];
        if (seen >= wanted && seen > 0)
            return exp2((i + 1.0) / BUCKETS_PER_OCTAVE) / 1e6;
    }
    return 0;
}

static void disconnect(struct conn *conn)
{
    if (conn->fd >= 0)
        close(conn->fd);
    conn->fd = -1;
    buf_clear(&conn->in);
}

/* The one end of every request: `outcome` is the counter that it belongs to. */
static void finish(struct load *load, struct conn *conn, uint64_t *outcome)
{
    (*outcome)++;
    conn->is_busy = false;
    load->busy--;
    if (outcome != &load->result->answered)
        disconnect(conn);
}

static void watch(struct load *load, struct conn *conn, uint32_t events)
{
    struct epoll_event event = { .events = events, .data.ptr = conn };
    if (conn->events != events)
        epoll_ctl(load->epoll_fd, EPOLL_CTL_MOD, conn->fd, &event);
    conn->events = events;
}

static void write_request(struct load *load, struct conn *conn)
{
    while (conn->written < conn->request_len) {
        ssize_t sent = send(conn->fd, conn->request + conn->written, conn->request_len - conn->written,
                            MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EAGAIN) {
            watch(load, conn, EPOLLIN | EPOLLOUT);
            return;
        }
        if (sent < 0)
            return; /* the answer, or the end of the connection, is still to be read */
        conn->written += (size_t)sent;
    }
    watch(load, conn, EPOLLIN);
}

static bool connect_conn(struct load *load, struct conn *conn)
{
    conn->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (conn->fd < 0)
        return false;
    const struct sockaddr_in address = { .sin_family = AF_INET,
                                         .sin_port = htons(load->config->port),
                                         .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    const int one = 1;
    setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = conn };
    conn->events = EPOLLIN;
    if (connect(conn->fd, (const struct sockaddr *)&address, sizeof address) == 0 &&
        epoll_ctl(load->epoll_fd, EPOLL_CTL_ADD, conn->fd, &event) == 0)
        return true;
    disconnect(conn);
    return false;
}

static bool may_start(const struct load *load)
{
    return clock_now_ns() < load->end_ns &&
           (load->config->sent_max == 0 || load->result->sent < load->config->sent_max);
}

static void start_request(struct load *load, struct conn *conn)
{
    uint64_t interval_ns = load->config->interval_us * 1000, now_ns = clock_now_ns();
    if (!may_start(load) || now_ns < conn->due_ns)
        return;
    conn->due_ns = now_ns < conn->due_ns + interval_ns ? conn->due_ns + interval_ns : now_ns;
    if (conn->fd < 0 && !connect_conn(load, conn)) {
        load->result->connect_failures++;
        return;
    }
    conn->is_busy = true;
    conn->written = 0;
    conn->sent_ns = now_ns;
    load->busy++;
    load->result->sent++;
    write_request(load, conn);
}

/* Counts the answer at the start of conn->in if it is complete. */
static void take_answer(struct load *load, struct conn *conn)
{
    struct http_head head;
    enum http_head_verdict verdict = http_head_parse(conn->in.data, conn->in.len, &head);
    if (verdict == HTTP_HEAD_MALFORMED || (verdict == HTTP_HEAD_COMPLETE && (!head.has_length || head.status >= 600))) {
        finish(load, conn, &load->result->malformed);
        return;
    }
    if (verdict == HTTP_HEAD_INCOMPLETE || conn->in.len < head.head_len + head.body_len)
        return;
    if (conn->in.len > head.head_len + head.body_len) {
        finish(load, conn, &load->result->malformed); /* more than was asked for */
        return;
    }
    uint64_t latency_ns = clock_now_ns() - conn->sent_ns;
    load->latencies[bucket_of(latency_ns)]++;
    if (head.status == 503)
        load->refusals[bucket_of(latency_ns)]++;
    if (clock_ms(latency_ns) > load->result->max_ms)
        load->result->max_ms = clock_ms(latency_ns);
    load->result->by_status[head.status]++;
    finish(load, conn, &load->result->answered);
    buf_clear(&conn->in);
    if (head.will_close) {
        load->result->announced_closes++;
        disconnect(conn);
    }
    start_request(load, conn);
}

static void on_readable(struct load *load, struct conn *conn)
{
    char *room = buf_reserve(&conn->in, READ_STEP);
    ssize_t got = room ? recvfrom(conn->fd, room, READ_STEP, MSG_DONTWAIT, NULL, NULL) : 0;
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0) {
        if (conn->is_busy)
            finish(load, conn, &load->result->lost);
        disconnect(conn); /* an idle connection may be closed at any time */
        return;
    }
    conn->in.len += (size_t)got;
    if (conn->is_busy)
        take_answer(load, conn);
    else
        disconnect(conn); /* an answer that nobody asked for: the next request's connection is a new one */
}

/* Time-outs, and connections that stand idle because they were lost. */
static void sweep(struct load *load)
{
    const uint64_t now_ns = clock_now_ns(), timeout_ns = load->config->answer_timeout_ms * NS_PER_MS;
    for (unsigned i = 0; i < load->config->connections; i++) {
        struct conn *conn = &load->conns[i];
        if (conn->is_busy && now_ns - conn->sent_ns > timeout_ns)
            finish(load, conn, &load->result->timed_out);
        if (!conn->is_busy)
            start_request(load, conn);
    }
}

static void run_timed_work(struct load *load)
{
    const uint64_t now_ns = clock_now_ns();
    if (load->config->on_tick && now_ns >= load->next_tick_ns && now_ns < load->end_ns) {
        load->next_tick_ns = now_ns + load->config->tick_ms * NS_PER_MS;
        load->config->on_tick(load->config->context);
    }
    if (now_ns >= load->next_sweep_ns) {
        load->next_sweep_ns = now_ns + (load->config->interval_us > 0 ? 1 : SWEEP_MS) * NS_PER_MS;
        sweep(load);
    }
}

static void run(struct load *load)
{
    struct epoll_event events[EVENTS_PER_WAIT];
    for (unsigned i = 0; i < load->config->connections; i++)
        start_request(load, &load->conns[i]);
    while (load->busy > 0 || may_start(load)) {
        int count = epoll_wait(load->epoll_fd, events, EVENTS_PER_WAIT, 1);
        for (int i = 0; i < count; i++) {
            struct conn *conn = events[i].data.ptr;
            if (conn->fd >= 0 && (events[i].events & EPOLLOUT))
                write_request(load, conn);
            if (conn->fd >= 0 && (events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP)))
                on_readable(load, conn);
        }
        run_timed_work(load);
    }
}

bool load_run(const struct load_config *config, struct load_result *ret_result)
{
    struct load *load = calloc(1, sizeof *load);
    struct conn *conns = calloc(config->connections, sizeof *conns);
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    bool can_run = load && conns && epoll_fd >= 0;
    if (can_run) {
        *ret_result = (struct load_result){ 0 };
        load->config = config;
        load->result = ret_result;
        load->epoll_fd = epoll_fd;
        load->conns = conns;
        for (unsigned i = 0; i < config->connections; i++) {
            const char *request = config->requests[i % config->request_count];
            conns[i] = (struct conn){
                .fd = -1, .request = request, .request_len = strlen(request), .in = BUF_INIT(ANSWER_BYTES_MAX)
            };
        }
        load->start_ns = clock_now_ns();
        for (unsigned i = 0; i < config->connections; i++)
            conns[i].due_ns = load->start_ns + config->interval_us * 1000 * i / config->connections;
        load->end_ns = load->start_ns + config->duration_ms * NS_PER_MS;
        run(load);
        ret_result->elapsed_ms = elapsed_ms(load->start_ns);
        ret_result->p50_ms = percentile_ms(load->latencies, ret_result->answered, 0.5);
        ret_result->p99_ms = percentile_ms(load->latencies, ret_result->answered, 0.99);
        ret_result->refused_p99_ms = percentile_ms(load->refusals, ret_result->by_status[503], 0.99);
        for (unsigned i = 0; i < config->connections; i++) {
            disconnect(&conns[i]);
            buf_done(&conns[i].in);
        }
    }
    if (epoll_fd >= 0)
        close(epoll_fd);
    free(conns);
    free(load);
    return can_run;
}

void load_print(const char *title, const struct load_result *result)
{
    fprintf(stderr, "    %s: sent %llu, answered %llu (", title, (unsigned long long)result->sent,
            (unsigned long long)result->answered);
    for (size_t status = 0; status < 600; status++)
        if (result->by_status[status])
            fprintf(stderr, "%zu: %llu ", status, (unsigned long long)result->by_status[status]);
    fprintf(stderr, "), lost %llu, timed out %llu, malformed %llu; p50 %.2f p99 %.2f max %.2f ms\n",
            (unsigned long long)result->lost, (unsigned long long)result->timed_out,
            (unsigned long long)result->malformed, result->p50_ms, result->p99_ms, result->max_ms);
}
