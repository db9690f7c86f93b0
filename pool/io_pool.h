/* io_pool: fetch URLs on a few threads, each with curl multi handles in an event loop.
 *
 * A call is one request's list of URLs. Its items are spread over the threads, started within the call's concurrency,
 * the per-host and the global limit (a transfer is handed to libcurl only when it may start), and each is rendered as
 * JSON text by the thread that fetched it. Ordinary failures are an item's result, never the call's. */
#ifndef TWINPOOL_POOL_IO_POOL_H
#define TWINPOOL_POOL_IO_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attrs.h"
#include "base/status.h"
#include "pool/bell.h"
#include "pool/breaker.h"
#include "pool/egress_policy.h"
#include "pool/fetch_call.h"
#include "pool/resolver.h"

struct io_pool; /* opaque */

struct io_pool_config {
    unsigned threads;          /* 1..64 */
    unsigned loops;            /* event loops that submit: 1..64 */
    struct bell *const *bells; /* one per loop */
    const int *event_fds;      /* one per loop */
    struct egress_policy policy;
    unsigned inflight_max;    /* transfers at once, all threads */
    unsigned per_call_max;    /* of a call that names no concurrency */
    unsigned per_host_max;    /* transfers at once to one scheme://host:port; 0: no limit */
    unsigned connections_max; /* open at once, idle ones included: more than inflight_max */
    size_t queue_max;         /* URLs accepted and not finished, all calls */
    size_t total_body_max;    /* bytes of decoded bodies of one call */
    size_t memory_max;        /* bytes of all bodies and results */
    size_t stream_window;     /* bytes of results that a stream's caller may leave unread */
    uint32_t min_rate;        /* bytes a second of a body; 0: any */
    uint32_t max_ratio;       /* decoded to received bytes; 0: any */
    struct breaker_rule breaker;
    const char *dns_servers; /* "ADDR[:PORT],…"; "": the system's */
    const char *ca_file;     /* PEM; "": the system's */
    const char *user_agent;  /* copied, as are the others */
};

/* Starts the threads. Call curl_global_init() and ares_library_init() first. ST_OK: *ret_pool is the caller's,
 * io_pool_free() it. ST_NO_MEMORY | ST_INTERNAL | ST_TLS_VERIFY_FAILED (ca_file has no certificate) | ST_DNS_FAILED
 * (dns_servers cannot be used): *ret_pool untouched. */
enum status io_pool_create(const struct io_pool_config *config, struct io_pool **ret_pool) NONNULL MUST_CHECK;

/* Never blocks for long (one mutex). ST_OK: the pool owns the call until on_done. ST_QUEUE_FULL | ST_NO_MEMORY:
 * refused, still the caller's. From any thread. */
enum status io_pool_submit(struct io_pool *pool, struct fetch_call *call) NONNULL MUST_CHECK;

/* Ends the call early: unfinished items fail with `why` (ST_CANCELLED, ST_DEADLINE_EXCEEDED, ST_DRAINING); finished
 * ones keep their results. on_done still comes through io_pool_collect(), within milliseconds. A no-op once the call is
 * complete. Only from the call's own loop. */
void io_pool_cancel(struct io_pool *pool, struct fetch_call *call, enum status why) NONNULL;

/* Tells of finished items and completes the finished calls of `loop`: to be called by that loop when its bell rang and
 * before it sleeps. */
void io_pool_collect(struct io_pool *pool, unsigned loop) NONNULL;
bool io_pool_has_news(struct io_pool *pool, unsigned loop) NONNULL;

/* Of a call with on_item: the item's result was read and is freed. While more than stream_window bytes are unread, the
 * call's transfers stand still. Only from the call's own loop. */
void io_pool_free_result(struct io_pool *pool, struct fetch_call *call, struct fetch_item *item) NONNULL;

/* Frees what the pool holds of a call that is done or was refused: the results (not the call, nor its items). */
void io_pool_release(struct io_pool *pool, struct fetch_call *call) NONNULL;

struct io_host_info {
    char origin[URL_ORIGIN_SIZE];
    enum breaker_state breaker;
    unsigned failures; /* in a row */
    unsigned running;
    uint64_t opens_in_ns; /* of an open breaker: until a probe is let through */
};

struct io_pool_stats {
    unsigned threads, inflight_max;
    uint64_t calls, urls_started, urls_ok, urls_failed, bytes_received, connections_opened, connections_reused;
    uint64_t blocked, retries, hedges, coalesced, breaker_refusals;
    uint64_t failed_by_status[STATUS_COUNT];
    size_t queued, in_flight, memory_taken, memory_max, paused, hosts, breakers_open;
    struct resolver_stats dns;
};
void io_pool_get_stats(struct io_pool *pool, struct io_pool_stats *ret_stats) NONNULL;

/* Hosts whose breaker is not closed or has counted failures, the worst first. Returns how many were written. */
size_t io_pool_get_hosts(struct io_pool *pool, struct io_host_info *ret_hosts, size_t capacity) NONNULL;

/* Stops the threads. Every call must have completed (cancel them first). NULL is a no-op. */
void io_pool_free(struct io_pool *pool);

#endif
