/* Tests of tasks/args.c, with a task made for the purpose. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tasks/task.h"

enum { ARG_N, ARG_BIG, ARG_TEXT, ARG_MODE, ARG_NOTE };

static const char *const modes[] = { "slow", "fast", NULL };

static const struct param sample_params[] = {
    [ARG_N] = { .name = "n",
                .description = "",
                .kind = PARAM_INT,
                .required = true,
                .minimum = -5,
                .maximum = 10000000000 },
    [ARG_BIG] = { .name = "big",
                  .description = "",
                  .kind = PARAM_INT,
                  .minimum = INT64_MIN,
                  .maximum = INT64_MAX,
                  .default_text = "-7" },
    [ARG_TEXT] = { .name = "text", .description = "", .kind = PARAM_STRING, .minimum = 2, .maximum = 6 },
    [ARG_MODE] = { .name = "mode", .description = "", .kind = PARAM_ENUM, .choices = modes, .default_text = "fast" },
    [ARG_NOTE] = { .name = "note",
                   .description = "",
                   .kind = PARAM_STRING,
                   .minimum = 0,
                   .maximum = 100,
                   .default_text = "none" },
    { .name = NULL },
};
static const struct task sample = {
    .name = "sample", .description = "", .params = sample_params, .takes_payload = true
};

static const struct param needs_text_params[] = {
    { .name = "text", .description = "", .kind = PARAM_STRING, .required = true, .minimum = 0, .maximum = 6 },
    { .name = NULL },
};
static const struct task needs_text = {
    .name = "needs_text", .description = "", .params = needs_text_params, .takes_payload = true
};

static const struct param loose_params[] = {
    { .name = "flag", .description = "", .kind = PARAM_BOOL, .default_text = "true" },
    { .name = "value", .description = "", .kind = PARAM_JSON, .maximum = 20, .default_text = "[]" },
    { .name = NULL },
};
static const struct task loose = { .name = "loose", .description = "", .params = loose_params };

struct outcome {
    enum status status;
    struct task_input input;
    void *storage;
    struct buf errors;
};

/* The text is parsed from a block of exactly its size, so that a sanitizer sees any read past its end. */
static struct outcome parse_bytes(const struct task *task, enum task_args_form form, const char *text, size_t len,
                                  bool has_payload)
{
    struct outcome outcome = { .errors = BUF_INIT(65536) };
    char *exact = malloc(len > 0 ? len : 1);
    assert_non_null(exact);
    memcpy(exact, text, len);
    outcome.status = task_parse_args(task, form, len > 0 ? exact : NULL, len, has_payload, &outcome.input,
                                     &outcome.storage, &outcome.errors);
    free(exact);
    buf_byte(&outcome.errors, '\0');
    return outcome;
}

static struct outcome parse(enum task_args_form form, const char *text)
{
    return parse_bytes(&sample, form, text, strlen(text), false);
}

static void release(struct outcome *outcome)
{
    free(outcome->storage);
    buf_done(&outcome->errors);
}

static void assert_n(enum task_args_form form, const char *text, int64_t expected)
{
    struct outcome outcome = parse(form, text);
    assert_int_equal(outcome.status, ST_OK);
    assert_string_equal(outcome.errors.data, "");
    assert_true(outcome.input.args[ARG_N].is_set);
    assert_true(outcome.input.args[ARG_N].number == expected);
    release(&outcome);
}

static void assert_big(const char *text, int64_t expected)
{
    struct outcome outcome = parse(TASK_ARGS_JSON, text);
    assert_int_equal(outcome.status, ST_OK);
    assert_true(outcome.input.args[ARG_BIG].number == expected);
    release(&outcome);
}

static void assert_errors(enum task_args_form form, const char *text, const char *expected)
{
    struct outcome outcome = parse(form, text);
    assert_int_equal(outcome.status, ST_INVALID_ARGS);
    assert_string_equal(outcome.errors.data, expected);
    release(&outcome);
}

#define ERROR(pointer, detail) "{\"pointer\":\"" pointer "\",\"detail\":\"" detail "\"}"
#define N_TYPE                 "[" ERROR("/n", "must be an integer") "]"
#define N_RANGE                "[" ERROR("/n", "must be an integer from -5 to 10000000000") "]"
#define N_LOW                  "[" ERROR("/n", "must be at least -5") "]"
#define N_HIGH                 "[" ERROR("/n", "must be at most 10000000000") "]"

