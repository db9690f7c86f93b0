/* job_queue: whose turn it is among priorities, tasks and calls; what comes back; how long a job would wait. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "pool/job_queue.h"

enum { JOBS = 400, TASKS = 4, MS = 1000000 };

static struct job_task tasks[TASKS];
static struct job jobs[JOBS];
static struct job_queue queue;

static int setup(void **state)
{
    (void)state;
    memset(tasks, 0, sizeof tasks);
    memset(jobs, 0, sizeof jobs);
    queue = (struct job_queue){ .tasks = tasks };
    for (unsigned i = 0; i < TASKS; i++)
        tasks[i].run_ns = MS;
    return 0;
}

static struct job *add(unsigned index, unsigned task, enum task_priority priority, struct job_flow *flow)
{
    struct job *job = &jobs[index];
    *job = (struct job){ .task = task, .priority = priority, .flow = flow };
    job_queue_add(&queue, job);
    return job;
}

static unsigned take(void)
{
    struct job *job = job_queue_take(&queue);
    assert_non_null(job);
    return (unsigned)(job - jobs);
}

/* One that was taken has run. */
static void end(unsigned index, uint64_t took_ns)
{
    jobs[index].usage.wall_ns = took_ns;
    job_queue_note_end(&queue, &jobs[index]);
}

/* Takes all that is left: every job once. */
static void drain(size_t expected)
{
    bool is_seen[JOBS] = { false };
    assert_int_equal(queue.count, expected);
    for (size_t i = 0; i < expected; i++) {
        unsigned index = take();
        assert_false(is_seen[index]);
        is_seen[index] = true;
    }
    assert_null(job_queue_take(&queue));
    assert_int_equal(queue.count, 0);
    for (unsigned i = 0; i < TASKS; i++)
        for (unsigned p = 0; p < PRIORITY_COUNT; p++) {
            assert_null(tasks[i].lines[p].jobs.first);
            assert_int_equal(tasks[i].lines[p].expected_ns, 0);
        }
}

static void jobs__of_one_task__in_order(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 5; i++)
        add(i, 0, PRIORITY_NORMAL, NULL);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(take(), i);
    drain(0);
}

/* A map with many jobs, and single calls that come later: each waits for one job of the map at most. */
static void calls__one_big__a_turn_each(void **state)
{
    (void)state;
    struct job_flow flow = { 0 };
    for (unsigned i = 0; i < 100; i++)
        add(i, 0, PRIORITY_NORMAL, &flow);
    assert_int_equal(take(), 0);
    for (unsigned i = 100; i < 103; i++)
        add(i, 0, PRIORITY_NORMAL, NULL);
    assert_int_equal(take(), 1); /* was in the line before */
    assert_int_equal(take(), 100);
    assert_int_equal(take(), 101);
    assert_int_equal(take(), 102);
    assert_int_equal(take(), 2);
    drain(97);
}

static void calls__two_big__alternate(void **state)
{
    (void)state;
    struct job_flow flows[2] = { 0 };
    for (unsigned i = 0; i < 20; i++)
        add(i, 0, PRIORITY_NORMAL, &flows[0]);
    for (unsigned i = 20; i < 40; i++)
        add(i, 0, PRIORITY_NORMAL, &flows[1]);
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(take(), i);
        assert_int_equal(take(), 20 + i);
    }
    drain(0);
}

/* By time, not by number: ten times the cost, a tenth of the turns. */
static void tasks__of_unequal_cost__share_the_time(void **state)
{
    (void)state;
    tasks[1].run_ns = 10 * MS;
    for (unsigned i = 0; i < 200; i++)
        add(i, i < 100 ? 0 : 1, PRIORITY_NORMAL, NULL);
    unsigned costly = 0;
    for (unsigned i = 0; i < 55; i++)
        costly += take() >= 100;
    assert_in_range(costly, 4, 6);
    drain(145);
}

static void task__new_among_busy_ones__is_next(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 100; i++)
        add(i, 0, PRIORITY_NORMAL, NULL);
    for (unsigned i = 0; i < 50; i++)
        end(take(), MS);
    add(100, 1, PRIORITY_NORMAL, NULL);
    unsigned first = take(), second = take();
    assert_true(first == 100 || second == 100);
    /* it has no claim on what it did not use before */
    for (unsigned i = 101; i < 111; i++)
        add(i, 1, PRIORITY_NORMAL, NULL);
    unsigned of_it = 0;
    for (unsigned i = 0; i < 10; i++)
        of_it += take() > 100;
    assert_in_range(of_it, 4, 6);
    drain(49);
}

