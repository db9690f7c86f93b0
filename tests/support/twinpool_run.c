#include "tests/support/twinpool_run.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/spawn.h"
#include "tests/support/timing.h"

enum { RUN_TIMEOUT_MS = 10000 };

struct twinpool_result twinpool_run(const char *const arguments[], const char *const variables[])
{
    struct twinpool_result result = { .code = -1 };
    int output = memfd_create("stdout", MFD_CLOEXEC), errors = memfd_create("stderr", MFD_CLOEXEC);
    pid_t pid = output < 0 || errors < 0 ? -1 : spawn_program(spawn_twinpool(), arguments, variables, output, errors);
    if (pid > 0) {
        result.code = spawn_wait(pid, scaled_ms(RUN_TIMEOUT_MS));
        if (result.code < 0) {
            kill(-pid, SIGKILL);
            waitpid(pid, NULL, 0);
        }
    }
    result.output = spawn_read_all(output);
    result.errors = spawn_read_all(errors);
    close(output);
    close(errors);
    return result;
}

void twinpool_result_done(struct twinpool_result *result)
{
    free(result->output);
    free(result->errors);
    *result = (struct twinpool_result){ .code = -1 };
}
