/* endurance: what the compute pool promises under attack, overload and for long, measured on this machine.
 *
 *     build/bench/endurance [kill_storm] [deadlines] [overload] [soak]
 *
 * Each prints what it saw beside the bar and `ok` or `MISSED`. BENCH_STORM_SECONDS (60) is how long the first and the
 * third last, BENCH_DEADLINE_SECONDS (10) each of the second, BENCH_SOAK_JOBS (1,000,000) how many the last does. Exit
 * status 1 if a bar was missed. */
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cpu_count.h"
#include "tests/support/faults.h"
#include "tests/support/files.h"
#include "tests/support/load.h"
#include "tests/support/procs.h"
#include "tests/support/server.h"
#include "tests/support/timing.h"

enum { CHILDREN_MAX = 64, ANSWER_MS = 60000 };

static struct server server;
static bool is_missed;

#define POST(task, length, body)                                                       \
    "POST /compute/" task " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" \
    "Content-Length: " length "\r\n\r\n" body

static const char tiny_job[] = POST("sum_squares", "8", "{\"n\":10}");
/* About, on a machine of 2025. */
static const char job_2_ms[] = POST("sum_squares", "14", "{\"n\":11000000}");
static const char job_20_ms[] = POST("sum_squares", "15", "{\"n\":110000000}");

static unsigned number_from(const char *variable, unsigned otherwise)
{
    const char *text = getenv(variable);
    return text ? (unsigned)strtoul(text, NULL, 10) : otherwise;
}

static void report(const char *what, double value, const char *relation, double bar, const char *unit)
{
    bool is_good = relation[0] == '<' ? value <= bar : relation[0] == '>' ? value >= bar : value == bar;
    printf("  %-52s %12.2f %-4s %s %10.2f  %s\n", what, value, unit, relation, bar, is_good ? "ok" : "MISSED");
    fflush(stdout);
    is_missed = is_missed || !is_good;
}

static void die(const char *what)
{
    fprintf(stderr, "endurance: %s\n", what);
    server_kill(&server);
    exit(2);
}

static void start(const char *const flags[])
{
    if (!server_start(&server, flags, NULL))
        die("the service does not start");
}

static void stop(void)
{
    if (server_stop(&server) != 0)
        die("the service did not end well");
}

static void run_load(const struct load_config *config, struct load_result *ret_result)
{
    struct load_config filled = *config;
    filled.port = server.port;
    filled.answer_timeout_ms = ANSWER_MS;
    if (!load_run(&filled, ret_result))
        die("no memory or descriptors");
}

static double goodput(const struct load_result *result)
{
    return (double)result->by_status[200] / result->elapsed_ms * 1000;
}

static double failures(const struct load_result *result)
{
    return (double)(result->lost + result->timed_out + result->malformed + result->connect_failures);
}

/* Of what is compared: half before and half after, because a machine's speed changes within a minute. */
static double goodput_before_and_after(const struct load_result *before, const struct load_config *again)
{
    struct load_result after;
    run_load(again, &after);
    return (goodput(before) + goodput(&after)) / 2;
}

/* Descriptors, threads, resident memory of the supervisor and the front end. */
struct size {
    size_t fds, rss_kib, children;
};

static size_t count_threads(pid_t pid)
{
    char path[64];
    size_t count = 0;
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *folder = opendir(path);
    while (folder && readdir(folder))
        count++;
    if (folder)
        closedir(folder);
    return count;
}

static struct size look(void)
{
    pid_t front_end = server_front_end_pid(&server), children[CHILDREN_MAX];
    return (struct size){ .fds = procs_count_fds(server.pid) + procs_count_fds(front_end) + count_threads(front_end),
                          .rss_kib = procs_rss_kib(server.pid) + procs_rss_kib(front_end),
                          .children = procs_children(server.pid, children, CHILDREN_MAX) };
}

/* ---- kill storm */

struct storm {
    pid_t front_end;
    unsigned kills;
};

static void kill_one(void *context)
{
    struct storm *storm = context;
    storm->kills += faults_kill_random_worker(&server, storm->front_end) ? 1 : 0;
}

