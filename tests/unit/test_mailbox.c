/* mailbox: each transition of a slot's word, the order of claims, both races (recall against claim, post against sleep)
 * with a real second process, and the spill file. What kills do to it is in test_mailbox_model.c and tests/faults. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "pool/mailbox.h"
#include "tests/support/procs.h"
#include "tests/support/timing.h"

enum {
    GENERATION = 7,
    RACE_JOBS = 300000,
    WAKE_ROUNDS = 20000,
    RACE_MS = 10000,
    LOST_MS = 5000,
    REGION_BYTES = 1 << 20
};

struct ctx {
    struct mailbox *mailbox;
    struct spill spill;
};

static int setup(void **state)
{
    struct ctx *ctx = calloc(1, sizeof *ctx);
    if (ctx == NULL)
        return -1;
    ctx->mailbox = mailbox_map();
    *state = ctx;
    return ctx->mailbox == NULL || spill_create(REGION_BYTES, &ctx->spill) != ST_OK ? -1 : 0;
}

static int teardown(void **state)
{
    struct ctx *ctx = *state;
    mailbox_unmap(ctx->mailbox);
    close(ctx->spill.fd);
    free(ctx);
    return 0;
}

static void assert_word(const struct ctx *ctx, unsigned slot, enum slot_state state, uint32_t generation,
                        uint32_t sequence)
{
    struct slot_word word = mailbox_peek(ctx->mailbox, slot);
    assert_int_equal(word.state, state);
    assert_int_equal(word.generation, generation);
    assert_int_equal(word.sequence, sequence);
}

/* ---- words */

static void map__new__all_slots_free_and_nobody_sleeps(void **state)
{
    struct ctx *ctx = *state;
    unsigned slot;
    for (slot = 0; slot < MAILBOX_SLOTS; slot++)
        assert_word(ctx, slot, SLOT_FREE, 0, 0);
    assert_false(mailbox_claim(ctx->mailbox, GENERATION, &slot));
    assert_int_equal(atomic_load(&ctx->mailbox->is_sleeping), 0);
}

static void word__whole_life__goes_through_every_state(void **state)
{
    struct ctx *ctx = *state;
    unsigned slot;
    mailbox_post(ctx->mailbox, 3, 41);
    assert_word(ctx, 3, SLOT_READY, 0, 41);
    assert_true(mailbox_claim(ctx->mailbox, GENERATION, &slot));
    assert_int_equal(slot, 3);
    assert_word(ctx, 3, SLOT_RUNNING, GENERATION, 41);
    assert_false(mailbox_claim(ctx->mailbox, GENERATION, &slot));
    uint32_t done = atomic_load(&ctx->mailbox->done_count);
    mailbox_finish(ctx->mailbox, 3);
    assert_word(ctx, 3, SLOT_DONE, GENERATION, 41);
    assert_int_equal(atomic_load(&ctx->mailbox->done_count), done + 1);
    assert_false(mailbox_claim(ctx->mailbox, GENERATION, &slot));
    mailbox_release(ctx->mailbox, 3);
    assert_word(ctx, 3, SLOT_FREE, 0, 0);
}

static void word__extreme_values__do_not_run_into_each_other(void **state)
{
    struct ctx *ctx = *state;
    unsigned slot;
    mailbox_post(ctx->mailbox, 0, UINT32_MAX);
    assert_word(ctx, 0, SLOT_READY, 0, UINT32_MAX);
    assert_true(mailbox_claim(ctx->mailbox, UINT32_MAX, &slot));
    assert_word(ctx, 0, SLOT_RUNNING, 0xffffff, UINT32_MAX);
    mailbox_finish(ctx->mailbox, 0);
    assert_word(ctx, 0, SLOT_DONE, 0xffffff, UINT32_MAX);
}

/* What a worker that has lost its mind may leave: bits that neither side sets. */
static void word__not_of_the_protocol__is_claimed_by_nobody(void **state)
{
    static const uint64_t words[] = { UINT64_C(0x41) << 56 | 7,                     /* READY with a bit of no state */
                                      UINT64_C(0x01) << 56 | UINT64_C(1) << 32 | 7, /* READY of a generation */
                                      UINT64_C(0x05) << 56, UINT64_C(0x8000000001) };
    struct ctx *ctx = *state;
    unsigned slot;
    for (unsigned i = 0; i < ARRAY_LEN(words); i++) {
        atomic_store(&ctx->mailbox->words[4], words[i]);
        assert_int_equal(mailbox_peek(ctx->mailbox, 4).state, SLOT_RUNNING);
        assert_false(mailbox_claim(ctx->mailbox, GENERATION, &slot));
        assert_false(mailbox_recall(ctx->mailbox, 4, 7));
    }
    mailbox_post(ctx->mailbox, 9, 8);
    assert_true(mailbox_claim(ctx->mailbox, GENERATION, &slot));
    assert_int_equal(slot, 9);
}

