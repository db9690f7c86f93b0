/* The members of POST /fetch through the program: retries, hedges, coalescing, budgets, forms of the answer, quorum,
 * trace context, loops, explanations. */
#include "tests/integration/fetch_rig.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "tests/support/listener.h"
#include "tests/support/spawn.h"

enum { TRACEPARENT_COUNT = 12, FEW_DESCRIPTORS = 256 };

static int start(void **state)
{
    (void)state;
    const char *const flags[] = { "--workers", "1", "--fetch-allow", "127.0.0.1/32", NULL };
    return rig_start(flags);
}

static void expect_text_at(const cJSON *answer, const char *path, const char *text)
{
    if (strcmp(json_text_at(answer, path), text) != 0)
        fail_msg("%s is \"%.300s\", not \"%s\"", path, json_text_at(answer, path), text);
}

static void expect_number_at(const cJSON *answer, const char *path, double number)
{
    if (json_number(answer, path) != number)
        fail_msg("%s is %g, not %g", path, json_number(answer, path), number);
}

/* ---- attempts */

static void retries__origin_that_recovers__each_request_told(void **state)
{
    (void)state;
    cJSON *answer = post_fetch("{\"url\":\"@/flaky/2?key=recovers\",\"retries\":2}", 200);
    expect_number_at(answer, "status", 200);
    expect_number_at(answer, "attempts", 3);
    assert_int_equal(cJSON_GetArraySize(json_at(answer, "requests")), 3);
    expect_number_at(answer, "requests.0.status", 503);
    expect_number_at(answer, "requests.1.attempt", 2);
    expect_number_at(answer, "requests.2.status", 200);
    assert_true(json_number(answer, "requests.2.at_ms") >= json_number(answer, "requests.1.at_ms"));
    cJSON_Delete(answer);
    answer = post_fetch("{\"url\":\"@/flaky/2?key=too-late\",\"retries\":1}", 200);
    expect_number_at(answer, "status", 503); /* an answer all the same */
    expect_number_at(answer, "attempts", 2);
    cJSON_Delete(answer);
}

static void retries__of_a_post__only_if_the_caller_says_so(void **state)
{
    (void)state;
    cJSON *answer =
        post_fetch("{\"url\":\"@/flaky/1?key=post\",\"method\":\"POST\",\"body\":\"x\",\"retries\":3}", 200);
    expect_number_at(answer, "status", 503);
    expect_number_at(answer, "attempts", 1);
    cJSON_Delete(answer);
    answer =
        post_fetch("{\"url\":\"@/flaky/1?key=unsafe\",\"method\":\"POST\",\"body\":\"x\",\"retry_unsafe\":true}", 200);
    expect_number_at(answer, "status", 200);
    expect_number_at(answer, "attempts", 2);
    cJSON_Delete(answer);
}

static void hedge__first_request_slow__second_one_answers(void **state)
{
    (void)state;
    cJSON *answer = post_fetch("{\"url\":\"@/vary-latency?ms=20000&key=hedge\",\"hedge_ms\":30}", 200);
    expect_number_at(answer, "status", 200);
    expect_number_at(answer, "attempts", 1);
    assert_true(cJSON_IsTrue(json_at(answer, "hedged")));
    assert_true(json_number(answer, "elapsed_ms") < scaled_ms(5000));
    assert_int_equal(cJSON_GetArraySize(json_at(answer, "requests")), 2);
    cJSON_Delete(answer);
    await_idle(); /* the loser was ended, not left behind */
}

static void budgets__used_up__named_in_the_failure(void **state)
{
    (void)state;
    cJSON *answer = post_fetch("{\"retries\":0,\"urls\":[{\"url\":\"@/stall\",\"first_byte_timeout_ms\":50},"
                               "{\"url\":\"@/slow-headers?ms=20\",\"first_byte_timeout_ms\":50},"
                               "{\"url\":\"@/stall\",\"timeout_ms\":50}]}",
                               200);
    expect_text_at(answer, "results.0.error.budget", "first_byte_timeout_ms");
    expect_text_at(answer, "results.0.error.phase", "first_byte");
    expect_text_at(answer, "results.1.error.budget", "first_byte_timeout_ms");
    expect_text_at(answer, "results.2.error.code", "deadline_exceeded");
    expect_text_at(answer, "results.2.error.budget", "timeout_ms");
    cJSON_Delete(answer);
}

