/* Every interleaving of a few jobs, two processes, kills and late news, by depth-first search.
 *
 * The front end is the real process pool on real mailboxes. The workers and the supervisor are played here, one step at
 * a time: a worker's step is one access to shared memory that the other side can see (claim, started, DONE, done_count,
 * pong), the supervisor's are kill, reap and start, and its messages to the pool may arrive at any later time, in
 * order. At each point the search takes every step that somebody could take next, to the end of each such history. At
 * the end each job must have ended exactly once with a result of its own, every slot must be FREE and every worker
 * ready: no history may lose a slot, run a job twice to two ends, or take a dead worker's DONE for another job. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "pool/process_pool.h"
#include "tests/support/timing.h"

enum {
    WORKERS_MAX = 2,
    JOBS_MAX = 3,
    DEPTH_MAX = 96,
    ACTIONS_MAX = 24,
    NEWS_MAX = 32,
    LATE_MS = 25,
    SETTLING_ROUNDS = 200
};

/* ---- the scenario and the world */

struct scenario {
    unsigned workers;
    const char *script;  /* a, b, c: submit that job; A, B, C: cancel it */
    unsigned murders;    /* SIGKILLs from outside, of any worker at any time */
    unsigned stops;      /* SIGSTOPs: no step any more, until all jobs have ended */
    unsigned late_ticks; /* process_pool_tick() calls that find a worker late */
    unsigned turnovers;  /* deaths of the front end */
    bool is_fragile;     /* the task must not be repeated */
    unsigned thousands;  /* of histories; what takes too long in a slow build is left out there */
};

enum life { ALIVE, CORPSE, GONE };
enum step { STEP_READY, STEP_CLAIM, STEP_STARTED, STEP_DONE, STEP_COUNT };

struct player {
    enum life life;
    bool is_stopped;
    uint32_t generation, killed_generation; /* the one that the pool wants dead */
    enum step step;
    unsigned slot;
};

struct probe {
    struct job job;
    char args[24];
    unsigned ends;
    bool is_lost; /* with its front end */
};

struct news {
    bool is_death;
    unsigned worker;
    uint32_t generation;
};

static struct world {
    const struct scenario *scenario;
    struct mailbox *mailboxes[WORKERS_MAX];
    struct spill spills[WORKERS_MAX];
    struct bell bell;
    struct bell *bells[1];
    int event_fds[1];
    struct process_pool *pool;
    struct player players[WORKERS_MAX];
    struct probe probes[JOBS_MAX];
    struct news news[NEWS_MAX];
    unsigned news_read, news_count;
    unsigned script_at, murders, stops, late_ticks, turnovers;
    uint64_t skew_ns;
    uint64_t histories;
} world;

static enum status never_run(const struct task_input *input UNUSED, struct task_output *output UNUSED)
{
    return ST_INTERNAL;
}
static const struct task sturdy = { .name = "sturdy", .is_idempotent = true, .run = never_run };
static const struct task fragile = { .name = "fragile", .run = never_run };
const struct task *task_table[TASKS_MAX] = { &sturdy, &fragile };
size_t task_count = 2;
bool task_register(const struct task *task UNUSED) { return false; }
int task_find(const char *name UNUSED) { return -1; }

static void kill_worker(void *context UNUSED, unsigned worker, uint32_t generation, const char *reason UNUSED,
                        bool is_idle UNUSED)
{
    world.players[worker].killed_generation = generation;
}

static void count_end(struct job *job) { ((struct probe *)job->user)->ends++; }

static void create_pool(void)
{
    struct process_pool_config config = { .workers = world.scenario->workers,
                                          .mailboxes = world.mailboxes,
                                          .spills = world.spills,
                                          .loops = 1,
                                          .bells = world.bells,
                                          .event_fds = world.event_fds,
                                          .queue_max = 100,
                                          .queue_max_bytes = 1 << 20,
                                          .result_max = 1000,
                                          .kill_worker = kill_worker };
    assert_int_equal(process_pool_create(&config, &world.pool), ST_OK);
    for (unsigned i = 0; i < config.workers; i++) /* those that the supervisor has not reaped come with the fork */
        if (world.players[i].life != GONE)
            process_pool_worker_started(world.pool, i, world.players[i].generation, 100 + (int)i);
}

