/* SIGHUP: the configuration is read again, and nobody who asks notices. */
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
#include "tests/support/files.h"
#include "tests/support/json_path.h"
#include "tests/support/load.h"
#include "tests/support/procs.h"
#include "tests/support/steps.h"
#include "tests/support/timing.h"

enum { CHILDREN_MAX = 32 };

static struct server server;
static char file[] = "/tmp/twinpool-reload-XXXXXX";

static const char usual[] = "workers = 2\n[task.count]\ncommand = wc -c\nmode = oneshot\n";

static int start(void **state)
{
    (void)state;
    int fd = mkstemp(file);
    close(fd);
    const char *const flags[] = { "--config", file, "--grace-ms", "500", "--loops", "2", NULL };
    return fd >= 0 && files_write(file, usual) && server_start(&server, flags, NULL) ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    unlink(file);
    return server_stop(&server) == 0 ? 0 : -1;
}

static void reload(const char *event) { assert_true(server_reload(&server, event, scaled_ms(15000))); }

/* ---- tests */

static void hup(void *unused)
{
    (void)unused;
    kill(server.pid, SIGHUP);
}

static void reloads__under_load__nothing_lost(void **state)
{
    (void)state;
    static const char one[] = "GET /compute/sum_squares?n=1000 HTTP/1.1\r\nHost: x\r\n\r\n",
                      other[] = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    const char *const requests[] = { one, one, other };
    struct load_result result;
    size_t before = server_log_count(&server, " reloaded ");
    const struct load_config load = { .port = server.port,
                                      .connections = 24,
                                      .requests = requests,
                                      .request_count = 3,
                                      .duration_ms = scaled_ms(4000),
                                      .answer_timeout_ms = scaled_ms(10000),
                                      .on_tick = hup,
                                      .tick_ms = scaled_ms(200) };
    assert_true(load_run(&load, &result));
    load_print("reloads", &result);
    assert_int_equal(result.answered, result.sent);
    assert_int_equal(result.by_status[200], result.sent);
    assert_int_equal(result.lost + result.timed_out + result.malformed + result.connect_failures, 0);
    size_t reloads = server_log_count(&server, " reloaded ") - before;
    print_message("    %zu reloads\n", reloads);
    assert_true(reloads >= 5);
    assert_true(server_wait_settled(&server, scaled_ms(15000)));
}

static void *ask_slowly(void *ret_status)
{
    struct http_reply reply =
        step_once(&server, "GET", "/compute/sum_squares?n=4000000000&timeout_ms=60000", NULL, NULL, 200);
    *(bool *)ret_status = strstr(reply.body, "\"attempts\":1") != NULL;
    http_reply_done(&reply);
    return NULL;
}

static bool is_computing(void *unused)
{
    (void)unused;
    return server_stat(&server, "compute.running") >= 1;
}

static void running_job__at_a_reload__is_finished(void **state)
{
    pthread_t thread;
    bool is_answered = false;
    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, ask_slowly, &is_answered), 0);
    assert_true(wait_until(is_computing, NULL, scaled_ms(5000)));
    reload(" reloaded ");
    reload(" reloaded ");
    pthread_join(thread, NULL);
    assert_true(is_answered);
    assert_true(server_wait_settled(&server, scaled_ms(15000)));
}

static void options_and_tasks__changed__in_force(void **state)
{
    static const struct step before[] = {
        { "POST", "/compute/count", "Content-Type: application/octet-stream\r\n", "abc", 200, NULL,
          "\"result\":\"3\\n\"" },
        { "GET", "/compute/lines", NULL, NULL, 404, "unknown_task", NULL },
    };
    static const struct step after[] = {
        { "POST", "/compute/lines", "Content-Type: application/octet-stream\r\n", "a\nb\n", 200, NULL,
          "\"result\":\"2\\n\"" },
        { "GET", "/compute/count", NULL, NULL, 404, "unknown_task", NULL },
        { "GET", "/compute/sum_squares?n=10000000000", NULL, NULL, 504, "deadline_exceeded", "the deadline of 50 ms" },
    };
    (void)state;
    steps_run(&server, before, ARRAY_LEN(before));
    assert_true(files_write(
        file,
        "workers = 3\ncompute-timeout-ms = 50\n[task.lines]\ncommand = wc -l\nmode = oneshot\ntimeout-ms = 20000\n"));
    reload(" reloaded ");
    assert_true(server_wait_settled(&server, scaled_ms(15000)));
    assert_true(server_wait_workers(&server, 4, scaled_ms(5000)));
    steps_run(&server, after, ARRAY_LEN(after));
    assert_true(files_write(file, usual));
    reload(" reloaded ");
    assert_true(server_wait_settled(&server, scaled_ms(15000)));
    steps_run(&server, before, ARRAY_LEN(before));
}

