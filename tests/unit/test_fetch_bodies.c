/* Tests of pool/fetch_render.c: a body in the form that was asked for. */
#include "tests/unit/render_case.h"

/* Renders a NUL-terminated body. */
static void render_text(enum fetch_body_form form, const char *body) { render_body(form, body, strlen(body), false); }

/* ---- text, or base64 if it is none */

static void auto__text_that_needs_escapes__escaped(void **state)
{
    (void)state;
    render_text(FETCH_BODY_AUTO, "a\"\\\n\x01\xc3\xa4");
    expect_part("\"body\":\"a\\\"\\\\\\n\\u0001\xc3\xa4\",\"encoding\":\"utf-8\",\"bytes\":7,\"truncated\":false");
}

static void auto__not_utf8__base64(void **state)
{
    (void)state;
    render_body(FETCH_BODY_AUTO, "\xff\x00\x01", 3, false);
    expect_part("\"body\":\"/wAB\",\"encoding\":\"base64\",\"bytes\":3");
}

static void auto__empty__empty_text(void **state)
{
    (void)state;
    render_text(FETCH_BODY_AUTO, "");
    expect_part("\"body\":\"\",\"encoding\":\"utf-8\",\"bytes\":0");
    render_body(FETCH_BODY_AUTO, NULL, 0, false);
    expect_part("\"body\":\"\",\"encoding\":\"utf-8\",\"bytes\":0");
}

static void auto__zero_byte__is_valid_utf8(void **state)
{
    (void)state;
    render_body(FETCH_BODY_AUTO, "a\0b", 3, false);
    /* Valid JSON, though json_check() would refuse it in a request. */
    static const char part[] = "\"body\":\"a\\u0000b\",\"encoding\":\"utf-8\"";
    assert_non_null(memmem(item.json, item.json_len, part, sizeof part - 1));
}

static void auto__cut_inside_a_character__trimmed_to_it(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len, kept;
    } cases[] = {
        { "a\xc3", 2, 1 }, { "a\xc3\xa4", 3, 3 },    { "a\xe2\x82", 3, 1 },
        { "a\xe2", 2, 1 }, { "\xf0\x9f\x98", 3, 0 }, { "a\xf0\x9f\x98\x80", 5, 5 },
    };
    static const enum fetch_body_form forms[] = { FETCH_BODY_AUTO, FETCH_BODY_TEXT, FETCH_BODY_JSON };
    for (size_t i = 0; i < ARRAY_LEN(cases) * ARRAY_LEN(forms); i++) {
        size_t at = i / ARRAY_LEN(forms);
        render_body(forms[i % ARRAY_LEN(forms)], cases[at].bytes, cases[at].len, true);
        expect_part("\"encoding\":\"utf-8\"");
        expect_part("\"truncated\":true");
        char bytes[32];
        snprintf(bytes, sizeof bytes, "\"bytes\":%zu,", cases[at].kept);
        expect_part(bytes);
    }
}

static void auto__same_bytes_not_cut__base64(void **state)
{
    (void)state;
    render_body(FETCH_BODY_AUTO, "a\xc3", 2, false);
    expect_part("\"encoding\":\"base64\",\"bytes\":2");
}

static void auto__cut_binary__all_its_bytes(void **state)
{
    (void)state;
    render_body(FETCH_BODY_AUTO, "\xff\xfe\xc3", 3, true);
    expect_part("\"body\":\"//7D\",\"encoding\":\"base64\",\"bytes\":3");
}

/* ---- text at any price, base64 in any case */

static void text__not_utf8__replacement_characters(void **state)
{
    (void)state;
    render_body(FETCH_BODY_TEXT, "a\xff \xc3\xa4\xe2\x82", 7, false);
    expect_part("\"body\":\"a\xef\xbf\xbd \xc3\xa4\xef\xbf\xbd\",\"encoding\":\"utf-8\",\"bytes\":7");
    render_text(FETCH_BODY_TEXT, "\xc3\xa4\"");
    expect_part("\"body\":\"\xc3\xa4\\\"\",\"encoding\":\"utf-8\",\"bytes\":3");
    render_text(FETCH_BODY_TEXT, "");
    expect_part("\"body\":\"\",\"encoding\":\"utf-8\",\"bytes\":0");
}

