/* log: one line per event on stderr, as text or JSON.
 *
 * text: `2026-11-22T22:00:00.123Z info  worker_died worker=2 pid=4711 signal=9`
 * json: `{"ts":"…","level":"info","event":"worker_died","worker":2,"pid":4711,"signal":9}`
 * A line is built in a stack buffer (cut at 4 KiB) and written with one write(2): safe from any
 * thread and any process. Text values are quoted and escaped, and cut at 512 bytes. */
#ifndef TWINPOOL_BASE_LOG_H
#define TWINPOOL_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attrs.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR };
enum log_format { LOG_TEXT, LOG_JSON };

struct log_field {
    const char *key; /* NULL ends a list */
    enum { LOG_FIELD_INT, LOG_FIELD_STR, LOG_FIELD_MS } kind;
    union {
        int64_t i;
        const char *s; /* NULL prints as "" */
        double ms;
    } value;
};

#define LOG_INT(k, v)                                              \
    {                                                              \
        .key = (k), .kind = LOG_FIELD_INT, .value.i = (int64_t)(v) \
    }
#define LOG_STR(k, v)                                     \
    {                                                     \
        .key = (k), .kind = LOG_FIELD_STR, .value.s = (v) \
    }
#define LOG_MS(k, v)                                      \
    {                                                     \
        .key = (k), .kind = LOG_FIELD_MS, .value.ms = (v) \
    }

/* Call before threads start. Default: text, info. */
void log_setup(enum log_format format, enum log_level minimum);
bool log_enabled(enum log_level level);
void log_write(enum log_level level, const char *event, const struct log_field *fields) NONNULL;

/* log_event(LOG_INFO, "worker_died", LOG_INT("pid", pid), LOG_INT("signal", sig)); */
#define log_event(level, event, ...)                                                                           \
    do {                                                                                                       \
        if (log_enabled(level))                                                                                \
            log_write((level), (event), (const struct log_field[]){ __VA_ARGS__ __VA_OPT__(, ){ .key = 0 } }); \
    } while (0)

/* For events that a client can cause at will: true at most `per_second` times a second (approximate),
 * else counts; the count of the suppressed ones is given with the next one that passes. Thread-safe. */
struct log_limit {
    _Atomic uint64_t window; /* zero-initialise */
    _Atomic uint32_t passed;
    _Atomic uint32_t suppressed;
};
bool log_limit_pass(struct log_limit *limit, uint32_t per_second, uint32_t *ret_suppressed) NONNULL;

#endif
