/* Tests of tasks/jq.c. They hold for jq 1.6 and 1.7. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tasks/builtin.h"
#include "tests/unit/task_case.h"

#define INPUT "\"input\":{\"a\":[1,2,{\"b\":null}],\"s\":\"h\\u00e9\"}"

/* `filter` as it stands within a JSON string. */
static void assert_filter(const char *filter, const char *expected)
{
    char args[2048];
    (void)snprintf(args, sizeof args, "{\"filter\":\"%s\"," INPUT "}", filter);
    assert_result(&jq_task, args, expected);
}

static void assert_filter_fails(const char *filter, enum status status, const char *detail)
{
    char args[2048];
    (void)snprintf(args, sizeof args, "{\"filter\":\"%s\"," INPUT "}", filter);
    assert_failure(&jq_task, args, status, detail);
}

static void run__outputs__are_an_array_however_many(void **state UNUSED)
{
    assert_filter(".", "[{\"a\":[1,2,{\"b\":null}],\"s\":\"h\xc3\xa9\"}]");
    assert_filter("empty", "[]");
    assert_filter(".a[]", "[1,2,{\"b\":null}]");
    assert_filter(".a, .s", "[[1,2,{\"b\":null}],\"h\xc3\xa9\"]");
    assert_filter("[.a[] | numbers] | add / length", "[1.5]");
    assert_filter(".a\\n| length # and a comment", "[3]");
}

static void run__input_of_any_kind__or_none(void **state UNUSED)
{
    assert_result(&jq_task, "{\"filter\":\".\"}", "[null]");
    assert_result(&jq_task, "{\"filter\":\"1 + 1\"}", "[2]");
    assert_result(&jq_task, "{\"filter\":\".\",\"input\":7}", "[7]");
    assert_result(&jq_task, "{\"filter\":\".\",\"input\":null}", "[null]");
    assert_result(&jq_task, "{\"filter\":\".\",\"input\":\"x\"}", "[\"x\"]");
    assert_result_of(&jq_task, "{\"filter\":\".[]\"}", " [1,\n2] ", 8, "[1,2]");
    assert_failure_of(&jq_task, "{\"filter\":\".\",\"input\":1}", "1", 1, ST_INVALID_ARGS, "not both");
    assert_failure_of(&jq_task, "", "1", 1, ST_INVALID_ARGS, "filter is required");
    assert_failure(&jq_task, "{\"filter\":\"\"}", ST_INVALID_ARGS, "must be at least 1 bytes long");
}

static void run__body_that_is_no_json__fails_with_the_place(void **state UNUSED)
{
    assert_failure_of(&jq_task, "{\"filter\":\".\"}", "[1,]", 4, ST_TASK_FAILED,
                      "the body is not acceptable JSON: expected a value at byte 3");
    assert_failure_of(&jq_task, "{\"filter\":\".\"}", "1 2", 3, ST_TASK_FAILED, "text after the value at byte 2");
    assert_failure_of(&jq_task, "{\"filter\":\".\"}", "nan", 3, ST_TASK_FAILED, "bad literal");
    assert_failure_of(&jq_task, "{\"filter\":\".\"}", "\"\xff\"", 3, ST_TASK_FAILED, "invalid UTF-8");
    assert_failure_of(&jq_task, "{\"filter\":\".\"}", "", 0, ST_TASK_FAILED, "empty text");
    assert_failure_of(&jq_task, "{\"filter\":\".\"}", "{\"a\":1,\"a\":2}", 13, ST_TASK_FAILED, "duplicate key");
}

static void assert_raw(const char *filter, const char *expected)
{
    char args[256];
    (void)snprintf(args, sizeof args, "{\"filter\":\"%s\",\"raw\":true," INPUT "}", filter);
    struct task_run run = run_task(&jq_task, args, NULL, 0);
    assert_int_equal(run.status, ST_OK);
    assert_true(run.is_binary);
    assert_int_equal(run.len, strlen(expected));
    assert_memory_equal(run.text, expected, run.len);
    free(run.text);
}

