/* map_case: a map on the fake pool: asked for, its chunks ended one by one. The fake worker's result for an item is the
 * item's args, so an answer shows the order. Included by one file of a driver. */
#ifndef TWINPOOL_TESTS_UNIT_MAP_CASE_H
#define TWINPOOL_TESTS_UNIT_MAP_CASE_H

#include "tests/unit/fake_app.h"

static inline void map(const char *body)
{
    set_post(MEDIA_JSON, body);
    endpoint_compute_map.handle(&exchange);
}

/* `[0,1,…]` with `count` items. */
static char *numbers(unsigned count)
{
    struct buf out = BUF_INIT(1 << 20);
    buf_byte(&out, '[');
    for (unsigned i = 0; i < count; i++)
        buf_printf(&out, "%s%u", i ? "," : "", i);
    buf_append(&out, "]", 2);
    size_t len;
    return buf_take(&out, &len);
}

static inline void map_numbers(unsigned count)
{
    static char *body; /* must stay put until the answer */
    free(body);
    body = numbers(count);
    map(body);
}

static inline void expect_args(size_t index, const char *args)
{
    assert_true(index < pool.count);
    assert_non_null(pool.jobs[index]);
    struct job *job = pool.jobs[index];
    if (job->args_len != strlen(args) || memcmp(job->args, args, job->args_len) != 0)
        fail_msg("job %zu has %.*s, not %s", index, (int)job->args_len, job->args, args);
}

/* The text that a worker leaves for the first `count` items of a chunk. */
static char *results(const struct job *job, unsigned count)
{
    struct buf out = BUF_INIT(1 << 20);
    struct json_slice item;
    size_t cursor = 0, len;
    for (unsigned i = 0; i < count; i++) {
        assert_true(json_next_element(job->args, job->args_len, &cursor, &item));
        buf_str(&out, i ? ",{\"result\":" : "{\"result\":");
        buf_append(&out, item.at, item.len);
        buf_byte(&out, '}');
    }
    if (count == 0)
        return NULL;
    buf_byte(&out, '\0');
    return buf_take(&out, &len);
}

/* Ends a chunk after `done` of its items. */
static inline void end_chunk(size_t index, enum status status, unsigned done)
{
    char *text = results(pool.jobs[index], done);
    end_job(index, status, text, done, 0);
    free(text);
}

static inline void end_chunk_well(size_t index) { end_chunk(index, ST_OK, pool.jobs[index]->items); }

/* Ends every chunk well, also those that the ends make room for. */
static inline void end_all(void)
{
    for (size_t i = 0; i < pool.count; i++)
        if (pool.jobs[i])
            end_chunk_well(i);
}

static inline void expect_answer(const char *results_text, unsigned ok, unsigned failed)
{
    char *expected = NULL;
    assert_int_equal(answer.count, 1);
    assert_int_equal(answer.http, 200);
    if (asprintf(&expected, "{\"results\":[%s],\"ok\":%u,\"failed\":%u,\"elapsed_ms\":", results_text, ok, failed) < 0)
        abort();
    if (strncmp(answer.body, expected, strlen(expected)) != 0)
        fail_msg("expected %s got %s", expected, answer.body);
    free(expected);
}

#endif
