/* Tests of hedges (pool/fetch.c): a second request when the first one is slow, within the limits. */
#include "tests/unit/fetch_rig.h"

static unsigned next_key;

static struct fetch_item *add_hedged(struct call *c, uint32_t hedge_ms, const char *path, char ret_key[static 16])
{
    snprintf(ret_key, 16, "k%u", next_key++);
    struct fetch_item *item = add_urlf(c, "@%s%ckey=%s", path, strchr(path, '?') ? '&' : '?', ret_key);
    item->hedge_ms = hedge_ms;
    return item;
}

static void expect_requests(const char *key, uint64_t count)
{
    assert_int_equal(origin_requests_with_key(origin, key), count);
}

/* ---- who wins */

static void hedge__first_is_slow__second_answers(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    char key[16];
    struct fetch_item *item = add_hedged(c, 50, "/vary-latency?ms=60000", key);
    run(c);
    expect_text(item, "body", "later\n");
    expect_number(item, "attempts", 1);
    assert_true(is_true_at(item, "hedged"));
    assert_int_equal(length_at(item, "requests"), 2); /* in the order in which they ended */
    expect_number(item, "requests.0.status", 200);
    assert_true(is_true_at(item, "requests.0.hedge"));
    assert_true(number_at(item, "requests.0.at_ms") >= 45);
    expect_text(item, "requests.1.error", "cancelled");
    assert_false(is_true_at(item, "requests.1.hedge"));
    assert_int_equal(stats().hedges, 1);
    assert_int_equal(stats().retries, 0);
    assert_int_equal(stats().urls_ok, 1);
    expect_requests(key, 2);
    AWAIT(origin_get_counts(origin).in_flight == 0); /* the slow one was given up */
}

static void hedge__first_is_quicker_all_the_same__it_answers(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    char key[16], path[32];
    snprintf(path, sizeof path, "/delay/%u", scaled_ms(300));
    struct fetch_item *item = add_hedged(c, scaled_ms(200), path, key);
    run(c);
    expect_text(item, "body", "late\n");
    assert_true(is_true_at(item, "hedged"));
    expect_number(item, "requests.0.status", 200);
    assert_false(is_true_at(item, "requests.0.hedge"));
    assert_true(is_true_at(item, "requests.1.hedge"));
    expect_text(item, "requests.1.error", "cancelled");
}

static void hedge__first_is_503_and_second_fails__the_answer_counts(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    char key[16], path[64];
    snprintf(path, sizeof path, "/vary-latency?ms=%u&status=503&later_ms=60000", scaled_ms(200));
    struct fetch_item *item = add_hedged(c, scaled_ms(50), path, key);
    item->first_byte_timeout_ms = scaled_ms(400);
    item->retries = 0;
    run(c);
    expect_status(item, ST_OK);
    expect_number(item, "status", 503);
    expect_text(item, "body", "first\n");
    expect_text(item, "requests.1.error", "first_byte_timeout");
    assert_int_equal(stats().hedges, 1);
}

/* ---- when there is none */

static void no_hedge__quick_or_begun__one_request(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    char keys[2][16], path[32];
    snprintf(path, sizeof path, "/late-body?ms=%u", scaled_ms(400));
    add_hedged(c, scaled_ms(200), "/small", keys[0]);
    add_hedged(c, scaled_ms(200), path, keys[1]); /* its header is there in time */
    run(c);
    for (unsigned i = 0; i < 2; i++) {
        expect_status(&c->items[i], ST_OK);
        assert_false(is_true_at(&c->items[i], "hedged"));
        expect_requests(keys[i], 1);
    }
    assert_int_equal(stats().hedges, 0);
}

static void no_hedge__unsafe_method__unless_it_may_be_repeated(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    char keys[3][16];
    for (unsigned i = 0; i < 3; i++) {
        struct fetch_item *item = add_hedged(c, 30, "/delay/300", keys[i]);
        item->method = i == 1 ? FETCH_PATCH : FETCH_POST;
        item->may_repeat_unsafe = i == 2;
    }
    run(c);
    expect_all(c, ST_OK);
    for (unsigned i = 0; i < 3; i++) {
        expect_requests(keys[i], i == 2 ? 2 : 1);
        assert_int_equal(is_true_at(&c->items[i], "hedged"), i == 2);
    }
}

/* ---- slots */

/* A hedge counts like any other transfer, and comes last: two URLs leave room for one of three. */
static void slots__of_the_host__one_hedge_for_the_one_that_is_left(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ .per_host_max = 3 });
    origin_reset_peak(origin);
    struct call *c = new_call();
    char key[16];
    for (unsigned i = 0; i < 2; i++)
        add_hedged(c, 30, "/delay/400", key)->timeout_ms = 1000000;
    run(c);
    expect_all(c, ST_OK);
    assert_int_equal(origin_get_counts(origin).in_flight_peak, 3);
    assert_int_equal(stats().hedges, is_true_at(&c->items[0], "hedged") + is_true_at(&c->items[1], "hedged"));
    assert_true(stats().hedges >= 1);
    assert_int_equal(stats().in_flight, 0);
}

static void slots__none_left__no_hedge(void **state)
{
    (void)state;
    static const struct io_pool_config configs[] = { { .per_host_max = 2 },
                                                     { .inflight_max = 2 },
                                                     { .per_call_max = 2 } };
    for (size_t i = 0; i < ARRAY_LEN(configs); i++) {
        start_pool(&configs[i]);
        origin_reset_peak(origin);
        struct call *c = new_call();
        char key[16];
        for (unsigned n = 0; n < 4; n++)
            add_hedged(c, 20, "/delay/60", key);
        run(c);
        expect_all(c, ST_OK);
        assert_int_equal(origin_get_counts(origin).in_flight_peak, 2);
        io_pool_release(pool, &c->call);
        io_pool_free(pool);
        pool = NULL;
    }
}

