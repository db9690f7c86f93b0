/* test_hostile_http: what the real server answers to hostile_http.inc, and in which state it leaves the connection; and
 * what a list of bytes cannot say: a client that drips, one that stops in the middle, one that never reads while it
 * sends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "tests/support/server.h"
#include "tests/support/timing.h"

enum afterwards { STAYS, CLOSES };

struct hostile_case {
    const char *name;
    const char *target, *content_type; /* not NULL: the bytes below are the body of a POST */
    const char *before;
    size_t before_length;
    const char *filler;
    size_t count;
    const char *closer; /* NULL: none */
    const char *after;
    const char *answers;
    enum afterwards afterwards;
};

#define RAW(name_, bytes_, answers_, afterwards_)                                                            \
    {                                                                                                        \
        .name = (name_), .before = (bytes_), .before_length = sizeof(bytes_) - 1, .filler = "", .after = "", \
        .answers = (answers_), .afterwards = (afterwards_)                                                   \
    }
#define GOOD(name, bytes, answers)          RAW(name, bytes, answers, STAYS)
#define BAD(name, bytes, answers)           RAW(name, bytes, answers, CLOSES)
#define LATE(name, bytes, answers)          RAW(name, bytes, answers, CLOSES)
#define LINE(name, line, answers)           BAD(name, line "\r\n" H "\r\n", answers)
#define FIELDS(name, fields, answers)       BAD(name, "GET /healthz HTTP/1.1\r\n" H fields "\r\n", answers)
#define FINE(name, fields)                  GOOD(name, "GET /healthz HTTP/1.1\r\n" H fields "\r\n", "200")
#define UPLOAD(name, fields, body, answers) BAD(name, JOB fields "\r\n" body, answers)
#define REPEATED(name_, before_, filler_, count_, after_, answers_, afterwards_)                         \
    {                                                                                                    \
        .name = (name_), .before = (before_), .before_length = sizeof(before_) - 1, .filler = (filler_), \
        .count = (count_), .after = (after_), .answers = (answers_), .afterwards = (afterwards_)         \
    }
#define REPEAT(name, before, filler, count, after, answers) \
    REPEATED(name, before, filler, count, after, answers, CLOSES)
#define REPEAT_GOOD(name, before, filler, count, after, answers) \
    REPEATED(name, before, filler, count, after, answers, STAYS)
#define TYPED(name_, target_, type_, body_, answers_)                                                             \
    {                                                                                                             \
        .name = (name_), .target = (target_), .content_type = (type_), .before = (body_),                         \
        .before_length = sizeof(body_) - 1, .filler = "", .after = "", .answers = (answers_), .afterwards = STAYS \
    }
#define SUM(name, body, answers)    TYPED(name, "/compute/sum_squares", "application/json", body, answers)
#define PRIMES(name, body, answers) TYPED(name, "/compute/primes", "application/json", body, answers)
#define DIGEST(name, body, answers) TYPED(name, "/compute/digest", "application/json", body, answers)
#define MAP(name, body, answers)    TYPED(name, "/compute/sum_squares/map", "application/json", body, answers)
#define FETCH(name, body, answers)  TYPED(name, "/fetch", "application/json", body, answers)
#define NESTED(name_, before_, filler_, count_, closer_, after_, answers_)                                          \
    {                                                                                                               \
        .name = (name_), .target = "/compute/sum_squares", .content_type = "application/json", .before = (before_), \
        .before_length = sizeof(before_) - 1, .filler = (filler_), .count = (count_), .closer = (closer_),          \
        .after = (after_), .answers = (answers_), .afterwards = STAYS                                               \
    }

#define TEN(text)     text text text text text text text text text text
#define SIXTEEN(text) text text text text text text text text text text text text text text text text
#define KIB           SIXTEEN(SIXTEEN("abcd"))
#define HUNDRED_200   TEN(TEN("200 "))

#include "tests/integration/hostile_http.inc"

enum { REQUEST_BYTES_MAX = 32 << 20, ANSWER_MS = 10000, CLOSE_MS = 5000, DEADLINE_MS = 400 };

