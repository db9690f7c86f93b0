/* Plug-ins as tasks: the example, built as its user would build it, and one that does what no plug-in should. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/support/files.h"
#include "tests/support/json_path.h"
#include "tests/support/twinpool_run.h"
#include "tests/support/steps.h"
#include "tests/support/timing.h"

#define BYTES "Content-Type: application/octet-stream\r\n"

static struct server server;
static char folder[] = "/tmp/twinpool-plugins-XXXXXX";
static char config_file[64], plugins[512], example[64];

/* Installed below the folder, and built there with what was installed. */
static bool build_example(void)
{
    char command[1600];
    const char *program = getenv("TWINPOOL_BIN");
    char build[512];
    snprintf(build, sizeof build, "%s", program ? program : "build/twinpool");
    const char *build_folder = dirname(build);
    snprintf(plugins, sizeof plugins, "%.400s/tests/plugins", build_folder);
    snprintf(example, sizeof example, "%s/closest/closest.so", folder);
    snprintf(command, sizeof command,
             "exec >%s/log 2>&1; set -e; unset MAKEFLAGS MAKELEVEL MAKEOVERRIDES BUILD; "
             "make -s install SETUP=no BUILD='%s' PREFIX=%s/usr; cp -r examples/plugin %s/closest; "
             "env -u WERROR PKG_CONFIG_PATH=%s/usr/lib/pkgconfig make -s -C %s/closest",
             folder, build_folder, folder, folder, folder, folder);
    return system(command) == 0;
}

static int start(void **state)
{
    char text[2048];
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(config_file, sizeof config_file, "%s/tasks.ini", folder);
    if (!build_example()) {
        snprintf(text, sizeof text, "cat %s/log >&2", folder);
        return system(text) == 0 ? -1 : -2;
    }
    snprintf(text, sizeof text, "[task.closest]\nplugin = %s\n[task.odd]\nplugin = %s/odd.so\nworkers = 1\n", example,
             plugins);
    const char *const flags[] = { "--workers", "1", "--config", config_file, "--cancel-grace-ms", "1000", NULL };
    return files_write(config_file, text) && server_start(&server, flags, NULL) ? 0 : -1;
}

static int stop(void **state)
{
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return server_stop(&server) == 0 && system(command) == 0 ? 0 : -1;
}

static void example__in_the_service__as_it_says(void **state)
{
    (void)state;
    static const struct step steps[] = {
        { "POST", "/compute/closest?word=kitten", BYTES, "bitten\nsitting\nkitchen", 200, NULL,
          "\"result\":{\"line\":1,\"distance\":1}" },
        { "POST", "/compute/closest?word=kitten", BYTES, "", 200, NULL, "\"result\":null" },
        { "POST", "/compute/closest", BYTES, "x", 422, "invalid_args", "/word" },
        { "POST", "/compute/closest", HTTP_JSON, "{\"word\":\"x\"}", 500, "task_failed", "send the lines as the body" },
        { "GET", "/tasks", NULL, NULL, 200, NULL, "the line of the payload that is nearest to a word" },
        { "GET", "/readyz", NULL, NULL, 200, NULL, "\"closest\":\"ready\"" },
    };
    steps_run(&server, steps, ARRAY_LEN(steps));
}

static void results__of_all_kinds__typed(void **state)
{
    (void)state;
    static const struct step steps[] = {
        { "POST", "/compute/odd", HTTP_JSON, "{\"x\":true}", 500, "task_failed", "not as declared" },
        { "POST", "/compute/odd", HTTP_JSON, "{\"n\":7}", 200, NULL, "\"result\":{\"do\":\"echo\",\"n\":7}" },
        { "GET", "/compute/odd?do=fail", NULL, NULL, 500, "task_failed", "as it was told to" },
        { "GET", "/compute/odd?do=code&n=3", NULL, NULL, 500, "task_failed", "the plug-in returned 3" },
        { "GET", "/compute/odd?do=code", NULL, NULL, 500, "worker_protocol", "the plug-in's result is not JSON" },
        { "GET", "/compute/odd?do=garbage", NULL, NULL, 500, "worker_protocol", "the plug-in's result is not JSON" },
        { "GET", "/compute/odd?do=fill", NULL, NULL, 422, "result_too_large", NULL },
        { "POST", "/compute/odd?do=bytes", BYTES, "abc", 200, NULL, "\"result_base64\":\"YWJj\"" },
        { "POST", "/compute/odd/map", HTTP_JSON, "[{\"n\":1},{\"do\":\"fail\"},{\"n\":3}]", 200, NULL,
          "\"ok\":2,\"failed\":1" },
    };
    static const struct step confined = { "GET", "/compute/odd?do=open", NULL, NULL, 500, "task_failed", "refused" };
    steps_run(&server, steps, ARRAY_LEN(steps));
    if (scaled_ms(1) == 1) /* a sanitizer may open files */
        steps_run(&server, &confined, 1);
}

