/* sandbox: what a user's program can do, what only with a grant, and what never; its files are in
 * test_sandbox_files.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

#include "tests/support/timing.h"
#include "tests/unit/sandbox_program_case.h"

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

int main(void)
{
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
    };
    return cmocka_run_group_tests_name("sandbox_programs", tests, open_rig, close_rig);
}
