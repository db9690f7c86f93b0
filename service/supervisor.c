/* One epoll loop over three things: a signalfd (SIGCHLD, SIGTERM, SIGINT), the control socket of the current front end,
 * and the earliest time at which something is to be started. Nothing in it blocks.
 *
 * A worker goes through
 *     WAITING ──start time──▶ STARTED ──▶ ANNOUNCED ──reaped──▶ DEAD ──▶ WAITING
 * where the last step of each arrow into ANNOUNCED and WAITING is telling the front end. If its socket is full the
 * worker stays where it is until there is room: so the front end hears of every generation's start and death, in that
 * order, before the next one starts.
 *
 * Back-off: a worker that dies before it was ready failed to start; each such failure in a row doubles its delay. One
 * that was ready is replaced at once, whatever killed it. */
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
#include "pool/program.h"
#include "pool/worker.h"
#include "service/control.h"
#include "pool/evidence.h"
#include "service/frontend.h"
#include "service/generation.h"
#include "service/sandbox_log.h"
#include "service/shared.h"

enum { BACKOFF_FIRST_MS = 10, BACKOFF_MAX_MS = 5000, STOP_SLACK_MS = 5000, READY_MS = 10000, READY_LOOK_MS = 5 };

enum child_state { CHILD_WAITING, CHILD_STARTED, CHILD_ANNOUNCED, CHILD_DEAD };

struct child {
    enum child_state state;
    pid_t pid;
    uint32_t generation;
    int wait_status;
    unsigned failures;           /* starts in a row that failed */
    char kill_reason[24];        /* of a worker that the front end had killed, else "" */
    char evidence[EVIDENCE_MAX]; /* what it was at then */
    uint64_t start_ns;           /* WAITING: when to start; else: when it was started */
};

struct supervisor {
    const struct supervisor_start *start;
    const struct config *config;
    struct shared shared;
    pid_t pid;
    int epoll_fd, signal_fd;
    struct child *workers;
    struct child frontend;
    int control_fd;   /* -1 while there is no front end */
    bool is_serving;  /* the current front end said so */
    bool was_serving; /* some front end did */
    unsigned stop_signals;
    uint64_t kill_frontend_ns; /* CLOCK_NEVER until a stop was asked for */
    uint64_t give_up_ns;       /* of a new generation: when its workers must have come up */
    bool is_handing_over;      /* to the next generation */
    bool is_retired;           /* it has: no front end, no workers */
    bool must_reload;          /* SIGHUP came */
    struct generation current; /* that serves in place of this one; none: this one does */
    struct generation next;    /* that is to */
    bool is_over;
    int exit_status;
};

static uint64_t backoff_ns(struct child *child)
{
    uint64_t delay_ms = BACKOFF_FIRST_MS;
    for (unsigned i = 0; i < child->failures && delay_ms < BACKOFF_MAX_MS; i++)
        delay_ms *= 2;
    if (delay_ms > BACKOFF_MAX_MS)
        delay_ms = BACKOFF_MAX_MS;
    child->failures++;
    /* +-25 %, so that workers that fail together do not come back together */
    return delay_ms * NS_PER_MS * (75 + (uint64_t)random() % 51) / 100;
}

/* ---- starting */

/* In the child: what the supervisor alone may hold. */
static void leave_supervisor(struct supervisor *supervisor)
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

/* NULL: the built-in ones. */
static const struct task *task_of_group(unsigned group)
{
    for (size_t i = 0; group > 0 && i < task_count; i++)
        if (task_table[i]->group == group)
            return task_table[i];
    return NULL;
}

