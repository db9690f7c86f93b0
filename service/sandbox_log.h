/* sandbox_log: what this machine can confine workers with, for the log and GET /stats; each worker does so by itself.
 */
#ifndef TWINPOOL_SERVICE_SANDBOX_LOG_H
#define TWINPOOL_SERVICE_SANDBOX_LOG_H

#include <stddef.h>

#include "base/attrs.h"

/* In a process with one thread: logs the event `sandbox`, and writes the same as a JSON object, "" if it does not fit.
 */
void sandbox_log_probe(char *ret_text, size_t size) NONNULL;

#endif
