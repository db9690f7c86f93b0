#include "service/linger.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

enum { DISCARD_BYTES = 64 * 1024 };

struct linger_socket {
    struct watch watch;
    struct loop *loop;
    struct linger_socket *next, *previous;
    int fd;
    uint64_t due_ns;
};

static void finish(struct linger_socket *socket)
{
    struct loop *loop = socket->loop;
    if (socket->previous != NULL)
        socket->previous->next = socket->next;
    else
        loop->lingering = socket->next;
    if (socket->next != NULL)
        socket->next->previous = socket->previous;
    loop->lingering_count--;
    /* it may be a copy of a descriptor that libmicrohttpd has not closed yet: then closing it alone would leave it in
     * the epoll set, and its next event would come here */
    epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, socket->fd, NULL);
    close(socket->fd);
    free(socket);
}

static void discard(struct watch *watch, uint32_t events)
{
    struct linger_socket *socket = (struct linger_socket *)(void *)watch;
    static _Thread_local char bytes[DISCARD_BYTES];
    ssize_t n = recv(socket->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR) || (events & (EPOLLERR | EPOLLHUP)))
        finish(socket);
}

void linger_start(struct loop *loop, int fd)
{
    struct linger_socket *socket = loop->lingering_count < LINGER_MAX ? malloc(sizeof *socket) : NULL;
    shutdown(fd, SHUT_WR);
    if (socket == NULL) {
        close(fd);
        return;
    }
    *socket = (struct linger_socket){ .watch.on_event = discard,
                                      .loop = loop,
                                      .fd = fd,
                                      .next = loop->lingering,
                                      .due_ns = clock_now_ns() + LINGER_MS * NS_PER_MS };
    if (socket->next != NULL)
        socket->next->previous = socket;
    loop->lingering = socket;
    loop->lingering_count++;
    if (!loop_watch(loop, fd, EPOLLIN, &socket->watch))
        finish(socket);
}

void linger_sweep(struct loop *loop, uint64_t now_ns)
{
    for (struct linger_socket *socket = loop->lingering, *next; socket != NULL; socket = next) {
        next = socket->next;
        if (now_ns >= socket->due_ns)
            finish(socket);
    }
}
