/* A turn does what service/loop.c does with the pool, in its order, and what service/supervisor.c does about the
 * workers; a death is seen through a pidfd, so that a turn can sleep on everything at once. */
#include "tests/support/pool_rig.h"

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/support/timing.h"

enum { START_MS = 5000 };

static void kill_worker(void *context, unsigned worker, uint32_t generation, const char *reason UNUSED,
                        bool is_idle UNUSED)
{
    const struct rig_worker *member = &((const struct pool_rig *)context)->members[worker];
    if (member->pid > 0 && member->generation == generation)
        kill(member->pid, SIGKILL);
}

static bool want_workers(void *context, unsigned group UNUSED, unsigned count)
{
    struct pool_rig *rig = context;
    if (!rig->is_deaf)
        rig->wanted = count;
    return !rig->is_deaf;
}

bool pool_rig_open(struct pool_rig *rig, unsigned workers)
{
    *rig = (struct pool_rig){ .workers = workers, .wanted = workers, .run_worker = worker_main, .is_replacing = true };
    struct bell *bell = mmap(NULL, sizeof *bell, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    rig->event_fds[0] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (bell == MAP_FAILED || rig->event_fds[0] < 0)
        return false;
    rig->bells[0] = bell;
    for (unsigned i = 0; i < workers; i++) {
        rig->mailboxes[i] = mailbox_map();
        if (rig->mailboxes[i] == NULL || spill_create(RIG_REGION_BYTES, &rig->spills[i]) != ST_OK)
            return false;
    }
    rig->config = (struct process_pool_config){ .workers = workers,
                                                .mailboxes = rig->mailboxes,
                                                .spills = rig->spills,
                                                .loops = 1,
                                                .bells = rig->bells,
                                                .event_fds = rig->event_fds,
                                                .queue_max = 1000,
                                                .queue_max_bytes = 64 << 20,
                                                .result_max = 8 << 20,
                                                .kill_worker = kill_worker,
                                                .kill_context = rig,
                                                .want_workers = want_workers };
    return true;
}

void pool_rig_close(struct pool_rig *rig)
{
    pool_rig_free_pool(rig);
    for (unsigned i = 0; i < rig->workers; i++) {
        pool_rig_end_worker(rig, i);
        mailbox_unmap(rig->mailboxes[i]);
        close(rig->spills[i].fd);
    }
    munmap(rig->bells[0], sizeof *rig->bells[0]);
    close(rig->event_fds[0]);
}

bool pool_rig_create_pool(struct pool_rig *rig)
{
    if (process_pool_create(&rig->config, &rig->pool) != ST_OK)
        return false;
    if (rig->config.limits != NULL)
        rig->wanted = rig->config.limits->workers;
    if (atomic_load(&rig->bells[0]->epoch) & 1) /* a predecessor died in its sleep */
        bell_get_up(rig->bells[0]);
    for (unsigned i = 0; i < rig->workers; i++)
        if (rig->members[i].pid > 0)
            process_pool_worker_started(rig->pool, i, rig->members[i].generation, rig->members[i].pid);
    return true;
}

void pool_rig_free_pool(struct pool_rig *rig)
{
    process_pool_free(rig->pool);
    rig->pool = NULL;
}

bool pool_rig_adopt_worker(struct pool_rig *rig, unsigned index, pid_t pid, uint32_t generation)
{
    int pid_fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (pid_fd < 0)
        return false;
    rig->members[index] = (struct rig_worker){ .pid = pid, .pid_fd = pid_fd, .generation = generation };
    if (rig->pool != NULL)
        process_pool_worker_started(rig->pool, index, generation, pid);
    return true;
}

bool pool_rig_start_worker(struct pool_rig *rig, unsigned index)
{
    struct worker_config config = { .index = index,
                                    .generation = rig->members[index].generation + 1,
                                    .supervisor = getpid(),
                                    .mailbox = rig->mailboxes[index],
                                    .spill = rig->spills[index],
                                    .loops = 1,
                                    .bells = rig->bells,
                                    .event_fds = rig->event_fds };
    pid_t pid = fork();
    if (pid == 0) {
        rig->run_worker(&config);
        _exit(0);
    }
    return pid > 0 && pool_rig_adopt_worker(rig, index, pid, config.generation);
}

bool pool_rig_start(struct pool_rig *rig)
{
    for (unsigned i = 0; i < rig->wanted; i++)
        if (!pool_rig_start_worker(rig, i))
            return false;
    return pool_rig_wait_ready(rig, scaled_ms(START_MS));
}

static void forget(struct rig_worker *member)
{
    close(member->pid_fd);
    member->pid = 0;
}

void pool_rig_end_worker(struct pool_rig *rig, unsigned index)
{
    struct rig_worker *member = &rig->members[index];
    int wait_status;
    if (member->pid <= 0)
        return;
    kill(member->pid, SIGKILL);
    while (waitpid(member->pid, &wait_status, 0) == member->pid && !WIFSIGNALED(wait_status) && !WIFEXITED(wait_status))
        ; /* a traced one may have stops to report */
    forget(member);
}

static void reap(struct pool_rig *rig)
{
    for (unsigned i = 0; i < rig->workers; i++) {
        struct rig_worker *member = &rig->members[i];
        int wait_status;
        if (member->pid <= 0 || waitpid(member->pid, &wait_status, WNOHANG) != member->pid ||
            (!WIFSIGNALED(wait_status) && !WIFEXITED(wait_status)))
            continue;
        forget(member);
        process_pool_worker_died(rig->pool, i, member->generation, wait_status);
    }
}

/* Fills empty seats, as far as the pool wants. */
static void fill_seats(struct pool_rig *rig)
{
    unsigned living = 0;
    for (unsigned i = 0; i < rig->workers; i++)
        living += rig->members[i].pid > 0 ? 1 : 0;
    for (unsigned i = 0; i < rig->workers && living < rig->wanted; i++) {
        if (rig->members[i].pid > 0)
            continue;
        if (!pool_rig_start_worker(rig, i))
            abort(); /* no fork: nothing that a test could wait for will come */
        living++;
    }
}

static int sleep_ms(struct pool_rig *rig, unsigned patience_ms)
{
    uint64_t due_ns = process_pool_next_tick(rig->pool);
    uint64_t now_ns = clock_now_ns();
    if (process_pool_has_news(rig->pool, 0) || due_ns <= now_ns)
        return 0;
    uint64_t tick_ms = (due_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS;
    return (int)(tick_ms < patience_ms ? tick_ms : patience_ms);
}

void pool_rig_turn(struct pool_rig *rig, unsigned patience_ms)
{
    struct pollfd fds[1 + RIG_WORKERS_MAX] = { { .fd = rig->event_fds[0], .events = POLLIN } };
    for (unsigned i = 0; i < rig->workers; i++)
        fds[1 + i] = (struct pollfd){ .fd = rig->members[i].pid > 0 ? rig->members[i].pid_fd : -1, .events = POLLIN };
    bell_lie_down(rig->bells[0]);
    (void)poll(fds, 1 + rig->workers, sleep_ms(rig, patience_ms));
    bell_get_up(rig->bells[0]);
    uint64_t rings;
    (void)!read(rig->event_fds[0], &rings, sizeof rings);
    reap(rig);
    if (rig->is_replacing)
        fill_seats(rig);
    process_pool_collect(rig->pool, 0);
    uint64_t now_ns = clock_now_ns();
    if (now_ns >= process_pool_next_tick(rig->pool))
        process_pool_tick(rig->pool, now_ns);
    process_pool_end_turn(rig->pool);
}

bool pool_rig_wait(struct pool_rig *rig, bool (*holds)(void *context), void *context, uint32_t timeout_ms)
{
    const uint64_t end_ns = clock_now_ns() + timeout_ms * NS_PER_MS;
    while (!holds(context)) {
        if (clock_now_ns() >= end_ns)
            return holds(context);
        pool_rig_turn(rig, 2); /* not longer: what is waited for need not be the pool's news */
    }
    return true;
}

static bool is_ready(void *context)
{
    struct pool_rig *rig = context;
    struct process_pool_stats stats;
    process_pool_get_stats(rig->pool, &stats);
    return stats.workers_ready == stats.workers;
}

bool pool_rig_wait_ready(struct pool_rig *rig, uint32_t timeout_ms)
{
    return pool_rig_wait(rig, is_ready, rig, timeout_ms);
}

static void count_end(struct job *job) { ((struct pool_probe *)job->user)->ends++; }

void pool_probe_init(struct pool_probe *probe, unsigned task, uint64_t n)
{
    *probe = (struct pool_probe){ 0 };
    snprintf(probe->args, sizeof probe->args, "{\"n\":%" PRIu64 "}", n);
    probe->job = (struct job){ .task = task,
                               .args = probe->args,
                               .args_len = strlen(probe->args),
                               .deadline_ns = CLOCK_NEVER,
                               .on_done = count_end,
                               .user = probe };
}

struct awaited {
    const struct pool_probe *probes;
    size_t count;
};

static bool have_ended(void *context)
{
    const struct awaited *awaited = context;
    for (size_t i = 0; i < awaited->count; i++)
        if (awaited->probes[i].ends == 0)
            return false;
    return true;
}

bool pool_rig_wait_ended(struct pool_rig *rig, const struct pool_probe *probes, size_t count, uint32_t timeout_ms)
{
    return pool_rig_wait(rig, have_ended, &(struct awaited){ probes, count }, timeout_ms);
}

bool pool_rig_is_empty(const struct pool_rig *rig)
{
    for (unsigned i = 0; i < rig->workers; i++)
        for (unsigned slot = 0; slot < MAILBOX_SLOTS; slot++)
            if (mailbox_peek(rig->mailboxes[i], slot).state != SLOT_FREE)
                return false;
    return true;
}

uint64_t pool_rig_spilled_blocks(const struct pool_rig *rig)
{
    uint64_t blocks = 0;
    for (unsigned i = 0; i < rig->workers; i++) {
        struct stat info;
        if (fstat(rig->spills[i].fd, &info) == 0)
            blocks += (uint64_t)info.st_blocks;
    }
    return blocks;
}
