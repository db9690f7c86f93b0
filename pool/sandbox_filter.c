/* The seccomp filters. libseccomp makes the code; it is read back from it and installed by hand, so that the limits can
 * be set in between and because libseccomp 2.5 only installs what it makes on the spot.
 *
 * A filter sees a system call's number and its six registers, not the memory that they point to. Two consequences:
 * whatever is decided by such memory is allowed or refused as a whole (clone3, io_uring); and a register is compared as
 * the kernel will read it: most flags are 32 bits wide and the rest of the register is ignored, so a refusal compares
 * under a mask, and a refusal of "anything but X" compares all 64 bits, which errs on the safe side.
 *
 * What is refused fails with EPERM, which programs handle; clone3 with ENOSYS, because the C library then falls back to
 * clone, whose flags can be seen. System calls of another architecture (32-bit ones, x32) have other numbers and would
 * get around all this: they end the process.
 *
 * Calls that are allowed or refused whatever their arguments are decided by the kernel's table, without running the
 * filter; so what a worker does all the time is allowed as a whole. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/ioprio.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "pool/sandbox_internal.h"

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#endif

/* Names, because not every architecture has all of them, nor does every libseccomp know them: such are passed over. */
static const char *const few[] = {
    /* memory */
    "brk", "madvise", "membarrier", "mincore", "mremap", "munmap",
    /* waiting and locks */
    "clock_nanosleep", "clock_nanosleep_time64", "futex", "futex_time64", "futex_waitv", "get_robust_list", "nanosleep",
    "pause", "poll", "ppoll", "ppoll_time64", "restart_syscall", "rseq", "sched_yield", "set_robust_list",
    /* signals, its own */
    "rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait",
    "rt_sigtimedwait_time64", "setitimer", "sigaltstack", "sigreturn",
    /* descriptors that it has: spill file, eventfds, stderr. Not read(): it could take a loop's wake-up away */
    "_llseek", "close", "fdatasync", "fstat", "fstat64", "fsync", "lseek", "pread64", "pwrite64", "pwritev", "pwritev2",
    "write", "writev",
    /* what it can know anyway */
    "clock_getres", "clock_getres_time64", "clock_gettime", "clock_gettime64", "getcpu", "getegid", "geteuid", "getgid",
    "getpgrp", "getpid", "getppid", "getrandom", "getrlimit", "getrusage", "gettid", "gettimeofday", "getuid",
    "sched_getaffinity", "sysinfo", "time", "times", "ugetrlimit", "uname",
    /* the end */
    "exit", "exit_group"
};

static const char *const always_refused[] = {
    /* other processes: their memory, descriptors, limits */
    "kcmp", "pidfd_getfd", "process_madvise", "process_mrelease", "process_vm_readv", "process_vm_writev", "ptrace",
    /* the file tree, namespaces */
    "chroot", "fsconfig", "fsmount", "fsopen", "fspick", "mount", "mount_setattr", "move_mount", "open_by_handle_at",
    "open_tree", "pivot_root", "setns", "umount", "umount2", "unshare",
    /* work that the kernel does in the background, past this filter */
    "io_uring_enter", "io_uring_register", "io_uring_setup",
    /* parts of the kernel with a history of holes, or of no use to a program */
    "add_key", "bpf", "fanotify_init", "keyctl", "lookup_dcookie", "modify_ldt", "nfsservctl", "perf_event_open",
    "request_key", "uselib", "userfaultfd", "vm86", "vm86old",
    /* objects that outlive the process, and those of others by number */
    "ipc", "mq_open", "mq_unlink", "msgctl", "msgget", "msgrcv", "msgsnd", "semctl", "semget", "semop", "semtimedop",
    "semtimedop_time64", "shmat", "shmctl", "shmget",
    /* the machine */
    "_sysctl", "acct", "adjtimex", "clock_adjtime", "clock_adjtime64", "clock_settime", "clock_settime64",
    "create_module", "delete_module", "finit_module", "init_module", "ioperm", "iopl", "kexec_file_load", "kexec_load",
    "quotactl", "quotactl_fd", "reboot", "setdomainname", "sethostname", "settimeofday", "stime", "swapoff", "swapon",
    "syslog", "vhangup"
};

