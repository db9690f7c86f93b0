/* What the pool tells about itself: read under its lock, and from the words of the slots, so a figure is at most one
 * instant old. */
#include "base/clock.h"
#include "pool/process_pool_internal.h"

const char *worker_state_name(enum worker_state state)
{
    switch (state) {
    case WORKER_DEAD:
        return "dead";
    case WORKER_STARTING:
        return "starting";
    case WORKER_IDLE:
        return "idle";
    case WORKER_BUSY:
        return "busy";
    case WORKER_RETIRING:
        return "retiring";
    case WORKER_UNRESPONSIVE:
        return "unresponsive";
    case WORKER_DOOMED:
        return "doomed";
    }
    return "unknown";
}

/* The slot that runs, -1: none. */
static int running_slot(const struct worker_entry *worker)
{
    for (unsigned slot = 0; slot < MAILBOX_SLOTS; slot++)
        if (worker->in_use[slot] && mailbox_peek(worker->mailbox, slot).state == SLOT_RUNNING)
            return (int)slot;
    return -1;
}

static enum worker_state state_of(const struct worker_entry *worker)
{
    if (!worker->is_alive)
        return WORKER_DEAD;
    if (worker->is_doomed)
        return WORKER_DOOMED;
    if (worker->is_suspect)
        return WORKER_UNRESPONSIVE;
    if (worker->kill_ns > 0)
        return WORKER_BUSY;
    if (!worker_entry_is_ready(worker))
        return WORKER_STARTING;
    if (worker->is_retiring)
        return WORKER_RETIRING;
    return running_slot(worker) >= 0 ? WORKER_BUSY : WORKER_IDLE;
}

/* While one is replaced there is one more: that is nobody's concern. */
static unsigned count_ready(const struct group_entry *group)
{
    unsigned ready = 0;
    for (unsigned i = 0; i < group->seat_count; i++)
        ready += worker_entry_is_ready(&group->seats[i]) ? 1 : 0;
    return ready < group->workers ? ready : group->workers;
}

void process_pool_get_stats(struct process_pool *pool, struct process_pool_stats *ret_stats)
{
    pthread_mutex_lock(&pool->lock);
    *ret_stats = pool->stats;
    ret_stats->queue_max = pool->config.queue_max;
    ret_stats->held_bytes = pool->held_bytes;
    for (unsigned group = 0; group < pool->config.group_count; group++)
        ret_stats->queued += pool->groups[group].queue.count;
    ret_stats->workers = pool->groups[0].workers;
    ret_stats->workers_ready = count_ready(&pool->groups[0]);
    for (unsigned i = 0; i < pool->config.workers; i++) {
        const struct worker_entry *worker = &pool->workers[i];
        for (unsigned slot = 0; slot < MAILBOX_SLOTS; slot++) {
            if (!worker->in_use[slot])
                continue;
            enum slot_state state = mailbox_peek(worker->mailbox, slot).state;
            ret_stats->running += state == SLOT_RUNNING ? 1 : 0;
            ret_stats->queued += state == SLOT_READY ? 1 : 0;
        }
    }
    pthread_mutex_unlock(&pool->lock);
}

void process_pool_get_group(struct process_pool *pool, unsigned group, struct process_pool_group *ret_group)
{
    pthread_mutex_lock(&pool->lock);
    const struct group_entry *entry = &pool->groups[group];
    *ret_group = (struct process_pool_group){ .workers = entry->workers,
                                              .workers_ready = count_ready(entry),
                                              .queued = entry->queue.count };
    for (unsigned i = 0; i < entry->seat_count; i++)
        ret_group->queued += entry->seats[i].used > 1 ? entry->seats[i].used - 1 : 0;
    pthread_mutex_unlock(&pool->lock);
}

uint64_t process_pool_get_run_ns(struct process_pool *pool, unsigned task)
{
    pthread_mutex_lock(&pool->lock);
    uint64_t run_ns = pool->tasks[task].run_ns;
    pthread_mutex_unlock(&pool->lock);
    return run_ns;
}

/* Of the dead ones those are listed that will be replaced; the other seats are empty. */
static bool is_listed(const struct process_pool *pool, const struct worker_entry *worker)
{
    const struct group_entry *group = &pool->groups[worker->group];
    unsigned before = 0;
    if (worker->is_alive)
        return true;
    for (unsigned i = 0; i < group->seat_count; i++)
        before += group->seats[i].is_alive || &group->seats[i] < worker ? 1 : 0;
    return before < group->workers;
}

unsigned process_pool_get_workers(struct process_pool *pool, struct worker_info *ret_workers, unsigned count)
{
    uint64_t now_ns = clock_now_ns();
    pthread_mutex_lock(&pool->lock);
    unsigned listed = 0;
    for (unsigned i = 0; i < pool->config.workers; i++) {
        const struct worker_entry *worker = &pool->workers[i];
        if (!is_listed(pool, worker) || listed++ >= count)
            continue;
        int slot = running_slot(worker);
        const struct job *job = slot >= 0 ? worker->jobs[slot] : NULL;
        uint64_t started_ns = slot >= 0 ? worker->mailbox->slots[slot].result.started_ns : now_ns;
        ret_workers[listed - 1] =
            (struct worker_info){ .pid = worker->pid,
                                  .group = worker->group,
                                  .state = state_of(worker),
                                  .generation = worker->generation,
                                  .jobs_posted = worker->used,
                                  .jobs_done = worker->jobs_done,
                                  .task = job != NULL ? (int)job->task : -1,
                                  .running_ns = job != NULL && now_ns > started_ns ? now_ns - started_ns : 0 };
    }
    pthread_mutex_unlock(&pool->lock);
    return listed;
}