static void parse_json__all_given__converts_each(void **state UNUSED)
{
    struct outcome outcome =
        parse(TASK_ARGS_JSON, " {\"mode\":\"slow\",\"text\":\"a\\u00e9\\n\", \"n\" : 3 ,\"big\":-9,\"note\":\"\"} ");
    const struct arg *args = outcome.input.args;
    assert_int_equal(outcome.status, ST_OK);
    assert_int_equal(args[ARG_N].number, 3);
    assert_int_equal(args[ARG_BIG].number, -9);
    assert_int_equal(args[ARG_TEXT].text_len, 4);
    assert_string_equal(args[ARG_TEXT].text, "a\xc3\xa9\n");
    assert_int_equal(args[ARG_MODE].number, 0);
    assert_int_equal(args[ARG_NOTE].text_len, 0);
    assert_string_equal(args[ARG_NOTE].text, "");
    release(&outcome);
}

static void parse_json__left_out__takes_the_defaults(void **state UNUSED)
{
    struct outcome outcome = parse(TASK_ARGS_JSON, "{\"n\":0}");
    const struct arg *args = outcome.input.args;
    assert_int_equal(outcome.status, ST_OK);
    assert_true(args[ARG_BIG].is_set);
    assert_int_equal(args[ARG_BIG].number, -7);
    assert_false(args[ARG_TEXT].is_set);
    assert_true(args[ARG_MODE].is_set);
    assert_int_equal(args[ARG_MODE].number, 1);
    assert_true(args[ARG_NOTE].is_set);
    assert_string_equal(args[ARG_NOTE].text, "none");
    release(&outcome);
}

static void parse_json__payload_fields__are_left_alone(void **state UNUSED)
{
    struct buf errors = BUF_INIT(1024);
    struct task_input input = { .payload = "xyz", .payload_len = 3 };
    void *storage = NULL;
    assert_int_equal(task_parse_args(&sample, TASK_ARGS_JSON, "{\"n\":1}", 7, true, &input, &storage, &errors), ST_OK);
    assert_string_equal(input.payload, "xyz");
    assert_int_equal(input.payload_len, 3);
    free(storage);
    buf_done(&errors);
}

static void parse_json__refused__writes_no_output(void **state UNUSED)
{
    struct buf errors = BUF_INIT(1024);
    struct task_input input = { .args = { { .number = 77 } } };
    int untouched;
    void *storage = &untouched;
    assert_int_equal(
        task_parse_args(&sample, TASK_ARGS_JSON, "{\"text\":\"abc\"}", 14, false, &input, &storage, &errors),
        ST_INVALID_ARGS);
    assert_int_equal(input.args[ARG_N].number, 77);
    assert_ptr_equal(storage, &untouched);
    buf_done(&errors);
}

static void parse_json__integers__are_exact(void **state UNUSED)
{
    assert_n(TASK_ARGS_JSON, "{\"n\":10000000000}", 10000000000);
    assert_n(TASK_ARGS_JSON, "{\"n\":1e10}", 10000000000);
    assert_n(TASK_ARGS_JSON, "{\"n\":1e3}", 1000);
    assert_n(TASK_ARGS_JSON, "{\"n\":5.0}", 5);
    assert_n(TASK_ARGS_JSON, "{\"n\":1.5E1}", 15);
    assert_n(TASK_ARGS_JSON, "{\"n\":-0}", 0);
    assert_n(TASK_ARGS_JSON, "{\"\\u006e\":4}", 4);
    assert_big("{\"n\":0,\"big\":9007199254740993}", 9007199254740993);
    assert_big("{\"n\":0,\"big\":999999999999999999}", 999999999999999999);
    assert_big("{\"n\":0,\"big\":1000000000000000001}", 1000000000000000001);
    assert_big("{\"n\":0,\"big\":9223372036854775807}", INT64_MAX);
    assert_big("{\"n\":0,\"big\":-9223372036854775808}", INT64_MIN);
}

