/* When a worker has done enough: jobs with their tenth more or less, growth, age. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/attrs.h"
#include "base/clock.h"
#include "pool/worker_wear.h"

enum { START_NS = 1000 };

static struct worker_wear begin(const struct worker_limits *limits, uint32_t random)
{
    struct worker_wear wear;
    worker_wear_begin(&wear, limits, 0, random, START_NS);
    return wear;
}

static void limits__none__never_worn(void **state)
{
    (void)state;
    struct worker_wear wear = begin(&(struct worker_limits){ .workers = 1 }, 7);
    for (unsigned i = 0; i < 1000; i++)
        worker_wear_note_job(&wear, i * 1000);
    worker_wear_advance(&wear, CLOCK_NEVER - 1);
    assert_false(worker_wear_is_near(&wear, 16, CLOCK_NEVER - 1));
    assert_false(worker_wear_is_spent(&wear, 16));
    assert_true(worker_wear_due(&wear, START_NS) == CLOCK_NEVER);
}

static void jobs__one__spent_by_the_first_and_not_near_before(void **state)
{
    (void)state;
    struct worker_wear wear = begin(&(struct worker_limits){ .jobs_max = 1 }, 12345);
    assert_false(worker_wear_is_near(&wear, 0, START_NS));
    assert_false(worker_wear_is_spent(&wear, 0));
    assert_true(worker_wear_is_near(&wear, 1, START_NS));
    assert_true(worker_wear_is_spent(&wear, 1));
}

static void jobs__hundred__a_tenth_more_or_less_and_near_a_tenth_before(void **state)
{
    (void)state;
    uint64_t lowest = 1000, highest = 0;
    for (uint32_t random = 0; random < 100; random++) {
        struct worker_wear wear = begin(&(struct worker_limits){ .jobs_max = 100 }, random);
        unsigned near = 0, spent = 0;
        for (unsigned held = 0; held < 200; held++) {
            near += worker_wear_is_near(&wear, held, START_NS) ? 0 : 1;
            spent += worker_wear_is_spent(&wear, held) ? 0 : 1;
        }
        assert_in_range(spent, 90, 110);
        assert_in_range(spent - near, 9, 11);
        lowest = spent < lowest ? spent : lowest;
        highest = spent > highest ? spent : highest;
    }
    assert_int_equal(lowest, 90);
    assert_int_equal(highest, 110);
}

static void jobs__two__near_after_the_first(void **state)
{
    (void)state;
    struct worker_wear wear = begin(&(struct worker_limits){ .jobs_max = 2 }, 3);
    worker_wear_note_job(&wear, 1);
    assert_true(worker_wear_is_near(&wear, 0, START_NS));
    assert_false(worker_wear_is_spent(&wear, 0));
    worker_wear_note_job(&wear, 1);
    assert_true(worker_wear_is_spent(&wear, 0));
}

static void jobs__taken_over__count_from_where_they_were(void **state)
{
    (void)state;
    struct worker_wear wear;
    worker_wear_begin(&wear, &(struct worker_limits){ .jobs_max = 1 }, 1, 0, START_NS);
    assert_true(worker_wear_is_spent(&wear, 0));
}

static void growth__beyond_the_first_job__near_and_after_a_second_spent(void **state)
{
    (void)state;
    struct worker_wear wear = begin(&(struct worker_limits){ .growth_max_kib = 100 }, 0);
    worker_wear_note_job(&wear, 5000);
    worker_wear_note_job(&wear, 5100);
    worker_wear_advance(&wear, START_NS);
    assert_false(worker_wear_is_near(&wear, 0, START_NS));
    worker_wear_note_job(&wear, 5101);
    worker_wear_advance(&wear, START_NS);
    assert_true(worker_wear_is_near(&wear, 0, START_NS));
    assert_false(worker_wear_is_spent(&wear, 0));
    uint64_t due_ns = worker_wear_due(&wear, START_NS);
    assert_true(due_ns == START_NS + NS_PER_SEC);
    worker_wear_advance(&wear, due_ns);
    assert_true(worker_wear_is_spent(&wear, 0));
}

static void age__reached__near_and_never_spent(void **state)
{
    (void)state;
    struct worker_wear wear = begin(&(struct worker_limits){ .age_max_ns = NS_PER_SEC }, 0);
    uint64_t due_ns = worker_wear_due(&wear, START_NS);
    assert_true(due_ns == START_NS + 900 * NS_PER_MS);
    assert_false(worker_wear_is_near(&wear, 3, due_ns - 1));
    assert_true(worker_wear_is_near(&wear, 3, due_ns));
    worker_wear_advance(&wear, due_ns * 100);
    assert_false(worker_wear_is_spent(&wear, 3));
    assert_true(worker_wear_due(&wear, due_ns) == CLOCK_NEVER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limits__none__never_worn),
        cmocka_unit_test(jobs__one__spent_by_the_first_and_not_near_before),
        cmocka_unit_test(jobs__hundred__a_tenth_more_or_less_and_near_a_tenth_before),
        cmocka_unit_test(jobs__two__near_after_the_first),
        cmocka_unit_test(jobs__taken_over__count_from_where_they_were),
        cmocka_unit_test(growth__beyond_the_first_job__near_and_after_a_second_spent),
        cmocka_unit_test(age__reached__near_and_never_spent),
    };
    return cmocka_run_group_tests_name("worker_wear", tests, NULL, NULL);
}
