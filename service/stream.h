/* stream: the answer of an exchange that is read from its endpoint piece by piece (exchange_stream() of
 * handlers/handler.h). */
#ifndef TWINPOOL_SERVICE_STREAM_H
#define TWINPOOL_SERVICE_STREAM_H

#include <stdbool.h>

#include "base/attrs.h"

struct request;
struct stream; /* opaque */

/* Its endpoint has more to come. */
bool stream_is_open(const struct stream *stream) NONNULL MUST_CHECK;
/* It waits for its endpoint, not for its client. */
bool stream_is_idle(const struct stream *stream) NONNULL MUST_CHECK;
/* The request is over: releases the source. */
void stream_end(struct stream *stream) NONNULL;

#endif
