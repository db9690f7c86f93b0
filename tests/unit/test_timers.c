/* timers: order, moves, cancellation, and callbacks that change the heap under expire(). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/timers.h"

#define TIMER_COUNT 1000

struct ctx {
    struct timers timers;
    struct timer timer[TIMER_COUNT];
    struct timer *called[4 * TIMER_COUNT];
    size_t call_count;
};

/* on_due has the timer only; the tests run in one thread. */
static struct ctx *current;

static void record(struct timer *timer)
{
    assert_int_equal(timer->position, 0);
    current->called[current->call_count++] = timer;
}

static int setup(void **state)
{
    current = calloc(1, sizeof *current);
    if (current == NULL)
        return -1;
    for (size_t i = 0; i < TIMER_COUNT; i++)
        current->timer[i].on_due = record;
    *state = current;
    return 0;
}

static int teardown(void **state)
{
    struct ctx *ctx = *state;
    timers_done(&ctx->timers);
    free(ctx);
    return 0;
}

static void next__empty__is_never(void **state)
{
    struct ctx *ctx = *state;
    assert_true(timers_next(&ctx->timers) == CLOCK_NEVER);
    timers_expire(&ctx->timers, CLOCK_NEVER);
    assert_int_equal(ctx->call_count, 0);
}

static void expire__some_due__calls_only_those_earliest_first(void **state)
{
    struct ctx *ctx = *state;
    assert_true(timers_set(&ctx->timers, &ctx->timer[0], 30));
    assert_true(timers_set(&ctx->timers, &ctx->timer[1], 10));
    assert_true(timers_set(&ctx->timers, &ctx->timer[2], 20));
    assert_int_equal(timers_next(&ctx->timers), 10);
    timers_expire(&ctx->timers, 20);
    assert_int_equal(ctx->call_count, 2);
    assert_ptr_equal(ctx->called[0], &ctx->timer[1]);
    assert_ptr_equal(ctx->called[1], &ctx->timer[2]);
    assert_int_equal(timers_next(&ctx->timers), 30);
}

static void set__already_set__moves_both_ways(void **state)
{
    struct ctx *ctx = *state;
    for (size_t i = 0; i < 20; i++)
        assert_true(timers_set(&ctx->timers, &ctx->timer[i], 100 + i));
    assert_true(timers_set(&ctx->timers, &ctx->timer[19], 1));
    assert_int_equal(timers_next(&ctx->timers), 1);
    assert_true(timers_set(&ctx->timers, &ctx->timer[19], 1000));
    assert_int_equal(timers_next(&ctx->timers), 100);
    assert_int_equal(ctx->timers.count, 20);
}

static void cancel__set_or_not__is_safe_twice(void **state)
{
    struct ctx *ctx = *state;
    timers_cancel(&ctx->timers, &ctx->timer[0]);
    assert_true(timers_set(&ctx->timers, &ctx->timer[0], 10));
    assert_true(timers_set(&ctx->timers, &ctx->timer[1], 20));
    timers_cancel(&ctx->timers, &ctx->timer[0]);
    timers_cancel(&ctx->timers, &ctx->timer[0]);
    assert_int_equal(timers_next(&ctx->timers), 20);
    timers_expire(&ctx->timers, 100);
    assert_int_equal(ctx->call_count, 1);
    assert_ptr_equal(ctx->called[0], &ctx->timer[1]);
}

static void assert_heap_is_linked(const struct timers *timers)
{
    for (size_t i = 0; i < timers->count; i++) {
        assert_int_equal(timers->heap[i]->position, i + 1);
        if (i > 0)
            assert_true(timers->heap[(i - 1) / 2]->due_ns <= timers->heap[i]->due_ns);
    }
}

static void operations__random__keep_the_heap_and_the_order(void **state)
{
    struct ctx *ctx = *state;
    uint32_t random = 1;
    for (int round = 0; round < 20000; round++) {
        random = random * 1664525 + 1013904223;
        struct timer *timer = &ctx->timer[random >> 8 & 255];
        if (random >> 30 == 0)
            timers_cancel(&ctx->timers, timer);
        else
            assert_true(timers_set(&ctx->timers, timer, random >> 16 & 1023));
        if (round % 100 == 0)
            assert_heap_is_linked(&ctx->timers);
    }
    size_t set_count = ctx->timers.count;
    timers_expire(&ctx->timers, 2000);
    assert_int_equal(ctx->call_count, set_count);
    for (size_t i = 1; i < ctx->call_count; i++)
        assert_true(ctx->called[i - 1]->due_ns <= ctx->called[i]->due_ns);
}

