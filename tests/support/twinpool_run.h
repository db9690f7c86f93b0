/* twinpool_run: run the program under test to its end and look at what it printed. */
#ifndef TWINPOOL_TESTS_TWINPOOL_RUN_H
#define TWINPOOL_TESTS_TWINPOOL_RUN_H

#include "base/attrs.h"

struct twinpool_result {
    int code;     /* exit code; 256 + N for signal N; -1: not started, or killed after 10 s */
    char *output; /* stdout */
    char *errors; /* stderr */
};

/* `arguments` after the program's name and "NAME=value" variables, each NULL-terminated or NULL. The caller
 * frees the result with twinpool_result_done(). TWINPOOL_… variables of the caller are not passed on. */
struct twinpool_result twinpool_run(const char *const arguments[], const char *const variables[]) MUST_CHECK;
void twinpool_result_done(struct twinpool_result *result) NONNULL;

#endif
