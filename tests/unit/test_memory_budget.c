/* Tests of pool/memory_budget.c: what may be taken, by whom, and that the sum holds among many threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>

#include "base/attrs.h"
#include "pool/memory_budget.h"

enum { MAX = 1000, OVERDRAFT = 300 };

static struct memory_budget budget;
static struct memory_account a, b;

static int setup(void **state)
{
    (void)state;
    budget = (struct memory_budget){ .max = MAX, .overdraft_max = OVERDRAFT };
    a = b = (struct memory_account){ 0 };
    return 0;
}

static void expect_taken(size_t bytes) { assert_int_equal(atomic_load(&budget.taken), bytes); }
static unsigned gifts(void) { return atomic_load(&budget.gifts); }

static void take__within_the_budget__anybody(void **state)
{
    (void)state;
    assert_true(memory_take(&budget, &a, 600));
    assert_true(memory_take(&budget, &b, 400)); /* exactly all */
    expect_taken(MAX);
    assert_null(atomic_load(&budget.favoured));
    memory_give(&budget, 1);
    assert_true(memory_take(&budget, &b, 1));
    assert_true(memory_take(&budget, &a, 0));
    expect_taken(MAX);
}

static void take__beyond_the_budget__the_first_is_favoured(void **state)
{
    (void)state;
    assert_true(memory_take(&budget, &b, 900));
    assert_true(memory_take(&budget, &a, 101));
    assert_ptr_equal(atomic_load(&budget.favoured), &a);
    expect_taken(1001);
    assert_false(memory_take(&budget, &b, 1));
    expect_taken(1001); /* a refusal leaves no trace */
    assert_true(memory_take(&budget, &a, 299));
    expect_taken(MAX + OVERDRAFT);
}

static void take__favoured_beyond_the_overdraft__refused(void **state)
{
    (void)state;
    assert_false(memory_take(&budget, &a, MAX + OVERDRAFT + 1));
    expect_taken(0);
    assert_true(memory_take(&budget, &a, MAX + OVERDRAFT));
    assert_false(memory_take(&budget, &a, 1));
    assert_true(memory_take(&budget, &a, 0));
    expect_taken(MAX + OVERDRAFT);
    memory_give(&budget, 10);
    assert_true(memory_take(&budget, &a, 10));
    assert_false(memory_take(&budget, &b, 1));
}

static void take__absurd_amounts__refused_without_wrapping(void **state)
{
    (void)state;
    assert_true(memory_take(&budget, &a, 500));
    assert_false(memory_take(&budget, &a, SIZE_MAX));
    assert_false(memory_take(&budget, &a, SIZE_MAX - 499));
    assert_false(memory_take(&budget, &b, SIZE_MAX - 500));
    expect_taken(500);
}

static void take__favoured_stays_so__though_there_is_room_again(void **state)
{
    (void)state;
    assert_true(memory_take(&budget, &a, MAX + 1));
    memory_give(&budget, MAX + 1);
    assert_true(memory_take(&budget, &b, MAX));
    assert_false(memory_take(&budget, &b, 1));
    assert_true(memory_take(&budget, &a, 1));
}

static void close__favoured__another_may_be(void **state)
{
    (void)state;
    assert_true(memory_take(&budget, &a, MAX + 1));
    assert_false(memory_take(&budget, &b, 1));
    unsigned before = gifts();
    memory_close(&budget, &a);
    assert_int_not_equal(gifts(), before); /* there may be memory for b */
    assert_true(memory_take(&budget, &b, 1));
    assert_ptr_equal(atomic_load(&budget.favoured), &b);
    assert_false(memory_take(&budget, &a, 1));
    expect_taken(MAX + 2);
}

static void close__not_favoured__changes_nothing(void **state)
{
    (void)state;
    assert_true(memory_take(&budget, &a, MAX + 1));
    unsigned before = gifts();
    memory_close(&budget, &b);
    assert_ptr_equal(atomic_load(&budget.favoured), &a);
    assert_int_equal(gifts(), before);
    memory_close(&budget, &a);
    memory_close(&budget, &a);
    assert_null(atomic_load(&budget.favoured));
}

static void give__something__is_announced(void **state)
{
    (void)state;
    assert_true(memory_take(&budget, &a, 10));
    unsigned before = gifts();
    memory_give(&budget, 0);
    assert_int_equal(gifts(), before);
    memory_give(&budget, 4);
    assert_int_not_equal(gifts(), before);
    expect_taken(6);
}

