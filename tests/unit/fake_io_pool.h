/* fake_io_pool: an I/O pool without threads, for the tests of handlers/fetch*.c: it keeps the call, whose items the
 * test ends in the order it likes. Included after fake_app.h by one file of a driver; the functions take the place of
 * those in pool/io_pool.c. */
#ifndef TWINPOOL_TESTS_UNIT_FAKE_IO_POOL_H
#define TWINPOOL_TESTS_UNIT_FAKE_IO_POOL_H

#include "pool/fetch_render.h"
#include "pool/io_pool.h"
#include "tests/unit/fake_app.h"

static struct fetch_call *submitted; /* NULL: none, or it was released */
static enum status submit_status, cancelled_by;
static unsigned calls_accepted, calls_released, results_freed; /* since the test's setup */

enum status io_pool_submit(struct io_pool *to, struct fetch_call *call)
{
    assert_ptr_equal(to, app.io_pool);
    if (submit_status != ST_OK)
        return submit_status;
    submitted = call;
    calls_accepted++;
    call->started_ns = clock_now_ns();
    return ST_OK;
}

void io_pool_cancel(struct io_pool *from, struct fetch_call *call, enum status why)
{
    assert_ptr_equal(from, app.io_pool);
    assert_ptr_equal(call, submitted);
    if (cancelled_by == ST_OK)
        cancelled_by = why;
}

static void forget_result(struct fetch_item *item)
{
    free(item->json);
    free(item->message);
    item->json = item->message = NULL;
}

void io_pool_free_result(struct io_pool *from, struct fetch_call *call, struct fetch_item *item)
{
    assert_ptr_equal(from, app.io_pool);
    assert_ptr_equal(call, submitted);
    forget_result(item);
    results_freed++;
}

/* Also of calls that were refused, by the pool or before. */
void io_pool_release(struct io_pool *from, struct fetch_call *call)
{
    assert_ptr_equal(from, app.io_pool);
    for (size_t i = 0; i < call->count; i++)
        forget_result(&call->items[i]);
    calls_released += call == submitted;
    if (call == submitted)
        submitted = NULL;
}

/* ---- fixtures */

static int fetch_setup(void **state)
{
    fake_setup(state);
    submitted = NULL;
    submit_status = cancelled_by = ST_OK;
    calls_accepted = calls_released = results_freed = 0;
    app.io_pool = (struct io_pool *)&pool; /* only passed through */
    limits.fetch_timeout_ms = 15000;
    limits.fetch_dns_timeout_ms = 2000;
    limits.fetch_connect_timeout_ms = 3000;
    limits.fetch_tls_timeout_ms = 5000;
    limits.fetch_first_byte_timeout_ms = 10000;
    limits.fetch_timeout_max_ms = 60000;
    limits.fetch_max_urls = 5;
    limits.fetch_inflight_max = 100;
    limits.fetch_max_body_bytes = 1000;
    limits.fetch_max_redirects = 5;
    limits.fetch_retries = 2;
    return 0;
}

/* However the test went: what was accepted was given back, once. */
static int fetch_teardown(void **state)
{
    return fake_teardown(state) == 0 && calls_released == calls_accepted ? 0 : -1;
}

/* For the next case of a table. */
static inline void start_over(void **state)
{
    assert_int_equal(fetch_teardown(state), 0);
    fetch_setup(state);
}

/* ---- requests */

static inline void post(const char *body)
{
    set_post(MEDIA_JSON, body);
    endpoint_fetch.handle(&exchange);
}

/* The first item of the call that was submitted. */
static inline const struct fetch_item *item(void)
{
    if (!submitted)
        fail_msg("refused: %s %s", answer.detail, answer.members ? answer.members : "");
    assert_true(answer.is_waiting);
    return &submitted->items[0];
}

static inline void expect_refused(const char *part_of_members)
{
    assert_null(submitted);
    assert_string_equal(status_code(answer.status), "invalid_args");
    expect_contains(answer.members, part_of_members);
}

/* ---- results */

static inline void set_ok(size_t index, const char *json)
{
    struct fetch_item *done = &submitted->items[index];
    done->status = ST_OK;
    done->http_status = 200;
    done->json = strdup(json);
    done->json_len = strlen(json);
}

/* After three attempts, as the pool writes it. */
static inline void set_failed(size_t index, enum status status, bool is_retriable)
{
    static const struct ledger nothing;
    struct transfer_outcome outcome = {
        .status = status, .phase = "connect", .is_retriable = is_retriable, .message = "after 150 ms"
    };
    const struct fetch_report report = { .outcome = &outcome, .ledger = &nothing, .attempts = 3 };
    fetch_render_report(&submitted->items[index], index, &report);
}

/* The item is done: the submitter is told if it wants to know. */
static inline void tell_item(size_t index)
{
    if (submitted->on_item)
        submitted->on_item(submitted, &submitted->items[index]);
}

static inline void tell_done(void) { submitted->on_done(submitted); }

static inline void end_all(void)
{
    for (size_t i = 0; i < submitted->count; i++) {
        set_ok(i, "{}");
        tell_item(i);
    }
    tell_done();
}

#define fetch_test(f) cmocka_unit_test_setup_teardown(f, fetch_setup, fetch_teardown)

#endif
