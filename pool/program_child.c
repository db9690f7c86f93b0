/* program_child: fork and exec, poll, reap.
 *
 * The child stays in the worker's process group, which the supervisor kills as a whole. The worker is the subreaper of
 * its descendants, so that what a program has started and left behind can be found and killed, too. */
#include "pool/program_child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "pool/proc_stat.h"
#include "pool/process_tree.h"

enum {
    MESSAGE_MAX = 512,
    MESSAGES_PER_S = 100,
    LIMITS_CHECK_MS = 10,
    DIPS_MAX = 3,
    READ_BYTES = 64 * 1024,
    PIPE_BYTES = 64 * 1024
};

/* A line of standard error in the making; and the last whole one. */
static char message[MESSAGE_MAX], last_message[MESSAGE_MAX];
static size_t message_len;

static struct sandbox_filter *filter;        /* of the worker's program, for each process that runs it */
static volatile sig_atomic_t has_lost_child; /* since it was looked for */

static void note_signal(int sig)
{
    if (sig == SIGCHLD) /* SIGIO was only to interrupt a wait */
        has_lost_child = 1;
}

const char *program_last_message(void) { return last_message; }

/* ---- starting */

static bool make_pipe(int ret_ends[2]) { return pipe2(ret_ends, O_CLOEXEC) == 0; }

static void close_pipe(int ends[2])
{
    for (int i = 0; i < 2; i++)
        if (ends[i] >= 0)
            close(ends[i]);
}

static struct sandbox_rules rules_of(const struct program *program)
{
    struct sandbox_rules rules = sandbox_rules_for_programs();
    rules.may_use_network = program->may_use_network;
    rules.limits.open_files = program->open_files_max;
    rules.may_fork = program->processes_max != 1;
    rules.paths = program->paths;
    rules.path_count = program->path_count;
    return rules;
}

/* What the kernel cannot do here was logged when the service started. Paths are opened anew for each process, because a
 * file may have been replaced. */
static void confine(const struct program *program)
{
    struct sandbox_rules rules = rules_of(program);
    struct sandbox_report report;
    rules.filter = filter;
    (void)sandbox_apply(&rules, &report);
}

/* In the child. The error goes through `failed`, which exec closes. */
NORETURN static void become(const struct program *program, char *const *argv, char *const *environment,
                            const int streams[3], int failed, pid_t parent)
{
    sigset_t none;
    sigemptyset(&none);
    for (int sig = 1; sig < NSIG; sig++)
        signal(sig, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_DUMPABLE, 1);
    bool is_ready = getppid() == parent;
    for (int i = 0; i < 3; i++)
        is_ready = is_ready && dup2(streams[i], i) == i;
    is_ready = is_ready && (!program->directory || chdir(program->directory) == 0);
    if (is_ready)
        confine(program);
    if (is_ready)
        execvpe(argv[0], argv, environment);
    int error = errno;
    ssize_t ignored = write(failed, &error, sizeof error);
    (void)ignored;
    _exit(127);
}

static size_t count_of(char *const *list)
{
    size_t count = 0;
    while (list && list[count])
        count++;
    return count;
}

/* Both lists, one after the other; the strings stay where they are. */
static char **join(char *const *first, char *const *second)
{
    size_t a = count_of(first), b = count_of(second);
    char **joined = calloc(a + b + 1, sizeof *joined);
    if (!joined)
        return NULL;
    for (size_t i = 0; i < a + b; i++)
        joined[i] = i < a ? first[i] : second[i - a];
    return joined;
}

/* 0, or the error that kept it from running. */
static int exec_error(int failed)
{
    int error = 0;
    ssize_t got;
    do
        got = read(failed, &error, sizeof error);
    while (got < 0 && errno == EINTR);
    return got == (ssize_t)sizeof error ? error : 0;
}

