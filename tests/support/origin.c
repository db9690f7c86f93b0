/* The test origin's event loop: one thread, one epoll, one heap of timers; origin_paths.c decides what is said.
 *
 * A connection reads until it has a whole request, gets a script for it and plays that: wait, send `first`, send
 * `repeat` as often as asked, end. It keeps watching for the client's end meanwhile, so a client that gives up is seen
 * at once and its request no longer counts as in flight. Sockets are level-triggered; bytes that come during a script
 * wait in the buffer for the next request. The counters are the only thing other threads see. */
#include "tests/support/origin.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/timers.h"
#include "tests/support/origin_reply.h"

enum {
    REQUEST_BYTES_MAX = 4 << 20,
    READ_STEP = 16384,
    EVENTS_PER_WAIT = 64,
    BACKLOG = 4096,
    REPEATS_PER_SEND = 64,
    TURNS_PER_EVENT = 8
};

struct origin {
    int listen_fd, epoll_fd;
    int wake_fd; /* rings for the two below */
    _Atomic bool is_stopping, is_gate_open;
    uint16_t port;
    pthread_t thread;
    struct timers timers;
    struct conn *conns, *dead;
    _Atomic uint64_t connections, requests;
    _Atomic uint32_t open, in_flight, in_flight_peak;
};

enum conn_state { CONN_READING, CONN_WAITING, CONN_AT_GATE, CONN_SENDING, CONN_SILENT };

struct conn {
    struct timer timer; /* first: on_due gets its address */
    struct origin *origin;
    struct conn *next, *previous; /* of origin->conns; `next` also of origin->dead */
    int fd;
    enum conn_state state;
    bool is_counted; /* as in flight */
    bool is_dead;
    uint32_t events;
    struct buf in;
    struct origin_reply reply;
    size_t sent; /* of reply.first */
};

static void end_request(struct conn *conn)
{
    if (conn->is_counted)
        atomic_fetch_sub(&conn->origin->in_flight, 1);
    conn->is_counted = false;
    buf_done(&conn->reply.first);
}

static void begin_request(struct conn *conn)
{
    struct origin *origin = conn->origin;
    atomic_fetch_add(&origin->requests, 1);
    uint32_t now = atomic_fetch_add(&origin->in_flight, 1) + 1;
    conn->is_counted = true;
    for (uint32_t peak = atomic_load(&origin->in_flight_peak); now > peak;)
        if (atomic_compare_exchange_weak(&origin->in_flight_peak, &peak, now))
            break;
}

/* Frees later: events of the same batch may still point to it. */
static void close_conn(struct conn *conn)
{
    struct origin *origin = conn->origin;
    if (conn->is_dead)
        return;
    conn->is_dead = true;
    timers_cancel(&origin->timers, &conn->timer);
    end_request(conn);
    close(conn->fd);
    buf_done(&conn->in);
    if (conn->previous)
        conn->previous->next = conn->next;
    else
        origin->conns = conn->next;
    if (conn->next)
        conn->next->previous = conn->previous;
    conn->next = origin->dead;
    origin->dead = conn;
    atomic_fetch_sub(&origin->open, 1);
}

static void reset_conn(struct conn *conn)
{
    const struct linger now = { .l_onoff = 1, .l_linger = 0 };
    setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close_conn(conn);
}

static void watch(struct conn *conn, uint32_t events)
{
    if (conn->events == events)
        return;
    struct epoll_event event = { .events = events, .data.ptr = conn };
    conn->events = events;
    epoll_ctl(conn->origin->epoll_fd, EPOLL_CTL_MOD, conn->fd, &event);
}

static void play_later(struct conn *conn, uint32_t delay_ms)
{
    conn->state = CONN_WAITING;
    watch(conn, EPOLLIN | EPOLLRDHUP);
    if (!timers_set(&conn->origin->timers, &conn->timer, clock_now_ns() + delay_ms * NS_PER_MS))
        close_conn(conn);
}

/* Puts the next repetitions in place of what was sent. False: there are none left. */
static bool refill(struct origin_reply *reply)
{
    if (reply->repeat_count == 0)
        return false;
    uint64_t count = reply->repeat_every_ms ? 1 : REPEATS_PER_SEND;
    if (count > reply->repeat_count)
        count = reply->repeat_count;
    buf_clear(&reply->first);
    for (uint64_t i = 0; i < count; i++)
        buf_append(&reply->first, reply->repeat, reply->repeat_len);
    if (reply->repeat_count != UINT64_MAX)
        reply->repeat_count -= count;
    return true;
}

static void serve_buffered(struct conn *conn);

static void end_script(struct conn *conn)
{
    switch (conn->reply.ending) {
    case ORIGIN_KEEP:
        end_request(conn);
        conn->state = CONN_READING;
        watch(conn, EPOLLIN | EPOLLRDHUP);
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
    }
}

