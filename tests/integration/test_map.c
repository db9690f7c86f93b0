/* POST /compute/{task}/map: input order whatever runs first, per-item errors, chunks, limits, deadlines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "tests/support/json_path.h"
#include "tests/support/steps.h"
#include "tests/support/timing.h"

enum { ITEMS_MAX = 20000 };

#define MAP "/compute/sum_squares/map"

static struct server server;

static int start(void **state)
{
    (void)state;
    const char *const flags[] = { "--workers", "2", "--map-max-items", "20000", NULL };
    return server_start(&server, flags, NULL) ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    return server_stop(&server) == 0 ? 0 : -1;
}

static void small_maps__good_and_bad__typed_answers(void **state)
{
    (void)state;
    static const struct step steps[] = {
        { "POST", MAP, HTTP_JSON, "[{\"n\":10},{\"n\":1000},{\"n\":100000}]", 200, NULL,
          "{\"results\":[{\"result\":285},{\"result\":332833500},{\"result\":333328333350000}],\"ok\":3,\"failed\":0,"
          "\"elapsed_ms\":" },
        { "POST", MAP, HTTP_JSON, "[]", 200, NULL, "{\"results\":[],\"ok\":0,\"failed\":0," },
        { "POST", MAP, HTTP_JSON, " [ {\"n\":3} ] ", 200, NULL, "{\"result\":5}" },
        { "POST", MAP, "Content-Type: application/x-ndjson\r\n", "{\"n\":3}\n{\"n\":4}\n", 200, NULL,
          "[{\"result\":5},{\"result\":14}]" },
        { "POST", MAP, HTTP_JSON, "[{\"n\":3},{\"n\":-1},7,{\"n\":4}]", 200, NULL, "\"ok\":2,\"failed\":2" },
        { "POST", MAP "?chunksize=1", HTTP_JSON, "[{\"n\":3},{\"n\":4}]", 200, NULL,
          "[{\"result\":5},{\"result\":14}]" },
        { "POST", MAP "?chunksize=0", HTTP_JSON, "[{\"n\":3}]", 422, "invalid_args", "chunksize" },
        { "POST", MAP "?n=3", HTTP_JSON, "[{\"n\":3}]", 422, "invalid_args", NULL },
        { "POST", MAP, HTTP_JSON, "{\"n\":3}", 400, "invalid_json", NULL },
        { "POST", MAP, HTTP_JSON, "[{\"n\":3},]", 400, "invalid_json", NULL },
        { "POST", MAP, HTTP_JSON, "[{\"n\":3,\"n\":4}]", 400, "invalid_json", NULL },
        { "POST", MAP, HTTP_JSON, "", 400, "invalid_json", NULL },
        { "POST", MAP, "Content-Type: text/plain\r\n", "[]", 415, "unsupported_media_type", NULL },
    };
    steps_run(&server, steps, ARRAY_LEN(steps));
}

static void item_error__among_good_ones__typed_in_its_place(void **state)
{
    (void)state;
    struct http_reply reply = step_once(&server, "POST", MAP, HTTP_JSON, "[{\"n\":3},{\"m\":1},{\"n\":4}]", 200);
    cJSON *answer = cJSON_Parse(reply.body);
    assert_true(json_number(answer, "results.0.result") == 5);
    assert_string_equal(json_text_at(answer, "results.1.error.code"), "invalid_args");
    assert_true(json_number(answer, "results.2.result") == 14);
    cJSON_Delete(answer);
    http_reply_done(&reply);
}

/* Sends ITEMS_MAX items, item i with n = i % 1000, and checks every result at its place. */
static void expect_ordered_map(const char *target)
{
    struct buf body = BUF_INIT(1 << 20);
    for (unsigned i = 0; i < ITEMS_MAX; i++)
        buf_printf(&body, "%s{\"n\":%u}", i == 0 ? "[" : ",", i % 1000);
    buf_append(&body, "]", 2); /* with its NUL */
    struct http_reply reply = step_once(&server, "POST", target, HTTP_JSON, body.data, 200);
    const char *at = strstr(reply.body, "[");
    unsigned long long expected = 0;
    for (unsigned i = 0; i < ITEMS_MAX; i++) {
        char text[64];
        unsigned n = i % 1000;
        expected = n == 0 ? 0 : expected + (n - 1ULL) * (n - 1ULL);
        int len = snprintf(text, sizeof text, "%c{\"result\":%llu}", i == 0 ? '[' : ',', expected);
        if (strncmp(at, text, (size_t)len) != 0)
            fail_msg("item %u: expected %s, got %.60s", i, text, at);
        at += len;
    }
    assert_non_null(strstr(at, "\"ok\":20000,\"failed\":0"));
    http_reply_done(&reply);
    buf_done(&body);
}

