/* json_write: every token is exact, valid JSON, and is what cJSON reads back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <cjson/cJSON.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json_check.h"
#include "base/json_write.h"
#include "tests/support/timing.h"

static int setup(void **state)
{
    struct buf *buf = malloc(sizeof *buf);
    if (buf == NULL)
        return -1;
    *buf = BUF_INIT(64 << 20);
    *state = buf;
    return 0;
}

static int teardown(void **state)
{
    buf_done(*state);
    free(*state);
    return 0;
}

/* Compares and empties. */
static void assert_written(struct buf *buf, const char *expected)
{
    assert_false(buf->failed);
    buf_byte(buf, '\0');
    assert_string_equal(buf->data, expected);
    buf_clear(buf);
}

static void string__special_bytes__are_escaped(void **state)
{
    struct buf *buf = *state;
    json_string(buf, "", 0);
    assert_written(buf, "\"\"");
    json_string(buf, "a\"b\\c/d", 7);
    assert_written(buf, "\"a\\\"b\\\\c/d\"");
    json_string(buf, "\b\f\n\r\t", 5);
    assert_written(buf, "\"\\b\\f\\n\\r\\t\"");
    json_string(buf, "\0\x01\v\x1f\x7f", 5);
    assert_written(buf, "\"\\u0000\\u0001\\u000b\\u001f\x7f\"");
    json_string(buf, "h\xc3\xa9\xe2\x82\xac", 6);
    assert_written(buf, "\"h\xc3\xa9\xe2\x82\xac\"");
}

static void assert_reads_back(struct buf *buf, const char *text, size_t len)
{
    struct json_error error;
    struct json_limits limits = JSON_LIMITS_DEFAULT;
    buf_clear(buf);
    json_string(buf, text, len);
    assert_false(buf->failed);
    assert_true(json_check(buf->data, buf->len, &limits, &error));
    cJSON *tree = cJSON_ParseWithLength(buf->data, buf->len);
    assert_non_null(tree);
    assert_int_equal(strlen(cJSON_GetStringValue(tree)), len);
    assert_memory_equal(cJSON_GetStringValue(tree), text, len);
    cJSON_Delete(tree);
}

static void string__each_byte_at_each_place__reads_back(void **state)
{
    char text[40];
    for (int byte = 1; byte < 0x80; byte++) {
        for (size_t len = 1; len <= sizeof text; len += 13) {
            for (size_t at = 0; at < len; at++) {
                memset(text, 'x', sizeof text);
                text[at] = (char)byte;
                assert_reads_back(*state, text, len);
            }
        }
    }
}

static void string__long_and_full_of_escapes__reads_back(void **state)
{
    enum { LEN = 10000 };
    char *text = malloc(LEN);
    assert_non_null(text);
    memset(text, 0x01, LEN); /* the largest growth: the wide sums must not overflow */
    assert_reads_back(*state, text, LEN);
    for (size_t i = 0; i < LEN; i++)
        text[i] = (char)(1 + i * 7 % 127);
    assert_reads_back(*state, text, LEN);
    free(text);
}

static void string__exactly_the_limit__fits_and_one_less_fails_whole(void **state)
{
    (void)state;
    static const char text[] = "0123456789\n0123456789\x01.";
    const size_t exact = sizeof text - 1 + 2 + 1 + 5;
    struct buf buf = BUF_INIT(exact);
    json_string(&buf, text, sizeof text - 1);
    assert_false(buf.failed);
    assert_int_equal(buf.len, exact);
    buf_done(&buf);
    buf = BUF_INIT(exact - 1);
    json_string(&buf, text, sizeof text - 1);
    assert_true(buf.failed);
    assert_int_equal(buf.len, 0);
    buf_done(&buf);
}

/* With much room it is not counted first what the text will take, with little it is. */
static void string__any_room__is_written_alike(void **state)
{
    enum { LEN = 7000 };
    struct buf *expected = *state;
    char text[LEN];
    for (size_t i = 0; i < LEN; i++)
        text[i] = (char)(i % 11 == 0 ? i / 11 % 32 : 'a' + i % 26);
    json_string(expected, text, LEN);
    for (size_t room = 1; room <= LEN * 6; room += 331) {
        struct buf buf = BUF_INIT(expected->len + room - 1);
        assert_non_null(buf_reserve(&buf, room < buf.max ? room : buf.max));
        json_string(&buf, text, LEN);
        assert_false(buf.failed);
        assert_int_equal(buf.len, expected->len);
        assert_memory_equal(buf.data, expected->data, buf.len);
        buf_done(&buf);
        buf = BUF_INIT(expected->len - 1);
        assert_non_null(buf_reserve(&buf, room < buf.max ? room : buf.max));
        json_string(&buf, text, LEN);
        assert_true(buf.failed);
        assert_int_equal(buf.len, 0);
        buf_done(&buf);
    }
}

