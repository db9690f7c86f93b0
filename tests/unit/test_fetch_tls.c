/* Tests of https in the pool: certificates, handshakes that fail, HTTP/2 and its shared connections. */
#include <signal.h>

#include "pool/io_internal.h" /* what the pool knows of a host */
#include "tests/support/nginx.h"
#include "tests/unit/fake_clock.h"
#include "tests/unit/fetch_rig.h"
#include "tests/unit/own_sockets.h"

static struct nginx nginx;

enum { MANY = 40 /* a host with more at once gets a connection more */ };

static void start_trusting_pool(unsigned threads)
{
    start_pool(&(struct io_pool_config){ .threads = threads, .ca_file = nginx.ca_path });
}

static struct fetch_item *add_h2(struct call *c, const char *path)
{
    return add_urlf(c, "https://127.0.0.1:%u%s", nginx.h2_port, path);
}

/* ---- HTTP/2 */

static void http2__many_requests__share_one_connection(void **state)
{
    (void)state;
    start_trusting_pool(1);
    struct call *first = new_call(), *many = new_call();
    add_h2(first, "/connection");
    run(first);
    expect_text(&first->items[0], "http_version", "2");
    unsigned long connection = 0, number;
    for (unsigned i = 0; i < MANY; i++)
        add_h2(many, "/connection");
    run(many);
    expect_all(many, ST_OK);
    for (unsigned i = 0; i < MANY; i++) {
        cJSON *json = json_of(&many->items[i]);
        assert_int_equal(sscanf(json_text_at(json, "body"), "%lu", &number), 1);
        assert_true(i == 0 || number == connection);
        assert_true(is_true_at(&many->items[i], "reused"));
        connection = number;
        cJSON_Delete(json);
    }
    assert_int_equal(stats().connections_opened, 1);
    assert_int_equal(stats().connections_reused, MANY);
}

/* Once the host is known to speak it, even the first requests over a new connection wait for that one. */
static void http2__connection_is_gone__one_new_one_for_all(void **state)
{
    (void)state;
    start_trusting_pool(1);
    struct call *first = new_call(), *many = new_call();
    add_h2(first, "/small");
    run(first);
    expect_all(first, ST_OK);
    fake_clock_put_forward(301); /* no connection is used for longer */
    for (unsigned i = 0; i < 20; i++)
        add_h2(many, "/64k");
    run(many);
    expect_all(many, ST_OK);
    assert_int_equal(stats().connections_opened, 2);
}

/* One makes the connection, another waits for it; when the first gives up, the other makes one, although the address
 * that it was given is some seconds old. */
static void http2__waited_for_a_connection_in_vain__makes_its_own(void **state)
{
    (void)state;
    start_names();
    assert_true(name_server_add(names, "origin.test", NAME_A, "127.0.0.1", 60));
    start_trusting_pool(1);
    struct call *warm = new_call(), *c = new_call(), *later = new_call();
    add_urlf(warm, "https://origin.test:%u/small", nginx.h2_port);
    run(warm);
    expect_text(&warm->items[0], "http_version", "2");
    fake_clock_put_forward(301);
    struct fetch_item *hasty = add_urlf(c, "https://origin.test:%u/small", nginx.h2_port),
                      *patient = add_urlf(later, "https://origin.test:%u/small", nginx.h2_port);
    hasty->tls_timeout_ms = 3000;
    hasty->timeout_ms = patient->timeout_ms = patient->connect_timeout_ms = patient->tls_timeout_ms = 1000000;
    kill(nginx.pid, SIGSTOP);
    submit(c);
    AWAIT(own_traffic_with(nginx.h2_port).acknowledged > 100); /* TLS has begun */
    submit(later);
    AWAIT(stats().in_flight == 2);
    struct call *other = new_call();
    add_url(other, "@/small");
    run(other); /* so it has been taken up */
    fake_clock_put_forward(4);
    other = new_call();
    add_url(other, "@/small");
    run(other);
    wait_done(c);
    kill(nginx.pid, SIGCONT);
    wait_done(later);
    expect_failure(hasty, ST_TLS_TIMEOUT, "tls");
    expect_status(patient, ST_OK);
}