/* Starts a program of its own that has few descriptors, by way of a script that lowers the limit for it. */
static bool start_with_few_descriptors(const char *const flags[])
{
    char path[] = "/tmp/twinpool-test-XXXXXX", *program = realpath(spawn_twinpool(), NULL);
    int fd = mkostemp(path, O_CLOEXEC);
    assert_true(fd >= 0 && program);
    dprintf(fd, "#!/bin/sh\nulimit -n %d\nexec %s \"$@\"\n", FEW_DESCRIPTORS, program);
    fchmod(fd, 0700);
    close(fd);
    setenv("TWINPOOL_BIN", path, true);
    bool has_started = server_start(&server, flags, NULL);
    setenv("TWINPOOL_BIN", program, true);
    unlink(path);
    free(program);
    return has_started;
}

/* Connections that were given up before they were made are not counted as open for ever: with so few descriptors, a few
 * hundred would be the end of all fetching. */
static void connects__given_up_again_and_again__others_still_fetched(void **state)
{
    (void)state;
    struct server given = server;
    struct listener *hanging = listener_start(LISTENER_NO_ACCEPT, "127.0.0.1", 0);
    const char *const flags[] = { "--workers", "1", "--fetch-allow", "127.0.0.1/32", "--fetch-retries", "0", NULL };
    assert_non_null(hanging);
    assert_true(start_with_few_descriptors(flags));
    struct server own = server;
    unsigned failed = 0;
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%u/%%u", (unsigned)listener_port(hanging));
    char *body = list_of(url, 50, ",\"connect_timeout_ms\":40");
    for (unsigned i = 0; i < 8; i++) {
        cJSON *answer = post_fetch(body, 200);
        failed += json_number(answer, "failed") == 50;
        cJSON_Delete(answer);
    }
    cJSON *answer = post_fetch("{\"urls\":[\"@/small\",\"@/utf8\",\"@/echo\"]}", 200);
    double ok = json_number(answer, "ok");
    server = given;
    assert_int_equal(server_stop(&own), 0);
    assert_int_equal(failed, 8);
    assert_true(ok == 3);
    cJSON_Delete(answer);
    listener_stop(hanging);
    free(body);
}

/* ---- coalescing */

static void coalesce__identical_urls__one_request(void **state)
{
    (void)state;
    uint64_t before = origin_get_counts(origin).requests;
    char *body = list_of("@/delay/200?one", 20, ",\"coalesce\":true");
    cJSON *answer = post_fetch(body, 200);
    expect_number_at(answer, "ok", 20);
    assert_int_equal(origin_get_counts(origin).requests - before, 1);
    expect_text_at(answer, "results.19.body", json_text_at(answer, "results.0.body"));
    expect_number_at(answer, "results.19.index", 19);
    cJSON_Delete(answer);
    free(body);
}

/* Two texts that are posted are two requests, whatever else is the same. */
static void coalesce__requests_with_bodies__each_sent(void **state)
{
    (void)state;
    cJSON *answer = post_fetch("{\"coalesce\":true,\"method\":\"POST\",\"urls\":[{\"url\":\"@/echo\",\"body\":\"one\"},"
                               "{\"url\":\"@/echo\",\"body\":\"two\"},{\"url\":\"@/echo\",\"body\":\"two\"}]}",
                               200);
    assert_non_null(strstr(json_text_at(answer, "results.0.body"), "\"body\":\"one\""));
    assert_non_null(strstr(json_text_at(answer, "results.1.body"), "\"body\":\"two\""));
    for (int i = 0; i < 3; i++)
        assert_null(json_at(cJSON_GetArrayItem(json_at(answer, "results"), i), "coalesced"));
    cJSON_Delete(answer);
}

/* ---- the form of the answer */

