/* Tests of attempts and rests (pool/fetch.c, retry_policy.c, io_trade.c): what is tried again, when, and what it holds
 * meanwhile. */
#include "pool/io_internal.h" /* which thread a host belongs to */
#include "tests/unit/fetch_rig.h"

static unsigned next_key;

/* A path with a key of its own, which is returned. */
static struct fetch_item *add_keyed(struct call *c, const char *path, const char *query, char ret_key[static 16])
{
    snprintf(ret_key, 16, "k%u", next_key++);
    return add_urlf(c, "@%s?key=%s%s", path, ret_key, query);
}

static void expect_requests(const char *key, uint64_t count)
{
    assert_int_equal(origin_requests_with_key(origin, key), count);
}

/* ---- answers that ask for patience */

static void statuses__that_pass__tried_again(void **state)
{
    (void)state;
    static const unsigned statuses[] = { 408, 429, 502, 503, 504 };
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    char key[16], query[32];
    for (size_t i = 0; i < ARRAY_LEN(statuses); i++) {
        snprintf(query, sizeof query, "&status=%u", statuses[i]);
        add_keyed(c, "/flaky/2", query, key)->retries = 2;
    }
    run(c);
    for (size_t i = 0; i < ARRAY_LEN(statuses); i++) {
        struct fetch_item *item = &c->items[i];
        expect_status(item, ST_OK);
        expect_number(item, "status", 200);
        expect_text(item, "body", "3\n");
        expect_number(item, "attempts", 3);
        assert_int_equal(length_at(item, "requests"), 3);
        for (unsigned n = 0; n < 3; n++) {
            char path[32];
            snprintf(path, sizeof path, "requests.%u.status", n);
            expect_number(item, path, n < 2 ? statuses[i] : 200);
            snprintf(path, sizeof path, "requests.%u.attempt", n);
            expect_number(item, path, n + 1);
        }
    }
    assert_int_equal(stats().retries, 2 * ARRAY_LEN(statuses));
    assert_int_equal(stats().urls_started, ARRAY_LEN(statuses));
    assert_int_equal(stats().urls_ok, ARRAY_LEN(statuses));
}

static void statuses__others__not_tried_again(void **state)
{
    (void)state;
    static const unsigned statuses[] = { 400, 404, 500, 501, 505 };
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    for (size_t i = 0; i < ARRAY_LEN(statuses); i++)
        add_urlf(c, "@/status/%u", statuses[i])->retries = 2;
    run(c);
    for (size_t i = 0; i < ARRAY_LEN(statuses); i++) {
        expect_number(&c->items[i], "status", statuses[i]);
        expect_number(&c->items[i], "attempts", 1);
    }
}

static void statuses__that_do_not_pass__the_last_answer_is_the_result(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    char key[16];
    struct fetch_item *item = add_keyed(c, "/flaky/9", "", key);
    item->retries = 2;
    run(c);
    expect_status(item, ST_OK);
    expect_number(item, "status", 503);
    expect_text(item, "body", "not now\n");
    expect_number(item, "attempts", 3);
    expect_requests(key, 3);
}

static void retry_after__beyond_the_deadline__answered_at_once(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    char key[16];
    struct fetch_item *item = add_keyed(c, "/flaky/1", "&retry_after=3600", key);
    item->retries = 2;
    run(c);
    expect_number(item, "status", 503);
    expect_number(item, "attempts", 1);
    assert_true(number_at(item, "elapsed_ms") < scaled_ms(3000));
    expect_requests(key, 1);
}

/* ---- failures */

static void failures__closed_without_an_answer__tried_again(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    static const enum fetch_method methods[] = { FETCH_GET, FETCH_HEAD, FETCH_PUT, FETCH_DELETE, FETCH_OPTIONS };
    char key[16];
    for (size_t i = 0; i < 2 * ARRAY_LEN(methods); i++) {
        struct fetch_item *item = add_keyed(c, "/flaky-close/1", i % 2 ? "&how=rst" : "", key);
        item->method = methods[i / 2];
        item->retries = 1;
    }
    run(c);
    for (size_t i = 0; i < c->call.count; i++) {
        expect_status(&c->items[i], ST_OK);
        expect_number(&c->items[i], "attempts", 2);
        expect_text(&c->items[i], "requests.0.error", "connection_closed");
        expect_number(&c->items[i], "requests.1.status", 200);
    }
}

