/* transfer: one URL through libcurl, from the check of its URL over redirects to a result.
 *
 * A transfer owns one easy handle and its buffers and is used for one fetch after another. It belongs to the thread of
 * its loop.
 *
 *   transfer_start()             true: libcurl has it             false: it has ended already
 *   libcurl reports it done  ->  transfer_hop_done(): true: another hop has begun     false: ended
 *   transfer_abort()             ended
 *
 * When it has ended, the item's result fields and JSON text are complete; transfer_usage() tells what it took; then
 * transfer_recycle() makes it ready for the next. */
#ifndef TWINPOOL_POOL_TRANSFER_H
#define TWINPOOL_POOL_TRANSFER_H

#include <curl/curl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/attrs.h"
#include "pool/curl_loop.h"
#include "pool/egress_policy.h"
#include "pool/io_pool.h"

struct transfer; /* opaque */

enum {
    TRANSFER_THREADS_MAX = 64,
    /* libcurl resolves each name on a thread of its own with two or three descriptors, and a name server that does not
     * answer keeps them for seconds. So only some transfers of a thread resolve at once, and one call's have no more
     * than half of the places: the rest wait here. Transfers to literal addresses need no place. */
    TRANSFER_LOOKUPS_MAX = 64,
    TRANSFER_LOOKUPS_PER_CALL = 32,
    TRANSFER_DESCRIPTORS_PER_LOOKUP = 3
};

TAILQ_HEAD(transfer_queue, transfer);

/* What all transfers of a thread share. Outlives them. */
struct transfer_env {
    struct curl_loop *loop;
    const struct egress_policy *policy;
    uint32_t connect_timeout_ms;
    const char *user_agent;
    unsigned thread; /* its index: < TRANSFER_THREADS_MAX */
    /* transfer.c's own; zero-initialise and TAILQ_INIT() */
    struct transfer_queue waiting; /* for a place to resolve their host's name */
    unsigned lookups;              /* places taken */
    bool may_resume;               /* a place has become free since the queue was looked through */
};

/* What the transfers of one call share. */
struct call_budget {
    _Atomic size_t used; /* decoded body bytes of its results */
    size_t max;
    uint16_t lookups[TRANSFER_THREADS_MAX]; /* places taken, each written by that thread alone */
};

/* NULL: no memory. */
struct transfer *transfer_new(struct transfer_env *env) NONNULL MUST_CHECK;
void transfer_free(struct transfer *transfer); /* NULL is a no-op; must not be under way */

/* `index`: of the item in its call. `user`: the caller's, for transfer_user(). */
bool transfer_start(struct transfer *transfer, struct fetch_item *item, size_t index, struct call_budget *budget,
                    void *user) NONNULL MUST_CHECK;
bool transfer_hop_done(struct transfer *transfer, CURLcode code) NONNULL MUST_CHECK;
void transfer_abort(struct transfer *transfer, enum status why) NONNULL;

/* The next transfer that waited to resolve a name and now may, taken off the queue; NULL: none. Not from a callback of
 * libcurl's. The caller resumes it: false means that it has ended (its time was over). */
struct transfer *transfer_next_waiting(struct transfer_env *env) NONNULL MUST_CHECK;
bool transfer_resume(struct transfer *transfer) NONNULL MUST_CHECK;
void transfer_recycle(struct transfer *transfer) NONNULL;

struct transfer *transfer_of(CURL *easy) NONNULL;
void *transfer_user(const struct transfer *transfer) NONNULL;

struct transfer_usage {
    uint64_t body_bytes;
    unsigned connections_opened, connections_reused;
};
struct transfer_usage transfer_usage(const struct transfer *transfer) NONNULL;

#endif
