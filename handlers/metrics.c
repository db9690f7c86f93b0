/* metrics: GET /metrics: the facts in the Prometheus text format, version 0.0.4.
 *
 * A table has the metrics that are one number; those with a label have a function each. Names follow the Prometheus
 * conventions: base units (seconds, bytes), `_total` for what only grows. Series by outcome appear with their first
 * event, except for those that dashboards divide by. */
#include <stddef.h>
#include <string.h>

#include "base/clock.h"
#include "base/json_write.h"
#include "handlers/facts.h"
#include "handlers/handler.h"

#define METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"

enum { METRICS_MAX_BYTES = 256 * 1024 };

enum metric_type { GAUGE, COUNTER };
enum metric_unit { PLAIN, NANOSECONDS }; /* of the field; nanoseconds are given as seconds */

struct metric {
    const char *name;
    const char *help;
    enum metric_type type;
    enum metric_unit unit;
    size_t offset; /* in struct facts */
    size_t size;   /* 4 or 8: an unsigned integer */
};

#define FIELD(member) offsetof(struct facts, member), sizeof(((struct facts *)0)->member)

static const struct metric metrics[] = {
    { "twinpool_uptime_seconds", "Time since the front end started.", GAUGE, NANOSECONDS, FIELD(server.uptime_ns) },
    { "twinpool_loops", "Event loops of the front end.", GAUGE, PLAIN, FIELD(server.loops) },
    { "twinpool_connections", "Client connections open now.", GAUGE, PLAIN, FIELD(server.connections) },
    { "twinpool_connections_accepted_total", "Client connections accepted.", COUNTER, PLAIN,
      FIELD(server.connections_accepted) },
    { "twinpool_connections_refused_total", "Client connections refused: over the limit.", COUNTER, PLAIN,
      FIELD(server.connections_refused) },
    { "twinpool_requests_received_total", "Requests whose header was complete.", COUNTER, PLAIN,
      FIELD(server.requests) },
    { "twinpool_requests_in_flight", "Requests not answered yet.", GAUGE, PLAIN, FIELD(server.requests_in_flight) },
    { "twinpool_request_body_bytes", "Bodies of the requests in flight, as far as received.", GAUGE, PLAIN,
      FIELD(server.body_bytes) },

    { "twinpool_workers", "Worker processes wanted.", GAUGE, PLAIN, FIELD(compute.workers) },
    { "twinpool_workers_ready", "Worker processes that can take a job.", GAUGE, PLAIN, FIELD(compute.workers_ready) },
    { "twinpool_jobs_running", "Compute jobs running now.", GAUGE, PLAIN, FIELD(compute.running) },
    { "twinpool_queue_jobs", "Compute jobs accepted and not started.", GAUGE, PLAIN, FIELD(compute.queued) },
    { "twinpool_queue_jobs_limit", "Compute jobs that may wait (--queue-max).", GAUGE, PLAIN,
      FIELD(compute.queue_max) },
    { "twinpool_jobs_held_bytes", "Args and payloads of the compute jobs not ended.", GAUGE, PLAIN,
      FIELD(compute.held_bytes) },
    { "twinpool_job_duration_mean_seconds", "Moving average of the jobs' wall time.", GAUGE, NANOSECONDS,
      FIELD(compute.mean_wall_ns) },
    { "twinpool_jobs_submitted_total", "Compute jobs accepted.", COUNTER, PLAIN, FIELD(compute.submitted) },
    { "twinpool_jobs_refused_total", "Compute jobs refused: the queue was full.", COUNTER, PLAIN,
      FIELD(compute.refused) },
    { "twinpool_jobs_requeued_total", "Compute jobs run again after their worker died.", COUNTER, PLAIN,
      FIELD(compute.requeued) },
    { "twinpool_jobs_stolen_total", "Compute jobs taken back from a busy worker for an idle one.", COUNTER, PLAIN,
      FIELD(compute.stolen) },
    { "twinpool_worker_crashes_total", "Worker processes that died without being told to.", COUNTER, PLAIN,
      FIELD(compute.crashes) },
    { "twinpool_worker_kills_total", "Worker processes killed: deadline passed, client gone or no answer.", COUNTER,
      PLAIN, FIELD(compute.kills) },

    { "twinpool_io_threads", "Threads of the fetch pool.", GAUGE, PLAIN, FIELD(fetch.threads) },
    { "twinpool_fetch_calls_total", "Fetch calls, each of one or many URLs.", COUNTER, PLAIN, FIELD(fetch.calls) },
    { "twinpool_fetch_started_total", "URLs whose fetching began.", COUNTER, PLAIN, FIELD(fetch.urls_started) },
    { "twinpool_fetch_in_flight", "URLs being fetched now.", GAUGE, PLAIN, FIELD(fetch.in_flight) },
    { "twinpool_fetch_queued", "URLs accepted and not begun.", GAUGE, PLAIN, FIELD(fetch.queued) },
    { "twinpool_fetch_received_bytes_total", "Bytes of bodies received from origins, as they came (compressed).",
      COUNTER, PLAIN, FIELD(fetch.bytes_received) },
    { "twinpool_fetch_connections_opened_total", "Connections to origins begun, also if they failed.", COUNTER, PLAIN,
      FIELD(fetch.connections_opened) },
    { "twinpool_fetch_connections_reused_total", "Fetches over a connection kept from an earlier one.", COUNTER, PLAIN,
      FIELD(fetch.connections_reused) },
    { "twinpool_fetch_blocked_total", "URLs whose address the egress policy refused.", COUNTER, PLAIN,
      FIELD(fetch.blocked) },
    { "twinpool_fetch_retries_total", "Further attempts at a URL.", COUNTER, PLAIN, FIELD(fetch.retries) },
    { "twinpool_fetch_hedges_total", "Second requests sent because the first was slow.", COUNTER, PLAIN,
      FIELD(fetch.hedges) },
    { "twinpool_fetch_coalesced_total", "URLs that shared the transfer of another.", COUNTER, PLAIN,
      FIELD(fetch.coalesced) },
    { "twinpool_fetch_breaker_refusals_total", "URLs not tried because their host's breaker was open.", COUNTER, PLAIN,
      FIELD(fetch.breaker_refusals) },
    { "twinpool_fetch_breakers_open", "Hosts whose breaker is not closed.", GAUGE, PLAIN, FIELD(fetch.breakers_open) },
    { "twinpool_fetch_memory_bytes", "Bodies and results of fetches, in memory.", GAUGE, PLAIN,
      FIELD(fetch.memory_taken) },
    { "twinpool_fetch_memory_limit_bytes", "What they may take (--fetch-memory-bytes).", GAUGE, PLAIN,
      FIELD(fetch.memory_max) },
    { "twinpool_fetch_paused", "Transfers that wait for memory or for a stream's reader.", GAUGE, PLAIN,
      FIELD(fetch.paused) },
    { "twinpool_dns_queries_total", "Names asked of a name server.", COUNTER, PLAIN, FIELD(fetch.dns.queries) },
    { "twinpool_dns_cache_hits_total", "Names answered from the cache.", COUNTER, PLAIN, FIELD(fetch.dns.hits) },
    { "twinpool_dns_shared_total", "Look-ups that joined one under way.", COUNTER, PLAIN, FIELD(fetch.dns.shared) },
    { "twinpool_dns_failures_total", "Names that could not be resolved.", COUNTER, PLAIN, FIELD(fetch.dns.failures) },
};

