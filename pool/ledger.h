/* ledger: where the time of one URL went: an entry for each request that was made for it. Not thread-safe. */
#ifndef TWINPOOL_POOL_LEDGER_H
#define TWINPOOL_POOL_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attrs.h"
#include "base/buf.h"
#include "base/status.h"

enum { LEDGER_ENTRIES_MAX = 64, LEDGER_URL_MAX = 256 }; /* further requests are counted, not described */

/* Durations are each phase's own; 0 where there was none (a kept connection, plain HTTP). */
struct ledger_entry {
    unsigned attempt;   /* from 1 */
    bool is_hedge;      /* the second request of an attempt that was slow */
    bool is_reused;     /* went over a kept connection */
    enum status status; /* ST_OK: an answer, */
    unsigned http_status;
    char *url;         /* owned, cut; NULL: the URL as it was asked for */
    uint64_t began_ns; /* clock_now_ns() */
    uint64_t dns_ns, connect_ns, tls_ns, first_byte_ns, body_ns, elapsed_ns;
};

struct ledger {
    struct ledger_entry *entries; /* in the order in which they ended */
    unsigned count, capacity;
    unsigned requests; /* in all */
};

/* Takes entry->url. */
void ledger_add(struct ledger *ledger, const struct ledger_entry *entry) NONNULL;
void ledger_clear(struct ledger *ledger) NONNULL; /* keeps the memory */
void ledger_done(struct ledger *ledger) NONNULL;

/* Appends a JSON array of the entries; times count from accepted_ns. */
void ledger_json(const struct ledger *ledger, const char *first_url, uint64_t accepted_ns, struct buf *out) NONNULL;
/* Appends the phases of one entry as members: `"dns":…,"connect":…,…` */
void ledger_phases_json(const struct ledger_entry *entry, bool is_tls, struct buf *out) NONNULL;

#endif
