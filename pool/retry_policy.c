/* retry_policy: see the header. Full jitter (any wait from none to the whole) spreads a crowd that failed together
 * best. */
#include "pool/retry_policy.h"

#include "base/clock.h"

enum { FIRST_WAIT_MS = 200, LONGEST_WAIT_MS = 10000 };

static bool is_idempotent(enum fetch_method method) { return method != FETCH_POST && method != FETCH_PATCH; }

bool retry_is_for_status(unsigned http_status)
{
    return http_status == 408 || http_status == 429 || (http_status >= 502 && http_status <= 504);
}

static bool may_differ(const struct retry_question *question)
{
    return question->status == ST_OK ? retry_is_for_status(question->http_status) : question->is_retriable;
}

static uint64_t jittered_wait_ns(const struct retry_question *question)
{
    uint64_t longest_ms = FIRST_WAIT_MS;
    for (unsigned i = 1; i < question->attempts && longest_ms < LONGEST_WAIT_MS; i++)
        longest_ms *= 2;
    if (longest_ms > LONGEST_WAIT_MS)
        longest_ms = LONGEST_WAIT_MS;
    return longest_ms * NS_PER_MS / 1024 * (question->random % 1025);
}

bool retry_is_due(const struct retry_question *question, uint64_t *ret_delay_ns)
{
    if (question->attempts > question->retries_max || !may_differ(question))
        return false;
    if (question->was_sent && !is_idempotent(question->method) && !question->may_repeat_unsafe)
        return false;
    uint64_t delay_ns = jittered_wait_ns(question);
    if (question->retry_after_ns != CLOCK_NEVER)
        delay_ns += question->retry_after_ns; /* not earlier, and not all at once */
    *ret_delay_ns = delay_ns;
    return delay_ns >= (question->retry_after_ns != CLOCK_NEVER ? question->retry_after_ns : 0) &&
           delay_ns < question->left_ns;
}
