/* json_check: is this text one JSON value that cJSON will read the way RFC 8259 means it?
 *
 * cJSON accepts or silently changes: invalid UTF-8, raw control bytes, "\u0000" (which cuts the
 * string), bad \u escapes, lone surrogates, leading zeros, "1.", duplicate keys, a BOM, bytes below
 * 0x20 as white space, trailing bytes. This check refuses each of them, and bounds depth, members and
 * values before anything is allocated for the tree. It is a single pass without recursion, pure and
 * thread-safe. */
#ifndef TWINPOOL_BASE_JSON_CHECK_H
#define TWINPOOL_BASE_JSON_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attrs.h"
#include "base/utf8.h"

struct json_limits {
    unsigned depth;         /* nested arrays and objects; 1..64 */
    unsigned members;       /* per object */
    size_t values;          /* in the whole document; keys do not count */
    unsigned number_length; /* bytes of one number; cJSON looks at the first 63 only */
};
#define JSON_LIMITS_DEFAULT ((struct json_limits){ .depth = 32, .members = 256, .values = 262144, .number_length = 63 })

/* Keys that all objects open at one place may have before it: the default depth times the default members. */
#define JSON_OPEN_KEYS_MAX 8192

struct json_error {
    size_t offset;       /* of the offending byte */
    const char *message; /* static, lower case, without a full stop: "duplicate key" */
};

/* False: *ret_error says why. len 0 is an error. */
bool json_check(const char *text, size_t len, const struct json_limits *limits, struct json_error *ret_error)
    NONNULL MUST_CHECK;

struct json_slice {
    const char *at;
    size_t len;
};

/* The next ones work on text that json_check accepted (else: unspecified results, but never a read
 * outside the text). Slices exclude surrounding white space. */

/* The raw value of member `name` of the top-level object. False: not an object, or no such member.
 * `name` is compared with the key after unescaping. */
bool json_member(const char *text, size_t len, const char *name, struct json_slice *ret_value) NONNULL MUST_CHECK;

/* Walks the members of the top-level object: start with *cursor 0; false at the end (or no object). The key is what
 * stands between its quotes. */
bool json_next_member(const char *text, size_t len, size_t *cursor, struct json_slice *ret_key,
                      struct json_slice *ret_value) NONNULL MUST_CHECK;

/* Of what stands between the quotes of a key or a string: does it read as `text`, and a copy of what it reads as, which
 * is never longer and does not end with NUL. Returns its length. */
bool json_string_is(struct json_slice contents, const char *text) NONNULL MUST_CHECK;
size_t json_string_copy(struct json_slice contents, char *ret_text) NONNULL;

/* Walks the elements of the top-level array: start with *cursor 0; false at the end (or no array). */
bool json_next_element(const char *text, size_t len, size_t *cursor, struct json_slice *ret_element) NONNULL MUST_CHECK;

/* The same for the elements alone: values separated by commas, without the brackets around them. */
bool json_next_listed(const char *text, size_t len, size_t *cursor, struct json_slice *ret_element) NONNULL MUST_CHECK;

/* The exact integer that a JSON number means ("3", "3.0", "3e2"); false if it is not a number, has a
 * fraction or does not fit. */
bool json_exact_int64(struct json_slice number, int64_t *ret_value) NONNULL MUST_CHECK;

#endif
