/* A seat is a mailbox, a spill file and perhaps a worker. A group of workers has more seats than it has workers: while
 * one is replaced there are both, and there may be more while jobs wait. How many are taken, the front end says.
 *
 * A worker goes through
 *     EMPTY ──wanted──▶ WAITING ──start time──▶ STARTED ──▶ ANNOUNCED ──reaped──▶ DEAD ──▶ WAITING or EMPTY
 * where the last step of each arrow into ANNOUNCED and out of DEAD is telling the front end. If its socket is full the
 * worker stays where it is until there is room: so the front end hears of every generation's start and death, in that
 * order, before the next one starts.
 *
 * Back-off: a worker that dies before it was ready, or of itself before it has been of any use, failed to start; each
 * such failure in a row doubles its delay. Any other is replaced at once, whatever killed it. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "pool/worker.h"
#include "service/supervisor_internal.h"

enum { START_SLACK_MS = 2000 };

/* NULL: the built-in ones. */
static const struct task *task_of_group(unsigned group)
{
    for (size_t i = 0; group > 0 && i < task_count; i++)
        if (task_table[i]->group == group)
            return task_table[i];
    return NULL;
}

/* ---- starting */

NORETURN static void be_worker(struct supervisor *supervisor, unsigned seat)
{
    struct shared *shared = &supervisor->shared;
    const struct config *config = supervisor->config;
    supervisor_leave(supervisor);
    for (unsigned i = 0; i < shared->workers; i++)
        if (i != seat)
            mailbox_unmap(shared->mailboxes[i]);
    worker_main(&(struct worker_config){ .index = seat,
                                         .generation = supervisor->workers[seat].generation,
                                         .supervisor = supervisor->pid,
                                         .mailbox = shared->mailboxes[seat],
                                         .spill = shared->spills[seat],
                                         .loops = shared->loops,
                                         .bells = shared->bells,
                                         .event_fds = shared->event_fds,
                                         .niceness = config->worker_nice,
                                         .task = task_of_group(shared->groups[seat]),
                                         .memory_max = config->worker_memory_bytes });
}

static void start_worker(struct supervisor *supervisor, unsigned seat, uint64_t now_ns)
{
    struct child *worker = &supervisor->workers[seat];
    worker->generation++;
    pid_t pid = fork();
    if (pid == 0)
        be_worker(supervisor, seat);
    if (pid < 0) {
        worker->generation--;
        worker->start_ns = now_ns + child_back_off_ns(&worker->failures);
        log_event(LOG_ERROR, "fork_failed", LOG_INT("worker", seat), LOG_STR("error", strerrordesc_np(errno)));
        return;
    }
    worker->pid = pid;
    worker->kill_reason[0] = worker->evidence[0] = '\0';
    worker->start_ns = now_ns;
    worker->state = CHILD_STARTED;
}

static bool was_ready(const struct supervisor *supervisor, unsigned seat)
{
    return atomic_load(&supervisor->shared.mailboxes[seat]->generation) == supervisor->workers[seat].generation;
}

/* Has it begun a job? Asked at its end, before the front end hears of it. */
static bool was_of_use(const struct mailbox *mailbox, uint32_t generation)
{
    if (atomic_load(&mailbox->done_count) != atomic_load(&mailbox->first_done))
        return true;
    for (unsigned slot = 0; slot < MAILBOX_SLOTS; slot++) {
        struct slot_word word = mailbox_peek(mailbox, slot);
        if (word.state == SLOT_RUNNING && word.generation == (generation & 0xffffff) &&
            atomic_load(&mailbox->slots[slot].result.is_started) != 0)
            return true;
    }
    return false;
}

static bool has_failed_to_start(const struct supervisor *supervisor, unsigned seat)
{
    const struct child *worker = &supervisor->workers[seat];
    bool is_killed = worker->kill_reason[0] != '\0' ||
                     (WIFSIGNALED(worker->wait_status) && WTERMSIG(worker->wait_status) == SIGKILL);
    return !was_ready(supervisor, seat) ||
           (!is_killed && !was_of_use(supervisor->shared.mailboxes[seat], worker->generation));
}