static bool set_up(struct program_child *child, pid_t pid, int in[2], int out[2], int err[2])
{
    close(in[0]);
    close(out[1]);
    close(err[1]);
    *child = (struct program_child){ .pid = pid,
                                     .input = in[1],
                                     .output = out[0],
                                     .messages = err[0],
                                     .reaped_before_ns = program_child_reaped_cpu_ns(NULL) };
    int fds[] = { in[1], out[0], err[0] };
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        fcntl(fds[i], F_SETFL, fcntl(fds[i], F_GETFL) | O_NONBLOCK);
    fcntl(child->messages, F_SETOWN, getpid()); /* a worker that sleeps hears of them by a signal */
    fcntl(child->messages, F_SETFL, O_NONBLOCK | O_ASYNC);
    child->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    return child->pidfd >= 0 && clock_getcpuclockid(pid, &child->cpu_clock) == 0;
}

void program_child_prepare(const struct program *program)
{
    struct sigaction action = { .sa_handler = note_signal };
    const struct sandbox_rules rules = rules_of(program);
    struct sandbox_report report = { 0 };
    sigaction(SIGCHLD, &action, NULL);
    sigaction(SIGIO, &action, NULL);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    filter = sandbox_filter_new(&rules, &report);
}

bool program_child_start(struct program_child *child, const struct program *program, char *const *argv,
                         char *const *more_environment)
{
    int in[2] = { -1, -1 }, out[2] = { -1, -1 }, err[2] = { -1, -1 }, failed[2] = { -1, -1 };
    char **environment = join(program->environment, more_environment);
    pid_t parent = getpid(), pid = -1;
    message_len = 0;
    last_message[0] = '\0';
    if (environment && make_pipe(in) && make_pipe(out) && make_pipe(err) && make_pipe(failed))
        pid = fork();
    if (pid == 0)
        become(program, argv ? argv : program->argv, environment, (int[]){ in[0], out[1], err[1] }, failed[1], parent);
    int error = errno;
    free(environment);
    if (pid < 0) {
        close_pipe(in);
        close_pipe(out);
        close_pipe(err);
        close_pipe(failed);
        errno = error;
        return false;
    }
    close(failed[1]);
    bool is_set_up = set_up(child, pid, in, out, err);
    error = is_set_up ? exec_error(failed[0]) : errno;
    close(failed[0]);
    if (error == 0)
        return true;
    program_child_end(child);
    errno = error;
    return false;
}

/* ---- the end */

bool program_child_has_ended(struct program_child *child)
{
    if (child->pid > 0 && !child->has_ended && waitpid(child->pid, &child->wait_status, WNOHANG) == child->pid)
        child->has_ended = true;
    return child->has_ended;
}

static void await_end(struct program_child *child)
{
    while (!child->has_ended)
        child->has_ended = waitpid(child->pid, &child->wait_status, 0) == child->pid || errno != EINTR;
}

/* Those that it has left to us and that have ended. Itself is waited for elsewhere. */
static void reap_orphans(const struct program_child *child)
{
    siginfo_t ended = { .si_pid = 0 };
    while (waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 && ended.si_pid > 0 &&
           ended.si_pid != child->pid) {
        waitpid(ended.si_pid, NULL, 0);
        ended.si_pid = 0;
    }
}

/* Our children, the inherited ones among them. False: there is none left. */
static bool kill_children(void)
{
    pid_t pids[256];
    size_t count = process_tree_children(getpid(), pids, ARRAY_LEN(pids));
    for (size_t i = 0; i < count; i++)
        kill(pids[i], SIGKILL);
    return count > 0;
}

