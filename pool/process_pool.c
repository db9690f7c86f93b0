/* The pool is a queue for each group of workers, a table of workers and, per event loop, a list of ended jobs.
 *
 * A job is QUEUED in the list, POSTED in a worker's mailbox (READY, RUNNING or DONE there) or ENDED on its loop's list.
 * Whoever moves it holds the mutex; the worker's side of a POSTED job is the slot's word, and the word decides every
 * race (mailbox.h).
 *
 * A worker is doomed when its running job must end (after a moment to end by itself, if its task asks). Its other jobs
 * are recalled first: what cannot be recalled has been claimed, and since a worker runs one job at a time, the doomed
 * job is then over and there is nothing to kill. */
#include "pool/process_pool.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "pool/process_pool_internal.h"
#include "pool/worker.h"

enum {
    ATTEMPTS_MAX = 2, /* of a job whose worker died under it, if its task is idempotent */
    UNCLAIMED_MS =
        20, /* a worker that has not claimed a posted job for so long, or not finished it, is given no more */
    UNRESPONSIVE_MS = 1000, /* and is replaced if it does not answer a ping for so long */
    KILL_RETRY_MS = 100,
    COST_WEIGHT = 8 /* jobs that a task's average cost remembers, about */
};

unsigned process_pool_group_of(const struct process_pool *pool, const struct job *job)
{
    unsigned group = task_table[job->task]->group;
    return group < pool->config.group_count ? group : 0;
}

static struct job_queue *queue_of(struct process_pool *pool, const struct job *job)
{
    return &pool->groups[process_pool_group_of(pool, job)].queue;
}

/* ---- ending a job */

void process_pool_end_job(struct process_pool *pool, struct job *job, enum status status)
{
    if (job->state == JOB_POSTED)
        job_queue_note_end(queue_of(pool, job), job);
    job->status = status;
    job->state = JOB_ENDED;
    pool->held_bytes -= job_bytes(job);
    pool->admitted -= job->is_admitted;
    pool->stats.ended_by_status[status]++;
    if (job->usage.queue_ns == 0)
        job->usage.queue_ns = clock_now_ns() - job->accepted_ns;
    struct loop_entry *loop = &pool->loops[job->loop];
    job_list_append(&loop->ended, job);
    atomic_store_explicit(&loop->has_ended, true, memory_order_seq_cst);
    bell_ring(&loop->ringer);
}

/* A chunk says what one of its items takes. The first run is taken at its word. */
static void note_cost(uint64_t *run_ns, const struct job *job)
{
    uint64_t cost_ns = job->usage.wall_ns / (job->items > 0 ? job->items_done : 1);
    *run_ns = *run_ns > 0 ? (*run_ns * (COST_WEIGHT - 1) + cost_ns) / COST_WEIGHT : cost_ns;
}

static void collect_slot(struct process_pool *pool, struct worker_entry *worker, unsigned slot)
{
    struct job *job = worker->jobs[slot];
    struct slot_result *result = &worker->mailbox->slots[slot].result;
    if (job != NULL) {
        job->attempts += atomic_load_explicit(&result->is_started, memory_order_relaxed) != 0 ? 1 : 0;
        job_set_times(job, result->started_ns, result->finished_ns);
        job->usage.cpu_ns = result->cpu_ns;
        job->usage.max_rss_kib = result->max_rss_kib;
        int64_t change_ns = ((int64_t)job->usage.wall_ns - (int64_t)pool->stats.mean_wall_ns) / 16;
        pool->stats.mean_wall_ns = (uint64_t)((int64_t)pool->stats.mean_wall_ns + change_ns);
        pool->stats.completed++;
        enum status status = worker_entry_take_result(worker, slot, job);
        if (status == ST_OK)
            note_cost(&pool->tasks[job->task].run_ns, job);
        process_pool_end_job(pool, job, status);
    } else {
        worker->kill_ns = 0; /* it was cancelled, and ended by itself */
    }
    worker->jobs_done++;
    worker_wear_note_job(&worker->wear, result->max_rss_kib);
    worker->is_long = false;
    worker_entry_free_slot(worker, slot);
    mailbox_release(worker->mailbox, slot);
}

