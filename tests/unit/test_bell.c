/* bell: rings sleepers only, once per sleep and ringer, and no news is ever slept through. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "pool/bell.h"

enum { ROUNDS = 20000, LOST_MS = 5000 };

struct ctx {
    struct bell *bell; /* shared */
    int event_fd;
    struct bell_ringer ringer;
};

static int setup(void **state)
{
    struct ctx *ctx = calloc(1, sizeof *ctx);
    if (ctx == NULL)
        return -1;
    ctx->bell = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ctx->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    ctx->ringer = (struct bell_ringer){ .bell = ctx->bell, .event_fd = ctx->event_fd };
    *state = ctx;
    return ctx->bell == MAP_FAILED || ctx->event_fd < 0 ? -1 : 0;
}

static int teardown(void **state)
{
    struct ctx *ctx = *state;
    munmap(ctx->bell, 4096);
    close(ctx->event_fd);
    free(ctx);
    return 0;
}

/* How often it was rung since the last call. */
static uint64_t rings(const struct ctx *ctx)
{
    uint64_t count = 0;
    return read(ctx->event_fd, &count, sizeof count) == (ssize_t)sizeof count ? count : 0;
}

static void ring__loop_awake__writes_nothing(void **state)
{
    struct ctx *ctx = *state;
    bell_ring(&ctx->ringer);
    assert_int_equal(rings(ctx), 0);
    bell_lie_down(ctx->bell);
    bell_get_up(ctx->bell);
    bell_ring(&ctx->ringer);
    assert_int_equal(rings(ctx), 0);
}

static void ring__loop_asleep__writes_once_per_sleep(void **state)
{
    struct ctx *ctx = *state;
    for (int sleep = 0; sleep < 3; sleep++) {
        bell_lie_down(ctx->bell);
        bell_ring(&ctx->ringer);
        bell_ring(&ctx->ringer);
        assert_int_equal(rings(ctx), 1);
        bell_get_up(ctx->bell);
    }
}

/* One that died before it wrote must not have used up the other's ring. */
static void ring__two_ringers__each_writes(void **state)
{
    struct ctx *ctx = *state;
    struct bell_ringer other = { .bell = ctx->bell, .event_fd = ctx->event_fd };
    bell_lie_down(ctx->bell);
    bell_ring(&ctx->ringer);
    bell_ring(&other);
    assert_int_equal(rings(ctx), 2);
}

static void ring__counter_full__does_not_block(void **state)
{
    struct ctx *ctx = *state;
    const uint64_t full = UINT64_MAX - 1;
    assert_int_equal(write(ctx->event_fd, &full, sizeof full), sizeof full);
    bell_lie_down(ctx->bell);
    bell_ring(&ctx->ringer);
    assert_true(rings(ctx) == full);
}

struct news {
    _Atomic uint32_t published, seen;
};

static void tell_news(struct ctx *ctx, struct news *news)
{
    for (uint32_t i = 1; i <= ROUNDS; i++) {
        atomic_store_explicit(&news->published, i, memory_order_release);
        bell_ring(&ctx->ringer);
        /* wait for some, so that the loop goes to sleep at every point of the next ring */
        while ((i & 3) == 0 && atomic_load_explicit(&news->seen, memory_order_acquire) < i)
            ;
    }
    _exit(0);
}

/* Sleeps until there is news; false: it slept through some. */
static bool sleep_for_news(struct ctx *ctx, struct news *news)
{
    struct pollfd fd = { .fd = ctx->event_fd, .events = POLLIN };
    uint32_t seen = atomic_load_explicit(&news->seen, memory_order_relaxed);
    bell_lie_down(ctx->bell);
    int timeout_ms = atomic_load_explicit(&news->published, memory_order_seq_cst) != seen ? 0 : LOST_MS;
    int ready = poll(&fd, 1, timeout_ms);
    bell_get_up(ctx->bell);
    (void)rings(ctx);
    atomic_store_explicit(&news->seen, atomic_load_explicit(&news->published, memory_order_acquire),
                          memory_order_release);
    return ready > 0 || timeout_ms == 0;
}

static void ring__from_another_process__never_slept_through(void **state)
{
    struct ctx *ctx = *state;
    struct news *news = (struct news *)(void *)(ctx->bell + 1);
    pid_t pid = fork();
    if (pid == 0)
        tell_news(ctx, news);
    assert_true(pid > 0);
    bool is_heard = true;
    while (is_heard && atomic_load(&news->seen) < ROUNDS)
        is_heard = sleep_for_news(ctx, news);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_true(is_heard);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(ring__loop_awake__writes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(ring__loop_asleep__writes_once_per_sleep, setup, teardown),
        cmocka_unit_test_setup_teardown(ring__two_ringers__each_writes, setup, teardown),
        cmocka_unit_test_setup_teardown(ring__counter_full__does_not_block, setup, teardown),
        cmocka_unit_test_setup_teardown(ring__from_another_process__never_slept_through, setup, teardown),
    };
    return cmocka_run_group_tests_name("bell", tests, NULL, NULL);
}