static void close_stream(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void program_child_kill(struct program_child *child)
{
    if (child->pid <= 0)
        return;
    if (!child->has_ended)
        kill(child->pid, SIGKILL);
    await_end(child);
    while (kill_children()) { /* each that dies leaves its own to us, not killed yet: wait for one, not for all */
        (void)waitpid(-1, NULL, 0);
        while (waitpid(-1, NULL, WNOHANG) > 0) {
        }
    }
}

void program_child_end(struct program_child *child)
{
    program_child_kill(child);
    close_stream(&child->input);
    close_stream(&child->output);
    close_stream(&child->messages);
    close_stream(&child->pidfd);
    child->pid = 0;
}

void program_child_describe(const struct program_child *child, char *ret_text, size_t size)
{
    if (WIFSIGNALED(child->wait_status))
        snprintf(ret_text, size, "signal %d (%s)", WTERMSIG(child->wait_status),
                 sigdescr_np(WTERMSIG(child->wait_status)));
    else
        snprintf(ret_text, size, "exit status %d", WEXITSTATUS(child->wait_status));
}

/* ---- figures and limits */

uint64_t program_child_cpu_ns(const struct program_child *child)
{
    struct timespec time;
    if (child->pid <= 0 || child->has_ended || clock_gettime(child->cpu_clock, &time) != 0)
        return 0;
    return (uint64_t)time.tv_sec * NS_PER_SEC + (uint64_t)time.tv_nsec;
}

size_t program_child_unread(const struct program_child *child)
{
    int unread = 0;
    return child->input >= 0 && ioctl(child->input, FIONREAD, &unread) == 0 && unread > 0 ? (size_t)unread : 0;
}

uint64_t program_child_rss_bytes(const struct program_child *child)
{
    char text[128], *end = text;
    if (child->pid <= 0 || child->has_ended)
        return 0;
    proc_read(child->pid, "statm", text, sizeof text); /* shorter than stat: this is looked at often */
    (void)strtoull(text, &end, 10);                    /* its size, then */
    return strtoull(end, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t program_child_reaped_cpu_ns(uint64_t *ret_rss_kib)
{
    struct rusage ended;
    getrusage(RUSAGE_CHILDREN, &ended);
    if (ret_rss_kib != NULL)
        *ret_rss_kib = (uint64_t)ended.ru_maxrss;
    return ((uint64_t)ended.ru_utime.tv_sec + (uint64_t)ended.ru_stime.tv_sec) * NS_PER_SEC +
           ((uint64_t)ended.ru_utime.tv_usec + (uint64_t)ended.ru_stime.tv_usec) * 1000;
}

void program_child_begin_job(struct program_child *child, const struct program *program)
{
    last_message[0] = '\0';
    if (program->cpu_max_ms == 0)
        return;
    child->cpu_before_ns = program_child_cpu_ns(child);
    child->reaped_before_ns = program_child_reaped_cpu_ns(NULL);
    child->tree_before_ns = UINT64_MAX;
    child->cpu_peak_ns = child->cpu_lost_ns = 0;
    child->dips = 0;
}

/* CPU time of a process whose parent ignores its end is nobody's afterwards: the sum falls, and has to stay so, for one
 * that is reaped between two looks at its parent and itself is missing once. */
static uint64_t add_lost_ns(struct program_child *child, uint64_t cpu_ns)
{
    bool is_less = cpu_ns < child->cpu_peak_ns;
    child->dips = is_less ? child->dips + 1 : 0;
    if (child->dips >= DIPS_MAX) {
        child->cpu_lost_ns += child->cpu_peak_ns - cpu_ns;
        child->dips = 0;
    } else if (is_less) {
        cpu_ns = child->cpu_peak_ns;
    }
    child->cpu_peak_ns = cpu_ns;
    return cpu_ns + child->cpu_lost_ns;
}

/* The limits of all that it has started, which it takes as long as a small job to look at: so not each time. */
static enum status check_tree(struct program_child *child, const struct program *program)
{
    uint64_t now_ns = clock_now_ns();
    if (now_ns < child->measured_ns + LIMITS_CHECK_MS * NS_PER_MS)
        return ST_OK;
    child->measured_ns = now_ns;
    size_t limit = program->processes_max > 0 ? program->processes_max + 1 : SIZE_MAX;
    struct process_tree_sum sum = process_tree_measure(getpid(), limit);
    if (child->tree_before_ns == UINT64_MAX)
        child->tree_before_ns = sum.cpu_ns;
    uint64_t all_ns = sum.cpu_ns + program_child_reaped_cpu_ns(NULL),
             before_ns = child->tree_before_ns + child->reaped_before_ns,
             cpu_ns = add_lost_ns(child, all_ns > before_ns ? all_ns - before_ns : 0);
    if (program->processes_max > 0 && sum.processes > program->processes_max)
        return ST_PROCESS_LIMIT;
    if (program->memory_max > 0 && sum.resident_bytes > program->memory_max)
        return ST_MEMORY_LIMIT;
    if (program->cpu_max_ms > 0 && cpu_ns > program->cpu_max_ms * NS_PER_MS)
        return ST_CPU_LIMIT;
    return ST_OK;
}

static bool has_limits(const struct program *program)
{
    return program->memory_max > 0 || program->cpu_max_ms > 0 || program->processes_max > 1;
}

static enum status check_limits(struct program_child *child, const struct program *program)
{
    if (child->has_ended || !has_limits(program))
        return ST_OK;
    if (program->memory_max > 0 && program_child_rss_bytes(child) > program->memory_max)
        return ST_MEMORY_LIMIT;
    if (program->cpu_max_ms > 0 && program_child_cpu_ns(child) - child->cpu_before_ns > program->cpu_max_ms * NS_PER_MS)
        return ST_CPU_LIMIT;
    return program->processes_max == 1 ? ST_OK : check_tree(child, program);
}

/* ---- talking */

static void log_message(const struct task *task)
{
    message[message_len] = '\0';
    if (message_len > 0)
        memcpy(last_message, message, message_len + 1);
    static struct log_limit limit;
    uint32_t suppressed = 0;
    if (message_len > 0 && log_limit_pass(&limit, MESSAGES_PER_S, &suppressed))
        log_event(LOG_INFO, "task_message", LOG_STR("task", task->name), LOG_STR("text", message),
                  LOG_INT("suppressed", suppressed));
    message_len = 0;
}

/* False: there will be no more. */
static bool read_messages(struct program_child *child, const struct task *task)
{
    char bytes[4096];
    ssize_t got = sizeof bytes;
    /* all of it: what it says when it dies may be long, and its last line is what counts */
    for (size_t total = 0; got == (ssize_t)sizeof bytes && total < PIPE_BYTES; total += sizeof bytes) {
        got = read(child->messages, bytes, sizeof bytes);
        for (ssize_t i = 0; i < got; i++) {
            if (bytes[i] == '\n' || message_len == MESSAGE_MAX - 1)
                log_message(task);
            if (bytes[i] != '\n')
                message[message_len++] = bytes[i];
        }
    }
    return got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR));
}

static bool read_output(struct program_child *child, struct buf *received)
{
    char beyond = 0;
    size_t left = received->max - received->len, size = left < READ_BYTES ? left : READ_BYTES;
    char *room = size > 0 ? buf_reserve(received, size) : &beyond;
    ssize_t got = room ? read(child->output, room, size > 0 ? size : 1) : -1;
    if (got > 0 && size > 0)
        received->len += (size_t)got;
    else if (got > 0 || !room)
        received->failed = true; /* it is too much */
    return got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR));
}

