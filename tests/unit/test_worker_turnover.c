/* Replacing workers and changing their number, step by step, on real workers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/support/pool_case.h"

enum { IDLE_MS = 30 };

static const struct worker_limits ten_jobs = { .workers = 1, .workers_max = 1, .jobs_max = 10 };
static const struct worker_limits one_job = { .workers = 1, .workers_max = 1, .jobs_max = 1 };
static const struct worker_limits one_to_three = { .workers = 1, .workers_max = 3, .idle_max_ns = IDLE_MS * NS_PER_MS };
static const struct worker_limits young = { .workers = 1, .workers_max = 1, .age_max_ns = 50 * NS_PER_MS };

static int setup(void **state, const struct worker_limits *limits)
{
    if (open_case(state, limits->workers_max + 1) != 0)
        return -1;
    struct pool_rig *rig = &((struct ctx *)*state)->rig;
    rig->config.limits = limits;
    return pool_rig_create_pool(rig) && pool_rig_start(rig) ? 0 : -1;
}

static int setup_ten_jobs(void **state) { return setup(state, &ten_jobs); }
static int setup_one_job(void **state) { return setup(state, &one_job); }
static int setup_one_to_three(void **state) { return setup(state, &one_to_three); }
static int setup_young(void **state) { return setup(state, &young); }

static unsigned count_living(const struct ctx *ctx)
{
    unsigned living = 0;
    for (unsigned i = 0; i < ctx->rig.workers; i++)
        living += ctx->rig.members[i].pid > 0 ? 1 : 0;
    return living;
}

static bool is_alone(void *ctx) { return count_living(ctx) == 1; }

static bool has_recycled(void *ctx) { return stats_of(ctx).recycled > 0; }

static void run(struct ctx *ctx, unsigned index, enum fake_task task, uint64_t n)
{
    job_clear(&ctx->probes[index].job);
    assert_int_equal(submit(ctx, index, task, n), ST_OK);
    await(ctx, index, 1);
    assert_int_equal(assert_ended(ctx, index, ST_OK, NULL)->attempts, 1);
}

/* ---- replacement */

static void jobs__near_the_limit__successor_is_there_first(void **state)
{
    struct ctx *ctx = *state;
    pid_t first = ctx->rig.members[0].pid;
    unsigned done = 0;
    while (!has_recycled(ctx) && done < PROBES) {
        run(ctx, done++, FAKE_NAP, 20000); /* time enough for the successor */
        assert_true(count_living(ctx) >= 1);
        assert_int_equal(stats_of(ctx).workers_ready, 1);
    }
    assert_in_range(done, 7, 11); /* a tenth before nine to eleven, or at the most that */
    assert_true(pool_rig_wait(&ctx->rig, is_alone, ctx, scaled_ms(WAIT_MS)));
    assert_int_equal(ctx->rig.members[0].pid, 0);
    assert_true(ctx->rig.members[1].pid > 0 && ctx->rig.members[1].pid != first);
    assert_int_equal(stats_of(ctx).crashes + stats_of(ctx).kills, 0);
    run(ctx, 0, FAKE_ECHO, 1);
    assert_idle(ctx);
}

/* The number holds also where nobody can come in time. */
static void jobs__one_each__each_has_a_process_of_its_own(void **state)
{
    struct ctx *ctx = *state;
    submit_some(ctx, 0, 20, FAKE_ECHO);
    await(ctx, 0, 20);
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(assert_ended(ctx, i, ST_OK, NULL)->attempts, 1);
    assert_in_range(stats_of(ctx).recycled, 19, 20);
    assert_true(pool_rig_wait_ready(&ctx->rig, scaled_ms(WAIT_MS)));
    assert_int_equal(ctx->rig.members[0].generation + ctx->rig.members[1].generation,
                     stats_of(ctx).recycled + count_living(ctx));
    assert_idle(ctx);
}

static void age__reached_while_busy__retires_after_its_job(void **state)
{
    struct ctx *ctx = *state;
    occupy(ctx, 0);
    uint64_t start_ns = clock_now_ns();
    while (elapsed_ms(start_ns) < 300)
        pool_rig_turn(&ctx->rig, 10);
    assert_int_equal(count_living(ctx), 2); /* the successor waits; it is busy with the old one's job */
    assert_int_equal(stats_of(ctx).workers_ready, 1);
    run(ctx, 1, FAKE_ECHO, 1); /* by the successor */
    open_gate(0);
    await(ctx, 0, 1);
    assert_int_equal(assert_ended(ctx, 0, ST_OK, NULL)->attempts, 1);
    assert_true(stats_of(ctx).recycled >= 1);
    assert_int_equal(stats_of(ctx).crashes + stats_of(ctx).kills, 0);
}

static void crash__while_it_is_replaced__nobody_is_left_over(void **state)
{
    struct ctx *ctx = *state;
    occupy(ctx, 0);
    uint64_t start_ns = clock_now_ns();
    while (count_living(ctx) < 2 && elapsed_ms(start_ns) < scaled_ms(WAIT_MS))
        pool_rig_turn(&ctx->rig, 10);
    kill(ctx->rig.members[0].pid, SIGKILL);
    open_gate(0);
    await(ctx, 0, 1);
    assert_true(pool_rig_wait(&ctx->rig, is_alone, ctx, scaled_ms(WAIT_MS)));
    run(ctx, 1, FAKE_ECHO, 1);
}

/* ---- the supervisor does not hear */

static void socket__full__told_again(void **state)
{
    struct ctx *ctx = *state;
    ctx->rig.is_deaf = true;
    occupy(ctx, 0);
    assert_int_equal(submit(ctx, 1, FAKE_ECHO, 1), ST_OK);
    uint64_t start_ns = clock_now_ns();
    while (elapsed_ms(start_ns) < 100)
        pool_rig_turn(&ctx->rig, 10);
    assert_int_equal(count_living(ctx), 1);
    ctx->rig.is_deaf = false;
    await(ctx, 1, 1);
    open_gate(0);
    await(ctx, 0, 1);
}

