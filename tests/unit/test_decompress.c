/* Tests of tasks/decompress.c. What it reads is made with the libraries, brotli included. */
#define ZLIB_CONST /* its input is const */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <brotli/encode.h>
#include <zlib.h>
#include <zstd.h>

#include "tasks/builtin.h"
#include "tests/unit/task_case.h"

enum { RESULT_MAX = 8 * 1024 * 1024, CODED_MAX = 256 * 1024 };
static const char *const formats[] = { "gzip", "deflate", "zstd", "br" };

struct coded {
    char bytes[CODED_MAX];
    size_t len;
};

static size_t code_zlib(const char *text, size_t len, int window_bits, char *to)
{
    z_stream stream = { .next_in = (const Bytef *)text, .avail_in = (uInt)len };
    assert_int_equal(deflateInit2(&stream, 6, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY), Z_OK);
    stream.next_out = (Bytef *)to;
    stream.avail_out = CODED_MAX;
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    const size_t coded_len = stream.total_out;
    deflateEnd(&stream);
    return coded_len;
}

static struct coded *code(const char *format, const char *text, size_t len)
{
    struct coded *coded = calloc(1, sizeof *coded);
    assert_non_null(coded);
    if (strcmp(format, "zstd") == 0) {
        coded->len = ZSTD_compress(coded->bytes, CODED_MAX, text, len, 3);
        assert_false(ZSTD_isError(coded->len));
    } else if (strcmp(format, "br") == 0) {
        coded->len = CODED_MAX;
        assert_int_equal(BrotliEncoderCompress(5, 22, BROTLI_MODE_GENERIC, len, (const uint8_t *)text, &coded->len,
                                               (uint8_t *)coded->bytes),
                         BROTLI_TRUE);
    } else {
        coded->len = code_zlib(text, len, strcmp(format, "gzip") == 0 ? 16 + MAX_WBITS : MAX_WBITS, coded->bytes);
    }
    return coded;
}

static struct task_run decompress(const char *format, const void *bytes, size_t len, size_t result_max)
{
    char args[64];
    (void)snprintf(args, sizeof args, "{\"format\":\"%s\"}", format);
    return run_task_within(&decompress_task, args, bytes, len, result_max);
}

static void assert_decodes(const char *format, const void *bytes, size_t len, const char *expected, size_t expected_len)
{
    struct task_run run = decompress(format, bytes, len, RESULT_MAX);
    assert_string_equal(run.detail, "");
    assert_int_equal(run.status, ST_OK);
    assert_true(run.is_binary);
    assert_int_equal(run.len, expected_len);
    assert_memory_equal(run.text, expected, expected_len);
    free(run.text);
}

static void assert_fails(const char *format, const void *bytes, size_t len, enum status status, const char *detail)
{
    struct task_run run = decompress(format, bytes, len, RESULT_MAX);
    if (run.status != status || !strstr(run.detail, detail))
        fail_msg("%s: %s, %s; expected %s", format, status_code(run.status), run.detail, detail);
    assert_false(run.is_binary);
    free(run.text);
}

/* Lengths around the pieces that it is decoded in. */
static void run__every_format_and_length__reads_back(void **state UNUSED)
{
    static const size_t lengths[] = { 0, 1, 32767, 32768, 32769, 65536, 100000 };
    char *text = malloc(100000);
    assert_non_null(text);
    for (size_t i = 0; i < 100000; i++)
        text[i] = (char)(i * i >> 7);
    for (size_t f = 0; f < ARRAY_LEN(formats); f++) {
        for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
            struct coded *coded = code(formats[f], text, lengths[i]);
            assert_decodes(formats[f], coded->bytes, coded->len, text, lengths[i]);
            free(coded);
        }
    }
    free(text);
}

static void run__cut_anywhere__is_truncated(void **state UNUSED)
{
    for (size_t f = 0; f < ARRAY_LEN(formats); f++) {
        struct coded *coded = code(formats[f], "hello hello hello hello", 23);
        for (size_t len = 1; len < coded->len; len++)
            assert_fails(formats[f], coded->bytes, len, ST_TASK_FAILED, "is truncated: it ends at byte");
        assert_fails(formats[f], coded->bytes, 0, ST_TASK_FAILED, "is empty");
        free(coded);
    }
}

static void run__bytes_behind_the_end__are_refused(void **state UNUSED)
{
    for (size_t f = 0; f < ARRAY_LEN(formats); f++) {
        struct coded *coded = code(formats[f], "hello", 5);
        coded->bytes[coded->len] = 'x';
        assert_fails(formats[f], coded->bytes, coded->len + 1, ST_TASK_FAILED, "1 bytes follow the end of the");
        coded->bytes[coded->len] = '\0';
        assert_fails(formats[f], coded->bytes, coded->len + 1, ST_TASK_FAILED, "1 bytes follow the end of the");
        free(coded);
    }
}

