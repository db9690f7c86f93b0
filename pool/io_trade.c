/* io_trade: who fetches what, and when: the exchange between the pool and its threads.
 *
 * A transfer goes to the thread that its host's hash names, where connections to it are kept, unless that thread has
 * clearly more to do than the idlest: then spreading wins, so that a thousand URLs of one host use every thread. One
 * that was begun goes back to its thread.
 *
 * What is decided under the lock but needs work outside of it (a result to be written, a loop to be told, a thread to
 * be woken) is collected as the "aftermath" and done when the lock was released. */
#include <stdlib.h>

#include "base/clock.h"
#include "pool/fetch_render.h"
#include "pool/io_internal.h"

enum {
    SPREAD_LOAD = 32, /* jobs more than the idlest thread that affinity is worth */
    TAKE_MAX = 32,    /* jobs a turn of a thread starts, so that those it has are served in between */
    SHARD_TRANSFERS = 48
};

/* ---- handing out */

static struct io_thread *choose_thread(struct io_pool *pool, const struct io_job *job)
{
    if (job->fetch)
        return &pool->threads[job->thread];
    struct io_thread *near = &pool->threads[job->ticket.lane->host->hash % pool->thread_count], *idlest = near;
    for (unsigned i = 0; i < pool->thread_count; i++)
        if (pool->threads[i].load < idlest->load)
            idlest = &pool->threads[i];
    return near->load > idlest->load + SPREAD_LOAD ? idlest : near;
}

/* Most of its time in the queue was its host's fault. */
static bool waited_for_host(const struct io_job *job) { return job->ticket.host_queue_ns * 2 > job->ticket.queue_ns; }

static struct fetch_why why_refused(enum status refusal)
{
    switch ((int)refusal) {
    case ST_HOST_BUSY:
        return (struct fetch_why){ refusal, "host_queue",
                                   "the time for this URL was over while it waited for its host to have room "
                                   "(--fetch-per-host)",
                                   "timeout_ms" };
    case ST_DEADLINE_EXCEEDED:
        return (struct fetch_why){ refusal, "queue", "the time for this URL was over before its turn came",
                                   "timeout_ms" };
    case ST_BREAKER_OPEN:
        return (struct fetch_why){ refusal, "queue",
                                   "the host has failed too often in a row (--fetch-breaker-failures) and is left "
                                   "alone for a while (--fetch-breaker-open-ms)",
                                   NULL };
    default:
        return (struct fetch_why){ refusal, "queue", status_title(refusal), NULL };
    }
}

struct fetch_why io_why(const struct io_job *job)
{
    const struct io_call *call = job->call;
    if (job->refusal != ST_OK)
        return why_refused(job->refusal);
    if (call->why == ST_DEADLINE_EXCEEDED)
        return (struct fetch_why){ call->why, NULL, "the time for the whole call was over", "Request-Timeout-Ms" };
    return (struct fetch_why){ call->why, NULL, call->why_text ? call->why_text : status_title(call->why), NULL };
}

static uint64_t deadline_ns(const struct io_job *job)
{
    return job->call->call->started_ns + job->item->timeout_ms * NS_PER_MS;
}

static enum status refusal_of(struct io_pool *pool, const struct io_job *job, uint64_t now_ns)
{
    if (now_ns >= deadline_ns(job))
        return waited_for_host(job) ? ST_HOST_BUSY : ST_DEADLINE_EXCEEDED;
    if (breaker_admits(&job->ticket.lane->host->breaker, &pool->breaker, now_ns))
        return ST_OK;
    pool->stats.breaker_refusals++;
    return ST_BREAKER_OPEN;
}

/* A host with many transfers needs several shards, and a count of each. */
static void count_shards(struct io_pool *pool, struct host *host)
{
    if (host->running <= SHARD_TRANSFERS || atomic_load_explicit(&host->shard_loads, memory_order_relaxed))
        return;
    atomic_store_explicit(&host->shard_loads, calloc((size_t)pool->thread_count * CURL_LOOP_SHARDS, sizeof(uint16_t)),
                          memory_order_release); /* without memory it has one shard */
}

