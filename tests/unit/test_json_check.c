/* json_check: what is accepted, what is refused and where, and that nothing is read outside the text (each text
 * stands in an exact-size heap block, so that ASan sees it). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/json_check.h"
#include "tests/support/timing.h"

static bool check_with(const char *text, size_t len, const struct json_limits *limits, struct json_error *ret_error)
{
    char *exact = malloc(len > 0 ? len : 1);
    assert_non_null(exact);
    memcpy(exact, text, len);
    *ret_error = (struct json_error){ 0 };
    bool accepted = json_check(exact, len, limits, ret_error);
    free(exact);
    return accepted;
}

static void assert_refuses_bytes(const char *text, size_t len, const struct json_limits *limits, const char *message,
                                 size_t offset)
{
    struct json_error error;
    if (check_with(text, len, limits, &error))
        fail_msg("accepted %s", text);
    assert_string_equal(error.message, message);
    if (error.offset != offset)
        fail_msg("%s: %s at %zu, not at %zu", text, message, error.offset, offset);
}

static void assert_refuses_within(const struct json_limits *limits, const char *text, const char *message,
                                  size_t offset)
{
    assert_refuses_bytes(text, strlen(text), limits, message, offset);
}

static void assert_accepts_within(const struct json_limits *limits, const char *text)
{
    struct json_error error;
    if (!check_with(text, strlen(text), limits, &error))
        fail_msg("refused %s: %s at %zu", text, error.message, error.offset);
}

static void assert_accepts(const char *text) { assert_accepts_within(&JSON_LIMITS_DEFAULT, text); }

static void assert_refuses(const char *text, const char *message, size_t offset)
{
    struct json_limits limits = JSON_LIMITS_DEFAULT;
    assert_refuses_bytes(text, strlen(text), &limits, message, offset);
}

static void check__rfc8259_values__are_accepted(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{}",
        "[]",
        "null",
        "true",
        "false",
        "\"\"",
        "0",
        "-0",
        "-1",
        "10",
        "1.5",
        "0.5",
        "1e5",
        "1E+5",
        "1e-5",
        "-0.0e0",
        "1e999",
        "123456789012345678901234567890",
        " \t\r\n1 \t\r\n",
        "[1,2,3]",
        "[ 1 , [ ] , { } ]",
        "{\"a\":1,\"b\":{\"a\":2}}",
        "{ \"a\" : [ true , false , null ] }",
        "{\"\":1}",
        "[{\"a\":1},{\"a\":1}]",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\uABCD\\uabcd\"",
        "\"\\ud83d\\ude00\"",
        "\"\\ud800\\udc00\\udbff\\udfff\"",
        "\"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80\"",
        "\"\x7f\"",
        "\"\\u0001\"",
        "{\"\xc3\xa9\":1,\"e\":2}",
        "{\"a\":1,\"A\":2}",
        "{\"abcdefg\":1,\"abcdefgh\":2,\"abcdef\":3}",
        "{\"a\":{\"a\":{\"a\":1}},\"b\":[{\"a\":1}]}",
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        assert_accepts(texts[i]);
}

static void check__nothing_or_space__is_refused(void **state)
{
    (void)state;
    assert_refuses("", "empty text", 0);
    assert_refuses(" \t\r\n ", "empty text", 0);
}

static void check__bom__is_refused(void **state)
{
    (void)state;
    assert_refuses("\xef\xbb\xbf{}", "byte order mark", 0);
    assert_accepts("\"\xef\xbb\xbf\"");
}

static void check__space_of_other_kinds__is_refused(void **state)
{
    (void)state;
    assert_refuses("\v1", "expected a value", 0);
    assert_refuses("\f1", "expected a value", 0);
    assert_refuses("[1\x01]", "expected a comma or ]", 2);
    assert_refuses("\xc2\xa0"
                   "1",
                   "expected a value", 0);
    struct json_limits limits = JSON_LIMITS_DEFAULT;
    assert_refuses_bytes("1\0", 2, &limits, "text after the value", 1);
    assert_refuses_bytes("\0", 1, &limits, "expected a value", 0);
    assert_refuses_bytes("[1\0]", 4, &limits, "expected a comma or ]", 2);
}

static void check__broken_structure__is_refused_where_it_breaks(void **state)
{
    (void)state;
    static const char end[] = "unexpected end of the text";
    assert_refuses("[", end, 1);
    assert_refuses("[1", end, 2);
    assert_refuses("[1,", end, 3);
    assert_refuses("{", end, 1);
    assert_refuses("{\"a\"", end, 4);
    assert_refuses("{\"a\":", end, 5);
    assert_refuses("{\"a\":1", end, 6);
    assert_refuses("{\"a\":1,", end, 7);
    assert_refuses("[1,]", "expected a value", 3);
    assert_refuses("[,1]", "expected a value", 1);
    assert_refuses("[1 2]", "expected a comma or ]", 3);
    assert_refuses("[1}", "expected a comma or ]", 2);
    assert_refuses("{\"a\":1]", "expected a comma or }", 6);
    assert_refuses("{\"a\":1,}", "expected a key", 7);
    assert_refuses("{1:1}", "expected a key", 1);
    assert_refuses("{\"a\" 1}", "expected a colon", 5);
    assert_refuses("{\"a\":}", "expected a value", 5);
    assert_refuses("]", "expected a value", 0);
    assert_refuses("// x\n1", "expected a value", 0);
    assert_refuses("'a'", "expected a value", 0);
}

static void check__trailing_bytes__are_refused(void **state)
{
    (void)state;
    assert_refuses("1 2", "text after the value", 2);
    assert_refuses("{}x", "text after the value", 2);
    assert_refuses("[]]", "text after the value", 2);
    assert_refuses("\"a\"\"b\"", "text after the value", 3);
}

static void check__literals__must_be_exact(void **state)
{
    (void)state;
    assert_refuses("tru", "bad literal", 0);
    assert_refuses("nul", "bad literal", 0);
    assert_refuses("falsy", "bad literal", 0);
    assert_refuses("nulll", "text after the value", 4);
    assert_refuses("True", "expected a value", 0);
    assert_refuses("NaN", "expected a value", 0);
    assert_refuses("Infinity", "expected a value", 0);
}

static void check__bad_numbers__are_refused(void **state)
{
    (void)state;
    assert_refuses("01", "bad number", 1);
    assert_refuses("-01", "bad number", 2);
    assert_refuses("00", "bad number", 1);
    assert_refuses("1.", "unexpected end of the text", 2);
    assert_refuses("[1.]", "bad number", 3);
    assert_refuses("1.e5", "bad number", 2);
    assert_refuses("-", "unexpected end of the text", 1);
    assert_refuses("[-]", "bad number", 2);
    assert_refuses("--1", "bad number", 1);
    assert_refuses("-a", "bad number", 1);
    assert_refuses(".5", "expected a value", 0);
    assert_refuses("-.5", "bad number", 1);
    assert_refuses("+1", "expected a value", 0);
    assert_refuses("[1e]", "bad number", 3);
    assert_refuses("[1e+]", "bad number", 4);
    assert_refuses("0x10", "text after the value", 1);
    assert_refuses("1.2.3", "text after the value", 3);
}

static void check__broken_strings__are_refused(void **state)
{
    (void)state;
    assert_refuses("\"", "unterminated string", 1);
    assert_refuses("\"abc", "unterminated string", 4);
    assert_refuses("\"abc\\", "unterminated string", 5);
    assert_refuses("\"abc\\\"", "unterminated string", 6);
    assert_refuses("\"a\nb\"", "raw control byte in a string", 2);
    assert_refuses("\"0123456789abcdef0123\x1f\"", "raw control byte in a string", 21);
    assert_refuses("\"\\x41\"", "bad escape", 1);
    assert_refuses("\"\\'\"", "bad escape", 1);
    struct json_limits limits = JSON_LIMITS_DEFAULT;
    assert_refuses_bytes("\"a\0b\"", 5, &limits, "raw control byte in a string", 2);
}

static void check__unicode_escapes__must_mean_a_character(void **state)
{
    (void)state;
    assert_refuses("\"x\\u0000\"", "\\u0000 is not accepted", 2);
    assert_refuses("{\"url\\u0000x\":1}", "\\u0000 is not accepted", 5);
    assert_refuses("\"\\u12\"", "bad \\u escape", 1);
    assert_refuses("\"\\u12", "bad \\u escape", 1);
    assert_refuses("\"\\uZZZZ\"", "bad \\u escape", 1);
    assert_refuses("\"\\u+123\"", "bad \\u escape", 1);
    assert_refuses("\"\\ud800\"", "lone surrogate", 1);
    assert_refuses("\"\\udc00\"", "lone surrogate", 1);
    assert_refuses("\"\\ud800\\ud800\"", "lone surrogate", 1);
    assert_refuses("\"\\udc00\\ud800\"", "lone surrogate", 1);
    assert_refuses("\"\\ud800\\n\"", "lone surrogate", 1);
    assert_refuses("\"\\ud800\\u00", "lone surrogate", 1);
    assert_refuses("\"\\ud800xxxxxxxx\"", "lone surrogate", 1);
}

static void check__invalid_utf8__is_refused_at_its_byte(void **state)
{
    (void)state;
    assert_refuses("\"ab\xff\"", "invalid UTF-8", 3);
    assert_refuses("\"\xc3\"", "invalid UTF-8", 1);
    assert_refuses("\"\x80\"", "invalid UTF-8", 1);
    assert_refuses("\"\xc0\xaf\"", "invalid UTF-8", 1);
    assert_refuses("\"\xed\xa0\x80\"", "invalid UTF-8", 1);
    assert_refuses("\"\xf4\x90\x80\x80\"", "invalid UTF-8", 1);
    assert_refuses("\"\xc3\xa9\xe2\x82\"", "invalid UTF-8", 3);
    assert_refuses("{\"\xff\":1}", "invalid UTF-8", 2);
}

static void check__duplicate_keys__are_compared_unescaped(void **state)
{
    (void)state;
    assert_refuses("{\"a\":1,\"a\":2}", "duplicate key", 7);
    assert_refuses("{\"a\":1,\"\\u0061\":2}", "duplicate key", 7);
    assert_refuses("{\"\\u00e9\":1,\"\xc3\xa9\":2}", "duplicate key", 12);
    assert_refuses("{\"\\ud83d\\ude00\":1,\"\xf0\x9f\x98\x80\":2}", "duplicate key", 18);
    assert_refuses("{\"\":1,\"\":2}", "duplicate key", 6);
    assert_refuses("{\"a/b\":1,\"a\\/b\":2}", "duplicate key", 9);
    assert_refuses("{\"a\":{\"b\":[{\"c\":1}]},\"d\":{},\"a\":2}", "duplicate key", 28);
    assert_refuses("[{\"k\":{\"x\":1,\"y\":2,\"x\":3}}]", "duplicate key", 19);
    assert_refuses("{\"a-long-key-of-many-bytes\":1,\"a-long-key-of-many-byte\\u0073\":1}", "duplicate key", 30);
}

static void check__many_different_keys__are_never_taken_for_duplicates(void **state)
{
    (void)state;
    struct buf text = BUF_INIT(1 << 20);
    struct json_limits limits = JSON_LIMITS_DEFAULT;
    struct json_error error;
    limits.members = JSON_OPEN_KEYS_MAX;
    buf_byte(&text, '{');
    for (int i = 0; i < JSON_OPEN_KEYS_MAX; i++)
        buf_printf(&text, "%s\"%s%d\":0", i > 0 ? "," : "", i % 2 != 0 ? "prefix-" : "", i);
    buf_byte(&text, '}');
    assert_false(text.failed);
    assert_true(check_with(text.data, text.len, &limits, &error));
    buf_done(&text);
}

/* Around the number of keys from which they are found through an index, the same key comes again. */
static void check__duplicate_of_any_key_of_many__is_found(void **state)
{
    (void)state;
    for (unsigned count = 1; count < 80; count++) {
        for (unsigned again = 0; again < count; again++) {
            char text[1000], *at = text;
            for (unsigned i = 0; i < count; i++)
                at += sprintf(at, "%c\"%u\":0", i ? ',' : '{', i);
            sprintf(at, ",\"%u\":0}", again);
            assert_refuses(text, "duplicate key", (size_t)(at + 1 - text));
        }
    }
}

