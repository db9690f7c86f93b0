/* process_pool: dispatch jobs to the pre-forked worker processes.
 *
 * One instance per front end process, shared by its event loops; the supervisor forks, kills and reaps the workers.
 * Jobs go into the workers' mailboxes as soon as a slot is free: an idle worker first. A job that waits behind another
 * in a mailbox is taken back when some other worker runs dry, or when that other turns out to be long: so no job waits
 * while a worker is idle, nor for a long one while later jobs are served. A worker's crash, hang and exit are ordinary
 * events: its job ends with a status or runs again, and the caller never sees a signal.
 *
 * All functions but create and free may be called from any event loop thread; one mutex guards the pool, held for
 * microseconds (longer while a body that spills is copied) and never across a callback or a system call that can block.
 */
#ifndef TWINPOOL_POOL_PROCESS_POOL_H
#define TWINPOOL_POOL_PROCESS_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attrs.h"
#include "base/status.h"
#include "pool/bell.h"
#include "pool/job.h"
#include "pool/mailbox.h"
#include "pool/worker_wear.h"

struct process_pool; /* opaque */

struct process_pool_config {
    unsigned workers;                 /* seats for them, used or not */
    struct mailbox *const *mailboxes; /* one per worker */
    const struct spill *spills;       /* one per worker */
    const unsigned *groups;           /* one per worker: whose tasks it runs (task.h); NULL: all are in group 0 */
    unsigned group_count;             /* at least 1 */
    const struct worker_limits
        *limits; /* one per group, good for as long as the pool; NULL: all seats are used, for ever */
    unsigned loops;
    struct bell *const *bells; /* one per loop */
    const int *event_fds;      /* one per loop */
    unsigned queue_max;        /* jobs of a group accepted and not started */
    size_t queue_max_bytes;    /* args and payloads of all jobs that have not ended */
    size_t result_max;         /* bytes of one job's result */
    uint64_t quarantine_ns;    /* quarantine.h */
    uint64_t cancel_grace_ns;  /* for a running job whose task polls_cancel to end by itself; 0: it has none */
    /* Asks the supervisor to SIGKILL that worker, if that generation still lives; perhaps more than once. `reason` is
     * for the log: the code of the job's status, "unresponsive" or "orphaned". Must not block. Called with the pool's
     * lock held. */
    void (*kill_worker)(void *context, unsigned worker, uint32_t generation, const char *reason, bool is_idle);
    void *kill_context;
    /* Tells the supervisor how many workers of the group there are to be; false: it did not fit, and is said again.
     * Must not block, likewise. NULL: there are as many as there are. */
    bool (*want_workers)(void *context, unsigned group, unsigned count);
};

/* Takes over mailboxes as a predecessor left them: jobs that nobody waits for are recalled or, if running, killed.
 * ST_OK: *ret_pool is the caller's. ST_NO_MEMORY: untouched. */
enum status process_pool_create(const struct process_pool_config *config, struct process_pool **ret_pool)
    NONNULL MUST_CHECK;
/* No job may be left (cancel them). NULL is a no-op. */
void process_pool_free(struct process_pool *pool);

/* Never blocks. ST_OK: the pool owns job until on_done. ST_QUEUE_FULL, ST_QUARANTINED, ST_OVERLOADED (it would wait
 * beyond its deadline, for usage.queue_ns at least): refused; still the caller's and on_done will not run. */
enum status process_pool_submit(struct process_pool *pool, struct job *job) NONNULL MUST_CHECK;

/* Ends the job with `why` unless it is already done: taken out of the queue, recalled from a mailbox or, if running,
 * its worker is killed and replaced. on_done comes with the next process_pool_collect() of its loop. Call it on the
 * job's loop. */
void process_pool_cancel(struct process_pool *pool, struct job *job, enum status why) NONNULL;

/* Completes what is done for `loop` and fills the mailboxes again. To be called when the loop's bell rang and before it
 * sleeps. */
void process_pool_collect(struct process_pool *pool, unsigned loop) NONNULL;
/* To be called by each loop before it may sleep, after whatever submits: tiny jobs that came since the last
 * process_pool_collect() may wait in the mailboxes of workers that sleep. */
void process_pool_end_turn(struct process_pool *pool) NONNULL;
/* True if process_pool_collect() would find something. To be asked between lying down and sleeping. */
bool process_pool_has_news(struct process_pool *pool, unsigned loop) NONNULL;

/* Looks after workers that do not take the job they were given (stopped, or starved), or take long over one: call it at
 * or after process_pool_next_tick(). */
void process_pool_tick(struct process_pool *pool, uint64_t now_ns) NONNULL;
uint64_t process_pool_next_tick(struct process_pool *pool) NONNULL; /* CLOCK_NEVER: nothing to look after */

/* The supervisor's news. A generation starts before it dies, and dies before its successor starts. */
void process_pool_worker_started(struct process_pool *pool, unsigned index, uint32_t generation, pid_t pid) NONNULL;
void process_pool_worker_died(struct process_pool *pool, unsigned index, uint32_t generation, int wait_status) NONNULL;

enum worker_state {
    WORKER_DEAD,
    WORKER_STARTING,
    WORKER_IDLE,
    WORKER_BUSY,
    WORKER_RETIRING, /* its successor is there */
    WORKER_UNRESPONSIVE,
    WORKER_DOOMED
};
const char *worker_state_name(enum worker_state state);

struct worker_info {
    pid_t pid; /* 0 while dead */
    unsigned group;
    enum worker_state state;
    uint32_t generation;  /* 1 for the first */
    unsigned jobs_posted; /* in its mailbox now */
    uint64_t jobs_done;   /* since the front end started */
    int task;             /* running, -1 if none or unknown */
    uint64_t running_ns;  /* for how long */
};

struct process_pool_stats {
    unsigned workers, workers_ready; /* of group 0: wanted, and of those ready. That is: alive, started and neither
                                        doomed nor unresponsive */
    size_t queued;                   /* accepted, not started */
    size_t held_bytes;               /* args and payloads of jobs that have not ended */
    size_t queue_max;
    unsigned running;
    uint64_t submitted, refused, completed, requeued, crashes, kills, recycled, stolen;
    uint64_t ended_by_status[STATUS_COUNT]; /* jobs */
    uint64_t mean_wall_ns;                  /* moving average of finished jobs */
};
void process_pool_get_stats(struct process_pool *pool, struct process_pool_stats *ret_stats) NONNULL;
struct process_pool_group {
    unsigned workers, workers_ready;
    size_t queued;
};
/* `group` must be one of the configuration's. */
void process_pool_get_group(struct process_pool *pool, unsigned group, struct process_pool_group *ret_group) NONNULL;
/* Wall time of one run of the task (each item of a chunk is one): a moving average over the jobs that went well. 0:
 * none yet. */
uint64_t process_pool_get_run_ns(struct process_pool *pool, unsigned task) NONNULL;
/* Fills up to `count` entries and returns how many there are: one for each worker that lives or is to live. */
unsigned process_pool_get_workers(struct process_pool *pool, struct worker_info *ret_workers, unsigned count) NONNULL;

#endif
