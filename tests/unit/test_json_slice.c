/* json_slice: values found in checked text, exact integers, and that no text makes it read outside. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_check.h"

static void assert_slice(struct json_slice slice, const char *text)
{
    assert_int_equal(slice.len, strlen(text));
    assert_memory_equal(slice.at, text, slice.len);
}

static void assert_member(const char *text, const char *name, const char *value)
{
    struct json_slice slice;
    size_t len = strlen(text);
    char *exact = malloc(len);
    assert_non_null(exact);
    memcpy(exact, text, len);
    assert_true(json_member(exact, len, name, &slice));
    assert_slice(slice, value);
    free(exact);
}

static void member__present__is_its_raw_value(void **state)
{
    (void)state;
    static const char text[] = " { \"a\" : 1 , \"b\": \"x\\\"}\\\\\" ,"
                               "\"c\":[1,{\"d\":\"]\"}] , \"d\": true, \"e\":{\"a\":2},\"f\":-1.5e3 } ";
    assert_member(text, "a", "1");
    assert_member(text, "b", "\"x\\\"}\\\\\"");
    assert_member(text, "c", "[1,{\"d\":\"]\"}]");
    assert_member(text, "d", "true");
    assert_member(text, "e", "{\"a\":2}");
    assert_member(text, "f", "-1.5e3");
}

static void member__name__is_compared_unescaped(void **state)
{
    (void)state;
    assert_member("{\"\\u0061rgs\":7}", "args", "7");
    assert_member("{\"\\u00e9\":7}", "\xc3\xa9", "7");
    assert_member("{\"\\ud83d\\ude00\":7}", "\xf0\x9f\x98\x80", "7");
    assert_member("{\"\\n\\\"\":7}", "\n\"", "7");
    assert_member("{\"\":7}", "", "7");
}

static void member__absent__is_false(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{}", "{\"b\":{\"a\":1}}", "{\"ab\":1,\"\":2,\"b\":\"a\"}", "[\"a\",1]", "\"a\"", "1", "",
    };
    struct json_slice slice;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        assert_false(json_member(texts[i], strlen(texts[i]), "a", &slice));
}

static void next_element__array__walks_each_element(void **state)
{
    (void)state;
    static const char text[] = " [ 1 , \"a,]\" ,[2,[3]], {\"x\":\"}\"} ,null,-1e5 ] ";
    static const char *const expected[] = { "1", "\"a,]\"", "[2,[3]]", "{\"x\":\"}\"}", "null", "-1e5" };
    size_t cursor = 0;
    struct json_slice slice;
    for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
        assert_true(json_next_element(text, sizeof text - 1, &cursor, &slice));
        assert_slice(slice, expected[i]);
    }
    assert_false(json_next_element(text, sizeof text - 1, &cursor, &slice));
    assert_false(json_next_element(text, sizeof text - 1, &cursor, &slice));
}

static void next_element__no_array_or_empty__is_false(void **state)
{
    (void)state;
    static const char *const texts[] = { "[]", " [ ] ", "{\"a\":1}", "1", "\"[1]\"", "" };
    struct json_slice slice;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        size_t cursor = 0;
        assert_false(json_next_element(texts[i], strlen(texts[i]), &cursor, &slice));
    }
}

static void next_listed__values_and_commas__walks_each_value(void **state)
{
    (void)state;
    static const char text[] = " {\"a\":[1,2]} ,3, \"],[\" ,[4,{\"b\":5}],null";
    static const char *const expected[] = { "{\"a\":[1,2]}", "3", "\"],[\"", "[4,{\"b\":5}]", "null" };
    size_t cursor = 0;
    struct json_slice slice;
    for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
        assert_true(json_next_listed(text, sizeof text - 1, &cursor, &slice));
        assert_slice(slice, expected[i]);
    }
    assert_false(json_next_listed(text, sizeof text - 1, &cursor, &slice));
}

static void next_listed__nothing_or_no_list__is_false(void **state)
{
    (void)state;
    static const char *const texts[] = { "", " ", ",1", "]", "1]", "1 2" };
    struct json_slice slice;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        size_t cursor = 0;
        if (texts[i][0] == '1')
            assert_true(json_next_listed(texts[i], strlen(texts[i]), &cursor, &slice));
        assert_false(json_next_listed(texts[i], strlen(texts[i]), &cursor, &slice));
    }
}

/* Unchecked text gives unspecified answers, but ends and stays inside. */
static void slices__every_prefix_of_broken_text__stay_inside(void **state)
{
    (void)state;
    static const char text[] = "{\"a\":[1,\"\\u00\\ud800\\q\",{\"\\\\\":}],,\"\\u0000b\":]}[[,],\"\\";
    for (size_t start = 0; start < sizeof text - 1; start++) {
        for (size_t len = 1; start + len < sizeof text; len++) {
            char *exact = malloc(len);
            assert_non_null(exact);
            memcpy(exact, text + start, len);
            struct json_slice slice;
            if (json_member(exact, len, "b", &slice))
                assert_true(slice.at >= exact && slice.at + slice.len <= exact + len);
            for (size_t cursor = 0, steps = 0; json_next_element(exact, len, &cursor, &slice); steps++) {
                assert_true(steps < len);
                assert_true(slice.at >= exact && slice.at + slice.len <= exact + len);
            }
            for (size_t cursor = 0, steps = 0; json_next_listed(exact, len, &cursor, &slice); steps++) {
                assert_true(steps < len);
                assert_true(slice.at >= exact && slice.at + slice.len <= exact + len);
            }
            free(exact);
        }
    }
}

