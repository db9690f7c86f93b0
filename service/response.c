/* Headers of every answer: Content-Type, X-Request-Id, Cache-Control: no-store; 503 has Retry-After, 405 and OPTIONS
 * have Allow, and while the service drains Connection: close. libmicrohttpd adds Date and Content-Length and leaves the
 * body of HEAD away. */
#include "service/response.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/json_write.h"
#include "service/server.h"

enum {
    PROBLEM_MAX = 64 * 1024,
    RETRY_AFTER_SECONDS = 1,
    JOINED_MAX_BYTES = 64 * 1024,
    SEGMENT_BLOCK_BYTES = 128 * 1024
};

#define PROBLEM_TYPE "application/problem+json"

void response_make_id(char *ret_id)
{
    /* unique, not secret: a random start and a counter */
    static _Atomic uint64_t next;
    uint64_t id = atomic_fetch_add_explicit(&next, 1, memory_order_relaxed);
    if (id == 0) {
        uint64_t start = 0;
        if (getrandom(&start, sizeof start, GRND_NONBLOCK) != (ssize_t)sizeof start)
            start = (uint64_t)time(NULL) << 32;
        id = start | 1;
        atomic_store_explicit(&next, id + 1, memory_order_relaxed);
    }
    static const char digits[] = "0123456789abcdef";
    for (int i = 15; i >= 0; i--, id >>= 4)
        ret_id[i] = digits[id & 15];
    ret_id[16] = '\0';
}

void response_finish(struct exchange *x, unsigned http_status, const char *content_type, struct MHD_Response *response)
{
    struct request *request = request_of(x);
    if (response == NULL) {
        request_set_response(request, http_status, NULL); /* no memory for an answer: the connection is closed */
        return;
    }
    if (content_type != NULL)
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
    MHD_add_response_header(response, "X-Request-Id", request->id);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    if (http_status == 503) {
        char seconds[12];
        snprintf(seconds, sizeof seconds, "%d", RETRY_AFTER_SECONDS);
        MHD_add_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER, seconds);
    }
    if (server_lifecycle(request->connection->loop->server) != LIFECYCLE_RUNNING)
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    request_set_response(request, http_status, response);
}

static struct MHD_Response *from_memory(char *body, size_t len, enum MHD_ResponseMemoryMode mode)
{
    static char empty[1];
    struct MHD_Response *response =
        MHD_create_response_from_buffer(len, body != NULL ? body : empty, body != NULL ? mode : MHD_RESPMEM_PERSISTENT);
    if (response == NULL && mode == MHD_RESPMEM_MUST_FREE)
        free(body);
    return response;
}

void exchange_answer(struct exchange *x, unsigned http_status, const char *content_type, char *body, size_t len)
{
    response_finish(x, http_status, content_type, from_memory(body, len, MHD_RESPMEM_MUST_FREE));
}

void exchange_answer_buf(struct exchange *x, unsigned http_status, const char *content_type, struct buf *body)
{
    if (body->failed) {
        bool is_at_limit = body->cap >= body->max;
        buf_done(body);
        exchange_problem(x, is_at_limit ? ST_INTERNAL : ST_NO_MEMORY, NULL);
        return;
    }
    size_t len;
    char *bytes = buf_take(body, &len);
    exchange_answer(x, http_status, content_type, bytes, len);
}

/* libmicrohttpd 0.9.75 copies a list of pieces into the connection's memory pool and aborts the process if it does not
 * fit, so the pieces are handed over through a reader, a block at a time: a batch of any size is never in memory twice.
 */
struct segment_reader {
    void (*release)(void *owner);
    void *owner;
    size_t next, offset, count; /* in segments */
    struct segment segments[];
};

static ssize_t read_segments(void *cls, uint64_t position, char *buffer, size_t len)
{
    struct segment_reader *reader = cls;
    size_t filled = 0;
    (void)position; /* libmicrohttpd reads a response once, from its start */
    while (filled < len && reader->next < reader->count) {
        const struct segment *segment = &reader->segments[reader->next];
        size_t part = segment->len - reader->offset < len - filled ? segment->len - reader->offset : len - filled;
        memcpy(buffer + filled, (const char *)segment->at + reader->offset, part);
        filled += part;
        reader->offset += part;
        if (reader->offset == segment->len) {
            reader->offset = 0;
            reader->next++;
        }
    }
    return filled > 0 ? (ssize_t)filled : MHD_CONTENT_READER_END_WITH_ERROR;
}

static void free_segments(void *cls)
{
    struct segment_reader *reader = cls;
    reader->release(reader->owner);
    free(reader);
}

static struct MHD_Response *from_segments(const struct segment *segments, size_t count, size_t total,
                                          void (*release)(void *owner), void *owner)
{
    struct segment_reader *reader = malloc(sizeof *reader + count * sizeof *segments);
    if (reader == NULL) {
        release(owner);
        return NULL;
    }
    *reader = (struct segment_reader){ .release = release, .owner = owner, .count = count };
    memcpy(reader->segments, segments, count * sizeof *segments);
    struct MHD_Response *response =
        MHD_create_response_from_callback(total, SEGMENT_BLOCK_BYTES, read_segments, reader, free_segments);
    if (response == NULL)
        free_segments(reader);
    return response;
}

