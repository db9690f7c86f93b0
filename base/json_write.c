/* json_write: JSON tokens, formatted by hand.
 *
 * Strings are the hot path: whole fetched bodies go through json_string(), sixteen bytes at a time. Each block is
 * stored before it is looked at, and one with a special byte is taken up again behind that byte. Where the buffer has
 * not room for the worst, the exact length of a piece is learned first, so that the limit of the buffer is met exactly.
 * A store never passes the room: every input byte still to come needs at least one byte of it. */
#include "base/json_write.h"

#include <openssl/evp.h>
#include <string.h>

#include "base/decimal.h"
#include "base/json_scan.h"
#include "base/utf8.h"

/* ---- strings */

enum { PIECE_BYTES = 2048, GROWTH_MAX = 6 };

static const char hex_digits[] = "0123456789abcdef";

/* The letter of a control byte's two-byte escape; 0 if it has none. */
static const char short_escapes[0x20] = {
    ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r',
};

/* What the byte grows by: `\n` is one more, `\u0001` five. */
static size_t growth_of(char byte)
{
    if (!json_is_special(byte))
        return 0;
    return (unsigned char)byte >= 0x20 || short_escapes[(unsigned char)byte] != 0 ? 1 : 5;
}

/* growth_of() for sixteen bytes: one for what is special, four more for controls outside of \b \t \n \f \r. */
static json_block growth_of_block(json_block block)
{
    json_block special = json_block_special(block);
    if (!json_block_any(special))
        return (json_block){ 0 };
    json_block has_short = (json_block)(block - '\b' <= '\r' - '\b') & (json_block)(block != '\v');
    json_block is_long = (json_block)(block < 0x20) & ~has_short;
    return (special & 1) + (is_long & 4);
}

/* Each lane of the sum is a byte, and a block adds at most 5 to it. */
#define BLOCKS_PER_SUM (UINT8_MAX / 5)

/* Cannot wrap: the bytes are in memory, so their number is far below SIZE_MAX / 6. */
static size_t escaped_len(const char *at, const char *end)
{
    size_t len = (size_t)(end - at);
    while (end - at >= JSON_BLOCK) {
        json_block sum = { 0 };
        for (int i = 0; i < BLOCKS_PER_SUM && end - at >= JSON_BLOCK; i++, at += JSON_BLOCK)
            sum += growth_of_block(json_block_load(at));
        for (int i = 0; i < JSON_BLOCK; i++)
            len += sum[i];
    }
    for (; at < end; at++)
        len += growth_of(*at);
    return len;
}

static char *put_escape(char *to, char byte)
{
    unsigned char code = (unsigned char)byte;
    *to++ = '\\';
    if (code >= 0x20) {
        *to++ = byte;
    } else if (short_escapes[code] != 0) {
        *to++ = short_escapes[code];
    } else {
        memcpy(to, "u00", 3);
        to[3] = hex_digits[code >> 4];
        to[4] = hex_digits[code & 0xf];
        to += 5;
    }
    return to;
}

/* Writes exactly escaped_len(at, end) bytes. */
static char *put_escaped(char *to, const char *at, const char *end)
{
    while (end - at >= JSON_BLOCK) {
        json_block block = json_block_load(at);
        memcpy(to, &block, sizeof block);
        json_block special = json_block_special(block);
        if (!json_block_any(special)) { /* steps by a constant: the next load need not wait for this comparison */
            at += JSON_BLOCK;
            to += JSON_BLOCK;
            continue;
        }
        unsigned plain = json_block_first(special);
        at += plain;
        to = put_escape(to + plain, *at++);
    }
    for (; at < end; at++) {
        if (json_is_special(*at))
            to = put_escape(to, *at);
        else
            *to++ = *at;
    }
    return to;
}

static void append_escaped(struct buf *out, const char *at, const char *end)
{
    while (at < end && !out->failed) {
        size_t piece = end - at < PIECE_BYTES ? (size_t)(end - at) : PIECE_BYTES;
        bool has_room = out->data != NULL && out->cap - out->len >= piece * GROWTH_MAX;
        char *to = has_room ? out->data + out->len : buf_reserve(out, escaped_len(at, at + piece));
        if (to == NULL)
            return;
        out->len = (size_t)(put_escaped(to, at, at + piece) - out->data);
        at += piece;
    }
}

