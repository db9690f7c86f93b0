/* decompress: what gzip, deflate (the zlib format), zstd or br stands for, by zlib, libzstd and libbrotli.
 *
 * Each format has a step() that decodes one piece and says where it stands; one loop feeds them all, appends the pieces
 * to the result and enforces the limits:
 * - the result's own, which is met before more than a piece too much was decoded;
 * - a ratio, for what a small input may cost: checked above RATIO_FREE_BYTES, since small outputs cost nothing.
 * The input must be whole and nothing else: a member that ends early, bytes behind the last one and an empty input are
 * failures that say so. gzip members and zstd frames may follow one another (RFC 1952 section 2.2, RFC 8878 section
 * 3.1); deflate and br have no such notion. */
#define ZLIB_CONST /* its input is const */
#include "tasks/builtin.h"

#include <brotli/decode.h>
#include <inttypes.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

enum { PIECE_BYTES = 32 * 1024, RATIO_FREE_BYTES = 1024 * 1024 };
enum { GZIP_WINDOW_BITS = 16 + MAX_WBITS, ZLIB_WINDOW_BITS = MAX_WBITS };
enum { ZSTD_WINDOW_LOG_MAX = 27 }; /* 128 MiB, of which only as much is used as the result is long */

enum format { GZIP, DEFLATE, ZSTD, BR, FORMAT_COUNT };

static const char *const format_names[FORMAT_COUNT + 1] = {
    [GZIP] = "gzip",
    [DEFLATE] = "deflate",
    [ZSTD] = "zstd",
    [BR] = "br",
};

enum { ARG_FORMAT, ARG_MAX_RATIO };

static const struct param params[] = {
    [ARG_FORMAT] = { .name = "format",
                     .description =
                         "gzip (RFC 1952), deflate (RFC 1950, as in HTTP), zstd (RFC 8878) or br (RFC 7932).",
                     .kind = PARAM_ENUM,
                     .choices = format_names,
                     .default_text = "gzip" },
    [ARG_MAX_RATIO] = { .name = "max_ratio",
                        .description = "Above 1 MiB: the most bytes that each byte of the input may become.",
                        .kind = PARAM_INT,
                        .minimum = 1,
                        .maximum = 1000 * 1000,
                        .default_text = "1000" },
    { .name = NULL },
};

enum progress { MORE, MEMBER_DONE, BROKEN, OUT_OF_MEMORY };

struct decoder {
    enum format format;
    const unsigned char *input;
    size_t input_len, used; /* of the input */
    const char *reason;     /* of BROKEN, static; NULL if the library gives none */
    z_stream zlib;
    ZSTD_DStream *zstd;
    BrotliDecoderState *brotli;
};

static bool open_decoder(struct decoder *decoder)
{
    switch (decoder->format) {
    case GZIP:
        return inflateInit2(&decoder->zlib, GZIP_WINDOW_BITS) == Z_OK;
    case DEFLATE:
        return inflateInit2(&decoder->zlib, ZLIB_WINDOW_BITS) == Z_OK;
    case ZSTD:
        decoder->zstd = ZSTD_createDStream();
        return decoder->zstd &&
               !ZSTD_isError(ZSTD_DCtx_setParameter(decoder->zstd, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX));
    case BR:
        decoder->brotli = BrotliDecoderCreateInstance(NULL, NULL, NULL);
        return decoder->brotli != NULL;
    case FORMAT_COUNT:
        break;
    }
    return false;
}

static void close_decoder(struct decoder *decoder)
{
    if (decoder->format == GZIP || decoder->format == DEFLATE)
        (void)inflateEnd(&decoder->zlib); /* copes with what inflateInit2() refused */
    (void)ZSTD_freeDStream(decoder->zstd);
    if (decoder->brotli)
        BrotliDecoderDestroyInstance(decoder->brotli);
}

/* The three: decode up to `room` bytes to `to`; *ret_len says how many there are. */

static enum progress step_zlib(struct decoder *decoder, unsigned char *to, size_t room, size_t *ret_len)
{
    z_stream *stream = &decoder->zlib;
    stream->next_in = decoder->input + decoder->used;
    stream->avail_in = (uInt)(decoder->input_len - decoder->used);
    stream->next_out = to;
    stream->avail_out = (uInt)room;
    const int outcome = inflate(stream, Z_NO_FLUSH);
    decoder->used = decoder->input_len - stream->avail_in;
    *ret_len = room - stream->avail_out;
    switch (outcome) {
    case Z_STREAM_END:
        (void)inflateReset(stream);
        return MEMBER_DONE;
    case Z_OK:
    case Z_BUF_ERROR: /* there is nothing left to read */
        return MORE;
    case Z_MEM_ERROR:
        return OUT_OF_MEMORY;
    case Z_NEED_DICT:
        decoder->reason = "it needs a dictionary";
        return BROKEN;
    default:
        decoder->reason = stream->msg;
        return BROKEN;
    }
}

static enum progress step_zstd(struct decoder *decoder, unsigned char *to, size_t room, size_t *ret_len)
{
    ZSTD_inBuffer in = { .src = decoder->input, .size = decoder->input_len, .pos = decoder->used };
    ZSTD_outBuffer out = { .dst = to, .size = room };
    const size_t outcome = ZSTD_decompressStream(decoder->zstd, &out, &in);
    decoder->used = in.pos;
    *ret_len = out.pos;
    if (!ZSTD_isError(outcome))
        return outcome == 0 ? MEMBER_DONE : MORE;
    decoder->reason = ZSTD_getErrorName(outcome);
    return ZSTD_getErrorCode(outcome) == ZSTD_error_memory_allocation ? OUT_OF_MEMORY : BROKEN;
}

