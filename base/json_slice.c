/* json_slice: finding one value in a checked text without building a tree.
 *
 * The text has passed json_check, so a value ends where its brackets balance and no grammar is
 * looked at again. Every read is bounded all the same: on other text the answer is worthless, but
 * the walk ends and stays inside. */
#include <string.h>

#include "base/json_check.h"
#include "base/json_scan.h"

#define INT64_DIGITS 19

/* `at` is behind the opening quote. Returns the closing quote, or `end`. */
static const char *string_end(const char *at, const char *end)
{
    while (at < end && *at != '"') {
        at = json_skip_plain_ascii(at, end);
        if (at < end && *at == '\\')
            at += end - at >= 2 ? 2 : 1;
        else if (at < end && *at != '"')
            at++;
    }
    return at;
}

static const char *container_end(const char *at, const char *end)
{
    for (size_t depth = 0; at < end; at++) {
        if (*at == '"') {
            at = string_end(at + 1, end);
            if (at == end)
                return end;
        } else if (*at == '{' || *at == '[') {
            depth++;
        } else if ((*at == '}' || *at == ']') && --depth == 0) {
            return at + 1;
        }
    }
    return end;
}

static bool ends_scalar(char byte)
{
    switch (byte) {
    case ' ':
    case '\t':
    case '\r':
    case '\n':
    case ',':
    case ':':
    case ']':
    case '}':
        return true;
    default:
        return false;
    }
}

static const char *value_end(const char *at, const char *end)
{
    if (at < end && *at == '"') {
        const char *quote = string_end(at + 1, end);
        return quote == end ? end : quote + 1;
    }
    if (at < end && (*at == '{' || *at == '['))
        return container_end(at, end);
    while (at < end && !ends_scalar(*at))
        at++;
    return at;
}

bool json_string_is(struct json_slice contents, const char *text)
{
    const char *at = contents.at, *end = at + contents.len;
    char bytes[4];
    while (at < end) {
        size_t len = json_unescape(&at, end, bytes);
        if (len == 0 || strnlen(text, len) < len || memcmp(text, bytes, len) != 0)
            return false;
        text += len;
    }
    return *text == '\0';
}

size_t json_string_copy(struct json_slice contents, char *ret_text)
{
    const char *at = contents.at, *end = at + contents.len;
    char *to = ret_text;
    while (at < end) {
        const char *escape = memchr(at, '\\', (size_t)(end - at));
        size_t plain = (size_t)((escape != NULL ? escape : end) - at), len = 0;
        memcpy(to, at, plain);
        to += plain;
        at += plain;
        char bytes[4];
        if (at < end && (len = json_unescape(&at, end, bytes)) == 0)
            break;
        memcpy(to, bytes, len);
        to += len;
    }
    return (size_t)(to - ret_text);
}

/* The value behind white space from `at` on; false: there is none. */
static bool take_element(const char *text, const char *at, const char *end, size_t *cursor,
                         struct json_slice *ret_element)
{
    const char *element = json_skip_space(at, end);
    const char *element_end = value_end(element, end);
    if (element_end == element)
        return false;
    *cursor = (size_t)(element_end - text);
    *ret_element = (struct json_slice){ .at = element, .len = (size_t)(element_end - element) };
    return true;
}

bool json_next_member(const char *text, size_t len, size_t *cursor, struct json_slice *ret_key,
                      struct json_slice *ret_value)
{
    if (*cursor >= len)
        return false;
    const char *end = text + len;
    const char *at = json_skip_space(text + *cursor, end);
    if (at == end || *at != (*cursor == 0 ? '{' : ','))
        return false;
    const char *quote = json_skip_space(at + 1, end);
    if (quote == end || *quote != '"')
        return false;
    const char *key_end = string_end(quote + 1, end);
    if (key_end == end)
        return false;
    at = json_skip_space(key_end + 1, end);
    if (at == end || *at != ':')
        return false;
    *ret_key = (struct json_slice){ .at = quote + 1, .len = (size_t)(key_end - quote - 1) };
    return take_element(text, at + 1, end, cursor, ret_value);
}

bool json_member(const char *text, size_t len, const char *name, struct json_slice *ret_value)
{
    struct json_slice key, value;
    for (size_t cursor = 0; json_next_member(text, len, &cursor, &key, &value);)
        if (json_string_is(key, name)) {
            *ret_value = value;
            return true;
        }
    return false;
}

bool json_next_element(const char *text, size_t len, size_t *cursor, struct json_slice *ret_element)
{
    if (*cursor >= len)
        return false;
    const char *end = text + len;
    const char *at = json_skip_space(text + *cursor, end);
    if (at == end || *at != (*cursor == 0 ? '[' : ','))
        return false;
    return take_element(text, at + 1, end, cursor, ret_element);
}

bool json_next_listed(const char *text, size_t len, size_t *cursor, struct json_slice *ret_element)
{
    if (*cursor >= len)
        return false;
    const char *end = text + len;
    const char *at = json_skip_space(text + *cursor, end);
    if (*cursor > 0 && (at == end || *at++ != ','))
        return false;
    return take_element(text, at, end, cursor, ret_element);
}

/* The exponent's value, cut off far beyond the length of any text, where its exact size no longer matters. */
static int64_t exponent_of(const struct json_number *number)
{
    int64_t exponent = 0;
    for (size_t i = 0; i < number->exponent.len; i++) {
        if (exponent < INT64_C(100000000000000000))
            exponent = exponent * 10 + (number->exponent.at[i] - '0');
    }
    return number->exponent_negative ? -exponent : exponent;
}

static char digit_of(const struct json_number *number, size_t index)
{
    size_t integer_len = number->integer.len;
    return index < integer_len ? number->integer.at[index] : number->fraction.at[index - integer_len];
}

/* The number is digits * 10^scale. Zeros at both ends are dropped first, so that what remains either
 * is short enough to compute with or cannot be an int64. */
bool json_exact_int64(struct json_slice slice, int64_t *ret_value)
{
    if (slice.len == 0)
        return false;
    const char *at = slice.at;
    struct json_number number;
    if (!json_number_scan(&at, slice.at + slice.len, &number) || at != slice.at + slice.len)
        return false;
    size_t first = 0, last = number.integer.len + number.fraction.len;
    int64_t scale = exponent_of(&number) - (int64_t)number.fraction.len;
    while (first < last && digit_of(&number, first) == '0')
        first++;
    for (; last > first && digit_of(&number, last - 1) == '0'; last--)
        scale++;
    if (first == last) {
        *ret_value = 0;
        return true;
    }
    if (scale < 0 || scale > INT64_DIGITS || last - first + (size_t)scale > INT64_DIGITS)
        return false;
    uint64_t magnitude = 0; /* 19 digits: below 2^64 */
    for (size_t i = first; i < last; i++)
        magnitude = magnitude * 10 + (uint64_t)(digit_of(&number, i) - '0');
    for (; scale > 0; scale--)
        magnitude *= 10;
    if (magnitude > (uint64_t)INT64_MAX + number.negative)
        return false;
    *ret_value = (int64_t)(number.negative ? UINT64_C(0) - magnitude : magnitude);
    return true;
}
