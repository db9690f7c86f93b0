/* process_pool_internal: the pool's state, for process_pool.c and process_pool_stats.c only. */
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

struct process_pool {
    struct process_pool_config config;
    pthread_mutex_t lock;     /* guards everything below */
    struct job_queue *queues; /* per group */
    struct job_task *tasks;   /* per task */
    size_t admitted;          /* jobs not ended that are exempt from the bound */
    size_t held_bytes;        /* args and payloads of all jobs that have not ended */
    uint32_t next_sequence;
    uint64_t next_tick_ns;
    struct worker_entry *workers;
    struct loop_entry *loops;
    struct quarantine quarantine;
    struct process_pool_stats stats;
};

#endif
