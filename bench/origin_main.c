/* origin: the tests' origin as a program, for benchmarks: `origin ADDRESS PORT` serves until it is killed. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/origin.h"

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: %s ADDRESS PORT\n", argv[0]);
        return 2;
    }
    sigset_t endings;
    sigemptyset(&endings);
    sigaddset(&endings, SIGTERM);
    sigaddset(&endings, SIGINT);
    sigprocmask(SIG_BLOCK, &endings, NULL); /* inherited by the origin's thread */

    struct origin *origin = origin_start(argv[1], (uint16_t)strtoul(argv[2], NULL, 10));
    if (!origin) {
        perror("origin: cannot listen");
        return 1;
    }
    printf("listening on %s:%u\n", argv[1], (unsigned)origin_port(origin));
    fflush(stdout);
    int signal_number;
    sigwait(&endings, &signal_number);
    origin_stop(origin);
    return 0;
}