static const char *const network[] = { "accept", "accept4", "bind", "connect", "listen", "socket", "socketcall" };
static const char *const starting[] = { "execve", "execveat" };
static const char *const forking[] = { "fork", "vfork" };
static const char *const leaving[] = { "setpgid", "setsid" };
/* Owner, mode, times, labels: what Landlock does not guard. */
static const char *const attributes[] = {
    "chmod",    "chown",        "chown32",          "fchmod",       "fchmodat",      "fchmodat2", "fchown",
    "fchown32", "fchownat",     "file_setattr",     "fremovexattr", "fsetxattr",     "futimesat", "lchown",
    "lchown32", "lremovexattr", "lsetxattr",        "removexattr",  "removexattrat", "setxattr",  "setxattrat",
    "utime",    "utimensat",    "utimensat_time64", "utimes"
};
/* On a process by number; 0 is the caller. */
static const char *const of_another[] = { "migrate_pages", "move_pages",     "sched_setaffinity",
                                          "sched_setattr", "sched_setparam", "sched_setscheduler" };

#define LOW_HALF 0xffffffffu

struct making {
    scmp_filter_ctx context;
    int failed; /* the first negative errno */
};

static void add(struct making *making, uint32_t action, const char *name, unsigned count,
                const struct scmp_arg_cmp *comparisons)
{
    int number = seccomp_syscall_resolve_name(name);
    if (number == __NR_SCMP_ERROR)
        return;
    int result = seccomp_rule_add_array(making->context, action, number, count, comparisons);
    if (result < 0 && making->failed == 0)
        making->failed = result;
}

static void add_all(struct making *making, uint32_t action, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        add(making, action, names[i], 0, NULL);
}

static void add_if(struct making *making, uint32_t action, const char *name, struct scmp_arg_cmp comparison)
{
    add(making, action, name, 1, &comparison);
}

