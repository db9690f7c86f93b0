/* content_decoder: one struct for three libraries, all of which are given our allocator. */
#define ZLIB_CONST
#define ZSTD_STATIC_LINKING_ONLY /* for ZSTD_createDCtx_advanced() and its allocator */

#include "pool/content_decoder.h"

#include <brotli/decode.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

enum { GZIP_WINDOW_BITS = 15 + 16, ZLIB_WINDOW_BITS = 15, RAW_WINDOW_BITS = -15, ZSTD_WINDOW_LOG_MAX = 23 };

struct content_decoder {
    enum content_coding coding;
    struct memory_budget *budget;
    bool is_exempt;
    struct memory_grant grant;
    size_t used_bytes;   /* by the library */
    size_t wanted_bytes; /* 0: it had all that it wanted */
    bool is_complete;    /* a member or frame, or the whole */
    z_stream zlib;
    bool may_be_raw; /* no byte of the deflate coding has come out yet */
    char first_byte; /* of it, in case that it has to be read again */
    size_t first_bytes;
    BrotliDecoderState *brotli;
    ZSTD_DCtx *zstd;
};

/* Before each block: its size, for the library does not tell when it frees it. */
union block_head {
    size_t size;
    max_align_t aligned;
};

enum content_coding content_coding_of(const char *value, size_t len)
{
    static const struct {
        const char *name;
        enum content_coding coding;
    } names[] = { { "", CODING_NONE },       { "identity", CODING_NONE },   { "gzip", CODING_GZIP },
                  { "x-gzip", CODING_GZIP }, { "deflate", CODING_DEFLATE }, { "br", CODING_BROTLI },
                  { "zstd", CODING_ZSTD } };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strlen(names[i].name) == len && strncasecmp(names[i].name, value, len) == 0)
            return names[i].coding;
    return CODING_UNKNOWN;
}

/* ---- memory */

/* Measured with the libraries of Debian 12 and 13; tests/unit/test_content_decoder.c asserts that it is enough. */
size_t content_decoder_bytes(enum content_coding coding)
{
    enum { INFLATE_BYTES = 48 * 1024, BROTLI_BYTES = 64 * 1024, ZSTD_BYTES = 256 * 1024 };
    return coding == CODING_ZSTD ? ZSTD_BYTES : coding == CODING_BROTLI ? BROTLI_BYTES : INFLATE_BYTES;
}

static void *allocate(void *user, size_t size)
{
    struct content_decoder *decoder = user;
    size_t used = decoder->used_bytes + size, owned = decoder->grant.taken + decoder->grant.reserved;
    union block_head *head = NULL;
    if (decoder->is_exempt || used <= owned || memory_take_growth(decoder->budget, used - owned, &decoder->grant))
        head = malloc(sizeof *head + size);
    if (!head) {
        decoder->wanted_bytes = used;
        return NULL;
    }
    head->size = size;
    decoder->used_bytes = used;
    return head + 1;
}

static void release(void *user, void *block)
{
    struct content_decoder *decoder = user;
    if (!block)
        return;
    union block_head *head = (union block_head *)block - 1;
    decoder->used_bytes -= head->size;
    free(head);
}

static void *allocate_for_zlib(void *user, unsigned items, unsigned size)
{
    return allocate(user, (size_t)items * size);
}

/* ---- life */

static bool open(struct content_decoder *decoder)
{
    switch (decoder->coding) {
    case CODING_GZIP:
        return inflateInit2(&decoder->zlib, GZIP_WINDOW_BITS) == Z_OK;
    case CODING_DEFLATE:
        decoder->may_be_raw = true;
        return inflateInit2(&decoder->zlib, ZLIB_WINDOW_BITS) == Z_OK;
    case CODING_BROTLI:
        decoder->brotli = BrotliDecoderCreateInstance(allocate, release, decoder);
        return decoder->brotli != NULL;
    case CODING_ZSTD:
        decoder->zstd = ZSTD_createDCtx_advanced((ZSTD_customMem){ allocate, release, decoder });
        return decoder->zstd &&
               !ZSTD_isError(ZSTD_DCtx_setParameter(decoder->zstd, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX));
    case CODING_NONE:
    case CODING_UNKNOWN:
        break;
    }
    return false;
}

