/* Tests of handlers/fetch_options.c: every member and parameter that says how a URL is fetched. */
#include "tests/unit/fake_io_pool.h"

#include "pool/retry_policy.h"

/* ---- numbers */

static uint32_t timeout_ms(const struct fetch_item *item) { return item->timeout_ms; }
static uint32_t dns_timeout_ms(const struct fetch_item *item) { return item->dns_timeout_ms; }
static uint32_t connect_timeout_ms(const struct fetch_item *item) { return item->connect_timeout_ms; }
static uint32_t tls_timeout_ms(const struct fetch_item *item) { return item->tls_timeout_ms; }
static uint32_t first_byte_timeout_ms(const struct fetch_item *item) { return item->first_byte_timeout_ms; }
static uint32_t hedge_ms(const struct fetch_item *item) { return item->hedge_ms; }
static uint32_t max_body_bytes(const struct fetch_item *item) { return (uint32_t)item->max_body_bytes; }
static uint32_t max_redirects(const struct fetch_item *item) { return item->max_redirects; }
static uint32_t retries(const struct fetch_item *item) { return item->retries; }

static const struct number {
    const char *name;
    uint32_t (*get)(const struct fetch_item *item);
    uint32_t initial, minimum, maximum;
    const char *range; /* as a refusal has it */
} numbers[] = {
    { "timeout_ms", timeout_ms, 15000, 1, 60000, "from 1 to 60000 (--fetch-timeout-max-ms)" },
    { "dns_timeout_ms", dns_timeout_ms, 2000, 1, 60000, "from 1 to 60000 (--fetch-timeout-max-ms)" },
    { "connect_timeout_ms", connect_timeout_ms, 3000, 1, 60000, "from 1 to 60000 (--fetch-timeout-max-ms)" },
    { "tls_timeout_ms", tls_timeout_ms, 5000, 1, 60000, "from 1 to 60000 (--fetch-timeout-max-ms)" },
    { "first_byte_timeout_ms", first_byte_timeout_ms, 10000, 1, 60000, "from 1 to 60000 (--fetch-timeout-max-ms)" },
    { "hedge_ms", hedge_ms, 0, 0, 60000, "from 0 to 60000 (--fetch-timeout-max-ms)" },
    { "max_body_bytes", max_body_bytes, 1000, 0, 1000, "from 0 to 1000 (--fetch-max-body-bytes)" },
    { "max_redirects", max_redirects, 5, 0, 5, "from 0 to 5 (--fetch-max-redirects)" },
    { "retries", retries, 2, 0, RETRIES_MAX, "from 0 to 10\"" },
};

static void post_value(const char *name, const char *value)
{
    static char body[200];
    snprintf(body, sizeof body, "{\"url\":\"a\",\"%s\":%s}", name, value);
    post(body);
}

static void get_value(const char *name, const char *value)
{
    set_query("url", "http://h/");
    set_query(name, value);
    endpoint_fetch.handle(&exchange);
}

static void expect_number(const struct number *number, uint32_t value)
{
    if (number->get(item()) != value)
        fail_msg("%s is %u, not %u", number->name, (unsigned)number->get(item()), (unsigned)value);
    end_all();
}

static void number__not_given__its_default(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        if (i > 0)
            start_over(state);
        post("{\"url\":\"a\"}");
        expect_number(&numbers[i], numbers[i].initial);
        start_over(state);
        set_query("url", "http://h/");
        endpoint_fetch.handle(&exchange);
        expect_number(&numbers[i], numbers[i].initial);
    }
}

static void number__at_its_bounds__taken_from_body_and_query(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        const uint32_t bounds[] = { numbers[i].minimum, numbers[i].maximum };
        for (size_t k = 0; k < ARRAY_LEN(bounds); k++) {
            char text[16];
            snprintf(text, sizeof text, "%u", (unsigned)bounds[k]);
            if (i + k > 0)
                start_over(state);
            post_value(numbers[i].name, text);
            expect_number(&numbers[i], bounds[k]);
            start_over(state);
            get_value(numbers[i].name, text);
            expect_number(&numbers[i], bounds[k]);
        }
    }
}

