/* Tests of pool/io_share.c: identical items share one transfer, and what becomes of them when it ends early. */
#include "tests/unit/gated_rig.h"

static unsigned next_key;

static struct fetch_item *add_shared(struct call *c, const char *url)
{
    struct fetch_item *item = add_url(c, url);
    item->coalesces = true;
    return item;
}

/* One key for the test: its requests can be counted. */
static void new_key(char ret_key[static 16]) { snprintf(ret_key, 16, "k%u", next_key++); }

static struct fetch_item *add_gated(struct call *c)
{
    struct fetch_item *item = add_urlf(c, "http://127.0.0.1:%u/gate", origin_port(gated));
    item->coalesces = true;
    return item;
}

/* ---- sharing */

static void share__within_a_call__one_request(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    for (unsigned i = 0; i < 50; i++)
        add_gated(c);
    submit(c);
    AWAIT(origin_get_counts(gated).in_flight == 1);
    assert_int_equal(stats().in_flight, 1);
    assert_int_equal(stats().queued, 0);
    origin_open_gate(gated);
    wait_done(c);
    expect_all(c, ST_OK);
    for (unsigned i = 0; i < 50; i++) {
        expect_text(&c->items[i], "body", "at last\n");
        expect_number(&c->items[i], "index", i);
        expect_number(&c->items[i], "attempts", 1);
        assert_int_equal(is_true_at(&c->items[i], "coalesced"), i > 0);
    }
    assert_int_equal(origin_get_counts(gated).requests, 1);
    assert_int_equal(stats().coalesced, 49);
    assert_int_equal(stats().urls_ok, 50);
}

static void share__across_calls__each_result_its_own(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    static const char *const no_headers[] = { NULL };
    struct call *first = new_call(), *second = new_call(), *stream = new_call();
    add_gated(first);
    add_url(second, "@/small");
    add_gated(second)->answer_headers = no_headers; /* only says how it is written down */
    add_gated(stream);
    stream->call.on_item = on_item;
    submit(first);
    AWAIT(origin_get_counts(gated).in_flight == 1);
    submit(second);
    submit(stream);
    AWAIT(stats().urls_ok == 1);
    origin_open_gate(gated);
    wait_done(first);
    io_pool_release(pool, &first->call);
    wait_done(second);
    wait_done(stream);
    expect_number(&second->items[1], "index", 1);
    expect_text(&second->items[1], "body", "at last\n");
    assert_true(is_true_at(&second->items[1], "coalesced"));
    assert_false(has_text(&second->items[1], "\"headers\""));
    assert_true(has_text(&stream->items[0], "\"headers\""));
    assert_int_equal(stream->told_count, 1);
    assert_int_equal(origin_get_counts(gated).requests, 1);
    assert_int_equal(stats().memory_taken,
                     second->items[0].json_len + second->items[1].json_len + stream->items[0].json_len);
}

/* A body counts for each item that gets it. */
static void share__more_than_the_total__others_are_told(void **state)
{
    (void)state;
    enum { ITEMS = 50, BODY_BYTES = 100000, FIT = 10 };
    start_pool(&(struct io_pool_config){ .total_body_max = FIT * BODY_BYTES });
    struct call *c = new_call();
    unsigned ok = 0;
    for (unsigned i = 0; i < ITEMS; i++) {
        struct fetch_item *item = add_shared(c, "@/bytes/100000");
        item->max_body_bytes = BODY_BYTES;
    }
    run(c);
    for (unsigned i = 0; i < ITEMS; i++) {
        ok += c->items[i].status == ST_OK;
        if (c->items[i].status != ST_OK)
            expect_failure(&c->items[i], ST_TOTAL_TOO_LARGE, "body");
    }
    assert_int_equal(ok, FIT);
}

/* Also while another leads that has more of it. */
static void share__follower_has_less_time__ends_then(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ .threads = 1, .inflight_max = 1 });
    struct call *blocker = new_call(), *c = new_call();
    add_url(blocker, "@/stall");
    submit(blocker);
    AWAIT(stats().in_flight == 1);
    struct fetch_item *leader = add_shared(c, "@/small"), *follower = add_shared(c, "@/small");
    leader->timeout_ms = follower->timeout_ms = scaled_ms(300);
    submit(c);
    wait_done(c);
    expect_status(leader, ST_DEADLINE_EXCEEDED);
    expect_status(follower, ST_DEADLINE_EXCEEDED);
    expect_text(follower, "error.budget", "timeout_ms");
    assert_in_range(number_at(follower, "elapsed_ms"), scaled_ms(295), scaled_ms(600));
    cancel(blocker);
}

