/* Tests of tasks/stats.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tasks/builtin.h"
#include "tests/unit/task_case.h"

#define NO_QUANTILES "\"quantiles\":[]"

static void run__small_arrays__exact_figures(void **state UNUSED)
{
    assert_result(
        &stats_task, "{\"values\":[2,4,4,4,5,5,7,9]}",
        "{\"count\":8,\"mean\":5,\"variance\":4.571428571428571,\"stddev\":2.138089935299395,\"min\":2,\"max\":9,"
        "\"quantiles\":[{\"p\":0.25,\"value\":4},{\"p\":0.5,\"value\":4.5},{\"p\":0.75,\"value\":5.5}]}");
    assert_result(
        &stats_task, "{\"values\":[0.1,0.2,-0.3e1],\"quantiles\":[0,1,0.1]}",
        "{\"count\":3,\"mean\":-0.9,\"variance\":3.31,\"stddev\":1.8193405398660252,\"min\":-3,"
        "\"max\":0.2,\"quantiles\":[{\"p\":0,\"value\":-3},{\"p\":1,\"value\":0.2},{\"p\":0.1,\"value\":-2.38}]}");
}

static void run__one_or_none__what_is_not_known_is_null(void **state UNUSED)
{
    assert_result(&stats_task, "{\"values\":[7]}",
                  "{\"count\":1,\"mean\":7,\"variance\":null,\"stddev\":null,\"min\":7,\"max\":7,"
                  "\"quantiles\":[{\"p\":0.25,\"value\":7},{\"p\":0.5,\"value\":7},{\"p\":0.75,\"value\":7}]}");
    assert_result(&stats_task, "{\"values\":[],\"quantiles\":[0.5]}",
                  "{\"count\":0,\"mean\":null,\"variance\":null,\"stddev\":null,\"min\":null,\"max\":null,"
                  "\"quantiles\":[{\"p\":0.5,\"value\":null}]}");
    assert_result_of(&stats_task, "{" NO_QUANTILES "}", "", 0,
                     "{\"count\":0,\"mean\":null,\"variance\":null,\"stddev\":null,\"min\":null,\"max\":null,"
                     "\"quantiles\":[]}");
}

/* A naive sum of squares would lose everything, or overflow. */
static void run__numbers_far_from_zero_or_huge__keep_their_variance(void **state UNUSED)
{
    assert_result(&stats_task,
                  "{\"values\":[1000000000000004,1000000000000007,1000000000000013,1000000000000016]," NO_QUANTILES "}",
                  "{\"count\":4,\"mean\":1000000000000010,\"variance\":30,\"stddev\":5.477225575051661,"
                  "\"min\":1000000000000004,\"max\":1000000000000016,\"quantiles\":[]}");
    assert_result(&stats_task, "{\"values\":[1.7e308,1.7e308,-1.7e308],\"quantiles\":[0.25]}",
                  "{\"count\":3,\"mean\":5.666666666666667e+307,\"variance\":null,\"stddev\":null,"
                  "\"min\":-1.7e+308,\"max\":1.7e+308,\"quantiles\":[{\"p\":0.25,\"value\":0}]}");
    assert_result(
        &stats_task, "{\"values\":[5e-324,5e-324]," NO_QUANTILES "}",
        "{\"count\":2,\"mean\":4.94065645841247e-324,\"variance\":0,\"stddev\":0,\"min\":4.94065645841247e-324,"
        "\"max\":4.94065645841247e-324,\"quantiles\":[]}");
}

static void run__integers_beyond_2_to_the_53__are_rounded(void **state UNUSED)
{
    assert_result(&stats_task, "{\"values\":[9007199254740993]," NO_QUANTILES "}",
                  "{\"count\":1,\"mean\":9007199254740992,\"variance\":null,\"stddev\":null,\"min\":9007199254740992,"
                  "\"max\":9007199254740992,\"quantiles\":[]}");
}

/* The count and mean of a body, or the failure. */
static void assert_csv(const char *args, const char *csv, const char *expected)
{
    struct task_run run = run_task(&stats_task, args, csv, strlen(csv));
    if (run.status != ST_OK || strncmp(run.text, expected, strlen(expected)) != 0)
        fail_msg("%s: %s %s %s", csv, status_code(run.status), run.detail, run.text);
    free(run.text);
}

static void assert_csv_fails(const char *args, const char *csv, const char *detail)
{
    assert_failure_of(&stats_task, args, csv, strlen(csv), ST_TASK_FAILED, detail);
}

