/* facts: what GET /metrics and GET /stats tell, gathered once for both. */
#ifndef TWINPOOL_HANDLERS_FACTS_H
#define TWINPOOL_HANDLERS_FACTS_H

#include <stdint.h>

#include "base/attrs.h"
#include "handlers/handler.h"
#include "handlers/server_stats.h"
#include "pool/io_pool.h"
#include "pool/process_pool.h"

struct facts {
    const char *version;
    struct server_stats server;
    struct process_pool_stats compute;
    struct io_pool_stats fetch;
};

/* Asks the front end and both pools, one after the other. */
void facts_gather(const struct app *app, struct facts *ret_facts) NONNULL;

#endif
