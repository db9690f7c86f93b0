/* Users' programs as tasks: the examples, and one that does all that a program should not. */
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
#include "tests/support/twinpool_run.h"
#include "tests/support/steps.h"
#include "tests/support/timing.h"

#define BYTES "Content-Type: application/octet-stream\r\n"
#define ODD   "/compute/odd"

static struct server server;
static char folder[] = "/tmp/twinpool-programs-XXXXXX";
static char config_file[64], needed_file[64];

static const char config_text[] = "[task.odd]\n"
                                  "processes = 6\n"
                                  "command = python3 tests/support/odd_program.py\n"
                                  "memory-bytes = 100m\n"
                                  "cpu-ms = 1500\n" /* to fill that takes 0.3 s where page faults are slow */
                                  "[task.again]\n"
                                  "command = python3 tests/support/odd_program.py\n"
                                  "idempotent = yes\n"
                                  "[task.tired]\n"
                                  "command = python3 tests/support/odd_program.py\n"
                                  "max-jobs = 1\n"
                                  "[task.typed]\n"
                                  "command = python3 tests/support/odd_program.py\n"
                                  "args = count int 1..10 default 3, name string 1..5 required, ; a comment\n"
                                  "  kind enum big|small default small, fast bool, more json\n"
                                  "[task.broken]\n"
                                  "command = python3 tests/support/odd_program.py needs:%s\n"
                                  "[task.env]\n"
                                  "command = sh -c 'env; pwd'\n"
                                  "mode = oneshot\n"
                                  "directory = /usr\n"
                                  "environment = A=1 'B=two words'\n"
                                  "[task.fails]\n"
                                  "command = sh -c {script}\n"
                                  "mode = oneshot\n"
                                  "args = script string 1..1000 required\n"
                                  "memory-bytes = 100m\n"
                                  "cpu-ms = 1500\n"
                                  "[task.granted]\n"
                                  "command = sh -c {script}\n"
                                  "mode = oneshot\n"
                                  "args = script string 1..1000 required\n"
                                  "write = %s\n"
                                  "network = yes\n"
                                  "[task.alone]\n"
                                  "command = sh -c \"sleep 0 & wait\"\n"
                                  "mode = oneshot\n"
                                  "processes = 1\n"
                                  "[task.missing]\n"
                                  "command = /no/such/program\n"
                                  "mode = oneshot\n"
                                  "[task.binary]\n"
                                  "command = cat\n"
                                  "mode = oneshot\n"
                                  "output = bytes\n";

/* The examples, too, with their own sections. */
static bool write_config(void)
{
    char *text = NULL, *examples = NULL;
    size_t size = 0;
    FILE *file = fopen("examples/tasks.ini", "re");
    if (!file || getdelim(&examples, &size, '\0', file) < 0 || asprintf(&text, config_text, needed_file, folder) < 0)
        return false;
    fclose(file);
    char *all = NULL;
    bool is_written = asprintf(&all, "%s\n%s", examples, text) > 0 && files_write(config_file, all);
    free(all);
    free(text);
    free(examples);
    return is_written;
}

static int start(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(config_file, sizeof config_file, "%s/tasks.ini", folder);
    snprintf(needed_file, sizeof needed_file, "%s/needed", folder);
    const char *const flags[] = { "--workers", "1", "--config", config_file, "--max-result-bytes", "100k", NULL };
    return write_config() && server_start(&server, flags, NULL) ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    unlink(config_file);
    unlink(needed_file);
    rmdir(folder);
    return server_stop(&server) == 0 ? 0 : -1;
}

/* One job of the odd program; the answer is to be deleted. */
static cJSON *odd(const char *task, const char *what, int n, unsigned status)
{
    char target[64], body[100];
    snprintf(target, sizeof target, "/compute/%s", task);
    snprintf(body, sizeof body, "{\"do\":\"%s\",\"n\":%d}", what, n);
    struct http_reply reply = step_once(&server, "POST", target, HTTP_JSON, body, status);
    cJSON *json = cJSON_Parse(reply.body);
    http_reply_done(&reply);
    assert_non_null(json);
    return json;
}

