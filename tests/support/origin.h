/* origin: an HTTP origin for tests, honest and dishonest, on a thread of its own.
 *
 * What it does is chosen by the path (origin_paths.c):
 *   /small /bytes/N /utf8 /binary /status/N  ordinary answers
 *   /echo                                    method, target, header lines and body, as JSON
 *   /delay/MS /gate                          answers after MS milliseconds; after origin_open_gate()
 *   /redirect/N[?status=S]                   N relative redirects, then 200
 *   /redirect-to?url=URL[&status=S]          one redirect to the URL as given (percent-decoded)
 *   /stall /stall-body                       never answers; stops in mid-body
 *   /trickle?ms=MS                           one body byte every MS milliseconds
 *   /cut /lie-short /lie-long                closes in mid-body; Content-Length below, above the truth
 *   /endless /endless-headers /gzip-bomb     a body, a header, a compressed body without end
 *   /bad-http /rst /no-keepalive             not HTTP; a reset; closes after the answer
 * Anything else is 404. */
#ifndef TWINPOOL_TESTS_ORIGIN_H
#define TWINPOOL_TESTS_ORIGIN_H

#include <stdint.h>

#include "base/attrs.h"

struct origin; /* opaque */

/* Listens on a numeric IPv4 or IPv6 address; port 0 picks one. NULL: could not. */
struct origin *origin_start(const char *address, uint16_t port) NONNULL MUST_CHECK;
/* Closes every connection and joins the thread. NULL is a no-op. */
void origin_stop(struct origin *origin);

/* Lets every request for /gate go, those that wait and those that will come. */
void origin_open_gate(struct origin *origin) NONNULL;

uint16_t origin_port(const struct origin *origin) NONNULL;

struct origin_counts {
    uint64_t connections;    /* ever accepted */
    uint64_t requests;       /* ever read completely */
    uint32_t open;           /* connections now */
    uint32_t in_flight;      /* requests read and neither answered nor abandoned by the client */
    uint32_t in_flight_peak; /* since the start or origin_reset_peak() */
};
struct origin_counts origin_get_counts(const struct origin *origin) NONNULL;
void origin_reset_peak(struct origin *origin) NONNULL;

#endif
