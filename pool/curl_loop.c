/* curl_loop: curl_multi_socket_action() on epoll.
 *
 * Why not curl_multi_poll(): it hands the kernel every descriptor at every wake-up, which costs twice the CPU per
 * transfer at 5,000 (docs/architecture.md has the figures). Plain socket actions in turn lose to poll at 64 transfers,
 * because libcurl gives up a socket at the end of each request and asks for it again at the start of the next: two
 * epoll_ctl calls each. So a socket that we opened stays registered for reading while its connection idles in libcurl's
 * cache; the request that reuses it finds it in place. If an idle one becomes readable (the peer closed it) it is taken
 * out, and libcurl sees the end when it next considers reuse. libcurl's own descriptors (its resolver's) are closed
 * without telling us and are never kept.
 *
 * poll() below is ours for the same reason: libcurl asks it about one socket before it reuses a connection and again
 * after it has sent a request. Both times epoll has the answer already: a registered socket that epoll did not report
 * is quiet. If it is not any more, epoll says so in the next turn.
 *
 * recv() is ours, too (service/connection.c has it), because some of libcurl's loops, and OpenSSL's, end only when the
 * socket is empty: HTTP/2 is read until there is something for the transfer. An origin that sends PING after PING would
 * have the thread for good, and no time-out of any transfer would be looked at. So a socket that has been read for some
 * time within one call looks empty until the next turn; and one that goes on like that, with nothing for any transfer
 * in it, ends with EPROTO.
 *
 * Idle connections are kept until the loop has nearly as many sockets as it may. Then each shard keeps no more than it
 * uses, and shards that are not used at all are closed. A shard that nobody has used for a minute or two is closed,
 * too. */
#include "pool/curl_loop.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"

enum {
    EVENTS_PER_WAIT = 128,
    SOCKETS_AT_FIRST = 256,
    TIGHT_PERCENT = 85,
    TIDY_S = 60,
    UNTIMED_BYTES = 4 * 1024, /* of a socket in one call; beyond it the clock is looked at */
    HOLD_MS = 1,              /* of reading on, after those */
    BARREN_MS = 100           /* of reading on, in calls that brought nothing, since one did */
};

struct watched_socket {
    struct curl_shard *shard; /* whose multi handle it belongs to; NULL: on_ready's */
    void (*on_ready)(void *user, int fd, uint32_t events);
    void *user;
    uint32_t registered; /* epoll events the kernel has, 0: not registered */
    uint32_t wanted;     /* what libcurl asked for, 0: nothing */
    uint64_t call;       /* the number of the last one that read from it */
    uint64_t timed_ns;   /* since when that call is timed; 0: not yet */
    uint64_t barren_ns;
    size_t call_bytes;  /* that it has read */
    bool is_ours;       /* opened by curl_loop_open_socket(), so its close is seen too */
    bool is_connecting; /* so far as we know */
};

static _Thread_local struct curl_loop *bound_loop;

void curl_loop_bind(struct curl_loop *loop) { bound_loop = loop; }

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

static bool is_known_to_be_quiet(const struct pollfd *question)
{
    if (!bound_loop || question->fd < 0 || (question->events & POLLOUT))
        return false;
    const struct watched_socket *socket = find_socket(bound_loop, question->fd);
    return socket && socket->is_ours && socket->registered == EPOLLIN;
}

/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): the C library's names are not ours */
int poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
    struct pollfd *volatile questions = fds; /* the C library's declaration says that nobody reads them */
    if (count == 1 && timeout_ms == 0 && is_known_to_be_quiet(questions)) {
        questions->revents = 0;
        return 0;
    }
    struct timespec timeout = { .tv_sec = timeout_ms / 1000, .tv_nsec = (long)(timeout_ms % 1000) * (long)NS_PER_MS };
    return ppoll(fds, count, timeout_ms < 0 ? NULL : &timeout, NULL);
}

/* ---- how long a socket is read on */

static void begin_call(struct curl_loop *loop)
{
    loop->call = (struct curl_call){ .number = loop->call.number + 1, .held_fd = -1 };
}

