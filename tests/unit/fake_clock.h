/* fake_clock: a monotonic clock that a test can put forward, for everything in the program that asks for the time:
 * ours, libcurl, c-ares. Sleeps still take their real time, so whoever sleeps must be woken to notice. Included by one
 * file of a driver. */
#ifndef TWINPOOL_TESTS_UNIT_FAKE_CLOCK_H
#define TWINPOOL_TESTS_UNIT_FAKE_CLOCK_H

#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static _Atomic long fake_clock_ahead_s;

static inline void fake_clock_put_forward(long seconds) { atomic_fetch_add(&fake_clock_ahead_s, seconds); }

/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): the C library's names are not ours */
int clock_gettime(clockid_t clock, struct timespec *ret_time)
{
    int result = (int)syscall(SYS_clock_gettime, clock, ret_time);
    if (result == 0 && (clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_RAW)) /* libcurl 8 asks for the latter */
        ret_time->tv_sec += atomic_load(&fake_clock_ahead_s);
    return result;
}

/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name) */
time_t time(time_t *ret_seconds)
{
    struct timespec now = { 0 };
    syscall(SYS_clock_gettime, CLOCK_REALTIME, &now);
    now.tv_sec += atomic_load(&fake_clock_ahead_s);
    if (ret_seconds)
        *ret_seconds = now.tv_sec;
    return now.tv_sec;
}

#endif