static void response_body__each_form__as_asked(void **state)
{
    (void)state;
    cJSON *answer = post_fetch("{\"urls\":[{\"url\":\"@/json-pretty\",\"response_body\":\"json\"},"
                               "{\"url\":\"@/json-bad\",\"response_body\":\"json\"},"
                               "{\"url\":\"@/utf8\",\"response_body\":\"base64\"},"
                               "{\"url\":\"@/text\",\"response_body\":\"text\"},"
                               "{\"url\":\"@/bytes/5000\",\"response_body\":\"none\"},"
                               "{\"url\":\"@/json-pretty\"}]}",
                               200);
    expect_text_at(answer, "results.0.encoding", "json");
    expect_text_at(answer, "results.0.body.name", "pretty");
    assert_true(cJSON_IsString(json_at(answer, "results.1.body")));
    assert_non_null(strstr(json_text_at(answer, "results.1.json_error"), " at byte "));
    expect_text_at(answer, "results.2.body", "aMOkbGxvIOKCrCDwn5iACg==");
    expect_text_at(answer, "results.3.encoding", "utf-8");
    expect_text_at(answer, "results.3.body", "h\xef\xbf\xbdllo\n");
    assert_null(json_at(answer, "results.4.body"));
    expect_number_at(answer, "results.4.bytes", 5000);
    assert_true(cJSON_IsString(json_at(answer, "results.5.body")));
    cJSON_Delete(answer);
}

static void response_headers__some_or_none__as_asked(void **state)
{
    (void)state;
    cJSON *answer = post_fetch("{\"response_headers\":[\"ETag\",\"X-Absent\"],\"urls\":[\"@/etag\","
                               "{\"url\":\"@/etag\",\"response_headers\":true},"
                               "{\"url\":\"@/etag\",\"response_headers\":false}]}",
                               200);
    assert_int_equal(cJSON_GetArraySize(json_at(answer, "results.0.headers")), 1);
    expect_text_at(answer, "results.0.headers.etag", "\"v1\"");
    assert_true(cJSON_GetArraySize(json_at(answer, "results.1.headers")) > 1);
    assert_null(json_at(answer, "results.2.headers"));
    cJSON_Delete(answer);
}

/* ---- the call */

static void require__any__the_rest_is_given_up(void **state)
{
    (void)state;
    cJSON *answer = post_fetch("{\"urls\":[\"@/stall\",\"@/small\",\"@/stall\"],\"require\":\"any\"}", 200);
    expect_number_at(answer, "results.1.status", 200);
    expect_text_at(answer, "results.0.error.code", "cancelled");
    expect_text_at(answer, "results.2.error.code", "cancelled");
    assert_true(cJSON_IsTrue(json_at(answer, "quorum.met")));
    expect_number_at(answer, "quorum.required", 1);
    cJSON_Delete(answer);
    assert_true(wait_until(origin_is_idle, NULL, scaled_ms(2000)));
}

static void require__all__one_failure_ends_it(void **state)
{
    (void)state;
    cJSON *answer = post_fetch("{\"urls\":[\"@/stall\",\"@/status/404\"],\"require\":\"all\"}", 200);
    expect_number_at(answer, "results.1.status", 404);
    expect_text_at(answer, "results.0.error.code", "cancelled");
    assert_true(cJSON_IsFalse(json_at(answer, "quorum.met")));
    cJSON_Delete(answer);
}

