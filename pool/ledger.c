#include "pool/ledger.h"

#include <stdlib.h>
#include <string.h>

#include "base/json_write.h"

void ledger_add(struct ledger *ledger, const struct ledger_entry *entry)
{
    ledger->requests++;
    if (ledger->count == ledger->capacity && ledger->count < LEDGER_ENTRIES_MAX) {
        unsigned capacity = ledger->capacity ? 2 * ledger->capacity : 2;
        struct ledger_entry *grown = reallocarray(ledger->entries, capacity, sizeof *grown);
        if (grown) {
            ledger->entries = grown;
            ledger->capacity = capacity;
        }
    }
    if (ledger->count < ledger->capacity)
        ledger->entries[ledger->count++] = *entry;
    else
        free(entry->url);
}

void ledger_clear(struct ledger *ledger)
{
    for (unsigned i = 0; i < ledger->count; i++)
        free(ledger->entries[i].url);
    ledger->count = ledger->requests = 0;
}

void ledger_done(struct ledger *ledger)
{
    ledger_clear(ledger);
    free(ledger->entries);
    *ledger = (struct ledger){ 0 };
}

void ledger_phases_json(const struct ledger_entry *entry, bool is_tls, struct buf *out)
{
    buf_lit(out, "\"dns\":");
    json_ms(out, entry->dns_ns);
    buf_lit(out, ",\"connect\":");
    json_ms(out, entry->connect_ns);
    if (is_tls) {
        buf_lit(out, ",\"tls\":");
        json_ms(out, entry->tls_ns);
    }
    buf_lit(out, ",\"first_byte\":");
    json_ms(out, entry->first_byte_ns);
    buf_lit(out, ",\"body\":");
    json_ms(out, entry->body_ns);
}

static void write_entry(const struct ledger_entry *entry, const char *first_url, uint64_t accepted_ns, struct buf *out)
{
    buf_lit(out, "{\"attempt\":");
    json_uint(out, entry->attempt);
    buf_lit(out, ",\"url\":");
    json_text(out, entry->url ? entry->url : first_url);
    if (entry->status == ST_OK) {
        buf_lit(out, ",\"status\":");
        json_uint(out, entry->http_status);
    } else {
        buf_lit(out, ",\"error\":");
        json_text(out, status_code(entry->status));
    }
    if (entry->is_hedge)
        buf_lit(out, ",\"hedge\":true");
    buf_lit(out, ",\"reused\":");
    json_bool(out, entry->is_reused);
    buf_lit(out, ",\"at_ms\":");
    json_ms(out, entry->began_ns > accepted_ns ? entry->began_ns - accepted_ns : 0);
    buf_lit(out, ",\"elapsed_ms\":");
    json_ms(out, entry->elapsed_ns);
    buf_lit(out, ",\"timing_ms\":{");
    ledger_phases_json(entry, entry->tls_ns > 0, out);
    buf_lit(out, "}}");
}

void ledger_json(const struct ledger *ledger, const char *first_url, uint64_t accepted_ns, struct buf *out)
{
    buf_byte(out, '[');
    for (unsigned i = 0; i < ledger->count; i++) {
        if (i > 0)
            buf_byte(out, ',');
        write_entry(&ledger->entries[i], first_url, accepted_ns, out);
    }
    buf_byte(out, ']');
}