static void expect_odd(const char *what, int n, unsigned status, const char *code, const char *detail)
{
    cJSON *json = odd("odd", what, n, status);
    if (code)
        assert_string_equal(json_text_at(json, "code"), code);
    if (detail && !strstr(json_text_at(json, "detail"), detail))
        fail_msg("%s: \"%s\" is not in \"%s\"", what, detail, json_text_at(json, "detail"));
    cJSON_Delete(json);
}

/* What comes next is its own answer, from a program that works. */
static void expect_sound(void)
{
    cJSON *json = odd("odd", "echo", 42, 200);
    assert_int_equal(json_number(json, "result.args.n"), 42);
    cJSON_Delete(json);
}

static bool all_ready(void *unused)
{
    (void)unused;
    struct http_reply reply;
    bool is_ready = http_once(server.port, "GET", "/readyz", NULL, NULL, &reply) == HTTP_ANSWERED &&
                    strstr(reply.body, "\"odd\":\"ready\"") && strstr(reply.body, "\"slug\":\"ready\"") &&
                    strstr(reply.body, "\"wordcount\":\"ready\"");
    http_reply_done(&reply);
    return is_ready;
}

/* ---- good */

static void examples__each__as_they_say(void **state)
{
    (void)state;
    assert_true(wait_until(all_ready, NULL, scaled_ms(10000)));
    static const struct step steps[] = {
        { "POST", "/compute/slug", HTTP_JSON, "{\"text\":\"D\xc3\xa9j\xc3\xa0 vu, again!\"}", 200, NULL,
          "\"result\":\"deja-vu-again\"" },
        { "GET", "/compute/slug?text=One+two+three&max_length=7", NULL, NULL, 200, NULL, "\"result\":\"one-two\"" },
        { "POST", "/compute/slug", HTTP_JSON, "{\"max_length\":0}", 422, "invalid_args", "/max_length" },
        { "POST", "/compute/slug", BYTES, "x", 415, "unsupported_media_type", NULL },
        { "POST", "/compute/wordcount", BYTES, "To be, or not to be", 200, NULL,
          "\"result\":{\"be\":2,\"to\":2,\"not\":1,\"or\":1}" },
        { "POST", "/compute/sorted", BYTES, "b\na\nb\n", 200, NULL, "\"result\":\"a\\nb\\n\"" },
        { "POST", "/compute/pick?filter=.x[1]", BYTES, "{\"x\":[1,{\"y\":2}]}", 200, NULL, "\"result\":{\"y\":2}," },
        { "POST", "/compute/pick?filter=]", BYTES, "{}", 500, "task_failed", "exit status 3" },
        { "POST", "/compute/slug/map", HTTP_JSON, "[{\"text\":\"A b\"},{\"text\":1},{\"text\":\"C\"}]", 200, NULL,
          "[{\"result\":\"a-b\"},{\"error\":{\"code\":\"invalid_args\"" },
        { "GET", "/tasks", NULL, NULL, 200, NULL, "\"name\":\"slug\",\"description\":\"A title as it may stand" },
    };
    steps_run(&server, steps, ARRAY_LEN(steps));
}

static void args__by_the_table__typed_and_checked(void **state)
{
    (void)state;
    static const struct step steps[] = {
        { "POST", "/compute/typed", HTTP_JSON, "{\"name\":\"x\",\"more\":[1,\n{\"a\":null}],\"fast\":true}", 200, NULL,
          "{\"count\": 3, \"name\": \"x\", \"kind\": \"small\", \"fast\": true, \"more\": [1, {\"a\": null}]}" },
        { "GET", "/compute/typed?name=x&count=10&kind=big&fast=false&more={}", NULL, NULL, 200, NULL,
          "{\"count\": 10, \"name\": \"x\", \"kind\": \"big\", \"fast\": false, \"more\": {}}" },
        { "GET", "/compute/typed?name=x&count=11&kind=huge", NULL, NULL, 422, "invalid_args", "/kind" },
        { "POST", "/compute/odd", HTTP_JSON, "{\"whatever\":[1,\n2]}", 200, NULL, "{\"whatever\": [1, 2]}" },
        { "POST", "/compute/odd", HTTP_JSON, "[1]", 400, "invalid_json", "must be an object" },
        { "POST", "/compute/odd?a=1", BYTES, "\x01\x02", 200, NULL, "\"payload\": \"AQI=\"" },
    };
    steps_run(&server, steps, ARRAY_LEN(steps));
}

