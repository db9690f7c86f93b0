/* listener: a TCP listener that misbehaves in one way, on a thread of its own.
 *
 * For what happens below and before HTTP: connects that hang, handshakes that get no answer or nonsense. Where nobody
 * is meant to connect at all, it is a canary: listener_accepted() must stay 0. What clients send is read and thrown
 * away, so that their end is noticed and their connection closed. tests/support/origin.h is for misbehaviour in HTTP.
 */
#ifndef TWINPOOL_TESTS_LISTENER_H
#define TWINPOOL_TESTS_LISTENER_H

#include <stdint.h>

#include "base/attrs.h"

enum listener_kind {
    LISTENER_SILENT,    /* accepts, never says anything */
    LISTENER_NO_ACCEPT, /* never accepts, and its queue is full from the start: a connect hangs in SYN */
    LISTENER_CLOSE,     /* accepts and ends its side at once: the client reads end of file, never a reset */
    LISTENER_RESET,  /* accepts and resets at once: the client learns it from its connect or its first read or write */
    LISTENER_GARBAGE /* accepts, sends LISTENER_GARBAGE_BYTES bytes that are neither TLS nor HTTP, then is silent */
};

enum {
    LISTENER_GARBAGE_BYTES = 1024,
    LISTENER_OPEN_MAX = 256 /* connections at a time; what comes beyond is accepted, counted and reset */
};

struct listener; /* opaque */

/* Listens on a numeric IPv4 or IPv6 address; port 0 picks one. NULL: could not. */
struct listener *listener_start(enum listener_kind kind, const char *address, uint16_t port) NONNULL MUST_CHECK;
/* Closes every connection and joins the thread. NULL is a no-op. */
void listener_stop(struct listener *listener);

uint16_t listener_port(const struct listener *listener) NONNULL;

/* Connections accepted so far. Whoever was connected before this call is counted, also if the thread has to get there
 * first (it is given a second). */
uint64_t listener_accepted(struct listener *listener) NONNULL;

#endif
