/* Loop 0 runs on the main thread and also hears the supervisor; further loops and the I/O pool have threads of their
 * own. Everything is created before the first loop turns and freed after the last has ended, so that leak checkers mean
 * something; only if a request could not be ended in time does the process leave without tidying up. */
#include "service/frontend.h"

#include <ares.h>
#include <curl/curl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "handlers/limits.h"
#include "pool/guard_test.h"
#include "pool/io_pool.h"
#include "pool/process_pool.h"
#include "service/connection.h"
#include "service/control.h"
#include "service/drain.h"
#include "service/heap.h"
#include "service/loop.h"
#include "service/version.h"

enum {
    QUEUE_PER_WORKER = 16,
    QUEUE_MIN = 64,
    OWN_DESCRIPTORS = 64,           /* epoll, eventfds, sockets of ours, libraries' files */
    DESCRIPTORS_PER_IO_THREAD = 24, /* epoll, eventfd, the resolver's sockets */
    DESCRIPTORS_UNKNOWN = 1024,
    DESCRIPTORS_MAX = 1024 * 1024
};

struct frontend {
    struct server server; /* first: app is its first member */
    struct egress_policy egress;
    const struct frontend_config *given;
    struct watch control_watch;
    struct loop *loops;
    struct loop **loop_list;
    unsigned inflight_max;          /* transfers at once */
    unsigned fetch_connections_max; /* kept ones included */
};

/* ---- the supervisor's messages */

static void kill_worker(void *context, unsigned worker, uint32_t generation, const char *reason, bool is_idle)
{
    const struct frontend *frontend = context;
    struct control_message message = {
        .type = CONTROL_KILL_WORKER, .worker = worker, .generation = generation, .is_idle = is_idle
    };
    snprintf(message.reason, sizeof message.reason, "%s", reason);
    /* a full socket is no loss: the pool asks again while the worker lives */
    bool ignored = control_send(frontend->given->control_fd, &message);
    (void)ignored;
}

static bool want_workers(void *context, unsigned group, unsigned count)
{
    const struct frontend *frontend = context;
    return control_send(frontend->given->control_fd,
                        &(struct control_message){ .type = CONTROL_WANT_WORKERS, .group = group, .count = count });
}

static void on_control(struct watch *watch, uint32_t events)
{
    struct frontend *frontend = (struct frontend *)(void *)((char *)watch - offsetof(struct frontend, control_watch));
    struct process_pool *pool = frontend->server.app.process_pool;
    struct control_message message;
    enum control_result result;
    (void)events;
    while ((result = control_receive(frontend->given->control_fd, &message)) == CONTROL_RECEIVED) {
        if (message.type == CONTROL_DRAIN || message.type == CONTROL_STOP)
            drain_begin(&frontend->server, message.type == CONTROL_STOP);
        else if (message.type == CONTROL_HAND_OVER)
            drain_hand_over(&frontend->server);
        else if (message.worker >= frontend->given->shared->workers)
            continue;
        else if (message.type == CONTROL_WORKER_STARTED)
            process_pool_worker_started(pool, message.worker, message.generation, message.pid);
        else if (message.type == CONTROL_WORKER_DIED)
            process_pool_worker_died(pool, message.worker, message.generation, message.wait_status);
    }
    if (result == CONTROL_CLOSED) /* the supervisor is gone, and with it whoever could replace a worker */
        _exit(1);
}

/* Every client and every transfer needs a descriptor. If the limit does not allow what was configured, both get less,
 * and the log says so. What is left over is for kept connections. */
