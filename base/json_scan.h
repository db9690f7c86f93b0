/* json_scan: the lexical pieces that json_check, json_slice and json_write share. Pure; private to base/json_*.
 *
 * Nothing here reads at or past `end`, whatever the text holds. */
#ifndef TWINPOOL_BASE_JSON_SCAN_H
#define TWINPOOL_BASE_JSON_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "base/attrs.h"
#include "base/json_check.h"

/* Sixteen bytes at once in the compiler's own vector type, which becomes SSE2, NEON or plain code. */
#define JSON_BLOCK 16
typedef uint8_t json_block __attribute__((vector_size(JSON_BLOCK)));
typedef int8_t json_signed_block __attribute__((vector_size(JSON_BLOCK)));
typedef uint64_t json_block_words __attribute__((vector_size(JSON_BLOCK)));

static inline json_block json_block_load(const char *at)
{
    json_block block;
    memcpy(&block, at, sizeof block);
    return block;
}

/* The result of comparisons: each byte of `hits` is 0 or 0xff. */
static inline bool json_block_any(json_block hits)
{
    json_block_words words = (json_block_words)hits;
    return (words[0] | words[1]) != 0;
}

/* Index of the first hit; there is one. Without a branch where the machine can: the index is as good as random, and a
 * wrong guess costs more than the rest. */
static inline unsigned json_block_first(json_block hits)
{
#if defined(__SSE2__)
    return (unsigned)__builtin_ctz((unsigned)_mm_movemask_epi8((__m128i)hits));
#else
    unsigned index = 0;
    while (hits[index] == 0)
        index++;
    return index;
#endif
}

/* The bytes that cannot stand for themselves inside a JSON string: quote, backslash, controls. */
static inline json_block json_block_special(json_block block)
{
    return (json_block)(block == '"') | (json_block)(block == '\\') | (json_block)(block < 0x20);
}

static inline bool json_is_special(char byte) { return byte == '"' || byte == '\\' || (unsigned char)byte < 0x20; }

/* First byte at or after `at` that is special or not ASCII; `end` if there is none. */
static inline const char *json_skip_plain_ascii(const char *at, const char *end)
{
    for (; end - at >= JSON_BLOCK; at += JSON_BLOCK) {
        json_block block = json_block_load(at);
        /* Read as signed, the bytes from 0x80 up are negative: one comparison finds them and the controls. */
        json_block hits =
            (json_block)(block == '"') | (json_block)(block == '\\') | (json_block)((json_signed_block)block < 0x20);
        if (json_block_any(hits))
            return at + json_block_first(hits);
    }
    while (at < end && !json_is_special(*at) && (unsigned char)*at < 0x80)
        at++;
    return at;
}

static inline const char *json_skip_space(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t'))
        at++;
    return at;
}

/* The character that `\letter` stands for; 0 if the letter makes no escape (or is u). */
char json_short_escape(char letter);

/* Reads the four digits of a \u escape. */
bool json_hex4(const char *at, const char *end, unsigned *ret_unit) NONNULL MUST_CHECK;

/* Decodes one step of a string's contents: a raw byte, or an escape as UTF-8. Returns the bytes put into `out` and
 * moves *at behind what was read; 0 where an escape is broken. */
size_t json_unescape(const char **at, const char *end, char out[4]) NONNULL MUST_CHECK;

struct json_number {
    bool negative;
    bool exponent_negative;
    struct json_slice integer, fraction, exponent; /* digits only; the last two may be empty */
};

/* Reads a number at *at, which it moves behind the number or, on false, to the byte that breaks the grammar. */
bool json_number_scan(const char **at, const char *end, struct json_number *ret_number) NONNULL MUST_CHECK;

#endif
