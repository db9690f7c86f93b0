/* How many workers each group has, and which of them have to go. The supervisor starts and ends them; what it is told
 * is the number of seats to be taken, and whom to kill.
 *
 * Replacement, one at a time, so that the successor is ready before the old one leaves:
 *
 *     near its end ─▶ one more is wanted ─▶ it is ready ─▶ the old one retires: no more jobs, the unclaimed ones
 *     recalled ─▶ it is empty ─▶ as many as before are wanted, it is killed
 *
 * Where that is too slow, or several workers are due at once, a spent worker that is empty is killed and started anew
 * in its seat. Fewer jobs at once for a moment are better than a limit that does not hold.
 *
 * Number: when jobs have waited for a moment that no worker can take, and none is on its way, there is to be a worker
 * for each of them, as far as the limit allows. One that has been idle for long enough goes again. */
#include <stdlib.h>

#include "base/clock.h"
#include "pool/process_pool_internal.h"

enum {
    GROW_AFTER_MS = 20, /* shorter jumps of the load are over before a worker has started */
    TELL_RETRY_MS = 100 /* the supervisor, whose socket was full */
};

static void tell(struct process_pool *pool, struct group_entry *group, uint64_t now_ns)
{
    unsigned wanted = group->workers + (group->is_replacing ? 1 : 0);
    if (wanted == group->told)
        return;
    if (pool->config.want_workers == NULL ||
        pool->config.want_workers(pool->config.kill_context, (unsigned)(group - pool->groups), wanted))
        group->told = wanted;
    else
        process_pool_look_again(pool, now_ns + TELL_RETRY_MS * NS_PER_MS);
}

static bool is_working(const struct worker_entry *worker)
{
    return worker_entry_is_ready(worker) && !worker->is_retiring;
}

static bool is_spent(const struct worker_entry *worker) { return worker_wear_is_spent(&worker->wear, worker->used); }

/* Its seat stays empty if fewer are wanted by then, so that is told first. */
static void recycle(struct process_pool *pool, struct group_entry *group, struct worker_entry *worker, uint64_t now_ns)
{
    tell(pool, group, now_ns);
    pool->stats.recycled++;
    process_pool_dismiss(pool, worker, "recycled");
}

/* ---- replacement */

static void advance_replacement(struct process_pool *pool, struct group_entry *group, unsigned working, uint64_t now_ns)
{
    struct worker_entry *worker = group->worn;
    if (!worker->is_alive || worker->is_doomed || worker->generation != group->worn_generation) { /* it has ended */
        group->is_replacing = false;
        return;
    }
    if (!worker->is_retiring && working > group->workers) {
        worker->is_retiring = true;
        process_pool_recall_all(pool, worker);
    }
    if (worker->used == 0 && (worker->is_retiring || is_spent(worker))) {
        group->is_replacing = false;
        recycle(pool, group, worker, now_ns);
    }
}

/* Who is to be replaced: the one with the most jobs behind it; NULL: nobody. */
static struct worker_entry *most_worn(const struct group_entry *group, bool is_any, uint64_t now_ns)
{
    struct worker_entry *most = NULL;
    for (unsigned i = 0; i < group->seat_count; i++) {
        struct worker_entry *worker = &group->seats[i];
        if (is_working(worker) && (is_any || worker_wear_is_near(&worker->wear, worker->used, now_ns)) &&
            (most == NULL || worker->wear.jobs_done > most->wear.jobs_done))
            most = worker;
    }
    return most;
}

static void replace_worn(struct process_pool *pool, struct group_entry *group, unsigned working, bool is_worn,
                         uint64_t now_ns)
{
    bool are_too_many = working > group->workers; /* more than this front end asked for: its predecessor did */
    struct worker_entry *worn = NULL;
    if (!group->is_replacing && (is_worn || are_too_many))
        worn = most_worn(group, !is_worn, now_ns);
    if (worn != NULL) {
        group->is_replacing = true;
        group->worn = worn;
        group->worn_generation = worn->generation;
    }
    if (group->is_replacing)
        advance_replacement(pool, group, working, now_ns);
    for (unsigned i = 0; is_worn && i < group->seat_count; i++) {
        struct worker_entry *worker = &group->seats[i];
        if (is_working(worker) && worker->used == 0 && is_spent(worker) &&
            !(group->is_replacing && group->worn == worker))
            recycle(pool, group, worker, now_ns);
    }
}

