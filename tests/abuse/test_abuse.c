/* The abuse lab: what is in the tables (cases.h), and what takes more than one request. `make abuse` runs it. The slow
 * trials are sent first and judged last; everything else happens meanwhile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/abuse/batch.h"
#include "tests/abuse/cases.h"
#include "tests/abuse/naive.h"
#include "tests/abuse/scenarios.h"
#include "tests/support/timing.h"

enum { MANY = 500, NAIVE_LEAST = 40, SLOW_MOST_MS = 20000 };

static struct batch slow;
static pid_t front_ends[LAB_SERVERS];
static size_t naive_tried, naive_reached;
static bool is_clean; /* cmocka tells of a group's teardown that failed, but does not count it */

static bool add_many(const char *name, size_t odd_one, const char *odd_address)
{
    bool is_added = true;
    for (unsigned i = 0; i < MANY && is_added; i++) {
        char address[32];
        snprintf(address, sizeof address, "8.8.%u.%u", i / 250 + 8, i % 250 + 1);
        is_added = name_server_add(lab_names(), name, NAME_A, i == odd_one ? odd_address : address, 60);
    }
    return is_added;
}

static int open_lab(void **state)
{
    (void)state;
    if (!lab_open() || !add_many("many.test", MANY, "") || !add_many("many-but-one.test", 2, "127.0.0.1"))
        return -1;
    for (unsigned which = 0; which < LAB_SERVERS; which++)
        front_ends[which] = server_front_end_pid(lab_server(which));
    trial_forget_hits();
    batch_send(&cases_time, &slow);
    return 0;
}

static int close_lab(void **state)
{
    (void)state;
    batch_drop(&slow);
    unsigned mismatches = trial_print_table();
    if (naive_tried > 0)
        print_message("    a naive client reached the canary in %zu of %zu\n\n", naive_reached, naive_tried);
    is_clean = lab_close() && mismatches == 0;
    return is_clean ? 0 : -1;
}

/* ---- the tables */

#define GROUP_TEST(name)                \
    static void name(void **state)      \
    {                                   \
        (void)state;                    \
        trial_run_group(&cases_##name); \
    }
GROUP_TEST(grammar)
GROUP_TEST(schemes)
GROUP_TEST(ports)
GROUP_TEST(dns)
GROUP_TEST(redirects)
GROUP_TEST(targets)
GROUP_TEST(targets_denied)
GROUP_TEST(headers)
GROUP_TEST(sizes)
GROUP_TEST(codings)
GROUP_TEST(protocol)
GROUP_TEST(tls)
GROUP_TEST(tls_trusted)
GROUP_TEST(environment)
GROUP_TEST(one_allowed)
GROUP_TEST(only_hosts)
GROUP_TEST(denied)
GROUP_TEST(self)
GROUP_TEST(self_any)

/* Addresses: as they stand, behind a redirect, and behind a name. */
#define ADDRESS_TEST(name)                   \
    static void name(void **state)           \
    {                                        \
        (void)state;                         \
        trial_run_group(&cases_##name);      \
        trial_run_named(&cases_##name);      \
        trial_run_redirected(&cases_##name); \
    }
ADDRESS_TEST(loopback)
ADDRESS_TEST(ipv4)
ADDRESS_TEST(metadata)
ADDRESS_TEST(ipv6)

static void slow_origins__all_at_once__each_by_its_own_limit(void **state)
{
    (void)state;
    double took_ms = batch_judge(&slow);
    print_message("    %zu slow origins in %.0f ms\n", cases_time.count, took_ms);
    assert_true(took_ms < scaled_ms(SLOW_MOST_MS));
}

/* ---- that the traps are traps */

static void naive_client__same_urls__reaches_the_canary(void **state)
{
    (void)state;
    const struct trial_group *const groups[] = { &cases_loopback, &cases_ipv4,        &cases_metadata, &cases_ipv6,
                                                 &cases_ports,    &cases_one_allowed, &cases_targets };
    for (size_t i = 0; i < ARRAY_LEN(groups); i++) {
        struct naive_result result = naive_run(groups[i]);
        print_message("    naive, %-45s %3zu of %3zu\n", groups[i]->name, result.reached, result.tried);
        naive_tried += result.tried;
        naive_reached += result.reached;
    }
    char proxy[64];
    struct buf text = BUF_INIT(sizeof proxy - 1);
    lab_expand("http://127.0.0.1:{C}", LAB_STRICT, &text);
    snprintf(proxy, sizeof proxy, "%.*s", (int)text.len, text.data);
    buf_done(&text);
    bool is_misled = naive_reaches_canary("http://8.8.8.8:{O}/small", "http_proxy", proxy);
    bool is_honest = !naive_reaches_canary("http://8.8.8.8:{O}/small", NULL, NULL);
    trial_forget_hits();
    assert_true(is_misled);
    assert_true(is_honest);
    assert_true(naive_reached > NAIVE_LEAST);
}

/* ---- what must be true in the end */

static void key_log__after_all_tls__not_written(void **state)
{
    (void)state;
    assert_int_not_equal(access(lab_key_log_path(), F_OK), 0);
}

static void front_ends__after_all__are_the_first_ones(void **state)
{
    (void)state;
    for (unsigned which = 0; which < LAB_SERVERS; which++) {
        assert_int_not_equal(front_ends[which], 0);
        assert_int_equal(server_front_end_pid(lab_server(which)), front_ends[which]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loopback),
        cmocka_unit_test(ipv4),
        cmocka_unit_test(metadata),
        cmocka_unit_test(ipv6),
        cmocka_unit_test(grammar),
        cmocka_unit_test(schemes),
        cmocka_unit_test(ports),
        cmocka_unit_test(dns),
        cmocka_unit_test(redirects),
        cmocka_unit_test(targets),
        cmocka_unit_test(targets_denied),
        cmocka_unit_test(headers),
        cmocka_unit_test(sizes),
        cmocka_unit_test(codings),
        cmocka_unit_test(protocol),
        cmocka_unit_test(tls),
        cmocka_unit_test(tls_trusted),
        cmocka_unit_test(environment),
        cmocka_unit_test(one_allowed),
        cmocka_unit_test(only_hosts),
        cmocka_unit_test(denied),
        cmocka_unit_test(self),
        cmocka_unit_test(self_any),
        cmocka_unit_test(rebinding__every_answer__origin_or_refused),
        cmocka_unit_test(rebinding__fifty_at_once__origin_or_refused),
        cmocka_unit_test(rebinding__behind_a_redirect__origin_or_refused),
        cmocka_unit_test(rebinding__with_a_kept_connection__refused),
        cmocka_unit_test(explain__names__asks_nobody),
        cmocka_unit_test(silent_names__two_hundred_at_once__others_go_on),
        cmocka_unit_test(post__connection_lost__sent_once),
        cmocka_unit_test(cdn_loop__names_twinpool__refused),
        cmocka_unit_test(bombs__after_all__memory_is_bounded),
        cmocka_unit_test(naive_client__same_urls__reaches_the_canary),
        cmocka_unit_test(slow_origins__all_at_once__each_by_its_own_limit),
        cmocka_unit_test(key_log__after_all_tls__not_written),
        cmocka_unit_test(front_ends__after_all__are_the_first_ones),
    };
    int failed = cmocka_run_group_tests_name("abuse", tests, open_lab, close_lab);
    return failed > 0 || !is_clean;
}
