/* Tests of handlers/fetch.c and fetch_request.c: what becomes of a request, and of a call's results when they are sent
 * at once. The members are test_fetch_options.c's, streams test_fetch_stream.c's. */
#include "tests/unit/fake_io_pool.h"

#define TRACEPARENT "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

/* ---- what is asked for */

static void get__url_only__the_defaults(void **state)
{
    (void)state;
    set_query("url", "http://h/?a=b");
    endpoint_fetch.handle(&exchange);
    assert_string_equal(item()->url, "http://h/?a=b");
    assert_int_equal(item()->method, FETCH_GET);
    assert_null(item()->headers);
    assert_int_equal(item()->timeout_ms, 15000);
    assert_int_equal(item()->max_body_bytes, 1000);
    assert_int_equal(item()->max_redirects, 5);
    assert_int_equal(submitted->count, 1);
    assert_int_equal(submitted->loop, 3);
    end_all();
    assert_string_equal(answer.body, "{}");
}

static void get__no_url__named(void **state)
{
    (void)state;
    endpoint_fetch.handle(&exchange);
    expect_refused("{\"pointer\":\"\",\"parameter\":\"url\",\"detail\":\"is missing");
}

static void get__two_urls__refused(void **state)
{
    (void)state;
    set_query("url", "http://a/");
    set_query("url", "http://b/");
    endpoint_fetch.handle(&exchange);
    expect_refused("more than once");
}

static void get__unknown_parameter__advice(void **state)
{
    (void)state;
    set_query("url", "http://h/?a=1");
    set_query("b", "2");
    endpoint_fetch.handle(&exchange);
    expect_refused("\"parameter\":\"b\"");
    expect_contains(answer.members, "percent-encode");
}

static void post__list__defaults_and_own_options(void **state)
{
    (void)state;
    post("{\"headers\":{\"A\":\"1\"},\"urls\":[\"x\",{\"url\":\"y\",\"timeout_ms\":9,\"headers\":{}},{\"method\":"
         "\"HEAD\",\"url\":\"z\"}],"
         "\"timeout_ms\":8}");
    assert_int_equal(submitted->count, 3);
    assert_string_equal(item()[0].url, "x");
    assert_int_equal(item()[0].timeout_ms, 8); /* although it stands behind the list */
    assert_string_equal(item()[0].headers[0], "A: 1");
    assert_int_equal(item()[1].timeout_ms, 9);
    assert_null(item()[1].headers);
    assert_int_equal(item()[2].method, FETCH_HEAD);
    assert_string_equal(item()[2].headers[0], "A: 1");
    assert_int_equal(submitted->concurrency, 0);
    end_all();
}

