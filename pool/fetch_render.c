/* fetch_render: one buffer per result, sized up front from the body, so that the body is escaped into its final place.
 *
 * A body that was cut may end inside a character. It is trimmed to a character boundary before it is judged as UTF-8,
 * else whether a page comes as text or as base64 would depend on where the limit happened to fall. */
#include "pool/fetch_render.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/json_write.h"
#include "base/utf8.h"

enum { FIXED_MEMBERS_BYTES = 512 };

static const char out_of_memory[] = "the service had no memory for the result";

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

static void write_body(const struct fetch_answer *answer, struct buf *out)
{
    const char *body = answer->body_len ? answer->body : "";
    size_t text_len = answer->is_truncated ? without_partial_character(body, answer->body_len) : answer->body_len;
    bool is_text = utf8_valid(body, text_len);
    size_t len = is_text ? text_len : answer->body_len;
    json_key(out, "body");
    if (is_text)
        json_string(out, body, len);
    else
        json_base64(out, body, len);
    buf_str(out, is_text ? ",\"encoding\":\"utf-8\",\"bytes\":" : ",\"encoding\":\"base64\",\"bytes\":");
    json_uint(out, len);
}

static void write_timing(const struct fetch_answer *answer, struct buf *out)
{
    buf_lit(out, ",\"elapsed_ms\":");
    json_ms(out, answer->elapsed_ns);
    buf_lit(out, ",\"timing_ms\":{\"dns\":");
    json_ms(out, answer->dns_ns);
    buf_lit(out, ",\"connect\":");
    json_ms(out, answer->connect_ns);
    if (answer->is_tls) {
        buf_lit(out, ",\"tls\":");
        json_ms(out, answer->tls_ns);
    }
    buf_lit(out, ",\"first_byte\":");
    json_ms(out, answer->first_byte_ns);
    buf_byte(out, '}');
}

static void write_index_and_url(const struct fetch_item *item, size_t index, struct buf *out)
{
    buf_lit(out, "{\"index\":");
    json_uint(out, index);
    buf_lit(out, ",\"url\":");
    json_text(out, item->url);
}

/* Escaping can take six bytes for one; that much is only reached by bodies of control characters. */
static struct buf sized_buf(const struct fetch_item *item, const struct fetch_answer *answer)
{
    size_t url_bytes = strlen(item->url) + strlen(answer->final_url);
    size_t fixed = FIXED_MEMBERS_BYTES + 6 * url_bytes + 12 * (answer->head->text.len + RESPONSE_HEAD_LINES_MAX);
    struct buf out = BUF_INIT(fixed + 6 * answer->body_len);
    char *room = buf_reserve(&out, FIXED_MEMBERS_BYTES + url_bytes + 2 * answer->head->text.len + answer->body_len +
                                       answer->body_len / 16);
    (void)room; /* a failure is sticky */
    return out;
}

void fetch_render_answer(struct fetch_item *item, size_t index, const struct fetch_answer *answer)
{
    struct buf out = sized_buf(item, answer);
    write_index_and_url(item, index, &out);
    buf_lit(&out, ",\"final_url\":");
    json_text(&out, answer->final_url);
    buf_lit(&out, ",\"status\":");
    json_uint(&out, answer->http_status);
    buf_lit(&out, ",\"headers\":");
    response_head_json(answer->head, &out);
    buf_byte(&out, ',');
    write_body(answer, &out);
    buf_str(&out, answer->is_truncated ? ",\"truncated\":true" : ",\"truncated\":false");
    buf_lit(&out, ",\"http_version\":\"");
    buf_str(&out, answer->http_version);
    buf_lit(&out, "\",\"attempts\":1,\"reused\":");
    json_bool(&out, answer->is_reused);
    if (answer->redirects > 0) {
        buf_lit(&out, ",\"redirects\":");
        json_uint(&out, answer->redirects);
    }
    write_timing(answer, &out);
    buf_byte(&out, '}');
    if (out.failed) {
        buf_done(&out);
        fetch_item_fail(item, ST_NO_MEMORY, "body", "%s", out_of_memory);
        fetch_render_failure(item, index);
        return;
    }
    item->status = ST_OK;
    item->json = buf_take(&out, &item->json_len);
}

void fetch_render_failure(struct fetch_item *item, size_t index)
{
    struct buf out = BUF_INIT(FIXED_MEMBERS_BYTES + 6 * (strlen(item->url) + sizeof item->message));
    write_index_and_url(item, index, &out);
    buf_lit(&out, ",\"error\":{\"code\":");
    json_text(&out, status_code(item->status));
    buf_lit(&out, ",\"phase\":");
    json_text(&out, item->phase);
    buf_lit(&out, ",\"message\":");
    json_text(&out, item->message);
    buf_lit(&out, ",\"retriable\":");
    json_bool(&out, status_retriable(item->status));
    buf_lit(&out, "}}");
    if (out.failed)
        buf_done(&out);
    else
        item->json = buf_take(&out, &item->json_len);
}

void fetch_item_fail(struct fetch_item *item, enum status status, const char *phase, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(item->message, sizeof item->message, format, arguments);
    va_end(arguments);
    item->status = status;
    item->phase = phase;
    size_t len = without_partial_character(item->message, strlen(item->message));
    item->message[len] = '\0';
    for (char *c = item->message; !utf8_valid(item->message, len) && *c; c++)
        if ((unsigned char)*c >= 0x80)
            *c = '?';
}
