/* Tests of waiting: deadlines in the queue, whose turn it is, connections that are few, hosts that fail (io_trade.c,
 * admission.c, curl_loop.c, breaker.c, all of them in a pool). */
#include "tests/unit/fake_clock.h"
#include "tests/unit/fetch_rig.h"

/* ---- deadlines while waiting */

static void deadlines__host_is_full__host_busy(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ .per_host_max = 1 });
    struct call *blocker = new_call(), *c = new_call();
    add_url(blocker, "@/stall");
    for (unsigned i = 0; i < 3; i++)
        add_url(c, "@/small")->timeout_ms = 150 + 50 * i;
    submit(blocker);
    run(c);
    for (unsigned i = 0; i < 3; i++) {
        const struct fetch_item *item = &c->items[i];
        expect_failure(item, ST_HOST_BUSY, "host_queue");
        assert_in_range(number_at(item, "elapsed_ms"), item->timeout_ms - 5, item->timeout_ms + scaled_ms(300));
        assert_true(number_at(item, "timing_ms.host_queue") >= item->timeout_ms * 0.9);
        assert_true(number_at(item, "timing_ms.queue") <= item->timeout_ms * 0.5);
        assert_int_equal(number_at(item, "attempts"), 0);
    }
    assert_int_equal(stats().queued, 0);
    cancel(blocker);
}

static void deadlines__everything_is_full__deadline_exceeded(void **state)
{
    (void)state;
    static const struct io_pool_config configs[] = { { .inflight_max = 1 }, { .per_call_max = 1 } };
    for (size_t i = 0; i < ARRAY_LEN(configs); i++) {
        start_pool(&configs[i]);
        struct call *c = new_call();
        add_url(c, "@/stall");
        struct fetch_item *item = add_url(c, "@/small");
        item->timeout_ms = 150;
        submit(c);
        AWAIT(stats().failed_by_status[ST_DEADLINE_EXCEEDED] == 1);
        expect_failure(item, ST_DEADLINE_EXCEEDED, "queue");
        expect_text(item, "error.budget", "timeout_ms");
        assert_in_range(number_at(item, "timing_ms.queue"), 145, 150 + scaled_ms(300));
        assert_int_equal(number_at(item, "timing_ms.host_queue"), 0);
        cancel(c);
        io_pool_release(pool, &c->call);
        io_pool_free(pool);
        pool = NULL;
    }
}

/* Items that wait for their next attempt, while all slots are taken, expire all at once; and while the thread sees to
 * that, every other call is cancelled. */
static void deadlines__beside_calls_that_are_cancelled__kept(void **state)
{
    (void)state;
    enum { CALLS = 40, ITEMS = 30, SLOTS = 16, APART_US = 100 };
    struct call *blocker = new_call(), *waiting[CALLS];
    uint64_t before = origin_get_counts(origin).requests;
    start_pool(&(struct io_pool_config){ .threads = 1, .inflight_max = SLOTS });
    uint64_t due_ns = clock_now_ns() + 2000 * NS_PER_MS;
    for (unsigned i = 0; i < CALLS; i++) {
        waiting[i] = new_call();
        for (unsigned k = 0; k < ITEMS; k++) {
            struct fetch_item *item = add_url(waiting[i], "@/rst");
            item->retries = 10;
            item->timeout_ms = (uint32_t)((due_ns - clock_now_ns()) / NS_PER_MS);
        }
        submit(waiting[i]);
    }
    AWAIT(origin_get_counts(origin).requests >= before + (uint64_t)CALLS * ITEMS);
    for (unsigned i = 0; i < SLOTS; i++)
        add_url(blocker, "@/stall");
    submit(blocker);
    AWAIT(origin_get_counts(origin).in_flight >= SLOTS);
    for (unsigned i = 0; i < CALLS; i += 2) {
        while (clock_now_ns() < due_ns + i * APART_US * UINT64_C(1000)) {
        }
        io_pool_cancel(pool, &waiting[i]->call, ST_CANCELLED);
    }
    uint64_t start_ns = clock_now_ns();
    for (unsigned i = 0; i < CALLS; i++)
        wait_done(waiting[i]);
    assert_true(elapsed_ms(start_ns) < scaled_ms(1000));
    cancel(blocker);
}

static void waits__of_an_answer__told(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ .per_host_max = 1 });
    struct call *c = new_call();
    struct fetch_item *first = add_url(c, "@/delay/100"), *second = add_url(c, "@/small");
    run(c);
    expect_all(c, ST_OK);
    expect_number(first, "timing_ms.host_queue", 0);
    assert_true(number_at(second, "timing_ms.host_queue") >= 90);
    assert_true(number_at(second, "elapsed_ms") >= 95);
}

/* ---- turns */

