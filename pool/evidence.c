/* evidence: from /proc. Where a process waits is told to its owner only, and not of one that may not be traced; then
 * the state and the CPU time have to do. */
#include "pool/evidence.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The file's first line, "" if it cannot be read. */
static void read_line(pid_t pid, const char *name, char *ret_line, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd >= 0 ? read(fd, ret_line, size - 1) : 0;
    if (fd >= 0)
        close(fd);
    ret_line[len > 0 ? len : 0] = '\0';
    ret_line[strcspn(ret_line, "\n")] = '\0';
}

/* proc(5): pid (name) state ppid … utime stime, which are the 14th and 15th. */
static void describe(pid_t pid, char *text, size_t size)
{
    char line[1024], wait[64], call[128];
    read_line(pid, "stat", line, sizeof line);
    char *at = strrchr(line, ')');
    if (!at || strlen(at) < 3)
        return;
    char state = at[2];
    unsigned long long ticks = 0;
    at += 2;
    for (unsigned field = 3; field <= 15 && at; field++) {
        if (field >= 14)
            ticks += strtoull(at, NULL, 10);
        at = strchr(at, ' ');
        at = at ? at + 1 : NULL;
    }
    size_t len = strlen(text);
    snprintf(text + len, size - len, "state %c, %llu ms of CPU", state,
             ticks * 1000 / (unsigned long long)sysconf(_SC_CLK_TCK));
    read_line(pid, "wchan", wait, sizeof wait);
    read_line(pid, "syscall", call, sizeof call);
    call[strcspn(call, " ")] = '\0';
    len = strlen(text);
    if (wait[0] != '\0' && wait[0] != '0')
        snprintf(text + len, size - len, ", waits in %s", wait);
    len = strlen(text);
    if (call[0] >= '0' && call[0] <= '9')
        snprintf(text + len, size - len, ", system call %s", call);
}

void evidence_collect(pid_t pid, char ret_text[static EVIDENCE_MAX])
{
    char name[64], children[64];
    ret_text[0] = '\0';
    describe(pid, ret_text, EVIDENCE_MAX);
    snprintf(name, sizeof name, "task/%d/children", (int)pid);
    read_line(pid, name, children, sizeof children);
    pid_t child = (pid_t)strtol(children, NULL, 10);
    size_t len = strlen(ret_text);
    if (child <= 0)
        return;
    snprintf(ret_text + len, EVIDENCE_MAX - len, "; its program: ");
    describe(child, ret_text, EVIDENCE_MAX);
}