void program_child_send(struct program_child *child, struct program_exchange *exchange)
{
    ssize_t sent = write(child->input, exchange->to_send, exchange->to_send_len);
    if (sent > 0) {
        exchange->to_send += sent;
        exchange->to_send_len -= (size_t)sent;
    } else if (sent < 0 && errno != EAGAIN && errno != EINTR) {
        exchange->is_refused = true; /* its end or its answer says the rest */
    }
}

enum status program_child_wait(struct program_child *child, const struct task *task, struct program_exchange *exchange,
                               int timeout_ms)
{
    const struct program *program = task->program;
    bool is_bounded = has_limits(program) && (timeout_ms < 0 || timeout_ms > LIMITS_CHECK_MS);
    struct pollfd fds[] = { { .fd = exchange->has_output_ended ? -1 : child->output, .events = POLLIN },
                            { .fd = child->messages, .events = POLLIN },
                            { .fd = exchange->to_send_len > 0 && !exchange->is_refused ? child->input : -1,
                              .events = POLLOUT },
                            { .fd = child->has_ended ? -1 : child->pidfd, .events = POLLIN } };
    int ready = poll(fds, ARRAY_LEN(fds), is_bounded ? LIMITS_CHECK_MS : timeout_ms);
    exchange->is_idle = ready == 0;
    if (ready > 0) {
        if (fds[0].revents && !read_output(child, exchange->received))
            exchange->has_output_ended = true;
        if (fds[1].revents && !read_messages(child, task)) {
            log_message(task);
            close_stream(&child->messages);
        }
        if (fds[2].revents)
            program_child_send(child, exchange);
        if (fds[3].revents)
            (void)program_child_has_ended(child);
    }
    if (has_lost_child) {
        has_lost_child = 0;
        reap_orphans(child);
    }
    return check_limits(child, program);
}
