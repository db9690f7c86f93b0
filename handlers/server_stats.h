/* server_stats: what GET /metrics, /stats and /readyz tell about the front end itself. */
#ifndef TWINPOOL_HANDLERS_SERVER_STATS_H
#define TWINPOOL_HANDLERS_SERVER_STATS_H

#include <stdbool.h>
#include <stdint.h>

/* A consistent enough view: each number is exact, but they are not all of the same instant. Counters start at 0 with
 * the front end's process. */
struct server_stats {
    const char *lifecycle; /* "running", "draining" or "stopping" */
    bool is_draining;      /* any but "running": readiness is refused */
    unsigned loops;
    uint64_t uptime_ns;   /* of the front end */
    uint64_t connections; /* open now */
    uint64_t connections_accepted;
    uint64_t connections_refused; /* over the limit */
    uint64_t requests;            /* whose header was complete */
    uint64_t requests_in_flight;  /* of those: not answered yet */
    uint64_t body_bytes;          /* of theirs, received so far */
    uint64_t responses[6]; /* by class: [2] counts 2xx; [0] those that ended without an answer (the client left) */
};

#endif
