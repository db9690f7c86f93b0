/* content_decoder: undoes a content coding of a body, piece by piece: gzip (RFC 1952, several members), deflate (RFC
 * 1950, and the bare RFC 1951 that some send), br (RFC 7932), zstd (RFC 8878, several frames, windows up to the 8 MiB
 * of RFC 9659).
 *
 * Why not libcurl's: it decodes all it has received at once, also what a paused transfer cannot take (16 KiB of a bomb
 * become 16 MiB, for each of them), it does not tell of a body that ends early, and the origin chooses how much memory
 * a window takes. This one takes its memory from the budget. Not thread-safe. */
#ifndef TWINPOOL_POOL_CONTENT_DECODER_H
#define TWINPOOL_POOL_CONTENT_DECODER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/attrs.h"
#include "pool/memory_budget.h"

/* What a request says that it accepts. */
#define CONTENT_CODINGS_ACCEPTED "gzip, deflate, br, zstd"

enum content_coding { CODING_NONE, CODING_GZIP, CODING_DEFLATE, CODING_BROTLI, CODING_ZSTD, CODING_UNKNOWN };

/* Of the value of a Content-Encoding field; more than one coding is CODING_UNKNOWN. */
enum content_coding content_coding_of(const char *value, size_t len) NONNULL MUST_CHECK;

enum decoder_verdict { DECODER_GOES_ON, DECODER_IS_BROKEN, DECODER_HAS_NO_MEMORY };

struct content_decoder; /* opaque */

/* What every decoder of the coding needs, in bytes; a larger window takes more. */
size_t content_decoder_bytes(enum content_coding coding) MUST_CHECK;

/* The caller has taken `bytes` of the budget, at least content_decoder_bytes(), with memory_take_decoder();
 * content_decoder_free() gives them back, with what was taken beyond, or ends the exemption. NULL: no memory; that is
 * done at once. */
struct content_decoder *content_decoder_new(enum content_coding coding, struct memory_budget *budget, size_t bytes,
                                            bool is_exempt) NONNULL MUST_CHECK;
void content_decoder_free(struct content_decoder *decoder); /* NULL is a no-op */

/* Decodes from *input, which moves on as *input_len falls, until that is used up or `out` is full: then there may be
 * more to come without any input. */
enum decoder_verdict content_decoder_run(struct content_decoder *decoder, const char **input, size_t *input_len,
                                         char *out, size_t out_size, size_t *ret_out_len) NONNULL MUST_CHECK;

/* After DECODER_HAS_NO_MEMORY: with how many bytes it would have come further. */
size_t content_decoder_wanted(const struct content_decoder *decoder) NONNULL MUST_CHECK;

/* Does the coded body end where the input has ended? */
bool content_decoder_is_complete(const struct content_decoder *decoder) NONNULL MUST_CHECK;

#endif
