/* Tests of handlers/fetch.c, fetch_request.c and fetch_options.c: what becomes of a request, and of a call's results.
 */
#include "tests/unit/fake_app.h"

#include "pool/fetch_render.h"
#include "pool/io_pool.h"

/* ---- an I/O pool without threads */

static struct fetch_call *submitted;
static enum status submit_status, cancelled_by;

enum status io_pool_submit(struct io_pool *to, struct fetch_call *call)
{
    (void)to;
    if (submit_status != ST_OK)
        return submit_status;
    submitted = call;
    call->started_ns = clock_now_ns();
    return ST_OK;
}

void io_pool_cancel(struct io_pool *from, struct fetch_call *call, enum status why)
{
    (void)from;
    (void)call;
    cancelled_by = why;
}

void fetch_call_clear(struct fetch_call *call)
{
    for (size_t i = 0; i < call->count; i++)
        free(call->items[i].json);
}

static int setup(void **state)
{
    fake_setup(state);
    submitted = NULL;
    submit_status = cancelled_by = ST_OK;
    app.io_pool = (struct io_pool *)&pool; /* only passed through */
    limits.fetch_timeout_ms = 15000;
    limits.fetch_timeout_max_ms = 60000;
    limits.fetch_max_urls = 5;
    limits.fetch_inflight_max = 100;
    limits.fetch_max_body_bytes = 1000;
    limits.fetch_max_redirects = 5;
    return 0;
}

static void post(const char *body)
{
    set_post(MEDIA_JSON, body);
    endpoint_fetch.handle(&exchange);
}

/* The first item of the call that was submitted. */
static const struct fetch_item *item(void)
{
    if (!submitted)
        fail_msg("refused: %s %s", answer.detail, answer.members ? answer.members : "");
    assert_true(answer.is_waiting);
    return &submitted->items[0];
}

static void end_ok(size_t index, const char *json)
{
    submitted->items[index].status = ST_OK;
    submitted->items[index].json = strdup(json);
    submitted->items[index].json_len = strlen(json);
}

static void end_failed(size_t index)
{
    fetch_item_fail(&submitted->items[index], ST_TIMEOUT, "connect", "after 150 ms");
    fetch_render_failure(&submitted->items[index], index);
}

static void end_all(void)
{
    for (size_t i = 0; i < submitted->count; i++)
        end_ok(i, "{}");
    submitted->on_done(submitted);
}

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

static void get__options__taken(void **state)
{
    (void)state;
    set_query("timeout_ms", "60000");
    set_query("max_body_bytes", "0");
    set_query("url", "http://h/");
    set_query("max_redirects", "0");
    endpoint_fetch.handle(&exchange);
    assert_int_equal(item()->timeout_ms, 60000);
    assert_int_equal(item()->max_body_bytes, 0);
    assert_int_equal(item()->max_redirects, 0);
    end_all();
}

