/* sandbox: what a user's program can do, what only with a grant, and what never. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <time.h>

#include "tests/support/timing.h"
#include "tests/unit/sandbox_rig.h"

static struct sandbox_rules rules; /* of the preset, afresh for every case */
static char private_dir[] = "/tmp/twinpool-sandbox-XXXXXX";
static char other_dir[] = "/tmp/twinpool-outside-XXXXXX";

static int begin_case(void **state UNUSED)
{
    rules = sandbox_rules_for_programs();
    return 0;
}

static int make_file_in(const char *dir, const char *name, const char *text, mode_t mode)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, mode);
    if (fd < 0)
        return errno;
    ssize_t written = write(fd, text, strlen(text));
    close(fd);
    return written == (ssize_t)strlen(text) ? 0 : EIO;
}

static int open_group(void **state)
{
    if (mkdtemp(private_dir) == NULL || mkdtemp(other_dir) == NULL ||
        make_file_in(other_dir, "file", "outside", 0600) != 0 ||
        make_file_in(private_dir, "program", "#!/bin/sh\nexit 5\n", 0755) != 0)
        return -1;
    return open_rig(state);
}

static void remove_in(const char *dir, const char *name)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    unlink(path);
}

static int close_group(void **state)
{
    remove_in(other_dir, "file");
    remove_in(private_dir, "program");
    remove_in(private_dir, "made");
    rmdir(private_dir);
    rmdir(other_dir);
    return close_rig(state);
}

struct attempt {
    const char *what;
    int (*act)(void);
    int result;
};

static void try_all(const struct attempt *attempts, size_t count)
{
    need(SANDBOX_SYSCALLS, &rules);
    for (size_t i = 0; i < count; i++) {
        int result = try_under(&rules, attempts[i].act);
        if (result != attempts[i].result)
            fail_msg("%s: %d", attempts[i].what, result);
    }
}

/* ---- programs */

static int run_shell(const char *script) { return error_of(execl("/bin/sh", "sh", "-c", script, NULL)); }

static int exit_by_shell(void) { return run_shell("exit 7"); }

static int work_by_shell(void)
{
    return run_shell("[ \"$(printf '%s\\n' b a | sort | head -n 1)\" = a ] && [ -r /proc/self/status ] && "
                     "cat /etc/passwd >/dev/null && (exit 3) & wait $! ; [ $? = 3 ] || exit 1; "
                     "! cat /etc/shadow >/dev/null 2>&1 && exit 9");
}

static void program__started__does_its_work(void **state UNUSED)
{
    assert_int_equal(try_under(&rules, exit_by_shell), 7);
    need(SANDBOX_FILES, &rules);
    assert_int_equal(try_under(&rules, work_by_shell), 9);
}

static void program__may_not_exec__is_not_started(void **state UNUSED)
{
    need(SANDBOX_SYSCALLS, &rules);
    rules.may_exec = false;
    assert_int_equal(try_under(&rules, exit_by_shell), EPERM);
}

/* ---- network */

static int make_socket(int family, int type) { return error_of(socket(family, type, 0)); }
static int make_inet(void) { return make_socket(AF_INET, SOCK_STREAM); }
static int make_inet6(void) { return make_socket(AF_INET6, SOCK_DGRAM); }
static int make_local(void) { return make_socket(AF_UNIX, SOCK_STREAM); }
static int make_netlink(void) { return make_socket(AF_NETLINK, SOCK_RAW); }
static int make_packet(void) { return make_socket(AF_PACKET, SOCK_RAW); }
static int make_crypto(void) { return make_socket(AF_ALG, SOCK_SEQPACKET); }
static int make_machine(void) { return make_socket(AF_VSOCK, SOCK_STREAM); }
static int make_key(void) { return make_socket(AF_KEY, SOCK_RAW); }
/* The kernel looks at 32 bits of this. */
static int make_packet_wide(void) { return error_of(syscall(SYS_socket, AF_PACKET | 1L << 32, SOCK_RAW, 0)); }
static int make_key_wide(void) { return error_of(syscall(SYS_socket, AF_KEY | 1L << 32, SOCK_RAW, 2)); }
static int make_pair(void) { return error_of(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, (int[2]){ 0 })); }
static int make_datagrams(void) { return error_of(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, (int[2]){ 0 })); }
static int make_raws(void) { return error_of(socketpair(AF_UNIX, SOCK_RAW, 0, (int[2]){ 0 })); }
static int make_exotic_pair(void) { return error_of(socketpair(AF_TIPC, SOCK_STREAM, 0, (int[2]){ 0 })); }
static int make_ring(void) { return error_of(syscall(SYS_io_uring_setup, 1, NULL)); }