void process_pool_look_again(struct process_pool *pool, uint64_t at_ns)
{
    if (at_ns < pool->next_tick_ns)
        pool->next_tick_ns = at_ns;
}

void process_pool_expect_claim(struct process_pool *pool, struct worker_entry *worker)
{
    worker->posted_ns = clock_now_ns();
    process_pool_look_again(pool, worker->posted_ns + UNCLAIMED_MS * NS_PER_MS);
}

static void collect_done(struct process_pool *pool, struct worker_entry *worker)
{
    for (unsigned slot = 0; slot < MAILBOX_SLOTS; slot++)
        if (worker->in_use[slot] && mailbox_peek(worker->mailbox, slot).state == SLOT_DONE)
            collect_slot(pool, worker, slot);
    if (worker->used > 0)
        process_pool_expect_claim(pool, worker);
    else
        worker->idle_ns = clock_now_ns(); /* also when it has come up */
}

/* ---- dooming and settling */

static void kill_doomed(struct process_pool *pool, unsigned index)
{
    pool->config.kill_worker(pool->config.kill_context, index, pool->workers[index].generation,
                             pool->workers[index].doom_reason, pool->workers[index].is_dismissed);
}

static uint64_t doom(struct process_pool *pool, unsigned index, const char *reason)
{
    struct worker_entry *worker = &pool->workers[index];
    worker->is_doomed = true;
    worker->doom_reason = reason;
    worker->kill_ns = 0;
    pool->stats.kills++;
    kill_doomed(pool, index);
    return clock_now_ns() + KILL_RETRY_MS * NS_PER_MS;
}

static void collect_worker(struct process_pool *pool, struct worker_entry *worker)
{
    uint32_t done = atomic_load_explicit(&worker->mailbox->done_count, memory_order_acquire);
    if (done == worker->seen_done)
        return;
    worker->seen_done = done;
    collect_done(pool, worker);
    if (!worker->is_doomed && worker_entry_has_lost_itself(worker))
        process_pool_look_again(pool, doom(pool, (unsigned)(worker - pool->workers), "lost its mind"));
}

/* The job in that slot must end, and the worker with it unless the task asks whether it is cancelled. False: it has
 * ended meanwhile. */
static bool end_running(struct process_pool *pool, unsigned index, unsigned slot, const char *reason)
{
    struct worker_entry *worker = &pool->workers[index];
    const struct job *job = worker->jobs[slot];
    process_pool_recall_all(pool, worker);
    if (mailbox_peek(worker->mailbox, slot).state == SLOT_DONE)
        return false;
    if (job == NULL || !task_table[job->task]->polls_cancel || pool->config.cancel_grace_ns == 0) {
        process_pool_look_again(pool, doom(pool, index, reason));
        return true;
    }
    atomic_store_explicit(&worker->mailbox->slots[slot].is_cancelled, 1, memory_order_relaxed);
    worker->doom_reason = reason;
    worker->kill_ns = clock_now_ns() + pool->config.cancel_grace_ns;
    process_pool_look_again(pool, worker->kill_ns);
    return true;
}

void process_pool_dismiss(struct process_pool *pool, struct worker_entry *worker, const char *reason)
{
    worker->is_doomed = worker->is_dismissed = true;
    worker->doom_reason = reason;
    process_pool_look_again(pool, clock_now_ns() + KILL_RETRY_MS * NS_PER_MS);
    kill_doomed(pool, (unsigned)(worker - pool->workers));
}

/* SIGKILL comes from outside (an operator, the kernel that is out of memory): that says nothing of the job. */
static bool is_own_fault(int wait_status) { return !WIFSIGNALED(wait_status) || WTERMSIG(wait_status) != SIGKILL; }