static uint64_t read_field(const struct facts *facts, const struct metric *metric)
{
    const char *field = (const char *)facts + metric->offset;
    uint32_t narrow;
    uint64_t wide;

    if (metric->size == sizeof narrow) {
        memcpy(&narrow, field, sizeof narrow);
        return narrow;
    }
    memcpy(&wide, field, sizeof wide);
    return wide;
}

static void write_head(struct buf *out, const char *name, const char *help, enum metric_type type)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type == COUNTER ? "counter" : "gauge");
}

static void write_metric(struct buf *out, const struct facts *facts, const struct metric *metric)
{
    uint64_t value = read_field(facts, metric);

    write_head(out, metric->name, metric->help, metric->type);
    buf_str(out, metric->name);
    buf_byte(out, ' ');
    if (metric->unit == NANOSECONDS)
        buf_printf(out, "%.9g", (double)value / (double)NS_PER_SEC);
    else
        json_uint(out, value);
    buf_byte(out, '\n');
}

/* Label values here are our own words: nothing in them needs escaping. */
static void write_sample(struct buf *out, const char *name, const char *label, const char *label_value, uint64_t value)
{
    buf_printf(out, "%s{%s=\"%s\"} ", name, label, label_value);
    json_uint(out, value);
    buf_byte(out, '\n');
}