static void priority__high_into_a_backlog__is_next(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 50; i++)
        add(i, 0, PRIORITY_NORMAL, NULL);
    for (unsigned i = 0; i < 20; i++)
        (void)take();
    add(50, 0, PRIORITY_HIGH, NULL);
    assert_int_equal(take(), 50);
    drain(30);
}

static void priority__all_busy__sixteen_four_one(void **state)
{
    (void)state;
    unsigned taken[PRIORITY_COUNT] = { 0 };
    for (unsigned i = 0; i < 300; i++)
        add(i, 0, (enum task_priority)(i / 100), NULL);
    for (unsigned i = 0; i < 105; i++)
        taken[jobs[take()].priority]++;
    assert_in_range(taken[PRIORITY_HIGH], 78, 82);
    assert_in_range(taken[PRIORITY_NORMAL], 18, 22);
    assert_in_range(taken[PRIORITY_LOW], 4, 6);
    drain(195);
}

static void concurrency__reached__others_go_ahead(void **state)
{
    (void)state;
    tasks[0].started_max = 2;
    for (unsigned i = 0; i < 5; i++)
        add(i, 0, PRIORITY_NORMAL, NULL);
    assert_int_equal(take(), 0);
    assert_int_equal(take(), 1);
    assert_null(job_queue_take(&queue));
    add(5, 1, PRIORITY_LOW, NULL);
    assert_int_equal(take(), 5);
    assert_null(job_queue_take(&queue));
    job_queue_note_end(&queue, &jobs[0]);
    assert_int_equal(take(), 2);
    job_queue_put_back(&queue, &jobs[2]);
    assert_int_equal(take(), 2);
    assert_null(job_queue_take(&queue));
}

static void put_back__several__keep_their_order(void **state)
{
    (void)state;
    struct job_flow flow = { 0 };
    for (unsigned i = 0; i < 10; i++)
        add(i, 0, PRIORITY_NORMAL, i % 2 ? &flow : NULL);
    unsigned first[6];
    for (unsigned i = 0; i < 6; i++)
        first[i] = take();
    for (unsigned i = 6; i-- > 0;)
        job_queue_put_back(&queue, &jobs[first[i]]);
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(take(), first[i]);
    drain(4);
}

/* A burst of low ones that went behind a long one, all unknown: they come back as if they had never been taken. */
static void put_back_low_ones(bool is_before)
{
    unsigned taken[7], count = 0;
    memset(tasks, 0, sizeof tasks);
    for (unsigned i = 0; i < 6; i++)
        add(i, 0, PRIORITY_LOW, NULL);
    while (count < 6)
        taken[count++] = take();
    if (is_before) { /* it was behind them in the mailbox */
        add(6, 1, PRIORITY_HIGH, NULL);
        taken[count++] = take();
    }
    while (count > 1)
        job_queue_put_back(&queue, &jobs[taken[--count]]);
    if (!is_before)
        add(6, 1, PRIORITY_HIGH, NULL);
    assert_int_equal(take(), 6);
    drain(5);
}

static void put_back__low_ones__a_high_one_is_next(void **state)
{
    (void)state;
    put_back_low_ones(false);
}

static void put_back__low_ones_and_a_high_one__that_is_next(void **state)
{
    (void)state;
    put_back_low_ones(true);
}

/* Unknown ones are charged what they took, so a high one is next each time. */
static void cost__of_an_unknown_task__is_charged_when_it_is_known(void **state)
{
    (void)state;
    tasks[0].run_ns = 0;
    for (unsigned i = 0; i < 20; i++)
        add(i, 0, PRIORITY_LOW, NULL);
    end(take(), 1000 * MS);
    tasks[0].run_ns = 1000 * MS;
    for (unsigned i = 20; i < 30; i++) {
        add(i, 1, PRIORITY_HIGH, NULL);
        assert_int_equal(take(), i);
        end(i, MS);
        if (i == 24)
            end(take(), 1000 * MS);
    }
    drain(18);
}

