/* io_thread: trade with the pool, cancel, start, run what is due, sleep, run what the sockets brought. Results are
 * rendered here, by the thread that fetched them, so the event loops only pass them on. */
#include <signal.h>
#include <stdlib.h>

#include "base/clock.h"
#include "pool/fetch_render.h"
#include "pool/io_internal.h"

enum { SHARD_TRANSFERS = 48, SERVED_BYTES_MAX = 4 * 1024 * 1024 };

static struct io_thread *thread_of(const struct io_job *job) { return &job->call->pool->threads[job->thread]; }

/* ---- shards */

static uint16_t *shard_loads(const struct io_job *job)
{
    uint16_t *loads = atomic_load_explicit(&job->ticket.lane->host->shard_loads, memory_order_acquire);
    return loads ? loads + (size_t)job->thread * CURL_LOOP_SHARDS : NULL;
}

/* Its host's own shard; if the host has many transfers, the first of those that follow which has room for one. */
static unsigned choose_shard(struct io_job *job)
{
    unsigned own = (job->ticket.lane->host->hash >> 8) % CURL_LOOP_SHARDS, best = own;
    uint16_t *loads = shard_loads(job);
    job->counted_shard = -1;
    if (!loads)
        return own;
    for (unsigned i = 0; i < CURL_LOOP_SHARDS && loads[best] >= SHARD_TRANSFERS; i++) {
        unsigned next = (own + i) % CURL_LOOP_SHARDS;
        if (loads[next] < loads[best])
            best = next;
    }
    loads[best]++;
    job->counted_shard = (int)best;
    return best;
}

/* Of a job that goes on after a rest, in the shard that it was in. */
static void enter_shard_again(struct io_job *job)
{
    uint16_t *loads = shard_loads(job);
    if (loads)
        loads[job->shard]++;
    job->counted_shard = loads ? (int)job->shard : -1;
}

/* While the host is the job's: what waits may be withdrawn, and its host with it, before the thread hears of it. */
static void leave_shard(struct io_job *job)
{
    if (job->counted_shard >= 0)
        shard_loads(job)[job->counted_shard]--;
    job->counted_shard = -1;
}

/* ---- ends */

static void give_back(struct io_thread *thread, struct io_job *job) { TAILQ_INSERT_TAIL(&thread->finished, job, link); }

/* Who shares its result: they are taken out of the pool's sight. */
static void take_followers(struct io_thread *thread, struct io_job *leader)
{
    struct io_pool *pool = thread->pool;
    enum status status = leader->summary.status;
    bool is_own =
        leader->is_cancelled || status == ST_DEADLINE_EXCEEDED || status == ST_HOST_BUSY || status == ST_NO_MEMORY;
    TAILQ_INIT(&leader->followers);
    if (!leader->share)
        return;
    pthread_mutex_lock(&pool->lock);
    io_share_close(leader, is_own, clock_now_ns(), &leader->followers);
    pthread_mutex_unlock(&pool->lock);
    if (is_own)
        io_wake(pool, IO_FIRST_THREAD); /* another may be waiting now */
}

static void serve_follower(struct io_thread *thread, const struct io_job *leader, struct io_job *job)
{
    const struct fetch_item *item = leader->item;
    job->summary = (struct fetch_summary){ .status = leader->summary.status };
    if (leader->fetch)
        fetch_render_shared(leader->fetch, job->item, io_job_index(job), &job->call->share,
                            job->call->call->started_ns);
    else
        fetch_render_unstarted(job->item, io_job_index(job),
                               &(struct fetch_why){ .status = item->status,
                                                    .phase = item->phase,
                                                    .message = item->message ? item->message : "",
                                                    .budget = item->budget },
                               job->call->call->started_ns, 0);
    give_back(thread, job);
}

static void finish(struct io_thread *thread, struct io_job *job)
{
    struct fetch *fetch = job->fetch;
    job->fetch = NULL;
    if (fetch)
        fetch_recycle(fetch);
    give_back(thread, job);
}

/* A body may have thousands of followers, and each gets a text of its own: so many bytes in one turn. */
static void serve_followers(struct io_thread *thread)
{
    struct io_job *leader, *job;
    size_t bytes = 0;
    while (bytes < SERVED_BYTES_MAX && (leader = TAILQ_FIRST(&thread->serving)) != NULL) {
        while (bytes < SERVED_BYTES_MAX && (job = TAILQ_FIRST(&leader->followers)) != NULL) {
            TAILQ_REMOVE(&leader->followers, job, link);
            serve_follower(thread, leader, job);
            bytes += job->item->json_len;
        }
        if (!TAILQ_EMPTY(&leader->followers))
            return;
        TAILQ_REMOVE(&thread->serving, leader, link);
        finish(thread, leader);
    }
}

