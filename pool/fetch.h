/* fetch: the life of one item on its thread: attempts, hedges, waits between attempts, and its result as JSON text.
 *
 *   fetch_start()          the first attempt begins, or the item fails at once
 *   env->on_rest()         it will try again: it needs its slots no longer; at fetch_rest_due_ns() it is to be resumed
 *   fetch_resume()         it has its slots again
 *   env->on_over()         it has ended, from the loop's turn or from within any of these functions
 *   fetch_render()         writes the result, any number of times
 *
 * Belongs to the thread of its environment. */
#ifndef TWINPOOL_POOL_FETCH_H
#define TWINPOOL_POOL_FETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attrs.h"
#include "pool/fetch_call.h"
#include "pool/fetch_render.h"
#include "pool/transfer.h"

struct fetch; /* opaque */

struct fetch_env {
    struct transfer_env transfers; /* on_end is fetch.c's */
    void (*on_over)(struct fetch *fetch);
    void (*on_rest)(struct fetch *fetch);
    /* Slots for a second request; false: there is none. */
    bool (*take_extra)(struct fetch *fetch);
    void (*give_extra)(struct fetch *fetch);
    /* fetch.c's: transfers and fetches kept for reuse; zero-initialise */
    struct transfer **spare_transfers;
    struct fetch **spare_fetches;
    unsigned spare_transfer_count, spare_fetch_count;
    uint64_t random;
};

/* False: no memory, nothing to undo. Sets env->transfers.on_end. */
bool fetch_env_init(struct fetch_env *env) NONNULL MUST_CHECK;
void fetch_env_done(struct fetch_env *env) NONNULL;

struct fetch_spec {
    const struct fetch_item *item; /* may be another, identical one when it is rendered */
    struct call_share *call;
    uint64_t accepted_ns;
    uint64_t queue_ns, host_queue_ns; /* waited so far */
    unsigned shard;
    atomic_bool *speaks_http2;
    void *user;
};

/* NULL: no memory. */
struct fetch *fetch_new(struct fetch_env *env) NONNULL MUST_CHECK;
void fetch_recycle(struct fetch *fetch) NONNULL; /* it has ended, or was never started */

void fetch_start(struct fetch *fetch, const struct fetch_spec *spec) NONNULL;
void fetch_resume(struct fetch *fetch) NONNULL;
/* How long it has waited for its slots by now, in all. */
void fetch_set_waits(struct fetch *fetch, uint64_t queue_ns, uint64_t host_queue_ns) NONNULL;
/* Ends it with this failure: on_over() is called. Under way, resting or waiting for its slots. */
void fetch_give_up(struct fetch *fetch, const struct fetch_why *why) NONNULL;

void *fetch_user(const struct fetch *fetch) NONNULL;
uint64_t fetch_rest_due_ns(const struct fetch *fetch) NONNULL;

/* Sets the item's result: of its own item first. */
void fetch_render(const struct fetch *fetch, struct fetch_item *item, size_t index) NONNULL;
/* The same for an item of another call, or of this one, that shares the transfer. */
void fetch_render_shared(const struct fetch *fetch, struct fetch_item *item, size_t index, struct call_share *call,
                         uint64_t accepted_ns) NONNULL;

/* What its end says, valid from on_over() or on_rest() on. */
struct fetch_summary {
    enum status status;   /* of the last attempt */
    unsigned http_status; /* of an answer */
    unsigned redirects;   /* followed by the last attempt */
    uint64_t body_bytes;
    unsigned connections_opened, connections_reused;
    unsigned retries, hedges;
};
struct fetch_summary fetch_summary(const struct fetch *fetch) NONNULL;

#endif
