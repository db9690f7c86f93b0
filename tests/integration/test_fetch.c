/* POST and GET /fetch against nginx and against an origin that stalls, trickles, cuts and lies. */
#include "tests/integration/fetch_rig.h"

#include "tests/support/nginx.h"

enum { MANY_URLS = 1000, TARGET_BYTES = 512, BODY_CAP = 1 << 20 };

static struct nginx nginx;

static int stop(void **state)
{
    nginx_stop(&nginx);
    return rig_stop(state);
}

static int start(void **state)
{
    (void)state;
    const char *const flags[] = { "--workers",
                                  "1",
                                  "--fetch-allow",
                                  "127.0.0.1/32",
                                  "--fetch-per-host",
                                  "0",
                                  "--fetch-timeout-ms",
                                  "5000",
                                  "--fetch-max-body-bytes",
                                  "1048576",
                                  NULL };
    return nginx_start(&nginx) ? rig_start(flags) : -1;
}

static void single__small_url__every_member(void **state)
{
    (void)state;
    char target[TARGET_BYTES];
    snprintf(target, sizeof target, "/fetch?url=http://127.0.0.1:%u/small", (unsigned)nginx.port);
    struct http_reply reply = step_once(&server, "GET", target, NULL, NULL, 200);
    cJSON *item = cJSON_Parse(reply.body);
    assert_true(json_number(item, "index") == 0);
    assert_string_equal(json_text_at(item, "url"), target + strlen("/fetch?url="));
    assert_string_equal(json_text_at(item, "final_url"), target + strlen("/fetch?url="));
    assert_true(json_number(item, "status") == 200);
    assert_true(json_number(item, "bytes") == 1024);
    assert_int_equal(strlen(json_text_at(item, "body")), 1024);
    assert_string_equal(json_text_at(item, "encoding"), "utf-8");
    assert_string_equal(json_text_at(item, "http_version"), "1.1");
    assert_string_equal(json_text_at(json_at(item, "headers"), "content-length"), "1024");
    assert_true(cJSON_IsFalse(json_at(item, "truncated")));
    assert_true(cJSON_IsFalse(json_at(item, "reused")));
    assert_true(json_number(item, "attempts") == 1);
    assert_true(json_number(item, "elapsed_ms") > 0);
    static const char *const phases[] = { "queue", "host_queue", "dns", "connect", "first_byte", "body" };
    for (size_t i = 0; i < ARRAY_LEN(phases); i++)
        assert_true(json_number(json_at(item, "timing_ms"), phases[i]) >= 0);
    assert_int_equal(cJSON_GetArraySize(json_at(item, "timing_ms")), ARRAY_LEN(phases)); /* no tls without TLS */
    assert_null(json_at(item, "requests"));
    cJSON_Delete(item);
    http_reply_done(&reply);
}

static void bodies__text_binary_gzip__as_they_are(void **state)
{
    (void)state;
    char body[TARGET_BYTES];
    cJSON *answer = post_fetch(
        "{\"urls\":[\"@/utf8\",\"@/binary\",\"@/status/204\",{\"url\":\"@/small\",\"method\":\"HEAD\"}]}", 200);
    assert_string_equal(json_text_at(answer, "results.0.body"), "h\xc3\xa4llo \xe2\x82\xac \xf0\x9f\x98\x80\n");
    assert_string_equal(json_text_at(answer, "results.0.encoding"), "utf-8");
    assert_string_equal(json_text_at(answer, "results.1.encoding"), "base64");
    assert_memory_equal(json_text_at(answer, "results.1.body"), "AAECAwQFBgcICQoLDA0ODw==", 20);
    assert_true(json_number(answer, "results.1.bytes") == 256);
    assert_true(json_number(answer, "results.2.status") == 204);
    assert_string_equal(json_text_at(answer, "results.2.body"), "");
    assert_true(json_number(answer, "results.3.status") == 200);
    assert_true(json_number(answer, "results.3.bytes") == 0);
    cJSON_Delete(answer);

    snprintf(body, sizeof body, "{\"urls\":[\"http://127.0.0.1:%u/page.html\",\"http://127.0.0.1:%u/64k\"]}",
             (unsigned)nginx.port, (unsigned)nginx.port);
    answer = post_fetch(body, 200);
    assert_int_equal(strlen(json_text_at(answer, "results.0.body")), 65536); /* sent with gzip */
    assert_string_equal(json_text_at(answer, "results.1.encoding"), "base64");
    assert_true(json_number(answer, "results.1.bytes") == 65536);
    cJSON_Delete(answer);
}

