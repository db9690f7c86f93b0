/* sandbox: rules, reports, limits, and what happens where the kernel lacks something. What the presets refuse and what
 * they let a process do: test_sandbox_tasks.c, test_sandbox_programs.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "tests/unit/sandbox_rig.h"

static const struct sandbox_rules loose = { .syscalls = SANDBOX_SYSCALLS_MOST,
                                            .may_use_network = true,
                                            .may_exec = true,
                                            .may_fork = true,
                                            .may_leave_group = true,
                                            .files = SANDBOX_FILES_ANY };

static int open_passwd(void) { return error_of(open("/etc/passwd", O_RDONLY | O_CLOEXEC)); }

static int do_nothing(void) { return 0; }

static void forget_other_kernels(void)
{
    landlock_abi = 0;
    landlock_error = seccomp_error = 0;
}

static int end_case(void **state UNUSED)
{
    forget_other_kernels();
    return 0;
}

static const char *text_of(enum sandbox_mechanism mechanism)
{
    static char text[160];
    sandbox_outcome_text(&last_report->of[mechanism], text, sizeof text);
    return text;
}

/* ---- reports */

static void describe__each_state__is_one_member(void **state UNUSED)
{
    struct sandbox_report report = { 0 };
    sandbox_note(&report, SANDBOX_PRIVILEGES, SANDBOX_ACTIVE, "%s", "");
    sandbox_note(&report, SANDBOX_FILES, SANDBOX_UNAVAILABLE, "a \"%s\"", "reason");
    sandbox_note(&report, SANDBOX_SYSCALLS, SANDBOX_ACTIVE, "some-list");
    struct buf out = BUF_INIT(4096);
    sandbox_describe(&report, &out);
    buf_byte(&out, '\0');
    assert_false(out.failed);
    assert_string_equal(out.data, "{\"no_new_privs\":\"active\",\"capabilities\":\"not asked for\","
                                  "\"files\":\"unavailable: a \\\"reason\\\"\",\"tcp\":\"not asked for\","
                                  "\"scope\":\"not asked for\",\"limits\":\"not asked for\","
                                  "\"syscalls\":\"active: some-list\"}");
    buf_done(&out);
}

static void probe__says_what_apply_would__and_confines_nobody_else(void **state UNUSED)
{
    const struct sandbox_rules rules = sandbox_rules_for_tasks();
    struct sandbox_report probed;
    bool is_complete = sandbox_probe(&rules, &probed);
    assert_int_equal(try_under(&rules, do_nothing), 0);
    assert_memory_equal(&probed, last_report, sizeof probed);
    for (unsigned i = 0; i < SANDBOX_MECHANISMS; i++) {
        assert_true(probed.of[i].state != SANDBOX_NOT_ASKED);
        is_complete = is_complete && probed.of[i].state == SANDBOX_ACTIVE;
    }
    assert_int_equal(sandbox_probe(&rules, &probed), is_complete);
    assert_int_equal(open_passwd(), 0);
}

static void apply__loose_rules__asks_for_no_more(void **state UNUSED)
{
    assert_int_equal(try_under(&loose, open_passwd), 0);
    assert_int_equal(last_report->of[SANDBOX_FILES].state, SANDBOX_NOT_ASKED);
    assert_int_equal(last_report->of[SANDBOX_TCP].state, SANDBOX_NOT_ASKED);
    assert_true(is_active(SANDBOX_PRIVILEGES));
}

/* ---- privileges */

/* The value of a line of /proc/self/status, in base 16. */
static long status_line(const char *name)
{
    char line[256];
    long value = -1;
    FILE *file = fopen("/proc/self/status", "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, name, strlen(name)) == 0)
            value = strtol(line + strlen(name), NULL, 16);
    if (file != NULL)
        (void)fclose(file);
    return value;
}

static int look_for_privileges(void)
{
    if (status_line("NoNewPrivs:") != 1)
        return 1;
    return status_line("CapEff:") == 0 && status_line("CapPrm:") == 0 && status_line("CapInh:") == 0 ? 0 : 2;
}

static void apply__always__leaves_no_privilege(void **state UNUSED)
{
    assert_int_equal(try_under(&loose, look_for_privileges), 0);
    assert_true(is_active(SANDBOX_CAPABILITIES));
}

static void arm_parent_death(void) { prctl(PR_SET_PDEATHSIG, SIGKILL); }

static int look_for_parent_death(void)
{
    int sig = 0;
    return prctl(PR_GET_PDEATHSIG, &sig) == 0 && sig == SIGKILL ? 0 : 1;
}

/* The kernel forgets it when credentials change, but not when they only shrink. */
static void apply__always__still_dies_with_its_parent(void **state UNUSED)
{
    assert_int_equal(try_after(&loose, arm_parent_death, look_for_parent_death), 0);
}

/* ---- limits */

static int look_for_limits(void)
{
    static const struct {
        __rlimit_resource_t resource;
        rlim_t soft, hard;
    } wanted[] = { { RLIMIT_CORE, 0, 0 }, { RLIMIT_CPU, 3, 4 }, { RLIMIT_NOFILE, 20, 20 }, { RLIMIT_FSIZE, 5, 5 } };
    struct rlimit limit;
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
        if (getrlimit(wanted[i].resource, &limit) != 0 || limit.rlim_cur != wanted[i].soft ||
            limit.rlim_max != wanted[i].hard)
            return (int)i + 1;
    return 0;
}

static void apply__limits__are_set_for_good(void **state UNUSED)
{
    struct sandbox_rules rules = loose;
    rules.limits = (struct sandbox_limits){ .cpu_seconds = 3, .open_files = 20, .file_bytes = 5 };
    assert_int_equal(try_under(&rules, look_for_limits), 0);
    assert_true(is_active(SANDBOX_LIMITS));
}

static void set_lower_limits(void)
{
    setrlimit(RLIMIT_CPU, &(struct rlimit){ 3, 4 });
    setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 20, 20 });
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){ 5, 5 });
}