static void run__raw__is_a_line_for_each_output(void **state UNUSED)
{
    assert_raw(".s, .a, null, \\\"a\\\\nb\\\"", "h\xc3\xa9\n[1,2,{\"b\":null}]\nnull\na\nb\n");
    assert_raw("empty", "");
}

static void run__filter_that_does_not_compile__is_refused_in_jq_s_words(void **state UNUSED)
{
    assert_filter_fails("{a:", ST_INVALID_ARGS, "filter: syntax error, unexpected ");
    assert_filter_fails("\\n\\n.a }", ST_INVALID_ARGS, "<top-level>, line 3");
    assert_filter_fails("nosuch(1)", ST_INVALID_ARGS, "filter: nosuch/1 is not defined at <top-level>, line 1");
    assert_filter_fails("$nosuch", ST_INVALID_ARGS, "filter: $nosuch is not defined");
    assert_filter_fails("break $x", ST_INVALID_ARGS, "is not defined");
    assert_filter_fails("\xff", ST_INVALID_JSON, "invalid UTF-8");
    assert_filter(".a[0]", "[1]");
}

static void run__error_of_a_run__fails_in_jq_s_words(void **state UNUSED)
{
    assert_filter_fails(".a.b", ST_TASK_FAILED, "Cannot index array with string \"b\"");
    assert_filter_fails("1, error(\\\"oh\\\")", ST_TASK_FAILED, "oh");
    assert_filter_fails("error({a:1})", ST_TASK_FAILED, "{\"a\":1}");
    assert_filter_fails("\\\"bye\\\" | halt_error", ST_TASK_FAILED, "halt_error: bye");
    assert_filter_fails("{a:1} | halt_error(3)", ST_TASK_FAILED, "halt_error: {\"a\":1}");
    assert_filter("1, halt, 2", "[1]");
    assert_filter("try error(\\\"oh\\\") catch .", "[\"oh\"]");
}

/* Nothing outside the program is read or written. */
static void run__environment_files_and_modules__are_out_of_reach(void **state UNUSED)
{
    char home[] = "/tmp/twinpool-jq-XXXXXX", path[64];
    assert_non_null(mkdtemp(home));
    (void)snprintf(path, sizeof path, "%s/.jq", home);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs("def from_home: 1;", file) > 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(setenv("HOME", home, 1), 0);

    assert_filter_fails("from_home", ST_INVALID_ARGS, "from_home/0 is not defined");
    assert_filter("env, $ENV", "[{},{}]");
    assert_filter("env.HOME, $ENV.PATH", "[null,null]");
    assert_string_equal(getenv("HOME"), home); /* still there */
    assert_filter_fails("import \\\"a\\\" as a; .", ST_INVALID_ARGS, "unexpected import");
    assert_filter_fails("include \\\"a\\\"; .", ST_INVALID_ARGS, "unexpected include");
    assert_filter_fails("import \\\"a\\\" as $a; .", ST_INVALID_ARGS, "unexpected import");
    assert_filter_fails("module {}; .", ST_INVALID_ARGS, "unexpected module");
    assert_filter_fails("\\\".jq\\\" | modulemeta", ST_TASK_FAILED, "modules are not available");
    assert_filter("[inputs]", "[[]]");
    assert_filter("try input catch 1", "[1]");
    assert_filter("input_filename, get_search_list", "[null,[]]");

    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(home), 0);
}

/* jq 1.6 would write to the standard error, which is the service's log. */
static void run__debug_and_stderr__write_nothing(void **state UNUSED)
{
    char path[] = "/tmp/twinpool-jq-XXXXXX";
    int saved = dup(STDERR_FILENO), file = mkstemp(path);
    assert_true(saved >= 0 && file >= 0);
    assert_int_equal(dup2(file, STDERR_FILENO), STDERR_FILENO);
    struct task_run run = run_task(&jq_task, "{\"filter\":\"1 | debug | stderr | debug(2)\"}", NULL, 0);
    assert_int_equal(dup2(saved, STDERR_FILENO), STDERR_FILENO);
    assert_string_equal(run.text, "[1]");
    free(run.text);
    struct stat status;
    assert_int_equal(fstat(file, &status), 0);
    assert_int_equal(status.st_size, 0);
    assert_int_equal(close(file), 0);
    assert_int_equal(close(saved), 0);
    assert_int_equal(unlink(path), 0);
}

