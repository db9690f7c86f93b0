/* Tests of pool/transfer*.c: what one URL becomes, over redirects and with origins that misbehave. */
#include "pool/transfer.h"
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
        cJSON *json = json_of(&c->items[i]), *echo = cJSON_Parse(json_text_at(json, "body"));
        assert_string_equal(json_text_at(echo, "method"), is_plain ? "GET" : cases[i].name);
        assert_string_equal(json_text_at(echo, "body"), is_plain ? "" : cases[i].body);
        const char *sent = json_text_at(echo, "fields");
        assert_int_equal(strstr(sent, "X-One: 1") != NULL, !is_plain);
        assert_int_equal(strstr(sent, "X-Empty:") != NULL, !is_plain);
        assert_int_equal(strstr(sent, "text/plain") != NULL, !is_plain);
        assert_non_null(strstr(sent, "User-Agent: test/1"));
        assert_null(strstr(sent, "Expect"));
        assert_null(strstr(sent, "Content-Type"));
        cJSON_Delete(echo);
        cJSON_Delete(json);
    }
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
        assert_int_equal(item->status, ST_OK);
    }
    assert_int_equal(stats().connections_opened, 3);
}

/* ---- failures */

static void submit__bad_origins__typed_failures(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    static const struct {
        const char *url;
        enum status status;
        const char *phase;
    } cases[] = {
        { "http://127.0.0.1:1/", ST_CONNECT_FAILED, "connect" },
        { "@/cut", ST_TRUNCATED, "body" },
        { "@/lie-long", ST_TRUNCATED, "body" },
        { "@/endless-headers", ST_UPSTREAM_HEADERS_TOO_LARGE, "first_byte" },
        { "@/bad-http", ST_PROTOCOL_ERROR, "first_byte" },
        { "@/rst", ST_PROTOCOL_ERROR, "first_byte" },
        { "http://h h/", ST_BAD_URL, "url" },
        { "ftp://127.0.0.1/", ST_SCHEME_NOT_ALLOWED, "url" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        add_url(c, cases[i].url);
    run(c);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        expect_failure(&c->items[i], cases[i].status, cases[i].phase);
    assert_int_equal(stats().urls_failed, ARRAY_LEN(cases));
    assert_int_equal(stats().failed_by_status[ST_TRUNCATED], 2);
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

static void submit__stalls__timeout_names_the_phase(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    struct fetch_item *stall = add_url(c, "@/stall"), *body = add_url(c, "@/stall-body"),
                      *trickle = add_url(c, "@/trickle?ms=20");
    stall->timeout_ms = body->timeout_ms = trickle->timeout_ms = 200;
    uint64_t start_ns = clock_now_ns();
    run(c);
    assert_true(elapsed_ms(start_ns) >= 195);
    assert_true(elapsed_ms(start_ns) < scaled_ms(1000));
    expect_failure(stall, ST_TIMEOUT, "first_byte");
    expect_failure(body, ST_TIMEOUT, "body");
    expect_failure(trickle, ST_TIMEOUT, "body");
}

/* A listener that never accepts: its first clients are connected and hear nothing, those beyond its backlog are not
 * even connected. */

static void submit__connection_or_tls_stalls__timeout_names_the_phase(void **state)
{
    (void)state;
    int fds[8];
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof address;
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(fds[0], (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(fds[0], 0), 0);
    getsockname(fds[0], (struct sockaddr *)&address, &len);
    char url[64];
    snprintf(url, sizeof url, "https://127.0.0.1:%u/", ntohs(address.sin_port));
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call(), *later = new_call();
    add_url(c, url)->timeout_ms = 200;
    run(c);
    for (size_t i = 1; i < ARRAY_LEN(fds); i++) {
        int ignored = connect(fds[i], (struct sockaddr *)&address, len);
        (void)ignored;
    }
    add_url(later, url)->timeout_ms = 200;
    run(later);
    expect_failure(&c->items[0], ST_TIMEOUT, "tls");
    expect_failure(&later->items[0], ST_TIMEOUT, "connect");
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        close(fds[i]);
}

static void submit__tls_with_a_plain_origin__tls_failed(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    char url[64];
    snprintf(url, sizeof url, "https://127.0.0.1:%u/bad-http", origin_port(origin));
    add_url(c, url)->timeout_ms = 1000;
    run(c);
    assert_true(c->items[0].status == ST_TLS_FAILED || c->items[0].status == ST_TIMEOUT); /* as the origin takes it */
    assert_string_equal(c->items[0].phase, "tls");
}

/* ---- redirects */

static void redirects__up_to_the_maximum__followed(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    struct fetch_item *exact = add_url(c, "@/redirect/5"), *beyond = add_url(c, "@/redirect/6"),
                      *none = add_url(c, "@/redirect/1");
    none->max_redirects = 0;
    run(c);
    expect_text(exact, "body", "landed\n");
    expect_number(exact, "redirects", 5);
    expect_failure(beyond, ST_TOO_MANY_REDIRECTS, "redirect");
    expect_number(none, "status", 302);
}

static struct fetch_item *add_redirect(struct call *c, unsigned status, const char *target)
{
    char url[400], escaped[300] = "";
    for (const char *at = target; *at; at++)
        snprintf(escaped + strlen(escaped), sizeof escaped - strlen(escaped), "%%%02x", (unsigned char)*at);
    snprintf(url, sizeof url, "@/redirect-to?url=%s&status=%u", escaped, status);
    return add_url(c, url);
}

static void redirects__to_what_may_not_be_fetched__refused(void **state)
{
    (void)state;
    static const struct {
        const char *target;
        enum status status;
        const char *phase;
    } cases[] = {
        { "http://127.0.0.2:9/", ST_BLOCKED_ADDRESS, "policy" },
        { "http://169.254.169.254/", ST_BLOCKED_ADDRESS, "policy" },
        { "http://[::ffff:10.0.0.1]/", ST_BLOCKED_ADDRESS, "policy" },
        { "//127.0.0.3/", ST_BLOCKED_ADDRESS, "policy" },
        { "file:///etc/passwd", ST_SCHEME_NOT_ALLOWED, "redirect" },
        { "gopher://127.0.0.1/", ST_SCHEME_NOT_ALLOWED, "redirect" },
        { "http://u:p@127.0.0.1/", ST_BAD_URL, "redirect" },
        { "http://256.0.0.1/", ST_BAD_URL, "redirect" },
    };
    static const unsigned statuses[] = { 301, 302, 303, 307, 308 };
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        add_redirect(c, statuses[i % ARRAY_LEN(statuses)], cases[i].target);
    run(c);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        expect_failure(&c->items[i], cases[i].status, cases[i].phase);
}

static void redirects__methods__change_as_http_says(void **state)
{
    (void)state;
    static const struct {
        enum fetch_method method;
        unsigned status;
        const char *becomes, *body;
    } cases[] = {
        { FETCH_POST, 301, "GET", "" },   { FETCH_POST, 302, "GET", "" },       { FETCH_POST, 303, "GET", "" },
        { FETCH_POST, 307, "POST", "b" }, { FETCH_POST, 308, "POST", "b" },     { FETCH_PUT, 301, "PUT", "b" },
        { FETCH_PUT, 303, "GET", "" },    { FETCH_DELETE, 302, "DELETE", "b" },
    };
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fetch_item *item = add_redirect(c, cases[i].status, "/echo");
        item->method = cases[i].method;
        item->body = "b";
        item->body_len = 1;
    }
    run(c);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        cJSON *json = json_of(&c->items[i]), *echo = cJSON_Parse(json_text_at(json, "body"));
        assert_string_equal(json_text_at(echo, "method"), cases[i].becomes);
        assert_string_equal(json_text_at(echo, "body"), cases[i].body);
        cJSON_Delete(echo);
        cJSON_Delete(json);
    }
}

static void redirects__to_another_origin__neither_body_nor_credentials(void **state)
{
    (void)state;
    static const char *const lines[] = { "Authorization: s3cret", "cookie: s3cret", "X-Kept: yes", NULL };
    struct origin *other = origin_start("127.0.0.1", 0);
    assert_non_null(other);
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    char target[64];
    snprintf(target, sizeof target, "http://127.0.0.1:%u/echo", origin_port(other));
    struct fetch_item *get = add_redirect(c, 302, target), *same = add_redirect(c, 302, "/echo"),
                      *post = add_redirect(c, 307, target);
    get->headers = same->headers = lines;
    post->method = FETCH_POST;
    post->body = "private";
    post->body_len = 7;
    run(c);
    assert_true(has_text(get, "X-Kept: yes"));
    assert_false(has_text(get, "s3cret"));
    assert_true(has_text(same, "s3cret"));
    expect_failure(post, ST_REDIRECT_REFUSED, "redirect");
    assert_int_equal(origin_get_counts(other).requests, 1);
    origin_stop(other);
}

static void redirects__slow_hops__one_time_limit_for_all(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    struct fetch_item *item = add_redirect(c, 302, "/stall");
    item->timeout_ms = 200;
    uint64_t start_ns = clock_now_ns();
    run(c);
    expect_failure(item, ST_TIMEOUT, "first_byte");
    assert_true(elapsed_ms(start_ns) < scaled_ms(1000));
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
        expect_number(&c->items[i], "bytes", kept[i]);
        cJSON *json = json_of(&c->items[i]);
        assert_int_equal(cJSON_IsTrue(json_at(json, "truncated")), is_cut[i]);
        cJSON_Delete(json);
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
    assert_int_equal(c->items[1].status, ST_OK);
    assert_int_equal(c->items[2].status, ST_OK);
    expect_failure(&c->items[3], ST_TOTAL_TOO_LARGE, "body");
    add_url(next, "@/small");
    run(next);
    assert_int_equal(next->items[0].status, ST_OK);
}

/* ---- policy */

static void policy__address_not_allowed__no_connection_by_any_spelling(void **state)
{
    (void)state;
    struct origin *canary = origin_start("127.0.0.2", 0);
    assert_non_null(canary);
    static const char *const hosts[] = { "127.0.0.2", "2130706434",      "0x7f000002",         "0177.0.0.2",
                                         "127.2",     "127%2e0%2e0%2e2", "[::ffff:127.0.0.2]", "[::ffff:7f00:2]" };
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        char url[100];
        snprintf(url, sizeof url, "http://%s:%u/small", hosts[i], origin_port(canary));
        add_url(c, url);
        add_redirect(c, 302, url);
    }
    run(c);
    for (size_t i = 0; i < c->call.count; i++) {
        expect_failure(&c->items[i], ST_BLOCKED_ADDRESS, "policy");
        assert_non_null(strstr(c->items[i].message, "loopback (127.0.0.0/8); allow it with --fetch-allow"));
    }
    assert_int_equal(origin_get_counts(canary).connections, 0);
    assert_int_equal(stats().blocked, c->call.count);
    origin_stop(canary);
}

/* The name is only turned into an address by the resolver: nothing but the socket callback can see it. */
static void policy__name_of_a_refused_address__refused_at_the_socket(void **state)
{
    (void)state;
    struct io_pool_config config = { .threads = 1 };
    const char *message;
    assert_true(egress_policy_parse("10.9.8.7/32", &config.policy, &message));
    start_pool(&config);
    struct call *c = new_call();
    char url[64];
    snprintf(url, sizeof url, "http://localhost:%u/small", origin_port(origin));
    struct fetch_item *item = add_url(c, url);
    uint64_t before = origin_get_counts(origin).connections;
    run(c);
    expect_failure(item, ST_BLOCKED_ADDRESS, "policy");
    assert_int_equal(origin_get_counts(origin).connections, before);
}

/* More names at once than there are places to resolve them: the others wait for one, and none is forgotten. */
static void lookups__more_names_than_places__all_fetched(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ .threads = 1 });
    struct call *c = new_call();
    char urls[3 * TRANSFER_LOOKUPS_MAX][64];
    for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
        snprintf(urls[i], sizeof urls[i], "http://name-%zu.localhost:%u/small", i, origin_port(origin));
        add_url(c, urls[i]);
    }
    run(c);
    for (size_t i = 0; i < ARRAY_LEN(urls); i++)
        assert_int_equal(c->items[i].status, ST_OK);
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
    assert_int_equal(c->items[0].status, ST_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        pool_test(submit__method_headers_body__sent_as_asked),
        pool_test(lookups__more_names_than_places__all_fetched),
        pool_test(submit__head__status_without_body),
        pool_test(submit__post__never_on_a_kept_connection),
        pool_test(submit__bad_origins__typed_failures),
        pool_test(submit__too_short_a_content_length__rest_is_not_an_answer),
        pool_test(submit__stalls__timeout_names_the_phase),
        pool_test(submit__connection_or_tls_stalls__timeout_names_the_phase),
        pool_test(submit__tls_with_a_plain_origin__tls_failed),
        pool_test(redirects__up_to_the_maximum__followed),
        pool_test(redirects__to_what_may_not_be_fetched__refused),
        pool_test(redirects__methods__change_as_http_says),
        pool_test(redirects__to_another_origin__neither_body_nor_credentials),
        pool_test(redirects__slow_hops__one_time_limit_for_all),
        pool_test(sizes__body_limit__cut_and_marked),
        pool_test(sizes__limit_of_the_call__the_one_too_many_fails),
        pool_test(policy__address_not_allowed__no_connection_by_any_spelling),
        pool_test(policy__name_of_a_refused_address__refused_at_the_socket),
        pool_test(policy__proxy_in_the_environment__ignored),
    };
    return cmocka_run_group_tests_name("transfer", tests, start_origin, stop_origin);
}
