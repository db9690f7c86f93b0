/* stats: GET /stats: the facts as JSON for people, and the workers one by one, so that someone can kill one and watch.
 */
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json_write.h"
#include "handlers/facts.h"
#include "handlers/handler.h"
#include "tasks/task.h"

enum { STATS_MAX_BYTES = 256 * 1024, WORKERS_MAX = 256, HOSTS_LISTED_MAX = 100 };

/* A comma, unless this is the first member or element. */
static void separate(struct buf *out)
{
    char last = out->len > 0 ? out->data[out->len - 1] : '{';
    if (last != '{' && last != '[')
        buf_byte(out, ',');
}

static void member(struct buf *out, const char *key)
{
    separate(out);
    json_key(out, key);
}

static void member_uint(struct buf *out, const char *key, uint64_t value)
{
    member(out, key);
    json_uint(out, value);
}

static void member_text(struct buf *out, const char *key, const char *text)
{
    member(out, key);
    json_text(out, text);
}

static void member_ms(struct buf *out, const char *key, uint64_t ns)
{
    member(out, key);
    json_ms(out, ns);
}

static void member_object(struct buf *out, const char *key)
{
    member(out, key);
    buf_byte(out, '{');
}

static void write_connections(struct buf *out, const struct server_stats *server)
{
    member_object(out, "connections");
    member_uint(out, "open", server->connections);
    member_uint(out, "accepted", server->connections_accepted);
    member_uint(out, "refused", server->connections_refused);
    buf_byte(out, '}');
}

static void write_requests(struct buf *out, const struct server_stats *server)
{
    member_object(out, "requests");
    member_uint(out, "received", server->requests);
    member_uint(out, "in_flight", server->requests_in_flight);
    member_uint(out, "body_bytes", server->body_bytes);
    member_object(out, "answered");
    member_uint(out, "2xx", server->responses[2]);
    member_uint(out, "3xx", server->responses[3]);
    member_uint(out, "4xx", server->responses[4]);
    member_uint(out, "5xx", server->responses[5]);
    buf_byte(out, '}');
    member_uint(out, "unanswered", server->responses[0]);
    buf_byte(out, '}');
}

/* Only what happened: most statuses never do. */
static void write_outcomes(struct buf *out, const char *key, uint64_t ok, const uint64_t *by_status)
{
    member_object(out, key);
    member_uint(out, status_code(ST_OK), ok);
    for (unsigned status = ST_OK + 1; status < STATUS_COUNT; status++)
        if (by_status[status] > 0)
            member_uint(out, status_code((enum status)status), by_status[status]);
    buf_byte(out, '}');
}

static void write_compute(struct buf *out, const struct process_pool_stats *pool)
{
    member_object(out, "compute");
    member_uint(out, "workers", pool->workers);
    member_uint(out, "workers_ready", pool->workers_ready);
    member_uint(out, "running", pool->running);
    member_uint(out, "queued", pool->queued);
    member_uint(out, "queue_max", pool->queue_max);
    member_uint(out, "held_bytes", pool->held_bytes);
    member_uint(out, "submitted", pool->submitted);
    member_uint(out, "refused", pool->refused);
    member_uint(out, "requeued", pool->requeued);
    member_uint(out, "stolen", pool->stolen);
    member_uint(out, "crashes", pool->crashes);
    member_uint(out, "kills", pool->kills);
    member_uint(out, "recycled", pool->recycled);
    member_ms(out, "mean_wall_ms", pool->mean_wall_ns);
    write_outcomes(out, "jobs", pool->ended_by_status[ST_OK], pool->ended_by_status);
    buf_byte(out, '}');
}

/* A user's program has a pool of its own, with its task's name. */
static const char *pool_name(unsigned group)
{
    for (size_t i = 0; group > 0 && i < task_count; i++)
        if (task_table[i]->group == group)
            return task_table[i]->name;
    return "built-in";
}

static void write_worker(struct buf *out, const struct worker_info *worker)
{
    bool is_running = worker->task >= 0 && (size_t)worker->task < task_count;

    separate(out);
    buf_byte(out, '{');
    member_uint(out, "pid", (uint64_t)worker->pid);
    member_text(out, "pool", pool_name(worker->group));
    member_text(out, "state", worker_state_name(worker->state));
    member_uint(out, "generation", worker->generation);
    member_uint(out, "jobs_done", worker->jobs_done);
    member_uint(out, "jobs_posted", worker->jobs_posted);
    member(out, "task");
    if (is_running)
        json_text(out, task_table[worker->task]->name);
    else
        buf_lit(out, "null");
    member_ms(out, "running_ms", is_running ? worker->running_ns : 0);
    buf_byte(out, '}');
}

