/* Workers that crash, stop and lie: the job gets its one typed end, the others theirs, and the pool is whole again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/support/pool_case.h"

static int setup(void **state, unsigned workers)
{
    if (open_case(state, workers) != 0)
        return -1;
    struct pool_rig *rig = &((struct ctx *)*state)->rig;
    rig->config.quarantine_ns = 60 * NS_PER_SEC;
    return pool_rig_create_pool(rig) && pool_rig_start(rig) ? 0 : -1;
}

static int setup_one(void **state) { return setup(state, 1); }
static int setup_two(void **state) { return setup(state, 2); }

/* All workers are back, and each takes a job. */
static void assert_whole(struct ctx *ctx)
{
    assert_true(pool_rig_wait_ready(&ctx->rig, scaled_ms(WAIT_MS)));
    unsigned first = PROBES - ctx->rig.workers;
    for (unsigned i = first; i < PROBES; i++)
        assert_int_equal(submit(ctx, i, FAKE_NAP, 1000), ST_OK);
    await(ctx, first, ctx->rig.workers);
    for (unsigned i = first; i < PROBES; i++)
        assert_ended(ctx, i, ST_OK, NULL);
    assert_idle(ctx);
}

/* ---- crashes */

static void crash__once__job_runs_again(void **state)
{
    struct ctx *ctx = *state;
    atomic_store(&stage->crashes_left, 1);
    assert_int_equal(submit(ctx, 0, FAKE_FLAKY, 7), ST_OK);
    await(ctx, 0, 1);
    const struct job *job = assert_ended(ctx, 0, ST_OK, NULL);
    assert_string_equal(job->result, "7");
    assert_int_equal(job->attempts, 2);
    assert_int_equal(stats_of(ctx).requeued, 1);
    assert_int_equal(stats_of(ctx).crashes, 1);
    assert_whole(ctx);
}

static void crash__twice__is_the_jobs_fault(void **state)
{
    struct ctx *ctx = *state;
    atomic_store(&stage->crashes_left, 5);
    assert_int_equal(submit(ctx, 0, FAKE_FLAKY, 7), ST_OK);
    await(ctx, 0, 1);
    atomic_store(&stage->crashes_left, 0);
    const struct job *job = assert_ended(ctx, 0, ST_WORKER_CRASHED, NULL);
    assert_int_equal(job->attempts, 2);
    assert_int_equal(job->signal, SIGABRT);
    assert_null(job->result);
    assert_true(job->usage.queue_ns > 0 && job->usage.wall_ns > 0);
    assert_int_equal(stats_of(ctx).crashes, 2);
    assert_whole(ctx);
}

/* The same job again would only end more workers; another is not refused. */
static void crash__of_the_same_job_again__refused_unrun(void **state)
{
    struct ctx *ctx = *state;
    assert_int_equal(submit(ctx, 0, FAKE_TRAP, TRAP_N), ST_OK);
    await(ctx, 0, 1);
    assert_ended(ctx, 0, ST_WORKER_CRASHED, NULL);
    assert_int_equal(stats_of(ctx).crashes, 2);
    assert_int_equal(submit(ctx, 1, FAKE_TRAP, TRAP_N), ST_QUARANTINED);
    assert_int_equal(submit(ctx, 2, FAKE_TRAP, TRAP_N + 1), ST_OK);
    await(ctx, 2, 1);
    assert_ended(ctx, 2, ST_OK, "14");
    assert_int_equal(stats_of(ctx).crashes, 2);
    assert_whole(ctx);
}

static void crash__task_not_idempotent__is_not_repeated(void **state)
{
    struct ctx *ctx = *state;
    atomic_store(&stage->crashes_left, 1);
    assert_int_equal(submit(ctx, 0, FAKE_FRAGILE, 7), ST_OK);
    await(ctx, 0, 1);
    assert_int_equal(assert_ended(ctx, 0, ST_WORKER_CRASHED, NULL)->attempts, 1);
    assert_whole(ctx);
}

static void crash__jobs_behind__run_in_the_successor(void **state)
{
    struct ctx *ctx = *state;
    assert_int_equal(submit(ctx, 0, FAKE_GATE, 0), ST_OK);
    wait_entered(ctx, 0);
    for (unsigned i = 1; i < 12; i++)
        assert_int_equal(submit(ctx, i, FAKE_ECHO, i), ST_OK);
    kill(ctx->rig.members[0].pid, SIGKILL);
    open_gate(0);
    await(ctx, 0, 12);
    for (unsigned i = 0; i < 12; i++)
        assert_int_equal(assert_ended(ctx, i, ST_OK, NULL)->attempts, i == 0 ? 2 : 1);
    assert_int_equal(ctx->rig.members[0].generation, 2);
    assert_whole(ctx);
}

