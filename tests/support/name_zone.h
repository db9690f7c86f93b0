/* name_zone: what the test name server knows and says. Query bytes in, reply bytes out; no sockets and no clock.
 * Between name_server.c, which carries messages, and the test, which fills the zone: so every function but new and free
 * may be called from any thread. Those without a comment are the ones of name_server.h. */
#ifndef TWINPOOL_TESTS_NAME_ZONE_H
#define TWINPOOL_TESTS_NAME_ZONE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attrs.h"
#include "base/buf.h"
#include "tests/support/name_server.h"

struct name_zone; /* opaque */

struct name_zone *name_zone_new(void) MUST_CHECK; /* NULL: no memory */
void name_zone_free(struct name_zone *zone);      /* NULL is a no-op */

bool name_zone_add(struct name_zone *zone, const char *name, enum name_type type, const char *value, uint32_t ttl_s)
    NONNULL MUST_CHECK;
bool name_zone_behave(struct name_zone *zone, const char *name, enum name_behaviour behaviour, uint32_t parameter)
    NONNULL MUST_CHECK;
void name_zone_clear(struct name_zone *zone, const char *name) NONNULL;
uint64_t name_zone_queries(struct name_zone *zone, const char *name) NONNULL;
uint64_t name_zone_total_queries(struct name_zone *zone) NONNULL;

struct name_reply {
    struct buf message; /* free it with buf_done(), whatever name_zone_answer() returned */
    uint32_t delay_ms;
};

/* Counts the query and writes what is to be sent for it. False: nothing is. */
bool name_zone_answer(struct name_zone *zone, const uint8_t *bytes, size_t len, bool is_udp,
                      struct name_reply *ret_reply) NONNULL MUST_CHECK;

#endif