static void http2__bodies_heads_and_codings__as_over_http1(void **state)
{
    (void)state;
    start_trusting_pool(2);
    struct call *c = new_call();
    struct fetch_item *big = add_h2(c, "/64k"), *page = add_h2(c, "/page.html"), *head = add_h2(c, "/64k"),
                      *none = add_h2(c, "/no-content"), *cut = add_h2(c, "/64k"), *protocol = add_h2(c, "/protocol");
    head->method = FETCH_HEAD;
    cut->max_body_bytes = 1000;
    run(c);
    expect_number(big, "bytes", 65536);
    expect_number(page, "bytes", 65536);
    expect_number(head, "bytes", 0);
    expect_number(head, "status", 200);
    expect_number(none, "status", 204);
    expect_number(cut, "bytes", 1000);
    assert_true(is_true_at(cut, "truncated"));
    expect_text(protocol, "body", "HTTP/2.0");
    for (size_t i = 0; i < c->call.count; i++)
        expect_text(&c->items[i], "http_version", "2");
}

static void http1__over_tls__kept_connections(void **state)
{
    (void)state;
    start_trusting_pool(1);
    for (unsigned i = 0; i < 3; i++) {
        struct call *c = new_call();
        add_urlf(c, "https://127.0.0.1:%u/protocol", nginx.h1_port);
        run(c);
        expect_text(&c->items[0], "body", "HTTP/1.1");
        expect_text(&c->items[0], "http_version", "1.1");
        assert_int_equal(is_true_at(&c->items[0], "reused"), i > 0);
        assert_int_equal(number_at(&c->items[0], "timing_ms.tls") > 0, i == 0);
    }
}

/* ---- certificates */

static void certificates__bad_ones__not_accepted(void **state)
{
    (void)state;
    start_trusting_pool(2);
    struct call *c = new_call();
    for (unsigned kind = CERTIFICATE_GOOD + 1; kind < CERTIFICATE_KINDS; kind++) {
        struct fetch_item *item = add_urlf(c, "https://127.0.0.1:%u/small", nginx.bad_port[kind]);
        item->retries = 2;
    }
    run(c);
    for (size_t i = 0; i < c->call.count; i++) {
        expect_failure(&c->items[i], ST_TLS_VERIFY_FAILED, "tls");
        assert_false(is_true_at(&c->items[i], "error.retriable"));
        expect_number(&c->items[i], "attempts", 1);
    }
}

static void certificates__names__must_match(void **state)
{
    (void)state;
    static const char *const good[] = { "origin.test", "a.origin.test", "localhost" }, *const bad[] = {
        "other.test", "a.b.origin.test", "sub.localhost"
    };
    start_names();
    assert_true(name_server_add(names, "origin.test", NAME_A, "127.0.0.1", 60));
    assert_true(name_server_add(names, "*.origin.test", NAME_A, "127.0.0.1", 60));
    assert_true(name_server_add(names, "other.test", NAME_A, "127.0.0.1", 60));
    start_trusting_pool(1);
    struct call *c = new_call();
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        add_urlf(c, "https://%s:%u/small", good[i], nginx.h2_port);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        add_urlf(c, "https://%s:%u/small", bad[i], nginx.h2_port);
    run(c);
    for (size_t i = 0; i < c->call.count; i++)
        expect_status(&c->items[i], i < ARRAY_LEN(good) ? ST_OK : ST_TLS_VERIFY_FAILED);
}

static void certificates__of_an_authority_that_is_not_the_systems__not_accepted(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    add_h2(c, "/small");
    run(c);
    expect_failure(&c->items[0], ST_TLS_VERIFY_FAILED, "tls");
}

static void ca_file__cannot_be_used__no_pool(void **state)
{
    (void)state;
    char without[128];
    snprintf(without, sizeof without, "%s/www/small", nginx.dir);
    assert_int_equal(create_pool(&(struct io_pool_config){ .ca_file = "/nowhere/ca.pem" }), ST_TLS_VERIFY_FAILED);
    assert_int_equal(create_pool(&(struct io_pool_config){ .ca_file = without }), ST_TLS_VERIFY_FAILED);
    assert_null(pool);
}

/* ---- handshakes that fail */

