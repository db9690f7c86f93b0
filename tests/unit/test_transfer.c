/* Tests of pool/transfer*.c: what is sent for one URL, what comes back, and the policy. Redirects and time have drivers
 * of their own. */
#include "pool/transfer.h"
#include "pool/io_internal.h" /* a thread's transfer_env */
#include "tests/unit/fetch_rig.h"

/* ---- requests */

static void submit__method_headers_body__sent_as_asked(void **state)
{
    (void)state;
    static const char *const lines[] = { "X-One: 1", "Accept: text/plain", "X-Empty;", NULL };
    static const struct {
        enum fetch_method method;
        const char *name, *body;
    } cases[] = {
        { FETCH_GET, "GET", "" },       { FETCH_POST, "POST", "a body" }, { FETCH_POST, "POST", "" },
        { FETCH_PUT, "PUT", "x" },      { FETCH_PUT, "PUT", "" },         { FETCH_PATCH, "PATCH", "x" },
        { FETCH_DELETE, "DELETE", "" }, { FETCH_DELETE, "DELETE", "x" },  { FETCH_OPTIONS, "OPTIONS", "" },
    };
    start_pool(&(struct io_pool_config){ .threads = 1 });
    struct call *c = new_call();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fetch_item *item = add_url(c, "@/echo");
        item->method = cases[i].method;
        item->headers = lines;
        item->body = cases[i].body;
        item->body_len = strlen(cases[i].body);
    }
    add_url(c, "@/echo");
    c->call.concurrency = 1; /* one handle does them all, one after the other */
    run(c);
    for (size_t i = 0; i <= ARRAY_LEN(cases); i++) {
        bool is_plain = i == ARRAY_LEN(cases);
        expect_status(&c->items[i], ST_OK);
        cJSON *json = json_of(&c->items[i]), *echo = cJSON_Parse(json_text_at(json, "body"));
        assert_string_equal(json_text_at(echo, "method"), is_plain ? "GET" : cases[i].name);
        assert_string_equal(json_text_at(echo, "body"), is_plain ? "" : cases[i].body);
        const char *sent = json_text_at(echo, "fields");
        assert_int_equal(strstr(sent, "X-One: 1") != NULL, !is_plain);
        assert_int_equal(strstr(sent, "X-Empty:") != NULL, !is_plain);
        assert_int_equal(strstr(sent, "text/plain") != NULL, !is_plain);
        assert_non_null(strstr(sent, "User-Agent: test/1"));
        assert_non_null(strstr(sent, "CDN-Loop: twinpool"));
        assert_null(strstr(sent, "Expect"));
        assert_null(strstr(sent, "Content-Type"));
        cJSON_Delete(echo);
        cJSON_Delete(json);
    }
}

static void submit__traceparent__sent_with_every_item(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ .threads = 1 });
    struct call *traced = new_call(), *plain = new_call();
    add_url(traced, "@/echo");
    add_url(traced, "@/echo")->method = FETCH_POST;
    add_url(plain, "@/echo"); /* with the handle of one that had it */
    traced->call.traceparent = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    run(traced);
    run(plain);
    static const char *const own[] = { "TraceParent: mine", NULL };
    struct call *with_own = new_call();
    with_own->call.traceparent = traced->call.traceparent;
    add_url(with_own, "@/echo")->headers = own;
    run(with_own);
    assert_true(has_text(&with_own->items[0], "TraceParent: mine"));
    assert_false(has_text(&with_own->items[0], "traceparent: 00-4bf9"));
    assert_true(has_text(&traced->items[0], "traceparent: 00-4bf9"));
    assert_true(has_text(&traced->items[1], "traceparent: 00-4bf9"));
    assert_false(has_text(&plain->items[0], "traceparent"));
}

static void submit__head__status_without_body(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    struct fetch_item *item = add_url(c, "@/small");
    item->method = FETCH_HEAD;
    run(c);
    expect_number(item, "status", 200);
    expect_number(item, "bytes", 0);
}

static void submit__post__never_on_a_kept_connection(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ .threads = 1 });
    for (unsigned i = 0; i < 3; i++) {
        struct call *c = new_call();
        struct fetch_item *item = add_url(c, "@/echo");
        item->method = FETCH_POST;
        run(c);
        expect_status(item, ST_OK);
    }
    assert_int_equal(stats().connections_opened, 3);
}

