/* The seam: libmicrohttpd has no hook for the bytes it reads, but it reads them with recv(), and a program's own
 * definition of a function takes precedence over a library's. recv() below is that definition. On a loop's thread, for
 * a socket in the table, the bytes go through the guard; libcurl has
 * pool/curl_loop.c's; for everything else (the C library) it is the plain system call. If a future libmicrohttpd used
 * another call, requests would arrive that the guard has not seen: request.c compares the counts and refuses them.
 *
 * The table is indexed by descriptor. An entry is set before libmicrohttpd gets the connection and cleared before it
 * closes it, both on the loop's thread, so a descriptor number that is reused by another loop always finds a fresh
 * entry. */
#include "service/connection.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "pool/curl_loop.h"
#include "service/linger.h"
#include "service/request.h"
#include "service/response.h"

enum { ACCEPT_BATCH = 64, RAW_ANSWER_MAX = 4096, HANG_UP_GRACE_MS = 50 };

static _Atomic(struct connection *) *table;
static size_t table_size;
static _Thread_local struct loop *current_loop;

bool connections_setup(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return false;
    table_size = limit.rlim_cur < 1048576 ? (size_t)limit.rlim_cur : 1048576;
    table = calloc(table_size, sizeof *table);
    return table != NULL;
}

void connections_teardown(void)
{
    free(table);
    table = NULL;
    table_size = 0;
}

void connections_bind_thread(struct loop *loop) { current_loop = loop; }

/* ---- refusing */

static void answer_and_close(struct loop *loop, int fd, enum status status, const char *detail)
{
    char id[REQUEST_ID_MAX + 1];
    struct buf answer = BUF_INIT(RAW_ANSWER_MAX);
    response_make_id(id);
    response_raw_problem(status, detail, id, &answer);
    ssize_t ignored = send(fd, answer.data, answer.len, MSG_DONTWAIT | MSG_NOSIGNAL);
    (void)ignored; /* a fresh or drained socket takes 4 KiB; a peer that blocks even that gets the FIN alone */
    buf_done(&answer);
    linger_start(loop, fd);
    server_count(&loop->server->responses[status_http(status) / 100]);
}

/* The copy keeps the socket open for the answer after libmicrohttpd has closed its own descriptor. */
static void refuse_socket(struct connection *connection, enum status status, const char *detail)
{
    connection->is_refused = true;
    connection->is_refusal_pending = false;
    int copy = fcntl(connection->fd, F_DUPFD_CLOEXEC, 0);
    if (copy >= 0)
        answer_and_close(connection->loop, copy, status, detail);
}

void connection_refuse(struct connection *connection, enum status status, const char *detail)
{
    refuse_socket(connection, status, detail);
    /* libmicrohttpd notices with its next recv(), at the latest after this second of inactivity */
    MHD_set_connection_option(connection->mhd, MHD_CONNECTION_OPTION_TIMEOUT, 1u);
}

/* ---- the bytes */

/* The guard saw a violation in bytes of which the first `good` may still be passed on. */
static ssize_t stop_reading(struct connection *connection, size_t good)
{
    if (good > 0) { /* requests before the bad one: they are answered first */
        connection->is_refusal_pending = true;
        return (ssize_t)good;
    }
    refuse_socket(connection, connection->guard.refusal, connection->guard.reason);
    errno = ECONNRESET;
    return -1;
}

static ssize_t receive(struct connection *connection, void *buffer, size_t len, int flags)
{
    struct http_guard *guard = &connection->guard;
    if (connection->is_refused || connection->is_refusal_pending) {
        errno = connection->is_refused ? ECONNRESET : EAGAIN;
        return -1;
    }
    /* With other connections open, libmicrohttpd reads after a resume before it sends. What it would find then (the
     * end, or bytes that the guard refuses) would take the place of an answer that is ready. Reading waits until that
     * was sent. */
    if (connection->request != NULL && connection->request->phase != REQUEST_RECEIVING) {
        connection->is_unheard |= connection->has_news;
        errno = EAGAIN;
        return -1;
    }
    ssize_t n = syscall(SYS_recvfrom, connection->fd, buffer, len, flags, NULL, NULL);
    connection->is_drained = n < (ssize_t)len;
    if (n <= 0)
        return n;
    enum http_guard_phase phase = guard->phase;
    uint64_t requests = guard->requests;
    size_t good = http_guard_feed(guard, &connection->loop->server->guard_limits, buffer, (size_t)n);
    if (phase == HTTP_GUARD_IDLE || guard->requests != requests)
        connection->head_since_ns = connection->loop->now_ns;
    if (guard->requests != requests)
        connection->body_since_ns = connection->loop->now_ns;
    return guard->phase == HTTP_GUARD_REFUSED ? stop_reading(connection, good) : n;
}

