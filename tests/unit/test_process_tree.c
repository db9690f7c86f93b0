/* A process, its children by whatever thread, and theirs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/attrs.h"
#include "base/clock.h"
#include "pool/process_tree.h"

static int is_up[2];

NORETURN static void stay(void)
{
    alarm(20); /* should the test fail before it kills them */
    ssize_t ignored = write(is_up[1], "", 1);
    (void)ignored;
    for (;;)
        pause();
}

static void *fork_one(void *ret_pid)
{
    pid_t pid = fork();
    if (pid == 0)
        stay();
    *(pid_t *)ret_pid = pid;
    return NULL;
}

static void await(unsigned count)
{
    char byte;
    while (count-- > 0)
        assert_int_equal(read(is_up[0], &byte, 1), 1);
}

/* A child with two of its own, and one that another thread has started and which outlives it. */
static void tree__of_four__counted_as_far_as_asked(void **state UNUSED)
{
    pid_t other, pids[8];
    pthread_t thread;
    assert_int_equal(pipe(is_up), 0);
    assert_int_equal(process_tree_measure(getpid(), 100).processes, 0);
    assert_int_equal(process_tree_children(getpid(), pids, ARRAY_LEN(pids)), 0);
    pid_t child = fork();
    if (child == 0) {
        setpgid(0, 0);
        if (fork() > 0 && fork() > 0)
            stay();
        stay();
    }
    assert_int_equal(pthread_create(&thread, NULL, fork_one, &other), 0);
    pthread_join(thread, NULL);
    await(4);
    assert_int_equal(process_tree_measure(getpid(), 100).processes, 4);
    assert_int_equal(process_tree_measure(getpid(), 3).processes, 3);
    assert_int_equal(process_tree_measure(getpid(), 1).processes, 1);
    assert_int_equal(process_tree_measure(child, 100).processes, 2);
    assert_int_equal(process_tree_children(getpid(), pids, ARRAY_LEN(pids)), 2);
    assert_int_equal(process_tree_children(getpid(), pids, 1), 1);
    kill(-child, SIGKILL);
    kill(other, SIGKILL);
    while (waitpid(-1, NULL, 0) > 0)
        continue;
    assert_int_equal(process_tree_measure(getpid(), 100).processes, 0);
}

/* Waits for a grandchild that has worked. */
static void usage__of_the_living_and_of_whom_they_reaped__counts(void **state UNUSED)
{
    enum { BYTES = 32 << 20, WORK_MS = 200 };
    pid_t child = fork();
    if (child == 0) {
        if (fork() == 0) {
            while (clock() < (clock_t)WORK_MS * CLOCKS_PER_SEC / 1000)
                continue;
            _exit(0);
        }
        wait(NULL);
        if (mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0) == MAP_FAILED)
            _exit(1);
        stay();
    }
    await(1);
    struct process_tree_sum sum = process_tree_measure(getpid(), 100);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    assert_int_equal(sum.processes, 1);
    assert_true(sum.cpu_ns >= (WORK_MS - 40) * NS_PER_MS && sum.cpu_ns < 20 * WORK_MS * NS_PER_MS);
    assert_true(sum.resident_bytes > BYTES);
}

static void nobody__nothing(void **state UNUSED)
{
    pid_t pid;
    assert_int_equal(process_tree_children(0x7ffffffe, &pid, 1), 0);
    assert_int_equal(process_tree_measure(0x7ffffffe, 10).processes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tree__of_four__counted_as_far_as_asked),
        cmocka_unit_test(usage__of_the_living_and_of_whom_they_reaped__counts),
        cmocka_unit_test(nobody__nothing),
    };
    return cmocka_run_group_tests_name("process_tree", tests, NULL, NULL);
}