static void crash__in_a_chunk__keeps_the_finished_items(void **state)
{
    struct ctx *ctx = *state;
    submit_chunk(ctx, 0, FAKE_TRAP, "[{\"n\":1},{\"n\":2},{\"n\":13},{\"n\":4}]", 4);
    await(ctx, 0, 1);
    const struct job *job = assert_ended(ctx, 0, ST_WORKER_CRASHED, NULL);
    assert_int_equal(job->items_done, 2);
    assert_string_equal(job->result, "{\"result\":1},{\"result\":2}");
    assert_int_equal(job->signal, SIGABRT);
    assert_whole(ctx);
}

static void cancel__in_a_chunk__keeps_the_finished_items(void **state)
{
    struct ctx *ctx = *state;
    open_gate(0);
    submit_chunk(ctx, 0, FAKE_GATE, "[{\"n\":0},{\"n\":1},{\"n\":2}]", 3);
    wait_entered(ctx, 1);
    cancel(ctx, 0, ST_DEADLINE_EXCEEDED);
    await(ctx, 0, 1);
    const struct job *job = assert_ended(ctx, 0, ST_DEADLINE_EXCEEDED, NULL);
    assert_int_equal(job->items_done, 1);
    assert_string_equal(job->result, "{\"result\":0}");
    assert_whole(ctx);
}

static void crash__with_spilled_result__its_memory_comes_back(void **state)
{
    struct ctx *ctx = *state;
    submit_chunk(ctx, 0, FAKE_BLOB, "[{\"n\":200000},{\"n\":200000},{\"n\":\"x\"}]", 3);
    await(ctx, 0, 1);
    assert_ended(ctx, 0, ST_OK, NULL);
    char *filler = malloc(100000);
    assert_non_null(filler);
    memset(filler, ' ', 100000);
    pool_probe_init(&ctx->probes[1], FAKE_FRAGILE, 3);
    memcpy(filler, ctx->probes[1].args, ctx->probes[1].job.args_len);
    ctx->probes[1].job.args = filler;
    ctx->probes[1].job.args_len = 100000;
    atomic_store(&stage->crashes_left, 1);
    assert_int_equal(process_pool_submit(ctx->rig.pool, &ctx->probes[1].job), ST_OK);
    await(ctx, 1, 1);
    assert_ended(ctx, 1, ST_WORKER_CRASHED, NULL);
    free(filler);
    assert_whole(ctx);
}

static void crash__all_workers_at_once__all_come_back(void **state)
{
    struct ctx *ctx = *state;
    for (unsigned i = 0; i < 30; i++)
        assert_int_equal(submit(ctx, i, FAKE_NAP, 500), ST_OK);
    for (unsigned i = 0; i < ctx->rig.workers; i++)
        kill(ctx->rig.members[i].pid, SIGKILL);
    await(ctx, 0, 30);
    for (unsigned i = 0; i < 30; i++)
        assert_ended(ctx, i, ST_OK, NULL);
    assert_whole(ctx);
}

/* ---- stops */

static bool is_replaced(void *context) { return ((const struct ctx *)context)->rig.members[0].generation > 1; }

static void stop__idle_worker__its_job_goes_to_another_and_it_is_replaced(void **state)
{
    struct ctx *ctx = *state;
    kill(ctx->rig.members[0].pid, SIGSTOP);
    uint64_t start_ns = clock_now_ns();
    assert_int_equal(submit(ctx, 0, FAKE_ECHO, 1), ST_OK);
    assert_int_equal(ctx->probes[0].job.worker, 0);
    await(ctx, 0, 1);
    assert_int_equal(assert_ended(ctx, 0, ST_OK, NULL)->attempts, 1);
    assert_true(elapsed_ms(start_ns) < scaled_ms(250)); /* 20 ms and the machine's noise */
    struct worker_info info;
    process_pool_get_workers(ctx->rig.pool, &info, 1);
    assert_string_equal(worker_state_name(info.state), "unresponsive");
    assert_true(pool_rig_wait(&ctx->rig, is_replaced, ctx, scaled_ms(WAIT_MS)));
    assert_true(elapsed_ms(start_ns) < scaled_ms(2500)); /* 1,020 ms */
    assert_whole(ctx);
}