/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): the C library's names are not ours */
ssize_t recv(int fd, void *buffer, size_t len, int flags)
{
    if (current_loop != NULL && fd >= 0 && (size_t)fd < table_size) {
        struct connection *connection = atomic_load_explicit(&table[fd], memory_order_relaxed);
        if (connection != NULL && connection->loop == current_loop)
            return receive(connection, buffer, len, flags);
    }
    return curl_loop_receive(fd, buffer, len, flags);
}

/* ---- parking
 *
 * To suspend a connection libmicrohttpd takes it out of its epoll set, and puts it back when it wants to read again
 * after it was resumed: two system calls for each request that waits for a pool, a seventh of what a small job costs
 * here. These two functions, which are found in place of the C library's as recv() is, leave it in the set, and keep
 * back what happens to it while it is suspended. */

/* One of this thread's loop, in its daemon's set. */
static struct connection *find_in_set(int epoll_fd, int fd)
{
    if (current_loop == NULL || epoll_fd != current_loop->daemon_fd || fd < 0 || (size_t)fd >= table_size)
        return NULL;
    struct connection *connection = atomic_load_explicit(&table[fd], memory_order_relaxed);
    return connection != NULL && connection->loop == current_loop ? connection : NULL;
}

/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): the C library's names are not ours */
int epoll_ctl(int epoll_fd, int operation, int fd, struct epoll_event *event)
{
    struct connection *connection = find_in_set(epoll_fd, fd);
    if (connection != NULL && operation == EPOLL_CTL_ADD && connection->is_in_set)
        return 0;
    if (connection != NULL && operation == EPOLL_CTL_DEL && (connection->request != NULL || !connection->is_in_set))
        return 0;
    int result = (int)syscall(SYS_epoll_ctl, epoll_fd, operation, fd, event);
    if (connection != NULL && operation == EPOLL_CTL_ADD && result == 0)
        connection->entry = *event;
    if (connection != NULL)
        connection->is_in_set = operation != EPOLL_CTL_DEL && result == 0;
    /* it was taken out when the connection's end was told of; libmicrohttpd would end the process */
    bool is_gone = operation == EPOLL_CTL_DEL && result != 0 && errno == ENOENT;
    return is_gone ? 0 : result;
}

/* The set is edge-triggered: what was told and not heard is told again. */
static void tell_again(struct connection *connection)
{
    if (connection->is_in_set)
        syscall(SYS_epoll_ctl, connection->loop->daemon_fd, EPOLL_CTL_MOD, connection->fd, &connection->entry);
}

void connection_suspend(struct connection *connection)
{
    connection->is_parked = true;
    connection->has_news |= !connection->is_drained;
    MHD_suspend_connection(connection->mhd);
}

void connection_resume(struct connection *connection)
{
    struct loop *loop = connection->loop;
    connection->is_parked = false;
    if (connection->has_news)
        tell_again(connection);
    MHD_resume_connection(connection->mhd);
    loop->must_run_daemon = true;
}

static bool is_kept_back(const struct epoll_event *event)
{
    const union MHD_ConnectionInfo *info =
        event->data.ptr != NULL ? MHD_get_connection_info(event->data.ptr, MHD_CONNECTION_INFO_SOCKET_CONTEXT) : NULL;
    struct connection *connection = info != NULL ? info->socket_context : NULL;
    if (connection == NULL)
        return false;
    bool is_reading = connection->request == NULL || connection->request->phase == REQUEST_RECEIVING;
    connection->has_news |= connection->is_parked || (!is_reading && (event->events & EPOLLIN) != 0);
    return connection->is_parked;
}

/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): the C library's names are not ours */
int epoll_wait(int epoll_fd, struct epoll_event *events, int capacity, int timeout_ms)
{
    int count = (int)syscall(SYS_epoll_pwait, epoll_fd, events, capacity, timeout_ms, NULL, 0);
    if (count <= 0 || current_loop == NULL || epoll_fd != current_loop->daemon_fd)
        return count;
    int kept = 0;
    for (int i = 0; i < count; i++)
        if (!is_kept_back(&events[i]))
            events[kept++] = events[i];
    return kept;
}