static void expect_refused(const char *part_of_members)
{
    assert_null(submitted);
    assert_string_equal(status_code(answer.status), "invalid_args");
    expect_contains(answer.members, part_of_members);
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

static void get__numbers_out_of_range__each_named(void **state)
{
    (void)state;
    set_query("url", "http://h/");
    set_query("timeout_ms", "0");
    set_query("max_body_bytes", "1001");
    set_query("max_redirects", "-1");
    endpoint_fetch.handle(&exchange);
    expect_refused(
        "\"parameter\":\"timeout_ms\",\"detail\":\"must be an integer from 1 to 60000 (--fetch-timeout-max-ms)\"");
    expect_contains(answer.members, "from 0 to 1000 (--fetch-max-body-bytes)");
    expect_contains(answer.members, "from 0 to 5 (--fetch-max-redirects)");
}

static void post__everything__taken(void **state)
{
    (void)state;
    post("{\"url\":\"http://h/"
         "\",\"method\":\"POST\",\"headers\":{\"X-A\":\"1\",\"X-B\":\"\"},\"body\":\"\\u00e4\",\"timeout_ms\":5,"
         "\"max_body_bytes\":1e2,\"max_redirects\":1.0,\"concurrency\":7}");
    assert_int_equal(item()->method, FETCH_POST);
    assert_string_equal(item()->headers[0], "X-A: 1");
    assert_string_equal(item()->headers[1], "X-B;");
    assert_null(item()->headers[2]);
    assert_int_equal(item()->body_len, 2);
    assert_memory_equal(item()->body, "\xc3\xa4", 2);
    assert_int_equal(item()->timeout_ms, 5);
    assert_int_equal(item()->max_body_bytes, 100);
    assert_int_equal(item()->max_redirects, 1);
    assert_int_equal(submitted->concurrency, 7);
    end_all();
}

static void post__base64_body__decoded(void **state)
{
    (void)state;
    post("{\"urls\":[{\"url\":\"a\",\"body_base64\":\"AP8=\"},{\"url\":\"b\",\"body_base64\":\"AP8B\"},{\"url\":\"c\","
         "\"body_base64\":\"/w==\"},"
         "{\"url\":\"d\",\"body_base64\":\"\"}],\"method\":\"PUT\"}");
    static const unsigned lengths[] = { 2, 3, 1, 0 };
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++)
        assert_int_equal(item()[i].body_len, lengths[i]);
    assert_memory_equal(item()[1].body, "\x00\xff\x01", 3);
    end_all();
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

/* ---- what is refused */

static void post__bad_values__named_by_pointer(void **state)
{
    (void)state;
    static const struct {
        const char *body, *part;
    } cases[] = {
        { "{}", "either url or urls" },
        { "{\"url\":\"a\",\"urls\":[\"b\"]}", "either url or urls" },
        { "{\"url\":1}", "{\"pointer\":\"/url\",\"detail\":\"must be a string\"}" },
        { "{\"urls\":\"a\"}", "\"pointer\":\"/urls\"" },
        { "{\"urls\":[]}", "at least one" },
        { "{\"urls\":[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\"]}", "has 6 URLs, at most 5 are accepted (--fetch-max-urls)" },
        { "{\"urls\":[\"a\",1]}", "{\"pointer\":\"/urls/1\"" },
        { "{\"urls\":[{}]}", "{\"pointer\":\"/urls/0/url\"" },
        { "{\"urls\":[{\"url\":null}]}", "{\"pointer\":\"/urls/0/url\"" },
        { "{\"urls\":[{\"url\":\"a\",\"uRl\":\"b\"}]}", "{\"pointer\":\"/urls/0/uRl\"" },
        { "{\"url\":\"a\",\"x~/y\":1}", "{\"pointer\":\"/x~0~1y\",\"detail\":\"is not a member" },
        { "{\"url\":\"a\",\"timeout_ms\":1.5}", "{\"pointer\":\"/timeout_ms\"" },
        { "{\"url\":\"a\",\"timeout_ms\":60001}", "--fetch-timeout-max-ms" },
        { "{\"url\":\"a\",\"timeout_ms\":1e999}", "{\"pointer\":\"/timeout_ms\"" },
        { "{\"url\":\"a\",\"timeout_ms\":\"5\"}", "{\"pointer\":\"/timeout_ms\"" },
        { "{\"url\":\"a\",\"max_body_bytes\":-1}", "{\"pointer\":\"/max_body_bytes\"" },
        { "{\"url\":\"a\",\"concurrency\":0}", "{\"pointer\":\"/concurrency\"" },
        { "{\"url\":\"a\",\"concurrency\":101}", "--fetch-inflight-max" },
        { "{\"url\":\"a\",\"method\":\"get\"}", "{\"pointer\":\"/method\"" },
        { "{\"url\":\"a\",\"method\":\"CONNECT\"}", "{\"pointer\":\"/method\"" },
        { "{\"url\":\"a\",\"method\":null}", "{\"pointer\":\"/method\"" },
        { "{\"url\":\"a\",\"body\":\"x\"}", "a GET request has no body" },
        { "{\"url\":\"a\",\"method\":\"POST\",\"body\":{}}", "{\"pointer\":\"/body\"" },
        { "{\"url\":\"a\",\"method\":\"POST\",\"body\":\"x\",\"body_base64\":\"AA==\"}", "exclude each other" },
        { "{\"url\":\"a\",\"method\":\"POST\",\"body_base64\":\"AA=\"}", "{\"pointer\":\"/body_base64\"" },
        { "{\"url\":\"a\",\"method\":\"POST\",\"body_base64\":\"A A=\"}", "{\"pointer\":\"/body_base64\"" },
        { "{\"url\":\"a\",\"method\":\"POST\",\"body_base64\":\"A===\"}", "{\"pointer\":\"/body_base64\"" },
        { "{\"url\":\"a\",\"method\":\"POST\",\"body_base64\":7}", "{\"pointer\":\"/body_base64\"" },
        { "{\"url\":\"a\",\"headers\":[]}", "{\"pointer\":\"/headers\"" },
        { "{\"urls\":[{\"url\":\"a\",\"headers\":{\"A\":1}}]}", "{\"pointer\":\"/urls/0/headers/A\"" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        fake_teardown(state);
        setup(state);
        post(cases[i].body);
        if (submitted)
            fail_msg("accepted: %s", cases[i].body);
        expect_refused(cases[i].part);
    }
}

static void post__headers_that_are_not_the_callers__refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "\"Host\":\"x\"",
        "\"content-length\":\"1\"",
        "\"Transfer-Encoding\":\"chunked\"",
        "\"Connection\":\"x\"",
        "\"Keep-Alive\":\"x\"",
        "\"TE\":\"x\"",
        "\"Trailer\":\"x\"",
        "\"Upgrade\":\"x\"",
        "\"Proxy-Authorization\":\"x\"",
        "\"PROXY-X\":\"x\"",
        "\"Expect\":\"x\"",
        "\"Accept-Encoding\":\"x\"",
        "\"\":\"x\"",
        "\"a b\":\"x\"",
        "\"a:b\":\"x\"",
        "\"a\\r\\nb\":\"x\"",
        "\"\\u00e4\":\"x\"",
        "\"A\":\"a\\r\\nB: c\"",
        "\"A\":\"a\\nb\"",
        "\"A\":\"\\u0007\"",
        "\"A\":\"\\u007f\"",
        "\"A\":\"\\u00e4\"",
        "\"A\":null",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char body[200];
        fake_teardown(state);
        setup(state);
        snprintf(body, sizeof body, "{\"url\":\"a\",\"headers\":{%s}}", bad[i]);
        post(body);
        if (submitted)
            fail_msg("accepted: %s", body);
        expect_refused("\"pointer\":\"/headers/");
    }
}

