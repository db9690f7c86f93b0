/* sandbox_rig: what a process can still do under given rules, tried out in a forked child. Included by one file of a
 * driver, which it also gives a syscall() of its own, so that a kernel can be made to look older or stricter. */
#ifndef TWINPOOL_TESTS_UNIT_SANDBOX_RIG_H
#define TWINPOOL_TESTS_UNIT_SANDBOX_RIG_H

#include <dlfcn.h>
#include <errno.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pool/sandbox_internal.h"

/* ---- other kernels */

static long landlock_abi;        /* what Landlock says it is; 0: the truth */
static int landlock_error;       /* it fails with this */
static int seccomp_error;        /* so does the installation of a filter */
static const long ABI_QUERY = 1; /* LANDLOCK_CREATE_RULESET_VERSION */

/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): the C library's names are not ours */
long syscall(long number, ...)
{
    static long (*real)(long, ...);
    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "syscall");
    va_list values;
    long a[6];
    va_start(values, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(values, long);
    va_end(values);
    int error = 0;
    if (number == SYS_landlock_create_ruleset)
        error = landlock_error;
    else if (number == SYS_seccomp && a[0] == SECCOMP_SET_MODE_FILTER)
        error = seccomp_error;
    if (error != 0) {
        errno = error;
        return -1;
    }
    if (number == SYS_landlock_create_ruleset && a[2] == ABI_QUERY && landlock_abi != 0)
        return landlock_abi;
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* ---- children */

enum { BY_SIGNAL = 256, NOT_CONFINED = 255 };

static struct sandbox_report *last_report; /* shared with the children */

static int open_rig(void **state UNUSED)
{
    void *at = mmap(NULL, sizeof *last_report, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    last_report = at == MAP_FAILED ? NULL : at;
    return last_report == NULL ? -1 : 0;
}

static int close_rig(void **state UNUSED) { return munmap(last_report, sizeof *last_report); }

/* What act() returned in a child under the rules (an errno value, 0: it worked), or BY_SIGNAL + the signal that ended
 * it. before(), if given, runs in the child, unconfined. */
static int try_after(const struct sandbox_rules *rules, void (*before)(void), int (*act)(void))
{
    int status = 0;
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        if (before != NULL)
            before();
        sandbox_apply(rules, last_report);
        _exit(act());
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return NOT_CONFINED;
    return WIFSIGNALED(status) ? BY_SIGNAL + WTERMSIG(status) : WEXITSTATUS(status);
}

static int try_under(const struct sandbox_rules *rules, int (*act)(void)) { return try_after(rules, NULL, act); }

static bool is_active(enum sandbox_mechanism mechanism) { return last_report->of[mechanism].state == SANDBOX_ACTIVE; }

/* Of a system call's result. */
static int error_of(long result) { return result < 0 ? errno : 0; }

/* Says why and skips unless the mechanism works here. */
static void need(enum sandbox_mechanism mechanism, const struct sandbox_rules *rules)
{
    char text[160];
    (void)sandbox_probe(rules, last_report);
    if (is_active(mechanism))
        return;
    sandbox_outcome_text(&last_report->of[mechanism], text, sizeof text);
    print_message("skipped: %s is %s\n", sandbox_mechanism_name(mechanism), text);
    skip();
}

#endif
