/* A worker is the supervisor's warm image in a loop: claim a slot, run it, publish the result, ring. It shares nothing
 * but its mailbox and its spill file, reads the bells, and writes to the eventfds. Before its first job it gives up
 * everything else.
 *
 * Args are checked and parsed here, not in the front end: a malformed or hostile body costs the worker that would have
 * run it. The result is built in private memory and copied out at the end; the results of a chunk's items are copied
 * out one by one, so that those that were finished survive the worker's death. */
#include "pool/worker.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/json_check.h"
#include "base/json_write.h"
#include "pool/plugin.h"
#include "pool/program.h"
#include "pool/running_job.h"
#include "pool/sandbox.h"
#include "tasks/task.h"

enum {
    EXIT_PROGRAM = 3,   /* of a worker whose program cannot go on */
    EXIT_BY_RULE = 183, /* and its job was answered. A program's own status is passed on: one that few use */
    PROBLEMS_MAX_BYTES = 12 * 1024,
    ITEM_EXTRA_BYTES = MAILBOX_INLINE_BYTES
};

static bool has_memory_limit; /* of this process */

/* ---- running a job */

struct request_view {
    const char *args;
    const void *payload; /* NULL if there is none */
    char *copy;          /* of a spilled request, else NULL */
};

static bool open_request(const struct spill *spill, const struct slot *slot, unsigned index,
                         struct request_view *ret_view)
{
    const struct slot_request *request = &slot->request;
    size_t total = (size_t)request->args_len + request->payload_len;
    const char *bytes = slot->request_bytes;
    char *copy = NULL;
    if (request->is_spilled) {
        copy = malloc(total + 1);
        if (copy == NULL || !spill_read_request(spill, index, copy, total)) {
            free(copy);
            return false;
        }
        bytes = copy;
    }
    *ret_view = (struct request_view){ .args = bytes,
                                       .payload = request->has_payload ? bytes + request->args_len : NULL,
                                       .copy = copy };
    return true;
}

/* Of the job, or item of a map, that is about to run: SIGPROF ends the process. A program's is looked at by who
 * drives it. */
static void limit_cpu_time(const struct task *task)
{
    static bool is_limited;
    uint32_t ms = task->program == NULL ? task->cpu_max_ms : 0;
    if (ms == 0 && !is_limited)
        return;
    const struct itimerval left = { .it_value = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 } };
    setitimer(ITIMER_PROF, &left, NULL);
    is_limited = ms > 0;
}

/* Parses one set of args and runs the task on it. On failure `out` holds the array of problems (bad args) or nothing.
 */
static enum status run_one(const struct slot_request *request, const char *args, size_t args_len,
                           const struct request_view *view, struct task_output *output)
{
    struct buf *out = output->result;
    const struct task *task = task_table[request->task];
    struct task_input input = { .payload = view->payload, .payload_len = request->payload_len };
    void *storage = NULL;
    size_t result_max = out->max;
    if (out->max < PROBLEMS_MAX_BYTES) /* what is wrong with the args is told whatever a result may be */
        out->max = PROBLEMS_MAX_BYTES;
    bool may_stand_in = request->has_payload && task->group == 0; /* of a user's task, required is required */
    enum status status = task_parse_args(task, request->form, args, args_len, may_stand_in, &input, &storage, out);
    out->max = result_max;
    if (status != ST_OK)
        return status;
    limit_cpu_time(task);
    status = task->run(&input, output);
    if (status == ST_NO_MEMORY && has_memory_limit)
        status = ST_MEMORY_LIMIT;
    free(storage);
    return status == ST_OK && out->failed ? ST_RESULT_TOO_LARGE : status;
}

/* Puts `len` bytes behind the `at` bytes of result that are there already; what outgrows the slot moves to the spill
 * file. */
