/* Tests of pool/host.c: hosts are found again, forgotten when nobody needs them, remembered when they are worth it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pool/host.h"

static struct hosts hosts;

static int setup(void **state)
{
    (void)state;
    return hosts_init(&hosts) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    hosts_done(&hosts);
    return 0;
}

static struct host *acquire(const char *origin)
{
    struct host *host = hosts_acquire(&hosts, origin, strlen(origin));
    assert_non_null(host);
    assert_string_equal(host->origin, origin);
    assert_int_equal(host->origin_len, strlen(origin));
    return host;
}

static struct host *acquire_number(unsigned number)
{
    char origin[32];
    snprintf(origin, sizeof origin, "http://host-%u:80", number);
    return acquire(origin);
}

static void release(struct host *host) { hosts_release(&hosts, host); }

static void release_open(struct host *host)
{
    host->breaker.open_until_ns = 1;
    release(host);
}

static void acquire__same_origin__same_host(void **state)
{
    (void)state;
    struct host *host = acquire("http://a:80");
    assert_ptr_equal(acquire("http://a:80"), host);
    assert_int_equal(host->users, 2);
    assert_int_equal(hosts.count, 1);
    release(host);
    assert_int_equal(hosts.count, 1); /* it still has a user */
    assert_ptr_equal(acquire("http://a:80"), host);
    release(host);
    release(host);
    assert_int_equal(hosts.count, 0);
}

static void acquire__other_origins__other_hosts(void **state)
{
    (void)state;
    static const char *const origins[] = {
        "http://a:80", "https://a:80", "http://a:81", "http://a:8", "http://b:80", ""
    };
    struct host *found[ARRAY_LEN(origins)];
    for (size_t i = 0; i < ARRAY_LEN(origins); i++)
        found[i] = acquire(origins[i]);
    assert_int_equal(hosts.count, ARRAY_LEN(origins));
    for (size_t i = 0; i < ARRAY_LEN(origins); i++)
        release(found[i]);
    assert_int_equal(hosts.count, 0);
}

static void acquire__origin_inside_a_longer_text__its_length_counts(void **state)
{
    (void)state;
    struct host *host = hosts_acquire(&hosts, "http://a:8080", strlen("http://a:80"));
    assert_non_null(host);
    assert_string_equal(host->origin, "http://a:80");
    assert_ptr_equal(acquire("http://a:80"), host);
    release(host);
    release(host);
}

static void acquire__new__knows_nothing(void **state)
{
    (void)state;
    struct host *host = acquire("http://a:80");
    assert_int_equal(host->users, 1);
    assert_int_equal(host->running, 0);
    assert_int_equal(breaker_state(&host->breaker, 1), BREAKER_IS_CLOSED);
    assert_false(atomic_load(&host->speaks_http2));
    assert_null(atomic_load(&host->shard_loads));
    assert_true(TAILQ_EMPTY(&host->parked));
    release(host);
}

static void release__nothing_to_remember__forgotten(void **state)
{
    (void)state;
    release(acquire("http://a:80"));
    assert_int_equal(hosts.count, 0);
    assert_int_equal(hosts.kept_count, 0);
}

static void release__shard_loads__freed_with_it(void **state)
{
    (void)state;
    struct host *host = acquire("http://a:80");
    atomic_store(&host->shard_loads, calloc(16, sizeof(uint16_t)));
    release(host); /* a leak is AddressSanitizer's to find */
    assert_int_equal(hosts.count, 0);
}

static void release__worth_remembering__found_again_as_it_was(void **state)
{
    (void)state;
    struct host *failing = acquire("http://failing:80"), *open = acquire("http://open:80"),
                *h2 = acquire("https://h2:443");
    failing->breaker.failures = 2;
    open->breaker.open_until_ns = 4711;
    atomic_store(&h2->speaks_http2, true);
    release(failing);
    release(open);
    release(h2);
    assert_int_equal(hosts.count, 3);
    assert_int_equal(hosts.kept_count, 3);
    assert_int_equal(acquire("http://failing:80")->breaker.failures, 2);
    assert_int_equal(acquire("http://open:80")->breaker.open_until_ns, 4711);
    assert_true(atomic_load(&acquire("https://h2:443")->speaks_http2));
    assert_int_equal(hosts.kept_count, 0); /* they are in use */
    assert_int_equal(failing->users, 1);
    failing->breaker = open->breaker = (struct breaker){ 0 };
    release(failing); /* nothing is worth remembering of it any more */
    release(open);
    release(h2);
    assert_int_equal(hosts.count, 1);
}

static void release__more_than_are_kept__the_longest_unused_go(void **state)
{
    (void)state;
    for (unsigned i = 0; i < HOSTS_KEPT_MAX; i++)
        release_open(acquire_number(i));
    assert_int_equal(hosts.kept_count, HOSTS_KEPT_MAX);
    release(acquire_number(0)); /* used again: now 1 is the oldest */
    for (unsigned i = 0; i < 10; i++)
        release_open(acquire_number(HOSTS_KEPT_MAX + i));
    assert_int_equal(hosts.kept_count, HOSTS_KEPT_MAX);
    assert_int_equal(hosts.count, HOSTS_KEPT_MAX);
    for (unsigned i = 0; i < HOSTS_KEPT_MAX + 10; i++) {
        struct host *host = acquire_number(i);
        bool is_known = host->breaker.open_until_ns == 1, was_dropped = i >= 1 && i <= 10;
        if (is_known == was_dropped)
            fail_msg("host %u is %s", i, is_known ? "still known" : "forgotten");
        host->breaker = (struct breaker){ 0 };
        release(host);
    }
    assert_int_equal(hosts.count, 0);
}

