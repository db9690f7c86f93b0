#include "pool/job_queue.h"

/* What a priority pays for a nanosecond. */
static const unsigned prices[PRIORITY_COUNT] = { [PRIORITY_HIGH] = 1, [PRIORITY_NORMAL] = 4, [PRIORITY_LOW] = 16 };
static const enum task_priority order[PRIORITY_COUNT] = { PRIORITY_HIGH, PRIORITY_NORMAL, PRIORITY_LOW };

enum { COST_MIN_NS = 1000 }; /* of a job about which nothing is known, too: else it would pay nothing */

uint64_t job_queue_expected_ns(const struct job_queue *queue, const struct job *job)
{
    return queue->tasks[job->task].run_ns * (job->items > 0 ? job->items : 1);
}

static struct job_line *line_of(const struct job_queue *queue, const struct job *job)
{
    return &queue->tasks[job->task].lines[job->priority];
}

/* ---- lines that are empty, and those that are not */

static void open_line(struct job_queue *queue, struct job_line *line, enum task_priority priority)
{
    struct job_level *level = &queue->levels[priority];
    if (level->lines == NULL && level->tag_ns < queue->now_ns)
        level->tag_ns = queue->now_ns;
    if (line->tag_ns < level->now_ns)
        line->tag_ns = level->now_ns;
    line->next = level->lines;
    level->lines = line;
}

static void close_line(struct job_queue *queue, struct job_line *line, enum task_priority priority)
{
    struct job_line **at = &queue->levels[priority].lines;
    while (*at != line)
        at = &(*at)->next;
    *at = line->next;
}

static void enter(struct job_queue *queue, struct job *job)
{
    struct job_line *line = line_of(queue, job);
    if (line->jobs.first == NULL)
        open_line(queue, line, job->priority);
    job_list_insert_by_turn(&line->jobs, job);
    line->expected_ns += job->expected_ns;
    job->is_in_line = true;
    if (job->flow != NULL)
        job->flow->in_line++;
}

static void leave(struct job_queue *queue, struct job *job)
{
    struct job_line *line = line_of(queue, job);
    job_list_remove(&line->jobs, job);
    line->expected_ns -= job->expected_ns;
    job->is_in_line = false;
    if (line->jobs.first == NULL)
        close_line(queue, line, job->priority);
    struct job_flow *flow = job->flow;
    if (flow == NULL || --flow->in_line > 0 || flow->waiting.first == NULL)
        return;
    struct job *next = flow->waiting.first;
    job_list_remove(&flow->waiting, next);
    next->turn = queue->next_turn++;
    enter(queue, next);
}

/* ---- what comes and goes */

static uint64_t smaller(uint64_t one, uint64_t other) { return one < other ? one : other; }
static uint64_t larger(uint64_t one, uint64_t other) { return one > other ? one : other; }

/* The job's line and level have had that time, and not what they were charged for it before. */
static void charge(struct job_queue *queue, struct job *job, uint64_t cost_ns)
{
    const unsigned price = prices[job->priority];
    uint64_t *line_ns = &line_of(queue, job)->tag_ns, *level_ns = &queue->levels[job->priority].tag_ns;
    *line_ns += cost_ns - smaller(*line_ns + cost_ns, job->charged_ns);
    *level_ns += cost_ns * price - smaller(*level_ns + cost_ns * price, job->charged_ns * price);
    job->charged_ns = cost_ns;
}

void job_queue_add(struct job_queue *queue, struct job *job)
{
    job->expected_ns = job_queue_expected_ns(queue, job);
    queue->count++;
    if (job->flow != NULL && job->flow->in_line > 0) {
        job_list_append(&job->flow->waiting, job);
        return;
    }
    job->turn = queue->next_turn++;
    enter(queue, job);
}

void job_queue_put_back(struct job_queue *queue, struct job *job)
{
    charge(queue, job, 0);
    queue->tasks[job->task].started--;
    queue->count++;
    enter(queue, job);
}

void job_queue_remove(struct job_queue *queue, struct job *job)
{
    queue->count--;
    if (job->is_in_line)
        leave(queue, job);
    else
        job_list_remove(&job->flow->waiting, job);
}

void job_queue_note_end(struct job_queue *queue, struct job *job)
{
    struct job_level *level = &queue->levels[job->priority];
    queue->tasks[job->task].started--;
    queue->now_ns = larger(queue->now_ns, job->level_tag_ns);
    level->now_ns = larger(level->now_ns, job->line_tag_ns);
    charge(queue, job, job->usage.wall_ns);
}

/* ---- whose turn it is */

static struct job_line *next_line(const struct job_queue *queue, enum task_priority priority)
{
    struct job_line *best = NULL;
    for (struct job_line *line = queue->levels[priority].lines; line != NULL; line = line->next) {
        const struct job_task *task = &queue->tasks[line->jobs.first->task];
        bool may_start = task->started_max == 0 || task->started < task->started_max;
        if (may_start && (best == NULL || line->tag_ns < best->tag_ns))
            best = line;
    }
    return best;
}

struct job *job_queue_take(struct job_queue *queue)
{
    struct job_line *best = NULL;
    struct job_level *best_level = NULL;
    for (size_t i = 0; i < PRIORITY_COUNT; i++) {
        struct job_level *level = &queue->levels[order[i]];
        struct job_line *line = next_line(queue, order[i]);
        if (line != NULL && (best_level == NULL || level->tag_ns < best_level->tag_ns)) {
            best = line;
            best_level = level;
        }
    }
    if (best == NULL)
        return NULL;
    struct job *job = best->jobs.first;
    job->level_tag_ns = best_level->tag_ns;
    job->line_tag_ns = best->tag_ns;
    queue->tasks[job->task].started++;
    queue->count--;
    leave(queue, job);
    job->expected_ns = job_queue_expected_ns(queue, job); /* by now more may be known */
    job->charged_ns = 0;
    charge(queue, job, larger(job->expected_ns, COST_MIN_NS));
    return job;
}

/* ---- how long it will take */

uint64_t job_queue_wait_ns(const struct job_queue *queue, const struct job *job, unsigned workers)
{
    const struct job_line *own = line_of(queue, job);
    uint64_t before_ns = own->expected_ns;
    /* while those go ahead of it, each other line gets as much as its own, a priority by its share */
    for (size_t i = 0; i < PRIORITY_COUNT; i++)
        for (const struct job_line *line = queue->levels[order[i]].lines; line != NULL; line = line->next)
            if (line != own)
                before_ns += smaller(line->expected_ns, own->expected_ns * prices[job->priority] / prices[order[i]]);
    uint64_t wait_ns = before_ns / workers;
    unsigned own_workers = queue->tasks[job->task].started_max;
    if (own_workers > 0 && own_workers < workers && own->expected_ns / own_workers > wait_ns)
        wait_ns = own->expected_ns / own_workers;
    return wait_ns;
}
