/* netns: a network of one's own for tests that name addresses off this machine. */
#ifndef TWINPOOL_TESTS_NETNS_H
#define TWINPOOL_TESTS_NETNS_H

#include <stdbool.h>

#include "base/attrs.h"

/* Moves the calling, single-threaded process (and what it starts) into a new network namespace where only the loopback
 * interface is up, as root or through a user namespace. False: the system does not allow it, nothing has changed. */
bool netns_enter(void) MUST_CHECK;

#endif
