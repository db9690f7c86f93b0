/* buf: a growing byte buffer that cannot outgrow its limit.
 *
 * The limit is given at construction. A write that does not fit (or for which memory cannot be
 * had) sets the sticky `failed` flag, leaves the contents as they were and is ignored, as is every
 * later write: so a writer checks once, at the end. Not thread-safe; no function blocks. */
#ifndef TWINPOOL_BASE_BUF_H
#define TWINPOOL_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/attrs.h"

struct buf {
    char *data; /* NULL while nothing was written */
    size_t len;
    size_t cap;
    size_t max; /* bytes: len never exceeds it */
    bool failed;
};

#define BUF_INIT(max_bytes) ((struct buf){ .max = (max_bytes) })

void buf_append(struct buf *buf, const void *bytes, size_t len) NONNULL;
void buf_str(struct buf *buf, const char *text) NONNULL; /* without the NUL */
void buf_printf(struct buf *buf, const char *format, ...) PRINTF_LIKE(2, 3) NONNULL;

/* Inline: answers consist of literals, which are stored rather than copied. */
static inline NONNULL void buf_append_inline(struct buf *buf, const void *bytes, size_t len)
{
    bool fits = buf->data != NULL && !buf->failed && len <= buf->cap - buf->len;
    if (UNLIKELY(!fits)) {
        buf_append(buf, bytes, len);
        return;
    }
    memcpy(buf->data + buf->len, bytes, len);
    buf->len += len;
}
static inline NONNULL void buf_byte(struct buf *buf, char byte) { buf_append_inline(buf, &byte, 1); }
#define buf_lit(buf, literal) buf_append_inline((buf), "" literal, sizeof(literal) - 1)

/* Room for `len` more bytes at data + len, or NULL (and failed set). The caller fills it and adds
 * to buf->len what it used. */
char *buf_reserve(struct buf *buf, size_t len) NONNULL MUST_CHECK;

/* Hands the bytes to the caller (free() them; NULL if empty). This and the next two leave the buffer empty and usable,
 * with `failed` cleared: look at it before. */
char *buf_take(struct buf *buf, size_t *ret_len) NONNULL MUST_CHECK;

void buf_clear(struct buf *buf) NONNULL; /* keeps the memory */
void buf_done(struct buf *buf) NONNULL;  /* frees the memory */

#endif
