/* io_pool: calls come in, are cancelled, told of and released; the pool is made and ends. What happens under the lock
 * in each turn of a thread is in io_trade.c.
 *
 * A call that has news (an item is done and its submitter wants to know, or all are) goes onto its loop's stack, which
 * is lock-free because the loop looks at it before every sleep. */
#include "pool/io_pool.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "pool/io_internal.h"
#include "pool/url_rules.h"

enum { RESERVE_BYTES = 32 * 1024 * 1024 }; /* of memory, for what cannot wait */

/* ---- submitting */

/* One block: the call's state, its jobs, and as many lanes. */
static struct io_call *new_call_state(struct io_pool *pool, struct fetch_call *call)
{
    size_t per_item = sizeof(struct io_job) + sizeof(struct admission_lane);
    _Static_assert(sizeof(struct io_call) % _Alignof(struct io_job) == 0 &&
                       sizeof(struct io_job) % _Alignof(struct admission_lane) == 0,
                   "they follow each other in memory");
    if (call->count > (SIZE_MAX - sizeof(struct io_call)) / per_item)
        return NULL;
    struct io_call *state = calloc(1, sizeof *state + call->count * per_item);
    if (!state)
        return NULL;
    state->pool = pool;
    state->call = call;
    state->unfinished = call->count;
    state->share.body_bytes_max = pool->total_body_max;
    state->share.traceparent = call->traceparent;
    state->share.memory.window = call->on_item ? pool->stream_window : 0;
    TAILQ_INIT(&state->finished);
    state->jobs = (struct io_job *)(void *)(state + 1);
    for (size_t i = 0; i < call->count; i++) {
        struct io_job *job = &state->jobs[i];
        job->call = state;
        job->item = &call->items[i];
        job->rest.on_due = io_job_rested;
        job->counted_shard = -1;
    }
    return state;
}

/* The hosts' keys one after the other, each ended by NUL; a URL that will be refused has an empty one. */
static bool list_origins(const struct fetch_call *call, struct buf *origins)
{
    for (size_t i = 0; i < call->count; i++) {
        struct url_parts parts UNINITIALIZED;
        const char *message;
        char origin[URL_ORIGIN_SIZE] UNINITIALIZED;
        bool is_url = url_rules_check(call->items[i].url, &parts, &message) == ST_OK;
        size_t len = is_url ? url_rules_origin(&parts, origin) : 0;
        origin[len] = '\0';
        buf_append(origins, origin, len + 1);
    }
    return !origins->failed;
}

/* The items before the one that could not be added. */
static void take_out_again(struct io_call *state, size_t count, uint64_t now_ns)
{
    struct io_jobs orphans;
    for (size_t i = 0; i <= count; i++) {
        struct io_job *job = &state->jobs[i];
        if (i < count && job->place == IO_FOLLOWING)
            io_share_leave(job);
        else if (i < count)
            admission_withdraw(&state->pool->admission, &job->ticket, now_ns);
        if (job->share)
            io_share_close(job, true, now_ns, &orphans); /* only items of this call can have joined */
    }
    timers_cancel(&state->pool->expiries, &state->expiry);
}

/* Under the lock; all or nothing. */
static bool enqueue(struct io_pool *pool, struct io_call *state, const char *origins)
{
    struct fetch_call *call = state->call;
    uint64_t now_ns = call->started_ns;
    admission_group_init(&pool->admission, &state->group, call->concurrency ? call->concurrency : pool->per_call_max,
                         (struct admission_lane *)(void *)(state->jobs + call->count));
    for (size_t i = 0; i < call->count; i++) {
        struct io_job *job = &state->jobs[i];
        size_t len = strlen(origins);
        if (!io_share_join(pool, job, origins, len) && !io_enqueue(job, origins, len, now_ns)) {
            struct io_jobs nobody;
            if (job->share)
                io_share_close(job, true, now_ns, &nobody);
            take_out_again(state, i, now_ns);
            return false;
        }
        origins += len + 1;
    }
    pool->unfinished += call->count;
    pool->stats.calls++;
    return true;
}

/* If some of the call's items have to wait, the first thread wakes up when they have waited too long. */
static uint64_t watch_waiting(struct io_pool *pool, struct io_call *state)
{
    io_watch_expiry(state);
    return io_expiry_watcher(pool);
}

static void push_empty(struct io_pool *pool, struct io_call *state)
{
    struct io_aftermath aftermath;
    io_aftermath_init(&aftermath);
    aftermath.news = state;
    state->has_news = true;
    io_settle(pool, &aftermath, NULL);
}

