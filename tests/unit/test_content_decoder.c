/* content_decoder: every coding, in pieces of every size, whole and cut, honest and not, with memory and without. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <brotli/encode.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "base/buf.h"
#include "pool/content_decoder.h"

enum { TEXT_BYTES = 100000, CODED_MAX = 1 << 20, PLENTY = 64 << 20 };

static char text[TEXT_BYTES];
static struct memory_budget budget;

static int setup(void **state)
{
    (void)state;
    uint32_t random = 1;
    for (size_t i = 0; i < sizeof text; i++) { /* compresses to about a half */
        random = random * 1664525 + 1013904223;
        text[i] = "etaoin shrdlu\n.,"[random >> 28];
    }
    budget = (struct memory_budget){ .max = PLENTY };
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return atomic_load(&budget.taken) == 0 ? 0 : -1;
}

/* ---- coding, to be freed */

static char *deflate_text(int window_bits, size_t text_len, size_t *ret_len)
{
    z_stream zlib = { 0 };
    char *coded = malloc(CODED_MAX);
    assert_int_equal(deflateInit2(&zlib, 9, Z_DEFLATED, window_bits, 9, Z_DEFAULT_STRATEGY), Z_OK);
    zlib.next_in = (Bytef *)text;
    zlib.avail_in = (unsigned)text_len;
    zlib.next_out = (Bytef *)coded;
    zlib.avail_out = CODED_MAX;
    assert_int_equal(deflate(&zlib, Z_FINISH), Z_STREAM_END);
    *ret_len = zlib.total_out;
    deflateEnd(&zlib);
    return coded;
}

static char *code(enum content_coding coding, size_t text_len, size_t *ret_len)
{
    char *coded;
    switch (coding) {
    case CODING_GZIP:
        return deflate_text(15 + 16, text_len, ret_len);
    case CODING_DEFLATE:
        return deflate_text(15, text_len, ret_len);
    case CODING_BROTLI:
        coded = malloc(CODED_MAX);
        *ret_len = CODED_MAX;
        assert_true(
            BrotliEncoderCompress(5, 22, BROTLI_MODE_TEXT, text_len, (const uint8_t *)text, ret_len, (uint8_t *)coded));
        return coded;
    case CODING_ZSTD:
        coded = malloc(CODED_MAX);
        *ret_len = ZSTD_compress(coded, CODED_MAX, text, text_len, 3);
        assert_false(ZSTD_isError(*ret_len));
        return coded;
    case CODING_NONE:
    case CODING_UNKNOWN:
        break;
    }
    fail();
    return NULL;
}

static const enum content_coding codings[] = { CODING_GZIP, CODING_DEFLATE, CODING_BROTLI, CODING_ZSTD };

/* ---- decoding */

struct decoded {
    enum decoder_verdict verdict;
    bool is_complete;
    struct buf bytes;
};

/* In pieces of in_size bytes, through a window of out_size. */
static struct decoded decode(enum content_coding coding, const char *coded, size_t len, size_t in_size, size_t out_size)
{
    struct decoded result = { .bytes = BUF_INIT(CODED_MAX) };
    atomic_fetch_add(&budget.taken, content_decoder_bytes(coding));
    struct content_decoder *decoder = content_decoder_new(coding, &budget, content_decoder_bytes(coding), false);
    char *out = malloc(out_size);
    assert_non_null(decoder);
    for (size_t at = 0; at < len && result.verdict == DECODER_GOES_ON;) {
        size_t size = len - at < in_size ? len - at : in_size, left = size, out_len = out_size;
        char *piece = malloc(size); /* so that a sanitizer sees a look beyond it */
        const char *input = piece;
        memcpy(piece, coded + at, size);
        while (result.verdict == DECODER_GOES_ON && (left > 0 || out_len == out_size)) {
            result.verdict = content_decoder_run(decoder, &input, &left, out, out_size, &out_len);
            buf_append(&result.bytes, out, out_len);
        }
        free(piece);
        at += size;
    }
    result.is_complete = content_decoder_is_complete(decoder);
    content_decoder_free(decoder);
    free(out);
    return result;
}

static void expect_text(struct decoded result, size_t text_len)
{
    assert_int_equal(result.verdict, DECODER_GOES_ON);
    assert_true(result.is_complete);
    assert_int_equal(result.bytes.len, text_len);
    assert_memory_equal(result.bytes.data, text, text_len);
    buf_done(&result.bytes);
}

static void expect_broken(struct decoded result)
{
    assert_int_equal(result.verdict, DECODER_IS_BROKEN);
    buf_done(&result.bytes);
}

/* ---- honest */

