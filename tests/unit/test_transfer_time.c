/* Tests of pool/transfer_time.c: what each phase may take, and what it took. */
#include "tests/unit/fake_clock.h"
#include "tests/unit/fetch_rig.h"
#include "tests/unit/own_sockets.h"

enum { BUDGET_MS = 150 };

static void budgets__each__its_status_phase_and_name(void **state)
{
    (void)state;
    struct listener *unconnectable = listener_start(LISTENER_NO_ACCEPT, "127.0.0.1", 0),
                    *silent = listener_start(LISTENER_SILENT, "127.0.0.1", 0);
    assert_true(unconnectable && silent);
    start_names();
    name_server_set_silent(names, true);
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    struct fetch_item *dns = add_url(c, "http://silent.test/"),
                      *connect = add_urlf(c, "http://127.0.0.1:%u/", listener_port(unconnectable)),
                      *tls = add_urlf(c, "https://127.0.0.1:%u/", listener_port(silent)),
                      *first_byte = add_url(c, "@/stall"), *head = add_url(c, "@/slow-headers?ms=40");
    dns->dns_timeout_ms = connect->connect_timeout_ms = tls->tls_timeout_ms = BUDGET_MS;
    first_byte->first_byte_timeout_ms = head->first_byte_timeout_ms = BUDGET_MS;
    uint64_t start_ns = clock_now_ns();
    run(c);
    assert_true(elapsed_ms(start_ns) >= BUDGET_MS - 5);
    assert_true(elapsed_ms(start_ns) < BUDGET_MS + scaled_ms(1000));
    static const struct {
        enum status status;
        const char *phase, *budget;
    } wanted[] = {
        { ST_DNS_TIMEOUT, "dns", "dns_timeout_ms" },
        { ST_CONNECT_TIMEOUT, "connect", "connect_timeout_ms" },
        { ST_TLS_TIMEOUT, "tls", "tls_timeout_ms" },
        { ST_FIRST_BYTE_TIMEOUT, "first_byte", "first_byte_timeout_ms" },
        { ST_FIRST_BYTE_TIMEOUT, "first_byte", "first_byte_timeout_ms" }, /* it began, but the header did not end */
    };
    static const char *const took[] = { "timing_ms.dns", "timing_ms.connect", "timing_ms.tls", "timing_ms.first_byte" };
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        expect_failure(&c->items[i], wanted[i].status, wanted[i].phase);
        expect_text(&c->items[i], "error.budget", wanted[i].budget);
        assert_true(number_at(&c->items[i], "elapsed_ms") >= BUDGET_MS - 5);
        if (i < ARRAY_LEN(took))
            assert_true(number_at(&c->items[i], took[i]) >= BUDGET_MS - 10);
    }
    listener_stop(unconnectable);
    listener_stop(silent);
}

static void budgets__total__named_with_the_phase_it_ended_in(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    static const char *const urls[] = { "@/stall", "@/stall-body", "@/trickle?ms=20", "@/silent-after-headers" };
    static const char *const phases[] = { "first_byte", "body", "body", "body" };
    for (size_t i = 0; i < ARRAY_LEN(urls); i++)
        add_url(c, urls[i])->timeout_ms = 200;
    uint64_t start_ns = clock_now_ns();
    run(c);
    assert_true(elapsed_ms(start_ns) >= 195);
    assert_true(elapsed_ms(start_ns) < 200 + scaled_ms(1000));
    for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
        expect_failure(&c->items[i], ST_DEADLINE_EXCEEDED, phases[i]);
        expect_text(&c->items[i], "error.budget", "timeout_ms");
        expect_number(&c->items[i], "attempts", 1);
    }
    assert_int_equal(stats().connections_opened, ARRAY_LEN(urls)); /* those of failures count, too */
}

/* Wakes the one thread of the pool by having it fetch something. */
static void wake_pool(void)
{
    struct call *c = new_call();
    add_url(c, "@/small");
    run(c);
}

/* A phase that is over has no budget any more. */
static void budgets__of_phases_that_are_over__not_looked_at(void **state)
{
    (void)state;
    struct origin *gated = origin_start("127.0.0.1", 0);
    assert_non_null(gated);
    start_names();
    assert_true(name_server_add(names, "gated.test", NAME_A, "127.0.0.1", 60));
    start_pool(&(struct io_pool_config){ .threads = 1 });
    struct call *c = new_call();
    struct fetch_item *item = add_urlf(c, "http://gated.test:%u/gate", origin_port(gated));
    item->dns_timeout_ms = item->connect_timeout_ms = item->tls_timeout_ms = scaled_ms(3000);
    item->first_byte_timeout_ms = item->timeout_ms = 10 * scaled_ms(ITEM_TIMEOUT_MS);
    submit(c);
    AWAIT(origin_get_counts(gated).in_flight == 1);
    fake_clock_put_forward(scaled_ms(5000) / 1000);
    wake_pool();
    assert_int_equal(c->times_done, 0);
    origin_open_gate(gated);
    wait_done(c);
    expect_status(item, ST_OK);
    assert_true(number_at(item, "timing_ms.first_byte") >= 5000);
    origin_stop(gated);
}