static void post__too_many_or_too_long_headers__refused(void **state)
{
    static const char start[] = "{\"url\":\"a\",\"headers\":{\"H\":\"";
    char *body = malloc(20000);
    strcpy(body, start);
    memset(body + strlen(body), 'x', 8192);
    strcpy(body + sizeof start - 1 + 8192, "\"}}");
    post(body);
    expect_refused("longer than 8192 bytes");
    fake_teardown(state);
    setup(state);
    strcpy(body, "{\"url\":\"a\",\"headers\":{");
    for (int i = 0; i <= 64; i++)
        sprintf(body + strlen(body), "%s\"h%d\":\"\"", i ? "," : "", i);
    strcat(body, "}}");
    post(body);
    expect_refused("at most 64");
    free(body);
}

static void post__many_faults__first_twenty_listed(void **state)
{
    (void)state;
    char body[2000] = "{\"url\":\"a\"";
    for (int i = 0; i < 50; i++)
        sprintf(body + strlen(body), ",\"m%d\":1", i);
    strcat(body, "}");
    post(body);
    expect_refused("\"/m19\"");
    assert_null(strstr(answer.members, "\"/m20\""));
    expect_contains(answer.detail, "/m0");
}

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
        fake_teardown(state);
        setup(state);
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

/* ---- what is answered */

static void done__list__results_in_order_and_counts(void **state)
{
    (void)state;
    post("{\"urls\":[\"a\",\"b\",\"c\"]}");
    end_ok(0, "{\"index\":0}");
    end_failed(1);
    submitted->items[2].status = ST_NO_MEMORY; /* not even its error could be written */
    item();
    submitted->on_done(submitted);
    assert_int_equal(answer.http, 200);
    expect_contains(answer.body,
                    "{\"results\":[{\"index\":0},{\"index\":1,\"url\":\"b\",\"error\":{\"code\":\"timeout\"");
    expect_contains(answer.body, "{\"error\":{\"code\":\"out_of_memory\"");
    expect_contains(answer.body, "],\"ok\":1,\"failed\":2,\"elapsed_ms\":");
}

static void done__one_url_failed__problem_with_its_status(void **state)
{
    (void)state;
    post("{\"url\":\"http://h/\\\"\"}");
    end_failed(0);
    submitted->on_done(submitted);
    expect_problem(ST_TIMEOUT, "after 150 ms");
    assert_string_equal(answer.members, "{\"phase\":\"connect\",\"url\":\"http://h/\\\"\"}");
}

static void wait__deadline__the_requests_or_the_longest(void **state)
{
    (void)state;
    exchange.timeout_ms = 700;
    post("{\"url\":\"a\"}");
    assert_int_equal(answer.deadline_ns, 5 * NS_PER_SEC + 700 * NS_PER_MS);
    end_all();
    fake_teardown(state);
    setup(state);
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

#define fetch_test(f) cmocka_unit_test_setup_teardown(f, setup, fake_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        fetch_test(get__url_only__the_defaults),
        fetch_test(get__options__taken),
        fetch_test(get__no_url__named),
        fetch_test(get__two_urls__refused),
        fetch_test(get__unknown_parameter__advice),
        fetch_test(get__numbers_out_of_range__each_named),
        fetch_test(post__everything__taken),
        fetch_test(post__base64_body__decoded),
        fetch_test(post__list__defaults_and_own_options),
        fetch_test(post__bad_values__named_by_pointer),
        fetch_test(post__headers_that_are_not_the_callers__refused),
        fetch_test(post__too_many_or_too_long_headers__refused),
        fetch_test(post__many_faults__first_twenty_listed),
        fetch_test(post__no_json__400),
        fetch_test(post__no_object__400),
        fetch_test(post__url_with_nul__400),
        fetch_test(post__empty__400_says_what_to_send),
        fetch_test(post__form__415_explains_curl),
        fetch_test(post__text__415),
        fetch_test(post__query_parameters__refused),
        fetch_test(post__queue_full__503_names_the_option),
        fetch_test(done__list__results_in_order_and_counts),
        fetch_test(done__one_url_failed__problem_with_its_status),
        fetch_test(wait__deadline__the_requests_or_the_longest),
        fetch_test(give_up__any_reason__call_cancelled_then_answered),
    };
    return cmocka_run_group_tests_name("fetch", tests, NULL, NULL);
}