static void budget_descriptors(struct frontend *frontend)
{
    const struct config *config = frontend->given->config;
    struct server *server = &frontend->server;
    struct rlimit limit = { .rlim_cur = DESCRIPTORS_UNKNOWN };
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur > DESCRIPTORS_MAX)
        limit.rlim_cur = DESCRIPTORS_MAX;
    uint64_t own = OWN_DESCRIPTORS + 2 * (uint64_t)frontend->given->shared->workers +
                   DESCRIPTORS_PER_IO_THREAD * (uint64_t)config->io_threads;
    uint64_t wanted = (uint64_t)config->max_connections + config->fetch_inflight_max;
    uint64_t available = limit.rlim_cur > own ? limit.rlim_cur - own : 1;
    server->max_connections = config->max_connections;
    frontend->inflight_max = config->fetch_inflight_max;
    if (wanted > available) {
        server->max_connections = (unsigned)(config->max_connections * available / wanted) + 1;
        frontend->inflight_max = (unsigned)(config->fetch_inflight_max * available / wanted) + 1;
        log_event(LOG_WARNING, "descriptor_limit", LOG_INT("limit", limit.rlim_cur),
                  LOG_INT("max_connections", server->max_connections),
                  LOG_INT("fetch_inflight_max", frontend->inflight_max));
    }
    frontend->fetch_connections_max = available > server->max_connections + (uint64_t)frontend->inflight_max
                                          ? (unsigned)available - server->max_connections
                                          : frontend->inflight_max + 1;
}

/* ---- creating */

static void get_server_stats(const struct app *app, struct server_stats *ret_stats)
{
    static const char *const names[] = {
        [LIFECYCLE_RUNNING] = "running",   [LIFECYCLE_HANDING_OVER] = "handing over", [LIFECYCLE_LEAVING] = "draining",
        [LIFECYCLE_DRAINING] = "draining", [LIFECYCLE_STOPPING] = "stopping",         [LIFECYCLE_STOPPED] = "stopping"
    };
    const struct server *server = (const struct server *)(const void *)app;
    enum lifecycle phase = server_lifecycle(server);
    *ret_stats = (struct server_stats){
        .lifecycle = names[phase],
        .is_draining = phase >= LIFECYCLE_LEAVING,
        .loops = server->loop_count,
        .uptime_ns = clock_now_ns() - app->started_ns,
        .connections = atomic_load_explicit(&server->connections, memory_order_relaxed),
        .connections_accepted = atomic_load_explicit(&server->connections_accepted, memory_order_relaxed),
        .connections_refused = atomic_load_explicit(&server->connections_refused, memory_order_relaxed),
        .requests = atomic_load_explicit(&server->requests, memory_order_relaxed),
        .requests_in_flight = atomic_load_explicit(&server->requests_in_flight, memory_order_relaxed),
        .body_bytes = atomic_load_explicit(&server->body_bytes, memory_order_relaxed),
    };
    for (size_t i = 0; i < ARRAY_LEN(ret_stats->responses); i++)
        ret_stats->responses[i] = atomic_load_explicit(&server->responses[i], memory_order_relaxed);
}

static void fill_limits(const struct config *config, unsigned workers, struct handler_limits *ret_limits)
{
    *ret_limits = (struct handler_limits){
        .version = TWINPOOL_VERSION,
        .workers = workers,
        .compute_timeout_ms = config->compute_timeout_ms,
        .compute_timeout_max_ms = config->compute_timeout_max_ms,
        .map_max_items = config->map_max_items,
        .map_stream_bytes = config->map_stream_bytes,
        .max_result_bytes = config->max_result_bytes,
        .fetch_timeout_ms = config->fetch_timeout_ms,
        .fetch_dns_timeout_ms = config->fetch_dns_timeout_ms,
        .fetch_connect_timeout_ms = config->fetch_connect_timeout_ms,
        .fetch_tls_timeout_ms = config->fetch_tls_timeout_ms,
        .fetch_first_byte_timeout_ms = config->fetch_first_byte_timeout_ms,
        .fetch_timeout_max_ms = config->fetch_timeout_max_ms,
        .fetch_max_urls = config->fetch_max_urls,
        .fetch_inflight_max = config->fetch_inflight_max,
        .fetch_max_body_bytes = config->fetch_max_body_bytes,
        .fetch_max_redirects = config->fetch_max_redirects,
        .fetch_retries = config->fetch_retries,
    };
}