static void request__method_headers_body__arrive(void **state)
{
    (void)state;
    cJSON *answer = post_fetch(
        "{\"url\":\"@/echo?a=b\",\"method\":\"PUT\",\"headers\":{\"X-Mine\":\"yes\",\"Content-Type\":\"text/x\"},"
        "\"body\":\"h\xc3\xa4\"}",
        200);
    cJSON *echo = cJSON_Parse(json_text_at(answer, "body"));
    assert_string_equal(json_text_at(echo, "method"), "PUT");
    assert_string_equal(json_text_at(echo, "target"), "/echo?a=b");
    assert_string_equal(json_text_at(echo, "body"), "h\xc3\xa4");
    assert_non_null(strstr(json_text_at(echo, "fields"), "X-Mine: yes\r\n"));
    assert_non_null(strstr(json_text_at(echo, "fields"), "Content-Type: text/x\r\n"));
    cJSON_Delete(echo);
    cJSON_Delete(answer);

    answer = post_fetch("{\"url\":\"@/echo\",\"method\":\"POST\",\"body_base64\":\"AEE=\"}", 200);
    assert_non_null(strstr(json_text_at(answer, "body"), "\"body\":\"\\u0000A\""));
    cJSON_Delete(answer);
}

static void batch__good_and_bad_urls__each_its_own_result(void **state)
{
    (void)state;
    static const struct {
        const char *url;
        unsigned status; /* 0: a failure */
        const char *code, *phase;
    } cases[] = {
        { "@/small", 200, "", "" },
        { "@/status/500", 500, "", "" },
        { "@/cut", 0, "truncated", "body" },
        { "@/bad-http", 0, "protocol_error", "first_byte" },
        { "@/rst", 0, "connection_closed", "first_byte" },
        { "nonsense", 0, "bad_url", "url" },
        { "ftp://127.0.0.1/", 0, "scheme_not_allowed", "url" },
        { "http://127.0.0.1:25/", 0, "port_not_allowed", "policy" },
        { "@/endless-headers", 0, "response_headers_too_large", "first_byte" },
        { "@/lie-short", 200, "", "" },
        { "@/lie-long", 0, "truncated", "body" },
        { "@/no-keepalive", 200, "", "" },
        { "#/", 0, "connect_failed", "connect" },
        { "@/stall", 0, "deadline_exceeded", "first_byte" },
        { "@/stall-body", 0, "deadline_exceeded", "body" },
        { "@/trickle?ms=20", 0, "deadline_exceeded", "body" },
    };
    struct buf body = BUF_INIT(1 << 16);
    unsigned ok = 0;
    buf_lit(&body, "{\"retries\":0,\"urls\":[");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        buf_printf(&body, "%s{\"url\":\"%s\"%s}", i ? "," : "", cases[i].url,
                   strcmp(cases[i].code, "deadline_exceeded") == 0 ? ",\"timeout_ms\":300" : "");
    buf_append(&body, "]}", 3);
    cJSON *answer = post_fetch(body.data, 200);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const cJSON *item = cJSON_GetArrayItem(json_at(answer, "results"), (int)i);
        const char *code = json_text_at(item, "error.code"), *phase = json_text_at(item, "error.phase");
        double status = json_number(item, "status");
        if (json_number(item, "index") != (double)i || strcmp(code, cases[i].code) != 0 ||
            strcmp(phase, cases[i].phase) != 0 || (cases[i].status ? status != cases[i].status : status == status))
            fail_msg("%s: got status %g, %s in %s: %s", cases[i].url, status, code, phase,
                     json_text_at(item, "error.message"));
        assert_true(json_number(item, "attempts") >= 1); /* 2 if a kept connection turned out to be dead */
        assert_true(json_number(item, "elapsed_ms") >= 0);
        assert_true(json_number(item, "timing_ms.queue") >= 0);
        ok += cases[i].status != 0;
    }
    assert_string_equal(json_text_at(answer, "results.9.body"), "12345"); /* the rest of a lie is nobody's answer */
    assert_true(json_number(answer, "ok") == ok);
    assert_true(json_number(answer, "failed") == (double)(ARRAY_LEN(cases) - ok));
    cJSON_Delete(answer);
    buf_done(&body);
}