enum status io_pool_submit(struct io_pool *pool, struct fetch_call *call)
{
    struct io_call *state = new_call_state(pool, call);
    struct buf origins = BUF_INIT(SIZE_MAX / 2);
    if (!state || !list_origins(call, &origins)) {
        free(state);
        buf_done(&origins);
        return ST_NO_MEMORY;
    }
    call->pool_state = state;
    call->started_ns = clock_now_ns();
    uint64_t woken = 0;
    enum status status = ST_OK;
    pthread_mutex_lock(&pool->lock);
    if (pool->queue_max < pool->unfinished || call->count > pool->queue_max - pool->unfinished)
        status = ST_QUEUE_FULL;
    else if (!enqueue(pool, state, origins.data))
        status = ST_NO_MEMORY;
    else
        woken = io_hand_out(pool, call->started_ns);
    if (status == ST_OK)
        woken |= watch_waiting(pool, state);
    pthread_mutex_unlock(&pool->lock);
    buf_done(&origins);
    if (status != ST_OK) {
        call->pool_state = NULL;
        free(state);
        return status;
    }
    io_wake(pool, woken);
    if (call->count == 0)
        push_empty(pool, state);
    return ST_OK;
}

/* ---- cancelling, collecting, releasing */

void io_pool_cancel(struct io_pool *pool, struct fetch_call *call, enum status why)
{
    struct io_call *state = call->pool_state;
    struct io_aftermath aftermath;
    io_aftermath_init(&aftermath);
    if (!state)
        return;
    pthread_mutex_lock(&pool->lock);
    if (state->unfinished > 0 && state->why == ST_OK) {
        uint64_t now_ns = clock_now_ns();
        io_cancel_rest(state, why, NULL, now_ns, &aftermath);
        aftermath.woken |= io_hand_out(pool, now_ns) | io_expiry_watcher(pool); /* followers that lead now */
    }
    pthread_mutex_unlock(&pool->lock);
    io_settle(pool, &aftermath, NULL); /* the caller is the call's loop: it looks before it sleeps */
    io_wake_for_memory(pool);
}

bool io_pool_has_news(struct io_pool *pool, unsigned loop) { return atomic_load(&pool->news[loop].top) != NULL; }

static struct io_call *take_news(struct io_pool *pool, unsigned loop)
{
    struct io_call *newest = atomic_exchange(&pool->news[loop].top, NULL), *oldest = NULL;
    while (newest) { /* the first is told of first */
        struct io_call *next = newest->next_news;
        newest->next_news = oldest;
        oldest = newest;
        newest = next;
    }
    return oldest;
}

/* The items that are done and were not told of. True: they are the last. */
static bool take_finished(struct io_call *state, struct io_jobs *ret_finished)
{
    TAILQ_INIT(ret_finished);
    pthread_mutex_lock(&state->pool->lock);
    TAILQ_CONCAT(ret_finished, &state->finished, link);
    state->has_news = false;
    bool is_over = state->unfinished == 0;
    pthread_mutex_unlock(&state->pool->lock);
    return is_over;
}

void io_pool_collect(struct io_pool *pool, unsigned loop)
{
    if (!io_pool_has_news(pool, loop))
        return;
    for (struct io_call *state = take_news(pool, loop), *next; state; state = next) {
        struct fetch_call *call = state->call;
        struct io_jobs finished;
        struct io_job *job;
        next = state->next_news;
        bool is_over = !call->on_item || take_finished(state, &finished);
        if (call->on_item)
            TAILQ_FOREACH(job, &finished, link)
        call->on_item(call, job->item);
        if (is_over)
            call->on_done(call);
    }
}

static void free_result(struct io_pool *pool, struct fetch_item *item)
{
    free(item->json);
    free(item->message);
    item->json = item->message = NULL;
    memory_give_back(&pool->memory, &item->memory);
}

/* The caller may have read enough for the call to go on. Whoever pauses it looks at what is unread under the lock, too.
 */
static void go_on(struct io_pool *pool, struct io_call *state)
{
    uint64_t woken = 0;
    pthread_mutex_lock(&pool->lock);
    if (state->group.is_paused && atomic_load(&state->share.memory.unread) <= state->share.memory.window) {
        uint64_t now_ns = clock_now_ns();
        admission_pause_group(&pool->admission, &state->group, false, now_ns);
        woken = io_hand_out(pool, now_ns);
    }
    pthread_mutex_unlock(&pool->lock);
    io_wake(pool, woken);
}

