/* Users' programs that end, and what they leave: between the items of a map, with children of children, when the
 * service itself ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/support/files.h"
#include "tests/support/json_path.h"
#include "tests/support/procs.h"
#include "tests/support/steps.h"
#include "tests/support/timing.h"

static struct server server;
static char folder[] = "/tmp/twinpool-ends-XXXXXX";
static char config_file[64];

static const char usual[] = "[task.odd]\n"
                            "command = python3 tests/support/odd_program.py\n"
                            "[task.shell]\n"
                            "command = sh -c {script}\n"
                            "mode = oneshot\n"
                            "args = script string 1..1000 required\n"
                            "processes = 0\n"
                            "timeout-ms = 10000\n";

static int start(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(config_file, sizeof config_file, "%s/tasks.ini", folder);
    return files_write(config_file, usual) ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    unlink(config_file);
    return rmdir(folder);
}

static int start_server(void **state)
{
    (void)state;
    const char *const flags[] = { "--workers", "1", "--config", config_file, NULL };
    return files_write(config_file, usual) && server_start(&server, flags, NULL) ? 0 : -1;
}

static int stop_server(void **state)
{
    (void)state;
    return server_stop(&server) == 0 ? 0 : -1;
}

static cJSON *call(const char *target, const char *body)
{
    struct http_reply reply = step_once(&server, "POST", target, HTTP_JSON, body, 200);
    cJSON *json = cJSON_Parse(reply.body);
    assert_non_null(json);
    http_reply_done(&reply);
    return json;
}

/* Does a process run with these words in its command line? */
static bool is_running(const char *words)
{
    char command[200];
    snprintf(command, sizeof command, "pgrep -f '%s' >/dev/null", words);
    return system(command) == 0;
}

static bool is_over(void *words) { return !is_running(words); }
static bool is_begun(void *words) { return is_running(words); }

/* ---- maps: an item's misdeed is not its neighbours' */

static void map__one_item_misbehaves__the_others_have_their_results(void **state)
{
    (void)state;
    static const struct {
        const char *what, *code; /* NULL: it does it after its own answer */
    } cases[] = {
        { "\"two\"", "worker_protocol" },
        { "\"garbage\"", "worker_protocol" },
        { "\"leave\"", NULL },
        { "\"exit\",\"n\":3", "worker_crashed" },
        { "\"kill\",\"n\":9", "worker_crashed" },
        { "\"cut\"", "worker_crashed" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char body[200];
        snprintf(body, sizeof body, "[{\"do\":\"pid\"},{\"do\":%s},{\"do\":\"pid\"},{\"do\":\"pid\"},{\"do\":\"pid\"}]",
                 cases[i].what);
        cJSON *json = call("/compute/odd/map?chunksize=5", body);
        const cJSON *results = cJSON_GetObjectItem(json, "results");
        assert_int_equal(cJSON_GetArraySize(results), 5);
        for (int n = 0; n < 5; n++) {
            const cJSON *item = cJSON_GetArrayItem(results, n);
            const cJSON *error = cJSON_GetObjectItem(item, "error");
            if (n == 1 && cases[i].code)
                assert_string_equal(json_text_at(item, "error.code"), cases[i].code);
            else if (error)
                fail_msg("%s: item %d: %s", cases[i].what, n, json_text_at(item, "error.message"));
        }
        cJSON_Delete(json);
    }
}

/* ---- what is left behind */

static void oneshot__leaves_children_of_children__answered_at_once(void **state)
{
    (void)state;
    static const char *const scripts[] = { "(sleep 54331 & sleep 54331) & echo hi",
                                           "((sleep 54331 & sleep 54331 & wait) & wait) & echo hi",
                                           "for i in $(seq 150); do (sleep 54331 & sleep 54331) & done; echo hi",
                                           "trap '' TERM; sleep 54331 & echo hi" };
    for (size_t i = 0; i < ARRAY_LEN(scripts); i++) {
        char body[300];
        snprintf(body, sizeof body, "{\"script\":\"%s\"}", scripts[i]);
        uint64_t start_ns = clock_now_ns();
        cJSON *json = call("/compute/shell", body);
        assert_string_equal(json_text_at(json, "result"), "hi\n");
        assert_true(clock_ms(clock_now_ns() - start_ns) < scaled_ms(3000));
        cJSON_Delete(json);
        assert_false(is_running("[s]leep 54331"));
    }
}

static void oneshot__leaves_one_that_prints_on__answered_at_once(void **state)
{
    (void)state;
    uint64_t start_ns = clock_now_ns();
    cJSON *json = call("/compute/shell", "{\"script\":\"while :; do echo x; sleep 0.005; done & sleep 0.1; echo hi\"}");
    assert_non_null(strstr(json_text_at(json, "result"), "hi\n"));
    assert_true(clock_ms(clock_now_ns() - start_ns) < scaled_ms(3000));
    cJSON_Delete(json);
}

static size_t count_zombies(pid_t parent)
{
    pid_t pids[64];
    size_t count = procs_children(parent, pids, ARRAY_LEN(pids)), zombies = 0;
    for (size_t i = 0; i < count; i++)
        zombies += procs_state(pids[i]) == 'Z' ? 1 : 0;
    return zombies;
}

static bool has_no_zombies(void *pid) { return count_zombies(*(pid_t *)pid) == 0; }

static void persistent__orphans_end__are_reaped(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        cJSON *json = call("/compute/odd", "{\"do\":\"bear\",\"n\":10}");
        pid_t worker = (pid_t)json_number(json, "result");
        cJSON_Delete(json);
        assert_true(wait_until(has_no_zombies, &worker, scaled_ms(2000)));
    }
}

