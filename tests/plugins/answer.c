/* Answers with a number that is compiled in, so that one version can be told from another. */
#include <unistd.h>

#include "include/twinpool/task.h"

#ifndef ANSWER
#define ANSWER "1"
#endif

static int run(struct twinpool_job *job) { return twinpool_append_text(job, ANSWER); }

#ifdef HANGS
__attribute__((constructor)) static void hang(void)
{
    for (;;)
        pause();
}
#endif

const struct twinpool_task twinpool_task = { TWINPOOL_TASK_ABI, sizeof(struct twinpool_task),
                                             .description = "answers " ANSWER, .run = run };
