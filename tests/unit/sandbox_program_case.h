/* sandbox_program_case: what the drivers that try a user's program have in common: the rules of the preset, and acts
 * with the error that each is to meet. Included by one file of a driver. */
#ifndef TWINPOOL_TESTS_UNIT_SANDBOX_PROGRAM_CASE_H
#define TWINPOOL_TESTS_UNIT_SANDBOX_PROGRAM_CASE_H

#include "tests/unit/sandbox_rig.h"

static struct sandbox_rules rules; /* of the preset, afresh for every case */

static int begin_case(void **state UNUSED)
{
    rules = sandbox_rules_for_programs();
    return 0;
}

struct attempt {
    const char *what;
    int (*act)(void);
    int result;
};

static void try_all(const struct attempt *attempts, size_t count)
{
    need(SANDBOX_SYSCALLS, &rules);
    for (size_t i = 0; i < count; i++) {
        int result = try_under(&rules, attempts[i].act);
        if (result != attempts[i].result)
            fail_msg("%s: %d", attempts[i].what, result);
    }
}

#define TEST(name) cmocka_unit_test_setup(name, begin_case)

#endif
