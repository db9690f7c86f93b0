/* Its self-test crashes. */
#include <stdlib.h>

#include "include/twinpool/task.h"

static int run(struct twinpool_job *job) { return twinpool_append_text(job, "1"); }
static int self_test(void) { abort(); }

const struct twinpool_task twinpool_task = { TWINPOOL_TASK_ABI, sizeof(struct twinpool_task), .run = run,
                                             .self_test = self_test };
