/* admission: which of the waiting transfers may start next, so that no limit is ever exceeded, nothing waits that could
 * run, and nobody gets more than their turn.
 *
 * Three limits hold at once: transfers in all, per host, per group (one caller's list of URLs). Free slots go round
 * robin over the groups and, within a group, over its hosts: so neither a long list nor a slow host holds the others
 * up. Order is first come, first served within a group and host, if a group's tickets are added in one go. Every
 * operation is O(1) amortised. Times may be a little out of order. Not thread-safe: the caller holds a lock. */
#ifndef TWINPOOL_POOL_ADMISSION_H
#define TWINPOOL_POOL_ADMISSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/attrs.h"
#include "pool/host.h"

/* One transfer, embedded in the caller's object. */
struct admission_ticket {
    struct admission_lane *lane;
    TAILQ_ENTRY(admission_ticket) link;
    uint64_t added_ns;
    uint64_t lane_wait_ns; /* the lane's host_wait_ns when it was added */
    /* how long it has waited in all, and of that for its host alone; of a ticket that was resumed: all its waits */
    uint64_t queue_ns, host_queue_ns;
};
TAILQ_HEAD(admission_tickets, admission_ticket);

/* The waiting tickets of one group for one host. */
struct admission_lane {
    struct admission_group *group;
    struct host *host;
    struct admission_tickets waiting;
    struct admission_lanes
        *list; /* that it is on: its group's ready or woken, its host's parked; NULL: nothing waits */
    TAILQ_ENTRY(admission_lane) link;
    uint64_t parked_since_ns; /* while parked */
    uint64_t host_wait_ns;    /* in which it was parked, so far */
};

struct admission_group {
    TAILQ_ENTRY(admission_group) link;
    bool is_listed;                /* on admission->groups */
    bool is_paused;                /* starts nothing */
    unsigned running, running_max; /* max 0: no limit */
    uint64_t serial;
    struct admission_lanes ready; /* may start unless found otherwise */
    struct admission_lanes woken; /* the same, and a slot of the host was left for them */
    struct admission_lane *lanes; /* the caller's memory */
    size_t lane_count;
};
TAILQ_HEAD(admission_groups, admission_group);

struct admission {
    unsigned running, running_max;
    unsigned per_host_max; /* 0: no limit */
    size_t waiting;
    uint64_t group_serial;
    struct admission_groups groups; /* that have a slot and a lane that may start */
    struct hosts *hosts;
};

void admission_init(struct admission *admission, struct hosts *hosts, unsigned running_max, unsigned per_host_max)
    NONNULL;

/* `lanes`: room for one per ticket that will be added; it and the group stay until all its tickets have finished or
 * were withdrawn. */
void admission_group_init(struct admission *admission, struct admission_group *group, unsigned running_max,
                          struct admission_lane *lanes) NONNULL;

/* The ticket waits. `origin` is the host's key. False: no memory, the ticket was not added. */
bool admission_add(struct admission *admission, struct admission_group *group, struct admission_ticket *ticket,
                   const char *origin, size_t origin_len, uint64_t now_ns) NONNULL MUST_CHECK;

/* The next ticket to start, which now counts as running; NULL if none may. */
struct admission_ticket *admission_next(struct admission *admission, uint64_t now_ns) NONNULL MUST_CHECK;

/* A running ticket has ended. */
void admission_finish(struct admission *admission, struct admission_ticket *ticket, uint64_t now_ns) NONNULL;

/* A running ticket gives its slots back for a while, and later waits for them again. */
void admission_rest(struct admission *admission, struct admission_ticket *ticket, uint64_t now_ns) NONNULL;
void admission_resume(struct admission *admission, struct admission_ticket *ticket, uint64_t now_ns) NONNULL;
/* A resting ticket has ended. */
void admission_drop(struct admission *admission, struct admission_ticket *ticket) NONNULL;

/* One more slot for the same URL, if all limits have room and nobody waits for it. */
bool admission_take_extra(struct admission *admission, struct admission_ticket *ticket) NONNULL MUST_CHECK;
void admission_give_extra(struct admission *admission, struct admission_ticket *ticket, uint64_t now_ns) NONNULL;

/* Takes a waiting ticket out. */
void admission_withdraw(struct admission *admission, struct admission_ticket *ticket, uint64_t now_ns) NONNULL;
/* Brings the waits of a waiting ticket up to date. */
void admission_touch(struct admission_ticket *ticket, uint64_t now_ns) NONNULL;

void admission_pause_group(struct admission *admission, struct admission_group *group, bool is_paused, uint64_t now_ns)
    NONNULL;

#endif
