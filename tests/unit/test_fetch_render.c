/* Tests of pool/fetch_render.c: the JSON of one URL's result. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_check.h"
#include "base/utf8.h"
#include "pool/fetch_render.h"

static struct response_head head;
static struct fetch_item item;
static struct fetch_answer answer;

static int setup(void **state)
{
    (void)state;
    response_head_init(&head);
    item = (struct fetch_item){ .url = "http://h/" };
    answer = (struct fetch_answer){ .final_url = "http://h/x",
                                    .http_status = 200,
                                    .http_version = "1.1",
                                    .head = &head,
                                    .body = "hello",
                                    .body_len = 5,
                                    .is_reused = true,
                                    .elapsed_ns = 41703000,
                                    .first_byte_ns = 38100000 };
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    response_head_done(&head);
    free(item.json);
    return 0;
}

static const char *text(void)
{
    struct json_error error;
    assert_non_null(item.json);
    if (!json_check(item.json, item.json_len, &JSON_LIMITS_DEFAULT, &error))
        fail_msg("%s at byte %zu of %.*s", error.message, error.offset, (int)item.json_len, item.json);
    item.json = realloc(item.json, item.json_len + 1);
    item.json[item.json_len] = '\0';
    return item.json;
}

static void expect_part(const char *part)
{
    if (!strstr(text(), part))
        fail_msg("no %s in %s", part, item.json);
}

static void answer_body(const char *body, size_t len, bool is_truncated)
{
    answer.body = body;
    answer.body_len = len;
    answer.is_truncated = is_truncated;
    fetch_render_answer(&item, 0, &answer);
    assert_int_equal(item.status, ST_OK);
}

static void answer__plain__exactly_the_contract(void **state)
{
    (void)state;
    assert_true(response_head_line(&head, "HTTP/1.1 200 OK\r\n", 17));
    assert_true(response_head_line(&head, "Content-Type: text/html\r\n", 25));
    fetch_render_answer(&item, 7, &answer);
    assert_string_equal(
        text(), "{\"index\":7,\"url\":\"http://h/\",\"final_url\":\"http://h/x\",\"status\":200,"
                "\"headers\":{\"content-type\":\"text/html\"},\"body\":\"hello\",\"encoding\":\"utf-8\",\"bytes\":5,"
                "\"truncated\":false,\"http_version\":\"1.1\",\"attempts\":1,\"reused\":true,\"elapsed_ms\":41.703,"
                "\"timing_ms\":{\"dns\":0.000,\"connect\":0.000,\"first_byte\":38.100}}");
}

static void answer__tls_and_redirects__told(void **state)
{
    (void)state;
    answer.is_tls = true;
    answer.is_reused = false;
    answer.redirects = 3;
    answer.tls_ns = 14000000;
    fetch_render_answer(&item, 0, &answer);
    expect_part("\"reused\":false,\"redirects\":3,");
    expect_part("\"connect\":0.000,\"tls\":14.000,");
}

static void answer__text_that_needs_escapes__escaped(void **state)
{
    (void)state;
    answer_body("a\"\\\n\x01\xc3\xa4", 7, false);
    expect_part("\"body\":\"a\\\"\\\\\\n\\u0001\xc3\xa4\",\"encoding\":\"utf-8\",\"bytes\":7");
}

static void answer__not_utf8__base64(void **state)
{
    (void)state;
    answer_body("\xff\x00\x01", 3, false);
    expect_part("\"body\":\"/wAB\",\"encoding\":\"base64\",\"bytes\":3");
}

static void answer__empty__empty_text(void **state)
{
    (void)state;
    answer_body("", 0, false);
    expect_part("\"body\":\"\",\"encoding\":\"utf-8\",\"bytes\":0");
}

static void answer__zero_byte__is_valid_utf8(void **state)
{
    (void)state;
    answer_body("a\0b", 3, false);
    /* Valid JSON, though json_check() would refuse it in a request. */
    static const char part[] = "\"body\":\"a\\u0000b\",\"encoding\":\"utf-8\"";
    assert_non_null(memmem(item.json, item.json_len, part, sizeof part - 1));
}

