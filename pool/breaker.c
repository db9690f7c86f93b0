/* breaker: see the header. A request that was under way when the breaker opened may still succeed or fail: success
 * closes it at once, which is right (the host is back), failure while it is open changes nothing. */
#include "pool/breaker.h"

enum breaker_state breaker_state(const struct breaker *breaker, uint64_t now_ns)
{
    if (breaker->open_until_ns == 0)
        return BREAKER_IS_CLOSED;
    return now_ns < breaker->open_until_ns ? BREAKER_IS_OPEN : BREAKER_IS_HALF_OPEN;
}

bool breaker_admits(struct breaker *breaker, const struct breaker_rule *rule, uint64_t now_ns)
{
    enum breaker_state state = breaker_state(breaker, now_ns);
    if (rule->failures == 0 || state == BREAKER_IS_CLOSED)
        return true;
    if (state == BREAKER_IS_OPEN || breaker->is_probing)
        return false;
    breaker->is_probing = true;
    return true;
}

static unsigned outcome_of(enum status status, unsigned http_status)
{
    switch ((int)status) {
    case ST_OK:
        return http_status == 429 ? BREAKER_429 : http_status >= 500 ? BREAKER_5XX : 0;
    case ST_DNS_FAILED:
    case ST_DNS_TIMEOUT:
        return BREAKER_DNS;
    case ST_CONNECT_FAILED:
    case ST_CONNECT_TIMEOUT:
        return BREAKER_CONNECT;
    case ST_TLS_FAILED:
    case ST_TLS_TIMEOUT:
    case ST_TLS_VERIFY_FAILED:
        return BREAKER_TLS;
    case ST_FIRST_BYTE_TIMEOUT:
    case ST_TOO_SLOW:
    case ST_DEADLINE_EXCEEDED:
        return BREAKER_TIMEOUT;
    case ST_CONNECTION_CLOSED:
    case ST_TRUNCATED:
    case ST_PROTOCOL_ERROR:
        return BREAKER_CLOSED;
    default:
        return 0;
    }
}

enum breaker_verdict breaker_judge(const struct breaker_rule *rule, enum status status, unsigned http_status)
{
    unsigned outcome = outcome_of(status, http_status);
    if (outcome == 0)
        return status == ST_OK ? BREAKER_SUCCESS : BREAKER_SAYS_NOTHING;
    return (rule->counted & outcome) != 0 ? BREAKER_FAILURE : status == ST_OK ? BREAKER_SUCCESS : BREAKER_SAYS_NOTHING;
}

void breaker_note(struct breaker *breaker, const struct breaker_rule *rule, enum breaker_verdict verdict,
                  uint64_t now_ns)
{
    enum breaker_state state = breaker_state(breaker, now_ns);
    if (rule->failures == 0)
        return;
    if (verdict == BREAKER_SUCCESS) {
        *breaker = (struct breaker){ 0 };
    } else if (verdict == BREAKER_SAYS_NOTHING) {
        breaker->is_probing = false; /* if it was the probe, another may try */
    } else if (state == BREAKER_IS_HALF_OPEN) {
        breaker->is_probing = false;
        breaker->open_until_ns = now_ns + rule->open_ns;
    } else if (state == BREAKER_IS_CLOSED && ++breaker->failures >= rule->failures) {
        breaker->open_until_ns = now_ns + rule->open_ns;
    }
}