static void stop__continued_in_time__worker_is_kept(void **state)
{
    struct ctx *ctx = *state;
    pid_t pid = ctx->rig.members[0].pid;
    kill(pid, SIGSTOP);
    assert_int_equal(submit(ctx, 0, FAKE_ECHO, 1), ST_OK);
    await(ctx, 0, 1);
    kill(pid, SIGCONT);
    assert_whole(ctx);
    assert_int_equal(ctx->rig.members[0].pid, pid);
}

static void stop__running__deadline_ends_the_job_and_the_worker(void **state)
{
    struct ctx *ctx = *state;
    assert_int_equal(submit(ctx, 0, FAKE_GATE, 0), ST_OK);
    wait_entered(ctx, 0);
    kill(ctx->rig.members[0].pid, SIGSTOP);
    assert_int_equal(submit(ctx, 1, FAKE_ECHO, 1), ST_OK);
    cancel(ctx, 0, ST_DEADLINE_EXCEEDED);
    await(ctx, 0, 2);
    assert_ended(ctx, 0, ST_DEADLINE_EXCEEDED, NULL);
    assert_ended(ctx, 1, ST_OK, NULL);
    assert_whole(ctx);
}

/* ---- lies */

enum lie {
    LIE_LENGTH,
    LIE_INLINE_LENGTH,
    LIE_SPILLED_LENGTH,
    LIE_STATUS,
    LIE_PROGRESS_ITEMS,
    LIE_PROGRESS_BYTES,
    LIE_TIMES,
    LIE_DETAIL,
    LIE_GENERATION,
    LIE_WORD_READY,
    LIE_WORD_FREE,
    LIE_WORD_GENERATION,
    LIE_WORD_SUCCESSOR,
    LIE_WORDS_STRAY,
    LIE_DONE_COUNT
};

static enum lie lie;

/* A decent answer, then the lie. */
static void tell_lie(struct mailbox *mailbox, unsigned index)
{
    struct slot *slot = &mailbox->slots[index];
    struct slot_result *result = &slot->result;
    uint64_t word = atomic_load(&mailbox->words[index]);
    result->is_started = 1;
    result->status = ST_OK;
    result->length = 4;
    memcpy(slot->result_bytes, "true", 4);
    switch (lie) {
    case LIE_LENGTH:
        result->length = UINT32_MAX;
        break;
    case LIE_INLINE_LENGTH:
        result->length = MAILBOX_INLINE_BYTES + 1;
        break;
    case LIE_SPILLED_LENGTH:
        result->is_spilled = 1;
        result->length = RIG_REGION_BYTES + 1;
        break;
    case LIE_STATUS:
        result->status = STATUS_COUNT;
        break;
    case LIE_PROGRESS_ITEMS:
        result->progress = UINT64_C(1000) << 32 | 4;
        break;
    case LIE_PROGRESS_BYTES:
        result->progress = UINT64_C(2) << 32 | UINT32_MAX;
        break;
    case LIE_TIMES:
        result->started_ns = 1;
        result->finished_ns = UINT64_C(1) << 63;
        break;
    case LIE_DETAIL:
        result->status = ST_TASK_FAILED;
        memset(result->detail, 0xff, sizeof result->detail);
        break;
    case LIE_GENERATION:
        atomic_store(&mailbox->generation, 12345);
        break;
    case LIE_WORD_READY:
        atomic_store(&mailbox->words[index], (uint64_t)SLOT_READY << 56 | 0xbad);
        break;
    case LIE_WORD_FREE:
        atomic_store(&mailbox->words[index], 0);
        break;
    case LIE_WORD_GENERATION:
        atomic_store(&mailbox->words[index], word ^ UINT64_C(0x800000) << 32);
        break;
    case LIE_WORD_SUCCESSOR: /* one that will not come for long */
        atomic_store(&mailbox->words[index], word + (UINT64_C(0x7ffff0) << 32));
        break;
    case LIE_WORDS_STRAY: /* nearly READY, in all slots: nobody may claim them, and none is left for a successor */
        for (unsigned i = 0; i < MAILBOX_SLOTS; i++)
            atomic_store(&mailbox->words[i],
                         (uint64_t)(SLOT_READY | (i % 2 ? 0x40 : 0)) << 56 | (i % 2 ? 0 : UINT64_C(1) << 40) | i);
        break;
    case LIE_DONE_COUNT:
        break;
    }
}

