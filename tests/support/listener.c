/* One thread that polls: fds[0] is the bell that stops it, fds[1] the listening socket, the rest are connections it
 * keeps. They belong to the thread from its start to its end; the lock guards only the count, and holds it together
 * with the queue of the listening socket: under the lock, a connection either waits in the queue or is counted.
 *
 * LISTENER_NO_ACCEPT has no thread. Linux lets one connection more than the backlog into the queue and drops every SYN
 * once the queue is full, so the listener connects to itself until a connect hangs, and keeps those sockets. */
#include "tests/support/listener.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/support/timing.h"

enum {
    BACKLOG = 1024,
    FILLERS_MAX = 16,
    FILLER_WAIT_MS = 100, /* on the loopback a handshake is over when connect() returns, or never will be */
    COUNT_WAIT_MS = 1000
};

enum { BELL, LISTENING, FIRST_CONNECTION }; /* places in fds */

struct listener {
    enum listener_kind kind;
    uint16_t port;
    pthread_t thread; /* not of LISTENER_NO_ACCEPT */
    int bell_fd, listen_fd;
    struct pollfd fds[FIRST_CONNECTION + LISTENER_OPEN_MAX];
    size_t fd_count;
    int fillers[FILLERS_MAX]; /* of LISTENER_NO_ACCEPT */
    size_t filler_count;
    pthread_mutex_t lock; /* guards `accepted` and accept() */
    uint64_t accepted;
};

static void close_with_reset(int fd)
{
    const struct linger now = { .l_onoff = 1, .l_linger = 0 };
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(fd);
}

/* False: the connection is not to be kept. */
static bool greet(enum listener_kind kind, int fd)
{
    char garbage[LISTENER_GARBAGE_BYTES];
    switch (kind) {
    case LISTENER_GARBAGE:
        memset(garbage, 'g', sizeof garbage);
        return send(fd, garbage, sizeof garbage, MSG_NOSIGNAL) == (ssize_t)sizeof garbage;
    case LISTENER_CLOSE: /* not close(): the bytes that a client sends afterwards would be answered with a reset */
        return shutdown(fd, SHUT_WR) == 0;
    case LISTENER_SILENT:
        return true;
    case LISTENER_RESET:
    case LISTENER_NO_ACCEPT:
        break;
    }
    return false;
}

static void accept_one(struct listener *listener)
{
    pthread_mutex_lock(&listener->lock);
    int fd = accept4(listener->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0)
        listener->accepted++;
    pthread_mutex_unlock(&listener->lock);
    if (fd < 0)
        return;
    if (listener->fd_count == ARRAY_LEN(listener->fds) || !greet(listener->kind, fd))
        close_with_reset(fd);
    else
        listener->fds[listener->fd_count++] = (struct pollfd){ .fd = fd, .events = POLLIN };
}

/* Reads and forgets. True: the client has ended the connection. */
static bool is_over(int fd)
{
    char ignored[4096];
    ssize_t got = recv(fd, ignored, sizeof ignored, 0);
    return got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR);
}

static void *run(void *context)
{
    struct listener *listener = context;
    struct pollfd *fds = listener->fds;
    for (;;) {
        if (poll(fds, listener->fd_count, -1) < 0)
            continue;
        if (fds[BELL].revents)
            break;
        for (size_t i = listener->fd_count; i-- > FIRST_CONNECTION;) {
            if (fds[i].revents && is_over(fds[i].fd)) {
                close(fds[i].fd);
                fds[i] = fds[--listener->fd_count];
            }
        }
        if (fds[LISTENING].revents)
            accept_one(listener);
    }
    while (listener->fd_count > FIRST_CONNECTION)
        close(fds[--listener->fd_count].fd);
    return NULL;
}