static void deaths__of_its_worker__one_answer_and_the_next_is_right(void **state)
{
    (void)state;
    static const struct step steps[] = {
        { "GET", "/compute/odd?do=crash", NULL, NULL, 500, "worker_crashed", "SIGABRT" },
        { "GET", "/compute/odd?n=1", NULL, NULL, 200, NULL, "\"n\":1" },
        { "GET", "/compute/odd?do=exit&n=5", NULL, NULL, 500, "worker_crashed", "exited with status 5" },
        { "GET", "/compute/odd?n=2", NULL, NULL, 200, NULL, "\"n\":2" },
        { "GET", "/compute/odd?do=hang&timeout_ms=200", NULL, NULL, 504, "deadline_exceeded", NULL },
        { "GET", "/compute/odd?n=3", NULL, NULL, 200, NULL, "\"n\":3" },
        { "GET", "/compute/sum_squares?n=3", NULL, NULL, 200, NULL, "\"result\":5" },
    };
    steps_run(&server, steps, ARRAY_LEN(steps));
}

static double pid_of_worker(void)
{
    struct http_reply reply = step_once(&server, "GET", "/compute/odd?do=pid", NULL, NULL, 200);
    cJSON *json = cJSON_Parse(reply.body);
    double pid = json_number(json, "result");
    cJSON_Delete(json);
    http_reply_done(&reply);
    return pid;
}

static void cancelled__polls__its_worker_lives(void **state)
{
    (void)state;
    double pid = pid_of_worker();
    for (unsigned i = 0; i < 3; i++) {
        uint64_t start_ns = clock_now_ns();
        struct http_reply reply = step_once(&server, "GET", "/compute/odd?do=poll&timeout_ms=100", NULL, NULL, 504);
        assert_true(clock_ms(clock_now_ns() - start_ns) < scaled_ms(400)); /* the answer does not wait for it */
        http_reply_done(&reply);
        assert_true(pid_of_worker() == pid);
    }
}

static void cancelled__does_not_poll__killed_after_the_grace(void **state)
{
    (void)state;
    double pid = pid_of_worker();
    struct http_reply reply = step_once(&server, "GET", "/compute/odd?do=hang&timeout_ms=100", NULL, NULL, 504);
    http_reply_done(&reply);
    uint64_t start_ns = clock_now_ns();
    assert_true(pid_of_worker() != pid);
    assert_true(clock_ms(clock_now_ns() - start_ns) > 800);
}

static void check_task__each__says_what_it_is(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int code;
        const char *output, *errors;
    } cases[] = {
        { "odd", 0, "\"do\":{", "" },
        { "odd", 0, "self-test:   none", "" },
        { "future", 1, "", "it is made for version 2 of twinpool/task.h; this program has 1" },
        { "nothing", 1, "", "it does not export twinpool_task" },
        { "broken", 1, "version:     1", "its self-test was ended by signal 6 (Aborted)" },
        { "wordy", 1, "", "\"float\" is not int, string" },
        { "missing", 1, "", "there is no such file" },
    };
    char path[600];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        snprintf(path, sizeof path, "%s/%s.so", plugins, cases[i].name);
        const char *const arguments[] = { "check-task", path, NULL };
        struct twinpool_result result = twinpool_run(arguments, NULL);
        if (result.code != cases[i].code || !strstr(result.output, cases[i].output) ||
            !strstr(result.errors, cases[i].errors))
            fail_msg("%s: %d, %s, %s", cases[i].name, result.code, result.output, result.errors);
        twinpool_result_done(&result);
    }
    const char *const arguments[] = { "check-task", example, NULL };
    struct twinpool_result result = twinpool_run(arguments, NULL);
    assert_int_equal(result.code, 0);
    assert_non_null(strstr(result.output, "self-test:   passed"));
    twinpool_result_done(&result);
}

static void start__with_a_bad_one__refused(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "plugin = %s/future.so\n", "[task.x] plugin " },
        { "plugin = %s/missing.so\n", "there is no such file" },
        { "plugin = %s/wordy.so\n", "args: n: \"float\" is not int" },
        { "plugin = %s/odd.so\ncommand = cat\n", "[task.x] is a plug-in, which goes without command" },
        { "plugin = %s/odd.so\nnetwork = yes\n", "[task.x] is a plug-in, which goes without network" },
    };
    char text[700];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        size_t len = (size_t)snprintf(text, sizeof text, "[task.x]\n");
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(text + len, sizeof text - len, cases[i][0], plugins);
#pragma GCC diagnostic pop
        assert_true(files_write(config_file, text));
        const char *const arguments[] = { "--listen", "127.0.0.1:0", "--config", config_file, NULL };
        struct twinpool_result result = twinpool_run(arguments, NULL);
        if (result.code != 2 || !strstr(result.errors, cases[i][1]))
            fail_msg("%zu: %d, %s", i, result.code, result.errors);
        twinpool_result_done(&result);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(example__in_the_service__as_it_says),
        cmocka_unit_test(results__of_all_kinds__typed),
        cmocka_unit_test(deaths__of_its_worker__one_answer_and_the_next_is_right),
        cmocka_unit_test(cancelled__polls__its_worker_lives),
        cmocka_unit_test(cancelled__does_not_poll__killed_after_the_grace),
        cmocka_unit_test(check_task__each__says_what_it_is),
        cmocka_unit_test(start__with_a_bad_one__refused),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