static void text__bytes_that_are_not_utf8__become_replacements(void **state)
{
    struct buf *buf = *state;
    json_text(buf, "");
    assert_written(buf, "\"\"");
    json_text(buf, "a\"\n\xc3\xa9");
    assert_written(buf, "\"a\\\"\\n\xc3\xa9\"");
    json_text(buf, "a\xff"
                   "b");
    assert_written(buf, "\"a\xef\xbf\xbd"
                        "b\"");
    json_text(buf, "\xe2\x82");
    assert_written(buf, "\"\xef\xbf\xbd\"");
    json_text(buf, "\xc0\xaf.");
    assert_written(buf, "\"\xef\xbf\xbd\xef\xbf\xbd.\"");
}

static void text__any_two_bytes__are_valid_json(void **state)
{
    struct buf *buf = *state;
    struct json_error error;
    struct json_limits limits = JSON_LIMITS_DEFAULT;
    for (unsigned pair = 0; pair < 0x10000; pair++) {
        const char text[] = { (char)(pair >> 8), (char)pair, 'x', '\0' };
        buf_clear(buf);
        json_text(buf, text);
        if (memchr(text, '\0', 2) == NULL)
            assert_true(buf->len >= 4);
        assert_true(json_check(buf->data, buf->len, &limits, &error));
    }
}

static void base64__every_padding__is_rfc4648(void **state)
{
    struct buf *buf = *state;
    json_base64(buf, "", 0);
    assert_written(buf, "\"\"");
    json_base64(buf, "f", 1);
    assert_written(buf, "\"Zg==\"");
    json_base64(buf, "fo", 2);
    assert_written(buf, "\"Zm8=\"");
    json_base64(buf, "foobar", 6);
    assert_written(buf, "\"Zm9vYmFy\"");
    json_base64(buf, "\xff\xfe\xfb\x00", 4);
    assert_written(buf, "\"//77AA==\"");
}

static void base64__more_than_one_piece__decodes_to_the_same(void **state)
{
    struct buf *buf = *state;
    const size_t len = ((size_t)3 << 20) * 2 + 1;
    unsigned char *bytes = malloc(len);
    assert_non_null(bytes);
    for (size_t i = 0; i < len; i++)
        bytes[i] = (unsigned char)(i * 2654435761u >> 13);
    json_base64(buf, bytes, len);
    assert_false(buf->failed);
    const size_t encoded_len = (len + 2) / 3 * 4;
    assert_int_equal(buf->len, encoded_len + 2);
    assert_int_equal(buf->data[0], '"');
    assert_int_equal(buf->data[buf->len - 1], '"');
    unsigned char *decoded = malloc(encoded_len);
    assert_non_null(decoded);
    EVP_DecodeBlock(decoded, (const unsigned char *)buf->data + 1, (int)encoded_len);
    assert_memory_equal(decoded, bytes, len);
    free(decoded);
    free(bytes);
}

static void base64__exactly_the_limit__fits(void **state)
{
    (void)state;
    struct buf buf = BUF_INIT(10);
    json_base64(&buf, "foobar", 6);
    assert_false(buf.failed);
    assert_int_equal(buf.len, 10);
    json_base64(&buf, "", 0);
    assert_true(buf.failed);
    assert_int_equal(buf.len, 10);
    buf_done(&buf);
}

static void hex__any_bytes__two_digits_each(void **state)
{
    struct buf *buf = *state;
    json_hex(buf, "", 0);
    assert_written(buf, "\"\"");
    json_hex(buf, "\x00\x09\xaf\xff", 4);
    assert_written(buf, "\"0009afff\"");
}

static void hex__exactly_the_limit__fits_and_one_less_fails_whole(void **state)
{
    (void)state;
    struct buf buf = BUF_INIT(6);
    json_hex(&buf, "ab", 2);
    assert_false(buf.failed);
    assert_int_equal(buf.len, 6);
    buf_done(&buf);
    buf = BUF_INIT(5);
    json_hex(&buf, "ab", 2);
    assert_true(buf.failed);
    assert_int_equal(buf.len, 0);
    buf_done(&buf);
}

static void numbers__edges__are_exact(void **state)
{
    struct buf *buf = *state;
    json_int(buf, 0);
    assert_written(buf, "0");
    json_int(buf, -7);
    assert_written(buf, "-7");
    json_int(buf, INT64_MIN);
    assert_written(buf, "-9223372036854775808");
    json_int(buf, INT64_MAX);
    assert_written(buf, "9223372036854775807");
    json_uint(buf, UINT64_MAX);
    assert_written(buf, "18446744073709551615");
}