static void parse_json__not_quite_integers__are_refused(void **state UNUSED)
{
    assert_errors(TASK_ARGS_JSON, "{\"n\":10000000000.00000001}", N_RANGE);
    assert_errors(TASK_ARGS_JSON, "{\"n\":5.5}", N_RANGE);
    assert_errors(TASK_ARGS_JSON, "{\"n\":1e999}", N_RANGE);
    assert_errors(TASK_ARGS_JSON, "{\"n\":1e-999}", N_RANGE);
    assert_errors(TASK_ARGS_JSON, "{\"n\":9223372036854775808}", N_RANGE);
    assert_errors(TASK_ARGS_JSON, "{\"n\":10000000001}", N_HIGH);
    assert_errors(TASK_ARGS_JSON, "{\"n\":1e18}", N_HIGH);
    assert_errors(TASK_ARGS_JSON, "{\"n\":-6}", N_LOW);
}

static void parse_json__wrong_types__are_named(void **state UNUSED)
{
    assert_errors(TASK_ARGS_JSON, "{\"n\":null}", N_TYPE);
    assert_errors(TASK_ARGS_JSON, "{\"n\":true}", N_TYPE);
    assert_errors(TASK_ARGS_JSON, "{\"n\":\"10\"}", N_TYPE);
    assert_errors(TASK_ARGS_JSON, "{\"n\":[10]}", N_TYPE);
    assert_errors(TASK_ARGS_JSON, "{\"n\":{}}", N_TYPE);
    assert_errors(TASK_ARGS_JSON, "{\"n\":1,\"text\":5}", "[" ERROR("/text", "must be a string") "]");
    assert_errors(TASK_ARGS_JSON, "{\"n\":1,\"text\":null}", "[" ERROR("/text", "must be a string") "]");
    assert_errors(TASK_ARGS_JSON, "{\"n\":1,\"mode\":1}", "[" ERROR("/mode", "must be one of slow, fast") "]");
    assert_errors(TASK_ARGS_JSON, "{\"n\":1,\"mode\":\"Fast\"}", "[" ERROR("/mode", "must be one of slow, fast") "]");
    assert_errors(TASK_ARGS_JSON, "{\"n\":1,\"big\":null}", "[" ERROR("/big", "must be an integer") "]");
}

static void parse_json__string_lengths__are_counted_in_bytes(void **state UNUSED)
{
    assert_n(TASK_ARGS_JSON, "{\"n\":1,\"text\":\"ab\"}", 1);
    assert_n(TASK_ARGS_JSON, "{\"n\":1,\"text\":\"abcdef\"}", 1);
    assert_n(TASK_ARGS_JSON, "{\"n\":1,\"text\":\"\\u00e9\\u00e9\\u00e9\"}", 1);
    assert_errors(TASK_ARGS_JSON, "{\"n\":1,\"text\":\"a\"}", "[" ERROR("/text", "must be at least 2 bytes long") "]");
    assert_errors(TASK_ARGS_JSON, "{\"n\":1,\"text\":\"abcdefg\"}",
                  "[" ERROR("/text", "must be at most 6 bytes long") "]");
    assert_errors(TASK_ARGS_JSON, "{\"n\":1,\"text\":\"\\u00e9\\u00e9\\u00e9x\"}",
                  "[" ERROR("/text", "must be at most 6 bytes long") "]");
}

static void parse_json__several_strings__are_kept_apart(void **state UNUSED)
{
    struct outcome outcome = parse(TASK_ARGS_JSON, "{\"n\":1,\"text\":\"abcdef\",\"note\":\"ghi\"}");
    assert_int_equal(outcome.status, ST_OK);
    assert_string_equal(outcome.input.args[ARG_TEXT].text, "abcdef");
    assert_string_equal(outcome.input.args[ARG_NOTE].text, "ghi");
    release(&outcome);
}

static void parse_json__unknown_members__are_refused_by_name(void **state UNUSED)
{
    assert_errors(TASK_ARGS_JSON, "{\"n\":1,\"N\":2}", "[" ERROR("/N", "is not a parameter of sample") "]");
    assert_errors(TASK_ARGS_JSON, "{\"n\":1,\"\":2}", "[" ERROR("/", "is not a parameter of sample") "]");
    assert_errors(TASK_ARGS_JSON, "{\"n\":1,\"a/b~c\":[{}]}",
                  "[" ERROR("/a~1b~0c", "is not a parameter of sample") "]");
    assert_errors(TASK_ARGS_JSON, "{\"n\":1,\"a\\\"\\u00e9\\n\":2}",
                  "[" ERROR("/a\\\"\xc3\xa9\\n", "is not a parameter of sample") "]");
}

