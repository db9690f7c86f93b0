/* flood: an HTTP/2 origin over TLS that answers each request with frames that carry nothing for it, without end.
 *
 * On a thread of its own, one connection at a time. tests/support/origin.h is for misbehaviour in HTTP/1. */
#ifndef TWINPOOL_TESTS_FLOOD_H
#define TWINPOOL_TESTS_FLOOD_H

#include <stdint.h>

#include "base/attrs.h"

/* RFC 9113 section 6 */
enum flood_kind {
    FLOOD_PINGS,      /* acknowledgements of PINGs that were never sent */
    FLOOD_PRIORITY,   /* of the stream */
    FLOOD_UNKNOWN,    /* frames of a type that does not exist */
    FLOOD_EMPTY_DATA, /* after a good header, DATA without bytes */
    FLOOD_KINDS       /* how many there are */
};

struct flood; /* opaque */

/* Listens on 127.0.0.1; `pem_path`: certificate and key, as certificates_write() makes them. NULL: could not. */
struct flood *flood_start(enum flood_kind kind, const char *pem_path) NONNULL MUST_CHECK;
void flood_stop(struct flood *flood); /* NULL is a no-op */

uint16_t flood_port(const struct flood *flood) NONNULL;

#endif