/* `fd`: the socket that the call was about; -1: none in particular. */
static void end_call(struct curl_loop *loop, int fd)
{
    const struct curl_call *call = &loop->call;
    if (call->has_brought && fd >= 0)
        loop->sockets[fd].barren_ns = 0;
    if (call->has_brought || call->held_fd < 0)
        return;
    struct watched_socket *held = &loop->sockets[call->held_fd];
    if (held->is_ours)
        held->barren_ns += clock_now_ns() - held->timed_ns;
}

/* 0, or the errno of reading no further. */
static int hold(struct curl_loop *loop, struct watched_socket *socket, int fd)
{
    if (socket->barren_ns > BARREN_MS * NS_PER_MS)
        return EPROTO;
    if (socket->call != loop->call.number) {
        socket->call = loop->call.number;
        socket->call_bytes = 0;
        socket->timed_ns = 0;
    }
    if (socket->call_bytes < UNTIMED_BYTES)
        return 0;
    uint64_t now_ns = clock_now_ns();
    if (socket->timed_ns == 0)
        socket->timed_ns = now_ns;
    if (now_ns - socket->timed_ns < HOLD_MS * NS_PER_MS)
        return 0;
    loop->call.held_fd = fd;
    return EAGAIN;
}

ssize_t curl_loop_receive(int fd, void *buffer, size_t len, int flags)
{
    struct curl_loop *loop = bound_loop;
    struct watched_socket *socket = loop && fd >= 0 && (size_t)fd < loop->socket_count ? &loop->sockets[fd] : NULL;
    int error = socket && socket->is_ours ? hold(loop, socket, fd) : 0;
    if (error) {
        errno = error;
        return -1;
    }
    ssize_t n = syscall(SYS_recvfrom, fd, buffer, len, flags, NULL, NULL);
    if (socket && n > 0)
        socket->call_bytes += (size_t)n;
    return n;
}

/* ---- what libcurl asks for */

static void make_due(struct curl_shard *shard)
{
    if (!shard->is_due)
        STAILQ_INSERT_TAIL(&shard->loop->due, shard, due_link);
    shard->is_due = true;
}

/* When an address of several cannot be connected to, libcurl (7.88) gets the next one ready but connects only when the
 * handle is run again, for which it sets no timer. */
static void run_all_later(struct curl_shard *shard)
{
    shard->is_stalled = true;
    make_due(shard);
}

/* libcurl 7.88 closes a socket that is given up while it connects by itself, without on_close(). */
static void note_closed(struct curl_loop *loop, struct watched_socket *socket)
{
    if (!socket->is_ours)
        return;
    loop->connections--;
    socket->is_ours = false;
    if (socket->is_connecting && socket->shard)
        run_all_later(socket->shard);
}

/* Fails if it was closed meanwhile. Its number may then be another thread's, which ThreadSanitizer would take for a
 * race if it saw the call. */
static void unregister(struct curl_loop *loop, int fd, struct watched_socket *socket)
{
    if (socket->registered && syscall(SYS_epoll_ctl, loop->epoll_fd, EPOLL_CTL_DEL, fd, NULL) != 0)
        note_closed(loop, socket);
    socket->registered = 0;
}

static void register_for(struct curl_loop *loop, int fd, struct watched_socket *socket, uint32_t events)
{
    if (socket->registered == events)
        return;
    struct epoll_event event = { .events = events, .data.fd = fd };
    int first = socket->registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    /* The record can be behind the kernel for descriptors that libraries open and close by themselves: then the other
     * operation fits. */
    if (epoll_ctl(loop->epoll_fd, first, fd, &event) == 0 ||
        epoll_ctl(loop->epoll_fd, first == EPOLL_CTL_ADD ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) == 0)
        socket->registered = events;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *user, void *socket_user)
{
    (void)easy;
    (void)socket_user;
    struct curl_shard *shard = user;
    struct curl_loop *loop = shard->loop;
    struct watched_socket *socket = find_socket(loop, fd);
    if (!socket)
        return 0; /* no memory: this transfer ends by its timeout, whereas an error would abort all of them */
    bool is_unwanted = what == CURL_POLL_REMOVE || what == CURL_POLL_NONE;
    socket->shard = shard;
    socket->wanted =
        is_unwanted ? 0 : ((what & CURL_POLL_IN) ? EPOLLIN : 0u) | ((what & CURL_POLL_OUT) ? EPOLLOUT : 0u);
    if (socket->wanted & EPOLLIN)
        socket->is_connecting = false;
    if (!is_unwanted)
        register_for(loop, fd, socket, socket->wanted);
    else if (!socket->is_ours || socket->registered != EPOLLIN)
        unregister(loop, fd, socket);
    return 0;
}