static void u128__edges__are_exact(void **state)
{
    struct buf *buf = *state;
    const unsigned __int128 ten_to_19 = UINT64_C(10000000000000000000);
    json_u128(buf, 0);
    assert_written(buf, "0");
    json_u128(buf, ten_to_19 - 1);
    assert_written(buf, "9999999999999999999");
    json_u128(buf, ten_to_19);
    assert_written(buf, "10000000000000000000");
    json_u128(buf, ten_to_19 * ten_to_19 + 5);
    assert_written(buf, "100000000000000000000000000000000000005");
    json_u128(buf, ten_to_19 * 33 + UINT64_C(3333283333335000000));
    assert_written(buf, "333333283333335000000");
    json_u128(buf, ~(unsigned __int128)0);
    assert_written(buf, "340282366920938463463374607431768211455");
}

static void ms__nanoseconds__are_rounded_to_three_decimals(void **state)
{
    struct buf *buf = *state;
    json_ms(buf, 0);
    assert_written(buf, "0.000");
    json_ms(buf, 41702500);
    assert_written(buf, "41.703");
    json_ms(buf, 41702499);
    assert_written(buf, "41.702");
    json_ms(buf, 999999999);
    assert_written(buf, "1000.000");
    json_ms(buf, 5000);
    assert_written(buf, "0.005");
    json_ms(buf, UINT64_MAX);
    assert_written(buf, "18446744073709.552");
}

static void key_and_bool__are_literal(void **state)
{
    struct buf *buf = *state;
    buf_byte(buf, '{');
    json_key(buf, "ok");
    json_bool(buf, true);
    buf_byte(buf, ',');
    json_key(buf, "x");
    json_bool(buf, false);
    buf_byte(buf, '}');
    assert_written(buf, "{\"ok\":true,\"x\":false}");
}

static void string_lossy__any_bytes__like_text_and_nul_too(void **state)
{
    struct buf *buf = *state;
    json_string_lossy(buf, "a\0\xff\"\xc3\xa4\xc3", 7);
    assert_written(buf, "\"a\\u0000\xef\xbf\xbd\\\"\xc3\xa4\xef\xbf\xbd\"");
    json_string_lossy(buf, "", 0);
    assert_written(buf, "\"\"");
}

/* In time that grows with the length: else this takes hours. */
static void string_lossy__megabytes_of_nothing_valid__soon_done(void **state)
{
    struct buf *buf = *state;
    static const unsigned char bytes[] = { 0xff, 0x80, 0xe4, 0xf0 };
    enum { LEN = 4 << 20 };
    char *text = malloc(LEN);
    for (size_t i = 0; i < sizeof bytes; i++) {
        uint64_t began_ns = clock_now_ns();
        memset(text, bytes[i], LEN);
        json_string_lossy(buf, text, LEN);
        assert_false(buf->failed);
        assert_int_equal(buf->len, 3 * LEN + 2);
        assert_true(elapsed_ms(began_ns) < scaled_ms(5000));
        buf_clear(buf);
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(string__special_bytes__are_escaped, setup, teardown),
        cmocka_unit_test_setup_teardown(string__each_byte_at_each_place__reads_back, setup, teardown),
        cmocka_unit_test_setup_teardown(string__long_and_full_of_escapes__reads_back, setup, teardown),
        cmocka_unit_test(string__exactly_the_limit__fits_and_one_less_fails_whole),
        cmocka_unit_test_setup_teardown(string__any_room__is_written_alike, setup, teardown),
        cmocka_unit_test_setup_teardown(text__bytes_that_are_not_utf8__become_replacements, setup, teardown),
        cmocka_unit_test_setup_teardown(text__any_two_bytes__are_valid_json, setup, teardown),
        cmocka_unit_test_setup_teardown(string_lossy__any_bytes__like_text_and_nul_too, setup, teardown),
        cmocka_unit_test_setup_teardown(string_lossy__megabytes_of_nothing_valid__soon_done, setup, teardown),
        cmocka_unit_test_setup_teardown(base64__every_padding__is_rfc4648, setup, teardown),
        cmocka_unit_test_setup_teardown(base64__more_than_one_piece__decodes_to_the_same, setup, teardown),
        cmocka_unit_test(base64__exactly_the_limit__fits),
        cmocka_unit_test_setup_teardown(hex__any_bytes__two_digits_each, setup, teardown),
        cmocka_unit_test(hex__exactly_the_limit__fits_and_one_less_fails_whole),
        cmocka_unit_test_setup_teardown(numbers__edges__are_exact, setup, teardown),
        cmocka_unit_test_setup_teardown(u128__edges__are_exact, setup, teardown),
        cmocka_unit_test_setup_teardown(ms__nanoseconds__are_rounded_to_three_decimals, setup, teardown),
        cmocka_unit_test_setup_teardown(key_and_bool__are_literal, setup, teardown),
    };
    return cmocka_run_group_tests_name("json_write", tests, NULL, NULL);
}