/* ---- life */

static void hang_up_due(struct timer *timer)
{
    struct connection *connection =
        (struct connection *)(void *)((char *)timer - offsetof(struct connection, hang_up_timer));
    if (connection->request != NULL)
        request_give_up(connection->request, ST_CANCELLED);
}

/* A FIN alone may come from a client that has said all it will say and still reads (nc -N): work that is about to
 * finish may do so. */
void connection_give_up_request(struct connection *connection, bool at_once)
{
    uint64_t due_ns = connection->loop->now_ns + (at_once ? 0 : HANG_UP_GRACE_MS * NS_PER_MS);
    if (!timers_set(&connection->loop->timers, &connection->hang_up_timer, due_ns))
        request_give_up(connection->request, ST_CANCELLED);
}

static void hung_up(struct watch *watch, uint32_t events)
{
    struct connection *connection = (struct connection *)(void *)watch;
    connection->is_hung_up = true;
    if (connection->request != NULL)
        connection_give_up_request(connection, (events & (EPOLLHUP | EPOLLERR)) != 0);
}

void connection_notify(void *cls, struct MHD_Connection *mhd, void **context, enum MHD_ConnectionNotificationCode code)
{
    struct loop *loop = cls;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        /* found by descriptor: 1.0 may start a connection only in a later MHD_run() */
        int fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
        struct connection *started = atomic_load_explicit(&table[fd], memory_order_relaxed);
        *context = started;
        started->mhd = mhd;
        return;
    }
    struct connection *connection = *context;
    if (connection == NULL)
        return;
    /* the descriptor may live on as a lingering copy: without this its events would still come here */
    epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, connection->fd, NULL);
    if (connection->is_in_set)
        syscall(SYS_epoll_ctl, loop->daemon_fd, EPOLL_CTL_DEL, connection->fd, NULL);
    timers_cancel(&loop->timers, &connection->hang_up_timer);
    atomic_store_explicit(&table[connection->fd], NULL, memory_order_relaxed);
    if (connection->previous != NULL)
        connection->previous->next = connection->next;
    else
        loop->connections = connection->next;
    if (connection->next != NULL)
        connection->next->previous = connection->previous;
    for (struct connection **at = &loop->refusals; *at != NULL; at = &(*at)->next_refusal)
        if (*at == connection) {
            *at = connection->next_refusal;
            break;
        }
    loop->connection_count--;
    server_uncount(&loop->server->connections);
    free(connection);
}

static bool add_connection(struct loop *loop, int fd, const struct sockaddr *address, socklen_t address_len)
{
    struct connection *connection = (size_t)fd < table_size ? calloc(1, sizeof *connection) : NULL;
    if (connection == NULL)
        return false;
    connection->watch.on_event = hung_up;
    connection->hang_up_timer.on_due = hang_up_due;
    connection->loop = loop;
    connection->fd = fd;
    connection->idle_since_ns = loop->now_ns;
    http_guard_init(&connection->guard);
    connection->next = loop->connections;
    if (connection->next != NULL)
        connection->next->previous = connection;
    loop->connections = connection;
    loop->connection_count++;
    server_count(&loop->server->connections);
    server_count(&loop->server->connections_accepted);
    atomic_store_explicit(&table[fd], connection, memory_order_relaxed);
    /* edge-triggered and without EPOLLIN: one event, when the client hangs up */
    if (!loop_watch(loop, fd, EPOLLRDHUP | EPOLLET, &connection->watch)) {
        void *context = connection;
        connection_notify(loop, NULL, &context, MHD_CONNECTION_NOTIFY_CLOSED);
        return false;
    }
    /* on failure libmicrohttpd has closed the socket; if it got so far, it has notified, which freed the connection */
    if (MHD_add_connection(loop->daemon, fd, address, address_len) != MHD_YES && connection->mhd == NULL) {
        void *context = connection;
        connection_notify(loop, NULL, &context, MHD_CONNECTION_NOTIFY_CLOSED);
    }
    return true;
}