static void failures__not_connected__all_attempts_told(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    struct fetch_item *item = add_urlf(c, "http://127.0.0.1:%u/", closed_port());
    item->retries = 2;
    run(c);
    expect_failure(item, ST_CONNECT_FAILED, "connect");
    expect_number(item, "attempts", 3);
    assert_int_equal(length_at(item, "requests"), 3);
    expect_text(item, "requests.2.error", "connect_failed");
    assert_true(number_at(item, "requests.2.at_ms") >= number_at(item, "requests.1.at_ms"));
    assert_int_equal(stats().failed_by_status[ST_CONNECT_FAILED], 1);
}

static void failures__truncated__no_body_is_charged_twice(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ .total_body_max = 1100 }); /* each attempt brings 1024 */
    struct call *c = new_call();
    struct fetch_item *item = add_url(c, "@/lie-long");
    item->retries = 2;
    run(c);
    expect_failure(item, ST_TRUNCATED, "body");
    expect_number(item, "attempts", 3);
}

static void failures__slow_attempt__each_has_its_own_budget(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    char key[16];
    struct fetch_item *item = add_keyed(c, "/vary-latency", "&ms=60000", key);
    item->first_byte_timeout_ms = scaled_ms(200);
    item->retries = 1;
    run(c);
    expect_text(item, "body", "later\n");
    expect_number(item, "attempts", 2);
    expect_text(item, "requests.0.error", "first_byte_timeout");
}

static void failures__of_a_redirect__whole_attempts_repeated(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    char target[32];
    snprintf(target, sizeof target, "/flaky/1?key=k%u", next_key++);
    struct fetch_item *item = add_redirect(c, 302, target);
    item->retries = 1;
    run(c);
    expect_number(item, "status", 200);
    expect_number(item, "attempts", 2);
    static const unsigned statuses[] = { 302, 503, 302, 200 };
    assert_int_equal(length_at(item, "requests"), ARRAY_LEN(statuses));
    for (unsigned i = 0; i < ARRAY_LEN(statuses); i++) {
        char path[32];
        snprintf(path, sizeof path, "requests.%u.status", i);
        expect_number(item, path, statuses[i]);
        snprintf(path, sizeof path, "requests.%u.attempt", i);
        expect_number(item, path, 1 + i / 2);
    }
}

/* ---- methods that must not be sent twice */

static void unsafe__sent__not_repeated(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    char keys[4][16];
    struct fetch_item *closed = add_keyed(c, "/flaky-close/1", "", keys[0]),
                      *reset = add_keyed(c, "/flaky-close/1", "&how=rst", keys[1]),
                      *refused = add_keyed(c, "/flaky/1", "", keys[2]), *patch = add_keyed(c, "/flaky/1", "", keys[3]);
    for (unsigned i = 0; i < 4; i++) {
        c->items[i].method = i < 3 ? FETCH_POST : FETCH_PATCH;
        c->items[i].retries = 3;
        c->items[i].body = "x";
        c->items[i].body_len = 1;
    }
    run(c);
    expect_failure(closed, ST_CONNECTION_CLOSED, "first_byte");
    expect_status(reset, ST_CONNECTION_CLOSED);
    expect_number(refused, "status", 503);
    expect_number(patch, "status", 503);
    for (unsigned i = 0; i < 4; i++) {
        expect_number(&c->items[i], "attempts", 1);
        expect_requests(keys[i], 1);
    }
}

static void unsafe__sent_and_may_be_repeated__repeated(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    char keys[2][16];
    add_keyed(c, "/flaky-close/1", "", keys[0]);
    add_keyed(c, "/flaky/1", "", keys[1]);
    for (unsigned i = 0; i < 2; i++) {
        c->items[i].method = FETCH_POST;
        c->items[i].retries = 1;
        c->items[i].may_repeat_unsafe = true;
    }
    run(c);
    for (unsigned i = 0; i < 2; i++) {
        expect_number(&c->items[i], "status", 200);
        expect_number(&c->items[i], "attempts", 2);
        expect_requests(keys[i], 2);
    }
}

