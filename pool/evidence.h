/* evidence: what a process is at, for the log, before it is killed. */
#ifndef TWINPOOL_POOL_EVIDENCE_H
#define TWINPOOL_POOL_EVIDENCE_H

#include <sys/types.h>

#include "base/attrs.h"

enum { EVIDENCE_MAX = 256 };

/* "state R, 1234 ms of CPU" and, of a process that waits and as far as we may know, "waits in futex_wait, system call
 * 202"; then the same of its first child, if it has one. Takes some 50 us. */
void evidence_collect(pid_t pid, char ret_text[static EVIDENCE_MAX]) NONNULL;

#endif