/* A small answer in one piece goes out with its header in one system call. */
static struct MHD_Response *from_joined_segments(const struct segment *segments, size_t count, size_t total,
                                                 void (*release)(void *owner), void *owner)
{
    char *body = malloc(total > 0 ? total : 1);
    size_t filled = 0;
    for (size_t i = 0; body != NULL && i < count; i++) {
        memcpy(body + filled, segments[i].at, segments[i].len);
        filled += segments[i].len;
    }
    release(owner);
    return body != NULL ? from_memory(body, total, MHD_RESPMEM_MUST_FREE) : NULL;
}

void exchange_answer_segments(struct exchange *x, unsigned http_status, const char *content_type,
                              const struct segment *segments, size_t count, void (*release)(void *owner), void *owner)
{
    size_t total = 0;
    for (size_t i = 0; i < count; i++)
        total += segments[i].len;
    response_finish(x, http_status, content_type,
                    total <= JOINED_MAX_BYTES ? from_joined_segments(segments, count, total, release, owner)
                                              : from_segments(segments, count, total, release, owner));
}

static void render_problem(enum status status, bool is_retriable, const char *detail, const char *members,
                           const char *request_id, struct buf *out)
{
    buf_lit(out, "{\"type\":\"urn:twinpool:problem:");
    buf_str(out, status_code(status));
    buf_lit(out, "\",\"title\":");
    json_text(out, status_title(status));
    buf_lit(out, ",\"status\":");
    json_uint(out, status_http(status));
    if (detail != NULL && detail[0] != '\0') {
        buf_lit(out, ",\"detail\":");
        json_text(out, detail);
    }
    buf_lit(out, ",\"code\":");
    json_text(out, status_code(status));
    buf_lit(out, ",\"retriable\":");
    json_bool(out, is_retriable);
    buf_lit(out, ",\"request_id\":");
    json_text(out, request_id);
    if (members != NULL && members[0] != '\0') {
        buf_byte(out, ',');
        buf_str(out, members);
    }
    buf_lit(out, "}");
}

static void answer_problem(struct exchange *x, enum status status, const char *members, const char *format,
                           va_list args)
{
    char detail[512] = "";
    if (format != NULL)
        vsnprintf(detail, sizeof detail, format, args);
    struct buf body = BUF_INIT(PROBLEM_MAX);
    bool is_retriable = status_retriable(status) && !x->is_final;
    render_problem(status, is_retriable, detail, members, request_of(x)->id, &body);
    if (body.failed) { /* the members were too long, or no memory */
        buf_done(&body);
        body = BUF_INIT(PROBLEM_MAX);
        render_problem(status, is_retriable, NULL, NULL, request_of(x)->id, &body);
    }
    size_t len;
    char *bytes = buf_take(&body, &len);
    struct MHD_Response *response = from_memory(bytes, len, MHD_RESPMEM_MUST_FREE);
    struct request *request = request_of(x);
    request->problem = status;
    if (response != NULL && status == ST_METHOD_NOT_ALLOWED) {
        char allow[64];
        router_allow(request->allowed_methods, allow, sizeof allow);
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, allow);
    }
    response_finish(x, status_http(status), PROBLEM_TYPE, response);
}

void exchange_problem(struct exchange *x, enum status status, const char *detail, ...)
{
    va_list args;
    va_start(args, detail);
    answer_problem(x, status, NULL, detail, args);
    va_end(args);
}

void exchange_problem_with(struct exchange *x, enum status status, const char *members, const char *detail, ...)
{
    va_list args;
    va_start(args, detail);
    answer_problem(x, status, members, detail, args);
    va_end(args);
}

void response_allow(struct request *request)
{
    char allow[64];
    router_allow(request->allowed_methods, allow, sizeof allow);
    struct MHD_Response *response = from_memory(NULL, 0, MHD_RESPMEM_PERSISTENT);
    if (response != NULL)
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, allow);
    response_finish(&request->x, MHD_HTTP_NO_CONTENT, NULL, response);
}

void response_raw_problem(enum status status, const char *detail, const char *request_id, struct buf *out)
{
    struct buf body = BUF_INIT(PROBLEM_MAX);
    char date[40] = "";
    time_t now = time(NULL);
    struct tm utc;
    if (gmtime_r(&now, &utc) != NULL)
        strftime(date, sizeof date, "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &utc);
    render_problem(status, status_retriable(status), detail, NULL, request_id, &body);
    buf_printf(out,
               "HTTP/1.1 %u %s\r\n%sConnection: close\r\nContent-Type: " PROBLEM_TYPE
               "\r\nX-Request-Id: %s\r\nCache-Control: no-store\r\nContent-Length: %zu\r\n%s\r\n",
               status_http(status), MHD_get_reason_phrase_for(status_http(status)), date, request_id, body.len,
               status_http(status) == 503 ? "Retry-After: 1\r\n" : "");
    if (body.len > 0)
        buf_append(out, body.data, body.len);
    buf_done(&body);
}
