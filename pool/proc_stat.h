/* proc_stat: what /proc says of one process. */
#ifndef TWINPOOL_POOL_PROC_STAT_H
#define TWINPOOL_POOL_PROC_STAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attrs.h"

/* The beginning of /proc/PID/NAME, as far as it fits, as a string; "" if it cannot be read. */
void proc_read(pid_t pid, const char *name, char *ret_text, size_t size) NONNULL;

struct proc_stat {
    char state;         /* R S D T Z … */
    uint64_t cpu_ns;    /* its own; by ticks, up to 20 ms behind */
    uint64_t reaped_ns; /* of the children that it has waited for, and theirs */
    uint64_t resident_bytes;
};
/* False: there is no such process. */
bool proc_stat_read(pid_t pid, struct proc_stat *ret_stat) NONNULL MUST_CHECK;

#endif