/* ---- failures */

static void submit__bad_origins__typed_failures(void **state)
{
    (void)state;
    char refused[64];
    snprintf(refused, sizeof refused, "http://127.0.0.1:%u/", closed_port());
    const struct {
        const char *url;
        enum status status;
        const char *phase;
    } cases[] = {
        { refused, ST_CONNECT_FAILED, "connect" },
        { "@/cut", ST_TRUNCATED, "body" },
        { "@/cut-chunk", ST_TRUNCATED, "body" },
        { "@/lie-long", ST_TRUNCATED, "body" },
        { "@/huge-chunk-size", ST_PROTOCOL_ERROR, "body" },
        { "@/endless-headers", ST_UPSTREAM_HEADERS_TOO_LARGE, "first_byte" },
        { "@/endless-1xx", ST_UPSTREAM_HEADERS_TOO_LARGE, "first_byte" },
        { "@/long-header/150000", ST_UPSTREAM_HEADERS_TOO_LARGE, "first_byte" },
        { "@/endless-trailers", ST_UPSTREAM_HEADERS_TOO_LARGE, "body" },
        { "@/bad-http", ST_PROTOCOL_ERROR, "first_byte" },
        { "@/nul-in-header", ST_PROTOCOL_ERROR, "first_byte" },
        { "@/status-raw/99", ST_PROTOCOL_ERROR, "first_byte" },
        { "@/rst", ST_CONNECTION_CLOSED, NULL }, /* "first_byte" or "send", as the kernel tells it */
        { "@/flaky-close/1", ST_CONNECTION_CLOSED, "first_byte" },
        { "@/coded/identity?as=gzip", ST_DECODE_FAILED, "body" },
        { "@/coded/identity?as=rot13", ST_DECODE_FAILED, "body" },
        { "@/coded/gzip?layers=2", ST_DECODE_FAILED, "body" },
        { "@/coded/gzip?tail=more", ST_DECODE_FAILED, "body" },
        { "http://127.0.0.1:25/", ST_PORT_NOT_ALLOWED, "policy" },
        { "http://h h/", ST_BAD_URL, "url" },
        { "ftp://127.0.0.1/", ST_SCHEME_NOT_ALLOWED, "url" },
    };
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        add_url(c, cases[i].url);
    run(c);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        expect_failure(&c->items[i], cases[i].status, cases[i].phase ? cases[i].phase : c->items[i].phase);
        expect_text(&c->items[i], "error.code", status_code(cases[i].status));
        expect_text(&c->items[i], "error.phase", c->items[i].phase);
    }
    assert_int_equal(stats().urls_failed, ARRAY_LEN(cases));
    assert_int_equal(stats().failed_by_status[ST_TRUNCATED], 3);
}

static void submit__listeners_that_hang_up__closed_not_slow(void **state)
{
    (void)state;
    struct listener *closer = listener_start(LISTENER_CLOSE, "127.0.0.1", 0),
                    *resetter = listener_start(LISTENER_RESET, "127.0.0.1", 0),
                    *babbler = listener_start(LISTENER_GARBAGE, "127.0.0.1", 0);
    assert_true(closer && resetter && babbler);
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    add_urlf(c, "http://127.0.0.1:%u/", listener_port(closer));
    add_urlf(c, "http://127.0.0.1:%u/", listener_port(resetter));
    add_urlf(c, "http://127.0.0.1:%u/", listener_port(babbler));
    run(c);
    expect_failure(&c->items[0], ST_CONNECTION_CLOSED, "first_byte");
    if (c->items[1].status != ST_CONNECT_FAILED) /* as early as the connect, if it is quick */
        expect_status(&c->items[1], ST_CONNECTION_CLOSED);
    expect_failure(&c->items[2], ST_PROTOCOL_ERROR, "first_byte");
    listener_stop(closer);
    listener_stop(resetter);
    listener_stop(babbler);
}

static void submit__too_short_a_content_length__rest_is_not_an_answer(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ .threads = 1 });
    struct call *c = new_call();
    struct fetch_item *liar = add_url(c, "@/lie-short"), *next = add_url(c, "@/small");
    c->call.concurrency = 1;
    run(c);
    expect_text(liar, "body", "12345");
    expect_number(next, "bytes", 1024);
}