static void fairness__thousands_and_one__the_one_need_not_wait_for_them(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ .inflight_max = 10 });
    struct call *many = new_call(), *one = new_call();
    for (unsigned i = 0; i < 2000; i++)
        add_url(many, "@/delay/10");
    add_url(one, "@/small");
    submit(many);
    AWAIT(stats().urls_ok >= 10);
    uint64_t start_ns = clock_now_ns();
    run(one);
    expect_all(one, ST_OK);
    assert_true(elapsed_ms(start_ns) < scaled_ms(500)); /* the others: two seconds */
    assert_int_equal(many->times_done, 0);
    cancel(many);
}

static void per_call__no_concurrency_named__the_pools(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ .per_call_max = 3 });
    for (unsigned concurrency = 0; concurrency <= 6; concurrency += 6) {
        struct call *c = new_call();
        origin_reset_peak(origin);
        for (unsigned i = 0; i < 12; i++)
            add_url(c, "@/delay/20");
        c->call.concurrency = concurrency;
        run(c);
        expect_all(c, ST_OK);
        assert_int_equal(origin_get_counts(origin).in_flight_peak, concurrency ? 6 : 3);
    }
}

/* ---- connections */

static void connections__of_a_hot_host__used_again_over_many_shards(void **state)
{
    (void)state;
    enum { URLS = 1000 };
    if (!has_files_for(URLS))
        skip();
    start_pool(&(struct io_pool_config){ .inflight_max = 2000 });
    for (unsigned round = 0; round < 2; round++) {
        struct call *c = new_call();
        for (unsigned i = 0; i < URLS; i++)
            add_url(c, "@/delay/200");
        run(c);
        expect_all(c, ST_OK);
    }
    assert_true(stats().connections_opened <= URLS + URLS / 5); /* without: twice as many as there are URLs */
}

/* More hosts than connections: the idle ones of earlier hosts are given up. */
static void connections__few__idle_ones_of_other_hosts_given_up(void **state)
{
    (void)state;
    enum { MOST = 20, HOSTS = 60 };
    start_pool(&(struct io_pool_config){ .threads = 1, .inflight_max = MOST / 2, .connections_max = MOST - 1 });
    struct origin *other = origin_start("127.0.0.1", 0);
    assert_non_null(other);
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < HOSTS; i++) {
            struct call *c = new_call();
            add_urlf(c, "http://h%u.localhost:%u/small", i, origin_port(other));
            run(c);
            expect_all(c, ST_OK);
            assert_true(origin_get_counts(other).open <= MOST + 1); /* the origin may see a close a moment later */
        }
        struct call *crowd = new_call();
        for (unsigned i = 0; i < HOSTS; i++)
            add_urlf(crowd, "http://h%u.localhost:%u/delay/5", i, origin_port(other));
        run(crowd);
        expect_all(crowd, ST_OK);
    }
    AWAIT(origin_get_counts(other).open <= MOST);
    origin_stop(other);
}

/* ---- hosts that fail */

static const struct breaker_rule three_failures = { .failures = 3,
                                                    .open_ns = 60 * NS_PER_SEC,
                                                    .counted = BREAKER_CONNECT | BREAKER_CLOSED | BREAKER_TIMEOUT };

static const struct fetch_item *fetch_one(const char *url)
{
    struct call *c = new_call();
    add_url(c, url);
    run(c);
    return &c->items[0];
}

static void breaker__consecutive_failures__opens_probes_and_closes(void **state)
{
    (void)state;
    char url[64];
    uint16_t port = closed_port();
    struct io_host_info hosts[4];
    snprintf(url, sizeof url, "http://127.0.0.1:%u/small", port);
    start_pool(&(struct io_pool_config){ .breaker = three_failures });
    for (unsigned i = 1; i <= 3; i++) {
        expect_failure(fetch_one(url), ST_CONNECT_FAILED, "connect");
        assert_int_equal(io_pool_get_hosts(pool, hosts, ARRAY_LEN(hosts)), 1);
        assert_int_equal(hosts[0].failures, i);
        assert_int_equal(hosts[0].breaker, i < 3 ? BREAKER_IS_CLOSED : BREAKER_IS_OPEN);
    }
    assert_memory_equal(hosts[0].origin, url, strlen(url) - strlen("/small"));
    assert_in_range(hosts[0].opens_in_ns, 1, three_failures.open_ns);
    assert_int_equal(stats().breakers_open, 1);
    const struct fetch_item *refused = fetch_one(url);
    expect_failure(refused, ST_BREAKER_OPEN, "queue");
    assert_true(is_true_at(refused, "error.retriable"));
    assert_int_equal(number_at(refused, "attempts"), 0);
    assert_int_equal(stats().breaker_refusals, 1);
    expect_status(fetch_one("@/small"), ST_OK); /* another host */

    fake_clock_put_forward(61); /* half-open: the probe fails */
    assert_int_equal(io_pool_get_hosts(pool, hosts, ARRAY_LEN(hosts)), 1);
    assert_int_equal(hosts[0].breaker, BREAKER_IS_HALF_OPEN);
    expect_failure(fetch_one(url), ST_CONNECT_FAILED, "connect");
    expect_failure(fetch_one(url), ST_BREAKER_OPEN, "queue");

    struct origin *back = origin_start("127.0.0.1", port);
    if (!back)
        skip(); /* somebody else has the port now */
    expect_failure(fetch_one(url), ST_BREAKER_OPEN, "queue");
    fake_clock_put_forward(61);
    expect_status(fetch_one(url), ST_OK);
    expect_status(fetch_one(url), ST_OK);
    assert_int_equal(io_pool_get_hosts(pool, hosts, ARRAY_LEN(hosts)), 0);
    assert_int_equal(stats().breakers_open, 0);
    assert_int_equal(stats().hosts, 0);
    origin_stop(back);
}

