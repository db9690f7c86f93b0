/* Tests of pool/memory_budget.c: what a stream's unread results do to its call. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pool/memory_budget.h"

enum { WINDOW = 1000 };

struct ctx {
    struct memory_budget budget;
    struct memory_account account;
};

static int setup(void **state)
{
    static struct ctx ctx;
    ctx = (struct ctx){ .budget = { .max = 1 << 20 }, .account = { .window = WINDOW } };
    *state = &ctx;
    return 0;
}

static void take__window_full__bodies_stand_still(void **state)
{
    struct ctx *ctx = *state;
    atomic_store(&ctx->account.unread, WINDOW);
    assert_true(memory_take(&ctx->budget, &ctx->account, 10));
    atomic_store(&ctx->account.unread, WINDOW + 1);
    assert_false(memory_take(&ctx->budget, &ctx->account, 10));
    assert_int_equal(ctx->budget.taken, 10);
}

/* It would fail instead of standing still. */
static void take_result__window_full__is_taken_all_the_same(void **state)
{
    struct ctx *ctx = *state;
    atomic_store(&ctx->account.unread, 10 * WINDOW);
    struct memory_grant grant = { 0 };
    assert_true(memory_take_result(&ctx->budget, &ctx->account, 10, &grant));
    assert_int_equal(ctx->budget.taken, 10);
    assert_false(memory_take_result(&ctx->budget, &ctx->account, 1 << 20, &grant)); /* but not beyond the budget */
    assert_int_equal(ctx->budget.taken, 10);
    assert_int_equal(grant.taken, 10);
    assert_null(ctx->budget.favoured); /* nor is it favoured: nobody would end that */
}

static void take_decoder__window_full__stands_still(void **state)
{
    struct ctx *ctx = *state;
    bool is_exempt;
    assert_true(memory_take(&ctx->budget, &ctx->account, (1 << 20) + 0));
    atomic_store(&ctx->account.unread, WINDOW + 1);
    assert_false(memory_take_decoder(&ctx->budget, &ctx->account, 10, &is_exempt));
    assert_false(is_exempt);
    assert_null(ctx->budget.favoured);
}

/* Else a call that was paused would stay so. */
static void read__across_the_window__told_once(void **state)
{
    struct ctx *ctx = *state;
    atomic_store(&ctx->account.unread, WINDOW + 200);
    assert_false(memory_read(&ctx->budget, &ctx->account, 100));
    assert_true(memory_read(&ctx->budget, &ctx->account, 100)); /* exactly full is not too much */
    assert_false(memory_read(&ctx->budget, &ctx->account, 100));
    assert_int_equal(ctx->account.unread, WINDOW - 100);
    assert_int_equal(ctx->budget.gifts, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(take__window_full__bodies_stand_still, setup),
        cmocka_unit_test_setup(take_result__window_full__is_taken_all_the_same, setup),
        cmocka_unit_test_setup(take_decoder__window_full__stands_still, setup),
        cmocka_unit_test_setup(read__across_the_window__told_once, setup),
    };
    return cmocka_run_group_tests_name("memory_window", tests, NULL, NULL);
}