uint64_t io_hand_out(struct io_pool *pool, uint64_t now_ns)
{
    uint64_t given = 0;
    struct admission_ticket *ticket;
    while ((ticket = admission_next(&pool->admission, now_ns)) != NULL) {
        struct io_job *job = io_job_of(ticket);
        struct io_thread *thread = choose_thread(pool, job);
        job->thread = thread->index;
        job->place = IO_WITH_THREAD;
        job->refusal = refusal_of(pool, job, now_ns);
        count_shards(pool, ticket->lane->host);
        TAILQ_INSERT_TAIL(&thread->inbox, job, link);
        job->is_in_inbox = true;
        thread->load++;
        if (!job->fetch) /* not a further attempt */
            pool->stats.urls_started++;
        given |= UINT64_C(1) << thread->index;
    }
    return given;
}

bool io_enqueue(struct io_job *job, const char *origin, size_t origin_len, uint64_t now_ns)
{
    if (!admission_add(&job->call->pool->admission, &job->call->group, &job->ticket, origin, origin_len, now_ns))
        return false;
    job->place = IO_QUEUED;
    return true;
}

/* ---- the aftermath */

void io_aftermath_init(struct io_aftermath *aftermath)
{
    *aftermath = (struct io_aftermath){ 0 };
    TAILQ_INIT(&aftermath->failed);
}

static void announce(struct io_call *state, struct io_aftermath *aftermath)
{
    if (state->has_news)
        return;
    state->has_news = true;
    state->next_news = aftermath->news;
    aftermath->news = state;
}

/* ---- accounting */

static void count(struct io_pool *pool, const struct io_job *job)
{
    struct io_pool_stats *stats = &pool->stats;
    enum status status = job->item->status;
    if (status == ST_OK)
        stats->urls_ok++;
    else
        stats->urls_failed++, stats->failed_by_status[status]++;
    stats->bytes_received += job->summary.body_bytes;
    stats->connections_opened += job->summary.connections_opened;
    stats->connections_reused += job->summary.connections_reused;
    stats->retries += job->summary.retries;
    stats->hedges += job->summary.hedges;
}

/* Does the result settle whether enough of the call's URLs succeed? */
static void look_at_quorum(struct io_call *state, uint64_t now_ns, struct io_aftermath *aftermath)
{
    size_t required = state->call->required;
    if (required == 0 || state->why != ST_OK || state->unfinished == 0)
        return;
    if (state->succeeded >= required)
        io_cancel_rest(state, ST_CANCELLED, "not needed any more: enough others have succeeded (require)", now_ns,
                       aftermath);
    else if (state->succeeded + state->unfinished < required)
        io_cancel_rest(state, ST_CANCELLED, "of no use any more: too many others have failed (require)", now_ns,
                       aftermath);
}

static void pause_if_unread(struct io_call *state, uint64_t now_ns)
{
    struct memory_account *memory = &state->share.memory;
    if (state->group.is_paused || atomic_load(&memory->unread) <= memory->window)
        return;
    admission_pause_group(&state->pool->admission, &state->group, true, now_ns);
    memory_close(&state->pool->memory, memory); /* another may be favoured: it takes nothing before its reader does */
}

/* The job's result is complete. */
static void account(struct io_job *job, uint64_t now_ns, struct io_aftermath *aftermath)
{
    struct io_call *state = job->call;
    struct io_pool *pool = state->pool;
    count(pool, job);
    job->place = IO_FINISHED;
    pool->unfinished--;
    state->unfinished--;
    if (job->item->status == ST_OK && job->item->http_status < 400)
        state->succeeded++;
    if (state->call->on_item) {
        TAILQ_INSERT_TAIL(&state->finished, job, link);
        atomic_fetch_add(&state->share.memory.unread, job->item->json_len);
        pause_if_unread(state, now_ns);
    }
    if (state->call->on_item || state->unfinished == 0)
        announce(state, aftermath);
    if (state->unfinished == 0) {
        timers_cancel(&pool->expiries, &state->expiry);
        memory_close(&pool->memory, &state->share.memory); /* another may go beyond the budget while it is being read */
    }
    look_at_quorum(state, now_ns, aftermath);
}

static void render_failed(const struct io_jobs *failed)
{
    struct io_job *job;
    TAILQ_FOREACH(job, failed, link)
    {
        struct fetch_why why = io_why(job);
        fetch_render_unstarted(job->item, io_job_index(job), &why, job->call->call->started_ns,
                               job->ticket.host_queue_ns);
    }
}

