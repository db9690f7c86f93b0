/* Any bytes: the verdict, its reason, the number of requests and where the last good one ends do not depend on how the
 * bytes are cut; and what was passed on is passed on again when it comes alone. */
#include <stdlib.h>
#include <string.h>

#include "service/http_guard.h"

enum { PARTS_MAX = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct run {
    struct http_guard guard;
    size_t passed;     /* bytes handed on in all */
    size_t good;       /* of them, up to the end of the last complete request */
    uint64_t requests; /* complete */
};

/* Small enough for the fuzzer to reach each. */
static const struct http_guard_limits limits = {
    .header_bytes = 400, .entry_bytes = 9, .header_count = 12, .target_bytes = 120
};

static void require(bool condition)
{
    if (!condition)
        abort();
}

/* The copy has no byte more than the part, so that ASan sees a read beyond it. */
static void feed_part(struct run *run, const uint8_t *bytes, size_t length)
{
    char *const part = malloc(length ? length : 1);
    require(part != NULL);
    memcpy(part, bytes, length);
    const bool was_refused = run->guard.phase == HTTP_GUARD_REFUSED;
    const size_t passed = http_guard_feed(&run->guard, &limits, part, length);
    free(part);
    const bool is_refused = run->guard.phase == HTTP_GUARD_REFUSED;
    require(passed <= length && (is_refused || passed == length) && (!was_refused || passed == 0));
    require(!is_refused || (run->guard.reason != NULL && run->guard.refusal != ST_OK));
    const bool is_complete = run->guard.phase == HTTP_GUARD_IDLE && run->guard.requests != run->requests;
    if (is_complete || (is_refused && passed > 0)) {
        run->good = run->passed + passed;
        run->requests = run->guard.requests;
    }
    run->passed += passed;
}

static void begin(struct run *run)
{
    *run = (struct run){ 0 };
    http_guard_init(&run->guard);
}

static void require_same(const struct run *a, const struct run *b)
{
    const bool is_refused = a->guard.phase == HTTP_GUARD_REFUSED; /* then `requests` tells what was passed on */
    require(a->guard.phase == b->guard.phase && a->guard.refusal == b->guard.refusal &&
            a->guard.reason == b->guard.reason && (is_refused || a->guard.requests == b->guard.requests));
}

/* Cuts of pseudo-random length: deterministic, so that a crash input crashes again. */
static void feed_in_parts(struct run *run, const uint8_t *data, size_t size)
{
    uint32_t random = (uint32_t)size * 2654435761u + 1;
    for (size_t at = 0; at < size;) {
        random = random * 1664525u + 1013904223u;
        const size_t left = size - at, wanted = (random >> 16) % PARTS_MAX;
        const size_t length = wanted < left ? wanted : left;
        feed_part(run, data + at, length);
        at += length;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct run whole, bytes, parts, again;
    begin(&whole);
    begin(&bytes);
    begin(&parts);
    begin(&again);
    feed_part(&whole, data, size);
    for (size_t i = 0; i < size; i++)
        feed_part(&bytes, data + i, 1);
    feed_in_parts(&parts, data, size);
    require_same(&whole, &bytes);
    require_same(&whole, &parts);
    require(whole.guard.phase != HTTP_GUARD_REFUSED || whole.passed == bytes.good);
    feed_part(&again, data, whole.passed);
    require(again.passed == whole.passed && again.guard.phase != HTTP_GUARD_REFUSED);
    require(again.guard.requests == whole.guard.requests);
    require(whole.guard.phase != HTTP_GUARD_REFUSED || again.guard.phase == HTTP_GUARD_IDLE);
    return 0;
}
