/* origin_request: one request to the test origin, as bytes in a buffer, and what is looked up in it. Pure. */
#ifndef TWINPOOL_TESTS_ORIGIN_REQUEST_H
#define TWINPOOL_TESTS_ORIGIN_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attrs.h"
#include "base/buf.h"

enum { ORIGIN_REQUEST_BYTES_MAX = 4 << 20 }; /* of the body */

/* Points into the bytes it was read from. */
struct origin_request {
    const char *method, *target; /* NUL-terminated */
    const char *fields;          /* field lines with their line ends */
    size_t fields_len;
    const char *body;
    size_t body_len;
    uint64_t seen; /* how many requests had its `key` parameter so far, with this one; 1 if it has none */
};

enum origin_parse { ORIGIN_PARSE_MORE, ORIGIN_PARSE_WHOLE, ORIGIN_PARSE_BAD };

/* Reads the request at the start of the bytes. ORIGIN_PARSE_WHOLE: it took *ret_len of them, in which NULs were
 * written; `seen` is the caller's to fill. A request for /early-answer is whole when its head is. */
enum origin_parse origin_request_parse(char *bytes, size_t len, struct origin_request *ret_request, size_t *ret_len)
    NONNULL;

/* Appends a query parameter, percent-decoded. False: there is none of that name. */
bool origin_query(const char *target, const char *name, struct buf *out) NONNULL;
uint64_t origin_query_number(const char *target, const char *name, uint64_t otherwise) NONNULL;

/* Appends the value of the first field of that name (any case). False: there is none. */
bool origin_field(const struct origin_request *request, const char *name, struct buf *out) NONNULL;

#endif
