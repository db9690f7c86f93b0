/* worker: what one slot's job leaves behind, run in this process; and what a worker process keeps, drops and answers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "pool/sandbox.h"
#include "pool/worker.h"
#include "tests/support/fake_tasks.h"
#include "tests/support/pool_rig.h"
#include "tests/support/procs.h"
#include "tests/support/timing.h"

enum { SLOT = 2, SMALL_REGION_BYTES = 64 * 1024, WAIT_MS = 3000 };

/* ---- one slot */

struct ctx {
    struct mailbox *mailbox;
    struct spill spill;
    struct slot *slot;
    char *text; /* of the result, by run() */
};

static int setup(void **state)
{
    struct ctx *ctx = calloc(1, sizeof *ctx);
    if (ctx == NULL || !stage_open() || (ctx->mailbox = mailbox_map()) == NULL ||
        spill_create(SMALL_REGION_BYTES, &ctx->spill) != ST_OK)
        return -1;
    ctx->slot = &ctx->mailbox->slots[SLOT];
    ctx->slot->request = (struct slot_request){ .deadline_ns = CLOCK_NEVER, .result_max = 1 << 20 };
    *state = ctx;
    return 0;
}

static int teardown(void **state)
{
    struct ctx *ctx = *state;
    mailbox_unmap(ctx->mailbox);
    close(ctx->spill.fd);
    stage_close();
    free(ctx->text);
    free(ctx);
    return 0;
}

static void ask(struct ctx *ctx, enum fake_task task, const char *args, unsigned items)
{
    struct slot_request *request = &ctx->slot->request;
    request->task = task;
    request->items = items;
    request->args_len = (uint32_t)strlen(args);
    memcpy(ctx->slot->request_bytes, args, request->args_len);
}

/* Runs the slot and reads the result's bytes from where they are said to be. */
static enum status run(struct ctx *ctx)
{
    struct slot_result *result = &ctx->slot->result;
    worker_run_slot(ctx->mailbox, &ctx->spill, SLOT);
    free(ctx->text);
    ctx->text = calloc(1, result->length + 1);
    assert_non_null(ctx->text);
    if (result->is_spilled)
        assert_true(spill_read_result(&ctx->spill, SLOT, ctx->text, result->length));
    else
        memcpy(ctx->text, ctx->slot->result_bytes, result->length);
    return (enum status)result->status;
}

static void assert_progress(const struct ctx *ctx, uint32_t items, uint32_t failed)
{
    uint64_t progress = ctx->slot->result.progress;
    assert_int_equal(progress >> 32, items);
    assert_int_equal((uint32_t)progress, ctx->slot->result.length);
    assert_int_equal(ctx->slot->result.failed_items, failed);
}

static void run_slot__good_args__leaves_the_result_and_its_usage(void **state)
{
    struct ctx *ctx = *state;
    const struct slot_result *result = &ctx->slot->result;
    uint64_t before_ns = clock_now_ns();
    ask(ctx, FAKE_ECHO, "{\"n\":42}", 0);
    assert_int_equal(run(ctx), ST_OK);
    assert_string_equal(ctx->text, "42");
    assert_int_equal(result->is_started, 1);
    assert_int_equal(result->is_spilled, 0);
    assert_true(before_ns <= result->started_ns && result->started_ns <= result->finished_ns);
    assert_true(result->finished_ns <= clock_now_ns());
    assert_true(result->max_rss_kib > 0);
    assert_string_equal(result->detail, "");
}

static void run_slot__bad_args__leaves_the_problems(void **state)
{
    struct ctx *ctx = *state;
    ask(ctx, FAKE_ECHO, "{\"n\":-1}", 0);
    assert_int_equal(run(ctx), ST_INVALID_ARGS);
    assert_non_null(strstr(ctx->text, "\"/n\""));
    ask(ctx, FAKE_ECHO, "{\"n\":", 0);
    assert_int_equal(run(ctx), ST_INVALID_JSON);
    assert_true(ctx->text[0] == '[');
}

