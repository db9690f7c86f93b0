/* Tests of names in the fetch engine: resolved by c-ares, judged, pinned, and never left to libcurl. */
#include <dirent.h>

#include "tests/unit/fetch_rig.h"

static void add_name(const char *name, enum name_type type, const char *value, uint32_t ttl_s)
{
    assert_true(name_server_add(names, name, type, value, ttl_s));
}

/* ---- names that may be fetched from */

static void names__of_an_allowed_address__fetched_as_named(void **state)
{
    (void)state;
    start_names();
    add_name("origin.test", NAME_A, "127.0.0.1", 60);
    start_pool(&(struct io_pool_config){ .threads = 1 });
    for (unsigned i = 0; i < 3; i++) {
        struct call *c = new_call();
        struct fetch_item *item = add_urlf(c, "http://origin.test:%u/echo", origin_port(origin));
        run(c);
        expect_number(item, "status", 200);
        assert_true(has_text(item, "Host: origin.test:"));
        assert_int_equal(is_true_at(item, "reused"), i > 0);
        assert_int_equal(number_at(item, "timing_ms.dns") > 0, true);
    }
    assert_int_equal(name_server_queries(names, "origin.test"), 2);
    assert_int_equal(stats().dns.queries, 1);
    assert_int_equal(stats().dns.hits, 2);
}

static void names__in_odd_spellings__resolved_and_pinned(void **state)
{
    (void)state;
    static const char *const hosts[] = { "ORIGIN.test",
                                         "origin.test.",
                                         "origin.tes%74",
                                         "b\xc3\xbc"
                                         "cher.test",
                                         "xn--bcher-kva.test",
                                         "under_score.test",
                                         "a.localhost" };
    start_names();
    add_name("origin.test", NAME_A, "127.0.0.1", 60);
    add_name("xn--bcher-kva.test", NAME_A, "127.0.0.1", 60);
    add_name("under_score.test", NAME_A, "127.0.0.1", 60);
    start_pool(&(struct io_pool_config){ .threads = 1 });
    struct call *c = new_call();
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++)
        add_urlf(c, "http://%s:%u/small", hosts[i], origin_port(origin));
    run(c);
    expect_all(c, ST_OK);
}

static void names__of_several_addresses__the_one_that_answers(void **state)
{
    (void)state;
    struct io_pool_config config = { .threads = 1 };
    const char *message;
    assert_true(egress_cidrs_parse("127.0.0.0/8", &config.policy.allow, &message));
    start_names();
    add_name("many.test", NAME_A, "127.0.0.9", 60); /* nobody listens there */
    add_name("many.test", NAME_A, "127.0.0.8", 60);
    add_name("many.test", NAME_A, "127.0.0.1", 60);
    start_pool(&config);
    struct call *c = new_call();
    add_urlf(c, "http://many.test:%u/small", origin_port(origin));
    run(c);
    expect_all(c, ST_OK);
    expect_number(&c->items[0], "attempts", 1);
    assert_true(number_at(&c->items[0], "elapsed_ms") < scaled_ms(1000));
}

static void names__localhost__the_loopback_that_is_allowed(void **state)
{
    (void)state;
    start_names();
    start_pool(&(struct io_pool_config){ .threads = 1 }); /* 127.0.0.1/32, and not ::1 */
    struct call *c = new_call();
    add_urlf(c, "http://localhost:%u/small", origin_port(origin));
    run(c);
    expect_all(c, ST_OK);
    assert_int_equal(name_server_total_queries(names), 0);
}

/* ---- names that may not */

