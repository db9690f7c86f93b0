/* Tests of the memory budget in the pool (memory_budget.c, transfer.c, io_pool.c): bodies and results within a bound,
 * and streams that are read slowly. */
#include "tests/unit/fetch_rig.h"

enum { MEMORY_MAX = 1 << 20, BODY_TOTAL_MAX = 2 << 20, TAKEN_MAX = MEMORY_MAX + 2 * BODY_TOTAL_MAX };

static const struct io_pool_config small_memory = { .memory_max = MEMORY_MAX, .total_body_max = BODY_TOTAL_MAX };

static unsigned next_key;

static size_t sum_of_results(const struct call *c)
{
    size_t sum = 0;
    for (size_t i = 0; i < c->call.count; i++)
        sum += c->items[i].json_len;
    return sum;
}

static void release(struct call *c)
{
    io_pool_release(pool, &c->call);
    for (size_t i = 0; i < c->call.count; i++)
        assert_null(c->items[i].json);
}

static struct call *run_bytes(unsigned bytes)
{
    struct call *c = new_call();
    add_urlf(c, "@/bytes/%u", bytes);
    run(c);
    expect_all(c, ST_OK);
    return c;
}

/* ---- the budget */

static void budget__results__taken_until_released(void **state)
{
    (void)state;
    start_pool(&small_memory);
    struct call *first = run_bytes(100000), *second = run_bytes(200000);
    assert_int_equal(stats().memory_max, MEMORY_MAX);
    assert_int_equal(stats().memory_taken, sum_of_results(first) + sum_of_results(second));
    release(first);
    assert_int_equal(stats().memory_taken, sum_of_results(second));
    release(second);
    assert_int_equal(stats().memory_taken, 0);
    io_pool_release(pool, &second->call); /* nothing is left to release */
}

static void budget__failures__no_more_than_their_text(void **state)
{
    (void)state;
    start_pool(&small_memory);
    struct call *c = new_call();
    add_url(c, "@/lie-long");
    add_url(c, "@/stall-body")->timeout_ms = 100;
    add_urlf(c, "@/bytes/%u", BODY_TOTAL_MAX + 1)->max_body_bytes = 2 * BODY_TOTAL_MAX;
    run(c);
    expect_status(&c->items[0], ST_TRUNCATED);
    expect_status(&c->items[1], ST_DEADLINE_EXCEEDED);
    expect_status(&c->items[2], ST_TOTAL_TOO_LARGE);
    assert_true(stats().memory_taken <= sum_of_results(c));
}

/* Releases what is done and was not; returns how many are released by now. */
static unsigned released_now(struct call *const *crowd, size_t count, unsigned *released, size_t *most)
{
    size_t taken = stats().memory_taken;
    *most = taken > *most ? taken : *most;
    for (size_t i = 0; i < count; i++) {
        if (!crowd[i]->times_done || !crowd[i]->call.pool_state)
            continue;
        expect_all(crowd[i], ST_OK);
        release(crowd[i]);
        ++*released;
    }
    return *released;
}

/* Several calls, each of more than there is: all of them are done, one after the other if need be. */
static void budget__far_too_little__everybody_is_served(void **state)
{
    (void)state;
    enum { CALLS = 12, ITEMS = 4 };
    struct io_pool_config config = small_memory;
    config.threads = 4;
    start_pool(&config);
    struct call *crowd[CALLS];
    size_t most = 0;
    unsigned released = 0;
    for (unsigned i = 0; i < CALLS; i++) {
        crowd[i] = new_call();
        for (unsigned n = 0; n < ITEMS; n++)
            add_url(crowd[i], "@/bytes/300000")->timeout_ms = 1000000;
        submit(crowd[i]);
    }
    AWAIT(released_now(crowd, CALLS, &released, &most) == CALLS);
    assert_true(most > MEMORY_MAX / 2);
    if (most > TAKEN_MAX)
        fail_msg("%zu bytes were taken", most);
    assert_int_equal(stats().memory_taken, 0);
    assert_int_equal(stats().paused, 0);
}

