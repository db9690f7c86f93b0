/* frontend: the process that owns the clients' sockets: event loops, both pools' dispatch, deadlines. It runs no user
 * work. */
#ifndef TWINPOOL_SERVICE_FRONTEND_H
#define TWINPOOL_SERVICE_FRONTEND_H

#include <sys/types.h>

#include "base/attrs.h"
#include "service/config.h"
#include "service/shared.h"

struct frontend_worker {
    pid_t pid; /* 0: not alive at the fork; the supervisor will announce it */
    uint32_t generation;
};

struct frontend_config {
    const struct config *config;
    const struct shared *shared;
    const struct frontend_worker *workers; /* shared->workers of them */
    int control_fd;
    pid_t supervisor;
};

/* To be called in a freshly forked child. Serves until it is told to drain or stop; returns the exit status of the
 * process. */
int frontend_main(const struct frontend_config *given) NONNULL;

#endif