/* ---- what can happen */

enum deed {
    CLIENT_GOES_ON,
    WORKER_STEPS,
    WORKER_MURDERED,
    WORKER_STOPPED,
    WORKER_KILLED,
    WORKER_REAPED,
    WORKER_STARTED,
    NEWS_ARRIVES,
    POOL_COLLECTS,
    POOL_TICKS_LATE,
    FRONT_END_DIES
};

struct action {
    enum deed deed;
    unsigned worker;
};

static bool has_ready_slot(const struct mailbox *mailbox)
{
    for (unsigned slot = 0; slot < JOBS_MAX; slot++)
        if (mailbox_peek(mailbox, slot).state == SLOT_READY)
            return true;
    return false;
}

static bool is_unanswered(const struct mailbox *mailbox)
{
    return atomic_load(&mailbox->ping) != atomic_load(&mailbox->pong);
}

static unsigned list_actions_of(unsigned i, struct action *actions)
{
    const struct player *player = &world.players[i];
    unsigned count = 0;
    if (player->life == ALIVE) {
        bool has_work =
            player->step != STEP_CLAIM || has_ready_slot(world.mailboxes[i]) || is_unanswered(world.mailboxes[i]);
        if (has_work && !player->is_stopped)
            actions[count++] = (struct action){ WORKER_STEPS, i };
        if (world.murders > 0)
            actions[count++] = (struct action){ WORKER_MURDERED, i };
        if (world.stops > 0 && !player->is_stopped)
            actions[count++] = (struct action){ WORKER_STOPPED, i };
        if (player->killed_generation == player->generation)
            actions[count++] = (struct action){ WORKER_KILLED, i };
    }
    if (player->life == CORPSE)
        actions[count++] = (struct action){ WORKER_REAPED, i };
    if (player->life == GONE)
        actions[count++] = (struct action){ WORKER_STARTED, i };
    return count;
}

static unsigned list_actions(struct action *actions)
{
    unsigned count = 0;
    if (world.histories > 0 && world.scenario->script[world.script_at] != '\0')
        actions[count++] = (struct action){ CLIENT_GOES_ON, 0 };
    for (unsigned i = 0; i < world.scenario->workers; i++)
        count += list_actions_of(i, actions + count);
    if (world.news_read < world.news_count)
        actions[count++] = (struct action){ NEWS_ARRIVES, 0 };
    if (process_pool_has_news(world.pool, 0))
        actions[count++] = (struct action){ POOL_COLLECTS, 0 };
    if (world.late_ticks > 0 && process_pool_next_tick(world.pool) != CLOCK_NEVER)
        actions[count++] = (struct action){ POOL_TICKS_LATE, 0 };
    if (world.turnovers > 0)
        actions[count++] = (struct action){ FRONT_END_DIES, 0 };
    return count;
}

static void go_on(void)
{
    char letter = world.scenario->script[world.script_at++];
    bool is_cancel = letter < 'a';
    struct probe *probe = &world.probes[letter - (is_cancel ? 'A' : 'a')];
    if (is_cancel && !probe->is_lost && probe->ends == 0)
        process_pool_cancel(world.pool, &probe->job, ST_CANCELLED);
    if (!is_cancel)
        assert_int_equal(process_pool_submit(world.pool, &probe->job), ST_OK);
}

/* mailbox_finish() in two: the first store decides, the second is what the pool looks at. */
static void store_done(struct mailbox *mailbox, unsigned slot)
{
    uint64_t word = atomic_load(&mailbox->words[slot]);
    atomic_store(&mailbox->words[slot], (word & ~(UINT64_C(3) << 56)) | (uint64_t)SLOT_DONE << 56);
}