union name {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/* Its own name: the address with the port that was picked. */
static socklen_t get_name(int fd, union name *ret_name)
{
    socklen_t len = sizeof *ret_name;
    return getsockname(fd, &ret_name->any, &len) == 0 ? len : 0;
}

/* A listening socket, or -1. */
static int listen_on(const char *address, uint16_t port, int backlog)
{
    const struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM };
    struct addrinfo *found;
    char digits[8];
    snprintf(digits, sizeof digits, "%u", (unsigned)port);
    if (getaddrinfo(address, digits, &hints, &found) != 0)
        return -1;
    const int one = 1;
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
                    bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, backlog) != 0)) {
        close(fd);
        fd = -1;
    }
    freeaddrinfo(found);
    return fd;
}

/* True once a connect hangs. */
static bool fill_queue(struct listener *listener)
{
    union name name;
    socklen_t len = get_name(listener->listen_fd, &name);
    while (listener->filler_count < FILLERS_MAX) {
        int fd = socket(name.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0)
            return false;
        listener->fillers[listener->filler_count++] = fd;
        if (connect(fd, &name.any, len) != 0 && errno != EINPROGRESS)
            return false;
        struct pollfd connecting = { .fd = fd, .events = POLLOUT };
        if (poll(&connecting, 1, FILLER_WAIT_MS) == 0)
            return true;
    }
    return false;
}

static bool start_thread(struct listener *listener)
{
    listener->fds[BELL] = (struct pollfd){ .fd = listener->bell_fd, .events = POLLIN };
    listener->fds[LISTENING] = (struct pollfd){ .fd = listener->listen_fd, .events = POLLIN };
    listener->fd_count = FIRST_CONNECTION;
    return pthread_create(&listener->thread, NULL, run, listener) == 0;
}

static void free_listener(struct listener *listener)
{
    while (listener->filler_count)
        close(listener->fillers[--listener->filler_count]);
    if (listener->listen_fd >= 0)
        close(listener->listen_fd);
    if (listener->bell_fd >= 0)
        close(listener->bell_fd);
    pthread_mutex_destroy(&listener->lock);
    free(listener);
}

struct listener *listener_start(enum listener_kind kind, const char *address, uint16_t port)
{
    struct listener *listener = calloc(1, sizeof *listener);
    if (!listener)
        return NULL;
    listener->kind = kind;
    pthread_mutex_init(&listener->lock, NULL);
    listener->bell_fd = eventfd(0, EFD_CLOEXEC);
    listener->listen_fd = listen_on(address, port, kind == LISTENER_NO_ACCEPT ? 0 : BACKLOG);
    union name name;
    if (listener->bell_fd >= 0 && listener->listen_fd >= 0 && get_name(listener->listen_fd, &name) > 0) {
        listener->port = ntohs(name.any.sa_family == AF_INET6 ? name.v6.sin6_port : name.v4.sin_port);
        if (kind == LISTENER_NO_ACCEPT ? fill_queue(listener) : start_thread(listener))
            return listener;
    }
    free_listener(listener);
    return NULL;
}

void listener_stop(struct listener *listener)
{
    if (!listener)
        return;
    if (listener->kind != LISTENER_NO_ACCEPT) {
        eventfd_write(listener->bell_fd, 1);
        pthread_join(listener->thread, NULL);
    }
    free_listener(listener);
}

uint16_t listener_port(const struct listener *listener) { return listener->port; }

struct count {
    struct listener *listener;
    uint64_t accepted;
};

/* True if nobody waits in the queue, so that the count is whole. */
static bool has_counted_all(void *context)
{
    struct count *count = context;
    struct listener *listener = count->listener;
    struct pollfd queue = { .fd = listener->listen_fd, .events = POLLIN };
    pthread_mutex_lock(&listener->lock);
    bool is_empty = poll(&queue, 1, 0) == 0;
    count->accepted = listener->accepted;
    pthread_mutex_unlock(&listener->lock);
    return is_empty;
}

uint64_t listener_accepted(struct listener *listener)
{
    struct count count = { .listener = listener };
    if (listener->kind == LISTENER_NO_ACCEPT)
        return 0;
    (void)!wait_until(has_counted_all, &count, scaled_ms(COUNT_WAIT_MS)); /* late: what there is, is told */
    return count.accepted;
}
