/* Origins that take their time. Limits are those of the request; what is not limited here is far above what the lab
 * takes on a slow machine. The rows run all at once, so the longest of them is what all take: ten seconds, over which a
 * body's rate is measured. */
#include "tests/abuse/cases.h"

#define ORIGIN "http://8.8.8.8:{O}"

static const struct trial slow[] = {
    CASE("A01", "a connect that hangs", "http://8.8.8.8:{full}/", "connect_timeout",
         .with = "\"connect_timeout_ms\":700"),
    CASE("A02", "a connect that hangs, no time for the rest", "http://8.8.8.8:{full}/", "deadline_exceeded",
         .with = "\"timeout_ms\":700"),
    CASE("A03", "accepted, and never answered", "http://8.8.8.8:{silent}/", "first_byte_timeout",
         .with = "\"first_byte_timeout_ms\":700"),
    CASE("A04", "a request, and never answered", ORIGIN "/stall", "first_byte_timeout",
         .with = "\"first_byte_timeout_ms\":700"),
    CASE("A05", "a handshake that is never answered", "https://8.8.8.8:{silent}/", "tls_timeout",
         .with = "\"tls_timeout_ms\":700"),
    CASE("A06", "a handshake that is answered with noise", "https://8.8.8.8:{garbage}/", "tls_failed"),
    CASE("A07", "a handshake that is closed", "https://8.8.8.8:{closing}/", "tls_failed"),
    CASE("A08", "a handshake that is reset", "https://8.8.8.8:{resetting}/", "tls_failed|connect_failed"),
    CASE("A09", "a handshake with HTTP", "https://8.8.8.8:{O}/", "tls_timeout", .with = "\"tls_timeout_ms\":700"),
    CASE("A10", "headers of a byte a second", ORIGIN "/slow-headers?ms=1000", "first_byte_timeout",
         .with = "\"first_byte_timeout_ms\":2500"),
    CASE("A11", "an answer later than all time", ORIGIN "/delay/8000", "deadline_exceeded",
         .with = "\"timeout_ms\":1500"),
    CASE("A12", "no body", ORIGIN "/silent-after-headers", "deadline_exceeded", .with = "\"timeout_ms\":1500"),
    CASE("A13", "half a body", ORIGIN "/stall-body", "deadline_exceeded", .with = "\"timeout_ms\":1500"),
    CASE("A14", "half a body, and only the rate counts", ORIGIN "/stall-body", "too_slow",
         .with = "\"timeout_ms\":50000"),
    CASE("A15", "no body, and only the rate counts", ORIGIN "/silent-after-headers", "too_slow",
         .with = "\"timeout_ms\":50000"),
    CASE("A16", "a byte a second", ORIGIN "/trickle?ms=1000", "too_slow", .with = "\"timeout_ms\":50000"),
    CASE("A17", "a chunk of a byte a second", ORIGIN "/drip?bytes=1&ms=1000", "too_slow",
         .with = "\"timeout_ms\":50000"),
    CASE("A18", "just below the least rate", ORIGIN "/drip?bytes=80&ms=1000", "too_slow",
         .with = "\"timeout_ms\":50000"),
    CASE("A19", "above the least rate, for ever", ORIGIN "/drip?bytes=2000&ms=200", "deadline_exceeded",
         .with = "\"timeout_ms\":4000"),
    CASE("A20", "above the least rate, as much as is wanted", ORIGIN "/drip?bytes=2000&ms=100", "ok",
         .with = "\"timeout_ms\":50000,\"max_body_bytes\":10000"),
    CASE("A21", "a name that is never answered", "http://silent.test:{C}/", "dns_timeout",
         .with = "\"dns_timeout_ms\":700"),
    CASE("A22", "a name that is never answered, no time for the rest", "http://other.silent.test:{C}/",
         "deadline_exceeded", .with = "\"timeout_ms\":700"),
    CASE("A23", "DNS answers that are noise", "http://garbage.test:{C}/", "dns_timeout|dns_failed",
         .with = "\"dns_timeout_ms\":1500"),
    CASE("A24", "DNS answers to another question", "http://wrong-id.test:{C}/", "dns_timeout|dns_failed",
         .with = "\"dns_timeout_ms\":1500"),
    CASE("A25", "a late answer that is in time", ORIGIN "/delay/500", "ok", .with = "\"timeout_ms\":50000"),
    CASE("A26", "tries do not make more time", ORIGIN "/stall", "deadline_exceeded|first_byte_timeout",
         .with = "\"timeout_ms\":1500,\"first_byte_timeout_ms\":600,\"retries\":10"),
};
const struct trial_group cases_time = TRIAL_GROUP(LAB_STRICT, "slow origins (S254-S262)", slow);
