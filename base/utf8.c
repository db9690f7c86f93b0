/* utf8: a wide skip over ASCII, and libunistring for the rest.
 *
 * No byte of a multi-byte character is below 0x80, so the text can be cut wherever ASCII meets
 * non-ASCII and each run of high bytes judged by itself: u8_check() knows the rules, and never sees the ASCII
 * that most texts consist of. */
#include "base/utf8.h"

#include <stdint.h>
#include <string.h>
#include <unistr.h>

#include "base/attrs.h"

#define HIGH_BITS UINT64_C(0x8080808080808080)

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

static const char *skip_high(const char *at, const char *end)
{
    while (at < end && ((unsigned char)*at & 0x80) != 0)
        at++;
    return at;
}

const char *utf8_first_invalid(const char *bytes, size_t len)
{
    if (len == 0)
        return NULL;
    const char *end = bytes + len;
    for (const char *at = skip_ascii(bytes, end); at < end;) {
        const char *run_end = skip_high(at, end);
        const uint8_t *invalid = u8_check((const uint8_t *)at, (size_t)(run_end - at));
        if (invalid != NULL)
            return (const char *)invalid;
        at = skip_ascii(run_end, end);
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
