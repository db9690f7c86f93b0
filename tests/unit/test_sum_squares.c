/* Tests of tasks/sum_squares.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_write.h"
#include "tasks/builtin.h"
#include "tests/unit/run_task.h"

static void assert_sum(int64_t n, const char *expected)
{
    char *sum = run_with_number(&sum_squares_task, n);
    assert_non_null(sum);
    assert_string_equal(sum, expected);
    free(sum);
}

/* Against the closed formula, which the task itself does not use. */
static void assert_matches_formula(int64_t n)
{
    const unsigned __int128 m = (unsigned __int128)n;
    struct buf expected = BUF_INIT(64);
    json_u128(&expected, n == 0 ? 0 : (m - 1) * m * (2 * m - 1) / 6);
    buf_byte(&expected, '\0');
    assert_sum(n, expected.data);
    buf_done(&expected);
}

static void run__known_values__are_exact(void **state UNUSED)
{
    assert_sum(0, "0");
    assert_sum(1, "0");
    assert_sum(2, "1");
    assert_sum(10, "285");
    assert_sum(1000000, "333332833333500000");
    assert_sum(10000000, "333333283333335000000");
}

static void run__every_small_n__matches_the_formula(void **state UNUSED)
{
    for (int64_t n = 0; n <= 2000; n++) /* several blocks, and every remainder of the unrolled loops */
        assert_matches_formula(n);
}

static void run__where_squares_outgrow_the_narrow_loop__stays_exact(void **state UNUSED)
{
    const int64_t narrow_end = INT64_C(1) << 28;
    for (int64_t n = narrow_end - 1; n <= narrow_end + 2; n++)
        assert_matches_formula(n);
    assert_matches_formula(narrow_end + 1001);
}

static void task__of_json__answers_an_integer(void **state UNUSED)
{
    struct task_run run = run_task(&sum_squares_task, "{\"n\":10}", NULL, 0);
    assert_int_equal(run.status, ST_OK);
    assert_string_equal(run.text, "285");
    free(run.text);
}

static void task__n_out_of_range__is_refused(void **state UNUSED)
{
    struct task_run run = run_task(&sum_squares_task, "{\"n\":10000000001}", NULL, 0);
    assert_int_equal(run.status, ST_INVALID_ARGS);
    assert_string_equal(run.text, "[{\"pointer\":\"/n\",\"detail\":\"must be at most 10000000000\"}]");
    free(run.text);

    run = run_task(&sum_squares_task, "{\"n\":-1}", NULL, 0);
    assert_int_equal(run.status, ST_INVALID_ARGS);
    assert_string_equal(run.text, "[{\"pointer\":\"/n\",\"detail\":\"must be at least 0\"}]");
    free(run.text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run__known_values__are_exact),
        cmocka_unit_test(run__every_small_n__matches_the_formula),
        cmocka_unit_test(run__where_squares_outgrow_the_narrow_loop__stays_exact),
        cmocka_unit_test(task__of_json__answers_an_integer),
        cmocka_unit_test(task__n_out_of_range__is_refused),
    };
    return cmocka_run_group_tests_name("sum_squares", tests, NULL, NULL);
}