NORETURN static void be_worker(struct supervisor *supervisor, unsigned index)
{
    struct shared *shared = &supervisor->shared;
    const struct config *config = supervisor->config;
    const struct task *task = task_of_group(shared->groups[index]);
    leave_supervisor(supervisor);
    for (unsigned i = 0; i < shared->workers; i++)
        if (i != index)
            mailbox_unmap(shared->mailboxes[i]);
    worker_main(&(struct worker_config){ .index = index,
                                         .generation = supervisor->workers[index].generation,
                                         .supervisor = supervisor->pid,
                                         .mailbox = shared->mailboxes[index],
                                         .spill = shared->spills[index],
                                         .loops = shared->loops,
                                         .bells = shared->bells,
                                         .event_fds = shared->event_fds,
                                         .niceness = supervisor->config->worker_nice,
                                         .task = task,
                                         .jobs_max = task ? task->jobs_max : config->worker_max_jobs,
                                         .memory_max = config->worker_memory_bytes,
                                         .growth_max_kib =
                                             task && task->program ? 0 : config->worker_max_growth_bytes / 1024 });
}

static void start_worker(struct supervisor *supervisor, unsigned index, uint64_t now_ns)
{
    struct child *worker = &supervisor->workers[index];
    worker->generation++;
    pid_t pid = fork();
    if (pid == 0)
        be_worker(supervisor, index);
    if (pid < 0) {
        worker->generation--;
        worker->start_ns = now_ns + backoff_ns(worker);
        log_event(LOG_ERROR, "fork_failed", LOG_INT("worker", index), LOG_STR("error", strerrordesc_np(errno)));
        return;
    }
    worker->pid = pid;
    worker->kill_reason[0] = '\0';
    worker->start_ns = now_ns;
    worker->state = CHILD_STARTED;
}

NORETURN static void be_frontend(struct supervisor *supervisor, int control_fd)
{
    struct frontend_worker *workers = calloc(supervisor->shared.workers, sizeof *workers);
    leave_supervisor(supervisor);
    for (unsigned i = 0; workers != NULL && i < supervisor->shared.workers; i++)
        if (supervisor->workers[i].state == CHILD_ANNOUNCED)
            workers[i] = (struct frontend_worker){ supervisor->workers[i].pid, supervisor->workers[i].generation };
    int status = workers == NULL ? 1
                                 : frontend_main(&(struct frontend_config){ .config = supervisor->config,
                                                                            .shared = &supervisor->shared,
                                                                            .workers = workers,
                                                                            .control_fd = control_fd,
                                                                            .supervisor = supervisor->pid });
    free(workers);
    _exit(status);
}

static void start_frontend(struct supervisor *supervisor, uint64_t now_ns)
{
    struct child *frontend = &supervisor->frontend;
    int ends[2];
    if (!control_pair(ends)) {
        log_event(LOG_ERROR, "fork_failed", LOG_STR("process", "front end"), LOG_STR("error", strerrordesc_np(errno)));
        frontend->start_ns = now_ns + backoff_ns(frontend);
        return;
    }
    /* A worker that was started or has died unannounced is announced to the new front end like any other; those
     * announced before it gets with the fork. */
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[0]);
        be_frontend(supervisor, ends[1]);
    }
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        frontend->start_ns = now_ns + backoff_ns(frontend);
        log_event(LOG_ERROR, "fork_failed", LOG_STR("process", "front end"), LOG_STR("error", strerrordesc_np(errno)));
        return;
    }
    frontend->pid = pid;
    frontend->generation++;
    frontend->start_ns = now_ns;
    frontend->state = CHILD_STARTED;
    supervisor->control_fd = ends[0];
    supervisor->is_serving = false;
    struct epoll_event event = { .events = EPOLLIN, .data.fd = ends[0] };
    epoll_ctl(supervisor->epoll_fd, EPOLL_CTL_ADD, ends[0], &event);
}

/* ---- telling the front end */

static bool tell(struct supervisor *supervisor, const struct control_message *message)
{
    if (supervisor->control_fd < 0)
        return false;
    if (control_send(supervisor->control_fd, message))
        return true;
    struct epoll_event event = { .events = EPOLLIN | EPOLLOUT, .data.fd = supervisor->control_fd };
    epoll_ctl(supervisor->epoll_fd, EPOLL_CTL_MOD, supervisor->control_fd, &event);
    return false;
}