static void results__bytes__as_they_were_asked_for(void **state)
{
    (void)state;
    static const struct step steps[] = {
        { "POST", ODD, HTTP_JSON, "{\"do\":\"bytes\"}", 200, NULL, "\"result_base64\":\"AAECAw==\"" },
        { "POST", ODD, HTTP_JSON "Accept: application/octet-stream\r\n", "{\"do\":\"bytes\"}", 200, NULL, NULL },
        { "POST", "/compute/binary", BYTES "Accept: application/octet-stream\r\n", "as it is", 200, NULL, "as it is" },
        { "POST", "/compute/binary", BYTES, "as it is", 200, NULL, "\"result_base64\":\"YXMgaXQgaXM=\"" },
    };
    steps_run(&server, steps, ARRAY_LEN(steps));
}

/* ---- bad */

static void answers__that_are_none__typed_and_the_next_is_right(void **state)
{
    (void)state;
    static const char *const ways[][2] = {
        { "garbage", "not JSON (expected a value at byte 0): Traceback" },
        { "stale", "another request" },
        { "neither", "not just one of result, result_base64 and error" },
        { "both", "not just one of result" },
        { "both_results", "not just one of result" },
        { "two", "more than one line" },
        { "nul", "not JSON" },
        { "latin", "not JSON" },
        { "surrogate", "not JSON" },
        { "deep", "not JSON" },
        { "twice", "not JSON" },
        { "other", "not JSON" },
        { "tail", "not JSON" },
    };
    for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
        expect_odd(ways[i][0], 0, 500, "worker_protocol", ways[i][1]);
        expect_sound();
    }
    expect_odd("error", 0, 500, "task_failed", "no such page: \xc3\xa4");
    expect_odd("large", 200000, 422, "result_too_large", "the limit is 102400 bytes (--max-result-bytes)");
    expect_sound();
    expect_odd("carriage", 0, 200, NULL, NULL);
    cJSON *json = odd("odd", "slowly", 0, 200);
    assert_string_equal(json_text_at(json, "result"), "slowly");
    cJSON_Delete(json);
}

/* It answers a second time when nobody has asked: the next job gets its own answer all the same. */
static void answer__of_an_earlier_job__reaches_nobody(void **state)
{
    (void)state;
    cJSON_Delete(odd("odd", "later", 0, 200));
    usleep(200000);
    expect_sound();
    assert_true(server_log_contains(&server, "program_spoke_unasked"));
}

static void death__in_a_job__told_as_it_was(void **state)
{
    (void)state;
    cJSON_Delete(odd("odd", "log", 0, 200));
    cJSON *json = odd("odd", "exit", 9, 500); /* what it said of another job stays out */
    assert_string_equal(json_text_at(json, "code"), "worker_crashed");
    assert_string_equal(json_text_at(json, "detail"), "the program ended with exit status 9");
    cJSON_Delete(json);
    expect_odd("exit", 0, 500, "worker_crashed", "the program ended with exit status 0");
    expect_odd("raise", 0, 500, "worker_crashed", "the program ended with exit status 1: ValueError: as it was told");
    expect_odd("cut", 0, 500, "worker_crashed", NULL);
    expect_odd("close_exit", 7, 500, "worker_crashed", "the program ended with exit status 7");
    expect_odd("close", 0, 500, "worker_protocol", "the program closed its standard output");
    expect_odd("orphan", 7, 500, "worker_crashed", "ended with exit status 7");
    json = odd("odd", "kill", SIGSEGV, 500);
    assert_int_equal(json_number(json, "signal"), SIGSEGV);
    assert_int_equal(json_number(json, "attempts"), 1);
    cJSON_Delete(json);
    json = odd("again", "kill", SIGKILL, 500);
    assert_int_equal(json_number(json, "signal"), SIGKILL);
    assert_int_equal(json_number(json, "attempts"), 2);
    cJSON_Delete(json);
    expect_sound();
}