/* Each of them aborted or crashed jq 1.6, or 1.7. */
static void run__what_crashes_libjq__is_an_error(void **state UNUSED)
{
    static const char *const implodes[] = { "1114112", "-1", "55296", "57343", "nan", "infinite", "\\\"a\\\"", "null" };
    char filter[64];
    for (size_t i = 0; i < ARRAY_LEN(implodes); i++) {
        (void)snprintf(filter, sizeof filter, "[%s] | implode", implodes[i]);
        assert_filter_fails(filter, ST_TASK_FAILED, "implode input must be Unicode code points");
    }
    static const char *const indices[] = {
        ".a[2147483647] = 1",
        ".a[1000000000] |= 1",
        ".a[1000000000] += 1",
        ".a[1000000000] //= 1",
        "setpath([\\\"a\\\",2147483647]; 1)",
        "fromstream([[2147483647],1])",
        "_assign(.a[2147483647]; 1)",
    };
    for (size_t i = 0; i < ARRAY_LEN(indices); i++)
        assert_filter_fails(indices[i], ST_TASK_FAILED, "array index too large");
    assert_filter_fails("[1] | _tp_1([2147483647]; 1)", ST_TASK_FAILED, "not a function");
    assert_filter_fails("1e300 | todate", ST_TASK_FAILED, "converting number of seconds");
    assert_filter_fails("1e300 | strftime(\\\"%c\\\")", ST_TASK_FAILED, "converting number of seconds");
    assert_filter_fails("1e300 | strflocaltime(\\\"%c\\\")", ST_TASK_FAILED, "converting number of seconds");
    assert_filter("[-9223372036854775808 | . % -1 | . == 0]", "[[true]]");
}

static void run__guarded_builtins__do_what_they_did(void **state UNUSED)
{
    assert_filter("[104,233,128512] | implode", "[\"h\xc3\xa9\xf0\x9f\x98\x80\"]");
    assert_filter("\\\"x\\\" | explode | implode", "[\"x\"]");
    assert_filter(".a[0] = 5 | .a", "[[5,2,{\"b\":null}]]");
    assert_filter("(.a[0], .a[1]) = (7,8) | .a", "[[7,7,{\"b\":null}],[8,8,{\"b\":null}]]");
    assert_filter(".a[0] |= . + 1 | .a", "[[2,2,{\"b\":null}]]");
    assert_filter(".a[0] += 1 | .a[0]", "[2]");
    assert_filter(".z //= 1 | .z", "[1]");
    assert_filter(".a[4] = 1 | .a", "[[1,2,{\"b\":null},null,1]]");
    assert_filter("setpath([\\\"a\\\",0]; 9) | .a[0]", "[9]");
    assert_filter("fromstream(tostream)", "[{\"a\":[1,2,{\"b\":null}],\"s\":\"h\xc3\xa9\"}]");
    assert_filter("with_entries(.value |= tojson) | .a", "[\"[1,2,{\\\"b\\\":null}]\"]");
    assert_filter("[7 % 4, -7 % 4, 7 % -4, 5 % -1]", "[[3,-3,3,0]]");
    assert_filter("[(1,2) % (3,4)]", "[[1,2,1,2]]");
    assert_filter_fails("1 % 0", ST_TASK_FAILED, "divisor is zero");
    assert_filter("0 | todate, date, strftime(\\\"%Y\\\"), (gmtime | strftime(\\\"%m\\\"))",
                  "[\"1970-01-01T00:00:00Z\",\"1970-01-01T00:00:00Z\",\"1970\",\"01\"]");
    assert_filter("$__loc__.line", "[1]");
}

