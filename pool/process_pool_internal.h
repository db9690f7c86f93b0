/* process_pool_internal: the state of the pool, for its own files and worker_turnover.c only. */
#ifndef TWINPOOL_POOL_PROCESS_POOL_INTERNAL_H
#define TWINPOOL_POOL_PROCESS_POOL_INTERNAL_H

#include <pthread.h>

#include "pool/job_queue.h"
#include "pool/process_pool.h"
#include "pool/quarantine.h"
#include "pool/worker_entry.h"

struct loop_entry {
    struct job_list ended;
    _Atomic bool has_ended; /* ended is not empty; readable without the lock */
    struct bell_ringer ringer;
};

struct group_entry {
    struct job_queue queue;
    struct worker_limits limits;
    struct worker_entry *seats; /* its part of the pool's workers */
    unsigned seat_count;
    unsigned workers;  /* there are to be: limits.workers, or more while jobs wait */
    bool is_replacing; /* and one more, for a worker that is worn: */
    struct worker_entry *worn;
    uint32_t worn_generation;
    unsigned told;       /* what the supervisor was told */
    uint64_t waiting_ns; /* since when there has been a job that no worker could take; 0: there is none */
};

struct process_pool {
    struct process_pool_config config;
    pthread_mutex_t lock; /* guards everything below */
    struct group_entry *groups;
    struct job_task *tasks; /* per task */
    size_t admitted;        /* jobs not ended that are exempt from the bound */
    size_t held_bytes;      /* args and payloads of all jobs that have not ended */
    uint32_t next_sequence;
    uint64_t next_tick_ns;
    _Atomic bool is_notice_owed; /* to some worker; readable without the lock */
    struct worker_entry *workers;
    struct loop_entry *loops;
    struct quarantine quarantine;
    struct process_pool_stats stats;
};

/* ---- process_pool.c, with the lock held */

unsigned process_pool_group_of(const struct process_pool *pool, const struct job *job) NONNULL MUST_CHECK;
/* Puts it on its loop's list of ended jobs. */
void process_pool_end_job(struct process_pool *pool, struct job *job, enum status status) NONNULL;
/* The worker has jobs and runs none: it must claim one soon. */
void process_pool_expect_claim(struct process_pool *pool, struct worker_entry *worker) NONNULL;
/* Has a worker without jobs killed that is no longer needed; the reason is static text. */
void process_pool_dismiss(struct process_pool *pool, struct worker_entry *worker, const char *reason) NONNULL;
/* Has the tick come by then. */
void process_pool_look_again(struct process_pool *pool, uint64_t at_ns) NONNULL;

/* ---- process_pool_admission.c, likewise */

/* ST_OK: the job may come in. */
enum status process_pool_refusal(struct process_pool *pool, struct job *job, uint64_t now_ns) NONNULL MUST_CHECK;

/* ---- process_pool_dispatch.c, likewise */

/* Gives the workers what they can take. */
void process_pool_dispatch(struct process_pool *pool) NONNULL;
/* The group's worker with the fewest jobs, if it has fewer than `limit` and will be done with them soon; NULL: none. */
struct worker_entry *process_pool_least_busy(const struct group_entry *group, unsigned limit) NONNULL MUST_CHECK;
/* Wakes the workers that were given tiny jobs since. */
void process_pool_notify_owed(struct process_pool *pool) NONNULL;
/* A job that was in a mailbox waits again. */
void process_pool_put_back(struct process_pool *pool, struct job *job) NONNULL;
/* Puts all READY jobs of a worker back into the queue, in their order. */
void process_pool_recall_all(struct process_pool *pool, struct worker_entry *worker) NONNULL;

/* ---- worker_turnover.c, likewise */

/* Replaces worn workers, and has as many as are needed; jobs may have to be dispatched afterwards. */
void worker_turnover_look(struct process_pool *pool, uint64_t now_ns) NONNULL;
/* A generation has started. */
void worker_turnover_begin(struct process_pool *pool, struct worker_entry *worker, uint64_t now_ns) NONNULL;
/* After a dispatch: are there jobs that no worker can take? */
void worker_turnover_note_waiting(struct process_pool *pool, struct group_entry *group, bool is_waiting) NONNULL;

#endif
