/* Tests of pool/io_pool.c with its threads and transfers: real threads, real sockets, an origin that can misbehave. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <curl/curl.h>

#include "base/clock.h"
#include "pool/io_pool.h"
#include "tests/support/json_path.h"
#include "tests/support/origin.h"
#include "tests/support/timing.h"

enum { URLS_MAX = 1000, WAIT_MS = 20000, ITEM_TIMEOUT_MS = 10000, BODY_MAX = 1 << 20 };

static struct origin *origin; /* shared by all tests */

/* One event loop that submits and collects. */
static struct bell bell;
static int bell_fd;
static struct io_pool *pool;

static struct call {
    struct fetch_call call;
    struct fetch_item items[URLS_MAX];
    char urls[URLS_MAX][300];
    unsigned times_done;
} *calls[40];
static size_t call_count;

static void start_pool(const struct io_pool_config *wanted)
{
    struct bell *bells[] = { &bell };
    struct io_pool_config config = *wanted;
    const char *message;
    config.loops = 1;
    config.bells = bells;
    config.event_fds = &bell_fd;
    config.threads = wanted->threads ? wanted->threads : 2;
    config.inflight_max = wanted->inflight_max ? wanted->inflight_max : 1000;
    config.queue_max = wanted->queue_max ? wanted->queue_max : 5000;
    config.total_body_max = wanted->total_body_max ? wanted->total_body_max : 64 << 20;
    config.connect_timeout_ms = wanted->connect_timeout_ms ? wanted->connect_timeout_ms : 3000;
    config.user_agent = "test/1";
    if (!wanted->policy.allow_count)
        assert_true(egress_policy_parse("127.0.0.1/32", &config.policy, &message));
    assert_int_equal(io_pool_create(&config, &pool), ST_OK);
}

static int setup(void **state)
{
    (void)state;
    atomic_store(&bell.epoch, 0);
    bell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pool = NULL;
    call_count = 0;
    return bell_fd < 0;
}

static int teardown(void **state)
{
    (void)state;
    io_pool_free(pool);
    for (size_t i = 0; i < call_count; i++) {
        fetch_call_clear(&calls[i]->call);
        free(calls[i]);
    }
    return close(bell_fd);
}

static void on_done(struct fetch_call *call)
{
    struct call *self = call->user;
    self->times_done++;
}

static struct call *new_call(void)
{
    struct call *c = calloc(1, sizeof *c);
    assert_non_null(c);
    calls[call_count++] = c;
    c->call.items = c->items;
    c->call.on_done = on_done;
    c->call.user = c;
    return c;
}

/* "@" in front stands for the test origin. */
static struct fetch_item *add_url(struct call *c, const char *url)
{
    struct fetch_item *item = &c->items[c->call.count];
    char *text = c->urls[c->call.count++];
    if (url[0] == '@')
        snprintf(text, sizeof c->urls[0], "http://127.0.0.1:%u%s", origin_port(origin), url + 1);
    else
        snprintf(text, sizeof c->urls[0], "%s", url);
    item->url = text;
    item->timeout_ms = ITEM_TIMEOUT_MS;
    item->max_body_bytes = BODY_MAX;
    item->max_redirects = 5;
    return item;
}

/* The loop's side of the bell, as the service does it. */
static void turn_loop(int timeout_ms)
{
    struct pollfd waits = { .fd = bell_fd, .events = POLLIN };
    uint64_t rings;
    bell_lie_down(&bell);
    if (!io_pool_has_news(pool, 0))
        poll(&waits, 1, timeout_ms);
    bell_get_up(&bell);
    ssize_t ignored = read(bell_fd, &rings, sizeof rings);
    (void)ignored;
    io_pool_collect(pool, 0);
}

static void wait_done(struct call *c)
{
    uint64_t deadline_ns = clock_now_ns() + scaled_ms(WAIT_MS) * NS_PER_MS;
    while (c->times_done == 0) {
        if (clock_now_ns() > deadline_ns)
            fail_msg("the call did not complete");
        turn_loop(1000);
    }
    assert_int_equal(c->times_done, 1);
    assert_null(c->call.pool_state);
}

static void run(struct call *c)
{
    assert_int_equal(io_pool_submit(pool, &c->call), ST_OK);
    wait_done(c);
}