static void network__not_granted__none(void **state UNUSED)
{
    static const struct attempt attempts[] = {
        { "IPv4", make_inet, EPERM },     { "IPv6", make_inet6, EPERM },
        { "local", make_local, EPERM },   { "netlink", make_netlink, EPERM },
        { "packet", make_packet, EPERM }, { "packet, a wide register", make_packet_wide, EPERM },
        { "crypto", make_crypto, EPERM }, { "another machine", make_machine, EPERM },
        { "pair", make_pair, 0 },         { "datagram pair", make_datagrams, EPERM },
        { "raw pair", make_raws, EPERM }, { "exotic pair", make_exotic_pair, EPERM },
        { "ring", make_ring, EPERM },
    };
    try_all(attempts, ARRAY_LEN(attempts));
}

static void network__granted__the_usual_families(void **state UNUSED)
{
    static const struct attempt attempts[] = {
        { "IPv4", make_inet, 0 },         { "IPv6", make_inet6, 0 },
        { "netlink", make_netlink, 0 },   { "pair", make_pair, 0 },
        { "local", make_local, EPERM },   { "datagram pair", make_datagrams, EPERM },
        { "packet", make_packet, EPERM }, { "packet, a wide register", make_packet_wide, EPERM },
        { "crypto", make_crypto, EPERM }, { "another machine", make_machine, EPERM },
        { "key", make_key, EPERM },       { "key, a wide register", make_key_wide, EPERM },
        { "ring", make_ring, EPERM },
    };
    rules.may_use_network = true;
    try_all(attempts, ARRAY_LEN(attempts));
}

static int inherited_fd;

static void open_sockets(void) { inherited_fd = socket(AF_INET, SOCK_STREAM, 0); }

static int connect_inherited(void)
{
    const struct sockaddr_in nobody = { .sin_family = AF_INET,
                                        .sin_port = htons(9),
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    return error_of(connect(inherited_fd, (const struct sockaddr *)&nobody, sizeof nobody));
}

/* A socket that was open before is refused by the filter, and without that by Landlock. */
static void network__inherited_socket__connects_only_with_the_grant(void **state UNUSED)
{
    need(SANDBOX_SYSCALLS, &rules);
    assert_int_equal(try_after(&rules, open_sockets, connect_inherited), EPERM);
    need(SANDBOX_TCP, &rules);
    seccomp_error = ENOSYS;
    int without_filter = try_after(&rules, open_sockets, connect_inherited);
    seccomp_error = 0;
    assert_int_equal(without_filter, EACCES);
    rules.may_use_network = true;
    assert_int_equal(try_after(&rules, open_sockets, connect_inherited), ECONNREFUSED);
}

/* ---- processes */

static int lead_session(void) { return error_of(setsid()); }
static int lead_group(void) { return error_of(setpgid(0, 0)); }

static int fork_and_wait(void)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    return pid < 0 ? errno : error_of(waitpid(pid, NULL, 0));
}

static int fork_by_call(void)
{
    long pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (pid == 0)
        _exit(0);
    return error_of(pid);
}

static int fork_by_struct(void) { return error_of(syscall(SYS_clone3, NULL, 0)); }
static int fork_into_namespace(void) { return error_of(syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0)); }
static int make_namespace(void) { return error_of(unshare(CLONE_NEWUSER)); }
static int signal_parent(void) { return error_of(kill(getppid(), 0)); }
static int signal_all(void) { return error_of(kill(-1, 0)); }
static int trace_parent(void) { return error_of(ptrace(PTRACE_ATTACH, getppid(), NULL, NULL)); }

static int read_parent(void)
{
    char byte;
    const struct iovec to = { &byte, 1 }, from = { &rules, 1 };
    return error_of(process_vm_readv(getppid(), &to, 1, &from, 1, 0));
}

