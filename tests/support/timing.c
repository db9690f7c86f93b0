#include "tests/support/timing.h"

#include <time.h>

#include "base/clock.h"

#if defined(__has_feature)
#define BUILT_WITH(feature) __has_feature(feature)
#else
#define BUILT_WITH(feature) 0
#endif

#if defined(__SANITIZE_THREAD__) || BUILT_WITH(thread_sanitizer)
enum { SLOWDOWN = 10 };
#elif defined(__SANITIZE_ADDRESS__) || BUILT_WITH(address_sanitizer)
enum { SLOWDOWN = 5 };
#else
enum { SLOWDOWN = 1 };
#endif

uint32_t scaled_ms(uint32_t ms) { return ms * SLOWDOWN; }

double elapsed_ms(uint64_t start_ns) { return clock_ms(clock_now_ns() - start_ns); }

bool wait_until(bool (*holds)(void *context), void *context, uint32_t timeout_ms)
{
    const uint64_t end_ns = clock_now_ns() + timeout_ms * NS_PER_MS;
    const struct timespec interval = { .tv_nsec = 2000000 };
    while (!holds(context)) {
        if (clock_now_ns() >= end_ns)
            return holds(context);
        nanosleep(&interval, NULL);
    }
    return true;
}