static void slots__hedge_has_won__free_for_the_next(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ .per_host_max = 2 });
    for (unsigned i = 0; i < 5; i++) {
        struct call *c = new_call();
        char key[16];
        add_hedged(c, 20, "/vary-latency?ms=60000", key);
        run(c);
        expect_text(&c->items[0], "body", "later\n");
        assert_int_equal(stats().in_flight, 0);
    }
    assert_int_equal(stats().hedges, 5);
}

/* There is no connection left for the hedge: it fails at once, and its slot is no longer needed. */
static void slots__hedge_has_failed__given_back_at_once(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ .threads = 1, .connections_max = 1 /* and one for the rounding */ });
    struct call *blocker = new_call(), *c = new_call();
    char key[16];
    add_url(blocker, "@/stall");
    submit(blocker);
    AWAIT(origin_get_counts(origin).in_flight == 1);
    struct fetch_item *item = add_hedged(c, 50, "/stall", key);
    submit(c);
    uint64_t start_ns = clock_now_ns();
    AWAIT(elapsed_ms(start_ns) > 50 + scaled_ms(200));
    assert_int_equal(stats().in_flight, 2);
    cancel(c);
    assert_true(is_true_at(item, "hedged"));
    expect_text(item, "requests.0.error", "connect_failed");
    assert_true(is_true_at(item, "requests.0.hedge"));
    expect_requests(key, 1);
    cancel(blocker);
}

/* What waits for the slot of the one that failed does not wait for the other. */
static void slots__first_has_failed__next_one_starts(void **state)
{
    (void)state;
    struct origin *gated = origin_start("127.0.0.1", 0);
    assert_non_null(gated);
    start_pool(&(struct io_pool_config){ .threads = 1, .per_host_max = 2 });
    struct call *c = new_call(), *next = new_call();
    struct fetch_item *item = add_urlf(c, "http://127.0.0.1:%u/gate", origin_port(gated));
    item->hedge_ms = scaled_ms(250);
    item->first_byte_timeout_ms = scaled_ms(300);
    add_urlf(next, "http://127.0.0.1:%u/small", origin_port(gated));
    submit(c);
    AWAIT(origin_get_counts(gated).in_flight == 2);
    run(next);
    expect_all(next, ST_OK);
    assert_int_equal(c->times_done, 0);
    origin_open_gate(gated);
    wait_done(c);
    expect_all(c, ST_OK);
    origin_stop(gated);
}

/* ---- failures */

static void failures__of_both__one_attempt_failed(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    char keys[2][16];
    for (unsigned i = 0; i < 2; i++) {
        struct fetch_item *item = add_hedged(c, 100, "/stall", keys[i]);
        item->first_byte_timeout_ms = 200;
        item->retries = i;
    }
    run(c);
    for (unsigned i = 0; i < 2; i++) {
        unsigned attempts = i + 1;
        expect_failure(&c->items[i], ST_FIRST_BYTE_TIMEOUT, "first_byte");
        expect_number(&c->items[i], "attempts", attempts);
        assert_int_equal(length_at(&c->items[i], "requests"), 2 * attempts);
        expect_requests(keys[i], 2 * attempts);
    }
    assert_int_equal(stats().hedges, 3);
}

static void failures__of_the_first__the_hedge_goes_on(void **state)
{
    (void)state;
    struct origin *gated = origin_start("127.0.0.1", 0);
    assert_non_null(gated);
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    struct fetch_item *item = add_urlf(c, "http://127.0.0.1:%u/gate", origin_port(gated));
    item->hedge_ms = scaled_ms(400);
    item->first_byte_timeout_ms = scaled_ms(500);
    submit(c);
    AWAIT(origin_get_counts(gated).in_flight == 2);
    AWAIT(origin_get_counts(gated).in_flight == 1); /* the first one's time is over */
    assert_int_equal(c->times_done, 0);
    origin_open_gate(gated);
    wait_done(c);
    expect_text(item, "body", "at last\n");
    expect_text(item, "requests.0.error", "first_byte_timeout");
    assert_true(is_true_at(item, "requests.1.hedge"));
    origin_stop(gated);
}

static void cancel__with_a_hedge_under_way__both_end(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    char key[16];
    for (unsigned i = 0; i < 20; i++)
        add_hedged(c, 30, "/stall", key);
    submit(c);
    AWAIT(origin_get_counts(origin).in_flight == 40);
    assert_int_equal(stats().in_flight, 40);
    cancel(c);
    expect_all(c, ST_CANCELLED);
    assert_int_equal(length_at(&c->items[0], "requests"), 2);
    assert_int_equal(stats().in_flight, 0);
    AWAIT(origin_get_counts(origin).in_flight == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        pool_test(hedge__first_is_slow__second_answers),
        pool_test(hedge__first_is_quicker_all_the_same__it_answers),
        pool_test(hedge__first_is_503_and_second_fails__the_answer_counts),
        pool_test(no_hedge__quick_or_begun__one_request),
        pool_test(no_hedge__unsafe_method__unless_it_may_be_repeated),
        pool_test(slots__of_the_host__one_hedge_for_the_one_that_is_left),
        pool_test(slots__none_left__no_hedge),
        pool_test(slots__hedge_has_won__free_for_the_next),
        pool_test(slots__hedge_has_failed__given_back_at_once),
        pool_test(slots__first_has_failed__next_one_starts),
        pool_test(failures__of_both__one_attempt_failed),
        pool_test(failures__of_the_first__the_hedge_goes_on),
        pool_test(cancel__with_a_hedge_under_way__both_end),
    };
    return cmocka_run_group_tests_name("fetch_hedge", tests, start_origin, stop_origin);
}