static void settle(struct memory_budget *budget, struct memory_grant *grant, bool is_exempt)
{
    memory_give_back(budget, grant);
    if (is_exempt)
        memory_end_exemption(budget);
}

struct content_decoder *content_decoder_new(enum content_coding coding, struct memory_budget *budget, size_t bytes,
                                            bool is_exempt)
{
    struct memory_grant grant = { .taken = is_exempt ? 0 : bytes };
    struct content_decoder *decoder = calloc(1, sizeof *decoder);
    if (!decoder) {
        settle(budget, &grant, is_exempt);
        return NULL;
    }
    decoder->coding = coding;
    decoder->grant = grant;
    decoder->is_exempt = is_exempt;
    decoder->budget = budget;
    decoder->zlib.zalloc = allocate_for_zlib;
    decoder->zlib.zfree = release;
    decoder->zlib.opaque = decoder;
    if (open(decoder))
        return decoder;
    content_decoder_free(decoder);
    return NULL;
}

void content_decoder_free(struct content_decoder *decoder)
{
    if (!decoder)
        return;
    inflateEnd(&decoder->zlib); /* of one that was never begun, it says so and does nothing */
    if (decoder->brotli)
        BrotliDecoderDestroyInstance(decoder->brotli);
    ZSTD_freeDCtx(decoder->zstd);
    settle(decoder->budget, &decoder->grant, decoder->is_exempt);
    free(decoder);
}

size_t content_decoder_wanted(const struct content_decoder *decoder) { return decoder->wanted_bytes; }

bool content_decoder_is_complete(const struct content_decoder *decoder) { return decoder->is_complete; }

/* ---- decoding: each makes one step and returns false if the input makes no sense */

/* What it took for the header of RFC 1950 were the first bytes of RFC 1951: they are read again. */
static bool begin_raw(struct content_decoder *decoder)
{
    z_stream *zlib = &decoder->zlib;
    const Bytef *input = zlib->next_in;
    size_t here = zlib->total_in - decoder->first_bytes; /* bytes read in this step */
    unsigned left = zlib->avail_in + (unsigned)here;
    bool is_raw = true;
    if (!decoder->may_be_raw || zlib->total_out > 0 || zlib->total_in > 2 ||
        inflateReset2(zlib, RAW_WINDOW_BITS) != Z_OK)
        return false;
    decoder->may_be_raw = false;
    if (decoder->first_bytes > 0) {
        zlib->next_in = (const Bytef *)&decoder->first_byte;
        zlib->avail_in = 1;
        is_raw = inflate(zlib, Z_NO_FLUSH) == Z_OK;
    }
    zlib->next_in = input - here;
    zlib->avail_in = left;
    return is_raw;
}

static bool step_zlib(struct content_decoder *decoder)
{
    z_stream *zlib = &decoder->zlib;
    if (decoder->is_complete) {
        if (decoder->coding != CODING_GZIP || inflateReset(zlib) != Z_OK) /* another member */
            return false;
        decoder->is_complete = false;
    }
    const char first = zlib->avail_in > 0 ? (char)*zlib->next_in : '\0';
    int result = inflate(zlib, Z_NO_FLUSH);
    if (result == Z_DATA_ERROR && decoder->coding == CODING_DEFLATE && begin_raw(decoder))
        result = inflate(zlib, Z_NO_FLUSH);
    if (zlib->total_in == 1 && decoder->first_bytes == 0) {
        decoder->first_byte = first;
        decoder->first_bytes = 1;
    }
    decoder->is_complete = result == Z_STREAM_END;
    return result == Z_OK || result == Z_BUF_ERROR || result == Z_STREAM_END;
}

