/* retry_policy: is it right, and worth it, to send a request again? Pure functions.
 *
 * A request that never left may always be sent again. One that did may if its method is idempotent (RFC 9110 section
 * 9.2.2) or its caller says so, and if what happened may be different next time. Waits grow exponentially from 200 ms
 * to 10 s with full jitter; Retry-After (RFC 9110 section 10.2.3) is obeyed. What would end after the deadline is not
 * tried. */
#ifndef TWINPOOL_POOL_RETRY_POLICY_H
#define TWINPOOL_POOL_RETRY_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attrs.h"
#include "base/status.h"
#include "pool/fetch_call.h"

enum { RETRIES_MAX = 10 };

struct retry_question {
    unsigned attempts, retries_max;
    enum fetch_method method;
    bool may_repeat_unsafe;  /* the caller says that any method may be sent twice */
    bool was_sent;           /* the request, or a part of it */
    enum status status;      /* ST_OK: there is an answer, */
    unsigned http_status;    /* this */
    bool is_retriable;       /* of a failure: it may be different next time */
    uint64_t retry_after_ns; /* from the answer; CLOCK_NEVER: it named none */
    uint64_t left_ns;        /* to the deadline */
    uint32_t random;         /* any */
};

/* True: after *ret_delay_ns. */
bool retry_is_due(const struct retry_question *question, uint64_t *ret_delay_ns) NONNULL MUST_CHECK;

/* 408, 429, 502, 503, 504: the origin asks for patience. */
bool retry_is_for_status(unsigned http_status) MUST_CHECK;

#endif
