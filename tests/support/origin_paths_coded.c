/* Coded bodies: honest, damaged, and bombs. Nothing is compressed here, so that no library is needed: the coded forms
 * of ORIGIN_TEXT were made once with zlib 1.2.13 (level 9), libbrotlienc 1.0.9 (quality 11) and libzstd 1.5.4 (level
 * 19); one more layer of gzip is a stored block; and the bombs were put together by hand, each from a head, a block
 * that is repeated, and a tail that makes it a whole and valid stream:
 *
 *   gzip, deflate  RFC 1951: one block with codes of its own, "258 bytes from distance 1" in two bits, both zero. So a
 *                  zero byte is 1,032 bytes, and a million of them 1 GiB.
 *   gzip-gzip      the same in itself: a stored block with the inner head, such a block for the million zeros, a stored
 *                  block with the inner tail. 1 KiB.
 *   br             RFC 7932: 16 zeros as they are; then meta-blocks of 16 MiB, each one copy from the last distance,
 *                  and an empty one that fills up to the byte. 1 KiB.
 *   zstd           RFC 8878: a frame of "128 KiB of this byte" blocks. 32 KiB. */
#include "tests/support/origin_script.h"

#include <string.h>

#include "tests/support/origin.h"

enum { LAYERS_MAX = 16, STORED_MAX = 65535 };

#define GZIP_HEAD "\x1f\x8b\x08\0\0\0\0\0\0\x03"

static const unsigned char text_deflated[] = {
    0x8d, 0xce, 0xc1, 0x0d, 0xc2, 0x30, 0x0c, 0x85, 0xe1, 0x3b, 0x53, 0xbc, 0x01, 0xa2, 0x0e, 0xc0, 0x1c, 0x95,
    0x38, 0x87, 0xda, 0x34, 0x16, 0x21, 0x46, 0x71, 0x20, 0x6a, 0x8f, 0xcc, 0xc2, 0x91, 0x2d, 0xd8, 0x84, 0x49,
    0x48, 0x90, 0x7a, 0xe7, 0x68, 0x59, 0xdf, 0x6f, 0x8f, 0x81, 0xa1, 0x59, 0x66, 0x49, 0x30, 0xbf, 0x18, 0x4a,
    0x10, 0x43, 0x1b, 0xf8, 0xce, 0x79, 0xc1, 0xa4, 0x24, 0x69, 0x86, 0x14, 0x9c, 0x93, 0x56, 0xdb, 0x63, 0x5e,
    0xe5, 0xea, 0x40, 0x7c, 0x8a, 0xbe, 0xb0, 0xc3, 0x31, 0xc3, 0x27, 0xc2, 0x6a, 0x85, 0x06, 0x1c, 0x82, 0x76,
    0xd5, 0xb6, 0x8d, 0xb1, 0x75, 0x95, 0xd9, 0x53, 0x6f, 0x72, 0x8b, 0x5f, 0x18, 0x55, 0x33, 0x99, 0x43, 0x78,
    0x3f, 0x63, 0x54, 0x7c, 0x1e, 0xaf, 0x76, 0x69, 0x8a, 0x37, 0x62, 0x72, 0xbf, 0x4e, 0xdd, 0x0a, 0xda, 0x78,
    0xd2, 0xcd, 0x27, 0x15, 0xe3, 0x01, 0xe3, 0x1f, 0xaf, 0x0e, 0xbb, 0x2f
};