static void base64__text__base64(void **state)
{
    (void)state;
    render_text(FETCH_BODY_BASE64, "hello");
    expect_part("\"body\":\"aGVsbG8=\",\"encoding\":\"base64\",\"bytes\":5");
    render_body(FETCH_BODY_BASE64, "a\xc3", 2, true); /* not trimmed */
    expect_part("\"body\":\"YcM=\",\"encoding\":\"base64\",\"bytes\":2,\"truncated\":true");
    render_text(FETCH_BODY_BASE64, "");
    expect_part("\"body\":\"\",\"encoding\":\"base64\",\"bytes\":0");
}

/* ---- none */

static void none__any__its_length_only(void **state)
{
    (void)state;
    item.body_form = FETCH_BODY_NONE;
    outcome.body = NULL;
    outcome.body_len = 0;
    outcome.body_seen = 123456;
    outcome.is_truncated = true;
    render(0);
    expect_part("\"headers\":{},\"bytes\":123456,\"truncated\":true,\"http_version\"");
    expect_no("\"body\":\"");
    expect_no("\"encoding\"");
}

/* ---- documents */

static void json__document__as_it_is(void **state)
{
    (void)state;
    static const char *const documents[] = {
        "{\"a\":[1,2.50,-3e9,true,null],\"b\":{}}",
        "42",
        "\"x\\n\\u00e4\\ud83d\\ude00\"",
        "null",
        "[]",
        "123456789012345678901234567890.123456789",
        "[{\"a\":1},{\"a\":1}]",
        "\"\xc3\xa4\"",
    };
    for (size_t i = 0; i < ARRAY_LEN(documents); i++) {
        char part[200];
        render_text(FETCH_BODY_JSON, documents[i]);
        snprintf(part, sizeof part, "\"body\":%s,\"encoding\":\"json\",\"bytes\":%zu,\"truncated\":false", documents[i],
                 strlen(documents[i]));
        expect_part(part);
        expect_no("json_error");
    }
}

static void json__over_several_lines__one_line(void **state)
{
    (void)state;
    render_text(FETCH_BODY_JSON, "\r\n{\n\t\"a\\n\" :\r1,\r\n\n\"b\":[\n] }\n");
    expect_part("\"body\":  { \t\"a\\n\" : 1,   \"b\":[ ] } ,\"encoding\":\"json\",\"bytes\":28");
}