static void step(unsigned i)
{
    struct player *player = &world.players[i];
    struct mailbox *mailbox = world.mailboxes[i];
    struct slot *slot = &mailbox->slots[player->slot];
    switch (player->step) {
    case STEP_READY:
        atomic_store(&mailbox->generation, player->generation);
        atomic_fetch_add(&mailbox->done_count, 1);
        player->step = STEP_CLAIM;
        break;
    case STEP_CLAIM:
        atomic_store(&mailbox->pong, atomic_load(&mailbox->ping));
        if (mailbox_claim(mailbox, player->generation, &player->slot))
            player->step = STEP_STARTED;
        break;
    case STEP_STARTED:
        atomic_store(&slot->result.is_started, 1);
        player->step = STEP_DONE;
        break;
    case STEP_DONE: /* the result is the args: each job's are its own */
        memcpy(slot->result_bytes, slot->request_bytes, slot->request.args_len);
        slot->result.length = slot->request.args_len;
        slot->result.status = ST_OK;
        store_done(mailbox, player->slot);
        player->step = STEP_COUNT;
        break;
    case STEP_COUNT:
        atomic_fetch_add(&mailbox->done_count, 1);
        player->step = STEP_CLAIM;
        break;
    }
}

static void send_news(unsigned worker, bool is_death)
{
    assert_true(world.news_count < NEWS_MAX);
    world.news[world.news_count++] =
        (struct news){ .is_death = is_death, .worker = worker, .generation = world.players[worker].generation };
}

static void hear_news(void)
{
    struct news news = world.news[world.news_read++];
    if (news.is_death)
        process_pool_worker_died(world.pool, news.worker, news.generation, 9);
    else
        process_pool_worker_started(world.pool, news.worker, news.generation, 100 + (int)news.worker);
    if (world.news_read == world.news_count)
        world.news_read = world.news_count = 0;
}

static void start_player(unsigned i)
{
    struct player *player = &world.players[i];
    *player = (struct player){ .life = ALIVE,
                               .generation = player->generation + 1,
                               .killed_generation = player->killed_generation };
    send_news(i, false);
}

static void turn_over(void)
{
    process_pool_free(world.pool);
    for (unsigned i = 0; i < JOBS_MAX; i++)
        if (world.probes[i].job.state != JOB_NEW && world.probes[i].ends == 0)
            world.probes[i].is_lost = true;
    world.news_read = world.news_count = 0; /* what was in the socket */
    create_pool();
}

static void tick_late(void)
{
    world.skew_ns += LATE_MS * NS_PER_MS;
    process_pool_tick(world.pool, clock_now_ns() + world.skew_ns);
}

static void act(struct action action)
{
    struct player *player = &world.players[action.worker];
    switch (action.deed) {
    case CLIENT_GOES_ON:
        go_on();
        break;
    case WORKER_STEPS:
        step(action.worker);
        break;
    case WORKER_MURDERED:
        world.murders--;
        player->life = CORPSE;
        break;
    case WORKER_STOPPED:
        world.stops--;
        player->is_stopped = true;
        break;
    case WORKER_KILLED:
        player->life = CORPSE;
        break;
    case WORKER_REAPED:
        player->life = GONE;
        send_news(action.worker, true);
        break;
    case WORKER_STARTED:
        start_player(action.worker);
        break;
    case NEWS_ARRIVES:
        hear_news();
        break;
    case POOL_COLLECTS:
        process_pool_collect(world.pool, 0);
        break;
    case POOL_TICKS_LATE:
        world.late_ticks--;
        tick_late();
        break;
    case FRONT_END_DIES:
        world.turnovers--;
        turn_over();
        break;
    }
}

/* ---- one history */

struct choice {
    unsigned taken, count;
    struct action action;
};
static struct choice path[DEPTH_MAX];
static unsigned path_len;

static const char *const deed_names[] = { "client", "step", "murder",  "stop",      "kill",    "reap",
                                          "start",  "news", "collect", "late tick", "turnover" };

static void fail_history(const char *why)
{
    char text[DEPTH_MAX * 14] = "";
    size_t len = 0;
    for (unsigned i = 0; i < path_len && len < sizeof text; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, " %s%u", deed_names[path[i].action.deed],
                                path[i].action.worker);
    fail_msg("%s after:%s", why, text);
}

