/* clock: the one source of time; every deadline in the program is a clock_now_ns() value. */
#ifndef TWINPOOL_BASE_CLOCK_H
#define TWINPOOL_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define NS_PER_MS   UINT64_C(1000000)
#define NS_PER_SEC  UINT64_C(1000000000)
#define CLOCK_NEVER UINT64_MAX

/* CLOCK_MONOTONIC in nanoseconds: the same in every process of the machine. Never fails. */
static inline uint64_t clock_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_SEC + (uint64_t)t.tv_nsec;
}

static inline double clock_ms(uint64_t ns) { return (double)ns / 1e6; }

#endif