/* The limit is on results; the reason for a refusal is none. */
static void run_slot__problems_larger_than_the_result_limit__are_told_all_the_same(void **state)
{
    struct ctx *ctx = *state;
    ctx->slot->request.result_max = 2;
    ask(ctx, FAKE_ECHO, "{\"n\":-1}", 0);
    assert_int_equal(run(ctx), ST_INVALID_ARGS);
    assert_non_null(strstr(ctx->text, "\"/n\""));
    ask(ctx, FAKE_ECHO, "{\"n\":1}", 0);
    assert_int_equal(run(ctx), ST_OK);
    ask(ctx, FAKE_ECHO, "{\"n\":123}", 0);
    assert_int_equal(run(ctx), ST_RESULT_TOO_LARGE);
}

static void run_slot__task_fails__leaves_its_reason_and_no_half_result(void **state)
{
    struct ctx *ctx = *state;
    ask(ctx, FAKE_FAIL, "", 0);
    assert_int_equal(run(ctx), ST_TASK_FAILED);
    assert_int_equal(ctx->slot->result.length, 0);
    assert_string_equal(ctx->slot->result.detail, "as it was told to");
}

static void run_slot__deadline_passed__is_not_started(void **state)
{
    struct ctx *ctx = *state;
    ctx->slot->request.deadline_ns = clock_now_ns();
    ask(ctx, FAKE_ECHO, "{\"n\":42}", 0);
    assert_int_equal(run(ctx), ST_DEADLINE_EXCEEDED);
    assert_int_equal(ctx->slot->result.is_started, 0);
    assert_int_equal(ctx->slot->result.length, 0);
}

static void run_slot__unknown_task__refused(void **state)
{
    struct ctx *ctx = *state;
    ask(ctx, FAKE_COUNT, "{\"n\":42}", 0);
    assert_int_equal(run(ctx), ST_UNKNOWN_TASK);
    assert_int_equal(ctx->slot->result.is_started, 0);
}

static void run_slot__result_at_the_edge_of_the_slot__spills_only_beyond(void **state)
{
    struct ctx *ctx = *state;
    char args[32];
    for (unsigned extra = 0; extra <= 1; extra++) {
        snprintf(args, sizeof args, "{\"n\":%u}", MAILBOX_INLINE_BYTES - 2 + extra); /* and two quotes */
        ctx->slot->result.is_spilled = 0;
        ask(ctx, FAKE_BLOB, args, 0);
        assert_int_equal(run(ctx), ST_OK);
        assert_int_equal(ctx->slot->result.is_spilled, extra);
        assert_int_equal(ctx->slot->result.length, MAILBOX_INLINE_BYTES + extra);
        assert_true(ctx->text[0] == '"' && ctx->text[MAILBOX_INLINE_BYTES + extra - 1] == '"');
    }
}

static void run_slot__result_beyond_its_limit__refused(void **state)
{
    struct ctx *ctx = *state;
    ctx->slot->request.result_max = 100;
    ask(ctx, FAKE_BLOB, "{\"n\":98}", 0);
    assert_int_equal(run(ctx), ST_OK);
    ask(ctx, FAKE_BLOB, "{\"n\":99}", 0);
    assert_int_equal(run(ctx), ST_RESULT_TOO_LARGE);
    assert_int_equal(ctx->slot->result.length, 0);
}

static void run_slot__result_beyond_the_spill_file__is_no_memory(void **state)
{
    struct ctx *ctx = *state;
    ask(ctx, FAKE_BLOB, "{\"n\":70000}", 0);
    assert_int_equal(run(ctx), ST_NO_MEMORY);
    assert_int_equal(ctx->slot->result.length, 0);
}

static void run_slot__spilled_request__is_read_whole(void **state)
{
    struct ctx *ctx = *state;
    char *payload = malloc(50000);
    assert_non_null(payload);
    memset(payload, 2, 50000);
    ask(ctx, FAKE_LENGTH, "", 0);
    ctx->slot->request.has_payload = ctx->slot->request.is_spilled = true;
    ctx->slot->request.payload_len = 50000;
    assert_true(spill_write_request(&ctx->spill, SLOT, 0, payload, 50000));
    free(payload);
    assert_int_equal(run(ctx), ST_OK);
    assert_string_equal(ctx->text, "100000");
}