static void set_again_in_the_past(struct timer *timer)
{
    record(timer);
    assert_true(timers_set(&current->timers, timer, 1));
}

static void expire__callback_sets_itself_into_the_past__returns(void **state)
{
    struct ctx *ctx = *state;
    ctx->timer[0].on_due = set_again_in_the_past;
    assert_true(timers_set(&ctx->timers, &ctx->timer[0], 10));
    timers_expire(&ctx->timers, 10);
    assert_int_equal(ctx->call_count, 1);
    assert_int_equal(timers_next(&ctx->timers), 1);
    timers_expire(&ctx->timers, 10);
    assert_int_equal(ctx->call_count, 2);
}

static void cancel_the_rest(struct timer *timer)
{
    record(timer);
    for (size_t i = 0; i < 10; i++)
        timers_cancel(&current->timers, &current->timer[i]);
}

static void expire__callback_cancels_other_due_timers__they_are_not_called(void **state)
{
    struct ctx *ctx = *state;
    for (size_t i = 0; i < 10; i++)
        assert_true(timers_set(&ctx->timers, &ctx->timer[i], 10 + i));
    ctx->timer[3].on_due = cancel_the_rest;
    timers_expire(&ctx->timers, 100);
    assert_int_equal(ctx->call_count, 4);
    assert_true(timers_next(&ctx->timers) == CLOCK_NEVER);
}

static void set_many(struct timer *timer)
{
    record(timer);
    for (size_t i = 1; i < TIMER_COUNT; i++) /* makes the heap move to a larger block */
        assert_true(timers_set(&current->timers, &current->timer[i], 1000 + i));
}

static void expire__callback_sets_many__they_wait_for_their_time(void **state)
{
    struct ctx *ctx = *state;
    ctx->timer[0].on_due = set_many;
    assert_true(timers_set(&ctx->timers, &ctx->timer[0], 10));
    timers_expire(&ctx->timers, 500);
    assert_int_equal(ctx->call_count, 1);
    assert_int_equal(timers_next(&ctx->timers), 1001);
    timers_expire(&ctx->timers, 5000);
    assert_int_equal(ctx->call_count, TIMER_COUNT);
}

static void set_from_nothing(struct timer *timer)
{
    record(timer);
    timer->on_due = record;
    assert_true(timers_set(&current->timers, timer, timer->due_ns + 5));
}

static void expire__callback_sets_itself_ahead__is_called_at_its_new_time(void **state)
{
    struct ctx *ctx = *state;
    ctx->timer[0].on_due = set_from_nothing;
    assert_true(timers_set(&ctx->timers, &ctx->timer[0], 10));
    timers_expire(&ctx->timers, 12);
    assert_int_equal(ctx->call_count, 1);
    timers_expire(&ctx->timers, 14);
    assert_int_equal(ctx->call_count, 1);
    timers_expire(&ctx->timers, 15);
    assert_int_equal(ctx->call_count, 2);
}

static void done__timers_still_set__unsets_them(void **state)
{
    struct ctx *ctx = *state;
    assert_true(timers_set(&ctx->timers, &ctx->timer[0], 10));
    timers_done(&ctx->timers);
    assert_int_equal(ctx->timer[0].position, 0);
    timers_cancel(&ctx->timers, &ctx->timer[0]);
    assert_true(timers_next(&ctx->timers) == CLOCK_NEVER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(next__empty__is_never, setup, teardown),
        cmocka_unit_test_setup_teardown(expire__some_due__calls_only_those_earliest_first, setup, teardown),
        cmocka_unit_test_setup_teardown(set__already_set__moves_both_ways, setup, teardown),
        cmocka_unit_test_setup_teardown(cancel__set_or_not__is_safe_twice, setup, teardown),
        cmocka_unit_test_setup_teardown(operations__random__keep_the_heap_and_the_order, setup, teardown),
        cmocka_unit_test_setup_teardown(expire__callback_sets_itself_into_the_past__returns, setup, teardown),
        cmocka_unit_test_setup_teardown(expire__callback_cancels_other_due_timers__they_are_not_called, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(expire__callback_sets_many__they_wait_for_their_time, setup, teardown),
        cmocka_unit_test_setup_teardown(expire__callback_sets_itself_ahead__is_called_at_its_new_time, setup, teardown),
        cmocka_unit_test_setup_teardown(done__timers_still_set__unsets_them, setup, teardown),
    };
    return cmocka_run_group_tests_name("timers", tests, NULL, NULL);
}
