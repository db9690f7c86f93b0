/* health: GET /healthz (the front end lives and answers) and GET /readyz (it should be sent work).
 *
 * /healthz says nothing about the workers on purpose: killing the service would not heal them, the supervisor does. It
 * is also what every other figure is measured against, so it does next to nothing. */
#include <stdlib.h>
#include <string.h>

#include "base/json_write.h"
#include "handlers/handler.h"
#include "handlers/server_stats.h"
#include "pool/process_pool.h"

enum { READY_MAX_BYTES = 16 * 1024 };

static void handle_healthz(struct exchange *x)
{
    static const char alive[] = "{\"status\":\"ok\"}";
    char *body = malloc(sizeof alive - 1);
    if (!body) {
        exchange_problem(x, ST_NO_MEMORY, NULL);
        return;
    }
    memcpy(body, alive, sizeof alive - 1);
    exchange_answer(x, 200, JSON_TYPE, body, sizeof alive - 1);
}

/* A program that does not come up is its own task's affair: the service is ready without it. */
static void write_program_tasks(const struct exchange *x, struct buf *body)
{
    const char *before = ",\"tasks\":{";
    for (size_t i = 0; i < task_count; i++) {
        struct process_pool_group group;
        if (task_table[i]->group == 0)
            continue;
        process_pool_get_group(x->app->process_pool, task_table[i]->group, &group);
        buf_str(body, before);
        json_key(body, task_table[i]->name);
        buf_str(body, group.workers_ready > 0 ? "\"ready\"" : "\"not_ready\"");
        before = ",";
    }
    if (before[1] == '\0')
        buf_byte(body, '}');
}

static void answer_ready(struct exchange *x, const struct process_pool_stats *pool)
{
    struct buf body = BUF_INIT(READY_MAX_BYTES);
    buf_lit(&body, "{\"status\":\"ready\",\"workers_ready\":");
    json_uint(&body, pool->workers_ready);
    buf_lit(&body, ",\"workers\":");
    json_uint(&body, pool->workers);
    write_program_tasks(x, &body);
    buf_byte(&body, '}');
    exchange_answer_buf(x, 200, JSON_TYPE, &body);
}

static void handle_readyz(struct exchange *x)
{
    struct server_stats server;
    struct process_pool_stats pool;

    x->app->get_server_stats(x->app, &server);
    process_pool_get_stats(x->app->process_pool, &pool);
    if (server.is_draining)
        exchange_problem(x, ST_DRAINING, NULL);
    else if (pool.workers_ready == 0)
        exchange_problem(x, ST_NOT_READY, "none of the %u workers is ready", pool.workers);
    else
        answer_ready(x, &pool);
}

const struct endpoint endpoint_healthz = { .handle = handle_healthz };
const struct endpoint endpoint_readyz = { .handle = handle_readyz };
