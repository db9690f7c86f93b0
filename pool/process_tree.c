#include "pool/process_tree.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "pool/proc_stat.h"

enum { LIST_BYTES = 4096, PIDS_MAX = 512 /* of one process: beyond it the next look sees more */ };

static size_t read_children(pid_t pid, const char *thread, pid_t *ret_pids, size_t capacity)
{
    char name[64], text[LIST_BYTES], *at = text;
    size_t count = 0;
    snprintf(name, sizeof name, "task/%.20s/children", thread);
    proc_read(pid, name, text, sizeof text);
    for (char *end; count < capacity; at = end) {
        long child = strtol(at, &end, 10);
        if (end == at)
            break;
        ret_pids[count++] = (pid_t)child;
    }
    return count;
}

size_t process_tree_children(pid_t pid, pid_t *ret_pids, size_t capacity)
{
    char path[64];
    size_t count = 0;
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *threads = opendir(path);
    const struct dirent *entry;
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is this function's own */
    while (threads != NULL && count < capacity && (entry = readdir(threads)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        count += read_children(pid, entry->d_name, ret_pids + count, capacity - count);
    }
    if (threads != NULL)
        closedir(threads);
    return count;
}

struct process_tree_sum process_tree_measure(pid_t pid, size_t limit)
{
    pid_t pids[PIDS_MAX] = { pid }; /* found and perhaps not yet looked at */
    size_t found = 1, capacity = limit < PIDS_MAX - 1 ? limit + 1 : PIDS_MAX;
    struct process_tree_sum sum = { 0 };
    for (size_t next = 0; next < found; next++) {
        if (found < capacity)
            found += process_tree_children(pids[next], pids + found, capacity - found);
        struct proc_stat stat;
        if (next == 0 || !proc_stat_read(pids[next], &stat))
            continue;
        sum.cpu_ns += stat.cpu_ns + stat.reaped_ns;
        sum.resident_bytes += stat.resident_bytes;
    }
    sum.processes = found - 1;
    return sum;
}