static int limit_parent(void)
{
    return error_of(prlimit(getppid(), RLIMIT_CPU, &(struct rlimit){ RLIM_INFINITY, RLIM_INFINITY }, NULL));
}

static int slow_parent(void) { return error_of(setpriority(PRIO_PROCESS, (id_t)getppid(), 19)); }
static int slow_user(void) { return error_of(setpriority(PRIO_USER, 0, 19)); }
static int slow_itself(void) { return error_of(setpriority(PRIO_PROCESS, 0, 19)); }
static int bind_to_all(pid_t pid)
{
    cpu_set_t cpus;
    return error_of(sched_getaffinity(pid, sizeof cpus, &cpus)) + error_of(sched_setaffinity(pid, sizeof cpus, &cpus));
}
static int bind_parent(void) { return bind_to_all(getppid()); }
static int bind_itself(void) { return bind_to_all(0); }
static int idle_parent(void) { return error_of(sched_setscheduler(getppid(), SCHED_IDLE, &(struct sched_param){ 0 })); }
static int delay_disk(int which, pid_t pid) { return error_of(syscall(SYS_ioprio_set, which, pid, 3 << 13)); }
static int delay_parent(void) { return delay_disk(1, getppid()); }
static int delay_user(void) { return delay_disk(3, 0); }

static int limit_itself(void)
{
    struct rlimit limit;
    return error_of(prlimit(0, RLIMIT_CPU, NULL, &limit)) + error_of(prlimit(0, RLIMIT_CPU, &limit, NULL));
}

static void *idle(void *context) { return context; }

static int make_thread(void)
{
    pthread_t thread;
    int error = pthread_create(&thread, NULL, idle, NULL);
    return error != 0 ? error : pthread_join(thread, NULL);
}

static void processes__as_a_rule__stay_in_their_place(void **state UNUSED)
{
    static const struct attempt attempts[] = {
        { "fork", fork_and_wait, 0 },
        { "clone", fork_by_call, 0 },
        { "clone3", fork_by_struct, ENOSYS },
        { "thread", make_thread, 0 },
        { "session", lead_session, EPERM },
        { "group", lead_group, EPERM },
        { "clone into a namespace", fork_into_namespace, EPERM },
        { "namespace", make_namespace, EPERM },
        { "trace", trace_parent, EPERM },
        { "read memory", read_parent, EPERM },
        { "limit another", limit_parent, EPERM },
        { "slow down another", slow_parent, EPERM },
        { "slow down its user", slow_user, EPERM },
        { "slow down itself", slow_itself, 0 },
        { "bind another", bind_parent, EPERM },
        { "bind itself", bind_itself, 0 },
        { "idle another", idle_parent, EPERM },
        { "another's disk", delay_parent, EPERM },
        { "the user's disk", delay_user, EPERM },
        { "signal all", signal_all, EPERM },
        { "limit itself", limit_itself, 0 },
    };
    try_all(attempts, ARRAY_LEN(attempts));
}

static void processes__may_not_fork__can_have_threads(void **state UNUSED)
{
    static const struct attempt attempts[] = {
        { "fork", fork_and_wait, EPERM },
        { "clone", fork_by_call, EPERM },
        { "clone3", fork_by_struct, ENOSYS },
        { "thread", make_thread, 0 },
    };
    rules.may_fork = false;
    try_all(attempts, ARRAY_LEN(attempts));
}

static void processes__may_leave_the_group__can(void **state UNUSED)
{
    rules.may_leave_group = true;
    assert_int_equal(try_under(&rules, lead_session), 0);
    assert_int_equal(try_under(&rules, lead_group), 0);
}

static void processes__outside__get_no_signals(void **state UNUSED)
{
    need(SANDBOX_SCOPE, &rules);
    assert_int_equal(try_under(&rules, signal_parent), EPERM);
}

static int life_fds[2]; /* closed when the last descendant is gone */

/* A grandchild whose parent is gone, that tries to leave, holds the pipe. */
NORETURN static void hide(void)
{
    struct sandbox_report report;
    setpgid(0, 0);
    sandbox_apply(&rules, &report);
    if (fork() == 0) {
        if (fork() == 0) {
            bool has_left = setsid() >= 0 || setpgid(0, 0) == 0;
            ssize_t told = write(life_fds[1], has_left ? "!" : ".", 1);
            (void)told;
            pause();
        }
        _exit(0);
    }
    pause();
    _exit(0);
}

