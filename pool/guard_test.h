/* guard_test: does the egress policy hold with the libcurl that is installed here? Asked once, before anything is
 * served.
 *
 * A canary listens on loopback, and real transfers are sent to it: with everything in place; with only the socket
 * callback between them and it; over a kept connection that the policy no longer allows. None may arrive; with loopback
 * allowed one must, else the test has shown nothing. Guards that had silently stopped working after an update of
 * libcurl were seen in other projects. Takes a few milliseconds; no packet leaves the machine. */
#ifndef TWINPOOL_POOL_GUARD_TEST_H
#define TWINPOOL_POOL_GUARD_TEST_H

#include "base/attrs.h"

enum guard_result {
    GUARD_HOLDS,
    GUARD_BROKEN,
    GUARD_UNTESTED /* there is no loopback, no memory, or the canary could not be reached when it should */
};

/* *ret_what: which part, a static text. Call curl_global_init() and ares_library_init() first. */
enum guard_result guard_test_run(const char **ret_what) NONNULL MUST_CHECK;

#endif