static void account_failed(struct io_pool *pool, struct io_aftermath *aftermath)
{
    struct io_jobs failed = TAILQ_HEAD_INITIALIZER(failed);
    struct io_job *job, *next;
    uint64_t now_ns = clock_now_ns();
    TAILQ_CONCAT(&failed, &aftermath->failed, link);
    pthread_mutex_lock(&pool->lock);
    for (job = TAILQ_FIRST(&failed); job; job = next) {
        next = TAILQ_NEXT(job, link);
        account(job, now_ns, aftermath);
    }
    aftermath->woken |= io_hand_out(pool, now_ns) | io_expiry_watcher(pool);
    pthread_mutex_unlock(&pool->lock);
}

static void push_news(struct io_pool *pool, struct io_call *state)
{
    _Atomic(struct io_call *) *top = &pool->news[state->call->loop].top;
    state->next_news = atomic_load_explicit(top, memory_order_relaxed);
    while (!atomic_compare_exchange_weak(top, &state->next_news, state)) {
    }
}

void io_settle(struct io_pool *pool, struct io_aftermath *aftermath, struct bell_ringer *ringers)
{
    while (!TAILQ_EMPTY(&aftermath->failed)) { /* accounting for some may end others */
        render_failed(&aftermath->failed);
        account_failed(pool, aftermath);
    }
    io_wake(pool, aftermath->woken);
    while (aftermath->news) {
        struct io_call *state = aftermath->news;
        unsigned loop = state->call->loop; /* the call may be gone once it was pushed */
        aftermath->news = state->next_news;
        push_news(pool, state);
        if (ringers)
            bell_ring(&ringers[loop]);
    }
}

/* ---- ending early */

static void fail_later(struct io_job *job, struct io_aftermath *aftermath)
{
    job->place = IO_FINISHED;
    TAILQ_INSERT_TAIL(&aftermath->failed, job, link);
}

/* Once: the thread walks through what it has taken from the list without the lock, by the same links. */
static void tell_thread(struct io_job *job, struct io_aftermath *aftermath)
{
    if (job->is_told)
        return;
    job->is_told = job->is_to_cancel = true;
    TAILQ_INSERT_TAIL(&job->call->pool->threads[job->thread].to_cancel, job, cancel_link);
    aftermath->woken |= UINT64_C(1) << job->thread;
}

/* Those who followed it and cannot be helped. */
static void close_share(struct io_job *leader, uint64_t now_ns, struct io_aftermath *aftermath)
{
    struct io_jobs orphans;
    struct io_job *job, *next;
    if (!leader->share)
        return;
    io_share_close(leader, true, now_ns, &orphans);
    for (job = TAILQ_FIRST(&orphans); job; job = next) {
        next = TAILQ_NEXT(job, link);
        job->refusal = ST_NO_MEMORY;
        fail_later(job, aftermath);
    }
}

/* One that waits for a further attempt belongs to its thread, which holds what it has come to so far. */
static void end_one(struct io_job *job, uint64_t now_ns, struct io_aftermath *aftermath)
{
    if (job->place == IO_FINISHED || job->place == IO_SERVED)
        return;
    if (job->place == IO_FOLLOWING) {
        io_share_leave(job);
        fail_later(job, aftermath);
        return;
    }
    if (job->place == IO_QUEUED) {
        admission_withdraw(&job->call->pool->admission, &job->ticket, now_ns);
        job->place = IO_WITHDRAWN;
        if (!job->fetch) {
            close_share(job, now_ns, aftermath);
            fail_later(job, aftermath);
            return;
        }
    }
    tell_thread(job, aftermath);
}

void io_cancel_rest(struct io_call *state, enum status why, const char *text, uint64_t now_ns,
                    struct io_aftermath *aftermath)
{
    state->why = why;
    state->why_text = text;
    for (size_t i = 0; i < state->call->count; i++)
        end_one(&state->jobs[i], now_ns, aftermath);
}

/* ---- waiting too long */

/* With a thread it is the thread that watches the time. */
static bool is_waiting(const struct io_job *job) { return job->place == IO_QUEUED || job->place == IO_FOLLOWING; }

