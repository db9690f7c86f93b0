/* fetch_stream: results as they come: a line each (NDJSON) or an event each (text/event-stream), then a summary. */
#ifndef TWINPOOL_HANDLERS_FETCH_STREAM_H
#define TWINPOOL_HANDLERS_FETCH_STREAM_H

#include <stdbool.h>

#include "base/attrs.h"
#include "handlers/fetch_request.h"

/* Makes the request's call tell of each item. Before it is submitted. False: no memory. */
bool fetch_stream_prepare(struct fetch_request *request) NONNULL MUST_CHECK;

/* The call was accepted: begins the answer. From now on the request frees itself. */
void fetch_stream_begin(struct fetch_request *request) NONNULL;

#endif
