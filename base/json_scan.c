/* json_scan: escapes and numbers, byte by byte; the wide loops are inline in the header. */
#include "base/json_scan.h"

char json_short_escape(char letter)
{
    switch (letter) {
    case '"':
    case '\\':
    case '/':
        return letter;
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    default:
        return 0;
    }
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

bool json_hex4(const char *at, const char *end, unsigned *ret_unit)
{
    if (end - at < 4)
        return false;
    unsigned unit = 0;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(at[i]);
        if (digit < 0)
            return false;
        unit = unit << 4 | (unsigned)digit;
    }
    *ret_unit = unit;
    return true;
}

static size_t encode_utf8(unsigned code_point, char out[4])
{
    if (code_point < 0x80) {
        out[0] = (char)code_point;
        return 1;
    }
    if (code_point < 0x800) {
        out[0] = (char)(0xc0 | code_point >> 6);
        out[1] = (char)(0x80 | (code_point & 0x3f));
        return 2;
    }
    if (code_point < 0x10000) {
        out[0] = (char)(0xe0 | code_point >> 12);
        out[1] = (char)(0x80 | (code_point >> 6 & 0x3f));
        out[2] = (char)(0x80 | (code_point & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | code_point >> 18);
    out[1] = (char)(0x80 | (code_point >> 12 & 0x3f));
    out[2] = (char)(0x80 | (code_point >> 6 & 0x3f));
    out[3] = (char)(0x80 | (code_point & 0x3f));
    return 4;
}

/* *at is behind `\u`. */
static size_t unescape_unicode(const char **at, const char *end, char out[4])
{
    unsigned unit, low;
    if (!json_hex4(*at, end, &unit))
        return 0;
    *at += 4;
    if ((unit & 0xf800) != 0xd800)
        return encode_utf8(unit, out);
    if (unit >= 0xdc00 || end - *at < 6 || (*at)[0] != '\\' || (*at)[1] != 'u' || !json_hex4(*at + 2, end, &low) ||
        (low & 0xfc00) != 0xdc00)
        return 0;
    *at += 6;
    return encode_utf8(0x10000 + ((unit & 0x3ff) << 10 | (low & 0x3ff)), out);
}

size_t json_unescape(const char **at, const char *end, char out[4])
{
    if (*at == end)
        return 0;
    out[0] = *(*at)++;
    if (out[0] != '\\')
        return 1;
    if (*at == end)
        return 0;
    char letter = *(*at)++;
    if (letter == 'u')
        return unescape_unicode(at, end, out);
    out[0] = json_short_escape(letter);
    return out[0] != 0;
}

static bool is_digit(const char *at, const char *end) { return at < end && *at >= '0' && *at <= '9'; }

static struct json_slice take_digits(const char **at, const char *end)
{
    const char *first = *at;
    while (is_digit(*at, end))
        ++*at;
    return (struct json_slice){ .at = first, .len = (size_t)(*at - first) };
}

bool json_number_scan(const char **at, const char *end, struct json_number *ret_number)
{
    struct json_number number = { .negative = *at < end && **at == '-' };
    *at += number.negative;
    if (*at < end && **at == '0') {
        number.integer = (struct json_slice){ .at = (*at)++, .len = 1 };
        if (is_digit(*at, end))
            return false;
    } else {
        number.integer = take_digits(at, end);
        if (number.integer.len == 0)
            return false;
    }
    if (*at < end && **at == '.') {
        ++*at;
        number.fraction = take_digits(at, end);
        if (number.fraction.len == 0)
            return false;
    }
    if (*at < end && (**at | 0x20) == 'e') {
        ++*at;
        number.exponent_negative = *at < end && **at == '-';
        if (*at < end && (**at == '-' || **at == '+'))
            ++*at;
        number.exponent = take_digits(at, end);
        if (number.exponent.len == 0)
            return false;
    }
    *ret_number = number;
    return true;
}
