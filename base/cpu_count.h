/* cpu_count: how many CPUs this process may keep busy. */
#ifndef TWINPOOL_BASE_CPU_COUNT_H
#define TWINPOOL_BASE_CPU_COUNT_H

#include "base/attrs.h"

/* The CPUs of the affinity mask, or fewer if a cgroup quota (v2 or v1) allows less time, rounded up. At least 1.
 * Reads /proc and /sys; meant for the start of the program. */
unsigned cpu_count(void);

/* The tightest quota, in CPUs rounded up, of the cgroups that `self_cgroup` (the text of /proc/self/cgroup) names and
 * of their ancestors, as the files under `cgroup_root` (/sys/fs/cgroup) give it. 0: no quota. */
unsigned cpu_count_quota(const char *cgroup_root, const char *self_cgroup) NONNULL;

#endif
