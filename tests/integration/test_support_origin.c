/* The test origin's behaviours that have a state or a sense of time: counted failures, gates, pauses, connections that
 * close when they should not, and very many connections at once. Its bytes: test_support_origin_bytes.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/support/http.h"
#include "tests/support/origin.h"
#include "tests/support/timing.h"

enum { CONNECTIONS = 6000, DESCRIPTORS_SPARE = 200, FEW_DESCRIPTORS = 64 };

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

static void connect_to_origin(struct http_conn *conn) { assert_true(http_connect(conn, origin_port(origin))); }

/* One request on a connection of its own: its status, or 0 if it was not answered. The body, cut, in ret_body. */
static unsigned fetch(const char *target, enum http_outcome *ret_outcome, char ret_body[64])
{
    struct http_reply reply;
    *ret_outcome = http_once(origin_port(origin), "GET", target, NULL, NULL, &reply);
    unsigned status = *ret_outcome == HTTP_ANSWERED ? reply.status : 0;
    snprintf(ret_body, 64, "%s", status ? reply.body : "");
    http_reply_done(&reply);
    return status;
}

/* A table of requests, one after the other. */
struct step {
    const char *target;
    enum http_outcome outcome;
    unsigned status;
    const char *body;
};

static void take_steps(const struct step *steps, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        enum http_outcome outcome;
        char body[64];
        unsigned status = fetch(steps[i].target, &outcome, body);
        if (outcome != steps[i].outcome || status != steps[i].status || strcmp(body, steps[i].body) != 0)
            fail_msg("step %zu, %s: %s, %u, %s", i, steps[i].target, http_outcome_name(outcome), status, body);
    }
}

static void flaky__first_n_of_each_key__fail(void **state)
{
    (void)state;
    static const struct step steps[] = {
        { "/flaky/2?key=a", HTTP_ANSWERED, 503, "not now\n" },
        { "/flaky/2?key=a", HTTP_ANSWERED, 503, "not now\n" },
        { "/flaky/1?status=429&key=b", HTTP_ANSWERED, 429, "not now\n" },
        { "/flaky/2?key=a", HTTP_ANSWERED, 200, "3\n" },
        { "/flaky/1?status=429&key=b", HTTP_ANSWERED, 200, "2\n" },
        { "/flaky/1?key=%61", HTTP_ANSWERED, 200, "4\n" },
        { "/flaky/1", HTTP_ANSWERED, 503, "not now\n" },
        { "/flaky/1", HTTP_ANSWERED, 503, "not now\n" },
        { "/flaky/0", HTTP_ANSWERED, 200, "1\n" },
    };
    take_steps(steps, ARRAY_LEN(steps));
    assert_int_equal(origin_requests_with_key(origin, "a"), 4);
    assert_int_equal(origin_requests_with_key(origin, "b"), 2);
    assert_int_equal(origin_requests_with_key(origin, "c"), 0);
}

static void flaky__retry_after__sent_with_the_failure_only(void **state)
{
    (void)state;
    struct http_reply reply;
    http_once(origin_port(origin), "GET", "/flaky/1?key=a&retry_after=Fri,%2031%20Dec%201999%2023:59:59%20GMT", NULL,
              NULL, &reply);
    assert_int_equal(reply.status, 503);
    assert_string_equal(http_header(&reply, "Retry-After"), "Fri, 31 Dec 1999 23:59:59 GMT");
    http_reply_done(&reply);
    http_once(origin_port(origin), "GET", "/flaky/1?key=a&retry_after=1", NULL, NULL, &reply);
    assert_int_equal(reply.status, 200);
    assert_null(http_header(&reply, "Retry-After"));
    http_reply_done(&reply);
}