static struct server server;

/* ---- one case */

static void build(const struct hostile_case *row, struct buf *out)
{
    struct buf bytes = BUF_INIT(REQUEST_BYTES_MAX);
    buf_append(&bytes, row->before, row->before_length);
    for (size_t i = 0; i < row->count; i++)
        buf_str(&bytes, row->filler);
    for (size_t i = 0; row->closer && i < row->count; i++)
        buf_str(&bytes, row->closer);
    buf_str(&bytes, row->after);
    if (row->target)
        buf_printf(out, "POST %s HTTP/1.1\r\nHost: h\r\nContent-Type: %s\r\nContent-Length: %zu\r\n\r\n", row->target,
                   row->content_type, bytes.len);
    if (bytes.len > 0)
        buf_append(out, bytes.data, bytes.len);
    assert_false(bytes.failed || out->failed);
    buf_done(&bytes);
}

/* True if `word` ("400|431", "HEAD200") allows the status. */
static bool allows(const char *word, size_t length, unsigned status)
{
    char wanted[8];
    snprintf(wanted, sizeof(wanted), "%u", status);
    const char *found = memmem(word, length, wanted, strlen(wanted));
    return found != NULL;
}

/* What is wrong with an error's form, or NULL. */
static const char *check_form(const struct http_reply *reply, bool is_head)
{
    const char *type = http_header(reply, "Content-Type");
    if (reply->status < 400)
        return NULL;
    if (!type || strcmp(type, "application/problem+json") != 0)
        return "an error that is not application/problem+json";
    if (!http_header(reply, "X-Request-Id"))
        return "an error without X-Request-Id";
    if (!is_head && !strstr(reply->body, "\"code\":"))
        return "a problem without a code";
    return NULL;
}

static const char *read_answers(struct http_conn *conn, const char *answers, struct http_reply *reply)
{
    for (const char *word = answers; *word;) {
        const size_t length = strcspn(word, " ");
        const bool is_head = strncmp(word, "HEAD", 4) == 0;
        http_reply_done(reply);
        if (http_receive(conn, is_head, scaled_ms(ANSWER_MS), reply) != HTTP_ANSWERED)
            return "no answer";
        if (!allows(word, length, reply->status))
            return "another status";
        const char *complaint = check_form(reply, is_head);
        if (complaint)
            return complaint;
        word += length;
        word += strspn(word, " ");
    }
    return NULL;
}

static const char *check_afterwards(struct http_conn *conn, enum afterwards afterwards, struct http_reply *reply)
{
    if (afterwards == STAYS) {
        http_reply_done(reply);
        http_exchange(conn, "GET", "/healthz", NULL, NULL, 0, reply);
        if (reply->outcome != HTTP_ANSWERED || reply->status != 200 || !strstr(reply->body, "ok"))
            return "the connection is not usable afterwards";
        return conn->unread.len > 0 ? "bytes that nobody asked for" : NULL;
    }
    struct http_reply more;
    const enum http_outcome outcome = http_receive(conn, false, scaled_ms(CLOSE_MS), &more);
    http_reply_done(&more);
    if (outcome == HTTP_ANSWERED)
        return "one answer too many";
    if (outcome == HTTP_TIMED_OUT)
        return "the connection stays open";
    return conn->unread.len > 0 ? "bytes that nobody asked for" : NULL;
}

/* True if all is as the row says. */
static bool run_case(const struct server *with, const struct hostile_case *row)
{
    struct buf request = BUF_INIT(REQUEST_BYTES_MAX);
    struct http_conn conn;
    struct http_reply reply = { .outcome = HTTP_CLOSED };
    build(row, &request);
    assert_true(http_connect(&conn, with->port));
    /* a refusal may come, and the connection end, before all is sent: the answer tells */
    if (request.len > 0)
        (void)!http_send_raw(&conn, request.data, request.len);
    buf_done(&request);
    const char *complaint = read_answers(&conn, row->answers, &reply);
    if (!complaint)
        complaint = check_afterwards(&conn, row->afterwards, &reply);
    if (complaint)
        print_error("%s: %s (expected %.20s; %s, status %u) %.300s\n", row->name, complaint, row->answers,
                    http_outcome_name(reply.outcome), reply.status, reply.body ? reply.body : "");
    http_reply_done(&reply);
    http_close(&conn);
    return complaint == NULL;
}