static void number__beyond_its_bounds__refused_with_them(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        const int64_t beyond[] = { (int64_t)numbers[i].minimum - 1, (int64_t)numbers[i].maximum + 1 };
        for (size_t k = 0; k < ARRAY_LEN(beyond); k++) {
            char text[24], place[64];
            snprintf(text, sizeof text, "%lld", (long long)beyond[k]);
            if (i + k > 0)
                start_over(state);
            post_value(numbers[i].name, text);
            snprintf(place, sizeof place, "{\"pointer\":\"/%s\",\"detail\":\"must be an integer", numbers[i].name);
            expect_refused(place);
            expect_contains(answer.members, numbers[i].range);
            start_over(state);
            get_value(numbers[i].name, text);
            snprintf(place, sizeof place, "{\"pointer\":\"\",\"parameter\":\"%s\",", numbers[i].name);
            expect_refused(place);
            expect_contains(answer.members, numbers[i].range);
        }
    }
}

static void number__another_type__refused(void **state)
{
    static const char *const values[] = { "1.5",   "\"5\"", "null",
                                          "true",  "[5]",   "{}",
                                          "1e999", "-0.5",  "0.99999999999999999" };
    static const char *const texts[] = { "", "1.5", "5 ", "+5", "0x5", "1e2", "-1", "5ms", "999999999999999999999" };
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        for (size_t k = 0; k < ARRAY_LEN(values); k++) {
            if (i + k > 0)
                start_over(state);
            post_value(numbers[i].name, values[k]);
            if (k < ARRAY_LEN(values) - 1)
                expect_refused("must be an integer");
            else /* that is 1 in a double, as in most readers of JSON */
                end_all();
            start_over(state);
            get_value(numbers[i].name, texts[k]);
            expect_refused("must be an integer");
        }
    }
}

static void number__given_for_all_and_for_one__the_one_has_its_own(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        char body[200];
        if (i > 0)
            start_over(state);
        snprintf(body, sizeof body, "{\"urls\":[{\"url\":\"a\",\"%s\":1},\"b\"],\"%s\":2}", numbers[i].name,
                 numbers[i].name);
        post(body);
        assert_int_equal(numbers[i].get(&item()[0]), 1);
        assert_int_equal(numbers[i].get(&item()[1]), 2);
        end_all();
    }
}

/* ---- switches and forms */

static void switches__on_off_and_left_out__as_said(void **state)
{
    (void)state;
    post("{\"urls\":[\"a\",{\"url\":\"b\",\"coalesce\":false,\"retry_unsafe\":true}],\"coalesce\":true}");
    assert_true(item()[0].coalesces);
    assert_false(item()[0].may_repeat_unsafe);
    assert_false(item()[1].coalesces);
    assert_true(item()[1].may_repeat_unsafe);
    end_all();
}

static void response_body__each_form__taken(void **state)
{
    static const struct {
        const char *value;
        enum fetch_body_form form;
    } cases[] = {
        { "\"auto\"", FETCH_BODY_AUTO }, { "\"text\"", FETCH_BODY_TEXT }, { "\"base64\"", FETCH_BODY_BASE64 },
        { "\"json\"", FETCH_BODY_JSON }, { "\"none\"", FETCH_BODY_NONE },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (i > 0)
            start_over(state);
        post_value("response_body", cases[i].value);
        assert_int_equal(item()->body_form, cases[i].form);
        end_all();
    }
    start_over(state);
    post("{\"url\":\"a\"}");
    assert_int_equal(item()->body_form, FETCH_BODY_AUTO);
    end_all();
}

static void response_headers__each_form__all_none_or_these(void **state)
{
    (void)state;
    post("{\"urls\":[\"a\",{\"url\":\"b\",\"response_headers\":true},{\"url\":\"c\",\"response_headers\":false},"
         "{\"url\":\"d\",\"response_headers\":[]}],\"response_headers\":[\"ETag\",\"x-UP_~9\"]}");
    assert_string_equal(item()[0].answer_headers[0], "etag");
    assert_string_equal(item()[0].answer_headers[1], "x-up_~9");
    assert_null(item()[0].answer_headers[2]);
    assert_null(item()[1].answer_headers);
    assert_null(item()[2].answer_headers[0]);
    assert_null(item()[3].answer_headers[0]);
    end_all();
}

static void response_headers__64_and_more__taken_and_refused(void **state)
{
    for (int count = 64; count <= 65; count++) {
        char list[1000] = "[";
        for (int i = 0; i < count; i++)
            sprintf(list + strlen(list), "%s\"h%d\"", i ? "," : "", i);
        strcat(list, "]");
        char *body = NULL;
        if (count > 64)
            start_over(state);
        assert_true(asprintf(&body, "{\"url\":\"a\",\"response_headers\":%s}", list) > 0);
        post(body);
        if (count == 64) {
            assert_string_equal(item()->answer_headers[63], "h63");
            assert_null(item()->answer_headers[64]);
            end_all();
        } else {
            expect_refused("a list of at most 64 header names");
        }
        free(body);
    }
}

