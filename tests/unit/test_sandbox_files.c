/* sandbox: which files a user's program can read, change and mark, and with what grant. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

#include "tests/unit/sandbox_program_case.h"

static char private_dir[] = "/tmp/twinpool-sandbox-XXXXXX";
static char other_dir[] = "/tmp/twinpool-outside-XXXXXX";

static int make_file_in(const char *dir, const char *name, const char *text, mode_t mode)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, mode);
    if (fd < 0)
        return errno;
    ssize_t written = write(fd, text, strlen(text));
    close(fd);
    return written == (ssize_t)strlen(text) ? 0 : EIO;
}

static int open_group(void **state)
{
    if (mkdtemp(private_dir) == NULL || mkdtemp(other_dir) == NULL ||
        make_file_in(other_dir, "file", "outside", 0600) != 0 ||
        make_file_in(private_dir, "program", "#!/bin/sh\nexit 5\n", 0755) != 0)
        return -1;
    return open_rig(state);
}

static void remove_in(const char *dir, const char *name)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    unlink(path);
}

static int close_group(void **state)
{
    remove_in(other_dir, "file");
    remove_in(private_dir, "program");
    remove_in(private_dir, "made");
    rmdir(private_dir);
    rmdir(other_dir);
    return close_rig(state);
}

/* ---- acts */

static const char *at(const char *dir, const char *name)
{
    static char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static int try_open(const char *path, int flags) { return error_of(open(path, flags | O_CLOEXEC, 0600)); }
static int read_system(void) { return try_open("/etc/passwd", O_RDONLY); }
static int read_secret(void) { return try_open("/etc/shadow", O_RDONLY); }

static int write_system(void)
{
    int error = try_open("/usr/twinpool-sandbox", O_CREAT | O_WRONLY);
    return error == EROFS ? EACCES : error; /* a read-only root comes first */
}

static int write_proc(void) { return try_open("/proc/self/oom_score_adj", O_WRONLY); }
static int write_null(void) { return make_file_in("/dev", "null", "x", 0600); }
static int read_outside(void) { return try_open(at(other_dir, "file"), O_RDONLY); }
static int write_outside(void) { return try_open(at(other_dir, "file"), O_WRONLY); }
static int cut_outside(void) { return error_of(truncate(at(other_dir, "file"), 0)); }
static int list_outside(void) { return try_open(other_dir, O_RDONLY | O_DIRECTORY); }
static int read_private(void) { return try_open(at(private_dir, "program"), O_RDONLY); }
static int write_private(void) { return make_file_in(private_dir, "made", "text", 0600); }
static int make_device(void) { return error_of(mknod(at(private_dir, "device"), S_IFCHR | 0600, 0)); }

static int mark(const char *path)
{
    const int results[] = { error_of(chmod(path, 0755)), error_of(lchown(path, getuid(), getgid())),
                            error_of(utimensat(AT_FDCWD, path, NULL, 0)),
                            error_of(setxattr(path, "user.x", "1", 1, 0)) };
    for (size_t i = 1; i < ARRAY_LEN(results); i++)
        if (results[i] != results[0] && results[i] != EOPNOTSUPP)
            return EDOM;
    return results[0];
}

static int mark_outside(void) { return mark(at(other_dir, "file")); }
static int mark_private(void) { return mark(at(private_dir, "program")); }
static int mark_null(void) { return error_of(fchmod(STDIN_FILENO, 0666)); }

static int take_identity(void)
{
    int fd = open(at(private_dir, "program"), O_RDONLY | O_CLOEXEC);
    int error = error_of(fchmod(fd, S_ISUID | 0755));
    return error == error_of(chmod(at(private_dir, "program"), S_ISGID | 0755)) ? error : EDOM;
}

static int be_created_with_identity(void)
{
    const char *path = at(private_dir, "made");
    const int results[] = { error_of(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, S_ISUID | 0755)),
                            error_of(openat(AT_FDCWD, path, O_CREAT | O_WRONLY | O_CLOEXEC, S_ISGID | 0755)),
                            error_of(open(private_dir, O_TMPFILE | O_WRONLY | O_CLOEXEC, S_ISUID | 0755)),
                            error_of(creat(path, S_ISUID | 0755)), error_of(mknod(path, S_IFREG | S_ISUID | 0755, 0)) };
    for (size_t i = 1; i < ARRAY_LEN(results); i++)
        if (results[i] != results[0])
            return EDOM;
    return results[0];
}

/* A register that no mode is in may hold anything. */
static int open_with_a_mode_of_no_meaning(void)
{
    return error_of((int)syscall(SYS_openat, AT_FDCWD, at(private_dir, "program"), O_RDONLY | O_CLOEXEC, 07777));
}

/* By a descriptor to read that was open before. */
static int set_marks(void)
{
    int value = 0;
    struct fsxattr more = { 0 };
    const int results[] = { error_of(ioctl(STDIN_FILENO, FS_IOC_SETFLAGS, &value)),
                            error_of(ioctl(STDIN_FILENO, FS_IOC_SETVERSION, &value)),
                            error_of(ioctl(STDIN_FILENO, FS_IOC_FSSETXATTR, &more)),
                            error_of(fcntl(STDIN_FILENO, F_SETLEASE, F_RDLCK)) };
    for (size_t i = 1; i < ARRAY_LEN(results); i++)
        if (results[i] != results[0])
            return EDOM;
    return results[0];
}