static void parse_json__overlong_unknown_name__is_not_repeated(void **state UNUSED)
{
    char text[2048];
    const int len = snprintf(text, sizeof text, "{\"n\":1,\"%0*d\":2}", 1000, 0);
    assert_in_range(len, 1000, sizeof text - 1);
    assert_errors(TASK_ARGS_JSON, text,
                  "[" ERROR("", "the member with a name of 1000 bytes is not a parameter of sample") "]");
}

static void parse_json__every_problem__is_reported(void **state UNUSED)
{
    assert_errors(TASK_ARGS_JSON, "{}", "[" ERROR("/n", "is required") "]");
    assert_errors(
        TASK_ARGS_JSON, "{\"mode\":\"\",\"x\":1,\"big\":0.5,\"text\":\"a\"}",
        "[" ERROR("/mode", "must be one of slow, fast") "," ERROR("/x", "is not a parameter of sample") "," ERROR(
            "/big", "must be an integer from -9223372036854775808 to "
                    "9223372036854775807") "," ERROR("/text", "must be at least 2 bytes "
                                                              "long") "," ERROR("/n", "is "
                                                                                      "require"
                                                                                      "d") "]");
}

static void parse_json__more_than_sixteen_problems__reports_sixteen(void **state UNUSED)
{
    assert_errors(
        TASK_ARGS_JSON,
        "{\"a\":0,\"b\":0,\"c\":0,\"d\":0,\"e\":0,\"f\":0,\"g\":0,\"h\":0,\"i\":0,\"j\":0,\"k\":0,\"l\":0,\"m\":0,"
        "\"o\":0,\"p\":0,\"q\":0,\"r\":0,\"s\":0}",
#define UNKNOWN(name) ERROR("/" name, "is not a parameter of sample")
        "[" UNKNOWN("a") "," UNKNOWN("b") "," UNKNOWN("c") "," UNKNOWN("d") "," UNKNOWN("e") "," UNKNOWN("f") "," UNKNOWN("g") "," UNKNOWN("h") "," UNKNOWN(
            "i") "," UNKNOWN("j") "," UNKNOWN("k") "," UNKNOWN("l") "," UNKNOWN("m") "," UNKNOWN("o") "," UNKNOWN("p") "," UNKNOWN("q") "]");
}

static void parse_json__not_an_object__is_refused(void **state UNUSED)
{
    static const char *const texts[] = { "[]", "[{\"n\":1}]", "1", "\"n\"", "null", "true", " 1.5 " };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct outcome outcome = parse_bytes(&sample, TASK_ARGS_JSON, texts[i], strlen(texts[i]), false);
        assert_int_equal(outcome.status, ST_INVALID_JSON);
        assert_string_equal(outcome.errors.data, "[" ERROR("", "must be an object") "]");
        release(&outcome);
    }
}

static void assert_invalid_json(const char *text, size_t len)
{
    struct outcome outcome = parse_bytes(&sample, TASK_ARGS_JSON, text, len, false);
    assert_int_equal(outcome.status, ST_INVALID_JSON);
    static const char start[] = "[{\"pointer\":\"\",\"detail\":\"";
    assert_memory_equal(outcome.errors.data, start, sizeof start - 1);
    assert_non_null(strstr(outcome.errors.data, " at byte "));
    assert_string_equal(outcome.errors.data + outcome.errors.len - 4, "\"}]");
    release(&outcome);
}

