/* Real processes killed and stopped at real instructions.
 *
 * A worker (worker_main() itself) or a front end is run under ptrace, one instruction at a time from just before it
 * meets a job. At instruction N it is killed, or left stopped for good, and the other side has to cope: the job ends
 * exactly once, the successor works, no slot and no spilled byte is lost. Then the same at the next N: at every
 * instruction around the stores that matter (found by watching the slot's word), and evenly over all the others. A
 * front end's instructions are too many for that: it is also killed at instants spread over its running time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/support/fake_tasks.h"
#include "tests/support/pool_rig.h"
#include "tests/support/procs.h"
#include "tests/support/timing.h"

#ifdef __x86_64__

enum { WAIT_MS = 5000, STEPS_MAX = 4000000, POINTS_MAX = 400, BEFORE = 60, AFTER = 30, PAYLOAD_BYTES = 20000 };

/* Where stepping begins: asleep, with a job to wake up for; or in the midst of the task. */
enum phase { FROM_SLEEP, FROM_TASK, FROM_FRONT_END };
static const char *const phase_names[] = { "from sleep to task", "from task to sleep", "front end" };

struct ctx {
    struct pool_rig rig;
    struct pool_probe probes[4];
    enum phase phase;
    uint32_t points[POINTS_MAX];
    unsigned point_count;
    char *payload;
};

/* A tenth of the points where each instruction takes ten times as long. */
static unsigned scaled_points(unsigned count) { return scaled_ms(1) > 1 ? count / 10 : count; }

/* ---- stepping */

static void be_traced_worker(const struct worker_config *config)
{
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    worker_main(config);
}

/* Resumes it, for one instruction or until a signal comes. Returns the signal that it stopped for, 0: it has ended. */
static int resume(pid_t pid, bool is_one_step)
{
    int wait_status;
    if (ptrace(is_one_step ? PTRACE_SINGLESTEP : PTRACE_CONT, pid, NULL, NULL) != 0 ||
        waitpid(pid, &wait_status, 0) != pid)
        return 0;
    return WIFSTOPPED(wait_status) ? WSTOPSIG(wait_status) : 0;
}

static bool step(pid_t pid) { return resume(pid, true) != 0; }

/* The next instruction waits for a futex. The text is the same in this process, which is its parent. */
static bool is_before_futex_wait(pid_t pid)
{
    static const unsigned char syscall_opcode[] = { 0x0f, 0x05 };
    struct user_regs_struct regs;
    return ptrace(PTRACE_GETREGS, pid, NULL, &regs) == 0 && regs.rax == SYS_futex && (regs.rsi & 127) == FUTEX_WAIT &&
           memcmp((const void *)regs.rip, syscall_opcode, sizeof syscall_opcode) == 0;
}

/* Its next step would not return: it has run its job and nothing is left to do. */
static bool is_going_to_sleep(const struct ctx *ctx, pid_t pid, uint32_t told_before)
{
    const struct mailbox *mailbox = ctx->rig.mailboxes[0];
    return atomic_load(&mailbox->done_count) != told_before && atomic_load(&mailbox->is_sleeping) == 1 &&
           is_before_futex_wait(pid);
}

static bool is_waiting_for_jobs(void *context)
{
    const struct ctx *ctx = context;
    return atomic_load(&ctx->rig.mailboxes[0]->is_sleeping) == 1 && procs_state(ctx->rig.members[0].pid) == 'S';
}

/* Worker 0 stops inside its futex. Returns its pid. */
static pid_t stop_worker(struct ctx *ctx)
{
    assert_true(pool_rig_wait_ready(&ctx->rig, scaled_ms(WAIT_MS)));
    assert_true(pool_rig_wait(&ctx->rig, is_waiting_for_jobs, ctx, scaled_ms(WAIT_MS)));
    int wait_status;
    pid_t pid = ctx->rig.members[0].pid;
    kill(pid, SIGSTOP);
    assert_int_equal(waitpid(pid, &wait_status, 0), pid);
    assert_true(WIFSTOPPED(wait_status));
    return pid;
}

