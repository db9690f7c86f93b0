/* The behaviours of the test origin: a table of path prefixes, each with a function that writes the reply's script.
 * What follows the prefix is the function's `arg`; query parameters are looked up by name. */
#include "tests/support/origin_reply.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_write.h"

enum { REPLY_BYTES_MAX = 4 << 20, PARAM_BYTES = 9000, SMALL_BYTES = 1024 };

#define TEXT     "Content-Type: text/plain\r\n"
#define BLOCK_64 "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-\n"
#define BLOCK_1024                                                                                              \
    BLOCK_64 BLOCK_64 BLOCK_64 BLOCK_64 BLOCK_64 BLOCK_64 BLOCK_64 BLOCK_64 BLOCK_64 BLOCK_64 BLOCK_64 BLOCK_64 \
        BLOCK_64 BLOCK_64 BLOCK_64 BLOCK_64

struct script {
    const struct origin_request *request;
    const char *arg; /* up to '?' or the end */
    struct origin_reply *reply;
};

static void answer(struct origin_reply *reply, unsigned status, const char *fields, const char *body, size_t len)
{
    buf_printf(&reply->first, "HTTP/1.1 %u Test\r\n%sContent-Length: %zu\r\n\r\n", status, fields, len);
    if (len > 0)
        buf_append(&reply->first, body, len);
}

static void answer_text(struct origin_reply *reply, unsigned status, const char *fields, const char *body)
{
    answer(reply, status, fields, body, strlen(body));
}