static bool is_gone(void *pid) { return procs_is_gone(*(pid_t *)pid); }

static void death__between_jobs__next_job_does_not_notice(void **state)
{
    (void)state;
    cJSON *json = odd("odd", "pid", 0, 200);
    pid_t pid = (pid_t)json_number(json, "result");
    cJSON_Delete(json);
    kill(pid, SIGKILL);
    assert_true(wait_until(is_gone, &pid, scaled_ms(2000))); /* a job on its way to it would die with it */
    expect_sound();
}

/* The index of the task's worker; -1: it has none. */
static int worker_of(const char *task)
{
    struct http_reply reply = step_once(&server, "GET", "/stats", NULL, NULL, 200);
    cJSON *json = cJSON_Parse(reply.body);
    int index = -1, at = 0;
    const cJSON *worker;
    cJSON_ArrayForEach(worker, cJSON_GetObjectItem(json, "workers"))
    {
        if (strcmp(json_text_at(worker, "pool"), task) == 0)
            index = at;
        at++;
    }
    cJSON_Delete(json);
    http_reply_done(&reply);
    return index;
}

static void max_jobs__one__started_anew_for_each(void **state)
{
    (void)state;
    double pid = 0;
    for (unsigned i = 0; i < 3; i++) {
        cJSON *json = odd("tired", "pid", 0, 200);
        assert_true(json_number(json, "result") != pid);
        pid = json_number(json, "result");
        cJSON_Delete(json);
    }
    assert_true(server_stat(&server, "compute.recycled") >= 2);
    char event[96];
    snprintf(event, sizeof event, "worker_died worker=%d task=\"tired\" ", worker_of("tired"));
    assert_false(server_log_contains(&server, event));
}

/* ---- limits */

static void deadline__whatever_it_does__nothing_is_left(void **state)
{
    (void)state;
    static const char *const bodies[] = { "{\"do\":\"sleep\",\"n\":60000}", "{\"do\":\"fork\",\"n\":54321}",
                                          "{\"do\":\"close\"}" };
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        uint64_t start_ns = clock_now_ns();
        struct http_reply reply = step_once(&server, "POST", ODD "?timeout_ms=400", HTTP_JSON, bodies[i], 504);
        assert_non_null(strstr(reply.body, "it was stopped (state ")); /* and what its program was at */
        assert_non_null(strstr(reply.body, "; its program: state "));
        http_reply_done(&reply);
        assert_true(clock_ms(clock_now_ns() - start_ns) < scaled_ms(700));
        expect_sound();
    }
    assert_int_equal(system("pgrep -f '[s]leep 54321' >/dev/null"), 256); /* none */
    assert_true(server_log_contains(&server, "reason=\"deadline_exceeded\" was=\"state S"));
    assert_true(server_log_contains(&server, "its program: state S"));
}

static void limits__memory_cpu_processes__typed(void **state)
{
    (void)state;
    char event[96];
    snprintf(event, sizeof event, "worker_died worker=%d task=\"odd\" ", worker_of("odd"));
    size_t deaths = server_log_count(&server, event);
    static const char eaten[] = "more than 104857600 bytes resident (memory-bytes of [task.odd])";
    if (scaled_ms(1) == 1) { /* a sanitizer's processes are slow to take so much */
        expect_odd("eat", 150 << 20, 422, "memory_limit", eaten);
        expect_odd("close_eat", 150 << 20, 422, "memory_limit", eaten);
    }
    expect_odd("spin_lost", 20, 422, "cpu_limit", NULL);
    expect_odd("spin", 0, 422, "cpu_limit", "more than 1500 ms of CPU time (cpu-ms of [task.odd])");
    expect_odd("swarm", 7, 422, "process_limit", "more than 6 processes (processes of [task.odd])");
    expect_odd("garbage", 0, 500, "worker_protocol", NULL);
    expect_sound();
    assert_int_equal(server_log_count(&server, event), deaths); /* the rules ended them */
    assert_true(server_log_contains(&server, "reason=\"its job was answered and it could not go on\""));
    assert_true(server_log_contains(&server, "path=\"/compute/{}\" task=\"odd\" status=500 code=\"worker_protocol\""));
    static const struct step alone = { "POST", "/compute/alone", HTTP_JSON, "{}", 500, "task_failed", "fork" };
    steps_run(&server, &alone, 1);
}