static void parse_json__malformed__is_invalid_json(void **state UNUSED)
{
    static const char *const texts[] = {
        " ",
        "{",
        "{\"n\":1",
        "{\"n\":1}x",
        "{\"n\":01}",
        "{\"n\":1.}",
        "{\"n\":+1}",
        "{\"n\":NaN}",
        "{n:1}",
        "{\"n\":1,}",
        "{\"n\":1,\"n\":2}",
        "{\"n\":1,\"\\u006e\":2}",
        "{\"n\":1,\"text\":\"a\\u0000b\"}",
        "{\"n\":1,\"text\":\"\\ud800\"}",
        "{\"n\":1,\"text\":\"\xff\"}",
        "{\"n\":1,\"text\":\"a\nb\"}",
        "\xef\xbb\xbf{\"n\":1}",
        "{'n':1}",
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        assert_invalid_json(texts[i], strlen(texts[i]));
    assert_invalid_json("{\"n\":1}\0", 8);
    assert_invalid_json("\0", 1);
}

static void parse_json__nested_deeply__is_invalid_json(void **state UNUSED)
{
    char text[4096];
    memset(text, '[', sizeof text);
    assert_invalid_json(text, sizeof text);
    memset(text, ']', sizeof text);
    memset(text, '[', sizeof text / 2);
    assert_invalid_json(text, sizeof text);
}

static void parse_json__longest_number__still_reaches_the_conversion(void **state UNUSED)
{
    char text[128];
    (void)snprintf(text, sizeof text, "{\"n\":3.%061d}", 0); /* 63 bytes, as many as cJSON reads in one number */
    assert_n(TASK_ARGS_JSON, text, 3);
    (void)snprintf(text, sizeof text, "{\"n\":3.%062d}", 0);
    assert_invalid_json(text, strlen(text));
}

static void parse__no_text__is_no_arguments(void **state UNUSED)
{
    assert_errors(TASK_ARGS_JSON, "", "[" ERROR("/n", "is required") "]");
    assert_errors(TASK_ARGS_QUERY, "", "[" ERROR("/n", "is required") "]");
}

static void parse__payload__stands_in_for_a_required_string(void **state UNUSED)
{
    struct outcome outcome = parse_bytes(&needs_text, TASK_ARGS_QUERY, "", 0, true);
    assert_int_equal(outcome.status, ST_OK);
    assert_false(outcome.input.args[0].is_set);
    release(&outcome);

    outcome = parse_bytes(&needs_text, TASK_ARGS_QUERY, "", 0, false);
    assert_int_equal(outcome.status, ST_INVALID_ARGS);
    release(&outcome);

    outcome = parse_bytes(&sample, TASK_ARGS_QUERY, "", 0, true); /* but not for an integer */
    assert_int_equal(outcome.status, ST_INVALID_ARGS);
    release(&outcome);
}

static void parse_query__values__are_converted(void **state UNUSED)
{
    struct outcome outcome =
        parse(TASK_ARGS_QUERY, "{\"n\":\"10\",\"big\":\"-9223372036854775808\",\"text\":\"42\",\"mode\":\"slow\"}");
    const struct arg *args = outcome.input.args;
    assert_int_equal(outcome.status, ST_OK);
    assert_int_equal(args[ARG_N].number, 10);
    assert_true(args[ARG_BIG].number == INT64_MIN);
    assert_string_equal(args[ARG_TEXT].text, "42");
    assert_int_equal(args[ARG_MODE].number, 0);
    release(&outcome);
    assert_n(TASK_ARGS_QUERY, "{\"n\":\"-0\"}", 0);
    assert_n(TASK_ARGS_QUERY, "{\"n\":\"007\"}", 7);
}

static void parse_query__not_plain_integers__are_refused(void **state UNUSED)
{
    static const char *const values[] = { "",
                                          "-",
                                          "+1",
                                          " 1",
                                          "1 ",
                                          "1.0",
                                          "1e3",
                                          "0x10",
                                          "--1",
                                          "abc",
                                          "1,000",
                                          "9223372036854775808",
                                          "00000000000000000001" };
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        char text[64];
        (void)snprintf(text, sizeof text, "{\"n\":\"%s\"}", values[i]);
        assert_errors(TASK_ARGS_QUERY, text, N_RANGE);
    }
    assert_errors(TASK_ARGS_QUERY, "{\"n\":\"10000000001\"}", N_HIGH);
    assert_errors(TASK_ARGS_QUERY, "{\"n\":\"-6\"}", N_LOW);
}

static void parse_query__unknown_name__is_refused(void **state UNUSED)
{
    assert_errors(TASK_ARGS_QUERY, "{\"n\":\"1\",\"m\":\"2\"}", "[" ERROR("/m", "is not a parameter of sample") "]");
}

static void parse_query__repeated_name__is_not_called_json(void **state UNUSED)
{
    assert_errors(TASK_ARGS_QUERY, "{\"n\":\"1\",\"n\":\"2\"}",
                  "[" ERROR("", "the query string is not acceptable: duplicate key") "]");
}

