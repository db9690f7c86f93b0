/* json_write: append JSON text to a buf, straight from the bytes at hand (no tree).
 *
 * Every function appends one token; commas and colons are the caller's. Failures are buf's. */
#ifndef TWINPOOL_BASE_JSON_WRITE_H
#define TWINPOOL_BASE_JSON_WRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attrs.h"
#include "base/buf.h"

/* A quoted string of valid UTF-8. */
void json_string(struct buf *out, const char *utf8, size_t len) NONNULL;
/* A quoted string of any bytes: what is not UTF-8 becomes U+FFFD. */
void json_string_lossy(struct buf *out, const char *bytes, size_t len) NONNULL;
/* A quoted string of any NUL-terminated bytes: what is not UTF-8 becomes U+FFFD. */
void json_text(struct buf *out, const char *bytes) NONNULL;
/* A quoted string of bytes in base64 (RFC 4648 section 4, padded). */
void json_base64(struct buf *out, const void *bytes, size_t len) NONNULL;
/* A quoted string of bytes in lower-case hexadecimal. */
void json_hex(struct buf *out, const void *bytes, size_t len) NONNULL;
/* `{"key":` style helper: quoted key and colon; key needs no escaping. */
void json_key(struct buf *out, const char *key) NONNULL;
void json_int(struct buf *out, int64_t value) NONNULL;
void json_uint(struct buf *out, uint64_t value) NONNULL;
void json_u128(struct buf *out, unsigned __int128 value) NONNULL; /* exact */
/* Milliseconds with three decimals from nanoseconds: 41.703 */
void json_ms(struct buf *out, uint64_t ns) NONNULL;
void json_bool(struct buf *out, bool value) NONNULL;
/* A checked document as it is, on one line: line ends, which stand only between its tokens, become blanks. */
void json_document(struct buf *out, const char *text, size_t len) NONNULL;

#endif