static void submit__tls_with_a_plain_origin__tls_failed(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    struct fetch_item *item = add_urlf(c, "https://127.0.0.1:%u/bad-http", origin_port(origin));
    item->tls_timeout_ms = 300;
    run(c);
    if (item->status != ST_TLS_TIMEOUT) /* as the origin takes it */
        expect_status(item, ST_TLS_FAILED);
    assert_string_equal(item->phase, "tls");
}

/* ---- sizes */

static void sizes__body_limit__cut_and_marked(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    static const char *const urls[] = { "@/bytes/1000", "@/bytes/1001", "@/endless", "@/gzip-bomb", "@/bytes/0" };
    for (size_t i = 0; i < ARRAY_LEN(urls); i++)
        add_url(c, urls[i])->max_body_bytes = 1000;
    add_url(c, "@/small")->max_body_bytes = 0;
    run(c);
    static const unsigned kept[] = { 1000, 1000, 1000, 1000, 0, 0 };
    static const bool is_cut[] = { false, true, true, true, false, true };
    for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
        expect_status(&c->items[i], ST_OK);
        expect_number(&c->items[i], "bytes", kept[i]);
        assert_int_equal(is_true_at(&c->items[i], "truncated"), is_cut[i]);
    }
}

static void sizes__limit_of_the_call__the_one_too_many_fails(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ .threads = 1, .total_body_max = 2500 });
    struct call *c = new_call(), *next = new_call();
    for (unsigned i = 0; i < 4; i++)
        add_url(c, i == 0 ? "@/cut" : "@/small"); /* the first gives back what it had taken */
    c->call.concurrency = 1;
    run(c);
    expect_failure(&c->items[0], ST_TRUNCATED, "body");
    expect_status(&c->items[1], ST_OK);
    expect_status(&c->items[2], ST_OK);
    expect_failure(&c->items[3], ST_TOTAL_TOO_LARGE, "body");
    assert_non_null(strstr(c->items[3].message, "--fetch-max-total-bytes"));
    add_url(next, "@/small");
    run(next);
    expect_status(&next->items[0], ST_OK);
}

/* A body that is only counted takes no memory, nor anything of the call's total. */
static void sizes__body_form_none__counted_only(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ .total_body_max = 1000 });
    struct call *c = new_call();
    struct fetch_item *item = add_url(c, "@/bytes/1000000");
    item->body_form = FETCH_BODY_NONE;
    run(c);
    expect_status(item, ST_OK);
    expect_number(item, "bytes", 1000000);
    assert_false(is_true_at(item, "truncated"));
    assert_true(item->json_len < 4096);
}

static void sizes__body_form_none_and_a_limit__counted_up_to_it(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    struct fetch_item *item = add_url(c, "@/bytes/1000000");
    item->body_form = FETCH_BODY_NONE;
    item->max_body_bytes = 10;
    run(c);
    expect_number(item, "bytes", 10);
    assert_true(is_true_at(item, "truncated"));
}

static void sizes__bombs__refused_by_their_ratio(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ .max_ratio = 100 });
    struct call *c = new_call();
    add_url(c, "@/bomb/gzip")->max_body_bytes = 32 << 20;
    add_url(c, "@/bomb/br")->max_body_bytes = 32 << 20;
    add_url(c, "@/gzip-bomb")->max_body_bytes = 32 << 20;
    add_url(c, "@/coded/gzip");
    add_url(c, "@/bytes/2000000")->max_body_bytes = 2 << 20; /* not coded: no ratio */
    run(c);
    for (unsigned i = 0; i < 3; i++) {
        expect_failure(&c->items[i], ST_TOTAL_TOO_LARGE, "body");
        assert_non_null(strstr(c->items[i].message, "--fetch-max-ratio"));
    }
    expect_text(&c->items[3], "body", ORIGIN_TEXT);
    expect_number(&c->items[4], "bytes", 2000000);
}

/* ---- policy */