/* All its slots are given back between two attempts. */
static bool is_resting(const struct call *c)
{
    return c->times_done == 0 && stats().in_flight == 0 && stats().queued == 0;
}

/* The origin comes up between two attempts: a request that never left may be sent, whatever its method. */
static void unsafe__not_connected__tried_again(void **state)
{
    (void)state;
    uint16_t port = closed_port();
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    struct fetch_item *item = add_urlf(c, "http://127.0.0.1:%u/echo", port);
    item->method = FETCH_POST;
    item->retries = 10;
    item->timeout_ms = 10 * scaled_ms(ITEM_TIMEOUT_MS);
    submit(c);
    AWAIT(is_resting(c));
    struct origin *late = origin_start("127.0.0.1", port);
    if (late)
        wait_done(c);
    else
        cancel(c); /* somebody else has the port now */
    if (!late)
        skip();
    expect_number(item, "status", 200);
    assert_true(number_at(item, "attempts") >= 2);
    expect_text(item, "requests.0.error", "connect_failed");
    assert_int_equal(origin_get_counts(late).requests, 1);
    origin_stop(late);
}

/* ---- while it rests */

static void resting__as_long_as_retry_after__slot_is_free_for_others(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ .inflight_max = 1, .per_host_max = 1 });
    struct call *c = new_call(), *other = new_call();
    char key[16];
    struct fetch_item *item = add_keyed(c, "/flaky/1", "&retry_after=1", key);
    item->retries = 1;
    add_url(c, "@/small");
    c->call.concurrency = 1;
    add_url(other, "@/small");
    submit(c);
    AWAIT(stats().urls_ok == 1); /* the other one of the call */
    run(other);
    expect_all(other, ST_OK);
    assert_int_equal(c->times_done, 0);
    wait_done(c);
    expect_all(c, ST_OK);
    expect_number(item, "attempts", 2);
    assert_true(number_at(item, "requests.1.at_ms") >= 1000);
    assert_true(number_at(item, "timing_ms.queue") < scaled_ms(500)); /* resting is not waiting */
}

static void resting__cancelled__ends_at_once(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    char key[16];
    struct fetch_item *item = add_keyed(c, "/flaky/1", "&retry_after=30", key);
    item->retries = 1;
    item->timeout_ms = 1000000;
    submit(c);
    AWAIT(is_resting(c));
    uint64_t start_ns = clock_now_ns();
    cancel(c);
    assert_true(elapsed_ms(start_ns) < scaled_ms(1000));
    expect_failure(item, ST_CANCELLED, "retry");
    expect_number(item, "attempts", 1);
    expect_requests(key, 1);
    assert_int_equal(stats().hosts, 0);
}

static uint32_t hash_of_host(const char *host_origin)
{
    pthread_mutex_lock(&pool->lock);
    struct host *host = hosts_acquire(&pool->hosts, host_origin, strlen(host_origin));
    assert_non_null(host);
    uint32_t hash = host->hash;
    hosts_release(&pool->hosts, host);
    pthread_mutex_unlock(&pool->lock);
    return hash;
}

/* It waits for the second attempt, its host's slot was taken meanwhile, and its time runs out. The first thread sees to
 * that; this host belongs to the other one. */
static void queued_again__time_is_over__ends_then(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ .threads = 2, .per_host_max = 1 });
    char host_origin[64];
    unsigned number = 0;
    do
        snprintf(host_origin, sizeof host_origin, "http://h%u.localhost:%u", number++, origin_port(origin));
    while (hash_of_host(host_origin) % 2 != 1);
    struct call *c = new_call(), *blocker = new_call();
    struct fetch_item *item = add_urlf(c, "%s/flaky/1?key=k%u&retry_after=1", host_origin, next_key++);
    item->retries = 1;
    item->timeout_ms = 1300 + scaled_ms(400);
    add_urlf(blocker, "%s/stall", host_origin)->timeout_ms = 1000000;
    submit(c);
    AWAIT(is_resting(c));
    submit(blocker);
    wait_done(c);
    expect_failure(item, ST_HOST_BUSY, "host_queue");
    expect_number(item, "attempts", 1);
    assert_true(number_at(item, "timing_ms.host_queue") > 0);
    assert_in_range(number_at(item, "elapsed_ms"), item->timeout_ms - 5, item->timeout_ms + scaled_ms(500));
    cancel(blocker);
}