/* ---- decoders */

static void decoder__within_the_budget__taken(void **state)
{
    (void)state;
    bool is_exempt = true;
    assert_true(memory_take_decoder(&budget, &a, MAX, &is_exempt));
    assert_false(is_exempt);
    expect_taken(MAX);
    memory_give(&budget, MAX);
}

/* Never of the overdraft, which is for bodies. */
static void decoder__beyond_the_budget__one_of_the_favoured_is_exempt(void **state)
{
    (void)state;
    bool is_exempt;
    assert_true(memory_take(&budget, &b, MAX));
    assert_true(memory_take_decoder(&budget, &a, 100 * MAX, &is_exempt));
    assert_true(is_exempt);
    expect_taken(MAX);
    assert_ptr_equal(atomic_load(&budget.favoured), &a);
    assert_false(memory_take_decoder(&budget, &a, 1, &is_exempt));
    assert_false(is_exempt);
    assert_false(memory_take_decoder(&budget, &b, 1, &is_exempt));
    unsigned before = gifts();
    memory_end_exemption(&budget);
    assert_int_not_equal(gifts(), before);
    assert_true(memory_take_decoder(&budget, &a, 1, &is_exempt));
    assert_true(is_exempt);
}

/* ---- what cannot wait */

static void result__beyond_the_budget__of_the_reserve(void **state)
{
    (void)state;
    struct memory_grant first = { 0 }, second = { 0 };
    budget.reserve_max = 50;
    assert_true(memory_take(&budget, &b, MAX + 1)); /* b is favoured */
    assert_true(memory_take_result(&budget, &a, 30, &first));
    assert_int_equal(first.reserved, 30);
    assert_int_equal(first.taken, 0);
    assert_false(memory_take_result(&budget, &a, 21, &second));
    assert_true(memory_take_result(&budget, &a, 20, &first));
    assert_int_equal(atomic_load(&budget.reserved), 50);
    memory_give_back(&budget, &first);
    memory_give_back(&budget, &first);
    assert_int_equal(atomic_load(&budget.reserved), 0);
    expect_taken(MAX + 1);
}

static void growth__of_the_budget_then_of_the_reserve__never_of_the_overdraft(void **state)
{
    (void)state;
    struct memory_grant grant = { 0 };
    budget.reserve_max = 50;
    assert_true(memory_take_growth(&budget, MAX, &grant));
    assert_true(memory_take_growth(&budget, 50, &grant));
    assert_false(memory_take_growth(&budget, 1, &grant));
    assert_int_equal(grant.taken, MAX);
    assert_int_equal(grant.reserved, 50);
    assert_null(atomic_load(&budget.favoured));
    memory_give_back(&budget, &grant);
    expect_taken(0);
    assert_int_equal(atomic_load(&budget.reserved), 0);
}

static void window__more_unread_than_it__nothing_until_it_was_read(void **state)
{
    (void)state;
    a.window = 100;
    atomic_store(&a.unread, 100);
    assert_true(memory_take(&budget, &a, 1));
    atomic_store(&a.unread, 101);
    assert_false(memory_take(&budget, &a, 1));
    assert_true(memory_take(&budget, &b, 1)); /* that is a's affair */
    expect_taken(2);
    unsigned before = gifts();
    memory_read(&budget, &a, 1);
    assert_int_not_equal(gifts(), before);
    assert_int_equal(atomic_load(&a.unread), 100);
    assert_true(memory_take(&budget, &a, 1));
    expect_taken(3);
}

static void window__unread_too_much__is_not_favoured(void **state)
{
    (void)state;
    a.window = 100;
    atomic_store(&a.unread, 101);
    assert_false(memory_take(&budget, &a, MAX + 1));
    assert_null(atomic_load(&budget.favoured));
}

static void window__none__unread_does_not_matter(void **state)
{
    (void)state;
    atomic_store(&a.unread, SIZE_MAX);
    assert_true(memory_take(&budget, &a, 1));
}

/* ---- many threads */

enum { THREADS = 8, ROUNDS = 4000, TAKES = 8, TAKE_MAX = 200 };

struct worker {
    pthread_t id;
    unsigned seed;
    size_t refused;
};

static atomic_bool is_over;
static _Atomic size_t worst_taken, worst_granted, granted;

static void note_worst(_Atomic size_t *worst, size_t bytes)
{
    size_t before = atomic_load(worst);
    while (bytes > before && !atomic_compare_exchange_weak(worst, &before, bytes)) {
    }
}

