/* supervisor: the root process. It forks the front end and the workers from its own warm image, reaps them, replaces
 * what dies and passes signals on. It stays single-threaded for ever and never touches curl, TLS or libmicrohttpd. */
#ifndef TWINPOOL_SERVICE_SUPERVISOR_H
#define TWINPOOL_SERVICE_SUPERVISOR_H

#include "base/attrs.h"
#include "service/config.h"

/* Runs the service until it is told to stop. Returns the program's exit status: 0 after an orderly stop, 1 if it could
 * not start (logged).
 *
 * SIGTERM, SIGINT: drain; a second one: stop at once, every client answered. SIGCHLD: reap; as PID 1 adopted orphans
 * too. */
int supervisor_run(const struct config *config) NONNULL;

#endif
