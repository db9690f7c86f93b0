/* Tests of service/evidence.c: what a process is at. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pool/evidence.h"
#include "tests/support/procs.h"
#include "tests/support/timing.h"

static pid_t start(void (*work)(void))
{
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        work();
        _exit(0);
    }
    return pid;
}

static void end(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static void wait_for_ever(void) { pause(); }

static void spin(void)
{
    for (volatile unsigned i = 0;; i++) {
    }
}

static void be_parent(void)
{
    (void)start(wait_for_ever);
    spin();
}

static bool is_asleep(void *pid) { return procs_state(*(pid_t *)pid) == 'S'; }
static bool has_child(void *pid)
{
    pid_t child;
    return procs_children(*(pid_t *)pid, &child, 1) == 1 && procs_state(child) == 'S';
}

static void collect__asleep__state_and_cpu(void **state)
{
    (void)state;
    char text[EVIDENCE_MAX];
    pid_t pid = start(wait_for_ever);
    assert_true(wait_until(is_asleep, &pid, scaled_ms(2000)));
    evidence_collect(pid, text);
    end(pid);
    assert_non_null(strstr(text, "state S, "));
    assert_non_null(strstr(text, " ms of CPU"));
    assert_null(strstr(text, "its program"));
}

static void collect__with_a_child__both(void **state)
{
    (void)state;
    char text[EVIDENCE_MAX];
    pid_t pid = start(be_parent);
    assert_true(wait_until(has_child, &pid, scaled_ms(2000)));
    evidence_collect(pid, text);
    end(pid);
    assert_non_null(strstr(text, "state R, "));
    assert_non_null(strstr(text, "; its program: state S, 0 ms of CPU"));
}

static void collect__no_such_process__nothing(void **state)
{
    (void)state;
    char text[EVIDENCE_MAX];
    pid_t pid = start(wait_for_ever);
    end(pid);
    evidence_collect(pid, text);
    assert_string_equal(text, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(collect__asleep__state_and_cpu),
        cmocka_unit_test(collect__with_a_child__both),
        cmocka_unit_test(collect__no_such_process__nothing),
    };
    return cmocka_run_group_tests_name("evidence", tests, NULL, NULL);
}
