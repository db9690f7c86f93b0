/* buf: one realloc'ed block that doubles until it meets its limit.
 *
 * Every write that does not fit passes through make_room(), the only place that asks for memory.
 * It never adds two lengths before it knows that their sum is at most `max`, so nothing can wrap.
 * The block is one byte longer than `cap`: vsnprintf() always stores a NUL, and a text that fills the
 * buffer to its limit must still have a place for it. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Small enough for a one-line answer, large enough that a typical one is not copied three times. */
#define FIRST_CAPACITY 256

static size_t grown_capacity(const struct buf *buf, size_t wanted)
{
    size_t doubled = buf->cap > buf->max / 2 ? buf->max : buf->cap * 2;
    if (doubled < FIRST_CAPACITY)
        doubled = buf->max < FIRST_CAPACITY ? buf->max : FIRST_CAPACITY;
    return doubled > wanted ? doubled : wanted;
}

static bool grow(struct buf *buf, size_t wanted)
{
    size_t capacity = grown_capacity(buf, wanted);
    if (capacity == SIZE_MAX)
        return false;
    char *data = realloc(buf->data, capacity + 1);
    if (data == NULL)
        return false;
    buf->data = data;
    buf->cap = capacity;
    return true;
}

static bool make_room(struct buf *buf, size_t len)
{
    if (UNLIKELY(buf->failed))
        return false;
    if (LIKELY(buf->data != NULL && len <= buf->cap - buf->len))
        return true;
    if (len > buf->max - buf->len || !grow(buf, buf->len + len)) {
        buf->failed = true;
        return false;
    }
    return true;
}

void buf_append(struct buf *buf, const void *bytes, size_t len)
{
    if (!make_room(buf, len))
        return;
    memcpy(buf->data + buf->len, bytes, len);
    buf->len += len;
}

void buf_str(struct buf *buf, const char *text) { buf_append(buf, text, strlen(text)); }

void buf_printf(struct buf *buf, const char *format, ...)
{
    if (!make_room(buf, 0))
        return;
    size_t spare = buf->cap - buf->len;
    va_list args;
    va_start(args, format);
    int printed = vsnprintf(buf->data + buf->len, spare + 1, format, args);
    va_end(args);
    if (printed < 0) {
        buf->failed = true;
        return;
    }
    if ((size_t)printed > spare) {
        if (!make_room(buf, (size_t)printed))
            return;
        va_start(args, format);
        (void)vsnprintf(buf->data + buf->len, (size_t)printed + 1, format, args);
        va_end(args);
    }
    buf->len += (size_t)printed;
}

char *buf_reserve(struct buf *buf, size_t len) { return make_room(buf, len) ? buf->data + buf->len : NULL; }

char *buf_take(struct buf *buf, size_t *ret_len)
{
    char *data = buf->data;
    *ret_len = buf->len;
    if (buf->len == 0) {
        free(data);
        data = NULL;
    }
    *buf = BUF_INIT(buf->max);
    return data;
}

void buf_clear(struct buf *buf)
{
    buf->len = 0;
    buf->failed = false;
}

void buf_done(struct buf *buf)
{
    free(buf->data);
    *buf = BUF_INIT(buf->max);
}