static void run__csv__columns_by_number_and_name(void **state UNUSED)
{
    assert_csv("", "1\n2\n6\n", "{\"count\":3,\"mean\":3,");
    assert_csv("", "1\r\n2\r\n6", "{\"count\":3,\"mean\":3,");
    assert_csv("", "1\r2\r6", "{\"count\":3,\"mean\":3,");
    assert_csv("", "\n1\n\n  \n2\n6\n\n", "{\"count\":3,\"mean\":3,");
    assert_csv("",
               "\xef\xbb\xbf"
               "1\n",
               "{\"count\":1,\"mean\":1,");
    assert_csv("{\"column\":\"2\"}", "a,1\nb,3\n", "{\"count\":2,\"mean\":2,");
    assert_csv("{\"column\":\"2\",\"header\":true}", "k,v\na,1\nb,3\n", "{\"count\":2,\"mean\":2,");
    assert_csv("{\"column\":\"v\"}", "k,v\na,1\nb,3\n", "{\"count\":2,\"mean\":2,");
    assert_csv("{\"column\":\"v w\"}", "k,\"v w\"\na,\"1\"\n\"b,\n\"\"c\", 3 \n", "{\"count\":2,\"mean\":2,");
    assert_csv("{\"column\":\"v\"}", "v,v\n1,2\n", "{\"count\":1,\"mean\":1,");
    assert_csv("{\"column\":\"v\"}", "v\n", "{\"count\":0,");
}

static void run__csv__other_delimiters(void **state UNUSED)
{
    assert_csv("{\"column\":\"2\",\"delimiter\":\";\"}", "a,b;2\n", "{\"count\":1,\"mean\":2,");
    assert_csv("{\"column\":\"2\",\"delimiter\":\"\\t\"}", "a b\t2\n\t4\n", "{\"count\":2,\"mean\":3,");
    assert_failure_of(&stats_task, "{\"delimiter\":\"\\\"\"}", "1", 1, ST_INVALID_ARGS, "delimiter may not be");
    assert_failure_of(&stats_task, "{\"delimiter\":\"\\n\"}", "1", 1, ST_INVALID_ARGS, "delimiter may not be");
    assert_failure_of(&stats_task, "{\"delimiter\":\"\\u00e9\"}", "1", 1, ST_INVALID_ARGS, "must be at most 1 bytes");
}

static void run__csv_that_is_not_right__says_where(void **state UNUSED)
{
    assert_csv_fails("", "1\nx\n", "line 2, column 1: \"x\" is not a number that a double can hold");
    assert_csv_fails("{\"column\":\"2\"}", "a,1\n\n\"b\nc\",zz\n", "line 4, column 2: \"zz\" is not");
    assert_csv_fails("", "1\n,2\n", "line 2, column 1: \"\" is not");
    assert_csv_fails("", "0x10", "\"0x10\" is not");
    assert_csv_fails("", "nan", "\"nan\" is not");
    assert_csv_fails("", "inf", "\"inf\" is not");
    assert_csv_fails("", "1e999", "\"1e999\" is not");
    assert_csv_fails("", "1 2", "\"1 2\" is not");
    assert_csv_fails("", "1,5\n1;5", "line 2, column 1: \"1;5\" is not");
    assert_csv_fails("", "\xff\n", "line 1, column 1: \"…\" is not");
    assert_csv_fails("", "11111111111111111111111111111111111111111111111111x", "line 1, column 1: \"…\" is not");
    assert_csv_fails("{\"column\":\"3\"}", "1,2,3\n1,2\n", "line 2 has no column 3: it has 2");
    assert_csv_fails("{\"column\":\"3\",\"header\":true}", "a,b\n1,2\n", "line 1 has no column 3: it has 2");
    assert_csv_fails("{\"column\":\"v\"}", "a,b\n1,2\n", "the header has no column of that name");
    assert_csv_fails("{\"column\":\"v\"}", "", "the header has no column of that name");
    assert_csv_fails("", "\"1\n2\n", "line 2: the csv ends within quotes");
    assert_csv_fails("", "1\n2\"3\n", "line 2: a quote out of place");
    assert_failure_of(&stats_task, "", "1\0002\n", 4, ST_TASK_FAILED, "line 1, column 1: \"…\" is not");
}

static void run__column_that_is_none__is_refused(void **state UNUSED)
{
    static const char *const bad[] = { "0", "100001", "99999999999999999999999" };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char args[64];
        (void)snprintf(args, sizeof args, "{\"column\":\"%s\"}", bad[i]);
        assert_failure_of(&stats_task, args, "1", 1, ST_INVALID_ARGS, "column must be a number from 1 to 100000");
    }
}

