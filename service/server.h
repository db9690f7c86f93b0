/* server: what the event loops of one front end process share. */
#ifndef TWINPOOL_SERVICE_SERVER_H
#define TWINPOOL_SERVICE_SERVER_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/attrs.h"
#include "handlers/handler.h"
#include "handlers/limits.h"
#include "handlers/server_stats.h"
#include "service/config.h"
#include "service/http_guard.h"
#include "service/lifecycle.h"

struct loop;

/* What libmicrohttpd needs to list a field, query parameter or cookie (56, in blocks of 16), and so what each counts.
 */
enum { HEADER_ENTRY_BYTES = 64 };

struct server {
    struct app app; /* first: handlers hold a pointer to it */
    const struct config *config;
    struct handler_limits limits;
    struct http_guard_limits guard_limits;
    int listen_fd;
    unsigned max_connections; /* config's, or what the descriptor limit allows */
    _Atomic int lifecycle;    /* enum lifecycle */
    uint64_t phase_since_ns;  /* these two belong to loop 0 (drain.c) */
    unsigned quiet_turns;
    unsigned loop_count;
    _Atomic unsigned loops_left; /* that accept nobody any more, and have taken all that they were woken for */
    struct loop **loops;
    /* Counters of all loops; relaxed atomics, each written by many. */
    _Atomic uint64_t connections, connections_accepted, connections_refused;
    _Atomic uint64_t requests, requests_in_flight, responses[6];
    _Atomic uint64_t body_bytes; /* of the requests in flight */
};

static inline enum lifecycle server_lifecycle(const struct server *server)
{
    return (enum lifecycle)atomic_load_explicit(&server->lifecycle, memory_order_acquire);
}

static inline void server_count(_Atomic uint64_t *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}
static inline void server_uncount(_Atomic uint64_t *counter)
{
    atomic_fetch_sub_explicit(counter, 1, memory_order_relaxed);
}

#endif