static int hex_value(char digit)
{
    const char *digits = "0123456789abcdef", *at = digit ? strchr(digits, digit | 0x20) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* The percent-decoded query parameter; false if it is not there. */
static bool query_param(const struct script *script, const char *name, char *ret_value, size_t capacity)
{
    const char *at = strchr(script->request->target, '?');
    size_t name_len = strlen(name);
    for (; at; at = strchr(at + 1, '&'))
        if (strncmp(at + 1, name, name_len) == 0 && at[1 + name_len] == '=')
            break;
    if (!at)
        return false;
    size_t len = 0;
    for (at += name_len + 2; *at && *at != '&' && len + 1 < capacity; at++) {
        bool is_escape = at[0] == '%' && hex_value(at[1]) >= 0 && hex_value(at[2]) >= 0;
        ret_value[len++] = is_escape ? (char)(hex_value(at[1]) * 16 + hex_value(at[2])) : *at;
        at += is_escape ? 2 : 0;
    }
    ret_value[len] = '\0';
    return true;
}

static unsigned query_number(const struct script *script, const char *name, unsigned otherwise)
{
    char value[32];
    return query_param(script, name, value, sizeof value) ? (unsigned)strtoul(value, NULL, 10) : otherwise;
}

static void small(struct script *script) { answer_text(script->reply, 200, TEXT, BLOCK_1024); }

static void bytes(struct script *script)
{
    unsigned long long total = strtoull(script->arg, NULL, 10);
    struct origin_reply *reply = script->reply;
    buf_printf(&reply->first, "HTTP/1.1 200 OK\r\n" TEXT "Content-Length: %llu\r\n\r\n", total);
    buf_append(&reply->first, BLOCK_1024, total % SMALL_BYTES);
    reply->repeat = BLOCK_1024;
    reply->repeat_len = SMALL_BYTES;
    reply->repeat_count = total / SMALL_BYTES;
}

static void utf8(struct script *script)
{
    answer_text(script->reply, 200, "Content-Type: text/plain; charset=utf-8\r\n",
                "h\xc3\xa4llo \xe2\x82\xac \xf0\x9f\x98\x80\n");
}

static void binary(struct script *script)
{
    char all[256];
    for (size_t i = 0; i < sizeof all; i++)
        all[i] = (char)i;
    answer(script->reply, 200, "Content-Type: application/octet-stream\r\n", all, sizeof all);
}

static void status(struct script *script)
{
    unsigned code = (unsigned)strtoul(script->arg, NULL, 10);
    if (code == 204 || code == 304)
        buf_printf(&script->reply->first, "HTTP/1.1 %u Test\r\n\r\n", code);
    else
        answer_text(script->reply, code, TEXT, "as you wish\n");
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
    answer(script->reply, 200, "Content-Type: application/json\r\n", json.data ? json.data : "", json.len);
    buf_done(&json);
}

static void delay(struct script *script)
{
    script->reply->delay_ms = (uint32_t)strtoul(script->arg, NULL, 10);
    answer_text(script->reply, 200, TEXT, "late\n");
}

static void gate(struct script *script)
{
    script->reply->waits_for_gate = true;
    answer_text(script->reply, 200, TEXT, "at last\n");
}

static void redirect(struct script *script)
{
    unsigned left = (unsigned)strtoul(script->arg, NULL, 10), code = query_number(script, "status", 302);
    char fields[64];
    if (left == 0) {
        answer_text(script->reply, 200, TEXT, "landed\n");
        return;
    }
    snprintf(fields, sizeof fields, "Location: ../redirect/%u?status=%u\r\n", left - 1, code);
    answer_text(script->reply, code, fields, "");
}

static void redirect_to(struct script *script)
{
    char url[PARAM_BYTES], fields[PARAM_BYTES + 16];
    if (!query_param(script, "url", url, sizeof url))
        url[0] = '\0';
    snprintf(fields, sizeof fields, "Location: %s\r\n", url);
    answer_text(script->reply, query_number(script, "status", 302), fields, "");
}

static void stall(struct script *script) { script->reply->ending = ORIGIN_SILENCE; }

static void stall_body(struct script *script)
{
    buf_lit(&script->reply->first, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbeginning");
    script->reply->ending = ORIGIN_SILENCE;
}

static void trickle(struct script *script)
{
    buf_lit(&script->reply->first, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
    script->reply->repeat = ".";
    script->reply->repeat_len = 1;
    script->reply->repeat_count = 1000000;
    script->reply->repeat_every_ms = query_number(script, "ms", 50);
}

static void lie(struct script *script, unsigned declared, const char *body)
{
    buf_printf(&script->reply->first, "HTTP/1.1 200 OK\r\nContent-Length: %u\r\n\r\n%s", declared, body);
    script->reply->ending = ORIGIN_CLOSE;
}

static void cut(struct script *script) { lie(script, 1000, "only this much"); }
static void lie_long(struct script *script) { lie(script, 1000000, BLOCK_1024); }
static void lie_short(struct script *script)
{
    lie(script, 5, "12345HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged");
}

static void repeat_for_ever(struct script *script, const char *head, const char *block, size_t len)
{
    buf_str(&script->reply->first, head);
    script->reply->repeat = block;
    script->reply->repeat_len = len;
    script->reply->repeat_count = UINT64_MAX;
}

static void endless(struct script *script)
{
    static const char chunk[] = "400\r\n" BLOCK_1024 "\r\n";
    repeat_for_ever(script, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunk, sizeof chunk - 1);
}

static void endless_headers(struct script *script)
{
    static const char line[] = "X-Filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n";
    repeat_for_ever(script, "HTTP/1.1 200 OK\r\n", line, sizeof line - 1);
}

/* One fixed-Huffman DEFLATE block (RFC 1951): a literal zero, then without end "258 bytes from distance 1", 13 bits
 * each. Eight of those are 13 whole bytes, so the stream is a constant that repeats: 2,064 bytes unpacked for every 13.
 */
static void gzip_bomb(struct script *script)
{
#define PERIOD      "\x05\xa3\x60\x14\x8c\x82\x51\x30\x0a\x46\xc1\x28\x18"
#define TEN_PERIODS PERIOD PERIOD PERIOD PERIOD PERIOD PERIOD PERIOD PERIOD PERIOD PERIOD
    static const char block[] = TEN_PERIODS TEN_PERIODS TEN_PERIODS TEN_PERIODS TEN_PERIODS;
    static const char start[] = "\x1f\x8b\x08\0\0\0\0\0\0\x03"
                                "\x63\x18";
    repeat_for_ever(script, "HTTP/1.1 200 OK\r\n" TEXT "Content-Encoding: gzip\r\n\r\n", block, sizeof block - 1);
    buf_append(&script->reply->first, start, sizeof start - 1);
}

static void bad_http(struct script *script)
{
    buf_lit(&script->reply->first, "220 this is not HTTP\r\n\r\n");
    script->reply->ending = ORIGIN_CLOSE;
}

static void rst(struct script *script) { script->reply->ending = ORIGIN_RESET; }

static void no_keepalive(struct script *script)
{
    answer_text(script->reply, 200, TEXT "Connection: close\r\n", "and goodbye\n");
    script->reply->ending = ORIGIN_CLOSE;
}

static const struct behaviour {
    const char *prefix; /* one that ends with '/' takes an argument */
    void (*write)(struct script *script);
} behaviours[] = {
    { "/small", small },
    { "/bytes/", bytes },
    { "/utf8", utf8 },
    { "/binary", binary },
    { "/status/", status },
    { "/echo", echo },
    { "/delay/", delay },
    { "/redirect/", redirect },
    { "/redirect-to", redirect_to },
    { "/stall", stall },
    { "/stall-body", stall_body },
    { "/trickle", trickle },
    { "/cut", cut },
    { "/lie-short", lie_short },
    { "/lie-long", lie_long },
    { "/endless", endless },
    { "/endless-headers", endless_headers },
    { "/gzip-bomb", gzip_bomb },
    { "/bad-http", bad_http },
    { "/rst", rst },
    { "/no-keepalive", no_keepalive },
    { "/gate", gate },
};

static const struct behaviour *find_behaviour(const char *target)
{
    size_t path_len = strcspn(target, "?");
    for (size_t i = 0; i < ARRAY_LEN(behaviours); i++) {
        size_t len = strlen(behaviours[i].prefix);
        bool takes_arg = behaviours[i].prefix[len - 1] == '/';
        if (strncmp(target, behaviours[i].prefix, len) == 0 && (takes_arg || path_len == len))
            return &behaviours[i];
    }
    return NULL;
}

void origin_reply_write(const struct origin_request *request, struct origin_reply *ret_reply)
{
    *ret_reply = (struct origin_reply){ .first = BUF_INIT(REPLY_BYTES_MAX) };
    const struct behaviour *behaviour = find_behaviour(request->target);
    if (!behaviour) {
        answer_text(ret_reply, 404, TEXT, "no such behaviour\n");
        return;
    }
    struct script script = { request, request->target + strlen(behaviour->prefix), ret_reply };
    behaviour->write(&script);
    if (strcmp(request->method, "HEAD") == 0 && ret_reply->first.data) {
        const char *head_end = memmem(ret_reply->first.data, ret_reply->first.len, "\r\n\r\n", 4);
        if (head_end)
            ret_reply->first.len = (size_t)(head_end - ret_reply->first.data) + 4;
        ret_reply->repeat_count = 0;
    }
}
