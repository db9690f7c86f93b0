/* Tests of pool/io_pool.c and io_thread.c: who is fetched when, limits, cancelling. */
#include "tests/unit/fetch_rig.h"

enum { MANY_URLS = 1000, CANCEL_ROUNDS = 40 };

/* ---- calls */

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
    for (unsigned i = 0; i < 300; i++)
        add_urlf(c, "@/bytes/%u", i);
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
        assert_int_equal(is_true_at(item, "reused"), i > 0);
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
        expect_status(item, ST_OK);
    }
}

static void submit__kept_connections_of_a_stopped_origin__next_one_connects_anew(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ .threads = 1 });
    for (unsigned i = 0; i < 3; i++) {
        struct origin *other = origin_start("127.0.0.1", 0);
        assert_non_null(other);
        struct call *c = new_call();
        for (unsigned n = 0; n < 5; n++)
            add_urlf(c, "http://127.0.0.1:%u/small", origin_port(other));
        run(c);
        expect_all(c, ST_OK);
        origin_stop(other);
        turn_loop(0);
    }
}

static void submit__one_stalls__others_are_not_held_up(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ .threads = 1 });
    struct call *slow = new_call(), *fast = new_call();
    add_url(slow, "@/stall")->timeout_ms = 3000;
    submit(slow);
    add_url(fast, "@/small");
    run(fast);
    assert_int_equal(slow->times_done, 0);
    cancel(slow);
}

static void submit__on_item__told_of_each_once_and_then_done(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ .threads = 4 });
    struct call *c = new_call();
    bool is_told[200] = { false };
    for (unsigned i = 0; i < 200; i++)
        add_url(c, i % 10 == 0 ? "http://h h/" : "@/small");
    c->call.on_item = on_item;
    run(c);
    assert_int_equal(c->told_count, 200);
    for (size_t i = 0; i < 200; i++) {
        size_t index = (size_t)(c->told[i] - c->items);
        assert_false(is_told[index]);
        is_told[index] = true;
        expect_status(c->told[i], index % 10 == 0 ? ST_BAD_URL : ST_OK);
        io_pool_free_result(pool, &c->call, c->told[i]);
    }
    assert_int_equal(stats().memory_taken, 0);
}

static void create__servers_that_cannot_be__invalid_args(void **state)
{
    (void)state;
    assert_int_equal(create_pool(&(struct io_pool_config){ .dns_servers = "nonsense" }), ST_DNS_FAILED);
    assert_null(pool);
}

/* ---- limits on how many at once */

static unsigned peak_of(struct call *c, unsigned urls)
{
    origin_reset_peak(origin);
    for (unsigned i = 0; i < urls; i++)
        add_url(c, "@/delay/30");
    run(c);
    expect_all(c, ST_OK);
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
    for (unsigned i = 0; i < 10; i++)
        add_url(slow, "@/stall");
    add_urlf(fast, "http://127.0.0.1:%u/small", origin_port(other));
    submit(slow);
    run(fast);
    expect_status(&fast->items[0], ST_OK);
    assert_int_equal(stats().queued, 9);
    cancel(slow);
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
    submit(first);
    assert_int_equal(io_pool_submit(pool, &second->call), ST_QUEUE_FULL);
    assert_null(second->call.pool_state);
    run(third);
    cancel(first);
    run(second);
    expect_status(&second->items[1], ST_OK);
}

static void limits__thousand_urls_of_one_slow_host__all_at_once(void **state)
{
    (void)state;
    if (!has_files_for(MANY_URLS))
        skip();
    start_pool(&(struct io_pool_config){ .inflight_max = 2000 });
    struct call *c = new_call();
    for (unsigned i = 0; i < MANY_URLS; i++)
        add_url(c, "@/delay/200");
    uint64_t start_ns = clock_now_ns();
    run(c);
    expect_all(c, ST_OK);
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
    submit(c);
    turn_loop(20);
    uint64_t start_ns = clock_now_ns();
    io_pool_cancel(pool, &c->call, ST_DEADLINE_EXCEEDED);
    io_pool_cancel(pool, &c->call, ST_CANCELLED); /* too late to change why */
    wait_done(c);
    assert_true(elapsed_ms(start_ns) < scaled_ms(500));
    for (unsigned i = 0; i < 100; i++) {
        expect_status(&c->items[i], ST_DEADLINE_EXCEEDED);
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
    submit(c);
    AWAIT(stats().urls_ok == 1);
    io_pool_cancel(pool, &c->call, ST_DRAINING);
    wait_done(c);
    expect_status(&c->items[0], ST_OK);
    expect_status(&c->items[1], ST_DRAINING);
}

static void cancel__at_any_moment__done_exactly_once(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ .per_host_max = 3 });
    for (unsigned round = 0; round < CANCEL_ROUNDS; round++) {
        struct call *c = new_call();
        for (unsigned i = 0; i < 1 + round; i++)
            add_url(c, i % 3 ? "@/small" : "@/delay/3");
        submit(c);
        uint64_t until_ns = clock_now_ns() + round * 100000;
        while (clock_now_ns() < until_ns) {
        }
        io_pool_cancel(pool, &c->call, ST_CANCELLED);
        wait_done(c);
        io_pool_cancel(pool, &c->call, ST_CANCELLED); /* complete: a no-op */
        turn_loop(0);
        assert_int_equal(c->times_done, 1);
    }
    assert_int_equal(stats().in_flight + stats().queued, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        pool_test(submit__one_url__its_answer),
        pool_test(submit__no_urls__done_at_once),
        pool_test(submit__many_urls__each_its_own_result_in_its_place),
        pool_test(submit__again_to_the_same_host__connection_reused),
        pool_test(submit__origin_closes_after_each_answer__next_ones_still_served),
        pool_test(submit__kept_connections_of_a_stopped_origin__next_one_connects_anew),
        pool_test(submit__one_stalls__others_are_not_held_up),
        pool_test(submit__on_item__told_of_each_once_and_then_done),
        pool_test(create__servers_that_cannot_be__invalid_args),
        pool_test(limits__of_the_call__seen_by_the_origin),
        pool_test(limits__of_the_host__exact_over_all_threads),
        pool_test(limits__of_all__exact_over_all_threads),
        pool_test(limits__host_is_full__other_hosts_go_on),
        pool_test(limits__queue_full__whole_call_refused_and_still_the_callers),
        pool_test(limits__thousand_urls_of_one_slow_host__all_at_once),
        pool_test(cancel__running_and_waiting__all_end_soon),
        pool_test(cancel__finished_ones__keep_their_results),
        pool_test(cancel__at_any_moment__done_exactly_once),
    };
    return cmocka_run_group_tests_name("io_pool", tests, start_origin, stop_origin);
}
