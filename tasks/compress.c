/* compress: bytes to gzip, deflate (as HTTP means it: the zlib format) or zstd, by zlib and libzstd.
 *
 * The output is produced in pieces and appended to the result, so that the limit on results is also the limit on
 * memory. Equal input gives equal output: no time and no name is stored. */
#define ZLIB_CONST /* its input is const */
#include "tasks/builtin.h"

#include <zlib.h>
#include <zstd.h>

#include "tasks/subject.h"

enum { PIECE_BYTES = 32 * 1024, TEXT_MAX_BYTES = 1024 * 1024 };
enum { GZIP_WINDOW_BITS = 16 + MAX_WBITS, ZLIB_WINDOW_BITS = MAX_WBITS, ZLIB_MEMORY_LEVEL = 8, ZLIB_LEVEL_MAX = 9 };

enum format { GZIP, DEFLATE, ZSTD, FORMAT_COUNT };

static const char *const format_names[FORMAT_COUNT + 1] = { [GZIP] = "gzip", [DEFLATE] = "deflate", [ZSTD] = "zstd" };

enum { ARG_FORMAT, ARG_LEVEL, ARG_TEXT };

static const struct param params[] = {
    [ARG_FORMAT] = { .name = "format",
                     .description = "gzip (RFC 1952), deflate (RFC 1950, as in HTTP) or zstd (RFC 8878).",
                     .kind = PARAM_ENUM,
                     .choices = format_names,
                     .default_text = "gzip" },
    [ARG_LEVEL] = { .name = "level",
                    .description = "1 is the fastest; gzip and deflate go to 9 (6 unless given), zstd to 19 (3).",
                    .kind = PARAM_INT,
                    .minimum = 1,
                    .maximum = 19 },
    [ARG_TEXT] = { .name = "text",
                   .description = "What to compress, as UTF-8; give this or a binary body, not both.",
                   .kind = PARAM_STRING,
                   .maximum = TEXT_MAX_BYTES },
    { .name = NULL },
};

static enum status no_memory(struct task_output *output)
{
    return task_fail(output, ST_NO_MEMORY, "no memory for the compressor");
}

static enum status compress_zlib(const struct subject *subject, int level, int window_bits, struct task_output *output)
{
    z_stream stream = { .next_in = (const Bytef *)subject->bytes, .avail_in = (uInt)subject->len };
    if (deflateInit2(&stream, level, Z_DEFLATED, window_bits, ZLIB_MEMORY_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK)
        return no_memory(output);
    int outcome = Z_OK;
    while (outcome == Z_OK && !output->result->failed) {
        unsigned char piece[PIECE_BYTES] UNINITIALIZED;
        stream.next_out = piece;
        stream.avail_out = sizeof piece;
        outcome = deflate(&stream, Z_FINISH);
        buf_append(output->result, piece, sizeof piece - stream.avail_out);
    }
    (void)deflateEnd(&stream);
    return ST_OK;
}

static enum status compress_zstd(const struct subject *subject, int level, struct task_output *output)
{
    ZSTD_CCtx *context = ZSTD_createCCtx();
    if (!context)
        return no_memory(output);
    ZSTD_inBuffer in = { .src = subject->bytes, .size = subject->len };
    size_t left = ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level);
    if (!ZSTD_isError(left))
        left = ZSTD_CCtx_setPledgedSrcSize(context, subject->len); /* else the window would not fit the input */
    do {
        unsigned char piece[PIECE_BYTES] UNINITIALIZED;
        ZSTD_outBuffer out = { .dst = piece, .size = sizeof piece };
        if (!ZSTD_isError(left))
            left = ZSTD_compressStream2(context, &out, &in, ZSTD_e_end);
        buf_append(output->result, piece, out.pos);
    } while (left > 0 && !ZSTD_isError(left) && !output->result->failed);
    (void)ZSTD_freeCCtx(context);
    return ZSTD_isError(left) ? no_memory(output) : ST_OK;
}

static enum status run(const struct task_input *input, struct task_output *output)
{
    const enum format format = (enum format)input->args[ARG_FORMAT].number;
    const struct arg *level = &input->args[ARG_LEVEL];
    if (format != ZSTD && level->number > ZLIB_LEVEL_MAX)
        return task_fail(output, ST_INVALID_ARGS, "level must be at most %d for %s", ZLIB_LEVEL_MAX,
                         format_names[format]);
    struct subject subject;
    const enum status status = subject_take(input, &input->args[ARG_TEXT], "text", output, &subject);
    if (status != ST_OK)
        return status;
    output->is_binary = true;
    if (format == ZSTD)
        return compress_zstd(&subject, level->is_set ? (int)level->number : ZSTD_CLEVEL_DEFAULT, output);
    return compress_zlib(&subject, level->is_set ? (int)level->number : Z_DEFAULT_COMPRESSION,
                         format == GZIP ? GZIP_WINDOW_BITS : ZLIB_WINDOW_BITS, output);
}

const struct task compress_task = {
    .name = "compress",
    .description = "A binary body or a text, compressed with gzip, deflate or zstd. The result is bytes.",
    .params = params,
    .takes_payload = true,
    .is_idempotent = true,
    .run = run,
};
