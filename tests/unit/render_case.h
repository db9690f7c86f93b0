/* render_case: a report to be rendered, and what is expected of the text, for the tests of pool/fetch_render.c. */
#ifndef TWINPOOL_TESTS_UNIT_RENDER_CASE_H
#define TWINPOOL_TESTS_UNIT_RENDER_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json_check.h"
#include "pool/fetch_render.h"

static struct response_head head;
static struct fetch_item item;
static struct transfer_outcome outcome;
static struct ledger ledger;
static struct fetch_report report;

/* An answer over a kept connection: "hello". */
static inline int setup(void **state)
{
    (void)state;
    response_head_init(&head);
    item = (struct fetch_item){ .url = "http://h/" };
    outcome = (struct transfer_outcome){ .status = ST_OK,
                                         .http_status = 200,
                                         .retry_after_ns = CLOCK_NEVER,
                                         .final_url = "http://h/x",
                                         .http_version = "1.1",
                                         .head = &head,
                                         .body = "hello",
                                         .body_len = 5,
                                         .body_seen = 5 };
    outcome.last =
        (struct ledger_entry){ .attempt = 1, .is_reused = true, .first_byte_ns = 38100000, .body_ns = 2000000 };
    ledger = (struct ledger){ .requests = 1 };
    report = (struct fetch_report){ .outcome = &outcome,
                                    .ledger = &ledger,
                                    .attempts = 1,
                                    .accepted_ns = 1000 * NS_PER_MS,
                                    .ended_ns = 1000 * NS_PER_MS + 41703000,
                                    .queue_ns = 1500000,
                                    .host_queue_ns = 500000 };
    return 0;
}

static inline void forget_result(void)
{
    free(item.json);
    free(item.message);
    item.json = item.message = NULL;
}

static inline int teardown(void **state)
{
    (void)state;
    response_head_done(&head);
    ledger_done(&ledger);
    forget_result();
    return 0;
}

/* The item's JSON, checked and with a NUL. */
static inline const char *text(void)
{
    static const struct json_limits limits = {
        .depth = 64, .members = 8192, .values = SIZE_MAX, .number_length = 4096
    };
    struct json_error error;
    assert_non_null(item.json);
    if (!json_check(item.json, item.json_len, &limits, &error))
        fail_msg("%s at byte %zu of %.*s", error.message, error.offset, (int)item.json_len, item.json);
    item.json = realloc(item.json, item.json_len + 1);
    item.json[item.json_len] = '\0';
    if (strpbrk(item.json, "\r\n"))
        fail_msg("not one line: %s", item.json);
    return item.json;
}

static inline void expect_part(const char *part)
{
    if (!strstr(text(), part))
        fail_msg("no %s in %s", part, item.json);
}

static inline void expect_no(const char *part)
{
    if (strstr(text(), part))
        fail_msg("%s is in %s", part, item.json);
}

static inline void render(size_t index)
{
    forget_result();
    fetch_render_report(&item, index, &report);
}

static inline void render_body(enum fetch_body_form form, const char *body, size_t len, bool is_truncated)
{
    item.body_form = form;
    outcome.body = body;
    outcome.body_len = outcome.body_seen = len;
    outcome.is_truncated = is_truncated;
    render(0);
    assert_int_equal(item.status, ST_OK);
}

#define render_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