static void on_over(struct fetch *fetch)
{
    struct io_job *job = fetch_user(fetch);
    struct io_thread *thread = thread_of(job);
    job->summary = fetch_summary(fetch);
    fetch_render(fetch, job->item, io_job_index(job));
    timers_cancel(&thread->loop.timers, &job->rest);
    leave_shard(job);
    take_followers(thread, job);
    if (TAILQ_EMPTY(&job->followers)) {
        finish(thread, job);
        return;
    }
    job->is_serving = true;
    TAILQ_INSERT_TAIL(&thread->serving, job, link);
}

static void finish_unstarted(struct io_thread *thread, struct io_job *job, const struct fetch_why *why)
{
    job->summary = (struct fetch_summary){ .status = why->status };
    fetch_render_unstarted(job->item, io_job_index(job), why, job->call->call->started_ns, job->ticket.host_queue_ns);
    take_followers(thread, job);
    for (struct io_job *follower; (follower = TAILQ_FIRST(&job->followers)) != NULL;) {
        TAILQ_REMOVE(&job->followers, follower, link);
        serve_follower(thread, job, follower);
    }
    give_back(thread, job);
}

/* ---- rests */

void io_job_rested(struct timer *timer)
{
    struct io_job *job = (struct io_job *)(void *)((char *)timer - offsetof(struct io_job, rest));
    TAILQ_INSERT_TAIL(&thread_of(job)->returning, job, link);
}

static void on_rest(struct fetch *fetch)
{
    struct io_job *job = fetch_user(fetch);
    struct io_thread *thread = thread_of(job);
    job->summary = fetch_summary(fetch);
    leave_shard(job);
    TAILQ_INSERT_TAIL(&thread->rested, job, link);
}

/* ---- hedges */

static bool take_extra(struct fetch *fetch)
{
    struct io_job *job = fetch_user(fetch);
    struct io_pool *pool = job->call->pool;
    pthread_mutex_lock(&pool->lock);
    bool is_taken = admission_take_extra(&pool->admission, &job->ticket);
    pthread_mutex_unlock(&pool->lock);
    return is_taken;
}

static void give_extra(struct fetch *fetch)
{
    struct io_job *job = fetch_user(fetch);
    struct io_pool *pool = job->call->pool;
    pthread_mutex_lock(&pool->lock);
    admission_give_extra(&pool->admission, &job->ticket, clock_now_ns());
    pthread_mutex_unlock(&pool->lock);
    thread_of(job)->has_freed = true;
}

/* ---- starting and cancelling */

static void begin(struct io_thread *thread, struct io_job *job)
{
    struct admission_ticket *ticket = &job->ticket;
    if (job->fetch) {
        enter_shard_again(job);
        fetch_set_waits(job->fetch, ticket->queue_ns, ticket->host_queue_ns);
        fetch_resume(job->fetch);
        return;
    }
    job->fetch = fetch_new(&thread->env);
    if (!job->fetch) {
        finish_unstarted(thread, job, &(struct fetch_why){ ST_NO_MEMORY, "queue", status_title(ST_NO_MEMORY), NULL });
        return;
    }
    job->shard = choose_shard(job);
    struct fetch_spec spec = {
        .item = job->item,
        .call = &job->call->share,
        .accepted_ns = job->call->call->started_ns,
        .queue_ns = ticket->queue_ns,
        .host_queue_ns = ticket->host_queue_ns,
        .shard = job->shard,
        .speaks_http2 = &ticket->lane->host->speaks_http2,
        .user = job,
    };
    fetch_start(job->fetch, &spec);
}

/* Under way, resting, or waiting for its next attempt. */
static void give_up(struct io_job *job)
{
    struct fetch_why why = io_why(job);
    fetch_set_waits(job->fetch, job->ticket.queue_ns, job->ticket.host_queue_ns);
    fetch_give_up(job->fetch, &why);
}

static void start(struct io_thread *thread, struct io_job *job)
{
    if (job->refusal == ST_OK && !job->is_cancelled) {
        begin(thread, job);
        return;
    }
    struct fetch_why why = io_why(job);
    if (job->fetch)
        give_up(job);
    else
        finish_unstarted(thread, job, &why);
}

static void cancel(struct io_job *job)
{
    if (job->fetch && !job->is_serving)
        give_up(job);
}

static void take_orders(struct io_thread *thread, struct io_jobs *new_jobs, struct io_jobs *to_cancel)
{
    struct io_job *job, *next;
    TAILQ_FOREACH(job, to_cancel, cancel_link)
    job->is_cancelled = true;
    for (job = TAILQ_FIRST(new_jobs); job; job = next) {
        next = TAILQ_NEXT(job, link); /* finishing moves it to another list */
        start(thread, job);
    }
    TAILQ_FOREACH(job, to_cancel, cancel_link)
    cancel(job); /* unless it was new */
}

