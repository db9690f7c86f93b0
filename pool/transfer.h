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

#include "base/attrs.h"
#include "pool/curl_loop.h"
#include "pool/egress_policy.h"
#include "pool/io_pool.h"

struct transfer; /* opaque */

/* What all transfers of a thread share. Outlives them. */
struct transfer_env {
    struct curl_loop *loop;
    const struct egress_policy *policy;
    uint32_t connect_timeout_ms;
    const char *user_agent;
};

/* Decoded body bytes that one call's results may have together. */
struct body_budget {
    _Atomic size_t used;
    size_t max;
};

/* NULL: no memory. */
struct transfer *transfer_new(const struct transfer_env *env) NONNULL MUST_CHECK;
void transfer_free(struct transfer *transfer); /* NULL is a no-op; must not be under way */

/* `index`: of the item in its call. `user`: the caller's, for transfer_user(). */
bool transfer_start(struct transfer *transfer, struct fetch_item *item, size_t index, struct body_budget *budget,
                    void *user) NONNULL MUST_CHECK;
bool transfer_hop_done(struct transfer *transfer, CURLcode code) NONNULL MUST_CHECK;
void transfer_abort(struct transfer *transfer, enum status why) NONNULL;
void transfer_recycle(struct transfer *transfer) NONNULL;

struct transfer *transfer_of(CURL *easy) NONNULL;
void *transfer_user(const struct transfer *transfer) NONNULL;

struct transfer_usage {
    uint64_t body_bytes;
    unsigned connections_opened, connections_reused;
};
struct transfer_usage transfer_usage(const struct transfer *transfer) NONNULL;

#endif
