/* Tests of handlers/fetch_explain.c: POST and GET /fetch?explain=1 say what the egress policy says, and fetch nothing.
 */
#include "tests/unit/fake_io_pool.h"

#include <cjson/cJSON.h>

#include "pool/egress_policy.h"
#include "tests/support/json_path.h"

static struct egress_policy policy;

static int setup(void **state)
{
    const char *message;
    fetch_setup(state);
    policy = (struct egress_policy){ 0 };
    limits.egress = &policy;
    return egress_cidrs_parse("10.1.0.0/16", &policy.allow, &message) &&
                   egress_hosts_parse("*.bad.example", &policy.deny_hosts, &message)
               ? 0
               : -1;
}

/* The explanation of one URL; the caller frees it. */
static cJSON *explain(const char *url)
{
    char body[300];
    snprintf(body, sizeof body, "{\"urls\":[\"%s\"]}", url);
    set_query("explain", "1");
    post(body);
    assert_null(submitted);
    assert_int_equal(answer.http, 200);
    cJSON *tree = cJSON_Parse(answer.body);
    assert_string_equal(json_text_at(tree, "explained.0.url"), url);
    return tree;
}

/* "scheme=allowed port=refused": the steps and their results, in order. */
static void list_steps(const cJSON *explained, char *ret_list, size_t size)
{
    const cJSON *step;
    size_t used = 0;
    ret_list[0] = '\0';
    cJSON_ArrayForEach(step, json_at(explained, "steps"))
    {
        used += (size_t)snprintf(ret_list + used, size - used, "%s%s=%s", used ? " " : "", json_text_at(step, "check"),
                                 json_text_at(step, "result"));
        assert_true(used < size);
    }
}

static void urls__of_every_kind__the_steps_up_to_the_refusal(void **state)
{
    static const struct {
        const char *url, *code, *steps; /* code NULL: allowed */
    } cases[] = {
        { "http://8.8.8.8/x", NULL, "url=allowed scheme=allowed port=allowed host=allowed address=allowed" },
        { "https://10.1.2.3/", NULL, "url=allowed scheme=allowed port=allowed host=allowed address=allowed" },
        { "http://0x0a010203:8080/", NULL, "url=allowed scheme=allowed port=allowed host=allowed address=allowed" },
        { "https://example.org/", NULL, "url=allowed scheme=allowed port=allowed host=allowed address=open" },
        { "http://10.2.0.1/", "blocked_address",
          "url=allowed scheme=allowed port=allowed host=allowed address=refused" },
        { "http://[::1]/", "blocked_address", "url=allowed scheme=allowed port=allowed host=allowed address=refused" },
        { "http://www.bad.example/", "host_not_allowed", "url=allowed scheme=allowed port=allowed host=refused" },
        { "http://example.org:25/", "port_not_allowed", "url=allowed scheme=allowed port=refused" },
        { "ftp://example.org/", "scheme_not_allowed", "scheme=refused" },
        { "http://user@example.org/", "bad_url", "url=refused" },
        { "nonsense", "bad_url", "url=refused" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char steps[200];
        if (i > 0) {
            assert_int_equal(fetch_teardown(state), 0);
            setup(state);
        }
        cJSON *tree = explain(cases[i].url);
        const cJSON *explained = json_at(tree, "explained.0");
        list_steps(explained, steps, sizeof steps);
        const cJSON *allowed = json_at(explained, "allowed");
        bool is_open = strstr(steps, "=open") != NULL; /* the name is to be looked up */
        if (!(is_open         ? cJSON_IsNull(allowed)
              : cases[i].code ? cJSON_IsFalse(allowed)
                              : cJSON_IsTrue(allowed)) ||
            strcmp(steps, cases[i].steps) != 0 ||
            strcmp(json_text_at(explained, "code"), cases[i].code ? cases[i].code : "") != 0)
            fail_msg("%s: %s", cases[i].url, answer.body);
        cJSON_Delete(tree);
    }
}

static void refusal__any__says_why_in_its_step(void **state)
{
    (void)state;
    cJSON *tree = explain("http://10.2.0.1/");
    assert_string_equal(json_text_at(tree, "explained.0.steps.4.value"), "10.2.0.1");
    expect_contains(json_text_at(tree, "explained.0.steps.4.detail"), "--fetch-allow");
    cJSON_Delete(tree);
}

static void list__of_urls__explained_in_order(void **state)
{
    (void)state;
    set_query("explain", "1");
    post("{\"urls\":[\"http://8.8.8.8/\",{\"url\":\"\\\"<\",\"timeout_ms\":5}]}");
    cJSON *tree = cJSON_Parse(answer.body);
    assert_int_equal(cJSON_GetArraySize(json_at(tree, "explained")), 2);
    assert_true(json_number(tree, "explained.1.index") == 1);
    assert_string_equal(json_text_at(tree, "explained.1.url"), "\"<");
    cJSON_Delete(tree);
}

static void get__explained__as_a_list_of_one(void **state)
{
    (void)state;
    set_query("explain", "1");
    set_query("url", "http://8.8.8.8/");
    endpoint_fetch.handle(&exchange);
    expect_contains(answer.body, "{\"explained\":[{\"index\":0,\"url\":\"http://8.8.8.8/\",\"allowed\":true,");
    assert_int_equal(calls_accepted, 0);
}

static void stream__of_explanations__is_one_answer(void **state)
{
    (void)state;
    exchange.accepts = ANSWER_NDJSON;
    cJSON_Delete(explain("http://8.8.8.8/"));
    assert_string_equal(answer.content_type, JSON_TYPE);
}

static void explain__0_and_other_values__fetched_and_refused(void **state)
{
    static const char *const bad[] = { "", "2", "true", "01" };
    set_query("explain", "0");
    post("{\"url\":\"http://8.8.8.8/\"}");
    item();
    end_all();
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        start_over(state);
        set_query("explain", bad[i]);
        post("{\"url\":\"http://8.8.8.8/\"}");
        expect_problem(ST_INVALID_ARGS, "explain must be 1 or 0");
    }
    start_over(state);
    set_query("explain", "1");
    set_query("timeout_ms", "5");
    post("{\"url\":\"http://8.8.8.8/\"}");
    expect_problem(ST_INVALID_ARGS, "no query parameter but explain");
}

static void explain__of_a_bad_request__refused_as_ever(void **state)
{
    (void)state;
    set_query("explain", "1");
    post("{\"urls\":[\"a\"],\"colour\":1}");
    expect_refused("\"/colour\"");
}

#define explain_test(f) cmocka_unit_test_setup_teardown(f, setup, fetch_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        explain_test(urls__of_every_kind__the_steps_up_to_the_refusal),
        explain_test(refusal__any__says_why_in_its_step),
        explain_test(list__of_urls__explained_in_order),
        explain_test(get__explained__as_a_list_of_one),
        explain_test(stream__of_explanations__is_one_answer),
        explain_test(explain__0_and_other_values__fetched_and_refused),
        explain_test(explain__of_a_bad_request__refused_as_ever),
    };
    return cmocka_run_group_tests_name("fetch_explain", tests, NULL, NULL);
}
