/* drain: moves the front end through the phases of its end (lifecycle.h). */
#ifndef TWINPOOL_SERVICE_DRAIN_H
#define TWINPOOL_SERVICE_DRAIN_H

#include <stdint.h>

#include "base/attrs.h"
#include "service/server.h"

enum { DRAIN_TURN_MS = 10 /* loops turn at least so often while the service is not running normally */ };

/* The supervisor asked to drain, or (at_once) to stop. On loop 0's thread. */
/* Another front end has taken over the listening socket. */
void drain_hand_over(struct server *server) NONNULL;
void drain_begin(struct server *server, bool at_once) NONNULL;
/* Once per turn of loop 0. */
void drain_advance(struct server *server, uint64_t now_ns) NONNULL;

#endif