static void single__no_http_answer__problem_with_its_status(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        unsigned status;
        const char *code;
    } cases[] = {
        { "{\"url\":\"#/\",\"retries\":0}", 502, "connect_failed" },
        { "{\"url\":\"@/stall\",\"timeout_ms\":150}", 504, "deadline_exceeded" },
        { "{\"url\":\"@/stall\",\"first_byte_timeout_ms\":100,\"retries\":0}", 504, "first_byte_timeout" },
        { "{\"url\":\"@/cut\",\"retries\":0}", 502, "truncated" },
        { "{\"url\":\"@/rst\",\"retries\":0}", 502, "connection_closed" },
        { "{\"url\":\"@/redirect/9\"}", 502, "too_many_redirects" },
        { "{\"url\":\"http://127.0.0.2/\"}", 403, "blocked_address" },
        { "{\"url\":\"file:///etc/passwd\"}", 403, "scheme_not_allowed" },
        { "{\"url\":\"http://a b/\"}", 422, "bad_url" },
        { "{\"urls\":[]}", 422, "invalid_args" },
        { "{\"url\":\"@/small\",\"urls\":[\"@/small\"]}", 422, "invalid_args" },
        { "{\"url\":\"@/small\",\"colour\":1}", 422, "invalid_args" },
        { "{\"url\":\"@/small\",\"timeout_ms\":0}", 422, "invalid_args" },
        { "{\"url\":\"@/small\",\"timeout_ms\":1.5}", 422, "invalid_args" },
        { "{\"url\":\"@/small\",\"method\":\"TRACE\"}", 422, "invalid_args" },
        { "{\"url\":\"@/small\",\"headers\":{\"Host\":\"x\"}}", 422, "invalid_args" },
        { "{\"url\":\"@/small\",\"headers\":{\"X\":\"a\\r\\nY: b\"}}", 422, "invalid_args" },
        { "{\"url\":\"@/small\\u0000.evil\"}", 400, "invalid_json" },
        { "[\"@/small\"]", 400, "invalid_json" },
        { "", 400, "invalid_json" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        cJSON *answer = post_fetch(*cases[i].body ? cases[i].body : " ", cases[i].status);
        if (strcmp(json_text_at(answer, "code"), cases[i].code) != 0)
            fail_msg("%s: expected %s, got %s", cases[i].body, cases[i].code, json_text_at(answer, "code"));
        cJSON_Delete(answer);
    }
}

static void single__failure__problem_says_what_was_tried(void **state)
{
    (void)state;
    cJSON *answer = post_fetch("{\"url\":\"@/stall?x=\\\"\",\"retries\":1,\"first_byte_timeout_ms\":60}", 504);
    assert_string_equal(json_text_at(answer, "code"), "first_byte_timeout");
    assert_string_equal(json_text_at(answer, "phase"), "first_byte");
    assert_non_null(strstr(json_text_at(answer, "url"), "/stall?x=\""));
    assert_non_null(strstr(json_text_at(answer, "detail"), "first_byte_timeout_ms"));
    assert_true(cJSON_IsTrue(json_at(answer, "retriable")));
    assert_true(json_number(answer, "attempts") == 2);
    assert_true(json_number(answer, "timing_ms.first_byte") >= 59);
    assert_true(json_number(answer, "elapsed_ms") >= 119);
    assert_int_equal(cJSON_GetArraySize(json_at(answer, "requests")), 2);
    assert_string_equal(json_text_at(answer, "requests.1.error"), "first_byte_timeout");
    cJSON_Delete(answer);
    answer = post_fetch("{\"url\":\"http://127.0.0.2/\"}", 403); /* no retry will help */
    assert_true(cJSON_IsFalse(json_at(answer, "retriable")));
    assert_true(json_number(answer, "attempts") == 1);
    cJSON_Delete(answer);
}

