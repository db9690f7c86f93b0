/* linger: closes a socket whose peer may still be sending, so that it can read our last answer.
 *
 * close() with unread bytes makes the kernel send RST, which discards what the peer has not read yet. So: FIN first,
 * then read and throw away until the peer closes too, for LINGER_MS at most. */
#ifndef TWINPOOL_SERVICE_LINGER_H
#define TWINPOOL_SERVICE_LINGER_H

#include <stdint.h>

#include "base/attrs.h"
#include "service/loop.h"

enum { LINGER_MS = 2000, LINGER_MAX = 256 /* per loop; past that a socket is closed at once */ };

/* Takes the descriptor. */
void linger_start(struct loop *loop, int fd) NONNULL;
/* Closes those whose time is over; all of them if now_ns is CLOCK_NEVER. */
void linger_sweep(struct loop *loop, uint64_t now_ns) NONNULL;

#endif