static const unsigned char text_br[] = {
    0x1b, 0xd0, 0x00, 0xa0, 0x1c, 0x07, 0x76, 0x2c, 0xbc, 0xf0, 0xed, 0xa4, 0x80, 0x5b, 0xd6, 0x36, 0x53,
    0x3d, 0xba, 0xd8, 0x92, 0xb0, 0xec, 0xbc, 0x47, 0x1f, 0xe4, 0x7f, 0xf8, 0xc2, 0xc0, 0x5e, 0x97, 0xda,
    0x4a, 0x90, 0x35, 0x41, 0x14, 0x48, 0xf5, 0x64, 0x6a, 0xd6, 0xe3, 0xd9, 0x74, 0x21, 0xab, 0xa6, 0xab,
    0x5d, 0x48, 0x36, 0xeb, 0xa0, 0x6e, 0xb8, 0xfd, 0x32, 0xbd, 0x2e, 0x16, 0xa5, 0x44, 0x94, 0x21, 0xa0,
    0x46, 0xb7, 0x84, 0x4d, 0x03, 0x02, 0xbd, 0xa1, 0x39, 0xd5, 0x3a, 0x74, 0xe3, 0x0d, 0x9e, 0xae, 0x1f,
    0x7d, 0x12, 0x4a, 0xdd, 0x3f, 0x92, 0xdc, 0x0b, 0xd5, 0x88, 0x13, 0x9b, 0xd9, 0x35, 0xdc, 0xc4, 0x40,
    0x69, 0x4e, 0x89, 0x5a, 0x52, 0x19, 0xa3, 0x2e, 0xe1, 0xa2, 0x63, 0x7c, 0xcf, 0xe9, 0xf8, 0xbd, 0x9c,
    0x22, 0xab, 0x11, 0x6f, 0x00, 0xcb, 0x84, 0x6a, 0xda, 0x5c, 0x43, 0x32, 0x52, 0xcf, 0x01
};

static const unsigned char text_zstd[] = {
    0x28, 0xb5, 0x2f, 0xfd, 0x20, 0xd1, 0x2d, 0x04, 0x00, 0x02, 0x09, 0x1c, 0x1d, 0xb0, 0xa9, 0x03, 0x0c, 0x15,
    0x9c, 0x68, 0xc9, 0xe6, 0x45, 0x23, 0x64, 0xaf, 0x27, 0xb2, 0xb9, 0x0d, 0x59, 0x42, 0x44, 0xc8, 0xd1, 0x6a,
    0x52, 0x90, 0x3d, 0xe6, 0x49, 0x81, 0x40, 0xf0, 0x40, 0x7b, 0xf9, 0xf1, 0x7b, 0x2b, 0x3b, 0x2b, 0x35, 0x19,
    0x67, 0xbc, 0xfd, 0x14, 0x55, 0x67, 0xe7, 0x24, 0xaa, 0x7d, 0x75, 0x42, 0x76, 0xae, 0x0a, 0xeb, 0x6b, 0x8b,
    0xef, 0x64, 0x0a, 0x5b, 0x93, 0x0d, 0xcd, 0x73, 0x23, 0x1e, 0x64, 0x6c, 0xe8, 0xf9, 0xd8, 0x61, 0xf1, 0xa5,
    0x91, 0xb9, 0x43, 0xf3, 0x6b, 0x59, 0x08, 0xb9, 0xd0, 0x0e, 0xbf, 0xe4, 0x71, 0x8f, 0xbc, 0x4d, 0x36, 0xfe,
    0x40, 0x6d, 0xf4, 0x6f, 0xdf, 0xdb, 0xe2, 0xfb, 0x61, 0xfd, 0xb7, 0xc8, 0x42, 0xbe, 0xb6, 0x21, 0x06, 0x00,
    0x5d, 0x46, 0xcc, 0x10, 0xaf, 0x8a, 0x78, 0x57, 0x4b, 0x90, 0x02, 0x22, 0x3a, 0x39, 0x50, 0x51
};

struct bytes {
    const void *data;
    size_t len;
};

#define BYTES(array)           \
    {                          \
        (array), sizeof(array) \
    }
#define LITERAL(literal)               \
    {                                  \
        (literal), sizeof(literal) - 1 \
    }

