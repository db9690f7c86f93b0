/* base64: OpenSSL's decoder forgives white space and a few things more; this does not. */
#include "base/base64.h"

#include <limits.h>
#include <openssl/evp.h>

static bool is_digit(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '/';
}

bool base64_decode(const char *text, size_t len, unsigned char *ret_bytes, size_t *ret_len)
{
    size_t digits = 0;
    while (digits < len && is_digit(text[digits]))
        digits++;
    size_t padding = len - digits;
    bool is_sound = len % 4 == 0 && padding <= 2 && len <= INT_MAX && (padding < 1 || text[len - 1] == '=') &&
                    (padding < 2 || text[len - 2] == '=');
    int decoded = is_sound && len > 0 ? EVP_DecodeBlock(ret_bytes, (const unsigned char *)text, (int)len) : 0;
    *ret_len = decoded > 0 ? (size_t)decoded - padding : 0; /* which it counts as zero bytes */
    return is_sound && decoded >= 0;
}