static void expect_failure(const struct fetch_item *item, enum status status, const char *phase)
{
    if (item->status != status || strcmp(item->phase, phase) != 0)
        fail_msg("%s: expected %s in %s, got %s in %s: %s", item->url, status_code(status), phase, status_code(item->status),
                 item->status == ST_OK ? "" : item->phase, item->message);
}

static cJSON *json_of(const struct fetch_item *item)
{
    if (item->status != ST_OK)
        fail_msg("%s failed: %s: %s", item->url, status_code(item->status), item->message);
    cJSON *json = cJSON_ParseWithLength(item->json, item->json_len);
    assert_non_null(json);
    return json;
}

static bool has_text(const struct fetch_item *item, const char *text)
{
    return memmem(item->json, item->json_len, text, strlen(text)) != NULL;
}

static void expect_text(const struct fetch_item *item, const char *path, const char *text)
{
    cJSON *json = json_of(item);
    if (strcmp(json_text_at(json, path), text) != 0)
        fail_msg("%s of %s: expected \"%s\", got \"%.300s\"", path, item->url, text, json_text_at(json, path));
    cJSON_Delete(json);
}

static void expect_number(const struct fetch_item *item, const char *path, double number)
{
    cJSON *json = json_of(item);
    if (json_number(json, path) != number)
        fail_msg("%s of %s: expected %g, got %g", path, item->url, number, json_number(json, path));
    cJSON_Delete(json);
}

static struct io_pool_stats stats(void)
{
    struct io_pool_stats now;
    io_pool_get_stats(pool, &now);
    return now;
}

/* ---- results */

static void submit__one_url__its_answer(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    struct fetch_item *item = add_url(c, "@/small");
    run(c);
    expect_number(item, "index", 0);
    expect_number(item, "status", 200);
    expect_number(item, "bytes", 1024);
    expect_text(item, "encoding", "utf-8");
    expect_text(item, "http_version", "1.1");
    assert_int_equal(stats().urls_ok, 1);
    assert_int_equal(stats().bytes_received, 1024);
    assert_int_equal(stats().in_flight, 0);
    assert_int_equal(stats().queued, 0);
}

static void submit__no_urls__done_at_once(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    run(new_call());
}

static void submit__many_urls__each_its_own_result_in_its_place(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    for (unsigned i = 0; i < 300; i++) {
        char url[32];
        snprintf(url, sizeof url, "@/bytes/%u", i);
        add_url(c, url);
    }
    run(c);
    for (unsigned i = 0; i < 300; i++) {
        expect_number(&c->items[i], "index", i);
        expect_number(&c->items[i], "bytes", i);
    }
}

static void submit__again_to_the_same_host__connection_reused(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ .threads = 1 });
    for (unsigned i = 0; i < 20; i++) {
        struct call *c = new_call();
        struct fetch_item *item = add_url(c, "@/small");
        run(c);
        cJSON *json = json_of(item);
        assert_int_equal(cJSON_IsTrue(json_at(json, "reused")), i > 0);
        cJSON_Delete(json);
    }
    assert_int_equal(stats().connections_opened, 1);
    assert_int_equal(stats().connections_reused, 19);
}

static void submit__origin_closes_after_each_answer__next_ones_still_served(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ .threads = 1 });
    for (unsigned i = 0; i < 10; i++) {
        struct call *c = new_call();
        struct fetch_item *item = add_url(c, i % 2 ? "@/small" : "@/no-keepalive");
        run(c);
        assert_int_equal(item->status, ST_OK);
    }
}

static void submit__kept_connections_of_a_stopped_origin__next_one_connects_anew(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ .threads = 1 });
    for (unsigned i = 0; i < 3; i++) {
        struct origin *other = origin_start("127.0.0.1", 0);
        assert_non_null(other);
        char url[64];
        snprintf(url, sizeof url, "http://127.0.0.1:%u/small", origin_port(other));
        struct call *c = new_call();
        for (unsigned n = 0; n < 5; n++)
            add_url(c, url);
        run(c);
        for (unsigned n = 0; n < 5; n++)
            assert_int_equal(c->items[n].status, ST_OK);
        origin_stop(other);
        turn_loop(0);
    }
}

