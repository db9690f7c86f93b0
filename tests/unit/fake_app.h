/* fake_app: what stands around a handler, for its unit tests: an exchange that keeps its answer or its stream, and a
 * process pool without processes that keeps the jobs. Included by one file of a driver; the functions take the place of
 * those in service/ and pool/. */
#ifndef TWINPOOL_TESTS_UNIT_FAKE_APP_H
#define TWINPOOL_TESTS_UNIT_FAKE_APP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/json_check.h"
#include "handlers/handler.h"
#include "handlers/limits.h"
#include "pool/process_pool.h"

enum { FAKE_JOBS_MAX = 4096 };

static struct fake_answer {
    unsigned count; /* of answers: 1 at the end of every test */
    unsigned http;
    enum status status; /* of a problem */
    const char *content_type;
    char *body;    /* NUL-terminated; NULL for a problem */
    char *members; /* of a problem, as an object: "{…}" */
    char detail[1024];
    bool is_final; /* of a problem: no retry helps */
    bool is_in_segments;
    bool is_waiting;
    uint64_t deadline_ns;
} answer;

/* An answer that the test reads, as the service would when the socket takes bytes. */
static struct fake_stream {
    const struct stream_source *source; /* NULL: there is none, or it was released */
    void *owner;
    unsigned told; /* times that there is more */
} stream;

static struct fake_pool {
    struct job *jobs[FAKE_JOBS_MAX]; /* every one submitted, in order; NULL once ended */
    size_t count, held, held_peak;
    size_t accepts; /* further submissions are refused */
    enum status refusal;
    enum status cancelled_by;
    uint64_t run_ns; /* what the task is said to take */
} pool;

static struct handler_limits limits;
static struct app app;
static struct exchange exchange;
static struct query_param query[64];

/* ---- exchange */

static void expect_json(const char *text)
{
    struct json_error error;
    if (!json_check(text, strlen(text), &JSON_LIMITS_DEFAULT, &error))
        fail_msg("%s at byte %zu of %s", error.message, error.offset, text);
}

void exchange_wait(struct exchange *x, uint64_t deadline_ns)
{
    (void)x;
    answer.is_waiting = true;
    answer.deadline_ns = deadline_ns;
}

static void keep_answer(unsigned http_status, const char *content_type, const char *body, size_t len)
{
    answer.count++;
    answer.http = http_status;
    answer.content_type = content_type;
    answer.body = strndup(body, len);
    assert_int_equal(strlen(answer.body), len);
    if (strcmp(content_type, JSON_TYPE) == 0)
        expect_json(answer.body);
}

void exchange_answer(struct exchange *x, unsigned http_status, const char *content_type, char *body, size_t len)
{
    (void)x;
    keep_answer(http_status, content_type, body, len);
    free(body);
}

void exchange_answer_buf(struct exchange *x, unsigned http_status, const char *content_type, struct buf *body)
{
    (void)x;
    assert_false(body->failed);
    keep_answer(http_status, content_type, body->data, body->len);
    buf_done(body);
}

void exchange_answer_segments(struct exchange *x, unsigned http_status, const char *content_type,
                              const struct segment *segments, size_t count, void (*release)(void *owner), void *owner)
{
    struct buf body = BUF_INIT(SIZE_MAX);
    for (size_t i = 0; i < count; i++)
        buf_append(&body, segments[i].at, segments[i].len);
    exchange_answer_buf(x, http_status, content_type, &body);
    answer.is_in_segments = true;
    release(owner);
}

void exchange_stream(struct exchange *x, unsigned http_status, const char *content_type,
                     const struct stream_source *source, void *owner)
{
    (void)x;
    answer.count++;
    answer.http = http_status;
    answer.content_type = content_type;
    stream = (struct fake_stream){ .source = source, .owner = owner };
}

void exchange_stream_more(struct exchange *x)
{
    assert_ptr_equal(x, &exchange);
    assert_non_null(stream.source);
    stream.told++;
}

static void keep_problem(struct exchange *x, enum status status, const char *members, const char *detail, va_list args)
{
    answer.count++;
    answer.is_final = x->is_final;
    answer.status = status;
    answer.http = status_http(status);
    if (detail)
        vsnprintf(answer.detail, sizeof answer.detail, detail, args);
    if (asprintf(&answer.members, "{%s}", members ? members : "") < 0)
        abort();
    expect_json(answer.members);
}