/* Of what it died that had started this job. */
static enum status cause_of(const struct job *job, int wait_status)
{
    bool is_timed = task_table[job->task]->cpu_max_ms > 0 && task_table[job->task]->program == NULL;
    return is_timed && WIFSIGNALED(wait_status) && WTERMSIG(wait_status) == SIGPROF ? ST_CPU_LIMIT : ST_WORKER_CRASHED;
}

/* Its worker died while it had claimed the job in that slot. */
static void settle_job(struct process_pool *pool, struct worker_entry *worker, unsigned slot, int wait_status)
{
    struct job *job = worker->jobs[slot];
    bool is_started = worker_entry_note_attempt(worker, slot, job);
    enum status cause = cause_of(job, wait_status);
    if (is_started && job->items == 0 && cause == ST_WORKER_CRASHED && is_own_fault(wait_status))
        quarantine_note(&pool->quarantine, job, clock_now_ns());
    bool may_repeat = !is_started || (task_table[job->task]->is_idempotent && job->attempts < ATTEMPTS_MAX &&
                                      job->items == 0 && cause == ST_WORKER_CRASHED);
    bool has_items = worker_entry_keep_progress(worker, slot, job);
    if (has_items && !is_started) { /* it died between two items of the chunk */
        process_pool_end_job(pool, job, ST_OK);
    } else if (may_repeat) {
        pool->stats.requeued++;
        process_pool_put_back(pool, job);
    } else {
        worker_entry_take_detail(worker, slot, job);
        job->signal = WIFSIGNALED(wait_status) ? WTERMSIG(wait_status) : 0;
        job->exit_status = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : -1;
        process_pool_end_job(pool, job, cause);
    }
}

static void settle(struct process_pool *pool, struct worker_entry *worker, unsigned slot, int wait_status)
{
    worker->is_spilled[slot] = true; /* it may have died between spilling its result and saying so */
    if (worker->jobs[slot] != NULL)
        settle_job(pool, worker, slot, wait_status);
    worker_entry_free_slot(worker, slot);
    mailbox_release(worker->mailbox, slot);
}

/* ---- public functions */

enum status process_pool_create(const struct process_pool_config *config, struct process_pool **ret_pool)
{
    struct process_pool *pool = calloc(1, sizeof *pool);
    struct worker_entry *workers = calloc(config->workers, sizeof *workers);
    struct loop_entry *loops = calloc(config->loops, sizeof *loops);
    unsigned group_count = config->group_count > 0 ? config->group_count : 1;
    struct group_entry *groups = calloc(group_count, sizeof *groups);
    struct job_task *tasks = calloc(task_count, sizeof *tasks);
    if (pool == NULL || workers == NULL || loops == NULL || groups == NULL || tasks == NULL ||
        pthread_mutex_init(&pool->lock, NULL) != 0) {
        free(pool);
        free(workers);
        free(loops);
        free(groups);
        free(tasks);
        return ST_NO_MEMORY;
    }
    pool->config = *config;
    pool->config.group_count = group_count;
    pool->groups = groups;
    pool->tasks = tasks;
    pool->workers = workers;
    pool->loops = loops;
    pool->next_tick_ns = CLOCK_NEVER;
    quarantine_init(&pool->quarantine, config->quarantine_ns);
    for (unsigned i = 0; i < group_count; i++)
        groups[i].queue.tasks = tasks;
    for (size_t i = 0; i < task_count; i++)
        tasks[i].started_max = task_table[i]->concurrency_max;
    for (unsigned i = 0; i < config->loops; i++)
        loops[i].ringer = (struct bell_ringer){ .bell = config->bells[i], .event_fd = config->event_fds[i] };
    for (unsigned i = 0; i < config->workers; i++) {
        workers[i].mailbox = config->mailboxes[i];
        workers[i].spill = config->spills[i];
        workers[i].group = config->groups ? config->groups[i] : 0;
        worker_entry_attach(&workers[i]);
        struct group_entry *group = &groups[workers[i].group];
        if (group->seat_count++ == 0)
            group->seats = &workers[i];
    }
    for (unsigned i = 0; i < group_count; i++) {
        if (config->limits != NULL)
            groups[i].limits = config->limits[i];
        else
            groups[i].limits.workers = groups[i].limits.workers_max = groups[i].seat_count;
        groups[i].workers = groups[i].told = groups[i].limits.workers;
    }
    *ret_pool = pool;
    return ST_OK;
}