void io_pool_free_result(struct io_pool *pool, struct fetch_call *call, struct fetch_item *item)
{
    struct io_call *state = call->pool_state;
    bool has_caught_up = memory_read(&pool->memory, &state->share.memory, item->json_len);
    free_result(pool, item);
    if (has_caught_up)
        go_on(pool, state);
    io_wake_for_memory(pool);
}

void io_pool_release(struct io_pool *pool, struct fetch_call *call)
{
    struct io_call *state = call->pool_state;
    for (size_t i = 0; i < call->count; i++)
        free_result(pool, &call->items[i]);
    if (!state)
        return;
    memory_close(&pool->memory, &state->share.memory);
    call->pool_state = NULL;
    free(state);
    io_wake_for_memory(pool);
}

/* ---- figures */

static void add_dns(struct io_pool *pool, struct resolver_stats *sum)
{
    for (unsigned i = 0; i < pool->thread_count; i++) {
        struct resolver_stats one = resolver_get_stats(pool->threads[i].resolver);
        sum->queries += one.queries;
        sum->hits += one.hits;
        sum->shared += one.shared;
        sum->failures += one.failures;
    }
}

static void count_open_breaker(void *user, const struct host *host)
{
    struct io_pool_stats *stats = user;
    if (host->breaker.open_until_ns > 0)
        stats->breakers_open++;
}

void io_pool_get_stats(struct io_pool *pool, struct io_pool_stats *ret_stats)
{
    pthread_mutex_lock(&pool->lock);
    *ret_stats = pool->stats;
    ret_stats->queued = pool->admission.waiting;
    ret_stats->in_flight = pool->admission.running;
    ret_stats->inflight_max = pool->admission.running_max;
    ret_stats->hosts = pool->hosts.count;
    if (pool->breaker.failures > 0)
        hosts_for_each(&pool->hosts, count_open_breaker, ret_stats);
    pthread_mutex_unlock(&pool->lock);
    ret_stats->threads = pool->thread_count;
    ret_stats->memory_taken = atomic_load(&pool->memory.taken) + atomic_load(&pool->memory.reserved);
    ret_stats->memory_max = pool->memory.max;
    ret_stats->paused = atomic_load(&pool->memory.waiting);
    ret_stats->blocked = ret_stats->failed_by_status[ST_BLOCKED_ADDRESS];
    add_dns(pool, &ret_stats->dns);
}

struct host_listing {
    struct io_host_info *hosts;
    size_t count, capacity;
    bool wants_open; /* else those that are closed and have failures */
    uint64_t now_ns;
};

static int compare_hosts(const void *a, const void *b)
{
    const struct io_host_info *x = a, *y = b;
    if (x->breaker != y->breaker)
        return x->breaker == BREAKER_IS_CLOSED   ? 1
               : y->breaker == BREAKER_IS_CLOSED ? -1
               : x->breaker < y->breaker         ? -1
                                                 : 1;
    return x->failures > y->failures ? -1 : x->failures < y->failures;
}

static void list_host(void *user, const struct host *host)
{
    struct host_listing *listing = user;
    bool is_open = host->breaker.open_until_ns > 0;
    if (is_open != listing->wants_open || (!is_open && host->breaker.failures == 0) ||
        listing->count == listing->capacity)
        return;
    struct io_host_info *info = &listing->hosts[listing->count++];
    *info = (struct io_host_info){ .breaker = breaker_state(&host->breaker, listing->now_ns),
                                   .failures = host->breaker.failures,
                                   .running = host->running };
    memcpy(info->origin, host->origin,
           host->origin_len < sizeof info->origin ? host->origin_len : sizeof info->origin - 1);
    if (info->breaker == BREAKER_IS_OPEN)
        info->opens_in_ns = host->breaker.open_until_ns - listing->now_ns;
}

size_t io_pool_get_hosts(struct io_pool *pool, struct io_host_info *ret_hosts, size_t capacity)
{
    struct host_listing listing = {
        .hosts = ret_hosts, .capacity = capacity, .wants_open = true, .now_ns = clock_now_ns()
    };
    if (pool->breaker.failures == 0)
        return 0;
    pthread_mutex_lock(&pool->lock);
    hosts_for_each(&pool->hosts, list_host, &listing);
    listing.wants_open = false;
    hosts_for_each(&pool->hosts, list_host, &listing);
    pthread_mutex_unlock(&pool->lock);
    qsort(ret_hosts, listing.count, sizeof *ret_hosts, compare_hosts);
    return listing.count;
}

