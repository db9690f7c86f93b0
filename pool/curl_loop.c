/* curl_loop: curl_multi_socket_action() on epoll.
 *
 * Why not curl_multi_poll(): it hands the kernel every descriptor at every wake-up, which costs twice the CPU per
 * transfer at 5,000 (docs/architecture.md has the figures). Plain socket actions in turn lose to poll at 64 transfers,
 * because libcurl gives up a socket at the end of each request and asks for it again at the start of the next: two
 * epoll_ctl calls each. So a socket that we opened stays registered for reading while its connection idles in libcurl's
 * cache; the request that reuses it finds it in place. If an idle one becomes readable (the peer closed it) it is taken
 * out, and libcurl sees the end when it next considers reuse. libcurl's own descriptors (its resolver's) are closed
 * without telling us and are never kept. */
#include "pool/curl_loop.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

enum { EVENTS_PER_WAIT = 128, SOCKETS_AT_FIRST = 256 };

struct watched_socket {
    uint32_t registered; /* epoll events the kernel has, 0: not registered */
    uint32_t wanted;     /* what libcurl asked for, 0: nothing */
    bool is_ours;        /* opened by curl_loop_open_socket(), so its close is seen too */
};

static struct watched_socket *find_socket(struct curl_loop *loop, int fd)
{
    size_t index = (size_t)fd;
    if (fd >= 0 && index < loop->socket_count)
        return &loop->sockets[index];
    size_t count = loop->socket_count ? loop->socket_count : SOCKETS_AT_FIRST;
    while (count <= index)
        count *= 2;
    struct watched_socket *grown = realloc(loop->sockets, count * sizeof *grown);
    if (!grown)
        return NULL;
    memset(grown + loop->socket_count, 0, (count - loop->socket_count) * sizeof *grown);
    loop->sockets = grown;
    loop->socket_count = count;
    return &loop->sockets[index];
}

static void unregister(struct curl_loop *loop, int fd, struct watched_socket *socket)
{
    if (socket->registered)
        epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, fd, NULL); /* fails if it was closed meanwhile: what we want */
    socket->registered = 0;
}

static void register_for(struct curl_loop *loop, int fd, struct watched_socket *socket, uint32_t events)
{
    if (socket->registered == events)
        return;
    struct epoll_event event = { .events = events, .data.fd = fd };
    int first = socket->registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    /* The record can be behind the kernel for descriptors that libcurl opens and closes by itself: then the other
     * operation fits. */
    if (epoll_ctl(loop->epoll_fd, first, fd, &event) == 0 ||
        epoll_ctl(loop->epoll_fd, first == EPOLL_CTL_ADD ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) == 0)
        socket->registered = events;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *user, void *socket_user)
{
    (void)easy;
    (void)socket_user;
    struct curl_loop *loop = user;
    struct watched_socket *socket = find_socket(loop, fd);
    if (!socket)
        return 0; /* no memory: this transfer ends by its timeout, whereas an error would abort all of them */
    bool is_unwanted = what == CURL_POLL_REMOVE || what == CURL_POLL_NONE;
    socket->wanted =
        is_unwanted ? 0 : ((what & CURL_POLL_IN) ? EPOLLIN : 0u) | ((what & CURL_POLL_OUT) ? EPOLLOUT : 0u);
    if (!is_unwanted)
        register_for(loop, fd, socket, socket->wanted);
    else if (!socket->is_ours || socket->registered != EPOLLIN)
        unregister(loop, fd, socket);
    return 0;
}

static int on_timer(CURLM *multi, long timeout_ms, void *user)
{
    (void)multi;
    struct curl_loop *loop = user;
    loop->timer_due_ns = timeout_ms < 0 ? CLOCK_NEVER : clock_now_ns() + (uint64_t)timeout_ms * NS_PER_MS;
    return 0;
}

static int on_close(void *user, curl_socket_t fd)
{
    struct curl_loop *loop = user;
    struct watched_socket *socket = find_socket(loop, fd);
    if (socket)
        *socket = (struct watched_socket){ 0 }; /* close() takes it out of epoll */
    return close(fd);
}

