/* One turn: what epoll reports, then libmicrohttpd, then what the pools have finished, then timers, then libmicrohttpd
 * again for the connections that were resumed. Before it sleeps, the loop lies down (its bell's epoch becomes odd) and
 * looks for news once more: whoever has news after that sees that it sleeps and writes to its eventfd; before that,
 * nobody needs to. Under load the loop hardly ever sleeps and the workers make no system call to reach it. */
#include "service/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "pool/io_pool.h"
#include "pool/process_pool.h"
#include "service/connection.h"
#include "service/drain.h"
#include "service/heap.h"
#include "service/linger.h"
#include "service/request.h"

enum {
    EVENTS_MAX = 128,
    LONGEST_SLEEP_MS = 60000,
    ACCEPT_PAUSE_MS = 100,
    POOL_REPLY_BYTES = 2048,
    HEAP_LOOK_MS = 5000
};

#define LOOP_OF(watch, member) ((struct loop *)(void *)((char *)(watch)-offsetof(struct loop, member)))

static void on_listen(struct watch *watch, uint32_t events)
{
    (void)events;
    /* after the batch: accepting may free connections that have events in it */
    LOOP_OF(watch, listen_watch)->must_accept = true;
}

static void on_daemon(struct watch *watch, uint32_t events)
{
    (void)events;
    LOOP_OF(watch, daemon_watch)->must_run_daemon = true;
}

static void on_bell(struct watch *watch, uint32_t events)
{
    uint64_t count;
    ssize_t ignored = read(LOOP_OF(watch, event_watch)->event_fd, &count, sizeof count);
    (void)ignored;
    (void)events;
}

void loop_notify(struct loop *loop)
{
    uint64_t one = 1;
    ssize_t ignored = write(loop->event_fd, &one, sizeof one);
    (void)ignored;
}

bool loop_watch(struct loop *loop, int fd, uint32_t events, struct watch *watch)
{
    struct epoll_event event = { .events = events, .data.ptr = watch };
    return epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

static bool watch_listener(struct loop *loop)
{
    /* with several loops only one is to wake per connection */
    uint32_t events = loop->server->loop_count > 1 ? EPOLLIN | EPOLLEXCLUSIVE : EPOLLIN;
    loop->accept_due_ns = CLOCK_NEVER;
    return loop_watch(loop, loop->server->listen_fd, events, &loop->listen_watch);
}

void loop_pause_accepting(struct loop *loop)
{
    /* the connection that could not be taken would wake the loop again at once */
    epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, loop->server->listen_fd, NULL);
    loop->accept_due_ns = loop->has_stopped_accepting ? CLOCK_NEVER : loop->now_ns + ACCEPT_PAUSE_MS * NS_PER_MS;
}

static void daemon_log(void *cls, const char *format, va_list args)
{
    char text[256];
    (void)cls;
    if (!log_enabled(LOG_DEBUG))
        return;
    vsnprintf(text, sizeof text, format, args);
    text[strcspn(text, "\n")] = '\0';
    log_event(LOG_DEBUG, "libmicrohttpd", LOG_STR("message", text));
}

/* Each daemon is its loop's thread's alone, and the loop runs it after every resume: it needs no wake-up descriptor,
 * which would cost a write and a read per suspended request. 1.0 has a flag for that (and takes new connections at once
 * with it); before, it is the flag of suspend and resume less that of the descriptor. */
#if MHD_VERSION >= 0x00097707
#define SINGLE_THREADED (MHD_ALLOW_SUSPEND_RESUME | MHD_USE_NO_THREAD_SAFETY)
#else
#define SINGLE_THREADED (MHD_ALLOW_SUSPEND_RESUME & ~(unsigned)MHD_USE_ITC)
#endif