void connections_accept(struct loop *loop)
{
    struct server *server = loop->server;
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        struct sockaddr_storage address;
        socklen_t address_len = sizeof address;
        int fd = accept4(server->listen_fd, (struct sockaddr *)&address, &address_len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
                static struct log_limit limit;
                uint32_t suppressed;
                if (log_limit_pass(&limit, 1, &suppressed))
                    log_event(LOG_ERROR, "accept_failed", LOG_STR("error", strerrordesc_np(errno)),
                              LOG_INT("suppressed", suppressed));
                loop_pause_accepting(loop);
            }
            loop->must_accept = false;
            return;
        }
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (atomic_load_explicit(&server->connections, memory_order_relaxed) >= server->max_connections) {
            server_count(&server->connections_refused);
            answer_and_close(loop, fd, ST_TOO_MANY_CONNECTIONS, "the limit is --max-connections");
        } else if (!add_connection(loop, fd, (struct sockaddr *)&address, address_len)) {
            close(fd);
        }
        loop->must_run_daemon = true;
    }
}

/* ---- between requests */

void connection_request_completed(struct connection *connection)
{
    struct loop *loop = connection->loop;
    connection->request = NULL;
    connection->requests_completed++;
    if (connection->is_unheard)
        tell_again(connection);
    connection->has_news = connection->is_unheard = false;
    /* the head of a next request may have been read long ago, the rest of it could not be */
    connection->idle_since_ns = connection->head_since_ns = connection->body_since_ns = loop->now_ns;
    if (connection->is_refusal_pending && connection->requests_completed == connection->guard.requests) {
        connection->next_refusal = loop->refusals;
        loop->refusals = connection;
        loop->must_run_daemon = true;
    }
}

void connections_refuse_pending(struct loop *loop)
{
    while (loop->refusals != NULL) {
        struct connection *connection = loop->refusals;
        loop->refusals = connection->next_refusal;
        connection->next_refusal = NULL;
        if (!connection->is_refused)
            connection_refuse(connection, connection->guard.refusal, connection->guard.reason);
    }
}

/* ---- deadlines */

static bool is_past(uint64_t now_ns, uint64_t since_ns, uint32_t limit_ms)
{
    return now_ns > since_ns && now_ns - since_ns > limit_ms * NS_PER_MS;
}

static void drop(struct connection *connection) { shutdown(connection->fd, SHUT_RDWR); }

/* The client will send no more, and all that it sent was read: no further request can come, an incomplete one stays
 * incomplete. libmicrohttpd itself does not notice if the FIN came together with the last bytes. */
static bool is_at_end(const struct connection *connection)
{
    int unread = 0;
    return connection->is_hung_up && (connection->request == NULL || connection->request->phase == REQUEST_RECEIVING) &&
           ioctl(connection->fd, FIONREAD, &unread) == 0 && unread == 0;
}

static void enforce(struct connection *connection, const struct config *config, uint64_t now_ns)
{
    const struct request *request = connection->request;
    if (connection->is_refused) {
        connection->loop->must_run_daemon = true; /* only then does libmicrohttpd see that it timed out */
        return;
    }
    if (is_at_end(connection)) {
        drop(connection);
    } else if (request != NULL && request->phase == REQUEST_SENDING) {
        bool waits_for_endpoint = request->stream != NULL && stream_is_idle(request->stream);
        if (!waits_for_endpoint && is_past(now_ns, request->sending_since_ns, config->response_timeout_ms))
            drop(connection);
    } else if (request != NULL && request->phase != REQUEST_RECEIVING) {
        return; /* the request's own deadline */
    } else if (connection->guard.phase == HTTP_GUARD_BODY) {
        if (is_past(now_ns, connection->body_since_ns, config->body_timeout_ms))
            connection_refuse(connection, ST_REQUEST_TIMEOUT, "the body did not arrive within --body-timeout-ms");
    } else if (connection->guard.phase == HTTP_GUARD_HEAD) {
        if (is_past(now_ns, connection->head_since_ns, config->header_timeout_ms))
            connection_refuse(connection, ST_REQUEST_TIMEOUT, "the header did not arrive within --header-timeout-ms");
    } else if (connection->guard.phase == HTTP_GUARD_IDLE) {
        bool is_fresh = connection->guard.requests == 0;
        if (is_past(now_ns, connection->idle_since_ns, is_fresh ? config->header_timeout_ms : config->idle_timeout_ms))
            drop(connection);
    }
}

void connections_sweep(struct loop *loop)
{
    if (loop->now_ns < loop->next_sweep_ns)
        return;
    loop->next_sweep_ns = loop->now_ns + LOOP_SWEEP_MS * NS_PER_MS;
    for (struct connection *connection = loop->connections; connection != NULL; connection = connection->next)
        enforce(connection, loop->server->config, loop->now_ns);
    linger_sweep(loop, loop->now_ns);
}