static void redirects__followed_to_the_limit__or_answered_themselves(void **state)
{
    (void)state;
    cJSON *answer =
        post_fetch("{\"urls\":[\"@/redirect/5\",\"@/redirect/6\",{\"url\":\"@/redirect/1\",\"max_redirects\":0},"
                   "\"@/redirect/2?status=308\",\"@/redirect-to?url=ftp://127.0.0.1/\"]}",
                   200);
    char url[TARGET_BYTES];
    snprintf(url, sizeof url, "http://127.0.0.1:%u/redirect/0?status=302", (unsigned)origin_port(origin));
    assert_string_equal(json_text_at(answer, "results.0.body"), "landed\n");
    assert_string_equal(json_text_at(answer, "results.0.final_url"), url);
    assert_string_equal(json_text_at(answer, "results.1.error.code"), "too_many_redirects");
    assert_true(json_number(answer, "results.2.status") == 302);
    assert_string_equal(json_text_at(answer, "results.3.body"), "landed\n");
    assert_string_equal(json_text_at(answer, "results.4.error.code"), "scheme_not_allowed");
    cJSON_Delete(answer);
}

static void redirect__to_another_origin__credentials_stay_behind(void **state)
{
    (void)state;
    char body[TARGET_BYTES];
    struct origin *other = origin_start("127.0.0.1", 0);
    assert_non_null(other);
    snprintf(body, sizeof body,
             "{\"url\":\"@/redirect-to?url=http://127.0.0.1:%u/echo\",\"headers\":{\"Authorization\":\"secret\","
             "\"Cookie\":\"secret\",\"X-Kept\":\"yes\"}}",
             (unsigned)origin_port(other));
    cJSON *answer = post_fetch(body, 200);
    assert_non_null(strstr(json_text_at(answer, "body"), "X-Kept: yes"));
    assert_null(strstr(json_text_at(answer, "body"), "secret"));
    cJSON_Delete(answer);
    origin_stop(other);
}

static void sizes__caps_and_endless_bodies__cut_and_marked(void **state)
{
    (void)state;
    cJSON *answer = post_fetch(
        "{\"urls\":[{\"url\":\"@/small\",\"max_body_bytes\":100},\"@/endless\",\"@/gzip-bomb\",\"@/bytes/1048576\","
        "\"@/bytes/1048577\",{\"url\":\"@/utf8\",\"max_body_bytes\":2}]}",
        200);
    static const double bytes[] = { 100, BODY_CAP, BODY_CAP, BODY_CAP, BODY_CAP };
    static const bool is_cut[] = { true, true, true, false, true };
    for (size_t i = 0; i < ARRAY_LEN(bytes); i++) {
        char path[64];
        snprintf(path, sizeof path, "results.%zu", i);
        const cJSON *item = json_at(answer, path);
        if (json_number(item, "bytes") != bytes[i] || cJSON_IsTrue(json_at(item, "truncated")) != is_cut[i])
            fail_msg("item %zu: %g bytes, truncated %d, error %s", i, json_number(item, "bytes"),
                     cJSON_IsTrue(json_at(item, "truncated")), json_text_at(item, "error.code"));
    }
    assert_string_equal(json_text_at(answer, "results.5.body"), "h"); /* not half a character */
    cJSON_Delete(answer);
}

static void connections__same_origin_again__reused(void **state)
{
    (void)state;
    cJSON_Delete(post_fetch("{\"url\":\"@/small\"}", 200));
    uint64_t before = origin_get_counts(origin).connections;
    for (unsigned i = 0; i < 5; i++) {
        cJSON *answer = post_fetch("{\"url\":\"@/small\"}", 200);
        assert_true(cJSON_IsTrue(json_at(answer, "reused")));
        cJSON_Delete(answer);
    }
    assert_int_equal(origin_get_counts(origin).connections, before);
}

static void concurrency__asked_for__observed_by_the_origin(void **state)
{
    (void)state;
    char *body = list_of("@/delay/20", 30, ",\"concurrency\":3");
    await_idle();
    origin_reset_peak(origin);
    cJSON *answer = post_fetch(body, 200);
    assert_true(json_number(answer, "ok") == 30);
    assert_int_equal(origin_get_counts(origin).in_flight_peak, 3);
    cJSON_Delete(answer);
    free(body);
}