static void policy__one_address_of_several_refused__no_connection_at_all(void **state)
{
    (void)state;
    struct listener *canary = listener_start(LISTENER_SILENT, "127.0.0.2", 0);
    assert_non_null(canary);
    start_names();
    add_name("mixed.test", NAME_A, "127.0.0.1", 60);
    add_name("mixed.test", NAME_A, "127.0.0.2", 60);
    add_name("six.test", NAME_A, "127.0.0.1", 60);
    add_name("six.test", NAME_AAAA, "::ffff:127.0.0.2", 60);
    add_name("alias.test", NAME_CNAME, "mixed.test", 60);
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    static const char *const hosts[] = { "mixed.test", "six.test", "alias.test" };
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++)
        add_urlf(c, "http://%s:%u/", hosts[i], listener_port(canary))->retries = 2;
    run(c);
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        expect_failure(&c->items[i], ST_BLOCKED_ADDRESS, "policy");
        expect_number(&c->items[i], "attempts", 1);
    }
    assert_int_equal(listener_accepted(canary), 0);
    assert_int_equal(stats().connections_opened, 0);
    listener_stop(canary);
}

/* The first answer is good, the next one is not, and so on: what was judged is what is connected to. */
static void policy__name_that_changes_its_address__never_connects_to_the_refused_one(void **state)
{
    (void)state;
    struct listener *canary = listener_start(LISTENER_SILENT, "127.0.0.2", origin_port(origin));
    if (!canary)
        skip(); /* somebody else's port there */
    start_names();
    add_name("rebind.test", NAME_A, "127.0.0.1", 0);
    add_name("rebind.test", NAME_A, "127.0.0.2", 0);
    assert_true(name_server_behave(names, "rebind.test", NAME_ALTERNATE, 0));
    start_pool(&(struct io_pool_config){ .threads = 1 });
    unsigned refusals = 0;
    for (unsigned i = 0; i < 20; i++) {
        struct call *c = new_call();
        add_urlf(c, "http://rebind.test:%u/%s", origin_port(origin), i % 4 < 2 ? "small" : "no-keepalive");
        run(c);
        if (c->items[0].status == ST_OK)
            continue;
        expect_failure(&c->items[0], ST_BLOCKED_ADDRESS, "policy");
        refusals++;
    }
    assert_in_range(refusals, 5, 15);
    assert_int_equal(listener_accepted(canary), 0);
    listener_stop(canary);
}

/* ---- failures */

static void failures__of_the_name__said_once(void **state)
{
    (void)state;
    start_names();
    assert_true(name_server_behave(names, "empty.test", NAME_EMPTY, 0));
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    add_url(c, "http://none.test/")->retries = 2;
    add_url(c, "http://empty.test/")->retries = 2;
    run(c);
    for (unsigned i = 0; i < 2; i++) {
        expect_failure(&c->items[i], ST_DNS_FAILED, "dns");
        assert_false(is_true_at(&c->items[i], "error.retriable"));
        expect_number(&c->items[i], "attempts", 1);
        assert_non_null(strstr(c->items[i].message, i ? "empty.test" : "none.test"));
    }
}

static void failures__of_the_name_server__retriable(void **state)
{
    (void)state;
    start_names();
    assert_true(name_server_behave(names, "failing.test", NAME_SERVFAIL, 0));
    start_pool(&(struct io_pool_config){ 0 });
    struct call *c = new_call();
    struct fetch_item *item = add_url(c, "http://failing.test/");
    item->retries = 1;
    item->method = FETCH_POST; /* it was never sent */
    run(c);
    expect_failure(item, ST_DNS_FAILED, "dns");
    assert_true(is_true_at(item, "error.retriable"));
    expect_number(item, "attempts", 2);
}

/* Two wait for one query; the time of the first is over, which is nothing to the second. */
/* An attempt fails as it is started, because the failure is remembered, and the wait for the next one may be none at
 * all. Every slot comes back. */
static void failures__of_the_name_server__remembered__no_slot_is_lost(void **state)
{
    (void)state;
    enum { ITEMS = 2000 };
    start_names();
    assert_true(name_server_behave(names, "failing.test", NAME_SERVFAIL, 0));
    start_pool(&(struct io_pool_config){ .threads = 1, .inflight_max = 500 });
    struct call *c = new_call();
    for (unsigned i = 0; i < ITEMS; i++) {
        struct fetch_item *item = add_urlf(c, "http://failing.test/%u", i);
        item->retries = 10;
        item->timeout_ms = 2000;
    }
    run(c);
    assert_true(stats().retries > 0);
    assert_int_equal(stats().in_flight, 0);
    assert_int_equal(stats().queued, 0);
}

