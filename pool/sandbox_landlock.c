/* Landlock: one ruleset for files, TCP ports and what processes outside may be reached by.
 *
 * A right that a ruleset handles is refused but where a rule grants it. The kernel tells the version of its interface,
 * and only what that version has is asked for. Descriptors that are open already are not concerned. The system calls
 * are made by hand (glibc has no wrappers), and what is newer than Debian 12's header is defined here. */
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "pool/sandbox_internal.h"

/* include/uapi/linux/landlock.h of Linux 6.12; the kernel takes a longer struct than its own if the rest is zero. */
struct ruleset {
    uint64_t files, network, scope;
};

enum { ABI_REFER = 2, ABI_TRUNCATE = 3, ABI_TCP = 4, ABI_DEVICES = 5, ABI_SCOPE = 6 };

enum {
    FILE_REFER = 1 << 13,
    FILE_TRUNCATE = 1 << 14,
    FILE_DEVICE_IOCTL = 1 << 15,
    NETWORK_BIND_TCP = 1 << 0,
    NETWORK_CONNECT_TCP = 1 << 1,
    SCOPE_ABSTRACT_SOCKETS = 1 << 0,
    SCOPE_SIGNALS = 1 << 1
};

enum {
    FIRST_FILES = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE |
                  LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |
                  LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |
                  LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK |
                  LANDLOCK_ACCESS_FS_MAKE_SYM,
    READING = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR,
    WRITING = LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |
              LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |
              LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_SYM | FILE_REFER | FILE_TRUNCATE |
              FILE_DEVICE_IOCTL,
    /* what a rule about something else than a folder may grant */
    OF_ONE_FILE = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE |
                  FILE_TRUNCATE | FILE_DEVICE_IOCTL
};

/* What most programs cannot start without. Of /etc only what every user may know and no service keeps secrets in. */
static const struct sandbox_path system_paths[] = {
    { .path = "/usr", .is_executable = true, .is_optional = true },
    { .path = "/bin", .is_executable = true, .is_optional = true },
    { .path = "/sbin", .is_executable = true, .is_optional = true },
    { .path = "/lib", .is_executable = true, .is_optional = true },
    { .path = "/lib32", .is_executable = true, .is_optional = true },
    { .path = "/lib64", .is_executable = true, .is_optional = true },
    { .path = "/etc/alternatives", .is_optional = true },
    { .path = "/etc/group", .is_optional = true },
    { .path = "/etc/gai.conf", .is_optional = true },
    { .path = "/etc/host.conf", .is_optional = true },
    { .path = "/etc/hosts", .is_optional = true },
    { .path = "/etc/ld.so.cache", .is_optional = true },
    { .path = "/etc/ld.so.preload", .is_optional = true },
    { .path = "/etc/locale.alias", .is_optional = true },
    { .path = "/etc/localtime", .is_optional = true },
    { .path = "/etc/mime.types", .is_optional = true },
    { .path = "/etc/nsswitch.conf", .is_optional = true },
    { .path = "/etc/os-release", .is_optional = true },
    { .path = "/etc/passwd", .is_optional = true },
    { .path = "/etc/protocols", .is_optional = true },
    { .path = "/etc/resolv.conf", .is_optional = true },
    { .path = "/etc/services", .is_optional = true },
    { .path = "/etc/ssl/certs", .is_optional = true },
    { .path = "/etc/ssl/openssl.cnf", .is_optional = true },
    { .path = "/etc/timezone", .is_optional = true },
    { .path = "/proc", .is_optional = true },
    { .path = "/sys/devices/system/cpu", .is_optional = true },
    { .path = "/sys/fs/cgroup", .is_optional = true },
    { .path = "/sys/kernel/mm/transparent_hugepage", .is_optional = true },
    { .path = "/dev/full", .is_writable = true, .is_optional = true },
    { .path = "/dev/null", .is_writable = true, .is_optional = true },
    { .path = "/dev/random", .is_optional = true },
    { .path = "/dev/urandom", .is_optional = true },
    { .path = "/dev/zero", .is_writable = true, .is_optional = true },
};

static uint64_t handled_files(int abi)
{
    uint64_t files = FIRST_FILES;
    if (abi >= ABI_REFER)
        files |= FILE_REFER;
    if (abi >= ABI_TRUNCATE)
        files |= FILE_TRUNCATE;
    if (abi >= ABI_DEVICES)
        files |= FILE_DEVICE_IOCTL;
    return files;
}

static bool is_root(const struct stat *about)
{
    struct stat root;
    return stat("/", &root) == 0 && about->st_dev == root.st_dev && about->st_ino == root.st_ino;
}

