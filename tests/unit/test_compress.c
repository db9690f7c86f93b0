/* Tests of tasks/compress.c. */
#define ZLIB_CONST /* its input is const */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "tasks/builtin.h"
#include "tests/unit/task_case.h"

enum { LEN = 200000 };

/* Text of which some repeats and some does not. */
static char *make_text(void)
{
    char *text = malloc(LEN);
    assert_non_null(text);
    unsigned seed = 1;
    for (size_t i = 0; i < LEN; i++) {
        seed = seed * 1664525 + 1013904223;
        text[i] = (char)(i % 7 == 0 ? seed >> 24 : 'a' + i % 26);
    }
    return text;
}

static struct task_run run_compress(const char *args, const void *payload, size_t len)
{
    struct task_run run = run_task_within(&compress_task, args, payload, len, 4 * LEN);
    assert_int_equal(run.status, ST_OK);
    assert_true(run.is_binary);
    return run;
}

static void assert_inflates_to(const struct task_run *run, int window_bits, const char *text, size_t len)
{
    char *back = malloc(LEN + 1);
    assert_non_null(back);
    z_stream stream = { .next_in = (const Bytef *)run->text, .avail_in = (uInt)run->len };
    assert_int_equal(inflateInit2(&stream, window_bits), Z_OK);
    stream.next_out = (Bytef *)back;
    stream.avail_out = LEN + 1;
    assert_int_equal(inflate(&stream, Z_FINISH), Z_STREAM_END);
    assert_int_equal(stream.avail_in, 0);
    assert_int_equal(stream.total_out, len);
    assert_memory_equal(back, text, len);
    inflateEnd(&stream);
    free(back);
}

static void run__every_level__reads_back_with_the_library(void **state UNUSED)
{
    char *text = make_text(), *back = malloc(LEN), args[64];
    assert_non_null(back);
    for (int level = 1; level <= 9; level++) {
        (void)snprintf(args, sizeof args, "{\"format\":\"gzip\",\"level\":%d}", level);
        struct task_run run = run_compress(args, text, LEN);
        assert_inflates_to(&run, 16 + MAX_WBITS, text, LEN);
        free(run.text);
        (void)snprintf(args, sizeof args, "{\"format\":\"deflate\",\"level\":%d}", level);
        run = run_compress(args, text, LEN);
        assert_inflates_to(&run, MAX_WBITS, text, LEN);
        free(run.text);
    }
    for (int level = 1; level <= 19; level += 6) {
        (void)snprintf(args, sizeof args, "{\"format\":\"zstd\",\"level\":%d}", level);
        struct task_run run = run_compress(args, text, LEN);
        assert_int_equal(ZSTD_decompress(back, LEN, run.text, run.len), LEN);
        assert_memory_equal(back, text, LEN);
        free(run.text);
    }
    free(back);
    free(text);
}

static void run__nothing_and_text__are_compressed_too(void **state UNUSED)
{
    struct task_run run = run_compress("", "", 0);
    assert_inflates_to(&run, 16 + MAX_WBITS, "", 0);
    free(run.text);
    run = run_compress("{\"text\":\"h\\u00e9\"}", NULL, 0);
    assert_inflates_to(&run, 16 + MAX_WBITS, "h\xc3\xa9", 3);
    free(run.text);
    char back[1];
    run = run_compress("{\"format\":\"zstd\"}", "", 0);
    assert_int_equal(ZSTD_decompress(back, sizeof back, run.text, run.len), 0);
    free(run.text);
}

static void run__same_input__gives_the_same_bytes(void **state UNUSED)
{
    struct task_run one = run_compress("", "abc", 3), other = run_compress("", "abc", 3);
    assert_int_equal(one.len, other.len);
    assert_memory_equal(one.text, other.text, one.len);
    free(one.text);
    free(other.text);
}

static void run__bad_calls__are_refused(void **state UNUSED)
{
    assert_failure(&compress_task, "", ST_INVALID_ARGS, "give either text or a binary body");
    assert_failure_of(&compress_task, "{\"text\":\"\"}", "a", 1, ST_INVALID_ARGS, "not both");
    assert_failure(&compress_task, "{\"text\":\"\",\"level\":10}", ST_INVALID_ARGS, "level must be at most 9 for gzip");
    assert_failure(&compress_task, "{\"text\":\"\",\"level\":0}", ST_INVALID_ARGS, "must be at least 1");
    assert_failure(&compress_task, "{\"text\":\"\",\"level\":20,\"format\":\"zstd\"}", ST_INVALID_ARGS,
                   "must be at most 19");
    assert_failure(&compress_task, "{\"text\":\"\",\"format\":\"br\"}", ST_INVALID_ARGS, "must be one of");
}

static void run__result_beyond_its_limit__is_too_large(void **state UNUSED)
{
    static const char *const formats[] = { "gzip", "deflate", "zstd" };
    char *text = make_text();
    for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
        char args[64];
        (void)snprintf(args, sizeof args, "{\"format\":\"%s\"}", formats[i]);
        struct task_run run = run_task_within(&compress_task, args, text, LEN, 1000);
        assert_int_equal(run.status, ST_RESULT_TOO_LARGE);
        free(run.text);
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run__every_level__reads_back_with_the_library),
        cmocka_unit_test(run__nothing_and_text__are_compressed_too),
        cmocka_unit_test(run__same_input__gives_the_same_bytes),
        cmocka_unit_test(run__bad_calls__are_refused),
        cmocka_unit_test(run__result_beyond_its_limit__is_too_large),
    };
    return cmocka_run_group_tests_name("compress", tests, NULL, NULL);
}