static void failures__time_out__of_each_its_own(void **state)
{
    (void)state;
    start_names();
    add_name("slow.test", NAME_A, "127.0.0.1", 60);
    assert_true(name_server_behave(names, "slow.test", NAME_DELAY, 300));
    start_pool(&(struct io_pool_config){ .threads = 1 });
    struct call *c = new_call();
    struct fetch_item *hasty = add_urlf(c, "http://slow.test:%u/small", origin_port(origin)),
                      *patient = add_urlf(c, "http://slow.test:%u/small", origin_port(origin));
    hasty->dns_timeout_ms = 100;
    run(c);
    expect_failure(hasty, ST_DNS_TIMEOUT, "dns");
    expect_text(hasty, "error.budget", "dns_timeout_ms");
    assert_in_range(number_at(hasty, "elapsed_ms"), 95, 100 + scaled_ms(150));
    expect_status(patient, ST_OK);
    assert_int_equal(name_server_queries(names, "slow.test"), 2);
}

/* ---- a silent name server */

static int compare_times(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Of small fetches, one after the other. */
static double p99_of_fetches(void)
{
    double times[100];
    for (size_t i = 0; i < ARRAY_LEN(times); i++) {
        struct call *c = new_call();
        add_url(c, "@/small");
        uint64_t start_ns = clock_now_ns();
        run(c);
        times[i] = elapsed_ms(start_ns);
        expect_all(c, ST_OK);
    }
    qsort(times, ARRAY_LEN(times), sizeof *times, compare_times);
    return times[98];
}

static unsigned count_threads(void)
{
    DIR *tasks = opendir("/proc/self/task");
    assert_non_null(tasks);
    unsigned count = 0;
    while (readdir(tasks))
        count++;
    closedir(tasks);
    return count;
}

static void silence__two_hundred_names__nobody_held_up_and_no_thread_more(void **state)
{
    (void)state;
    start_names();
    assert_true(name_server_behave(names, "*.silent.test", NAME_SILENT, 0));
    start_pool(&(struct io_pool_config){ 0 });
    double before_ms = p99_of_fetches();
    unsigned threads_before = count_threads();
    struct call *c = new_call();
    for (unsigned i = 0; i < 200; i++)
        add_urlf(c, "http://n%u.silent.test/", i);
    submit(c);
    AWAIT(name_server_total_queries(names) >= 400);
    assert_int_equal(count_threads(), threads_before);
    double meanwhile_ms = p99_of_fetches();
    assert_int_equal(count_threads(), threads_before);
    assert_int_equal(c->times_done, 0);
    assert_int_equal(stats().in_flight, 200);
    if (meanwhile_ms > 5 * before_ms + scaled_ms(50))
        fail_msg("p99 of small fetches: %.1f ms before, %.1f ms meanwhile", before_ms, meanwhile_ms);
    cancel(c);
    expect_all(c, ST_CANCELLED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        pool_test(names__of_an_allowed_address__fetched_as_named),
        pool_test(names__in_odd_spellings__resolved_and_pinned),
        pool_test(names__of_several_addresses__the_one_that_answers),
        pool_test(names__localhost__the_loopback_that_is_allowed),
        pool_test(policy__one_address_of_several_refused__no_connection_at_all),
        pool_test(policy__name_that_changes_its_address__never_connects_to_the_refused_one),
        pool_test(failures__of_the_name__said_once),
        pool_test(failures__of_the_name_server__retriable),
        pool_test(failures__of_the_name_server__remembered__no_slot_is_lost),
        pool_test(failures__time_out__of_each_its_own),
        pool_test(silence__two_hundred_names__nobody_held_up_and_no_thread_more),
    };
    return cmocka_run_group_tests_name("fetch_dns", tests, start_origin, stop_origin);
}
