/* process_pool: a job in each of its states, the bounds of the queue, who gets which job, and the figures. What is
 * copied in and out is in test_process_pool_bytes.c. The workers are real and well; tests/faults/test_worker_faults.c
 * has those that are not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/support/pool_case.h"

static int setup_one(void **state) { return open_case(state, 1); }
static int setup_two(void **state) { return open_case(state, 2); }

/* ---- submit and collect */

static void submit__idle_worker__runs_it(void **state)
{
    struct ctx *ctx = *state;
    start(ctx);
    assert_int_equal(submit(ctx, 0, FAKE_NAP, 2000), ST_OK);
    assert_int_equal(ctx->probes[0].ends, 0); /* never from within submit() */
    await(ctx, 0, 1);
    assert_ended(ctx, 0, ST_OK, "2000");
    const struct job *job = &ctx->probes[0].job;
    assert_int_equal(job->attempts, 1);
    assert_int_equal(job->state, JOB_ENDED);
    assert_true(job->usage.queue_ns > 0 && job->usage.queue_ns < scaled_ms(WAIT_MS) * NS_PER_MS);
    assert_true(job->usage.wall_ns >= 2 * NS_PER_MS && job->usage.wall_ns < scaled_ms(WAIT_MS) * NS_PER_MS);
    assert_true(job->usage.max_rss_kib > 0);
    assert_idle(ctx);
}

static void submit__no_worker_yet__waits_for_one(void **state)
{
    struct ctx *ctx = *state;
    assert_true(pool_rig_create_pool(&ctx->rig));
    submit_some(ctx, 0, 3, FAKE_ECHO);
    assert_int_equal(stats_of(ctx).queued, 3);
    assert_int_equal(stats_of(ctx).workers_ready, 0);
    assert_true(pool_rig_start(&ctx->rig));
    await(ctx, 0, 3);
    assert_ended(ctx, 2, ST_OK, "2");
    assert_idle(ctx);
}

static void submit__queue_full__refused_and_still_the_callers(void **state)
{
    struct ctx *ctx = *state;
    ctx->rig.config.queue_max = 3;
    start(ctx);
    occupy(ctx, 0);
    submit_some(ctx, 1, 3, FAKE_ECHO);
    assert_int_equal(submit(ctx, 4, FAKE_ECHO, 4), ST_QUEUE_FULL);
    open_gate(0);
    await(ctx, 0, 4);
    assert_int_equal(ctx->probes[4].ends, 0);
    assert_int_equal(process_pool_submit(ctx->rig.pool, &ctx->probes[4].job), ST_OK);
    await(ctx, 4, 1);
    assert_int_equal(stats_of(ctx).refused, 1);
    assert_int_equal(stats_of(ctx).submitted, 5);
    assert_idle(ctx);
}

static void submit__queue_full__admits_further_chunks_and_does_not_count_them(void **state)
{
    struct ctx *ctx = *state;
    ctx->rig.config.queue_max = 2;
    start(ctx);
    occupy(ctx, 0);
    for (unsigned i = 1; i <= 5; i++) {
        pool_probe_init(&ctx->probes[i], FAKE_ECHO, i);
        ctx->probes[i].job.is_admitted = true;
        assert_int_equal(process_pool_submit(ctx->rig.pool, &ctx->probes[i].job), ST_OK);
    }
    submit_some(ctx, 6, 2, FAKE_ECHO);
    assert_int_equal(submit(ctx, 8, FAKE_ECHO, 8), ST_QUEUE_FULL);
    open_gate(0);
    await(ctx, 0, 8);
    assert_idle(ctx);
}

static void submit__too_many_bytes_held__refused_until_some_end(void **state)
{
    struct ctx *ctx = *state;
    ctx->rig.config.queue_max_bytes = 20;
    start(ctx);
    occupy(ctx, 0); /* {"n":0}: 7 bytes */
    assert_int_equal(submit(ctx, 1, FAKE_ECHO, 1), ST_OK);
    assert_int_equal(stats_of(ctx).held_bytes, 14);
    assert_int_equal(submit(ctx, 2, FAKE_ECHO, 2), ST_QUEUE_FULL);
    open_gate(0);
    await(ctx, 0, 2);
    /* more than the bound, but alone: else it could never run */
    assert_int_equal(submit(ctx, 2, FAKE_ECHO, UINT64_C(1000000000000)), ST_OK);
    await(ctx, 2, 1);
    assert_ended(ctx, 2, ST_OK, "1000000000000");
    assert_idle(ctx);
}