static void allow_few(struct making *making, const struct sandbox_rules *rules)
{
    const uint32_t allow = SCMP_ACT_ALLOW;
    static const char *const mapping[] = { "mmap", "mmap2", "mprotect" };
    add_all(making, allow, few, ARRAY_LEN(few));
    for (size_t i = 0; i < ARRAY_LEN(mapping); i++)
        if (rules->may_make_code)
            add(making, allow, mapping[i], 0, NULL);
        else
            add_if(making, allow, mapping[i], SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    const scmp_datum_t self = (scmp_datum_t)getpid();
    add_if(making, allow, "kill", SCMP_A0(SCMP_CMP_EQ, self));
    add_if(making, allow, "tgkill", SCMP_A0(SCMP_CMP_EQ, self)); /* raise(), abort() */
    add_if(making, allow, "prlimit64", SCMP_A2(SCMP_CMP_EQ, 0)); /* to look at limits */
    add_if(making, allow, "fcntl", SCMP_A1(SCMP_CMP_EQ, F_GETFL));
    add_if(making, allow, "fcntl64", SCMP_A1(SCMP_CMP_EQ, F_GETFL));
    add_if(making, allow, "prctl", SCMP_A0(SCMP_CMP_EQ, PR_SET_VMA)); /* glibc names its mappings */
    /* fstat() of glibc 2.33 to 2.38; a path, too, could be looked at with it, but not opened */
    add_if(making, allow, "newfstatat", SCMP_A3(SCMP_CMP_EQ, AT_EMPTY_PATH));
    add_if(making, allow, "fstatat64", SCMP_A3(SCMP_CMP_EQ, AT_EMPTY_PATH));
}

/* A datagram socket of a pair can be turned on any socket in the file tree, so pairs are for streams. */
static void refuse_pairs(struct making *making, uint32_t refuse)
{
    add_if(making, refuse, "socketpair", SCMP_A0(SCMP_CMP_NE, AF_UNIX));
    add_if(making, refuse, "socketpair", SCMP_A1(SCMP_CMP_MASKED_EQ, 0xf, SOCK_DGRAM));
    add_if(making, refuse, "socketpair", SCMP_A1(SCMP_CMP_MASKED_EQ, 0xf, SOCK_RAW));
}

/* Families that fetching something takes: IPv4, IPv6, and netlink, which getaddrinfo() asks about addresses. Not UNIX:
 * Landlock does not guard the sockets in the file tree, which lead to whatever else runs on the machine. */
static void refuse_other_families(struct making *making, uint32_t refuse)
{
    for (unsigned family = AF_UNSPEC; family < AF_NETLINK; family++)
        if (family != AF_INET && family != AF_INET6)
            add_if(making, refuse, "socket", SCMP_A0(SCMP_CMP_MASKED_EQ, LOW_HALF, family));
    add_if(making, refuse, "socket", SCMP_A0(SCMP_CMP_GT, AF_NETLINK));
    add_if(making, refuse, "socketcall", SCMP_A0(SCMP_CMP_EQ, 1)); /* SYS_SOCKET, its arguments in memory */
}

static void refuse_clone(struct making *making, uint32_t refuse, bool may_fork)
{
    static const unsigned namespaces[] = { CLONE_NEWNS,   CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC,
                                           CLONE_NEWUSER, CLONE_NEWPID,    CLONE_NEWNET };
#ifdef __s390__
    const unsigned flags = 1;
#else
    const unsigned flags = 0;
#endif
    for (size_t i = 0; i < ARRAY_LEN(namespaces); i++)
        add_if(making, refuse, "clone", SCMP_CMP64(flags, SCMP_CMP_MASKED_EQ, namespaces[i], namespaces[i]));
    add(making, SCMP_ACT_ERRNO(ENOSYS), "clone3", 0, NULL);
    if (may_fork)
        return;
    add_if(making, refuse, "clone", SCMP_CMP64(flags, SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0));
    add_all(making, refuse, forking, ARRAY_LEN(forking));
}

static bool may_write(const struct sandbox_rules *rules)
{
    bool may = rules->files == SANDBOX_FILES_ANY;
    for (size_t i = 0; i < rules->path_count; i++)
        may |= rules->paths[i].is_writable;
    return may;
}

/* Calls that set a file's mode, and where it and the flags stand that say whether the mode means anything. */
static const struct mode_call {
    const char *name;
    unsigned mode, flags;
    uint64_t flag; /* 0: always */
} mode_calls[] = { { "chmod", 1, 0, 0 },        { "fchmod", 1, 0, 0 },        { "fchmodat", 2, 0, 0 },
                   { "fchmodat2", 2, 0, 0 },    { "creat", 1, 0, 0 },         { "mknod", 1, 0, 0 },
                   { "mknodat", 2, 0, 0 },      { "open", 2, 1, O_CREAT },    { "open", 2, 1, O_TMPFILE },
                   { "openat", 3, 2, O_CREAT }, { "openat", 3, 2, O_TMPFILE } };

/* With a place to write to, a program may set the modes and times of its files, and so those of others that its user
 * owns: the filter sees no path. None becomes set-user-id: it would be run outside. */
static void refuse_attributes(struct making *making, uint32_t refuse, const struct sandbox_rules *rules)
{
    if (!may_write(rules)) {
        add_all(making, refuse, attributes, ARRAY_LEN(attributes));
        return;
    }
    static const mode_t bits[] = { S_ISUID, S_ISGID };
    for (size_t i = 0; i < 2 * ARRAY_LEN(mode_calls); i++) {
        const struct mode_call *call = &mode_calls[i / 2];
        const mode_t bit = bits[i % 2];
        const struct scmp_arg_cmp comparisons[] = { SCMP_CMP64(call->mode, SCMP_CMP_MASKED_EQ, bit, bit),
                                                    SCMP_CMP64(call->flags, SCMP_CMP_MASKED_EQ, call->flag,
                                                               call->flag) };
        add(making, refuse, call->name, call->flag != 0 ? 2 : 1, comparisons);
    }
    add(making, SCMP_ACT_ERRNO(ENOSYS), "openat2", 0, NULL); /* its mode is in memory; programs fall back to openat */
}

/* What a descriptor that was opened to read lets its file's owner do: marks that outlive it, and leases, which make
 * others wait who open the file. */
static void refuse_marks(struct making *making, uint32_t refuse)
{
    static const unsigned requests[] = { FS_IOC_SETFLAGS, FS_IOC32_SETFLAGS, FS_IOC_SETVERSION, FS_IOC32_SETVERSION,
                                         FS_IOC_FSSETXATTR };
    for (size_t i = 0; i < ARRAY_LEN(requests); i++)
        add_if(making, refuse, "ioctl", SCMP_A1(SCMP_CMP_MASKED_EQ, LOW_HALF, requests[i]));
    add_if(making, refuse, "fcntl", SCMP_A1(SCMP_CMP_MASKED_EQ, LOW_HALF, F_SETLEASE));
    add_if(making, refuse, "fcntl64", SCMP_A1(SCMP_CMP_MASKED_EQ, LOW_HALF, F_SETLEASE));
}

/* Its user's other processes, the service among them, would do as they are told. */
static void refuse_rule_over_others(struct making *making, uint32_t refuse)
{
    for (size_t i = 0; i < ARRAY_LEN(of_another); i++)
        add_if(making, refuse, of_another[i], SCMP_A0(SCMP_CMP_NE, 0));
    /* these for groups and users, too */
    add_if(making, refuse, "setpriority", SCMP_A0(SCMP_CMP_NE, PRIO_PROCESS));
    add_if(making, refuse, "setpriority", SCMP_A1(SCMP_CMP_NE, 0));
    add_if(making, refuse, "ioprio_set", SCMP_A0(SCMP_CMP_NE, IOPRIO_WHO_PROCESS));
    add_if(making, refuse, "ioprio_set", SCMP_A1(SCMP_CMP_NE, 0));
    /* a signal to all of them at once, where Landlock does not see to signals */
    add_if(making, refuse, "kill", SCMP_A0(SCMP_CMP_MASKED_EQ, LOW_HALF, LOW_HALF));
    /* limits, which include the CPU time */
    const struct scmp_arg_cmp limits[] = { SCMP_A0(SCMP_CMP_NE, 0), SCMP_A2(SCMP_CMP_NE, 0) };
    add(making, refuse, "prlimit64", ARRAY_LEN(limits), limits);
}

static void refuse_some(struct making *making, const struct sandbox_rules *rules)
{
    const uint32_t refuse = SCMP_ACT_ERRNO(EPERM);
    add_all(making, refuse, always_refused, ARRAY_LEN(always_refused));
    refuse_clone(making, refuse, rules->may_fork);
    refuse_pairs(making, refuse);
    if (rules->may_use_network)
        refuse_other_families(making, refuse);
    else
        add_all(making, refuse, network, ARRAY_LEN(network));
    refuse_attributes(making, refuse, rules);
    refuse_marks(making, refuse);
    refuse_rule_over_others(making, refuse);
    if (!rules->may_exec)
        add_all(making, refuse, starting, ARRAY_LEN(starting));
    if (!rules->may_leave_group)
        add_all(making, refuse, leaving, ARRAY_LEN(leaving));
    /* to type into the terminal that the service was started from */
    add_if(making, refuse, "ioctl", SCMP_A1(SCMP_CMP_MASKED_EQ, LOW_HALF, TIOCSTI));
    add_if(making, refuse, "ioctl", SCMP_A1(SCMP_CMP_MASKED_EQ, LOW_HALF, TIOCLINUX));
}

/* ---- the filter as code */

struct sandbox_filter {
    const char *kind;
    unsigned short length; /* instructions */
    struct sock_filter code[BPF_MAXINSNS];
};

/* The code goes through a pipe, which holds the longest that the kernel takes. */
static int read_code(scmp_filter_ctx context, struct sandbox_filter *filter)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
        return -errno;
    int result = seccomp_export_bpf(context, ends[1]);
    ssize_t bytes = result == 0 ? read(ends[0], filter->code, sizeof filter->code) : -1;
    close(ends[0]);
    close(ends[1]);
    if (bytes <= 0)
        return result < 0 ? result : -EIO;
    filter->length = (unsigned short)((size_t)bytes / sizeof filter->code[0]);
    return 0;
}

