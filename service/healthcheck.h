/* healthcheck: `twinpool healthcheck`, for the HEALTHCHECK of a container, which has no curl. */
#ifndef TWINPOOL_SERVICE_HEALTHCHECK_H
#define TWINPOOL_SERVICE_HEALTHCHECK_H

#include "base/attrs.h"
#include "service/config.h"

/* Asks for /healthz at config->listen (a wildcard address: on loopback) and waits for at most 2 s. Returns the exit
 * status: 0 if the answer is a 200, else 1 after one line on stderr. */
int healthcheck_run(const struct config *config) NONNULL MUST_CHECK;

#endif
