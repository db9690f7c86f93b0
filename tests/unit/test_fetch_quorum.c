/* Tests of calls that need only some of their URLs (fetch_call.required): they end as soon as it is settled. */
#include "tests/unit/gated_rig.h"

static const char enough[] = "not needed any more: enough others have succeeded (require)";
static const char hopeless[] = "of no use any more: too many others have failed (require)";

static unsigned next_key;

/* It ends long before its items' time is over. */
static void wait_quickly(struct call *c)
{
    uint64_t start_ns = clock_now_ns();
    wait_done(c);
    if (elapsed_ms(start_ns) > scaled_ms(2000))
        fail_msg("it took %.0f ms", elapsed_ms(start_ns));
}

static void run_quickly(struct call *c)
{
    submit(c);
    wait_quickly(c);
}

static struct fetch_item *add_gated(struct call *c)
{
    return add_urlf(c, "http://127.0.0.1:%u/gate", origin_port(gated));
}

static void expect_cancelled(const struct fetch_item *item, const char *message)
{
    expect_status(item, ST_CANCELLED);
    assert_string_equal(item->message, message);
    expect_text(item, "error.message", message);
    expect_text(item, "error.code", "cancelled");
}

static unsigned count_status(const struct call *c, enum status status)
{
    unsigned count = 0;
    for (size_t i = 0; i < c->call.count; i++)
        count += c->items[i].status == status;
    return count;
}

static void any__first_success__others_cancelled(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    add_url(c, "@/stall");
    add_url(c, "@/status/404");
    add_urlf(c, "http://127.0.0.1:%u/", closed_port());
    struct fetch_item *good = add_gated(c);
    add_url(c, "@/stall-body");
    c->call.required = 1;
    submit(c);
    AWAIT(stats().urls_ok == 1 && stats().urls_failed == 1 && origin_get_counts(origin).in_flight == 2);
    origin_open_gate(gated);
    wait_quickly(c);
    expect_status(good, ST_OK);
    expect_cancelled(&c->items[0], enough);
    expect_number(&c->items[1], "status", 404);
    expect_failure(&c->items[2], ST_CONNECT_FAILED, "connect");
    expect_cancelled(&c->items[4], enough);
    assert_string_equal(c->items[0].phase, "first_byte");
    assert_int_equal(stats().failed_by_status[ST_CANCELLED], 2);
    AWAIT(origin_get_counts(origin).in_flight == 0);
}

static void any__all_fail__all_told(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    for (unsigned i = 0; i < 3; i++)
        add_url(c, "@/status/500");
    c->call.required = 1;
    run_quickly(c);
    for (unsigned i = 0; i < 3; i++)
        expect_number(&c->items[i], "status", 500);
}

static void all__one_fails__others_cancelled(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    for (unsigned i = 0; i < 5; i++)
        add_url(c, i == 3 ? "@/status/400" : "@/stall");
    c->call.required = 5;
    run_quickly(c);
    for (unsigned i = 0; i < 5; i++)
        if (i != 3)
            expect_cancelled(&c->items[i], hopeless);
    expect_number(&c->items[3], "status", 400);
}

static void all__none_fails__all_results(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    for (unsigned i = 0; i < 5; i++)
        add_url(c, i == 3 ? "@/redirect/1" : "@/small");
    c->items[3].max_redirects = 0; /* its answer, a 302, is below 400 */
    c->call.required = 5;
    run_quickly(c);
    expect_all(c, ST_OK);
}

static void some__as_many_as_required__then_no_more(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    for (unsigned i = 0; i < 10; i++)
        add_url(c, i < 4 ? "@/small" : "@/stall");
    c->call.required = 4;
    run_quickly(c);
    assert_int_equal(count_status(c, ST_OK), 4);
    assert_int_equal(count_status(c, ST_CANCELLED), 6);
}

static void some__settled_as_impossible__others_cancelled(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    for (unsigned i = 0; i < 10; i++)
        add_url(c, i < 4 ? "@/status/503" : i < 6 ? "@/small" : "@/stall");
    c->call.required = 7;
    run_quickly(c);
    for (unsigned i = 6; i < 10; i++)
        expect_cancelled(&c->items[i], hopeless);
}

