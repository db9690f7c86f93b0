#include "tests/support/server.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/json_path.h"
#include "tests/support/procs.h"
#include "tests/support/spawn.h"
#include "tests/support/timing.h"

enum { START_TIMEOUT_MS = 10000, STOP_TIMEOUT_MS = 30000, FLAGS_MAX = 64, LOG_SHOWN_BYTES = 16384 };

char *server_log(const struct server *server) { return spawn_read_all(server->log_fd); }

bool server_log_contains(const struct server *server, const char *text)
{
    char *log = server_log(server);
    bool is_there = strstr(log, text) != NULL;
    free(log);
    return is_there;
}

size_t server_log_count(const struct server *server, const char *text)
{
    char *log = server_log(server);
    size_t count = 0;
    for (const char *at = log; (at = strstr(at, text)) != NULL; at++)
        count++;
    free(log);
    return count;
}

struct outcome {
    const struct server *server;
    const char *text;
    size_t before;
};

static bool has_come(void *outcome)
{
    const struct outcome *awaited = outcome;
    return server_log_count(awaited->server, awaited->text) > awaited->before;
}

bool server_wait_log(const struct server *server, const char *text, size_t before, uint32_t timeout_ms)
{
    struct outcome outcome = { .server = server, .text = text, .before = before };
    return wait_until(has_come, &outcome, timeout_ms);
}

static bool is_settled(void *supervisor)
{
    pid_t children[SERVER_WORKERS_MAX];
    return procs_children(*(const pid_t *)supervisor, children, ARRAY_LEN(children)) == 1;
}

bool server_wait_settled(const struct server *server, uint32_t timeout_ms)
{
    pid_t supervisor = server->pid;
    return wait_until(is_settled, &supervisor, timeout_ms);
}

bool server_reload(const struct server *server, const char *event, uint32_t timeout_ms)
{
    size_t before = server_log_count(server, event);
    return kill(server->pid, SIGHUP) == 0 && server_wait_log(server, event, before, timeout_ms);
}

/* What matters, a crash or a sanitizer's report, stands at the end. */
static void print_log(const struct server *server, const char *why)
{
    char *log = server_log(server);
    size_t len = strlen(log);
    fprintf(stderr, "%s %s; its log:\n%s\n", spawn_twinpool(), why,
            len > LOG_SHOWN_BYTES ? log + len - LOG_SHOWN_BYTES : log);
    free(log);
}

/* The port of the line `listening on ADDR:PORT`, once it is complete. */
static bool find_port(const struct server *server, uint16_t *ret_port)
{
    static const char announcement[] = "listening on ";
    char *log = server_log(server);
    char *line = strstr(log, announcement);
    char *line_end = line ? strchr(line, '\n') : NULL;
    bool is_found = false;
    if (line_end) {
        line += sizeof announcement - 1;
        line[strcspn(line, " \n\"")] = '\0';
        const char *colon = strrchr(line, ':');
        unsigned long port = colon ? strtoul(colon + 1, NULL, 10) : 0;
        is_found = port > 0 && port <= UINT16_MAX;
        *ret_port = (uint16_t)port;
    }
    free(log);
    return is_found;
}

static bool listens_or_ended(void *context)
{
    struct server *server = context;
    if (find_port(server, &server->port))
        return true;
    return procs_is_gone(server->pid);
}

bool server_start(struct server *ret_server, const char *const flags[], const char *const variables[])
{
    const char *arguments[FLAGS_MAX] = { "--listen", "127.0.0.1:0" };
    for (size_t i = 0; flags && flags[i] && i + 3 < FLAGS_MAX; i++)
        arguments[i + 2] = flags[i];
    struct server server = { .log_fd = memfd_create("server-log", MFD_CLOEXEC) };
    if (server.log_fd < 0)
        return false;
    fcntl(server.log_fd, F_SETFL, O_APPEND);
    server.pid = spawn_program(spawn_twinpool(), arguments, variables, server.log_fd, server.log_fd);
    if (server.pid > 0 && wait_until(listens_or_ended, &server, scaled_ms(START_TIMEOUT_MS)) && server.port != 0) {
        *ret_server = server;
        return true;
    }
    print_log(&server, "does not listen");
    server_kill(&server);
    return false;
}

static void forget(struct server *server)
{
    close(server->log_fd);
    *server = (struct server){ .log_fd = -1 };
}