static void run__numbers__are_doubles(void **state UNUSED)
{
    assert_filter("9007199254740993 + 0 == 9007199254740992", "[true]");
    assert_filter("1/3, 1e3+0, 0.1", "[0.3333333333333333,1000,0.1]"); /* jq 1.7 writes literals as they were */
    assert_filter("nan, infinite, -infinite", "[null,1.7976931348623157e+308,-1.7976931348623157e+308]");
}

static void run__output_nested_too_deeply__is_refused(void **state UNUSED)
{
    struct task_run run =
        run_task(&jq_task, "{\"filter\":\"reduce range(250) as $i (\\\"]<[\\\\\\\"[\\\"; [.])\"}", NULL, 0);
    assert_int_equal(run.status, ST_OK);
    assert_int_equal(strspn(run.text, "["), 251);
    free(run.text);
    assert_filter_fails("reduce range(251) as $i (0; [.])", ST_TASK_FAILED, "nested deeper than 250 levels");
    assert_filter_fails("reduce range(10000) as $i (0; {a:.})", ST_TASK_FAILED, "nested deeper than 250 levels");
}

static void run__result_beyond_its_limit__ends_an_endless_filter(void **state UNUSED)
{
    struct task_run run = run_task_within(&jq_task, "{\"filter\":\"repeat(1)\"}", NULL, 0, 1000);
    assert_int_equal(run.status, ST_RESULT_TOO_LARGE);
    free(run.text);
    run = run_task_within(&jq_task, "{\"filter\":\"[limit(1000; repeat(1))]\"}", NULL, 0, 1000);
    assert_int_equal(run.status, ST_RESULT_TOO_LARGE);
    free(run.text);
    assert_filter(".a[0]", "[1]");
}

static void run__same_filter_again__starts_afresh(void **state UNUSED)
{
    for (unsigned i = 0; i < 3; i++) {
        assert_filter("reduce .a[] as $x (0; . + 1), (.a | first(.[]))", "[3,1]");
        assert_filter_fails("1, error(\\\"oh\\\"), 2", ST_TASK_FAILED, "oh");
        assert_filter("first(repeat(1)), halt", "[1]");
    }
    for (unsigned i = 0; i < 3; i++)
        assert_filter("first(repeat(1)), halt", "[1]");
    assert_filter("input_filename", "[null]");
}

static void run__long_message__is_cut(void **state UNUSED)
{
    struct task_run run = run_task(&jq_task, "{\"filter\":\"error(\\\"\\u00e9\\\" * 1000)\"}", NULL, 0);
    assert_int_equal(run.status, ST_TASK_FAILED);
    assert_int_equal(strlen(run.detail), (TASK_DETAIL_BYTES - 1) / 2 * 2);
    free(run.text);
}

/* A program that halts is not kept. Of one that is, LeakSanitizer finds no pointer to the start of libjq's stack. */
static int forget_program(void **state UNUSED)
{
    struct task_run run = run_task(&jq_task, "{\"filter\":\"halt\"}", NULL, 0);
    free(run.text);
    return run.status == ST_OK ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run__outputs__are_an_array_however_many),
        cmocka_unit_test(run__input_of_any_kind__or_none),
        cmocka_unit_test(run__body_that_is_no_json__fails_with_the_place),
        cmocka_unit_test(run__raw__is_a_line_for_each_output),
        cmocka_unit_test(run__filter_that_does_not_compile__is_refused_in_jq_s_words),
        cmocka_unit_test(run__error_of_a_run__fails_in_jq_s_words),
        cmocka_unit_test(run__environment_files_and_modules__are_out_of_reach),
        cmocka_unit_test(run__debug_and_stderr__write_nothing),
        cmocka_unit_test(run__what_crashes_libjq__is_an_error),
        cmocka_unit_test(run__guarded_builtins__do_what_they_did),
        cmocka_unit_test(run__numbers__are_doubles),
        cmocka_unit_test(run__output_nested_too_deeply__is_refused),
        cmocka_unit_test(run__result_beyond_its_limit__ends_an_endless_filter),
        cmocka_unit_test(run__same_filter_again__starts_afresh),
        cmocka_unit_test(run__long_message__is_cut),
    };
    return cmocka_run_group_tests_name("jq", tests, NULL, forget_program);
}
