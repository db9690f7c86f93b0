/* log: each line is put together in a fixed array and handed to the kernel in one piece.
 *
 * 4096 bytes is PIPE_BUF: a write of at most that to a pipe is never mixed with another's, and an appended write to a
 * file is whole as well, so no lock is needed between threads or processes. There is no buffering and no allocation;
 * what the kernel does not take is lost, because a log must not stop the service.
 *
 * A line that would be too long ends after the last field that fits, with a mark, and is still valid JSON. Text
 * values may come from clients: quotes, controls (C1 too: terminals obey them) and broken UTF-8 are escaped. */
#include "base/log.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/utf8.h"

#define LINE_MAX_BYTES  4096
#define VALUE_MAX_BYTES 512

/* Kept free for what ends a line. */
static const char text_tail[] = " ...\n", json_tail[] = ",\"cut\":true}\n";
#define TAIL_MAX_BYTES (sizeof json_tail - 1)

struct line {
    size_t len;
    bool is_full; /* something did not fit */
    char bytes[LINE_MAX_BYTES];
};

static const char *const level_names[] = {
    [LOG_DEBUG] = "debug",
    [LOG_INFO] = "info",
    [LOG_WARNING] = "warn",
    [LOG_ERROR] = "error",
};

/* Written by log_setup() before there are threads. */
static enum log_format current_format = LOG_TEXT;
static enum log_level minimum_level = LOG_INFO;

void log_setup(enum log_format format, enum log_level minimum)
{
    current_format = format;
    minimum_level = minimum;
}

bool log_enabled(enum log_level level) { return level >= minimum_level; }

/* ---- a line */

static void put(struct line *line, const char *bytes, size_t len)
{
    if (line->is_full || len > LINE_MAX_BYTES - TAIL_MAX_BYTES - line->len) {
        line->is_full = true;
        return;
    }
    memcpy(line->bytes + line->len, bytes, len);
    line->len += len;
}

static void put_text(struct line *line, const char *text) { put(line, text, strlen(text)); }

static void PRINTF_LIKE(2, 3) put_format(struct line *line, const char *format, ...)
{
    char piece[400]; /* holds the longest double: 309 digits */
    va_list args;
    va_start(args, format);
    int len = vsnprintf(piece, sizeof piece, format, args);
    va_end(args);
    if (len > 0 && (size_t)len < sizeof piece)
        put(line, piece, (size_t)len);
}

/* Cut to VALUE_MAX_BYTES without splitting a character. */
static size_t shown_len(const char *text)
{
    size_t len = strnlen(text, VALUE_MAX_BYTES + 1);
    if (len <= VALUE_MAX_BYTES)
        return len;
    for (len = VALUE_MAX_BYTES; len > VALUE_MAX_BYTES - 3 && ((unsigned char)text[len] & 0xc0) == 0x80; len--)
        ;
    return len;
}

static void put_escaped_byte(struct line *line, char byte)
{
    unsigned char code = (unsigned char)byte;
    if (byte == '"' || byte == '\\')
        put(line, (const char[]){ '\\', byte }, 2);
    else if (byte == '\n')
        put(line, "\\n", 2);
    else if (code < 0x20 || code == 0x7f)
        put_format(line, "\\u%04x", code);
    else
        put(line, &byte, 1);
}

static void put_valid(struct line *line, const char *at, const char *end)
{
    for (; at < end; at++) {
        unsigned char code = (unsigned char)*at;
        if (code == 0xc2 && (unsigned char)at[1] < 0xa0) /* U+0080..U+009F; valid, so at[1] is there */
            put_format(line, "\\u%04x", (unsigned char)*++at);
        else
            put_escaped_byte(line, *at);
    }
}

static void put_quoted(struct line *line, const char *text)
{
    const char *at = text, *end = text + shown_len(text), *invalid;
    put(line, "\"", 1);
    while ((invalid = utf8_first_invalid(at, (size_t)(end - at))) != NULL) {
        put_valid(line, at, invalid);
        put_text(line, "\xef\xbf\xbd");
        at = invalid + utf8_invalid_len(invalid, (size_t)(end - invalid));
    }
    put_valid(line, at, end);
    put(line, "\"", 1);
}

/* ---- the parts of a line */