static void submit__method_headers_body__sent_as_asked(void **state)
{
    (void)state;
    static const char *const lines[] = { "X-One: 1", "Accept: text/plain", "X-Empty;", NULL };
    static const struct {
        enum fetch_method method;
        const char *name, *body;
    } cases[] = {
        { FETCH_GET, "GET", "" },       { FETCH_POST, "POST", "a body" }, { FETCH_POST, "POST", "" },       { FETCH_PUT, "PUT", "x" },
        { FETCH_PUT, "PUT", "" },       { FETCH_PATCH, "PATCH", "x" },    { FETCH_DELETE, "DELETE", "" },   { FETCH_DELETE, "DELETE", "x" },
        { FETCH_OPTIONS, "OPTIONS", "" },
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
        { "http://127.0.0.1:1/", ST_CONNECT_FAILED, "connect" }, { "@/cut", ST_TRUNCATED, "body" },
        { "@/lie-long", ST_TRUNCATED, "body" },                  { "@/endless-headers", ST_UPSTREAM_HEADERS_TOO_LARGE, "first_byte" },
        { "@/bad-http", ST_PROTOCOL_ERROR, "first_byte" },       { "@/rst", ST_PROTOCOL_ERROR, "first_byte" },
        { "http://h h/", ST_BAD_URL, "url" },                    { "ftp://127.0.0.1/", ST_SCHEME_NOT_ALLOWED, "url" },
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
    struct fetch_item *stall = add_url(c, "@/stall"), *body = add_url(c, "@/stall-body"), *trickle = add_url(c, "@/trickle?ms=20");
    stall->timeout_ms = body->timeout_ms = trickle->timeout_ms = 200;
    uint64_t start_ns = clock_now_ns();
    run(c);
    assert_true(elapsed_ms(start_ns) >= 195);
    assert_true(elapsed_ms(start_ns) < scaled_ms(1000));
    expect_failure(stall, ST_TIMEOUT, "first_byte");
    expect_failure(body, ST_TIMEOUT, "body");
    expect_failure(trickle, ST_TIMEOUT, "body");
}

/* A listener that never accepts: its first clients are connected and hear nothing, those beyond its backlog are not even connected. */
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

static void submit__one_stalls__others_are_not_held_up(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ .threads = 1 });
    struct call *slow = new_call(), *fast = new_call();
    add_url(slow, "@/stall")->timeout_ms = 3000;
    assert_int_equal(io_pool_submit(pool, &slow->call), ST_OK);
    add_url(fast, "@/small");
    run(fast);
    assert_int_equal(slow->times_done, 0);
    io_pool_cancel(pool, &slow->call, ST_CANCELLED);
    wait_done(slow);
}

/* ---- redirects */

static void redirects__up_to_the_maximum__followed(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    struct fetch_item *exact = add_url(c, "@/redirect/5"), *beyond = add_url(c, "@/redirect/6"), *none = add_url(c, "@/redirect/1");
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
        { "http://127.0.0.2:9/", ST_BLOCKED_ADDRESS, "policy" },      { "http://169.254.169.254/", ST_BLOCKED_ADDRESS, "policy" },
        { "http://[::ffff:10.0.0.1]/", ST_BLOCKED_ADDRESS, "policy" }, { "//127.0.0.3/", ST_BLOCKED_ADDRESS, "policy" },
        { "file:///etc/passwd", ST_SCHEME_NOT_ALLOWED, "redirect" },  { "gopher://127.0.0.1/", ST_SCHEME_NOT_ALLOWED, "redirect" },
        { "http://u:p@127.0.0.1/", ST_BAD_URL, "redirect" },          { "http://256.0.0.1/", ST_BAD_URL, "redirect" },
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
        { FETCH_POST, 301, "GET", "" },     { FETCH_POST, 302, "GET", "" },  { FETCH_POST, 303, "GET", "" },
        { FETCH_POST, 307, "POST", "b" },   { FETCH_POST, 308, "POST", "b" }, { FETCH_PUT, 301, "PUT", "b" },
        { FETCH_PUT, 303, "GET", "" },      { FETCH_DELETE, 302, "DELETE", "b" },
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
    struct fetch_item *get = add_redirect(c, 302, target), *same = add_redirect(c, 302, "/echo"), *post = add_redirect(c, 307, target);
    get->headers = same->headers = lines;
    post->method = FETCH_POST;
    post->body = "private";
    post->body_len = 7;
    run(c);
    assert_true(has_text(get, "X-Kept: yes"));
    assert_false(has_text(get, "s3cret"));
    assert_true(has_text(same, "s3cret"));
    expect_failure(post, ST_TOO_MANY_REDIRECTS, "redirect");
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

/* ---- limits on how many at once */

static unsigned peak_of(struct call *c, unsigned urls)
{
    origin_reset_peak(origin);
    for (unsigned i = 0; i < urls; i++)
        add_url(c, "@/delay/30");
    run(c);
    for (unsigned i = 0; i < urls; i++)
        assert_int_equal(c->items[i].status, ST_OK);
    return origin_get_counts(origin).in_flight_peak;
}

static void limits__of_the_call__seen_by_the_origin(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    c->call.concurrency = 4;
    assert_int_equal(peak_of(c, 24), 4);
}

static void limits__of_the_host__exact_over_all_threads(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ .threads = 4, .per_host_max = 5 });
    assert_int_equal(peak_of(new_call(), 25), 5);
}