static bool put_result(struct slot *slot, unsigned index, const struct spill *spill, uint64_t at, const char *bytes,
                       size_t len)
{
    struct slot_result *result = &slot->result;
    bool is_spilled = atomic_load_explicit(&result->is_spilled, memory_order_relaxed) != 0;
    if (!is_spilled && at + len <= MAILBOX_INLINE_BYTES) {
        if (len > 0)
            memcpy(slot->result_bytes + at, bytes, len);
        return true;
    }
    if (!is_spilled && at > 0 && !spill_write_result(spill, index, 0, slot->result_bytes, at))
        return false;
    if (!spill_write_result(spill, index, at, bytes, len))
        return false;
    atomic_store_explicit(&result->is_spilled, 1, memory_order_release);
    return true;
}

static enum status run_single(struct slot *slot, unsigned index, const struct spill *spill,
                              const struct request_view *view)
{
    struct buf out = BUF_INIT(slot->request.result_max);
    struct task_output output = { .result = &out };
    enum status status = run_one(&slot->request, view->args, slot->request.args_len, view, &output);
    if (status != ST_OK && status != ST_INVALID_ARGS && status != ST_INVALID_JSON)
        buf_clear(&out);
    slot_result_explain(&slot->result, output.detail);
    slot->result.is_binary = output.is_binary;
    slot->result.length = (uint32_t)out.len;
    if (!put_result(slot, index, spill, 0, out.data, out.len)) {
        slot->result.length = 0;
        status = ST_NO_MEMORY;
    }
    buf_done(&out);
    return status;
}

/* Appends `{"error":{…}}`; `left` is what the failed item left: the problems with its args, or nothing of use. */
static void render_item_error(struct buf *item, enum status status, const char *detail, const struct buf *left)
{
    buf_lit(item, "{\"error\":{\"code\":");
    json_text(item, status_code(status));
    buf_lit(item, ",\"message\":");
    json_text(item, detail[0] != '\0' ? detail : status_title(status));
    if (left->len > 0 && (status == ST_INVALID_ARGS || status == ST_INVALID_JSON)) {
        buf_lit(item, ",\"errors\":");
        buf_append(item, left->data, left->len);
    }
    buf_lit(item, "}}");
}

/* Before an item that is not the first: has its program kept to the rules since the last one? Else what it says next,
 * or its end, would be taken for this item's. */
static bool may_go_on(const struct task *task)
{
    return task->program == NULL || (!program_must_end() && program_is_sound(task));
}

/* A chunk of a map: each item stands alone; the chunk fails only if its array is not what the front end promised. It
 * ends early, with the items that it has, when the worker must end. */
static enum status run_chunk(struct slot *slot, unsigned index, const struct spill *spill,
                             const struct request_view *view)
{
    struct slot_request *request = &slot->request;
    /* bytes take a third more as base64 */
    struct buf item = BUF_INIT(request->result_max + request->result_max / 3 + ITEM_EXTRA_BYTES);
    struct buf value = BUF_INIT(request->result_max);
    uint64_t length = 0;
    uint32_t items = 0, failed = 0;
    size_t cursor = 0;
    struct json_slice args;
    enum status status = ST_OK;
    bool is_cut = false;
    while (status == ST_OK && items < request->items &&
           json_next_element(view->args, request->args_len, &cursor, &args)) {
        if (items > 0 && !may_go_on(task_table[request->task])) {
            is_cut = true;
            break;
        }
        struct task_output output = { .result = &value };
        buf_clear(&item);
        buf_clear(&value);
        enum status item_status = run_one(request, args.at, args.len, view, &output);
        if (items > 0)
            buf_byte(&item, ',');
        if (item_status == ST_OK) {
            buf_str(&item, output.is_binary ? "{\"result_base64\":" : "{\"result\":");
            if (output.is_binary)
                json_base64(&item, value.data ? value.data : "", value.len);
            else if (value.len > 0)
                buf_append(&item, value.data, value.len);
            buf_byte(&item, '}');
        } else {
            render_item_error(&item, item_status, output.detail, &value);
            failed++;
        }
        if (item.failed || length + item.len > spill->region_bytes)
            status = ST_RESULT_TOO_LARGE;
        else if (!put_result(slot, index, spill, length, item.data, item.len))
            status = ST_NO_MEMORY;
        else {
            length += item.len;
            items++;
            atomic_store_explicit(&slot->result.failed_items, failed, memory_order_relaxed);
            atomic_store_explicit(&slot->result.progress, (uint64_t)items << 32 | length, memory_order_release);
        }
    }
    buf_done(&item);
    buf_done(&value);
    if (status == ST_OK && items < request->items && !is_cut)
        status = ST_WORKER_PROTOCOL;
    slot->result.length = (uint32_t)length;
    slot_result_explain(&slot->result, "");
    return status;
}