/* An object of `count` keys, some of whose values are such objects again. */
static void append_nested(struct buf *text, unsigned count, unsigned levels)
{
    for (unsigned i = 0; i < count; i++) {
        buf_printf(text, "%c\"%u\":", i ? ',' : '{', i);
        if (levels > 1 && i % 7 == 3)
            append_nested(text, count, levels - 1);
        else
            buf_byte(text, '0');
    }
    buf_byte(text, '}');
}

/* The keys of one object are no duplicates of another's, whether that is around it, in it, or was before it. */
static void check__many_keys_in_nested_objects__each_object_for_itself(void **state)
{
    (void)state;
    static const unsigned counts[] = { 5, 31, 32, 33, 34, 50 };
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        struct buf text = BUF_INIT(1 << 22);
        struct json_error error;
        append_nested(&text, counts[i], 3);
        assert_false(text.failed);
        assert_true(check_with(text.data, text.len, &JSON_LIMITS_DEFAULT, &error));
        for (unsigned again = 0; again < counts[i]; again++) { /* in the outermost, after all the others were closed */
            size_t whole = text.len - 1;
            text.len = whole;
            buf_printf(&text, ",\"%u\":0}", again);
            assert_refuses_bytes(text.data, text.len, &JSON_LIMITS_DEFAULT, "duplicate key", whole + 1);
            text.len = whole;
            buf_byte(&text, '}');
        }
        buf_done(&text);
    }
}