/* Without args: the check of a JSON text would be nine tenths of the instructions. */
static enum status submit_payload(struct ctx *ctx, unsigned index, size_t len)
{
    struct pool_probe *probe = &ctx->probes[index];
    job_clear(&probe->job);
    pool_probe_init(probe, FAKE_LENGTH, 0);
    probe->job.args_len = 0;
    probe->job.payload = ctx->payload;
    probe->job.payload_len = len;
    probe->job.has_payload = true;
    enum status status = process_pool_submit(ctx->rig.pool, &probe->job);
    process_pool_end_turn(ctx->rig.pool); /* a tiny job's worker is woken then */
    return status;
}

/* A small job whose result is its own, and which takes the same instructions each time. */
static void submit(struct ctx *ctx, unsigned index) { assert_int_equal(submit_payload(ctx, index, 50 + index), ST_OK); }

static void add_point(struct ctx *ctx, uint32_t point)
{
    if (ctx->point_count < POINTS_MAX)
        ctx->points[ctx->point_count++] = point;
}

static void add_even_points(struct ctx *ctx, uint32_t span, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        add_point(ctx, (uint32_t)((uint64_t)span * i / count));
}

/* ---- a worker's life */

/* Gives worker 0 job 0 and brings it to where the phase begins. */
static pid_t begin_phase(struct ctx *ctx, enum phase phase)
{
    pid_t pid = stop_worker(ctx);
    submit(ctx, 0);
    assert_int_equal(ctx->probes[0].job.worker, 0);
    if (phase == FROM_TASK) {
        atomic_store(&stage->must_halt, true);
        assert_int_equal(resume(pid, false), SIGSTOP);
        atomic_store(&stage->must_halt, false);
    }
    return pid;
}

/* Runs the phase once to see how long it is; around the store that changes the word every `every`th instruction is a
 * point. */
static void choose_points(struct ctx *ctx, enum phase phase, unsigned even, unsigned every)
{
    const struct mailbox *mailbox = ctx->rig.mailboxes[0];
    pid_t pid = begin_phase(ctx, phase);
    uint32_t told = atomic_load(&mailbox->done_count), span = 0, change = 0;
    enum slot_state state = mailbox_peek(mailbox, 0).state;
    atomic_store(&stage->must_halt, true); /* ends the first phase */
    while (span < STEPS_MAX && resume(pid, true) == SIGTRAP && !is_going_to_sleep(ctx, pid, told)) {
        span++;
        if (mailbox_peek(mailbox, 0).state != state) {
            state = mailbox_peek(mailbox, 0).state;
            change = span;
        }
    }
    atomic_store(&stage->must_halt, false);
    assert_int_equal(state, phase == FROM_SLEEP ? SLOT_RUNNING : SLOT_DONE);
    ctx->phase = phase;
    ctx->point_count = 0;
    add_point(ctx, change); /* the one between DONE and done_count, in the second phase */
    for (uint32_t at = change > BEFORE ? change - BEFORE : 0; at < change + AFTER; at += every)
        add_point(ctx, at);
    add_even_points(ctx, span, scaled_points(even));
    ptrace(PTRACE_CONT, pid, NULL, NULL);
    assert_true(pool_rig_wait_ended(&ctx->rig, ctx->probes, 1, scaled_ms(WAIT_MS)));
    print_message("             %s: the word changes after %u of %u instructions; %u points\n", phase_names[phase],
                  change, span, ctx->point_count);
}

/* Begins the phase and goes on to the point, or to its next sleep. */
static pid_t run_worker_to(struct ctx *ctx, uint32_t point)
{
    pid_t pid = begin_phase(ctx, ctx->phase);
    uint32_t told = atomic_load(&ctx->rig.mailboxes[0]->done_count);
    for (uint32_t i = 0; i < point && !is_going_to_sleep(ctx, pid, told); i++)
        assert_true(step(pid));
    return pid;
}

NORETURN static void fail_at(const struct ctx *ctx, uint32_t point, const char *what)
{
    fail_msg("%s, instruction %u: %s", phase_names[ctx->phase], point, what);
    abort(); /* fail_msg() does not come back, but does not say so */
}

static void assert_right(const struct ctx *ctx, unsigned index, uint32_t point)
{
    const struct pool_probe *probe = &ctx->probes[index];
    bool is_right = probe->ends == 1 && probe->job.status == ST_OK &&
                    strtoull(probe->job.result, NULL, 10) == probe->job.payload_len;
    if (!is_right)
        fail_at(ctx, point, status_code(probe->job.status));
}

