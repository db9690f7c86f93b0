/* process_tree: what a process has started, by /proc. A snapshot of something that moves: to be looked at again. */
#ifndef TWINPOOL_POOL_PROCESS_TREE_H
#define TWINPOOL_POOL_PROCESS_TREE_H

#include <stddef.h>
#include <sys/types.h>

#include "base/attrs.h"

/* The children of all its threads: how many were found, at most `capacity`. 0 also where /proc does not say. */
size_t process_tree_children(pid_t pid, pid_t *ret_pids, size_t capacity) NONNULL MUST_CHECK;

/* Children, their children and so on; counts no further than `limit`. */
size_t process_tree_count(pid_t pid, size_t limit) MUST_CHECK;

#endif
