/* naive: fetches as someone does who has only libcurl: redirects followed, no policy. What gets to a canary that way
 * shows that the trap is one, and that it is the policy, and not the lab, that keeps the servers under test out of it.
 */
#ifndef TWINPOOL_TESTS_ABUSE_NAIVE_H
#define TWINPOOL_TESTS_ABUSE_NAIVE_H

#include <stddef.h>

#include "tests/abuse/trial.h"

struct naive_result {
    size_t tried, reached; /* trials, and those that got to a canary */
};

/* Every trial that the policy refuses for its address, its host or its port. */
struct naive_result naive_run(const struct trial_group *group) NONNULL;

/* One fetch of a URL with placeholders; the variable, unless NULL, is in the environment meanwhile. True: it got to a
 * canary. */
bool naive_reaches_canary(const char *url, const char *variable, const char *value) __attribute__((nonnull(1)));

#endif