static void recall__ready__frees_the_slot(void **state)
{
    struct ctx *ctx = *state;
    unsigned slot;
    mailbox_post(ctx->mailbox, 0, 1);
    assert_true(mailbox_recall(ctx->mailbox, 0, 1));
    assert_word(ctx, 0, SLOT_FREE, 0, 0);
    assert_false(mailbox_claim(ctx->mailbox, GENERATION, &slot));
}

static void recall__not_ready__refused(void **state)
{
    struct ctx *ctx = *state;
    unsigned slot;
    assert_false(mailbox_recall(ctx->mailbox, 0, 0));
    mailbox_post(ctx->mailbox, 0, 1);
    assert_true(mailbox_claim(ctx->mailbox, GENERATION, &slot));
    assert_false(mailbox_recall(ctx->mailbox, 0, 1));
    assert_word(ctx, 0, SLOT_RUNNING, GENERATION, 1);
    mailbox_finish(ctx->mailbox, 0);
    assert_false(mailbox_recall(ctx->mailbox, 0, 1));
    assert_word(ctx, 0, SLOT_DONE, GENERATION, 1);
}

static void recall__slot_reposted__the_old_number_does_not_take_the_new_job(void **state)
{
    struct ctx *ctx = *state;
    unsigned slot;
    mailbox_post(ctx->mailbox, 0, 1);
    assert_true(mailbox_recall(ctx->mailbox, 0, 1));
    mailbox_post(ctx->mailbox, 0, 2);
    assert_false(mailbox_recall(ctx->mailbox, 0, 1));
    assert_true(mailbox_claim(ctx->mailbox, GENERATION, &slot));
    assert_word(ctx, 0, SLOT_RUNNING, GENERATION, 2);
}

/* Posts a full mailbox with these numbers, slot by slot, and claims it empty. */
static void assert_claimed_in_order(const struct ctx *ctx, uint32_t first)
{
    static const unsigned shuffled[MAILBOX_SLOTS] = { 5, 12, 0, 9, 15, 3, 7, 1, 10, 14, 2, 8, 6, 11, 4, 13 };
    unsigned slot;
    for (unsigned i = 0; i < MAILBOX_SLOTS; i++)
        mailbox_post(ctx->mailbox, i, first + shuffled[i]);
    for (uint32_t next = 0; next < MAILBOX_SLOTS; next++) {
        assert_true(mailbox_claim(ctx->mailbox, GENERATION, &slot));
        assert_int_equal(shuffled[slot], next);
        mailbox_finish(ctx->mailbox, slot);
        mailbox_release(ctx->mailbox, slot);
    }
    assert_false(mailbox_claim(ctx->mailbox, GENERATION, &slot));
}

static void claim__many_ready__oldest_first(void **state) { assert_claimed_in_order(*state, 1000); }

static void claim__sequence_wraps__oldest_first(void **state)
{
    assert_claimed_in_order(*state, UINT32_MAX - 7);
    assert_claimed_in_order(*state, INT32_MAX - 7);
}

/* ---- recall against claim */

struct race {
    _Atomic bool must_stop;
    _Atomic uint8_t runs[RACE_JOBS];
};

static void claim_all(struct mailbox *mailbox, struct race *race)
{
    while (!atomic_load_explicit(&race->must_stop, memory_order_relaxed)) {
        unsigned slot;
        if (!mailbox_claim(mailbox, GENERATION, &slot)) {
            mailbox_sleep(mailbox);
            continue;
        }
        atomic_fetch_add_explicit(&race->runs[mailbox_peek(mailbox, slot).sequence], 1, memory_order_relaxed);
        mailbox_finish(mailbox, slot);
    }
    _exit(0);
}