static void kill_storm(void)
{
    enum { WORKERS = 4, CLIENTS = 64 };
    const char *const flags[] = { "--workers", "4", "--queue-max", "256", NULL };
    const char *const requests[] = { job_2_ms };
    start(flags);
    struct storm storm = { .front_end = server_front_end_pid(&server) };
    const struct load_config calm_load = {
        .connections = CLIENTS, .requests = requests, .request_count = 1, .duration_ms = 5000
    };
    struct load_config load = calm_load;
    struct load_result calm, result;
    run_load(&load, &calm);
    struct size before = look();
    load.duration_ms = number_from("BENCH_STORM_SECONDS", 60) * 1000;
    load.on_tick = kill_one;
    load.tick_ms = 50;
    load.context = &storm;
    run_load(&load, &result);
    printf("kill storm: a random worker killed every 50 ms, %d clients, jobs of 2 ms: %u kills, %llu requests\n",
           CLIENTS, storm.kills, (unsigned long long)result.sent);
    report("sent and not answered", (double)(result.sent - result.answered) + failures(&result), "==", 0, "");
    report("errors (the task is idempotent)", (double)(result.answered - result.by_status[200]), "==", 0, "");
    double calm_goodput = goodput_before_and_after(&calm, &calm_load);
    report("goodput against none killed", 100 * goodput(&result) / calm_goodput, ">=", 80, "%");
    pid_t children[CHILDREN_MAX];
    size_t count = procs_children(server.pid, children, CHILDREN_MAX);
    for (size_t i = 0; i < count; i++)
        if (children[i] != storm.front_end)
            kill(children[i], SIGKILL);
    usleep(2000); /* so that it can be seen */
    uint64_t killed_ns = clock_now_ns();
    if (!server_wait_workers(&server, WORKERS, 5000))
        die("the pool is not whole again");
    report("pool whole after all are killed at once", 2 + elapsed_ms(killed_ns), "<=", 100, "ms");
    struct size after = look();
    report("processes and descriptors left",
           (double)(after.children + after.fds) - (double)(before.children + before.fds), "<=", 0, "");
    report("memory grown", (double)after.rss_kib - (double)before.rss_kib, "<=", 1024, "KiB");
    stop();
}

/* ---- deadlines */

static const char misbehaving[] = "import json, os, signal, subprocess, sys, time\n"
                                  "how = sys.argv[1]\n"
                                  "if how == 'ignores': signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
                                  "print('{\"ready\":true}', flush=True)\n"
                                  "for line in sys.stdin:\n"
                                  "    if how == 'forks' and os.fork() == 0:\n"
                                  "        os.setsid(); time.sleep(1000)\n"
                                  "    if how == 'sleeps': time.sleep(1000)\n"
                                  "    while True: pass\n";

static char folder[] = "/tmp/twinpool-endurance-XXXXXX";

static void *keep_busy(void *unused)
{
    const char *const requests[] = { tiny_job };
    struct load_result result;
    (void)unused;
    run_load(&(struct load_config){ .connections = 16,
                                    .requests = requests,
                                    .request_count = 1,
                                    .interval_us = 16000,
                                    .duration_ms = number_from("BENCH_DEADLINE_SECONDS", 10) * 1000 },
             &result);
    return NULL;
}

/* Processes whose command line names the folder. */
static size_t count_programs(void)
{
    size_t count = 0;
    DIR *proc = opendir("/proc");
    const struct dirent *entry;
    while (proc && (entry = readdir(proc))) {
        char path[300], text[512] = "";
        snprintf(path, sizeof path, "/proc/%s/cmdline", entry->d_name);
        FILE *file = entry->d_name[0] >= '0' && entry->d_name[0] <= '9' ? fopen(path, "re") : NULL;
        size_t len = file ? fread(text, 1, sizeof text - 1, file) : 0;
        if (file)
            fclose(file);
        count += memmem(text, len, folder, strlen(folder)) ? 1 : 0;
    }
    if (proc)
        closedir(proc);
    return count;
}

static bool are_few(void *limit) { return count_programs() <= *(const size_t *)limit; }

static void measure_deadline(const char *how)
{
    enum { DEADLINE_MS = 100 };
    char request[200], title[80];
    snprintf(request, sizeof request,
             "POST /compute/%s?timeout_ms=%d HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
             "Content-Length: 2\r\n\r\n{}",
             how, DEADLINE_MS);
    const char *const requests[] = { request };
    struct load_result result;
    pthread_t thread;
    if (pthread_create(&thread, NULL, keep_busy, NULL) != 0)
        die("no thread");
    run_load(&(struct load_config){ .connections = 2,
                                    .requests = requests,
                                    .request_count = 1,
                                    .duration_ms = number_from("BENCH_DEADLINE_SECONDS", 10) * 1000 },
             &result);
    pthread_join(thread, NULL);
    snprintf(title, sizeof title, "%s: answered after the deadline, p99", how);
    report(title, result.p99_ms - DEADLINE_MS, "<=", 25, "ms");
    snprintf(title, sizeof title, "%s: other answers than 504, or none", how);
    report(title, (double)(result.sent - result.by_status[504]) + failures(&result), "==", 0, "");
}

