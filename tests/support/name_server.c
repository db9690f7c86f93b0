/* The test name server's event loop: one thread, one epoll, one heap of timers; name_zone.c decides what is said.
 *
 * A query is answered where it is read: into the UDP socket, or behind what its connection has still to send. A delayed
 * answer waits in a timer of its own, so nobody waits for it, and queries of one connection may be answered out of
 * order. It belongs to its connection and goes with it. Sockets are level-triggered. The zone has its own lock; the
 * flags and the port are the only other things that other threads touch.
 *
 * A datagram that does not fit into a socket's buffer is lost, as everywhere. */
#include "tests/support/name_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/timers.h"
#include "tests/support/name_wire.h"
#include "tests/support/name_zone.h"

enum {
    CONNS_MAX = 1024,   /* more are closed as they come */
    DELAYED_MAX = 8192, /* more are lost */
    FRAME_BYTES_MAX = 2 + NAME_WIRE_MESSAGE_MAX,
    UNSENT_BYTES_MAX = 4 << 20, /* of a connection, which is closed when its client lets more pile up */
    READ_STEP = 16384,
    DATAGRAMS_PER_EVENT = 64,
    UDP_BUFFER_BYTES = 4 << 20, /* for bursts; where the system allows that much */
    EVENTS_PER_WAIT = 64,
    BACKLOG = 1024,
    PORT_TRIES = 100 /* until one is free for UDP and TCP */
};

struct name_server {
    int udp_fd, listen_fd, epoll_fd;
    int wake_fd; /* rings for is_stopping */
    _Atomic bool is_stopping, is_silent;
    uint16_t port;
    pthread_t thread;
    struct name_zone *zone;
    /* the thread's own */
    struct timers timers;
    LIST_HEAD(conn_list, conn) conns, dead;
    LIST_HEAD(delayed_list, delayed) delayed;
    unsigned conn_count, delayed_count;
};

struct conn {
    LIST_ENTRY(conn) link; /* of conns or dead */
    int fd;
    bool is_dead;
    uint32_t events;
    struct buf in, out;
};

/* Where a query came from. */
struct client {
    struct conn *conn;       /* NULL: over UDP, */
    struct sockaddr_in peer; /* from here */
};

struct delayed {
    struct timer timer; /* first: on_due gets its address */
    LIST_ENTRY(delayed) link;
    struct name_server *server;
    struct client client;
    struct buf message;
};

/* ---- answers */

static void drop_delayed(struct name_server *server, struct delayed *delayed)
{
    LIST_REMOVE(delayed, link);
    server->delayed_count--;
    timers_cancel(&server->timers, &delayed->timer);
    buf_done(&delayed->message);
    free(delayed);
}

/* Frees later: events of the same batch may still point to it. */
static void close_conn(struct name_server *server, struct conn *conn)
{
    if (conn->is_dead)
        return;
    conn->is_dead = true;
    struct delayed *next;
    for (struct delayed *delayed = LIST_FIRST(&server->delayed); delayed; delayed = next) {
        next = LIST_NEXT(delayed, link);
        if (delayed->client.conn == conn)
            drop_delayed(server, delayed);
    }
    close(conn->fd);
    buf_done(&conn->in);
    buf_done(&conn->out);
    LIST_REMOVE(conn, link);
    LIST_INSERT_HEAD(&server->dead, conn, link);
    server->conn_count--;
}

static void watch(struct name_server *server, struct conn *conn, uint32_t events)
{
    struct epoll_event event = { .events = events, .data.ptr = conn };
    if (conn->events != events)
        epoll_ctl(server->epoll_fd, EPOLL_CTL_MOD, conn->fd, &event);
    conn->events = events;
}