/* The same table holds for a list of two and for one URL. */
static void post__require__how_many_must_succeed(void **state)
{
    static const struct {
        const char *body;
        size_t required;  /* SIZE_MAX: refused, */
        const char *part; /* with this */
    } cases[] = {
        { "{\"urls\":[\"a\",\"b\"]}", 0, NULL },
        { "{\"urls\":[\"a\",\"b\"],\"require\":\"all\"}", 2, NULL },
        { "{\"require\":\"any\",\"urls\":[\"a\",\"b\"]}", 1, NULL },
        { "{\"require\":2,\"urls\":[\"a\",\"b\"]}", 2, NULL },
        { "{\"require\":1.0,\"urls\":[\"a\",\"b\"]}", 1, NULL },
        { "{\"urls\":[\"a\"],\"require\":\"any\"}", 1, NULL },
        { "{\"urls\":[\"a\",\"b\"],\"require\":0}", SIZE_MAX, "must be an integer from 1 to 2" },
        { "{\"urls\":[\"a\",\"b\"],\"require\":3}", SIZE_MAX, "must be an integer from 1 to 2" },
        { "{\"urls\":[\"a\",\"b\"],\"require\":1.5}", SIZE_MAX, "must be an integer from 1 to 2" },
        { "{\"urls\":[\"a\"],\"require\":2}", SIZE_MAX, "must be an integer from 1 to 1" },
        { "{\"url\":\"a\",\"require\":\"all\"}", SIZE_MAX, "goes with urls" },
        { "{\"urls\":[\"a\"],\"require\":\"ALL\"}", SIZE_MAX, "\\\"all\\\", \\\"any\\\" or a number of URLs" },
        { "{\"urls\":[\"a\"],\"require\":true}", SIZE_MAX, "or a number of URLs" },
        { "{\"urls\":[\"a\"],\"require\":null}", SIZE_MAX, "or a number of URLs" },
        { "{\"urls\":[],\"require\":1}", SIZE_MAX, "at least one URL" },
        { "{\"urls\":[{\"url\":\"a\",\"require\":1}]}", SIZE_MAX,
          "{\"pointer\":\"/urls/0/require\",\"detail\":\"belongs beside urls" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (i > 0)
            start_over(state);
        post(cases[i].body);
        if (cases[i].required == SIZE_MAX) {
            expect_refused(cases[i].part);
            continue;
        }
        item();
        if (submitted->required != cases[i].required)
            fail_msg("%s: %zu required", cases[i].body, submitted->required);
        end_all();
    }
}

static void post__require_out_of_range__named_by_pointer(void **state)
{
    (void)state;
    post("{\"urls\":[\"a\",{\"url\":\"b\"}],\"require\":9}");
    expect_refused("{\"pointer\":\"/require\",");
}

static void post__forward_traceparent__sent_along_if_wanted_and_there(void **state)
{
    static const struct {
        const char *member, *traceparent;
        bool is_sent;
    } cases[] = {
        { "", TRACEPARENT, false },
        { ",\"forward_traceparent\":false", TRACEPARENT, false },
        { ",\"forward_traceparent\":true", NULL, false },
        { ",\"forward_traceparent\":true", TRACEPARENT, true },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char body[100];
        if (i > 0)
            start_over(state);
        exchange.traceparent = cases[i].traceparent;
        snprintf(body, sizeof body, "{\"url\":\"a\"%s}", cases[i].member);
        post(body);
        item();
        if (cases[i].is_sent)
            assert_string_equal(submitted->traceparent, "traceparent: " TRACEPARENT);
        else
            assert_null(submitted->traceparent);
        end_all();
    }
}

static void post__forward_traceparent_no_switch__refused(void **state)
{
    (void)state;
    exchange.traceparent = TRACEPARENT;
    post("{\"url\":\"a\",\"forward_traceparent\":1}");
    expect_refused("{\"pointer\":\"/forward_traceparent\",\"detail\":\"must be true or false\"}");
}

/* ---- what is refused */

static void post__no_json__400(void **state)
{
    (void)state;
    post("{\"url\":\"a\",}");
    expect_problem(ST_INVALID_JSON, "at byte 11");
}

static void post__no_object__400(void **state)
{
    static const char *const bodies[] = { "[]", "null", "1", "\"http://h/\"" };
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        if (i > 0)
            start_over(state);
        post(bodies[i]);
        expect_problem(ST_INVALID_JSON, "must be a JSON object");
    }
}

static void post__url_with_nul__400(void **state)
{
    (void)state;
    post("{\"url\":\"http://good\\u0000.evil/\"}");
    expect_problem(ST_INVALID_JSON, "\\u0000");
}

static void post__empty__400_says_what_to_send(void **state)
{
    (void)state;
    post("");
    expect_problem(ST_INVALID_JSON, "{\"url\":");
}

static void post__form__415_explains_curl(void **state)
{
    (void)state;
    set_post(MEDIA_FORM, "{\"url\":\"a\"}");
    endpoint_fetch.handle(&exchange);
    expect_problem(ST_UNSUPPORTED_MEDIA_TYPE, "-H 'Content-Type: application/json'");
}

static void post__text__415(void **state)
{
    (void)state;
    set_post(MEDIA_TEXT, "{\"url\":\"a\"}");
    endpoint_fetch.handle(&exchange);
    expect_problem(ST_UNSUPPORTED_MEDIA_TYPE, "application/json");
}