/* ---- number */

static void grow(struct process_pool *pool, struct group_entry *group, unsigned working, uint64_t now_ns)
{
    if (group->waiting_ns == 0 || group->workers >= group->limits.workers_max || working < group->workers)
        return;
    uint64_t due_ns = group->waiting_ns + GROW_AFTER_MS * NS_PER_MS;
    if (now_ns < due_ns) {
        process_pool_look_again(pool, due_ns);
        return;
    }
    size_t room = group->limits.workers_max - group->workers;
    group->workers += (unsigned)(group->queue.count < room ? group->queue.count : room);
}

static void shrink(struct process_pool *pool, struct group_entry *group, uint64_t now_ns)
{
    for (unsigned i = group->seat_count; group->workers > group->limits.workers && i > 0; i--) {
        struct worker_entry *worker = &group->seats[i - 1];
        if (!is_working(worker) || worker->used > 0)
            continue;
        if (worker->idle_ns == 0) /* it has come up since the pool last collected */
            worker->idle_ns = now_ns;
        uint64_t due_ns = worker->idle_ns + group->limits.idle_max_ns;
        if (now_ns < due_ns) {
            process_pool_look_again(pool, due_ns);
            continue;
        }
        group->workers--;
        tell(pool, group, now_ns);
        process_pool_dismiss(pool, worker, "idle");
    }
}

static void look_at_group(struct process_pool *pool, struct group_entry *group, uint64_t now_ns)
{
    unsigned working = 0;
    bool is_worn = false;
    for (unsigned i = 0; i < group->seat_count; i++) {
        struct worker_entry *worker = &group->seats[i];
        if (!is_working(worker))
            continue;
        working++;
        worker_wear_advance(&worker->wear, now_ns);
        is_worn = is_worn || worker_wear_is_near(&worker->wear, worker->used, now_ns);
        process_pool_look_again(pool, worker_wear_due(&worker->wear, now_ns));
    }
    replace_worn(pool, group, working, is_worn, now_ns);
    if (!group->is_replacing)
        shrink(pool, group, now_ns);
    grow(pool, group, working, now_ns);
    tell(pool, group, now_ns);
}

void worker_turnover_look(struct process_pool *pool, uint64_t now_ns)
{
    for (unsigned i = 0; i < pool->config.group_count; i++)
        look_at_group(pool, &pool->groups[i], now_ns);
}

/* ---- what happens */

void worker_turnover_begin(struct process_pool *pool, struct worker_entry *worker, uint64_t now_ns)
{
    uint64_t jobs_done = 0;
    if (atomic_load_explicit(&worker->mailbox->generation, memory_order_acquire) == worker->generation)
        jobs_done = atomic_load_explicit(&worker->mailbox->done_count, memory_order_relaxed) -
                    atomic_load_explicit(&worker->mailbox->first_done, memory_order_relaxed);
    worker->is_retiring = false;
    worker_wear_begin(&worker->wear, &pool->groups[worker->group].limits, jobs_done, (uint32_t)random(), now_ns);
}

void worker_turnover_note_waiting(struct process_pool *pool, struct group_entry *group, bool is_waiting)
{
    if (is_waiting && group->waiting_ns == 0) {
        group->waiting_ns = clock_now_ns();
        if (group->workers < group->limits.workers_max)
            process_pool_look_again(pool, group->waiting_ns + GROW_AFTER_MS * NS_PER_MS);
    } else if (!is_waiting) {
        group->waiting_ns = 0;
    }
}