static void answer__cut_inside_a_character__trimmed_to_it(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len, kept;
    } cases[] = {
        { "a\xc3", 2, 1 }, { "a\xc3\xa4", 3, 3 },    { "a\xe2\x82", 3, 1 },
        { "a\xe2", 2, 1 }, { "\xf0\x9f\x98", 3, 0 }, { "a\xf0\x9f\x98\x80", 5, 5 },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        answer_body(cases[i].bytes, cases[i].len, true);
        expect_part("\"encoding\":\"utf-8\"");
        expect_part("\"truncated\":true");
        char bytes[32];
        snprintf(bytes, sizeof bytes, "\"bytes\":%zu,", cases[i].kept);
        expect_part(bytes);
        free(item.json);
        item.json = NULL;
    }
}

static void answer__same_bytes_not_cut__base64(void **state)
{
    (void)state;
    answer_body("a\xc3", 2, false);
    expect_part("\"encoding\":\"base64\",\"bytes\":2");
}

static void answer__cut_binary__all_its_bytes(void **state)
{
    (void)state;
    answer_body("\xff\xfe\xc3", 3, true);
    expect_part("\"body\":\"//7D\",\"encoding\":\"base64\",\"bytes\":3");
}

static void answer__control_characters_only__room_for_six_bytes_each(void **state)
{
    (void)state;
    enum { LEN = 100000 };
    char *body = malloc(LEN);
    memset(body, 1, LEN);
    answer_body(body, LEN, false);
    assert_true(item.json_len > 6 * (size_t)LEN);
    text();
    free(body);
}

static void answer__final_url_not_utf8__still_json(void **state)
{
    (void)state;
    answer.final_url = "http://h/\xff";
    fetch_render_answer(&item, 0, &answer);
    expect_part("\"final_url\":\"http://h/\xef\xbf\xbd\"");
}

static void failure__any__exactly_the_contract(void **state)
{
    (void)state;
    fetch_item_fail(&item, ST_TIMEOUT, "connect", "after %d \"ms\"", 150);
    fetch_render_failure(&item, 1);
    assert_string_equal(text(),
                        "{\"index\":1,\"url\":\"http://h/\",\"error\":{\"code\":\"timeout\",\"phase\":\"connect\","
                        "\"message\":\"after 150 \\\"ms\\\"\",\"retriable\":true}}");
}

static void fail__long_or_not_utf8__cut_and_valid(void **state)
{
    (void)state;
    char many[600] = "a";
    for (size_t i = 1; i + 2 < sizeof many; i += 2)
        memcpy(many + i, "\xc3\xa4", 3);
    fetch_item_fail(&item, ST_PROTOCOL_ERROR, "body", "%s", many);
    assert_true(strlen(item.message) >= sizeof item.message - 3);
    assert_true(utf8_valid(item.message, strlen(item.message)));
    assert_null(strchr(item.message, '?'));
    fetch_item_fail(&item, ST_PROTOCOL_ERROR, "body", "bad \xff byte");
    assert_string_equal(item.message, "bad ? byte");
}

#define render_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        render_test(answer__plain__exactly_the_contract),
        render_test(answer__tls_and_redirects__told),
        render_test(answer__text_that_needs_escapes__escaped),
        render_test(answer__not_utf8__base64),
        render_test(answer__empty__empty_text),
        render_test(answer__zero_byte__is_valid_utf8),
        render_test(answer__cut_inside_a_character__trimmed_to_it),
        render_test(answer__same_bytes_not_cut__base64),
        render_test(answer__cut_binary__all_its_bytes),
        render_test(answer__control_characters_only__room_for_six_bytes_each),
        render_test(answer__final_url_not_utf8__still_json),
        render_test(failure__any__exactly_the_contract),
        render_test(fail__long_or_not_utf8__cut_and_valid),
    };
    return cmocka_run_group_tests_name("fetch_render", tests, NULL, NULL);
}