curl_socket_t curl_loop_open_socket(struct curl_loop *loop, const struct curl_sockaddr *address)
{
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    if (fd < 0)
        return CURL_SOCKET_BAD;
    struct watched_socket *socket = find_socket(loop, fd);
    if (!socket) {
        close(fd);
        return CURL_SOCKET_BAD;
    }
    *socket = (struct watched_socket){ .is_ours = true };
    return fd;
}

bool curl_loop_init(struct curl_loop *loop, long connections_max)
{
    *loop = (struct curl_loop){ .timer_due_ns = CLOCK_NEVER };
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    loop->multi = curl_multi_init();
    /* Edge-triggered: each write wakes once and nobody has to read the counter down. */
    struct epoll_event event = { .events = EPOLLIN | EPOLLET, .data.fd = loop->wake_fd };
    if (loop->epoll_fd < 0 || loop->wake_fd < 0 || !loop->multi ||
        epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->wake_fd, &event) != 0) {
        curl_loop_done(loop);
        return false;
    }
    curl_multi_setopt(loop->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(loop->multi, CURLMOPT_SOCKETDATA, loop);
    curl_multi_setopt(loop->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(loop->multi, CURLMOPT_TIMERDATA, loop);
    curl_multi_setopt(loop->multi, CURLMOPT_MAXCONNECTS, connections_max);
    return true;
}

void curl_loop_done(struct curl_loop *loop)
{
    curl_multi_cleanup(loop->multi);
    if (loop->epoll_fd >= 0)
        close(loop->epoll_fd);
    if (loop->wake_fd >= 0)
        close(loop->wake_fd);
    free(loop->sockets);
}

void curl_loop_adopt(struct curl_loop *loop, CURL *easy)
{
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, on_close);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, loop);
}

void curl_loop_run_due(struct curl_loop *loop)
{
    int running;
    if (loop->timer_due_ns > clock_now_ns())
        return;
    loop->timer_due_ns = CLOCK_NEVER; /* before the call, which may set it again */
    curl_multi_socket_action(loop->multi, CURL_SOCKET_TIMEOUT, 0, &running);
}

static int milliseconds_to_timer(const struct curl_loop *loop)
{
    if (loop->timer_due_ns == CLOCK_NEVER)
        return -1;
    uint64_t now_ns = clock_now_ns();
    if (loop->timer_due_ns <= now_ns)
        return 0;
    uint64_t wait_ms = (loop->timer_due_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS;
    return wait_ms > INT32_MAX ? INT32_MAX : (int)wait_ms;
}

static void run_event(struct curl_loop *loop, int fd, uint32_t events)
{
    struct watched_socket *socket = find_socket(loop, fd);
    if (!socket || !socket->registered)
        return; /* closed by an earlier event of the same batch */
    if (!socket->wanted) {
        unregister(loop, fd, socket);
        return;
    }
    int what = ((events & (EPOLLIN | EPOLLHUP)) ? CURL_CSELECT_IN : 0) | ((events & EPOLLOUT) ? CURL_CSELECT_OUT : 0) |
               ((events & EPOLLERR) ? CURL_CSELECT_ERR : 0);
    int running;
    curl_multi_socket_action(loop->multi, fd, what, &running);
}

void curl_loop_wait(struct curl_loop *loop, bool may_sleep, void (*on_awake)(void *user), void *user)
{
    struct epoll_event events[EVENTS_PER_WAIT];
    int count = epoll_wait(loop->epoll_fd, events, EVENTS_PER_WAIT, may_sleep ? milliseconds_to_timer(loop) : 0);
    on_awake(user);
    for (int i = 0; i < count; i++)
        if (events[i].data.fd != loop->wake_fd)
            run_event(loop, events[i].data.fd, events[i].events);
}

void curl_loop_wake(const struct curl_loop *loop)
{
    uint64_t one = 1;
    ssize_t ignored = write(loop->wake_fd, &one, sizeof one); /* a full counter is readable already */
    (void)ignored;
}
