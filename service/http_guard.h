/* http_guard: strict framing of the HTTP/1.1 bytes of one connection, before libmicrohttpd sees them.
 *
 * libmicrohttpd (0.9.75 and 1.0.1) accepts much that RFC 9112 calls an error: two Content-Lengths, Transfer-Encoding
 * beside Content-Length, bare LF and CR, folded lines, white space before the colon, NUL bytes, a missing Host. Each is
 * a way to make two parties disagree where a request ends. This machine reads every byte once, finds where each
 * request's header and body end, and stops the connection at the first request that is not exactly right. It allocates
 * nothing and never looks back.
 *
 * It also refuses the little that RFC 9112 allows and libmicrohttpd reads differently: chunk extensions (1.0.1 takes
 * the line end for data), white space after the value of Content-Length and Transfer-Encoding (0.9.75 keeps it), more
 * query parameters or cookies than its memory pool can list (0.9.75 then answers twice). It tolerates up to two empty
 * lines before a request line, as libmicrohttpd does at its default client discipline level, 0.
 *
 * Feed it the bytes in the order of their arrival. How they are cut into calls does not change the verdict. It is a
 * pure state machine: no I/O, no clock; one per connection. */
#ifndef TWINPOOL_SERVICE_HTTP_GUARD_H
#define TWINPOOL_SERVICE_HTTP_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attrs.h"
#include "base/status.h"

struct http_guard_limits {
    unsigned header_bytes; /* request line, fields, cookies once more, trailers; more is ST_HEADERS_TOO_LARGE */
    unsigned entry_bytes;  /* beside its text, of each field, further cookie, trailer and '&': what listing it takes */
    unsigned header_count; /* fields, further cookies in one, trailers: more is ST_HEADERS_TOO_LARGE */
    unsigned target_bytes; /* request target: more is ST_URI_TOO_LONG */
};

/* '&' in a target: more is ST_URI_TOO_LONG. libmicrohttpd lists them in its memory pool, like header_count. */
enum { HTTP_GUARD_QUERY_MAX = 50 };

/* A declared Content-Length or chunk size above this is ST_BODY_TOO_LARGE whatever the service's own limit is. */
#define HTTP_GUARD_BODY_MAX UINT64_C(1000000000000000)

enum http_guard_phase {
    HTTP_GUARD_IDLE,   /* between requests (also before the first); nothing of the next one but empty lines has come */
    HTTP_GUARD_HEAD,   /* a request line or header has begun */
    HTTP_GUARD_BODY,   /* the header is complete, its body (with its trailers) is not */
    HTTP_GUARD_REFUSED /* a violation: nothing more may be read */
};

struct http_guard {
    enum http_guard_phase phase;
    enum status refusal; /* of HTTP_GUARD_REFUSED: what to answer */
    const char *reason;  /* of HTTP_GUARD_REFUSED: static text for people */
    uint64_t requests;   /* whose header is complete and was passed on */
    /* Private to http_guard*.c from here on. */
    uint64_t body_left; /* bytes of the body or chunk still to come */
    uint64_t number;    /* port, escape or chunk size being read */
    uint32_t header_bytes, header_count, target_bytes;
    uint16_t query_count;
    uint16_t seen; /* bit per recognised field that has come */
    uint8_t state, host_state, field, flags, empty_lines;
    uint8_t text_length; /* more than sizeof(text): what follows was not kept; stays at 255 */
    char text[24];       /* start of the method, version, field name or field value being read */
};

void http_guard_init(struct http_guard *guard) NONNULL;

/* Reads bytes[0..len). Returns how many may be passed on: `len`, or fewer if a violation was found; then phase is
 * HTTP_GUARD_REFUSED, and the returned prefix ends where the last good request in these bytes ended; it is 0 if none
 * ended here. So a good request that came before a bad one in the same bytes is still served, and 0 means that nothing
 * is left to wait for. `limits` must not change during a connection. */
size_t http_guard_feed(struct http_guard *guard, const struct http_guard_limits *limits, const char *bytes, size_t len)
    NONNULL MUST_CHECK;

#endif