static void run__json_body__is_an_array(void **state UNUSED)
{
    assert_csv("{\"format\":\"json\"}", " [1, 2,\n6 ] ", "{\"count\":3,\"mean\":3,");
    assert_csv("{\"format\":\"json\"}", "[]", "{\"count\":0,");
    assert_csv_fails("{\"format\":\"json\"}", "{\"a\":1}", "the body must be an array of numbers");
    assert_csv_fails("{\"format\":\"json\"}", "[1,\"2\"]", "the body: element 1 is not a number");
    assert_csv_fails("{\"format\":\"json\"}", "[1,[2]]", "the body: element 1 is not a number");
    assert_csv_fails("{\"format\":\"json\"}", "[1,null]", "the body: element 1 is not a number");
    assert_csv_fails("{\"format\":\"json\"}", "[1,1e400]", "the body: element 1 is not a number");
    assert_csv_fails("{\"format\":\"json\"}", "[1,]", "the body: expected a value at byte 3");
    assert_csv_fails("{\"format\":\"json\"}", "[01]", "the body: ");
    assert_csv_fails("{\"format\":\"json\"}", "", "the body: empty text at byte 0");
    assert_csv_fails("{\"format\":\"json\"}", "1\n2\n", "the body: text after the value");
}

static void run__many_numbers__as_the_formulas_say(void **state UNUSED)
{
    enum { COUNT = 200000 };
    struct buf csv = BUF_INIT(16 * 1024 * 1024);
    for (int i = 0; i < COUNT; i++)
        buf_printf(&csv, "%d\n", (int)((i * 7919LL) % COUNT)); /* 0 to COUNT-1, shuffled */
    struct task_run run = run_task(&stats_task, "{\"quantiles\":[0,0.5,0.999,1]}", csv.data, csv.len);
    assert_string_equal(run.detail, "");
    assert_string_equal(
        run.text, "{\"count\":200000,\"mean\":99999.5,\"variance\":3333350000,\"stddev\":57735.17125634945,\"min\":0,"
                  "\"max\":199999,\"quantiles\":[{\"p\":0,\"value\":0},{\"p\":0.5,\"value\":99999.5},"
                  "{\"p\":0.999,\"value\":199799.001},{\"p\":1,\"value\":199999}]}");
    free(run.text);
    buf_done(&csv);
}

static void run__args_that_are_no_numbers__are_refused(void **state UNUSED)
{
    assert_failure(&stats_task, "{\"values\":{}}", ST_INVALID_ARGS, "values must be an array of numbers");
    assert_failure(&stats_task, "{\"values\":[1,true]}", ST_INVALID_ARGS, "values: element 1 is not a number");
    assert_failure(&stats_task, "{\"values\":[1],\"quantiles\":[1.5]}", ST_INVALID_ARGS,
                   "quantiles must be from 0 to 1");
    assert_failure(&stats_task, "{\"values\":[1],\"quantiles\":[-0.5]}", ST_INVALID_ARGS,
                   "quantiles must be from 0 to 1");
    assert_failure(&stats_task, "{\"values\":[1],\"quantiles\":0.5}", ST_INVALID_ARGS, "quantiles must be an array");
    assert_failure(&stats_task, "{}", ST_INVALID_ARGS, "give either values or a binary body");
    assert_failure_of(&stats_task, "{\"values\":[1]}", "1", 1, ST_INVALID_ARGS, "not both");
    char args[1024] = "{\"values\":[1],\"quantiles\":[0";
    for (unsigned i = 0; i < 100; i++)
        strcat(args, ",0");
    assert_failure(&stats_task, strcat(args, "]}"), ST_INVALID_ARGS, "quantiles may be 100 at most");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run__small_arrays__exact_figures),
        cmocka_unit_test(run__one_or_none__what_is_not_known_is_null),
        cmocka_unit_test(run__numbers_far_from_zero_or_huge__keep_their_variance),
        cmocka_unit_test(run__integers_beyond_2_to_the_53__are_rounded),
        cmocka_unit_test(run__csv__columns_by_number_and_name),
        cmocka_unit_test(run__csv__other_delimiters),
        cmocka_unit_test(run__csv_that_is_not_right__says_where),
        cmocka_unit_test(run__column_that_is_none__is_refused),
        cmocka_unit_test(run__json_body__is_an_array),
        cmocka_unit_test(run__many_numbers__as_the_formulas_say),
        cmocka_unit_test(run__args_that_are_no_numbers__are_refused),
    };
    return cmocka_run_group_tests_name("stats", tests, NULL, NULL);
}
