/* Random histories: jobs of every kind and size, cancellations, SIGKILL and SIGSTOP of workers, deaths of the front
 * end, in an order that a seed gives. Each job ends exactly once with an end that it may have, every slot is free at
 * the end and no spilled byte is left. STORM_SEED=N repeats the history of a failure as far as the machine allows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/support/fake_tasks.h"
#include "tests/support/pool_rig.h"
#include "tests/support/timing.h"

enum { SEATS = 4, JOBS = 48, STORM_MS = 2000, WAIT_MS = 10000, PAYLOAD_BYTES = 300000, QUEUE_MAX = 30 };

struct storm {
    struct pool_rig rig;
    struct pool_probe probes[JOBS];
    bool is_pending[JOBS];
    uint64_t random;
    uint64_t ended, refused, wrong;
    uint64_t submitted_before, recycled_before; /* by front ends that died */
    char *payload;
    char wrong_text[200];
};

static uint32_t pick(struct storm *storm, uint32_t below)
{
    storm->random ^= storm->random << 13;
    storm->random ^= storm->random >> 7;
    storm->random ^= storm->random << 17;
    return (uint32_t)(storm->random >> 33) % below;
}

static const char chunk[] = "[{\"n\":1},{\"n\":2},{\"n\":13},{\"n\":4}]";

/* A job of a random kind. */
static void make_job(struct storm *storm, struct pool_probe *probe)
{
    static const enum fake_task kinds[] = { FAKE_ECHO,    FAKE_ECHO, FAKE_NAP,    FAKE_FLAKY,
                                            FAKE_FRAGILE, FAKE_BLOB, FAKE_LENGTH, FAKE_TRAP };
    enum fake_task kind = kinds[pick(storm, ARRAY_LEN(kinds))];
    pool_probe_init(probe, kind, kind == FAKE_BLOB ? pick(storm, 100000) : pick(storm, 1000) + 20);
    struct job *job = &probe->job;
    if (kind == FAKE_LENGTH) {
        job->args_len = 0;
        job->payload = storm->payload;
        job->payload_len = pick(storm, PAYLOAD_BYTES);
        job->has_payload = true;
    }
    if (kind == FAKE_TRAP) {
        job->args = chunk;
        job->args_len = sizeof chunk - 1;
        job->items = 4;
    }
    if (kind == FAKE_FLAKY)
        atomic_store(&stage->crashes_left, pick(storm, 3));
    if (pick(storm, 10) == 0)
        job->deadline_ns = clock_now_ns() + pick(storm, 2000000);
}

static bool is_right(const struct pool_probe *probe)
{
    const struct job *job = &probe->job;
    char expected[40];
    if (probe->ends != 1 || job->attempts > 2)
        return false;
    if (job->status == ST_CANCELLED || (job->status == ST_DEADLINE_EXCEEDED && job->deadline_ns != CLOCK_NEVER))
        return true;
    if (job->task == FAKE_TRAP) /* always in its third item, unless it was killed before */
        return job->status == ST_WORKER_CRASHED && job->items_done <= 2 &&
               (job->items_done == 0) == (job->result == NULL);
    if (job->status == ST_WORKER_CRASHED)
        return job->signal != 0 && job->result == NULL;
    if (job->status != ST_OK)
        return false;
    if (job->task == FAKE_BLOB)
        return strspn(job->result + 1, "x") == job->result_len - 2;
    snprintf(expected, sizeof expected, "{\"n\":%s}", job->result);
    return job->task == FAKE_LENGTH ? strtoull(job->result, NULL, 10) == job->payload_len
                                    : strcmp(expected, probe->args) == 0;
}

static void judge(struct storm *storm, unsigned i)
{
    struct pool_probe *probe = &storm->probes[i];
    if (!is_right(probe)) {
        storm->wrong++;
        snprintf(storm->wrong_text, sizeof storm->wrong_text,
                 "task %u %s: %u ends, status %s, %u attempts, result %.40s", probe->job.task, probe->args, probe->ends,
                 status_code(probe->job.status), probe->job.attempts, probe->job.result ? probe->job.result : "-");
    }
    storm->ended++;
    storm->is_pending[i] = false;
    job_clear(&probe->job);
}

static void submit_or_cancel(struct storm *storm)
{
    unsigned i = pick(storm, JOBS);
    struct pool_probe *probe = &storm->probes[i];
    if (storm->is_pending[i]) {
        if (probe->ends == 0 && pick(storm, 4) == 0)
            process_pool_cancel(storm->rig.pool, &probe->job, ST_CANCELLED);
        return;
    }
    make_job(storm, probe);
    storm->is_pending[i] = process_pool_submit(storm->rig.pool, &probe->job) == ST_OK;
    storm->refused += storm->is_pending[i] ? 0 : 1;
}

/* What is in the mailboxes is nobody's now; the next front end must find its way. */
static void replace_front_end(struct storm *storm)
{
    struct process_pool_stats stats;
    process_pool_get_stats(storm->rig.pool, &stats);
    storm->submitted_before += stats.submitted;
    storm->recycled_before += stats.recycled;
    pool_rig_free_pool(&storm->rig);
    for (unsigned i = 0; i < JOBS; i++) {
        storm->ended += storm->is_pending[i] ? 1 : 0;
        storm->is_pending[i] = false;
        job_clear(&storm->probes[i].job);
    }
    assert_true(pool_rig_create_pool(&storm->rig));
}