static void json__no_document__text_and_why(void **state)
{
    (void)state;
    static const struct {
        const char *body, *part;
    } cases[] = {
        { "{\"a\":", "\"body\":\"{\\\"a\\\":\",\"encoding\":\"utf-8\",\"bytes\":5,\"json_error\":\"unexpected end of "
                     "the text at byte "
                     "5\"" },
        { "", "\"body\":\"\",\"encoding\":\"utf-8\",\"bytes\":0,\"json_error\":\"empty text at byte 0\"" },
        { " \n", "\"body\":\" \\n\",\"encoding\":\"utf-8\",\"bytes\":2,\"json_error\":\"empty text at byte 0\"" },
        { "{\"a\":1} x", "\"json_error\":\"text after the value at byte 8\"" },
        { "{\"a\":1,\"a\":2}", "\"json_error\":\"duplicate key at byte 7\"" },
        { "\"\\u0000\"", "\"json_error\":\"\\\\u0000 is not accepted at byte 1\"" },
        { "\"\\uzzzz\"", "\"json_error\":\"bad \\\\u escape at byte 1\"" },
        { "\xef\xbb\xbf{}", "\"json_error\":\"byte order mark at byte 0\"" },
        { "\"\xff\"",
          "\"body\":\"Iv8i\",\"encoding\":\"base64\",\"bytes\":3,\"json_error\":\"invalid UTF-8 at byte 1\"" },
        { "\"a\nb\"", "\"json_error\":\"raw control byte in a string at byte 2\"" },
        { "<html>",
          "\"body\":\"<html>\",\"encoding\":\"utf-8\",\"bytes\":6,\"json_error\":\"expected a value at byte 0\"" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        render_text(FETCH_BODY_JSON, cases[i].body);
        expect_part(cases[i].part);
        expect_no("\"encoding\":\"json\"");
    }
}

static void json__no_body__text_and_why(void **state)
{
    (void)state;
    render_body(FETCH_BODY_JSON, NULL, 0, false);
    expect_part("\"body\":\"\",\"encoding\":\"utf-8\",\"bytes\":0,\"json_error\":\"empty text at byte 0\"");
}

static void json__cut__text_whatever_is_left(void **state)
{
    (void)state;
    render_body(FETCH_BODY_JSON, "12", 2, true);
    expect_part(
        "\"body\":\"12\",\"encoding\":\"utf-8\",\"bytes\":2,\"json_error\":\"the body was cut\",\"truncated\":true");
}

/* 64 arrays in one another, 8192 members, a number of 4096 digits: as much as is embedded; and one more. */
static void json__at_the_limits__embedded_or_not(void **state)
{
    (void)state;
    enum { SIZE = 8193 * 10 };
    char *body = malloc(SIZE);
    for (size_t depth = 64; depth <= 65; depth++) {
        memset(body, '[', depth);
        memset(body + depth, ']', depth);
        render_body(FETCH_BODY_JSON, body, 2 * depth, false);
        /* not text(): the item around it makes it too deep for json_check() */
        assert_true((memmem(item.json, item.json_len, "\"encoding\":\"json\"", 17) != NULL) == (depth == 64));
        assert_true((memmem(item.json, item.json_len, "nested too deeply", 17) != NULL) == (depth == 65));
    }
    for (size_t digits = 4096; digits <= 4097; digits++) {
        memset(body, '1', digits);
        render_body(FETCH_BODY_JSON, body, digits, false);
        expect_part(digits == 4096 ? "\"encoding\":\"json\"" : "\"json_error\":\"number too long at byte 0\"");
    }
    for (unsigned members = 8192; members <= 8193; members++) {
        char *at = body;
        for (unsigned i = 0; i < members; i++)
            at += sprintf(at, "%c\"%u\":0", i ? ',' : '{', i);
        *at++ = '}';
        render_body(FETCH_BODY_JSON, body, (size_t)(at - body), false);
        assert_true((memmem(item.json, item.json_len, "\"encoding\":\"json\"", 17) != NULL) == (members == 8192));
        assert_true((memmem(item.json, item.json_len, "too many members", 16) != NULL) == (members == 8193));
    }
    free(body);
}

/* ---- room */

static void any__control_characters_only__room_for_six_bytes_each(void **state)
{
    (void)state;
    static const enum fetch_body_form forms[] = { FETCH_BODY_AUTO, FETCH_BODY_TEXT, FETCH_BODY_JSON };
    enum { LEN = 100000 };
    char *body = malloc(LEN);
    memset(body, 1, LEN);
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        render_body(forms[i], body, LEN, false);
        assert_true(item.json_len > 6 * (size_t)LEN);
        text();
    }
    memset(body, 0xff, LEN);
    render_body(FETCH_BODY_TEXT, body, LEN, false); /* three bytes each */
    assert_true(item.json_len > 3 * (size_t)LEN);
    text();
    free(body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        render_test(auto__text_that_needs_escapes__escaped),
        render_test(auto__not_utf8__base64),
        render_test(auto__empty__empty_text),
        render_test(auto__zero_byte__is_valid_utf8),
        render_test(auto__cut_inside_a_character__trimmed_to_it),
        render_test(auto__same_bytes_not_cut__base64),
        render_test(auto__cut_binary__all_its_bytes),
        render_test(text__not_utf8__replacement_characters),
        render_test(base64__text__base64),
        render_test(none__any__its_length_only),
        render_test(json__document__as_it_is),
        render_test(json__over_several_lines__one_line),
        render_test(json__no_document__text_and_why),
        render_test(json__no_body__text_and_why),
        render_test(json__cut__text_whatever_is_left),
        render_test(json__at_the_limits__embedded_or_not),
        render_test(any__control_characters_only__room_for_six_bytes_each),
    };
    return cmocka_run_group_tests_name("fetch_bodies", tests, NULL, NULL);
}