static bool create_process_pool(struct frontend *frontend)
{
    const struct shared *shared = frontend->given->shared;
    const struct config *config = frontend->given->config;
    unsigned by_workers = shared->limits[0].workers_max * QUEUE_PER_WORKER;
    struct process_pool_config pool_config = {
        .workers = shared->workers,
        .mailboxes = shared->mailboxes,
        .spills = shared->spills,
        .groups = shared->groups,
        .group_count = shared->group_count,
        .limits = shared->limits,
        .loops = shared->loops,
        .bells = shared->bells,
        .event_fds = shared->event_fds,
        .queue_max = config->queue_max > 0    ? config->queue_max
                     : by_workers > QUEUE_MIN ? by_workers
                                              : QUEUE_MIN,
        .queue_max_bytes = config->queue_max_bytes,
        .result_max = config->max_result_bytes,
        .quarantine_ns = config->quarantine_ms * NS_PER_MS,
        .cancel_grace_ns = config->cancel_grace_ms * NS_PER_MS,
        .kill_worker = kill_worker,
        .kill_context = frontend,
        .want_workers = want_workers,
    };
    if (process_pool_create(&pool_config, &frontend->server.app.process_pool) != ST_OK)
        return false;
    for (unsigned i = 0; i < shared->workers; i++)
        if (frontend->given->workers[i].pid != 0)
            process_pool_worker_started(frontend->server.app.process_pool, i, frontend->given->workers[i].generation,
                                        frontend->given->workers[i].pid);
    return true;
}

/* False: the policy does not hold. */
static bool test_guard(void)
{
    const char *what;
    enum guard_result result = guard_test_run(&what);
    if (result == GUARD_BROKEN)
        log_event(LOG_ERROR, "egress_guard_broken", LOG_STR("what", what));
    else if (result == GUARD_UNTESTED)
        log_event(LOG_WARNING, "egress_guard_untested", LOG_STR("what", what));
    return result != GUARD_BROKEN;
}

static bool create_io_pool(struct frontend *frontend)
{
    const struct shared *shared = frontend->given->shared;
    const struct config *config = frontend->given->config;
    struct io_pool_config pool_config = {
        .threads = config->io_threads,
        .loops = shared->loops,
        .bells = shared->bells,
        .event_fds = shared->event_fds,
        .policy = config->egress,
        .inflight_max = frontend->inflight_max,
        .per_call_max = config->fetch_per_call ? config->fetch_per_call : (frontend->inflight_max + 1) / 2,
        .per_host_max = config->fetch_per_host,
        .connections_max = frontend->fetch_connections_max,
        .queue_max = config->fetch_queue_max,
        .total_body_max = config->fetch_max_total_bytes,
        .memory_max = config->fetch_memory_bytes,
        .stream_window = config->fetch_stream_bytes,
        .min_rate = config->fetch_min_rate,
        .max_ratio = config->fetch_max_ratio,
        .breaker = { .failures = config->fetch_breaker_failures,
                     .open_ns = config->fetch_breaker_open_ms * NS_PER_MS,
                     .counted = config->breaker_counted },
        .dns_servers = config->fetch_dns_servers,
        .ca_file = config->fetch_ca_file,
        .user_agent = "twinpool/" TWINPOOL_VERSION,
    };
    socklen_t len = sizeof pool_config.policy.own_address;
    if (getsockname(shared->listen_fd, (struct sockaddr *)&pool_config.policy.own_address, &len) != 0)
        return false;
    frontend->egress = pool_config.policy;
    frontend->server.limits.egress = &frontend->egress;
    /* libcurl would write the keys of all TLS connections to the file that it names.
     * NOLINTNEXTLINE(concurrency-mt-unsafe): there is no other thread yet */
    unsetenv("SSLKEYLOGFILE");
    if (curl_global_init(CURL_GLOBAL_ALL) != CURLE_OK || ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS ||
        !test_guard())
        return false;
    enum status status = io_pool_create(&pool_config, &frontend->server.app.io_pool);
    if (status == ST_TLS_VERIFY_FAILED)
        log_event(LOG_ERROR, "ca_file_unusable", LOG_STR("fetch_ca_file", pool_config.ca_file),
                  LOG_STR("error", "the file cannot be read or has no certificate in PEM (--fetch-ca-file)"));
    else if (status == ST_DNS_FAILED)
        log_event(LOG_ERROR, "dns_servers_unusable", LOG_STR("fetch_dns_servers", pool_config.dns_servers));
    return status == ST_OK;
}

