/* fake_tasks: a registry of tasks that do what a test tells them to, in place of tasks/registry.c.
 *
 * Include it in exactly one file of a driver: it defines task_table, task_count and task_find, so the linker does not
 * take the real ones from the library. Test and workers talk through `stage`, which is shared memory: stage_open()
 * before the first fork. */
#ifndef TWINPOOL_TESTS_FAKE_TASKS_H
#define TWINPOOL_TESTS_FAKE_TASKS_H

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "base/json_write.h"
#include "tasks/task.h"

enum fake_task {
    FAKE_ECHO,
    FAKE_GATE,
    FAKE_NAP,
    FAKE_TRAP,
    FAKE_FLAKY,
    FAKE_FRAGILE,
    FAKE_BLOB,
    FAKE_LENGTH,
    FAKE_FAIL,
    FAKE_BYTES,
    FAKE_COUNT
};

enum { STAGE_CELLS = 1024, TRAP_N = 13 };

struct stage {
    _Atomic uint32_t entered[STAGE_CELLS]; /* times that a gate was reached, by its n */
    _Atomic uint32_t is_open[STAGE_CELLS];
    _Atomic uint32_t crashes_left; /* of the flaky and the fragile task */
    _Atomic bool must_halt;        /* the length task stops for its tracer */
};

static struct stage *stage;

static bool stage_open(void)
{
    void *at = mmap(NULL, sizeof *stage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    stage = at == MAP_FAILED ? NULL : at;
    return stage != NULL;
}

static void stage_close(void) { munmap(stage, sizeof *stage); }

static void nap_us(int64_t us)
{
    const struct timespec time = { .tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000 };
    nanosleep(&time, NULL);
}

static int64_t arg_n(const struct task_input *input) { return input->args[0].number; }

/* The result is n. */
static enum status run_echo(const struct task_input *input, struct task_output *output)
{
    json_int(output->result, arg_n(input));
    return ST_OK;
}

/* Returns when the test has opened gate n. */
static enum status run_gate(const struct task_input *input, struct task_output *output)
{
    atomic_fetch_add(&stage->entered[arg_n(input)], 1);
    while (atomic_load(&stage->is_open[arg_n(input)]) == 0)
        nap_us(100);
    json_int(output->result, arg_n(input));
    return ST_OK;
}

/* Takes n microseconds. */
static enum status run_nap(const struct task_input *input, struct task_output *output)
{
    nap_us(arg_n(input));
    json_int(output->result, arg_n(input));
    return ST_OK;
}

/* Dies of n = TRAP_N. */
static enum status run_trap(const struct task_input *input, struct task_output *output)
{
    if (arg_n(input) == TRAP_N)
        raise(SIGABRT);
    json_int(output->result, arg_n(input));
    return ST_OK;
}

/* Dies as often as the stage says. */
static enum status run_flaky(const struct task_input *input, struct task_output *output)
{
    if (atomic_load(&stage->crashes_left) > 0) {
        atomic_fetch_sub(&stage->crashes_left, 1);
        raise(SIGABRT);
    }
    json_int(output->result, arg_n(input));
    return ST_OK;
}

/* A string of n bytes. */
static enum status run_blob(const struct task_input *input, struct task_output *output)
{
    struct buf *result = output->result;
    size_t len = (size_t)arg_n(input);
    char *at = buf_reserve(result, len + 2);
    if (at == NULL)
        return ST_OK; /* the caller looks at result->failed */
    memset(at, 'x', len + 2);
    at[0] = at[len + 1] = '"';
    result->len += len + 2;
    return ST_OK;
}

/* The sum of the payload's bytes: proves that each of them arrived. */
static enum status run_length(const struct task_input *input, struct task_output *output)
{
    const unsigned char *bytes = input->payload;
    uint64_t sum = 0;
    if (atomic_load(&stage->must_halt))
        raise(SIGSTOP);
    for (size_t i = 0; i < input->payload_len; i++)
        sum += bytes[i];
    json_uint(output->result, sum);
    return ST_OK;
}

static enum status run_fail(const struct task_input *input UNUSED, struct task_output *output)
{
    buf_str(output->result, "half a res"); /* must not be seen */
    return task_fail(output, ST_TASK_FAILED, "as it was told to");
}

/* n bytes that are no text. */
static enum status run_bytes(const struct task_input *input, struct task_output *output)
{
    output->is_binary = true;
    for (int64_t i = 0; i < arg_n(input); i++)
        buf_byte(output->result, (char)(0xff - i % 2));
    return ST_OK;
}

static const struct param n_params[] = {
    { .name = "n",
      .description = "a number",
      .kind = PARAM_INT,
      .required = true,
      .minimum = 0,
      .maximum = INT64_C(1) << 40 },
    { .name = NULL },
};
static const struct param no_params[] = { { .name = NULL } };

static const struct task fake_tasks[FAKE_COUNT] = {
    [FAKE_ECHO] = { .name = "echo", .description = "", .params = n_params, .is_idempotent = true, .run = run_echo },
    [FAKE_GATE] = { .name = "gate", .description = "", .params = n_params, .is_idempotent = true, .run = run_gate },
    [FAKE_NAP] = { .name = "nap", .description = "", .params = n_params, .is_idempotent = true, .run = run_nap },
    [FAKE_TRAP] = { .name = "trap", .description = "", .params = n_params, .is_idempotent = true, .run = run_trap },
    [FAKE_FLAKY] = { .name = "flaky", .description = "", .params = n_params, .is_idempotent = true, .run = run_flaky },
    [FAKE_FRAGILE] = { .name = "fragile", .description = "", .params = n_params, .run = run_flaky },
    [FAKE_BLOB] = { .name = "blob", .description = "", .params = n_params, .is_idempotent = true, .run = run_blob },
    [FAKE_LENGTH] = { .name = "length",
                      .description = "",
                      .params = no_params,
                      .takes_payload = true,
                      .is_idempotent = true,
                      .run = run_length },
    [FAKE_FAIL] = { .name = "fail", .description = "", .params = no_params, .is_idempotent = true, .run = run_fail },
    [FAKE_BYTES] = { .name = "bytes", .description = "", .params = n_params, .is_idempotent = true, .run = run_bytes },
};

const struct task *task_table[TASKS_MAX] = { &fake_tasks[0], &fake_tasks[1], &fake_tasks[2], &fake_tasks[3],
                                             &fake_tasks[4], &fake_tasks[5], &fake_tasks[6], &fake_tasks[7],
                                             &fake_tasks[8], &fake_tasks[9] };
size_t task_count = FAKE_COUNT;

bool task_register(const struct task *task UNUSED) { return false; }
void task_replace(const struct task *task UNUSED) {}

int task_find(const char *name)
{
    for (size_t i = 0; i < task_count; i++)
        if (strcmp(task_table[i]->name, name) == 0)
            return (int)i;
    return -1;
}

#endif
