/* The test origin's event loop: one thread, one epoll, one heap of timers. origin_conn.c talks to the clients,
 * origin_paths*.c decide what is said. No event costs more with more connections, but for the opening of the gate. */
#include "tests/support/origin.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/support/origin_conn.h"

enum {
    EVENTS_PER_WAIT = 256,
    BACKLOG = 16384, /* the kernel makes it net.core.somaxconn if that is less */
    ACCEPTS_PER_EVENT = 256,
    ACCEPT_PAUSE_MS = 10,
    WAIT_MS_MAX = 60000
};

struct origin {
    struct timer accept_again; /* first: on_accept_again gets its address; set while there are no descriptors left */
    struct origin_loop loop;
    int listen_fd;
    int wake_fd; /* rings for the gate and for the end */
    _Atomic bool is_stopping;
    uint16_t port;
    pthread_t thread;
};

static void watch_listener(struct origin *origin, uint32_t events)
{
    struct epoll_event event = { .events = events, .data.ptr = &origin->listen_fd };
    epoll_ctl(origin->loop.epoll_fd, EPOLL_CTL_MOD, origin->listen_fd, &event);
}

static void on_accept_again(struct timer *timer) { watch_listener((struct origin *)timer, EPOLLIN); }

/* Without a descriptor for it the next connection would ring for ever: it is left alone for a moment. */
static void accept_some(struct origin *origin)
{
    for (unsigned i = 0; i < ACCEPTS_PER_EVENT; i++) {
        int fd = accept4(origin->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            origin_conn_add(&origin->loop, fd);
            continue;
        }
        if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR &&
            timers_set(&origin->loop.timers, &origin->accept_again, clock_now_ns() + ACCEPT_PAUSE_MS * NS_PER_MS))
            watch_listener(origin, 0);
        return;
    }
}

static int wait_ms(const struct origin *origin)
{
    uint64_t due_ns = timers_next(&origin->loop.timers), now_ns = clock_now_ns();
    if (due_ns == CLOCK_NEVER)
        return -1;
    if (due_ns <= now_ns)
        return 0;
    uint64_t wait_ms = (due_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS;
    return wait_ms < WAIT_MS_MAX ? (int)wait_ms : WAIT_MS_MAX;
}

static void on_wake(struct origin *origin)
{
    eventfd_t ignored;
    eventfd_read(origin->wake_fd, &ignored);
    origin_conns_pass_gate(&origin->loop);
}

static void *run(void *context)
{
    struct origin *origin = context;
    struct epoll_event events[EVENTS_PER_WAIT];
    while (!atomic_load(&origin->is_stopping)) {
        int count = epoll_wait(origin->loop.epoll_fd, events, EVENTS_PER_WAIT, wait_ms(origin));
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == &origin->wake_fd)
                on_wake(origin);
            else if (events[i].data.ptr == &origin->listen_fd)
                accept_some(origin);
            else
                origin_conn_on_event(events[i].data.ptr, events[i].events);
        }
        timers_expire(&origin->loop.timers, clock_now_ns());
        origin_conns_bury(&origin->loop);
    }
    origin_conns_close(&origin->loop);
    timers_done(&origin->loop.timers);
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
    return epoll_ctl(origin->loop.epoll_fd, EPOLL_CTL_ADD, *fd, &event) == 0;
}

static void free_origin(struct origin *origin)
{
    if (origin->listen_fd >= 0)
        close(origin->listen_fd);
    if (origin->loop.epoll_fd >= 0)
        close(origin->loop.epoll_fd);
    if (origin->wake_fd >= 0)
        close(origin->wake_fd);
    origin_keys_free(origin->loop.keys);
    free(origin);
}

struct origin *origin_start(const char *address, uint16_t port)
{
    struct origin *origin = calloc(1, sizeof *origin);
    if (!origin)
        return NULL;
    origin->accept_again.on_due = on_accept_again;
    origin->loop.keys = origin_keys_create();
    origin->listen_fd = listen_on(address, port, &origin->port);
    origin->loop.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    origin->wake_fd = eventfd(0, EFD_CLOEXEC);
    if (origin->loop.keys && origin->listen_fd >= 0 && origin->loop.epoll_fd >= 0 && origin->wake_fd >= 0 &&
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
    atomic_store(&origin->loop.is_gate_open, true);
    eventfd_write(origin->wake_fd, 1);
}

uint64_t origin_requests_with_key(const struct origin *origin, const char *key)
{
    return origin_keys_seen(origin->loop.keys, key, strlen(key));
}

uint16_t origin_port(const struct origin *origin) { return origin->port; }

struct origin_counts origin_get_counts(const struct origin *origin)
{
    return (struct origin_counts){ .connections = atomic_load(&origin->loop.connections),
                                   .requests = atomic_load(&origin->loop.requests),
                                   .open = atomic_load(&origin->loop.open),
                                   .in_flight = atomic_load(&origin->loop.in_flight),
                                   .in_flight_peak = atomic_load(&origin->loop.in_flight_peak) };
}

void origin_reset_peak(struct origin *origin)
{
    atomic_store(&origin->loop.in_flight_peak, atomic_load(&origin->loop.in_flight));
}