static void announce(struct supervisor *supervisor, unsigned index, uint64_t now_ns)
{
    struct child *worker = &supervisor->workers[index];
    if (worker->state == CHILD_STARTED && tell(supervisor, &(struct control_message){ .type = CONTROL_WORKER_STARTED,
                                                                                      .worker = index,
                                                                                      .generation = worker->generation,
                                                                                      .pid = worker->pid }))
        worker->state = CHILD_ANNOUNCED;
    if (worker->state == CHILD_DEAD &&
        tell(supervisor, &(struct control_message){ .type = CONTROL_WORKER_DIED,
                                                    .worker = index,
                                                    .generation = worker->generation,
                                                    .wait_status = worker->wait_status })) {
        bool was_ready = atomic_load(&supervisor->shared.mailboxes[index]->generation) == worker->generation;
        if (was_ready)
            worker->failures = 0;
        worker->start_ns = was_ready ? now_ns : now_ns + backoff_ns(worker);
        worker->state = CHILD_WAITING;
    }
}

/* ---- reaping */

static void log_death(const char *event, int worker, const struct child *child)
{
    if (child->kill_reason[0] != '\0') { /* wanted: its job had to end */
        log_event(LOG_INFO, "worker_replaced", LOG_INT("worker", worker), LOG_INT("pid", child->pid),
                  LOG_STR("reason", child->kill_reason), LOG_STR("was", child->evidence));
        return;
    }
    if (worker >= 0 && WIFEXITED(child->wait_status) && WEXITSTATUS(child->wait_status) == WORKER_EXIT_RECYCLED) {
        log_event(LOG_DEBUG, "worker_recycled", LOG_INT("worker", worker), LOG_INT("pid", child->pid));
        return;
    }
    bool is_signal = WIFSIGNALED(child->wait_status);
    const char *how = is_signal ? sigdescr_np(WTERMSIG(child->wait_status)) : "exited",
               *what = is_signal ? "signal" : "status";
    int number = is_signal ? WTERMSIG(child->wait_status) : WEXITSTATUS(child->wait_status);
    if (worker < 0)
        log_event(LOG_ERROR, event, LOG_INT("pid", child->pid), LOG_STR("how", how), LOG_INT(what, number));
    else
        log_event(LOG_WARNING, event, LOG_INT("worker", worker), LOG_INT("pid", child->pid), LOG_STR("how", how),
                  LOG_INT(what, number));
}

/* Everything that was asked to end has? */
static void look_if_over(struct supervisor *supervisor)
{
    bool is_idle = supervisor->frontend.state != CHILD_STARTED && supervisor->current.pid == 0;
    if (supervisor->is_retired && supervisor->start->ready_fd >= 0)
        supervisor->is_over = true; /* the generations after this one are not its own */
    if (supervisor->stop_signals > 0 && is_idle)
        supervisor->is_over = true;
}

static void end_workers(struct supervisor *supervisor);

/* The front end has handed over all that it had. */
static void retire(struct supervisor *supervisor)
{
    end_workers(supervisor);
    supervisor->is_retired = true;
    supervisor->kill_frontend_ns = CLOCK_NEVER;
    int listen_fd = supervisor->shared.listen_fd;
    free(supervisor->workers);
    supervisor->workers = NULL;
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
            log_death("front_end_died", -1, frontend);
        retire(supervisor);
        return;
    }
    if (supervisor->stop_signals > 0 || (!supervisor->was_serving && !is_clean)) {
        if (!is_clean)
            log_death("front_end_died", -1, frontend);
        supervisor->exit_status = is_clean ? 0 : 1;
        supervisor->is_over = true; /* a generation that is on its way ends with this process */
        return;
    }
    log_death("front_end_died", -1, frontend);
    if (supervisor->is_serving)
        frontend->failures = 0;
    frontend->start_ns = supervisor->is_serving ? now_ns : now_ns + backoff_ns(frontend);
    /* what it knew is gone; its successor hears of the dead ones again and gets the living with the fork */
    for (unsigned i = 0; i < supervisor->shared.workers; i++)
        if (supervisor->workers[i].state == CHILD_STARTED)
            supervisor->workers[i].state = CHILD_ANNOUNCED;
}