static void run_slot__chunk__each_item_stands_alone(void **state)
{
    struct ctx *ctx = *state;
    ask(ctx, FAKE_ECHO, "[{\"n\":1},{\"n\":\"x\"},{\"n\":3}]", 3);
    assert_int_equal(run(ctx), ST_OK);
    assert_true(strncmp(ctx->text, "{\"result\":1},{\"error\":{\"code\":\"invalid_args\",", 45) == 0);
    assert_non_null(strstr(ctx->text, "\"errors\":[{"));
    assert_non_null(strstr(ctx->text, "}},{\"result\":3}"));
    assert_progress(ctx, 3, 1);
}

static void run_slot__chunk_item_fails__its_reason_is_the_message(void **state)
{
    struct ctx *ctx = *state;
    ask(ctx, FAKE_FAIL, "[{}]", 1);
    assert_int_equal(run(ctx), ST_OK);
    assert_string_equal(ctx->text, "{\"error\":{\"code\":\"task_failed\",\"message\":\"as it was told to\"}}");
    assert_progress(ctx, 1, 1);
}

static void run_slot__bytes__are_left_as_they_are(void **state)
{
    struct ctx *ctx = *state;
    ask(ctx, FAKE_BYTES, "{\"n\":3}", 0);
    assert_int_equal(run(ctx), ST_OK);
    assert_int_equal(ctx->slot->result.is_binary, 1);
    assert_int_equal(ctx->slot->result.length, 3);
    assert_memory_equal(ctx->text, "\xff\xfe\xff", 3);
    ask(ctx, FAKE_BYTES, "{\"n\":0}", 0);
    assert_int_equal(run(ctx), ST_OK);
    assert_int_equal(ctx->slot->result.is_binary, 1);
    assert_int_equal(ctx->slot->result.length, 0);
    /* and the next job in this slot is told apart */
    ask(ctx, FAKE_ECHO, "{\"n\":1}", 0);
    assert_int_equal(run(ctx), ST_OK);
    assert_int_equal(ctx->slot->result.is_binary, 0);
}

static void run_slot__chunk_of_bytes__items_are_base64(void **state)
{
    struct ctx *ctx = *state;
    ask(ctx, FAKE_BYTES, "[{\"n\":2},{\"n\":0},{\"n\":\"x\"},{\"n\":3}]", 4);
    assert_int_equal(run(ctx), ST_OK);
    static const char first[] = "{\"result_base64\":\"//4=\"},{\"result_base64\":\"\"},{\"error\":{";
    assert_true(strncmp(ctx->text, first, sizeof first - 1) == 0);
    assert_non_null(strstr(ctx->text, "}},{\"result_base64\":\"//7/\"}"));
    assert_progress(ctx, 4, 1);
}

/* Base64 takes a third more than the limit on a result, which is on its bytes. */
static void run_slot__chunk_of_bytes_at_the_limit__fit(void **state)
{
    struct ctx *ctx = *state;
    ctx->slot->request.result_max = 20000;
    ask(ctx, FAKE_BYTES, "[{\"n\":20000},{\"n\":20001}]", 2);
    assert_int_equal(run(ctx), ST_OK);
    assert_true(strncmp(ctx->text, "{\"result_base64\":\"//7//", 22) == 0);
    assert_non_null(strstr(ctx->text, "\"},{\"error\":{\"code\":\"result_too_large\""));
    assert_progress(ctx, 2, 1);
}

/* An item's error is longer than what the limit leaves for its result. */
static void run_slot__chunk_with_tiny_result_limit__errors_are_whole(void **state)
{
    struct ctx *ctx = *state;
    ctx->slot->request.result_max = 4;
    ask(ctx, FAKE_ECHO, "[{\"n\":12345},{\"n\":-1},{\"n\":1}]", 3);
    assert_int_equal(run(ctx), ST_OK);
    assert_true(strncmp(ctx->text, "{\"error\":{\"code\":\"result_too_large\"", 35) == 0);
    assert_non_null(strstr(ctx->text, "}},{\"error\":{\"code\":\"invalid_args\""));
    assert_non_null(strstr(ctx->text, "]}},{\"result\":1}"));
    assert_progress(ctx, 3, 2);
}