static void share__failure__shared_as_well(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    char key[16], url[64];
    new_key(key);
    snprintf(url, sizeof url, "@/flaky-close/9?key=%s", key);
    for (unsigned i = 0; i < 5; i++)
        add_shared(c, url);
    run(c);
    for (unsigned i = 0; i < 5; i++) {
        expect_failure(&c->items[i], ST_CONNECTION_CLOSED, "first_byte");
        assert_int_equal(is_true_at(&c->items[i], "coalesced"), i > 0);
    }
    assert_int_equal(origin_requests_with_key(origin, key), 1);
}

static void share__refusal__shared_as_well(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    for (unsigned i = 0; i < 3; i++)
        add_shared(c, "http://127.0.0.2:8080/");
    run(c);
    expect_all(c, ST_BLOCKED_ADDRESS);
}

/* There is no cache. */
static void no_share__one_after_the_other__each_fetched(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    char key[16], url[64], body[8];
    new_key(key);
    snprintf(url, sizeof url, "@/count?key=%s", key);
    for (unsigned i = 1; i <= 3; i++) {
        struct call *c = new_call();
        add_shared(c, url);
        run(c);
        snprintf(body, sizeof body, "%u\n", i);
        expect_text(&c->items[0], "body", body);
    }
}

/* ---- what is not identical */

static void no_share__anything_differs__each_fetched(void **state)
{
    (void)state;
    static const char *const one[] = { "X: 1", NULL }, *const other[] = { "X: 2", NULL },
                             *const both[] = { "X: 1", "X: 2", NULL };
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    enum { ITEMS = 18 };
    struct fetch_item *items[ITEMS];
    for (unsigned i = 0; i < ITEMS; i++)
        items[i] = add_gated(c);
    items[1]->method = FETCH_HEAD;
    items[2]->body_form = FETCH_BODY_NONE;
    items[3]->max_body_bytes--;
    items[4]->timeout_ms++;
    items[5]->dns_timeout_ms++;
    items[6]->connect_timeout_ms++;
    items[7]->tls_timeout_ms++;
    items[8]->first_byte_timeout_ms++;
    items[9]->hedge_ms = 1000000;
    items[10]->max_redirects--;
    items[11]->retries++;
    items[12]->headers = one;
    items[13]->headers = other;
    items[14]->headers = both;
    items[15]->coalesces = false;
    for (unsigned i = 16; i < ITEMS; i++) {
        items[i]->method = FETCH_PUT;
        items[i]->body = i == 16 ? "a" : "b";
        items[i]->body_len = 1;
    }
    submit(c);
    AWAIT(origin_get_counts(gated).in_flight == ITEMS);
    origin_open_gate(gated);
    wait_done(c);
    expect_all(c, ST_OK);
    assert_int_equal(stats().coalesced, 0);
}

static void no_share__body__sent_as_often_as_asked(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    char bodies[2][8] = { "same", "same" };
    for (unsigned i = 0; i < 2; i++) {
        struct fetch_item *item = add_gated(c);
        item->method = FETCH_PUT;
        item->body = bodies[i];
        item->body_len = 4;
    }
    submit(c);
    AWAIT(origin_get_counts(gated).in_flight == 2);
    origin_open_gate(gated);
    wait_done(c);
    expect_all(c, ST_OK);
    assert_int_equal(stats().coalesced, 0);
}

static void no_share__traced__each_fetched(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    c->call.traceparent = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    add_gated(c);
    add_gated(c);
    submit(c);
    AWAIT(origin_get_counts(gated).in_flight == 2);
    origin_open_gate(gated);
    wait_done(c);
    assert_int_equal(stats().coalesced, 0);
}

/* ---- the leader ends early */

static void leader_cancelled__under_way__a_follower_takes_over(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *leader = new_call(), *follower = new_call();
    add_gated(leader);
    for (unsigned i = 0; i < 3; i++)
        add_gated(follower);
    submit(leader);
    AWAIT(origin_get_counts(gated).in_flight == 1);
    submit(follower);
    cancel(leader);
    expect_all(leader, ST_CANCELLED);
    AWAIT(origin_get_counts(gated).requests == 2);
    assert_int_equal(follower->times_done, 0);
    origin_open_gate(gated);
    wait_done(follower);
    expect_all(follower, ST_OK);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(is_true_at(&follower->items[i], "coalesced"), i > 0);
    assert_int_equal(origin_get_counts(gated).requests, 2);
}

