/* evidence: from /proc. Where a process waits is told to its owner only, and not of one that may not be traced; then
 * the state and the CPU time have to do. */
#include "pool/evidence.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "pool/proc_stat.h"

static void describe(pid_t pid, char *text, size_t size)
{
    char wait[64], call[128];
    struct proc_stat stat;
    if (!proc_stat_read(pid, &stat))
        return;
    size_t len = strlen(text);
    snprintf(text + len, size - len, "state %c, %llu ms of CPU", stat.state,
             (unsigned long long)(stat.cpu_ns / NS_PER_MS));
    proc_read(pid, "wchan", wait, sizeof wait);
    proc_read(pid, "syscall", call, sizeof call);
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
    proc_read(pid, name, children, sizeof children);
    pid_t child = (pid_t)strtol(children, NULL, 10);
    size_t len = strlen(ret_text);
    if (child <= 0)
        return;
    snprintf(ret_text + len, EVIDENCE_MAX - len, "; its program: ");
    describe(child, ret_text, EVIDENCE_MAX);
}