/* ---- number */

/* Of the first four gates; which ones is up to who comes up first. */
static bool are_three_entered(void *unused UNUSED)
{
    unsigned entered = 0;
    for (unsigned i = 0; i < 4; i++)
        entered += atomic_load(&stage->entered[i]);
    return entered == 3;
}

static void number__jobs_wait__one_for_each_then_idle_ones_go(void **state)
{
    struct ctx *ctx = *state;
    occupy(ctx, 0);
    for (unsigned i = 1; i < 4; i++)
        assert_int_equal(submit(ctx, i, FAKE_GATE, i), ST_OK);
    assert_true(pool_rig_wait(&ctx->rig, are_three_entered, NULL, scaled_ms(WAIT_MS)));
    assert_int_equal(count_living(ctx), 3);
    assert_int_equal(stats_of(ctx).workers, 3);
    uint64_t start_ns = clock_now_ns();
    while (elapsed_ms(start_ns) < 100)
        pool_rig_turn(&ctx->rig, 10);
    assert_true(are_three_entered(NULL)); /* not more */
    for (unsigned i = 0; i < 4; i++)
        open_gate(i);
    await(ctx, 0, 4);
    assert_true(pool_rig_wait(&ctx->rig, is_alone, ctx, scaled_ms(WAIT_MS)));
    assert_int_equal(stats_of(ctx).workers, 1);
    assert_int_equal(stats_of(ctx).crashes + stats_of(ctx).kills + stats_of(ctx).recycled, 0);
    run(ctx, 5, FAKE_ECHO, 1);
    assert_idle(ctx);
}

static void start_slowly(const struct worker_config *config)
{
    nap_us(3 * IDLE_MS * 1000);
    worker_main(config);
}

/* Its time of idleness begins when it is up: else it would go before it gets a job. */
static void number__start_takes_longer_than_idleness__works_all_the_same(void **state)
{
    struct ctx *ctx = *state;
    ctx->rig.run_worker = start_slowly;
    occupy(ctx, 0);
    assert_int_equal(submit(ctx, 1, FAKE_GATE, 1), ST_OK);
    wait_entered(ctx, 1);
    assert_int_equal(ctx->rig.members[1].generation, 1);
    open_gate(0);
    open_gate(1);
    await(ctx, 0, 2);
    assert_true(pool_rig_wait(&ctx->rig, is_alone, ctx, scaled_ms(WAIT_MS)));
}

static bool are_two(void *ctx) { return count_living(ctx) == 2; }

static bool is_second_up(void *ctx) { return atomic_load(&((struct ctx *)ctx)->rig.mailboxes[1]->generation) == 1; }

/* Between two collections, too. */
static void number__up_but_not_collected__is_not_taken_for_idle(void **state)
{
    struct ctx *ctx = *state;
    ctx->rig.run_worker = start_slowly;
    occupy(ctx, 0);
    assert_int_equal(submit(ctx, 1, FAKE_GATE, 1), ST_OK);
    assert_true(pool_rig_wait(&ctx->rig, are_two, ctx, scaled_ms(WAIT_MS)));
    assert_true(wait_until(is_second_up, ctx, scaled_ms(WAIT_MS))); /* no turn meanwhile, so nobody collects */
    process_pool_tick(ctx->rig.pool, clock_now_ns());
    wait_entered(ctx, 1);
    assert_int_equal(ctx->rig.members[1].generation, 1);
    open_gate(0);
    open_gate(1);
    await(ctx, 0, 2);
}

static void number__another_front_end__as_many_as_at_first(void **state)
{
    struct ctx *ctx = *state;
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(submit(ctx, i, FAKE_GATE, i), ST_OK);
    wait_entered(ctx, 0);
    wait_entered(ctx, 1);
    wait_entered(ctx, 2);
    for (unsigned i = 0; i < 3; i++)
        open_gate(i);
    await(ctx, 0, 3);
    pool_rig_free_pool(&ctx->rig);
    assert_int_equal(count_living(ctx), 3);
    assert_true(pool_rig_create_pool(&ctx->rig));
    assert_true(pool_rig_wait(&ctx->rig, is_alone, ctx, scaled_ms(WAIT_MS)));
    run(ctx, 5, FAKE_ECHO, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(jobs__near_the_limit__successor_is_there_first, setup_ten_jobs, close_case),
        cmocka_unit_test_setup_teardown(jobs__one_each__each_has_a_process_of_its_own, setup_one_job, close_case),
        cmocka_unit_test_setup_teardown(age__reached_while_busy__retires_after_its_job, setup_young, close_case),
        cmocka_unit_test_setup_teardown(crash__while_it_is_replaced__nobody_is_left_over, setup_young, close_case),
        cmocka_unit_test_setup_teardown(socket__full__told_again, setup_one_to_three, close_case),
        cmocka_unit_test_setup_teardown(number__jobs_wait__one_for_each_then_idle_ones_go, setup_one_to_three,
                                        close_case),
        cmocka_unit_test_setup_teardown(number__start_takes_longer_than_idleness__works_all_the_same,
                                        setup_one_to_three, close_case),
        cmocka_unit_test_setup_teardown(number__up_but_not_collected__is_not_taken_for_idle, setup_one_to_three,
                                        close_case),
        cmocka_unit_test_setup_teardown(number__another_front_end__as_many_as_at_first, setup_one_to_three, close_case),
    };
    return cmocka_run_group_tests_name("worker_turnover", tests, NULL, NULL);
}
