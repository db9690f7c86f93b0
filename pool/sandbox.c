/* The order matters: no_new_privs makes Landlock and seccomp possible without privileges; Landlock opens the paths that
 * it grants, which may take the capabilities that are given up next; the filter is made while there is memory and a
 * descriptor to be had, and installed last, because it refuses what all the others need. */
#include "pool/sandbox.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/json_write.h"
#include "pool/sandbox_internal.h"

/* ---- rules */

struct sandbox_rules sandbox_rules_for_tasks(void)
{
    static const struct sandbox_path everything = { .path = "/" };
    if (SANDBOX_IS_SANITIZED)
        return (struct sandbox_rules){
            .syscalls = SANDBOX_SYSCALLS_MOST, .files = SANDBOX_FILES_LISTED, .paths = &everything, .path_count = 1
        };
    return (struct sandbox_rules){
        .limits = { .open_files = STDERR_FILENO + 1 } /* these are open, so there will be no other */
    };
}

struct sandbox_rules sandbox_rules_for_programs(void)
{
    return (struct sandbox_rules){ .syscalls = SANDBOX_SYSCALLS_MOST,
                                   .may_exec = true,
                                   .may_fork = true,
                                   .files = SANDBOX_FILES_LISTED,
                                   .has_system_files = true };
}

/* ---- reports */

const char *sandbox_mechanism_name(enum sandbox_mechanism mechanism)
{
    static const char *const names[SANDBOX_MECHANISMS] = {
        [SANDBOX_PRIVILEGES] = "no_new_privs",
        [SANDBOX_CAPABILITIES] = "capabilities",
        [SANDBOX_FILES] = "files",
        [SANDBOX_TCP] = "tcp",
        [SANDBOX_SCOPE] = "scope",
        [SANDBOX_LIMITS] = "limits",
        [SANDBOX_SYSCALLS] = "syscalls",
    };
    return names[mechanism];
}

void sandbox_note(struct sandbox_report *report, enum sandbox_mechanism mechanism, enum sandbox_state state,
                  const char *format, ...)
{
    struct sandbox_outcome *outcome = &report->of[mechanism];
    va_list values;
    outcome->state = state;
    va_start(values, format);
    vsnprintf(outcome->note, sizeof outcome->note, format, values);
    va_end(values);
}

void sandbox_outcome_text(const struct sandbox_outcome *outcome, char *ret_text, size_t size)
{
    const char *state = "not asked for";
    if (outcome->state != SANDBOX_NOT_ASKED)
        state = outcome->state == SANDBOX_ACTIVE ? "active" : "unavailable";
    snprintf(ret_text, size, "%s%s%s", state, outcome->note[0] != '\0' ? ": " : "", outcome->note);
}

void sandbox_describe(const struct sandbox_report *report, struct buf *out)
{
    char text[sizeof report->of[0].note + 32];
    for (unsigned i = 0; i < SANDBOX_MECHANISMS; i++) {
        buf_byte(out, i == 0 ? '{' : ',');
        json_key(out, sandbox_mechanism_name((enum sandbox_mechanism)i));
        sandbox_outcome_text(&report->of[i], text, sizeof text);
        json_text(out, text);
    }
    buf_byte(out, '}');
}

static bool is_complete(const struct sandbox_report *report)
{
    for (unsigned i = 0; i < SANDBOX_MECHANISMS; i++)
        if (report->of[i].state == SANDBOX_UNAVAILABLE)
            return false;
    return true;
}

/* ---- applying */

static void note_result(struct sandbox_report *report, enum sandbox_mechanism mechanism, long result)
{
    if (result == 0)
        sandbox_note(report, mechanism, SANDBOX_ACTIVE, "%s", "");
    else
        sandbox_note(report, mechanism, SANDBOX_UNAVAILABLE, "%s", strerrordesc_np(errno));
}

/* With no_new_privs a program that root starts does not get them back either. */
static void drop_capabilities(struct sandbox_report *report)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { 0 };
    note_result(report, SANDBOX_CAPABILITIES, syscall(SYS_capset, &header, none));
}

/* `slack` is how far the hard limit lies above the soft one. */
static bool lower_limit(__rlimit_resource_t resource, uint64_t wanted, uint64_t slack)
{
    struct rlimit limit;
    if (getrlimit(resource, &limit) != 0)
        return false;
    if (wanted < limit.rlim_max) /* RLIM_INFINITY is the highest number */
        limit.rlim_max = wanted + slack < limit.rlim_max ? wanted + slack : limit.rlim_max;
    if (wanted < limit.rlim_cur)
        limit.rlim_cur = wanted;
    return setrlimit(resource, &limit) == 0;
}

static void set_limits(const struct sandbox_limits *limits, struct sandbox_report *report)
{
    const struct {
        __rlimit_resource_t resource;
        const char *name;
        uint64_t wanted, slack;
    } rows[] = {
        { RLIMIT_CPU, "CPU time", limits->cpu_seconds, 1 },
        { RLIMIT_NOFILE, "open files", limits->open_files, 0 },
        { RLIMIT_NPROC, "processes", limits->processes, 0 },
        { RLIMIT_FSIZE, "file size", limits->file_bytes, 0 },
        { RLIMIT_AS, "address space", SANDBOX_IS_SANITIZED ? 0 : limits->address_space_bytes, 0 },
    };
    bool is_core_off = lower_limit(RLIMIT_CORE, 0, 0);
    note_result(report, SANDBOX_LIMITS, is_core_off ? 0 : -1);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].wanted > 0 && !lower_limit(rows[i].resource, rows[i].wanted, rows[i].slack))
            sandbox_note(report, SANDBOX_LIMITS, SANDBOX_UNAVAILABLE, "%s: %s", rows[i].name, strerrordesc_np(errno));
}

bool sandbox_apply(const struct sandbox_rules *rules, struct sandbox_report *ret_report)
{
    *ret_report = (struct sandbox_report){ 0 };
    note_result(ret_report, SANDBOX_PRIVILEGES, prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    sandbox_restrict_objects(rules, ret_report);
    drop_capabilities(ret_report);
    struct sandbox_filter *own = rules->filter == NULL ? sandbox_filter_new(rules, ret_report) : NULL;
    const struct sandbox_filter *filter = own != NULL ? own : rules->filter;
    set_limits(&rules->limits, ret_report);
    if (filter != NULL)
        sandbox_filter_install(filter, ret_report);
    sandbox_filter_free(own);
    return is_complete(ret_report);
}

/* ---- probing */

static void give_up_probe(struct sandbox_report *report, const char *why)
{
    for (unsigned i = 0; i < SANDBOX_MECHANISMS; i++)
        sandbox_note(report, (enum sandbox_mechanism)i, SANDBOX_UNAVAILABLE, "%s", why);
}

bool sandbox_probe(const struct sandbox_rules *rules, struct sandbox_report *ret_report)
{
    struct sandbox_report *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        give_up_probe(ret_report, "no memory for the probe");
        return false;
    }
    int wait_status = -1;
    pid_t pid = fork();
    if (pid == 0) {
        sandbox_apply(rules, shared);
        _exit(0);
    }
    while (pid > 0 && waitpid(pid, &wait_status, 0) < 0 && errno == EINTR)
        ;
    if (wait_status == 0)
        *ret_report = *shared;
    else
        give_up_probe(ret_report, pid < 0 ? "no process for the probe" : "the probe did not survive it");
    munmap(shared, sizeof *shared);
    return is_complete(ret_report);
}
