/* fetch_render: one buffer per result, sized up front from the body, so that the body is escaped into its final place.
 *
 * A body that was cut may end inside a character. It is trimmed to a character boundary before it is judged as UTF-8,
 * else whether a page comes as text or as base64 would depend on where the limit happened to fall. */
#include "pool/fetch_render.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json_check.h"
#include "base/json_write.h"
#include "base/utf8.h"

enum { FIXED_MEMBERS_BYTES = 768, LEDGER_ENTRY_BYTES = 384, RESULT_SLACK_BYTES = 4096 };

/* What an origin may send as JSON: any document that parsers of today accept. */
static const struct json_limits body_limits = {
    .depth = 64, .members = 8192, .values = SIZE_MAX, .number_length = 4096
};

/* ---- the body */

/* Length without the start of a UTF-8 sequence at the end that the cut left incomplete. */
static size_t without_partial_character(const char *bytes, size_t len)
{
    for (size_t back = 1; back <= 3 && back <= len; back++) {
        unsigned char byte = (unsigned char)bytes[len - back];
        if ((byte & 0xc0) == 0x80)
            continue;
        size_t wanted = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
        return wanted > back ? len - back : len;
    }
    return len;
}

static void write_encoding(const char *encoding, size_t len, struct buf *out)
{
    buf_lit(out, ",\"encoding\":\"");
    buf_str(out, encoding);
    buf_lit(out, "\",\"bytes\":");
    json_uint(out, len);
}

/* An answer is one line. */
static void write_document(const char *body, size_t len, struct buf *out)
{
    json_key(out, "body");
    json_document(out, body, len);
    write_encoding("json", len, out);
}

static void write_text_or_base64(const struct transfer_outcome *outcome, enum fetch_body_form form, struct buf *out)
{
    const char *body = outcome->body_len ? outcome->body : "";
    size_t len = outcome->body_len, text_len = outcome->is_truncated ? without_partial_character(body, len) : len;
    bool is_text = form != FETCH_BODY_BASE64 && utf8_valid(body, text_len),
         is_lossy = !is_text && form == FETCH_BODY_TEXT;
    json_key(out, "body");
    if (is_text)
        json_string(out, body, len = text_len);
    else if (is_lossy)
        json_string_lossy(out, body, len);
    else
        json_base64(out, body, len);
    write_encoding(is_text || is_lossy ? "utf-8" : "base64", len, out);
}

static void write_body(const struct transfer_outcome *outcome, enum fetch_body_form form, struct buf *out)
{
    const char *body = outcome->body_len ? outcome->body : "";
    struct json_error error;
    char why[96];
    if (form == FETCH_BODY_NONE) {
        buf_lit(out, "\"bytes\":");
        json_uint(out, outcome->body_seen);
    } else if (form != FETCH_BODY_JSON || outcome->has_no_body) {
        write_text_or_base64(outcome, form, out);
    } else if (outcome->is_truncated) {
        write_text_or_base64(outcome, form, out);
        buf_lit(out, ",\"json_error\":\"the body was cut\"");
    } else if (json_check(body, outcome->body_len, &body_limits, &error)) {
        write_document(body, outcome->body_len, out);
    } else {
        write_text_or_base64(outcome, form, out);
        snprintf(why, sizeof why, "%s at byte %zu", error.message, error.offset);
        buf_lit(out, ",\"json_error\":");
        json_text(out, why); /* some messages have a backslash in them */
    }
}

/* ---- members that answers and failures share */

static void write_index_and_url(const struct fetch_item *item, size_t index, struct buf *out)
{
    buf_lit(out, "{\"index\":");
    json_uint(out, index);
    buf_lit(out, ",\"url\":");
    json_text(out, item->url);
}

static void write_queues(uint64_t queue_ns, uint64_t host_queue_ns, struct buf *out)
{
    buf_lit(out, "\"queue\":");
    json_ms(out, queue_ns > host_queue_ns ? queue_ns - host_queue_ns : 0);
    buf_lit(out, ",\"host_queue\":");
    json_ms(out, host_queue_ns);
}

static void write_times(const struct fetch_item *item, const struct fetch_report *report, struct buf *out)
{
    const struct ledger_entry *last = &report->outcome->last;
    buf_lit(out, ",\"elapsed_ms\":");
    /* an item may have joined another's transfer when that had just ended */
    json_ms(out, report->ended_ns > report->accepted_ns ? report->ended_ns - report->accepted_ns : 0);
    buf_lit(out, ",\"timing_ms\":{");
    write_queues(report->queue_ns, report->host_queue_ns, out);
    buf_byte(out, ',');
    ledger_phases_json(last, report->outcome->is_tls || last->tls_ns > 0, out);
    buf_byte(out, '}');
    if (report->ledger->requests > 1) {
        buf_lit(out, ",\"requests\":");
        ledger_json(report->ledger, item->url, report->accepted_ns, out);
    }
}

static void write_attempts(const struct fetch_report *report, struct buf *out)
{
    buf_lit(out, ",\"attempts\":");
    json_uint(out, report->attempts);
    if (report->is_hedged)
        buf_lit(out, ",\"hedged\":true");
    if (report->is_shared)
        buf_lit(out, ",\"coalesced\":true");
}

static size_t ledger_bytes(const struct ledger *ledger)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < ledger->count; i++)
        bytes += LEDGER_ENTRY_BYTES + (ledger->entries[i].url ? strlen(ledger->entries[i].url) : 0);
    return ledger->requests > 1 ? bytes : 0;
}