static enum progress step_brotli(struct decoder *decoder, unsigned char *to, size_t room, size_t *ret_len)
{
    size_t in_left = decoder->input_len - decoder->used, out_left = room;
    const unsigned char *in = decoder->input + decoder->used;
    const BrotliDecoderResult outcome =
        BrotliDecoderDecompressStream(decoder->brotli, &in_left, &in, &out_left, &to, NULL);
    decoder->used = decoder->input_len - in_left;
    *ret_len = room - out_left;
    if (outcome == BROTLI_DECODER_RESULT_SUCCESS)
        return MEMBER_DONE;
    if (outcome != BROTLI_DECODER_RESULT_ERROR)
        return MORE;
    const BrotliDecoderErrorCode code = BrotliDecoderGetErrorCode(decoder->brotli);
    decoder->reason = BrotliDecoderErrorString(code);
    const bool is_memory =
        code <= BROTLI_DECODER_ERROR_ALLOC_CONTEXT_MODES && code >= BROTLI_DECODER_ERROR_ALLOC_BLOCK_TYPE_TREES;
    return is_memory ? OUT_OF_MEMORY : BROKEN;
}

static enum progress step(struct decoder *decoder, unsigned char *to, size_t room, size_t *ret_len)
{
    if (decoder->format == ZSTD)
        return step_zstd(decoder, to, room, ret_len);
    if (decoder->format == BR)
        return step_brotli(decoder, to, room, ret_len);
    return step_zlib(decoder, to, room, ret_len);
}

/* Does what follows a member look like the next one? */
static bool is_next_member(const struct decoder *decoder)
{
    const unsigned char *at = decoder->input + decoder->used;
    const size_t left = decoder->input_len - decoder->used;
    if (decoder->format == GZIP)
        return at[0] == 0x1f && (left < 2 || at[1] == 0x8b);
    if (decoder->format != ZSTD)
        return false;
    static const unsigned char frame[] = { 0x28, 0xb5, 0x2f, 0xfd }, skippable[] = { 0x2a, 0x4d, 0x18 };
    const size_t len = left < sizeof frame ? left : sizeof frame;
    if (memcmp(at, frame, len) == 0)
        return true;
    return at[0] >= 0x50 && at[0] <= 0x5f && memcmp(at + 1, skippable, len - 1) == 0;
}

static enum status fail_broken(const struct decoder *decoder, struct task_output *output)
{
    return task_fail(output, ST_TASK_FAILED, "the %s cannot be decoded, near byte %zu%s%s",
                     format_names[decoder->format], decoder->used, decoder->reason ? ": " : "",
                     decoder->reason ? decoder->reason : "");
}

static enum status fail_truncated(const struct decoder *decoder, struct task_output *output)
{
    if (decoder->input_len == 0)
        return task_fail(output, ST_TASK_FAILED, "the %s is empty", format_names[decoder->format]);
    return task_fail(output, ST_TASK_FAILED, "the %s is truncated: it ends at byte %zu, within a member",
                     format_names[decoder->format], decoder->input_len);
}

/* The limits on what was decoded so far. */
static enum status check_limits(const struct decoder *decoder, int64_t max_ratio, struct task_output *output)
{
    const struct buf *result = output->result;
    if (result->failed)
        return task_fail(output, ST_RESULT_TOO_LARGE, "it decodes to more than the %zu bytes that a result may have",
                         result->max);
    if (result->len > RATIO_FREE_BYTES && (result->len - 1) / (uint64_t)max_ratio >= decoder->input_len)
        return task_fail(output, ST_TASK_FAILED, "it decodes to more than %" PRId64 " times its size (max_ratio)",
                         max_ratio);
    return ST_OK;
}

static enum status decode(struct decoder *decoder, int64_t max_ratio, struct task_output *output)
{
    unsigned char piece[PIECE_BYTES] UNINITIALIZED;
    for (;;) {
        size_t len = 0;
        const enum progress progress = step(decoder, piece, sizeof piece, &len);
        buf_append(output->result, piece, len);
        const enum status status = check_limits(decoder, max_ratio, output);
        if (status != ST_OK)
            return status;
        if (progress == OUT_OF_MEMORY)
            return task_fail(output, ST_NO_MEMORY, "no memory for the decoder");
        if (progress == BROKEN)
            return fail_broken(decoder, output);
        const bool is_all_used = decoder->used == decoder->input_len;
        if (progress == MEMBER_DONE && is_all_used)
            return ST_OK;
        if (progress == MEMBER_DONE && !is_next_member(decoder))
            return task_fail(output, ST_TASK_FAILED, "%zu bytes follow the end of the %s at byte %zu",
                             decoder->input_len - decoder->used, format_names[decoder->format], decoder->used);
        if (progress == MORE && is_all_used && len < sizeof piece)
            return fail_truncated(decoder, output);
    }
}

static enum status run(const struct task_input *input, struct task_output *output)
{
    if (!input->payload)
        return task_fail(output, ST_INVALID_ARGS, "give the bytes to decompress as a binary body");
    struct decoder decoder = { .format = (enum format)input->args[ARG_FORMAT].number,
                               .input = input->payload,
                               .input_len = input->payload_len };
    enum status status;
    if (input->payload_len == 0)
        status = fail_truncated(&decoder, output);
    else if (!open_decoder(&decoder))
        status = task_fail(output, ST_NO_MEMORY, "no memory for the decoder");
    else
        status = decode(&decoder, input->args[ARG_MAX_RATIO].number, output);
    close_decoder(&decoder);
    output->is_binary = status == ST_OK;
    return status;
}

const struct task decompress_task = {
    .name = "decompress",
    .description = "What a gzip, deflate, zstd or br body stands for. The result is bytes.",
    .params = params,
    .takes_payload = true,
    .is_idempotent = true,
    .run = run,
};