static void collect__done__makes_the_news_old(void **state)
{
    struct ctx *ctx = *state;
    start(ctx);
    occupy(ctx, 0);
    process_pool_collect(ctx->rig.pool, 0); /* the worker's being ready was news, too */
    assert_false(process_pool_has_news(ctx->rig.pool, 0));
    open_gate(0);
    uint64_t end_ns = clock_now_ns() + scaled_ms(WAIT_MS) * NS_PER_MS;
    while (!process_pool_has_news(ctx->rig.pool, 0))
        assert_true(clock_now_ns() < end_ns);
    assert_int_equal(ctx->probes[0].ends, 0);
    process_pool_collect(ctx->rig.pool, 0);
    assert_ended(ctx, 0, ST_OK, "0");
    assert_false(process_pool_has_news(ctx->rig.pool, 0));
}

static bool is_asleep(void *mailbox) { return atomic_load(&((struct mailbox *)mailbox)->is_sleeping) == 1; }

/* Tiny ones, once that is known: the worker is woken for a few of them, or at the end of the turn. */
static void submit__tiny_jobs__one_wake_up_for_several(void **state)
{
    struct ctx *ctx = *state;
    struct mailbox *mailbox = ctx->rig.mailboxes[0];
    start(ctx);
    for (unsigned i = 0; i < 20 || (process_pool_get_run_ns(ctx->rig.pool, FAKE_ECHO) >= 10000 && i < 1000); i++) {
        job_clear(&ctx->probes[0].job);
        submit_some(ctx, 0, 1, FAKE_ECHO);
        await(ctx, 0, 1);
    }
    if (process_pool_get_run_ns(ctx->rig.pool, FAKE_ECHO) >= 10000)
        skip(); /* under a sanitizer they are not tiny */
    assert_true(wait_until(is_asleep, mailbox, scaled_ms(WAIT_MS)));
    submit_some(ctx, 20, 7, FAKE_ECHO);
    assert_true(is_asleep(mailbox));
    process_pool_end_turn(ctx->rig.pool);
    assert_false(is_asleep(mailbox) && mailbox_peek(mailbox, 0).state == SLOT_READY);
    await(ctx, 20, 7);
    assert_true(wait_until(is_asleep, mailbox, scaled_ms(WAIT_MS)));
    submit_some(ctx, 27, 8, FAKE_ECHO); /* enough of them to begin */
    assert_true(pool_rig_wait_ended(&ctx->rig, ctx->probes + 27, 8, scaled_ms(WAIT_MS)));
    assert_idle(ctx);
}

struct eager {
    struct pool_probe probe;
    struct process_pool *pool;
    enum status second;
};

static void submit_again(struct job *job)
{
    struct eager *eager = job->user;
    if (eager->probe.ends++ == 0) {
        job_clear(job);
        eager->second = process_pool_submit(eager->pool, job);
    }
}

/* A map hands out its next chunk from on_done: no lock may be held. */
static void collect__on_done_submits_again__works(void **state)
{
    struct ctx *ctx = *state;
    struct eager eager;
    start(ctx);
    pool_probe_init(&eager.probe, FAKE_ECHO, 5);
    eager.pool = ctx->rig.pool;
    eager.probe.job.user = &eager;
    eager.probe.job.on_done = submit_again;
    assert_int_equal(process_pool_submit(ctx->rig.pool, &eager.probe.job), ST_OK);
    for (uint64_t end_ns = clock_now_ns() + scaled_ms(WAIT_MS) * NS_PER_MS; eager.probe.ends < 2;) {
        assert_true(clock_now_ns() < end_ns);
        pool_rig_turn(&ctx->rig, 2);
    }
    assert_int_equal(eager.second, ST_OK);
    assert_string_equal(eager.probe.job.result, "5");
    job_clear(&eager.probe.job);
    assert_idle(ctx);
}

