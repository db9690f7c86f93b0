#include "pool/process_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { LIST_BYTES = 4096, PIDS_MAX = 512 /* of one process: beyond it the next look sees more */ };

static size_t read_children(const char *path, pid_t *ret_pids, size_t capacity)
{
    char text[LIST_BYTES];
    size_t count = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd >= 0 ? read(fd, text, sizeof text - 1) : 0;
    if (fd >= 0)
        close(fd);
    text[len > 0 ? len : 0] = '\0';
    char *at = text;
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

size_t process_tree_count(pid_t pid, size_t limit)
{
    pid_t pids[PIDS_MAX] = { pid }; /* found and perhaps not yet looked at */
    size_t found = 1, capacity = limit < PIDS_MAX - 1 ? limit + 1 : PIDS_MAX;
    for (size_t next = 0; next < found && found < capacity; next++)
        found += process_tree_children(pids[next], pids + found, capacity - found);
    return found - 1;
}
