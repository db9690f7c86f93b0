/* batch: trials that take long, all at once in one POST /fetch while the test does something else. */
#ifndef TWINPOOL_TESTS_ABUSE_BATCH_H
#define TWINPOOL_TESTS_ABUSE_BATCH_H

#include "tests/abuse/trial.h"
#include "tests/support/http.h"

struct batch {
    const struct trial_group *group;
    struct http_conn conn;
};

/* Sends the group's trials; fails the test if they cannot be sent. The group is kept. */
void batch_send(const struct trial_group *group, struct batch *ret_batch) NONNULL;
/* Awaits the answer and judges each trial. Returns how long the server says it took, in milliseconds. */
double batch_judge(struct batch *batch) NONNULL;
void batch_drop(struct batch *batch) NONNULL; /* closes the connection; safe to repeat */

#endif
