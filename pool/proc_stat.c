#include "pool/proc_stat.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

enum { STAT_BYTES = 1024 };

void proc_read(pid_t pid, const char *name, char *ret_text, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd >= 0 ? read(fd, ret_text, size - 1) : 0;
    if (fd >= 0)
        close(fd);
    ret_text[len > 0 ? len : 0] = '\0';
}

/* proc(5), /proc/PID/stat: the name ends with the last parenthesis, and field 3 follows it. */
bool proc_stat_read(pid_t pid, struct proc_stat *ret_stat)
{
    enum { STATE = 3, USER = 14, SYSTEM = 15, REAPED_USER = 16, REAPED_SYSTEM = 17, RESIDENT = 24 };
    char text[STAT_BYTES];
    uint64_t values[RESIDENT + 1] = { 0 };
    proc_read(pid, "stat", text, sizeof text);
    char *at = strrchr(text, ')');
    if (at == NULL || strlen(at) < sizeof ") R" - 1)
        return false;
    char state = at[2];
    at += sizeof ") R" - 1;
    for (unsigned field = STATE + 1; field <= RESIDENT; field++)
        values[field] = strtoull(at, &at, 10);
    const uint64_t tick_ns = NS_PER_SEC / (uint64_t)sysconf(_SC_CLK_TCK);
    *ret_stat = (struct proc_stat){ .state = state,
                                    .cpu_ns = (values[USER] + values[SYSTEM]) * tick_ns,
                                    .reaped_ns = (values[REAPED_USER] + values[REAPED_SYSTEM]) * tick_ns,
                                    .resident_bytes = values[RESIDENT] * (uint64_t)sysconf(_SC_PAGESIZE) };
    return true;
}
