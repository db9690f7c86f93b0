/* timing: bounded waiting for tests, with limits that grow where the program runs slower. */
#ifndef TWINPOOL_TESTS_TIMING_H
#define TWINPOOL_TESTS_TIMING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attrs.h"

/* An upper bound for something that takes up to `ms` in a release build: times 5 under AddressSanitizer, times 10 under
 * ThreadSanitizer. For bounds only, never for how long something is meant to take. */
uint32_t scaled_ms(uint32_t ms);

/* Polls holds(context) every 2 ms until it is true or timeout_ms have passed; returns what it last said. */
bool wait_until(bool (*holds)(void *context), void *context, uint32_t timeout_ms) __attribute__((nonnull(1)))
MUST_CHECK;

/* Milliseconds since `start_ns` (a clock_now_ns() value). */
double elapsed_ms(uint64_t start_ns);

#endif
