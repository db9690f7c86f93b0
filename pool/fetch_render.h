/* fetch_render: the result of one URL as JSON text, written straight from the receive buffer (no tree).
 *
 * The members are part of the public contract: docs/http-api.md. Pure but for the memory it takes. */
#ifndef TWINPOOL_POOL_FETCH_RENDER_H
#define TWINPOOL_POOL_FETCH_RENDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attrs.h"
#include "pool/fetch_call.h"
#include "pool/ledger.h"
#include "pool/transfer.h"

/* Everything about a URL that is done. */
struct fetch_report {
    const struct transfer_outcome *outcome; /* of the attempt that counts; its strings may be any bytes */
    const struct ledger *ledger;
    unsigned attempts;
    bool is_hedged, is_shared;
    uint64_t accepted_ns, ended_ns, queue_ns, host_queue_ns;
};

/* Why an item ends before its attempts do. Texts are static. */
struct fetch_why {
    enum status status;
    const char *phase; /* NULL: as far as it has come */
    const char *message;
    const char *budget; /* of time that was used up; NULL: none */
};

/* Sets the item's result and its JSON. Without memory for an answer the item fails with ST_NO_MEMORY; without memory
 * for that, json stays NULL. */
void fetch_render_report(struct fetch_item *item, size_t index, const struct fetch_report *report) NONNULL;

/* The same for an item that was never tried: all of its time was waiting, `host_queue_ns` of it for its host. */
void fetch_render_unstarted(struct fetch_item *item, size_t index, const struct fetch_why *why, uint64_t accepted_ns,
                            uint64_t host_queue_ns) NONNULL;

#endif
