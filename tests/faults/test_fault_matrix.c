/* Every way to fail at every point of a program's life: {error, exit 0, exit 1, SIGSEGV, SIGKILL, SIGSTOP, too much
 * memory, too many files} x {before it is ready, idle, reading, running, writing, after its answer, while the service
 * drains}. Each cell: one answer of the kind that is due, the next job is right, the pool is whole again, and nothing
 * is left behind. What the built-in tasks' workers do at each of their own points is in test_worker_faults.c and
 * test_mailbox_kill.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/support/faults.h"
#include "tests/support/json_path.h"
#include "tests/support/steps.h"
#include "tests/support/timing.h"

enum { WORKERS = 2 /* one for the built-in tasks, one for the program */, PAD_BYTES = 300000 };

static struct server server;
static struct faults_fds fds;
static char folder[] = "/tmp/twinpool-matrix-XXXXXX";
static char config_file[64], start_file[64];

static bool write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "we");
    bool is_written = file && fputs(text, file) >= 0;
    return file && fclose(file) == 0 && is_written;
}

static bool start_server(void)
{
    struct server_worker workers[WORKERS];
    const char *const flags[] = { "--workers", "1", "--config", config_file, "--quarantine-ms", "0", NULL };
    return server_start(&server, flags, NULL) && faults_look_before(&server, WORKERS, workers, &fds) == 0;
}

static int start(void **state)
{
    char text[600];
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(config_file, sizeof config_file, "%s/tasks.ini", folder);
    snprintf(start_file, sizeof start_file, "%s/fault", folder);
    snprintf(text, sizeof text,
             "[task.faulty]\ncommand = python3 tests/support/fault_program.py\nmemory-bytes = 100m\nopen-files = 40\n"
             "write = %s\nenvironment = FAULT_AT_START=%s\n",
             folder, start_file);
    return write_text(config_file, text) && start_server() ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    int code = server_stop(&server);
    unlink(config_file);
    unlink(start_file);
    rmdir(folder);
    return code == 0 ? 0 : -1;
}

/* ---- the table */

enum fault {
    FAULT_ERROR,
    FAULT_EXIT0,
    FAULT_EXIT1,
    FAULT_SEGV,
    FAULT_KILL,
    FAULT_STOP,
    FAULT_MEMORY,
    FAULT_FILES,
    FAULTS
};

static const char *const fault_names[FAULTS] = { "error", "exit0", "exit1", "segv", "kill", "stop", "memory", "files" };

/* What the job at that point ends with; NULL: well. */
static const struct row {
    const char *point;
    const char *codes[FAULTS];
} rows[] = {
    { "reading",
      { "worker_crashed", "worker_crashed", "worker_crashed", "worker_crashed", "worker_crashed", "deadline_exceeded",
        "memory_limit", "worker_crashed" } }, /* an exception before the request is read ends the program */
    { "running",
      { "task_failed", "worker_crashed", "worker_crashed", "worker_crashed", "worker_crashed", "deadline_exceeded",
        "memory_limit", "task_failed" } },
    { "writing",
      { "worker_crashed", "worker_crashed", "worker_crashed", "worker_crashed", "worker_crashed", "deadline_exceeded",
        "memory_limit", "worker_crashed" } },
    { "after", { NULL } },
    { "deaf", { NULL } }, /* what comes next it does not get, so that is another's, and still the first attempt */
    { "idle", { NULL } },
};

static void send_job(const struct row *row, enum fault fault, unsigned status, const char *code)
{
    char *body = calloc(1, PAD_BYTES + 200);
    assert_non_null(body);
    int len = sprintf(body, "{\"point\":\"%s\",\"fault\":\"%s\",\"pad\":\"", row->point, fault_names[fault]);
    if (strcmp(row->point, "reading") == 0)
        memset(body + len, 'x', PAD_BYTES);
    strcat(body, "\"}");
    struct http_reply reply = step_once(&server, "POST", "/compute/faulty?timeout_ms=2500", HTTP_JSON, body, status);
    free(body);
    if (code) {
        char member[64];
        snprintf(member, sizeof member, "\"code\":\"%s\"", code);
        if (!strstr(reply.body, member))
            fail_msg("%s, %s: not %s but %s", row->point, fault_names[fault], code, reply.body);
    }
    http_reply_done(&reply);
}

