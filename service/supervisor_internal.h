/* supervisor_internal: the supervisor's state, for supervisor.c, worker_seats.c and frontend_process.c only. */
#ifndef TWINPOOL_SERVICE_SUPERVISOR_INTERNAL_H
#define TWINPOOL_SERVICE_SUPERVISOR_INTERNAL_H

#include "service/child.h"
#include "service/control.h"
#include "service/generation.h"
#include "service/shared.h"
#include "service/supervisor.h"

struct supervisor {
    const struct supervisor_start *start;
    const struct config *config;
    struct shared shared;
    pid_t pid;
    int epoll_fd, signal_fd;
    struct child *workers; /* per seat */
    unsigned *wanted;      /* per group: seats that are to be taken */
    struct child frontend;
    int control_fd;   /* -1 while there is no front end */
    bool is_serving;  /* the current front end said so */
    bool was_serving; /* some front end did */
    unsigned stop_signals;
    uint64_t kill_ns;          /* whoever was asked to stop and has not; CLOCK_NEVER until then */
    uint64_t give_up_ns;       /* of a new generation: when its workers must have come up */
    bool is_handing_over;      /* to the next generation */
    bool is_retired;           /* it has: no front end, no workers */
    bool must_reload;          /* SIGHUP came, or nobody serves */
    uint64_t reload_ns;        /* not before */
    unsigned reload_failures;  /* in a row, while nobody served */
    struct generation current; /* that serves in place of this one; none: this one does */
    uint64_t served_ns;        /* since when it does */
    struct generation next;    /* that is to */
    bool is_over;
    int exit_status;
};

/* ---- supervisor.c */

/* In a child: gives up what the supervisor alone may hold. */
void supervisor_leave(struct supervisor *supervisor) NONNULL;
/* False: there is no front end, or no room for it now: then again when there is. */
bool supervisor_tell(struct supervisor *supervisor, const struct control_message *message) NONNULL;

/* ---- worker_seats.c */

/* False: no memory. */
bool worker_seats_open(struct supervisor *supervisor) NONNULL MUST_CHECK;
void worker_seats_close(struct supervisor *supervisor) NONNULL; /* kills who is there */
/* A front end begins: as many as are configured. */
void worker_seats_reset(struct supervisor *supervisor) NONNULL;
/* There are to be so many workers of the group. */
void worker_seats_want(struct supervisor *supervisor, unsigned group, unsigned count, uint64_t now_ns) NONNULL;
/* What the front end wants of one worker, if it is still that one. */
void worker_seats_kill(struct supervisor *supervisor, const struct control_message *message) NONNULL;
/* The seat of a living worker, -1: it is none. */
int worker_seats_find(const struct supervisor *supervisor, pid_t pid) NONNULL MUST_CHECK;
void worker_seats_note_death(struct supervisor *supervisor, unsigned seat, int wait_status, uint64_t now_ns) NONNULL;
/* A worker that has not come up yet, one that has died if there is one; and its task, NULL for the built-in ones. NULL:
 * all are there. */
const struct child *worker_seats_find_starting(const struct supervisor *supervisor, const struct task **ret_task)
    NONNULL MUST_CHECK;
/* Starts and tells what is due; returns when something will be, CLOCK_NEVER: not by time. */
uint64_t worker_seats_advance(struct supervisor *supervisor, uint64_t now_ns) NONNULL;

/* ---- frontend_process.c */

/* Once it is time. Returns when it will be, CLOCK_NEVER: it was started. */
uint64_t frontend_process_start(struct supervisor *supervisor, uint64_t now_ns) NONNULL;
/* It was reaped, and is to be started again. */
void frontend_process_restart(struct supervisor *supervisor, uint64_t now_ns) NONNULL;

#endif
