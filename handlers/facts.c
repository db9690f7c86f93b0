/* facts: see the header. Each source is consistent in itself; between two of them, some requests may have passed. */
#include "handlers/facts.h"

#include "handlers/limits.h"

void facts_gather(const struct app *app, struct facts *ret_facts)
{
    ret_facts->version = app->limits->version;
    app->get_server_stats(app, &ret_facts->server);
    process_pool_get_stats(app->process_pool, &ret_facts->compute);
    io_pool_get_stats(app->io_pool, &ret_facts->fetch);
}