static void release__hosts_in_use__do_not_count_as_kept(void **state)
{
    (void)state;
    struct host *used[100];
    for (unsigned i = 0; i < ARRAY_LEN(used); i++)
        used[i] = acquire_number(i);
    for (unsigned i = 0; i < HOSTS_KEPT_MAX; i++)
        release_open(acquire_number(1000 + i));
    assert_int_equal(hosts.count, HOSTS_KEPT_MAX + ARRAY_LEN(used));
    assert_int_equal(hosts.kept_count, HOSTS_KEPT_MAX);
    for (unsigned i = 0; i < ARRAY_LEN(used); i++)
        release(used[i]);
    assert_int_equal(hosts.count, HOSTS_KEPT_MAX);
}

static void acquire__thousands__table_grows_and_all_are_found(void **state)
{
    (void)state;
    enum { MANY = 20000 };
    struct host **many = calloc(MANY, sizeof *many);
    size_t buckets_before = hosts.bucket_count, longest = 0;
    for (unsigned i = 0; i < MANY; i++)
        many[i] = acquire_number(i);
    assert_int_equal(hosts.count, MANY);
    assert_true(hosts.bucket_count >= MANY && hosts.bucket_count > buckets_before);
    for (unsigned i = 0; i < MANY; i++)
        assert_ptr_equal(acquire_number(i), many[i]);
    for (size_t i = 0; i < hosts.bucket_count; i++) {
        size_t length = 0;
        for (const struct host *host = hosts.buckets[i]; host; host = host->next)
            length++;
        longest = length > longest ? length : longest;
    }
    assert_in_range(longest, 1, 12); /* about 8 are expected: the hash spreads them */
    for (unsigned i = 0; i < MANY; i++) {
        release(many[i]);
        release(many[i]);
    }
    assert_int_equal(hosts.count, 0);
    free(many);
}

/* The low bits choose the bucket, a thread and a shard. */
static void hash__many_hosts__low_bits_spread(void **state)
{
    (void)state;
    enum { MANY = 8000, PARTS = 8 };
    unsigned low[PARTS] = { 0 }, high[PARTS] = { 0 };
    struct host **many = calloc(MANY, sizeof *many);
    for (unsigned i = 0; i < MANY; i++) {
        many[i] = acquire_number(i);
        low[many[i]->hash % PARTS]++;
        high[(many[i]->hash >> 8) % PARTS]++;
    }
    for (unsigned i = 0; i < PARTS; i++) {
        assert_in_range(low[i], MANY / PARTS * 7 / 10, MANY / PARTS * 13 / 10);
        assert_in_range(high[i], MANY / PARTS * 7 / 10, MANY / PARTS * 13 / 10);
    }
    for (unsigned i = 0; i < MANY; i++)
        release(many[i]);
    free(many);
}

static void visit(void *user, const struct host *host)
{
    unsigned *seen = user, number;
    assert_int_equal(sscanf(host->origin, "http://host-%u:80", &number), 1);
    assert_in_range(number, 0, 299);
    seen[number]++;
}

static void for_each__used_and_kept__each_once(void **state)
{
    (void)state;
    unsigned seen[300] = { 0 };
    struct host *used[100];
    hosts_for_each(&hosts, visit, seen); /* none yet */
    for (unsigned i = 0; i < 100; i++)
        used[i] = acquire_number(i);
    for (unsigned i = 100; i < 200; i++)
        release_open(acquire_number(i));
    for (unsigned i = 200; i < 300; i++)
        release(acquire_number(i)); /* forgotten */
    hosts_for_each(&hosts, visit, seen);
    for (unsigned i = 0; i < 300; i++)
        assert_int_equal(seen[i], i < 200 ? 1 : 0);
    for (unsigned i = 0; i < 100; i++)
        release(used[i]);
}

#define host_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        host_test(acquire__same_origin__same_host),
        host_test(acquire__other_origins__other_hosts),
        host_test(acquire__origin_inside_a_longer_text__its_length_counts),
        host_test(acquire__new__knows_nothing),
        host_test(release__nothing_to_remember__forgotten),
        host_test(release__shard_loads__freed_with_it),
        host_test(release__worth_remembering__found_again_as_it_was),
        host_test(release__more_than_are_kept__the_longest_unused_go),
        host_test(release__hosts_in_use__do_not_count_as_kept),
        host_test(acquire__thousands__table_grows_and_all_are_found),
        host_test(hash__many_hosts__low_bits_spread),
        host_test(for_each__used_and_kept__each_once),
    };
    return cmocka_run_group_tests_name("host", tests, NULL, NULL);
}