static int run_private(void) { return error_of(execl(at(private_dir, "program"), "program", NULL)); }

static int rename_and_remove(void)
{
    char from[PATH_MAX], to[PATH_MAX];
    snprintf(from, sizeof from, "%s/made", private_dir);
    snprintf(to, sizeof to, "%s/renamed", private_dir);
    int error = write_private();
    return error != 0 ? error : error_of(rename(from, to)) + error_of(unlink(to));
}

static int move_out(void)
{
    char to[PATH_MAX];
    int error = write_private();
    snprintf(to, sizeof to, "%s/moved", other_dir);
    if (error == 0)
        error = error_of(rename(at(private_dir, "made"), to));
    return error == EXDEV ? EACCES : error; /* EXDEV: of the first ABI, to which every move is one */
}

static void try_files(const struct attempt *attempts, size_t count)
{
    need(SANDBOX_FILES, &rules);
    try_all(attempts, count);
}

static void files__nothing_granted__the_system_is_readable(void **state UNUSED)
{
    static const struct attempt attempts[] = {
        { "read the system's", read_system, 0 },        { "read a secret", read_secret, EACCES },
        { "write the system's", write_system, EACCES }, { "write below /proc", write_proc, EACCES },
        { "write /dev/null", write_null, 0 },           { "read others'", read_outside, EACCES },
        { "write others'", write_outside, EACCES },     { "cut others'", cut_outside, EACCES },
        { "list others'", list_outside, EACCES },       { "read private", read_private, EACCES },
        { "write private", write_private, EACCES },     { "mark others'", mark_outside, EPERM },
        { "mark by descriptor", mark_null, EPERM },     { "set marks", set_marks, EPERM },
    };
    try_files(attempts, ARRAY_LEN(attempts));
}

static void files__read_only__can_be_read(void **state UNUSED)
{
    static const struct attempt attempts[] = {
        { "read private", read_private, 0 },
        { "write private", write_private, EACCES },
        { "run private", run_private, EACCES },
        { "read others'", read_outside, EACCES },
    };
    const struct sandbox_path path = { .path = private_dir };
    rules.paths = &path;
    rules.path_count = 1;
    try_files(attempts, ARRAY_LEN(attempts));
}

static void files__writable__can_be_changed_but_not_run(void **state UNUSED)
{
    static const struct attempt attempts[] = {
        { "read private", read_private, 0 },
        { "write private", write_private, 0 },
        { "rename and remove private", rename_and_remove, 0 },
        { "move out", move_out, EACCES },
        { "make a device", make_device, EACCES },
        { "mark private", mark_private, 0 },
        { "lend its identity", take_identity, EPERM },
        { "lend it to a new file", be_created_with_identity, EPERM },
        { "open with a mode of no meaning", open_with_a_mode_of_no_meaning, 0 },
        { "set marks", set_marks, EPERM },
        { "run private", run_private, EACCES },
        { "write others'", write_outside, EACCES },
    };
    const struct sandbox_path path = { .path = private_dir, .is_writable = true };
    rules.paths = &path;
    rules.path_count = 1;
    try_files(attempts, ARRAY_LEN(attempts));
}

static void files__executable__can_be_run(void **state UNUSED)
{
    const struct sandbox_path path = { .path = private_dir, .is_executable = true };
    rules.paths = &path;
    rules.path_count = 1;
    assert_int_equal(try_under(&rules, run_private), 5);
}

static void files__single_file__is_granted_alone(void **state UNUSED)
{
    char name[PATH_MAX];
    snprintf(name, sizeof name, "%s/file", other_dir);
    const struct sandbox_path path = { .path = name, .is_writable = true };
    rules.paths = &path;
    rules.path_count = 1;
    need(SANDBOX_FILES, &rules);
    assert_int_equal(try_under(&rules, read_outside), 0);
    assert_int_equal(try_under(&rules, write_outside), 0);
    assert_int_equal(try_under(&rules, list_outside), EACCES);
}

static void files__root__is_granted_on_demand_only(void **state UNUSED)
{
    struct sandbox_path path = { .path = "/tmp/..", .is_optional = true };
    rules.paths = &path;
    rules.path_count = 1;
    need(SANDBOX_FILES, &rules);
    assert_int_equal(try_under(&rules, read_outside), EACCES);
    path.is_optional = false;
    assert_int_equal(try_under(&rules, read_outside), 0);
}

static void files__missing_path__is_told_and_the_rest_holds(void **state UNUSED)
{
    const struct sandbox_path paths[] = { { .path = "/no/such/optional", .is_optional = true },
                                          { .path = "/no/such/path" },
                                          { .path = private_dir } };
    rules.paths = paths;
    rules.path_count = ARRAY_LEN(paths);
    need(SANDBOX_FILES, &rules);
    assert_int_equal(try_under(&rules, read_private), 0);
    assert_string_equal(last_report->of[SANDBOX_FILES].note, "without /no/such/path: No such file or directory");
    assert_int_equal(try_under(&rules, read_outside), EACCES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(files__nothing_granted__the_system_is_readable),
        TEST(files__read_only__can_be_read),
        TEST(files__writable__can_be_changed_but_not_run),
        TEST(files__executable__can_be_run),
        TEST(files__single_file__is_granted_alone),
        TEST(files__root__is_granted_on_demand_only),
        TEST(files__missing_path__is_told_and_the_rest_holds),
    };
    return cmocka_run_group_tests_name("sandbox_files", tests, open_group, close_group);
}