static const struct coding {
    const char *name, *token; /* token: in Content-Encoding */
    struct bytes head, text, tail;
} codings[] = {
    { "identity", "identity", LITERAL(""), LITERAL(ORIGIN_TEXT), LITERAL("") },
    { "gzip", "gzip", LITERAL(GZIP_HEAD), BYTES(text_deflated), LITERAL("\xd9\xd7\xcb\x78\xd1\0\0\0") },
    { "deflate", "deflate", LITERAL("\x78\xda"), BYTES(text_deflated), LITERAL("\x39\x5d\x4c\x1a") },
    { "deflate-raw", "deflate", LITERAL(""), BYTES(text_deflated), LITERAL("") },
    { "br", "br", LITERAL(""), BYTES(text_br), LITERAL("") },
    { "zstd", "zstd", LITERAL(""), BYTES(text_zstd), LITERAL("") },
};

static const char zeros[BLOCK_BYTES];
#define ZEROS_BLOCK "\xec\xe0\x81\0\0\0\0\x80\x20\xec\x4f\xbd\x48\x05"
static const unsigned char nested_tail[] = { 0x70, 0x00, 0x49, 0x00, 0xb6, 0xff, [69] = 0x0f, 0x00,
                                             0x82, 0x3a, 0x41, 0x02, 0x05, 0x02, 0x80,        0x40,
                                             0x71, 0xe8, 0x90, 0x47, 0x22, 0x00, 0x10,        0x00 };

static const struct bomb {
    const char *name, *tokens;
    struct bytes head, block;
    uint64_t count;
    struct bytes tail;
} bombs[] = {
    { "gzip", "gzip", LITERAL(GZIP_HEAD ZEROS_BLOCK), BYTES(zeros), 1024,
      LITERAL("\x0f\0\x82\x3a\x41\x02\x05\x02\x80\x40") },
    { "deflate", "deflate", LITERAL("\x78\xda" ZEROS_BLOCK), BYTES(zeros), 1024, LITERAL("\x0f\0\xc9\xb2\0\x01") },
    { "gzip-gzip",
      "gzip, gzip",
      LITERAL(GZIP_HEAD "\0\x18\0\xe7\xff" GZIP_HEAD ZEROS_BLOCK ZEROS_BLOCK),
      { zeros, 1015 },
      1,
      BYTES(nested_tail) },
    { "br", "br", LITERAL("\xf0\0\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
      LITERAL("\xfc\xff\xff\x07\0\x02\x20\x0e\x0b\x40\xf7\xfe\xdf\0"), 64, LITERAL("\x03") },
    { "zstd", "zstd", LITERAL("\x28\xb5\x2f\xfd\0\x38"), LITERAL("\x02\0\x10\0"), 8192, LITERAL("\x01\0\0") },
};

static void append(struct buf *out, struct bytes bytes)
{
    if (bytes.len > 0)
        buf_append(out, bytes.data, bytes.len);
}

static uint32_t crc32_of(const char *bytes, size_t len)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < len; i++) {
        crc ^= (unsigned char)bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
    }
    return ~crc;
}

static void append_number(struct buf *out, uint32_t number, unsigned bytes)
{
    for (; bytes > 0; bytes--, number >>= 8)
        buf_byte(out, (char)(number & 0xff));
}

/* Puts what was coded so far into a gzip of its own. */
static void add_layer(struct buf *coded)
{
    struct buf outer = BUF_INIT(coded->max);
    const uint32_t len = (uint32_t)coded->len;
    buf_lit(&outer, GZIP_HEAD "\x01");
    append_number(&outer, len, 2);
    append_number(&outer, ~len, 2);
    buf_append(&outer, coded->data, coded->len);
    append_number(&outer, crc32_of(coded->data, coded->len), 4);
    append_number(&outer, len, 4);
    buf_done(coded);
    *coded = outer;
}