void process_pool_free(struct process_pool *pool)
{
    if (pool == NULL)
        return;
    pthread_mutex_destroy(&pool->lock);
    free(pool->workers);
    free(pool->groups);
    free(pool->loops);
    free(pool->tasks);
    free(pool);
}

enum status process_pool_submit(struct process_pool *pool, struct job *job)
{
    pthread_mutex_lock(&pool->lock);
    uint64_t now_ns = clock_now_ns();
    enum status refusal = process_pool_refusal(pool, job, now_ns);
    if (refusal != ST_OK) {
        pool->stats.refused++;
        pthread_mutex_unlock(&pool->lock);
        return refusal;
    }
    job->accepted_ns = now_ns;
    job->attempts = 0;
    job->result = NULL;
    job->result_len = 0;
    job->items_done = job->items_failed = 0;
    job->detail[0] = job->evidence[0] = '\0';
    job->signal = 0;
    job->exit_status = -1;
    job->usage = (struct job_usage){ 0 };
    job->state = JOB_QUEUED;
    job_queue_add(queue_of(pool, job), job);
    pool->admitted += job->is_admitted;
    pool->held_bytes += job_bytes(job);
    pool->stats.submitted++;
    process_pool_dispatch(pool);
    pthread_mutex_unlock(&pool->lock);
    return ST_OK;
}

/* The worker that runs the job; 0: none does. */
static pid_t runner_of(struct process_pool *pool, const struct job *job)
{
    pid_t pid = 0;
    pthread_mutex_lock(&pool->lock);
    if (job->state == JOB_POSTED && mailbox_peek(pool->workers[job->worker].mailbox, job->slot).state == SLOT_RUNNING)
        pid = pool->workers[job->worker].pid;
    pthread_mutex_unlock(&pool->lock);
    return pid;
}

void process_pool_cancel(struct process_pool *pool, struct job *job, enum status why)
{
    pid_t runner = why == ST_DEADLINE_EXCEEDED ? runner_of(pool, job) : 0;
    if (runner > 0) /* reads files: not under the lock */
        evidence_collect(runner, job->evidence);
    pthread_mutex_lock(&pool->lock);
    if (job->state == JOB_QUEUED) {
        job_queue_remove(queue_of(pool, job), job);
        process_pool_end_job(pool, job, why);
    } else if (job->state == JOB_POSTED) {
        struct worker_entry *worker = &pool->workers[job->worker];
        unsigned slot = job->slot;
        if (mailbox_recall(worker->mailbox, slot, job->sequence)) {
            worker_entry_free_slot(worker, slot);
            process_pool_end_job(pool, job, why);
        } else if (end_running(pool, job->worker, slot, status_code(why))) {
            (void)worker_entry_note_attempt(worker, slot, job);
            (void)worker_entry_keep_progress(worker, slot, job);
            worker->jobs[slot] = NULL; /* the slot stays in use until the worker was reaped */
            process_pool_end_job(pool, job, why);
        } else { /* its result counts, even if the worker was stopped before it could tell */
            collect_done(pool, worker);
        }
        process_pool_dispatch(pool);
    }
    pthread_mutex_unlock(&pool->lock);
}