/* One object of as many keys as there may be after the other: in time that grows with the length. */
static void check__megabytes_of_keys__soon_done(void **state)
{
    (void)state;
    enum { OBJECTS = 40 };
    const struct json_limits limits = {
        .depth = 2, .members = JSON_OPEN_KEYS_MAX, .values = SIZE_MAX, .number_length = 9
    };
    struct buf text = BUF_INIT(8 << 20);
    struct json_error error;
    for (unsigned object = 0; object < OBJECTS; object++)
        for (unsigned i = 0; i < JSON_OPEN_KEYS_MAX; i++)
            buf_printf(&text, "%s\"%x\":0", i ? "," : object ? "},{" : "[{", i);
    buf_str(&text, "}]");
    assert_false(text.failed);
    uint64_t began_ns = clock_now_ns();
    assert_true(check_with(text.data, text.len, &limits, &error));
    assert_true(elapsed_ms(began_ns) < scaled_ms(200)); /* 10 ms are usual, 400 with a comparison of all with all */
    buf_done(&text);
}

static void check__depth__is_limited(void **state)
{
    (void)state;
    struct json_limits limits = { .depth = 3, .members = 9, .values = 99, .number_length = 9 };
    struct json_error error;
    assert_accepts_within(&limits, "[[[1]]]");
    assert_accepts_within(&limits, "[[[]],{\"a\":{}}]");
    assert_refuses_within(&limits, "[[[[1]]]]", "nested too deeply", 3);
    assert_refuses_within(&limits, "[[{\"a\":[]}]]", "nested too deeply", 7);
    char deep[100000];
    memset(deep, '[', sizeof deep);
    limits.depth = 64;
    assert_refuses_bytes(deep, sizeof deep, &limits, "nested too deeply", 64);
    limits.depth = 100000; /* the stack has 64 levels, whatever is asked for */
    assert_refuses_bytes(deep, sizeof deep, &limits, "nested too deeply", 64);
    memset(deep + 64, ']', 64);
    assert_true(check_with(deep, 128, &limits, &error));
}