static uint64_t next_expiry_ns(const struct io_call *state)
{
    uint64_t earliest_ns = CLOCK_NEVER;
    for (size_t i = 0; i < state->call->count; i++) {
        const struct io_job *job = &state->jobs[i];
        if (is_waiting(job) && deadline_ns(job) < earliest_ns)
            earliest_ns = deadline_ns(job);
    }
    return earliest_ns;
}

void io_watch_expiry(struct io_call *state)
{
    uint64_t due_ns = next_expiry_ns(state);
    bool ignored = due_ns == CLOCK_NEVER || timers_set(&state->pool->expiries, &state->expiry, due_ns);
    (void)ignored; /* no memory: they are looked at when their turn comes */
}

void io_watch_job(struct io_job *job)
{
    struct timer *expiry = &job->call->expiry;
    bool ignored = (expiry->position && expiry->due_ns <= deadline_ns(job)) ||
                   timers_set(&job->call->pool->expiries, expiry, deadline_ns(job));
    (void)ignored;
}

uint64_t io_expiry_watcher(struct io_pool *pool)
{
    uint64_t next_ns = timers_next(&pool->expiries);
    if (next_ns >= pool->watched_ns)
        return 0;
    pool->watched_ns = next_ns;
    return IO_FIRST_THREAD;
}

static void expire_waiting(struct io_pool *pool, uint64_t now_ns, struct io_aftermath *aftermath)
{
    while (timers_next(&pool->expiries) <= now_ns) {
        struct timer *timer = pool->expiries.heap[0];
        struct io_call *state = (struct io_call *)(void *)((char *)timer - offsetof(struct io_call, expiry));
        timers_cancel(&pool->expiries, timer);
        for (size_t i = 0; i < state->call->count; i++) {
            struct io_job *job = &state->jobs[i];
            if (!is_waiting(job) || now_ns < deadline_ns(job))
                continue;
            if (job->place == IO_QUEUED)
                admission_touch(&job->ticket, now_ns);
            job->refusal = job->place == IO_QUEUED && waited_for_host(job) ? ST_HOST_BUSY : ST_DEADLINE_EXCEEDED;
            end_one(job, now_ns, aftermath);
        }
        io_watch_expiry(state);
    }
}

/* ---- a thread's turn */

/* What came of the job's last attempt says something of its host, unless it was cancelled, or a redirect led elsewhere:
 * then the host did well. */
static enum breaker_verdict verdict_of(const struct io_pool *pool, const struct io_job *job)
{
    if (job->is_cancelled)
        return BREAKER_SAYS_NOTHING;
    if (job->summary.redirects > 0)
        return BREAKER_SUCCESS;
    return breaker_judge(&pool->breaker, job->summary.status, job->summary.http_status);
}

static void note_breaker(struct io_pool *pool, const struct io_job *job, uint64_t now_ns)
{
    if (job->refusal == ST_OK)
        breaker_note(&job->ticket.lane->host->breaker, &pool->breaker, verdict_of(pool, job), now_ns);
}

static void forget_cancel(struct io_thread *thread, struct io_job *job)
{
    if (job->is_to_cancel)
        TAILQ_REMOVE(&thread->to_cancel, job, cancel_link);
    job->is_to_cancel = false;
}

static void take_back(struct io_thread *thread, uint64_t now_ns, struct io_aftermath *aftermath)
{
    struct io_pool *pool = thread->pool;
    struct io_job *job, *next;
    for (job = TAILQ_FIRST(&thread->finished); job; job = next) {
        next = TAILQ_NEXT(job, link); /* accounting may move it to another list */
        forget_cancel(thread, job);
        if (job->place == IO_WITH_THREAD) {
            thread->load--;
            note_breaker(pool, job, now_ns);
            admission_finish(&pool->admission, &job->ticket, now_ns);
        } else if (job->place == IO_RESTING) {
            admission_drop(&pool->admission, &job->ticket);
        } else if (job->place == IO_SERVED) {
            pool->stats.coalesced++;
        }
        account(job, now_ns, aftermath);
    }
    TAILQ_INIT(&thread->finished);
}