/* More than there are: settled by the first result. */
static void some__more_than_there_are__ends_all_the_same(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call(), *empty = new_call();
    add_url(c, "@/small");
    add_url(c, "@/stall");
    c->call.required = 3;
    empty->call.required = 1;
    run_quickly(c);
    expect_status(&c->items[0], ST_OK);
    expect_cancelled(&c->items[1], hopeless);
    run_quickly(empty);
}

static void settled__some_still_wait__never_started(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    char key[16];
    snprintf(key, sizeof key, "k%u", next_key++);
    for (unsigned i = 0; i < 100; i++)
        add_urlf(c, "@/delay/20?key=%s", key);
    c->call.required = 2;
    c->call.concurrency = 2;
    run_quickly(c);
    assert_in_range(count_status(c, ST_OK), 2, 3);
    for (unsigned i = 10; i < 100; i++) {
        expect_cancelled(&c->items[i], enough);
        assert_string_equal(c->items[i].phase, "queue");
        assert_int_equal(number_at(&c->items[i], "attempts"), 0);
    }
    assert_in_range(origin_requests_with_key(origin, key), 2, 4);
    assert_int_equal(stats().queued, 0);
}

static void settled__some_rest__ended(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    for (unsigned i = 0; i < 3; i++) {
        struct fetch_item *item = add_urlf(c, "@/flaky/1?key=k%u&retry_after=30", next_key++);
        item->timeout_ms = 1000000;
        item->retries = 1;
    }
    add_gated(c);
    c->call.required = 1;
    submit(c);
    AWAIT(stats().in_flight == 1);
    origin_open_gate(gated);
    wait_quickly(c);
    for (unsigned i = 0; i < 3; i++) {
        expect_cancelled(&c->items[i], enough);
        expect_number(&c->items[i], "attempts", 1);
    }
    expect_status(&c->items[3], ST_OK);
}

static void settled__some_follow__ended(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    for (unsigned i = 0; i < 4; i++)
        add_url(c, "@/stall")->coalesces = true;
    add_gated(c);
    c->call.required = 1;
    submit(c);
    AWAIT(stats().in_flight == 2);
    origin_open_gate(gated);
    wait_quickly(c);
    for (unsigned i = 0; i < 4; i++)
        expect_cancelled(&c->items[i], enough);
}

static void settled__stream__told_of_each_item_once(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    bool is_told[20] = { false };
    for (unsigned i = 0; i < 20; i++)
        add_url(c, i < 2 ? "@/small" : "@/stall");
    c->call.required = 2;
    c->call.concurrency = 10;
    c->call.on_item = on_item;
    run_quickly(c);
    assert_int_equal(c->told_count, 20);
    for (unsigned i = 0; i < 20; i++) {
        size_t index = (size_t)(c->told[i] - c->items);
        assert_false(is_told[index]);
        is_told[index] = true;
    }
}

/* Whichever comes first, the quorum or the cancelling, is said of all that it ends. */
static void settled__then_cancelled__keeps_what_was_said_first(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    for (unsigned round = 0; round < 30; round++) {
        struct call *c = new_call();
        add_url(c, "@/small");
        for (unsigned i = 0; i < 20; i++)
            add_url(c, "@/delay/1");
        c->call.required = 1;
        submit(c);
        turn_loop((int)(round % 3));
        io_pool_cancel(pool, &c->call, ST_DRAINING);
        wait_done(c);
        for (size_t i = 0; i < c->call.count; i++)
            if (c->items[i].status != ST_OK && c->items[i].status != ST_CANCELLED)
                expect_status(&c->items[i], ST_DRAINING);
        assert_true(count_status(c, ST_CANCELLED) == 0 || count_status(c, ST_DRAINING) == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        gated_test(any__first_success__others_cancelled),
        pool_test(any__all_fail__all_told),
        pool_test(all__one_fails__others_cancelled),
        pool_test(all__none_fails__all_results),
        pool_test(some__as_many_as_required__then_no_more),
        pool_test(some__settled_as_impossible__others_cancelled),
        pool_test(some__more_than_there_are__ends_all_the_same),
        pool_test(settled__some_still_wait__never_started),
        gated_test(settled__some_rest__ended),
        gated_test(settled__some_follow__ended),
        pool_test(settled__stream__told_of_each_item_once),
        pool_test(settled__then_cancelled__keeps_what_was_said_first),
    };
    return cmocka_run_group_tests_name("fetch_quorum", tests, start_origin, stop_origin);
}
