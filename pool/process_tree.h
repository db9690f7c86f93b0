/* process_tree: what a process has started, by /proc. A snapshot of something that moves: to be looked at again. */
#ifndef TWINPOOL_POOL_PROCESS_TREE_H
#define TWINPOOL_POOL_PROCESS_TREE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attrs.h"

/* The children of all its threads: how many were found, at most `capacity`. 0 also where /proc does not say. */
size_t process_tree_children(pid_t pid, pid_t *ret_pids, size_t capacity) NONNULL MUST_CHECK;

/* Its children, their children and so on, taken together. */
struct process_tree_sum {
    size_t processes;        /* the ended but not reaped among them */
    uint64_t cpu_ns;         /* theirs and of those that they have reaped; by ticks, each up to 40 ms behind */
    uint64_t resident_bytes; /* what several share counts for each */
};
/* Looks at no more than `limit` processes. */
struct process_tree_sum process_tree_measure(pid_t pid, size_t limit) MUST_CHECK;

#endif
