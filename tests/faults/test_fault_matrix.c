/* Every way to fail at every point of a task's life, of a program and of a plug-in, which is code in a worker itself as
 * the built-in tasks are: {error, exit 0, exit 1, SIGSEGV, SIGKILL, SIGSTOP, too much
 * memory, too many files} x {before it is ready, idle, reading, running, writing, after its answer, while the service
 * drains}. Each cell: one answer of the kind that is due, the next job is right, the pool is whole again, and nothing
 * is left behind. What a worker does at each of its own instructions is in test_mailbox_kill.c. */
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
#include "tests/support/files.h"
#include "tests/support/json_path.h"
#include "tests/support/steps.h"
#include "tests/support/timing.h"

enum { WORKERS = 3 /* one for the built-in tasks, for the program and for the plug-in */, PAD_BYTES = 300000 };

static struct server server;
static struct faults_fds fds;
static char folder[] = "/tmp/twinpool-matrix-XXXXXX";
static char config_file[64], start_file[64], plugin_file[400];

static bool start_server(void)
{
    struct server_worker workers[WORKERS];
    const char *const flags[] = { "--workers", "1", "--config", config_file, "--quarantine-ms", "0", NULL };
    char at_start[80];
    snprintf(at_start, sizeof at_start, "FAULT_AT_START=%s", start_file);
    const char *const variables[] = { at_start, NULL };
    return server_start(&server, flags, variables) && faults_look_before(&server, WORKERS, workers, &fds) == 0;
}