static void handshakes__that_fail__typed_failures(void **state)
{
    (void)state;
    static const struct {
        enum listener_kind kind;
        enum status status;
    } cases[] = { { LISTENER_SILENT, ST_TLS_TIMEOUT },
                  { LISTENER_GARBAGE, ST_TLS_FAILED },
                  { LISTENER_CLOSE, ST_TLS_FAILED } };
    struct listener *listeners[ARRAY_LEN(cases)];
    start_trusting_pool(2);
    struct call *c = new_call();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        listeners[i] = listener_start(cases[i].kind, "127.0.0.1", 0);
        assert_non_null(listeners[i]);
        struct fetch_item *item = add_urlf(c, "https://127.0.0.1:%u/", listener_port(listeners[i]));
        item->tls_timeout_ms = i == 0 ? 200 : item->tls_timeout_ms;
    }
    run(c);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        expect_failure(&c->items[i], cases[i].status, "tls");
        assert_true(number_at(&c->items[i], "timing_ms.tls") > 0);
        listener_stop(listeners[i]);
    }
    expect_text(&c->items[0], "error.budget", "tls_timeout_ms");
    assert_true(number_at(&c->items[0], "timing_ms.tls") >= 190);
}

/* ---- kept connections that die with a request on them; the last test, since nginx does not survive it */

/* Requests that must not be sent twice use kept connections only of hosts that speak HTTP/2. Here is one that did. */
static void say_that_it_speaks_http2(uint16_t port)
{
    char key[64];
    snprintf(key, sizeof key, "https://127.0.0.1:%u", port);
    pthread_mutex_lock(&pool->lock);
    struct host *host = hosts_acquire(&pool->hosts, key, strlen(key));
    assert_non_null(host);
    atomic_store(&host->speaks_http2, true);
    hosts_release(&pool->hosts, host);
    pthread_mutex_unlock(&pool->lock);
}

static struct call *send_to_the_dying(uint16_t port, enum fetch_method method)
{
    struct call *c = new_call();
    struct fetch_item *item = add_urlf(c, "https://127.0.0.1:%u/small", port);
    item->method = method;
    item->body = "an order";
    item->body_len = method == FETCH_POST ? 8 : 0;
    item->retries = method == FETCH_POST ? 3 : 0;
    uint64_t before = own_traffic_with(port).acknowledged;
    submit(c);
    AWAIT(own_traffic_with(port).acknowledged > before + 20);
    return c;
}

static void repetition__of_a_post__refused(void **state)
{
    (void)state;
    start_trusting_pool(1);
    struct call *warm = new_call();
    add_h2(warm, "/small");
    add_urlf(warm, "https://127.0.0.1:%u/small", nginx.h1_port);
    run(warm);
    expect_all(warm, ST_OK);
    say_that_it_speaks_http2(nginx.h1_port);
    kill(nginx.pid, SIGSTOP);
    struct call *posts[] = { send_to_the_dying(nginx.h2_port, FETCH_POST),
                             send_to_the_dying(nginx.h1_port, FETCH_POST) };
    kill(nginx.pid, SIGKILL);
    for (size_t i = 0; i < ARRAY_LEN(posts); i++) {
        wait_done(posts[i]);
        expect_failure(&posts[i]->items[0], ST_CONNECTION_CLOSED, "first_byte");
        expect_number(&posts[i]->items[0], "attempts", 1);
    }
    assert_non_null(
        strstr(posts[1]->items[0].message, "not idempotent")); /* it was libcurl that would have sent it again */
    assert_int_equal(stats().retries, 0);
    assert_int_equal(stats().connections_opened, 2);
}

static int start_servers(void **state) { return start_origin(state) || !nginx_start_tls(&nginx); }

static int stop_servers(void **state)
{
    nginx_stop(&nginx);
    return stop_origin(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        pool_test(http2__many_requests__share_one_connection),
        pool_test(http2__connection_is_gone__one_new_one_for_all),
        pool_test(http2__waited_for_a_connection_in_vain__makes_its_own),
        pool_test(http2__bodies_heads_and_codings__as_over_http1),
        pool_test(http1__over_tls__kept_connections),
        pool_test(certificates__bad_ones__not_accepted),
        pool_test(certificates__names__must_match),
        pool_test(certificates__of_an_authority_that_is_not_the_systems__not_accepted),
        pool_test(ca_file__cannot_be_used__no_pool),
        pool_test(handshakes__that_fail__typed_failures),
        pool_test(repetition__of_a_post__refused),
    };
    return cmocka_run_group_tests_name("fetch_tls", tests, start_servers, stop_servers);
}