static void processes__group_is_killed__takes_the_hidden_along(void **state UNUSED)
{
    char said = 0;
    need(SANDBOX_SYSCALLS, &rules);
    assert_int_equal(pipe2(life_fds, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0)
        hide();
    close(life_fds[1]);
    struct pollfd life = { .fd = life_fds[0], .events = POLLIN };
    bool is_told = poll(&life, 1, (int)scaled_ms(5000)) == 1 && read(life_fds[0], &said, 1) == 1;
    kill(-pid, SIGKILL);
    bool is_over = poll(&life, 1, (int)scaled_ms(5000)) == 1 && read(life_fds[0], &said, 1) == 0;
    waitpid(pid, NULL, 0);
    close(life_fds[0]);
    assert_true(is_told);
    assert_int_equal(said, '.');
    assert_true(is_over);
}

/* ---- the machine */

static int mount_it(void) { return error_of(syscall(SYS_mount, "none", "/", NULL, 0, NULL)); }
static int unmount_it(void) { return error_of(syscall(SYS_umount2, "/", 0)); }
static int change_root(void) { return error_of(chroot("/")); }
static int use_bpf(void) { return error_of(syscall(SYS_bpf, 0, NULL, 0)); }
static int catch_faults(void) { return error_of(syscall(SYS_userfaultfd, 0)); }
static int use_keys(void) { return error_of(syscall(SYS_keyctl, 0, 0, 0, 0, 0)); }
static int measure(void) { return error_of(syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0)); }
static int load_kernel(void) { return error_of(syscall(SYS_kexec_load, 0, 0, NULL, 0)); }
static int load_module(void) { return error_of(syscall(SYS_init_module, NULL, 0, "")); }
static int restart(void) { return error_of(syscall(SYS_reboot, 0, 0, 0, NULL)); }
static int swap(void) { return error_of(syscall(SYS_swapon, "/no/such/file", 0)); }
static int set_clock(void) { return error_of(clock_settime(CLOCK_REALTIME, &(struct timespec){ 0 })); }
static int set_name(void) { return error_of(sethostname("x", 1)); }
static int remove_memory(void) { return error_of(shmctl(0, IPC_RMID, NULL)); }
static int use_memory(void) { return error_of(syscall(SYS_shmat, 0, NULL, 0)); }
static int use_semaphore(void) { return error_of(semop(0, &(struct sembuf){ .sem_op = 1 }, 1)); }
static int use_queue(void) { return error_of(syscall(SYS_msgsnd, 0, "", 0, 0)); }
static int share_memory(void) { return error_of(shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600)); }
static int type_into_terminal(void) { return error_of(ioctl(STDIN_FILENO, TIOCSTI, "x")); }
/* The kernel looks at 32 bits of this. */
static int type_wide(void) { return error_of(syscall(SYS_ioctl, STDIN_FILENO, TIOCSTI | 1L << 32, "x")); }

static void machine__always__is_out_of_reach(void **state UNUSED)
{
    static const struct attempt attempts[] = {
        { "mount", mount_it, EPERM },
        { "umount", unmount_it, EPERM },
        { "chroot", change_root, EPERM },
        { "bpf", use_bpf, EPERM },
        { "userfaultfd", catch_faults, EPERM },
        { "keyctl", use_keys, EPERM },
        { "perf", measure, EPERM },
        { "kexec", load_kernel, EPERM },
        { "module", load_module, EPERM },
        { "reboot", restart, EPERM },
        { "swap", swap, EPERM },
        { "clock", set_clock, EPERM },
        { "host name", set_name, EPERM },
        { "lasting memory", share_memory, EPERM },
        { "others' memory", use_memory, EPERM },
        { "the end of others' memory", remove_memory, EPERM },
        { "others' semaphores", use_semaphore, EPERM },
        { "others' queues", use_queue, EPERM },
        { "terminal", type_into_terminal, EPERM },
        { "terminal, a wide register", type_wide, EPERM },
    };
    rules.may_use_network = true;
    rules.may_leave_group = true;
    try_all(attempts, ARRAY_LEN(attempts));
}