static void write_build_info(struct buf *out, const struct facts *facts)
{
    static const char name[] = "twinpool_build_info";
    write_head(out, name, "Always 1; the label says which version runs.", GAUGE);
    write_sample(out, name, "version", facts->version, 1);
}

static void write_lifecycle(struct buf *out, const struct facts *facts)
{
    static const char name[] = "twinpool_state";
    write_head(out, name, "Always 1; the label says whether the service is running, draining or stopping.", GAUGE);
    write_sample(out, name, "state", facts->server.lifecycle, 1);
}

static void write_requests(struct buf *out, const struct facts *facts)
{
    static const char name[] = "twinpool_requests_total";
    static const char *const classes[] = { "none", "1xx", "2xx", "3xx", "4xx", "5xx" };

    write_head(out, name, "Requests by the class of their answer; none: the client went away first.", COUNTER);
    for (size_t i = 0; i < ARRAY_LEN(classes); i++)
        if (i != 1) /* 100 Continue is nobody's answer */
            write_sample(out, name, "class", classes[i], facts->server.responses[i]);
}

static void write_outcomes(struct buf *out, const char *name, uint64_t ok, const uint64_t *by_status)
{
    write_sample(out, name, "outcome", status_code(ST_OK), ok);
    for (unsigned status = ST_OK + 1; status < STATUS_COUNT; status++)
        if (by_status[status] > 0)
            write_sample(out, name, "outcome", status_code((enum status)status), by_status[status]);
}

static void write_job_outcomes(struct buf *out, const struct facts *facts)
{
    static const char name[] = "twinpool_jobs_total";
    write_head(out, name, "Compute jobs by how they ended; a map's chunk counts as one job.", COUNTER);
    write_outcomes(out, name, facts->compute.ended_by_status[ST_OK], facts->compute.ended_by_status);
}

static void write_fetch_outcomes(struct buf *out, const struct facts *facts)
{
    static const char name[] = "twinpool_fetch_urls_total";
    write_head(out, name, "Fetched URLs by how they ended; ok: the origin answered, whatever its status.", COUNTER);
    write_outcomes(out, name, facts->fetch.urls_ok, facts->fetch.failed_by_status);
}

static void handle(struct exchange *x)
{
    struct facts facts;
    struct buf out = BUF_INIT(METRICS_MAX_BYTES);

    facts_gather(x->app, &facts);
    write_build_info(&out, &facts);
    write_lifecycle(&out, &facts);
    for (size_t i = 0; i < ARRAY_LEN(metrics); i++)
        write_metric(&out, &facts, &metrics[i]);
    write_requests(&out, &facts);
    write_job_outcomes(&out, &facts);
    write_fetch_outcomes(&out, &facts);
    exchange_answer_buf(x, 200, METRICS_TYPE, &out);
}

const struct endpoint endpoint_metrics = { .handle = handle };