void process_pool_collect(struct process_pool *pool, unsigned loop)
{
    struct loop_entry *own = &pool->loops[loop];
    pthread_mutex_lock(&pool->lock);
    for (unsigned i = 0; i < pool->config.workers; i++)
        collect_worker(pool, &pool->workers[i]);
    worker_turnover_look(pool, clock_now_ns());
    process_pool_dispatch(pool);
    process_pool_notify_owed(pool);
    struct job *job = own->ended.first;
    own->ended = (struct job_list){ 0 };
    atomic_store_explicit(&own->has_ended, false, memory_order_relaxed);
    pthread_mutex_unlock(&pool->lock);
    while (job != NULL) {
        struct job *next = job->next; /* the job is gone after its on_done */
        job->on_done(job);
        job = next;
    }
}

void process_pool_end_turn(struct process_pool *pool)
{
    if (!atomic_load_explicit(&pool->is_notice_owed, memory_order_relaxed))
        return;
    pthread_mutex_lock(&pool->lock);
    process_pool_notify_owed(pool);
    pthread_mutex_unlock(&pool->lock);
}

bool process_pool_has_news(struct process_pool *pool, unsigned loop)
{
    if (atomic_load_explicit(&pool->loops[loop].has_ended, memory_order_seq_cst))
        return true;
    bool has_news = false;
    pthread_mutex_lock(&pool->lock);
    for (unsigned i = 0; i < pool->config.workers && !has_news; i++)
        has_news = atomic_load_explicit(&pool->workers[i].mailbox->done_count, memory_order_seq_cst) !=
                   pool->workers[i].seen_done;
    pthread_mutex_unlock(&pool->lock);
    return has_news;
}

void process_pool_worker_started(struct process_pool *pool, unsigned index, uint32_t generation, pid_t pid)
{
    pthread_mutex_lock(&pool->lock);
    struct worker_entry *worker = &pool->workers[index];
    worker->is_alive = true;
    worker->is_doomed = worker->is_dismissed = worker->is_suspect = worker->is_long = false;
    worker->kill_ns = 0;
    worker->generation = generation;
    worker->pid = pid;
    worker->posted_ns = clock_now_ns();
    worker->idle_ns = 0; /* its predecessor's says nothing about it */
    worker_turnover_begin(pool, worker, worker->posted_ns);
    for (unsigned slot = 0; slot < MAILBOX_SLOTS; slot++) { /* left over by a front end that died: for nobody */
        struct slot_word word = mailbox_peek(worker->mailbox, slot);
        if (!worker->in_use[slot] || worker->jobs[slot] != NULL)
            continue;
        if (word.state == SLOT_RUNNING && word.generation == (generation & 0xffffff)) {
            (void)end_running(pool, index, slot, "orphaned");
        } else if (!worker_entry_is_of_successor(
                       word, generation)) { /* DONE, or its worker's death was news to the dead front end only */
            worker_entry_free_slot(worker, slot);
            mailbox_release(worker->mailbox, slot);
        }
    }
    worker_turnover_look(pool, worker->posted_ns);
    process_pool_dispatch(pool);
    pthread_mutex_unlock(&pool->lock);
}

void process_pool_worker_died(struct process_pool *pool, unsigned index, uint32_t generation, int wait_status)
{
    pthread_mutex_lock(&pool->lock);
    struct worker_entry *worker = &pool->workers[index];
    if (!worker->is_doomed && worker->kill_ns == 0 && !worker_has_ended_by_rule(wait_status))
        pool->stats.crashes++;
    worker->is_alive = false;
    worker->pid = 0;
    worker->seen_done = atomic_load_explicit(&worker->mailbox->done_count, memory_order_acquire);
    process_pool_recall_all(pool, worker);
    for (unsigned slot = 0; slot < MAILBOX_SLOTS; slot++) {
        if (!worker->in_use[slot])
            continue;
        struct slot_word word = mailbox_peek(worker->mailbox, slot);
        if (word.state == SLOT_DONE)
            collect_slot(pool, worker, slot);
        else if (!worker_entry_is_of_successor(
                     word, generation)) /* RUNNING, or whatever a worker wrote there that had lost its mind */
            settle(pool, worker, slot, wait_status);
    }
    for (unsigned slot = 0; slot < MAILBOX_SLOTS; slot++) { /* what it may have written there without a job */
        if (worker->in_use[slot])
            continue;
        spill_clear(&worker->spill, slot);
        mailbox_release(worker->mailbox, slot);
    }
    worker_turnover_look(pool, clock_now_ns());
    process_pool_dispatch(pool);
    pthread_mutex_unlock(&pool->lock);
}