static void check__members__are_limited_per_object(void **state)
{
    (void)state;
    struct json_limits limits = { .depth = 3, .members = 2, .values = 99, .number_length = 9 };
    assert_accepts_within(&limits, "[{\"a\":1,\"b\":{\"a\":1,\"b\":2}},{\"a\":1}]");
    assert_refuses_within(&limits, "{\"a\":1,\"b\":2,\"c\":3}", "too many members", 13);
}

static void check__keys_of_open_objects__are_bounded(void **state)
{
    (void)state;
    struct buf text = BUF_INIT(1 << 20);
    struct json_limits limits = { .depth = 64, .members = 5000, .values = 99999, .number_length = 9 };
    struct json_error error;
    size_t offset = 0;
    for (int object = 0, keys = 0; object < 2; object++) {
        buf_lit(&text, "{");
        for (int i = 0; i < 4999; i++, keys++) {
            if (keys == JSON_OPEN_KEYS_MAX - 1)
                offset = text.len;
            buf_printf(&text, "\"%d\":0,", i);
        }
        buf_lit(&text, "\"z\":");
    }
    buf_lit(&text, "0}}");
    assert_false(check_with(text.data, text.len, &limits, &error));
    assert_string_equal(error.message, "too many keys in nested objects");
    assert_int_equal(error.offset, offset);
    buf_done(&text);
}