/* The timer is set here and not before: a rest may be shorter than the turn in which it begins. */
static void take_rested(struct io_thread *thread, uint64_t now_ns)
{
    struct io_pool *pool = thread->pool;
    struct io_job *job, *next;
    for (job = TAILQ_FIRST(&thread->rested); job; job = next) {
        next = TAILQ_NEXT(job, link);
        note_breaker(pool, job, now_ns);
        admission_rest(&pool->admission, &job->ticket, now_ns);
        job->place = IO_RESTING;
        thread->load--;
        if (!timers_set(&thread->loop.timers, &job->rest, fetch_rest_due_ns(job->fetch)))
            TAILQ_INSERT_TAIL(&thread->returning, job, link); /* no memory: too early is better than never */
    }
    TAILQ_INIT(&thread->rested);
    TAILQ_FOREACH(job, &thread->returning, link)
    {
        if (job->is_to_cancel)
            continue;
        admission_resume(&pool->admission, &job->ticket, now_ns);
        job->place = IO_QUEUED;
        io_watch_job(job);
    }
    TAILQ_INIT(&thread->returning);
}

static void take_one(struct io_thread *thread, struct io_job *job, struct io_jobs *ret_new)
{
    TAILQ_REMOVE(&thread->inbox, job, link);
    TAILQ_INSERT_TAIL(ret_new, job, link);
    job->is_in_inbox = false;
}

/* What is to be cancelled is under way, or new. */
static void take_lists(struct io_thread *thread, struct io_jobs *ret_new, struct io_jobs *ret_to_cancel)
{
    struct io_job *job;
    TAILQ_INIT(ret_new);
    TAILQ_INIT(ret_to_cancel);
    for (unsigned i = 0; i < TAKE_MAX && (job = TAILQ_FIRST(&thread->inbox)) != NULL; i++)
        take_one(thread, job, ret_new);
    TAILQ_FOREACH(job, &thread->to_cancel, cancel_link)
    {
        job->is_to_cancel = false;
        if (job->is_in_inbox)
            take_one(thread, job, ret_new);
    }
    TAILQ_CONCAT(ret_to_cancel, &thread->to_cancel, cancel_link);
}

/* The first thread sees to the items that wait too long. */
static void set_expiry(struct io_thread *thread, uint64_t due_ns)
{
    if (thread->index != 0 || due_ns == CLOCK_NEVER)
        return;
    bool ignored = timers_set(&thread->loop.timers, &thread->expiry, due_ns);
    (void)ignored;
}

bool io_trade(struct io_thread *thread, struct io_jobs *ret_new, struct io_jobs *ret_to_cancel)
{
    struct io_pool *pool = thread->pool;
    struct io_aftermath aftermath;
    uint64_t now_ns = clock_now_ns();
    io_aftermath_init(&aftermath);
    pthread_mutex_lock(&pool->lock);
    take_back(thread, now_ns, &aftermath);
    take_rested(thread, now_ns);
    if (thread->index == 0)
        expire_waiting(pool, now_ns, &aftermath);
    aftermath.woken |= io_hand_out(pool, now_ns);
    take_lists(thread, ret_new, ret_to_cancel);
    bool goes_on = !pool->is_stopping;
    uint64_t expiry_ns = timers_next(&pool->expiries);
    if (thread->index == 0)
        pool->watched_ns = expiry_ns;
    else
        aftermath.woken |= io_expiry_watcher(pool);
    atomic_store(&thread->is_asleep, TAILQ_EMPTY(ret_new) && TAILQ_EMPTY(ret_to_cancel));
    pthread_mutex_unlock(&pool->lock);
    aftermath.woken &= ~(UINT64_C(1) << thread->index);
    io_settle(pool, &aftermath, thread->ringers);
    set_expiry(thread, expiry_ns);
    unsigned gifts = atomic_load(&pool->memory.gifts);
    if (gifts != thread->gifts_told)
        io_wake_for_memory(pool);
    thread->gifts_told = gifts;
    return goes_on;
}

/* ---- waking */

void io_wake(struct io_pool *pool, uint64_t threads)
{
    for (; threads != 0; threads &= threads - 1) {
        struct io_thread *thread = &pool->threads[__builtin_ctzll(threads)];
        if (atomic_exchange(&thread->is_asleep, false))
            curl_loop_wake(&thread->loop);
    }
}

void io_wake_for_memory(struct io_pool *pool)
{
    if (atomic_load(&pool->memory.waiting) > 0)
        io_wake(pool, UINT64_MAX >> (64 - pool->thread_count));
}