/* ---- cancel */

static void cancel__queued__ends_with_the_reason(void **state)
{
    struct ctx *ctx = *state;
    assert_true(pool_rig_create_pool(&ctx->rig));
    submit_some(ctx, 0, 3, FAKE_ECHO);
    cancel(ctx, 1, ST_DEADLINE_EXCEEDED);
    assert_int_equal(ctx->probes[1].ends, 0); /* never from within cancel() */
    assert_true(process_pool_has_news(ctx->rig.pool, 0));
    process_pool_collect(ctx->rig.pool, 0);
    assert_ended(ctx, 1, ST_DEADLINE_EXCEEDED, NULL);
    assert_int_equal(ctx->probes[1].job.attempts, 0);
    assert_true(pool_rig_start(&ctx->rig));
    await(ctx, 0, 3);
    assert_idle(ctx);
}

static void cancel__ready__is_taken_back_and_never_runs(void **state)
{
    struct ctx *ctx = *state;
    start(ctx);
    occupy(ctx, 0);
    assert_int_equal(submit(ctx, 1, FAKE_GATE, 1), ST_OK);
    assert_int_equal(ctx->probes[1].job.state, JOB_POSTED);
    cancel(ctx, 1, ST_CANCELLED);
    await(ctx, 1, 1);
    assert_ended(ctx, 1, ST_CANCELLED, NULL);
    open_gate(0);
    await(ctx, 0, 1);
    assert_ended(ctx, 0, ST_OK, "0");
    assert_int_equal(atomic_load(&stage->entered[1]), 0);
    assert_int_equal(stats_of(ctx).kills, 0);
    assert_idle(ctx);
}

static void cancel__running__kills_the_worker_and_spares_the_others(void **state)
{
    struct ctx *ctx = *state;
    start(ctx);
    pid_t victim = ctx->rig.members[0].pid;
    occupy(ctx, 0);
    submit_some(ctx, 1, 10, FAKE_ECHO);
    cancel(ctx, 0, ST_DEADLINE_EXCEEDED);
    process_pool_collect(ctx->rig.pool, 0);
    assert_ended(ctx, 0, ST_DEADLINE_EXCEEDED, NULL); /* without waiting for the death */
    assert_int_equal(ctx->probes[0].job.attempts, 1);
    assert_true(ctx->probes[0].job.usage.wall_ns > 0);
    await(ctx, 1, 10);
    for (unsigned i = 1; i <= 10; i++)
        assert_ended(ctx, i, ST_OK, NULL);
    assert_true(ctx->rig.members[0].pid != victim);
    assert_int_equal(stats_of(ctx).kills, 1);
    assert_int_equal(stats_of(ctx).crashes, 0);
    assert_int_equal(ctx->probes[0].ends, 1);
    assert_idle(ctx);
}

static bool is_done_in_slot(void *context)
{
    return mailbox_peek(((struct ctx *)context)->rig.mailboxes[0], 0).state == SLOT_DONE;
}

static void cancel__done__the_result_counts(void **state)
{
    struct ctx *ctx = *state;
    start(ctx);
    occupy(ctx, 0);
    open_gate(0);
    assert_true(wait_until(is_done_in_slot, ctx, scaled_ms(WAIT_MS)));
    cancel(ctx, 0, ST_CANCELLED);
    process_pool_collect(ctx->rig.pool, 0);
    assert_ended(ctx, 0, ST_OK, "0");
    assert_int_equal(stats_of(ctx).kills, 0);
    assert_idle(ctx);
}

static void cancel__ended_already__does_nothing(void **state)
{
    struct ctx *ctx = *state;
    start(ctx);
    assert_int_equal(submit(ctx, 0, FAKE_ECHO, 1), ST_OK);
    await(ctx, 0, 1);
    cancel(ctx, 0, ST_CANCELLED);
    cancel(ctx, 0, ST_CANCELLED);
    process_pool_collect(ctx->rig.pool, 0);
    assert_ended(ctx, 0, ST_OK, "1");
    assert_idle(ctx);
}

