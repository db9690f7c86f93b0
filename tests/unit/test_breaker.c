/* Tests of pool/breaker.c: closed, open, half-open, and which ends of requests count. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "pool/breaker.h"

static const struct breaker_rule three = { .failures = 3, .open_ns = 10 * NS_PER_SEC, .counted = BREAKER_CONNECT };
enum { START = 5 }; /* seconds */

static uint64_t at_s(unsigned seconds) { return (START + seconds) * NS_PER_SEC; }

static void note(struct breaker *breaker, enum breaker_verdict verdict, unsigned seconds)
{
    breaker_note(breaker, &three, verdict, at_s(seconds));
}

static void fail_times(struct breaker *breaker, unsigned times)
{
    while (times-- > 0)
        note(breaker, BREAKER_FAILURE, 0);
}

static bool admits(struct breaker *breaker, unsigned seconds) { return breaker_admits(breaker, &three, at_s(seconds)); }

/* Opened at 0 s, until 10 s. */
static struct breaker opened(void)
{
    struct breaker breaker = { 0 };
    fail_times(&breaker, 3);
    assert_int_equal(breaker_state(&breaker, at_s(0)), BREAKER_IS_OPEN);
    return breaker;
}

static void closed__fewer_failures__everything_passes(void **state)
{
    (void)state;
    struct breaker breaker = { 0 };
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(breaker_state(&breaker, at_s(i)), BREAKER_IS_CLOSED);
        assert_true(admits(&breaker, i));
        assert_true(admits(&breaker, i)); /* any number at once */
        assert_int_equal(breaker.failures, i);
        note(&breaker, BREAKER_FAILURE, i);
    }
    assert_int_equal(breaker_state(&breaker, at_s(3)), BREAKER_IS_OPEN);
    assert_int_equal(breaker.failures, 3);
}

static void closed__success_in_between__counts_from_the_start(void **state)
{
    (void)state;
    struct breaker breaker = { 0 };
    for (unsigned i = 0; i < 10; i++) {
        fail_times(&breaker, 2);
        note(&breaker, BREAKER_SUCCESS, 0);
        assert_int_equal(breaker.failures, 0);
    }
    assert_int_equal(breaker_state(&breaker, at_s(0)), BREAKER_IS_CLOSED);
}

static void closed__what_says_nothing_in_between__still_in_a_row(void **state)
{
    (void)state;
    struct breaker breaker = { 0 };
    fail_times(&breaker, 2);
    note(&breaker, BREAKER_SAYS_NOTHING, 0);
    assert_int_equal(breaker.failures, 2);
    fail_times(&breaker, 1);
    assert_int_equal(breaker_state(&breaker, at_s(0)), BREAKER_IS_OPEN);
}

static void open__until_its_time_is_over__nothing_passes(void **state)
{
    (void)state;
    struct breaker breaker = opened();
    for (unsigned s = 0; s < 10; s++)
        assert_false(admits(&breaker, s));
    assert_false(breaker_admits(&breaker, &three, at_s(10) - 1));
    assert_int_equal(breaker_state(&breaker, at_s(10) - 1), BREAKER_IS_OPEN);
    assert_int_equal(breaker_state(&breaker, at_s(10)), BREAKER_IS_HALF_OPEN);
    assert_true(admits(&breaker, 10));
}

/* Of requests that were under way when it opened. */
static void open__late_outcomes__failure_changes_nothing_success_closes(void **state)
{
    (void)state;
    struct breaker breaker = opened();
    note(&breaker, BREAKER_FAILURE, 9);
    note(&breaker, BREAKER_SAYS_NOTHING, 9);
    assert_int_equal(breaker_state(&breaker, at_s(10) - 1), BREAKER_IS_OPEN);
    assert_int_equal(breaker_state(&breaker, at_s(10)), BREAKER_IS_HALF_OPEN);
    breaker = opened();
    note(&breaker, BREAKER_SUCCESS, 1);
    assert_int_equal(breaker_state(&breaker, at_s(1)), BREAKER_IS_CLOSED);
    assert_true(admits(&breaker, 1));
    assert_int_equal(breaker.failures, 0);
}

static void half_open__one_passes(void **state)
{
    (void)state;
    struct breaker breaker = opened();
    assert_true(admits(&breaker, 10));
    assert_false(admits(&breaker, 10));
    assert_false(admits(&breaker, 1000));
    assert_int_equal(breaker_state(&breaker, at_s(1000)), BREAKER_IS_HALF_OPEN);
}

static void half_open__probe_succeeds__closed(void **state)
{
    (void)state;
    struct breaker breaker = opened();
    assert_true(admits(&breaker, 11));
    note(&breaker, BREAKER_SUCCESS, 12);
    assert_int_equal(breaker_state(&breaker, at_s(12)), BREAKER_IS_CLOSED);
    assert_true(admits(&breaker, 12));
    assert_true(admits(&breaker, 12));
    fail_times(&breaker, 2); /* it counts from the start */
    assert_int_equal(breaker_state(&breaker, at_s(12)), BREAKER_IS_CLOSED);
}

static void half_open__probe_fails__open_again_for_as_long(void **state)
{
    (void)state;
    struct breaker breaker = opened();
    for (unsigned round = 1; round < 5; round++) {
        unsigned s = 12 * round; /* a probe takes two seconds */
        assert_true(admits(&breaker, s - 2));
        note(&breaker, BREAKER_FAILURE, s);
        assert_int_equal(breaker_state(&breaker, at_s(s + 10) - 1), BREAKER_IS_OPEN);
        assert_false(admits(&breaker, s + 9));
        assert_int_equal(breaker_state(&breaker, at_s(s + 10)), BREAKER_IS_HALF_OPEN);
    }
}

