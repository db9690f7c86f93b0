/* Tests of the redirects of pool/transfer.c. */
#include "tests/unit/fetch_rig.h"

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

/* Every hop is in the ledger, that of the answer that was one too many as well. */
static void redirects__requests__all_told(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    struct fetch_item *exact = add_url(c, "@/redirect/2"), *beyond = add_url(c, "@/redirect/9");
    beyond->max_redirects = 2;
    run(c);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(length_at(&c->items[i], "requests"), 3);
        expect_number(&c->items[i], "attempts", 1);
        expect_text(&c->items[i], "requests.0.url", c->items[i].url);
        expect_number(&c->items[i], "requests.0.status", 302);
        expect_number(&c->items[i], "requests.1.status", 302);
        expect_number(&c->items[i], "requests.2.attempt", 1);
    }
    expect_number(exact, "requests.2.status", 200);
    expect_number(beyond, "requests.2.status", 302);
    char landed[64];
    snprintf(landed, sizeof landed, "http://127.0.0.1:%u/redirect/0?status=302", origin_port(origin));
    expect_text(exact, "requests.2.url", landed);
    expect_text(exact, "final_url", landed);
}

static void redirects__to_what_may_not_be_fetched__refused(void **state)
{
    (void)state;
    static const struct {
        const char *target;
        enum status status;
        const char *phase;
    } cases[] = {
        { "http://127.0.0.2:8080/", ST_BLOCKED_ADDRESS, "policy" },
        { "http://169.254.169.254/", ST_BLOCKED_ADDRESS, "policy" },
        { "http://[::ffff:10.0.0.1]/", ST_BLOCKED_ADDRESS, "policy" },
        { "//127.0.0.3/", ST_BLOCKED_ADDRESS, "policy" },
        { "http://127.0.0.1:25/", ST_PORT_NOT_ALLOWED, "policy" },
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
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        expect_failure(&c->items[i], cases[i].status, cases[i].phase);
        expect_number(&c->items[i], "attempts", 1);
    }
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
        expect_status(&c->items[i], ST_OK);
        cJSON *json = json_of(&c->items[i]), *echo = cJSON_Parse(json_text_at(json, "body"));
        assert_string_equal(json_text_at(echo, "method"), cases[i].becomes);
        assert_string_equal(json_text_at(echo, "body"), cases[i].body);
        cJSON_Delete(echo);
        cJSON_Delete(json);
    }
}

static void redirects__become_get__fields_of_the_content_stay_behind(void **state)
{
    (void)state;
    static const char *const lines[] = { "content-type: text/x", "Content-Language: en", "Digest: of-it",
                                         "Last-Modified: then",  "X-Kept: yes",          NULL };
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    struct fetch_item *get = add_redirect(c, 303, "/echo"), *empty = add_redirect(c, 302, "/echo"),
                      *post = add_redirect(c, 307, "/echo");
    get->method = empty->method = post->method = FETCH_POST;
    get->headers = empty->headers = post->headers = lines;
    get->body = post->body = "b";
    get->body_len = post->body_len = 1;
    run(c);
    static const char *const of_content[] = { "text/x", "Content-Language", "of-it", "then" };
    for (size_t i = 0; i < ARRAY_LEN(of_content); i++) {
        assert_false(has_text(get, of_content[i]));
        assert_false(has_text(empty, of_content[i]));
        assert_true(has_text(post, of_content[i]));
    }
    assert_true(has_text(get, "X-Kept: yes"));
    assert_true(has_text(empty, "X-Kept: yes"));
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

/* To another name of the same server: what is resolved, and pinned, is the new name. */
static void redirects__to_a_name__resolved_and_judged_anew(void **state)
{
    (void)state;
    start_names();
    assert_true(name_server_add(names, "good.test", NAME_A, "127.0.0.1", 60));
    assert_true(name_server_add(names, "bad.test", NAME_A, "127.0.0.2", 60));
    struct listener *canary = listener_start(LISTENER_SILENT, "127.0.0.2", 0);
    assert_non_null(canary);
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    char target[64];
    snprintf(target, sizeof target, "http://good.test:%u/echo", origin_port(origin));
    struct fetch_item *good = add_redirect(c, 302, target);
    snprintf(target, sizeof target, "http://bad.test:%u/", listener_port(canary));
    struct fetch_item *bad = add_redirect(c, 302, target);
    run(c);
    expect_status(good, ST_OK);
    assert_true(has_text(good, "Host: good.test"));
    expect_failure(bad, ST_BLOCKED_ADDRESS, "policy");
    assert_int_equal(listener_accepted(canary), 0);
    listener_stop(canary);
}

static void redirects__big_body__limited(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    struct fetch_item *item = add_url(c, "@/redirect-big");
    run(c);
    expect_failure(item, ST_PROTOCOL_ERROR, "redirect");
}

static void redirects__two_locations__refused(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    struct fetch_item *two = add_url(c, "@/redirect-twice"), *nowhere = add_url(c, "@/redirect-nowhere");
    run(c);
    expect_failure(two, ST_PROTOCOL_ERROR, "redirect");
    expect_number(nowhere, "status", 302);
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
    expect_failure(item, ST_DEADLINE_EXCEEDED, "first_byte");
    assert_true(elapsed_ms(start_ns) < 200 + scaled_ms(1000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        pool_test(redirects__up_to_the_maximum__followed),
        pool_test(redirects__requests__all_told),
        pool_test(redirects__to_what_may_not_be_fetched__refused),
        pool_test(redirects__methods__change_as_http_says),
        pool_test(redirects__become_get__fields_of_the_content_stay_behind),
        pool_test(redirects__to_another_origin__neither_body_nor_credentials),
        pool_test(redirects__to_a_name__resolved_and_judged_anew),
        pool_test(redirects__big_body__limited),
        pool_test(redirects__two_locations__refused),
        pool_test(redirects__slow_hops__one_time_limit_for_all),
    };
    return cmocka_run_group_tests_name("transfer_redirects", tests, start_origin, stop_origin);
}