static enum decoder_verdict run_zlib(struct content_decoder *decoder, const char **input, size_t *input_len, char *out,
                                     size_t out_size, size_t *ret_out_len)
{
    z_stream *zlib = &decoder->zlib;
    bool is_sane = true, is_done = false;
    zlib->next_in = (const Bytef *)*input;
    zlib->avail_in = (unsigned)*input_len;
    zlib->next_out = (Bytef *)out;
    zlib->avail_out = (unsigned)out_size;
    while (is_sane && !is_done && zlib->avail_out > 0) {
        unsigned in_before = zlib->avail_in, out_before = zlib->avail_out;
        if (decoder->is_complete && in_before == 0)
            break;
        is_sane = step_zlib(decoder);
        is_done = zlib->avail_in == in_before && zlib->avail_out == out_before; /* no progress: it wants more input */
    }
    *input = (const char *)zlib->next_in;
    *input_len = zlib->avail_in;
    *ret_out_len = out_size - zlib->avail_out;
    return is_sane ? DECODER_GOES_ON : DECODER_IS_BROKEN;
}

static enum decoder_verdict run_brotli(struct content_decoder *decoder, const char **input, size_t *input_len,
                                       char *out, size_t out_size, size_t *ret_out_len)
{
    const uint8_t *next_in = (const uint8_t *)*input;
    uint8_t *next_out = (uint8_t *)out;
    size_t out_left = out_size;
    bool is_sane = true;
    if (!decoder->is_complete) {
        BrotliDecoderResult result =
            BrotliDecoderDecompressStream(decoder->brotli, input_len, &next_in, &out_left, &next_out, NULL);
        decoder->is_complete = result == BROTLI_DECODER_RESULT_SUCCESS;
        is_sane = result != BROTLI_DECODER_RESULT_ERROR;
    }
    *input = (const char *)next_in;
    *ret_out_len = out_size - out_left;
    return is_sane && !(decoder->is_complete && *input_len > 0) ? DECODER_GOES_ON : DECODER_IS_BROKEN;
}

static enum decoder_verdict run_zstd(struct content_decoder *decoder, const char **input, size_t *input_len, char *out,
                                     size_t out_size, size_t *ret_out_len)
{
    ZSTD_inBuffer from = { *input, *input_len, 0 };
    ZSTD_outBuffer to = { out, out_size, 0 };
    bool is_sane = true, is_done = false;
    while (is_sane && !is_done && to.pos < to.size) {
        size_t in_before = from.pos, out_before = to.pos;
        if (decoder->is_complete && from.pos == from.size)
            break;
        size_t result = ZSTD_decompressStream(decoder->zstd, &to, &from);
        is_sane = !ZSTD_isError(result);
        decoder->is_complete = result == 0; /* a frame; another may follow */
        is_done = from.pos == in_before && to.pos == out_before;
    }
    *input += from.pos;
    *input_len -= from.pos;
    *ret_out_len = to.pos;
    return is_sane ? DECODER_GOES_ON : DECODER_IS_BROKEN;
}

enum decoder_verdict content_decoder_run(struct content_decoder *decoder, const char **input, size_t *input_len,
                                         char *out, size_t out_size, size_t *ret_out_len)
{
    enum decoder_verdict verdict =
        decoder->coding == CODING_BROTLI ? run_brotli(decoder, input, input_len, out, out_size, ret_out_len)
        : decoder->coding == CODING_ZSTD ? run_zstd(decoder, input, input_len, out, out_size, ret_out_len)
                                         : run_zlib(decoder, input, input_len, out, out_size, ret_out_len);
    return verdict == DECODER_IS_BROKEN && decoder->wanted_bytes > 0 ? DECODER_HAS_NO_MEMORY : verdict;
}
