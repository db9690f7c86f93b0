/* SIGKILL of the supervisor: nothing may be left running, whatever it was doing, and the port is free at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>

#include "base/clock.h"
#include "tests/support/faults.h"
#include "tests/support/procs.h"
#include "tests/support/timing.h"

enum { WORKERS = 3, CHILDREN_MAX = 16 };

static struct server server;

static int stop(void **state)
{
    (void)state;
    server_kill(&server);
    return 0;
}

struct family {
    pid_t pids[CHILDREN_MAX];
    size_t count;
};

static bool all_are_gone(void *context)
{
    const struct family *family = context;
    for (size_t i = 0; i < family->count; i++)
        if (!procs_is_gone(family->pids[i]))
            return false;
    return true;
}

static void kill_and_expect_nothing_left(void)
{
    struct family family;
    char address[64];
    family.count = procs_children(server.pid, family.pids, CHILDREN_MAX);
    assert_int_equal(family.count, WORKERS + 1);
    snprintf(address, sizeof address, "127.0.0.1:%u", (unsigned)server.port);
    uint64_t start_ns = clock_now_ns();
    kill(server.pid, SIGKILL);
    if (!wait_until(all_are_gone, &family, scaled_ms(1000))) {
        for (size_t i = 0; i < family.count; i++)
            print_error("pid %d: state %c\n", (int)family.pids[i], procs_state(family.pids[i]));
        fail_msg("processes are left");
    }
    print_message("    all gone after %.0f ms\n", elapsed_ms(start_ns));
    assert_int_equal(server_wait_exit(&server, scaled_ms(1000)), 256 + SIGKILL);

    const char *const flags[] = { "--listen", address, "--workers", "1", NULL };
    assert_true(server_start(&server, flags, NULL));
}

static void start(void)
{
    const char *const flags[] = { "--workers", "3", NULL };
    assert_true(server_start(&server, flags, NULL));
    assert_true(server_wait_workers(&server, WORKERS, scaled_ms(3000)));
}

static void supervisor__killed_while_idle__nothing_left(void **state)
{
    (void)state;
    start();
    kill_and_expect_nothing_left();
}

static void supervisor__killed_while_busy_and_stopped__nothing_left(void **state)
{
    (void)state;
    struct http_conn conns[2];
    struct server_worker workers[WORKERS];
    start();
    for (size_t i = 0; i < ARRAY_LEN(conns); i++) {
        assert_true(http_connect(&conns[i], server.port));
        assert_true(http_send(&conns[i], "GET", "/compute/sum_squares?n=10000000000", NULL, NULL, 0));
    }
    assert_true(faults_wait_busy(&server) > 0);
    assert_int_equal(server_workers(&server, workers, WORKERS), WORKERS);
    kill(workers[WORKERS - 1].pid, SIGSTOP);
    kill_and_expect_nothing_left();
    for (size_t i = 0; i < ARRAY_LEN(conns); i++)
        http_close(&conns[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(supervisor__killed_while_idle__nothing_left, stop),
        cmocka_unit_test_teardown(supervisor__killed_while_busy_and_stopped__nothing_left, stop),
    };
    return cmocka_run_group_tests_name("supervisor_kill", tests, NULL, NULL);
}