/* first_byte_timeout_ms ends with the header, not with the first byte of the body. */
static void budgets__body_begins_late__no_matter_of_the_first_byte(void **state)
{
    (void)state;
    struct origin *gated = origin_start("127.0.0.1", 0);
    assert_non_null(gated);
    start_pool(&(struct io_pool_config){ .threads = 1 });
    struct call *c = new_call();
    struct fetch_item *item = add_urlf(c, "http://127.0.0.1:%u/gate-body", origin_port(gated)),
                      *silent = add_url(c, "@/silent-after-headers");
    item->first_byte_timeout_ms = silent->first_byte_timeout_ms = scaled_ms(3000);
    item->timeout_ms = 10 * scaled_ms(ITEM_TIMEOUT_MS);
    submit(c);
    AWAIT(own_traffic_with(origin_port(gated)).read > 0);
    AWAIT(origin_get_counts(origin).in_flight == 1);
    wake_pool(); /* a turn of the thread in which it sees what it has read */
    fake_clock_put_forward(scaled_ms(5000) / 1000);
    wake_pool();
    fake_clock_put_forward(scaled_ms(ITEM_TIMEOUT_MS) / 1000);
    wake_pool();
    origin_open_gate(gated);
    wait_done(c);
    expect_status(item, ST_OK);
    expect_failure(silent, ST_DEADLINE_EXCEEDED, "body");
    origin_stop(gated);
}

static void rate__too_low_over_ten_seconds__too_slow(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ .threads = 1, .min_rate = 200 });
    struct call *slow = new_call(), *fast = new_call();
    add_url(slow, "@/drip?bytes=10&ms=20")->timeout_ms = 1000000;
    add_url(fast, "@/drip?bytes=3000&ms=20")->timeout_ms = 1000000;
    submit(slow);
    AWAIT(stats().memory_taken > 0);
    submit(fast);
    AWAIT(stats().memory_taken > 4000); /* enough for its window */
    fake_clock_put_forward(10);
    wake_pool();
    wait_done(slow);
    expect_failure(&slow->items[0], ST_TOO_SLOW, "body");
    expect_text(&slow->items[0], "error.budget", "--fetch-min-rate");
    assert_int_equal(fast->times_done, 0);
    cancel(fast);
}

/* ---- the ledger of times */

static void times__of_an_answer__each_where_it_belongs(void **state)
{
    (void)state;
    start_names();
    assert_true(name_server_add(names, "late.test", NAME_A, "127.0.0.1", 60));
    assert_true(name_server_behave(names, "late.test", NAME_DELAY, 60));
    start_pool(&(struct io_pool_config){ .threads = 1 });
    struct call *c = new_call();
    struct fetch_item *name = add_urlf(c, "http://late.test:%u/delay/50", origin_port(origin)),
                      *body = add_url(c, "@/late-body?ms=60");
    run(c);
    assert_true(number_at(name, "timing_ms.dns") >= 55);
    assert_true(number_at(name, "timing_ms.first_byte") >= 45);
    assert_true(number_at(name, "elapsed_ms") >= 105);
    expect_number(body, "timing_ms.dns", 0);
    assert_true(number_at(body, "timing_ms.first_byte") + number_at(body, "timing_ms.body") >= 55);
    assert_true(number_at(body, "timing_ms.body") > 0);
    assert_true(number_at(body, "elapsed_ms") >= 55);
    for (unsigned i = 0; i < 2; i++) {
        assert_true(number_at(&c->items[i], "timing_ms.queue") >= 0);
        expect_number(&c->items[i], "timing_ms.host_queue", 0);
        assert_true(number_at(&c->items[i], "timing_ms.connect") >= 0);
        assert_int_equal(length_at(&c->items[i], "requests"), 0); /* one is not worth a list */
        assert_true(number_at(&c->items[i], "timing_ms.tls") != number_at(&c->items[i], "timing_ms.tls")); /* absent */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        pool_test(budgets__each__its_status_phase_and_name),
        pool_test(budgets__total__named_with_the_phase_it_ended_in),
        pool_test(budgets__of_phases_that_are_over__not_looked_at),
        pool_test(budgets__body_begins_late__no_matter_of_the_first_byte),
        pool_test(rate__too_low_over_ten_seconds__too_slow),
        pool_test(times__of_an_answer__each_where_it_belongs),
    };
    return cmocka_run_group_tests_name("transfer_time", tests, start_origin, stop_origin);
}