/* ---- how many */

static unsigned count_taken(const struct supervisor *supervisor, unsigned group)
{
    unsigned taken = 0;
    for (unsigned i = 0; i < supervisor->shared.workers; i++)
        taken += supervisor->shared.groups[i] == group && supervisor->workers[i].state != CHILD_EMPTY ? 1 : 0;
    return taken;
}

/* A seat of the group in that state, the last one; NULL: none. */
static struct child *find_seat(const struct supervisor *supervisor, unsigned group, enum child_state state)
{
    for (unsigned i = supervisor->shared.workers; i > 0; i--)
        if (supervisor->shared.groups[i - 1] == group && supervisor->workers[i - 1].state == state)
            return &supervisor->workers[i - 1];
    return NULL;
}

void worker_seats_want(struct supervisor *supervisor, unsigned group, unsigned count, uint64_t now_ns)
{
    struct child *seat;
    if (group >= supervisor->shared.group_count)
        return;
    supervisor->wanted[group] = count;
    for (unsigned i = 0; i < supervisor->shared.workers && count_taken(supervisor, group) < count; i++)
        if (supervisor->shared.groups[i] == group && supervisor->workers[i].state == CHILD_EMPTY) {
            supervisor->workers[i].state = CHILD_WAITING;
            supervisor->workers[i].start_ns = now_ns;
            supervisor->workers[i].failures = 0;
        }
    /* who lives is killed by the front end's word only; who only waits does not start */
    while (count_taken(supervisor, group) > count && (seat = find_seat(supervisor, group, CHILD_WAITING)) != NULL)
        seat->state = CHILD_EMPTY;
}

void worker_seats_reset(struct supervisor *supervisor)
{
    for (unsigned group = 0; group < supervisor->shared.group_count; group++)
        worker_seats_want(supervisor, group, supervisor->shared.limits[group].workers, 0);
}

bool worker_seats_open(struct supervisor *supervisor)
{
    if (supervisor->shared.workers == 0 || supervisor->shared.group_count == 0)
        return false;
    supervisor->workers = calloc(supervisor->shared.workers, sizeof *supervisor->workers);
    supervisor->wanted = calloc(supervisor->shared.group_count, sizeof *supervisor->wanted);
    if (supervisor->workers == NULL || supervisor->wanted == NULL)
        return false;
    worker_seats_reset(supervisor);
    return true;
}

void worker_seats_close(struct supervisor *supervisor)
{
    for (unsigned i = 0; supervisor->workers != NULL && i < supervisor->shared.workers; i++) {
        const struct child *worker = &supervisor->workers[i];
        if (!child_is_alive(worker))
            continue;
        child_kill(worker);
        waitpid(worker->pid, NULL, 0);
    }
    free(supervisor->workers);
    free(supervisor->wanted);
    supervisor->workers = NULL;
    supervisor->wanted = NULL;
}

/* ---- what happens to them */

static void announce(struct supervisor *supervisor, unsigned seat, uint64_t now_ns)
{
    struct child *worker = &supervisor->workers[seat];
    if (worker->state == CHILD_STARTED &&
        supervisor_tell(supervisor, &(struct control_message){ .type = CONTROL_WORKER_STARTED,
                                                               .worker = seat,
                                                               .generation = worker->generation,
                                                               .pid = worker->pid }))
        worker->state = CHILD_ANNOUNCED;
    if (worker->state == CHILD_DEAD &&
        supervisor_tell(supervisor, &(struct control_message){ .type = CONTROL_WORKER_DIED,
                                                               .worker = seat,
                                                               .generation = worker->generation,
                                                               .wait_status = worker->wait_status })) {
        unsigned group = supervisor->shared.groups[seat];
        if (!worker->has_failed)
            worker->failures = 0;
        worker->start_ns = worker->has_failed ? now_ns + child_back_off_ns(&worker->failures) : now_ns;
        worker->state = count_taken(supervisor, group) > supervisor->wanted[group] ? CHILD_EMPTY : CHILD_WAITING;
    }
}