void json_string(struct buf *out, const char *utf8, size_t len)
{
    size_t before = out->len;
    if (buf_reserve(out, len + 2) == NULL)
        return;
    buf_byte(out, '"');
    append_escaped(out, utf8, utf8 + len);
    buf_byte(out, '"');
    if (out->failed)
        out->len = before;
}

void json_text(struct buf *out, const char *bytes) { json_string_lossy(out, bytes, strlen(bytes)); }

void json_string_lossy(struct buf *out, const char *bytes, size_t len)
{
    const char *at = bytes, *end = bytes + len, *invalid;
    buf_byte(out, '"');
    while ((invalid = utf8_first_invalid(at, (size_t)(end - at))) != NULL) {
        append_escaped(out, at, invalid);
        buf_lit(out, "\xef\xbf\xbd");
        at = invalid + utf8_invalid_len(invalid, (size_t)(end - invalid));
    }
    append_escaped(out, at, end);
    buf_byte(out, '"');
}

/* A multiple of three, so that only the last piece is padded; EVP_EncodeBlock() counts in int. */
#define BASE64_PIECE_BYTES ((size_t)3 << 20)

void json_base64(struct buf *out, const void *bytes, size_t len)
{
    size_t quoted_len = (len + 2) / 3 * 4 + 2;
    unsigned char *to = (unsigned char *)buf_reserve(out, quoted_len);
    if (to == NULL)
        return;
    *to++ = '"';
    for (const unsigned char *at = bytes; len > 0;) {
        size_t piece = len < BASE64_PIECE_BYTES ? len : BASE64_PIECE_BYTES;
        to += EVP_EncodeBlock(to, at, (int)piece);
        at += piece;
        len -= piece;
    }
    *to = '"'; /* in the place of the NUL that EVP_EncodeBlock() adds */
    out->len += quoted_len;
}

void json_hex(struct buf *out, const void *bytes, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *at = bytes;
    char *to = buf_reserve(out, 2 * len + 2);
    if (to == NULL)
        return;
    *to++ = '"';
    for (size_t i = 0; i < len; i++) {
        *to++ = digits[at[i] >> 4];
        *to++ = digits[at[i] & 0xf];
    }
    *to = '"';
    out->len += 2 * len + 2;
}

void json_key(struct buf *out, const char *key)
{
    size_t len = strlen(key);
    char *to = buf_reserve(out, len + 3);
    if (to == NULL)
        return;
    *to++ = '"';
    memcpy(to, key, len);
    memcpy(to + len, "\":", 2);
    out->len += len + 3;
}

/* ---- numbers */

#define DIGITS_MAX 40 /* of a 128-bit number: 39, and one for the sign */

void json_uint(struct buf *out, uint64_t value)
{
    char text[DIGITS_MAX], *end = text + sizeof text;
    const char *first = decimal_before(end, value);
    buf_append(out, first, (size_t)(end - first));
}

void json_int(struct buf *out, int64_t value)
{
    char text[DIGITS_MAX], *end = text + sizeof text;
    char *first = decimal_before(end, value < 0 ? UINT64_C(0) - (uint64_t)value : (uint64_t)value);
    if (value < 0)
        *--first = '-';
    buf_append(out, first, (size_t)(end - first));
}

void json_u128(struct buf *out, unsigned __int128 value)
{
    const uint64_t ten_to_19 = UINT64_C(10000000000000000000);
    char text[DIGITS_MAX], *end = text + sizeof text, *first = end;
    /* 128-bit division is a library call: divide twice at most, then work on 64 bits. */
    while (value >= ten_to_19) {
        char *group_end = first;
        first = decimal_before(group_end, (uint64_t)(value % ten_to_19));
        while (group_end - first < 19)
            *--first = '0';
        value /= ten_to_19;
    }
    first = decimal_before(first, (uint64_t)value);
    buf_append(out, first, (size_t)(end - first));
}

void json_ms(struct buf *out, uint64_t ns)
{
    char text[DECIMAL_MS_MAX], *end = text + sizeof text;
    const char *first = decimal_ms_before(end, ns);
    buf_append(out, first, (size_t)(end - first));
}

void json_bool(struct buf *out, bool value)
{
    if (value)
        buf_lit(out, "true");
    else
        buf_lit(out, "false");
}

void json_document(struct buf *out, const char *text, size_t len)
{
    size_t at = out->len;
    buf_append(out, text, len);
    for (char *c = out->data + at; !out->failed && c < out->data + out->len; c++)
        if (*c == '\n' || *c == '\r')
            *c = ' ';
}