static int make_code(const struct sandbox_rules *rules, struct sandbox_filter *filter)
{
    bool are_few = rules->syscalls == SANDBOX_SYSCALLS_FEW;
    struct making making = { .context = seccomp_init(are_few ? SCMP_ACT_ERRNO(EPERM) : SCMP_ACT_ALLOW) };
    if (making.context == NULL)
        return -EINVAL; /* libseccomp knows no filter for this machine */
    filter->kind = are_few ? "allow-list" : "deny-list";
    (void)seccomp_attr_set(making.context, SCMP_FLTATR_ACT_BADARCH,
                           SCMP_ACT_KILL_PROCESS); /* before 4.14: the thread */
    if (are_few)
        allow_few(&making, rules);
    else
        refuse_some(&making, rules);
    if (making.failed == 0)
        making.failed = read_code(making.context, filter);
    seccomp_release(making.context);
    return making.failed;
}

struct sandbox_filter *sandbox_filter_new(const struct sandbox_rules *rules, struct sandbox_report *report)
{
    struct sandbox_filter *filter = malloc(sizeof *filter);
    int result = filter != NULL ? make_code(rules, filter) : -ENOMEM;
    if (result == 0)
        return filter;
    sandbox_note(report, SANDBOX_SYSCALLS, SANDBOX_UNAVAILABLE, "the filter could not be made: %s",
                 strerrordesc_np(-result));
    free(filter);
    return NULL;
}

void sandbox_filter_free(struct sandbox_filter *filter) { free(filter); }

void sandbox_filter_install(const struct sandbox_filter *filter, struct sandbox_report *report)
{
    const struct sock_fprog program = { .len = filter->length,
                                        .filter = (struct sock_filter *)(uintptr_t)filter->code };
    sandbox_note(report, SANDBOX_SYSCALLS, SANDBOX_ACTIVE, "%s", filter->kind);
    /* SPEC_ALLOW: kernels before 5.16 else slow down every load after a store, against attacks from within one process,
     * where nobody is to be protected from anybody. */
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &program) != 0 &&
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0)
        sandbox_note(report, SANDBOX_SYSCALLS, SANDBOX_UNAVAILABLE, "%s", strerrordesc_np(errno));
}