static void deadlines(void)
{
    static const char *const kinds[] = { "computes", "sleeps", "ignores", "forks" };
    char script[64], config[64], text[512];
    if (!mkdtemp(folder))
        die("no folder");
    snprintf(script, sizeof script, "%s/it.py", folder);
    snprintf(config, sizeof config, "%s/it.ini", folder);
    size_t len = 0;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "[task.%s]\ncommand = python3 %s %s\nworkers = 2\n",
                                kinds[i], script, kinds[i]);
    if (!files_write(script, misbehaving) || !files_write(config, text))
        die("no file");
    const char *const flags[] = { "--config", config, "--quarantine-ms", "0", NULL };
    start(flags);
    printf("deadlines of 100 ms, 2 callers, beside 1,000 small jobs a second\n");
    size_t programs = count_programs();
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        measure_deadline(kinds[i]);
    report("programs that are left beside the pool's", wait_until(are_few, &programs, 3000) ? 0 : 1, "==", 0, "");
    stop();
    unlink(script);
    unlink(config);
    rmdir(folder);
}

/* ---- overload */

static void overload(void)
{
    enum { CLIENTS = 500 };
    char workers[16];
    snprintf(workers, sizeof workers, "%u", cpu_count() > 1 ? cpu_count() - 1 : 1); /* one CPU is for the clients */
    const char *const flags[] = { "--workers", workers, NULL };
    const char *const requests[] = { job_20_ms };
    struct load_result peak, result;
    start(flags);
    const struct load_config peak_load = {
        .connections = 8, .requests = requests, .request_count = 1, .duration_ms = 10000
    };
    struct load_config load = peak_load;
    run_load(&load, &peak);
    load.connections = CLIENTS;
    load.interval_us = (uint64_t)(CLIENTS * 1e6 / (10 * goodput(&peak)));
    load.duration_ms = 5000;
    run_load(&load, &result); /* from here on it has what it takes */
    struct size before = look();
    load.duration_ms = number_from("BENCH_STORM_SECONDS", 60) * 1000;
    run_load(&load, &result);
    struct size after = look();
    printf("overload: %.0f jobs/s are possible, %.0f asked for\n", goodput(&peak),
           (double)result.sent / result.elapsed_ms * 1000);
    report("sent and not answered", (double)(result.sent - result.answered) + failures(&result), "==", 0, "");
    report("refusals (503), p99", result.refused_p99_ms, "<=", 5, "ms");
    double peak_goodput = goodput_before_and_after(&peak, &peak_load);
    report("goodput against the peak", 100 * goodput(&result) / peak_goodput, ">=", 95, "%");
    report("memory grown", (double)after.rss_kib - (double)before.rss_kib, "<=", 1024, "KiB");
    stop();
}

/* ---- soak */

struct samples {
    struct size first, last;
    unsigned count;
};

static void sample(void *context)
{
    struct samples *samples = context;
    samples->last = look();
    if (samples->count++ == 1)
        samples->first = samples->last;
}

static void soak(void)
{
    const char *const flags[] = { "--workers", "2", "--worker-max-jobs", "100", NULL };
    const char *const requests[] = { tiny_job };
    unsigned jobs = number_from("BENCH_SOAK_JOBS", 1000000);
    struct samples samples = { 0 };
    struct load_result result;
    start(flags);
    run_load(&(struct load_config){ .connections = 16,
                                    .requests = requests,
                                    .request_count = 1,
                                    .sent_max = jobs,
                                    .duration_ms = 3600000,
                                    .on_tick = sample,
                                    .tick_ms = 2000,
                                    .context = &samples },
             &result);
    double recycled = server_stat(&server, "compute.recycled");
    printf("soak: %llu jobs, a worker lives for 100: %.0f lives, %.0f jobs/s\n", (unsigned long long)result.sent,
           recycled, goodput(&result));
    report("jobs that did not end well", (double)(jobs - result.by_status[200]) + failures(&result), "==", 0, "");
    report("lives of workers", recycled, ">=", jobs / 120.0, "");
    report("descriptors and threads grown", (double)samples.last.fds - (double)samples.first.fds, "==", 0, "");
    report("memory grown", (double)samples.last.rss_kib - (double)samples.first.rss_kib, "<=", 1024, "KiB");
    stop();
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } all[] = { { "kill_storm", kill_storm }, { "deadlines", deadlines }, { "overload", overload }, { "soak", soak } };
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        bool is_chosen = argc < 2;
        for (int n = 1; n < argc; n++)
            is_chosen = is_chosen || strcmp(argv[n], all[i].name) == 0;
        if (is_chosen)
            all[i].run();
    }
    return is_missed ? 1 : 0;
}
