/* utf8: validation (RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF). Pure; thread-safe. */
#ifndef TWINPOOL_BASE_UTF8_H
#define TWINPOOL_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* The first byte that does not begin a whole valid character; NULL if all of it is valid. */
const char *utf8_first_invalid(const char *bytes, size_t len);

/* Fast over ASCII: several bytes a cycle. An empty text is valid. */
bool utf8_valid(const char *bytes, size_t len);

/* How many bytes one U+FFFD should stand for at a place where utf8_first_invalid() pointed: 1..3. len is at least 1. */
size_t utf8_invalid_len(const char *bytes, size_t len);

#endif