static bool is_alive(const struct child *child)
{
    return child->state == CHILD_STARTED || child->state == CHILD_ANNOUNCED;
}

/* Index of the living worker, -1: it is none. */
static int find_worker(const struct supervisor *supervisor, pid_t pid)
{
    for (unsigned i = 0; i < supervisor->shared.workers; i++)
        if (supervisor->workers[i].pid == pid && is_alive(&supervisor->workers[i]))
            return (int)i;
    return -1;
}

static void worker_ended(struct supervisor *supervisor, unsigned index, int wait_status, uint64_t now_ns)
{
    struct child *worker = &supervisor->workers[index];
    worker->wait_status = wait_status;
    if (worker->state == CHILD_STARTED) /* the death is told as start and death, in order */
        announce(supervisor, index, now_ns);
    worker->state = CHILD_DEAD;
    log_death("worker_died", (int)index, worker);
}

static void generation_died(struct supervisor *supervisor, pid_t pid, int wait_status)
{
    if (pid == supervisor->next.pid) { /* it said why, unless it was killed */
        generation_forget(&supervisor->next);
        log_event(LOG_ERROR, "reload_ended", LOG_INT("pid", pid),
                  LOG_STR("what", "the configuration from before stays in force"));
        return;
    }
    generation_forget(&supervisor->current);
    supervisor->exit_status = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 1;
    look_if_over(supervisor);
    if (supervisor->is_over)
        return;
    log_event(LOG_ERROR, "generation_died", LOG_INT("pid", pid), LOG_INT("wait_status", wait_status));
    supervisor->must_reload = true; /* nobody serves any more */
}

static void reap(struct supervisor *supervisor, uint64_t now_ns)
{
    siginfo_t ended = { .si_pid = 0 };
    /* looked at before it is reaped: until then its process group's number cannot be another's */
    while (waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 && ended.si_pid > 0) {
        pid_t pid = ended.si_pid;
        int wait_status = 0;
        int worker = find_worker(supervisor, pid);
        if (worker >= 0)
            kill(-pid, SIGKILL); /* what it may have started */
        waitpid(pid, &wait_status, 0);
        ended.si_pid = 0;
        if (worker >= 0)
            worker_ended(supervisor, (unsigned)worker, wait_status, now_ns);
        else if (pid == supervisor->frontend.pid && supervisor->frontend.state == CHILD_STARTED)
            frontend_died(supervisor, wait_status, now_ns);
        else if (pid == supervisor->next.pid || pid == supervisor->current.pid)
            generation_died(supervisor, pid, wait_status);
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
    supervisor->kill_frontend_ns = now_ns + (longest_ms + 2 * (uint64_t)config->grace_ms + STOP_SLACK_MS) * NS_PER_MS;
    if (supervisor->frontend.state != CHILD_STARTED)
        retire(supervisor);
    else if (!tell(supervisor, &(struct control_message){ .type = CONTROL_HAND_OVER }))
        supervisor->kill_frontend_ns = now_ns;
}

static void begin_reload(struct supervisor *supervisor)
{
    supervisor->must_reload = false;
    log_event(LOG_INFO, "reloading", LOG_INT("pid", supervisor->pid));
    if (!generation_begin(supervisor->start, &supervisor->shared, &supervisor->next))
        log_event(LOG_ERROR, "reload_failed", LOG_STR("error", strerrordesc_np(errno)));
    struct epoll_event event = { .events = EPOLLIN, .data.fd = supervisor->next.ready_fd };
    if (supervisor->next.pid > 0)
        epoll_ctl(supervisor->epoll_fd, EPOLL_CTL_ADD, supervisor->next.ready_fd, &event);
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
    supervisor->current = supervisor->next;
    supervisor->next = (struct generation){ .ready_fd = -1 };
}

/* True: there was somebody else to stop. */
static bool pass_on(struct supervisor *supervisor, int sig)
{
    if (supervisor->next.pid > 0)
        kill(supervisor->next.pid, SIGKILL);
    if (supervisor->current.pid > 0)
        kill(supervisor->current.pid, sig);
    return supervisor->current.pid > 0;
}

static void ask_to_stop(struct supervisor *supervisor, int sig, uint64_t now_ns)
{
    supervisor->stop_signals++;
    supervisor->must_reload = false;
    bool is_first = supervisor->stop_signals == 1, is_passed_on = pass_on(supervisor, sig);
    if (is_passed_on && supervisor->frontend.state != CHILD_STARTED)
        return;
    log_event(LOG_INFO, is_first ? "draining" : "stopping", LOG_STR("signal", sigdescr_np(sig)));
    uint64_t patience_ms =
        is_first ? (uint64_t)supervisor->config->drain_delay_ms + supervisor->config->grace_ms + STOP_SLACK_MS
                 : STOP_SLACK_MS;
    supervisor->kill_frontend_ns = now_ns + patience_ms * NS_PER_MS;
    bool is_told = tell(supervisor, &(struct control_message){ .type = is_first ? CONTROL_DRAIN : CONTROL_STOP });
    if (supervisor->frontend.state != CHILD_STARTED)
        look_if_over(supervisor); /* between two front ends: nobody waits */
    else if (!is_told)
        supervisor->kill_frontend_ns = now_ns;
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
            supervisor->must_reload = supervisor->stop_signals == 0;
        else
            ask_to_stop(supervisor, (int)info.ssi_signo, now_ns);
    }
}

