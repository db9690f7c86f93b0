/* origin: an HTTP origin for tests, honest and dishonest, on a thread of its own.
 *
 * What it does is chosen by the path. [&x=V] are optional query parameters, percent-decoded; how=rst: a reset instead
 * of an orderly close. Requests with key=K are counted by K, and "first" means the first with that key; without a key
 * each request is a first one. Connections stay open, and an answer to HEAD has no body, where nothing else is said.
 *
 * Ordinary answers (origin_paths.c):
 *   /small /bytes/N                     1 KiB; N bytes, with a Content-Length
 *   /chunked/N[?chunk=M]                N times '0' in chunks of M bytes (1024)
 *   /utf8 /binary /control-bytes/N      a line of UTF-8; every byte once; N times 0x01 as text/plain
 *   /text[?charset=C][&body=B]          text/plain of charset C (iso-8859-1); the bytes B ("h\xe4llo\n") as they are
 *   /status/N                           that status
 *   /echo /auth-echo                    method, target, every header line as it came, and body, as JSON
 *   /json[?doc=D][&status=S]            D ({}) as application/json, as it is
 *   /json-pretty /json-bad              JSON with much white space; JSON that is cut off
 *   /etag                               ETag "v1"; 304 if If-None-Match has it
 *   /range                              what /small has; 206 or 416 for a single range
 *   /no-keepalive                       closes after the answer, and says so
 * Time, and failures that pass (origin_paths_time.c):
 *   /delay/MS /late-body?ms=MS          the answer, or only its body, after MS milliseconds
 *   /gate /gate-body                    the answer, or only its body, after origin_open_gate()
 *   /stall /silent-after-headers        never answers; stops after the head
 *   /stall-body                         stops in mid-body
 *   /trickle?ms=MS                      one body byte every MS milliseconds
 *   /drip?bytes=B&ms=MS                 a chunk of B bytes every MS milliseconds, for ever
 *   /slow-headers?ms=MS                 an honest answer, its head a byte every MS milliseconds
 *   /vary-latency?ms=MS&key=K[&status=S][&later_ms=L]  the first after MS milliseconds with status S (200), later ones
 *                                       with 200 after L (0)
 *   /count?key=K                        how many requests had that key, with this one, as a line of text
 *   /flaky/N?key=K[&status=S][&retry_after=V]  the first N get S (503) and Retry-After: V; later ones as /count
 *   /flaky-close/N?key=K[&how=rst]      the first N are closed without an answer; later ones as /count
 *   /close-after-idle?ms=MS             closes when no request came for MS milliseconds after the answer
 *   /keepalive-then-close[?how=rst]     closes when it has read the next request, without an answer to that
 * Redirects (origin_paths_redirect.c), all with [&status=S] (302):
 *   /redirect/N /redirect-loop          N relative redirects, then 200; to itself for ever
 *   /redirect-to?url=URL                one redirect to the URL as given; status=300 and 304 work too
 *   /redirect-raw?location=BYTES        whatever they are, also NUL, CR and LF
 *   /redirect-cookie[?url=URL]          with a Set-Cookie, to URL (/echo)
 *   /redirect-big[?url=URL]             with a body of 2 MiB, to URL (/small)
 *   /redirect-nowhere                   without a Location
 *   /redirect-twice[?url=U][&second=V]  two Location fields (/small, /utf8)
 *   /refresh[?url=U] /meta-refresh[?url=U]  not one: 200 with a Refresh field; a page with such a <meta>
 * Too much (origin_paths_size.c):
 *   /endless /endless-close             a body without end: in chunks; until a close that never comes
 *   /huge-length                        a Content-Length of 10 TiB, and a body without end
 *   /endless-headers /endless-trailers  as they say
 *   /endless-1xx[?status=S]             informational answers (103) without end
 *   /many-headers/N /long-header/N      N fields; one value of N bytes
 * Not quite HTTP/1.1 (origin_paths_protocol.c):
 *   /rst /bad-http /http09              a reset; another protocol; a body without a head, then a close
 *   /status-raw/X                       X where the status code belongs: 99, 1000, abc
 *   /cut /cut-chunk                     closes in mid-body; in mid-chunk
 *   /cut-header /cut-redirect           closes within the header
 *   /lie-short /lie-long                Content-Length below the truth, above it; then closes
 *   /extra-bytes                        a forged second answer after the body; stays open
 *   /two-lengths /length-and-chunked    two that differ; both framings. These and the next line's close
 *   /negative-length /bad-chunk-size /huge-chunk-size  a length of -1; no number; 2^64 and 5. So do the next line's
 *   /overlong-length /odd-length        a length of 2^64 and 5; "5x"
 *   /status-like-field                  a Transfer-Encoding that a line like a status line follows
 *   /coded-transfer                     a Transfer-Encoding of gzip and chunked
 *   /nul-in-header /no-colon            a NUL in a value; a line without a colon
 *   /bare-lf /obs-fold                  LF line ends; a value on three lines
 *   /switching-protocols                101 that nobody asked for and other bytes, then silence
 *   /early-answer[?status=S][&how=rst]  answers (413) when it has read the request's head, then closes
 *   /204-with-body /head-with-body      a body where there can be none; the second in its answer to HEAD
 * Coded bodies (origin_paths_coded.c):
 *   /coded/C[?layers=N][&cut=N][&tail=T][&as=A]  ORIGIN_TEXT; C: identity gzip deflate deflate-raw br zstd;
 *                                       layers: in gzip N-1 times more; cut: less its last N bytes; tail: T follows;
 *                                       as: what Content-Encoding says (identity?as=gzip lies, as=rot13 is unknown)
 *   /bomb/C                             1 GiB of zeros, valid to the end; C: gzip deflate br zstd gzip-gzip
 *   /gzip-bomb                          a compressed body without end
 *   /coded-nothing                      the same, of which nothing comes out
 * Anything else is 404. It neither sends 100 Continue nor reads chunked requests. */
#ifndef TWINPOOL_TESTS_ORIGIN_H
#define TWINPOOL_TESTS_ORIGIN_H

#include <stdint.h>

#include "base/attrs.h"

/* What /coded/ says: 209 bytes of UTF-8. */
#define ORIGIN_TEXT                                                                                                 \
    "The origin says this in every coding it knows: gzip, deflate, br and zstd. Whoever decodes it reads the same " \
    "words, h\xc3\xa4llo \xe2\x82\xac included, and whoever does not reads noise. The origin says this in every "   \
    "coding.\n"

struct origin; /* opaque */

/* Listens on a numeric IPv4 or IPv6 address; port 0 picks one. NULL: could not. */
struct origin *origin_start(const char *address, uint16_t port) NONNULL MUST_CHECK;
/* Closes every connection and joins the thread. NULL is a no-op. */
void origin_stop(struct origin *origin);

/* Lets every request for /gate and /gate-body go, those that wait and those that will come. */
void origin_open_gate(struct origin *origin) NONNULL;

/* How many requests with key=K were read so far, for any path. An origin knows up to 32,768 keys. */
uint64_t origin_requests_with_key(const struct origin *origin, const char *key) NONNULL;

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
