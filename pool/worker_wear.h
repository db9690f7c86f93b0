/* worker_wear: when a worker has done enough. Policy only: worker_turnover.c acts on it.
 *
 * Near its end a worker goes on, and a successor is started; spent, it is given no further job. Jobs are a limit that
 * is never passed, a tenth more or less for each worker, lest all of them are replaced together. Growth and age are
 * reached in any case: they let it work on until the successor is there. */
#ifndef TWINPOOL_POOL_WORKER_WEAR_H
#define TWINPOOL_POOL_WORKER_WEAR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attrs.h"
#include "tasks/task.h"

struct worker_wear {
    uint64_t jobs_limit; /* 0: any */
    uint64_t jobs_done;
    uint64_t growth_max_kib;
    uint64_t first_rss_kib; /* 0: no job yet */
    bool is_grown;          /* too much; noticed at: */
    uint64_t grown_ns;
    bool is_overdue; /* and no successor has come since */
    uint64_t old_ns; /* when it will be old; CLOCK_NEVER: never */
};

/* A worker has started, or is taken over with `jobs_done`. `random`: any number. */
void worker_wear_begin(struct worker_wear *wear, const struct worker_limits *limits, uint64_t jobs_done,
                       uint32_t random, uint64_t now_ns) NONNULL;
/* It has finished a job; its peak of memory. */
void worker_wear_note_job(struct worker_wear *wear, uint64_t max_rss_kib) NONNULL;

/* Time has passed. */
void worker_wear_advance(struct worker_wear *wear, uint64_t now_ns) NONNULL;
/* `jobs_held`: given to it and not finished. */
bool worker_wear_is_near(const struct worker_wear *wear, unsigned jobs_held, uint64_t now_ns) NONNULL MUST_CHECK;
bool worker_wear_is_spent(const struct worker_wear *wear, unsigned jobs_held) NONNULL MUST_CHECK;
/* When time alone will change one of the answers; CLOCK_NEVER: not. */
uint64_t worker_wear_due(const struct worker_wear *wear, uint64_t now_ns) NONNULL MUST_CHECK;

#endif