static void names__as_registered__any_case(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        enum content_coding coding;
    } cases[] = {
        { "gzip", CODING_GZIP },        { "GZip", CODING_GZIP },
        { "x-gzip", CODING_GZIP },      { "deflate", CODING_DEFLATE },
        { "br", CODING_BROTLI },        { "zstd", CODING_ZSTD },
        { "identity", CODING_NONE },    { "", CODING_NONE },
        { "b", CODING_UNKNOWN },        { "brr", CODING_UNKNOWN },
        { "compress", CODING_UNKNOWN }, { "gzip, br", CODING_UNKNOWN },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(content_coding_of(cases[i].value, strlen(cases[i].value)), cases[i].coding);
}

static void decode__pieces_of_any_size__the_text(void **state)
{
    (void)state;
    static const size_t sizes[] = { 1, 2, 3, 100, 16384, CODED_MAX };
    for (size_t c = 0; c < sizeof codings / sizeof *codings; c++) {
        size_t len;
        char *coded = code(codings[c], TEXT_BYTES, &len);
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
            for (size_t o = 0; o < sizeof sizes / sizeof *sizes; o++)
                expect_text(decode(codings[c], coded, len, sizes[i], sizes[o]), TEXT_BYTES);
        free(coded);
    }
}

static void decode__nothing_coded__nothing(void **state)
{
    (void)state;
    for (size_t c = 0; c < sizeof codings / sizeof *codings; c++) {
        size_t len;
        char *coded = code(codings[c], 0, &len);
        expect_text(decode(codings[c], coded, len, 1, 16), 0);
        free(coded);
    }
}

/* Some send RFC 1951 where RFC 9110 says RFC 1950. */
static void deflate__without_its_frame__decoded_too(void **state)
{
    (void)state;
    for (size_t text_len = 0; text_len < 600; text_len += 7) {
        size_t len;
        char *coded = deflate_text(-15, text_len, &len);
        for (size_t size = 1; size < 4; size++)
            expect_text(decode(CODING_DEFLATE, coded, len, size, 100), text_len);
        free(coded);
    }
}

static void members_and_frames__one_after_the_other__all(void **state)
{
    (void)state;
    for (size_t c = 0; c < sizeof codings / sizeof *codings; c++) {
        size_t len;
        char *coded = code(codings[c], TEXT_BYTES / 2, &len);
        memcpy(coded + len, coded, len);
        for (size_t size = 1; size < 20000; size += 6666) {
            struct decoded result = decode(codings[c], coded, 2 * len, size, 16384);
            if (codings[c] != CODING_GZIP && codings[c] != CODING_ZSTD) { /* have no such thing */
                expect_broken(result);
                continue;
            }
            assert_true(result.is_complete && result.verdict == DECODER_GOES_ON);
            assert_int_equal(result.bytes.len, TEXT_BYTES);
            assert_memory_equal(result.bytes.data + TEXT_BYTES / 2, text, TEXT_BYTES / 2);
            buf_done(&result.bytes);
        }
        free(coded);
    }
}

/* ---- not honest */

static void decode__cut_anywhere__not_complete(void **state)
{
    (void)state;
    for (size_t c = 0; c < sizeof codings / sizeof *codings; c++) {
        size_t len;
        char *coded = code(codings[c], 3000, &len);
        for (size_t cut = 1; cut < len; cut++) {
            struct decoded result = decode(codings[c], coded, len - cut, CODED_MAX, 16384);
            if (result.is_complete || result.verdict != DECODER_GOES_ON)
                fail_msg("coding %zu without its last %zu bytes", c, cut);
            buf_done(&result.bytes);
        }
        free(coded);
    }
}

static void decode__bytes_behind_the_end__broken(void **state)
{
    (void)state;
    for (size_t c = 0; c < sizeof codings / sizeof *codings; c++) {
        size_t len;
        char *coded = code(codings[c], 3000, &len);
        memcpy(coded + len, "tail", 4);
        expect_broken(decode(codings[c], coded, len + 4, CODED_MAX, 16384));
        expect_broken(decode(codings[c], coded, len + 4, len, 16384));
        expect_broken(decode(codings[c], coded, len + 4, 1, 1));
        free(coded);
    }
}

static void decode__another_coding__broken(void **state)
{
    (void)state;
    for (size_t c = 0; c < sizeof codings / sizeof *codings; c++) {
        size_t len;
        char *coded = code(codings[(c + 1) % 4], 3000, &len);
        expect_broken(decode(codings[c], coded, len, CODED_MAX, 16384));
        free(coded);
    }
}

/* ---- memory */

