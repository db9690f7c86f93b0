/* cpu_count: the affinity mask and the cgroup quotas, read once.
 *
 * A line of /proc/self/cgroup is ID:CONTROLLERS:PATH. The line with no controllers is the v2 hierarchy, the one whose
 * controllers include "cpu" is v1's. A quota of any ancestor binds too, so the walk goes from the path up to
 * the root. In a container the path may be the host's, which does not exist inside; the walk then finds nothing until
 * it reaches the root of the mount, and that is the container's own cgroup. */
#include "base/cpu_count.h"

#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CGROUP_ROOT "/sys/fs/cgroup"

/* Reads a small file as a string; a longer one is cut. */
static bool read_text(const char *directory, const char *name, char *text, size_t size)
{
    char path[PATH_MAX];
    int path_len = snprintf(path, sizeof path, "%s/%s", directory, name);
    if (path_len < 0 || (size_t)path_len >= sizeof path)
        return false;
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    size_t len = fread(text, 1, size - 1, file);
    fclose(file);
    text[len] = '\0';
    return len > 0;
}

static unsigned cpus_of(long long quota_us, long long period_us)
{
    if (quota_us <= 0 || period_us <= 0)
        return 0;
    long long cpus = quota_us / period_us + (quota_us % period_us != 0);
    return cpus < INT_MAX ? (unsigned)cpus : 0;
}

static unsigned tighter(unsigned a, unsigned b)
{
    if (a == 0 || b == 0)
        return a + b;
    return a < b ? a : b;
}

/* v2: "max 100000" or "150000 100000". */
static unsigned quota_v2(const char *directory)
{
    char text[64], *behind_quota;
    if (!read_text(directory, "cpu.max", text, sizeof text))
        return 0;
    long long quota_us = strtoll(text, &behind_quota, 10); /* "max" reads as 0 */
    return cpus_of(quota_us, strtoll(behind_quota, NULL, 10));
}

/* v1: two files; no quota is -1. */
static unsigned quota_v1(const char *directory)
{
    char quota_us[64], period_us[64];
    if (!read_text(directory, "cpu.cfs_quota_us", quota_us, sizeof quota_us) ||
        !read_text(directory, "cpu.cfs_period_us", period_us, sizeof period_us))
        return 0;
    return cpus_of(strtoll(quota_us, NULL, 10), strtoll(period_us, NULL, 10));
}

static unsigned quota_up_to_root(const char *mount, const char *cgroup, size_t cgroup_len,
                                 unsigned (*quota_of)(const char *directory))
{
    char directory[PATH_MAX];
    int len = snprintf(directory, sizeof directory, "%s%.*s", mount, (int)cgroup_len, cgroup);
    if (len < 0 || (size_t)len >= sizeof directory)
        return quota_of(mount);
    size_t mount_len = strlen(mount);
    unsigned quota = 0;
    for (;;) {
        quota = tighter(quota, quota_of(directory));
        char *slash = strrchr(directory + mount_len, '/');
        if (slash == NULL)
            return quota;
        *slash = '\0';
    }
}

static bool has_cpu_controller(const char *controllers, size_t len)
{
    const char *end = controllers + len;
    for (const char *at = controllers; at < end;) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        size_t name_len = (size_t)((comma != NULL ? comma : end) - at);
        if (name_len == 3 && memcmp(at, "cpu", 3) == 0)
            return true;
        at += name_len + 1;
    }
    return false;
}

static unsigned quota_of_line(const char *cgroup_root, const char *line, size_t len)
{
    const char *end = line + len;
    const char *controllers = memchr(line, ':', len);
    if (controllers == NULL)
        return 0;
    controllers++;
    const char *path = memchr(controllers, ':', (size_t)(end - controllers));
    if (path == NULL)
        return 0;
    size_t controllers_len = (size_t)(path - controllers);
    path++;
    size_t path_len = (size_t)(end - path);
    if (controllers_len == 0)
        return quota_up_to_root(cgroup_root, path, path_len, quota_v2);
    if (!has_cpu_controller(controllers, controllers_len))
        return 0;
    char mount[PATH_MAX];
    int mount_len = snprintf(mount, sizeof mount, "%s/cpu", cgroup_root);
    if (mount_len < 0 || (size_t)mount_len >= sizeof mount)
        return 0;
    return quota_up_to_root(mount, path, path_len, quota_v1);
}

unsigned cpu_count_quota(const char *cgroup_root, const char *self_cgroup)
{
    unsigned quota = 0;
    while (*self_cgroup != '\0') {
        size_t len = strcspn(self_cgroup, "\n");
        quota = tighter(quota, quota_of_line(cgroup_root, self_cgroup, len));
        self_cgroup += len + (self_cgroup[len] == '\n');
    }
    return quota;
}

static unsigned cpus_in_affinity_mask(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        return (unsigned)CPU_COUNT(&set);
    long online = sysconf(_SC_NPROCESSORS_ONLN); /* more CPUs than cpu_set_t holds */
    return online > 0 ? (unsigned)online : 1;
}

unsigned cpu_count(void)
{
    char self_cgroup[8192];
    unsigned count = cpus_in_affinity_mask();
    if (read_text("/proc/self", "cgroup", self_cgroup, sizeof self_cgroup))
        count = tighter(count, cpu_count_quota(CGROUP_ROOT, self_cgroup));
    return count > 0 ? count : 1;
}