static void begin_history(void)
{
    const struct scenario *scenario = world.scenario;
    world.script_at = 0;
    world.skew_ns = 0;
    world.murders = scenario->murders;
    world.stops = scenario->stops;
    world.late_ticks = scenario->late_ticks;
    world.turnovers = scenario->turnovers;
    world.histories++;
    for (unsigned i = 0; i < JOBS_MAX; i++) {
        struct probe *probe = &world.probes[i];
        *probe = (struct probe){ 0 };
        snprintf(probe->args, sizeof probe->args, "%llu.%u", (unsigned long long)world.histories, i);
        probe->job = (struct job){ .task = scenario->is_fragile,
                                   .args = probe->args,
                                   .args_len = strlen(probe->args),
                                   .deadline_ns = CLOCK_NEVER,
                                   .on_done = count_end,
                                   .user = probe };
    }
}

static bool has_expected_end(const struct probe *probe)
{
    bool was_cancelled = strchr(world.scenario->script, 'A' + (int)(probe - world.probes)) != NULL;
    if (probe->job.state == JOB_NEW || probe->is_lost)
        return probe->ends == 0;
    if (probe->ends != 1)
        return false;
    if (probe->job.status == ST_OK)
        return strcmp(probe->job.result, probe->args) == 0;
    if (probe->job.status == ST_CANCELLED)
        return was_cancelled;
    return probe->job.status == ST_WORKER_CRASHED && world.scenario->is_fragile && world.scenario->murders > 0 &&
           probe->job.attempts == 1;
}

static bool is_all_quiet(void)
{
    struct process_pool_stats stats;
    process_pool_get_stats(world.pool, &stats);
    if (stats.queued != 0 || stats.running != 0 || stats.held_bytes != 0 ||
        stats.workers_ready != world.scenario->workers)
        return false;
    for (unsigned i = 0; i < world.scenario->workers; i++)
        for (unsigned slot = 0; slot < MAILBOX_SLOTS; slot++)
            if (mailbox_peek(world.mailboxes[i], slot).state != SLOT_FREE)
                return false;
    return true;
}

static bool is_all_ended(void)
{
    for (unsigned i = 0; i < JOBS_MAX; i++)
        if (world.probes[i].job.state != JOB_NEW && !world.probes[i].is_lost && world.probes[i].ends == 0)
            return false;
    return true;
}

/* Everybody does what is left to do; then only time can pass. */
static void wait_for(bool (*holds)(void), const char *complaint)
{
    struct action actions[ACTIONS_MAX];
    for (unsigned round = 0;; round++) {
        while (list_actions(actions) > 0)
            act(actions[0]);
        process_pool_collect(world.pool, 0); /* every turn of the loop does */
        if (holds())
            return;
        if (round == SETTLING_ROUNDS)
            fail_history(complaint);
        tick_late();
    }
}

static void end_history(void)
{
    wait_for(is_all_ended, "a job does not end");
    for (unsigned i = 0; i < world.scenario->workers; i++)
        world.players[i].is_stopped = false;
    wait_for(is_all_quiet, "slots or workers are stuck");
    for (unsigned i = 0; i < JOBS_MAX; i++) {
        if (!has_expected_end(&world.probes[i]))
            fail_history("a job did not end as it should");
        job_clear(&world.probes[i].job);
    }
}

static void run_history(void)
{
    struct action actions[ACTIONS_MAX];
    unsigned count;
    begin_history();
    for (path_len = 0; (count = list_actions(actions)) > 0; path_len++) {
        struct choice *choice = &path[path_len];
        if (path_len == DEPTH_MAX - 1)
            fail_history("no end");
        choice->count = count;
        choice->action = actions[choice->taken];
        act(choice->action);
    }
    end_history();
}

/* The next history in order: the last choice that has an alternative takes it. False: that was the last one. */
static bool next_history(void)
{
    while (path_len > 0) {
        struct choice *choice = &path[--path_len];
        if (++choice->taken < choice->count)
            return true;
        choice->taken = 0;
    }
    return false;
}

