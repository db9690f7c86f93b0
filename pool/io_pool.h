/* io_pool: fetch URLs on a few threads, each with one curl multi handle in an event loop.
 *
 * A call is one request's list of URLs. Its items are spread over the threads, started within the call's
 * concurrency, the per-host and the global limit (a transfer is handed to libcurl only when it may start), and each
 * is rendered as JSON text by the thread that fetched it. Ordinary failures are an item's result, never the call's. */
#ifndef TWINPOOL_POOL_IO_POOL_H
#define TWINPOOL_POOL_IO_POOL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attrs.h"
#include "base/status.h"
#include "pool/bell.h"
#include "pool/egress_policy.h"

struct io_pool; /* opaque */

struct io_pool_config {
    unsigned threads;          /* 1..64 */
    unsigned loops;            /* event loops that submit: 1..64 */
    struct bell *const *bells; /* one per loop */
    const int *event_fds;      /* one per loop */
    struct egress_policy policy;
    unsigned inflight_max; /* transfers at once, all threads */
    unsigned per_host_max; /* transfers at once to one scheme://host:port; 0: no limit */
    size_t queue_max;      /* URLs accepted and not finished, all calls */
    size_t total_body_max; /* bytes of decoded bodies of one call */
    uint32_t connect_timeout_ms;
    const char *user_agent; /* copied */
};

enum fetch_method { FETCH_GET, FETCH_HEAD, FETCH_POST, FETCH_PUT, FETCH_PATCH, FETCH_DELETE, FETCH_OPTIONS };

/* One URL to fetch. Strings belong to the call's arena and stay put until the call is freed. */
struct fetch_item {
    const char *url;
    enum fetch_method method;
    const char *const *headers; /* "Name: value" lines, NULL-terminated; NULL: none */
    const char *body;
    size_t body_len;
    uint32_t timeout_ms;    /* total for this URL, from its start, redirects included */
    size_t max_body_bytes;  /* decoded; a longer body is cut and marked truncated */
    unsigned max_redirects; /* 0: answer the redirect itself */

    /* Result, valid once the call is done. */
    enum status status; /* ST_OK: the origin answered, with whatever HTTP status */
    const char
        *phase; /* of a failure: "url" "policy" "queue" "dns" "connect" "tls" "send" "first_byte" "body" "redirect" */
    char message[200]; /* of a failure: for people, valid UTF-8 */
    char *json;        /* the whole item object as JSON text; freed with the call */
    size_t json_len;
};

struct fetch_call {
    struct fetch_item *items;
    size_t count;
    unsigned concurrency;                     /* transfers of this call at once; 0: no limit of its own */
    unsigned loop;                            /* whose io_pool_collect() completes it */
    uint64_t started_ns;                      /* set by submit */
    void (*on_done)(struct fetch_call *call); /* exactly once, on that loop, no lock held */
    void *user;
    void *arena;      /* the submitter's; the pool does not touch it */
    void *pool_state; /* the pool's; freed by it before on_done */
};

/* Starts the threads. Call curl_global_init() first. ST_OK: *ret_pool is the caller's, io_pool_free() it.
 * ST_NO_MEMORY | ST_INTERNAL: *ret_pool untouched. */
enum status io_pool_create(const struct io_pool_config *config, struct io_pool **ret_pool) NONNULL MUST_CHECK;

/* Never blocks for long (a mutex per thread). ST_OK: the pool owns the call until on_done. ST_QUEUE_FULL |
 * ST_NO_MEMORY: refused, still the caller's. From any thread. */
enum status io_pool_submit(struct io_pool *pool, struct fetch_call *call) NONNULL MUST_CHECK;

/* Ends the call early: unfinished items fail with `why` (ST_CANCELLED, ST_DEADLINE_EXCEEDED, ST_DRAINING); finished
 * ones keep their results. on_done still comes through io_pool_collect(), within milliseconds. A no-op once the call is
 * complete. Only from the call's own loop. */
void io_pool_cancel(struct io_pool *pool, struct fetch_call *call, enum status why) NONNULL;

/* Completes the finished calls of `loop`: to be called by that loop when its bell rang and before it sleeps. */
void io_pool_collect(struct io_pool *pool, unsigned loop) NONNULL;
bool io_pool_has_news(struct io_pool *pool, unsigned loop) NONNULL;

struct io_pool_stats {
    unsigned threads;
    uint64_t calls, urls_started, urls_ok, urls_failed, bytes_received, connections_opened, connections_reused, blocked;
    uint64_t failed_by_status[STATUS_COUNT];
    size_t queued, in_flight;
};
void io_pool_get_stats(struct io_pool *pool, struct io_pool_stats *ret_stats) NONNULL;

/* Stops the threads. Every call must have completed (cancel them first). NULL is a no-op. */
void io_pool_free(struct io_pool *pool);

/* Frees json of every item (not the call, nor its arena). */
void fetch_call_clear(struct fetch_call *call) NONNULL;

#endif
