/* faults: what every fault test asks afterwards: is the pool whole again, was anything left behind, does it still
 * compute? */
#ifndef TWINPOOL_TESTS_FAULTS_H
#define TWINPOOL_TESTS_FAULTS_H

#include "base/attrs.h"
#include "tests/support/server.h"

/* Descriptors of the supervisor and the front end, to be compared before and after. */
struct faults_fds {
    size_t supervisor, front_end;
};
struct faults_fds faults_count_fds(const struct server *server) NONNULL;

/* For a test's setup: waits until `count` workers are ready and notes what there is. 0, or -1 if they are not. */
int faults_look_before(const struct server *server, size_t count, struct server_worker *ret_workers,
                       struct faults_fds *ret_fds) NONNULL;

/* Fails the running test unless, within short bounds: `workers` workers are ready and alive, none of the `killed` pids
 * is left, not even as a zombie, no more descriptors are open than before, and the next job is computed correctly.
 * Prints how long the pool took. */
void faults_expect_recovery(const struct server *server, size_t workers, const pid_t *killed, size_t killed_count,
                            struct faults_fds before) __attribute__((nonnull(1)));

/* SIGKILL to a living child of the supervisor, but not to its front end. False: there is none. */
bool faults_kill_random_worker(const struct server *server, pid_t front_end) NONNULL;

/* Waits until a worker is busy with a job and returns its pid; 0 if none is after a while. */
pid_t faults_wait_busy(const struct server *server) NONNULL;

#endif