static void put_time(struct line *line)
{
    struct timespec now;
    struct tm utc;
    char text[sizeof "2026-11-22T22:00:00"];
    clock_gettime(CLOCK_REALTIME, &now);
    if (gmtime_r(&now.tv_sec, &utc) == NULL || strftime(text, sizeof text, "%FT%T", &utc) == 0)
        memcpy(text, "0000-00-00T00:00:00", sizeof text); /* a clock far outside the calendar */
    put_format(line, "%s.%03uZ", text, (unsigned)(now.tv_nsec / 1000000));
}

static void put_head(struct line *line, enum log_level level, const char *event)
{
    if (current_format == LOG_JSON) {
        put_text(line, "{\"ts\":\"");
        put_time(line);
        put_format(line, "\",\"level\":\"%s\",\"event\":\"%s\"", level_names[level], event);
    } else {
        put_time(line);
        put_format(line, " %-5s %s", level_names[level], event);
    }
}

static void put_value(struct line *line, const struct log_field *field)
{
    switch (field->kind) {
    case LOG_FIELD_INT:
        put_format(line, "%lld", (long long)field->value.i);
        return;
    case LOG_FIELD_STR:
        put_quoted(line, field->value.s != NULL ? field->value.s : "");
        return;
    case LOG_FIELD_MS:
        if (isfinite(field->value.ms))
            put_format(line, "%.3f", field->value.ms);
        else
            put_text(line, "null");
        return;
    }
}

static void put_field(struct line *line, const struct log_field *field)
{
    bool is_json = current_format == LOG_JSON;
    size_t before = line->len;
    put_text(line, is_json ? ",\"" : " ");
    put_text(line, field->key);
    put_text(line, is_json ? "\":" : "=");
    put_value(line, field);
    if (line->is_full)
        line->len = before;
}

static void put_tail(struct line *line)
{
    const char *tail = current_format == LOG_JSON ? json_tail : text_tail;
    if (!line->is_full)
        tail = current_format == LOG_JSON ? "}\n" : "\n";
    size_t len = strlen(tail);
    memcpy(line->bytes + line->len, tail, len);
    line->len += len;
}

/* A log must not stop the service: a reader who takes nothing for so long (of a pipe, which is full) is not waited for
 * again, and the lines are lost, until there is room. A pipe that is writable has room for a line. */
enum { STALLED_MS = 200 };

static void write_line(const struct line *line)
{
    static _Atomic bool is_stalled;
    struct pollfd log = { .fd = STDERR_FILENO, .events = POLLOUT };
    bool is_lost = poll(&log, 1, atomic_load(&is_stalled) ? 0 : STALLED_MS) == 0;
    atomic_store(&is_stalled, is_lost);
    if (is_lost)
        return;
    ssize_t written;
    do {
        written = write(STDERR_FILENO, line->bytes, line->len);
    } while (written < 0 && errno == EINTR);
}

void log_write(enum log_level level, const char *event, const struct log_field *fields)
{
    if (!log_enabled(level))
        return;
    int saved_errno = errno; /* a caller logs a failure and then still wants its errno */
    struct line line;
    line.len = 0;
    line.is_full = false;
    put_head(&line, level, event);
    for (const struct log_field *field = fields; field->key != NULL && !line.is_full; field++)
        put_field(&line, field);
    put_tail(&line);
    write_line(&line);
    errno = saved_errno;
}

/* ---- the limit */

/* The thread that moves the window on resets the count. Others may count into either second meanwhile: hence
 * "approximate", by at most one event per thread. */
bool log_limit_pass(struct log_limit *limit, uint32_t per_second, uint32_t *ret_suppressed)
{
    uint64_t now = clock_now_ns() / NS_PER_SEC + 1; /* never 0, which is "no window yet" */
    uint64_t window = atomic_load_explicit(&limit->window, memory_order_relaxed);
    if (window != now && atomic_compare_exchange_strong(&limit->window, &window, now))
        atomic_store_explicit(&limit->passed, 0, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&limit->passed, 1, memory_order_relaxed) >= per_second) {
        atomic_fetch_add_explicit(&limit->suppressed, 1, memory_order_relaxed);
        return false;
    }
    *ret_suppressed = atomic_exchange_explicit(&limit->suppressed, 0, memory_order_relaxed);
    return true;
}