static void do_something(struct storm *storm)
{
    const struct rig_worker *victim = &storm->rig.members[pick(storm, SEATS)];
    uint32_t dice = pick(storm, 1000);
    if (dice < 600)
        submit_or_cancel(storm);
    else if (dice < 983)
        pool_rig_turn(&storm->rig, dice % 2);
    else if (dice < 985)
        storm->rig.is_deaf = dice % 2 == 0;
    else if (dice < 993 && victim->pid > 0)
        kill(victim->pid, SIGKILL);
    else if (dice < 998 && victim->pid > 0)
        kill(victim->pid, dice % 2 == 0 ? SIGSTOP : SIGCONT);
    else if (dice == 999)
        replace_front_end(storm);
}

static void judge_ended(struct storm *storm)
{
    for (unsigned i = 0; i < JOBS; i++)
        if (storm->is_pending[i] && storm->probes[i].ends > 0)
            judge(storm, i);
}

static bool is_over(void *context)
{
    struct storm *storm = context;
    judge_ended(storm);
    for (unsigned i = 0; i < JOBS; i++)
        if (storm->is_pending[i])
            return false;
    return pool_rig_is_empty(&storm->rig);
}

/* The weather clears: who was stopped goes on, and what is left is cancelled as deadlines would. */
static void calm_down(struct storm *storm)
{
    for (unsigned i = 0; i < SEATS; i++)
        if (storm->rig.members[i].pid > 0)
            kill(storm->rig.members[i].pid, SIGCONT);
    for (unsigned i = 0; i < JOBS; i += 2)
        if (storm->is_pending[i] && storm->probes[i].ends == 0)
            process_pool_cancel(storm->rig.pool, &storm->probes[i].job, ST_CANCELLED);
    storm->rig.is_deaf = false;
    assert_true(pool_rig_wait(&storm->rig, is_over, storm, scaled_ms(WAIT_MS)));
    assert_true(pool_rig_wait_ready(&storm->rig, scaled_ms(WAIT_MS)));
}

static void pool__random_history__each_job_ends_once_and_nothing_is_left(void **state)
{
    struct storm *storm = *state;
    const char *given = getenv("STORM_SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : clock_now_ns() | 1;
    print_message("             STORM_SEED=%llu\n", (unsigned long long)seed);
    storm->random = seed;
    uint64_t end_ns = clock_now_ns() + STORM_MS * NS_PER_MS, actions = 0;
    for (; clock_now_ns() < end_ns && storm->wrong == 0; actions++) {
        do_something(storm);
        judge_ended(storm);
    }
    calm_down(storm);
    if (storm->wrong > 0)
        fail_msg("%s", storm->wrong_text);
    struct process_pool_stats stats;
    process_pool_get_stats(storm->rig.pool, &stats);
    print_message("             %llu actions, %llu jobs, %llu crashes, %llu kills, %llu recycled, %llu stolen\n",
                  (unsigned long long)actions, (unsigned long long)storm->ended, (unsigned long long)stats.crashes,
                  (unsigned long long)stats.kills, (unsigned long long)(storm->recycled_before + stats.recycled),
                  (unsigned long long)stats.stolen);
    uint64_t ended = 0;
    for (int i = 0; i < STATUS_COUNT; i++)
        ended += stats.ended_by_status[i];
    assert_true(stats.submitted == ended);
    assert_true(storm->submitted_before + stats.submitted == storm->ended);
    assert_int_equal(stats.held_bytes + stats.queued + stats.running, 0);
    assert_int_equal(pool_rig_spilled_blocks(&storm->rig), 0);
}

/* Two to three workers in four seats that are worn soon, come and go. */
static const struct worker_limits changing = {
    .workers = 2, .workers_max = 3, .idle_max_ns = 5 * NS_PER_MS, .jobs_max = 15, .age_max_ns = 200 * NS_PER_MS
};

static void pool__random_history_of_workers_too__the_same(void **state)
{
    pool__random_history__each_job_ends_once_and_nothing_is_left(state);
}

static int setup(void **state, const struct worker_limits *limits)
{
    struct storm *storm = calloc(1, sizeof *storm);
    *state = storm;
    if (storm == NULL || (storm->payload = malloc(PAYLOAD_BYTES)) == NULL || !stage_open() ||
        !pool_rig_open(&storm->rig, limits != NULL ? limits->workers_max + 1 : SEATS - 1))
        return -1;
    memset(storm->payload, 1, PAYLOAD_BYTES);
    storm->rig.config.queue_max = QUEUE_MAX;
    storm->rig.config.limits = limits;
    return pool_rig_create_pool(&storm->rig) && pool_rig_start(&storm->rig) ? 0 : -1;
}

static int setup_same(void **state) { return setup(state, NULL); }
static int setup_changing(void **state) { return setup(state, &changing); }

static int teardown(void **state)
{
    struct storm *storm = *state;
    for (unsigned i = 0; i < JOBS; i++)
        job_clear(&storm->probes[i].job);
    pool_rig_close(&storm->rig);
    stage_close();
    free(storm->payload);
    free(storm);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(pool__random_history__each_job_ends_once_and_nothing_is_left, setup_same,
                                        teardown),
        cmocka_unit_test_setup_teardown(pool__random_history_of_workers_too__the_same, setup_changing, teardown),
    };
    return cmocka_run_group_tests_name("pool_storm", tests, NULL, NULL);
}