/* ---- programs that come up and are of no use */

static void expect_back_off(const char *way)
{
    char text[120];
    snprintf(text, sizeof text, "[task.x]\ncommand = python3 tests/support/odd_program.py %s\n", way);
    assert_true(files_write(config_file, text));
    const char *const flags[] = { "--workers", "1", "--config", config_file, NULL };
    assert_true(server_start(&server, flags, NULL));
    usleep(2000000);
    size_t ends = server_log_count(&server, " program_ended ");
    print_message("    %zu starts in 2 s\n", ends);
    assert_true(ends >= 2 && ends < 12); /* 10, 20, 40, ... ms apart */
}

static void program__ready_and_gone__backs_off(void **state)
{
    (void)state;
    expect_back_off("quits");
}

/* As if somebody killed it; but again and again. */
static void program__ready_and_killed__backs_off(void **state)
{
    (void)state;
    expect_back_off("killed");
}

/* ---- the service ends */

static struct http_conn start_sleeper(const char *body)
{
    struct http_conn conn;
    assert_true(http_connect(&conn, server.port));
    assert_true(http_send(&conn, "POST", "/compute/odd", HTTP_JSON, body, strlen(body)));
    return conn;
}

static void supervisor__killed__programs_and_their_children_end(void **state)
{
    (void)state;
    static char words[] = "[s]leep 54332";
    struct http_conn conn = start_sleeper("{\"do\":\"fork\",\"n\":54332}");
    assert_true(wait_until(is_begun, words, scaled_ms(5000)));
    kill(server.pid, SIGKILL);
    assert_true(wait_until(is_over, words, scaled_ms(2000)));
    assert_int_equal(server_wait_exit(&server, scaled_ms(1000)), 256 + SIGKILL);
    http_close(&conn);
}

static bool is_stopped(void *pid) { return procs_state(*(pid_t *)pid) == 'T'; }

static void supervisor__killed_with_a_stopped_worker__programs_and_their_children_end(void **state)
{
    (void)state;
    static char words[] = "[s]leep 54333";
    cJSON *json = call("/compute/odd", "{\"do\":\"bear\"}");
    pid_t worker = (pid_t)json_number(json, "result");
    cJSON_Delete(json);
    struct http_conn conn = start_sleeper("{\"do\":\"fork\",\"n\":54333}");
    assert_true(wait_until(is_begun, words, scaled_ms(5000)));
    kill(worker, SIGSTOP);
    assert_true(wait_until(is_stopped, &worker, scaled_ms(1000)));
    kill(server.pid, SIGKILL);
    assert_true(wait_until(is_over, words, scaled_ms(2000)));
    assert_int_equal(server_wait_exit(&server, scaled_ms(1000)), 256 + SIGKILL);
    http_close(&conn);
}

static void reload__stopped_on_its_way__leaves_nothing(void **state)
{
    (void)state;
    static char words[] = "[s]leep 54334";
    char text[1000];
    snprintf(text, sizeof text, "%s[task.slow]\ncommand = sh -c \"sleep 54334 & wait\"\n", usual);
    assert_true(files_write(config_file, text));
    kill(server.pid, SIGHUP);
    assert_true(wait_until(is_begun, words, scaled_ms(5000)));
    assert_int_equal(server_stop(&server), 0);
    assert_false(is_running(words));
}

static void reload__stopped_at_any_moment__ends_orderly(void **state)
{
    static char words[] = "[s]leep 54335";
    char text[1000];
    (void)state;
    snprintf(text, sizeof text,
             "%s[task.slow]\ncommand = sh -c \"sleep 54335 & sleep 0.1; echo '{\\\"ready\\\":true}'; read line\"\n",
             usual);
    for (unsigned delay_ms = 0; delay_ms <= 400; delay_ms += 20) {
        const char *const flags[] = { "--workers", "1", "--config", config_file, NULL };
        assert_true(files_write(config_file, text));
        assert_true(server_start(&server, flags, NULL));
        kill(server.pid, SIGHUP);
        usleep(delay_ms * 1000);
        uint64_t start_ns = clock_now_ns();
        int code = server_stop(&server);
        if (code != 0 || is_running(words) || clock_ms(clock_now_ns() - start_ns) > scaled_ms(3000))
            fail_msg("%u ms after SIGHUP: status %d after %.0f ms", delay_ms, code,
                     clock_ms(clock_now_ns() - start_ns));
    }
}

int main(void)
{
#define TEST(name)   cmocka_unit_test_setup_teardown(name, start_server, stop_server)
#define ENDING(name) cmocka_unit_test_setup(name, start_server)
    const struct CMUnitTest tests[] = {
        TEST(map__one_item_misbehaves__the_others_have_their_results),
        TEST(oneshot__leaves_children_of_children__answered_at_once),
        TEST(oneshot__leaves_one_that_prints_on__answered_at_once),
        TEST(persistent__orphans_end__are_reaped),
        cmocka_unit_test_teardown(program__ready_and_gone__backs_off, stop_server),
        cmocka_unit_test_teardown(program__ready_and_killed__backs_off, stop_server),
        ENDING(supervisor__killed__programs_and_their_children_end),
        ENDING(supervisor__killed_with_a_stopped_worker__programs_and_their_children_end),
        ENDING(reload__stopped_on_its_way__leaves_nothing),
        cmocka_unit_test(reload__stopped_at_any_moment__ends_orderly),
    };
    return cmocka_run_group_tests_name("program_ends", tests, start, stop);
}