/* A call that takes all it may is done, although others have not released theirs. */
static void budget__a_whole_call_beside_others__done(void **state)
{
    (void)state;
    start_pool(&small_memory);
    struct call *others = run_bytes(MEMORY_MAX - 4096), *c = new_call();
    for (unsigned i = 0; i < 4; i++)
        add_urlf(c, "@/bytes/%d", BODY_TOTAL_MAX / 4);
    run(c);
    expect_all(c, ST_OK);
    assert_true(stats().memory_taken <= TAKEN_MAX);
    release(others);
}

/* A fetch of another call, so that everything that is due has had its turn. */
static void fetch_something_else(void)
{
    for (unsigned i = 0; i < 5; i++)
        release(run_bytes(10));
}

/* The first call takes most of the budget and is done; the second goes beyond it, since one may, and is not done.
 * Others stand still. */
static void fill(struct call **ret_first, struct call **ret_second)
{
    start_pool(&small_memory);
    *ret_first = run_bytes(900000);
    *ret_second = new_call();
    add_url(*ret_second, "@/bytes/700000");
    add_url(*ret_second, "@/stall")->timeout_ms = 1000000;
    submit(*ret_second);
    AWAIT(stats().urls_ok == 2);
    assert_true(stats().memory_taken > MEMORY_MAX);
}

static void paused__until_others_are_released__goes_on(void **state)
{
    (void)state;
    struct call *first, *second, *third = new_call();
    fill(&first, &second);
    for (unsigned i = 0; i < 3; i++)
        add_url(third, "@/bytes/50000")->timeout_ms = 1000000;
    size_t before = stats().memory_taken;
    submit(third);
    AWAIT(stats().paused == 3);
    assert_int_equal(third->times_done, 0);
    assert_int_equal(stats().memory_taken, before);
    release(first);
    wait_done(third);
    expect_all(third, ST_OK);
    assert_int_equal(stats().paused, 0);
    cancel(second);
}

/* Nothing is released, but the call that may take more than there is has come to its end: it is another's turn. */
static void paused__until_the_favoured_is_done__goes_on(void **state)
{
    (void)state;
    struct call *first, *second, *third = new_call();
    fill(&first, &second);
    for (unsigned i = 0; i < 3; i++)
        add_url(third, "@/bytes/300000")->timeout_ms = 1000000;
    submit(third);
    AWAIT(stats().paused == 3);
    cancel(second);
    wait_done(third);
    expect_all(third, ST_OK);
    assert_true(stats().memory_taken <= TAKEN_MAX);
}

static void paused__small_bodies__wait_as_well(void **state)
{
    (void)state;
    struct call *first, *second, *third = new_call();
    fill(&first, &second);
    for (unsigned i = 0; i < 20; i++)
        add_urlf(third, "@/bytes/%u", 1 + 100 * i)->timeout_ms = 1000000;
    submit(third);
    AWAIT(stats().paused == 20);
    release(first);
    wait_done(third);
    expect_all(third, ST_OK);
    cancel(second);
}

static void paused__time_is_over__says_what_it_waited_for(void **state)
{
    (void)state;
    struct call *first, *second, *third = new_call();
    fill(&first, &second);
    struct fetch_item *item = add_url(third, "@/bytes/100000");
    item->timeout_ms = scaled_ms(300);
    run(third);
    expect_failure(item, ST_DEADLINE_EXCEEDED, "body");
    assert_non_null(strstr(item->message, "--fetch-memory-bytes"));
    expect_text(item, "error.budget", "timeout_ms");
    assert_int_equal(stats().paused, 0);
}

static void paused__cancelled__ends_at_once(void **state)
{
    (void)state;
    struct call *first, *second, *third = new_call();
    fill(&first, &second);
    for (unsigned i = 0; i < 5; i++)
        add_url(third, "@/bytes/100000");
    submit(third);
    AWAIT(stats().paused == 5);
    cancel(third);
    expect_all(third, ST_CANCELLED);
    assert_int_equal(stats().paused, 0);
}