static void deadline__passed_in_the_mailbox__is_not_started(void **state)
{
    struct ctx *ctx = *state;
    start(ctx);
    occupy(ctx, 0);
    pool_probe_init(&ctx->probes[1], FAKE_GATE, 1);
    ctx->probes[1].job.deadline_ns = clock_now_ns();
    assert_int_equal(process_pool_submit(ctx->rig.pool, &ctx->probes[1].job), ST_OK);
    open_gate(0);
    await(ctx, 0, 2);
    assert_ended(ctx, 1, ST_DEADLINE_EXCEEDED, NULL);
    assert_int_equal(ctx->probes[1].job.attempts, 0);
    assert_int_equal(atomic_load(&stage->entered[1]), 0);
    assert_idle(ctx);
}

/* ---- turns */

static struct job *submit_urgent(struct ctx *ctx, unsigned index, enum task_priority priority, uint64_t deadline_ns,
                                 enum status expected)
{
    pool_probe_init(&ctx->probes[index], FAKE_NAP, 1000);
    struct job *job = &ctx->probes[index].job;
    job->priority = priority;
    job->deadline_ns = deadline_ns;
    assert_int_equal(process_pool_submit(ctx->rig.pool, job), expected);
    return job;
}

/* What a nap takes is known afterwards: 20 ms. */
static void learn_naps(struct ctx *ctx)
{
    assert_int_equal(submit(ctx, 0, FAKE_NAP, 20000), ST_OK);
    await(ctx, 0, 1);
    job_clear(&ctx->probes[0].job);
}

static void deadline__before_its_turn__refused_at_once(void **state)
{
    struct ctx *ctx = *state;
    start(ctx);
    learn_naps(ctx);
    uint64_t soon_ns = clock_now_ns() + 150 * NS_PER_MS, late_ns = clock_now_ns() + 60 * NS_PER_SEC;
    occupy(ctx, 0);
    for (unsigned i = 1; i <= 20; i++)
        submit_urgent(ctx, i, PRIORITY_NORMAL, late_ns, ST_OK);
    const struct job *refused = submit_urgent(ctx, 21, PRIORITY_NORMAL, soon_ns, ST_OVERLOADED);
    assert_true(refused->usage.queue_ns >= 300 * NS_PER_MS);
    assert_int_equal(stats_of(ctx).refused, 1);
    submit_urgent(ctx, 22, PRIORITY_HIGH, clock_now_ns() + 60 * NS_PER_SEC, ST_OK);
    submit_urgent(ctx, 23, PRIORITY_NORMAL, late_ns, ST_OK);
    open_gate(0);
    await(ctx, 0, 21);
    await(ctx, 22, 2);
    assert_int_equal(ctx->probes[21].ends, 0);
    assert_idle(ctx);
}

static void priority__high__before_those_that_wait(void **state)
{
    struct ctx *ctx = *state;
    start(ctx);
    learn_naps(ctx);
    occupy(ctx, 0);
    for (unsigned i = 1; i <= 20; i++)
        submit_urgent(ctx, i, PRIORITY_NORMAL, CLOCK_NEVER, ST_OK);
    const struct job *high = submit_urgent(ctx, 21, PRIORITY_HIGH, CLOCK_NEVER, ST_OK);
    open_gate(0);
    await(ctx, 1, 21);
    unsigned earlier = 0;
    for (unsigned i = 1; i <= 20; i++)
        earlier += ctx->probes[i].job.usage.queue_ns < high->usage.queue_ns;
    assert_in_range(earlier, 0, 1); /* one may have been given to the worker before it came */
    assert_idle(ctx);
}

/* ---- stealing */

static void dispatch__short_jobs_behind_a_long_one__run_where_it_is_idle(void **state)
{
    struct ctx *ctx = *state;
    start(ctx);
    occupy(ctx, 0);
    occupy(ctx, 1);
    submit_some(ctx, 2, 20, FAKE_ECHO);
    assert_int_equal(stats_of(ctx).running, 2);
    assert_int_equal(stats_of(ctx).queued, 20);
    open_gate(1);
    await(ctx, 1, 21); /* although job 0 never ends */
    assert_int_equal(ctx->probes[0].ends, 0);
    assert_true(stats_of(ctx).stolen > 0);
    open_gate(0);
    await(ctx, 0, 1);
    assert_idle(ctx);
}