static void be_a_liar(const struct worker_config *config)
{
    struct mailbox *mailbox = config->mailbox;
    struct bell_ringer ringer = { .bell = config->bells[0], .event_fd = config->event_fds[0] };
    atomic_store(&mailbox->generation, config->generation);
    atomic_fetch_add(&mailbox->done_count, 1);
    bell_ring(&ringer);
    for (;;) {
        unsigned slot;
        if (!mailbox_claim(mailbox, config->generation, &slot)) {
            mailbox_sleep(mailbox);
            continue;
        }
        tell_lie(mailbox, slot);
        atomic_fetch_add(&stage->entered[0], 1);
        if (lie < LIE_WORD_READY)
            mailbox_finish(mailbox, slot);
        else if (lie == LIE_DONE_COUNT)
            atomic_fetch_add(&mailbox->done_count, 1);
        bell_ring(&ringer);
    }
}

/* Replaces the honest worker by a liar whose successors will be honest. */
static void hire_liar(struct ctx *ctx, enum lie chosen)
{
    lie = chosen;
    ctx->rig.run_worker = be_a_liar;
    pid_t honest = ctx->rig.members[0].pid;
    kill(honest, SIGKILL);
    while (ctx->rig.members[0].pid == honest)
        pool_rig_turn(&ctx->rig, 2);
    assert_true(pool_rig_wait_ready(&ctx->rig, scaled_ms(WAIT_MS)));
    ctx->rig.run_worker = worker_main;
}

static void fire_liar(struct ctx *ctx)
{
    uint32_t generation = ctx->rig.members[0].generation;
    kill(ctx->rig.members[0].pid, SIGKILL);
    while (ctx->rig.members[0].generation == generation)
        pool_rig_turn(&ctx->rig, 2);
    assert_whole(ctx);
}

static void lie__about_the_result__is_a_protocol_error(void **state)
{
    static const enum lie lies[] = { LIE_LENGTH, LIE_INLINE_LENGTH, LIE_SPILLED_LENGTH, LIE_STATUS };
    struct ctx *ctx = *state;
    for (unsigned i = 0; i < ARRAY_LEN(lies); i++) {
        hire_liar(ctx, lies[i]);
        assert_int_equal(submit(ctx, i, FAKE_ECHO, 1), ST_OK);
        await(ctx, i, 1);
        assert_null(assert_ended(ctx, i, ST_WORKER_PROTOCOL, NULL)->result);
    }
    fire_liar(ctx);
}

static void lie__about_progress__is_a_protocol_error(void **state)
{
    struct ctx *ctx = *state;
    for (unsigned i = 0; i < 2; i++) {
        hire_liar(ctx, LIE_PROGRESS_ITEMS + i);
        submit_chunk(ctx, i, FAKE_ECHO, "[{\"n\":1},{\"n\":2}]", 2);
        await(ctx, i, 1);
        const struct job *job = assert_ended(ctx, i, ST_WORKER_PROTOCOL, NULL);
        assert_null(job->result);
        assert_int_equal(job->items_done, 0);
    }
    fire_liar(ctx);
}

static void lie__about_times__is_cut_to_what_can_be(void **state)
{
    struct ctx *ctx = *state;
    hire_liar(ctx, LIE_TIMES);
    uint64_t start_ns = clock_now_ns();
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(submit(ctx, i, FAKE_ECHO, 1), ST_OK);
    await(ctx, 0, 3);
    uint64_t limit_ns = clock_now_ns() - start_ns;
    for (unsigned i = 0; i < 3; i++)
        assert_true(assert_ended(ctx, i, ST_OK, NULL)->usage.wall_ns <= limit_ns);
    assert_true(stats_of(ctx).mean_wall_ns <= limit_ns);
    fire_liar(ctx);
}

static void lie__detail_not_text__is_left_out(void **state)
{
    struct ctx *ctx = *state;
    hire_liar(ctx, LIE_DETAIL);
    assert_int_equal(submit(ctx, 0, FAKE_ECHO, 1), ST_OK);
    await(ctx, 0, 1);
    assert_string_equal(assert_ended(ctx, 0, ST_TASK_FAILED, NULL)->detail, "");
    fire_liar(ctx);
}

/* A task that writes over the words. Its own job cannot end by itself; its deadline ends it, the others run elsewhere,
 * and the front end does not hang. */