static void touch(struct curl_shard *shard)
{
    if (!shard->is_touched)
        STAILQ_INSERT_TAIL(&shard->loop->touched, shard, touched_link);
    shard->is_touched = true;
}

static void on_shard_timer(struct timer *timer)
{
    make_due((struct curl_shard *)(void *)((char *)timer - offsetof(struct curl_shard, timer)));
}

static int on_timer(CURLM *multi, long timeout_ms, void *user)
{
    (void)multi;
    struct curl_shard *shard = user;
    struct timers *timers = &shard->loop->timers;
    if (timeout_ms <= 0) {
        timers_cancel(timers, &shard->timer);
        if (timeout_ms == 0)
            make_due(shard);
    } else if (!timers_set(timers, &shard->timer, clock_now_ns() + (uint64_t)timeout_ms * NS_PER_MS)) {
        make_due(shard); /* no memory: too early is better than never */
    }
    return 0;
}

static int on_close(void *user, curl_socket_t fd)
{
    struct curl_loop *loop = user;
    struct watched_socket *socket = find_socket(loop, fd);
    if (socket) {
        note_closed(loop, socket);
        *socket = (struct watched_socket){ 0 }; /* close() takes it out of epoll */
    }
    return close(fd);
}

/* ---- shards */

static void watch_idle(struct curl_loop *loop)
{
    bool ignored =
        loop->tidying.position != 0 || timers_set(&loop->timers, &loop->tidying, clock_now_ns() + TIDY_S * NS_PER_SEC);
    (void)ignored; /* no memory: they stay */
}

