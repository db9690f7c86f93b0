/* sandbox: takes from the calling process what its work does not need, for good.
 *
 * Seven mechanisms of the kernel, each of which may be missing (an old kernel, a container that forbids it); the others
 * are applied all the same, and a report says what became of each. Nothing here needs privileges, and nothing can be
 * undone: children and programs that are started inherit all of it.
 *
 * The zero value of struct sandbox_rules is the strictest set of rules; the two presets are made for built-in tasks and
 * for users' programs. */
#ifndef TWINPOOL_POOL_SANDBOX_H
#define TWINPOOL_POOL_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attrs.h"
#include "base/buf.h"

/* 0: as it is. A limit that the process has already and that is lower stays. */
struct sandbox_limits {
    uint64_t address_space_bytes; /* ignored in sanitizer builds, which reserve terabytes */
    uint64_t cpu_seconds;         /* of each process; SIGXCPU, and one second later SIGKILL */
    uint64_t open_files;          /* no new descriptor from this number on */
    uint64_t processes;           /* of the whole user id, threads included: so rarely of use. Root is exempt */
    uint64_t file_bytes;          /* of a file that is written, memfds included */
};

enum sandbox_syscalls {
    SANDBOX_SYSCALLS_FEW, /* what computing takes: memory, time, locks, and descriptors that are open; no file, socket,
                             process or thread can be made, whatever else the rules say */
    SANDBOX_SYSCALLS_MOST /* all but those that are dangerous or that the rules refuse */
};

enum sandbox_files {
    SANDBOX_FILES_NONE,
    SANDBOX_FILES_LISTED, /* `paths`, and the system's if `has_system_files` */
    SANDBOX_FILES_ANY
};

/* A file, or a folder with everything below it. */
struct sandbox_path {
    const char *path;
    bool is_writable; /* else read-only. Devices cannot be made. With one of these, owners, modes, times and labels can
                         be changed of all files that the user owns; without, of none */
    bool is_executable; /* its programs may be started */
    bool is_optional; /* it need not exist (one that must is named in the report if it does not), and the root folder is
                         not granted by it */
};

struct sandbox_filter; /* of system calls */

struct sandbox_rules {
    struct sandbox_limits limits;
    enum sandbox_syscalls syscalls;
    bool may_use_network; /* IPv4 and IPv6; Unix sockets in pairs only */
    bool may_exec;
    bool may_fork;        /* new processes; threads are always allowed with SYSCALLS_MOST */
    bool may_leave_group; /* setsid, setpgid: a process that cannot is killed with its group, wherever it hides */
    bool may_make_code;   /* memory that is writable first or too, and executable (with SYSCALLS_FEW; else it may) */
    enum sandbox_files files;
    bool has_system_files;            /* read-only: programs, libraries, time zones, certificates, /proc, /dev/null */
    const struct sandbox_path *paths; /* the caller's; looked at only by sandbox_apply() */
    size_t path_count;
    const struct sandbox_filter *filter; /* made of the same rules before; NULL: it is made on the spot */
};

/* For a process that runs the tasks which come with the program, once it has opened what it needs. In sanitizer builds
 * looser: their run-time libraries need many system calls, and files for their reports. */
struct sandbox_rules sandbox_rules_for_tasks(void) MUST_CHECK;
/* For a process that is about to start a user's program: no network, the system's files read-only, new processes but
 * none outside the group. The caller adds the program's own paths, limits and what it is granted. */
struct sandbox_rules sandbox_rules_for_programs(void) MUST_CHECK;

enum sandbox_mechanism {
    SANDBOX_PRIVILEGES,   /* PR_SET_NO_NEW_PRIVS: no set-user-id program helps */
    SANDBOX_CAPABILITIES, /* given up, so root is a user like others */
    SANDBOX_FILES,        /* Landlock */
    SANDBOX_TCP,          /* Landlock from its ABI 4: no bind(), no connect() */
    SANDBOX_SCOPE,        /* Landlock from its ABI 6: no signals to processes outside, no abstract sockets of theirs */
    SANDBOX_LIMITS,       /* setrlimit() */
    SANDBOX_SYSCALLS,     /* seccomp */
    SANDBOX_MECHANISMS
};

enum sandbox_state { SANDBOX_NOT_ASKED, SANDBOX_ACTIVE, SANDBOX_UNAVAILABLE };

struct sandbox_outcome {
    enum sandbox_state state;
    char note[88]; /* why it is unavailable, or what is to be known about it; "" if nothing */
};

struct sandbox_report {
    struct sandbox_outcome of[SANDBOX_MECHANISMS];
};

/* The filter of these rules, for many processes to apply: making it takes half a millisecond, longer than all the rest.
 * NULL: not to be had, as the report says. */
struct sandbox_filter *sandbox_filter_new(const struct sandbox_rules *rules, struct sandbox_report *report)
    NONNULL MUST_CHECK;
void sandbox_filter_free(struct sandbox_filter *filter);

/* Confines the calling process, which must have one thread. True: all that the rules ask for is active. False: not all
 * is, as the report says, but all else. */
bool sandbox_apply(const struct sandbox_rules *rules, struct sandbox_report *ret_report) NONNULL;

/* What sandbox_apply() would report, found out in a child that is forked, confined and reaped: the caller must have one
 * thread. False: not all would be active. */
bool sandbox_probe(const struct sandbox_rules *rules, struct sandbox_report *ret_report) NONNULL;

const char *sandbox_mechanism_name(enum sandbox_mechanism mechanism) MUST_CHECK;

/* `active`, `not asked for` or `unavailable`, with `: note` if there is one. Cut to `size`. */
void sandbox_outcome_text(const struct sandbox_outcome *outcome, char *ret_text, size_t size) NONNULL;

/* Appends an object: {"no_new_privs":"active","tcp":"unavailable: …",…} */
void sandbox_describe(const struct sandbox_report *report, struct buf *out) NONNULL;

#endif
