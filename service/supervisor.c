/* One epoll loop over three things: a signalfd (SIGCHLD, SIGTERM, SIGINT, SIGHUP), the control socket of the current
 * front end, and the earliest time at which something is to be started. Nothing in it blocks. Its workers are in
 * worker_seats.c, its front end is in frontend_process.c. */
#include "service/supervisor.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "service/sandbox_log.h"
#include "service/supervisor_internal.h"

enum { STOP_SLACK_MS = 5000, READY_LOOK_MS = 5, SERVED_LONG_MS = 10000 };

void supervisor_leave(struct supervisor *supervisor)
{
    close(supervisor->epoll_fd);
    close(supervisor->signal_fd);
    if (supervisor->next.ready_fd >= 0)
        close(supervisor->next.ready_fd);
    if (supervisor->start->ready_fd >= 0)
        close(supervisor->start->ready_fd);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

bool supervisor_tell(struct supervisor *supervisor, const struct control_message *message)
{
    if (supervisor->control_fd < 0)
        return false;
    if (control_send(supervisor->control_fd, message))
        return true;
    struct epoll_event event = { .events = EPOLLIN | EPOLLOUT, .data.fd = supervisor->control_fd };
    epoll_ctl(supervisor->epoll_fd, EPOLL_CTL_MOD, supervisor->control_fd, &event);
    return false;
}

/* ---- reaping */
/* Everything that was asked to end has? */
static void look_if_over(struct supervisor *supervisor)
{
    bool is_idle =
        supervisor->frontend.state != CHILD_STARTED && supervisor->current.pid == 0 && supervisor->next.pid == 0;
    if (supervisor->is_retired && supervisor->start->ready_fd >= 0)
        supervisor->is_over = true; /* the generations after this one are not its own */
    if (supervisor->stop_signals > 0 && is_idle)
        supervisor->is_over = true;
}

/* The front end has handed over all that it had. */
static void retire(struct supervisor *supervisor)
{
    worker_seats_close(supervisor);
    supervisor->is_retired = true;
    if (supervisor->stop_signals == 0)
        supervisor->kill_ns = CLOCK_NEVER;
    int listen_fd = supervisor->shared.listen_fd;
    shared_done(&supervisor->shared);
    supervisor->shared.listen_fd = listen_fd;
    look_if_over(supervisor);
}

static void frontend_died(struct supervisor *supervisor, int wait_status, uint64_t now_ns)
{
    struct child *frontend = &supervisor->frontend;
    frontend->wait_status = wait_status;
    frontend->state = CHILD_WAITING;
    if (supervisor->control_fd >= 0)
        close(supervisor->control_fd);
    supervisor->control_fd = -1;
    bool is_clean = WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0;
    if (supervisor->is_handing_over) {
        if (!is_clean)
            child_log_front_end_death(frontend);
        retire(supervisor);
        return;
    }
    bool has_not_come_up = !supervisor->was_serving && !is_clean;
    if (supervisor->stop_signals > 0 || has_not_come_up) {
        if (!is_clean)
            child_log_front_end_death(frontend);
        supervisor->exit_status = is_clean ? 0 : 1;
        supervisor->is_over = has_not_come_up;
        look_if_over(supervisor);
        return;
    }
    child_log_front_end_death(frontend);
    frontend_process_restart(supervisor, now_ns);
}

/* Neither this one nor another. */
static bool is_unserved(const struct supervisor *supervisor)
{
    return supervisor->is_handing_over && supervisor->current.pid == 0;
}

/* Until somebody does, or is told to stop: what is wrong may be mended. */
static void serve_again(struct supervisor *supervisor, uint64_t now_ns)
{
    supervisor->must_reload = true;
    supervisor->reload_ns = now_ns + child_back_off_ns(&supervisor->reload_failures);
}

static void next_died(struct supervisor *supervisor, int wait_status, uint64_t now_ns)
{
    pid_t pid = supervisor->next.pid;
    generation_forget(&supervisor->next);
    look_if_over(supervisor);
    if (supervisor->stop_signals > 0)
        return;
    log_event(LOG_ERROR, "reload_ended", LOG_INT("pid", pid), LOG_STR("why", generation_describe_end(wait_status)),
              LOG_STR("what", is_unserved(supervisor) ? "nobody serves: the configuration is tried again"
                                                      : "the configuration from before stays in force"));
    if (is_unserved(supervisor))
        serve_again(supervisor, now_ns);
}

static void generation_died(struct supervisor *supervisor, pid_t pid, int wait_status, uint64_t now_ns)
{
    if (pid == supervisor->next.pid) {
        next_died(supervisor, wait_status, now_ns);
        return;
    }
    generation_forget(&supervisor->current);
    supervisor->exit_status = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 1;
    look_if_over(supervisor);
    if (supervisor->is_over || supervisor->stop_signals > 0)
        return;
    log_event(LOG_ERROR, "generation_died", LOG_INT("pid", pid), LOG_INT("wait_status", wait_status));
    if (now_ns >= supervisor->served_ns + SERVED_LONG_MS * NS_PER_MS)
        supervisor->reload_failures = 0;
    serve_again(supervisor, now_ns);
}

static void reap(struct supervisor *supervisor, uint64_t now_ns)
{
    siginfo_t ended = { .si_pid = 0 };
    /* looked at before it is reaped: until then its process group's number cannot be another's */
    while (waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 && ended.si_pid > 0) {
        pid_t pid = ended.si_pid;
        int wait_status = 0;
        int worker = worker_seats_find(supervisor, pid);
        if (worker >= 0)
            kill(-pid, SIGKILL); /* what it may have started */
        waitpid(pid, &wait_status, 0);
        ended.si_pid = 0;
        if (worker >= 0)
            worker_seats_note_death(supervisor, (unsigned)worker, wait_status, now_ns);
        else if (pid == supervisor->frontend.pid && supervisor->frontend.state == CHILD_STARTED)
            frontend_died(supervisor, wait_status, now_ns);
        else if (pid == supervisor->next.pid || pid == supervisor->current.pid)
            generation_died(supervisor, pid, wait_status, now_ns);
        /* anything else is an orphan that PID 1 inherited: reaped, not ours */
    }
}

/* ---- events */

/* Said when the next one serves. */
static void hand_over(struct supervisor *supervisor, uint64_t now_ns)
{
    if (supervisor->is_handing_over || supervisor->stop_signals > 0)
        return;
    supervisor->is_handing_over = true;
    const struct config *config = supervisor->config;
    uint64_t longest_ms = config->compute_timeout_max_ms > config->fetch_timeout_max_ms ? config->compute_timeout_max_ms
                                                                                        : config->fetch_timeout_max_ms;
    supervisor->kill_ns = now_ns + (longest_ms + 2 * (uint64_t)config->grace_ms + STOP_SLACK_MS) * NS_PER_MS;
    if (supervisor->frontend.state != CHILD_STARTED)
        retire(supervisor);
    else if (!supervisor_tell(supervisor, &(struct control_message){ .type = CONTROL_HAND_OVER }))
        supervisor->kill_ns = now_ns;
}

static void begin_reload(struct supervisor *supervisor, uint64_t now_ns)
{
    supervisor->must_reload = false;
    log_event(LOG_INFO, "reloading", LOG_INT("pid", supervisor->pid));
    if (!generation_begin(supervisor->start, &supervisor->shared, &supervisor->next)) {
        log_event(LOG_ERROR, "reload_failed", LOG_STR("error", strerrordesc_np(errno)));
        if (is_unserved(supervisor))
            serve_again(supervisor, now_ns);
        return;
    }
    struct epoll_event event = { .events = EPOLLIN, .data.fd = supervisor->next.ready_fd };
    epoll_ctl(supervisor->epoll_fd, EPOLL_CTL_ADD, supervisor->next.ready_fd, &event);
}

static void ask_to_reload(struct supervisor *supervisor)
{
    if (supervisor->next.pid > 0)
        log_event(LOG_INFO, "reload_waits", LOG_INT("pid", supervisor->pid), LOG_INT("for", supervisor->next.pid));
    supervisor->must_reload = true;
    supervisor->reload_ns = 0;
}

/* The next generation has said something: that it serves, or nothing at all. */
static void read_next(struct supervisor *supervisor, uint64_t now_ns)
{
    if (!generation_is_serving(&supervisor->next))
        return; /* its death follows */
    if (supervisor->current.pid > 0)
        kill(supervisor->current.pid, SIGUSR1);
    else if (!supervisor->is_retired)
        hand_over(supervisor, now_ns);
    supervisor->served_ns = now_ns;
    supervisor->current = supervisor->next;
    supervisor->next = (struct generation){ .ready_fd = -1 };
}

/* True: there was somebody else to stop. */
static bool pass_on(struct supervisor *supervisor, int sig)
{
    if (supervisor->next.pid > 0)
        kill(supervisor->next.pid, sig);
    if (supervisor->current.pid > 0)
        kill(supervisor->current.pid, sig);
    return supervisor->current.pid > 0;
}

static void ask_to_stop(struct supervisor *supervisor, int sig, uint64_t now_ns)
{
    supervisor->stop_signals++;
    bool is_first = supervisor->stop_signals == 1, is_passed_on = pass_on(supervisor, sig);
    uint64_t patience_ms =
        is_first ? (uint64_t)supervisor->config->drain_delay_ms + supervisor->config->grace_ms + STOP_SLACK_MS
                 : STOP_SLACK_MS;
    supervisor->kill_ns = now_ns + patience_ms * NS_PER_MS;
    if (is_passed_on && supervisor->frontend.state != CHILD_STARTED)
        return;
    log_event(LOG_INFO, is_first ? "draining" : "stopping", LOG_STR("signal", sigdescr_np(sig)));
    bool is_told =
        supervisor_tell(supervisor, &(struct control_message){ .type = is_first ? CONTROL_DRAIN : CONTROL_STOP });
    if (supervisor->frontend.state != CHILD_STARTED)
        look_if_over(supervisor); /* between two front ends: nobody waits */
    else if (!is_told)
        supervisor->kill_ns = now_ns;
}

static void read_signals(struct supervisor *supervisor, uint64_t now_ns)
{
    struct signalfd_siginfo info;
    while (read(supervisor->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGCHLD)
            reap(supervisor, now_ns);
        else if (info.ssi_signo == SIGUSR1)
            hand_over(supervisor, now_ns);
        else if (info.ssi_signo == SIGHUP)
            ask_to_reload(supervisor);
        else
            ask_to_stop(supervisor, (int)info.ssi_signo, now_ns);
    }
}

static void say_ready(struct supervisor *supervisor)
{
    ssize_t ignored = write(supervisor->start->ready_fd, "", 1);
    (void)ignored;
    log_event(LOG_INFO, "reloaded", LOG_INT("pid", supervisor->pid),
              LOG_INT("workers", supervisor->shared.limits[0].workers));
}

static void read_control(struct supervisor *supervisor, uint64_t now_ns)
{
    struct control_message message;
    enum control_result result;
    while ((result = control_receive(supervisor->control_fd, &message)) == CONTROL_RECEIVED) {
        if (message.type == CONTROL_SERVING) {
            supervisor->is_serving = true;
            if (!supervisor->was_serving && supervisor->start->ready_fd >= 0)
                say_ready(supervisor);
            else if (!supervisor->was_serving)
                log_event(LOG_INFO, "serving", LOG_INT("pid", supervisor->pid),
                          LOG_INT("workers", supervisor->shared.limits[0].workers),
                          LOG_INT("io_threads", supervisor->config->io_threads),
                          LOG_INT("loops", supervisor->shared.loops));
            if (!supervisor->was_serving && supervisor->start->ready_fd < 0)
                dprintf(STDERR_FILENO, "listening on %s\n", supervisor->shared.address);
            supervisor->was_serving = true;
        } else if (message.type == CONTROL_KILL_WORKER) {
            worker_seats_kill(supervisor, &message);
        } else if (message.type == CONTROL_WANT_WORKERS) {
            worker_seats_want(supervisor, message.group, message.count, now_ns);
        }
    }
    if (result == CONTROL_CLOSED) { /* SIGCHLD follows */
        close(supervisor->control_fd);
        supervisor->control_fd = -1;
    }
}

/* A new generation serves when all of its workers are there, so that no job waits for one, and what does not come up
 * changes nothing. Returns when to look again; 0: they are there. */
static uint64_t await_workers(struct supervisor *supervisor, uint64_t now_ns)
{
    if (supervisor->start->ready_fd < 0 || supervisor->was_serving)
        return 0;
    const struct task *task;
    const struct child *starting = worker_seats_find_starting(supervisor, &task);
    if (starting == NULL)
        return 0;
    if (now_ns >= supervisor->give_up_ns || starting->state == CHILD_DEAD) {
        log_event(LOG_ERROR, "reload_failed", LOG_STR("error", "a worker does not come up"),
                  LOG_STR("task", task ? task->name : "built-in"));
        supervisor->exit_status = 1;
        supervisor->is_over = true;
    }
    return now_ns + READY_LOOK_MS * NS_PER_MS;
}

/* Who should have stopped by now. */
static void kill_late(struct supervisor *supervisor)
{
    if (supervisor->frontend.state == CHILD_STARTED) {
        log_event(LOG_ERROR, "front_end_killed", LOG_STR("reason", "it did not stop in time"));
        kill(supervisor->frontend.pid, SIGKILL);
    }
    if (supervisor->stop_signals > 0 && supervisor->next.pid > 0)
        kill(supervisor->next.pid, SIGKILL);
    supervisor->kill_ns = CLOCK_NEVER;
}

/* Starts and tells what is due; returns when something will be. */
static uint64_t advance(struct supervisor *supervisor, uint64_t now_ns)
{
    bool is_stopping = supervisor->stop_signals > 0; /* then nothing begins any more */
    if (now_ns >= supervisor->kill_ns)
        kill_late(supervisor);
    uint64_t next_ns = supervisor->kill_ns;
    if (supervisor->must_reload && !is_stopping && supervisor->next.pid == 0) {
        if (now_ns >= supervisor->reload_ns)
            begin_reload(supervisor, now_ns);
        if (supervisor->must_reload && supervisor->reload_ns < next_ns)
            next_ns = supervisor->reload_ns;
    }
    if (supervisor->is_retired)
        return next_ns;
    uint64_t look_ns = await_workers(supervisor, now_ns);
    if (look_ns == 0 && supervisor->frontend.state == CHILD_WAITING && !is_stopping)
        look_ns = frontend_process_start(supervisor, now_ns);
    if (look_ns > 0 && look_ns < next_ns)
        next_ns = look_ns;
    uint64_t workers_ns = worker_seats_advance(supervisor, now_ns);
    return workers_ns < next_ns ? workers_ns : next_ns;
}

static bool open_events(struct supervisor *supervisor)
{
    sigset_t handled;
    sigemptyset(&handled);
    sigaddset(&handled, SIGCHLD);
    sigaddset(&handled, SIGTERM);
    sigaddset(&handled, SIGINT);
    bool is_first = supervisor->start->ready_fd < 0;
    sigaddset(&handled, is_first ? SIGHUP : SIGUSR1);
    sigprocmask(SIG_BLOCK, &handled, NULL);
    if (!is_first)
        signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    supervisor->signal_fd = signalfd(-1, &handled, SFD_CLOEXEC | SFD_NONBLOCK);
    supervisor->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = { .events = EPOLLIN, .data.fd = supervisor->signal_fd };
    return supervisor->signal_fd >= 0 && supervisor->epoll_fd >= 0 &&
           epoll_ctl(supervisor->epoll_fd, EPOLL_CTL_ADD, supervisor->signal_fd, &event) == 0;
}

static int wait_ms(uint64_t next_ns)
{
    uint64_t now_ns = clock_now_ns();
    if (next_ns == CLOCK_NEVER)
        return -1;
    if (next_ns <= now_ns)
        return 0;
    uint64_t ms = (next_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS;
    return ms > 60000 ? 60000 : (int)ms;
}

/* By when the workers of a new generation must have come up. */
static uint64_t start_limit_ns(const struct shared *shared, uint64_t now_ns)
{
    uint64_t longest_ns = 0;
    for (unsigned group = 0; group < shared->group_count; group++)
        if (shared->limits[group].start_max_ns > longest_ns)
            longest_ns = shared->limits[group].start_max_ns;
    return now_ns + longest_ns;
}

int supervisor_run(const struct supervisor_start *start)
{
    struct supervisor supervisor = { .start = start,
                                     .config = start->config,
                                     .pid = getpid(),
                                     .frontend = { .state = CHILD_WAITING },
                                     .control_fd = -1,
                                     .kill_ns = CLOCK_NEVER,
                                     .current = { .ready_fd = -1 },
                                     .next = { .ready_fd = -1 } };
    if (!shared_create(start->config, start->listen_fd, &supervisor.shared))
        return 1;
    supervisor.give_up_ns = start_limit_ns(&supervisor.shared, clock_now_ns());
    if (!worker_seats_open(&supervisor) || !open_events(&supervisor)) {
        log_event(LOG_ERROR, "start_failed", LOG_STR("error", strerrordesc_np(errno)));
        worker_seats_close(&supervisor);
        shared_done(&supervisor.shared);
        return 1;
    }
    srandom((unsigned)getpid());
    sandbox_log_probe(supervisor.shared.sandbox, sizeof supervisor.shared.sandbox);
    uint64_t next_ns = advance(&supervisor, clock_now_ns());
    while (!supervisor.is_over) {
        struct epoll_event events[4];
        int count = epoll_wait(supervisor.epoll_fd, events, ARRAY_LEN(events), wait_ms(next_ns));
        uint64_t now_ns = clock_now_ns();
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd == supervisor.signal_fd)
                read_signals(&supervisor, now_ns);
            else if (events[i].data.fd == supervisor.next.ready_fd)
                read_next(&supervisor, now_ns);
            else if (events[i].data.fd == supervisor.control_fd) {
                if (events[i].events & EPOLLOUT) {
                    struct epoll_event event = { .events = EPOLLIN, .data.fd = supervisor.control_fd };
                    epoll_ctl(supervisor.epoll_fd, EPOLL_CTL_MOD, supervisor.control_fd, &event);
                }
                read_control(&supervisor, now_ns);
            }
        }
        if (!supervisor.is_over)
            next_ns = advance(&supervisor, now_ns);
    }
    worker_seats_close(&supervisor);
    shared_done(&supervisor.shared);
    log_event(LOG_INFO, start->ready_fd < 0 ? "stopped" : "generation_ended", LOG_INT("pid", supervisor.pid),
              LOG_INT("status", supervisor.exit_status));
    return supervisor.exit_status;
}