static void big_map__any_chunksize__input_order(void **state)
{
    (void)state;
    expect_ordered_map(MAP);
    expect_ordered_map(MAP "?chunksize=20000"); /* requests and results beyond a mailbox slot */
    expect_ordered_map(MAP "?chunksize=7");
}

static void too_many_items__422__limit_named(void **state)
{
    (void)state;
    struct buf body = BUF_INIT(1 << 20);
    for (unsigned i = 0; i <= ITEMS_MAX; i++)
        buf_str(&body, i == 0 ? "[{\"n\":1}" : ",{\"n\":1}");
    buf_append(&body, "]", 2);
    struct http_reply reply = step_once(&server, "POST", MAP, HTTP_JSON, body.data, 422);
    assert_non_null(strstr(reply.body, "map-max-items"));
    http_reply_done(&reply);
    buf_done(&body);
}

static void deadline__in_mid_map__finished_items_kept(void **state)
{
    (void)state;
    struct http_reply reply =
        step_once(&server, "POST", MAP "?chunksize=1&timeout_ms=300", HTTP_JSON,
                  "[{\"n\":3},{\"n\":10000000000},{\"n\":10000000000},{\"n\":10000000000},{\"n\":4}]", 200);
    assert_true(reply.elapsed_ms < 300 + scaled_ms(200));
    cJSON *answer = cJSON_Parse(reply.body);
    assert_int_equal(cJSON_GetArraySize(json_at(answer, "results")), 5);
    assert_true(json_number(answer, "results.0.result") == 5);
    assert_string_equal(json_text_at(answer, "results.1.error.code"), "deadline_exceeded");
    assert_string_equal(json_text_at(answer, "results.3.error.code"), "deadline_exceeded");
    assert_true(json_number(answer, "ok") + json_number(answer, "failed") == 5);
    cJSON_Delete(answer);
    http_reply_done(&reply);
    assert_true(server_wait_workers(&server, 2, scaled_ms(2000)));
}

static void disconnect__in_mid_map__workers_free_again(void **state)
{
    (void)state;
    struct http_conn conn;
    static const char body[] = "[{\"n\":10000000000},{\"n\":10000000000},{\"n\":10000000000},{\"n\":10000000000}]";
    assert_true(http_connect(&conn, server.port));
    assert_true(http_send(&conn, "POST", MAP "?chunksize=1", HTTP_JSON, body, sizeof body - 1));
    http_close(&conn);
    struct http_reply reply = step_once(&server, "GET", "/compute/sum_squares?n=10&timeout_ms=2000", NULL, NULL, 200);
    assert_true(reply.elapsed_ms < scaled_ms(1000));
    http_reply_done(&reply);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_maps__good_and_bad__typed_answers),
        cmocka_unit_test(item_error__among_good_ones__typed_in_its_place),
        cmocka_unit_test(big_map__any_chunksize__input_order),
        cmocka_unit_test(too_many_items__422__limit_named),
        cmocka_unit_test(deadline__in_mid_map__finished_items_kept),
        cmocka_unit_test(disconnect__in_mid_map__workers_free_again),
    };
    return cmocka_run_group_tests_name("map", tests, start, stop);
}