static bool create_loops(struct frontend *frontend)
{
    const struct shared *shared = frontend->given->shared;
    frontend->loops = calloc(shared->loops, sizeof *frontend->loops);
    frontend->loop_list = calloc(shared->loops, sizeof(struct loop *));
    if (frontend->loops == NULL || frontend->loop_list == NULL || !connections_setup())
        return false;
    for (unsigned i = 0; i < shared->loops; i++) {
        frontend->loop_list[i] = &frontend->loops[i];
        if (!loop_open(&frontend->loops[i], &frontend->server, i, shared->bells[i], shared->event_fds[i]))
            return false;
    }
    frontend->server.loops = frontend->loop_list;
    frontend->control_watch.on_event = on_control;
    return loop_watch(&frontend->loops[0], frontend->given->control_fd, EPOLLIN, &frontend->control_watch);
}

/* ---- running */

static void *run_loop(void *loop)
{
    loop_run(loop);
    return NULL;
}

/* False: a thread could not be started. */
static bool serve(struct frontend *frontend)
{
    unsigned count = frontend->server.loop_count;
    for (unsigned i = 1; i < count; i++)
        if (pthread_create(&frontend->loops[i].thread, NULL, run_loop, &frontend->loops[i]) != 0)
            return false;
    if (!control_send(frontend->given->control_fd, &(struct control_message){ .type = CONTROL_SERVING }))
        return false;
    loop_run(&frontend->loops[0]);
    for (unsigned i = 1; i < count; i++)
        pthread_join(frontend->loops[i].thread, NULL);
    return true;
}

static void tidy_up(struct frontend *frontend)
{
    for (unsigned i = 0; i < frontend->server.loop_count; i++)
        loop_close(&frontend->loops[i]);
    io_pool_free(frontend->server.app.io_pool);
    process_pool_free(frontend->server.app.process_pool);
    connections_teardown();
    free(frontend->loops);
    free(frontend->loop_list);
    ares_library_cleanup();
    curl_global_cleanup();
}

static void confine(pid_t supervisor)
{
    /* the supervisor passes signals on; one sent to the whole group must not cut the drain short */
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_NAME, "tp-front-end");
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != supervisor) /* it died before that took effect */
        _exit(1);
}

int frontend_main(const struct frontend_config *given)
{
    static struct frontend frontend;
    confine(given->supervisor);
    heap_setup();
    frontend.given = given;
    frontend.server.config = given->config;
    frontend.server.listen_fd = given->shared->listen_fd;
    frontend.server.loop_count = given->shared->loops;
    frontend.server.guard_limits = (struct http_guard_limits){ .header_bytes = given->config->max_header_bytes,
                                                               .entry_bytes = HEADER_ENTRY_BYTES,
                                                               .header_count = 100,
                                                               .target_bytes = given->config->max_url_bytes };
    fill_limits(given->config, given->shared->limits[0].workers_max, &frontend.server.limits);
    frontend.server.app = (struct app){ .limits = &frontend.server.limits,
                                        .get_server_stats = get_server_stats,
                                        .started_ns = clock_now_ns(),
                                        .sandbox = given->shared->sandbox };
    budget_descriptors(&frontend);
    if (!create_process_pool(&frontend) || !create_io_pool(&frontend) || !create_loops(&frontend) ||
        !serve(&frontend)) {
        log_event(LOG_ERROR, "start_failed", LOG_STR("process", "front end"));
        return 1;
    }
    if (atomic_load(&frontend.server.requests_in_flight) > 0)
        _exit(0);
    tidy_up(&frontend);
    return 0;
}
