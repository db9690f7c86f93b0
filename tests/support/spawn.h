/* spawn: start another program from a test. */
#ifndef TWINPOOL_TESTS_SPAWN_H
#define TWINPOOL_TESTS_SPAWN_H

#include <stdint.h>
#include <sys/types.h>

#include "base/attrs.h"

/* The program under test: $TWINPOOL_BIN, else build/twinpool. */
const char *spawn_twinpool(void);

/* Starts `program` (a path) with `arguments` (without the program's name) and the caller's environment less TWINPOOL_…
 * and proxy variables plus `variables`; both lists end with NULL or are NULL. It leads a process group of its own,
 * reads nothing, and is killed when the calling thread ends. Returns its pid (to be reaped by the caller), or -1. */
pid_t spawn_program(const char *program, const char *const arguments[], const char *const variables[], int stdout_fd,
                    int stderr_fd) __attribute__((nonnull(1))) MUST_CHECK;

/* Waits up to timeout_ms for the end of a child. Returns its exit code, 256 + N if signal N ended it, or -1 if it still
 * runs. */
int spawn_wait(pid_t pid, uint32_t timeout_ms) MUST_CHECK;

/* Everything in the file from its start as text, to be freed. */
char *spawn_read_all(int fd) MUST_CHECK;

#endif