static void breaker__half_open__one_probe_at_a_time(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ .breaker = three_failures });
    for (unsigned i = 0; i < 3; i++)
        expect_failure(fetch_one("@/flaky-close/1"), ST_CONNECTION_CLOSED, "first_byte");
    expect_failure(fetch_one("@/small"), ST_BREAKER_OPEN, "queue");
    fake_clock_put_forward(61);
    struct call *probe = new_call();
    add_url(probe, "@/stall")->timeout_ms = 1000000;
    submit(probe);
    AWAIT(origin_get_counts(origin).in_flight == 1);
    for (unsigned i = 0; i < 3; i++)
        expect_failure(fetch_one("@/small"), ST_BREAKER_OPEN, "queue");
    cancel(probe); /* says nothing of the host: another may try */
    expect_status(fetch_one("@/small"), ST_OK);
    assert_int_equal(stats().breakers_open, 0);
}

static void breaker__attempts__each_counts(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ .breaker = three_failures });
    struct call *c = new_call();
    struct fetch_item *item = add_urlf(c, "http://127.0.0.1:%u/", closed_port());
    item->retries = 8;
    run(c);
    expect_failure(item, ST_BREAKER_OPEN, "queue");
    expect_number(item, "attempts", 3);
    assert_int_equal(length_at(item, "requests"), 3);
}

static void breaker__what_is_not_counted__stays_closed(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ .breaker = three_failures });
    for (unsigned i = 0; i < 5; i++)
        expect_status(fetch_one("@/status/503"), ST_OK);
    for (unsigned i = 0; i < 2; i++)
        expect_status(fetch_one("@/rst"), ST_CONNECTION_CLOSED);
    expect_status(fetch_one("@/small"), ST_OK); /* in a row, it says */
    for (unsigned i = 0; i < 2; i++)
        expect_status(fetch_one("@/rst"), ST_CONNECTION_CLOSED);
    struct io_host_info hosts[1];
    assert_int_equal(io_pool_get_hosts(pool, hosts, 1), 1);
    assert_int_equal(hosts[0].failures, 2);
    assert_int_equal(hosts[0].breaker, BREAKER_IS_CLOSED);
    expect_status(fetch_one("@/small"), ST_OK);
}

static void breaker__answers_of_500_and_more__if_they_are_to_count(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){
        .breaker = { .failures = 2, .open_ns = 60 * NS_PER_SEC, .counted = BREAKER_5XX | BREAKER_429 } });
    expect_status(fetch_one("@/status/429"), ST_OK);
    expect_status(fetch_one("@/status/500"), ST_OK);
    expect_failure(fetch_one("@/small"), ST_BREAKER_OPEN, "queue");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        pool_test(deadlines__host_is_full__host_busy),
        pool_test(deadlines__everything_is_full__deadline_exceeded),
        pool_test(deadlines__beside_calls_that_are_cancelled__kept),
        pool_test(waits__of_an_answer__told),
        pool_test(fairness__thousands_and_one__the_one_need_not_wait_for_them),
        pool_test(per_call__no_concurrency_named__the_pools),
        pool_test(connections__of_a_hot_host__used_again_over_many_shards),
        pool_test(connections__few__idle_ones_of_other_hosts_given_up),
        pool_test(breaker__consecutive_failures__opens_probes_and_closes),
        pool_test(breaker__half_open__one_probe_at_a_time),
        pool_test(breaker__attempts__each_counts),
        pool_test(breaker__what_is_not_counted__stays_closed),
        pool_test(breaker__answers_of_500_and_more__if_they_are_to_count),
    };
    return cmocka_run_group_tests_name("fetch_queue", tests, start_origin, stop_origin);
}