static bool have_early_ones_ended(const struct ctx *ctx)
{
    for (unsigned i = 2; i < 18; i++)
        if (ctx->probes[i].ends == 0)
            return false;
    return true;
}

/* The other worker is never idle, so nothing is stolen: yet they must not wait for the long job to end. */
static void dispatch__jobs_behind_a_long_one__run_before_later_ones(void **state)
{
    struct ctx *ctx = *state;
    start(ctx);
    occupy(ctx, 0);
    occupy(ctx, 1);
    submit_some(ctx, 2, 16, FAKE_ECHO);
    open_gate(1);
    submit_some(ctx, 18, 4, FAKE_NAP);
    uint64_t end_ns = clock_now_ns() + scaled_ms(WAIT_MS) * NS_PER_MS;
    while (!have_early_ones_ended(ctx)) {
        assert_true(clock_now_ns() < end_ns);
        pool_rig_turn(&ctx->rig, 2);
        for (unsigned i = 18; i < 22; i++) {
            if (ctx->probes[i].ends == 0)
                continue;
            job_clear(&ctx->probes[i].job);
            assert_int_equal(submit(ctx, i, FAKE_NAP, 500), ST_OK);
        }
    }
    assert_int_equal(ctx->probes[0].ends, 0);
    for (unsigned i = 2; i < 18; i++)
        assert_ended(ctx, i, ST_OK, NULL);
    open_gate(0);
    await(ctx, 0, 22);
    assert_idle(ctx);
}

static void dispatch__idle_worker__is_preferred(void **state)
{
    struct ctx *ctx = *state;
    start(ctx);
    occupy(ctx, 0);
    assert_int_equal(submit(ctx, 1, FAKE_ECHO, 1), ST_OK);
    assert_int_not_equal(ctx->probes[1].job.worker, ctx->probes[0].job.worker);
    await(ctx, 1, 1);
    open_gate(0);
    await(ctx, 0, 1);
}

/* ---- figures */

static void get_workers__one_busy_one_idle__says_so(void **state)
{
    struct ctx *ctx = *state;
    struct worker_info info[3];
    assert_true(pool_rig_create_pool(&ctx->rig));
    assert_int_equal(process_pool_get_workers(ctx->rig.pool, info, 2), 2);
    assert_string_equal(worker_state_name(info[0].state), "dead");
    assert_true(pool_rig_start(&ctx->rig));
    occupy(ctx, 0);
    assert_int_equal(process_pool_get_workers(ctx->rig.pool, info, 2), 2);
    assert_string_equal(worker_state_name(info[0].state), "busy");
    assert_string_equal(worker_state_name(info[1].state), "idle");
    assert_int_equal(info[0].task, FAKE_GATE);
    assert_int_equal(info[1].task, -1);
    assert_int_equal(info[0].pid, ctx->rig.members[0].pid);
    assert_int_equal(info[0].jobs_posted, 1);
    assert_int_equal(info[0].generation, 1);
    assert_true(info[0].running_ns > 0 && info[1].running_ns == 0);
    open_gate(0);
    await(ctx, 0, 1);
    assert_int_equal(process_pool_get_workers(ctx->rig.pool, info, 1), 2);
    assert_int_equal(info[0].jobs_done, 1);
}

static void get_stats__all_kinds_of_ends__add_up(void **state)
{
    struct ctx *ctx = *state;
    start(ctx);
    occupy(ctx, 0);
    submit_some(ctx, 1, 4, FAKE_ECHO);
    cancel(ctx, 2, ST_CANCELLED);
    cancel(ctx, 0, ST_DEADLINE_EXCEEDED);
    await(ctx, 0, 5);
    struct process_pool_stats stats = stats_of(ctx);
    assert_int_equal(stats.submitted, 5);
    assert_int_equal(stats.completed, 3);
    assert_int_equal(stats.ended_by_status[ST_OK], 3);
    assert_int_equal(stats.ended_by_status[ST_CANCELLED], 1);
    assert_int_equal(stats.ended_by_status[ST_DEADLINE_EXCEEDED], 1);
    assert_idle(ctx);
}

