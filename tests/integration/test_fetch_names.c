/* Names through the program, which asks our name server: what they lead to, how they fail, and that nobody else is
 * asked. The whole program runs in a network of its own with nothing but the loopback interface where the system allows
 * it. */
#include "tests/integration/stream_rig.h"

#include "tests/support/name_server.h"
#include "tests/support/netns.h"

enum { URL_BYTES = 512, TTL_S = 60 };

static struct name_server *names;

static int stop(void **state)
{
    int code = rig_stop(state);
    name_server_stop(names);
    return code;
}

static int start(void **state)
{
    (void)state;
    char servers[32];
    if (!netns_enter())
        print_message("    no network of our own here\n");
    names = name_server_start("127.0.0.1", 0);
    if (!names)
        return -1;
    snprintf(servers, sizeof servers, "127.0.0.1:%u", (unsigned)name_server_port(names));
    const char *const flags[] = {
        "--workers", "1", "--fetch-allow", "127.0.0.0/8", "--fetch-dns-servers", servers, NULL
    };
    return rig_start(flags);
}

static void add(const char *name, enum name_type type, const char *value)
{
    assert_true(name_server_add(names, name, type, value, TTL_S));
}

static void behave(const char *name, enum name_behaviour behaviour)
{
    assert_true(name_server_behave(names, name, behaviour, 0));
}

/* {"url":"http://NAME:PORT/echo"<members>}; the caller frees the answer. */
static cJSON *fetch_name(const char *name, const char *members, unsigned status)
{
    char body[URL_BYTES];
    snprintf(body, sizeof body, "{\"url\":\"http://%s:%u/echo\"%s}", name, (unsigned)origin_port(origin), members);
    return post_fetch(body, status);
}

static void expect_failure(const char *name, const char *members, unsigned status, const char *code, const char *phase)
{
    cJSON *answer = fetch_name(name, members, status);
    if (strcmp(json_text_at(answer, "code"), code) != 0 || strcmp(json_text_at(answer, "phase"), phase) != 0)
        fail_msg("%s: %s in %s: %s", name, json_text_at(answer, "code"), json_text_at(answer, "phase"),
                 json_text_at(answer, "detail"));
    cJSON_Delete(answer);
}

static void name__of_the_origin__fetched_by_name(void **state)
{
    (void)state;
    char field[64];
    add("origin.test", NAME_A, "127.0.0.1");
    cJSON *answer = fetch_name("Origin.TEST", "", 200);
    snprintf(field, sizeof field, "Host: origin.test:%u\\r\\n", (unsigned)origin_port(origin));
    assert_non_null(strstr(json_text_at(answer, "body"), field));
    assert_true(json_number(answer, "timing_ms.dns") > 0);
    cJSON_Delete(answer);
    assert_true(name_server_queries(names, "origin.test") >= 1);
}

static void name__asked_for_again__remembered(void **state)
{
    (void)state;
    add("again.test", NAME_A, "127.0.0.1");
    cJSON_Delete(fetch_name("again.test", "", 200));
    uint64_t asked = name_server_queries(names, "again.test");
    cJSON_Delete(fetch_name("again.test", "", 200));
    assert_int_equal(name_server_queries(names, "again.test"), asked);
}

static void name__alias_and_international__followed_and_encoded(void **state)
{
    (void)state;
    add("real.test", NAME_A, "127.0.0.1");
    add("alias.test", NAME_CNAME, "real.test");
    add("xn--mnchen-3ya.test", NAME_A, "127.0.0.1");
    cJSON_Delete(fetch_name("alias.test", "", 200));
    cJSON *answer = fetch_name("M\xc3\x9cnchen.test", "", 200);
    assert_non_null(strstr(json_text_at(answer, "body"), "Host: xn--mnchen-3ya.test:"));
    cJSON_Delete(answer);
}

static void name__unknown_or_broken__dns_failed(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum name_behaviour behaviour;
    } cases[] = { { "nobody.test", NAME_NXDOMAIN }, { "empty.test", NAME_EMPTY }, { "servfail.test", NAME_SERVFAIL } };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        behave(cases[i].name, cases[i].behaviour);
        expect_failure(cases[i].name, ",\"retries\":0", 502, "dns_failed", "dns");
    }
}

static void name__server_silent__dns_timeout_with_its_budget(void **state)
{
    (void)state;
    behave("silent.test", NAME_SILENT);
    uint64_t start_ns = clock_now_ns();
    cJSON *answer = fetch_name("silent.test", ",\"retries\":0,\"dns_timeout_ms\":200", 504);
    assert_string_equal(json_text_at(answer, "code"), "dns_timeout");
    assert_string_equal(json_text_at(answer, "phase"), "dns");
    assert_non_null(strstr(json_text_at(answer, "detail"), "dns_timeout_ms"));
    assert_true(json_number(answer, "timing_ms.dns") >= 195);
    assert_true(elapsed_ms(start_ns) < 200 + scaled_ms(1000));
    cJSON_Delete(answer);
    expect_failure("silent.test", ",\"timeout_ms\":150", 504, "deadline_exceeded", "dns");
}

static void name__first_query_lost__asked_again_in_time(void **state)
{
    (void)state;
    add("lossy.test", NAME_A, "127.0.0.1");
    behave("lossy.test", NAME_ONCE_SILENT);
    cJSON_Delete(fetch_name("lossy.test", ",\"dns_timeout_ms\":10000", 200));
}

