/* A plug-in that fails in a given way at a given point, as tests/support/fault_program.py does: {"point":"running",
 * "fault":"exit1"}. Points: running, writing (half of the result is there), idle (a moment after its job: by a timer's
 * signal). In warm_up() it does what the file FAULT_AT_START says, once: the file is taken away. */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include "include/twinpool/task.h"

static char fault_to_come[16];

static void fail_as(const char *fault)
{
    if (strcmp(fault, "exit0") == 0)
        _exit(0);
    if (strcmp(fault, "exit1") == 0)
        _exit(1);
    if (strcmp(fault, "segv") == 0)
        kill(getpid(), SIGSEGV);
    if (strcmp(fault, "kill") == 0)
        kill(getpid(), SIGKILL);
    if (strcmp(fault, "stop") == 0)
        kill(getpid(), SIGSTOP);
}

static void on_alarm(int sig)
{
    (void)sig;
    fail_as(fault_to_come);
}

static void fail_later(const char *fault)
{
    const struct itimerval time = { .it_value = { .tv_usec = 50000 } };
    strcpy(fault_to_come, fault);
    signal(SIGALRM, on_alarm);
    setitimer(ITIMER_REAL, &time, NULL);
}

/* All that it may have; NULL when it is refused, as a careful program notices. */
static int take_memory(struct twinpool_job *job)
{
    enum { BLOCK = 64 << 20, BLOCKS = 256 };
    void *blocks[BLOCKS];
    int count = 0;
    while (count < BLOCKS && (blocks[count] = malloc(BLOCK)) != NULL)
        count++;
    for (int i = 0; i < count; i++)
        free(blocks[i]);
    return count == BLOCKS ? 0 : twinpool_fail(job, "no memory");
}

static int take_files(struct twinpool_job *job)
{
    int fd = -1, next;
    while ((next = dup(STDERR_FILENO)) >= 0)
        fd = next;
    for (; fd > STDERR_FILENO + 40; fd--)
        close(fd);
    return twinpool_fail(job, "no files");
}

/* The value of a member, which is a short word. */
static const char *word(const struct twinpool_job *job, const char *key, char *ret_word, size_t size)
{
    const char *at = strstr(job->args, key);
    size_t len = at ? strcspn(at + strlen(key), "\"") : 0;
    if (len >= size)
        len = size - 1;
    if (at)
        memcpy(ret_word, at + strlen(key), len);
    ret_word[len] = '\0';
    return ret_word;
}

static int append_pid(struct twinpool_job *job)
{
    char text[24];
    size_t at = sizeof text - 1;
    text[at] = '\0';
    for (long pid = (long)getpid(); pid > 0; pid /= 10)
        text[--at] = (char)('0' + pid % 10);
    return twinpool_append_text(job, text + at);
}

static int run(struct twinpool_job *job)
{
    char point[16], fault[16];
    word(job, "\"point\":\"", point, sizeof point);
    word(job, "\"fault\":\"", fault, sizeof fault);
    if (strcmp(point, "writing") == 0)
        twinpool_append_text(job, "[1,");
    if (strcmp(point, "running") == 0 || strcmp(point, "writing") == 0) {
        fail_as(fault);
        if (strcmp(fault, "memory") == 0)
            return take_memory(job);
        if (strcmp(fault, "files") == 0)
            return take_files(job);
        if (strcmp(fault, "error") == 0)
            return twinpool_fail(job, "as it was told to");
    }
    if (strcmp(point, "idle") == 0)
        fail_later(fault);
    return append_pid(job);
}

static int warm_up(void)
{
    const char *path = getenv("FAULT_AT_START");
    char fault[16] = "";
    int fd = path ? open(path, O_RDONLY) : -1;
    if (fd < 0)
        return 0;
    ssize_t len = read(fd, fault, sizeof fault - 1);
    close(fd);
    unlink(path);
    fail_as(fault);
    return len > 0 && strcmp(fault, "error") == 0 ? -1 : 0;
}

const struct twinpool_task twinpool_task = { TWINPOOL_TASK_ABI, sizeof(struct twinpool_task),
                                             .description = "fails as it is told to", .run = run, .warm_up = warm_up };