static void write_workers(struct buf *out, struct process_pool *pool)
{
    struct worker_info workers[WORKERS_MAX];
    unsigned count = process_pool_get_workers(pool, workers, WORKERS_MAX);

    member(out, "workers");
    buf_byte(out, '[');
    for (unsigned i = 0; i < count && i < WORKERS_MAX; i++)
        write_worker(out, &workers[i]);
    buf_byte(out, ']');
}

static void write_memory(struct buf *out, const struct io_pool_stats *pool)
{
    member_object(out, "memory");
    member_uint(out, "taken_bytes", pool->memory_taken);
    member_uint(out, "max_bytes", pool->memory_max);
    member_uint(out, "paused", pool->paused);
    buf_byte(out, '}');
}

static void write_dns(struct buf *out, const struct resolver_stats *dns)
{
    member_object(out, "dns");
    member_uint(out, "queries", dns->queries);
    member_uint(out, "cache_hits", dns->hits);
    member_uint(out, "shared", dns->shared);
    member_uint(out, "failures", dns->failures);
    buf_byte(out, '}');
}

static void write_host(struct buf *out, const struct io_host_info *host)
{
    static const char *const states[] = {
        [BREAKER_IS_CLOSED] = "closed", [BREAKER_IS_OPEN] = "open", [BREAKER_IS_HALF_OPEN] = "half_open"
    };
    separate(out);
    buf_byte(out, '{');
    member_text(out, "host", host->origin);
    member_text(out, "breaker", states[host->breaker]);
    member_uint(out, "failures", host->failures);
    member_uint(out, "in_flight", host->running);
    if (host->breaker == BREAKER_IS_OPEN)
        member_ms(out, "probe_in_ms", host->opens_in_ns);
    buf_byte(out, '}');
}

/* Those whose breaker has something to tell. */
static void write_hosts(struct buf *out, struct io_pool *pool)
{
    struct io_host_info *hosts = malloc(HOSTS_LISTED_MAX * sizeof *hosts);
    size_t count = hosts ? io_pool_get_hosts(pool, hosts, HOSTS_LISTED_MAX) : 0;
    member(out, "hosts");
    buf_byte(out, '[');
    for (size_t i = 0; i < count; i++)
        write_host(out, &hosts[i]);
    buf_byte(out, ']');
    free(hosts);
}

static void write_fetch(struct buf *out, const struct io_pool_stats *stats, struct io_pool *pool)
{
    member_object(out, "fetch");
    member_uint(out, "io_threads", stats->threads);
    member_uint(out, "calls", stats->calls);
    member_uint(out, "started", stats->urls_started);
    member_uint(out, "in_flight", stats->in_flight);
    member_uint(out, "in_flight_max", stats->inflight_max);
    member_uint(out, "queued", stats->queued);
    member_uint(out, "failed", stats->urls_failed);
    member_uint(out, "blocked", stats->blocked);
    member_uint(out, "retries", stats->retries);
    member_uint(out, "hedges", stats->hedges);
    member_uint(out, "coalesced", stats->coalesced);
    member_uint(out, "bytes_received", stats->bytes_received);
    member_uint(out, "connections_opened", stats->connections_opened);
    member_uint(out, "connections_reused", stats->connections_reused);
    write_memory(out, stats);
    write_dns(out, &stats->dns);
    member_uint(out, "hosts_known", stats->hosts);
    member_uint(out, "breaker_refusals", stats->breaker_refusals);
    write_hosts(out, pool);
    write_outcomes(out, "urls", stats->urls_ok, stats->failed_by_status);
    buf_byte(out, '}');
}

static void handle(struct exchange *x)
{
    struct facts facts;
    struct buf out = BUF_INIT(STATS_MAX_BYTES);

    facts_gather(x->app, &facts);
    buf_byte(&out, '{');
    member_text(&out, "version", facts.version);
    member_uint(&out, "pid", (uint64_t)getpid());
    member(&out, "uptime_seconds");
    buf_printf(&out, "%.3f", (double)facts.server.uptime_ns / (double)NS_PER_SEC);
    member_text(&out, "state", facts.server.lifecycle);
    member_uint(&out, "loops", facts.server.loops);
    write_connections(&out, &facts.server);
    write_requests(&out, &facts.server);
    write_compute(&out, &facts.compute);
    write_workers(&out, x->app->process_pool);
    member(&out, "sandbox");
    buf_str(&out, x->app->sandbox ? x->app->sandbox : "{}");
    write_fetch(&out, &facts.fetch, x->app->io_pool);
    buf_byte(&out, '}');
    exchange_answer_buf(x, 200, JSON_TYPE, &out);
}

const struct endpoint endpoint_stats = { .handle = handle };
