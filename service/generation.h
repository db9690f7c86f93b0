/* generation: a supervisor that was started by SIGHUP, a child of the one that the operator knows.
 *
 * The first supervisor keeps its process id and the listening socket, and passes signals on. Each reload forks a child
 * from it that reads the configuration anew, starts front end and workers of its own, and says so when they serve; only
 * then is the generation before told to hand over. So whatever the new configuration brings, from a mistake in the file
 * to a program that does not start, is the child's alone, and all that the old one had is gone with its processes. */
#ifndef TWINPOOL_SERVICE_GENERATION_H
#define TWINPOOL_SERVICE_GENERATION_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/attrs.h"
#include "service/shared.h"
#include "service/supervisor.h"

struct generation {
    pid_t pid;    /* 0: none */
    int ready_fd; /* readable with a byte when it serves, closed if it will not; -1 */
};

/* In the supervisor, which has one thread; what it shares with its processes is not passed on, but for the listening
 * socket. False: no process or descriptor. */
bool generation_begin(const struct supervisor_start *start, struct shared *shared, struct generation *ret_generation)
    NONNULL MUST_CHECK;
/* For the log: why one did not come to serve, if it could not say so itself; else "". */
const char *generation_describe_end(int wait_status) MUST_CHECK;
/* True: it serves. To be asked when ready_fd is readable, which it no longer is then. */
bool generation_is_serving(struct generation *generation) NONNULL MUST_CHECK;
/* Forgets it: it is reaped, or will be. */
void generation_forget(struct generation *generation) NONNULL;

#endif