static void limits__of_all__exact_over_all_threads(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ .threads = 4, .inflight_max = 7 });
    assert_int_equal(peak_of(new_call(), 28), 7);
}

static void limits__host_is_full__other_hosts_go_on(void **state)
{
    (void)state;
    struct origin *other = origin_start("127.0.0.1", 0);
    assert_non_null(other);
    start_pool(&(struct io_pool_config){ .per_host_max = 1 });
    struct call *slow = new_call(), *fast = new_call();
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%u/small", origin_port(other));
    for (unsigned i = 0; i < 10; i++)
        add_url(slow, "@/stall");
    add_url(fast, url);
    assert_int_equal(io_pool_submit(pool, &slow->call), ST_OK);
    run(fast);
    assert_int_equal(fast->items[0].status, ST_OK);
    assert_int_equal(stats().queued, 9);
    io_pool_cancel(pool, &slow->call, ST_CANCELLED);
    wait_done(slow);
    origin_stop(other);
}

static void limits__queue_full__whole_call_refused_and_still_the_callers(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ .queue_max = 5 });
    struct call *first = new_call(), *second = new_call(), *third = new_call();
    for (unsigned i = 0; i < 4; i++)
        add_url(first, "@/stall");
    add_url(second, "@/small");
    add_url(second, "@/small");
    add_url(third, "@/small");
    assert_int_equal(io_pool_submit(pool, &first->call), ST_OK);
    assert_int_equal(io_pool_submit(pool, &second->call), ST_QUEUE_FULL);
    assert_null(second->call.pool_state);
    run(third);
    io_pool_cancel(pool, &first->call, ST_CANCELLED);
    wait_done(first);
    run(second);
    assert_int_equal(second->items[1].status, ST_OK);
}

static void limits__thousand_urls_of_one_slow_host__all_at_once(void **state)
{
    (void)state;
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    if (files.rlim_max < 3 * URLS_MAX)
        skip();
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    start_pool(&(struct io_pool_config){ .inflight_max = 2000 });
    struct call *c = new_call();
    for (unsigned i = 0; i < URLS_MAX; i++)
        add_url(c, "@/delay/200");
    uint64_t start_ns = clock_now_ns();
    run(c);
    for (unsigned i = 0; i < URLS_MAX; i++)
        assert_int_equal(c->items[i].status, ST_OK);
    assert_true(elapsed_ms(start_ns) < scaled_ms(2000)); /* one after the other: 200 s */
}

/* ---- cancelling */

static void cancel__running_and_waiting__all_end_soon(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ .per_host_max = 20 });
    struct call *c = new_call();
    for (unsigned i = 0; i < 100; i++)
        add_url(c, "@/stall");
    assert_int_equal(io_pool_submit(pool, &c->call), ST_OK);
    turn_loop(20);
    uint64_t start_ns = clock_now_ns();
    io_pool_cancel(pool, &c->call, ST_DEADLINE_EXCEEDED);
    io_pool_cancel(pool, &c->call, ST_CANCELLED); /* too late to change why */
    wait_done(c);
    assert_true(elapsed_ms(start_ns) < scaled_ms(500));
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(c->items[i].status, ST_DEADLINE_EXCEEDED);
        assert_non_null(c->items[i].json);
    }
    assert_int_equal(stats().in_flight, 0);
    assert_int_equal(stats().queued, 0);
}

static void cancel__finished_ones__keep_their_results(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    add_url(c, "@/small");
    add_url(c, "@/stall");
    assert_int_equal(io_pool_submit(pool, &c->call), ST_OK);
    for (uint64_t end_ns = clock_now_ns() + scaled_ms(5000) * NS_PER_MS; stats().urls_ok == 0 && clock_now_ns() < end_ns;)
        turn_loop(5);
    io_pool_cancel(pool, &c->call, ST_DRAINING);
    wait_done(c);
    assert_int_equal(c->items[0].status, ST_OK);
    assert_int_equal(c->items[1].status, ST_DRAINING);
}

