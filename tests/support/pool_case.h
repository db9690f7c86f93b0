/* pool_case: what the drivers that test the pool on real workers have in common: a rig, probes, and what to say about
 * them.
 *
 * For cmocka's thread only, after <cmocka.h>; in one file per driver, because of fake_tasks.h. */
#ifndef TWINPOOL_TESTS_POOL_CASE_H
#define TWINPOOL_TESTS_POOL_CASE_H

#include "base/clock.h"
#include "tests/support/fake_tasks.h"
#include "tests/support/pool_rig.h"
#include "tests/support/timing.h"

enum { WAIT_MS = 5000, PROBES = 40 };

struct ctx {
    struct pool_rig rig;
    struct pool_probe probes[PROBES];
};

static inline int open_case(void **state, unsigned workers)
{
    struct ctx *ctx = calloc(1, sizeof *ctx);
    *state = ctx;
    return ctx != NULL && stage_open() && pool_rig_open(&ctx->rig, workers) ? 0 : -1;
}

static inline int close_case(void **state)
{
    struct ctx *ctx = *state;
    for (unsigned i = 0; i < PROBES; i++)
        job_clear(&ctx->probes[i].job);
    pool_rig_close(&ctx->rig);
    stage_close();
    free(ctx);
    return 0;
}

/* A pool and its workers, ready. */
static inline void start(struct ctx *ctx)
{
    assert_true(pool_rig_create_pool(&ctx->rig));
    assert_true(pool_rig_start(&ctx->rig));
}

static inline enum status submit(struct ctx *ctx, unsigned index, enum fake_task task, uint64_t n)
{
    pool_probe_init(&ctx->probes[index], task, n);
    return process_pool_submit(ctx->rig.pool, &ctx->probes[index].job);
}

static inline void submit_some(struct ctx *ctx, unsigned first, unsigned count, enum fake_task task)
{
    for (unsigned i = first; i < first + count; i++)
        assert_int_equal(submit(ctx, i, task, i), ST_OK);
}

/* A chunk of a map: `array` stays with the caller. */
static inline void submit_chunk(struct ctx *ctx, unsigned index, enum fake_task task, const char *array, unsigned items)
{
    pool_probe_init(&ctx->probes[index], task, 0);
    struct job *job = &ctx->probes[index].job;
    job->args = array;
    job->args_len = strlen(array);
    job->items = items;
    assert_int_equal(process_pool_submit(ctx->rig.pool, job), ST_OK);
}

static inline void await(struct ctx *ctx, unsigned first, unsigned count)
{
    assert_true(pool_rig_wait_ended(&ctx->rig, ctx->probes + first, count, scaled_ms(WAIT_MS)));
}

static inline void cancel(struct ctx *ctx, unsigned index, enum status why)
{
    process_pool_cancel(ctx->rig.pool, &ctx->probes[index].job, why);
}

/* Once, so; `result` NULL: whatever it is. */
static inline const struct job *assert_ended(const struct ctx *ctx, unsigned index, enum status status,
                                             const char *result)
{
    const struct pool_probe *probe = &ctx->probes[index];
    assert_int_equal(probe->ends, 1);
    assert_string_equal(status_code(probe->job.status), status_code(status));
    if (result != NULL)
        assert_string_equal(probe->job.result, result);
    return &probe->job;
}

static inline struct process_pool_stats stats_of(struct ctx *ctx)
{
    struct process_pool_stats stats;
    process_pool_get_stats(ctx->rig.pool, &stats);
    return stats;
}

/* Nothing is left: not in the mailboxes, not in the spill files, not in the books. */
static inline void assert_idle(struct ctx *ctx)
{
    struct process_pool_stats stats = stats_of(ctx);
    uint64_t ended = 0;
    for (int i = 0; i < STATUS_COUNT; i++)
        ended += stats.ended_by_status[i];
    assert_int_equal(stats.submitted, ended);
    assert_int_equal(stats.queued, 0);
    assert_int_equal(stats.running, 0);
    assert_int_equal(stats.held_bytes, 0);
    assert_true(pool_rig_is_empty(&ctx->rig));
    assert_int_equal(pool_rig_spilled_blocks(&ctx->rig), 0);
}

static inline bool is_gate_entered(void *context) { return atomic_load((_Atomic uint32_t *)context) > 0; }

static inline void wait_entered(struct ctx *ctx, unsigned gate)
{
    assert_true(pool_rig_wait(&ctx->rig, is_gate_entered, &stage->entered[gate], scaled_ms(WAIT_MS)));
}

static inline void open_gate(unsigned gate) { atomic_store(&stage->is_open[gate], 1); }

/* Occupies a worker until open_gate(index). */
static inline void occupy(struct ctx *ctx, unsigned index)
{
    assert_int_equal(submit(ctx, index, FAKE_GATE, index), ST_OK);
    wait_entered(ctx, index);
}

#endif
