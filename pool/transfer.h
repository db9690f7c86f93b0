/* transfer: one attempt at one URL through libcurl: name, connection, request, redirects, answer.
 *
 * A transfer owns one easy handle and its buffers and is used for one attempt after another. It belongs to the thread
 * of its loop.
 *
 *   transfer_start()   true: under way              false: it has ended already
 *   env->on_end()      it has ended, from the loop's turn (never from within transfer_start())
 *   transfer_stop()    gives it up; on_end() is not called
 *
 * When it has ended, transfer_outcome() tells what came out, until transfer_recycle() makes it ready for the next. */
#ifndef TWINPOOL_POOL_TRANSFER_H
#define TWINPOOL_POOL_TRANSFER_H

#include <curl/curl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/attrs.h"
#include "base/buf.h"
#include "pool/curl_loop.h"
#include "pool/egress_policy.h"
#include "pool/fetch_call.h"
#include "pool/ledger.h"
#include "pool/memory_budget.h"
#include "pool/resolver.h"
#include "pool/response_head.h"

struct transfer; /* opaque */
struct trust_store;
TAILQ_HEAD(transfer_queue, transfer);

enum { TRANSFER_MESSAGE_SIZE = 240 };

/* What all transfers of a thread share. Outlives them. */
struct transfer_env {
    struct curl_loop *loop;
    struct resolver *resolver;
    const struct egress_policy *policy;
    struct memory_budget *memory;
    const struct trust_store *trust;
    CURLSH *share;               /* TLS sessions; NULL: none */
    const char *user_agent_line; /* "User-Agent: ..." */
    uint32_t min_rate;           /* bytes a second over ten seconds; 0: any */
    uint32_t max_ratio;          /* decoded to received bytes, above 1 MiB; 0: any */
    bool skips_url_check;        /* for the guard's test of itself: only the socket's own check stands between */
    void (*on_end)(struct transfer *transfer);
    struct transfer_queue paused; /* transfer.c's own; TAILQ_INIT() */
};

/* What the transfers of one call share. */
struct call_share {
    struct memory_account memory;
    _Atomic size_t body_bytes; /* decoded, of its results */
    size_t body_bytes_max;
    const char *traceparent; /* NULL: none */
};

/* How far a request has come, as our callbacks saw it. */
enum transfer_stage { STAGE_RESOLVING, STAGE_CONNECTING, STAGE_TLS, STAGE_REQUEST, STAGE_HEAD, STAGE_BODY };

struct transfer_outcome {
    enum status status;                  /* ST_OK: an answer */
    const char *phase;                   /* of a failure */
    const char *budget;                  /* of a failure: the option that was used up; NULL: none */
    bool is_retriable;                   /* of a failure: it may be different next time */
    bool was_sent;                       /* the request, or a part of it */
    unsigned redirects;                  /* that were followed */
    unsigned repetitions;                /* requests that libcurl sent again because a kept connection was dead */
    char message[TRANSFER_MESSAGE_SIZE]; /* of a failure: for people, may be any bytes */
    unsigned http_status;
    uint64_t retry_after_ns; /* CLOCK_NEVER: the answer names none */
    /* of an answer */
    const char *final_url;
    const char *http_version; /* "1.0", "1.1", "2" */
    const struct response_head *head;
    const char *body; /* decoded; any bytes */
    size_t body_len;
    bool has_no_body; /* nor could it: HEAD, 204, 304 */
    size_t body_seen; /* decoded bytes in all: more than body_len if they were not kept */
    bool is_truncated, is_tls;
    struct ledger_entry last; /* of the last request; its url is not owned */
};

struct transfer_spec {
    const struct fetch_item *item;
    struct call_share *call;
    uint64_t deadline_ns;
    unsigned attempt;          /* from 1 */
    bool is_hedge;             /* goes over a connection of its own */
    unsigned shard;            /* of the item's host */
    atomic_bool *speaks_http2; /* of the item's host: read and set; NULL: nobody wants to know */
    struct ledger *ledger;
    void *user;
};

/* NULL: no memory. */
struct transfer *transfer_new(struct transfer_env *env) NONNULL MUST_CHECK;
void transfer_free(struct transfer *transfer); /* NULL is a no-op; must not be under way */

bool transfer_start(struct transfer *transfer, const struct transfer_spec *spec) NONNULL MUST_CHECK;
void transfer_stop(struct transfer *transfer) NONNULL;
const struct transfer_outcome *transfer_outcome(const struct transfer *transfer) NONNULL;
void transfer_recycle(struct transfer *transfer) NONNULL;

/* libcurl says that it is done with the handle. May call on_end(). */
void transfer_done(CURL *easy, CURLcode code) NONNULL;

enum transfer_stage transfer_stage(const struct transfer *transfer) NONNULL;
const char *transfer_phase(const struct transfer *transfer) NONNULL;
void *transfer_user(const struct transfer *transfer) NONNULL;
/* What is said when the bodies of a call are too large together. */
void transfer_explain_total(const struct call_share *call, char ret_text[static TRANSFER_MESSAGE_SIZE]) NONNULL;
/* Its bytes of the memory budget, and of the call's total, are the caller's now. */
size_t transfer_pass_taken(struct transfer *transfer) NONNULL MUST_CHECK;

/* Memory may be free again: lets the paused transfers go on. Not from a callback of libcurl's. */
void transfers_resume(struct transfer_env *env) NONNULL;

struct transfer_usage {
    uint64_t body_bytes; /* as they came: coded */
    unsigned connections_opened, connections_reused;
};
struct transfer_usage transfer_usage(const struct transfer *transfer) NONNULL;

#endif