/* What it has started takes of the same. */
static void limits__by_its_children__typed_too(void **state)
{
    (void)state;
    static const struct step steps[] = {
        { "POST", "/compute/fails", HTTP_JSON, "{\"script\":\"while :; do :; done & wait\"}", 422, "cpu_limit", NULL },
        { "POST", "/compute/fails", HTTP_JSON,
          "{\"script\":\"while :; do (i=0; while [ $i -lt 9999 ]; do i=$((i+1)); "
          "done); done\"}",
          422, "cpu_limit", NULL },
        { "POST", "/compute/fails", HTTP_JSON,
          "{\"script\":\"python3 -c 'b = bytes(200 << 20); b += bytes(9); input()' <&1 & wait\"}", 422, "memory_limit",
          NULL },
    };
    steps_run(&server, steps, scaled_ms(1) == 1 ? ARRAY_LEN(steps) : 2);
}

/* ---- starting */

static void broken__at_its_start__only_that_task_waits_and_heals(void **state)
{
    (void)state;
    struct http_reply reply = step_once(&server, "GET", "/readyz", NULL, NULL, 200);
    assert_non_null(strstr(reply.body, "\"broken\":\"not_ready\""));
    http_reply_done(&reply);
    reply = step_once(&server, "GET", "/compute/broken?timeout_ms=300", NULL, NULL, 504);
    assert_non_null(strstr(reply.body, "never started"));
    http_reply_done(&reply);
    assert_true(
        server_log_contains(&server, " program_not_ready task=\"broken\" how=\"exit status 7\" said=\"I need "));
    expect_sound();
    assert_true(files_write(needed_file, ""));
    reply = step_once(&server, "GET", "/compute/broken?timeout_ms=20000", NULL, NULL, 200);
    http_reply_done(&reply);
}

static void messages__in_the_log__with_the_task(void **state)
{
    (void)state;
    cJSON_Delete(odd("odd", "log", 0, 200));
    expect_sound();
    assert_true(server_log_contains(&server, "task_message task=\"odd\" text=\"and another\""));
}

/* ---- oneshot */

static void oneshot__environment_and_folder__its_own(void **state)
{
    (void)state;
    struct http_reply reply = step_once(&server, "GET", "/compute/env", NULL, NULL, 200);
    static const char *const parts[] = { "A=1\\n", "B=two words\\n", "LANG=C.UTF-8\\n", "TWINPOOL_ARGS={}\\n",
                                         "\\n/usr\\n" };
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        assert_non_null(strstr(reply.body, parts[i]));
    assert_null(strstr(reply.body, "HOME="));
    http_reply_done(&reply);
}