static bool grant_object(int ruleset_fd, int fd, const struct stat *about, uint64_t rights)
{
    if (!S_ISDIR(about->st_mode))
        rights &= OF_ONE_FILE;
    const struct landlock_path_beneath_attr rule = { .allowed_access = rights, .parent_fd = fd };
    return syscall(SYS_landlock_add_rule, ruleset_fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) == 0;
}

static bool grant(int ruleset_fd, const struct sandbox_path *path, uint64_t handled, bool may_exec)
{
    int fd = open(path->path, O_PATH | O_CLOEXEC);
    if (fd < 0)
        return path->is_optional;
    uint64_t rights = READING | (path->is_writable ? (uint64_t)WRITING : 0) |
                      (path->is_executable && may_exec ? (uint64_t)LANDLOCK_ACCESS_FS_EXECUTE : 0);
    struct stat about;
    bool is_granted = fstat(fd, &about) == 0 && ((path->is_optional && is_root(&about)) ||
                                                 grant_object(ruleset_fd, fd, &about, rights & handled));
    close(fd);
    return is_granted;
}

/* Notes the first path that could not be granted; what is not granted is refused, so the rest is as safe. */
static void grant_all(int ruleset_fd, const struct sandbox_rules *rules, uint64_t handled,
                      struct sandbox_report *report)
{
    if (rules->has_system_files)
        for (size_t i = 0; i < ARRAY_LEN(system_paths); i++)
            if (!grant(ruleset_fd, &system_paths[i], handled, rules->may_exec))
                sandbox_note(report, SANDBOX_FILES, SANDBOX_ACTIVE, "without %s: %s", system_paths[i].path,
                             strerrordesc_np(errno));
    for (size_t i = rules->path_count; i-- > 0;)
        if (!grant(ruleset_fd, &rules->paths[i], handled, rules->may_exec))
            sandbox_note(report, SANDBOX_FILES, SANDBOX_ACTIVE, "without %s: %s", rules->paths[i].path,
                         strerrordesc_np(errno));
}

static void note_failure(const struct ruleset *wanted, struct sandbox_report *report, const char *what)
{
    const char *why = strerrordesc_np(errno);
    if (wanted->files != 0)
        sandbox_note(report, SANDBOX_FILES, SANDBOX_UNAVAILABLE, "%s: %s", what, why);
    if (wanted->network != 0)
        sandbox_note(report, SANDBOX_TCP, SANDBOX_UNAVAILABLE, "%s: %s", what, why);
    if (wanted->scope != 0)
        sandbox_note(report, SANDBOX_SCOPE, SANDBOX_UNAVAILABLE, "%s: %s", what, why);
}

/* Takes from `wanted` what the kernel is too old for. */
static void fit(struct ruleset *wanted, int abi, struct sandbox_report *report)
{
    if (wanted->files != 0) {
        wanted->files = handled_files(abi);
        sandbox_note(report, SANDBOX_FILES, SANDBOX_ACTIVE, "Landlock ABI %d", abi);
    }
    if (wanted->network != 0) {
        if (abi < ABI_TCP)
            wanted->network = 0;
        sandbox_note(report, SANDBOX_TCP, abi < ABI_TCP ? SANDBOX_UNAVAILABLE : SANDBOX_ACTIVE, "Landlock ABI %d", abi);
    }
    if (abi < ABI_SCOPE)
        wanted->scope = 0;
    sandbox_note(report, SANDBOX_SCOPE, abi < ABI_SCOPE ? SANDBOX_UNAVAILABLE : SANDBOX_ACTIVE, "Landlock ABI %d", abi);
}

void sandbox_restrict_objects(const struct sandbox_rules *rules, struct sandbox_report *report)
{
    struct ruleset wanted = {
        .files = rules->files == SANDBOX_FILES_ANY ? 0 : FIRST_FILES,
        .network = rules->may_use_network ? 0 : NETWORK_BIND_TCP | NETWORK_CONNECT_TCP,
        .scope = SCOPE_SIGNALS | (rules->may_use_network ? 0 : SCOPE_ABSTRACT_SOCKETS),
    };
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (abi < 1) {
        note_failure(&wanted, report, "Landlock");
        return;
    }
    fit(&wanted, (int)abi, report);
    if ((wanted.files | wanted.network | wanted.scope) == 0)
        return;
    int ruleset_fd = (int)syscall(SYS_landlock_create_ruleset, &wanted, sizeof wanted, 0);
    if (ruleset_fd < 0) {
        note_failure(&wanted, report, "Landlock");
        return;
    }
    if (rules->files == SANDBOX_FILES_LISTED)
        grant_all(ruleset_fd, rules, wanted.files, report);
    if (syscall(SYS_landlock_restrict_self, ruleset_fd, 0) != 0)
        note_failure(&wanted, report, "Landlock");
    close(ruleset_fd);
}