static void thousand_delayed_urls__one_call__together_and_in_order(void **state)
{
    (void)state;
    char *body = list_of("@/delay/100?%u", MANY_URLS, "");
    cJSON *answer = post_fetch(body, 200);
    assert_true(json_number(answer, "ok") == MANY_URLS);
    unsigned i = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, json_at(answer, "results"))
    {
        char query[32];
        snprintf(query, sizeof query, "/delay/100?%u", i);
        assert_true(json_number(item, "index") == i);
        assert_non_null(strstr(json_text_at(item, "url"), query));
        i++;
    }
    assert_int_equal(i, MANY_URLS);
    print_message("    1000 URLs of 100 ms each: %.0f ms\n", json_number(answer, "elapsed_ms"));
    assert_true(json_number(answer, "elapsed_ms") < scaled_ms(2000)); /* one after the other: 100 s */
    cJSON_Delete(answer);
    free(body);
}

/* More results than one sendmsg() takes pieces. */
static void three_thousand_urls__one_call__whole_answer(void **state)
{
    (void)state;
    char *body = list_of("@/status/204", 3 * MANY_URLS, "");
    cJSON *answer = post_fetch(body, 200);
    assert_int_equal(cJSON_GetArraySize(json_at(answer, "results")), 3 * MANY_URLS);
    assert_true(json_number(answer, "ok") == 3 * MANY_URLS);
    cJSON_Delete(answer);
    free(body);
}

static double unanswered_before;

static bool one_more_is_unanswered(void *unused)
{
    (void)unused;
    return server_stat(&server, "requests.unanswered") == unanswered_before + 1;
}

static void disconnect__while_the_origin_stalls__transfer_ended(void **state)
{
    (void)state;
    unanswered_before = server_stat(&server, "requests.unanswered");
    struct http_conn conn;
    char *target = fill_in("/fetch?url=@/stall&timeout_ms=30000");
    await_idle();
    assert_true(http_connect(&conn, server.port));
    assert_true(http_send(&conn, "GET", target, NULL, NULL, 0));
    await_in_flight(1);
    http_close(&conn);
    assert_true(wait_until(origin_is_idle, NULL, scaled_ms(1000)));
    free(target);
    assert_true(wait_until(one_more_is_unanswered, NULL, scaled_ms(2000)));
}

static void request_timeout__shorter_than_the_urls__bounds_the_call(void **state)
{
    (void)state;
    char body[TARGET_BYTES];
    snprintf(body, sizeof body, "{\"urls\":[\"http://127.0.0.1:%u/small\",\"http://127.0.0.1:%u/stall\"]}",
             (unsigned)origin_port(origin), (unsigned)origin_port(origin));
    struct http_reply reply = step_once(&server, "POST", "/fetch", HTTP_JSON "Request-Timeout-Ms: 200\r\n", body, 200);
    assert_true(reply.elapsed_ms >= 195);
    assert_true(reply.elapsed_ms < 200 + scaled_ms(200));
    assert_non_null(strstr(reply.body, "deadline_exceeded"));
    assert_non_null(strstr(reply.body, "\"budget\":\"Request-Timeout-Ms\""));
    assert_non_null(strstr(reply.body, "\"ok\":1,\"failed\":1"));
    http_reply_done(&reply);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(single__small_url__every_member),
        cmocka_unit_test(bodies__text_binary_gzip__as_they_are),
        cmocka_unit_test(request__method_headers_body__arrive),
        cmocka_unit_test(batch__good_and_bad_urls__each_its_own_result),
        cmocka_unit_test(single__no_http_answer__problem_with_its_status),
        cmocka_unit_test(single__failure__problem_says_what_was_tried),
        cmocka_unit_test(redirects__followed_to_the_limit__or_answered_themselves),
        cmocka_unit_test(redirect__to_another_origin__credentials_stay_behind),
        cmocka_unit_test(sizes__caps_and_endless_bodies__cut_and_marked),
        cmocka_unit_test(connections__same_origin_again__reused),
        cmocka_unit_test(concurrency__asked_for__observed_by_the_origin),
        cmocka_unit_test(thousand_delayed_urls__one_call__together_and_in_order),
        cmocka_unit_test(three_thousand_urls__one_call__whole_answer),
        cmocka_unit_test(disconnect__while_the_origin_stalls__transfer_ended),
        cmocka_unit_test(request_timeout__shorter_than_the_urls__bounds_the_call),
    };
    return cmocka_run_group_tests_name("fetch", tests, start, stop);
}