static void run_cases(const struct server *with, const struct hostile_case *rows, size_t count)
{
    size_t failed = 0;
    for (size_t i = 0; i < count; i++)
        failed += !run_case(with, &rows[i]);
    if (failed > 0)
        fail_msg("%zu of %zu cases failed", failed, count);
}

/* ---- the tests */

static void framing__as_listed__answered_and_in_step(void **state)
{
    (void)state;
    run_cases(&server, framing_cases, ARRAY_LEN(framing_cases));
}

static void routes__as_listed__answered_and_in_step(void **state)
{
    (void)state;
    run_cases(&server, route_cases, ARRAY_LEN(route_cases));
}

static void json__as_listed__answered_and_in_step(void **state)
{
    (void)state;
    run_cases(&server, json_cases, ARRAY_LEN(json_cases));
}

static bool start_with_short_deadlines(struct server *ret_server)
{
    static const char *const flags[] = {
        "--header-timeout-ms", "400", "--body-timeout-ms", "400", "--idle-timeout-ms", "400", "--workers", "1", NULL
    };
    return server_start(ret_server, flags, NULL);
}

static void beginnings__no_end__answered_at_the_deadline(void **state)
{
    (void)state;
    struct server late;
    assert_true(start_with_short_deadlines(&late));
    size_t failed = 0;
    for (size_t i = 0; i < ARRAY_LEN(late_cases); i++)
        failed += !run_case(&late, &late_cases[i]);
    server_stop(&late);
    if (failed > 0)
        fail_msg("%zu of %zu cases failed", failed, ARRAY_LEN(late_cases));
}

/* Sends `head`, then one byte of 'x' every 50 ms; the answer's status, 0 if none came within 20 deadlines. */
static unsigned drip(const struct server *with, const char *head)
{
    struct http_conn conn;
    struct http_reply reply = { .outcome = HTTP_TIMED_OUT };
    assert_true(http_connect(&conn, with->port));
    bool is_open = http_send_raw(&conn, head, strlen(head));
    const uint64_t end_ns = clock_now_ns() + scaled_ms(20 * DEADLINE_MS) * NS_PER_MS;
    while (is_open && reply.outcome == HTTP_TIMED_OUT && clock_now_ns() < end_ns) {
        http_reply_done(&reply);
        http_receive(&conn, false, 50, &reply);
        is_open = http_send_raw(&conn, "x", 1);
    }
    const unsigned status = reply.outcome == HTTP_ANSWERED ? reply.status : 0;
    http_reply_done(&reply);
    http_close(&conn);
    return status;
}

static void drip__activity_without_end__deadline_is_absolute(void **state)
{
    (void)state;
    struct server late;
    assert_true(start_with_short_deadlines(&late));
    const unsigned line = drip(&late, "GET /");
    const unsigned header = drip(&late, "GET /healthz HTTP/1.1\r\n" H "A: ");
    const unsigned body = drip(&late, JOB "Content-Length: 8000\r\n\r\n");
    server_stop(&late);
    assert_int_equal(line, 408);
    assert_int_equal(header, 408);
    assert_int_equal(body, 408);
}

static void half_close__in_the_middle__closed_at_once(void **state)
{
    (void)state;
    static const char *const beginnings[] = { "GET /hea", "GET /healthz HTTP/1.1\r\n" H,
                                              JOB "Content-Length: 8\r\n\r\n{", CHUNKED "8\r\n{" };
    for (size_t i = 0; i < ARRAY_LEN(beginnings); i++) {
        struct http_conn conn;
        assert_true(http_connect(&conn, server.port));
        assert_true(http_send_raw(&conn, beginnings[i], strlen(beginnings[i])));
        assert_int_equal(shutdown(conn.fd, SHUT_WR), 0);
        if (!http_wait_closed(&conn, scaled_ms(CLOSE_MS)))
            fail_msg("still open after half a close: %s", beginnings[i]);
        http_close(&conn);
    }
}

