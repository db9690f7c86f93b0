/* The program's command line, environment and file: what is printed, what is refused and how, and which of them wins.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/support/twinpool_run.h"
#include "tests/support/server.h"
#include "tests/support/timing.h"

enum { ARGUMENTS_MAX = 6, PATH_BYTES = 64 };

/* A readable file with this text; its descriptor must be kept open while the path is used. */
static int make_file(const char *text, char ret_path[PATH_BYTES])
{
    int fd = memfd_create("twinpool.ini", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_true(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    snprintf(ret_path, PATH_BYTES, "/proc/%d/fd/%d", (int)getpid(), fd);
    return fd;
}

static void information__asked_for__printed_and_exit_0(void **state)
{
    (void)state;
    static const struct {
        const char *argument, *contains;
    } cases[] = {
        { "--version", "twinpool 0." },
        { "--help", "--fetch-allow" },
        { "--print-config", "listen" },
        { "docs", "--compute-timeout-ms" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *const arguments[] = { cases[i].argument, NULL };
        struct twinpool_result result = twinpool_run(arguments, NULL);
        assert_int_equal(result.code, 0);
        assert_non_null(strstr(result.output, cases[i].contains));
        assert_string_equal(result.errors, "");
        twinpool_result_done(&result);
    }
}

static void mistakes__anywhere__named_on_stderr_and_no_start(void **state)
{
    (void)state;
    static const struct {
        const char *arguments[ARGUMENTS_MAX];
        const char *variable;
        const char *contains[3];
    } cases[] = {
        { { "--workers", "many" }, NULL, { "--workers", "\"many\"", "256" } },
        { { "--workers", "257" }, NULL, { "--workers", "256" } },
        { { "--workers" }, NULL, { "--workers" } },
        { { "--worker", "1" }, NULL, { "--worker" } },
        { { "--wrkers", "1" }, NULL, { "--wrkers", "--workers" } },
        { { "--listen", "localhost" }, NULL, { "--listen" } },
        { { "--listen", "127.0.0.1:70000" }, NULL, { "--listen" } },
        { { "--fetch-allow", "127.0.0.1/33" }, NULL, { "--fetch-allow", "127.0.0.1/33" } },
        { { "--compute-timeout-ms", "-5" }, NULL, { "--compute-timeout-ms", "\"-5\"" } },
        { { "--compute-timeout-ms", "500000", "--compute-timeout-max-ms", "1000" }, NULL, { "compute-timeout" } },
        { { "--log-level", "loud" }, NULL, { "--log-level", "\"loud\"" } },
        { { "--fetch-allow", "10.0.0.0/8," }, NULL, { "--fetch-allow", "a list of networks", "an empty entry" } },
        { { "--fetch-deny", "1.2.3" }, NULL, { "--fetch-deny", "a list of networks", "not an IPv4 or IPv6 address" } },
        { { "--fetch-hosts", "https://x/" }, NULL, { "--fetch-hosts", "a list of hosts", "not a host name" } },
        { { "--fetch-deny-hosts", "a b" }, NULL, { "--fetch-deny-hosts", "a list of hosts", "not a host name" } },
        { { "--fetch-ports", "80,x" }, NULL, { "--fetch-ports", "\"80,x\"", "FIRST-LAST" } },
        { { "--fetch-ports", "90-80" }, NULL, { "--fetch-ports", "from 1 to 65535" } },
        { { "--fetch-dns-servers", "localhost" }, NULL, { "--fetch-dns-servers", "not numeric addresses" } },
        { { "--fetch-dns-servers", "127.0.0.1:0" }, NULL, { "--fetch-dns-servers", "a list of name servers" } },
        { { "--fetch-breaker-on", "dns,weather" }, NULL, { "--fetch-breaker-on", "5xx and 429", "an unknown word" } },
        { { "--fetch-breaker-open-ms", "0" }, NULL, { "--fetch-breaker-open-ms", "from 1 to 3600000" } },
        { { "--fetch-breaker-failures", "1000001" }, NULL, { "--fetch-breaker-failures", "from 0 to 1000000" } },
        { { "--fetch-dns-timeout-ms", "0" }, NULL, { "--fetch-dns-timeout-ms", "from 1 to 3600000" } },
        { { "--fetch-tls-timeout-ms", "soon" }, NULL, { "--fetch-tls-timeout-ms", "\"soon\"" } },
        { { "--fetch-connect-timeout-ms", "70000" },
          NULL,
          { "--fetch-connect-timeout-ms 70000", "--fetch-timeout-max-ms 60000", "(its default)" } },
        { { "--fetch-first-byte-timeout-ms", "9", "--fetch-timeout-max-ms", "8" },
          NULL,
          { "--fetch-first-byte-timeout-ms 9", "--fetch-timeout-max-ms 8:" } },
        { { "--fetch-min-rate", "-1" }, NULL, { "--fetch-min-rate", "from 0 to 1073741824" } },
        { { "--fetch-max-ratio", "1.5" }, NULL, { "--fetch-max-ratio", "from 0 to 1000000" } },
        { { "--fetch-memory-bytes", "1023k" }, NULL, { "--fetch-memory-bytes", "from 1048576" } },
        { { "--fetch-stream-bytes", "1023" }, NULL, { "--fetch-stream-bytes", "from 1024" } },
        { { "--fetch-per-call", "20000" }, NULL, { "--fetch-per-call 20000", "--fetch-inflight-max" } },
        { { "--fetch-retries", "11" }, NULL, { "--fetch-retries", "from 0 to 10" } },
        { { "--fetch-ca-file", "/nonexistent.pem", "--listen", "127.0.0.1:0" }, NULL, { "--fetch-ca-file" } },
        { { "stray" }, NULL, { "stray" } },
        { { NULL }, "TWINPOOL_WORKERS=none", { "TWINPOOL_WORKERS", "\"none\"" } },
        { { NULL }, "TWINPOOL_WORKRES=2", { "TWINPOOL_WORKRES", "TWINPOOL_WORKERS" } },
        { { "--config", "/nonexistent.ini" }, NULL, { "/nonexistent.ini" } },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *const variables[] = { cases[i].variable, NULL };
        struct twinpool_result result = twinpool_run(cases[i].arguments, variables);
        if (result.code <= 0 || result.code > 255)
            fail_msg("case %zu: exit code %d", i, result.code);
        for (size_t k = 0; k < ARRAY_LEN(cases[i].contains) && cases[i].contains[k]; k++)
            if (!strstr(result.errors, cases[i].contains[k]))
                fail_msg("case %zu: \"%s\" is missing in: %s", i, cases[i].contains[k], result.errors);
        twinpool_result_done(&result);
    }
}

static void file__wrong_key_or_value__named_with_its_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *contains;
    } cases[] = {
        { "workers = 1\nworkres = 2\n", ":2:" },
        { "# comment\n\nworkers = lots\n", ":3:" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char path[PATH_BYTES];
        int fd = make_file(cases[i].text, path);
        const char *const arguments[] = { "--config", path, NULL };
        struct twinpool_result result = twinpool_run(arguments, NULL);
        assert_true(result.code > 0);
        assert_non_null(strstr(result.errors, cases[i].contains));
        assert_non_null(strstr(result.errors, path));
        twinpool_result_done(&result);
        close(fd);
    }
}

static void precedence__flag_over_variable_over_file__as_promised(void **state)
{
    (void)state;
    char path[PATH_BYTES];
    int fd = make_file("workers = 3\nloops = 3\nio-threads = 3\n", path);
    const char *const arguments[] = { "--config", path, "--workers", "5", "--print-config", NULL };
    const char *const variables[] = { "TWINPOOL_WORKERS=4", "TWINPOOL_LOOPS=4", NULL };
    struct twinpool_result result = twinpool_run(arguments, variables);
    assert_int_equal(result.code, 0);
    assert_non_null(strstr(result.output, "\nworkers = 5\n"));
    assert_non_null(strstr(result.output, "\nloops = 4\n"));
    assert_non_null(strstr(result.output, "\nio-threads = 3\n"));
    twinpool_result_done(&result);
    close(fd);
}

/* Prints the effective options with these arguments, has them read back, and compares. */
static void expect_read_back(const char *const *arguments)
{
    struct twinpool_result printed = twinpool_run(arguments, NULL);
    char path[PATH_BYTES];
    if (printed.code != 0)
        fail_msg("%s", printed.errors);
    int fd = make_file(printed.output, path);
    const char *const second[] = { "--config", path, "--print-config", NULL };
    struct twinpool_result again = twinpool_run(second, NULL);
    if (again.code != 0)
        fail_msg("%s", again.errors);
    assert_string_equal(printed.output, again.output);
    twinpool_result_done(&printed);
    twinpool_result_done(&again);
    close(fd);
}

static void print_config__read_back__the_same(void **state)
{
    (void)state;
    const char *const first[] = { "--workers",        "7",  "--fetch-allow",  "10.0.0.0/8,::1/128",
                                  "--max-body-bytes", "2m", "--print-config", NULL };
    expect_read_back(first);
    const char *const fetch[] = { "--fetch-deny",
                                  "10.1.0.0/16,fd00::/8",
                                  "--fetch-hosts",
                                  "*.example.org,example.com",
                                  "--fetch-deny-hosts",
                                  "bad.example.org",
                                  "--fetch-ports",
                                  "80,443,8000-8999",
                                  "--fetch-dns-servers",
                                  "127.0.0.1:5353,::1,[2001:db8::1]:53",
                                  "--fetch-breaker-on",
                                  "5xx,429",
                                  "--fetch-breaker-failures",
                                  "5",
                                  "--fetch-ca-file",
                                  "/etc/ssl/a,b c.pem",
                                  "--fetch-memory-bytes",
                                  "1g",
                                  "--fetch-stream-bytes",
                                  "64k",
                                  "--fetch-min-rate",
                                  "0",
                                  "--fetch-retries",
                                  "0",
                                  "--print-config",
                                  NULL };
    expect_read_back(fetch);
}

static const struct list_option {
    const char *key, *parts[3];
} list_options[] = {
    { "fetch-allow", { "10.0.0.0/8", "127.0.0.0/8", "::1/128" } },
    { "fetch-deny", { "10.1.0.0/16", "10.2.0.0/16", "fd00::/8" } },
    { "fetch-hosts", { "example.org", "*.example.org", "a-b.example" } },
    { "fetch-deny-hosts", { "bad.example", "*.bad.example", "worse.example" } },
    { "fetch-ports", { "80", "443", "8000-8999" } },
    { "fetch-breaker-on", { "dns", "tls", "429" } },
    { "fetch-dns-servers", { "127.0.0.1:5353", "::1", "[2001:db8::1]:53" } },
};

static void file__list_over_several_lines__joined(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(list_options); i++) {
        const struct list_option *list = &list_options[i];
        char path[PATH_BYTES], text[300], expected[300];
        snprintf(text, sizeof text, "%s = %s,\n    %s\n\t%s\nworkers = 3\n", list->key, list->parts[0], list->parts[1],
                 list->parts[2]);
        snprintf(expected, sizeof expected, "\n%s = %s,\n    %s,\n    %s\n", list->key, list->parts[0], list->parts[1],
                 list->parts[2]);
        int fd = make_file(text, path);
        const char *const arguments[] = { "--config", path, "--print-config", NULL };
        struct twinpool_result result = twinpool_run(arguments, NULL);
        if (result.code != 0 || !strstr(result.output, expected) || !strstr(result.output, "\nworkers = 3\n"))
            fail_msg("%s: %s%s", list->key, result.errors, result.output);
        twinpool_result_done(&result);
        close(fd);
    }
}

static void file__bad_part_of_a_list__named_with_its_line(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(list_options); i++) {
        char path[PATH_BYTES], text[300];
        snprintf(text, sizeof text, "workers = 3\n%s = %s,\n    not:a/part\n", list_options[i].key,
                 list_options[i].parts[0]);
        int fd = make_file(text, path);
        const char *const arguments[] = { "--config", path, "--print-config", NULL };
        struct twinpool_result result = twinpool_run(arguments, NULL);
        if (result.code == 0 || !strstr(result.errors, ":3: ") || !strstr(result.errors, list_options[i].key) ||
            !strstr(result.errors, "not:a/part"))
            fail_msg("%s: %d, %s", list_options[i].key, result.code, result.errors);
        twinpool_result_done(&result);
        close(fd);
    }
}

