#include "pool/process_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

enum { LIST_BYTES = 4096, STAT_BYTES = 1024, PIDS_MAX = 512 /* of one process: beyond it the next look sees more */ };

static void read_text(const char *path, char *ret_text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd >= 0 ? read(fd, ret_text, size - 1) : 0;
    if (fd >= 0)
        close(fd);
    ret_text[len > 0 ? len : 0] = '\0';
}

static size_t read_children(const char *path, pid_t *ret_pids, size_t capacity)
{
    char text[LIST_BYTES], *at = text;
    size_t count = 0;
    read_text(path, text, sizeof text);
    for (char *end; count < capacity; at = end) {
        long pid = strtol(at, &end, 10);
        if (end == at)
            break;
        ret_pids[count++] = (pid_t)pid;
    }
    return count;
}

size_t process_tree_children(pid_t pid, pid_t *ret_pids, size_t capacity)
{
    char path[320];
    size_t count = 0;
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *threads = opendir(path);
    const struct dirent *entry;
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is this function's own */
    while (threads != NULL && count < capacity && (entry = readdir(threads)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "/proc/%d/task/%s/children", (int)pid, entry->d_name);
        count += read_children(path, ret_pids + count, capacity - count);
    }
    if (threads != NULL)
        closedir(threads);
    return count;
}

/* proc(5), /proc/PID/stat: the name ends with the last parenthesis, and field 3 follows it. */
static void add_usage(pid_t pid, struct process_tree_sum *sum)
{
    enum { STATE = 3, USER_TICKS = 14, CHILDREN_SYSTEM_TICKS = 17, RESIDENT_PAGES = 24 };
    char path[64], text[STAT_BYTES];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    read_text(path, text, sizeof text);
    char *at = strrchr(text, ')');
    if (at == NULL || strlen(at) < sizeof ") R" - 1)
        return;
    at += sizeof ") R" - 1;
    for (unsigned field = STATE + 1; field <= RESIDENT_PAGES; field++) {
        char *end;
        unsigned long long value = strtoull(at, &end, 10);
        if (end == at)
            return;
        at = end;
        if (field >= USER_TICKS && field <= CHILDREN_SYSTEM_TICKS)
            sum->cpu_ns += value * (NS_PER_SEC / (uint64_t)sysconf(_SC_CLK_TCK));
        else if (field == RESIDENT_PAGES)
            sum->resident_bytes += value * (uint64_t)sysconf(_SC_PAGESIZE);
    }
}

struct process_tree_sum process_tree_measure(pid_t pid, size_t limit)
{
    pid_t pids[PIDS_MAX] = { pid }; /* found and perhaps not yet looked at */
    size_t found = 1, capacity = limit < PIDS_MAX - 1 ? limit + 1 : PIDS_MAX;
    struct process_tree_sum sum = { 0 };
    for (size_t next = 0; next < found; next++) {
        if (found < capacity)
            found += process_tree_children(pids[next], pids + found, capacity - found);
        if (next > 0)
            add_usage(pids[next], &sum);
    }
    sum.processes = found - 1;
    return sum;
}