/* Makes the results of all calls take all but about `bytes`. */
static void leave_free(struct call *c, size_t bytes)
{
    size_t taken = stats().memory_taken,
           text = MEMORY_MAX - taken - bytes - 450; /* a line of 64 takes 65, the rest 450 */
    add_urlf(c, "@/bytes/%zu", text / 65 * 64);
    submit(c);
    AWAIT(stats().memory_taken > MEMORY_MAX - bytes - 300 && stats().memory_taken < MEMORY_MAX - bytes + 300);
}

/* What goes on when a little is free may end at once, and with it its hedge, which stood still as well: the others, for
 * which it is not enough, stand still again. */
static void paused__one_ends_with_its_hedge__others_wait_on(void **state)
{
    (void)state;
    struct origin *gated = origin_start("127.0.0.1", 0);
    assert_non_null(gated);
    struct io_pool_config config = small_memory;
    config.threads = 1;
    start_pool(&config);
    struct call *little = run_bytes(3000), *most = new_call(), *favoured = new_call(), *big = new_call(),
                *hedged = new_call();
    leave_free(most, 10000);
    wait_done(most);
    add_url(favoured, "@/stall");
    leave_free(favoured, 500); /* it needs more for a moment than is free, and gets it */
    add_url(big, "@/bytes/100000")->timeout_ms = 1000000;
    submit(big);
    AWAIT(stats().paused == 1);
    struct fetch_item *item = add_urlf(hedged, "http://127.0.0.1:%u/gate", origin_port(gated));
    item->timeout_ms = 1000000;
    item->max_body_bytes = 1;
    item->hedge_ms = 30;
    submit(hedged);
    AWAIT(origin_get_counts(gated).in_flight == 2);
    origin_open_gate(gated);
    AWAIT(stats().paused == 3);
    release(little);
    wait_done(hedged);
    expect_number(item, "bytes", 1);
    assert_int_equal(length_at(item, "requests"), 2);
    assert_int_equal(stats().paused, 1);
    cancel(big);
    cancel(favoured);
    origin_stop(gated);
}

/* A decoder that cannot have its window stands still as well; nothing of the body is lost. */
static void paused__no_room_for_a_window__goes_on(void **state)
{
    (void)state;
    struct call *first, *second, *third = new_call();
    fill(&first, &second);
    struct fetch_item *item = add_url(third, "@/bomb/zstd"); /* 128 KiB, of which libzstd makes 600 */
    item->timeout_ms = 1000000;
    item->max_body_bytes = 100000;
    submit(third);
    AWAIT(stats().paused == 1);
    release(first); /* enough for the decoder, not for its window */
    fetch_something_else();
    AWAIT(stats().paused == 1);
    fetch_something_else();
    assert_int_equal(stats().paused, 1); /* it knows now how much it wants */
    assert_int_equal(third->times_done, 0);
    cancel(second);
    release(second);
    wait_done(third);
    expect_status(item, ST_OK);
    expect_number(item, "bytes", 100000);
    release(third);
    assert_int_equal(stats().memory_taken, 0);
}

/* Each decoder takes more than half of all there is, and the favoured call may not have one for each of its bodies: one
 * after the other. */
static void decoders__of_one_call__do_not_wait_for_each_other(void **state)
{
    (void)state;
    start_pool(&small_memory);
    struct call *c = new_call();
    for (unsigned i = 0; i < 30; i++) {
        struct fetch_item *item = add_urlf(c, "@/bomb/%s", i % 3 == 0 ? "br" : i % 3 == 1 ? "gzip" : "zstd");
        item->timeout_ms = 1000000;
        item->max_body_bytes = 50000;
    }
    run(c);
    expect_all(c, ST_OK);
    release(c);
    assert_int_equal(stats().memory_taken, 0);
}

