/* utf8: a wide skip over ASCII, and libunistring for the rest.
 *
 * No byte of a multi-byte character is below 0x80, so the text can be cut wherever ASCII meets
 * non-ASCII and each run of high bytes judged by itself: u8_check() knows the rules, and never sees the ASCII
 * that most texts consist of. A long run is judged in pieces, small ones first: a caller who goes on behind each
 * invalid byte of a text of nothing else must not have all of the rest looked at each time. */
#include "base/utf8.h"

#include <stdint.h>
#include <string.h>
#include <unistr.h>

#include "base/attrs.h"

#define HIGH_BITS UINT64_C(0x8080808080808080)

enum { PIECE_MIN = 16, PIECE_MAX = 4096 };

static uint64_t word_at(const char *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

static const char *skip_ascii(const char *at, const char *end)
{
    while (end - at >= 32 && ((word_at(at) | word_at(at + 8) | word_at(at + 16) | word_at(at + 24)) & HIGH_BITS) == 0)
        at += 32;
    while (end - at >= 8 && (word_at(at) & HIGH_BITS) == 0)
        at += 8;
    while (at < end && ((unsigned char)*at & 0x80) == 0)
        at++;
    return at;
}

static bool is_continuation(char byte) { return ((unsigned char)byte & 0xc0) == 0x80; }

/* To the end of the run of high bytes, or `piece` bytes on and then to where a character may begin: behind four
 * continuation bytes at the latest, since no valid character has as many. */
static const char *skip_high(const char *at, const char *end, size_t piece)
{
    size_t left = (size_t)(end - at);
    const char *soft_end = left > piece ? at + piece : end, *hard_end = left > piece + 4 ? at + piece + 4 : end;
    while (at < soft_end && ((unsigned char)*at & 0x80) != 0)
        at++;
    while (at >= soft_end && at < hard_end && is_continuation(*at))
        at++;
    return at;
}

const char *utf8_first_invalid(const char *bytes, size_t len)
{
    if (len == 0)
        return NULL;
    const char *end = bytes + len;
    size_t piece = PIECE_MIN;
    for (const char *at = skip_ascii(bytes, end); at < end;) {
        const char *piece_end = skip_high(at, end, piece);
        const uint8_t *invalid = u8_check((const uint8_t *)at, (size_t)(piece_end - at));
        if (invalid != NULL)
            return (const char *)invalid;
        piece = piece < PIECE_MAX ? 2 * piece : piece;
        at = skip_ascii(piece_end, end);
    }
    return NULL;
}

bool utf8_valid(const char *bytes, size_t len) { return utf8_first_invalid(bytes, len) == NULL; }

size_t utf8_invalid_len(const char *bytes, size_t len)
{
    ucs4_t replacement;
    int skip = u8_mbtouc(&replacement, (const uint8_t *)bytes, len);
    return skip > 0 ? (size_t)skip : 1;
}
