/* base64: RFC 4648 section 4, read strictly: padded, nothing else in it. (json_base64() writes it.) */
#ifndef TWINPOOL_BASE_BASE64_H
#define TWINPOOL_BASE_BASE64_H

#include <stdbool.h>
#include <stddef.h>

#include "base/attrs.h"

/* Bytes that base64_decode() may write. */
#define BASE64_DECODED_MAX(len) ((len) / 4 * 3 + 3)

/* False: it is not base64, or longer than INT_MAX. */
bool base64_decode(const char *text, size_t len, unsigned char *ret_bytes, size_t *ret_len) NONNULL MUST_CHECK;

#endif
