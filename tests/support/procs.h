/* procs: what /proc says about processes that a test started. */
#ifndef TWINPOOL_TESTS_PROCS_H
#define TWINPOOL_TESTS_PROCS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/attrs.h"

/* The direct children of `parent`, zombies included: how many there are, of which up to `capacity` were stored. */
size_t procs_children(pid_t parent, pid_t *ret_pids, size_t capacity) NONNULL;

/* The state letter (R S D T Z …), or 0 if there is no such process. */
char procs_state(pid_t pid);

/* True once nothing runs under this pid any more: there is no such process, or it is a zombie. */
bool procs_is_gone(pid_t pid);

/* Open descriptors of a process; 0 if it cannot be read. */
size_t procs_count_fds(pid_t pid);

/* Resident memory in KiB, now and at its peak; 0 if it cannot be read. */
size_t procs_rss_kib(pid_t pid);
size_t procs_peak_rss_kib(pid_t pid);

#endif