static void assert_nothing_left(const struct ctx *ctx, uint32_t point)
{
    struct process_pool_stats stats;
    process_pool_get_stats(ctx->rig.pool, &stats);
    if (!pool_rig_is_empty(&ctx->rig) || stats.queued + stats.running + stats.held_bytes > 0)
        fail_at(ctx, point, "a slot is lost");
    if (pool_rig_spilled_blocks(&ctx->rig) > 0)
        fail_at(ctx, point, "spilled bytes are left");
}

static void await(struct ctx *ctx, uint32_t point, unsigned first, unsigned count)
{
    if (!pool_rig_wait_ended(&ctx->rig, ctx->probes + first, count, scaled_ms(WAIT_MS)))
        fail_at(ctx, point, "a job does not end");
}

static void kill_at(struct ctx *ctx, uint32_t point)
{
    pid_t pid = run_worker_to(ctx, point);
    bool was_done = mailbox_peek(ctx->rig.mailboxes[0], 0).state == SLOT_DONE;
    struct process_pool_stats before, after;
    process_pool_get_stats(ctx->rig.pool, &before);
    kill(pid, SIGKILL);
    submit(ctx, 1);
    await(ctx, point, 0, 2);
    assert_right(ctx, 0, point);
    assert_right(ctx, 1, point);
    process_pool_get_stats(ctx->rig.pool, &after);
    /* what was finished is not done again */
    if (was_done && (ctx->probes[0].job.attempts != 1 || after.requeued != before.requeued))
        fail_at(ctx, point, "the finished job was run again");
    assert_int_equal(after.crashes, before.crashes + 1);
    assert_nothing_left(ctx, point);
}

static void worker__killed_at_any_instruction__jobs_end_once_and_the_successor_works(void **state)
{
    struct ctx *ctx = *state;
    for (enum phase phase = FROM_SLEEP; phase <= FROM_TASK; phase++) {
        choose_points(ctx, phase, 40, scaled_ms(1) > 1 ? 9 : 1);
        for (unsigned i = 0; i < ctx->point_count; i++)
            kill_at(ctx, ctx->points[i]);
    }
}

/* Job 0 is with the stopped worker; it ends when it is given to the other one, or at its deadline. */
static void stop_at(struct ctx *ctx, uint32_t point)
{
    pid_t pid = run_worker_to(ctx, point);
    bool was_done = mailbox_peek(ctx->rig.mailboxes[0], 0).state == SLOT_DONE;
    ptrace(PTRACE_DETACH, pid, NULL, (void *)SIGSTOP);
    for (unsigned i = 1; i < 4; i++)
        submit(ctx, i);
    await(ctx, point, 1, 3);
    for (unsigned i = 1; i < 4; i++)
        assert_right(ctx, i, point);
    if (ctx->probes[0].ends == 0)
        process_pool_cancel(ctx->rig.pool, &ctx->probes[0].job, ST_DEADLINE_EXCEEDED);
    await(ctx, point, 0, 1);
    if (was_done || ctx->probes[0].job.status != ST_DEADLINE_EXCEEDED)
        assert_right(ctx, 0, point);
    assert_int_equal(ctx->probes[0].ends, 1);
    kill(pid, SIGKILL);
    while (ctx->rig.members[0].pid == pid)
        pool_rig_turn(&ctx->rig, 2);
    assert_true(pool_rig_wait_ready(&ctx->rig, scaled_ms(WAIT_MS)));
    assert_nothing_left(ctx, point);
}

static void worker__stopped_at_any_instruction__pool_goes_on_without_it(void **state)
{
    struct ctx *ctx = *state;
    for (enum phase phase = FROM_SLEEP; phase <= FROM_TASK; phase++) {
        choose_points(ctx, phase, 20, scaled_ms(1) > 1 ? 30 : 5);
        for (unsigned i = 0; i < ctx->point_count; i++)
            stop_at(ctx, ctx->points[i]);
    }
}

/* ---- a front end's life */

static bool is_none_pending(void *context)
{
    const struct ctx *ctx = context;
    return ctx->probes[0].ends + ctx->probes[1].ends + ctx->probes[2].ends == 3;
}

/* Attaches; from there on it is stepped: a small job, one with a spilled request, one with a spilled result, one
 * cancelled. */
