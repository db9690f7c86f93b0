/* A connection reads until it has a whole request, gets a script for it (origin_reply.h) and plays that: wait, send
 * `first`, send `repeat` as often as asked, send `last`, end. It keeps watching for the client's end meanwhile, so a
 * client that gives up is seen at once and its request no longer counts as in flight. Sockets are level-triggered;
 * bytes that come during a script wait in the buffer for the next request. An idle connection holds no buffer. */
#include "tests/support/origin_conn.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/support/origin_reply.h"

enum {
    READ_STEP = 16384,
    BUFFERED_MAX = ORIGIN_REQUEST_BYTES_MAX + 256 * 1024, /* a body and its head */
    TURNS_PER_EVENT = 8
};

enum conn_state { CONN_READING, CONN_WAITING, CONN_AT_GATE, CONN_SENDING, CONN_SILENT, CONN_HUNG_UP };

struct origin_conn {
    struct timer timer; /* first: on_due gets its address */
    struct origin_loop *loop;
    struct origin_conn *next, *previous; /* of loop->conns; `next` also of loop->dead */
    int fd;
    enum conn_state state;
    bool is_counted; /* as in flight */
    bool is_dead;
    uint32_t events;
    struct buf in;
    struct origin_reply reply;
    size_t sent;                  /* of reply.first */
    enum origin_ending next_ends; /* as in the reply before */
};

static void end_request(struct origin_conn *conn)
{
    if (conn->is_counted)
        atomic_fetch_sub(&conn->loop->in_flight, 1);
    conn->is_counted = false;
    origin_reply_done(&conn->reply);
}

static void begin_request(struct origin_conn *conn)
{
    struct origin_loop *loop = conn->loop;
    atomic_fetch_add(&loop->requests, 1);
    uint32_t now = atomic_fetch_add(&loop->in_flight, 1) + 1;
    conn->is_counted = true;
    for (uint32_t peak = atomic_load(&loop->in_flight_peak); now > peak;)
        if (atomic_compare_exchange_weak(&loop->in_flight_peak, &peak, now))
            break;
}

/* Frees later: events of the same batch may still point to it. */
static void close_conn(struct origin_conn *conn)
{
    struct origin_loop *loop = conn->loop;
    if (conn->is_dead)
        return;
    conn->is_dead = true;
    timers_cancel(&loop->timers, &conn->timer);
    end_request(conn);
    close(conn->fd);
    buf_done(&conn->in);
    if (conn->previous)
        conn->previous->next = conn->next;
    else
        loop->conns = conn->next;
    if (conn->next)
        conn->next->previous = conn->previous;
    conn->next = loop->dead;
    loop->dead = conn;
    atomic_fetch_sub(&loop->open, 1);
}

static void reset_conn(struct origin_conn *conn)
{
    const struct linger now = { .l_onoff = 1, .l_linger = 0 };
    setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close_conn(conn);
}

static void watch(struct origin_conn *conn, uint32_t events)
{
    if (conn->events == events)
        return;
    struct epoll_event event = { .events = events, .data.ptr = conn };
    conn->events = events;
    epoll_ctl(conn->loop->epoll_fd, EPOLL_CTL_MOD, conn->fd, &event);
}

static void play_later(struct origin_conn *conn, uint32_t delay_ms)
{
    conn->state = CONN_WAITING;
    watch(conn, EPOLLIN | EPOLLRDHUP);
    if (!timers_set(&conn->loop->timers, &conn->timer, clock_now_ns() + delay_ms * NS_PER_MS))
        close_conn(conn);
}

static void serve_buffered(struct origin_conn *conn);

static void await_request(struct origin_conn *conn)
{
    struct origin_loop *loop = conn->loop;
    const uint32_t idle_ms = conn->reply.idle_ms;
    end_request(conn);
    conn->next_ends = conn->reply.next_ends;
    conn->state = CONN_READING;
    watch(conn, EPOLLIN | EPOLLRDHUP);
    if (idle_ms && !timers_set(&loop->timers, &conn->timer, clock_now_ns() + idle_ms * NS_PER_MS))
        close_conn(conn);
}