static void leader_cancelled__waiting__a_follower_waits_instead(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ .per_host_max = 1 });
    struct call *blocker = new_call(), *leader = new_call(), *follower = new_call();
    add_gated(blocker)->coalesces = false;
    add_gated(leader);
    add_gated(follower);
    submit(blocker);
    submit(leader);
    submit(follower);
    assert_int_equal(stats().queued, 1);
    cancel(leader);
    expect_all(leader, ST_CANCELLED);
    assert_int_equal(stats().queued, 1);
    origin_open_gate(gated);
    wait_done(blocker);
    wait_done(follower);
    expect_all(follower, ST_OK);
    assert_false(is_true_at(&follower->items[0], "coalesced"));
    assert_int_equal(origin_get_counts(gated).requests, 2);
}

/* The leader waits for its own call's slot; its follower need not. */
static void leader_cancelled__waiting_for_its_call__a_follower_starts_at_once(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *leader = new_call(), *follower = new_call();
    add_url(leader, "@/stall");
    add_gated(leader);
    leader->call.concurrency = 1;
    add_gated(follower);
    submit(leader);
    submit(follower);
    assert_int_equal(stats().queued, 1);
    io_pool_cancel(pool, &leader->call, ST_CANCELLED);
    AWAIT(origin_get_counts(gated).in_flight == 1);
    origin_open_gate(gated);
    wait_done(follower);
    wait_done(leader);
    expect_all(follower, ST_OK);
}

static void leader_cancelled__resting__a_follower_takes_over(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *leader = new_call(), *follower = new_call();
    char key[16], url[64];
    new_key(key);
    snprintf(url, sizeof url, "@/flaky/1?key=%s&retry_after=30", key);
    struct fetch_item *items[] = { add_shared(leader, url), add_shared(follower, url) };
    for (unsigned i = 0; i < 2; i++) {
        items[i]->timeout_ms = 1000000;
        items[i]->retries = 1;
    }
    submit(leader);
    AWAIT(stats().in_flight == 0);
    submit(follower);
    cancel(leader);
    wait_done(follower);
    expect_number(items[1], "status", 200);
    expect_number(items[1], "attempts", 1);
    assert_int_equal(origin_requests_with_key(origin, key), 2);
}

static void leader_expired__under_way__a_follower_takes_over(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *leader = new_call(), *follower = new_call();
    char key[16], url[64];
    new_key(key);
    snprintf(url, sizeof url, "@/vary-latency?ms=60000&key=%s", key);
    add_shared(leader, url)->timeout_ms = scaled_ms(300);
    add_shared(follower, url)->timeout_ms = scaled_ms(300);
    submit(leader);
    uint64_t start_ns = clock_now_ns();
    AWAIT(elapsed_ms(start_ns) > scaled_ms(150));
    submit(follower);
    wait_done(leader);
    wait_done(follower);
    expect_failure(&leader->items[0], ST_DEADLINE_EXCEEDED, "first_byte");
    expect_text(&follower->items[0], "body", "later\n");
    assert_int_equal(origin_requests_with_key(origin, key), 2);
}

/* The follower leads when the leader's time is over, waits for the same busy host, and has its own deadline. */
static void leader_expired__waiting__the_follower_expires_on_its_own(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ .per_host_max = 1 });
    struct call *blocker = new_call(), *leader = new_call(), *follower = new_call();
    add_gated(blocker)->timeout_ms = 1000000;
    add_url(leader, blocker->items[0].url)->timeout_ms = scaled_ms(200);
    add_url(follower, blocker->items[0].url)->timeout_ms = scaled_ms(200);
    leader->items[0].coalesces = follower->items[0].coalesces = true;
    submit(blocker);
    submit(leader);
    uint64_t start_ns = clock_now_ns();
    AWAIT(elapsed_ms(start_ns) > scaled_ms(100));
    submit(follower);
    wait_done(leader);
    expect_failure(&leader->items[0], ST_HOST_BUSY, "host_queue");
    assert_int_equal(follower->times_done, 0);
    wait_done(follower);
    expect_failure(&follower->items[0], ST_HOST_BUSY, "host_queue");
    assert_in_range(number_at(&follower->items[0], "elapsed_ms"), scaled_ms(200) - 5, scaled_ms(1000));
    cancel(blocker);
}