/* ---- turning */

static void harvest(struct io_thread *thread)
{
    CURL *easy;
    CURLcode code;
    while ((easy = curl_loop_next_done(&thread->loop, &code)) != NULL)
        transfer_done(easy, code);
}

/* Lets paused transfers go on if there may be memory for them. */
static void use_gifts(struct io_thread *thread)
{
    unsigned gifts = atomic_load(&thread->pool->memory.gifts);
    if (TAILQ_EMPTY(&thread->env.transfers.paused) || gifts == thread->gifts_seen)
        return;
    thread->gifts_seen = gifts;
    transfers_resume(&thread->env.transfers);
}

static bool has_something_to_do(const struct io_thread *thread)
{
    bool has_gift =
        !TAILQ_EMPTY(&thread->env.transfers.paused) && atomic_load(&thread->pool->memory.gifts) != thread->gifts_seen;
    return has_gift || thread->has_freed || !TAILQ_EMPTY(&thread->serving) || !TAILQ_EMPTY(&thread->finished) ||
           !TAILQ_EMPTY(&thread->rested) || !TAILQ_EMPTY(&thread->returning);
}

static void note_awake(void *user)
{
    struct io_thread *thread = user;
    atomic_store_explicit(&thread->is_asleep, false, memory_order_relaxed);
}

static void on_expiry(struct timer *timer) { (void)timer; /* it has woken the thread, which trades */ }

static void *run(void *user)
{
    struct io_thread *thread = user;
    struct io_jobs new_jobs, to_cancel;
    curl_loop_bind(&thread->loop);
    while (io_trade(thread, &new_jobs, &to_cancel)) {
        bool has_work = !TAILQ_EMPTY(&new_jobs) || !TAILQ_EMPTY(&to_cancel);
        thread->has_freed = false;
        take_orders(thread, &new_jobs, &to_cancel);
        use_gifts(thread);
        serve_followers(thread);
        curl_loop_run_due(&thread->loop);
        harvest(thread);
        curl_loop_wait(&thread->loop, !has_work && !has_something_to_do(thread), note_awake, thread);
        harvest(thread);
    }
    return NULL;
}

/* ---- life */

static CURLSH *new_share(void)
{
    CURLSH *share = curl_share_init();
    if (share)
        curl_share_setopt(share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
    return share;
}

static bool init_env(struct io_thread *thread, const struct io_pool_config *config)
{
    struct io_pool *pool = thread->pool;
    thread->env = (struct fetch_env){
        .transfers = { .loop = &thread->loop,
                       .resolver = thread->resolver,
                       .policy = &pool->policy,
                       .memory = &pool->memory,
                       .trust = pool->trust,
                       .share = new_share(),
                       .user_agent_line = pool->user_agent_line,
                       .min_rate = config->min_rate,
                       .max_ratio = config->max_ratio },
        .on_over = on_over,
        .on_rest = on_rest,
        .take_extra = take_extra,
        .give_extra = give_extra,
    };
    TAILQ_INIT(&thread->env.transfers.paused);
    return fetch_env_init(&thread->env);
}

bool io_thread_init(struct io_thread *thread, const struct io_pool_config *config)
{
    TAILQ_INIT(&thread->inbox);
    TAILQ_INIT(&thread->to_cancel);
    TAILQ_INIT(&thread->finished);
    TAILQ_INIT(&thread->serving);
    TAILQ_INIT(&thread->rested);
    TAILQ_INIT(&thread->returning);
    thread->expiry.on_due = on_expiry;
    if (!curl_loop_init(&thread->loop, config->connections_max / config->threads + 1))
        return false;
    thread->resolver = resolver_new(&thread->loop, config->dns_servers);
    if (thread->resolver && init_env(thread, config))
        return true;
    curl_share_cleanup(thread->env.transfers.share);
    resolver_free(thread->resolver);
    curl_loop_done(&thread->loop);
    return false;
}

void io_thread_done(struct io_thread *thread)
{
    CURLSH *share = thread->env.transfers.share;
    fetch_env_done(&thread->env);
    resolver_free(thread->resolver);
    curl_loop_done(&thread->loop);
    curl_share_cleanup(share);
}

bool io_thread_start(struct io_thread *thread)
{
    /* Signals are for the threads that expect them, but for those of a crash: blocked, they would end the process
     * before a sanitizer's report. */
    static const int crashes[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT };
    sigset_t all, before;
    sigfillset(&all);
    for (size_t i = 0; i < ARRAY_LEN(crashes); i++)
        sigdelset(&all, crashes[i]);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&thread->id, NULL, run, thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error == 0;
}