static void cancel__at_any_moment__done_exactly_once(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ .per_host_max = 3 });
    for (unsigned round = 0; round < ARRAY_LEN(calls); round++) {
        struct call *c = new_call();
        for (unsigned i = 0; i < 1 + round; i++)
            add_url(c, i % 3 ? "@/small" : "@/delay/3");
        assert_int_equal(io_pool_submit(pool, &c->call), ST_OK);
        uint64_t until_ns = clock_now_ns() + round * 100000;
        while (clock_now_ns() < until_ns) {}
        io_pool_cancel(pool, &c->call, ST_CANCELLED);
        wait_done(c);
        io_pool_cancel(pool, &c->call, ST_CANCELLED); /* complete: a no-op */
        turn_loop(0);
        assert_int_equal(c->times_done, 1);
    }
    assert_int_equal(stats().in_flight + stats().queued, 0);
}

/* ---- policy */

static void policy__address_not_allowed__no_connection_by_any_spelling(void **state)
{
    (void)state;
    struct origin *canary = origin_start("127.0.0.2", 0);
    assert_non_null(canary);
    static const char *const hosts[] = { "127.0.0.2", "2130706434", "0x7f000002", "0177.0.0.2", "127.2", "127%2e0%2e0%2e2", "[::ffff:127.0.0.2]",
                                         "[::ffff:7f00:2]" };
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

static int start_origin(void **state)
{
    (void)state;
    curl_global_init(CURL_GLOBAL_ALL);
    origin = origin_start("127.0.0.1", 0);
    return origin ? 0 : -1;
}

static int stop_origin(void **state)
{
    (void)state;
    origin_stop(origin);
    curl_global_cleanup();
    return 0;
}

#define pool_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        pool_test(submit__one_url__its_answer),
        pool_test(submit__no_urls__done_at_once),
        pool_test(submit__many_urls__each_its_own_result_in_its_place),
        pool_test(submit__again_to_the_same_host__connection_reused),
        pool_test(submit__origin_closes_after_each_answer__next_ones_still_served),
        pool_test(submit__kept_connections_of_a_stopped_origin__next_one_connects_anew),
        pool_test(submit__method_headers_body__sent_as_asked),
        pool_test(submit__head__status_without_body),
        pool_test(submit__post__never_on_a_kept_connection),
        pool_test(submit__bad_origins__typed_failures),
        pool_test(submit__too_short_a_content_length__rest_is_not_an_answer),
        pool_test(submit__stalls__timeout_names_the_phase),
        pool_test(submit__connection_or_tls_stalls__timeout_names_the_phase),
        pool_test(submit__tls_with_a_plain_origin__tls_failed),
        pool_test(submit__one_stalls__others_are_not_held_up),
        pool_test(redirects__up_to_the_maximum__followed),
        pool_test(redirects__to_what_may_not_be_fetched__refused),
        pool_test(redirects__methods__change_as_http_says),
        pool_test(redirects__to_another_origin__neither_body_nor_credentials),
        pool_test(redirects__slow_hops__one_time_limit_for_all),
        pool_test(sizes__body_limit__cut_and_marked),
        pool_test(sizes__limit_of_the_call__the_one_too_many_fails),
        pool_test(limits__of_the_call__seen_by_the_origin),
        pool_test(limits__of_the_host__exact_over_all_threads),
        pool_test(limits__of_all__exact_over_all_threads),
        pool_test(limits__host_is_full__other_hosts_go_on),
        pool_test(limits__queue_full__whole_call_refused_and_still_the_callers),
        pool_test(limits__thousand_urls_of_one_slow_host__all_at_once),
        pool_test(cancel__running_and_waiting__all_end_soon),
        pool_test(cancel__finished_ones__keep_their_results),
        pool_test(cancel__at_any_moment__done_exactly_once),
        pool_test(policy__address_not_allowed__no_connection_by_any_spelling),
        pool_test(policy__name_of_a_refused_address__refused_at_the_socket),
        pool_test(policy__proxy_in_the_environment__ignored),
    };
    return cmocka_run_group_tests_name("io_pool", tests, start_origin, stop_origin);
}
