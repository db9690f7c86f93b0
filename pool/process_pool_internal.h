/* process_pool_internal: the pool's state, for process_pool.c and process_pool_stats.c only. */
#ifndef TWINPOOL_POOL_PROCESS_POOL_INTERNAL_H
#define TWINPOOL_POOL_PROCESS_POOL_INTERNAL_H

#include <pthread.h>

#include "pool/process_pool.h"

struct worker_entry {
    struct mailbox *mailbox;
    struct spill spill;
    struct job *jobs[MAILBOX_SLOTS]; /* of slots in use; NULL for one whose job has ended already */
    bool in_use[MAILBOX_SLOTS];
    bool is_spilled[MAILBOX_SLOTS];  /* the request is; the slot says so too, but a worker can write there */
    unsigned used;                   /* slots in use */
    uint32_t generation;
    pid_t pid;
    bool is_alive, is_doomed, is_suspect;
    bool is_long; /* its running job takes long: nothing is posted behind it */
    const char *doom_reason; /* static text */
    uint64_t suspect_ns; /* since when */
    uint64_t posted_ns;  /* since when it has jobs of which it should claim one */
    uint32_t seen_done;
    uint64_t jobs_done;
};

struct job_list {
    struct job *first, *last;
};

struct loop_entry {
    struct job_list ended;
    _Atomic bool has_ended; /* ended is not empty; readable without the lock */
    struct bell_ringer ringer;
};

struct process_pool {
    struct process_pool_config config;
    pthread_mutex_t lock; /* guards everything below */
    struct job_list queue;
    size_t admitted; /* jobs not ended that are exempt from the bound */
    size_t queued;
    size_t held_bytes; /* args and payloads of all jobs that have not ended */
    uint32_t next_sequence;
    uint64_t next_tick_ns;
    struct worker_entry *workers;
    struct loop_entry *loops;
    struct process_pool_stats stats;
};

/* True: jobs may be posted to it. Call with the lock held. */
bool process_pool_worker_is_ready(const struct worker_entry *worker) NONNULL;

#endif