static void say_ready(struct supervisor *supervisor)
{
    ssize_t ignored = write(supervisor->start->ready_fd, "", 1);
    (void)ignored;
    log_event(LOG_INFO, "reloaded", LOG_INT("pid", supervisor->pid),
              LOG_INT("workers", supervisor->shared.builtin_workers));
}

static void read_control(struct supervisor *supervisor)
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
                          LOG_INT("workers", supervisor->shared.builtin_workers),
                          LOG_INT("io_threads", supervisor->config->io_threads),
                          LOG_INT("loops", supervisor->shared.loops));
            if (!supervisor->was_serving && supervisor->start->ready_fd < 0)
                dprintf(STDERR_FILENO, "listening on %s\n", supervisor->shared.address);
            supervisor->was_serving = true;
        } else if (message.type == CONTROL_KILL_WORKER && message.worker < supervisor->shared.workers) {
            struct child *worker = &supervisor->workers[message.worker];
            if (is_alive(worker) &&
                worker->generation == message.generation) { /* ours and not reaped: the pid cannot be another's */
                memcpy(worker->kill_reason, message.reason, sizeof worker->kill_reason);
                worker->kill_reason[sizeof worker->kill_reason - 1] = '\0';
                evidence_collect(worker->pid, worker->evidence);
                kill(-worker->pid, SIGKILL);
                kill(worker->pid, SIGKILL); /* it may not have its own group yet */
            }
        }
    }
    if (result == CONTROL_CLOSED) { /* SIGCHLD follows */
        close(supervisor->control_fd);
        supervisor->control_fd = -1;
    }
}

/* A worker that has not come up yet, -1: all have. */
static int find_starting(const struct supervisor *supervisor)
{
    for (unsigned i = 0; i < supervisor->shared.workers; i++)
        if (!is_alive(&supervisor->workers[i]) ||
            atomic_load(&supervisor->shared.mailboxes[i]->generation) != supervisor->workers[i].generation)
            return (int)i;
    return -1;
}

/* A new generation serves when all of its workers are there, so that no job waits for one, and what does not come up
 * changes nothing. Returns when to look again; 0: they are there. */
static uint64_t await_workers(struct supervisor *supervisor, uint64_t now_ns)
{
    if (supervisor->start->ready_fd < 0 || supervisor->was_serving)
        return 0;
    int starting = find_starting(supervisor);
    if (starting < 0)
        return 0;
    if (now_ns >= supervisor->give_up_ns) {
        const struct task *task = task_of_group(supervisor->shared.groups[starting]);
        log_event(LOG_ERROR, "reload_failed", LOG_STR("error", "a worker does not come up"),
                  LOG_STR("task", task ? task->name : "built-in"));
        supervisor->exit_status = 1;
        supervisor->is_over = true;
    }
    return now_ns + READY_LOOK_MS * NS_PER_MS;
}

