/* map_options: what a caller may say about a map, in the query string and by its Accept field. */
#ifndef TWINPOOL_HANDLERS_MAP_OPTIONS_H
#define TWINPOOL_HANDLERS_MAP_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/attrs.h"
#include "handlers/compute_request.h"
#include "handlers/handler.h"

struct map_options {
    struct compute_request request;
    enum answer_form form; /* ANSWER_JSON, ANSWER_NDJSON or ANSWER_EVENTS */
    bool is_by_completion; /* order=completed */
    size_t chunksize;      /* 0: the caller left it to us */
    size_t buffersize;     /* likewise */
    bool has_quorum;       /* `require` was given */
    size_t required;       /* items that must succeed */
};

/* False: refused, and already answered. */
bool map_options_read(struct exchange *x, struct map_options *ret_options) NONNULL MUST_CHECK;
/* The same for `require`, which is measured by the number of items. */
bool map_options_read_require(struct exchange *x, size_t item_count, struct map_options *options) NONNULL MUST_CHECK;

/* Results are sent while others are still computed. */
static inline bool map_options_is_streamed(const struct map_options *options) { return options->form != ANSWER_JSON; }

#endif