static unsigned status_of(const char *code)
{
    return code == NULL                             ? 200
           : strcmp(code, "deadline_exceeded") == 0 ? 504
           : strcmp(code, "memory_limit") == 0      ? 422
                                                    : 500;
}

/* A stopped program is there and silent, as an idle one is: only the next job can tell, by its deadline. */
static bool is_hidden(const struct row *row, enum fault fault)
{
    return row->codes[fault] == NULL && fault == FAULT_STOP;
}

static void expect_sound(void)
{
    struct http_reply reply = step_once(&server, "POST", "/compute/faulty?timeout_ms=20000", HTTP_JSON, "{}", 200);
    assert_non_null(strstr(reply.body, "\"attempts\":1"));
    http_reply_done(&reply);
}

static void fault__at_each_point__one_answer_and_the_next_is_right(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        for (enum fault fault = 0; fault < FAULTS; fault++) {
            const char *code = rows[i].codes[fault];
            send_job(&rows[i], fault, status_of(code), code);
            if (strcmp(rows[i].point, "idle") == 0)
                usleep(100000); /* it is to happen while nobody asks */
            if (is_hidden(&rows[i], fault)) {
                struct http_reply reply =
                    step_once(&server, "POST", "/compute/faulty?timeout_ms=400", HTTP_JSON, "{}", 504);
                http_reply_done(&reply);
            }
            expect_sound();
        }
    faults_expect_recovery(&server, WORKERS, NULL, 0, fds);
}

/* ---- before it is ready */

static bool is_fault_taken(void *unused)
{
    (void)unused;
    return access(start_file, F_OK) != 0;
}

/* The program is ended from outside; its successor fails before it is ready, and the one after that is well. A stopped
 * one is started anew when its time to come up is over, which here is long: that is not waited for. */
static void fault__before_it_is_ready__the_job_waits_for_the_next(void **state)
{
    (void)state;
    for (enum fault fault = 0; fault < FAULTS; fault++) {
        if (fault == FAULT_STOP)
            continue;
        struct http_reply reply = step_once(&server, "POST", "/compute/faulty", HTTP_JSON, "{}", 200);
        cJSON *json = cJSON_Parse(reply.body);
        pid_t pid = (pid_t)json_number(json, "result");
        cJSON_Delete(json);
        http_reply_done(&reply);
        assert_true(write_text(start_file, fault_names[fault]));
        kill(pid, SIGKILL);
        assert_true(wait_until(is_fault_taken, NULL, scaled_ms(10000)));
        expect_sound();
    }
    faults_expect_recovery(&server, WORKERS, NULL, 0, fds);
}

/* ---- while the service drains */

struct caller {
    const struct row *row;
    enum fault fault;
    bool is_answered;
};

static void *call_it(void *of)
{
    struct caller *caller = of;
    const char *code = caller->row->codes[caller->fault];
    send_job(caller->row, caller->fault, status_of(code), code);
    caller->is_answered = true;
    return NULL;
}

static bool is_running(void *unused)
{
    (void)unused;
    return server_log_contains(&server, "draining");
}

static void fault__while_draining__answered_and_an_orderly_end(void **state)
{
    (void)state;
    for (enum fault fault = 0; fault < FAULTS; fault++) {
        struct caller caller = { .row = &rows[1], .fault = fault };
        pthread_t thread;
        pid_t supervisor = server.pid;
        /* stopped, the program takes its job only once the service drains */
        struct http_reply reply = step_once(&server, "POST", "/compute/faulty", HTTP_JSON, "{}", 200);
        cJSON *json = cJSON_Parse(reply.body);
        pid_t program = (pid_t)json_number(json, "result");
        cJSON_Delete(json);
        http_reply_done(&reply);
        kill(program, SIGSTOP);
        assert_int_equal(pthread_create(&thread, NULL, call_it, &caller), 0);
        assert_true(faults_wait_busy(&server) > 0);
        kill(supervisor, SIGTERM);
        assert_true(wait_until(is_running, NULL, scaled_ms(5000)));
        kill(program, SIGCONT);
        pthread_join(thread, NULL);
        assert_true(caller.is_answered);
        assert_int_equal(server_wait_exit(&server, scaled_ms(10000)), 0);
        assert_true(start_server());
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fault__at_each_point__one_answer_and_the_next_is_right),
        cmocka_unit_test(fault__before_it_is_ready__the_job_waits_for_the_next),
        cmocka_unit_test(fault__while_draining__answered_and_an_orderly_end),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