static void follower_cancelled__the_leader_goes_on(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *leader = new_call(), *follower = new_call();
    add_gated(leader);
    add_gated(follower);
    submit(leader);
    submit(follower);
    AWAIT(origin_get_counts(gated).in_flight == 1);
    cancel(follower);
    expect_failure(&follower->items[0], ST_CANCELLED, "queue");
    origin_open_gate(gated);
    wait_done(leader);
    expect_all(leader, ST_OK);
    assert_int_equal(origin_get_counts(gated).requests, 1);
}

/* ---- with a quorum */

static void quorum__of_shared_items__all_count(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    for (unsigned i = 0; i < 3; i++)
        add_gated(c);
    add_url(c, "@/stall");
    c->call.required = 3;
    submit(c);
    AWAIT(origin_get_counts(gated).in_flight == 1);
    origin_open_gate(gated);
    wait_done(c);
    for (unsigned i = 0; i < 3; i++)
        expect_status(&c->items[i], ST_OK);
    expect_status(&c->items[3], ST_CANCELLED);
}

/* The leader's call has had enough; its followers in another call have not. */
static void quorum__ends_a_leader__its_followers_go_on(void **state)
{
    (void)state;
    start_pool(&(struct io_pool_config){ 0 });
    struct call *leader = new_call(), *follower = new_call();
    add_url(leader, "@/delay/100");
    add_gated(leader);
    leader->call.required = 1;
    add_gated(follower);
    submit(leader);
    submit(follower);
    wait_done(leader);
    expect_status(&leader->items[0], ST_OK);
    expect_status(&leader->items[1], ST_CANCELLED);
    origin_open_gate(gated);
    wait_done(follower);
    expect_all(follower, ST_OK);
    assert_int_equal(origin_get_counts(gated).requests, 2);
}

/* ---- a crowd */

static void crowd__many_threads_and_cancels__each_done_once(void **state)
{
    (void)state;
    enum { CALLS = 60, ITEMS = 40, URLS = 7 };
    start_pool(&(struct io_pool_config){ .threads = 4, .per_host_max = 5 });
    uint64_t before = origin_get_counts(origin).requests;
    struct call *crowd[CALLS];
    for (unsigned i = 0; i < CALLS; i++) {
        crowd[i] = new_call();
        for (unsigned n = 0; n < ITEMS; n++) {
            char url[32];
            snprintf(url, sizeof url, "@/delay/%u", 1 + (i + n) % URLS);
            add_shared(crowd[i], url);
        }
        submit(crowd[i]);
        turn_loop(i % 3 == 0);
        if (i % 4 == 1) /* one that leads some of those after it */
            io_pool_cancel(pool, &crowd[i]->call, ST_CANCELLED);
    }
    for (unsigned i = 0; i < CALLS; i++)
        wait_done(crowd[i]);
    for (unsigned i = 0; i < CALLS; i++)
        for (unsigned n = 0; n < ITEMS; n++)
            if (crowd[i]->items[n].status != ST_CANCELLED || i % 4 != 1)
                expect_status(&crowd[i]->items[n], ST_OK);
    assert_true(stats().coalesced > 0);
    assert_true(origin_get_counts(origin).requests - before < CALLS * ITEMS / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        gated_test(share__within_a_call__one_request),
        gated_test(share__across_calls__each_result_its_own),
        gated_test(share__more_than_the_total__others_are_told),
        gated_test(share__follower_has_less_time__ends_then),
        gated_test(share__failure__shared_as_well),
        gated_test(share__refusal__shared_as_well),
        gated_test(no_share__body__sent_as_often_as_asked),
        gated_test(no_share__one_after_the_other__each_fetched),
        gated_test(no_share__anything_differs__each_fetched),
        gated_test(no_share__traced__each_fetched),
        gated_test(leader_cancelled__under_way__a_follower_takes_over),
        gated_test(leader_cancelled__waiting__a_follower_waits_instead),
        gated_test(leader_cancelled__waiting_for_its_call__a_follower_starts_at_once),
        gated_test(leader_cancelled__resting__a_follower_takes_over),
        gated_test(leader_expired__under_way__a_follower_takes_over),
        gated_test(leader_expired__waiting__the_follower_expires_on_its_own),
        gated_test(follower_cancelled__the_leader_goes_on),
        gated_test(quorum__of_shared_items__all_count),
        gated_test(quorum__ends_a_leader__its_followers_go_on),
        gated_test(crowd__many_threads_and_cancels__each_done_once),
    };
    return cmocka_run_group_tests_name("fetch_share", tests, start_origin, stop_origin);
}