/* ---- libcurl's own repetition */

static void repetition__kept_connection_is_dead__told_as_an_attempt(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ .threads = 1 });
    for (unsigned i = 0; i < 2; i++) {
        struct call *first = new_call(), *second = new_call();
        add_url(first, i ? "@/keepalive-then-close?how=rst" : "@/keepalive-then-close");
        struct fetch_item *item = add_url(second, "@/small");
        run(first);
        expect_all(first, ST_OK);
        run(second);
        expect_number(item, "status", 200);
        expect_number(item, "attempts", 2);
        assert_int_equal(length_at(item, "requests"), 2);
        expect_text(item, "requests.0.error", "connection_closed");
        assert_true(is_true_at(item, "requests.0.reused"));
        expect_number(item, "requests.1.status", 200);
        assert_false(is_true_at(item, "requests.1.reused"));
        assert_false(is_true_at(item, "reused"));
        struct call *last = new_call(); /* so that the next round begins without a kept connection */
        add_url(last, "@/no-keepalive");
        run(last);
    }
}

/* An origin that takes requests over kept connections and closes each on purpose gets two, not one per connection. */
static void repetition__every_kept_connection_is_dead__one_more_over_a_new_one(void **state)
{
    (void)state;
    enum { KEPT = 10 };
    static const enum fetch_method methods[] = { FETCH_GET, FETCH_PUT, FETCH_DELETE };
    start_pool(&(struct io_pool_config){ .threads = 1 });
    for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
        struct call *first = new_call(), *second = new_call();
        char key[16];
        for (unsigned n = 0; n < KEPT; n++)
            add_url(first, "@/delay/100");
        run(first);
        expect_all(first, ST_OK);
        struct fetch_item *item = add_keyed(second, "/rst", "", key);
        item->method = methods[i];
        item->retries = 0;
        run(second);
        expect_failure(item, ST_CONNECTION_CLOSED, "first_byte");
        expect_number(item, "attempts", 2);
        assert_int_equal(length_at(item, "requests"), 2);
        assert_false(is_true_at(item, "requests.1.reused"));
        expect_requests(key, 2);
    }
}

/* ---- a crowd */

static void crowd__all_fail_once__all_succeed_within_the_limits(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ .threads = 4, .per_host_max = 10 });
    origin_reset_peak(origin);
    struct call *c = new_call();
    char key[16];
    for (unsigned i = 0; i < 200; i++)
        add_keyed(c, i % 2 ? "/flaky/1" : "/flaky-close/1", "", key)->retries = 1;
    run(c);
    expect_all(c, ST_OK);
    for (unsigned i = 0; i < 200; i++)
        expect_number(&c->items[i], "attempts", 2);
    assert_true(origin_get_counts(origin).in_flight_peak <= 10);
    assert_in_range(stats().retries, 100, 200); /* those on kept connections were libcurl's */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        pool_test(statuses__that_pass__tried_again),
        pool_test(statuses__others__not_tried_again),
        pool_test(statuses__that_do_not_pass__the_last_answer_is_the_result),
        pool_test(retry_after__beyond_the_deadline__answered_at_once),
        pool_test(failures__closed_without_an_answer__tried_again),
        pool_test(failures__not_connected__all_attempts_told),
        pool_test(failures__truncated__no_body_is_charged_twice),
        pool_test(failures__slow_attempt__each_has_its_own_budget),
        pool_test(failures__of_a_redirect__whole_attempts_repeated),
        pool_test(unsafe__sent__not_repeated),
        pool_test(unsafe__sent_and_may_be_repeated__repeated),
        pool_test(unsafe__not_connected__tried_again),
        pool_test(resting__as_long_as_retry_after__slot_is_free_for_others),
        pool_test(resting__cancelled__ends_at_once),
        pool_test(queued_again__time_is_over__ends_then),
        pool_test(repetition__kept_connection_is_dead__told_as_an_attempt),
        pool_test(repetition__every_kept_connection_is_dead__one_more_over_a_new_one),
        pool_test(crowd__all_fail_once__all_succeed_within_the_limits),
    };
    return cmocka_run_group_tests_name("fetch_retries", tests, start_origin, stop_origin);
}