int worker_seats_find(const struct supervisor *supervisor, pid_t pid)
{
    for (unsigned i = 0; i < supervisor->shared.workers; i++)
        if (supervisor->workers[i].pid == pid && child_is_alive(&supervisor->workers[i]))
            return (int)i;
    return -1;
}

void worker_seats_note_death(struct supervisor *supervisor, unsigned seat, int wait_status, uint64_t now_ns)
{
    struct child *worker = &supervisor->workers[seat];
    worker->wait_status = wait_status;
    if (worker->state == CHILD_STARTED) /* the death is told as start and death, in order */
        announce(supervisor, seat, now_ns);
    worker->has_failed = has_failed_to_start(supervisor, seat);
    worker->state = CHILD_DEAD;
    const struct task *task = task_of_group(supervisor->shared.groups[seat]);
    child_log_worker_death(worker, seat, task ? task->name : "built-in");
}

/* Why is for the log, and so is what it was at, unless it is idle. */
static void kill_worker(struct child *worker, const char *reason, bool is_idle)
{
    snprintf(worker->kill_reason, sizeof worker->kill_reason, "%.*s", (int)sizeof worker->kill_reason - 1, reason);
    if (!is_idle)
        evidence_collect(worker->pid, worker->evidence);
    child_kill(worker);
}

void worker_seats_kill(struct supervisor *supervisor, const struct control_message *message)
{
    if (message->worker >= supervisor->shared.workers)
        return;
    struct child *worker = &supervisor->workers[message->worker];
    if (!child_is_alive(worker) || worker->generation != message->generation)
        return; /* else ours and not reaped: the pid cannot be another's */
    kill_worker(worker, message->reason, message->is_idle);
}

const struct child *worker_seats_find_starting(const struct supervisor *supervisor, const struct task **ret_task)
{
    const struct child *found = NULL;
    *ret_task = NULL;
    for (unsigned i = 0; i < supervisor->shared.workers; i++) {
        const struct child *worker = &supervisor->workers[i];
        bool is_starting = worker->state != CHILD_EMPTY && !(child_is_alive(worker) && was_ready(supervisor, i));
        if (!is_starting || (found != NULL && worker->state != CHILD_DEAD))
            continue;
        found = worker;
        *ret_task = task_of_group(supervisor->shared.groups[i]);
    }
    return found;
}

/* One that does not come up (stopped, hung in its first steps) is replaced. A program's own limit comes before this.
 * Returns when it will be time, CLOCK_NEVER: it is there. */
static uint64_t limit_start(struct supervisor *supervisor, unsigned seat, uint64_t now_ns)
{
    struct child *worker = &supervisor->workers[seat];
    if (!child_is_alive(worker) || was_ready(supervisor, seat))
        return CLOCK_NEVER;
    uint64_t max_ns = supervisor->shared.limits[supervisor->shared.groups[seat]].start_max_ns;
    uint64_t due_ns = worker->start_ns + max_ns + START_SLACK_MS * NS_PER_MS;
    if (now_ns < due_ns)
        return due_ns;
    kill_worker(worker, "not ready in time", false);
    return CLOCK_NEVER; /* SIGCHLD follows */
}

uint64_t worker_seats_advance(struct supervisor *supervisor, uint64_t now_ns)
{
    uint64_t next_ns = CLOCK_NEVER;
    for (unsigned i = 0; i < supervisor->shared.workers; i++) {
        struct child *worker = &supervisor->workers[i];
        announce(supervisor, i, now_ns);
        uint64_t due_ns = limit_start(supervisor, i, now_ns);
        if (due_ns < next_ns)
            next_ns = due_ns;
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