/* Localhost is this machine by definition (RFC 6761): the name server is not asked, whatever it would say. */
static void localhost__fetched__without_a_query(void **state)
{
    (void)state;
    add("localhost", NAME_A, "127.0.0.9");
    add("sub.localhost", NAME_A, "127.0.0.9");
    uint64_t before = name_server_total_queries(names);
    cJSON_Delete(fetch_name("localhost", "", 200));
    cJSON_Delete(fetch_name("LOCALHOST", "", 200));
    assert_int_equal(name_server_total_queries(names), before);
}

static void name__any_forbidden_address__refused_without_a_connection(void **state)
{
    (void)state;
    uint64_t before = origin_get_counts(origin).connections;
    add("private.test", NAME_A, "10.0.0.1");
    add("mixed.test", NAME_A, "127.0.0.1");
    add("mixed.test", NAME_A, "10.0.0.1");
    add("private-v6.test", NAME_AAAA, "fd00::1");
    add("mapped.test", NAME_AAAA, "::ffff:169.254.169.254");
    add("rebound.test", NAME_CNAME, "private.test");
    static const char *const hosts[] = { "private.test", "mixed.test", "private-v6.test", "mapped.test",
                                         "rebound.test" };
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++)
        expect_failure(hosts[i], "", 403, "blocked_address", "policy");
    assert_int_equal(origin_get_counts(origin).connections, before);
}

/* The first address refuses connections, the second one answers: in either order, again and again. */
static void name__one_address_dead__the_other_is_tried(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 6; i++) {
        char name[32];
        snprintf(name, sizeof name, "half-dead%u.test", i);
        add(name, NAME_A, i % 2 ? "127.0.0.1" : "127.0.0.2");
        add(name, NAME_A, i % 2 ? "127.0.0.2" : "127.0.0.1");
        cJSON *answer = fetch_name(name, ",\"retries\":0", 200);
        assert_true(json_number(answer, "elapsed_ms") < scaled_ms(2000));
        cJSON_Delete(answer);
    }
}

/* An answer that changes between check and use changes nothing: what was checked is what is connected to. */
static void name__that_alternates__never_past_the_policy(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 6; i++) {
        char name[32];
        snprintf(name, sizeof name, "flip%u.test", i);
        assert_true(name_server_add(names, name, NAME_A, i % 2 ? "127.0.0.1" : "10.0.0.1", 0));
        assert_true(name_server_add(names, name, NAME_A, i % 2 ? "10.0.0.1" : "127.0.0.1", 0));
        behave(name, NAME_ALTERNATE);
        cJSON *answer = fetch_name(name, ",\"retries\":0", i % 2 ? 200 : 403);
        cJSON_Delete(answer);
    }
}

static void redirect__to_a_name__resolved_and_judged(void **state)
{
    (void)state;
    char body[URL_BYTES];
    add("next.test", NAME_A, "127.0.0.1");
    add("inside.test", NAME_A, "192.168.0.1");
    snprintf(body, sizeof body,
             "{\"urls\":[\"@/redirect-to?url=http://next.test:%u/echo\",\"@/redirect-to?url=http://inside.test/\"]}",
             (unsigned)origin_port(origin));
    cJSON *answer = post_fetch(body, 200);
    assert_non_null(strstr(json_text_at(answer, "results.0.body"), "Host: next.test:"));
    assert_string_equal(json_text_at(answer, "results.1.error.code"), "blocked_address");
    cJSON_Delete(answer);
}

static void stream__of_many_names__one_query_each(void **state)
{
    (void)state;
    enum { NAMES = 50, EACH = 4 };
    struct http_conn conn;
    struct buf body = BUF_INIT(1 << 16);
    uint64_t before = name_server_total_queries(names);
    add("*.many.test", NAME_A, "127.0.0.1");
    buf_lit(&body, "{\"urls\":[");
    for (unsigned i = 0; i < NAMES * EACH; i++)
        buf_printf(&body, "%s\"http://n%u.many.test:%u/small\"", i ? "," : "", i % NAMES,
                   (unsigned)origin_port(origin));
    buf_append(&body, "]}", 3);
    open_stream(&conn, NDJSON, "", body.data);
    assert_int_equal(expect_rest(&conn, NAMES * EACH, NULL), NAMES * EACH);
    http_close(&conn);
    buf_done(&body);
    uint64_t queries = name_server_total_queries(names) - before;
    print_message("    %u names, %u URLs: %u queries\n", NAMES, NAMES * EACH, (unsigned)queries);
    assert_true(queries <= 2 * 2 * NAMES); /* A and AAAA, on each of the two threads */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(name__of_the_origin__fetched_by_name),
        cmocka_unit_test(name__asked_for_again__remembered),
        cmocka_unit_test(name__alias_and_international__followed_and_encoded),
        cmocka_unit_test(name__unknown_or_broken__dns_failed),
        cmocka_unit_test(name__server_silent__dns_timeout_with_its_budget),
        cmocka_unit_test(name__first_query_lost__asked_again_in_time),
        cmocka_unit_test(localhost__fetched__without_a_query),
        cmocka_unit_test(name__any_forbidden_address__refused_without_a_connection),
        cmocka_unit_test(name__one_address_dead__the_other_is_tried),
        cmocka_unit_test(name__that_alternates__never_past_the_policy),
        cmocka_unit_test(redirect__to_a_name__resolved_and_judged),
        cmocka_unit_test(stream__of_many_names__one_query_each),
    };
    return cmocka_run_group_tests_name("fetch_names", tests, start, stop);
}