static void run_slot__chunk_outgrows_the_slot__moves_to_the_spill_file(void **state)
{
    struct ctx *ctx = *state;
    ask(ctx, FAKE_BLOB, "[{\"n\":9000},{\"n\":9000},{\"n\":9000}]", 3);
    assert_int_equal(run(ctx), ST_OK);
    assert_int_equal(ctx->slot->result.is_spilled, 1);
    const size_t item = sizeof "{\"result\":\"\"}," - 1 + 9000;
    assert_int_equal(ctx->slot->result.length, 3 * item - 1);
    for (unsigned i = 0; i < 3; i++)
        assert_true(strncmp(ctx->text + i * item, "{\"result\":\"xxx", 14) == 0);
    assert_progress(ctx, 3, 0);
}

static void run_slot__chunk_outgrows_the_spill_file__keeps_what_is_finished(void **state)
{
    struct ctx *ctx = *state;
    ask(ctx, FAKE_BLOB, "[{\"n\":30000},{\"n\":30000},{\"n\":30000}]", 3);
    assert_int_equal(run(ctx), ST_RESULT_TOO_LARGE);
    assert_progress(ctx, 2, 0);
}

static void run_slot__chunk_shorter_than_promised__is_a_protocol_error(void **state)
{
    struct ctx *ctx = *state;
    ask(ctx, FAKE_ECHO, "[{\"n\":1},{\"n\":2}]", 3);
    assert_int_equal(run(ctx), ST_WORKER_PROTOCOL);
    assert_progress(ctx, 2, 0);
}

/* ---- the process */

static int setup_rig(void **state)
{
    struct pool_rig *rig = calloc(1, sizeof *rig);
    *state = rig;
    return rig != NULL && stage_open() && pool_rig_open(rig, 1) ? 0 : -1;
}

static int teardown_rig(void **state)
{
    pool_rig_close(*state);
    free(*state);
    stage_close();
    return 0;
}

static bool is_worker_ready(void *context)
{
    const struct pool_rig *rig = context;
    return atomic_load(&rig->mailboxes[0]->generation) == rig->members[0].generation;
}

static pid_t start_worker(struct pool_rig *rig)
{
    assert_true(pool_rig_start_worker(rig, 0));
    assert_true(wait_until(is_worker_ready, rig, scaled_ms(WAIT_MS)));
    return rig->members[0].pid;
}

static bool has_finished_slot(void *context)
{
    return mailbox_peek(((const struct pool_rig *)context)->mailboxes[0], SLOT).state == SLOT_DONE;
}

static void post_echo(struct pool_rig *rig)
{
    struct slot *slot = &rig->mailboxes[0]->slots[SLOT];
    slot->request =
        (struct slot_request){ .task = FAKE_ECHO, .args_len = 7, .deadline_ns = CLOCK_NEVER, .result_max = 100 };
    memcpy(slot->request_bytes, "{\"n\":1}", 7);
    mailbox_post(rig->mailboxes[0], SLOT, 1);
    mailbox_notify(rig->mailboxes[0]);
}

static bool is_rung(void *context)
{
    uint64_t count;
    return read(((const struct pool_rig *)context)->event_fds[0], &count, sizeof count) == (ssize_t)sizeof count;
}

static void main__ready__says_so_and_rings_the_first_loop(void **state)
{
    struct pool_rig *rig = *state;
    bell_lie_down(rig->bells[0]);
    start_worker(rig);
    assert_true(wait_until(is_rung, rig, scaled_ms(WAIT_MS)));
    assert_int_equal(atomic_load(&rig->mailboxes[0]->done_count), 1);
}