static struct MHD_Daemon *start_daemon(struct loop *loop)
{
    const struct config *config = loop->server->config;
    /* The header with what is listed of it (the first cookie and parameter are counted by nobody), the answer's header.
     * Not more: all of it is cleared for every request, and so is resident for each connection. */
    size_t pool_bytes = (size_t)config->max_header_bytes + (size_t)2 * HEADER_ENTRY_BYTES + POOL_REPLY_BYTES;
    return MHD_start_daemon(
        MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ERROR_LOG | SINGLE_THREADED, 0, NULL, NULL, request_handle,
        loop, MHD_OPTION_EXTERNAL_LOGGER, daemon_log, NULL, /* first, so that it hears of the others' errors */
        MHD_OPTION_NOTIFY_CONNECTION, connection_notify, loop, MHD_OPTION_NOTIFY_COMPLETED, request_completed, loop,
        /* above our own limit, which answers 503 */
        MHD_OPTION_CONNECTION_LIMIT, loop->server->max_connections + 64, MHD_OPTION_CONNECTION_MEMORY_LIMIT, pool_bytes,
        MHD_OPTION_END);
}

bool loop_open(struct loop *loop, struct server *server, unsigned index, struct bell *bell, int event_fd)
{
    *loop =
        (struct loop){ .server = server, .index = index, .bell = bell, .event_fd = event_fd, .now_ns = clock_now_ns() };
    loop->listen_watch.on_event = on_listen;
    loop->event_watch.on_event = on_bell;
    loop->daemon_watch.on_event = on_daemon;
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->daemon = start_daemon(loop);
    const union MHD_DaemonInfo *info =
        loop->daemon != NULL ? MHD_get_daemon_info(loop->daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
    loop->daemon_fd = info != NULL ? info->epoll_fd : -1;
    if (loop->epoll_fd < 0 || info == NULL || !watch_listener(loop) ||
        !loop_watch(loop, loop->daemon_fd, EPOLLIN, &loop->daemon_watch) ||
        !loop_watch(loop, event_fd, EPOLLIN, &loop->event_watch)) {
        log_event(LOG_ERROR, "loop_failed", LOG_INT("loop", index), LOG_STR("error", strerrordesc_np(errno)));
        return false;
    }
    if (atomic_load(&bell->epoch) & 1) /* a predecessor died in its sleep */
        bell_get_up(bell);
    return true;
}

static void run_daemon(struct loop *loop)
{
    MHD_UNSIGNED_LONG_LONG pending_ms;
    loop->must_run_daemon = false;
    MHD_run(loop->daemon);
    connections_refuse_pending(loop);
    /* connections that are ready but were not finished in this run; those that were refused need another */
    if (MHD_get_timeout(loop->daemon, &pending_ms) == MHD_YES && pending_ms == 0)
        loop->must_run_daemon = true;
}

static bool has_news(struct loop *loop)
{
    struct app *app = &loop->server->app;
    return process_pool_has_news(app->process_pool, loop->index) || io_pool_has_news(app->io_pool, loop->index);
}

/* There was something to do since the heap was looked at, and there is nothing now. */
static bool owes_heap_look(const struct loop *loop)
{
    const struct server *server = loop->server;
    return atomic_load_explicit(&server->requests, memory_order_relaxed) != loop->heap_requests &&
           atomic_load_explicit(&server->requests_in_flight, memory_order_relaxed) == 0;
}

static int sleep_ms(struct loop *loop)
{
    uint64_t due_ns = timers_next(&loop->timers);
    if ((loop->connections != NULL || loop->lingering != NULL) && loop->next_sweep_ns < due_ns)
        due_ns = loop->next_sweep_ns;
    if (loop->accept_due_ns < due_ns)
        due_ns = loop->accept_due_ns;
    if (loop->index == 0) {
        uint64_t tick_ns = process_pool_next_tick(loop->server->app.process_pool);
        if (tick_ns < due_ns)
            due_ns = tick_ns;
        if (loop->heap_due_ns < due_ns && owes_heap_look(loop))
            due_ns = loop->heap_due_ns;
    }
    if (server_lifecycle(loop->server) != LIFECYCLE_RUNNING && due_ns > loop->now_ns + DRAIN_TURN_MS * NS_PER_MS)
        due_ns = loop->now_ns + DRAIN_TURN_MS * NS_PER_MS;
    uint64_t now_ns = clock_now_ns();
    if (due_ns == CLOCK_NEVER || (due_ns > now_ns && due_ns - now_ns > LONGEST_SLEEP_MS * NS_PER_MS))
        return LONGEST_SLEEP_MS;
    return due_ns <= now_ns ? 0 : (int)((due_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS);
}

static void wait_for_events(struct loop *loop)
{
    struct epoll_event events[EVENTS_MAX];
    int count;
    if (loop->must_run_daemon || loop->must_accept) {
        count = epoll_wait(loop->epoll_fd, events, EVENTS_MAX, 0);
    } else {
        int timeout_ms = sleep_ms(loop);
        bell_lie_down(loop->bell);
        count = epoll_wait(loop->epoll_fd, events, EVENTS_MAX, has_news(loop) ? 0 : timeout_ms);
        bell_get_up(loop->bell);
    }
    loop->now_ns = clock_now_ns();
    for (int i = 0; i < count; i++) {
        struct watch *watch = events[i].data.ptr;
        watch->on_event(watch, events[i].events);
    }
}

static void give_up_all(struct loop *loop)
{
    for (struct request *request = loop->waiting, *next; request != NULL; request = next) {
        next = request->next;
        request_give_up(request, ST_DRAINING);
    }
}

static void give_back_heap(struct loop *loop)
{
    if (loop->now_ns < loop->heap_due_ns || !owes_heap_look(loop))
        return;
    loop->heap_requests = atomic_load_explicit(&loop->server->requests, memory_order_relaxed);
    loop->heap_due_ns = loop->now_ns + HEAP_LOOK_MS * NS_PER_MS;
    heap_give_back();
}

/* Another front end accepts from now on; but a connection for which the kernel has woken this loop only is ours. */
static void stop_accepting(struct loop *loop)
{
    if (loop->accept_due_ns == CLOCK_NEVER)
        epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, loop->server->listen_fd, NULL);
    loop->accept_due_ns = CLOCK_NEVER;
    loop->must_accept = true;
    loop->has_stopped_accepting = true;
}

static void turn(struct loop *loop)
{
    struct app *app = &loop->server->app;
    wait_for_events(loop);
    if (server_lifecycle(loop->server) == LIFECYCLE_HANDING_OVER && !loop->has_stopped_accepting)
        stop_accepting(loop);
    if (loop->now_ns >= loop->accept_due_ns && !watch_listener(loop))
        loop_pause_accepting(loop);
    if (loop->must_accept)
        connections_accept(loop);
    if (loop->has_stopped_accepting && !loop->must_accept && !loop->has_left) {
        loop->has_left = true;
        atomic_fetch_add_explicit(&loop->server->loops_left, 1, memory_order_release);
    }
    if (loop->must_run_daemon)
        run_daemon(loop);
    process_pool_collect(app->process_pool, loop->index);
    io_pool_collect(app->io_pool, loop->index);
    timers_expire(&loop->timers, loop->now_ns);
    connections_sweep(loop);
    if (loop->index == 0 && loop->now_ns >= process_pool_next_tick(app->process_pool))
        process_pool_tick(app->process_pool, loop->now_ns);
    if (server_lifecycle(loop->server) == LIFECYCLE_STOPPING)
        give_up_all(loop);
    if (loop->must_run_daemon)
        run_daemon(loop);
    process_pool_end_turn(app->process_pool);
    if (loop->index == 0) {
        drain_advance(loop->server, loop->now_ns);
        give_back_heap(loop);
    }
}

void loop_run(struct loop *loop)
{
    connections_bind_thread(loop);
    while (server_lifecycle(loop->server) != LIFECYCLE_STOPPED)
        turn(loop);
    turn(loop); /* answers that were just handed to libmicrohttpd */
}

void loop_close(struct loop *loop)
{
    MHD_stop_daemon(loop->daemon);
    linger_sweep(loop, CLOCK_NEVER);
    requests_free_spare(loop);
    timers_done(&loop->timers);
    close(loop->epoll_fd);
}