static void policy__address_not_allowed__no_connection_by_any_spelling(void **state)
{
    (void)state;
    struct listener *canary = listener_start(LISTENER_SILENT, "127.0.0.2", 0);
    assert_non_null(canary);
    static const char *const hosts[] = { "127.0.0.2", "2130706434",      "0x7f000002",         "0177.0.0.2",
                                         "127.2",     "127%2e0%2e0%2e2", "[::ffff:127.0.0.2]", "[::ffff:7f00:2]" };
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        char url[100];
        snprintf(url, sizeof url, "http://%s:%u/small", hosts[i], listener_port(canary));
        add_url(c, url);
        add_redirect(c, 302, url);
    }
    run(c);
    for (size_t i = 0; i < c->call.count; i++) {
        expect_failure(&c->items[i], ST_BLOCKED_ADDRESS, "policy");
        assert_non_null(strstr(c->items[i].message, "loopback (127.0.0.0/8); allow it with --fetch-allow"));
    }
    assert_int_equal(listener_accepted(canary), 0);
    assert_int_equal(stats().blocked, c->call.count);
    listener_stop(canary);
}

/* With the checks of the URL and of the resolved addresses out of the way, the socket's own still stands. */
static void policy__only_the_socket_checks__refused_there(void **state)
{
    (void)state;
    struct listener *canary = listener_start(LISTENER_SILENT, "127.0.0.2", 0);
    assert_non_null(canary);
    start_names();
    assert_true(name_server_add(names, "refused.test", NAME_A, "127.0.0.2", 60));
    start_pool(&(struct io_pool_config){ .threads = 1 });
    pool->threads[0].env.transfers.skips_url_check = true;
    struct call *c = new_call();
    add_urlf(c, "http://127.0.0.2:%u/", listener_port(canary));
    add_urlf(c, "http://refused.test:%u/", listener_port(canary));
    run(c);
    expect_failure(&c->items[0], ST_BLOCKED_ADDRESS, "policy");
    expect_failure(&c->items[1], ST_BLOCKED_ADDRESS, "policy");
    assert_int_equal(listener_accepted(canary), 0);
    listener_stop(canary);
}

static void policy__localhost_not_allowed__refused(void **state)
{
    (void)state;
    struct io_pool_config config = { .threads = 1 };
    const char *message;
    assert_true(egress_cidrs_parse("10.9.8.7/32", &config.policy.allow, &message));
    start_pool(&config);
    struct call *c = new_call();
    struct fetch_item *item = add_urlf(c, "http://localhost:%u/small", origin_port(origin));
    uint64_t before = origin_get_counts(origin).connections;
    run(c);
    expect_failure(item, ST_BLOCKED_ADDRESS, "policy");
    assert_int_equal(origin_get_counts(origin).connections, before);
}

static void lookups__many_names__all_fetched(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ .threads = 1 });
    struct call *c = new_call();
    for (unsigned i = 0; i < 200; i++)
        add_urlf(c, "http://name-%u.localhost:%u/small", i, origin_port(origin));
    run(c);
    expect_all(c, ST_OK);
}

static void policy__proxy_in_the_environment__ignored(void **state)
{
    (void)state;
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    setenv("all_proxy", "http://127.0.0.1:1", 1);
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    add_url(c, "@/small");
    run(c);
    unsetenv("http_proxy");
    unsetenv("all_proxy");
    expect_status(&c->items[0], ST_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        pool_test(submit__method_headers_body__sent_as_asked),
        pool_test(submit__traceparent__sent_with_every_item),
        pool_test(submit__head__status_without_body),
        pool_test(submit__post__never_on_a_kept_connection),
        pool_test(submit__bad_origins__typed_failures),
        pool_test(submit__listeners_that_hang_up__closed_not_slow),
        pool_test(submit__too_short_a_content_length__rest_is_not_an_answer),
        pool_test(submit__tls_with_a_plain_origin__tls_failed),
        pool_test(sizes__body_limit__cut_and_marked),
        pool_test(sizes__limit_of_the_call__the_one_too_many_fails),
        pool_test(sizes__body_form_none__counted_only),
        pool_test(sizes__body_form_none_and_a_limit__counted_up_to_it),
        pool_test(sizes__bombs__refused_by_their_ratio),
        pool_test(policy__address_not_allowed__no_connection_by_any_spelling),
        pool_test(policy__only_the_socket_checks__refused_there),
        pool_test(policy__localhost_not_allowed__refused),
        pool_test(policy__proxy_in_the_environment__ignored),
        pool_test(lookups__many_names__all_fetched),
    };
    return cmocka_run_group_tests_name("transfer", tests, start_origin, stop_origin);
}
