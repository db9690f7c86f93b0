/* nginx: a real origin for tests: nginx with static files, unprivileged, in a temporary directory.
 *
 * Every port serves the same:
 *   /small        1 KiB of text
 *   /64k          64 KiB of bytes that are no text
 *   /page.html    64 KiB, sent with gzip to who asks for it
 *   /lines        64 KiB of text in lines of 8 bytes that count up from "0000000\n": line N begins at byte 8 N
 *   /no-ranges    the same, but `Range` is ignored
 *   /empty        no bytes
 *   /no-content   204
 *   /protocol     what the request came in: "HTTP/1.1" or "HTTP/2.0"
 *   /redirect?to=URL  302 to the URL as given, without decoding
 *   /connection   "N M": the number of the connection, unique in this nginx, and of the request on it, from 1
 * Files have an ETag and NGINX_LAST_MODIFIED, so conditional requests, HEAD and, without gzip, ranges work on them. */
#ifndef TWINPOOL_TESTS_NGINX_H
#define TWINPOOL_TESTS_NGINX_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attrs.h"
#include "tests/support/certificates.h"

#define NGINX_LAST_MODIFIED "Wed, 01 Jan 2020 00:00:00 GMT"

/* Ports are on 127.0.0.1; 0: not served. The certificates are for localhost, origin.test, *.origin.test and 127.0.0.1,
 * but for what the kind of a bad one says. */
struct nginx {
    pid_t pid; /* 0: not running */
    uint16_t port;
    uint16_t h2_port;                     /* TLS with HTTP/2 or HTTP/1.1, as the client's ALPN says */
    uint16_t h1_port;                     /* TLS with HTTP/1.1 only */
    uint16_t bad_port[CERTIFICATE_KINDS]; /* TLS with HTTP/1.1 and a certificate of this kind; 0 for the good one */
    char dir[64];
    char ca_path[80]; /* what a client has to trust, in PEM; empty without TLS */
};

/* Waits until it accepts connections: on `port` only, or on all ports. False: says why on stderr; nothing is left
 * behind. */
bool nginx_start(struct nginx *ret_nginx) NONNULL MUST_CHECK;
bool nginx_start_tls(struct nginx *ret_nginx) NONNULL MUST_CHECK;
/* Stops it and removes its directory. Safe to repeat. */
void nginx_stop(struct nginx *nginx) NONNULL;

#endif
