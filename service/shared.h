/* shared: what the supervisor creates once and every process inherits: listening socket, mailboxes, spill files, bells
 * and their eventfds. */
#ifndef TWINPOOL_SERVICE_SHARED_H
#define TWINPOOL_SERVICE_SHARED_H

#include "base/attrs.h"
#include "pool/bell.h"
#include "pool/mailbox.h"
#include "tasks/task.h"
#include "service/config.h"

struct shared {
    unsigned workers; /* seats of all groups: one more in each than there may be workers */
    unsigned loops;
    unsigned *groups; /* per worker: that of the task whose program it drives, 0: the built-in ones */
    unsigned group_count;
    struct worker_limits *limits; /* per group */
    int listen_fd;
    char address[160];          /* where it listens, as ADDR:PORT */
    char sandbox[1024];         /* what confines the workers here, as a JSON object */
    struct mailbox **mailboxes; /* per worker */
    struct spill *spills;       /* per worker */
    struct bell **bells;        /* per loop, in one mapping */
    int *event_fds;             /* per loop */
};

/* False: logged, naming what failed. */
/* listen_fd -1: opens config->listen; else it is that. */
bool shared_create(const struct config *config, int listen_fd, struct shared *ret_shared) NONNULL MUST_CHECK;

/* Frees this process's view of it, but for the listening socket. */
void shared_done(struct shared *shared) NONNULL;

#endif