static void get_run_ns__jobs_and_chunks__per_task_and_item(void **state)
{
    struct ctx *ctx = *state;
    start(ctx);
    assert_int_equal(process_pool_get_run_ns(ctx->rig.pool, FAKE_NAP), 0);
    pool_probe_init(&ctx->probes[0], FAKE_NAP, 0);
    ctx->probes[0].job.args = "[{\"n\":2000},{\"n\":2000},{\"n\":2000},{\"n\":2000}]";
    ctx->probes[0].job.args_len = strlen(ctx->probes[0].job.args);
    ctx->probes[0].job.items = 4;
    assert_int_equal(process_pool_submit(ctx->rig.pool, &ctx->probes[0].job), ST_OK);
    await(ctx, 0, 1);
    uint64_t first_ns = process_pool_get_run_ns(ctx->rig.pool, FAKE_NAP);
    assert_int_equal(first_ns, ctx->probes[0].job.usage.wall_ns / 4);
    assert_true(first_ns >= 2 * NS_PER_MS);
    submit_some(ctx, 1, 1, FAKE_FAIL);
    await(ctx, 1, 1);
    assert_int_equal(process_pool_get_run_ns(ctx->rig.pool, FAKE_FAIL), 0); /* says nothing of what it takes */
    assert_int_equal(submit(ctx, 2, FAKE_NAP, 40000), ST_OK);
    await(ctx, 2, 1);
    uint64_t second_ns = ctx->probes[2].job.usage.wall_ns;
    assert_int_equal(process_pool_get_run_ns(ctx->rig.pool, FAKE_NAP), (first_ns * 7 + second_ns) / 8);
    assert_int_equal(process_pool_get_run_ns(ctx->rig.pool, FAKE_ECHO), 0);
    assert_idle(ctx);
}

static void free__null__does_nothing(void **state)
{
    (void)state;
    process_pool_free(NULL);
}

int main(void)
{
#define TEST(name, workers) cmocka_unit_test_setup_teardown(name, setup_##workers, close_case)
    const struct CMUnitTest tests[] = {
        TEST(submit__idle_worker__runs_it, two),
        TEST(submit__no_worker_yet__waits_for_one, two),
        TEST(submit__queue_full__refused_and_still_the_callers, one),
        TEST(submit__queue_full__admits_further_chunks_and_does_not_count_them, one),
        TEST(submit__too_many_bytes_held__refused_until_some_end, one),
        TEST(submit__tiny_jobs__one_wake_up_for_several, one),
        TEST(collect__done__makes_the_news_old, one),
        TEST(collect__on_done_submits_again__works, one),
        TEST(cancel__queued__ends_with_the_reason, one),
        TEST(cancel__ready__is_taken_back_and_never_runs, one),
        TEST(cancel__running__kills_the_worker_and_spares_the_others, one),
        TEST(cancel__done__the_result_counts, one),
        TEST(cancel__ended_already__does_nothing, one),
        TEST(deadline__passed_in_the_mailbox__is_not_started, one),
        TEST(deadline__before_its_turn__refused_at_once, one),
        TEST(priority__high__before_those_that_wait, one),
        TEST(dispatch__short_jobs_behind_a_long_one__run_where_it_is_idle, two),
        TEST(dispatch__jobs_behind_a_long_one__run_before_later_ones, two),
        TEST(dispatch__idle_worker__is_preferred, two),
        TEST(get_workers__one_busy_one_idle__says_so, two),
        TEST(get_stats__all_kinds_of_ends__add_up, one),
        TEST(get_run_ns__jobs_and_chunks__per_task_and_item, one),
        cmocka_unit_test(free__null__does_nothing),
    };
    return cmocka_run_group_tests_name("process_pool", tests, NULL, NULL);
}