static void apply__limits_above_those_in_force__leave_them(void **state UNUSED)
{
    struct sandbox_rules rules = loose;
    rules.limits = (struct sandbox_limits){ .cpu_seconds = 100, .open_files = 100000000, .file_bytes = 1000 };
    assert_int_equal(try_after(&rules, set_lower_limits, look_for_limits), 0);
    assert_true(is_active(SANDBOX_LIMITS));
}

static int write_much(void)
{
    int fd = memfd_create("much", MFD_CLOEXEC);
    signal(SIGXFSZ, SIG_IGN);
    return error_of(pwrite(fd, "0123456789", 10, 1000));
}

static void apply__file_limit__ends_writing(void **state UNUSED)
{
    struct sandbox_rules rules = loose;
    rules.limits.file_bytes = 1000;
    assert_int_equal(try_under(&rules, write_much), EFBIG);
}

static int take_memory(void)
{
    void *volatile block = malloc((size_t)1 << 30);
    return block == NULL ? ENOMEM : 0;
}

static void apply__address_space_limit__ends_allocation(void **state UNUSED)
{
    struct sandbox_rules rules = loose;
    rules.limits.address_space_bytes = 1 << 20; /* less than is in use: the filter must be made before */
    if (SANDBOX_IS_SANITIZED)
        skip();
    assert_int_equal(try_under(&rules, take_memory), ENOMEM);
    assert_true(is_active(SANDBOX_SYSCALLS));
    assert_int_equal(try_under(&loose, take_memory), 0);
}

static int spin(void)
{
    volatile bool goes_on = true;
    while (goes_on)
        ;
    return 0;
}

static void apply__cpu_limit__ends_the_process(void **state UNUSED)
{
    struct sandbox_rules rules = loose;
    rules.limits.cpu_seconds = 1;
    assert_int_equal(try_under(&rules, spin), BY_SIGNAL + SIGXCPU);
}

/* ---- other kernels */

static void apply__no_landlock__all_else_is_active(void **state UNUSED)
{
    static const enum sandbox_mechanism lost[] = { SANDBOX_FILES, SANDBOX_TCP, SANDBOX_SCOPE };
    const struct sandbox_rules rules = sandbox_rules_for_programs();
    landlock_error = ENOSYS;
    assert_int_equal(try_under(&rules, look_for_privileges), 0);
    for (size_t i = 0; i < ARRAY_LEN(lost); i++)
        assert_string_equal(text_of(lost[i]), "unavailable: Landlock: Function not implemented");
    assert_true(is_active(SANDBOX_PRIVILEGES) && is_active(SANDBOX_CAPABILITIES) && is_active(SANDBOX_LIMITS));
    landlock_error = EOPNOTSUPP;
    assert_false(sandbox_probe(&rules, last_report));
    assert_string_equal(text_of(SANDBOX_FILES), "unavailable: Landlock: Operation not supported");
}

static void apply__no_seccomp__all_else_is_active(void **state UNUSED)
{
    struct sandbox_rules rules = loose;
    rules.files = SANDBOX_FILES_NONE;
    need(SANDBOX_FILES, &rules);
    seccomp_error = EPERM;
    assert_int_equal(try_under(&rules, open_passwd), EACCES);
    assert_string_equal(text_of(SANDBOX_SYSCALLS), "unavailable: Operation not permitted");
    assert_true(is_active(SANDBOX_PRIVILEGES) && is_active(SANDBOX_CAPABILITIES) && is_active(SANDBOX_LIMITS));
    assert_false(sandbox_probe(&rules, last_report));
}

static void apply__older_landlock__uses_what_it_has(void **state UNUSED)
{
    struct sandbox_rules rules = loose;
    rules.files = SANDBOX_FILES_NONE;
    rules.may_use_network = false;
    need(SANDBOX_SCOPE, &rules);
    for (landlock_abi = 1; landlock_abi <= 6; landlock_abi++) {
        assert_int_equal(try_under(&rules, open_passwd), EACCES);
        assert_int_equal(is_active(SANDBOX_TCP), landlock_abi >= 4);
        assert_int_equal(is_active(SANDBOX_SCOPE), landlock_abi >= 6);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, end_case)
    const struct CMUnitTest tests[] = {
        TEST(describe__each_state__is_one_member),
        TEST(probe__says_what_apply_would__and_confines_nobody_else),
        TEST(apply__loose_rules__asks_for_no_more),
        TEST(apply__always__leaves_no_privilege),
        TEST(apply__always__still_dies_with_its_parent),
        TEST(apply__limits__are_set_for_good),
        TEST(apply__limits_above_those_in_force__leave_them),
        TEST(apply__file_limit__ends_writing),
        TEST(apply__address_space_limit__ends_allocation),
        TEST(apply__cpu_limit__ends_the_process),
        TEST(apply__no_landlock__all_else_is_active),
        TEST(apply__no_seccomp__all_else_is_active),
        TEST(apply__older_landlock__uses_what_it_has),
    };
    return cmocka_run_group_tests_name("sandbox", tests, open_rig, close_rig);
}
