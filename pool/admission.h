/* admission: which of the waiting transfers may start next, so that no limit is ever exceeded and nothing waits that
 * could run.
 *
 * Three limits hold at once: transfers in all, per host, per group (one caller's list of URLs). Order is first come,
 * first served within a group and host; among those that could start it is round robin, so neither a long list nor a
 * slow host holds the others up. Every operation is O(1) amortised. Not thread-safe: the caller holds a lock. */
#ifndef TWINPOOL_POOL_ADMISSION_H
#define TWINPOOL_POOL_ADMISSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/attrs.h"

struct admission_host; /* admission.c */
struct admission_lane;

/* One transfer, embedded in the caller's object. */
struct admission_ticket {
    struct admission_lane *lane;
    TAILQ_ENTRY(admission_ticket) link;
};
TAILQ_HEAD(admission_tickets, admission_ticket);

/* The waiting tickets of one group for one host. */
struct admission_lane {
    struct admission_group *group;
    struct admission_host *host;
    struct admission_tickets waiting;
    struct admission_lanes *list; /* that it is on: ready, its group's or its host's; NULL: nothing waits */
    TAILQ_ENTRY(admission_lane) link;
};
TAILQ_HEAD(admission_lanes, admission_lane);

struct admission_group {
    unsigned running, running_max; /* max 0: no limit */
    uint64_t serial;
    struct admission_lanes parked; /* waiting for a slot of the group */
    struct admission_lane *lanes;  /* the caller's memory */
    size_t lane_count;
};

struct admission {
    unsigned running, running_max;
    unsigned per_host_max; /* 0: no limit */
    size_t waiting;
    uint64_t group_serial;
    struct admission_lanes ready; /* may start unless found otherwise */
    struct admission_host **buckets;
    size_t bucket_count, host_count;
};

/* False: no memory. */
bool admission_init(struct admission *admission, unsigned running_max, unsigned per_host_max) NONNULL MUST_CHECK;
void admission_done(struct admission *admission) NONNULL; /* nothing may wait or run */

/* `lanes`: room for one per ticket that will be added; it and the group stay until all its tickets have finished or
 * were withdrawn. */
void admission_group_init(struct admission *admission, struct admission_group *group, unsigned running_max,
                          struct admission_lane *lanes) NONNULL;

/* The ticket waits. `origin` is the host's key. False: no memory, the ticket was not added. */
bool admission_add(struct admission *admission, struct admission_group *group, struct admission_ticket *ticket,
                   const char *origin, size_t origin_len) NONNULL MUST_CHECK;

/* The next ticket to start, which now counts as running; NULL if none may. */
struct admission_ticket *admission_next(struct admission *admission) NONNULL MUST_CHECK;

/* A running ticket has ended. */
void admission_finish(struct admission *admission, struct admission_ticket *ticket) NONNULL;

/* Takes a waiting ticket of the group out; NULL if none waits. */
struct admission_ticket *admission_withdraw(struct admission *admission, struct admission_group *group)
    NONNULL MUST_CHECK;

/* The same for all tickets of one host; well mixed. Valid while the ticket waits or runs. */
uint32_t admission_host_hash(const struct admission_ticket *ticket) NONNULL;

#endif