static void run__members_one_after_the_other__are_joined(void **state UNUSED)
{
    static const char *const joining[] = { "gzip", "zstd" };
    for (size_t f = 0; f < ARRAY_LEN(joining); f++) {
        struct coded *one = code(joining[f], "hello ", 6), *two = code(joining[f], "world", 5);
        memcpy(one->bytes + one->len, two->bytes, two->len);
        assert_decodes(joining[f], one->bytes, one->len + two->len, "hello world", 11);
        for (size_t len = 1; len < two->len; len++)
            assert_fails(joining[f], one->bytes, one->len + len, ST_TASK_FAILED, "is truncated");
        free(one);
        free(two);
    }
    /* a second one is garbage where the format has no such thing */
    struct coded *one = code("deflate", "hello ", 6);
    memcpy(one->bytes + one->len, one->bytes, one->len);
    assert_fails("deflate", one->bytes, 2 * one->len, ST_TASK_FAILED, "follow the end of the deflate at byte");
    free(one);
}

static void run__skippable_zstd_frames__are_skipped(void **state UNUSED)
{
    struct coded *coded = code("zstd", "hello", 5);
    memcpy(coded->bytes + coded->len, "\x50\x2a\x4d\x18\x03\x00\x00\x00xyz", 11);
    assert_decodes("zstd", coded->bytes, coded->len + 11, "hello", 5);
    free(coded);
}

static void run__other_bytes__cannot_be_decoded(void **state UNUSED)
{
    for (size_t f = 0; f < ARRAY_LEN(formats); f++)
        assert_fails(formats[f], "\xff\xff\xff\xffGARBAGE", 11, ST_TASK_FAILED, "cannot be decoded, near byte");
    struct coded *coded = code("gzip", "hello", 5);
    coded->bytes[coded->len - 8] ^= 1; /* the checksum */
    assert_fails("gzip", coded->bytes, coded->len, ST_TASK_FAILED, "incorrect data check");
    free(coded);
    assert_fails("deflate", "\x78\xbb\x01\x02\x03\x04zzzz", 10, ST_TASK_FAILED, "it needs a dictionary");
}

/* Whatever the bytes are, there is an end and a reason. */
static void run__any_damage__ends_with_a_status(void **state UNUSED)
{
    char text[300];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)(i * 37);
    for (size_t f = 0; f < ARRAY_LEN(formats); f++) {
        struct coded *coded = code(formats[f], text, sizeof text);
        for (size_t at = 0; at < coded->len * 8; at++) {
            coded->bytes[at / 8] ^= (char)(1 << at % 8);
            struct task_run run = decompress(formats[f], coded->bytes, coded->len, RESULT_MAX);
            assert_true(run.status == ST_OK || (run.status == ST_TASK_FAILED && run.detail[0] != '\0'));
            free(run.text);
            coded->bytes[at / 8] ^= (char)(1 << at % 8);
        }
        free(coded);
    }
}

static void run__bombs__meet_the_result_limit_or_the_ratio(void **state UNUSED)
{
    const size_t len = 4 * 1024 * 1024;
    char *zeros = calloc(1, len);
    assert_non_null(zeros);
    for (size_t f = 0; f < ARRAY_LEN(formats); f++) {
        struct coded *coded = code(formats[f], zeros, len);
        struct task_run run = decompress(formats[f], coded->bytes, coded->len, len - 1);
        assert_true(run.status == ST_RESULT_TOO_LARGE || strstr(run.detail, "more than 1000 times"));
        free(run.text);
        run = run_task_within(&decompress_task, "{\"format\":\"gzip\",\"max_ratio\":10}", coded->bytes, coded->len,
                              RESULT_MAX);
        if (f == 0) {
            assert_int_equal(run.status, ST_TASK_FAILED);
            assert_string_equal(run.detail, "it decodes to more than 10 times its size (max_ratio)");
        }
        free(run.text);
        char args[64];
        (void)snprintf(args, sizeof args, "{\"format\":\"%s\",\"max_ratio\":1000000}", formats[f]);
        run = run_task_within(&decompress_task, args, coded->bytes, coded->len, len);
        assert_int_equal(run.status, ST_OK);
        assert_int_equal(run.len, len);
        free(run.text);
        run = run_task_within(&decompress_task, args, coded->bytes, coded->len, len - 1);
        assert_int_equal(run.status, ST_RESULT_TOO_LARGE);
        assert_string_equal(run.detail, "it decodes to more than the 4194303 bytes that a result may have");
        free(run.text);
        free(coded);
    }
    free(zeros);
}

/* A window of 2 GiB, asked for by a frame of some bytes. */
static void run__huge_window__is_refused(void **state UNUSED)
{
    assert_fails("zstd", "\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00", 9, ST_TASK_FAILED, "too much memory");
}

static void run__no_body__is_refused(void **state UNUSED)
{
    assert_failure(&decompress_task, "", ST_INVALID_ARGS, "as a binary body");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run__every_format_and_length__reads_back),
        cmocka_unit_test(run__cut_anywhere__is_truncated),
        cmocka_unit_test(run__bytes_behind_the_end__are_refused),
        cmocka_unit_test(run__members_one_after_the_other__are_joined),
        cmocka_unit_test(run__skippable_zstd_frames__are_skipped),
        cmocka_unit_test(run__other_bytes__cannot_be_decoded),
        cmocka_unit_test(run__any_damage__ends_with_a_status),
        cmocka_unit_test(run__bombs__meet_the_result_limit_or_the_ratio),
        cmocka_unit_test(run__huge_window__is_refused),
        cmocka_unit_test(run__no_body__is_refused),
    };
    return cmocka_run_group_tests_name("decompress", tests, NULL, NULL);
}