/* A body that nobody keeps needs no memory. */
static void paused__not_those_that_keep_nothing(void **state)
{
    (void)state;
    struct call *first, *second, *third = new_call();
    fill(&first, &second);
    struct fetch_item *counted = add_url(third, "@/bytes/300000");
    counted->body_form = FETCH_BODY_NONE;
    struct fetch_item *head = add_url(third, "@/small");
    head->method = FETCH_HEAD;
    add_url(third, "@/status/204");
    run(third);
    expect_all(third, ST_OK); /* their results cannot wait, and have a reserve */
    expect_number(counted, "bytes", 300000);
    release(third);
}

/* ---- streams */

static struct call *new_stream(unsigned items, const char *path, char ret_key[static 16])
{
    struct call *c = new_call();
    snprintf(ret_key, 16, "k%u", next_key++);
    for (unsigned i = 0; i < items; i++)
        add_urlf(c, "@%s?key=%s", path, ret_key)->timeout_ms = 1000000;
    c->call.on_item = on_item;
    return c;
}

static void read_result(struct call *c, size_t index)
{
    io_pool_free_result(pool, &c->call, c->told[index]);
    assert_null(c->told[index]->json);
}

static void stream__reader_stops__no_more_requests_until_it_goes_on(void **state)
{
    (void)state;
    enum { ITEMS = 100, WINDOW = 10000, AT_ONCE = 4 };
    start_pool(&(struct io_pool_config){ .stream_window = WINDOW });
    char key[16];
    struct call *c = new_stream(ITEMS, "/bytes/4000", key);
    c->call.concurrency = AT_ONCE;
    submit(c);
    AWAIT(c->told_count >= 3); /* that many are more than the window */
    fetch_something_else();
    uint64_t requests = origin_requests_with_key(origin, key);
    size_t told = c->told_count;
    assert_in_range(requests, 3, 3 + 2 * AT_ONCE);
    fetch_something_else();
    assert_int_equal(origin_requests_with_key(origin, key), requests);
    assert_int_equal(c->told_count, told);
    for (size_t next = 0; next < ITEMS; next++) { /* one at a time: it is never told of more than that allows */
        AWAIT(c->told_count > next);
        assert_true(c->told_count - next <= 3 + 2 * AT_ONCE);
        expect_status(c->told[next], ST_OK);
        read_result(c, next);
    }
    wait_done(c);
    assert_int_equal(c->told_count, ITEMS);
    assert_int_equal(origin_requests_with_key(origin, key), ITEMS);
    assert_int_equal(stats().memory_taken, 0);
}

/* Bodies under way stand still, too, and the origin has to wait. */
static void stream__reader_stops__bodies_stand_still(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ .stream_window = 1000 });
    char key[16];
    struct call *c = new_stream(5, "/bytes/4000000", key);
    for (unsigned i = 0; i < 5; i++)
        c->items[i].max_body_bytes = 4000000;
    c->items[0].max_body_bytes = 10000; /* is done before the others have come to their end */
    submit(c);
    AWAIT(c->told_count == 1);
    AWAIT(stats().paused > 0);
    size_t taken = stats().memory_taken;
    fetch_something_else();
    assert_int_equal(c->told_count, 1);
    assert_true(stats().paused > 0);
    read_result(c, 0);
    for (size_t next = 1; next < 5; next++) {
        AWAIT(c->told_count > next);
        expect_number(c->told[next], "bytes", 4000000);
        read_result(c, next);
    }
    wait_done(c);
    assert_true(taken < 5 * 4000000);
}

/* Results that are complete, or need no room for a body, are not held up, let alone refused, because the reader is
 * slow. */
