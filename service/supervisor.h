/* supervisor: the root process. It forks the front end and the workers from its own warm image, reaps them, replaces
 * what dies and passes signals on. It stays single-threaded for ever and never touches curl, TLS or libmicrohttpd. */
#ifndef TWINPOOL_SERVICE_SUPERVISOR_H
#define TWINPOOL_SERVICE_SUPERVISOR_H

#include "base/attrs.h"
#include "service/config.h"

struct supervisor_start {
    const struct config *config;
    /* to read it again */
    int argc;
    char **argv, **environment;
    int listen_fd; /* -1: to be opened */
    int ready_fd;  /* of a generation that was started by SIGHUP: gets a byte when it serves. -1: this is the first */
};

/* Runs the service until it is told to stop. Returns the program's exit status: 0 after an orderly stop, 1 if it could
 * not start (logged).
 *
 * SIGTERM, SIGINT: drain; a second one: stop at once, every client answered. SIGHUP: the configuration is read again
 * (generation.h). SIGUSR1, of a generation to itself: hand over to the next. SIGCHLD: reap; as PID 1 adopted orphans
 * too. */
int supervisor_run(const struct supervisor_start *start) NONNULL;

#endif