/* Starts and tells what is due; returns when something will be. */
static uint64_t advance(struct supervisor *supervisor, uint64_t now_ns)
{
    uint64_t next_ns = supervisor->kill_frontend_ns;
    if (supervisor->must_reload && supervisor->next.pid == 0)
        begin_reload(supervisor);
    if (now_ns >= supervisor->kill_frontend_ns && supervisor->frontend.state == CHILD_STARTED) {
        log_event(LOG_ERROR, "front_end_killed", LOG_STR("reason", "it did not stop in time"));
        kill(supervisor->frontend.pid, SIGKILL);
        next_ns = supervisor->kill_frontend_ns = CLOCK_NEVER;
    }
    if (supervisor->is_retired)
        return next_ns;
    uint64_t look_ns = await_workers(supervisor, now_ns);
    if (look_ns > 0)
        next_ns = look_ns < next_ns ? look_ns : next_ns;
    else if (supervisor->frontend.state == CHILD_WAITING) {
        if (now_ns >= supervisor->frontend.start_ns)
            start_frontend(supervisor, now_ns);
        if (supervisor->frontend.state == CHILD_WAITING && supervisor->frontend.start_ns < next_ns)
            next_ns = supervisor->frontend.start_ns;
    }
    for (unsigned i = 0; i < supervisor->shared.workers; i++) {
        struct child *worker = &supervisor->workers[i];
        announce(supervisor, i, now_ns);
        if (worker->state != CHILD_WAITING)
            continue;
        if (now_ns >= worker->start_ns) {
            start_worker(supervisor, i, now_ns);
            announce(supervisor, i, now_ns);
        }
        if (worker->state == CHILD_WAITING && worker->start_ns < next_ns)
            next_ns = worker->start_ns;
    }
    return next_ns;
}

static void end_workers(struct supervisor *supervisor)
{
    for (unsigned i = 0; supervisor->workers != NULL && i < supervisor->shared.workers; i++) {
        struct child *worker = &supervisor->workers[i];
        if (is_alive(worker)) {
            kill(-worker->pid, SIGKILL);
            kill(worker->pid, SIGKILL);
            waitpid(worker->pid, NULL, 0);
        }
    }
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
static uint64_t start_limit_ns(uint64_t now_ns)
{
    uint64_t limit_ms = READY_MS;
    for (size_t i = 0; i < task_count; i++)
        if (task_table[i]->program && task_table[i]->program->start_timeout_ms > limit_ms)
            limit_ms = task_table[i]->program->start_timeout_ms;
    return now_ns + limit_ms * NS_PER_MS;
}

int supervisor_run(const struct supervisor_start *start)
{
    struct supervisor supervisor = { .start = start,
                                     .config = start->config,
                                     .pid = getpid(),
                                     .control_fd = -1,
                                     .kill_frontend_ns = CLOCK_NEVER,
                                     .give_up_ns = start_limit_ns(clock_now_ns()),
                                     .current = { .ready_fd = -1 },
                                     .next = { .ready_fd = -1 } };
    if (!shared_create(start->config, start->listen_fd, &supervisor.shared))
        return 1;
    supervisor.workers = calloc(supervisor.shared.workers, sizeof *supervisor.workers);
    if (supervisor.workers == NULL || !open_events(&supervisor)) {
        log_event(LOG_ERROR, "start_failed", LOG_STR("error", strerrordesc_np(errno)));
        free(supervisor.workers);
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
                read_control(&supervisor);
            }
        }
        if (!supervisor.is_over)
            next_ns = advance(&supervisor, now_ns);
    }
    end_workers(&supervisor);
    free(supervisor.workers);
    shared_done(&supervisor.shared);
    log_event(LOG_INFO, start->ready_fd < 0 ? "stopped" : "generation_ended", LOG_INT("pid", supervisor.pid),
              LOG_INT("status", supervisor.exit_status));
    return supervisor.exit_status;
}