/* Sends what the socket takes. */
static void flush(struct name_server *server, struct conn *conn)
{
    size_t sent = 0;
    while (sent < conn->out.len) {
        ssize_t count = send(conn->fd, conn->out.data + sent, conn->out.len - sent, MSG_NOSIGNAL);
        if (count < 0 && errno == EAGAIN)
            break;
        if (count < 0) {
            close_conn(server, conn);
            return;
        }
        sent += (size_t)count;
    }
    if (sent > 0) {
        conn->out.len -= sent;
        memmove(conn->out.data, conn->out.data + sent, conn->out.len);
    }
    watch(server, conn, conn->out.len > 0 ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static void deliver(struct name_server *server, const struct client *client, const struct buf *message)
{
    if (!client->conn) {
        sendto(server->udp_fd, message->data, message->len, 0, (const struct sockaddr *)&client->peer,
               sizeof client->peer);
        return;
    }
    struct buf *out = &client->conn->out;
    const uint8_t length[] = { (uint8_t)(message->len >> 8), (uint8_t)message->len };
    buf_append(out, length, sizeof length);
    buf_append(out, message->data, message->len);
    if (out->failed)
        close_conn(server, client->conn);
    else
        flush(server, client->conn);
}

static void on_due(struct timer *timer)
{
    struct delayed *delayed = (struct delayed *)timer;
    struct name_server *server = delayed->server;
    struct client client = delayed->client;
    struct buf message = delayed->message;
    delayed->message = BUF_INIT(0);
    drop_delayed(server, delayed); /* before delivery, which may close the connection and drop all that wait for it */
    if (!atomic_load(&server->is_silent))
        deliver(server, &client, &message);
    buf_done(&message);
}

/* Takes the message over. */
static void deliver_later(struct name_server *server, const struct client *client, struct name_reply *reply)
{
    struct delayed *delayed = server->delayed_count < DELAYED_MAX ? calloc(1, sizeof *delayed) : NULL;
    if (!delayed)
        return;
    *delayed =
        (struct delayed){ .timer.on_due = on_due, .server = server, .client = *client, .message = reply->message };
    reply->message = BUF_INIT(0);
    LIST_INSERT_HEAD(&server->delayed, delayed, link);
    server->delayed_count++;
    if (!timers_set(&server->timers, &delayed->timer, clock_now_ns() + reply->delay_ms * NS_PER_MS))
        drop_delayed(server, delayed);
}

static void serve(struct name_server *server, const struct client *client, const uint8_t *query, size_t len)
{
    struct name_reply reply;
    bool answers = name_zone_answer(server->zone, query, len, client->conn == NULL, &reply);
    if (answers && !atomic_load(&server->is_silent)) {
        if (reply.delay_ms > 0)
            deliver_later(server, client, &reply);
        else
            deliver(server, client, &reply.message);
    }
    buf_done(&reply.message);
}

/* ---- queries */

static void receive_datagrams(struct name_server *server)
{
    for (unsigned i = 0; i < DATAGRAMS_PER_EVENT; i++) {
        uint8_t query[4096];
        struct client client = { .conn = NULL };
        socklen_t peer_len = sizeof client.peer;
        ssize_t len = recvfrom(server->udp_fd, query, sizeof query, 0, (struct sockaddr *)&client.peer, &peer_len);
        if (len < 0)
            return;
        serve(server, &client, query, (size_t)len);
    }
}

static void serve_frames(struct name_server *server, struct conn *conn)
{
    const struct client client = { .conn = conn };
    size_t at = 0;
    while (!conn->is_dead && conn->in.len - at >= 2) {
        const uint8_t *frame = (const uint8_t *)conn->in.data + at;
        size_t len = (size_t)frame[0] << 8 | frame[1];
        if (conn->in.len - at - 2 < len)
            break;
        at += 2 + len;
        serve(server, &client, frame + 2, len);
    }
    if (conn->is_dead || at == 0)
        return;
    conn->in.len -= at;
    memmove(conn->in.data, conn->in.data + at, conn->in.len);
}

static void receive(struct name_server *server, struct conn *conn)
{
    char *room = buf_reserve(&conn->in, READ_STEP);
    ssize_t got = room ? recvfrom(conn->fd, room, READ_STEP, 0, NULL, NULL) : 0;
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0) {
        close_conn(server, conn);
        return;
    }
    conn->in.len += (size_t)got;
    serve_frames(server, conn);
}

static void on_conn_event(struct name_server *server, struct conn *conn, uint32_t events)
{
    if (!conn->is_dead && events & (EPOLLERR | EPOLLHUP))
        close_conn(server, conn);
    if (!conn->is_dead && events & EPOLLOUT)
        flush(server, conn);
    if (!conn->is_dead && events & EPOLLIN)
        receive(server, conn);
}

static void accept_one(struct name_server *server)
{
    int fd = accept4(server->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    struct conn *conn = fd >= 0 && server->conn_count < CONNS_MAX ? calloc(1, sizeof *conn) : NULL;
    if (!conn) {
        if (fd >= 0)
            close(fd);
        return;
    }
    const int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    *conn = (struct conn){
        .fd = fd, .events = EPOLLIN, .in = BUF_INIT(FRAME_BYTES_MAX + READ_STEP), .out = BUF_INIT(UNSENT_BYTES_MAX)
    };
    LIST_INSERT_HEAD(&server->conns, conn, link);
    server->conn_count++;
    struct epoll_event event = { .events = conn->events, .data.ptr = conn };
    if (epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
        close_conn(server, conn);
}

/* ---- the thread */

static void bury_dead(struct name_server *server)
{
    while (!LIST_EMPTY(&server->dead)) {
        struct conn *conn = LIST_FIRST(&server->dead);
        LIST_REMOVE(conn, link);
        free(conn);
    }
}

static int wait_ms(const struct name_server *server)
{
    uint64_t due_ns = timers_next(&server->timers), now_ns = clock_now_ns();
    if (due_ns == CLOCK_NEVER)
        return -1;
    return due_ns <= now_ns ? 0 : (int)((due_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS);
}

static void *run(void *context)
{
    struct name_server *server = context;
    struct epoll_event events[EVENTS_PER_WAIT];
    while (!atomic_load(&server->is_stopping)) {
        int count = epoll_wait(server->epoll_fd, events, EVENTS_PER_WAIT, wait_ms(server));
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == &server->udp_fd)
                receive_datagrams(server);
            else if (events[i].data.ptr == &server->listen_fd)
                accept_one(server);
            else if (events[i].data.ptr != &server->wake_fd) /* who rings that one wants the loop to end */
                on_conn_event(server, events[i].data.ptr, events[i].events);
        }
        timers_expire(&server->timers, clock_now_ns());
        bury_dead(server);
    }
    while (!LIST_EMPTY(&server->conns))
        close_conn(server, LIST_FIRST(&server->conns));
    bury_dead(server);
    while (!LIST_EMPTY(&server->delayed))
        drop_delayed(server, LIST_FIRST(&server->delayed));
    timers_done(&server->timers);
    return NULL;
}

/* ---- start and stop */

/* A socket bound to the address, or -1. */
static int bind_to(const struct sockaddr_in *address, int type)
{
    int fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const int one = 1, bytes = UDP_BUFFER_BYTES;
    if (fd < 0)
        return -1;
    if (type == SOCK_STREAM) /* or the connections of an earlier server keep the port for a minute */
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    else if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) != 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
    if (bind(fd, (const struct sockaddr *)address, sizeof *address) == 0 &&
        (type != SOCK_STREAM || listen(fd, BACKLOG) == 0))
        return fd;
    close(fd);
    return -1;
}

/* Opens both sockets. The system picks the port by what TCP has free; UDP may object. */
static bool bind_both(struct name_server *server, struct sockaddr_in *address)
{
    socklen_t len = sizeof *address;
    server->listen_fd = bind_to(address, SOCK_STREAM);
    if (server->listen_fd >= 0 && getsockname(server->listen_fd, (struct sockaddr *)address, &len) == 0)
        server->udp_fd = bind_to(address, SOCK_DGRAM);
    if (server->udp_fd < 0 && server->listen_fd >= 0) {
        close(server->listen_fd);
        server->listen_fd = -1;
    }
    server->port = ntohs(address->sin_port);
    return server->udp_fd >= 0;
}

static bool bind_somewhere(struct name_server *server, const char *address, uint16_t port)
{
    struct sockaddr_in wanted = { .sin_family = AF_INET, .sin_port = htons(port) };
    if (inet_pton(AF_INET, address, &wanted.sin_addr) != 1)
        return false;
    for (unsigned tries = port ? 1 : PORT_TRIES; tries > 0; tries--) {
        struct sockaddr_in bound = wanted;
        if (bind_both(server, &bound))
            return true;
    }
    return false;
}

static bool watch_own(struct name_server *server, int *fd)
{
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = fd };
    return epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, *fd, &event) == 0;
}