static void *watch(void *user)
{
    while (!atomic_load(&is_over))
        note_worst(&worst_taken, atomic_load(&budget.taken));
    return user;
}

/* One call after another: each takes a few times, reads nothing, gives everything back and is closed. */
static void *work(void *user)
{
    struct worker *worker = user;
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct memory_account account = { 0 };
        size_t mine = 0;
        for (unsigned i = 0; i < TAKES; i++) {
            size_t bytes = (size_t)rand_r(&worker->seed) % TAKE_MAX;
            if (!memory_take(&budget, &account, bytes)) {
                worker->refused++;
                continue;
            }
            mine += bytes;
            note_worst(&worst_granted, atomic_fetch_add(&granted, bytes) + bytes);
        }
        atomic_fetch_sub(&granted, mine);
        memory_give(&budget, mine);
        memory_close(&budget, &account);
    }
    return NULL;
}

static void take__many_threads__the_sum_holds_at_every_moment(void **state)
{
    (void)state;
    struct worker workers[THREADS];
    pthread_t watcher;
    size_t refused = 0;
    atomic_store(&is_over, false);
    atomic_store(&worst_taken, 0);
    atomic_store(&worst_granted, 0);
    assert_int_equal(pthread_create(&watcher, NULL, watch, NULL), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){ .seed = i };
        assert_int_equal(pthread_create(&workers[i].id, NULL, work, &workers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(workers[i].id, NULL);
        refused += workers[i].refused;
    }
    atomic_store(&is_over, true);
    pthread_join(watcher, NULL);
    expect_taken(0);
    assert_null(atomic_load(&budget.favoured));
    assert_true(refused > 0); /* else it was no test */
    assert_in_range(atomic_load(&worst_granted), MAX / 2, MAX + OVERDRAFT);
    assert_in_range(atomic_load(&worst_taken), 0, MAX + OVERDRAFT);
}

/* Takes that fit together are never refused because of one another, nor by one that does not fit. */
static void *take_what_fits(void *user)
{
    struct worker *worker = user;
    for (unsigned round = 0; round < 10 * ROUNDS; round++) {
        if (memory_take(&budget, &a, MAX / THREADS))
            memory_give(&budget, MAX / THREADS);
        else
            worker->refused++;
    }
    return NULL;
}

static void *take_too_much(void *user)
{
    while (!atomic_load(&is_over))
        if (memory_take(&budget, &b, MAX + OVERDRAFT + 1))
            return user;
    return NULL;
}

static void take__many_threads_that_fit__none_is_refused(void **state)
{
    (void)state;
    struct worker workers[THREADS];
    pthread_t greedy;
    void *succeeded;
    atomic_store(&is_over, false);
    assert_int_equal(pthread_create(&greedy, NULL, take_too_much, &budget), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){ .seed = i };
        assert_int_equal(pthread_create(&workers[i].id, NULL, take_what_fits, &workers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(workers[i].id, NULL);
    atomic_store(&is_over, true);
    pthread_join(greedy, &succeeded);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(workers[i].refused, 0);
    assert_null(succeeded);
    expect_taken(0);
}

#define budget_test(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        budget_test(take__within_the_budget__anybody),
        budget_test(take__beyond_the_budget__the_first_is_favoured),
        budget_test(take__favoured_beyond_the_overdraft__refused),
        budget_test(take__absurd_amounts__refused_without_wrapping),
        budget_test(take__favoured_stays_so__though_there_is_room_again),
        budget_test(close__favoured__another_may_be),
        budget_test(close__not_favoured__changes_nothing),
        budget_test(give__something__is_announced),
        budget_test(decoder__within_the_budget__taken),
        budget_test(decoder__beyond_the_budget__one_of_the_favoured_is_exempt),
        budget_test(result__beyond_the_budget__of_the_reserve),
        budget_test(growth__of_the_budget_then_of_the_reserve__never_of_the_overdraft),
        budget_test(window__more_unread_than_it__nothing_until_it_was_read),
        budget_test(window__unread_too_much__is_not_favoured),
        budget_test(window__none__unread_does_not_matter),
        budget_test(take__many_threads__the_sum_holds_at_every_moment),
        budget_test(take__many_threads_that_fit__none_is_refused),
    };
    return cmocka_run_group_tests_name("memory_budget", tests, NULL, NULL);
}