static bool open_shard(struct curl_shard *shard)
{
    shard->multi = curl_multi_init();
    if (!shard->multi)
        return false;
    curl_multi_setopt(shard->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(shard->multi, CURLMOPT_SOCKETDATA, shard);
    curl_multi_setopt(shard->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(shard->multi, CURLMOPT_TIMERDATA, shard);
    curl_multi_setopt(shard->multi, CURLMOPT_MAXCONNECTS, (long)shard->loop->connections_max);
    shard->is_limited = false;
    watch_idle(shard->loop);
    return true;
}

static void close_shard(struct curl_shard *shard)
{
    curl_multi_cleanup(shard->multi);
    timers_cancel(&shard->loop->timers, &shard->timer);
    shard->multi = NULL;
}

/* libcurl looks for connections that their peers have closed only when it uses the handle: one that is not used is
 * closed with what is left in it. */
static void on_tidying(struct timer *timer)
{
    struct curl_loop *loop = (struct curl_loop *)(void *)((char *)timer - offsetof(struct curl_loop, tidying));
    bool goes_on = false;
    for (unsigned i = 0; i < CURL_LOOP_SHARDS; i++) {
        struct curl_shard *shard = &loop->shards[i];
        if (shard->multi && shard->active == 0 && shard->is_stale)
            close_shard(shard);
        shard->is_stale = true;
        goes_on = goes_on || shard->multi;
    }
    if (goes_on)
        watch_idle(loop);
}

static void close_idle_shards(struct curl_loop *loop, const struct curl_shard *but)
{
    for (unsigned i = 0; i < CURL_LOOP_SHARDS; i++)
        if (loop->shards[i].multi && loop->shards[i].active == 0 && &loop->shards[i] != but)
            close_shard(&loop->shards[i]);
}

curl_socket_t curl_loop_open_socket(struct curl_loop *loop, unsigned shard, const struct curl_sockaddr *address)
{
    if (loop->connections >= loop->connections_max)
        close_idle_shards(loop, &loop->shards[shard]); /* it was not tight when this one was added, with many others */
    bool is_full = loop->connections >= loop->connections_max;
    int fd = is_full ? -1 : socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    if (is_full)
        errno = EMFILE;
    if (fd < 0) {
        run_all_later(&loop->shards[shard]);
        return CURL_SOCKET_BAD;
    }
    struct watched_socket *socket = find_socket(loop, fd);
    if (!socket) {
        close(fd);
        return CURL_SOCKET_BAD;
    }
    note_closed(loop, socket); /* or its number would not be free */
    *socket = (struct watched_socket){ .shard = &loop->shards[shard], .is_ours = true, .is_connecting = true };
    loop->connections++;
    return fd;
}

static bool is_tight(const struct curl_loop *loop)
{
    return (uint64_t)loop->connections * 100 >= (uint64_t)loop->connections_max * TIGHT_PERCENT;
}

/* Before a transfer is added to `shard`. */
static void limit_idle(struct curl_loop *loop, struct curl_shard *shard)
{
    bool is_short = is_tight(loop);
    if (is_short)
        close_idle_shards(loop, shard);
    if (!is_short && !shard->is_limited)
        return;
    long in_use = (long)shard->active + 1;
    shard->is_limited = is_short;
    curl_multi_setopt(shard->multi, CURLMOPT_MAXCONNECTS, is_short ? in_use : (long)loop->connections_max);
    curl_multi_setopt(shard->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS,
                      is_short ? in_use : 0L); /* fewer would make some wait */
}

bool curl_loop_add(struct curl_loop *loop, unsigned shard_index, CURL *easy)
{
    struct curl_shard *shard = &loop->shards[shard_index];
    if (!shard->multi && !open_shard(shard))
        return false;
    limit_idle(loop, shard);
    if (curl_multi_add_handle(shard->multi, easy) != CURLM_OK)
        return false;
    shard->active++;
    shard->is_stale = false;
    return true;
}

void curl_loop_remove(struct curl_loop *loop, unsigned shard_index, CURL *easy)
{
    struct curl_shard *shard = &loop->shards[shard_index];
    curl_multi_remove_handle(shard->multi, easy);
    shard->active--;
}

CURL *curl_loop_next_done(struct curl_loop *loop, CURLcode *ret_code)
{
    struct curl_shard *shard;
    while ((shard = STAILQ_FIRST(&loop->touched)) != NULL) {
        CURLMsg *message;
        int left;
        while (shard->multi && (message = curl_multi_info_read(shard->multi, &left)) != NULL) {
            if (message->msg != CURLMSG_DONE)
                continue;
            *ret_code = message->data.result; /* the message goes with its handle */
            return message->easy_handle;
        }
        STAILQ_REMOVE_HEAD(&loop->touched, touched_link);
        shard->is_touched = false;
    }
    return NULL;
}

/* ---- life */

bool curl_loop_init(struct curl_loop *loop, unsigned connections_max)
{
    *loop = (struct curl_loop){ .connections_max = connections_max, .call = { .held_fd = -1 } };
    STAILQ_INIT(&loop->due);
    STAILQ_INIT(&loop->touched);
    loop->tidying.on_due = on_tidying;
    for (unsigned i = 0; i < CURL_LOOP_SHARDS; i++) {
        loop->shards[i].loop = loop;
        loop->shards[i].timer.on_due = on_shard_timer;
    }
    loop->events = calloc(EVENTS_PER_WAIT, sizeof *loop->events);
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    /* Edge-triggered: each write wakes once and nobody has to read the counter down. */
    struct epoll_event event = { .events = EPOLLIN | EPOLLET, .data.fd = loop->wake_fd };
    if (loop->events && loop->epoll_fd >= 0 && loop->wake_fd >= 0 &&
        epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->wake_fd, &event) == 0)
        return true;
    curl_loop_done(loop);
    return false;
}

void curl_loop_done(struct curl_loop *loop)
{
    for (unsigned i = 0; i < CURL_LOOP_SHARDS; i++)
        if (loop->shards[i].multi)
            close_shard(&loop->shards[i]);
    if (loop->epoll_fd >= 0)
        close(loop->epoll_fd);
    if (loop->wake_fd >= 0)
        close(loop->wake_fd);
    timers_done(&loop->timers);
    free(loop->events);
    free(loop->sockets);
}

void curl_loop_adopt(struct curl_loop *loop, CURL *easy)
{
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, on_close);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, loop);
}