void exchange_problem(struct exchange *x, enum status status, const char *detail, ...)
{
    va_list args;
    va_start(args, detail);
    keep_problem(x, status, NULL, detail, args);
    va_end(args);
}

void exchange_problem_with(struct exchange *x, enum status status, const char *members, const char *detail, ...)
{
    va_list args;
    va_start(args, detail);
    keep_problem(x, status, members, detail, args);
    va_end(args);
}

/* ---- process pool */

void job_clear(struct job *job)
{
    free(job->result);
    job->result = NULL;
}

enum status process_pool_submit(struct process_pool *to, struct job *job)
{
    (void)to;
    if (pool.count >= pool.accepts)
        return pool.refusal;
    assert_true(pool.count < FAKE_JOBS_MAX);
    pool.jobs[pool.count++] = job;
    if (++pool.held > pool.held_peak)
        pool.held_peak = pool.held;
    return ST_OK;
}

/* Ends a submitted job as the pool would; `result` NULL: there is none. */
static inline void end_job(size_t index, enum status status, const char *result, unsigned items_done,
                           unsigned items_failed)
{
    struct job *job = pool.jobs[index];
    assert_non_null(job);
    pool.jobs[index] = NULL;
    pool.held--;
    job->status = status;
    job->result = result ? strdup(result) : NULL;
    job->result_len = result ? strlen(result) : 0;
    job->items_done = items_done;
    job->items_failed = items_failed;
    job->on_done(job);
}

uint64_t process_pool_get_run_ns(struct process_pool *of, unsigned task)
{
    (void)of;
    (void)task;
    return pool.run_ns;
}

/* Marks the job; the test ends it, as the next collect would. */
void process_pool_cancel(struct process_pool *from, struct job *job, enum status why)
{
    (void)from;
    (void)job;
    pool.cancelled_by = why;
}

/* ---- fixtures */

static int fake_setup(void **state)
{
    (void)state;
    answer = (struct fake_answer){ 0 };
    stream = (struct fake_stream){ 0 };
    pool = (struct fake_pool){ .accepts = FAKE_JOBS_MAX, .refusal = ST_QUEUE_FULL, .run_ns = 200000 };
    limits = (struct handler_limits){ .version = "1.2.3",
                                      .workers = 2,
                                      .compute_timeout_ms = 10000,
                                      .compute_timeout_max_ms = 60000,
                                      .map_max_items = 1000,
                                      .map_stream_bytes = 1 << 20,
                                      .max_result_bytes = 1 << 20 };
    app = (struct app){ .limits = &limits, .process_pool = (struct process_pool *)&pool };
    exchange = (struct exchange){ .app = &app,
                                  .loop = 3,
                                  .path_arg = "sum_squares",
                                  .query = query,
                                  .request_id = "r1",
                                  .received_ns = 5 * NS_PER_SEC };
    return 0;
}

/* However the test went: one answer, no stream left, and every job given back. */
static int fake_teardown(void **state)
{
    (void)state;
    free(answer.body);
    free(answer.members);
    return answer.count == 1 && !stream.source && pool.held == 0 ? 0 : -1;
}

static inline void set_query(const char *name, const char *value)
{
    query[exchange.query_count++] = (struct query_param){ .name = name, .value = value };
}

static inline void set_post(enum media_type type, const char *body)
{
    exchange.method = HTTP_POST;
    exchange.media_type = type;
    exchange.body_len = strlen(body);
    exchange.body = exchange.body_len ? body : NULL;
}

static void expect_contains(const char *text, const char *part)
{
    assert_non_null(text);
    if (!strstr(text, part))
        fail_msg("\"%s\" is not in: %s", part, text);
}

static inline void expect_problem(enum status status, const char *in_detail)
{
    assert_int_equal(answer.count, 1);
    assert_string_equal(status_code(answer.status), status_code(status));
    expect_contains(answer.detail, in_detail);
}

#define fake_test(f) cmocka_unit_test_setup_teardown(f, fake_setup, fake_teardown)

#endif