/* A worker that did not claim in time was pinged: it answers, or it is replaced. */
static uint64_t look_after_suspect(struct process_pool *pool, unsigned index, uint64_t now_ns)
{
    struct worker_entry *worker = &pool->workers[index];
    struct mailbox *mailbox = worker->mailbox;
    uint32_t pong = atomic_load_explicit(&mailbox->pong, memory_order_acquire);
    if (worker_entry_has_claimed(worker) || pong == atomic_load_explicit(&mailbox->ping, memory_order_relaxed)) {
        worker->is_suspect = false;
        return CLOCK_NEVER;
    }
    if (now_ns - worker->suspect_ns < UNRESPONSIVE_MS * NS_PER_MS)
        return now_ns + UNCLAIMED_MS * NS_PER_MS;
    return doom(pool, index, "unresponsive");
}

/* One worker's part of the tick: returns when to look again. */
static uint64_t look_after(struct process_pool *pool, unsigned index, uint64_t now_ns)
{
    struct worker_entry *worker = &pool->workers[index];
    if (!worker->is_alive)
        return CLOCK_NEVER;
    if (worker->is_doomed) { /* the request may have been lost with a full socket: killing twice is harmless */
        kill_doomed(pool, index);
        return now_ns + KILL_RETRY_MS * NS_PER_MS;
    }
    if (worker->kill_ns > 0)
        return now_ns < worker->kill_ns ? worker->kill_ns : doom(pool, index, worker->doom_reason);
    if (worker->is_suspect)
        return look_after_suspect(pool, index, now_ns);
    if (worker->used == 0)
        return CLOCK_NEVER;
    uint64_t due_ns = worker->posted_ns + UNCLAIMED_MS * NS_PER_MS;
    if (now_ns < due_ns)
        return due_ns;
    if (worker_entry_has_claimed(worker)) { /* the running job's deadline looks after it */
        worker->is_long = true;
        process_pool_recall_all(pool, worker);
        return CLOCK_NEVER;
    }
    if (!worker_entry_is_ready(worker)) /* still starting */
        return now_ns + UNCLAIMED_MS * NS_PER_MS;
    process_pool_recall_all(pool, worker);
    worker->is_suspect = true;
    worker->suspect_ns = now_ns;
    atomic_fetch_add_explicit(&worker->mailbox->ping, 1, memory_order_seq_cst);
    mailbox_wake(worker->mailbox);
    return now_ns + UNCLAIMED_MS * NS_PER_MS;
}

void process_pool_tick(struct process_pool *pool, uint64_t now_ns)
{
    pthread_mutex_lock(&pool->lock);
    pool->next_tick_ns = CLOCK_NEVER;
    worker_turnover_look(pool, now_ns);
    for (unsigned i = 0; i < pool->config.workers; i++) {
        uint64_t next_ns = look_after(pool, i, now_ns);
        if (next_ns < pool->next_tick_ns)
            pool->next_tick_ns = next_ns;
    }
    process_pool_dispatch(pool);
    pthread_mutex_unlock(&pool->lock);
}

uint64_t process_pool_next_tick(struct process_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    uint64_t next_ns = pool->next_tick_ns;
    pthread_mutex_unlock(&pool->lock);
    return next_ns;
}
