/* What an honest origin answers. */
#include "tests/support/origin_script.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_write.h"

static void small(struct script *script) { script_answer_text(script, 200, TEXT, BLOCK_1024); }

static void bytes(struct script *script)
{
    const uint64_t total = script_arg_number(script);
    struct buf *first = &script->reply->first;
    buf_printf(first, OK TEXT "Content-Length: %llu\r\n\r\n", (unsigned long long)total);
    buf_append(first, BLOCK_1024, total % BLOCK_BYTES);
    script_repeat(script, "", BLOCK_1024, BLOCK_BYTES, total / BLOCK_BYTES);
}

/* Chunks of one size, after a shorter one if they do not come out even. */
static void chunked(struct script *script)
{
    const uint64_t total = script_arg_number(script);
    unsigned size = script_number(script, "chunk", BLOCK_BYTES);
    if (size == 0 || size > REPLY_BYTES_MAX)
        size = BLOCK_BYTES;
    struct origin_reply *reply = script->reply;
    buf_lit(&reply->first, OK TEXT CHUNKED "\r\n");
    const size_t rest = total % size;
    if (rest > 0)
        buf_printf(&reply->first, "%zx\r\n%0*d\r\n", rest, (int)rest, 0);
    buf_printf(&reply->block, "%x\r\n%0*d\r\n", size, (int)size, 0);
    reply->repeat = reply->block.data;
    reply->repeat_len = reply->block.len;
    reply->repeat_count = total / size;
    reply->last = "0\r\n\r\n";
    reply->last_len = 5;
}

static void utf8(struct script *script)
{
    script_answer_text(script, 200, "Content-Type: text/plain; charset=utf-8\r\n",
                       "h\xc3\xa4llo \xe2\x82\xac \xf0\x9f\x98\x80\n");
}

static void text(struct script *script)
{
    struct buf body = BUF_INIT(REPLY_BYTES_MAX);
    if (!origin_query(script->request->target, "body", &body))
        buf_lit(&body, "h\xe4llo\n");
    struct buf *first = &script->reply->first;
    buf_lit(first, OK "Content-Type: text/plain; charset=");
    script_add_param(script, "charset", "iso-8859-1");
    buf_printf(first, "\r\nContent-Length: %zu\r\n\r\n", body.len);
    if (body.len > 0)
        buf_append(first, body.data, body.len);
    buf_done(&body);
}

static void binary(struct script *script)
{
    char all[256];
    for (size_t i = 0; i < sizeof all; i++)
        all[i] = (char)i;
    script_answer(script, 200, OCTETS, all, sizeof all);
}

static void control_bytes(struct script *script)
{
    const uint64_t total = script_arg_number(script);
    struct origin_reply *reply = script->reply;
    char block[BLOCK_BYTES];
    memset(block, 1, sizeof block);
    buf_printf(&reply->first, OK TEXT "Content-Length: %llu\r\n\r\n", (unsigned long long)total);
    buf_append(&reply->first, block, total % BLOCK_BYTES);
    buf_append(&reply->block, block, BLOCK_BYTES);
    reply->repeat = reply->block.data;
    reply->repeat_len = BLOCK_BYTES;
    reply->repeat_count = total / BLOCK_BYTES;
}

static void status(struct script *script)
{
    unsigned code = (unsigned)script_arg_number(script);
    if (code == 204 || code == 304)
        buf_printf(&script->reply->first, "HTTP/1.1 %u Test\r\n\r\n", code);
    else
        script_answer_text(script, code, TEXT, "as you wish\n");
}

static void echo(struct script *script)
{
    const struct origin_request *request = script->request;
    struct buf json = BUF_INIT(REPLY_BYTES_MAX);
    buf_lit(&json, "{\"method\":");
    json_text(&json, request->method);
    buf_lit(&json, ",\"target\":");
    json_text(&json, request->target);
    buf_lit(&json, ",\"fields\":");
    json_string(&json, request->fields, request->fields_len);
    buf_lit(&json, ",\"body\":");
    json_string(&json, request->body, request->body_len);
    buf_byte(&json, '}');
    script_answer(script, 200, JSON, json.data ? json.data : "", json.len);
    buf_done(&json);
}

