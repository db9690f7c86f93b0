#include "tests/support/procs.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The second field of /proc/PID/stat is the command in parentheses and may hold anything; the rest follows the last
 * ')'. */
static bool read_stat(pid_t pid, char *ret_state, pid_t *ret_parent)
{
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    size_t len = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[len] = '\0';
    const char *rest = strrchr(text, ')');
    int parent;
    if (!rest || sscanf(rest + 1, " %c %d", ret_state, &parent) != 2)
        return false;
    *ret_parent = (pid_t)parent;
    return true;
}

size_t procs_children(pid_t parent, pid_t *ret_pids, size_t capacity)
{
    size_t count = 0;
    DIR *dir = opendir("/proc");
    if (!dir)
        return 0;
    for (const struct dirent *entry; (entry = readdir(dir));) {
        if (!isdigit((unsigned char)entry->d_name[0]))
            continue;
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10), its_parent;
        char state;
        if (!read_stat(pid, &state, &its_parent) || its_parent != parent)
            continue;
        if (count < capacity)
            ret_pids[count] = pid;
        count++;
    }
    closedir(dir);
    return count;
}

char procs_state(pid_t pid)
{
    char state;
    pid_t parent;
    return read_stat(pid, &state, &parent) ? state : '\0';
}

static size_t status_number(pid_t pid, const char *name)
{
    char path[64], line[256];
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "re");
    if (!file)
        return 0;
    size_t number = 0, name_len = strlen(name);
    while (number == 0 && fgets(line, sizeof line, file))
        if (strncmp(line, name, name_len) == 0)
            number = strtoul(line + name_len, NULL, 10);
    fclose(file);
    return number;
}

/* The first thread of a process that is killed may be a zombie while others, and what they hold, are not yet gone. */
bool procs_is_gone(pid_t pid)
{
    char state = procs_state(pid);
    return state == '\0' || state == 'X' || (state == 'Z' && status_number(pid, "Threads:") <= 1);
}

size_t procs_count_fds(pid_t pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *dir = opendir(path);
    if (!dir)
        return 0;
    size_t count = 0;
    for (const struct dirent *entry; (entry = readdir(dir));)
        count += isdigit((unsigned char)entry->d_name[0]) != 0;
    closedir(dir);
    return count;
}

size_t procs_rss_kib(pid_t pid) { return status_number(pid, "VmRSS:"); }

size_t procs_peak_rss_kib(pid_t pid) { return status_number(pid, "VmHWM:"); }