static void half_open__probe_says_nothing__the_next_is_one(void **state)
{
    (void)state;
    struct breaker breaker = opened();
    assert_true(admits(&breaker, 10));
    note(&breaker, BREAKER_SAYS_NOTHING, 11);
    assert_int_equal(breaker_state(&breaker, at_s(11)), BREAKER_IS_HALF_OPEN);
    assert_true(admits(&breaker, 11));
    assert_false(admits(&breaker, 11));
}

static void any__rule_without_failures__never_opens(void **state)
{
    (void)state;
    const struct breaker_rule never = { .failures = 0, .open_ns = NS_PER_SEC, .counted = ~0u };
    struct breaker breaker = { 0 };
    for (unsigned i = 0; i < 1000; i++) {
        breaker_note(&breaker, &never, BREAKER_FAILURE, at_s(0));
        assert_true(breaker_admits(&breaker, &never, at_s(0)));
    }
    assert_int_equal(breaker_state(&breaker, at_s(0)), BREAKER_IS_CLOSED);
    assert_int_equal(breaker.failures, 0);
}

static void any__one_failure_is_enough__opens_at_once(void **state)
{
    (void)state;
    const struct breaker_rule one = { .failures = 1, .open_ns = NS_PER_MS };
    struct breaker breaker = { 0 };
    breaker_note(&breaker, &one, BREAKER_FAILURE, at_s(0));
    assert_false(breaker_admits(&breaker, &one, at_s(0)));
    assert_true(breaker_admits(&breaker, &one, at_s(0) + NS_PER_MS));
}

/* ---- what counts */

static unsigned class_of(enum status status)
{
    static const struct {
        enum status status;
        unsigned outcome;
    } classes[] = {
        { ST_DNS_FAILED, BREAKER_DNS },           { ST_DNS_TIMEOUT, BREAKER_DNS },
        { ST_CONNECT_FAILED, BREAKER_CONNECT },   { ST_CONNECT_TIMEOUT, BREAKER_CONNECT },
        { ST_TLS_FAILED, BREAKER_TLS },           { ST_TLS_TIMEOUT, BREAKER_TLS },
        { ST_TLS_VERIFY_FAILED, BREAKER_TLS },    { ST_FIRST_BYTE_TIMEOUT, BREAKER_TIMEOUT },
        { ST_TOO_SLOW, BREAKER_TIMEOUT },         { ST_DEADLINE_EXCEEDED, BREAKER_TIMEOUT },
        { ST_CONNECTION_CLOSED, BREAKER_CLOSED }, { ST_TRUNCATED, BREAKER_CLOSED },
        { ST_PROTOCOL_ERROR, BREAKER_CLOSED },
    };
    for (size_t i = 0; i < ARRAY_LEN(classes); i++)
        if (classes[i].status == status)
            return classes[i].outcome;
    return 0;
}

/* Every status under every set of what is counted. */
static void judge__failures__if_their_class_is_counted(void **state)
{
    (void)state;
    for (unsigned counted = 0; counted < 1u << 7; counted++) {
        const struct breaker_rule rule = { .failures = 1, .counted = counted };
        for (int s = 1; s < STATUS_COUNT; s++) {
            enum status status = (enum status)s;
            bool is_failure = (class_of(status) & counted) != 0;
            /* the HTTP status is none of its business then */
            assert_int_equal(breaker_judge(&rule, status, 503), is_failure ? BREAKER_FAILURE : BREAKER_SAYS_NOTHING);
        }
    }
}

static void judge__answers__by_their_http_status(void **state)
{
    (void)state;
    for (unsigned counted = 0; counted < 1u << 7; counted++) {
        const struct breaker_rule rule = { .failures = 1, .counted = counted };
        for (unsigned http = 100; http < 1000; http++) {
            bool is_failure = (http >= 500 && (counted & BREAKER_5XX)) || (http == 429 && (counted & BREAKER_429));
            assert_int_equal(breaker_judge(&rule, ST_OK, http), is_failure ? BREAKER_FAILURE : BREAKER_SUCCESS);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(closed__fewer_failures__everything_passes),
        cmocka_unit_test(closed__success_in_between__counts_from_the_start),
        cmocka_unit_test(closed__what_says_nothing_in_between__still_in_a_row),
        cmocka_unit_test(open__until_its_time_is_over__nothing_passes),
        cmocka_unit_test(open__late_outcomes__failure_changes_nothing_success_closes),
        cmocka_unit_test(half_open__one_passes),
        cmocka_unit_test(half_open__probe_succeeds__closed),
        cmocka_unit_test(half_open__probe_fails__open_again_for_as_long),
        cmocka_unit_test(half_open__probe_says_nothing__the_next_is_one),
        cmocka_unit_test(any__rule_without_failures__never_opens),
        cmocka_unit_test(any__one_failure_is_enough__opens_at_once),
        cmocka_unit_test(judge__failures__if_their_class_is_counted),
        cmocka_unit_test(judge__answers__by_their_http_status),
    };
    return cmocka_run_group_tests_name("breaker", tests, NULL, NULL);
}