NORETURN static void be_front_end(struct ctx *ctx)
{
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    raise(SIGSTOP);
    if (!pool_rig_create_pool(&ctx->rig))
        _exit(1);
    pool_probe_init(&ctx->probes[2], FAKE_BLOB, PAYLOAD_BYTES);
    bool is_ok = submit_payload(ctx, 0, 5) == ST_OK && submit_payload(ctx, 1, PAYLOAD_BYTES) == ST_OK &&
                 process_pool_submit(ctx->rig.pool, &ctx->probes[2].job) == ST_OK && submit_payload(ctx, 3, 6) == ST_OK;
    process_pool_cancel(ctx->rig.pool, &ctx->probes[3].job, ST_CANCELLED);
    _exit(is_ok && pool_rig_wait(&ctx->rig, is_none_pending, ctx, scaled_ms(WAIT_MS)) ? 0 : 2);
}

static pid_t start_front_end(struct ctx *ctx)
{
    int wait_status;
    assert_true(pool_rig_wait_ready(&ctx->rig, scaled_ms(WAIT_MS)));
    pool_rig_free_pool(&ctx->rig);
    pid_t pid = fork();
    if (pid == 0)
        be_front_end(ctx);
    assert_int_equal(waitpid(pid, &wait_status, 0), pid);
    assert_true(WIFSTOPPED(wait_status));
    return pid;
}

static uint32_t measure_front_end(struct ctx *ctx)
{
    uint32_t steps = 0;
    pid_t pid = start_front_end(ctx);
    while (steps < STEPS_MAX && step(pid))
        steps++;
    assert_in_range(steps, 1, STEPS_MAX - 1);
    assert_true(pool_rig_create_pool(&ctx->rig));
    return steps;
}

static bool is_nothing_left(void *context)
{
    const struct ctx *ctx = context;
    return pool_rig_is_empty(&ctx->rig);
}

/* Another front end on what the dead one left. */
static void assert_successor_works(struct ctx *ctx, uint32_t point)
{
    assert_true(pool_rig_create_pool(&ctx->rig));
    submit(ctx, 0);
    submit(ctx, 1);
    await(ctx, point, 0, 2);
    assert_right(ctx, 0, point);
    assert_right(ctx, 1, point);
    if (!pool_rig_wait(&ctx->rig, is_nothing_left, ctx, scaled_ms(WAIT_MS)) ||
        !pool_rig_wait_ready(&ctx->rig, scaled_ms(WAIT_MS)))
        fail_at(ctx, point, "a slot or a worker is lost");
    assert_nothing_left(ctx, point);
}

