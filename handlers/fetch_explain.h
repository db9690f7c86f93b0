/* fetch_explain: what the egress policy says of URLs, without a packet being sent. */
#ifndef TWINPOOL_HANDLERS_FETCH_EXPLAIN_H
#define TWINPOOL_HANDLERS_FETCH_EXPLAIN_H

#include "base/attrs.h"
#include "handlers/fetch_request.h"

/* Answers the request's exchange; the request is still the caller's. */
void fetch_explain(struct fetch_request *request) NONNULL;

#endif