static void half_close__after_a_request__answered(void **state)
{
    (void)state;
    struct http_conn conn;
    struct http_reply reply;
    assert_true(http_connect(&conn, server.port));
    assert_true(http_send_raw(&conn, HEALTH HEALTH, 2 * strlen(HEALTH)));
    assert_int_equal(shutdown(conn.fd, SHUT_WR), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(http_receive(&conn, false, scaled_ms(ANSWER_MS), &reply), HTTP_ANSWERED);
        assert_int_equal(reply.status, 200);
        http_reply_done(&reply);
    }
    assert_true(http_wait_closed(&conn, scaled_ms(CLOSE_MS)));
    http_close(&conn);
}

#define SLOW_JOB(timeout_ms)                                                  \
    "POST /compute/sum_squares?timeout_ms=" timeout_ms " HTTP/1.1\r\n" H JSON \
    "Content-Length: 17\r\n\r\n{\"n\":10000000000}"

static void expect_status(struct http_conn *conn, unsigned status)
{
    struct http_reply reply;
    assert_int_equal(http_receive(conn, false, scaled_ms(ANSWER_MS), &reply), HTTP_ANSWERED);
    assert_int_equal(reply.status, status);
    http_reply_done(&reply);
}

/* libmicrohttpd treats a resumed connection differently when it has others: hence the idle one in the next two. */
static void half_close__while_a_job_runs__answered(void **state)
{
    (void)state;
    struct http_conn idle, conn;
    struct http_reply reply;
    assert_true(http_connect(&idle, server.port));
    for (int i = 0; i < 10; i++) {
        assert_true(http_connect(&conn, server.port));
        assert_true(http_send_raw(&conn, GOOD_JOB, strlen(GOOD_JOB)));
        assert_int_equal(shutdown(conn.fd, SHUT_WR), 0);
        assert_int_equal(http_receive(&conn, false, scaled_ms(ANSWER_MS), &reply), HTTP_ANSWERED);
        assert_true(reply.status == 200 || reply.status == 499); /* or cancelled, on a very slow machine */
        http_reply_done(&reply);
        http_close(&conn);
    }
    http_close(&idle);
}

static void bad_next_request__while_a_job_runs__takes_no_answer_from_it(void **state)
{
    (void)state;
    static const char bad[] = "GET /healthz\r\n\r\n";
    struct http_conn idle, conn;
    assert_true(http_connect(&idle, server.port));
    assert_true(http_connect(&conn, server.port));
    assert_true(http_send_raw(&conn, SLOW_JOB("300"), strlen(SLOW_JOB("300"))));
    assert_true(http_send_raw(&idle, HEALTH, strlen(HEALTH)));
    expect_status(&idle, 200); /* so the job was read, without what follows */
    assert_true(http_send_raw(&conn, bad, strlen(bad)));
    expect_status(&conn, 504);
    expect_status(&conn, 400);
    assert_true(http_wait_closed(&conn, scaled_ms(CLOSE_MS)));
    http_close(&conn);
    http_close(&idle);
}

static void body_of_next_request__while_a_job_runs__time_starts_after_it(void **state)
{
    (void)state;
    static const char first[] = SLOW_JOB("900") JOB "Content-Length: 8\r\n\r\n{";
    struct server late;
    struct http_conn conn;
    struct http_reply reply;
    assert_true(start_with_short_deadlines(&late));
    assert_true(http_connect(&conn, late.port));
    assert_true(http_send_raw(&conn, first, strlen(first)));
    expect_status(&conn, 504);
    http_receive(&conn, false, 150, &reply); /* the deadlines were looked at meanwhile */
    assert_int_equal(reply.outcome, HTTP_TIMED_OUT);
    http_reply_done(&reply);
    assert_true(http_send_raw(&conn, &N10[1], 7));
    expect_status(&conn, 200);
    http_close(&conn);
    server_stop(&late);
}

