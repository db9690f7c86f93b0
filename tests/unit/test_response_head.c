/* Tests of pool/response_head.c: header lines in, a JSON object out, within limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/json_check.h"
#include "pool/response_head.h"

static struct response_head head;

static int setup(void **state)
{
    (void)state;
    response_head_init(&head);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    response_head_done(&head);
    return 0;
}

static void line(const char *text) { assert_true(response_head_line(&head, text, strlen(text))); }

static void expect_only(const char *const *names, const char *json)
{
    struct buf out = BUF_INIT(1 << 20);
    struct json_error error;
    response_head_json(&head, names, &out);
    assert_false(out.failed);
    assert_true(json_check(out.data, out.len, &JSON_LIMITS_DEFAULT, &error));
    buf_byte(&out, '\0');
    assert_string_equal(out.data, json);
    buf_done(&out);
}

static void expect(const char *json) { expect_only(NULL, json); }

static void json__ordinary__lower_case_and_trimmed(void **state)
{
    (void)state;
    line("HTTP/1.1 200 OK\r\n");
    line("Content-Type:  text/html; charset=\"utf-8\" \t\r\n");
    line("X-Empty:\r\n");
    line("\r\n");
    assert_true(head.is_complete);
    assert_int_equal(response_head_count(&head, "x-empty"), 1);
    assert_int_equal(response_head_count(&head, "x-empt"), 0);
    expect("{\"content-type\":\"text/html; charset=\\\"utf-8\\\"\",\"x-empty\":\"\"}");
}

static void json__nothing__empty_object(void **state)
{
    (void)state;
    expect("{}");
    line("HTTP/1.1 204 No Content\r\n");
    line("\r\n");
    expect("{}");
}

static void json__repeated_names__joined_in_place(void **state)
{
    (void)state;
    line("HTTP/2 200 \r\n");
    line("via: a\r\n");
    line("x: 1\r\n");
    line("VIA: b\r\n");
    line("Via: c\r\n");
    expect("{\"via\":\"a, b, c\",\"x\":\"1\"}");
}

static void json__set_cookie__always_an_array(void **state)
{
    (void)state;
    line("HTTP/1.1 200 OK\r\n");
    line("Set-Cookie: a=1; Path=/, x\r\n");
    expect("{\"set-cookie\":[\"a=1; Path=/, x\"]}");
    line("set-cookie: b=2\r\n");
    expect("{\"set-cookie\":[\"a=1; Path=/, x\",\"b=2\"]}");
}

static void json__not_utf8__latin1(void **state)
{
    (void)state;
    line("HTTP/1.1 200 OK\r\n");
    line("X: caf\xe9\r\n");
    line("Y: caf\xc3\xa9\r\n");
    line("Z: a\r\n");
    line("Z: \xff\r\n");
    expect("{\"x\":\"caf\xc3\xa9\",\"y\":\"caf\xc3\xa9\",\"z\":\"a, \xc3\xbf\"}");
}

static void json__lines_that_are_no_fields__left_out(void **state)
{
    (void)state;
    line("HTTP/1.1 200 OK\r\n");
    line("no colon\r\n");
    line(": no name\r\n");
    line("a b: c\r\n");
    line("\xc3\xa4: c\r\n");
    line("ok : 1\r\n");
    expect("{\"ok\":\"1\"}");
}

static void json__names__only_these_in_the_origins_order(void **state)
{
    (void)state;
    static const char *const some[] = { "set-cookie", "via", "absent", "x", "via", NULL };
    static const char *const none[] = { NULL }, *const other[] = { "vi", "viaa", "VIA", "", NULL };
    line("HTTP/1.1 200 OK\r\n");
    line("X: 1\r\n");
    line("Server: s\r\n");
    line("Via: a\r\n");
    line("Set-Cookie: a=1\r\n");
    line("VIA: b\r\n");
    expect_only(some, "{\"x\":\"1\",\"via\":\"a, b\",\"set-cookie\":[\"a=1\"]}");
    expect_only(none, "{}");
    expect_only(other, "{}");
}

static void json__written_twice__appends_the_same(void **state)
{
    (void)state;
    struct buf out = BUF_INIT(1000);
    line("HTTP/1.1 200 OK\r\n");
    line("A: 1\r\n");
    response_head_json(&head, NULL, &out);
    response_head_json(&head, NULL, &out);
    buf_byte(&out, '\0');
    assert_string_equal(out.data, "{\"a\":\"1\"}{\"a\":\"1\"}");
    buf_done(&out);
}

static void json__no_room__fails_as_a_buf_does(void **state)
{
    (void)state;
    struct buf out = BUF_INIT(8);
    line("HTTP/1.1 200 OK\r\n");
    line("A: 12345\r\n");
    response_head_json(&head, NULL, &out);
    assert_true(out.failed);
    buf_done(&out);
}

static void count__repeated_names__each_line(void **state)
{
    (void)state;
    line("HTTP/1.1 301 Moved\r\n");
    assert_int_equal(response_head_count(&head, "location"), 0);
    line("Location: /a\r\n");
    line("Locations: /b\r\n");
    line("LOCATION : /c\r\n");
    assert_int_equal(response_head_count(&head, "location"), 2);
    assert_int_equal(response_head_count(&head, "locations"), 1);
    line("\r\n");
    line("Location: /trailer\r\n");
    assert_int_equal(response_head_count(&head, "location"), 2);
}

static void expect_field_value(const char *name, const char *expected)
{
    size_t len = 0;
    const char *value = response_head_value(&head, name, &len);
    assert_non_null(value);
    assert_int_equal(len, strlen(expected));
    assert_memory_equal(value, expected, len);
}

static void value__of_the_first(void **state)
{
    (void)state;
    size_t len;
    line("HTTP/1.1 200 OK\r\n");
    assert_null(response_head_value(&head, "content-encoding", &len));
    line("Content-Encoding: gzip \r\n");
    line("CONTENT-ENCODING: br\r\n");
    line("Vary: a, b\r\n");
    line("Empty:\r\n");
    expect_field_value("content-encoding", "gzip");
    expect_field_value("vary", "a, b");
    expect_field_value("empty", "");
    assert_null(response_head_value(&head, "content-encodings", &len));
}

static void differs__values_of_a_repeated_name(void **state)
{
    (void)state;
    line("HTTP/1.1 200 OK\r\n");
    assert_false(response_head_differs(&head, "content-length"));
    line("Content-Length: 10\r\n");
    line("Other: 11\r\n");
    assert_false(response_head_differs(&head, "content-length"));
    line("content-length: 10\r\n");
    assert_false(response_head_differs(&head, "content-length"));
    line("Content-Length: 1\r\n");
    assert_true(response_head_differs(&head, "content-length"));
    assert_false(response_head_differs(&head, "other"));
}

/* libcurl takes it for a field; so must we, or it would hide what came before. */
static void line__like_a_status_line_amid_the_fields__is_none(void **state)
{
    (void)state;
    line("HTTP/1.1 200 OK\r\n");
    line("Transfer-Encoding: gzip\r\n");
    line("HTTP/1.1 100 Continue\r\n");
    line("HTTP/x: 2\r\n");
    line("Content-Length: 1\r\n");
    assert_int_equal(response_head_count(&head, "transfer-encoding"), 1);
    assert_int_equal(response_head_count(&head, "content-length"), 1);
    line("\r\n");
    assert_true(head.is_complete);
}

