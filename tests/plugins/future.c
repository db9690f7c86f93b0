/* Made for a version that does not exist. */
#include "include/twinpool/task.h"

static int run(struct twinpool_job *job) { return twinpool_append_text(job, "1"); }

const struct twinpool_task twinpool_task = { TWINPOOL_TASK_ABI + 1, sizeof(struct twinpool_task), .run = run };