static void post__query_parameters__refused(void **state)
{
    (void)state;
    set_query("timeout_ms", "5");
    post("{\"url\":\"a\"}");
    expect_problem(ST_INVALID_ARGS, "members of the JSON body");
}

static void post__queue_full__503_names_the_option(void **state)
{
    (void)state;
    submit_status = ST_QUEUE_FULL;
    post("{\"url\":\"a\"}");
    expect_problem(ST_QUEUE_FULL, "--fetch-queue-max");
}

static void request__sent_by_a_twinpool__loop_detected(void **state)
{
    exchange.is_fetch = true;
    set_query("url", "http://h/");
    endpoint_fetch.handle(&exchange);
    expect_problem(ST_LOOP_DETECTED, "CDN-Loop");
    start_over(state);
    exchange.is_fetch = true;
    set_query("explain", "1");
    post("{\"url\":\"a\"}");
    expect_problem(ST_LOOP_DETECTED, "CDN-Loop");
    assert_int_equal(answer.http, 508);
    assert_int_equal(calls_accepted, 0);
}

/* ---- what is answered */

static void done__list__results_in_order_and_counts(void **state)
{
    (void)state;
    post("{\"urls\":[\"a\",\"b\",\"c\"]}");
    set_ok(0, "{\"index\":0}");
    set_failed(1, ST_CONNECT_TIMEOUT, true);
    submitted->items[2].status = ST_NO_MEMORY; /* not even its error could be written */
    item();
    tell_done();
    assert_int_equal(answer.http, 200);
    assert_string_equal(answer.content_type, JSON_TYPE);
    expect_contains(answer.body,
                    "{\"results\":[{\"index\":0},{\"index\":1,\"url\":\"b\",\"error\":{\"code\":\"connect_timeout\"");
    expect_contains(answer.body, ",\"attempts\":3,\"elapsed_ms\":");
    expect_contains(answer.body, "{\"error\":{\"code\":\"out_of_memory\"");
    expect_contains(answer.body, "],\"ok\":1,\"failed\":2,\"elapsed_ms\":");
}

static void done__list_with_require__quorum_by_http_status(void **state)
{
    static const struct {
        unsigned http_status;
        const char *quorum;
    } cases[] = {
        { 399, "\"ok\":2,\"failed\":1,\"quorum\":{\"required\":2,\"succeeded\":2,\"met\":true},\"elapsed_ms\":" },
        { 400, "\"ok\":2,\"failed\":1,\"quorum\":{\"required\":2,\"succeeded\":1,\"met\":false},\"elapsed_ms\":" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (i > 0)
            start_over(state);
        post("{\"urls\":[\"a\",\"b\",\"c\"],\"require\":2}");
        set_ok(0, "{}");
        set_ok(1, "{}");
        submitted->items[1].http_status = cases[i].http_status;
        set_failed(2, ST_CANCELLED, true);
        tell_done();
        expect_contains(answer.body, cases[i].quorum);
    }
}

static void done__one_url__its_result_itself(void **state)
{
    (void)state;
    post("{\"url\":\"a\"}");
    set_ok(0, "{\"index\":0,\"status\":500}");
    tell_done();
    assert_int_equal(answer.http, 200);
    assert_string_equal(answer.body, "{\"index\":0,\"status\":500}");
}

/* A small one is the service's from now on; a large one is the pool's until it was sent, and counted as long. */
static void done__one_url_large_result__given_back_when_sent(void **state)
{
    static const size_t lengths[] = { 64 * 1024, 64 * 1024 + 1 };
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        char *json = malloc(lengths[i] + 1);
        if (i > 0)
            start_over(state);
        memset(json, ' ', lengths[i]);
        memcpy(json, "{}", 2);
        json[lengths[i]] = '\0';
        post("{\"url\":\"a\"}");
        set_ok(0, json);
        tell_done();
        assert_string_equal(answer.body, json);
        assert_int_equal(answer.is_in_segments, lengths[i] > 64 * 1024);
        free(json);
    }
}

