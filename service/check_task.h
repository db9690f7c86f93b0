/* check_task: `twinpool check-task FILE`: a plug-in is loaded, told of and tested without a service. */
#ifndef TWINPOOL_SERVICE_CHECK_TASK_H
#define TWINPOOL_SERVICE_CHECK_TASK_H

#include "base/attrs.h"

/* Prints what the plug-in says of itself to stdout, what is wrong with it to stderr. Returns the exit status: 0, or 1
 * if something is. */
int check_task_run(const char *path) NONNULL MUST_CHECK;

#endif