struct poster {
    struct mailbox *mailbox;
    uint32_t posted[MAILBOX_SLOTS]; /* sequence + 1; 0: free */
    uint8_t *recalled;
    uint32_t next, recalls, done;
};

/* One look at a slot: posts into a free one, releases a finished one, tries to recall every third one. */
static void visit(struct poster *poster, unsigned slot)
{
    if (poster->posted[slot] == 0) {
        if (poster->next < RACE_JOBS) {
            mailbox_post(poster->mailbox, slot, poster->next);
            mailbox_notify(poster->mailbox);
            poster->posted[slot] = ++poster->next;
        }
        return;
    }
    uint32_t sequence = poster->posted[slot] - 1;
    if (sequence % 3 == 0 && mailbox_recall(poster->mailbox, slot, sequence)) {
        poster->recalled[sequence]++;
        poster->recalls++;
    } else if (mailbox_peek(poster->mailbox, slot).state == SLOT_DONE) {
        mailbox_release(poster->mailbox, slot);
        poster->done++;
    } else {
        return;
    }
    poster->posted[slot] = 0;
}

static void recall__races_with_claim__each_job_runs_or_returns_never_both(void **state)
{
    struct ctx *ctx = *state;
    struct race *race = mmap(NULL, sizeof *race, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct poster poster = { .mailbox = ctx->mailbox, .recalled = calloc(RACE_JOBS, 1) };
    assert_true(race != MAP_FAILED && poster.recalled != NULL);
    pid_t pid = fork();
    if (pid == 0)
        claim_all(ctx->mailbox, race);
    assert_true(pid > 0);
    uint64_t end_ns = clock_now_ns() + scaled_ms(RACE_MS) * NS_PER_MS;
    while (poster.done + poster.recalls < RACE_JOBS && clock_now_ns() < end_ns)
        for (unsigned slot = 0; slot < MAILBOX_SLOTS; slot++)
            visit(&poster, slot);
    atomic_store(&race->must_stop, true);
    mailbox_wake(ctx->mailbox);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_int_equal(poster.done + poster.recalls, RACE_JOBS);
    for (uint32_t i = 0; i < RACE_JOBS; i++)
        if (race->runs[i] + poster.recalled[i] != 1)
            fail_msg("job %u was run %u times and recalled %u times", i, race->runs[i], poster.recalled[i]);
    /* else it was no race */
    assert_true(poster.recalls > 0 && poster.recalls < RACE_JOBS / 3);
    free(poster.recalled);
    munmap(race, sizeof *race);
}

/* ---- sleeping */

/* Echoes each job and sleeps between them; after a ping it answers, as worker_main() does. */
static void serve(struct mailbox *mailbox)
{
    for (;;) {
        unsigned slot;
        atomic_store_explicit(&mailbox->pong, atomic_load_explicit(&mailbox->ping, memory_order_acquire),
                              memory_order_release);
        if (mailbox_claim(mailbox, GENERATION, &slot))
            mailbox_finish(mailbox, slot);
        else
            mailbox_sleep(mailbox);
    }
}

static pid_t start_server(struct mailbox *mailbox)
{
    pid_t pid = fork();
    if (pid == 0)
        serve(mailbox);
    assert_true(pid > 0);
    return pid;
}

static void stop_server(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

struct awaited {
    struct mailbox *mailbox;
    unsigned slot;
};

static bool is_done(void *context)
{
    const struct awaited *awaited = context;
    return mailbox_peek(awaited->mailbox, awaited->slot).state == SLOT_DONE;
}

static bool is_asleep(void *context) { return atomic_load(&((struct mailbox *)context)->is_sleeping) == 1; }

static bool is_in_kernel(void *context) { return procs_state(*(pid_t *)context) == 'S'; }

static bool is_answered(void *context)
{
    struct mailbox *mailbox = context;
    return atomic_load(&mailbox->ping) == atomic_load(&mailbox->pong);
}

/* Without a pause in between: waits shorter than a timer's resolution are what hits the window. */
static bool spin_until(bool (*holds)(void *context), void *context)
{
    uint64_t end_ns = clock_now_ns() + scaled_ms(LOST_MS) * NS_PER_MS;
    for (unsigned i = 0; !holds(context); i++) {
        if (i % 1024 == 1023)
            sched_yield();
        if (i % 65536 == 65535 && clock_now_ns() > end_ns)
            return false;
    }
    return true;
}

static void sleep__raced_by_posts__never_loses_a_wake_up(void **state)
{
    struct ctx *ctx = *state;
    pid_t pid = start_server(ctx->mailbox);
    bool is_awake = true;
    for (uint32_t i = 0; i < WAKE_ROUNDS && is_awake; i++) {
        struct awaited awaited = { ctx->mailbox, i % MAILBOX_SLOTS };
        for (volatile unsigned spin = 0; spin < i % 256; spin++)
            ; /* meets the server at another instruction of its way to bed */
        mailbox_post(ctx->mailbox, awaited.slot, i);
        mailbox_notify(ctx->mailbox);
        is_awake = spin_until(is_done, &awaited);
        mailbox_release(ctx->mailbox, awaited.slot);
    }
    stop_server(pid);
    assert_true(is_awake);
}

static void sleep__raced_by_pings__never_loses_a_wake_up(void **state)
{
    struct ctx *ctx = *state;
    pid_t pid = start_server(ctx->mailbox);
    bool is_awake = true;
    for (uint32_t i = 0; i < WAKE_ROUNDS && is_awake; i++) {
        for (volatile unsigned spin = 0; spin < i % 256; spin++)
            ;
        atomic_fetch_add(&ctx->mailbox->ping, 1);
        mailbox_wake(ctx->mailbox);
        is_awake = spin_until(is_answered, ctx->mailbox);
    }
    stop_server(pid);
    assert_true(is_awake);
}

static void sleep__job_is_ready__returns_at_once(void **state)
{
    struct ctx *ctx = *state;
    mailbox_post(ctx->mailbox, 5, 1);
    mailbox_sleep(ctx->mailbox); /* would hang */
    assert_int_equal(atomic_load(&ctx->mailbox->is_sleeping), 0);
}

/* The waker took the flag down and died before it woke the sleeper: nobody else would. */
static void wake__waker_died_between_flag_and_wake__wakes_all_the_same(void **state)
{
    struct ctx *ctx = *state;
    pid_t pid = start_server(ctx->mailbox);
    struct awaited awaited = { ctx->mailbox, 0 };
    /* the flag goes up before the wait; once /proc says S, the futex holds it */
    bool was_asleep = spin_until(is_asleep, ctx->mailbox) && wait_until(is_in_kernel, &pid, scaled_ms(LOST_MS));
    atomic_store(&ctx->mailbox->is_sleeping, 0);
    mailbox_post(ctx->mailbox, 0, 1);
    mailbox_notify(ctx->mailbox); /* finds the flag down */
    mailbox_wake(ctx->mailbox);
    bool is_awake = spin_until(is_done, &awaited);
    stop_server(pid);
    assert_true(was_asleep);
    assert_true(is_awake);
}

/* ---- spill files */

static void spill__size__is_sealed(void **state)
{
    struct ctx *ctx = *state;
    assert_int_equal(ftruncate(ctx->spill.fd, 0), -1);
    assert_int_equal(ftruncate(ctx->spill.fd, (off_t)REGION_BYTES * 2 * MAILBOX_SLOTS + 1), -1);
    assert_int_equal(fcntl(ctx->spill.fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
    assert_true((fcntl(ctx->spill.fd, F_GETFD) & FD_CLOEXEC) != 0);
}

static void spill__bounds__refused_beyond_the_region(void **state)
{
    struct ctx *ctx = *state;
    char *bytes = calloc(1, REGION_BYTES + 1);
    assert_non_null(bytes);
    for (unsigned slot = 0; slot < MAILBOX_SLOTS; slot += MAILBOX_SLOTS - 1) {
        assert_true(spill_write_request(&ctx->spill, slot, 0, bytes, REGION_BYTES));
        assert_true(spill_write_result(&ctx->spill, slot, 0, bytes, REGION_BYTES));
        assert_true(spill_write_result(&ctx->spill, slot, REGION_BYTES, bytes, 0));
        assert_true(spill_read_request(&ctx->spill, slot, bytes, REGION_BYTES));
        assert_true(spill_read_result(&ctx->spill, slot, bytes, REGION_BYTES));
        assert_false(spill_write_request(&ctx->spill, slot, 0, bytes, REGION_BYTES + 1));
        assert_false(spill_write_request(&ctx->spill, slot, 1, bytes, REGION_BYTES));
        assert_false(spill_write_result(&ctx->spill, slot, REGION_BYTES + 1, bytes, 0));
        assert_false(spill_write_result(&ctx->spill, slot, UINT64_MAX, bytes, 1));
        assert_false(spill_write_result(&ctx->spill, slot, 1, bytes, SIZE_MAX));
        assert_false(spill_read_request(&ctx->spill, slot, bytes, REGION_BYTES + 1));
        assert_false(spill_read_result(&ctx->spill, slot, bytes, REGION_BYTES + 1));
    }
    free(bytes);
}

/* Fills each region with a byte of its own, then looks whether any was written over. */
static void spill__regions__do_not_overlap(void **state)
{
    struct ctx *ctx = *state;
    char *bytes = malloc(REGION_BYTES);
    assert_non_null(bytes);
    for (unsigned slot = 0; slot < MAILBOX_SLOTS; slot++) {
        memset(bytes, (int)slot + 1, REGION_BYTES);
        assert_true(spill_write_request(&ctx->spill, slot, 0, bytes, REGION_BYTES));
        memset(bytes, (int)slot + 101, REGION_BYTES);
        assert_true(spill_write_result(&ctx->spill, slot, 0, bytes, 10));
        assert_true(spill_write_result(&ctx->spill, slot, 10, bytes, REGION_BYTES - 10));
    }
    for (unsigned slot = 0; slot < MAILBOX_SLOTS; slot++) {
        assert_true(spill_read_request(&ctx->spill, slot, bytes, REGION_BYTES));
        assert_true(bytes[0] == (char)(slot + 1) && memcmp(bytes, bytes + 1, REGION_BYTES - 1) == 0);
        assert_true(spill_read_result(&ctx->spill, slot, bytes, REGION_BYTES));
        assert_true(bytes[0] == (char)(slot + 101) && memcmp(bytes, bytes + 1, REGION_BYTES - 1) == 0);
    }
    free(bytes);
}

static uint64_t blocks(const struct ctx *ctx)
{
    struct stat info;
    assert_int_equal(fstat(ctx->spill.fd, &info), 0);
    return (uint64_t)info.st_blocks;
}

static void spill_clear__one_slot__gives_back_its_memory_and_no_other(void **state)
{
    struct ctx *ctx = *state;
    char *bytes = calloc(1, REGION_BYTES);
    assert_non_null(bytes);
    assert_int_equal(blocks(ctx), 0);
    for (unsigned slot = 4; slot < 6; slot++) {
        assert_true(spill_write_request(&ctx->spill, slot, 0, bytes, REGION_BYTES));
        assert_true(spill_write_result(&ctx->spill, slot, 0, bytes, REGION_BYTES));
    }
    assert_int_equal(blocks(ctx), 4 * REGION_BYTES / 512);
    spill_clear(&ctx->spill, 4);
    assert_int_equal(blocks(ctx), 2 * REGION_BYTES / 512);
    spill_clear(&ctx->spill, 5);
    assert_int_equal(blocks(ctx), 0);
    assert_true(spill_read_request(&ctx->spill, 4, bytes, REGION_BYTES)); /* a hole reads as zeroes */
    free(bytes);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(map__new__all_slots_free_and_nobody_sleeps),
        TEST(word__whole_life__goes_through_every_state),
        TEST(word__extreme_values__do_not_run_into_each_other),
        TEST(word__not_of_the_protocol__is_claimed_by_nobody),
        TEST(recall__ready__frees_the_slot),
        TEST(recall__not_ready__refused),
        TEST(recall__slot_reposted__the_old_number_does_not_take_the_new_job),
        TEST(claim__many_ready__oldest_first),
        TEST(claim__sequence_wraps__oldest_first),
        TEST(recall__races_with_claim__each_job_runs_or_returns_never_both),
        TEST(sleep__raced_by_posts__never_loses_a_wake_up),
        TEST(sleep__raced_by_pings__never_loses_a_wake_up),
        TEST(sleep__job_is_ready__returns_at_once),
        TEST(wake__waker_died_between_flag_and_wake__wakes_all_the_same),
        TEST(spill__size__is_sealed),
        TEST(spill__bounds__refused_beyond_the_region),
        TEST(spill__regions__do_not_overlap),
        TEST(spill_clear__one_slot__gives_back_its_memory_and_no_other),
    };
    return cmocka_run_group_tests_name("mailbox", tests, NULL, NULL);
}