static void hang_up(struct origin_conn *conn)
{
    end_request(conn);
    buf_done(&conn->in);
    conn->state = CONN_HUNG_UP;
    watch(conn, EPOLLIN | EPOLLRDHUP);
    shutdown(conn->fd, SHUT_WR);
}

static void end_script(struct origin_conn *conn)
{
    switch (conn->reply.ending) {
    case ORIGIN_KEEP:
        await_request(conn);
        return;
    case ORIGIN_CLOSE:
        close_conn(conn);
        return;
    case ORIGIN_RESET:
        reset_conn(conn);
        return;
    case ORIGIN_SILENCE:
        conn->state = CONN_SILENT;
        watch(conn, EPOLLIN | EPOLLRDHUP);
        return;
    case ORIGIN_HANG_UP:
        hang_up(conn);
        return;
    }
}

enum progress { SENT_ALL, SENT_A_STEP, SOCKET_FULL, PEER_GONE };

/* Sends what is left of `first`, or one step of it. */
static enum progress send_first(struct origin_conn *conn)
{
    const struct origin_reply *reply = &conn->reply;
    while (conn->sent < reply->first.len) {
        size_t len = reply->first.len - conn->sent;
        if (reply->step_bytes && len > reply->step_bytes)
            len = reply->step_bytes;
        ssize_t sent = send(conn->fd, reply->first.data + conn->sent, len, MSG_NOSIGNAL);
        if (sent < 0)
            return errno == EAGAIN ? SOCKET_FULL : PEER_GONE;
        conn->sent += (size_t)sent;
        if (reply->step_bytes && conn->sent < reply->first.len)
            return SENT_A_STEP;
    }
    return SENT_ALL;
}

static void wait_at_gate(struct origin_conn *conn)
{
    conn->state = CONN_AT_GATE;
    watch(conn, EPOLLIN | EPOLLRDHUP);
}

/* Sends until the script ends, has to wait for its next moment, the socket is full, or others should have a turn. */
static void play(struct origin_conn *conn)
{
    struct origin_reply *reply = &conn->reply;
    conn->state = CONN_SENDING;
    for (unsigned turn = 0; turn < TURNS_PER_EVENT; turn++) {
        switch (send_first(conn)) {
        case SENT_ALL:
            break;
        case SENT_A_STEP:
            play_later(conn, reply->step_ms);
            return;
        case SOCKET_FULL:
            watch(conn, EPOLLOUT | EPOLLRDHUP);
            return;
        case PEER_GONE:
            close_conn(conn);
            return;
        }
        if (reply->body_waits_for_gate && !atomic_load(&conn->loop->is_gate_open)) {
            wait_at_gate(conn);
            return;
        }
        conn->sent = 0;
        if (!origin_reply_refill(reply)) {
            end_script(conn);
            return;
        }
        if (reply->repeat_every_ms) {
            play_later(conn, reply->repeat_every_ms);
            return;
        }
    }
    watch(conn, EPOLLOUT | EPOLLRDHUP);
}

static void play_on(struct origin_conn *conn)
{
    play(conn);
    if (!conn->is_dead && conn->state == CONN_READING)
        serve_buffered(conn);
}

/* Between requests the timer stands for idleness. */
static void on_due(struct timer *timer)
{
    struct origin_conn *conn = (struct origin_conn *)timer;
    if (conn->state == CONN_READING)
        close_conn(conn);
    else
        play_on(conn);
}

void origin_conns_pass_gate(struct origin_loop *loop)
{
    struct origin_conn *next;
    for (struct origin_conn *conn = loop->conns; conn && atomic_load(&loop->is_gate_open); conn = next) {
        next = conn->next; /* playing may close it */
        if (conn->state == CONN_AT_GATE)
            play_on(conn);
    }
}