static bool exact_int64(const char *number, int64_t *ret_value)
{
    return json_exact_int64((struct json_slice){ .at = number, .len = strlen(number) }, ret_value);
}

static void exact_int64__integers_in_any_spelling__are_exact(void **state)
{
    (void)state;
    static const struct {
        const char *number;
        int64_t value;
    } rows[] = {
        { "0", 0 },
        { "-0", 0 },
        { "0.000e99999999999999999999", 0 },
        { "3", 3 },
        { "3.0", 3 },
        { "3e2", 300 },
        { "3E+2", 300 },
        { "-3.25e2", -325 },
        { "300e-2", 3 },
        { "0.0003e4", 3 },
        { "9007199254740993", 9007199254740993 },
        { "9223372036854775807", INT64_MAX },
        { "-9223372036854775808", INT64_MIN },
        { "922337203685477580.7e1", INT64_MAX },
        { "1000000000000000000", 1000000000000000000 },
        { "1e18", 1000000000000000000 },
        { "0.00000000000000000000000000000000001e35", 1 },
        { "100000000000000000000000000000000000e-35", 1 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int64_t value = 99;
        if (!exact_int64(rows[i].number, &value))
            fail_msg("%s is an integer", rows[i].number);
        assert_true(value == rows[i].value);
    }
}

static void exact_int64__anything_else__is_false(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "0.5",
        "3.14",
        "1e-1",
        "5e-1",
        "12e-2",
        "9223372036854775808",
        "-9223372036854775809",
        "18446744073709551616",
        "1e19",
        "1e999",
        "1e99999999999999999999999",
        "1e-99999999999999999999999",
        "99999999999999999999",
        "true",
        "\"3\"",
        "null",
        "[3]",
        "3 ",
        " 3",
        "-",
        "03",
        "3.",
        "0x3",
        "9999999999999999999",
        "1e18446744073709551617",
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        int64_t value = 99;
        if (exact_int64(texts[i], &value))
            fail_msg("%s is not an int64", texts[i]);
        assert_int_equal(value, 99);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(member__present__is_its_raw_value),
        cmocka_unit_test(member__name__is_compared_unescaped),
        cmocka_unit_test(member__absent__is_false),
        cmocka_unit_test(next_element__array__walks_each_element),
        cmocka_unit_test(next_element__no_array_or_empty__is_false),
        cmocka_unit_test(next_listed__values_and_commas__walks_each_value),
        cmocka_unit_test(next_listed__nothing_or_no_list__is_false),
        cmocka_unit_test(slices__every_prefix_of_broken_text__stay_inside),
        cmocka_unit_test(exact_int64__integers_in_any_spelling__are_exact),
        cmocka_unit_test(exact_int64__anything_else__is_false),
    };
    return cmocka_run_group_tests_name("json_slice", tests, NULL, NULL);
}