static void coded(struct script *script)
{
    const struct coding *coding = codings;
    while (coding < codings + ARRAY_LEN(codings) && !script_arg_is(script, coding->name))
        coding++;
    if (coding == codings + ARRAY_LEN(codings)) {
        script_not_found(script);
        return;
    }
    struct buf *first = &script->reply->first, body = BUF_INIT(STORED_MAX), tokens = BUF_INIT(BLOCK_BYTES);
    append(&body, coding->head);
    append(&body, coding->text);
    append(&body, coding->tail);
    buf_str(&tokens, coding->token);
    const unsigned layers = script_number(script, "layers", 1);
    for (unsigned i = 1; i < layers && i < LAYERS_MAX; i++) {
        add_layer(&body);
        buf_lit(&tokens, ", gzip");
    }
    buf_byte(&tokens, '\0');
    const size_t cut = script_number(script, "cut", 0);
    body.len -= cut < body.len ? cut : body.len;
    origin_query(script->request->target, "tail", &body);

    buf_lit(first, OK "Content-Type: text/plain; charset=utf-8\r\nContent-Encoding: ");
    script_add_param(script, "as", tokens.data);
    buf_printf(first, "\r\nContent-Length: %zu\r\n\r\n", body.len);
    if (body.len > 0)
        buf_append(first, body.data, body.len);
    buf_done(&body);
    buf_done(&tokens);
}

static void bomb(struct script *script)
{
    struct origin_reply *reply = script->reply;
    const struct bomb *bomb = bombs;
    while (bomb < bombs + ARRAY_LEN(bombs) && !script_arg_is(script, bomb->name))
        bomb++;
    if (bomb == bombs + ARRAY_LEN(bombs)) {
        script_not_found(script);
        return;
    }
    const unsigned long long len = bomb->head.len + bomb->block.len * bomb->count + bomb->tail.len;
    buf_printf(&reply->first, OK TEXT "Content-Encoding: %s\r\nContent-Length: %llu\r\n\r\n", bomb->tokens, len);
    append(&reply->first, bomb->head);
    reply->repeat = bomb->block.data;
    reply->repeat_len = bomb->block.len;
    reply->repeat_count = bomb->count;
    reply->last = bomb->tail.data;
    reply->last_len = bomb->tail.len;
}

/* One fixed-Huffman DEFLATE block (RFC 1951): a literal zero, then without end "258 bytes from distance 1", 13 bits
 * each. Eight of those are 13 whole bytes, so the stream is a constant that repeats: 2,064 bytes unpacked for every 13.
 */
static void gzip_bomb(struct script *script)
{
#define PERIOD      "\x05\xa3\x60\x14\x8c\x82\x51\x30\x0a\x46\xc1\x28\x18"
#define TEN_PERIODS PERIOD PERIOD PERIOD PERIOD PERIOD PERIOD PERIOD PERIOD PERIOD PERIOD
    static const char block[] = TEN_PERIODS TEN_PERIODS TEN_PERIODS TEN_PERIODS TEN_PERIODS;
    script_repeat(script, OK TEXT "Content-Encoding: gzip\r\n\r\n", block, sizeof block - 1, UINT64_MAX);
    buf_lit(&script->reply->first, GZIP_HEAD "\x63\x18");
}

/* Frames that are to be skipped (RFC 8878 section 3.1.2), of no bytes each. */
static void coded_nothing(struct script *script)
{
#define SKIPPED     "\x50\x2a\x4d\x18\0\0\0\0"
#define TEN_SKIPPED SKIPPED SKIPPED SKIPPED SKIPPED SKIPPED SKIPPED SKIPPED SKIPPED SKIPPED SKIPPED
    static const char block[] = TEN_SKIPPED TEN_SKIPPED TEN_SKIPPED TEN_SKIPPED TEN_SKIPPED;
    script_repeat(script, OK TEXT "Content-Encoding: zstd\r\n\r\n", block, sizeof block - 1, UINT64_MAX);
}

const struct behaviour origin_coded_paths[] = {
    { .prefix = "/coded/", .write = coded },
    { .prefix = "/bomb/", .write = bomb },
    { .prefix = "/gzip-bomb", .write = gzip_bomb },
    { .prefix = "/coded-nothing", .write = coded_nothing },
    { .prefix = NULL },
};
