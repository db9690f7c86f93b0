/* More than anyone should take: bodies, heads and trailers without end or reason. */
#include "tests/support/origin_script.h"

#include <string.h>

static const char filler_line[] = "X-Filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n";

static void endless(struct script *script)
{
    static const char chunk[] = "400\r\n" BLOCK_1024 "\r\n";
    script_repeat(script, OK CHUNKED "\r\n", chunk, sizeof chunk - 1, UINT64_MAX);
}

static void endless_close(struct script *script)
{
    script_repeat(script, OK TEXT "Connection: close\r\n\r\n", BLOCK_1024, BLOCK_BYTES, UINT64_MAX);
}

/* 10 TiB are promised; nobody is told that there is more. */
static void huge_length(struct script *script)
{
    script_repeat(script, OK TEXT SIZED(10995116277760) "\r\n", BLOCK_1024, BLOCK_BYTES, UINT64_MAX);
}

static void endless_headers(struct script *script)
{
    script_repeat(script, OK, filler_line, sizeof filler_line - 1, UINT64_MAX);
}

static void endless_trailers(struct script *script)
{
    script_repeat(script, OK TEXT CHUNKED "Trailer: X-Filler\r\n\r\n5\r\nhello\r\n0\r\n", filler_line,
                  sizeof filler_line - 1, UINT64_MAX);
}

static void endless_1xx(struct script *script)
{
    struct origin_reply *reply = script->reply;
    const unsigned code = script_status(script, 103);
    buf_printf(&reply->block, "HTTP/1.1 %u Test\r\n%s\r\n", code, code == 103 ? "Link: </x>; rel=preload\r\n" : "");
    reply->repeat = reply->block.data;
    reply->repeat_len = reply->block.len;
    reply->repeat_count = UINT64_MAX;
}

static void many_headers(struct script *script)
{
    struct buf *first = &script->reply->first;
    const uint64_t count = script_arg_number(script);
    buf_lit(first, OK);
    for (uint64_t i = 1; i <= count && !first->failed; i++)
        buf_printf(first, "X-Field-%llu: value\r\n", (unsigned long long)i);
    buf_lit(first, TEXT SIZED(5) "\r\nmany\n");
}

static void long_header(struct script *script)
{
    struct buf *first = &script->reply->first;
    const uint64_t len = script_arg_number(script);
    buf_lit(first, OK "X-Long: ");
    char *room = len <= REPLY_BYTES_MAX ? buf_reserve(first, (size_t)len) : NULL;
    if (!room) {
        first->failed = true;
        return;
    }
    memset(room, 'a', (size_t)len);
    first->len += (size_t)len;
    buf_lit(first, "\r\n" TEXT SIZED(5) "\r\nlong\n");
}

const struct behaviour origin_size_paths[] = {
    { .prefix = "/endless", .write = endless },
    { .prefix = "/endless-close", .write = endless_close },
    { .prefix = "/huge-length", .write = huge_length },
    { .prefix = "/endless-headers", .write = endless_headers },
    { .prefix = "/endless-trailers", .write = endless_trailers },
    { .prefix = "/endless-1xx", .write = endless_1xx },
    { .prefix = "/many-headers/", .write = many_headers },
    { .prefix = "/long-header/", .write = long_header },
    { .prefix = NULL },
};
