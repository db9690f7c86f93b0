/* load: keep many keep-alive connections busy and account for every request.
 *
 * One thread, one epoll, called like a function. Each connection sends a request, waits for the whole answer and sends
 * the next. Each request that was sent ends in exactly one outcome, so a caller can assert that sent == answered, or
 * say what is missing. Connections that are lost are opened again. */
#ifndef TWINPOOL_TESTS_LOAD_H
#define TWINPOOL_TESTS_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attrs.h"

struct load_config {
    uint16_t port; /* of 127.0.0.1 */
    unsigned connections;
    const char *const *requests; /* whole requests as they go over the wire; connection i sends requests[i % count] */
    size_t request_count;
    uint32_t duration_ms;           /* no request is started after this */
    uint64_t sent_max;              /* nor after this many; 0: no limit */
    uint32_t answer_timeout_ms;     /* per request */
    uint64_t interval_us;           /* between the starts of a connection's requests, which are spread evenly over the
                                       connections; late if the answer before is. 0: at once after it */
    void (*on_tick)(void *context); /* every tick_ms while requests are started; NULL: none */
    uint32_t tick_ms;
    void *context;
};

struct load_result {
    uint64_t sent;
    uint64_t answered;       /* with a well-formed answer */
    uint64_t by_status[600]; /* of those */
    uint64_t lost;           /* the connection ended before a whole answer */
    uint64_t timed_out;
    uint64_t malformed;
    uint64_t connect_failures;     /* not counted as sent */
    uint64_t announced_closes;     /* answers after which the server closes */
    double p50_ms, p99_ms, max_ms; /* from sent to answered whole */
    double refused_p99_ms;         /* of the answers with status 503 */
    double elapsed_ms;
};

/* False: could not start (memory, descriptors). */
bool load_run(const struct load_config *config, struct load_result *ret_result) NONNULL MUST_CHECK;

/* One line about the result on stderr. */
void load_print(const char *title, const struct load_result *result) NONNULL;

#endif