static void line__folded__extends_the_value(void **state)
{
    (void)state;
    line("HTTP/1.1 200 OK\r\n");
    line(" stray\r\n");
    line("X: a\r\n");
    line("\t b\r\n");
    expect("{\"x\":\"a b\"}");
}

static void line__interim_answers_and_trailers__not_kept(void **state)
{
    (void)state;
    line("HTTP/1.1 103 Early Hints\r\n");
    line("Link: </x>\r\n");
    line("\r\n");
    line("HTTP/1.1 200 OK\r\n");
    line("A: 1\r\n");
    line("\r\n");
    line("Trailer: x\r\n");
    line("HTTP/1.1 500: x\r\n");
    expect("{\"a\":\"1\"}");
    assert_int_equal(head.lines, 8);
}

static void line__too_many__refused(void **state)
{
    (void)state;
    for (unsigned i = 0; i < RESPONSE_HEAD_LINES_MAX; i++)
        line("A: 1\r\n");
    assert_false(response_head_line(&head, "A: 1\r\n", 6));
}

static void line__too_many_interim_answers__refused(void **state)
{
    (void)state;
    bool is_accepted = true;
    for (unsigned i = 0; i < RESPONSE_HEAD_LINES_MAX && is_accepted; i++)
        is_accepted =
            response_head_line(&head, "HTTP/1.1 102 Processing\r\n", 25) && response_head_line(&head, "\r\n", 2);
    assert_false(is_accepted);
}

static void line__too_many_bytes__refused(void **state)
{
    (void)state;
    char text[16 * 1024 + 1];
    memset(text, 'x', sizeof text);
    text[1] = ':';
    for (int i = 0; i < 3; i++)
        assert_true(response_head_line(&head, text, sizeof text));
    assert_false(response_head_line(&head, text, sizeof text));
}

static void clear__used_again__nothing_left(void **state)
{
    (void)state;
    line("HTTP/1.1 200 OK\r\n");
    line("A: 1\r\n");
    line("\r\n");
    response_head_clear(&head);
    line("HTTP/1.1 200 OK\r\n");
    line("B: 2\r\n");
    expect("{\"b\":\"2\"}");
}

#define head_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        head_test(json__ordinary__lower_case_and_trimmed),
        head_test(json__nothing__empty_object),
        head_test(json__repeated_names__joined_in_place),
        head_test(json__set_cookie__always_an_array),
        head_test(json__not_utf8__latin1),
        head_test(json__lines_that_are_no_fields__left_out),
        head_test(json__names__only_these_in_the_origins_order),
        head_test(json__written_twice__appends_the_same),
        head_test(json__no_room__fails_as_a_buf_does),
        head_test(count__repeated_names__each_line),
        head_test(value__of_the_first),
        head_test(differs__values_of_a_repeated_name),
        head_test(line__like_a_status_line_amid_the_fields__is_none),
        head_test(line__folded__extends_the_value),
        head_test(line__interim_answers_and_trailers__not_kept),
        head_test(line__too_many__refused),
        head_test(line__too_many_interim_answers__refused),
        head_test(line__too_many_bytes__refused),
        head_test(clear__used_again__nothing_left),
    };
    return cmocka_run_group_tests_name("response_head", tests, NULL, NULL);
}
