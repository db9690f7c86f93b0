/* host: what the pool knows of each origin (scheme://host:port) that it fetches from.
 *
 * A host exists while tickets (URLs that wait or run) refer to it, and longer if it is worth remembering: its breaker
 * has counted failures or is not closed, or it speaks HTTP/2. Of those at most HOSTS_KEPT_MAX are kept, the longest
 * unused go first. Not thread-safe: the caller holds a lock, but for speaks_http2. */
#ifndef TWINPOOL_POOL_HOST_H
#define TWINPOOL_POOL_HOST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/attrs.h"
#include "pool/breaker.h"

enum { HOSTS_KEPT_MAX = 4096 };

struct admission_lane;
TAILQ_HEAD(admission_lanes, admission_lane);

struct host {
    struct host *next; /* in its bucket */
    TAILQ_ENTRY(host) kept_link;
    uint32_t hash; /* of the origin, well mixed */
    size_t users;  /* tickets */
    struct breaker breaker;
    atomic_bool speaks_http2; /* as seen in an answer */
    /* admission.c's */
    unsigned running;
    struct admission_lanes parked;
    struct admission_lane *newest_lane; /* of the group that is adding tickets, */
    uint64_t newest_serial;             /* if this is the group's serial */
    /* io_thread.c's: transfers in each shard of each thread; NULL while there are few */
    _Atomic(uint16_t *) shard_loads;
    size_t origin_len;
    char origin[]; /* with a NUL */
};
TAILQ_HEAD(host_list, host);

struct hosts {
    struct host **buckets;
    size_t bucket_count, count;
    uint32_t seed;         /* of the hashes */
    struct host_list kept; /* without users, the longest unused first */
    size_t kept_count;
};

/* False: no memory. */
bool hosts_init(struct hosts *hosts) NONNULL MUST_CHECK;
void hosts_done(struct hosts *hosts) NONNULL; /* none may have users */

/* The host of the origin, made if need be, with one user more. NULL: no memory. */
struct host *hosts_acquire(struct hosts *hosts, const char *origin, size_t origin_len) NONNULL MUST_CHECK;
void hosts_release(struct hosts *hosts, struct host *host) NONNULL;

/* Calls visit(user, host) for each. */
void hosts_for_each(const struct hosts *hosts, void (*visit)(void *user, const struct host *host), void *user)
    __attribute__((nonnull(1, 2)));

#endif