/* Hands the text over without the memory that it does not need. */
static void take_result(struct fetch_item *item, struct buf *out)
{
    bool is_wasteful = out->cap - out->len > RESULT_SLACK_BYTES;
    item->json = buf_take(out, &item->json_len);
    char *shrunk = is_wasteful ? realloc(item->json, item->json_len + 1) : NULL;
    if (shrunk)
        item->json = shrunk;
}

/* ---- failures */

static void set_failure(struct fetch_item *item, enum status status, const char *phase, const char *message)
{
    item->status = status;
    item->phase = phase;
    item->message = strndup(message, TRANSFER_MESSAGE_SIZE);
    if (!item->message)
        return;
    size_t len = without_partial_character(item->message, strlen(item->message));
    item->message[len] = '\0';
    for (char *c = item->message; !utf8_valid(item->message, len) && *c; c++)
        if ((unsigned char)*c >= 0x80)
            *c = '?';
}

static void write_error(const struct fetch_item *item, struct buf *out)
{
    buf_lit(out, ",\"error\":{\"code\":");
    json_text(out, status_code(item->status));
    buf_lit(out, ",\"phase\":");
    json_text(out, item->phase);
    buf_lit(out, ",\"message\":");
    json_text(out, item->message ? item->message : status_title(item->status));
    buf_lit(out, ",\"retriable\":");
    json_bool(out, item->is_retriable);
    if (item->budget) {
        buf_lit(out, ",\"budget\":");
        json_text(out, item->budget);
    }
    buf_byte(out, '}');
}

static void render_failure(struct fetch_item *item, size_t index, const struct fetch_report *report, enum status status,
                           const char *phase, const char *message)
{
    set_failure(item, status, phase, message);
    item->is_retriable = report->outcome->is_retriable;
    item->budget = report->outcome->budget;
    size_t bytes =
        FIXED_MEMBERS_BYTES + 6 * (strlen(item->url) + TRANSFER_MESSAGE_SIZE) + 6 * ledger_bytes(report->ledger);
    struct buf out = BUF_INIT(bytes);
    write_index_and_url(item, index, &out);
    write_error(item, &out);
    item->json_tail = out.len;
    write_attempts(report, &out);
    write_times(item, report, &out);
    buf_byte(&out, '}');
    if (out.failed)
        buf_done(&out);
    else
        take_result(item, &out);
}

void fetch_render_unstarted(struct fetch_item *item, size_t index, const struct fetch_why *why, uint64_t accepted_ns,
                            uint64_t host_queue_ns)
{
    const struct ledger nothing = { 0 };
    const struct transfer_outcome outcome = { .is_retriable = status_retriable(why->status), .budget = why->budget };
    uint64_t now_ns = clock_now_ns();
    render_failure(item, index,
                   &(struct fetch_report){ .outcome = &outcome,
                                           .ledger = &nothing,
                                           .accepted_ns = accepted_ns,
                                           .ended_ns = now_ns,
                                           .queue_ns = now_ns - accepted_ns,
                                           .host_queue_ns = host_queue_ns },
                   why->status, why->phase ? why->phase : "queue", why->message);
}

/* ---- answers */

/* Escaping can take six bytes for one; that much is only reached by bodies of control characters. */
static struct buf sized_buf(const struct fetch_item *item, const struct fetch_report *report)
{
    const struct transfer_outcome *outcome = report->outcome;
    size_t url_bytes = strlen(item->url) + strlen(outcome->final_url), ledger = ledger_bytes(report->ledger);
    size_t fixed =
        FIXED_MEMBERS_BYTES + 6 * (url_bytes + ledger) + 12 * (outcome->head->text.len + RESPONSE_HEAD_LINES_MAX);
    struct buf out = BUF_INIT(fixed + 6 * outcome->body_len);
    char *room = buf_reserve(&out, FIXED_MEMBERS_BYTES + url_bytes + ledger + 2 * outcome->head->text.len +
                                       outcome->body_len + outcome->body_len / 16);
    (void)room; /* a failure is sticky */
    return out;
}

static void render_answer(struct fetch_item *item, size_t index, const struct fetch_report *report)
{
    const struct transfer_outcome *outcome = report->outcome;
    struct buf out = sized_buf(item, report);
    write_index_and_url(item, index, &out);
    buf_lit(&out, ",\"final_url\":");
    json_text(&out, outcome->final_url);
    buf_lit(&out, ",\"status\":");
    json_uint(&out, outcome->http_status);
    if (!item->answer_headers || item->answer_headers[0]) {
        buf_lit(&out, ",\"headers\":");
        response_head_json(outcome->head, item->answer_headers, &out);
    }
    buf_byte(&out, ',');
    write_body(outcome, item->body_form, &out);
    buf_str(&out, outcome->is_truncated ? ",\"truncated\":true" : ",\"truncated\":false");
    buf_lit(&out, ",\"http_version\":\"");
    buf_str(&out, outcome->http_version);
    buf_byte(&out, '"');
    write_attempts(report, &out);
    buf_lit(&out, ",\"reused\":");
    json_bool(&out, outcome->last.is_reused);
    if (outcome->redirects > 0) {
        buf_lit(&out, ",\"redirects\":");
        json_uint(&out, outcome->redirects);
    }
    write_times(item, report, &out);
    buf_byte(&out, '}');
    if (out.failed) {
        buf_done(&out);
        render_failure(item, index, report, ST_NO_MEMORY, "body", "the service had no memory for the result");
        return;
    }
    item->status = ST_OK;
    item->http_status = outcome->http_status;
    take_result(item, &out);
}

void fetch_render_report(struct fetch_item *item, size_t index, const struct fetch_report *report)
{
    const struct transfer_outcome *outcome = report->outcome;
    if (outcome->status == ST_OK)
        render_answer(item, index, report);
    else
        render_failure(item, index, report, outcome->status, outcome->phase, outcome->message);
}