static void remove__first_and_waiting__the_call_goes_on(void **state)
{
    (void)state;
    struct job_flow flow = { 0 };
    for (unsigned i = 0; i < 5; i++)
        add(i, 0, PRIORITY_NORMAL, &flow);
    job_queue_remove(&queue, &jobs[0]); /* was in the line */
    job_queue_remove(&queue, &jobs[2]); /* waited for it */
    assert_int_equal(take(), 1);
    job_queue_put_back(&queue, &jobs[1]);
    job_queue_remove(&queue, &jobs[1]);
    assert_int_equal(take(), 3);
    assert_int_equal(take(), 4);
    drain(0);
    assert_int_equal(flow.in_line, 0);
}

static void wait__by_what_is_ahead(void **state)
{
    (void)state;
    struct job job = { .task = 0 }, other = { .task = 1 }, high = { .task = 0, .priority = PRIORITY_HIGH };
    assert_int_equal(job_queue_wait_ns(&queue, &job, 2), 0);
    for (unsigned i = 0; i < 100; i++)
        add(i, 0, PRIORITY_NORMAL, NULL);
    assert_int_equal(job_queue_wait_ns(&queue, &job, 2), 50 * MS);
    assert_int_equal(job_queue_wait_ns(&queue, &other, 2), 0); /* the next but one */
    assert_int_equal(job_queue_wait_ns(&queue, &high, 2), 0);
    for (unsigned i = 100; i < 110; i++)
        add(i, 1, PRIORITY_NORMAL, NULL);
    assert_int_equal(job_queue_wait_ns(&queue, &other, 1), 20 * MS); /* as many of the others */
    for (unsigned i = 110; i < 120; i++)
        add(i, 2, PRIORITY_LOW, NULL);
    assert_int_equal(job_queue_wait_ns(&queue, &other, 1), 22 * MS + MS / 2);
    tasks[0].started_max = 1;
    assert_int_equal(job_queue_wait_ns(&queue, &job, 4), 100 * MS);
}

/* Random comings and goings: nothing is lost, nothing comes twice, the sums are right. */
static void random__of_everything__adds_up(void **state)
{
    (void)state;
    enum { OUT, WAITS, TAKEN } places[JOBS] = { OUT };
    static struct job_flow flows[TASKS][PRIORITY_COUNT];
    size_t waiting = 0;
    srandom(7);
    for (unsigned step = 0; step < 200000; step++) {
        unsigned index = (unsigned)random() % JOBS, what = (unsigned)random() % 4;
        if (places[index] == OUT) {
            unsigned task = (unsigned)random() % TASKS, priority = (unsigned)random() % PRIORITY_COUNT;
            add(index, task, (enum task_priority)priority, random() % 2 ? &flows[task][priority] : NULL);
            places[index] = WAITS;
            waiting++;
        } else if (places[index] == WAITS && what == 0) {
            job_queue_remove(&queue, &jobs[index]);
            places[index] = OUT;
            waiting--;
        } else if (places[index] == WAITS) {
            unsigned taken = take();
            assert_int_equal(places[taken], WAITS);
            places[taken] = TAKEN;
            waiting--;
        } else if (what == 0) {
            job_queue_put_back(&queue, &jobs[index]);
            places[index] = WAITS;
            waiting++;
        } else {
            job_queue_note_end(&queue, &jobs[index]);
            places[index] = OUT;
        }
        assert_int_equal(queue.count, waiting);
    }
    drain(waiting);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(jobs__of_one_task__in_order, setup),
        cmocka_unit_test_setup(calls__one_big__a_turn_each, setup),
        cmocka_unit_test_setup(calls__two_big__alternate, setup),
        cmocka_unit_test_setup(tasks__of_unequal_cost__share_the_time, setup),
        cmocka_unit_test_setup(task__new_among_busy_ones__is_next, setup),
        cmocka_unit_test_setup(priority__high_into_a_backlog__is_next, setup),
        cmocka_unit_test_setup(priority__all_busy__sixteen_four_one, setup),
        cmocka_unit_test_setup(concurrency__reached__others_go_ahead, setup),
        cmocka_unit_test_setup(put_back__several__keep_their_order, setup),
        cmocka_unit_test_setup(put_back__low_ones__a_high_one_is_next, setup),
        cmocka_unit_test_setup(put_back__low_ones_and_a_high_one__that_is_next, setup),
        cmocka_unit_test_setup(cost__of_an_unknown_task__is_charged_when_it_is_known, setup),
        cmocka_unit_test_setup(remove__first_and_waiting__the_call_goes_on, setup),
        cmocka_unit_test_setup(wait__by_what_is_ahead, setup),
        cmocka_unit_test_setup(random__of_everything__adds_up, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
