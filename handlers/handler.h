/* handler: what an endpoint sees of one HTTP request, and the few ways in which it can answer.
 *
 * An exchange is one request and its one answer. It belongs to one event loop and is only ever touched on that loop's
 * thread. The service fills it in when the whole request has arrived and calls the endpoint's handle(); the endpoint
 * then either answers at once or starts work in a pool, calls exchange_wait() and answers from the work's on_done.
 * Whatever happens, exactly one of the answer functions is called, once. Handlers know no sockets, no threads and no
 * libmicrohttpd. */
#ifndef TWINPOOL_HANDLERS_HANDLER_H
#define TWINPOOL_HANDLERS_HANDLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attrs.h"
#include "base/buf.h"
#include "base/status.h"

struct io_pool;
struct process_pool;
struct handler_limits; /* handlers/limits.h */
struct server_stats;   /* handlers/server_stats.h */

enum http_method { HTTP_GET, HTTP_HEAD, HTTP_POST, HTTP_PUT, HTTP_PATCH, HTTP_DELETE, HTTP_OPTIONS };

/* What all handlers share; constant while the service runs. */
struct app {
    const struct handler_limits *limits;
    struct process_pool *process_pool;
    struct io_pool *io_pool;
    void (*get_server_stats)(const struct app *app, struct server_stats *ret_stats); /* from any loop's thread */
    uint64_t started_ns;
    const char *sandbox; /* what confines the workers, as a JSON object */
};

enum media_type { MEDIA_NONE, MEDIA_JSON, MEDIA_FORM, MEDIA_MULTIPART, MEDIA_TEXT, MEDIA_NDJSON, MEDIA_OTHER };

/* What the caller would like to get, by its Accept field. */
enum answer_form { ANSWER_JSON, ANSWER_NDJSON, ANSWER_EVENTS, ANSWER_BYTES };

struct query_param {
    const char *name;  /* decoded, NUL-terminated, valid UTF-8 */
    const char *value; /* likewise; "" if there was no '=' */
};

struct exchange;

struct endpoint {
    /* The request is complete. Must answer, or exchange_wait(). */
    void (*handle)(struct exchange *x);
    /* The wait ends early: ST_CANCELLED (the client went away), ST_DEADLINE_EXCEEDED or ST_DRAINING. The endpoint makes
     * its pools give up; their on_done (perhaps before this returns) still answers, as always. NULL for endpoints that
     * never wait. */
    void (*give_up)(struct exchange *x, enum status why);
};

struct exchange {
    struct app *app;
    unsigned loop;           /* index of the event loop */
    enum http_method method; /* HEAD is handled like GET; the service leaves the body away */
    const char *path_arg;    /* the variable segment of the path, decoded; "" if the route has none */
    const struct query_param *query;
    size_t query_count;
    const char *body; /* NULL if body_len is 0; stays put until the answer */
    size_t body_len;
    enum media_type media_type;
    const char *content_type; /* as sent, NULL if none */
    enum answer_form accepts;
    uint32_t timeout_ms;     /* Request-Timeout-Ms, 0 if not sent; already validated */
    const char *traceparent; /* a valid one (W3C Trace Context), NULL if none was sent */
    bool is_fetch;           /* another Twinpool, or this one, sent it to fetch something (CDN-Loop) */
    const char *request_id;  /* [A-Za-z0-9._-]{1,64} */
    uint64_t received_ns;    /* when the header was complete */
    void *state;             /* the endpoint's own, between handle() and the answer */
    bool is_final;           /* the endpoint's: a problem says that no retry helps, whatever its status says */
};

/* NULL if there is no such parameter (the first of several). */
const char *exchange_query(const struct exchange *x, const char *name) NONNULL;

/* The endpoint will answer later. At deadline_ns (clock_now_ns(), CLOCK_NEVER for none) give_up(ST_DEADLINE_EXCEEDED)
 * is called, and earlier if the client leaves or the service stops. Answering from within handle() after this is fine.
 */
void exchange_wait(struct exchange *x, uint64_t deadline_ns) NONNULL;

/* The answers. Each may be called on the loop's thread only, once per exchange; x is gone afterwards. */

/* `body` is malloc()ed and now the service's; NULL with len 0 is an empty body. content_type is static. */
void exchange_answer(struct exchange *x, unsigned http_status, const char *content_type, char *body, size_t len)
    __attribute__((nonnull(1, 3)));
/* The buffer's bytes are taken; if it failed, answers ST_NO_MEMORY or, when it hit its limit, ST_INTERNAL. */
void exchange_answer_buf(struct exchange *x, unsigned http_status, const char *content_type, struct buf *body) NONNULL;

/* An answer in pieces, sent without joining them. `release(owner)` is called once when all was sent or given up, on the
 * loop's thread (it must free what the pieces point to). */
struct segment {
    const void *at;
    size_t len;
};
void exchange_answer_segments(struct exchange *x, unsigned http_status, const char *content_type,
                              const struct segment *segments, size_t count, void (*release)(void *owner), void *owner)
    NONNULL;

/* An answer that is written as it comes into being. Afterwards x is not gone yet: give_up() may still be called, until
 * release() is, once, on the loop's thread: when all was sent, or the client has left (then first give_up()). */
struct stream_source {
    /* Up to `len` bytes; returns how many. 0: there are none now, exchange_stream_more() when there are; or none will
     * come, then *ret_is_over is set. */
    size_t (*read)(void *owner, char *to, size_t len, bool *ret_is_over);
    void (*release)(void *owner);
};
void exchange_stream(struct exchange *x, unsigned http_status, const char *content_type,
                     const struct stream_source *source, void *owner) NONNULL;
void exchange_stream_more(struct exchange *x) NONNULL;

/* application/problem+json (RFC 9457) of the status:
 * {"type","title","status","detail","code","retriable","request_id"}. 503 gets Retry-After. `detail` is a printf
 * format; NULL: the title says it all. */
void exchange_problem(struct exchange *x, enum status status, const char *detail, ...)
    __attribute__((format(printf, 3, 4), nonnull(1)));
/* The same with more members: `members` is JSON text such as `"errors":[…]` or `"signal":9,"phase":"connect"`, or NULL.
 */
void exchange_problem_with(struct exchange *x, enum status status, const char *members, const char *detail, ...)
    __attribute__((format(printf, 4, 5), nonnull(1)));

#define JSON_TYPE   "application/json"
#define NDJSON_TYPE "application/x-ndjson"
#define EVENTS_TYPE "text/event-stream"
#define BYTES_TYPE  "application/octet-stream"

extern const struct endpoint endpoint_fetch;       /* GET, POST /fetch */
extern const struct endpoint endpoint_compute;     /* GET, POST /compute/{task} */
extern const struct endpoint endpoint_compute_map; /* POST /compute/{task}/map */
extern const struct endpoint endpoint_tasks;       /* GET /tasks */
extern const struct endpoint endpoint_healthz;
extern const struct endpoint endpoint_readyz;
extern const struct endpoint endpoint_metrics;
extern const struct endpoint endpoint_stats;

#endif
