/* gated_rig: fetch_rig, and an origin that answers when the test opens its gate. Included by one file of a driver. */
#ifndef TWINPOOL_TESTS_UNIT_GATED_RIG_H
#define TWINPOOL_TESTS_UNIT_GATED_RIG_H

#include "tests/unit/fetch_rig.h"

static struct origin *gated; /* of the test: its gate is shut */

static int start_gated(void **state)
{
    gated = origin_start("127.0.0.1", 0);
    return !gated || setup(state);
}

static int stop_gated(void **state)
{
    int result = teardown(state);
    origin_stop(gated);
    return result;
}

#define gated_test(f) cmocka_unit_test_setup_teardown(f, start_gated, stop_gated)

#endif
