/* io_pool: who fetches what, and when.
 *
 * One lock guards the admission queue, the threads' inboxes and the counters. It is taken once by a submit and once by
 * each turn of a thread, for a few hundred nanoseconds, and never held while libcurl runs, JSON is written, a callback
 * is called or anybody is woken. A single queue is what makes the limits exact and lets any thread take any work;
 * sharding it per thread would make a host's limit a share of a limit.
 *
 * A transfer goes to the thread that its host's hash names, where connections to it are kept, unless that thread has
 * clearly more to do than the idlest: then spreading wins, so that a thousand URLs of one host use every thread.
 *
 * A call that has no unfinished item goes onto its loop's done stack, which is lock-free because the loop looks at it
 * before every sleep. */
#include "pool/io_pool.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "pool/fetch_render.h"
#include "pool/io_thread.h"
#include "pool/url_rules.h"

enum {
    SPREAD_LOAD = 32, /* jobs more than the idlest thread that affinity is worth */
    TAKE_MAX = 32,    /* jobs a turn of a thread starts, so that those it has are served in between */
    IDLE_CONNECTIONS_EXTRA = 64
};

struct done_stack {
    _Alignas(64) _Atomic(struct io_call *) top;
};

struct io_pool {
    struct egress_policy policy;
    size_t queue_max, total_body_max;
    unsigned thread_count, loop_count;
    char *user_agent;
    struct io_thread *threads;
    struct bell_ringer *ringers; /* thread_count x loop_count */
    struct done_stack *done;     /* per loop */

    pthread_mutex_t lock; /* guards what follows, and what other structs say it guards */
    struct admission admission;
    size_t unfinished; /* items of all calls */
    bool is_stopping;
    struct io_pool_stats stats; /* the counters */
};

static struct io_job *job_of(struct admission_ticket *ticket) { return (struct io_job *)(void *)ticket; }
_Static_assert(offsetof(struct io_job, ticket) == 0, "job_of() relies on it");

/* ---- completed calls */

static void push_done(struct io_pool *pool, struct io_call *state)
{
    _Atomic(struct io_call *) *top = &pool->done[state->call->loop].top;
    state->next_done = atomic_load_explicit(top, memory_order_relaxed);
    while (!atomic_compare_exchange_weak(top, &state->next_done, state)) {
    }
}

bool io_pool_has_news(struct io_pool *pool, unsigned loop) { return atomic_load(&pool->done[loop].top) != NULL; }

void io_pool_collect(struct io_pool *pool, unsigned loop)
{
    if (!io_pool_has_news(pool, loop))
        return;
    struct io_call *newest = atomic_exchange(&pool->done[loop].top, NULL), *oldest = NULL;
    while (newest) { /* the first to finish is answered first */
        struct io_call *next = newest->next_done;
        newest->next_done = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest) {
        struct fetch_call *call = oldest->call;
        struct io_call *next = oldest->next_done;
        free(oldest);
        call->pool_state = NULL;
        call->on_done(call);
        oldest = next;
    }
}

/* ---- under the lock */

/* True: it was the call's last item. */
static bool account(struct io_pool *pool, struct io_job *job)
{
    struct io_pool_stats *stats = &pool->stats;
    enum status status = job->item->status;
    if (status == ST_OK)
        stats->urls_ok++;
    else
        stats->urls_failed++, stats->failed_by_status[status]++;
    stats->bytes_received += job->usage.body_bytes;
    stats->connections_opened += job->usage.connections_opened;
    stats->connections_reused += job->usage.connections_reused;
    pool->unfinished--;
    return --job->call->unfinished == 0;
}

static struct io_thread *choose_thread(struct io_pool *pool, const struct admission_ticket *ticket)
{
    struct io_thread *near = &pool->threads[admission_host_hash(ticket) % pool->thread_count], *idlest = near;
    for (unsigned i = 0; i < pool->thread_count; i++)
        if (pool->threads[i].load < idlest->load)
            idlest = &pool->threads[i];
    return near->load > idlest->load + SPREAD_LOAD ? idlest : near;
}

/* Starts what may start. Returns a bit for each thread that was given work. */
static uint64_t hand_out(struct io_pool *pool)
{
    uint64_t given = 0;
    struct admission_ticket *ticket;
    while ((ticket = admission_next(&pool->admission)) != NULL) {
        struct io_thread *thread = choose_thread(pool, ticket);
        struct io_job *job = job_of(ticket);
        job->thread = thread->index;
        job->is_with_thread = true;
        TAILQ_INSERT_TAIL(&thread->inbox, job, link);
        thread->load++;
        pool->stats.urls_started++;
        given |= UINT64_C(1) << thread->index;
    }
    return given;
}

/* Returns the first of the calls that completed, linked by next_done. */
static struct io_call *take_back(struct io_thread *thread)
{
    struct io_pool *pool = thread->pool;
    struct io_call *completed = NULL;
    struct io_job *job, *next;
    for (job = TAILQ_FIRST(&thread->finished); job; job = next) {
        next = TAILQ_NEXT(job, link);
        if (job->is_to_cancel)
            TAILQ_REMOVE(&thread->to_cancel, job, cancel_link);
        job->is_to_cancel = job->is_with_thread = false;
        thread->load--;
        admission_finish(&pool->admission, &job->ticket);
        if (account(pool, job)) {
            job->call->next_done = completed;
            completed = job->call;
        }
    }
    TAILQ_INIT(&thread->finished);
    return completed;
}