static void mistakes__in_the_file__change_nothing(void **state)
{
    static const char *const cases[][2] = {
        { "wrokers = 3\n", "unknown option wrokers; did you mean workers?" },
        { "[task.x]\nplugin = /no/such.so\n", "there is no such file" },
        { "[task.x]\ncommand = cat\ndirectory = /no/such\n", "[task.x] directory: /no/such: No such file" },
        { "[task.x]\ncommand = cat\nread = /usr /no/such\n", "[task.x] read: /no/such: No such file" },
        { "[task.x]\ncommand = cat\ndirectory = /usr\nwrite = bin no\n", "[task.x] write: no: No such file" },
        { "[task.x]\ncommand = false\n", "a worker does not come up\" task=\"x\"" }, /* long before its time is up */
    };
    static const struct step still[] = {
        { "POST", "/compute/count", "Content-Type: application/octet-stream\r\n", "abc", 200, NULL,
          "\"result\":\"3\\n\"" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_true(files_write(file, cases[i][0]));
        reload(" reload_ended ");
        if (!server_log_contains(&server, cases[i][1]))
            fail_msg("%zu: %s", i, cases[i][1]);
        steps_run(&server, still, ARRAY_LEN(still));
    }
    assert_true(files_write(file, usual));
    reload(" reloaded ");
    assert_true(server_wait_settled(&server, scaled_ms(15000)));
}

static void generation__killed__another_takes_its_place(void **state)
{
    pid_t children[CHILDREN_MAX];
    static const struct step step[] = { { "GET", "/compute/sum_squares?n=3", NULL, NULL, 200, NULL, "\"result\":5" } };
    (void)state;
    assert_int_equal(procs_children(server.pid, children, CHILDREN_MAX), 1);
    size_t before = server_log_count(&server, " reloaded ");
    kill(children[0], SIGKILL);
    assert_true(server_wait_log(&server, " reloaded ", before, scaled_ms(15000)));
    steps_run(&server, step, ARRAY_LEN(step));
    assert_true(server_wait_settled(&server, scaled_ms(5000)));
}

/* And the file is bad by then: it is tried until it is good, but not all the time. */
static void generation__killed_and_the_file_is_bad__serves_once_it_is_good(void **state)
{
    pid_t children[CHILDREN_MAX];
    static const struct step step[] = { { "GET", "/compute/sum_squares?n=3", NULL, NULL, 200, NULL, "\"result\":5" } };
    (void)state;
    assert_int_equal(procs_children(server.pid, children, CHILDREN_MAX), 1);
    size_t before = server_log_count(&server, " reloaded "), tries = server_log_count(&server, " reload_ended ");
    assert_true(files_write(file, "wrokers = 3\n"));
    kill(children[0], SIGKILL);
    for (unsigned i = 0; i < 3; i++)
        assert_true(server_wait_log(&server, " reload_ended ", tries + i, scaled_ms(15000)));
    assert_true(server_log_contains(&server, "nobody serves: the configuration is tried again"));
    assert_in_range(server_log_count(&server, " reload_ended ") - tries, 3, 6); /* it backs off */
    assert_true(files_write(file, usual));
    assert_true(server_wait_log(&server, " reloaded ", before, scaled_ms(15000)));
    steps_run(&server, step, ARRAY_LEN(step));
    assert_true(server_wait_settled(&server, scaled_ms(5000)));
}

static void reloads__many__nothing_left(void **state)
{
    (void)state;
    size_t fds = 0, rss_kib = 0;
    for (unsigned i = 0; i < 30; i++) {
        reload(" reloaded ");
        assert_true(server_wait_settled(&server, scaled_ms(15000)));
        if (i == 4) {
            fds = procs_count_fds(server.pid);
            rss_kib = procs_rss_kib(server.pid);
        }
    }
    print_message("    descriptors %zu then %zu, KiB %zu then %zu\n", fds, procs_count_fds(server.pid), rss_kib,
                  procs_rss_kib(server.pid));
    assert_int_equal(procs_count_fds(server.pid), fds);
    assert_true(procs_rss_kib(server.pid) < rss_kib + 512);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reloads__under_load__nothing_lost),
        cmocka_unit_test(running_job__at_a_reload__is_finished),
        cmocka_unit_test(options_and_tasks__changed__in_force),
        cmocka_unit_test(mistakes__in_the_file__change_nothing),
        cmocka_unit_test(generation__killed__another_takes_its_place),
        cmocka_unit_test(generation__killed_and_the_file_is_bad__serves_once_it_is_good),
        cmocka_unit_test(reloads__many__nothing_left),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
