/* summary: the end of every answer to a list: how many of its items succeeded, whether that was enough, how long it
 * took. */
#ifndef TWINPOOL_HANDLERS_SUMMARY_H
#define TWINPOOL_HANDLERS_SUMMARY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attrs.h"

enum { SUMMARY_TEXT_SIZE = 256 };

struct summary {
    size_t count, ok; /* items */
    bool has_quorum;
    size_t required, succeeded; /* of a quorum */
    uint64_t started_ns;        /* base/clock.h; it ends now */
};

/* `"ok":…,"failed":…[,"quorum":{…}],"elapsed_ms":…` without a NUL. Returns its length. */
size_t summary_write(const struct summary *summary, char ret_text[static SUMMARY_TEXT_SIZE]) NONNULL;

#endif