static void kill_front_end(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static void front_end__killed_at_any_instruction__its_successor_finds_every_slot(void **state)
{
    struct ctx *ctx = *state;
    ctx->phase = FROM_FRONT_END;
    if (scaled_ms(1) > 5)
        skip(); /* more than half a million instructions under ThreadSanitizer */
    uint32_t span = measure_front_end(ctx);
    add_even_points(ctx, span, scaled_points(10));
    for (unsigned i = 0; i < ctx->point_count; i++) {
        pid_t pid = start_front_end(ctx);
        bool is_alive = true;
        for (uint32_t at = 0; at < ctx->points[i] && is_alive; at++)
            is_alive = step(pid);
        if (is_alive) /* else it was quicker this time */
            kill_front_end(pid);
        assert_successor_works(ctx, ctx->points[i]);
    }
    print_message("             %u kills over %u instructions\n", ctx->point_count, span);
}

static void front_end__killed_at_any_instant__its_successor_finds_every_slot(void **state)
{
    struct ctx *ctx = *state;
    ctx->phase = FROM_FRONT_END;
    uint64_t start_ns = clock_now_ns();
    resume(start_front_end(ctx), false);
    uint64_t span_ns = clock_now_ns() - start_ns;
    assert_true(pool_rig_create_pool(&ctx->rig));
    unsigned kills = scaled_ms(1) > 1 ? 50 : 300, hits = 0;
    for (unsigned i = 0; i < kills; i++) {
        pid_t pid = start_front_end(ctx);
        start_ns = clock_now_ns();
        ptrace(PTRACE_DETACH, pid, NULL, NULL);
        while (clock_now_ns() < start_ns + span_ns * i / kills)
            ;
        hits += procs_is_gone(pid) ? 0 : 1;
        kill_front_end(pid);
        assert_successor_works(ctx, i);
    }
    print_message("             %u of %u kills hit it alive, over %.3f ms\n", hits, kills, clock_ms(span_ns));
}

/* The front end was told of a worker's death and died before it heard: its successor finds a RUNNING that nobody runs.
 */
static void front_end__dies_with_a_death_unheard__no_worker_is_killed_for_it(void **state)
{
    struct ctx *ctx = *state;
    pid_t pid = stop_worker(ctx);
    submit(ctx, 0);
    while (mailbox_peek(ctx->rig.mailboxes[0], 0).state != SLOT_RUNNING)
        assert_true(step(pid));
    pool_rig_free_pool(&ctx->rig);
    pool_rig_end_worker(&ctx->rig, 0);
    assert_true(pool_rig_start_worker(&ctx->rig, 0));
    assert_true(pool_rig_create_pool(&ctx->rig));
    uint32_t generation = ctx->rig.members[0].generation;
    submit(ctx, 1);
    assert_true(pool_rig_wait_ended(&ctx->rig, ctx->probes + 1, 1, scaled_ms(WAIT_MS)));
    assert_right(ctx, 1, 0);
    assert_int_equal(ctx->rig.members[0].generation, generation);
    assert_nothing_left(ctx, 0);
}

/* ---- set-up */

static bool can_trace(void)
{
    int wait_status;
    pid_t pid = fork();
    if (pid == 0)
        _exit(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0 ? 0 : 1);
    return pid > 0 && waitpid(pid, &wait_status, 0) == pid && wait_status == 0;
}

static int setup(void **state, unsigned workers, void (*run_worker)(const struct worker_config *))
{
    struct ctx *ctx = calloc(1, sizeof *ctx);
    *state = ctx;
    if (ctx == NULL || (ctx->payload = malloc(PAYLOAD_BYTES)) == NULL || !stage_open() ||
        !pool_rig_open(&ctx->rig, workers))
        return -1;
    ctx->rig.run_worker = run_worker;
    memset(ctx->payload, 1, PAYLOAD_BYTES); /* so the sum of n bytes is n */
    return pool_rig_create_pool(&ctx->rig) && pool_rig_start(&ctx->rig) ? 0 : -1;
}

static cpu_set_t all_cpus;

/* Tracer and traced take turns: on one CPU a turn is shorter. */
static void stay_on_one_cpu(void)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    for (size_t cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; cpu++)
        if (CPU_ISSET(cpu, &all_cpus))
            CPU_SET(cpu, &one);
    (void)sched_setaffinity(0, sizeof one, &one);
}

static int setup_traced(void **state)
{
    stay_on_one_cpu();
    return setup(state, 1, be_traced_worker);
}

static int setup_traced_and_another(void **state)
{
    stay_on_one_cpu();
    return setup(state, 2, be_traced_worker);
}

static int setup_plain(void **state)
{
    (void)sched_setaffinity(0, sizeof all_cpus, &all_cpus);
    return setup(state, 2, worker_main);
}

static int teardown(void **state)
{
    struct ctx *ctx = *state;
    for (unsigned i = 0; i < ARRAY_LEN(ctx->probes); i++)
        job_clear(&ctx->probes[i].job);
    pool_rig_close(&ctx->rig);
    stage_close();
    free(ctx->payload);
    free(ctx);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(worker__killed_at_any_instruction__jobs_end_once_and_the_successor_works,
                                        setup_traced, teardown),
        cmocka_unit_test_setup_teardown(worker__stopped_at_any_instruction__pool_goes_on_without_it,
                                        setup_traced_and_another, teardown),
        cmocka_unit_test_setup_teardown(front_end__killed_at_any_instruction__its_successor_finds_every_slot,
                                        setup_plain, teardown),
        cmocka_unit_test_setup_teardown(front_end__killed_at_any_instant__its_successor_finds_every_slot, setup_plain,
                                        teardown),
        cmocka_unit_test_setup_teardown(front_end__dies_with_a_death_unheard__no_worker_is_killed_for_it, setup_traced,
                                        teardown),
    };
    if (!can_trace()) {
        print_message("mailbox_kill: skipped, this machine does not let a process trace its child\n");
        return 0;
    }
    (void)sched_getaffinity(0, sizeof all_cpus, &all_cpus);
    return cmocka_run_group_tests_name("mailbox_kill", tests, NULL, NULL);
}

#else

int main(void)
{
    print_message("mailbox_kill: skipped, it reads the registers of an x86-64\n");
    return 0;
}

#endif
