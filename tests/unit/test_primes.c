/* Tests of tasks/primes.c. The reference is trial division. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tasks/builtin.h"
#include "tests/unit/run_task.h"

enum {
    REFERENCE_END = 400000,
    SEGMENT_NUMBERS = 120120, /* how many numbers one segment of the sieve spans: twice its slots */
};

struct reference {
    uint32_t count[REFERENCE_END + 1];   /* primes below the index */
    uint32_t largest[REFERENCE_END + 1]; /* 0: none */
};

static bool is_prime(uint32_t number)
{
    for (uint32_t divisor = 2; divisor * divisor <= number; divisor++)
        if (number % divisor == 0)
            return false;
    return number >= 2;
}

static int make_reference(void **state)
{
    struct reference *reference = calloc(1, sizeof *reference);
    if (!reference)
        return -1;
    for (uint32_t n = 1; n <= REFERENCE_END; n++) {
        const bool below = is_prime(n - 1);
        reference->count[n] = reference->count[n - 1] + below;
        reference->largest[n] = below ? n - 1 : reference->largest[n - 1];
    }
    *state = reference;
    return 0;
}

static int free_reference(void **state)
{
    free(*state);
    return 0;
}

static void assert_primes(int64_t n, uint64_t count, uint64_t largest)
{
    char expected[96];
    if (count == 0)
        (void)snprintf(expected, sizeof expected, "{\"count\":0,\"largest\":null}");
    else
        (void)snprintf(expected, sizeof expected, "{\"count\":%ju,\"largest\":%ju}", (uintmax_t)count,
                       (uintmax_t)largest);
    char *found = run_with_number(&primes_task, n);
    assert_non_null(found);
    assert_string_equal(found, expected);
    free(found);
}

static void assert_matches_reference(const struct reference *reference, uint32_t n)
{
    assert_in_range(n, 0, REFERENCE_END);
    assert_primes(n, reference->count[n], reference->largest[n]);
}

static void run__every_n_to_20000__matches_trial_division(void **state)
{
    for (uint32_t n = 0; n <= 20000; n++)
        assert_matches_reference(*state, n);
}

static void run__around_segment_ends__matches_trial_division(void **state)
{
    for (uint32_t end = SEGMENT_NUMBERS; end < REFERENCE_END - 40; end += SEGMENT_NUMBERS)
        for (uint32_t n = end - 40; n <= end + 40; n++)
            assert_matches_reference(*state, n);
}

static void run__around_squares_of_primes__matches_trial_division(void **state)
{
    for (uint32_t p = 2; p * p + 2 <= REFERENCE_END; p++) {
        if (!is_prime(p))
            continue;
        for (uint32_t n = p * p - 1; n <= p * p + 2; n++)
            assert_matches_reference(*state, n);
    }
}

/* https://oeis.org/A006880 and https://oeis.org/A003618 */
static void run__powers_of_ten__match_the_known_counts(void **state UNUSED)
{
    static const struct {
        int64_t n;
        uint64_t count, largest;
    } known[] = {
        { 10, 4, 7 },
        { 100, 25, 97 },
        { 1000, 168, 997 },
        { 10000, 1229, 9973 },
        { 100000, 9592, 99991 },
        { 1000000, 78498, 999983 },
        { 10000000, 664579, 9999991 },
        { 100000000, 5761455, 99999989 },
    };
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        assert_primes(known[i].n, known[i].count, known[i].largest);
}

static void task__of_json__answers_count_and_largest(void **state UNUSED)
{
    struct task_run run = run_task(&primes_task, "{\"n\":100}", NULL, 0);
    assert_int_equal(run.status, ST_OK);
    assert_string_equal(run.text, "{\"count\":25,\"largest\":97}");
    free(run.text);
}

static void task__n_out_of_range__is_refused(void **state UNUSED)
{
    struct task_run run = run_task(&primes_task, "{\"n\":10000000001}", NULL, 0);
    assert_int_equal(run.status, ST_INVALID_ARGS);
    free(run.text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run__every_n_to_20000__matches_trial_division),
        cmocka_unit_test(run__around_segment_ends__matches_trial_division),
        cmocka_unit_test(run__around_squares_of_primes__matches_trial_division),
        cmocka_unit_test(run__powers_of_ten__match_the_known_counts),
        cmocka_unit_test(task__of_json__answers_count_and_largest),
        cmocka_unit_test(task__n_out_of_range__is_refused),
    };
    return cmocka_run_group_tests_name("primes", tests, make_reference, free_reference);
}
