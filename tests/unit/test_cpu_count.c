/* cpu_count: quotas of both cgroup versions, read from a directory tree made for each test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <ftw.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cpu_count.h"

struct ctx {
    char root[64];
};

static int setup(void **state)
{
    struct ctx *ctx = calloc(1, sizeof *ctx);
    if (ctx == NULL)
        return -1;
    snprintf(ctx->root, sizeof ctx->root, "/tmp/test_cpu_count.XXXXXX");
    *state = ctx;
    return mkdtemp(ctx->root) != NULL ? 0 : -1;
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *where)
{
    (void)info;
    (void)type;
    (void)where;
    return remove(path);
}

static int teardown(void **state)
{
    struct ctx *ctx = *state;
    int result = nftw(ctx->root, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    free(ctx);
    return result;
}

/* Writes root/path, with the directories before it. */
static void put_file(const struct ctx *ctx, const char *path, const char *text)
{
    char full[256];
    snprintf(full, sizeof full, "%s/%s", ctx->root, path);
    for (char *slash = full + strlen(ctx->root) + 1; (slash = strchr(slash, '/')) != NULL; *slash++ = '/') {
        *slash = '\0';
        mkdir(full, 0700);
    }
    FILE *file = fopen(full, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void quota__none__is_zero(void **state)
{
    struct ctx *ctx = *state;
    put_file(ctx, "a/cpu.max", "max 100000\n");
    assert_int_equal(cpu_count_quota(ctx->root, "0::/a\n"), 0);
    assert_int_equal(cpu_count_quota(ctx->root, "0::/other\n"), 0);
    assert_int_equal(cpu_count_quota(ctx->root, ""), 0);
}

static void quota__v2__is_rounded_up(void **state)
{
    struct ctx *ctx = *state;
    put_file(ctx, "a/cpu.max", "150000 100000\n");
    put_file(ctx, "b/cpu.max", "200000 100000\n");
    put_file(ctx, "c/cpu.max", "1000 100000\n");
    assert_int_equal(cpu_count_quota(ctx->root, "0::/a\n"), 2);
    assert_int_equal(cpu_count_quota(ctx->root, "0::/b"), 2);
    assert_int_equal(cpu_count_quota(ctx->root, "0::/c\n"), 1);
}

static void quota__v2_ancestors__the_tightest_counts(void **state)
{
    struct ctx *ctx = *state;
    put_file(ctx, "a/b/c/cpu.max", "800000 100000\n");
    put_file(ctx, "a/b/cpu.max", "max 100000\n");
    put_file(ctx, "a/cpu.max", "300000 100000\n");
    assert_int_equal(cpu_count_quota(ctx->root, "0::/a/b/c\n"), 3);
}

static void quota__v2_path_of_the_host__finds_the_root_of_the_mount(void **state)
{
    struct ctx *ctx = *state;
    put_file(ctx, "cpu.max", "400000 100000\n");
    assert_int_equal(cpu_count_quota(ctx->root, "0::/docker/0123456789abcdef\n"), 4);
    assert_int_equal(cpu_count_quota(ctx->root, "0::/\n"), 4);
}

static void quota__v1__is_read_from_the_cpu_controller(void **state)
{
    struct ctx *ctx = *state;
    put_file(ctx, "cpu/a/cpu.cfs_quota_us", "250000\n");
    put_file(ctx, "cpu/a/cpu.cfs_period_us", "100000\n");
    put_file(ctx, "cpu/cpu.cfs_quota_us", "-1\n");
    put_file(ctx, "cpu/cpu.cfs_period_us", "100000\n");
    assert_int_equal(cpu_count_quota(ctx->root, "9:name=systemd:/a\n4:cpu,cpuacct:/a\n3:cpuset:/x\n0::/\n"), 3);
    assert_int_equal(cpu_count_quota(ctx->root, "4:cpuacct,cpu:/a\n"), 3);
    assert_int_equal(cpu_count_quota(ctx->root, "4:cpuset:/a\n5:cpuacct:/a\n"), 0);
    assert_int_equal(cpu_count_quota(ctx->root, "1:cpu:/\n"), 0);
}

static void quota__malformed_input__is_no_quota(void **state)
{
    struct ctx *ctx = *state;
    static const char *const quotas[] = {
        "", "\n", "x y\n", "100000\n", "100000 0\n", "-5 100000\n", "9223372036854775807 1\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(quotas); i++) {
        put_file(ctx, "cpu.max", quotas[i]);
        assert_int_equal(cpu_count_quota(ctx->root, "0::/\n"), 0);
    }
    put_file(ctx, "cpu.max", "100000 100000\n");
    assert_int_equal(cpu_count_quota(ctx->root, "0\n\n:\n4:cpu\nx"), 0);
    char long_line[10000] = "0::/";
    memset(long_line + 4, 'a', sizeof long_line - 5);
    assert_int_equal(cpu_count_quota(ctx->root, long_line), 1);
}

static void count__affinity_mask__bounds_it(void **state)
{
    (void)state;
    cpu_set_t all, one;
    assert_int_equal(sched_getaffinity(0, sizeof all, &all), 0);
    assert_in_range(cpu_count(), 1, (unsigned)CPU_COUNT(&all));
    CPU_ZERO(&one);
    for (size_t cpu = 0; CPU_COUNT(&one) == 0; cpu++) {
        if (CPU_ISSET(cpu, &all))
            CPU_SET(cpu, &one);
    }
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    unsigned count = cpu_count();
    assert_int_equal(sched_setaffinity(0, sizeof all, &all), 0);
    assert_int_equal(count, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(quota__none__is_zero, setup, teardown),
        cmocka_unit_test_setup_teardown(quota__v2__is_rounded_up, setup, teardown),
        cmocka_unit_test_setup_teardown(quota__v2_ancestors__the_tightest_counts, setup, teardown),
        cmocka_unit_test_setup_teardown(quota__v2_path_of_the_host__finds_the_root_of_the_mount, setup, teardown),
        cmocka_unit_test_setup_teardown(quota__v1__is_read_from_the_cpu_controller, setup, teardown),
        cmocka_unit_test_setup_teardown(quota__malformed_input__is_no_quota, setup, teardown),
        cmocka_unit_test(count__affinity_mask__bounds_it),
    };
    return cmocka_run_group_tests_name("cpu_count", tests, NULL, NULL);
}
