/* h2_origin: an HTTP/2 origin over TLS that misbehaves in one way, on a thread of its own, one connection at a time.
 * tests/support/origin.h is for misbehaviour in HTTP/1. */
#ifndef TWINPOOL_TESTS_H2_ORIGIN_H
#define TWINPOOL_TESTS_H2_ORIGIN_H

#include <stdint.h>

#include "base/attrs.h"

/* What it answers a request with (RFC 9113 section 6). All but the last without end. */
enum h2_kind {
    H2_PINGS,      /* acknowledgements of PINGs that were never sent */
    H2_PRIORITY,   /* of the stream */
    H2_UNKNOWN,    /* frames of a type that does not exist */
    H2_EMPTY_DATA, /* after a good header, DATA without bytes */
    H2_REFUSED,    /* the stream is refused, and the connection stays open */
    H2_KINDS       /* how many there are */
};

struct h2_origin; /* opaque */

/* Listens on 127.0.0.1; `pem_path`: certificate and key, as certificates_write() makes them. NULL: could not. */
struct h2_origin *h2_origin_start(enum h2_kind kind, const char *pem_path) NONNULL MUST_CHECK;
void h2_origin_stop(struct h2_origin *origin); /* NULL is a no-op */

uint16_t h2_origin_port(const struct h2_origin *origin) NONNULL;

#endif
