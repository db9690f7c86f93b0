/* May a job come in? Only if it is not quarantined, there is room to wait, and it can be started before its deadline as
 * far as one can tell. */
#include "base/clock.h"
#include "pool/process_pool_internal.h"

/* For how long, at least, no worker of the group can start this job. */
static uint64_t wait_of(const struct group_entry *group, const struct job *job, uint64_t now_ns)
{
    uint64_t busy_ns = 0;
    unsigned ready = 0;
    for (unsigned i = 0; i < group->seat_count; i++) {
        const struct worker_entry *worker = &group->seats[i];
        if (!worker_entry_takes_jobs(worker))
            continue;
        uint64_t elapsed_ns = worker->used > 0 && now_ns > worker->posted_ns ? now_ns - worker->posted_ns : 0;
        busy_ns += worker->busy_ns > elapsed_ns ? worker->busy_ns - elapsed_ns : 0;
        ready++;
    }
    if (ready == 0)
        return 0;
    unsigned workers = ready + group->limits.workers_max - group->workers; /* those that may come too */
    return busy_ns / workers + job_queue_wait_ns(&group->queue, job, workers);
}

enum status process_pool_refusal(struct process_pool *pool, struct job *job, uint64_t now_ns)
{
    if (quarantine_holds(&pool->quarantine, job, now_ns))
        return ST_QUARANTINED;
    if (job->is_admitted)
        return ST_OK;
    if (pool->held_bytes > 0 && pool->held_bytes + job_bytes(job) > pool->config.queue_max_bytes)
        return ST_QUEUE_FULL;
    const struct group_entry *group = &pool->groups[process_pool_group_of(pool, job)];
    if (process_pool_least_busy(group, 1) != NULL)
        return ST_OK;
    /* jobs in mailboxes behind the running one wait too */
    size_t waiting = group->queue.count;
    for (unsigned i = 0; i < group->seat_count; i++)
        waiting += group->seats[i].used > 1 ? group->seats[i].used - 1 : 0;
    waiting -= waiting < pool->admitted ? waiting : pool->admitted; /* their maps were counted once */
    if (waiting >= pool->config.queue_max)
        return ST_QUEUE_FULL;
    job->usage.queue_ns = wait_of(group, job, now_ns);
    bool is_in_time =
        job->usage.queue_ns == 0 || job->deadline_ns == CLOCK_NEVER || now_ns + job->usage.queue_ns <= job->deadline_ns;
    return is_in_time ? ST_OK : ST_OVERLOADED;
}