static uint64_t cpu_time_ns(uint64_t *ret_max_rss_kib)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    *ret_max_rss_kib = (uint64_t)usage.ru_maxrss;
    return ((uint64_t)usage.ru_utime.tv_sec + (uint64_t)usage.ru_stime.tv_sec) * NS_PER_SEC +
           ((uint64_t)usage.ru_utime.tv_usec + (uint64_t)usage.ru_stime.tv_usec) * 1000;
}

static uint64_t cpu_before_ns; /* at the end of the previous job: one getrusage() per job */

void worker_run_slot(struct mailbox *mailbox, const struct spill *spill, unsigned index)
{
    struct slot *slot = &mailbox->slots[index];
    struct slot_result *result = &slot->result;
    struct request_view view;
    enum status status;
    bool has_program = slot->request.task < task_count && task_table[slot->request.task]->program;
    result->length = 0;
    result->started_ns = clock_now_ns();
    slot_result_explain(result, "");
    if (result->started_ns >= slot->request.deadline_ns) {
        status = ST_DEADLINE_EXCEEDED;
        slot_result_explain(result, "the deadline passed in the queue; the job was not started");
    } else if (slot->request.task >= task_count) {
        status = ST_UNKNOWN_TASK;
    } else if (!open_request(spill, slot, index, &view)) {
        status = ST_NO_MEMORY;
    } else {
        running_job_set(slot);
        status =
            slot->request.items == 0 ? run_single(slot, index, spill, &view) : run_chunk(slot, index, spill, &view);
        running_job_set(NULL);
        free(view.copy);
    }
    result->status = status;
    result->finished_ns = clock_now_ns();
    if (has_program) { /* what the driver of it takes is not counted */
        program_take_usage(task_table[slot->request.task], &result->cpu_ns, &result->max_rss_kib);
        return;
    }
    uint64_t cpu_ns = cpu_time_ns(&result->max_rss_kib);
    result->cpu_ns = cpu_ns - cpu_before_ns;
    cpu_before_ns = cpu_ns;
}

/* ---- the process */

static void reset_signals(void)
{
    /* The supervisor decides when a worker ends; a signal sent to the whole group (systemd, a terminal) must not cut a
     * job short. */
    static const int ignored[] = { SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGPIPE, SIGTSTP, SIGTTIN, SIGTTOU };
    for (int sig = 1; sig < NSIG; sig++)
        signal(sig, SIG_DFL);
    for (size_t i = 0; i < ARRAY_LEN(ignored); i++)
        signal(ignored[i], SIG_IGN);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static bool is_kept(const struct worker_config *config, int fd)
{
    if (fd <= STDERR_FILENO || fd == config->spill.fd)
        return true;
    for (unsigned i = 0; i < config->loops; i++)
        if (fd == config->event_fds[i])
            return true;
    return false;
}

/* A sibling's descriptor kept open here would hide that sibling's end from the supervisor. */
static void close_foreign_descriptors(const struct worker_config *config)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
    }
    int highest = config->spill.fd;
    for (unsigned i = 0; i < config->loops; i++)
        if (config->event_fds[i] > highest)
            highest = config->event_fds[i];
    for (int fd = STDERR_FILENO + 1; fd < highest; fd++)
        if (!is_kept(config, fd))
            close(fd);
    syscall(SYS_close_range, (unsigned)highest + 1, ~0u, 0);
}

static void write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return; /* a hardened container may forbid it: the default stays */
    ssize_t ignored = write(fd, text, strlen(text));
    (void)ignored;
    close(fd);
}