/* ---- creation and end */

static void stop_threads(struct io_pool *pool, unsigned count)
{
    pthread_mutex_lock(&pool->lock);
    pool->is_stopping = true;
    pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < count; i++)
        curl_loop_wake(&pool->threads[i].loop);
    for (unsigned i = 0; i < count; i++)
        pthread_join(pool->threads[i].id, NULL);
}

static void free_parts(struct io_pool *pool)
{
    hosts_done(&pool->hosts);
    timers_done(&pool->expiries);
    pthread_mutex_destroy(&pool->lock);
    trust_store_free(pool->trust);
    free(pool->user_agent_line);
    free(pool->threads);
    free(pool->ringers);
    free(pool->news);
    free(pool);
}

static void set_limits(struct io_pool *pool, const struct io_pool_config *config)
{
    pool->policy = config->policy;
    pool->breaker = config->breaker;
    pool->queue_max = config->queue_max;
    pool->total_body_max = config->total_body_max;
    pool->stream_window = config->stream_window;
    pool->per_call_max = config->per_call_max;
    pool->watched_ns = CLOCK_NEVER;
    pool->memory.max = config->memory_max;
    pool->memory.overdraft_max = 2 * config->total_body_max; /* what bodies take as base64, and their headers */
    pool->memory.reserve_max = RESERVE_BYTES;
    pool->thread_count = config->threads;
    pool->loop_count = config->loops;
}

static struct io_pool *new_pool(const struct io_pool_config *config)
{
    struct io_pool *pool = calloc(1, sizeof *pool);
    if (!pool)
        return NULL;
    pthread_mutex_init(&pool->lock, NULL);
    set_limits(pool, config);
    if (asprintf(&pool->user_agent_line, "User-Agent: %s", config->user_agent) < 0)
        pool->user_agent_line = NULL;
    pool->threads = calloc(config->threads, sizeof *pool->threads);
    pool->ringers = calloc((size_t)config->threads * config->loops, sizeof *pool->ringers);
    pool->news = aligned_alloc(_Alignof(struct io_news), config->loops * sizeof *pool->news);
    if (hosts_init(&pool->hosts) && pool->user_agent_line && pool->threads && pool->ringers && pool->news) {
        memset(pool->news, 0, config->loops * sizeof *pool->news);
        admission_init(&pool->admission, &pool->hosts, config->inflight_max, config->per_host_max);
        return pool;
    }
    free_parts(pool);
    return NULL;
}

static bool init_thread(struct io_pool *pool, unsigned index, const struct io_pool_config *config)
{
    struct io_thread *thread = &pool->threads[index];
    thread->pool = pool;
    thread->index = index;
    thread->ringers = &pool->ringers[(size_t)index * config->loops];
    for (unsigned i = 0; i < config->loops; i++)
        thread->ringers[i] = (struct bell_ringer){ .bell = config->bells[i], .event_fd = config->event_fds[i] };
    return io_thread_init(thread, config);
}

static enum status start_threads(struct io_pool *pool, const struct io_pool_config *config)
{
    unsigned ready = 0, started = 0;
    while (ready < config->threads && init_thread(pool, ready, config))
        ready++;
    if (ready == config->threads)
        while (started < ready && io_thread_start(&pool->threads[started]))
            started++;
    if (started == config->threads)
        return ST_OK;
    stop_threads(pool, started);
    for (unsigned i = 0; i < ready; i++)
        io_thread_done(&pool->threads[i]);
    return ready < config->threads && config->dns_servers[0] ? ST_DNS_FAILED : ST_INTERNAL;
}

enum status io_pool_create(const struct io_pool_config *config, struct io_pool **ret_pool)
{
    struct io_pool *pool = new_pool(config);
    if (!pool)
        return ST_NO_MEMORY;
    pool->trust = trust_store_new(config->ca_file);
    enum status status = pool->trust ? start_threads(pool, config) : ST_TLS_VERIFY_FAILED;
    if (status == ST_OK)
        *ret_pool = pool;
    else
        free_parts(pool);
    return status;
}

void io_pool_free(struct io_pool *pool)
{
    if (!pool)
        return;
    stop_threads(pool, pool->thread_count);
    for (unsigned i = 0; i < pool->thread_count; i++)
        io_thread_done(&pool->threads[i]);
    free_parts(pool);
}