static void take_lists(struct io_thread *thread, struct io_jobs *ret_new, struct io_jobs *ret_to_cancel)
{
    struct io_job *job;
    TAILQ_INIT(ret_new);
    TAILQ_INIT(ret_to_cancel);
    for (unsigned i = 0; i < TAKE_MAX && (job = TAILQ_FIRST(&thread->inbox)) != NULL; i++) {
        TAILQ_REMOVE(&thread->inbox, job, link);
        TAILQ_INSERT_TAIL(ret_new, job, link);
    }
    for (job = TAILQ_FIRST(&thread->to_cancel); job; job = TAILQ_NEXT(job, cancel_link))
        job->is_to_cancel = false;
    TAILQ_CONCAT(ret_to_cancel, &thread->to_cancel, cancel_link);
}

/* ---- without the lock */

static void wake(struct io_pool *pool, uint64_t threads)
{
    for (; threads != 0; threads &= threads - 1) {
        struct io_thread *thread = &pool->threads[__builtin_ctzll(threads)];
        if (atomic_exchange(&thread->is_asleep, false))
            curl_loop_wake(&thread->loop);
    }
}

bool io_pool_trade(struct io_thread *thread, struct io_jobs *ret_new, struct io_jobs *ret_to_cancel)
{
    struct io_pool *pool = thread->pool;
    pthread_mutex_lock(&pool->lock);
    struct io_call *completed = take_back(thread);
    uint64_t given = hand_out(pool);
    take_lists(thread, ret_new, ret_to_cancel);
    bool goes_on = !pool->is_stopping;
    atomic_store(&thread->is_asleep, TAILQ_EMPTY(ret_new) && TAILQ_EMPTY(ret_to_cancel));
    pthread_mutex_unlock(&pool->lock);
    wake(pool, given & ~(UINT64_C(1) << thread->index));
    while (completed) {
        struct io_call *next = completed->next_done;
        unsigned loop = completed->call->loop;
        push_done(pool, completed);
        bell_ring(&thread->ringers[loop]);
        completed = next;
    }
    return goes_on;
}

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
    state->call = call;
    state->unfinished = call->count;
    state->budget.max = pool->total_body_max;
    state->jobs = (struct io_job *)(void *)(state + 1);
    for (size_t i = 0; i < call->count; i++) {
        state->jobs[i].call = state;
        state->jobs[i].item = &call->items[i];
    }
    return state;
}

/* The hosts' keys one after the other, each ended by NUL; a URL that will be refused has an empty one. */
static bool list_origins(const struct fetch_call *call, struct buf *origins)
{
    for (size_t i = 0; i < call->count; i++) {
        struct url_parts parts;
        const char *message;
        char origin[URL_ORIGIN_SIZE] = "";
        size_t len =
            url_rules_check(call->items[i].url, &parts, &message) == ST_OK ? url_rules_origin(&parts, origin) : 0;
        buf_append(origins, origin, len + 1);
    }
    return !origins->failed;
}

/* Under the lock; all or nothing. */
static bool enqueue(struct io_pool *pool, struct io_call *state, const char *origins)
{
    struct fetch_call *call = state->call;
    admission_group_init(&pool->admission, &state->group, call->concurrency,
                         (struct admission_lane *)(void *)(state->jobs + call->count));
    for (size_t i = 0; i < call->count; i++) {
        size_t len = strlen(origins);
        if (!admission_add(&pool->admission, &state->group, &state->jobs[i].ticket, origins, len)) {
            while (admission_withdraw(&pool->admission, &state->group) != NULL) {
            }
            return false;
        }
        origins += len + 1;
    }
    pool->unfinished += call->count;
    pool->stats.calls++;
    return true;
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
    uint64_t given = 0;
    enum status status = ST_OK;
    pthread_mutex_lock(&pool->lock);
    if (pool->queue_max < pool->unfinished || call->count > pool->queue_max - pool->unfinished)
        status = ST_QUEUE_FULL;
    else if (!enqueue(pool, state, origins.data))
        status = ST_NO_MEMORY;
    else
        given = hand_out(pool);
    pthread_mutex_unlock(&pool->lock);
    buf_done(&origins);
    if (status == ST_OK) {
        wake(pool, given);
        if (call->count == 0)
            push_done(pool, state);
    } else {
        call->pool_state = NULL;
        free(state);
    }
    return status;
}