static void free_server(struct name_server *server)
{
    const int fds[] = { server->udp_fd, server->listen_fd, server->epoll_fd, server->wake_fd };
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        if (fds[i] >= 0)
            close(fds[i]);
    name_zone_free(server->zone);
    free(server);
}

struct name_server *name_server_start(const char *address, uint16_t port)
{
    struct name_server *server = calloc(1, sizeof *server);
    if (!server)
        return NULL;
    server->udp_fd = server->listen_fd = -1;
    server->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    server->wake_fd = eventfd(0, EFD_CLOEXEC);
    server->zone = name_zone_new();
    if (server->epoll_fd >= 0 && server->wake_fd >= 0 && server->zone && bind_somewhere(server, address, port) &&
        watch_own(server, &server->udp_fd) && watch_own(server, &server->listen_fd) &&
        watch_own(server, &server->wake_fd) && pthread_create(&server->thread, NULL, run, server) == 0)
        return server;
    free_server(server);
    return NULL;
}

void name_server_stop(struct name_server *server)
{
    if (!server)
        return;
    atomic_store(&server->is_stopping, true);
    eventfd_write(server->wake_fd, 1);
    pthread_join(server->thread, NULL);
    free_server(server);
}

uint16_t name_server_port(const struct name_server *server) { return server->port; }

/* ---- the zone's share */

bool name_server_add(struct name_server *server, const char *name, enum name_type type, const char *value,
                     uint32_t ttl_s)
{
    return name_zone_add(server->zone, name, type, value, ttl_s);
}

bool name_server_behave(struct name_server *server, const char *name, enum name_behaviour behaviour, uint32_t parameter)
{
    return name_zone_behave(server->zone, name, behaviour, parameter);
}

void name_server_clear(struct name_server *server, const char *name) { name_zone_clear(server->zone, name); }

void name_server_set_silent(struct name_server *server, bool is_silent) { atomic_store(&server->is_silent, is_silent); }

uint64_t name_server_queries(struct name_server *server, const char *name)
{
    return name_zone_queries(server->zone, name);
}

uint64_t name_server_total_queries(struct name_server *server) { return name_zone_total_queries(server->zone); }
