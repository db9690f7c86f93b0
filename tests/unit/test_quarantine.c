/* Tests of pool/quarantine.c: which jobs are refused, and for how long. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/clock.h"
#include "pool/quarantine.h"

enum { TIME_MS = 1000 };
#define AT(ms) ((uint64_t)(ms)*NS_PER_MS)

static struct quarantine quarantine;

static int setup(void **state)
{
    (void)state;
    quarantine_init(&quarantine, AT(TIME_MS));
    return 0;
}

static struct job job_of(unsigned task, const char *args, const char *payload)
{
    return (struct job){ .task = task,
                         .args = args,
                         .args_len = strlen(args),
                         .payload = payload,
                         .payload_len = payload ? strlen(payload) : 0,
                         .has_payload = payload != NULL };
}

static void one_death__not_refused(void **state)
{
    (void)state;
    struct job job = job_of(0, "{\"n\":1}", NULL);
    assert_false(quarantine_holds(&quarantine, &job, AT(0)));
    quarantine_note(&quarantine, &job, AT(0));
    assert_false(quarantine_holds(&quarantine, &job, AT(1)));
}

static void two_deaths__refused_for_the_time_and_no_other(void **state)
{
    (void)state;
    struct job job = job_of(0, "{\"n\":1}", NULL);
    struct job others[] = { job_of(1, "{\"n\":1}", NULL), job_of(0, "{\"n\":2}", NULL), job_of(0, "{\"n\":1}", ""),
                            job_of(0, "{\"n\":1", "}"), job_of(0, "", "{\"n\":1}") };
    quarantine_note(&quarantine, &job, AT(0));
    quarantine_note(&quarantine, &job, AT(500));
    struct job same = job_of(0, "{\"n\":1}", NULL);
    assert_true(quarantine_holds(&quarantine, &same, AT(501)));
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_false(quarantine_holds(&quarantine, &others[i], AT(501)));
    assert_true(quarantine_holds(&quarantine, &job, AT(1499)));
    assert_false(quarantine_holds(&quarantine, &job, AT(1500)));
    assert_int_equal(quarantine.count, 0);
}

static void deaths__far_apart__not_refused(void **state)
{
    (void)state;
    struct job job = job_of(0, "{}", NULL);
    for (unsigned i = 0; i < 5; i++) {
        quarantine_note(&quarantine, &job, AT(i * TIME_MS));
        assert_false(quarantine_holds(&quarantine, &job, AT(i * TIME_MS + 1)));
    }
}

static void many_jobs__oldest_is_forgotten(void **state)
{
    (void)state;
    char args[QUARANTINE_JOBS_MAX + 1][16];
    struct job jobs[QUARANTINE_JOBS_MAX + 1];
    for (unsigned i = 0; i <= QUARANTINE_JOBS_MAX; i++) {
        args[i][0] = (char)('0' + i / 10);
        args[i][1] = (char)('0' + i % 10);
        args[i][2] = '\0';
        jobs[i] = job_of(0, args[i], NULL);
        quarantine_note(&quarantine, &jobs[i], AT(i));
        quarantine_note(&quarantine, &jobs[i], AT(i));
    }
    assert_int_equal(quarantine.count, QUARANTINE_JOBS_MAX);
    assert_false(quarantine_holds(&quarantine, &jobs[0], AT(100)));
    for (unsigned i = 1; i <= QUARANTINE_JOBS_MAX; i++)
        assert_true(quarantine_holds(&quarantine, &jobs[i], AT(100)));
}

static void no_time__never_refused(void **state)
{
    (void)state;
    struct job job = job_of(0, "{}", NULL);
    quarantine_init(&quarantine, 0);
    for (unsigned i = 0; i < 5; i++)
        quarantine_note(&quarantine, &job, AT(i));
    assert_false(quarantine_holds(&quarantine, &job, AT(5)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(one_death__not_refused, setup),
        cmocka_unit_test_setup(two_deaths__refused_for_the_time_and_no_other, setup),
        cmocka_unit_test_setup(deaths__far_apart__not_refused, setup),
        cmocka_unit_test_setup(many_jobs__oldest_is_forgotten, setup),
        cmocka_unit_test_setup(no_time__never_refused, setup),
    };
    return cmocka_run_group_tests_name("quarantine", tests, NULL, NULL);
}
