/* netns: a network of one's own for tests that name addresses off this machine. */
#ifndef TWINPOOL_TESTS_NETNS_H
#define TWINPOOL_TESTS_NETNS_H

#include <stdbool.h>

#include "base/attrs.h"

/* Moves the calling, single-threaded process (and what it starts) into a new network namespace where only the loopback
 * interface is up, as root or through a user namespace. False: the system does not allow it, nothing has changed. */
bool netns_enter(void) MUST_CHECK;

/* After netns_enter(): from now on every unicast address is this machine's, 8.8.8.8 and 10.0.0.1 as much as
 * 2606:4700::1, so whoever listens on "::" (which takes IPv4 too) sees every connection, wherever it was meant to go.
 * lo has fe80::1, for addresses with a zone. False: says why on stderr. */
bool netns_own_every_address(void) MUST_CHECK;

/* After netns_enter(): gives lo one more IPv6 address, which unlike most of those that it owns can be bound to by name.
 * False: says why on stderr. */
bool netns_add_ipv6(const char *address) NONNULL MUST_CHECK;

/* After netns_enter(): in this process, and what it starts from now on, the file `path`, which must be there, has this
 * text. False: says why on stderr. */
bool netns_replace_file(const char *path, const char *text) NONNULL MUST_CHECK;

#endif
