/* process_pool: what goes into a worker and comes out of it: large requests and results, reasons, chunks of a map. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>

#include "tests/support/pool_case.h"

enum { MIB = 1 << 20 };

static int setup_one(void **state) { return open_case(state, 1); }
static int setup_two(void **state) { return open_case(state, 2); }

static void submit_payload(struct ctx *ctx, unsigned index, const char *payload, size_t len)
{
    pool_probe_init(&ctx->probes[index], FAKE_LENGTH, 0);
    struct job *job = &ctx->probes[index].job;
    job->args_len = 0;
    job->payload = payload;
    job->payload_len = len;
    job->has_payload = true;
    assert_int_equal(process_pool_submit(ctx->rig.pool, job), ST_OK);
}

static void submit__large_payload__travels_whole_and_its_memory_comes_back(void **state)
{
    struct ctx *ctx = *state;
    char *payload = malloc(10 * MIB);
    char expected[32];
    assert_non_null(payload);
    memset(payload, 3, 10 * MIB);
    start(ctx);
    submit_payload(ctx, 0, payload, 8 * MIB);
    submit_payload(ctx, 1, payload, 8 * MIB);
    submit_payload(ctx, 2, payload, MAILBOX_INLINE_BYTES);
    submit_payload(ctx, 3, payload, MAILBOX_INLINE_BYTES + 1);
    submit_payload(ctx, 4, payload, 0);
    submit_payload(ctx, 5, payload, 10 * MIB); /* more than the spill file takes */
    await(ctx, 0, 6);
    snprintf(expected, sizeof expected, "%d", 3 * 8 * MIB);
    assert_ended(ctx, 0, ST_OK, expected);
    assert_ended(ctx, 1, ST_OK, expected);
    assert_ended(ctx, 2, ST_OK, "49152");
    assert_ended(ctx, 3, ST_OK, "49155");
    assert_ended(ctx, 4, ST_OK, "0");
    assert_ended(ctx, 5, ST_NO_MEMORY, NULL);
    assert_idle(ctx);
    free(payload);
}

static void cancel__large_payload_waiting__its_memory_comes_back(void **state)
{
    struct ctx *ctx = *state;
    char *payload = calloc(1, MIB);
    assert_non_null(payload);
    start(ctx);
    occupy(ctx, 0);
    submit_payload(ctx, 1, payload, MIB);
    assert_true(pool_rig_spilled_blocks(&ctx->rig) > 0);
    cancel(ctx, 1, ST_CANCELLED);
    await(ctx, 1, 1);
    assert_int_equal(pool_rig_spilled_blocks(&ctx->rig), 0);
    open_gate(0);
    await(ctx, 0, 1);
    free(payload);
}

static void collect__large_result__is_whole_and_its_memory_comes_back(void **state)
{
    struct ctx *ctx = *state;
    start(ctx);
    assert_int_equal(submit(ctx, 0, FAKE_BLOB, 3 * MIB), ST_OK);
    assert_int_equal(submit(ctx, 1, FAKE_BLOB, MAILBOX_INLINE_BYTES - 2), ST_OK);
    assert_int_equal(submit(ctx, 2, FAKE_BLOB, 8 * MIB - 1), ST_OK); /* one byte beyond the limit */
    await(ctx, 0, 3);
    assert_ended(ctx, 0, ST_OK, NULL);
    assert_int_equal(ctx->probes[0].job.result_len, 3 * MIB + 2);
    assert_int_equal(strspn(ctx->probes[0].job.result + 1, "x"), 3 * MIB);
    assert_int_equal(ctx->probes[1].job.result_len, MAILBOX_INLINE_BYTES);
    assert_ended(ctx, 2, ST_RESULT_TOO_LARGE, NULL);
    assert_idle(ctx);
}

static void collect__failures__bring_their_reasons(void **state)
{
    struct ctx *ctx = *state;
    start(ctx);
    assert_int_equal(submit(ctx, 0, FAKE_ECHO, UINT64_MAX), ST_OK);
    pool_probe_init(&ctx->probes[1], FAKE_FAIL, 0);
    ctx->probes[1].job.args_len = 0;
    assert_int_equal(process_pool_submit(ctx->rig.pool, &ctx->probes[1].job), ST_OK);
    await(ctx, 0, 2);
    assert_ended(ctx, 0, ST_INVALID_ARGS, NULL);
    assert_non_null(strstr(ctx->probes[0].job.result, "\"/n\""));
    assert_ended(ctx, 1, ST_TASK_FAILED, "");
    assert_string_equal(ctx->probes[1].job.detail, "as it was told to");
    assert_idle(ctx);
}

static void collect__chunk__counts_its_items(void **state)
{
    struct ctx *ctx = *state;
    start(ctx);
    submit_chunk(ctx, 0, FAKE_ECHO, "[{\"n\":7},{\"n\":8},{\"m\":9}]", 3);
    await(ctx, 0, 1);
    assert_ended(ctx, 0, ST_OK, NULL);
    assert_int_equal(ctx->probes[0].job.items_done, 3);
    assert_int_equal(ctx->probes[0].job.items_failed, 1);
    assert_true(strncmp(ctx->probes[0].job.result, "{\"result\":7},{\"result\":8},{\"error\":{", 36) == 0);
    assert_idle(ctx);
}

/* Each item is within its limit; together they outgrow the spill file (9 MiB here). */
static void collect__chunk_too_large_together__keeps_what_is_finished(void **state)
{
    struct ctx *ctx = *state;
    start(ctx);
    submit_chunk(ctx, 0, FAKE_BLOB, "[{\"n\":4000000},{\"n\":4000000},{\"n\":4000000}]", 3);
    await(ctx, 0, 1);
    assert_ended(ctx, 0, ST_RESULT_TOO_LARGE, NULL);
    assert_int_equal(ctx->probes[0].job.items_done, 2);
    assert_int_equal(ctx->probes[0].job.result_len, 2 * (4000000 + strlen("{\"result\":\"\"},")) - 1);
    assert_idle(ctx);
}

int main(void)
{
#define TEST(name, workers) cmocka_unit_test_setup_teardown(name, setup_##workers, close_case)
    const struct CMUnitTest tests[] = {
        TEST(submit__large_payload__travels_whole_and_its_memory_comes_back, two),
        TEST(cancel__large_payload_waiting__its_memory_comes_back, one),
        TEST(collect__large_result__is_whole_and_its_memory_comes_back, two),
        TEST(collect__failures__bring_their_reasons, two),
        TEST(collect__chunk__counts_its_items, one),
        TEST(collect__chunk_too_large_together__keeps_what_is_finished, one),
    };
    return cmocka_run_group_tests_name("process_pool_bytes", tests, NULL, NULL);
}