static void check__values_and_number_length__are_limited(void **state)
{
    (void)state;
    struct json_limits limits = { .depth = 3, .members = 9, .values = 4, .number_length = 5 };
    assert_accepts_within(&limits, "[1,2,3]");
    assert_refuses_within(&limits, "[1,2,3,4]", "too many values", 7);
    assert_accepts_within(&limits, "{\"a\":1,\"b\":[2]}");
    assert_refuses_within(&limits, "{\"a\":1,\"b\":[2,3]}", "too many values", 14);
    assert_accepts_within(&limits, "12345");
    assert_refuses_within(&limits, " 123456", "number too long", 1);
    assert_refuses_within(&limits, "-1.5e3", "number too long", 0);
}

/* The default is the longest number that cJSON reads whole. */
static void check__longest_number__is_read_whole_by_cjson(void **state)
{
    (void)state;
    struct json_limits limits = JSON_LIMITS_DEFAULT;
    char text[80];
    int len = snprintf(text, sizeof text, "[1%0*d]", (int)limits.number_length - 1, 0);
    struct json_error error;
    assert_true(check_with(text, (size_t)len, &limits, &error));
    cJSON *tree = cJSON_Parse(text);
    assert_non_null(tree);
    assert_true(cJSON_GetNumberValue(cJSON_GetArrayItem(tree, 0)) > 9.9e61);
    cJSON_Delete(tree);
    len = snprintf(text, sizeof text, "[1%0*d]", (int)limits.number_length, 0);
    assert_false(check_with(text, (size_t)len, &limits, &error));
}

static void check__every_prefix_of_a_document__is_refused_inside_it(void **state)
{
    (void)state;
    static const char text[] = "{\"a\":[1.5e3,true,null,\"\\u00e9\\ud83d\\ude00\xc3\xa9\\n\"],\"b\":{}}";
    struct json_limits limits = JSON_LIMITS_DEFAULT;
    struct json_error error;
    for (size_t len = 0; len < sizeof text - 1; len++) {
        assert_false(check_with(text, len, &limits, &error));
        assert_true(error.offset <= len);
    }
    assert_true(check_with(text, sizeof text - 1, &limits, &error));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(check__rfc8259_values__are_accepted),
        cmocka_unit_test(check__nothing_or_space__is_refused),
        cmocka_unit_test(check__bom__is_refused),
        cmocka_unit_test(check__space_of_other_kinds__is_refused),
        cmocka_unit_test(check__broken_structure__is_refused_where_it_breaks),
        cmocka_unit_test(check__trailing_bytes__are_refused),
        cmocka_unit_test(check__literals__must_be_exact),
        cmocka_unit_test(check__bad_numbers__are_refused),
        cmocka_unit_test(check__broken_strings__are_refused),
        cmocka_unit_test(check__unicode_escapes__must_mean_a_character),
        cmocka_unit_test(check__invalid_utf8__is_refused_at_its_byte),
        cmocka_unit_test(check__duplicate_keys__are_compared_unescaped),
        cmocka_unit_test(check__many_different_keys__are_never_taken_for_duplicates),
        cmocka_unit_test(check__depth__is_limited),
        cmocka_unit_test(check__duplicate_of_any_key_of_many__is_found),
        cmocka_unit_test(check__many_keys_in_nested_objects__each_object_for_itself),
        cmocka_unit_test(check__megabytes_of_keys__soon_done),
        cmocka_unit_test(check__members__are_limited_per_object),
        cmocka_unit_test(check__keys_of_open_objects__are_bounded),
        cmocka_unit_test(check__values_and_number_length__are_limited),
        cmocka_unit_test(check__longest_number__is_read_whole_by_cjson),
        cmocka_unit_test(check__every_prefix_of_a_document__is_refused_inside_it),
    };
    return cmocka_run_group_tests_name("json_check", tests, NULL, NULL);
}