int server_wait_exit(struct server *server, uint32_t timeout_ms)
{
    int code = server->pid > 0 ? spawn_wait(server->pid, timeout_ms) : -1;
    if (code > 0 && code < 256)
        print_log(server, "ended with a failure");
    if (code >= 0)
        forget(server);
    return code;
}

static bool has_disgraced; /* a server under test, and whoever asked may have forgotten the answer */

__attribute__((destructor)) static void fail_at_exit(void)
{
    if (!has_disgraced)
        return;
    fflush(NULL);
    _exit(1);
}

/* Tests that kill the front end do it with SIGKILL. */
static bool has_crashed(const struct server *server)
{
    char *log = server_log(server);
    bool is_crash = false;
    for (char *at = log; (at = strstr(at, "front_end_died")) != NULL; at++) {
        char *line_end = strchrnul(at, '\n');
        char *crash = strstr(at, "Segmentation fault"), *abort = strstr(at, "Aborted"), *bus = strstr(at, "Bus error");
        is_crash = is_crash || (crash && crash < line_end) || (abort && abort < line_end) || (bus && bus < line_end);
    }
    free(log);
    return is_crash;
}

int server_stop(struct server *server)
{
    if (server->pid <= 0)
        return -1;
    kill(server->pid, SIGTERM);
    bool is_sane = !server_log_contains(server, "Sanitizer") && !server_log_contains(server, "runtime error") &&
                   !has_crashed(server);
    if (!is_sane)
        print_log(server, "did something forbidden");
    int code = server_wait_exit(server, scaled_ms(STOP_TIMEOUT_MS));
    if (code < 0)
        print_log(server, "does not stop");
    server_kill(server);
    has_disgraced = has_disgraced || !is_sane || code < 0;
    return is_sane ? code : -1;
}

/* Workers lead process groups of their own, so each child's group is killed too. The supervisor comes first: it would
 * replace them. */
void server_kill(struct server *server)
{
    pid_t children[SERVER_WORKERS_MAX + 8];
    if (server->pid <= 0)
        return;
    kill(server->pid, SIGSTOP);
    size_t count = procs_children(server->pid, children, ARRAY_LEN(children));
    kill(-server->pid, SIGKILL);
    for (size_t i = 0; i < count && i < ARRAY_LEN(children); i++)
        kill(-children[i], SIGKILL);
    waitpid(server->pid, NULL, 0);
    forget(server);
}

static cJSON *get_stats(const struct server *server)
{
    struct http_reply reply;
    http_once(server->port, "GET", "/stats", NULL, NULL, &reply);
    cJSON *stats = reply.outcome == HTTP_ANSWERED && reply.status == 200 ? cJSON_Parse(reply.body) : NULL;
    http_reply_done(&reply);
    return stats;
}

size_t server_workers(const struct server *server, struct server_worker *ret_workers, size_t capacity)
{
    size_t count = 0;
    cJSON *stats = get_stats(server);
    const cJSON *entry;
    cJSON_ArrayForEach(entry, json_at(stats, "workers"))
    {
        if (count == capacity)
            break;
        struct server_worker *worker = &ret_workers[count++];
        worker->pid = (pid_t)json_number(entry, "pid");
        snprintf(worker->state, sizeof worker->state, "%s", json_text_at(entry, "state"));
    }
    cJSON_Delete(stats);
    return count;
}

size_t server_workers_ready(const struct server *server)
{
    struct server_worker workers[SERVER_WORKERS_MAX];
    size_t count = server_workers(server, workers, SERVER_WORKERS_MAX), ready = 0;
    for (size_t i = 0; i < count; i++)
        ready += strcmp(workers[i].state, "idle") == 0 || strcmp(workers[i].state, "busy") == 0;
    return ready;
}

struct workers_wait {
    const struct server *server;
    size_t count;
};

static bool has_workers(void *context)
{
    const struct workers_wait *wait = context;
    return server_workers_ready(wait->server) == wait->count;
}

bool server_wait_workers(const struct server *server, size_t count, uint32_t timeout_ms)
{
    struct workers_wait wait = { .server = server, .count = count };
    return wait_until(has_workers, &wait, timeout_ms);
}

pid_t server_front_end_pid(const struct server *server)
{
    double pid = server_stat(server, "pid");
    return pid > 0 ? (pid_t)pid : 0;
}

double server_stat(const struct server *server, const char *path)
{
    cJSON *stats = get_stats(server);
    const cJSON *value = json_at(stats, path);
    double number = cJSON_IsNumber(value) ? value->valuedouble : -1;
    cJSON_Delete(stats);
    return number;
}
