/* server: the real program under test, on a free port of 127.0.0.1.
 *
 * The program is $TWINPOOL_BIN, else build/twinpool. It runs in a process group of its own, is killed with the test
 * program, and writes its log into a memory file that can be read at any time. TWINPOOL_… and proxy variables of the
 * caller's environment do not reach it. */
#ifndef TWINPOOL_TESTS_SERVER_H
#define TWINPOOL_TESTS_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attrs.h"
#include "tests/support/http.h"

enum { SERVER_WORKERS_MAX = 256 };

struct server {
    pid_t pid; /* the supervisor; 0: not running */
    uint16_t port;
    int log_fd;
};

/* Flags (`--listen 127.0.0.1:0` comes first, so a flag may override it) and "NAME=value" variables; NULL: none. Waits
 * until it listens. False: says why on stderr, log included, and nothing is left running. */
bool server_start(struct server *ret_server, const char *const flags[], const char *const variables[])
    __attribute__((nonnull(1))) MUST_CHECK;

/* SIGTERM, then waits as long as the program's default grace period. Returns its exit code, 256 + N if signal N ended
 * it, or -1 if it had to be killed or a sanitizer has complained in its log; then the test program's exit status will
 * be 1 whatever becomes of its tests, because cmocka forgets that a group's teardown failed. Safe to repeat. */
int server_stop(struct server *server) NONNULL;
/* Waits without sending anything; as above, and -1 if it still runs after the time (nothing is killed then). */
int server_wait_exit(struct server *server, uint32_t timeout_ms) NONNULL;
/* SIGKILL to it and all that it started; reaps it. Safe to repeat. */
void server_kill(struct server *server) NONNULL;

/* The whole log so far, to be freed. */
char *server_log(const struct server *server) NONNULL MUST_CHECK;
bool server_log_contains(const struct server *server, const char *text) NONNULL MUST_CHECK;
size_t server_log_count(const struct server *server, const char *text) NONNULL MUST_CHECK;
/* Waits until the text is there more than `before` times. */
bool server_wait_log(const struct server *server, const char *text, size_t before, uint32_t timeout_ms)
    NONNULL MUST_CHECK;

/* SIGHUP, then waits until the event (" reloaded ") is in the log once more. */
bool server_reload(const struct server *server, const char *event, uint32_t timeout_ms) NONNULL MUST_CHECK;
/* Waits until no generation but the one that serves is left: then the first supervisor has one child. */
bool server_wait_settled(const struct server *server, uint32_t timeout_ms) NONNULL MUST_CHECK;

struct server_worker {
    pid_t pid;
    char state[24];
};
/* What GET /stats says of the workers; 0 if it does not answer. */
size_t server_workers(const struct server *server, struct server_worker *ret_workers, size_t capacity) NONNULL;
/* Workers that could take a job now or are doing one, by /stats. */
size_t server_workers_ready(const struct server *server) NONNULL;
/* Waits until `count` workers are ready. */
bool server_wait_workers(const struct server *server, size_t count, uint32_t timeout_ms) NONNULL MUST_CHECK;

/* The process that answers; 0 if none does. */
pid_t server_front_end_pid(const struct server *server) NONNULL;

/* A number out of GET /stats by its path ("compute.queued"); -1 if it is not there. */
double server_stat(const struct server *server, const char *path) NONNULL;

#endif