static void done__one_url_failed__problem_with_what_is_known(void **state)
{
    static const struct {
        enum status status;
        bool is_retriable;
    } cases[] = { { ST_CONNECT_TIMEOUT, true }, { ST_CONNECT_FAILED, false }, { ST_BAD_URL, false } };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (i > 0)
            start_over(state);
        post("{\"url\":\"http://h/\\\"\"}");
        set_failed(0, cases[i].status, cases[i].is_retriable);
        tell_done();
        expect_problem(cases[i].status, "after 150 ms");
        assert_int_equal(answer.is_final, !cases[i].is_retriable);
        expect_contains(
            answer.members,
            "{\"phase\":\"connect\",\"url\":\"http://h/\\\"\",\"attempts\":3,\"elapsed_ms\":0.000,\"timing_ms\":"
            "{\"queue\":0.000,\"host_queue\":0.000,\"dns\":0.000,\"connect\":0.000,");
    }
}

static void done__one_url_failed_without_memory__still_a_problem(void **state)
{
    (void)state;
    post("{\"url\":\"a\"}");
    submitted->items[0].status = ST_NO_MEMORY;
    submitted->items[0].phase = "body";
    submitted->items[0].is_retriable = true;
    tell_done();
    expect_problem(ST_NO_MEMORY, status_title(ST_NO_MEMORY));
    assert_string_equal(answer.members, "{\"phase\":\"body\",\"url\":\"a\"}");
}

static void wait__deadline__the_requests_or_the_longest(void **state)
{
    exchange.timeout_ms = 700;
    post("{\"url\":\"a\"}");
    assert_int_equal(answer.deadline_ns, 5 * NS_PER_SEC + 700 * NS_PER_MS);
    end_all();
    start_over(state);
    post("{\"url\":\"a\"}");
    assert_true(answer.deadline_ns > 5 * NS_PER_SEC + 60000 * NS_PER_MS);
    end_all();
}

static void give_up__any_reason__call_cancelled_then_answered(void **state)
{
    (void)state;
    post("{\"urls\":[\"a\"]}");
    endpoint_fetch.give_up(&exchange, ST_DRAINING);
    assert_int_equal(cancelled_by, ST_DRAINING);
    assert_int_equal(answer.count, 0);
    end_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fetch_test(get__url_only__the_defaults),
        fetch_test(get__no_url__named),
        fetch_test(get__two_urls__refused),
        fetch_test(get__unknown_parameter__advice),
        fetch_test(post__list__defaults_and_own_options),
        fetch_test(post__require__how_many_must_succeed),
        fetch_test(post__require_out_of_range__named_by_pointer),
        fetch_test(post__forward_traceparent__sent_along_if_wanted_and_there),
        fetch_test(post__forward_traceparent_no_switch__refused),
        fetch_test(post__no_json__400),
        fetch_test(post__no_object__400),
        fetch_test(post__url_with_nul__400),
        fetch_test(post__empty__400_says_what_to_send),
        fetch_test(post__form__415_explains_curl),
        fetch_test(post__text__415),
        fetch_test(post__query_parameters__refused),
        fetch_test(post__queue_full__503_names_the_option),
        fetch_test(request__sent_by_a_twinpool__loop_detected),
        fetch_test(done__list__results_in_order_and_counts),
        fetch_test(done__list_with_require__quorum_by_http_status),
        fetch_test(done__one_url__its_result_itself),
        fetch_test(done__one_url_large_result__given_back_when_sent),
        fetch_test(done__one_url_failed__problem_with_what_is_known),
        fetch_test(done__one_url_failed_without_memory__still_a_problem),
        fetch_test(wait__deadline__the_requests_or_the_longest),
        fetch_test(give_up__any_reason__call_cancelled_then_answered),
    };
    return cmocka_run_group_tests_name("fetch", tests, NULL, NULL);
}