static void lists__in_the_environment__replace_those_of_the_file(void **state)
{
    (void)state;
    char path[PATH_BYTES];
    int fd = make_file("fetch-ports = 80,\n    443\nfetch-breaker-on = dns\n", path);
    const char *const arguments[] = { "--config", path, "--print-config", NULL };
    const char *const variables[] = { "TWINPOOL_FETCH_PORTS=8080", "TWINPOOL_FETCH_BREAKER_ON=", NULL };
    struct twinpool_result result = twinpool_run(arguments, variables);
    assert_int_equal(result.code, 0);
    assert_non_null(strstr(result.output, "\nfetch-ports = 8080\n"));
    assert_non_null(strstr(result.output, "\nfetch-breaker-on =\n"));
    twinpool_result_done(&result);
    close(fd);
}

static void healthcheck__server_there_or_not__exit_0_or_1(void **state)
{
    (void)state;
    struct server server;
    char address[64];
    const char *const flags[] = { "--workers", "1", NULL };
    assert_true(server_start(&server, flags, NULL));
    snprintf(address, sizeof address, "127.0.0.1:%u", (unsigned)server.port);
    const char *const arguments[] = { "healthcheck", "--listen", address, NULL };
    struct twinpool_result result = twinpool_run(arguments, NULL);
    int code_while_serving = result.code;
    twinpool_result_done(&result);
    assert_int_equal(server_stop(&server), 0);
    result = twinpool_run(arguments, NULL);
    assert_int_equal(code_while_serving, 0);
    assert_int_equal(result.code, 1);
    assert_true(strlen(result.errors) > 0);
    twinpool_result_done(&result);
}

