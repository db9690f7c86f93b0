#include "pool/process_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "pool/proc_stat.h"

enum { READ_BYTES = 4096, PIDS_MAX = 4096 /* of a tree: of those beyond nothing is known */ };

/* Each number is followed by a blank: what is cut off at the end of a read() goes on in the next one. */
static size_t read_children(pid_t pid, const char *thread, pid_t *ret_pids, size_t capacity)
{
    char path[64], text[READ_BYTES];
    size_t count = 0;
    snprintf(path, sizeof path, "/proc/%d/task/%.20s/children", (int)pid, thread);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    pid_t child = 0;
    ssize_t got;
    while (fd >= 0 && count < capacity && (got = read(fd, text, sizeof text)) > 0)
        for (ssize_t i = 0; i < got && count < capacity; i++) {
            if (text[i] >= '0' && text[i] <= '9') {
                child = child * 10 + (text[i] - '0');
            } else if (child > 0) {
                ret_pids[count++] = child;
                child = 0;
            }
        }
    if (fd >= 0)
        close(fd);
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