static void json(struct script *script)
{
    struct buf doc = BUF_INIT(REPLY_BYTES_MAX);
    if (!origin_query(script->request->target, "doc", &doc))
        buf_lit(&doc, "{}");
    script_answer(script, script_status(script, 200), JSON, doc.data ? doc.data : "", doc.len);
    buf_done(&doc);
}

static void json_pretty(struct script *script)
{
    script_answer_text(
        script, 200, JSON,
        "\r\n{\n    \"name\" : \"pretty\",\n\t\"list\" : [\n        1,\n        2.50,\n        -3e2\n    ],\n"
        "    \"nested\" : { \"empty\" : { }, \"none\" : [ ], \"truth\" : [ true, false, null ] }\n}\n\n");
}

static void json_bad(struct script *script)
{
    script_answer_text(script, 200, JSON, "{\"name\": \"bad\", \"list\": [1, 2,");
}

static void etag(struct script *script)
{
    struct buf seen = BUF_INIT(REPLY_BYTES_MAX);
    bool has_it = origin_field(script->request, "If-None-Match", &seen) && seen.len > 0 &&
                  (memmem(seen.data, seen.len, "\"v1\"", 4) || seen.data[0] == '*');
    if (has_it)
        buf_lit(&script->reply->first, "HTTP/1.1 304 Not Modified\r\nETag: \"v1\"\r\n\r\n");
    else
        script_answer_text(script, 200, TEXT "ETag: \"v1\"\r\n", "version one\n");
    buf_done(&seen);
}

/* bytes=A-B, bytes=A- or bytes=-N of BLOCK_1024, as half-open positions. False: none of these, so it does not count. */
static bool parse_range(const char *value, size_t *ret_from, size_t *ret_to)
{
    if (strncmp(value, "bytes=", 6) != 0 || strchr(value, ','))
        return false;
    value += 6;
    char *end;
    const bool is_suffix = *value == '-';
    const unsigned long number = strtoul(value + (is_suffix ? 1 : 0), &end, 10);
    if (is_suffix) {
        *ret_from = number < BLOCK_BYTES ? BLOCK_BYTES - number : 0;
        *ret_to = BLOCK_BYTES;
        return true;
    }
    if (*end != '-')
        return false;
    const unsigned long last = end[1] ? strtoul(end + 1, NULL, 10) : ULONG_MAX;
    *ret_from = number;
    *ret_to = last < BLOCK_BYTES ? last + 1 : BLOCK_BYTES;
    return *ret_from <= last;
}

static void range(struct script *script)
{
    struct buf value = BUF_INIT(REPLY_BYTES_MAX);
    size_t from = 0, to = 0;
    bool is_asked = origin_field(script->request, "Range", &value);
    buf_byte(&value, '\0');
    is_asked = is_asked && !value.failed && parse_range(value.data, &from, &to);
    buf_done(&value);
    char fields[128];
    if (!is_asked) {
        script_answer_text(script, 200, TEXT "Accept-Ranges: bytes\r\n", BLOCK_1024);
    } else if (from >= to) {
        script_answer_text(script, 416, TEXT "Content-Range: bytes */1024\r\n", "");
    } else {
        snprintf(fields, sizeof fields, TEXT "Content-Range: bytes %zu-%zu/1024\r\n", from, to - 1);
        script_answer(script, 206, fields, &BLOCK_1024[from], to - from);
    }
}

static void no_keepalive(struct script *script)
{
    script_answer_text(script, 200, TEXT "Connection: close\r\n", "and goodbye\n");
    script->reply->ending = ORIGIN_CLOSE;
}

const struct behaviour origin_plain_paths[] = {
    { .prefix = "/small", .write = small },
    { .prefix = "/bytes/", .write = bytes },
    { .prefix = "/chunked/", .write = chunked },
    { .prefix = "/utf8", .write = utf8 },
    { .prefix = "/text", .write = text },
    { .prefix = "/binary", .write = binary },
    { .prefix = "/control-bytes/", .write = control_bytes },
    { .prefix = "/status/", .write = status },
    { .prefix = "/echo", .write = echo },
    { .prefix = "/auth-echo", .write = echo },
    { .prefix = "/json", .write = json },
    { .prefix = "/json-pretty", .write = json_pretty },
    { .prefix = "/json-bad", .write = json_bad },
    { .prefix = "/etag", .write = etag },
    { .prefix = "/range", .write = range },
    { .prefix = "/no-keepalive", .write = no_keepalive },
    { .prefix = NULL },
};