static void oneshot__failures__exit_status_and_last_words(void **state)
{
    (void)state;
    static const struct step steps[] = {
        { "POST", "/compute/fails", HTTP_JSON, "{\"script\":\"echo out; echo first >&2; echo why >&2; exit 3\"}", 500,
          "task_failed", "exit status 3: why" },
        { "POST", "/compute/fails", HTTP_JSON, "{\"script\":\"seq 1 20000 >&2; echo last >&2; exit 1\"}", 500,
          "task_failed", "exit status 1: last" },
        { "POST", "/compute/fails", HTTP_JSON, "{\"script\":\"kill -9 $$\"}", 500, "task_failed", "signal 9 (Killed)" },
        { "POST", "/compute/fails", HTTP_JSON, "{\"script\":\"yes | head -c 200000\"}", 422, "result_too_large", NULL },
        { "POST", "/compute/fails", HTTP_JSON, "{\"script\":\"exec 1>&-; exec 0<&-\"}", 200, NULL, "\"result\":\"\"" },
        { "POST", "/compute/fails", HTTP_JSON, "{\"script\":\"sleep 54322 & echo done\"}", 200, NULL, "done\\n" },
        { "POST", "/compute/fails", HTTP_JSON, "{\"script\":\"cat\"}", 200, NULL, "{\\\"script\\\":\\\"cat\\\"}" },
        { "GET", "/compute/missing", NULL, NULL, 500, "task_failed",
          "/no/such/program could not be run: No such file" },
    };
    steps_run(&server, steps, ARRAY_LEN(steps));
    assert_int_equal(system("pgrep -f '[s]leep 54322' >/dev/null"), 256);
}

/* ---- what a program may do: what its section grants */

static void sandbox__without_grants__no_files_no_network_no_escape(void **state)
{
    (void)state;
    if (!server_log_contains(&server, "sandbox") || server_log_contains(&server, "unavailable"))
        skip(); /* the kernel cannot do it, and the log says so */
    static const struct step steps[] = {
        { "POST", "/compute/fails", HTTP_JSON, "{\"script\":\"echo x >/tmp/twinpool-escaped\"}", 500, "task_failed",
          "ermission denied" },
        { "POST", "/compute/fails", HTTP_JSON, "{\"script\":\"ls /root /home /var/lib\"}", 500, "task_failed",
          "ermission denied" },
        { "POST", "/compute/fails", HTTP_JSON,
          "{\"script\":\"python3 -c 'import socket; socket.socket(socket.AF_INET)'\"}", 500, "task_failed",
          "not permitted" },
        { "POST", "/compute/fails", HTTP_JSON, "{\"script\":\"setsid sleep 1\"}", 500, "task_failed", "not permitted" },
        { "POST", "/compute/fails", HTTP_JSON, "{\"script\":\"cat tests/support/odd_program.py | head -c 3\"}", 200,
          NULL, "\"result\":\"\\\"\\\"\\\"\"" },
        { "POST", "/compute/granted", HTTP_JSON,
          "{\"script\":\"python3 -c 'import socket; socket.socket(socket.AF_INET)' && echo fine\"}", 200, NULL,
          "\"result\":\"fine\\n\"" },
    };
    steps_run(&server, steps, ARRAY_LEN(steps));
    char body[200];
    snprintf(body, sizeof body, "{\"script\":\"echo kept >%s/kept && cat %s/kept && rm %s/kept\"}", folder, folder,
             folder);
    struct http_reply reply = step_once(&server, "POST", "/compute/granted", HTTP_JSON, body, 200);
    assert_non_null(strstr(reply.body, "\"result\":\"kept\\n\""));
    http_reply_done(&reply);
}

/* ---- the file */