/* ---- the request's own method, headers and body */

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
        { "{\"url\":\"a\",\"timeout_ms\":1e999}", "{\"pointer\":\"/timeout_ms\"" },
        { "{\"url\":\"a\",\"concurrency\":0}", "{\"pointer\":\"/concurrency\"" },
        { "{\"url\":\"a\",\"concurrency\":101}", "--fetch-inflight-max" },
        { "{\"url\":\"a\",\"method\":\"get\"}", "{\"pointer\":\"/method\"" },
        { "{\"url\":\"a\",\"method\":\"CONNECT\"}", "{\"pointer\":\"/method\"" },
        { "{\"url\":\"a\",\"method\":null}", "{\"pointer\":\"/method\"" },
        { "{\"url\":\"a\",\"body\":\"x\"}", "GET requests have no body" },
        { "{\"url\":\"a\",\"body\":\"json\"}", "the form of the answer's is response_body" },
        { "{\"url\":\"a\",\"method\":\"OPTIONS\",\"body_base64\":\"AA==\"}",
          "{\"pointer\":\"/body_base64\",\"detail\":\"OPTIONS requests have no body" },
        { "{\"method\":\"PUT\",\"body\":\"x\",\"urls\":[\"a\",{\"url\":\"b\",\"method\":\"HEAD\"}]}",
          "{\"pointer\":\"/urls/1/body\"" },
        { "{\"url\":\"a\",\"method\":\"POST\",\"body\":{}}", "{\"pointer\":\"/body\"" },
        { "{\"url\":\"a\",\"method\":\"POST\",\"body\":\"x\",\"body_base64\":\"AA==\"}", "exclude each other" },
        { "{\"url\":\"a\",\"method\":\"POST\",\"body_base64\":\"AA=\"}", "{\"pointer\":\"/body_base64\"" },
        { "{\"url\":\"a\",\"method\":\"POST\",\"body_base64\":\"A A=\"}", "{\"pointer\":\"/body_base64\"" },
        { "{\"url\":\"a\",\"method\":\"POST\",\"body_base64\":\"A===\"}", "{\"pointer\":\"/body_base64\"" },
        { "{\"url\":\"a\",\"method\":\"POST\",\"body_base64\":7}", "{\"pointer\":\"/body_base64\"" },
        { "{\"url\":\"a\",\"headers\":[\"ETag\"]}", "{\"pointer\":\"/headers\"" },
        { "{\"url\":\"a\",\"headers\":{\"A-b\":\"1\",\"c\":\"2\",\"a-B\":\"3\"}}",
          "{\"pointer\":\"/headers/a-B\",\"detail\":\"this header is there already" },
        { "{\"url\":\"a\",\"headers\":[]}", "which headers of the answer come back is response_headers" },
        { "{\"url\":\"a\",\"headers\":{\"CDN-Loop\":\"x\"}}", "{\"pointer\":\"/headers/CDN-Loop\"" },
        { "{\"url\":\"a\",\"response_body\":\"xml\"}",
          "{\"pointer\":\"/response_body\",\"detail\":\"must be auto, text, base64, json or none\"}" },
        { "{\"url\":\"a\",\"response_body\":\"JSON\"}", "{\"pointer\":\"/response_body\"" },
        { "{\"url\":\"a\",\"response_body\":false}", "{\"pointer\":\"/response_body\"" },
        { "{\"url\":\"a\",\"response_headers\":\"etag\"}",
          "{\"pointer\":\"/response_headers\",\"detail\":\"must be true, false or a list" },
        { "{\"url\":\"a\",\"response_headers\":null}", "{\"pointer\":\"/response_headers\"" },
        { "{\"url\":\"a\",\"response_headers\":{}}", "{\"pointer\":\"/response_headers\"" },
        { "{\"url\":\"a\",\"response_headers\":[\"etag\",1]}", "{\"pointer\":\"/response_headers\"" },
        { "{\"url\":\"a\",\"response_headers\":[\"\"]}", "{\"pointer\":\"/response_headers\"" },
        { "{\"url\":\"a\",\"response_headers\":[\"a b\"]}", "{\"pointer\":\"/response_headers\"" },
        { "{\"urls\":[{\"url\":\"a\",\"response_headers\":[[]]}]}", "{\"pointer\":\"/urls/0/response_headers\"" },
        { "{\"url\":\"a\",\"retry_unsafe\":1}",
          "{\"pointer\":\"/retry_unsafe\",\"detail\":\"must be true or false\"}" },
        { "{\"urls\":[{\"url\":\"a\",\"retry_unsafe\":\"true\"}]}", "{\"pointer\":\"/urls/0/retry_unsafe\"" },
        { "{\"url\":\"a\",\"coalesce\":null}", "{\"pointer\":\"/coalesce\",\"detail\":\"must be true or false\"}" },
        { "{\"urls\":[{\"url\":\"a\",\"headers\":{\"A\":1}}]}", "{\"pointer\":\"/urls/0/headers/A\"" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (i > 0)
            start_over(state);
        post(cases[i].body);
        if (submitted)
            fail_msg("accepted: %s", cases[i].body);
        expect_refused(cases[i].part);
    }
}

