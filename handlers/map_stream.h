/* map_stream: the answer to a map whose results carry their index: a line each (NDJSON) or an event each
 * (text/event-stream), sent as they come; or one JSON document, sent when all have come (order=completed). */
#ifndef TWINPOOL_HANDLERS_MAP_STREAM_H
#define TWINPOOL_HANDLERS_MAP_STREAM_H

#include <stdbool.h>

#include "base/attrs.h"
#include "handlers/map_call.h"

/* Before the call is started. False: no memory. */
bool map_stream_prepare(struct map_call *call) NONNULL MUST_CHECK;
/* Begins the answer, of a JSON document when the call is over. From now on the call frees itself. */
void map_stream_begin(struct map_call *call) NONNULL;

#endif