static void assert_loose(enum task_args_form form, const char *text, int64_t flag, const char *value)
{
    struct outcome outcome = parse_bytes(&loose, form, text, strlen(text), false);
    assert_int_equal(outcome.status, ST_OK);
    assert_int_equal(outcome.input.args[0].number, flag);
    assert_string_equal(outcome.input.args[1].text, value);
    assert_int_equal(outcome.input.args[1].text_len, strlen(value));
    release(&outcome);
}

static void assert_loose_errors(enum task_args_form form, const char *text, const char *expected)
{
    struct outcome outcome = parse_bytes(&loose, form, text, strlen(text), false);
    assert_int_equal(outcome.status, ST_INVALID_ARGS);
    assert_string_equal(outcome.errors.data, expected);
    release(&outcome);
}

static void parse__switches_and_values__as_they_stand(void **state UNUSED)
{
    assert_loose(TASK_ARGS_JSON, "{}", 1, "[]");
    assert_loose(TASK_ARGS_JSON, "{\"flag\":false,\"value\": {\"a\": [1, 2.50]} }", 0, "{\"a\": [1, 2.50]}");
    assert_loose(TASK_ARGS_JSON, "{\"value\":\"a\\u00e4\"}", 1, "\"a\\u00e4\"");
    assert_loose(TASK_ARGS_JSON, "{\"value\":null}", 1, "null");
    assert_loose(TASK_ARGS_QUERY, "{\"flag\":\"false\",\"value\":\"[1,\\\"x\\\"]\"}", 0, "[1,\"x\"]");
}

static void parse__switches_and_values__wrong_ones_are_refused(void **state UNUSED)
{
    assert_loose_errors(TASK_ARGS_JSON, "{\"flag\":\"true\"}",
                        "[{\"pointer\":\"/flag\",\"detail\":\"must be true or false\"}]");
    assert_loose_errors(TASK_ARGS_QUERY, "{\"flag\":\"1\"}",
                        "[{\"pointer\":\"/flag\",\"detail\":\"must be true or false\"}]");
    assert_loose_errors(TASK_ARGS_QUERY, "{\"value\":\"[1,\"}",
                        "[{\"pointer\":\"/value\",\"detail\":\"must be JSON: unexpected end of the text at byte 3\"}]");
    assert_loose_errors(TASK_ARGS_JSON, "{\"value\":\"12345678901234567890\"}",
                        "[{\"pointer\":\"/value\",\"detail\":\"must be at most 20 bytes long\"}]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parse_json__all_given__converts_each),
        cmocka_unit_test(parse_json__left_out__takes_the_defaults),
        cmocka_unit_test(parse_json__payload_fields__are_left_alone),
        cmocka_unit_test(parse_json__refused__writes_no_output),
        cmocka_unit_test(parse_json__integers__are_exact),
        cmocka_unit_test(parse_json__not_quite_integers__are_refused),
        cmocka_unit_test(parse_json__wrong_types__are_named),
        cmocka_unit_test(parse_json__string_lengths__are_counted_in_bytes),
        cmocka_unit_test(parse_json__several_strings__are_kept_apart),
        cmocka_unit_test(parse_json__unknown_members__are_refused_by_name),
        cmocka_unit_test(parse_json__overlong_unknown_name__is_not_repeated),
        cmocka_unit_test(parse_json__every_problem__is_reported),
        cmocka_unit_test(parse_json__more_than_sixteen_problems__reports_sixteen),
        cmocka_unit_test(parse_json__not_an_object__is_refused),
        cmocka_unit_test(parse_json__malformed__is_invalid_json),
        cmocka_unit_test(parse_json__nested_deeply__is_invalid_json),
        cmocka_unit_test(parse_json__longest_number__still_reaches_the_conversion),
        cmocka_unit_test(parse__no_text__is_no_arguments),
        cmocka_unit_test(parse__switches_and_values__as_they_stand),
        cmocka_unit_test(parse__switches_and_values__wrong_ones_are_refused),
        cmocka_unit_test(parse__payload__stands_in_for_a_required_string),
        cmocka_unit_test(parse_query__values__are_converted),
        cmocka_unit_test(parse_query__not_plain_integers__are_refused),
        cmocka_unit_test(parse_query__unknown_name__is_refused),
        cmocka_unit_test(parse_query__repeated_name__is_not_called_json),
    };
    return cmocka_run_group_tests_name("task_args", tests, NULL, NULL);
}