static void head__byte_by_byte__answered(void **state)
{
    (void)state;
    static const char requests[] = GOOD_JOB GOOD_CHUNKED HEALTH;
    struct http_conn conn;
    struct http_reply reply;
    assert_true(http_connect(&conn, server.port));
    for (size_t i = 0; i < sizeof(requests) - 1; i++)
        assert_true(http_send_raw(&conn, &requests[i], 1));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(http_receive(&conn, false, scaled_ms(ANSWER_MS), &reply), HTTP_ANSWERED);
        assert_int_equal(reply.status, 200);
        http_reply_done(&reply);
    }
    http_close(&conn);
}

static void expectation__good_and_refused__client_need_not_send_the_body(void **state)
{
    (void)state;
    static const char good[] = JOB "Expect: 100-continue\r\nContent-Length: 8\r\n\r\n";
    static const char too_large[] = JOB "Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n";
    struct http_conn conn;
    struct http_reply reply;
    char interim[64] = "";
    assert_true(http_connect(&conn, server.port));
    assert_true(http_send_raw(&conn, good, sizeof(good) - 1));
    assert_true(recv(conn.fd, interim, sizeof(interim) - 1, 0) > 0);
    assert_non_null(strstr(interim, "HTTP/1.1 100"));
    assert_true(http_send_raw(&conn, N10, 8));
    assert_int_equal(http_receive(&conn, false, scaled_ms(ANSWER_MS), &reply), HTTP_ANSWERED);
    assert_int_equal(reply.status, 200);
    http_reply_done(&reply);
    assert_true(http_send_raw(&conn, too_large, sizeof(too_large) - 1));
    assert_int_equal(http_receive(&conn, false, scaled_ms(ANSWER_MS), &reply), HTTP_ANSWERED);
    assert_int_equal(reply.status, 413);
    http_reply_done(&reply);
    http_close(&conn);
}

static void refusal__client_still_sends_8_mb__readable(void **state)
{
    (void)state;
    char *const body = calloc(1, 8 << 20);
    assert_non_null(body);
    for (int i = 0; i < 10; i++) {
        static const char head[] = JOB "Content-Length: 99999999\r\n\r\n";
        struct http_conn conn;
        struct http_reply reply;
        assert_true(http_connect(&conn, server.port));
        assert_true(http_send_raw(&conn, head, sizeof(head) - 1));
        (void)!http_send_raw(&conn, body, 8 << 20);
        assert_int_equal(http_receive(&conn, false, scaled_ms(ANSWER_MS), &reply), HTTP_ANSWERED);
        assert_int_equal(reply.status, 413);
        http_reply_done(&reply);
        http_close(&conn);
    }
    free(body);
}

static int start(void **state)
{
    (void)state;
    return server_start(&server, NULL, NULL) ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    return server_stop(&server) == 0 ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(framing__as_listed__answered_and_in_step),
        cmocka_unit_test(routes__as_listed__answered_and_in_step),
        cmocka_unit_test(json__as_listed__answered_and_in_step),
        cmocka_unit_test(beginnings__no_end__answered_at_the_deadline),
        cmocka_unit_test(drip__activity_without_end__deadline_is_absolute),
        cmocka_unit_test(half_close__in_the_middle__closed_at_once),
        cmocka_unit_test(half_close__after_a_request__answered),
        cmocka_unit_test(half_close__while_a_job_runs__answered),
        cmocka_unit_test(bad_next_request__while_a_job_runs__takes_no_answer_from_it),
        cmocka_unit_test(body_of_next_request__while_a_job_runs__time_starts_after_it),
        cmocka_unit_test(head__byte_by_byte__answered),
        cmocka_unit_test(expectation__good_and_refused__client_need_not_send_the_body),
        cmocka_unit_test(refusal__client_still_sends_8_mb__readable),
    };
    return cmocka_run_group_tests_name("hostile_http", tests, start, stop);
}