static void post__what_is_no_member__refused_by_name(void **state)
{
    static const char *const names[] = {
        "timeout", "Timeout_ms", "retry", "hedge", "require_all", "response_header", ""
    };
    static const char *const of_the_call[] = { "urls", "require", "concurrency", "forward_traceparent" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char place[64];
        if (i > 0)
            start_over(state);
        post_value(names[i], "1");
        snprintf(place, sizeof place, "{\"pointer\":\"/%s\",\"detail\":\"is not a member of a fetch", names[i]);
        expect_refused(place);
    }
    for (size_t i = 0; i < ARRAY_LEN(of_the_call); i++) {
        char body[100], place[100];
        start_over(state);
        snprintf(body, sizeof body, "{\"urls\":[\"a\",{\"url\":\"b\",\"%s\":1}]}", of_the_call[i]);
        post(body);
        snprintf(place, sizeof place, "{\"pointer\":\"/urls/1/%s\",\"detail\":\"belongs beside urls", of_the_call[i]);
        expect_refused(place);
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
        "\"cdn-loop\":\"x\"",
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
        if (i > 0)
            start_over(state);
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
    start_over(state);
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

static void post__typing_errors__nearest_name_offered(void **state)
{
    static const struct {
        const char *body, *detail;
    } cases[] = {
        { "{\"url\":\"a\",\"retires\":1}", "is not a member of a fetch; did you mean retries?" },
        { "{\"url\":\"a\",\"concurency\":1}", "is not a member of a fetch; did you mean concurrency?" },
        { "{\"urls\":[{\"url\":\"a\",\"methd\":1}]}", "is not a member of a URL's object; did you mean method?" },
        { "{\"url\":\"a\",\"something_else\":1}", "is not a member of a fetch\"" },
        { "{\"urls\":[{\"method\":\"GET\"}]}", "{\"pointer\":\"/urls/0/url\",\"detail\":\"is missing\"" },
        { "{\"urls\":[{\"url\":1}]}", "{\"pointer\":\"/urls/0/url\",\"detail\":\"must be a string\"" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (i > 0)
            start_over(state);
        post(cases[i].body);
        expect_refused(cases[i].detail);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fetch_test(number__not_given__its_default),
        fetch_test(number__at_its_bounds__taken_from_body_and_query),
        fetch_test(number__beyond_its_bounds__refused_with_them),
        fetch_test(number__another_type__refused),
        fetch_test(number__given_for_all_and_for_one__the_one_has_its_own),
        fetch_test(switches__on_off_and_left_out__as_said),
        fetch_test(response_body__each_form__taken),
        fetch_test(response_headers__each_form__all_none_or_these),
        fetch_test(response_headers__64_and_more__taken_and_refused),
        fetch_test(post__everything__taken),
        fetch_test(post__base64_body__decoded),
        fetch_test(post__bad_values__named_by_pointer),
        fetch_test(post__what_is_no_member__refused_by_name),
        fetch_test(post__typing_errors__nearest_name_offered),
        fetch_test(post__headers_that_are_not_the_callers__refused),
        fetch_test(post__too_many_or_too_long_headers__refused),
        fetch_test(post__many_faults__first_twenty_listed),
    };
    return cmocka_run_group_tests_name("fetch_options", tests, NULL, NULL);
}