static void flaky_close__first_n__closed_or_reset(void **state)
{
    (void)state;
    static const struct step steps[] = {
        { "/flaky-close/2?key=a", HTTP_CLOSED, 0, "" },
        { "/flaky-close/1?key=b&how=rst", HTTP_RESET, 0, "" },
        { "/flaky-close/2?key=a&how=fin", HTTP_CLOSED, 0, "" },
        { "/flaky-close/2?key=a", HTTP_ANSWERED, 200, "3\n" },
        { "/flaky-close/1?key=b&how=rst", HTTP_ANSWERED, 200, "2\n" },
    };
    take_steps(steps, ARRAY_LEN(steps));
}

static void count__any_path__by_key(void **state)
{
    (void)state;
    static const struct step steps[] = {
        { "/status/200?key=k", HTTP_ANSWERED, 200, "as you wish\n" },
        { "/no-such-path?key=k", HTTP_ANSWERED, 404, "no such behaviour\n" },
        { "/count?key=k", HTTP_ANSWERED, 200, "3\n" },
        { "/count?key=k%00", HTTP_ANSWERED, 200, "1\n" },
        { "/count?key=", HTTP_ANSWERED, 200, "1\n" },
        { "/count?key=", HTTP_ANSWERED, 200, "2\n" },
        { "/count", HTTP_ANSWERED, 200, "1\n" },
        { "/count", HTTP_ANSWERED, 200, "1\n" },
    };
    take_steps(steps, ARRAY_LEN(steps));
    assert_int_equal(origin_requests_with_key(origin, "k"), 3);
    assert_int_equal(origin_requests_with_key(origin, ""), 2);
}

static void close_after_idle__no_request__closes_then(void **state)
{
    (void)state;
    struct http_conn conn;
    struct http_reply reply;
    connect_to_origin(&conn);
    assert_int_equal(http_exchange(&conn, "GET", "/close-after-idle?ms=60000", NULL, NULL, 0, &reply), HTTP_ANSWERED);
    assert_false(reply.will_close);
    http_reply_done(&reply);
    /* The long wait is over with this request. */
    const uint64_t start_ns = clock_now_ns();
    assert_int_equal(http_exchange(&conn, "GET", "/close-after-idle?ms=50", NULL, NULL, 0, &reply), HTTP_ANSWERED);
    http_reply_done(&reply);
    assert_true(http_wait_closed(&conn, scaled_ms(5000)));
    assert_true(elapsed_ms(start_ns) >= 50);
    http_close(&conn);
}

static void keepalive_then_close__next_request__read_and_not_answered(void **state)
{
    (void)state;
    static const struct {
        const char *target;
        enum http_outcome outcome;
    } cases[] = { { "/keepalive-then-close", HTTP_CLOSED }, { "/keepalive-then-close?how=rst", HTTP_RESET } };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct http_conn conn;
        struct http_reply reply;
        connect_to_origin(&conn);
        assert_int_equal(http_exchange(&conn, "GET", cases[i].target, NULL, NULL, 0, &reply), HTTP_ANSWERED);
        assert_false(reply.will_close);
        http_reply_done(&reply);
        assert_int_equal(http_exchange(&conn, "POST", "/echo?key=k", NULL, "body", 4, &reply), cases[i].outcome);
        http_reply_done(&reply);
        http_close(&conn);
        assert_int_equal(origin_requests_with_key(origin, "k"), i + 1);
    }
}

static void timed_answers__as_late_as_asked(void **state)
{
    (void)state;
    static const struct {
        const char *target, *body;
        double least_ms;
    } cases[] = {
        { "/delay/60", "late\n", 60 },
        { "/late-body?ms=60", "late\n", 60 },
        { "/slow-headers?ms=1", "slow\n", 60 }, /* of 65 bytes or so, the first at once */
        { "/vary-latency?ms=60&key=v", "first\n", 60 },
        { "/vary-latency?ms=600000&key=v", "later\n", 0 },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct http_reply reply;
        http_once(origin_port(origin), "GET", cases[i].target, NULL, NULL, &reply);
        if (reply.outcome != HTTP_ANSWERED || strcmp(reply.body, cases[i].body) != 0 ||
            reply.elapsed_ms < cases[i].least_ms)
            fail_msg("%s: %s after %.3f ms", cases[i].target, http_outcome_name(reply.outcome), reply.elapsed_ms);
        http_reply_done(&reply);
    }
}

