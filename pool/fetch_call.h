/* fetch_call: a caller's list of URLs and what became of each: what handlers and the I/O pool exchange. */
#ifndef TWINPOOL_POOL_FETCH_CALL_H
#define TWINPOOL_POOL_FETCH_CALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "pool/memory_budget.h"

enum fetch_method { FETCH_GET, FETCH_HEAD, FETCH_POST, FETCH_PUT, FETCH_PATCH, FETCH_DELETE, FETCH_OPTIONS };

/* The form of the body in the answer. */
enum fetch_body_form {
    FETCH_BODY_AUTO,   /* text if it is UTF-8, else base64 */
    FETCH_BODY_TEXT,   /* text; what is not UTF-8 becomes U+FFFD */
    FETCH_BODY_BASE64, /* always */
    FETCH_BODY_JSON,   /* the document itself if it is one, else as AUTO */
    FETCH_BODY_NONE    /* its length only */
};

/* One URL to fetch. Strings belong to the submitter and stay put until the call is done. Times are in milliseconds. */
struct fetch_item {
    const char *url;
    enum fetch_method method;
    enum fetch_body_form body_form;
    const char *const *headers;        /* "Name: value" lines, NULL-terminated; NULL: none */
    const char *const *answer_headers; /* names in lower case, NULL-terminated: only these come back; NULL: all */
    const char *body;
    size_t body_len;
    size_t max_body_bytes; /* decoded; a longer body is cut and marked truncated */
    uint32_t timeout_ms;   /* total for this URL, from the call's acceptance: waiting, redirects and retries included */
    uint32_t dns_timeout_ms, connect_timeout_ms, tls_timeout_ms,
        first_byte_timeout_ms; /* of each request made for it */
    uint32_t hedge_ms;         /* a second request if the first has no answer by then; 0: never */
    unsigned max_redirects;    /* 0: answer the redirect itself */
    unsigned retries;          /* further attempts, at most RETRIES_MAX */
    bool may_repeat_unsafe;    /* POST and PATCH may be sent again */
    bool coalesces;            /* GET, HEAD or OPTIONS without a body may share the transfer of an identical one */

    /* Result, valid once the item is done. */
    enum status status; /* ST_OK: the origin answered, with whatever HTTP status */
    unsigned http_status;
    bool is_retriable;  /* of a failure: trying again may help */
    const char *phase;  /* of a failure: "url" "policy" "queue" "host_queue" "dns" "connect" "tls" "send" "first_byte"
                           "body" "redirect" "retry" */
    const char *budget; /* of a failure: the limit on time that was used up; NULL: none was */
    char *message;      /* of a failure: for people, valid UTF-8; NULL: no memory for it */
    char *json;         /* the whole item object as JSON text; NULL: no memory for it */
    size_t json_len;
    size_t json_tail;           /* of a failure: where `,"attempts":…}` begins in it */
    struct memory_grant memory; /* of the pool's budget */
};

struct fetch_call {
    struct fetch_item *items;
    size_t count;
    unsigned concurrency; /* transfers of this call at once; 0: the pool's default */
    size_t required; /* done as soon as so many have an HTTP status below 400, or no longer can; 0: all are awaited */
    const char *traceparent; /* to be sent along; NULL: none */
    unsigned loop;           /* whose io_pool_collect() completes it */
    uint64_t started_ns;     /* set by submit */
    /* These are called on that loop, no lock held. NULL on_item: results are only looked at when all are there. */
    void (*on_item)(struct fetch_call *call, struct fetch_item *item); /* once per item, as they are done */
    void (*on_done)(struct fetch_call *call);                          /* exactly once, last */
    void *user;
    void *pool_state; /* the pool's own, until io_pool_release() */
};

#endif