static void explore(const struct scenario *scenario)
{
    uint64_t start_ns = clock_now_ns();
    if (scenario->thousands * scaled_ms(1) > 1500)
        return;
    memset(path, 0, sizeof path);
    world.scenario = scenario;
    world.histories = 0;
    for (unsigned i = 0; i < WORKERS_MAX; i++)
        world.players[i].life = GONE;
    create_pool();
    for (unsigned i = 0; i < scenario->workers; i++)
        start_player(i);
    wait_for(is_all_quiet, "the workers do not start");
    do
        run_history();
    while (next_history());
    process_pool_free(world.pool);
    print_message("             %llu histories in %.0f ms\n", (unsigned long long)world.histories,
                  elapsed_ms(start_ns));
}

static int setup(void **state UNUSED)
{
    world.bells[0] = &world.bell;
    world.event_fds[0] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    for (unsigned i = 0; i < WORKERS_MAX; i++) {
        world.mailboxes[i] = mailbox_map();
        if (world.mailboxes[i] == NULL || spill_create(4096, &world.spills[i]) != ST_OK)
            return -1;
    }
    return 0;
}

static int teardown(void **state UNUSED)
{
    for (unsigned i = 0; i < WORKERS_MAX; i++) {
        mailbox_unmap(world.mailboxes[i]);
        close(world.spills[i].fd);
    }
    close(world.event_fds[0]);
    memset(&world, 0, sizeof world);
    return 0;
}

static void jobs__one_worker_murdered__run_again(void **state UNUSED)
{
    explore(&(struct scenario){ .workers = 1, .script = "ab", .murders = 1 });
}

static void jobs__one_cancelled__the_others_run(void **state UNUSED)
{
    explore(&(struct scenario){ .workers = 1, .script = "abAc", .thousands = 214 });
    explore(&(struct scenario){ .workers = 1, .script = "abA" });
    explore(&(struct scenario){ .workers = 2, .script = "aA" });
}

static void job__cancelled_while_its_worker_is_murdered__ends_once(void **state UNUSED)
{
    explore(&(struct scenario){ .workers = 1, .script = "aA", .murders = 1, .thousands = 140 });
}

static void job__not_to_be_repeated__ends_once_or_crashes(void **state UNUSED)
{
    explore(&(struct scenario){ .workers = 1, .script = "a", .murders = 2, .is_fragile = true, .thousands = 187 });
    explore(&(struct scenario){ .workers = 1, .script = "a", .murders = 1, .is_fragile = true });
}

static void jobs__two_workers__none_is_left_behind(void **state UNUSED)
{
    explore(&(struct scenario){ .workers = 2, .script = "abc", .thousands = 126 });
}

static void jobs__worker_stopped_for_good__end_at_their_deadline(void **state UNUSED)
{
    explore(&(struct scenario){ .workers = 1, .script = "aA", .stops = 1 });
    explore(&(struct scenario){ .workers = 1, .script = "aA", .murders = 1, .stops = 1, .thousands = 1200 });
    explore(&(struct scenario){ .workers = 2, .script = "aA", .stops = 1 });
}

static void job__worker_late__is_given_to_another(void **state UNUSED)
{
    explore(&(struct scenario){ .workers = 2, .script = "ab", .late_ticks = 2 });
}

static void jobs__front_end_dies__its_successor_finds_every_slot(void **state UNUSED)
{
    explore(&(struct scenario){ .workers = 1, .script = "ab", .turnovers = 1 });
    explore(&(struct scenario){ .workers = 1, .script = "a", .murders = 1, .turnovers = 1 });
    explore(&(struct scenario){ .workers = 1, .script = "aA", .turnovers = 1 });
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(jobs__one_worker_murdered__run_again),
        TEST(jobs__one_cancelled__the_others_run),
        TEST(job__cancelled_while_its_worker_is_murdered__ends_once),
        TEST(job__not_to_be_repeated__ends_once_or_crashes),
        TEST(jobs__two_workers__none_is_left_behind),
        TEST(jobs__worker_stopped_for_good__end_at_their_deadline),
        TEST(job__worker_late__is_given_to_another),
        TEST(jobs__front_end_dies__its_successor_finds_every_slot),
    };
    return cmocka_run_group_tests_name("mailbox_model", tests, NULL, NULL);
}
