/* quarantine: jobs that have ended workers, so that one of them sent again and again cannot take the pool down.
 *
 * A job is known by the hash of its task and input. Two workers that died under it within the time, and it is refused
 * until that time has passed since the last. The table is small and forgets the oldest; false positives are collisions
 * of 64 bits with a secret seed. Not thread-safe. */
#ifndef TWINPOOL_POOL_QUARANTINE_H
#define TWINPOOL_POOL_QUARANTINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attrs.h"
#include "pool/job.h"

enum { QUARANTINE_JOBS_MAX = 64, QUARANTINE_DEATHS = 2 };

struct quarantine {
    uint64_t time_ns; /* 0: nothing is ever refused */
    uint64_t seed;
    struct {
        uint64_t hash;
        unsigned deaths; /* 0: free */
        uint64_t last_ns;
    } jobs[QUARANTINE_JOBS_MAX];
    unsigned count; /* entries that are not free */
};

void quarantine_init(struct quarantine *quarantine, uint64_t time_ns) NONNULL;
/* A worker has died of the job. */
void quarantine_note(struct quarantine *quarantine, const struct job *job, uint64_t now_ns) NONNULL;
/* Is it to be refused? Costs nothing while no worker has died lately, else a pass over the job's bytes. */
bool quarantine_holds(struct quarantine *quarantine, const struct job *job, uint64_t now_ns) NONNULL MUST_CHECK;

#endif