static void listen__address_in_use__exit_1_and_said(void **state)
{
    (void)state;
    struct server server;
    char address[64];
    const char *const flags[] = { "--workers", "1", NULL };
    assert_true(server_start(&server, flags, NULL));
    snprintf(address, sizeof address, "127.0.0.1:%u", (unsigned)server.port);
    const char *const arguments[] = { "--listen", address, NULL };
    struct twinpool_result result = twinpool_run(arguments, NULL);
    server_kill(&server);
    assert_int_equal(result.code, 1);
    assert_non_null(strstr(result.errors, address));
    twinpool_result_done(&result);
}

static void log__json__each_line_an_object(void **state)
{
    (void)state;
    struct server server;
    const char *const flags[] = { "--workers", "1", "--log-format", "json", NULL };
    assert_true(server_start(&server, flags, NULL));
    char *log = server_log(&server);
    server_kill(&server);
    assert_non_null(strstr(log, "{\"ts\":\""));
    assert_non_null(strstr(log, "\"event\":\"serving\""));
    free(log);
}

static bool first_has_arrived(void *server) { return server_stat(server, "requests.body_bytes") == 59999; }

/* Two bodies that are received at once and fit one by one, but not together: the second is refused, the first is
 * served. */
static void max_bodies_bytes__together_too_much__503_names_it(void **state)
{
    (void)state;
    static const char head[] =
        "POST /compute/digest HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: 60000\r\n\r\n";
    static char body[60000];
    struct server server;
    struct http_conn first, second;
    struct http_reply reply;
    const char *const flags[] = { "--workers", "1", "--max-bodies-bytes", "80000", NULL };
    memset(body, 'x', sizeof body);
    assert_true(server_start(&server, flags, NULL));
    assert_true(http_connect(&first, server.port) && http_connect(&second, server.port));
    assert_true(http_send_raw(&first, head, strlen(head)) && http_send_raw(&first, body, sizeof body - 1));
    assert_true(wait_until(first_has_arrived, &server, scaled_ms(10000)));
    assert_true(http_send_raw(&second, head, strlen(head)));
    (void)!http_send_raw(&second, body, sizeof body);
    assert_int_equal(http_receive(&second, false, scaled_ms(10000), &reply), HTTP_ANSWERED);
    assert_int_equal(reply.status, 503);
    assert_non_null(strstr(reply.body, "--max-bodies-bytes"));
    http_reply_done(&reply);
    assert_true(http_send_raw(&first, body, 1));
    assert_int_equal(http_receive(&first, false, scaled_ms(10000), &reply), HTTP_ANSWERED);
    assert_int_equal(reply.status, 200);
    http_reply_done(&reply);
    http_close(&first);
    http_close(&second);
    assert_int_equal(server_stop(&server), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(information__asked_for__printed_and_exit_0),
        cmocka_unit_test(mistakes__anywhere__named_on_stderr_and_no_start),
        cmocka_unit_test(file__wrong_key_or_value__named_with_its_line),
        cmocka_unit_test(precedence__flag_over_variable_over_file__as_promised),
        cmocka_unit_test(print_config__read_back__the_same),
        cmocka_unit_test(file__list_over_several_lines__joined),
        cmocka_unit_test(file__bad_part_of_a_list__named_with_its_line),
        cmocka_unit_test(lists__in_the_environment__replace_those_of_the_file),
        cmocka_unit_test(healthcheck__server_there_or_not__exit_0_or_1),
        cmocka_unit_test(listen__address_in_use__exit_1_and_said),
        cmocka_unit_test(log__json__each_line_an_object),
        cmocka_unit_test(max_bodies_bytes__together_too_much__503_names_it),
    };
    return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