/* One more request with its key, if it has one. */
static uint64_t see_key(struct origin_loop *loop, const char *target)
{
    struct buf key = BUF_INIT(BUFFERED_MAX);
    uint64_t seen = 1;
    if (origin_query(target, "key", &key) && !key.failed)
        seen = origin_keys_see(loop->keys, key.data ? key.data : "", key.len);
    buf_done(&key);
    return seen;
}

/* Begins the script of the first buffered request, if it is complete. */
static bool begin_script(struct origin_conn *conn)
{
    struct origin_request request;
    size_t len;
    if (conn->in.len == 0)
        return false;
    switch (origin_request_parse(conn->in.data, conn->in.len, &request, &len)) {
    case ORIGIN_PARSE_MORE:
        return false;
    case ORIGIN_PARSE_BAD:
        reset_conn(conn);
        return false;
    case ORIGIN_PARSE_WHOLE:
        break;
    }
    timers_cancel(&conn->loop->timers, &conn->timer);
    begin_request(conn);
    request.seen = see_key(conn->loop, request.target);
    if (conn->next_ends == ORIGIN_KEEP)
        origin_reply_write(&request, &conn->reply);
    else
        conn->reply = (struct origin_reply){ .ending = conn->next_ends };
    conn->sent = 0;
    conn->in.len -= len;
    memmove(conn->in.data, conn->in.data + len, conn->in.len);
    if (conn->in.len == 0)
        buf_done(&conn->in);
    return true;
}

static void serve_buffered(struct origin_conn *conn)
{
    while (!conn->is_dead && conn->state == CONN_READING && begin_script(conn)) {
        if (conn->reply.waits_for_gate && !atomic_load(&conn->loop->is_gate_open))
            wait_at_gate(conn);
        else if (conn->reply.delay_ms)
            play_later(conn, conn->reply.delay_ms);
        else
            play(conn);
    }
}

static void receive(struct origin_conn *conn)
{
    char bytes[READ_STEP] UNINITIALIZED;
    ssize_t got = recvfrom(conn->fd, bytes, sizeof bytes, 0, NULL, NULL);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0) {
        close_conn(conn);
        return;
    }
    if (conn->state == CONN_HUNG_UP)
        return;
    buf_append(&conn->in, bytes, (size_t)got);
    if (conn->in.failed)
        close_conn(conn);
    else
        serve_buffered(conn);
}

void origin_conn_on_event(struct origin_conn *conn, uint32_t events)
{
    if (conn->is_dead)
        return;
    if (events & (EPOLLERR | EPOLLHUP))
        close_conn(conn);
    else if (events & EPOLLOUT)
        play_on(conn);
    else
        receive(conn);
}

void origin_conn_add(struct origin_loop *loop, int fd)
{
    struct origin_conn *conn = calloc(1, sizeof *conn);
    if (!conn) {
        close(fd);
        return;
    }
    const int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    *conn = (struct origin_conn){ .timer.on_due = on_due,
                                  .loop = loop,
                                  .next = loop->conns,
                                  .fd = fd,
                                  .in = BUF_INIT(BUFFERED_MAX),
                                  .events = EPOLLIN | EPOLLRDHUP };
    if (loop->conns)
        loop->conns->previous = conn;
    loop->conns = conn;
    atomic_fetch_add(&loop->connections, 1);
    atomic_fetch_add(&loop->open, 1);
    struct epoll_event event = { .events = conn->events, .data.ptr = conn };
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
        close_conn(conn);
}

void origin_conns_bury(struct origin_loop *loop)
{
    while (loop->dead) {
        struct origin_conn *conn = loop->dead;
        loop->dead = conn->next;
        free(conn);
    }
}

void origin_conns_close(struct origin_loop *loop)
{
    while (loop->conns)
        close_conn(loop->conns);
    origin_conns_bury(loop);
}