static void drip__chunks__come_one_by_one(void **state)
{
    (void)state;
    struct http_conn conn;
    connect_to_origin(&conn);
    const uint64_t start_ns = clock_now_ns();
    assert_true(http_send(&conn, "GET", "/drip?bytes=3&ms=20", NULL, NULL, 0));
    static const char all[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
                              "3\r\n000\r\n3\r\n000\r\n3\r\n000\r\n";
    assert_int_equal(http_await_bytes(&conn, sizeof all - 1, scaled_ms(5000)), HTTP_ANSWERED);
    assert_true(elapsed_ms(start_ns) >= 60);
    assert_memory_equal(conn.unread.data, all, sizeof all - 1);
    http_close(&conn);
}

/* The head comes, and then nothing for a while. */
static void assert_head_alone(struct http_conn *conn, const char *head)
{
    const size_t len = strlen(head);
    assert_int_equal(http_await_bytes(conn, len, scaled_ms(5000)), HTTP_ANSWERED);
    assert_int_equal(http_await_bytes(conn, len + 1, 50), HTTP_TIMED_OUT);
    assert_memory_equal(conn->unread.data, head, len);
    assert_int_equal(origin_get_counts(origin).in_flight, 1);
}

static void silent_after_headers__head_and_no_more(void **state)
{
    (void)state;
    struct http_conn conn;
    connect_to_origin(&conn);
    assert_true(http_send(&conn, "GET", "/silent-after-headers", NULL, NULL, 0));
    assert_head_alone(&conn, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\n");
    http_close(&conn);
}

static void gate_body__closed_gate__holds_the_body_alone(void **state)
{
    (void)state;
    struct http_conn conn;
    struct http_reply reply;
    connect_to_origin(&conn);
    assert_int_equal(http_exchange(&conn, "HEAD", "/gate-body", NULL, NULL, 0, &reply), HTTP_ANSWERED);
    http_reply_done(&reply);
    assert_true(http_send(&conn, "GET", "/gate-body", NULL, NULL, 0));
    assert_head_alone(&conn, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 8\r\n\r\n");
    origin_open_gate(origin);
    http_receive(&conn, false, scaled_ms(5000), &reply);
    assert_string_equal(reply.body, "at last\n");
    http_reply_done(&reply);
    assert_int_equal(http_exchange(&conn, "GET", "/gate-body", NULL, NULL, 0, &reply), HTTP_ANSWERED);
    http_reply_done(&reply);
    http_close(&conn);
}

/* Sends the head and a part of the body; the rest never comes. */
static void begin_upload(struct http_conn *conn, const char *target)
{
    char head[128];
    connect_to_origin(conn);
    snprintf(head, sizeof head, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000\r\n\r\npart", target);
    assert_true(http_send_raw(conn, head, strlen(head)));
}

static void early_answer__fin__answers_and_reads_on(void **state)
{
    (void)state;
    struct http_conn conn;
    struct http_reply reply;
    char part[65536] = { 0 };
    begin_upload(&conn, "/early-answer");
    assert_int_equal(http_receive(&conn, false, scaled_ms(5000), &reply), HTTP_ANSWERED);
    assert_int_equal(reply.status, 413);
    assert_true(reply.will_close);
    http_reply_done(&reply);
    assert_true(http_wait_closed(&conn, scaled_ms(5000)));
    for (size_t i = 0; i < 200; i++) /* more than the sockets' buffers hold */
        assert_true(http_send_raw(&conn, part, sizeof part));
    assert_int_equal(origin_get_counts(origin).requests, 1);
    http_close(&conn);
}

static void early_answer__rst__lost_or_not_but_over(void **state)
{
    (void)state;
    struct http_conn conn;
    struct http_reply reply;
    begin_upload(&conn, "/early-answer?status=200&how=rst");
    http_receive(&conn, false, scaled_ms(5000), &reply);
    assert_true(reply.outcome == HTTP_RESET || (reply.outcome == HTTP_ANSWERED && reply.status == 200));
    assert_true(reply.outcome == HTTP_RESET || http_wait_closed(&conn, scaled_ms(5000)));
    http_reply_done(&reply);
    http_close(&conn);
}

static bool are_in_flight(void *context)
{
    const uint32_t *count = context;
    return origin_get_counts(origin).in_flight == *count;
}

/* As many as the descriptor limit allows: each connection has two ends here. */
static uint32_t connections_allowed(void)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_true(limit.rlim_cur > 4 * DESCRIPTORS_SPARE);
    const rlim_t allowed = (limit.rlim_cur - DESCRIPTORS_SPARE) / 2;
    return allowed < CONNECTIONS ? (uint32_t)allowed : CONNECTIONS;
}

static void connections__six_thousand_at_once__all_answered(void **state)
{
    (void)state;
    uint32_t count = connections_allowed(), none = 0;
    struct http_conn *conns = calloc(count, sizeof *conns);
    assert_non_null(conns);
    for (uint32_t i = 0; i < count; i++) {
        connect_to_origin(&conns[i]);
        assert_true(http_send(&conns[i], "GET", i % 2 ? "/gate" : "/gate-body", NULL, NULL, 0));
    }
    assert_true(wait_until(are_in_flight, &count, scaled_ms(10000)));
    assert_int_equal(origin_get_counts(origin).open, count);
    origin_open_gate(origin);
    for (uint32_t i = 0; i < count; i++) {
        struct http_reply reply;
        assert_int_equal(http_receive(&conns[i], false, scaled_ms(10000), &reply), HTTP_ANSWERED);
        assert_string_equal(reply.body, "at last\n");
        http_reply_done(&reply);
        http_close(&conns[i]);
    }
    assert_true(wait_until(are_in_flight, &none, scaled_ms(5000)));
    free(conns);
}

static void accept__no_descriptors_left__waits_for_some(void **state)
{
    (void)state;
    struct rlimit before, few;
    int taken[FEW_DESCRIPTORS], count = 0;
    struct http_conn conn;
    struct http_reply reply;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = before;
    few.rlim_cur = FEW_DESCRIPTORS;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    while (count < FEW_DESCRIPTORS && (taken[count] = dup(STDERR_FILENO)) >= 0)
        count++;
    assert_in_range(count, 2, FEW_DESCRIPTORS - 1);
    close(taken[--count]); /* for this end */
    connect_to_origin(&conn);
    assert_true(http_send(&conn, "GET", "/small", NULL, NULL, 0));
    assert_int_equal(http_receive(&conn, false, 50, &reply), HTTP_TIMED_OUT);
    http_reply_done(&reply);
    while (count > 0)
        close(taken[--count]);
    assert_int_equal(http_receive(&conn, false, scaled_ms(5000), &reply), HTTP_ANSWERED);
    http_reply_done(&reply);
    http_close(&conn);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(flaky__first_n_of_each_key__fail),
        TEST(flaky__retry_after__sent_with_the_failure_only),
        TEST(flaky_close__first_n__closed_or_reset),
        TEST(count__any_path__by_key),
        TEST(close_after_idle__no_request__closes_then),
        TEST(keepalive_then_close__next_request__read_and_not_answered),
        TEST(timed_answers__as_late_as_asked),
        TEST(drip__chunks__come_one_by_one),
        TEST(silent_after_headers__head_and_no_more),
        TEST(gate_body__closed_gate__holds_the_body_alone),
        TEST(early_answer__fin__answers_and_reads_on),
        TEST(early_answer__rst__lost_or_not_but_over),
        TEST(connections__six_thousand_at_once__all_answered),
        TEST(accept__no_descriptors_left__waits_for_some),
    };
    return cmocka_run_group_tests_name("support_origin", tests, NULL, NULL);
}