static void file__mistakes__named_with_their_line(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "[task.x]\ncomand = cat\n", ":2: a task has no comand; did you mean command?" },
        { "[task.x]\nworkers = 2\n", ":1: [task.x] needs a command" },
        { "[task.x]\ncommand = sh -c \"exit 3\n", "[task.x] command: a quote is not closed" },
        { "[task.x]\ncommand = cat\nread = 'a\\' b\n", "[task.x] read: a quote is not closed" },
        { "[task.x]\ncommand = cat\nwrite = /tmp\\\n", "[task.x] write: a quote is not closed, or it ends with a" },
        { "[task.X]\ncommand = cat\n", ":2: a task's name is" },
        { "[task.primes]\ncommand = cat\n",
          ":2: primes is a built-in task: timeout-ms, priority, max-concurrency, "
          "max-payload-bytes, max-result-bytes and cpu-ms can be set, command cannot" },
        { "[task.x]\ncommand = cat\nargs = n float 1..2\n", "\"float\" is not int, string" },
        { "[task.x]\ncommand = cat\nargs = n int 1..2 default 3\n", "its default is not one of its values" },
        { "[task.x]\ncommand = cat\nargs = n int\n", "wants a range" },
        { "[task.x]\ncommand = cat\nargs = n int 1..9 default 05\n", "its default is not one of its values" },
        { "[task.x]\ncommand = cat\nargs = n json default {\n", "its default is not one of its values" },
        { "[task.x]\ncommand = cat\nargs = a\"b bool\n", "args: a name is 1 to 64 of" },
        { "[task.x]\ncommand = cat\nargs = a bool, a bool\n", "args: a is taken" },
        { "[task.x]\ncommand = cat\nargs = priority bool\n", "args: priority is taken" },
        { "[task.x]\ncommand = cat\nargs = s string -1..5\n", "is not a range" },
        { "[task.x]\ncommand = cat\nargs = s string 1..5 default \"a\"\n", "its default goes without quotes" },
        { "[task.x]\ncommand = cat\nworkers = 1\nworkers = 2\n", ":4: workers was set before" },
        { "[task.x]\ncommand = cat\nargs = a bool default no\n", "one of its values, true and false" },
        { "[task.x]\ncommand = cat\nargs = a int 1..2 required default 1\n", "what is required has no default" },
        { "[task.x]\ncommand = cat\n[task.y]\ncommand = cat\n[task.x]\nworkers = 2\n",
          ":6: [task.x] stands in line 1 already" },
        { "[task.x]\ncommand = cat\nmode = oneshot\nmax-jobs = 2\n",
          ":1: [task.x] is oneshot, which goes without max-jobs" },
        { "[task.x]\ncommand = cat\noutput = json\n", ":1: [task.x] is persistent, which goes without output" },
        { "compute-timeout-max-ms = 40000\n[task.primes]\ntimeout-ms = 50000\n",
          "[task.primes] timeout-ms 50000 is above --compute-timeout-max-ms 40000: lower the one" },
        { "[task.x]\ncommand = cat\nmax-payload-bytes = 1g\n",
          "[task.x] max-payload-bytes 1g is above --max-body-bytes 8m" },
        { "[task.x]\ncommand = cat\nmode = twice\n", "\"twice\" is not one of persistent|oneshot" },
    };
    char path[64];
    snprintf(path, sizeof path, "%s/bad.ini", folder);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_true(files_write(path, cases[i][0]));
        const char *const arguments[] = { "--config", path, "--print-config", NULL };
        struct twinpool_result result = twinpool_run(arguments, NULL);
        if (result.code != 2 || !strstr(result.errors, cases[i][1]))
            fail_msg("%zu: %d, %s", i, result.code, result.errors);
        twinpool_result_done(&result);
    }
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(examples__each__as_they_say),
        cmocka_unit_test(args__by_the_table__typed_and_checked),
        cmocka_unit_test(results__bytes__as_they_were_asked_for),
        cmocka_unit_test(answers__that_are_none__typed_and_the_next_is_right),
        cmocka_unit_test(answer__of_an_earlier_job__reaches_nobody),
        cmocka_unit_test(death__in_a_job__told_as_it_was),
        cmocka_unit_test(death__between_jobs__next_job_does_not_notice),
        cmocka_unit_test(max_jobs__one__started_anew_for_each),
        cmocka_unit_test(deadline__whatever_it_does__nothing_is_left),
        cmocka_unit_test(limits__memory_cpu_processes__typed),
        cmocka_unit_test(limits__by_its_children__typed_too),
        cmocka_unit_test(broken__at_its_start__only_that_task_waits_and_heals),
        cmocka_unit_test(messages__in_the_log__with_the_task),
        cmocka_unit_test(oneshot__environment_and_folder__its_own),
        cmocka_unit_test(oneshot__failures__exit_status_and_last_words),
        cmocka_unit_test(sandbox__without_grants__no_files_no_network_no_escape),
        cmocka_unit_test(file__mistakes__named_with_their_line),
    };
    return cmocka_run_group_tests_name("programs", tests, start, stop);
}
