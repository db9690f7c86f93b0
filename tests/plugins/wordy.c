/* Declares args that cannot be read. */
#include "include/twinpool/task.h"

static int run(struct twinpool_job *job) { return twinpool_append_text(job, "1"); }

const struct twinpool_task twinpool_task = { TWINPOOL_TASK_ABI, sizeof(struct twinpool_task), .args = "n float 1..2",
                                             .run = run };