bool curl_loop_watch(struct curl_loop *loop, int fd, uint32_t events,
                     void (*on_ready)(void *user, int fd, uint32_t events), void *user)
{
    struct watched_socket *socket = find_socket(loop, fd);
    if (!socket)
        return false;
    socket->shard = NULL;
    socket->on_ready = on_ready;
    socket->user = user;
    socket->wanted = events;
    if (events)
        register_for(loop, fd, socket, events);
    else
        unregister(loop, fd, socket);
    return socket->registered == events;
}

/* ---- turning */

static void run_all(struct curl_shard *shard, int *ret_running)
{
    shard->is_stalled = false;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations" /* because it costs much with many handles */
    curl_multi_socket_all(shard->multi, ret_running);
#pragma GCC diagnostic pop
}

void curl_loop_run_due(struct curl_loop *loop)
{
    if (timers_next(&loop->timers) != CLOCK_NEVER)
        timers_expire(&loop->timers, clock_now_ns());
    struct curl_shards due = STAILQ_HEAD_INITIALIZER(due); /* what becomes due meanwhile has its turn later */
    STAILQ_CONCAT(&due, &loop->due);
    struct curl_shard *shard;
    while ((shard = STAILQ_FIRST(&due)) != NULL) {
        int running;
        STAILQ_REMOVE_HEAD(&due, due_link);
        shard->is_due = false;
        if (!shard->multi)
            continue;
        begin_call(loop);
        if (shard->is_stalled)
            run_all(shard, &running);
        else
            curl_multi_socket_action(shard->multi, CURL_SOCKET_TIMEOUT, 0, &running);
        end_call(loop, -1);
        touch(shard);
    }
}

static int milliseconds_to_timer(const struct curl_loop *loop)
{
    uint64_t due_ns = timers_next(&loop->timers);
    if (!STAILQ_EMPTY(&loop->due))
        return 0;
    if (due_ns == CLOCK_NEVER)
        return -1;
    uint64_t now_ns = clock_now_ns();
    if (due_ns <= now_ns)
        return 0;
    uint64_t wait_ms = (due_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS;
    return wait_ms > INT32_MAX ? INT32_MAX : (int)wait_ms;
}

/* True: the socket was read until its time was over. */
static bool run_event(struct curl_loop *loop, int fd, uint32_t events)
{
    struct watched_socket *socket = find_socket(loop, fd);
    if (!socket || !socket->registered)
        return false; /* closed by an earlier event of the same batch */
    if (!socket->wanted) {
        unregister(loop, fd, socket);
        return false;
    }
    if (!socket->shard) {
        socket->on_ready(socket->user, fd, events);
        return false;
    }
    int what = ((events & (EPOLLIN | EPOLLHUP)) ? CURL_CSELECT_IN : 0) | ((events & EPOLLOUT) ? CURL_CSELECT_OUT : 0) |
               ((events & EPOLLERR) ? CURL_CSELECT_ERR : 0);
    int running;
    struct curl_shard *shard = socket->shard; /* the call may close the socket */
    begin_call(loop);
    curl_multi_socket_action(shard->multi, fd, what, &running);
    end_call(loop, fd);
    touch(shard);
    return loop->call.held_fd >= 0;
}

void curl_loop_wait(struct curl_loop *loop, bool may_sleep, void (*on_awake)(void *user), void *user)
{
    if (loop->event_next == loop->event_count) {
        int count =
            epoll_wait(loop->epoll_fd, loop->events, EVENTS_PER_WAIT, may_sleep ? milliseconds_to_timer(loop) : 0);
        loop->event_count = count > 0 ? count : 0;
        loop->event_next = 0;
    }
    on_awake(user);
    bool has_held = false;
    while (loop->event_next < loop->event_count && !has_held) {
        const struct epoll_event event = loop->events[loop->event_next++];
        if (event.data.fd != loop->wake_fd)
            has_held = run_event(loop, event.data.fd, event.events);
    }
}

void curl_loop_wake(const struct curl_loop *loop)
{
    uint64_t one = 1;
    ssize_t ignored = write(loop->wake_fd, &one, sizeof one); /* a full counter is readable already */
    (void)ignored;
}