static void main__job_posted__is_run_and_rung_for(void **state)
{
    struct pool_rig *rig = *state;
    start_worker(rig);
    bell_lie_down(rig->bells[0]);
    post_echo(rig);
    assert_true(wait_until(is_rung, rig, scaled_ms(WAIT_MS)));
    assert_true(has_finished_slot(rig)); /* the ring comes last */
    assert_int_equal(mailbox_peek(rig->mailboxes[0], SLOT).generation, 1);
    assert_int_equal(rig->mailboxes[0]->slots[SLOT].result.status, ST_OK);
    assert_true(rig->mailboxes[0]->slots[SLOT].result.cpu_ns < scaled_ms(1) * NS_PER_MS); /* without the start's 2 ms */
}

static bool is_ping_answered(void *context)
{
    struct mailbox *mailbox = ((const struct pool_rig *)context)->mailboxes[0];
    return atomic_load(&mailbox->ping) == atomic_load(&mailbox->pong);
}

static void main__pinged_asleep__answers(void **state)
{
    struct pool_rig *rig = *state;
    start_worker(rig);
    atomic_fetch_add(&rig->mailboxes[0]->ping, 1);
    mailbox_wake(rig->mailboxes[0]);
    assert_true(wait_until(is_ping_answered, rig, scaled_ms(WAIT_MS)));
}

static void main__signals_of_the_terminal_and_the_manager__are_ignored(void **state)
{
    static const int signals[] = { SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGTSTP, SIGPIPE };
    struct pool_rig *rig = *state;
    pid_t pid = start_worker(rig);
    for (size_t i = 0; i < ARRAY_LEN(signals); i++)
        kill(pid, signals[i]);
    post_echo(rig);
    assert_true(wait_until(has_finished_slot, rig, scaled_ms(WAIT_MS)));
    assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
}

static void main__always__leads_a_group_and_runs_at_the_lower_priority(void **state)
{
    struct pool_rig *rig = *state;
    pid_t pid = start_worker(rig);
    assert_int_equal(getpgid(pid), pid);
    assert_int_equal(getpriority(PRIO_PROCESS, (id_t)pid), getpriority(PRIO_PROCESS, 0));
}

/* What it is confined to: tests/unit/test_sandbox_tasks.c. */
static void main__ready__is_confined(void **state)
{
    struct pool_rig *rig = *state;
    const struct sandbox_rules rules = sandbox_rules_for_tasks();
    struct sandbox_report report;
    char line[256], path[64];
    int filters = -1, no_new_privs = -1;
    snprintf(path, sizeof path, "/proc/%d/status", (int)start_worker(rig));
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL) {
        (void)sscanf(line, "Seccomp: %d", &filters);
        (void)sscanf(line, "NoNewPrivs: %d", &no_new_privs);
    }
    (void)fclose(file);
    assert_int_equal(no_new_privs, 1);
    (void)sandbox_probe(&rules, &report);
    if (report.of[SANDBOX_SYSCALLS].state == SANDBOX_ACTIVE)
        assert_int_equal(filters, 2); /* SECCOMP_MODE_FILTER */
}

/* The other end of a pipe is seen to close although the worker inherited a copy. */
static void main__foreign_descriptors__are_closed(void **state)
{
    struct pool_rig *rig = *state;
    int low[2], high[2], byte;
    assert_int_equal(pipe2(low, O_NONBLOCK), 0);
    assert_int_equal(pipe2(high, O_NONBLOCK), 0);
    int highest = fcntl(high[1], F_DUPFD, 500);
    start_worker(rig);
    close(low[1]);
    close(high[1]);
    close(highest);
    assert_int_equal(read(low[0], &byte, 1), 0); /* not EAGAIN */
    assert_int_equal(read(high[0], &byte, 1), 0);
    close(low[0]);
    close(high[0]);
    assert_int_equal(procs_count_fds(rig->members[0].pid), 3 + 2); /* standard ones, spill file, eventfd */
}