/* A brotli window of 16 MiB, as a body of unknown length needs it. */
static char *code_wide_brotli(size_t *ret_len)
{
    BrotliEncoderState *encoder = BrotliEncoderCreateInstance(NULL, NULL, NULL);
    char *coded = malloc(CODED_MAX);
    size_t in_len = TEXT_BYTES, out_len = CODED_MAX;
    const uint8_t *in = (const uint8_t *)text;
    uint8_t *out = (uint8_t *)coded;
    BrotliEncoderSetParameter(encoder, BROTLI_PARAM_LGWIN, 24);
    BrotliEncoderSetParameter(encoder, BROTLI_PARAM_QUALITY, 5);
    assert_true(BrotliEncoderCompressStream(encoder, BROTLI_OPERATION_FLUSH, &in_len, &in, &out_len, &out, NULL));
    *ret_len = CODED_MAX - out_len;
    BrotliEncoderDestroyInstance(encoder);
    return coded;
}

static char *code_wide_zstd(int window_log, size_t *ret_len)
{
    ZSTD_CCtx *context = ZSTD_createCCtx();
    char *coded = malloc(CODED_MAX);
    ZSTD_inBuffer in = { text, TEXT_BYTES, 0 };
    ZSTD_outBuffer out = { coded, CODED_MAX, 0 };
    ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, window_log);
    assert_false(ZSTD_isError(ZSTD_compressStream2(context, &out, &in, ZSTD_e_flush)));
    *ret_len = out.pos;
    ZSTD_freeCCtx(context);
    return coded;
}

/* The origin chooses how much a window takes; the budget says whether it gets it. */
static void window__larger_than_the_budget__no_memory(void **state)
{
    (void)state;
    size_t brotli_len, zstd_len;
    char *brotli = code_wide_brotli(&brotli_len), *zstd = code_wide_zstd(23, &zstd_len);
    struct decoded results[] = { decode(CODING_BROTLI, brotli, brotli_len, 1000, 16384),
                                 decode(CODING_ZSTD, zstd, zstd_len, 1000, 16384) };
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(results[i].verdict, DECODER_GOES_ON);
        assert_int_equal(results[i].bytes.len, TEXT_BYTES);
        buf_done(&results[i].bytes);
    }
    budget.max = 100 * 1024; /* its window grows with what has come out */
    struct decoded of_brotli = decode(CODING_BROTLI, brotli, brotli_len, 1000, 16384);
    budget.max = 4 << 20;
    struct decoded refused[] = { of_brotli, decode(CODING_ZSTD, zstd, zstd_len, 1000, 16384) };
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(refused[i].verdict, DECODER_HAS_NO_MEMORY);
        buf_done(&refused[i].bytes);
    }
    budget.reserve_max = PLENTY;
    struct decoded grown = decode(CODING_ZSTD, zstd, zstd_len, 1000, 16384);
    assert_int_equal(grown.verdict, DECODER_GOES_ON);
    buf_done(&grown.bytes);
    assert_int_equal(atomic_load(&budget.reserved), 0);
    free(brotli);
    free(zstd);
}

static void zstd__window_above_8_mib__broken(void **state)
{
    (void)state;
    size_t len;
    char *coded = code_wide_zstd(24, &len);
    expect_broken(decode(CODING_ZSTD, coded, len, 1000, 16384));
    free(coded);
}

/* What the owner takes in advance is enough for what is usual. */
static void ordinary_bodies__budget_is_empty__decoded(void **state)
{
    (void)state;
    budget.max = 0;
    for (size_t c = 0; c < sizeof codings / sizeof *codings; c++) {
        size_t len;
        char *coded = code(codings[c], c == 3 ? 0 : 3000, &len);
        expect_text(decode(codings[c], coded, len, 1000, 16384), c == 3 ? 0 : 3000);
        free(coded);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(names__as_registered__any_case, setup, teardown),
        cmocka_unit_test_setup_teardown(decode__pieces_of_any_size__the_text, setup, teardown),
        cmocka_unit_test_setup_teardown(decode__nothing_coded__nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(deflate__without_its_frame__decoded_too, setup, teardown),
        cmocka_unit_test_setup_teardown(members_and_frames__one_after_the_other__all, setup, teardown),
        cmocka_unit_test_setup_teardown(decode__cut_anywhere__not_complete, setup, teardown),
        cmocka_unit_test_setup_teardown(decode__bytes_behind_the_end__broken, setup, teardown),
        cmocka_unit_test_setup_teardown(decode__another_coding__broken, setup, teardown),
        cmocka_unit_test_setup_teardown(window__larger_than_the_budget__no_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(zstd__window_above_8_mib__broken, setup, teardown),
        cmocka_unit_test_setup_teardown(ordinary_bodies__budget_is_empty__decoded, setup, teardown),
    };
    return cmocka_run_group_tests_name("content_decoder", tests, NULL, NULL);
}
