/* limits: what the endpoints need to know of the configuration. Filled in once at start, constant afterwards. */
#ifndef TWINPOOL_HANDLERS_LIMITS_H
#define TWINPOOL_HANDLERS_LIMITS_H

#include <stddef.h>
#include <stdint.h>

struct egress_policy;

struct handler_limits {
    const char *version; /* of the program */
    /* compute */
    unsigned workers;                /* at least 1: the number itself, not "0 for the default" */
    uint32_t compute_timeout_ms;     /* default deadline, queue time included */
    uint32_t compute_timeout_max_ms; /* the longest that a caller may ask for */
    unsigned map_max_items;          /* of one map */
    size_t map_stream_bytes;         /* unread results of one streamed map */
    size_t max_result_bytes;         /* of one job */
    /* fetch */
    uint32_t fetch_timeout_ms; /* these five: defaults for one URL */
    uint32_t fetch_dns_timeout_ms;
    uint32_t fetch_connect_timeout_ms;
    uint32_t fetch_tls_timeout_ms;
    uint32_t fetch_first_byte_timeout_ms;
    uint32_t fetch_timeout_max_ms; /* of each of them */
    unsigned fetch_max_urls;       /* of one call */
    unsigned fetch_inflight_max;   /* transfers at once; no call's concurrency can be higher */
    size_t fetch_max_body_bytes;   /* default and maximum of max_body_bytes */
    unsigned fetch_max_redirects;  /* default and maximum */
    unsigned fetch_retries;        /* default */
    const struct egress_policy *egress;
};

#endif
