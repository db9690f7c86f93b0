/* A plug-in that does what it is told, much of which no plug-in should. */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <fcntl.h>
#include <unistd.h>

#include "include/twinpool/task.h"

static void nap(void) { nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL); }

static void hang(void)
{
    for (;;)
        nap();
}

static int poll_until_cancelled(struct twinpool_job *job)
{
    while (!twinpool_is_cancelled(job))
        nap();
    return 0;
}

static int fill(struct twinpool_job *job)
{
    static const char block[4096];
    twinpool_set_binary(job);
    while (twinpool_append(job, block, sizeof block) == 0)
        ;
    return 0;
}

static int run(struct twinpool_job *job)
{
    size_t len;
    const char *what = twinpool_get_text(job, "do", &len);
    int64_t n = -1;
    if (!what || len != strlen(what) || !twinpool_get_integer(job, "n", &n) || twinpool_get_integer(job, "x", &n))
        return twinpool_fail(job, "the args are not as declared");
    if (strcmp(what, "crash") == 0)
        abort();
    if (strcmp(what, "exit") == 0)
        _exit((int)n); /* without what a sanitizer does at the end */
    if (strcmp(what, "hang") == 0)
        hang();
    if (strcmp(what, "poll") == 0)
        return poll_until_cancelled(job);
    if (strcmp(what, "fill") == 0)
        return fill(job);
    if (strcmp(what, "fail") == 0)
        return twinpool_fail(job, "as it was told to");
    if (strcmp(what, "code") == 0)
        return (int)n;
    if (strcmp(what, "garbage") == 0)
        return twinpool_append_text(job, "{\"half\":");
    if (strcmp(what, "open") == 0)
        return open("/etc/hostname", O_RDONLY) >= 0 ? twinpool_append_text(job, "\"open\"")
                                                    : twinpool_fail(job, "refused");
    if (strcmp(what, "bytes") == 0) {
        twinpool_set_binary(job);
        return twinpool_append(job, job->payload, job->payload_len);
    }
    if (strcmp(what, "pid") == 0) {
        char text[24];
        size_t at = sizeof text - 1;
        text[at] = '\0';
        for (long pid = (long)getpid(); pid > 0; pid /= 10)
            text[--at] = (char)('0' + pid % 10);
        return twinpool_append_text(job, text + at);
    }
    return twinpool_append(job, job->args, job->args_len);
}

const struct twinpool_task twinpool_task = {
    TWINPOOL_TASK_ABI,
    sizeof(struct twinpool_task),
    .description = "does what it is told",
    .args = "do enum echo|crash|exit|hang|poll|fill|fail|code|garbage|open|bytes|pid default echo, "
            "n int 0..1000 default 0, x bool",
    .flags = TWINPOOL_TAKES_PAYLOAD | TWINPOOL_POLLS_CANCEL,
    .run = run
};
