/* breaker: stops sending to a host that fails, and finds out when it is back. A circuit breaker on consecutive
 * failures.
 *
 *   closed      everything passes; `failures` counted outcomes in a row open it
 *   open        nothing passes for open_ns
 *   half-open   then one passes as a probe: its success closes the breaker, its failure opens it again
 *
 * Which outcomes count is the caller's choice. Pure functions of their arguments; not thread-safe. */
#ifndef TWINPOOL_POOL_BREAKER_H
#define TWINPOOL_POOL_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attrs.h"
#include "base/status.h"

/* What can be counted: bits. */
enum breaker_outcome {
    BREAKER_DNS = 1 << 0,     /* dns_failed, dns_timeout */
    BREAKER_CONNECT = 1 << 1, /* connect_failed, connect_timeout */
    BREAKER_TLS = 1 << 2,     /* tls_failed, tls_timeout, tls_verify_failed */
    BREAKER_TIMEOUT = 1 << 3, /* first_byte_timeout, too_slow, or the URL's own time was over while the origin had it */
    BREAKER_CLOSED = 1 << 4,  /* connection_closed, truncated, protocol_error */
    BREAKER_5XX = 1 << 5,     /* an answer with a status of 500 or more */
    BREAKER_429 = 1 << 6      /* an answer with status 429 */
};

struct breaker_rule {
    unsigned failures; /* in a row; 0: never opens */
    uint64_t open_ns;
    unsigned counted; /* bits of enum breaker_outcome */
};

enum breaker_state { BREAKER_IS_CLOSED, BREAKER_IS_OPEN, BREAKER_IS_HALF_OPEN };

struct breaker { /* zero-initialise: closed */
    unsigned failures;
    bool is_probing;        /* the one of half-open is under way */
    uint64_t open_until_ns; /* 0: closed */
};

enum breaker_state breaker_state(const struct breaker *breaker, uint64_t now_ns) NONNULL MUST_CHECK;

/* May a request be sent? Half-open: true makes it the probe, whose verdict must be noted, even if it says nothing. */
bool breaker_admits(struct breaker *breaker, const struct breaker_rule *rule, uint64_t now_ns) NONNULL MUST_CHECK;

/* The class of an ended request: 0 if it says nothing of the host (cancelled, refused by us). `http_status` counts if
 * `status` is ST_OK. */
enum breaker_verdict { BREAKER_SAYS_NOTHING, BREAKER_SUCCESS, BREAKER_FAILURE };
enum breaker_verdict breaker_judge(const struct breaker_rule *rule, enum status status, unsigned http_status)
    NONNULL MUST_CHECK;

void breaker_note(struct breaker *breaker, const struct breaker_rule *rule, enum breaker_verdict verdict,
                  uint64_t now_ns) NONNULL;

#endif
