/* The tests' own tools against each other: what the HTTP client, the load generator and the origin report must be true,
 * or every other test here proves little. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/http.h"
#include "tests/support/http_head.h"
#include "tests/support/load.h"
#include "tests/support/origin.h"
#include "tests/support/timing.h"

static struct origin *origin;

static int start(void **state)
{
    (void)state;
    origin = origin_start("127.0.0.1", 0);
    return origin ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    origin_stop(origin);
    return 0;
}

static void http_head__good_bad_and_cut__judged(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        enum http_head_verdict verdict;
    } cases[] = {
        { "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", HTTP_HEAD_COMPLETE },
        { "HTTP/1.1 204 \r\n\r\n", HTTP_HEAD_COMPLETE },
        { "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", HTTP_HEAD_INCOMPLETE },
        { "HTT", HTTP_HEAD_INCOMPLETE },
        { "hello", HTTP_HEAD_MALFORMED },
        { "HTTP/2.0 200 OK\r\n\r\n", HTTP_HEAD_MALFORMED },
        { "HTTP/1.1 2x0 OK\r\n\r\n", HTTP_HEAD_MALFORMED },
        { "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", HTTP_HEAD_MALFORMED },
        { "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", HTTP_HEAD_MALFORMED },
        { "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", HTTP_HEAD_MALFORMED },
        { "HTTP/1.1 200 OK\r\n: empty name\r\n\r\n", HTTP_HEAD_MALFORMED },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct http_head head;
        if (http_head_parse(cases[i].bytes, strlen(cases[i].bytes), &head) != cases[i].verdict)
            fail_msg("case %zu: %s", i, cases[i].bytes);
    }
}

static void http__each_way_an_answer_can_end__told_apart(void **state)
{
    (void)state;
    static const struct {
        const char *target;
        enum http_outcome outcome;
    } cases[] = {
        { "/small", HTTP_ANSWERED },     { "/cut", HTTP_CLOSED },      { "/rst", HTTP_RESET },
        { "/bad-http", HTTP_MALFORMED }, { "/stall", HTTP_TIMED_OUT }, { "/stall-body", HTTP_TIMED_OUT },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct http_conn conn;
        struct http_reply reply;
        assert_true(http_connect(&conn, origin_port(origin)));
        assert_true(http_send(&conn, "GET", cases[i].target, NULL, NULL, 0));
        http_receive(&conn, false, scaled_ms(200), &reply);
        if (reply.outcome != cases[i].outcome)
            fail_msg("%s: %s", cases[i].target, http_outcome_name(reply.outcome));
        http_reply_done(&reply);
        http_close(&conn);
    }
}

static void run_load(const char *target, struct load_result *result)
{
    char request[128];
    snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", target);
    const char *const requests[] = { request };
    const struct load_config load = { .port = origin_port(origin),
                                      .connections = 8,
                                      .requests = requests,
                                      .request_count = 1,
                                      .duration_ms = 5000,
                                      .sent_max = 24,
                                      .answer_timeout_ms = 100 };
    assert_true(load_run(&load, result));
    assert_int_equal(result->sent, 24);
    assert_int_equal(result->answered + result->lost + result->timed_out + result->malformed, 24);
}

static void load__honest_and_lying_origins__every_request_has_its_outcome(void **state)
{
    (void)state;
    struct load_result result;
    uint64_t before = origin_get_counts(origin).requests;
    run_load("/small", &result);
    assert_int_equal(result.by_status[200], 24);
    assert_int_equal(origin_get_counts(origin).requests - before, 24);
    run_load("/status/503", &result);
    assert_int_equal(result.by_status[503], 24);
    run_load("/no-keepalive", &result);
    assert_int_equal(result.answered, 24);
    run_load("/cut", &result);
    assert_int_equal(result.lost, 24);
    run_load("/rst", &result);
    assert_int_equal(result.lost, 24);
    run_load("/bad-http", &result);
    assert_int_equal(result.malformed, 24);
    run_load("/lie-short", &result); /* a second answer to one request */
    assert_int_equal(result.malformed, 24);
    run_load("/stall", &result);
    assert_int_equal(result.timed_out, 24);
}

static bool one_is_in_flight(void *context)
{
    (void)context;
    return origin_get_counts(origin).in_flight == 1;
}

static bool none_is_in_flight(void *context)
{
    (void)context;
    return origin_get_counts(origin).in_flight == 0;
}

static void origin_counts__client_that_gives_up__seen(void **state)
{
    (void)state;
    struct http_conn conn;
    assert_true(wait_until(none_is_in_flight, NULL, scaled_ms(1000)));
    assert_true(http_connect(&conn, origin_port(origin)));
    assert_true(http_send(&conn, "GET", "/gate", NULL, NULL, 0));
    assert_true(wait_until(one_is_in_flight, NULL, scaled_ms(1000)));
    http_close(&conn);
    assert_true(wait_until(none_is_in_flight, NULL, scaled_ms(1000)));
}

static void origin_gate__opened__all_go(void **state)
{
    (void)state;
    struct http_conn conn;
    struct http_reply reply;
    assert_true(http_connect(&conn, origin_port(origin)));
    assert_true(http_send(&conn, "GET", "/gate", NULL, NULL, 0));
    assert_int_equal(http_receive(&conn, false, 20, &reply), HTTP_TIMED_OUT);
    http_reply_done(&reply);
    origin_open_gate(origin);
    assert_int_equal(http_receive(&conn, false, scaled_ms(1000), &reply), HTTP_ANSWERED);
    http_reply_done(&reply);
    assert_int_equal(http_exchange(&conn, "GET", "/gate", NULL, NULL, 0, &reply), HTTP_ANSWERED);
    http_reply_done(&reply);
    http_close(&conn);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(http_head__good_bad_and_cut__judged),
        cmocka_unit_test(http__each_way_an_answer_can_end__told_apart),
        cmocka_unit_test(load__honest_and_lying_origins__every_request_has_its_outcome),
        cmocka_unit_test(origin_counts__client_that_gives_up__seen),
        cmocka_unit_test(origin_gate__opened__all_go),
    };
    return cmocka_run_group_tests_name("support", tests, start, stop);
}