/* ---- files */

static const char *at(const char *dir, const char *name)
{
    static char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static int try_open(const char *path, int flags) { return error_of(open(path, flags | O_CLOEXEC, 0600)); }
static int read_system(void) { return try_open("/etc/passwd", O_RDONLY); }
static int read_secret(void) { return try_open("/etc/shadow", O_RDONLY); }

static int write_system(void)
{
    int error = try_open("/usr/twinpool-sandbox", O_CREAT | O_WRONLY);
    return error == EROFS ? EACCES : error; /* a read-only root comes first */
}

static int write_proc(void) { return try_open("/proc/self/oom_score_adj", O_WRONLY); }
static int write_null(void) { return make_file_in("/dev", "null", "x", 0600); }
static int read_outside(void) { return try_open(at(other_dir, "file"), O_RDONLY); }
static int write_outside(void) { return try_open(at(other_dir, "file"), O_WRONLY); }
static int cut_outside(void) { return error_of(truncate(at(other_dir, "file"), 0)); }
static int list_outside(void) { return try_open(other_dir, O_RDONLY | O_DIRECTORY); }
static int read_private(void) { return try_open(at(private_dir, "program"), O_RDONLY); }
static int write_private(void) { return make_file_in(private_dir, "made", "text", 0600); }
static int make_device(void) { return error_of(mknod(at(private_dir, "device"), S_IFCHR | 0600, 0)); }

static int mark(const char *path)
{
    const int results[] = { error_of(chmod(path, 0755)), error_of(lchown(path, getuid(), getgid())),
                            error_of(utimensat(AT_FDCWD, path, NULL, 0)),
                            error_of(setxattr(path, "user.x", "1", 1, 0)) };
    for (size_t i = 1; i < ARRAY_LEN(results); i++)
        if (results[i] != results[0] && results[i] != EOPNOTSUPP)
            return EDOM;
    return results[0];
}

static int mark_outside(void) { return mark(at(other_dir, "file")); }
static int mark_private(void) { return mark(at(private_dir, "program")); }
static int mark_null(void) { return error_of(fchmod(STDIN_FILENO, 0666)); }

static int take_identity(void)
{
    int fd = open(at(private_dir, "program"), O_RDONLY | O_CLOEXEC);
    int error = error_of(fchmod(fd, S_ISUID | 0755));
    return error == error_of(chmod(at(private_dir, "program"), S_ISGID | 0755)) ? error : EDOM;
}

static int run_private(void) { return error_of(execl(at(private_dir, "program"), "program", NULL)); }

static int rename_and_remove(void)
{
    char from[PATH_MAX], to[PATH_MAX];
    snprintf(from, sizeof from, "%s/made", private_dir);
    snprintf(to, sizeof to, "%s/renamed", private_dir);
    int error = write_private();
    return error != 0 ? error : error_of(rename(from, to)) + error_of(unlink(to));
}

static int move_out(void)
{
    char to[PATH_MAX];
    int error = write_private();
    snprintf(to, sizeof to, "%s/moved", other_dir);
    if (error == 0)
        error = error_of(rename(at(private_dir, "made"), to));
    return error == EXDEV ? EACCES : error; /* EXDEV: of the first ABI, to which every move is one */
}

static void try_files(const struct attempt *attempts, size_t count)
{
    need(SANDBOX_FILES, &rules);
    try_all(attempts, count);
}

static void files__nothing_granted__the_system_is_readable(void **state UNUSED)
{
    static const struct attempt attempts[] = {
        { "read the system's", read_system, 0 },        { "read a secret", read_secret, EACCES },
        { "write the system's", write_system, EACCES }, { "write below /proc", write_proc, EACCES },
        { "write /dev/null", write_null, 0 },           { "read others'", read_outside, EACCES },
        { "write others'", write_outside, EACCES },     { "cut others'", cut_outside, EACCES },
        { "list others'", list_outside, EACCES },       { "read private", read_private, EACCES },
        { "write private", write_private, EACCES },     { "mark others'", mark_outside, EPERM },
        { "mark by descriptor", mark_null, EPERM },
    };
    try_files(attempts, ARRAY_LEN(attempts));
}

static void files__read_only__can_be_read(void **state UNUSED)
{
    static const struct attempt attempts[] = {
        { "read private", read_private, 0 },
        { "write private", write_private, EACCES },
        { "run private", run_private, EACCES },
        { "read others'", read_outside, EACCES },
    };
    const struct sandbox_path path = { .path = private_dir };
    rules.paths = &path;
    rules.path_count = 1;
    try_files(attempts, ARRAY_LEN(attempts));
}

static void files__writable__can_be_changed_but_not_run(void **state UNUSED)
{
    static const struct attempt attempts[] = {
        { "read private", read_private, 0 },
        { "write private", write_private, 0 },
        { "rename and remove private", rename_and_remove, 0 },
        { "move out", move_out, EACCES },
        { "make a device", make_device, EACCES },
        { "mark private", mark_private, 0 },
        { "lend its identity", take_identity, EPERM },
        { "run private", run_private, EACCES },
        { "write others'", write_outside, EACCES },
    };
    const struct sandbox_path path = { .path = private_dir, .is_writable = true };
    rules.paths = &path;
    rules.path_count = 1;
    try_files(attempts, ARRAY_LEN(attempts));
}

static void files__executable__can_be_run(void **state UNUSED)
{
    const struct sandbox_path path = { .path = private_dir, .is_executable = true };
    rules.paths = &path;
    rules.path_count = 1;
    assert_int_equal(try_under(&rules, run_private), 5);
}

static void files__single_file__is_granted_alone(void **state UNUSED)
{
    char name[PATH_MAX];
    snprintf(name, sizeof name, "%s/file", other_dir);
    const struct sandbox_path path = { .path = name, .is_writable = true };
    rules.paths = &path;
    rules.path_count = 1;
    need(SANDBOX_FILES, &rules);
    assert_int_equal(try_under(&rules, read_outside), 0);
    assert_int_equal(try_under(&rules, write_outside), 0);
    assert_int_equal(try_under(&rules, list_outside), EACCES);
}

static void files__root__is_granted_on_demand_only(void **state UNUSED)
{
    struct sandbox_path path = { .path = "/tmp/..", .is_optional = true };
    rules.paths = &path;
    rules.path_count = 1;
    need(SANDBOX_FILES, &rules);
    assert_int_equal(try_under(&rules, read_outside), EACCES);
    path.is_optional = false;
    assert_int_equal(try_under(&rules, read_outside), 0);
}

static void files__missing_path__is_told_and_the_rest_holds(void **state UNUSED)
{
    const struct sandbox_path paths[] = { { .path = "/no/such/optional", .is_optional = true },
                                          { .path = "/no/such/path" },
                                          { .path = private_dir } };
    rules.paths = paths;
    rules.path_count = ARRAY_LEN(paths);
    need(SANDBOX_FILES, &rules);
    assert_int_equal(try_under(&rules, read_private), 0);
    assert_string_equal(last_report->of[SANDBOX_FILES].note, "without /no/such/path: No such file or directory");
    assert_int_equal(try_under(&rules, read_outside), EACCES);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, begin_case)
    const struct CMUnitTest tests[] = {
        TEST(program__started__does_its_work),
        TEST(program__may_not_exec__is_not_started),
        TEST(network__not_granted__none),
        TEST(network__granted__the_usual_families),
        TEST(network__inherited_socket__connects_only_with_the_grant),
        TEST(processes__as_a_rule__stay_in_their_place),
        TEST(processes__may_not_fork__can_have_threads),
        TEST(processes__may_leave_the_group__can),
        TEST(processes__outside__get_no_signals),
        TEST(processes__group_is_killed__takes_the_hidden_along),
        TEST(machine__always__is_out_of_reach),
        TEST(files__nothing_granted__the_system_is_readable),
        TEST(files__read_only__can_be_read),
        TEST(files__writable__can_be_changed_but_not_run),
        TEST(files__executable__can_be_run),
        TEST(files__single_file__is_granted_alone),
        TEST(files__root__is_granted_on_demand_only),
        TEST(files__missing_path__is_told_and_the_rest_holds),
    };
    return cmocka_run_group_tests_name("sandbox_programs", tests, open_group, close_group);
}
