/* Giving jobs to workers: to idle ones first, then behind running jobs up to the number of slots, because a worker that
 * finds its next job in its mailbox needs no wake-up. steal() undoes that choice when it was wrong: a job READY behind
 * another is recalled for a worker that has run dry. And a worker whose job turns out to be long keeps none behind it:
 * else they would wait for its end while other workers serve those who came later. */
#include "base/clock.h"
#include "pool/process_pool_internal.h"

enum {
    /* A job below it is not worth its own wake-up, which takes the front end as long: it waits for those that come in
     * the same turn of the loop, but for no more than a few. */
    TINY_NS = 20000,
    NOTIFIED_AT = 8,
    AHEAD_NS = 2000000 /* of work that a worker may have and still be given more, lest it goes to sleep in between */
};

/* It was in a mailbox. */
void process_pool_put_back(struct process_pool *pool, struct job *job)
{
    job->state = JOB_QUEUED;
    job_queue_put_back(&pool->groups[process_pool_group_of(pool, job)].queue, job);
}

static size_t result_max_of(const struct process_pool *pool, const struct job *job)
{
    size_t own = task_table[job->task]->result_max;
    return own > 0 && own < pool->config.result_max ? own : pool->config.result_max;
}

static void notify(struct worker_entry *worker)
{
    worker->unnoticed = 0;
    mailbox_notify(worker->mailbox);
}

void process_pool_notify_owed(struct process_pool *pool)
{
    if (!atomic_load_explicit(&pool->is_notice_owed, memory_order_relaxed))
        return;
    atomic_store_explicit(&pool->is_notice_owed, false, memory_order_relaxed);
    for (unsigned i = 0; i < pool->config.workers; i++)
        if (pool->workers[i].unnoticed > 0)
            notify(&pool->workers[i]);
}

/* The worker has a free slot. */
static void post(struct process_pool *pool, struct worker_entry *worker, struct job *job)
{
    unsigned slot = 0;
    while (worker->in_use[slot])
        slot++;
    job->state = JOB_POSTED;
    job->result_max = result_max_of(pool, job);
    if (!worker_entry_fill_request(worker, slot, job)) {
        spill_clear(&worker->spill, slot);
        job_set_detail(job, "no memory for the request body", sizeof "no memory for the request body" - 1);
        process_pool_end_job(pool, job, ST_NO_MEMORY);
        return;
    }
    if (worker->used == 0)
        process_pool_expect_claim(pool, worker);
    job->worker = (unsigned)(worker - pool->workers);
    job->slot = slot;
    job->sequence = pool->next_sequence++;
    worker->jobs[slot] = job;
    worker->in_use[slot] = true;
    worker->expected_ns[slot] = job->expected_ns;
    worker->busy_ns += job->expected_ns;
    worker->is_spilled[slot] = job_bytes(job) > MAILBOX_INLINE_BYTES;
    worker->used++;
    mailbox_post(worker->mailbox, slot, job->sequence);
    if (job->expected_ns > 0 && job->expected_ns < TINY_NS && ++worker->unnoticed < NOTIFIED_AT) {
        atomic_store_explicit(&pool->is_notice_owed, true, memory_order_relaxed);
    } else {
        notify(worker);
    }
}

/* The group's worker with the fewest jobs, if it has fewer than `limit` and will be done with them soon; NULL: none. */
struct worker_entry *process_pool_least_busy(const struct group_entry *group, unsigned limit)
{
    struct worker_entry *best = NULL;
    for (unsigned i = 0; i < group->seat_count; i++) {
        struct worker_entry *worker = &group->seats[i];
        if (worker->used < limit && !worker->is_long && worker->busy_ns < AHEAD_NS && worker_entry_takes_jobs(worker)) {
            best = worker;
            limit = worker->used;
            if (limit == 0)
                break;
        }
    }
    return best;
}

/* Takes a READY job back; false: it is claimed (or none is there). */
static bool recall(struct process_pool *pool, struct worker_entry *worker, unsigned slot)
{
    struct job *job = worker->jobs[slot];
    if (job == NULL || !mailbox_recall(worker->mailbox, slot, job->sequence))
        return false;
    worker_entry_free_slot(worker, slot);
    process_pool_put_back(pool, job);
    return true;
}

/* Puts all READY jobs of a worker back into the queue, in their order. */
void process_pool_recall_all(struct process_pool *pool, struct worker_entry *worker)
{
    for (unsigned i = 0; i < MAILBOX_SLOTS; i++) { /* newest first, each to the front of the queue */
        int newest = -1;
        for (unsigned slot = 0; slot < MAILBOX_SLOTS; slot++)
            if (worker->jobs[slot] != NULL && mailbox_peek(worker->mailbox, slot).state == SLOT_READY &&
                (newest < 0 || (int32_t)(worker->jobs[slot]->sequence - worker->jobs[newest]->sequence) > 0))
                newest = (int)slot;
        if (newest < 0)
            return;
        (void)recall(pool, worker, (unsigned)newest);
    }
}

/* A job for a worker that has run dry, from one of its group that has more than it can run now. */
static bool steal(struct process_pool *pool, const struct group_entry *group)
{
    struct worker_entry *richest = NULL;
    for (unsigned i = 0; i < group->seat_count; i++)
        if (group->seats[i].used > 1 && (richest == NULL || group->seats[i].used > richest->used))
            richest = &group->seats[i];
    if (richest == NULL)
        return false;
    int slot = worker_entry_newest_slot(richest);
    if (slot < 0 || !recall(pool, richest, (unsigned)slot))
        return false;
    pool->stats.stolen++;
    return true;
}

static void dispatch_group(struct process_pool *pool, struct group_entry *group)
{
    struct job_queue *queue = &group->queue;
    struct worker_entry *worker = NULL;
    struct job *job;
    do {
        while (queue->count > 0 && (worker = process_pool_least_busy(group, MAILBOX_SLOTS)) != NULL &&
               (job = job_queue_take(queue)) != NULL)
            post(pool, worker, job);
    } while (queue->count == 0 && process_pool_least_busy(group, 1) != NULL && steal(pool, group));
    worker_turnover_note_waiting(pool, group, queue->count > 0 && worker == NULL);
}

void process_pool_dispatch(struct process_pool *pool)
{
    for (unsigned i = 0; i < pool->config.group_count; i++)
        dispatch_group(pool, &pool->groups[i]);
}