/* Sends until the script ends, has to wait for its next moment, the socket is full, or others should have a turn. */
static void play(struct conn *conn)
{
    struct origin_reply *reply = &conn->reply;
    conn->state = CONN_SENDING;
    for (unsigned turn = 0;; turn++) {
        if (turn == TURNS_PER_EVENT) {
            watch(conn, EPOLLOUT | EPOLLRDHUP);
            return;
        }
        while (conn->sent < reply->first.len) {
            ssize_t sent = send(conn->fd, reply->first.data + conn->sent, reply->first.len - conn->sent, MSG_NOSIGNAL);
            if (sent < 0 && errno == EAGAIN) {
                watch(conn, EPOLLOUT | EPOLLRDHUP);
                return;
            }
            if (sent < 0) {
                close_conn(conn);
                return;
            }
            conn->sent += (size_t)sent;
        }
        conn->sent = 0;
        if (!refill(reply))
            break;
        if (reply->repeat_every_ms) {
            play_later(conn, reply->repeat_every_ms);
            return;
        }
    }
    end_script(conn);
}

static void play_on(struct conn *conn)
{
    play(conn);
    if (!conn->is_dead && conn->state == CONN_READING)
        serve_buffered(conn);
}

static void on_due(struct timer *timer) { play_on((struct conn *)timer); }

static void on_wake(struct origin *origin)
{
    eventfd_t ignored;
    eventfd_read(origin->wake_fd, &ignored);
    struct conn *next;
    for (struct conn *conn = origin->conns; conn && atomic_load(&origin->is_gate_open); conn = next) {
        next = conn->next; /* playing may close it */
        if (conn->state == CONN_AT_GATE)
            play_on(conn);
    }
}

static size_t content_length(const char *fields, size_t len)
{
    static const char name[] = "\r\nContent-Length:";
    for (size_t i = 0; i + sizeof name - 1 <= len; i++)
        if (strncasecmp(fields + i, name, sizeof name - 1) == 0)
            return (size_t)strtoul(fields + i + sizeof name - 1, NULL, 10);
    return 0;
}

/* Begins the script of the first buffered request, if it is complete. */
static bool begin_script(struct conn *conn)
{
    char *head_end = conn->in.len ? memmem(conn->in.data, conn->in.len, "\r\n\r\n", 4) : NULL;
    if (!head_end)
        return false;
    char *line_end = memmem(conn->in.data, conn->in.len, "\r\n", 2);
    size_t head_len = (size_t)(head_end - conn->in.data) + 4;
    size_t body_len = content_length(line_end, (size_t)(head_end - line_end));
    char *target = memchr(conn->in.data, ' ', (size_t)(line_end - conn->in.data));
    char *target_end = target ? memchr(target + 1, ' ', (size_t)(line_end - target - 1)) : NULL;
    if (!target_end || body_len > REQUEST_BYTES_MAX) {
        reset_conn(conn);
        return false;
    }
    if (conn->in.len < head_len + body_len)
        return false;
    *target = *target_end = '\0';
    const struct origin_request request = {
        .method = conn->in.data,
        .target = target + 1,
        .fields = line_end + 2,
        .fields_len = head_len - 2 - (size_t)(line_end + 2 - conn->in.data),
        .body = conn->in.data + head_len,
        .body_len = body_len,
    };
    begin_request(conn);
    origin_reply_write(&request, &conn->reply);
    conn->sent = 0;
    conn->in.len -= head_len + body_len;
    memmove(conn->in.data, conn->in.data + head_len + body_len, conn->in.len);
    return true;
}

static void serve_buffered(struct conn *conn)
{
    while (!conn->is_dead && conn->state == CONN_READING && begin_script(conn)) {
        if (conn->reply.waits_for_gate && !atomic_load(&conn->origin->is_gate_open))
            conn->state = CONN_AT_GATE;
        else if (conn->reply.delay_ms)
            play_later(conn, conn->reply.delay_ms);
        else
            play(conn);
    }
}

static void receive(struct conn *conn)
{
    char *room = buf_reserve(&conn->in, READ_STEP);
    ssize_t got = room ? recvfrom(conn->fd, room, READ_STEP, 0, NULL, NULL) : 0;
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0) {
        close_conn(conn);
        return;
    }
    conn->in.len += (size_t)got;
    serve_buffered(conn);
}

static void on_conn_event(struct conn *conn, uint32_t events)
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