static void main__supervisor_is_another__ends(void **state)
{
    struct pool_rig *rig = *state;
    struct worker_config config = { .generation = 1,
                                    .supervisor = getppid(),
                                    .mailbox = rig->mailboxes[0],
                                    .spill = rig->spills[0],
                                    .loops = 1,
                                    .bells = rig->bells,
                                    .event_fds = rig->event_fds };
    int status;
    pid_t pid = fork();
    if (pid == 0)
        worker_main(&config);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(atomic_load(&rig->mailboxes[0]->generation), 0);
}

static bool is_orphan_gone(void *context) { return waitpid(*(pid_t *)context, NULL, WNOHANG) > 0; }

static void main__supervisor_dies__dies_with_it(void **state)
{
    struct pool_rig *rig = *state;
    int told[2];
    pid_t orphan = 0;
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0); /* so that the orphan comes to this process */
    assert_int_equal(pipe(told), 0);
    pid_t supervisor = fork();
    if (supervisor == 0) {
        bool is_started = pool_rig_start_worker(rig, 0) && wait_until(is_worker_ready, rig, scaled_ms(WAIT_MS));
        _exit(is_started && write(told[1], &rig->members[0].pid, sizeof orphan) == (ssize_t)sizeof orphan ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(supervisor, &status, 0), supervisor);
    assert_int_equal(status, 0);
    assert_int_equal(read(told[0], &orphan, sizeof orphan), sizeof orphan);
    bool is_gone = wait_until(is_orphan_gone, &orphan, scaled_ms(WAIT_MS));
    if (!is_gone)
        kill(orphan, SIGKILL);
    close(told[0]);
    close(told[1]);
    prctl(PR_SET_CHILD_SUBREAPER, 0);
    assert_true(is_gone);
}

int main(void)
{
#define TEST(name)         cmocka_unit_test_setup_teardown(name, setup, teardown)
#define PROCESS_TEST(name) cmocka_unit_test_setup_teardown(name, setup_rig, teardown_rig)
    const struct CMUnitTest tests[] = {
        TEST(run_slot__good_args__leaves_the_result_and_its_usage),
        TEST(run_slot__bad_args__leaves_the_problems),
        TEST(run_slot__problems_larger_than_the_result_limit__are_told_all_the_same),
        TEST(run_slot__task_fails__leaves_its_reason_and_no_half_result),
        TEST(run_slot__deadline_passed__is_not_started),
        TEST(run_slot__unknown_task__refused),
        TEST(run_slot__result_at_the_edge_of_the_slot__spills_only_beyond),
        TEST(run_slot__result_beyond_its_limit__refused),
        TEST(run_slot__result_beyond_the_spill_file__is_no_memory),
        TEST(run_slot__spilled_request__is_read_whole),
        TEST(run_slot__chunk__each_item_stands_alone),
        TEST(run_slot__bytes__are_left_as_they_are),
        TEST(run_slot__chunk_of_bytes__items_are_base64),
        TEST(run_slot__chunk_of_bytes_at_the_limit__fit),
        TEST(run_slot__chunk_item_fails__its_reason_is_the_message),
        TEST(run_slot__chunk_with_tiny_result_limit__errors_are_whole),
        TEST(run_slot__chunk_outgrows_the_slot__moves_to_the_spill_file),
        TEST(run_slot__chunk_outgrows_the_spill_file__keeps_what_is_finished),
        TEST(run_slot__chunk_shorter_than_promised__is_a_protocol_error),
        PROCESS_TEST(main__ready__says_so_and_rings_the_first_loop),
        PROCESS_TEST(main__job_posted__is_run_and_rung_for),
        PROCESS_TEST(main__pinged_asleep__answers),
        PROCESS_TEST(main__signals_of_the_terminal_and_the_manager__are_ignored),
        PROCESS_TEST(main__always__leads_a_group_and_runs_at_the_lower_priority),
        PROCESS_TEST(main__ready__is_confined),
        PROCESS_TEST(main__foreign_descriptors__are_closed),
        PROCESS_TEST(main__supervisor_is_another__ends),
        PROCESS_TEST(main__supervisor_dies__dies_with_it),
    };
    return cmocka_run_group_tests_name("worker", tests, NULL, NULL);
}