static void traceparent__valid_and_wanted__forwarded_and_nothing_else(void **state)
{
    (void)state;
#define GOOD "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    static const struct {
        const char *field;
        bool is_valid;
    } cases[TRACEPARENT_COUNT] = {
        { "traceparent: " GOOD "\r\n", true },
        { "TraceParent: " GOOD "\r\n", true },
        { "", false },
        { "traceparent: 01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n", false },
        { "traceparent: " GOOD "-00\r\n", false },
        { "traceparent: 00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n", false },
        { "traceparent: 00-00000000000000000000000000000000-b7ad6b7169203331-01\r\n", false },
        { "traceparent: 00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01\r\n", false },
        { "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333-01\r\n", false },
        { "traceparent: 00_0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331_01\r\n", false },
        { "traceparent: 00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01\r\n", false },
        { "traceparent:\r\n", false },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        cJSON *answer = post_with("", cases[i].field, "{\"url\":\"@/echo\",\"forward_traceparent\":true}", 200);
        bool is_sent = strstr(json_text_at(answer, "body"), "traceparent: " GOOD "\\r\\n") != NULL;
        bool is_there = strcasestr(json_text_at(answer, "body"), "traceparent") != NULL;
        if (is_sent != cases[i].is_valid || is_there != cases[i].is_valid)
            fail_msg("%s: %s", cases[i].field, json_text_at(answer, "body"));
        cJSON_Delete(answer);
        answer = post_with("", cases[i].field, "{\"url\":\"@/echo\"}", 200);
        assert_null(strcasestr(json_text_at(answer, "body"), "traceparent"));
        cJSON_Delete(answer);
    }
#undef GOOD
}

static void loops__by_header_and_by_address__refused(void **state)
{
    (void)state;
    static const struct {
        const char *field;
        unsigned status;
    } cases[] = {
        { "CDN-Loop: twinpool\r\n", 508 },
        { "CDN-Loop: some.cdn.example, Twinpool; v=1\r\n", 508 },
        { "CDN-Loop: other\r\nCDN-Loop: twinpool\r\n", 508 },
        { "CDN-Loop: twinpool2\r\n", 200 },
        { "CDN-Loop: my-twinpool\r\n", 200 },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        cJSON_Delete(post_with("", cases[i].field, "{\"url\":\"@/small\"}", cases[i].status));
    char body[128];
    snprintf(body, sizeof body, "{\"url\":\"http://127.0.0.1:%u/fetch?url=x\"}", (unsigned)server.port);
    cJSON *answer = post_fetch(body, 508);
    expect_text_at(answer, "code", "loop_detected");
    cJSON_Delete(answer);
    answer = post_fetch("{\"url\":\"@/echo\"}", 200); /* what the next Twinpool would see */
    assert_non_null(strstr(json_text_at(answer, "body"), "CDN-Loop: twinpool\\r\\n"));
    cJSON_Delete(answer);
}

static void explain__good_and_bad_urls__nothing_is_sent(void **state)
{
    (void)state;
    struct origin_counts before = origin_get_counts(origin);
    cJSON *answer =
        post_with("?explain=1", "", "{\"urls\":[\"@/small\",\"http://127.0.0.2/\",\"https://example.org/\"]}", 200);
    assert_true(cJSON_IsTrue(json_at(answer, "explained.0.allowed")));
    assert_true(cJSON_IsFalse(json_at(answer, "explained.1.allowed")));
    expect_text_at(answer, "explained.1.code", "blocked_address");
    expect_text_at(answer, "explained.2.steps.4.result", "open");
    cJSON_Delete(answer);
    struct origin_counts after = origin_get_counts(origin);
    assert_int_equal(after.connections, before.connections);
    assert_int_equal(after.requests, before.requests);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(retries__origin_that_recovers__each_request_told),
        cmocka_unit_test(retries__of_a_post__only_if_the_caller_says_so),
        cmocka_unit_test(hedge__first_request_slow__second_one_answers),
        cmocka_unit_test(budgets__used_up__named_in_the_failure),
        cmocka_unit_test(connects__given_up_again_and_again__others_still_fetched),
        cmocka_unit_test(coalesce__identical_urls__one_request),
        cmocka_unit_test(coalesce__requests_with_bodies__each_sent),
        cmocka_unit_test(response_body__each_form__as_asked),
        cmocka_unit_test(response_headers__some_or_none__as_asked),
        cmocka_unit_test(require__any__the_rest_is_given_up),
        cmocka_unit_test(require__all__one_failure_ends_it),
        cmocka_unit_test(traceparent__valid_and_wanted__forwarded_and_nothing_else),
        cmocka_unit_test(loops__by_header_and_by_address__refused),
        cmocka_unit_test(explain__good_and_bad_urls__nothing_is_sent),
    };
    return cmocka_run_group_tests_name("fetch_members", tests, start, rig_stop);
}