static void confine(const struct worker_config *config)
{
    char name[16];
    snprintf(name, sizeof name, "tp-worker-%u", config->index);
    prctl(PR_SET_NAME, name);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    setpgid(0, 0);
    setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
    errno = 0;
    if (config->niceness > 0 && nice(config->niceness) == -1 && errno != 0)
        errno = 0; /* a lower priority can always be had; nothing to do if not */
    /* when memory runs out, a job must die, not the service */
    write_file("/proc/self/oom_score_adj", "500");
    prctl(PR_SET_DUMPABLE, 0); /* last: it gives the files under /proc/self to root */
}

static void end_group(int sig UNUSED) { kill(-getpid(), SIGKILL); }

/* When a worker ends, the supervisor kills what its program has started. When that is gone, the worker does. Even a
 * stopped one: the kernel continues a group that is orphaned. */
static void outlive_supervisor(void)
{
    signal(SIGUSR1, end_group);
    prctl(PR_SET_PDEATHSIG, SIGUSR1);
}

/* What cannot be had here (an old kernel, a strict container) the supervisor has logged at its start. */
static void enter_sandbox(const struct worker_config *config)
{
    struct sandbox_rules rules = sandbox_rules_for_tasks();
    rules.limits.address_space_bytes = config->memory_max;
    has_memory_limit = config->memory_max > 0;
    struct sandbox_report report;
    for (size_t i = 0; i < task_count; i++)
        if (task_table[i]->warm_up != NULL)
            task_table[i]->warm_up();
    (void)sandbox_apply(&rules, &report);
    uint64_t max_rss_kib;
    cpu_before_ns = cpu_time_ns(&max_rss_kib); /* none of this is the first job's */
}

bool worker_has_ended_by_rule(int wait_status)
{
    return (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == EXIT_BY_RULE) ||
           (WIFSIGNALED(wait_status) && WTERMSIG(wait_status) == SIGPROF);
}

void worker_main(const struct worker_config *config)
{
    bool has_program = config->task != NULL && config->task->program != NULL;
    reset_signals();
    confine(config);
    if (has_program)
        outlive_supervisor();
    if (getppid() != config->supervisor) /* it died before PR_SET_PDEATHSIG took effect */
        _exit(0);
    close_foreign_descriptors(config);
    if (config->task != NULL && config->task->plugin != NULL && !plugin_warm_up(config->task->plugin))
        _exit(EXIT_PROGRAM);
    if (!has_program)
        enter_sandbox(config); /* a program has one of its own, which its section may open */

    struct bell_ringer *ringers = calloc(config->loops, sizeof *ringers);
    if (ringers == NULL)
        _exit(1);
    for (unsigned i = 0; i < config->loops; i++)
        ringers[i] = (struct bell_ringer){ .bell = config->bells[i], .event_fd = config->event_fds[i] };

    struct mailbox *mailbox = config->mailbox;
    if (has_program && !program_open(config->task))
        _exit(EXIT_PROGRAM);
    uint32_t done = atomic_load_explicit(&mailbox->done_count, memory_order_relaxed);
    atomic_store_explicit(&mailbox->first_done, done + 1, memory_order_relaxed);
    atomic_store_explicit(&mailbox->generation, config->generation, memory_order_release);
    atomic_fetch_add_explicit(&mailbox->done_count, 1, memory_order_seq_cst);
    bell_ring(&ringers[0]);
    for (;;) {
        unsigned slot;
        uint32_t ping = atomic_load_explicit(&mailbox->ping, memory_order_acquire);
        atomic_store_explicit(&mailbox->pong, ping, memory_order_release);
        bool is_claimed = mailbox_claim(mailbox, config->generation, &slot);
        if (has_program && !program_is_sound(config->task))
            _exit(EXIT_PROGRAM); /* what was claimed was not started, and is run again */
        if (!is_claimed) {
            mailbox_sleep(mailbox);
            continue;
        }
        worker_run_slot(mailbox, &config->spill, slot);
        uint32_t loop = mailbox->slots[slot].request.loop;
        mailbox_finish(mailbox, slot);
        if (loop < config->loops)
            bell_ring(&ringers[loop]);
        if (has_program && program_must_end())
            _exit(EXIT_BY_RULE);
    }
}
