/* running_job: what a task can learn and say of the job that its worker process runs, one at a time. */
#ifndef TWINPOOL_POOL_RUNNING_JOB_H
#define TWINPOOL_POOL_RUNNING_JOB_H

#include <stdbool.h>

#include "base/attrs.h"
#include "pool/mailbox.h"

/* The worker begins the job in that slot, or has ended it (NULL). */
void running_job_set(struct slot *slot);

/* It has been cancelled, and the process is killed soon. */
bool running_job_is_cancelled(void) MUST_CHECK;

/* Before the process ends: nothing of it (of a chunk: of the items that have no result yet) was done after all, so it
 * may run elsewhere. */
void running_job_take_back(void);

/* Before the process ends: why, for the job's answer. Cut to MAILBOX_DETAIL_BYTES. */
void running_job_explain_end(const char *text) NONNULL;

#endif