static void stream__reader_stops__what_is_done_is_told(void **state)
{
    (void)state;
    enum { HEADS = 10, COUNTED = 5, BODIES = 5, GATED = HEADS + COUNTED + BODIES };
    struct origin *gated = origin_start("127.0.0.1", 0);
    assert_non_null(gated);
    start_pool(&(struct io_pool_config){ .stream_window = 1 });
    struct call *c = new_call();
    c->call.on_item = on_item;
    add_url(c, "@/small");
    for (unsigned i = 0; i < GATED; i++) {
        struct fetch_item *item = add_urlf(c, "http://127.0.0.1:%u/gate", origin_port(gated));
        item->timeout_ms = 1000000;
        item->method = i < HEADS ? FETCH_HEAD : FETCH_GET;
        item->body_form = i < HEADS || i >= HEADS + COUNTED ? FETCH_BODY_AUTO : FETCH_BODY_NONE;
    }
    submit(c);
    AWAIT(c->told_count == 1 && origin_get_counts(gated).in_flight == GATED);
    origin_open_gate(gated);
    AWAIT(c->told_count == 1 + HEADS + COUNTED && stats().paused == BODIES);
    for (size_t next = 0; next < 1 + GATED; next++) {
        AWAIT(c->told_count > next);
        expect_status(c->told[next], ST_OK);
        read_result(c, next);
    }
    wait_done(c);
    origin_stop(gated);
}

static void stream__time_is_over__says_that_nobody_read(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ .stream_window = 1000 });
    char key[16];
    struct call *c = new_stream(2, "/bytes/4000000", key);
    c->items[0].max_body_bytes = 10000;
    c->items[1].max_body_bytes = 4000000;
    c->items[1].timeout_ms = scaled_ms(400);
    run(c);
    if (c->items[1].status == ST_OK)
        skip(); /* it was done first */
    expect_failure(&c->items[1], ST_DEADLINE_EXCEEDED, "body");
    assert_non_null(strstr(c->items[1].message, "the caller did not read the stream"));
}

static void stream__cancelled_while_it_stands_still__all_told(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ .stream_window = 1 });
    char key[16];
    struct call *c = new_stream(50, "/bytes/2000", key);
    c->call.concurrency = 5;
    submit(c);
    AWAIT(c->told_count > 0);
    cancel(c);
    assert_int_equal(c->told_count, 50);
    assert_int_equal(stats().paused, 0);
}

/* Reads as fast as it can while the threads add results: whoever stops the call and whoever lets it go on meet. */
static void stream__quick_reader_with_a_tiny_window__never_forgotten(void **state)
{
    (void)state;
    enum { ITEMS = 1000 };
    start_pool(&(struct io_pool_config){ .threads = 4, .stream_window = 1500 });
    char key[16];
    struct call *c = new_stream(ITEMS, "/bytes/100", key);
    c->call.concurrency = 16;
    submit(c);
    for (size_t next = 0; next < ITEMS; next++) {
        AWAIT(c->told_count > next);
        expect_status(c->told[next], ST_OK);
        read_result(c, next);
    }
    wait_done(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        pool_test(budget__results__taken_until_released),
        pool_test(budget__failures__no_more_than_their_text),
        pool_test(budget__far_too_little__everybody_is_served),
        pool_test(budget__a_whole_call_beside_others__done),
        pool_test(paused__until_others_are_released__goes_on),
        pool_test(paused__until_the_favoured_is_done__goes_on),
        pool_test(paused__small_bodies__wait_as_well),
        pool_test(paused__time_is_over__says_what_it_waited_for),
        pool_test(paused__cancelled__ends_at_once),
        pool_test(paused__one_ends_with_its_hedge__others_wait_on),
        pool_test(paused__no_room_for_a_window__goes_on),
        pool_test(decoders__of_one_call__do_not_wait_for_each_other),
        pool_test(paused__not_those_that_keep_nothing),
        pool_test(stream__reader_stops__no_more_requests_until_it_goes_on),
        pool_test(stream__reader_stops__bodies_stand_still),
        pool_test(stream__reader_stops__what_is_done_is_told),
        pool_test(stream__time_is_over__says_that_nobody_read),
        pool_test(stream__cancelled_while_it_stands_still__all_told),
        pool_test(stream__quick_reader_with_a_tiny_window__never_forgotten),
    };
    return cmocka_run_group_tests_name("fetch_memory", tests, start_origin, stop_origin);
}