/* Under the lock: `ret_waiting` gets the jobs that no thread has, the threads are told of the others. */
static uint64_t split_for_cancel(struct io_pool *pool, struct io_call *state, struct io_jobs *ret_waiting)
{
    struct admission_ticket *ticket;
    while ((ticket = admission_withdraw(&pool->admission, &state->group)) != NULL)
        TAILQ_INSERT_TAIL(ret_waiting, job_of(ticket), link);
    uint64_t told = 0;
    for (size_t i = 0; i < state->call->count; i++) {
        struct io_job *job = &state->jobs[i];
        if (!job->is_with_thread)
            continue;
        job->is_to_cancel = true;
        TAILQ_INSERT_TAIL(&pool->threads[job->thread].to_cancel, job, cancel_link);
        told |= UINT64_C(1) << job->thread;
    }
    return told;
}

static void fail_waiting(struct io_call *state, struct io_jobs *waiting)
{
    struct io_job *job;
    for (job = TAILQ_FIRST(waiting); job; job = TAILQ_NEXT(job, link)) {
        fetch_item_fail(job->item, state->why, "queue", "%s", status_title(state->why));
        fetch_render_failure(job->item, (size_t)(job - state->jobs));
    }
}

void io_pool_cancel(struct io_pool *pool, struct fetch_call *call, enum status why)
{
    struct io_call *state = call->pool_state;
    struct io_jobs waiting;
    TAILQ_INIT(&waiting);
    if (!state)
        return;
    pthread_mutex_lock(&pool->lock);
    bool is_over = state->unfinished == 0 || state->why != ST_OK;
    if (!is_over)
        state->why = why;
    uint64_t told = is_over ? 0 : split_for_cancel(pool, state, &waiting);
    pthread_mutex_unlock(&pool->lock);
    wake(pool, told);
    if (TAILQ_EMPTY(&waiting))
        return;
    fail_waiting(state, &waiting);
    bool was_last = false;
    struct io_job *job;
    pthread_mutex_lock(&pool->lock);
    for (job = TAILQ_FIRST(&waiting); job; job = TAILQ_NEXT(job, link))
        was_last = account(pool, job);
    pthread_mutex_unlock(&pool->lock);
    if (was_last)
        push_done(pool, state); /* the caller is the loop itself: it looks before it sleeps */
}

void io_pool_get_stats(struct io_pool *pool, struct io_pool_stats *ret_stats)
{
    pthread_mutex_lock(&pool->lock);
    *ret_stats = pool->stats;
    ret_stats->queued = pool->admission.waiting;
    ret_stats->in_flight = pool->admission.running;
    pthread_mutex_unlock(&pool->lock);
    ret_stats->threads = pool->thread_count;
    ret_stats->blocked = ret_stats->failed_by_status[ST_BLOCKED_ADDRESS];
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
    admission_done(&pool->admission);
    pthread_mutex_destroy(&pool->lock);
    free(pool->user_agent);
    free(pool->threads);
    free(pool->ringers);
    free(pool->done);
    free(pool);
}

static struct io_pool *new_pool(const struct io_pool_config *config)
{
    struct io_pool *pool = calloc(1, sizeof *pool);
    if (!pool)
        return NULL;
    pthread_mutex_init(&pool->lock, NULL);
    pool->policy = config->policy;
    pool->queue_max = config->queue_max;
    pool->total_body_max = config->total_body_max;
    pool->thread_count = config->threads;
    pool->loop_count = config->loops;
    pool->user_agent = strdup(config->user_agent);
    pool->threads = calloc(config->threads, sizeof *pool->threads);
    pool->ringers = calloc((size_t)config->threads * config->loops, sizeof *pool->ringers);
    pool->done = aligned_alloc(_Alignof(struct done_stack), config->loops * sizeof *pool->done);
    if (pool->user_agent && pool->threads && pool->ringers && pool->done &&
        admission_init(&pool->admission, config->inflight_max, config->per_host_max)) {
        memset(pool->done, 0, config->loops * sizeof *pool->done);
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
    thread->env = (struct transfer_env){ .thread = index,
                                         .policy = &pool->policy,
                                         .connect_timeout_ms = config->connect_timeout_ms,
                                         .user_agent = pool->user_agent };
    thread->ringers = &pool->ringers[(size_t)index * config->loops];
    for (unsigned i = 0; i < config->loops; i++)
        thread->ringers[i] = (struct bell_ringer){ .bell = config->bells[i], .event_fd = config->event_fds[i] };
    return io_thread_init(thread, 2L * config->inflight_max / config->threads + IDLE_CONNECTIONS_EXTRA);
}

enum status io_pool_create(const struct io_pool_config *config, struct io_pool **ret_pool)
{
    struct io_pool *pool = new_pool(config);
    if (!pool)
        return ST_NO_MEMORY;
    unsigned ready = 0, started = 0;
    while (ready < config->threads && init_thread(pool, ready, config))
        ready++;
    if (ready == config->threads)
        while (started < ready && io_thread_start(&pool->threads[started]))
            started++;
    if (started == config->threads) {
        *ret_pool = pool;
        return ST_OK;
    }
    stop_threads(pool, started);
    for (unsigned i = 0; i < ready; i++)
        io_thread_done(&pool->threads[i]);
    free_parts(pool);
    return ST_INTERNAL;
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

void fetch_call_clear(struct fetch_call *call)
{
    for (size_t i = 0; i < call->count; i++) {
        free(call->items[i].json);
        call->items[i].json = NULL;
    }
}