static void lie__in_the_words__deadline_ends_the_job_and_the_worker(void **state)
{
    static const enum lie lies[] = { LIE_WORD_READY,     LIE_WORD_FREE,   LIE_WORD_GENERATION,
                                     LIE_WORD_SUCCESSOR, LIE_WORDS_STRAY, LIE_DONE_COUNT };
    struct ctx *ctx = *state;
    for (unsigned i = 0; i < ARRAY_LEN(lies); i++) {
        hire_liar(ctx, lies[i]);
        atomic_store(&stage->entered[0], 0);
        assert_int_equal(submit(ctx, 2 * i, FAKE_ECHO, 1), ST_OK);
        uint64_t end_ns = clock_now_ns() + scaled_ms(WAIT_MS) * NS_PER_MS;
        while (atomic_load(&stage->entered[0]) == 0)
            assert_true(clock_now_ns() < end_ns);
        cancel(ctx, 2 * i, ST_DEADLINE_EXCEEDED);
        assert_int_equal(submit(ctx, 2 * i + 1, FAKE_ECHO, 5), ST_OK);
        await(ctx, 2 * i, 2);
        assert_ended(ctx, 2 * i, ST_DEADLINE_EXCEEDED, NULL);
        assert_ended(ctx, 2 * i + 1, ST_OK, "5");
        assert_whole(ctx);
        job_clear(&ctx->probes[PROBES - 1].job);
    }
}

/* The same, but the worker dies by itself. */
static void lie__in_the_words_then_death__job_runs_again(void **state)
{
    static const enum lie lies[] = { LIE_WORD_READY, LIE_WORD_FREE, LIE_WORD_SUCCESSOR, LIE_WORDS_STRAY,
                                     LIE_DONE_COUNT };
    struct ctx *ctx = *state;
    for (unsigned i = 0; i < ARRAY_LEN(lies); i++) {
        hire_liar(ctx, lies[i]);
        atomic_store(&stage->entered[0], 0);
        assert_int_equal(submit(ctx, i, FAKE_ECHO, 1), ST_OK);
        uint64_t end_ns = clock_now_ns() + scaled_ms(WAIT_MS) * NS_PER_MS;
        while (atomic_load(&stage->entered[0]) == 0)
            assert_true(clock_now_ns() < end_ns);
        kill(ctx->rig.members[0].pid, SIGKILL);
        await(ctx, i, 1);
        assert_ended(ctx, i, ST_OK, "1");
        assert_whole(ctx);
        job_clear(&ctx->probes[PROBES - 1].job);
    }
}

static bool is_another(void *ctx) { return ((struct ctx *)ctx)->rig.members[0].generation > 2; }

/* It would never get a job again. */
static void lie__about_itself__is_replaced(void **state)
{
    struct ctx *ctx = *state;
    hire_liar(ctx, LIE_GENERATION);
    assert_int_equal(submit(ctx, 0, FAKE_ECHO, 1), ST_OK);
    await(ctx, 0, 1);
    assert_true(pool_rig_wait(&ctx->rig, is_another, ctx, scaled_ms(WAIT_MS)));
    assert_whole(ctx);
}

int main(void)
{
#define TEST(name, workers) cmocka_unit_test_setup_teardown(name, setup_##workers, close_case)
    const struct CMUnitTest tests[] = {
        TEST(crash__once__job_runs_again, one),
        TEST(crash__twice__is_the_jobs_fault, one),
        TEST(crash__of_the_same_job_again__refused_unrun, one),
        TEST(crash__task_not_idempotent__is_not_repeated, one),
        TEST(crash__jobs_behind__run_in_the_successor, one),
        TEST(crash__in_a_chunk__keeps_the_finished_items, one),
        TEST(cancel__in_a_chunk__keeps_the_finished_items, one),
        TEST(crash__with_spilled_result__its_memory_comes_back, one),
        TEST(crash__all_workers_at_once__all_come_back, two),
        TEST(stop__idle_worker__its_job_goes_to_another_and_it_is_replaced, two),
        TEST(stop__continued_in_time__worker_is_kept, two),
        TEST(stop__running__deadline_ends_the_job_and_the_worker, one),
        TEST(lie__about_the_result__is_a_protocol_error, one),
        TEST(lie__about_progress__is_a_protocol_error, one),
        TEST(lie__about_times__is_cut_to_what_can_be, one),
        TEST(lie__detail_not_text__is_left_out, one),
        TEST(lie__in_the_words__deadline_ends_the_job_and_the_worker, one),
        TEST(lie__about_itself__is_replaced, one),
        TEST(lie__in_the_words_then_death__job_runs_again, one),
    };
    return cmocka_run_group_tests_name("worker_faults", tests, NULL, NULL);
}