static int start(void **state)
{
    char text[1024];
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    files_plugin("faulty", plugin_file, sizeof plugin_file);
    snprintf(config_file, sizeof config_file, "%s/tasks.ini", folder);
    snprintf(start_file, sizeof start_file, "%s/fault", folder);
    snprintf(text, sizeof text,
             "[task.faulty]\ncommand = python3 tests/support/fault_program.py\nmemory-bytes = 100m\nopen-files = 40\n"
             "write = %s\nenvironment = FAULT_AT_START=%s.program\n"
             "[task.native]\nplugin = %s\n",
             folder, start_file, plugin_file);
    return files_write(config_file, text) && start_server() ? 0 : -1;
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
struct row {
    const char *point;
    const char *codes[FAULTS];
};

static const struct row program_rows[] = {
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
    { NULL, { NULL } },
};

/* It can say what it could not have; and a death in the midst is a death. Between its answer and the next job there is
 * no point where its code runs; but a timer of its may go off. */
static const struct row plugin_rows[] = {
    { "running",
      { "task_failed", "worker_crashed", "worker_crashed", "worker_crashed", "worker_crashed", "deadline_exceeded",
        "task_failed", "task_failed" } },
    { "writing",
      { "task_failed", "worker_crashed", "worker_crashed", "worker_crashed", "worker_crashed", "deadline_exceeded",
        "task_failed", "task_failed" } },
    { "idle", { NULL } },
    { NULL, { NULL } },
};

static const struct subject {
    const char *task;
    const struct row *rows, *running;
    const char *start_suffix;
} program = { "faulty", program_rows, &program_rows[1], ".program" },
  plugin = { "native", plugin_rows, &plugin_rows[0], "" };

static struct http_reply call(const struct subject *subject, unsigned timeout_ms, const char *body, unsigned status)
{
    char target[80];
    snprintf(target, sizeof target, "/compute/%s?timeout_ms=%u", subject->task, timeout_ms);
    return step_once(&server, "POST", target, HTTP_JSON, body, status);
}

static void send_job(const struct subject *subject, const struct row *row, enum fault fault, unsigned status,
                     const char *code)
{
    char *body = calloc(1, PAD_BYTES + 200);
    assert_non_null(body);
    int len = sprintf(body, "{\"point\":\"%s\",\"fault\":\"%s\",\"pad\":\"", row->point, fault_names[fault]);
    if (strcmp(row->point, "reading") == 0)
        memset(body + len, 'x', PAD_BYTES);
    strcat(body, "\"}");
    struct http_reply reply = call(subject, 2500, body, status);
    free(body);
    if (code) {
        char member[64];
        snprintf(member, sizeof member, "\"code\":\"%s\"", code);
        if (!strstr(reply.body, member))
            fail_msg("%s, %s, %s: not %s but %s", subject->task, row->point, fault_names[fault], code, reply.body);
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

static void expect_sound(const struct subject *subject)
{
    struct http_reply reply = call(subject, 20000, "{}", 200);
    assert_non_null(strstr(reply.body, "\"attempts\":1"));
    http_reply_done(&reply);
}

/* Sanitizers reserve more than any limit of memory allows, so there is none for code in a worker. */
static bool is_possible(const struct subject *subject, enum fault fault)
{
    return fault != FAULT_MEMORY || subject != &plugin || scaled_ms(1) == 1;
}

static void run_table(const struct subject *subject)
{
    for (const struct row *row = subject->rows; row->point; row++)
        for (enum fault fault = 0; fault < FAULTS; fault++) {
            const char *code = row->codes[fault];
            if (!is_possible(subject, fault))
                continue;
            send_job(subject, row, fault, status_of(code), code);
            if (strcmp(row->point, "idle") == 0)
                usleep(100000); /* it is to happen while nobody asks */
            if (is_hidden(row, fault)) {
                struct http_reply reply = call(subject, 400, "{}", 504);
                http_reply_done(&reply);
            }
            expect_sound(subject);
        }
    faults_expect_recovery(&server, WORKERS, NULL, 0, fds);
}

static void program__fails_at_each_point__one_answer_and_the_next_is_right(void **state)
{
    (void)state;
    run_table(&program);
}

static void plugin__fails_at_each_point__one_answer_and_the_next_is_right(void **state)
{
    (void)state;
    run_table(&plugin);
}

/* ---- before it is ready */

static char *start_path(const struct subject *subject, char *ret_path, size_t size)
{
    snprintf(ret_path, size, "%s%s", start_file, subject->start_suffix);
    return ret_path;
}

static bool is_fault_taken(void *path) { return access(path, F_OK) != 0; }

/* Of the process that answers. */
static pid_t ask_pid(const struct subject *subject)
{
    struct http_reply reply = call(subject, 20000, "{}", 200);
    cJSON *json = cJSON_Parse(reply.body);
    pid_t pid = (pid_t)json_number(json, "result");
    cJSON_Delete(json);
    http_reply_done(&reply);
    assert_true(pid > 1);
    return pid;
}

/* It is ended from outside; its successor fails before it is ready, and the one after that is well. A stopped one is
 * started anew when its time to come up is over, which here is long: that is not waited for. What has no limit before
 * it is ready (a plug-in's memory and files) comes up all the same. */
static void fail_before_ready(const struct subject *subject)
{
    char path[80];
    for (enum fault fault = 0; fault < FAULTS; fault++) {
        if (fault == FAULT_STOP)
            continue;
        assert_true(files_write(start_path(subject, path, sizeof path), fault_names[fault]));
        bool is_taken = false;
        for (int i = 0; i < 5 && !is_taken; i++) { /* who has answered may be on its way out by itself */
            kill(ask_pid(subject), SIGKILL);
            is_taken = wait_until(is_fault_taken, path, scaled_ms(2000));
        }
        assert_true(is_taken);
        expect_sound(subject);
    }
    faults_expect_recovery(&server, WORKERS, NULL, 0, fds);
}

static void program__fails_before_it_is_ready__the_job_waits_for_the_next(void **state)
{
    (void)state;
    fail_before_ready(&program);
}

static void plugin__fails_before_it_is_ready__the_job_waits_for_the_next(void **state)
{
    (void)state;
    fail_before_ready(&plugin);
}

/* ---- while the service drains */

struct caller {
    const struct subject *subject;
    enum fault fault;
    bool is_answered;
};

static void *call_it(void *of)
{
    struct caller *caller = of;
    const struct row *row = caller->subject->running;
    const char *code = row->codes[caller->fault];
    send_job(caller->subject, row, caller->fault, status_of(code), code);
    caller->is_answered = true;
    return NULL;
}

static bool is_draining(void *unused)
{
    (void)unused;
    return server_log_contains(&server, "draining");
}

static bool has_job(void *unused)
{
    (void)unused;
    return server_stat(&server, "compute.queued") + server_stat(&server, "compute.running") > 0;
}

/* Stopped, the process takes its job only once the service drains. */
static void fail_while_draining(const struct subject *subject)
{
    for (enum fault fault = 0; fault < FAULTS; fault++) {
        struct caller caller = { .subject = subject, .fault = fault };
        pthread_t thread;
        if (!is_possible(subject, fault))
            continue;
        pid_t supervisor = server.pid, pid = ask_pid(subject);
        kill(pid, SIGSTOP);
        assert_int_equal(pthread_create(&thread, NULL, call_it, &caller), 0);
        assert_true(wait_until(has_job, NULL, scaled_ms(3000)));
        kill(supervisor, SIGTERM);
        assert_true(wait_until(is_draining, NULL, scaled_ms(5000)));
        kill(pid, SIGCONT);
        pthread_join(thread, NULL);
        assert_true(caller.is_answered);
        assert_int_equal(server_wait_exit(&server, scaled_ms(10000)), 0);
        assert_true(start_server());
    }
}

static void program__fails_while_draining__answered_and_an_orderly_end(void **state)
{
    (void)state;
    fail_while_draining(&program);
}

static void plugin__fails_while_draining__answered_and_an_orderly_end(void **state)
{
    (void)state;
    fail_while_draining(&plugin);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(program__fails_at_each_point__one_answer_and_the_next_is_right),
        cmocka_unit_test(program__fails_before_it_is_ready__the_job_waits_for_the_next),
        cmocka_unit_test(program__fails_while_draining__answered_and_an_orderly_end),
        cmocka_unit_test(plugin__fails_at_each_point__one_answer_and_the_next_is_right),
        cmocka_unit_test(plugin__fails_before_it_is_ready__the_job_waits_for_the_next),
        cmocka_unit_test(plugin__fails_while_draining__answered_and_an_orderly_end),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