static void accept_one(struct origin *origin)
{
    int fd = accept4(origin->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    struct conn *conn = fd < 0 ? NULL : calloc(1, sizeof *conn);
    if (!conn) {
        if (fd >= 0)
            close(fd);
        return;
    }
    const int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    *conn = (struct conn){ .timer.on_due = on_due,
                           .origin = origin,
                           .next = origin->conns,
                           .fd = fd,
                           .in = BUF_INIT(REQUEST_BYTES_MAX + READ_STEP),
                           .events = EPOLLIN | EPOLLRDHUP };
    if (origin->conns)
        origin->conns->previous = conn;
    origin->conns = conn;
    atomic_fetch_add(&origin->connections, 1);
    atomic_fetch_add(&origin->open, 1);
    struct epoll_event event = { .events = conn->events, .data.ptr = conn };
    if (epoll_ctl(origin->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
        close_conn(conn);
}

static void bury_dead(struct origin *origin)
{
    while (origin->dead) {
        struct conn *conn = origin->dead;
        origin->dead = conn->next;
        free(conn);
    }
}

static int wait_ms(const struct origin *origin)
{
    uint64_t due_ns = timers_next(&origin->timers), now_ns = clock_now_ns();
    if (due_ns == CLOCK_NEVER)
        return -1;
    return due_ns <= now_ns ? 0 : (int)((due_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS);
}

static void *run(void *context)
{
    struct origin *origin = context;
    struct epoll_event events[EVENTS_PER_WAIT];
    while (!atomic_load(&origin->is_stopping)) {
        int count = epoll_wait(origin->epoll_fd, events, EVENTS_PER_WAIT, wait_ms(origin));
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == &origin->wake_fd)
                on_wake(origin);
            else if (events[i].data.ptr == &origin->listen_fd)
                accept_one(origin);
            else
                on_conn_event(events[i].data.ptr, events[i].events);
        }
        timers_expire(&origin->timers, clock_now_ns());
        bury_dead(origin);
    }
    while (origin->conns)
        close_conn(origin->conns);
    bury_dead(origin);
    timers_done(&origin->timers);
    return NULL;
}

/* A listening socket, or -1. */
static int listen_on(const char *address, uint16_t port, uint16_t *ret_port)
{
    struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
    struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(port) };
    bool is_v6 = inet_pton(AF_INET6, address, &v6.sin6_addr) == 1;
    if (!is_v6 && inet_pton(AF_INET, address, &v4.sin_addr) != 1)
        return -1;
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } name;
    socklen_t len = is_v6 ? sizeof name.v6 : sizeof name.v4;
    if (is_v6)
        name.v6 = v6;
    else
        name.v4 = v4;
    int fd = socket(is_v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const int one = 1;
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, &name.any, len) != 0 || listen(fd, BACKLOG) != 0 || getsockname(fd, &name.any, &len) != 0) {
        close(fd);
        return -1;
    }
    *ret_port = ntohs(is_v6 ? name.v6.sin6_port : name.v4.sin_port);
    return fd;
}

static bool watch_own(struct origin *origin, int *fd)
{
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = fd };
    return epoll_ctl(origin->epoll_fd, EPOLL_CTL_ADD, *fd, &event) == 0;
}

static void free_origin(struct origin *origin)
{
    if (origin->listen_fd >= 0)
        close(origin->listen_fd);
    if (origin->epoll_fd >= 0)
        close(origin->epoll_fd);
    if (origin->wake_fd >= 0)
        close(origin->wake_fd);
    free(origin);
}

struct origin *origin_start(const char *address, uint16_t port)
{
    struct origin *origin = calloc(1, sizeof *origin);
    if (!origin)
        return NULL;
    origin->listen_fd = listen_on(address, port, &origin->port);
    origin->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    origin->wake_fd = eventfd(0, EFD_CLOEXEC);
    if (origin->listen_fd >= 0 && origin->epoll_fd >= 0 && origin->wake_fd >= 0 &&
        watch_own(origin, &origin->listen_fd) && watch_own(origin, &origin->wake_fd) &&
        pthread_create(&origin->thread, NULL, run, origin) == 0)
        return origin;
    free_origin(origin);
    return NULL;
}

void origin_stop(struct origin *origin)
{
    if (!origin)
        return;
    atomic_store(&origin->is_stopping, true);
    eventfd_write(origin->wake_fd, 1);
    pthread_join(origin->thread, NULL);
    free_origin(origin);
}

void origin_open_gate(struct origin *origin)
{
    atomic_store(&origin->is_gate_open, true);
    eventfd_write(origin->wake_fd, 1);
}

uint16_t origin_port(const struct origin *origin) { return origin->port; }

struct origin_counts origin_get_counts(const struct origin *origin)
{
    return (struct origin_counts){ .connections = atomic_load(&origin->connections),
                                   .requests = atomic_load(&origin->requests),
                                   .open = atomic_load(&origin->open),
                                   .in_flight = atomic_load(&origin->in_flight),
                                   .in_flight_peak = atomic_load(&origin->in_flight_peak) };
}

void origin_reset_peak(struct origin *origin)
{
    atomic_store(&origin->in_flight_peak, atomic_load(&origin->in_flight));
}
