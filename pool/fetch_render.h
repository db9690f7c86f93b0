/* fetch_render: the result of one URL as JSON text, written straight from the receive buffer (no tree).
 *
 * The members are part of the public contract: docs/http-api.md. Pure but for the memory it takes. */
#ifndef TWINPOOL_POOL_FETCH_RENDER_H
#define TWINPOOL_POOL_FETCH_RENDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attrs.h"
#include "pool/io_pool.h"
#include "pool/response_head.h"

/* What an origin answered. Durations are each phase's own, of the last hop; 0 where the connection was reused. */
struct fetch_answer {
    const char *final_url;
    unsigned http_status;
    const char *http_version; /* "1.0", "1.1", "2" */
    const struct response_head *head;
    const char *body; /* decoded; any bytes */
    size_t body_len;
    bool is_truncated;
    bool is_reused;
    bool is_tls;
    unsigned redirects;
    uint64_t elapsed_ns, dns_ns, connect_ns, tls_ns, first_byte_ns;
};

/* Sets item->json from the answer; item->status is ST_OK. If there is no memory for that, the item fails with
 * ST_NO_MEMORY. */
void fetch_render_answer(struct fetch_item *item, size_t index, const struct fetch_answer *answer) NONNULL;

/* Sets item->json from item->status, phase and message. Without memory, item->json stays NULL. */
void fetch_render_failure(struct fetch_item *item, size_t index) NONNULL;

/* Fails the item: status, phase (static text) and message, made valid UTF-8 and cut to fit. */
void fetch_item_fail(struct fetch_item *item, enum status status, const char *phase, const char *format, ...)
    __attribute__((format(printf, 4, 5), nonnull));

#endif
