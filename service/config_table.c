/* config_table: the rows, in the order of the help, and the names that are made from a field's name. */
#include "service/config_table.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "service/config.h"
#include "service/config_lists.h"

#define KIB    UINT64_C(1024)
#define MIB    (1024 * KIB)
#define GIB    (1024 * MIB)
#define SECOND UINT64_C(1000)
#define HOUR   (3600 * SECOND)
#define DAY    (24 * HOUR)

#define FIELD(name)            .field = #name, .offset = offsetof(struct config, name), .size = sizeof(((struct config *)0)->name)
#define COUNT(low, high, text) .kind = CONFIG_KIND_COUNT, .minimum = (low), .maximum = (high), .initial = (text)
#define BYTES(low, high, text) .kind = CONFIG_KIND_BYTES, .minimum = (low), .maximum = (high), .initial = (text)
#define MS(low, high, text)    .kind = CONFIG_KIND_MS, .minimum = (low), .maximum = (high), .initial = (text)
#define LIST(of)               .kind = CONFIG_KIND_LIST, .list = &(of)
#define SERVICE                .group = CONFIG_GROUP_SERVICE
#define COMPUTE                .group = CONFIG_GROUP_COMPUTE
#define FETCH                  .group = CONFIG_GROUP_FETCH
#define LOGGING                .group = CONFIG_GROUP_LOGGING

/* One option, one row. */
/* clang-format off */
const struct config_option config_options[] = {
    { SERVICE, FIELD(listen), .kind = CONFIG_KIND_LISTEN, .initial = "127.0.0.1:8080",
      .help = "address to serve on: numeric, [ADDR] for IPv6; port 0 picks a free one, which the log names" },
    { SERVICE, FIELD(loops), COUNT(1, 64, "1"),
      .help = "event loops of the front end; more than one pays only when one core cannot keep up" },
    { SERVICE, FIELD(max_connections), COUNT(1, 1000000, "4096"),
      .help = "clients connected at once; fewer if the limit of open files is lower" },
    { SERVICE, FIELD(max_header_bytes), BYTES(KIB, 64 * KIB, "10k"),
      .help = "request line and header fields of one request, cookies twice, and 64 bytes for each field, cookie and query parameter (431 beyond)" },
    { SERVICE, FIELD(max_url_bytes), BYTES(64, 64 * KIB, "6k"),
      .help = "request target: path and query (414 beyond)" },
    { SERVICE, FIELD(max_body_bytes), BYTES(1, GIB, "8m"),
      .help = "body of one request (413 beyond)" },
    { SERVICE, FIELD(max_bodies_bytes), BYTES(1, 64 * GIB, "256m"),
      .help = "bodies of all requests that are received or worked on, together (503 beyond)" },
    { SERVICE, FIELD(header_timeout_ms), MS(1, HOUR, "10000"),
      .help = "from a request's first byte to the end of its header" },
    { SERVICE, FIELD(body_timeout_ms), MS(1, HOUR, "30000"),
      .help = "from the end of a request's header to the end of its body" },
    { SERVICE, FIELD(response_timeout_ms), MS(1, HOUR, "60000"),
      .help = "from an answer being ready to its last byte being sent; of a stream, the time in which nothing can be sent" },
    { SERVICE, FIELD(idle_timeout_ms), MS(1, HOUR, "75000"),
      .help = "a kept-alive connection without a request is closed" },
    { SERVICE, FIELD(drain_delay_ms), MS(0, HOUR, "0"),
      .help = "after SIGTERM, time in which /readyz says 503 but work is still accepted, for load balancers to notice" },
    { SERVICE, FIELD(grace_ms), MS(0, HOUR, "25000"),
      .help = "after SIGTERM and the drain delay, time for the work in flight" },

    { COMPUTE, FIELD(workers), COUNT(0, 256, "0"),
      .help = "worker processes; 0: one per CPU that this process may use (affinity and cgroup quota)" },
    { COMPUTE, FIELD(workers_max), COUNT(0, 256, "0"),
      .help = "worker processes while jobs wait; 0: never more than workers" },
    { COMPUTE, FIELD(worker_idle_ms), MS(0, DAY, "60000"),
      .help = "after which a worker beyond workers that had no job is ended" },
    { COMPUTE, FIELD(queue_max), COUNT(0, 1000000, "0"),
      .help = "jobs that wait for a worker (503 beyond); 0: 16 per worker, but at least 64" },
    { COMPUTE, FIELD(queue_max_bytes), BYTES(KIB, 64 * GIB, "64m"),
      .help = "args and payloads of all jobs that wait or run, together (503 beyond)" },
    { COMPUTE, FIELD(compute_timeout_ms), MS(1, DAY, "30000"),
      .help = "deadline of a job that names none, from its arrival, waiting included" },
    { COMPUTE, FIELD(compute_timeout_max_ms), MS(1, DAY, "300000"),
      .help = "longest deadline that a request may ask for" },
    { COMPUTE, FIELD(max_result_bytes), BYTES(64, GIB, "8m"),
      .help = "result of one job (422 beyond)" },
    { COMPUTE, FIELD(map_max_items), COUNT(1, 10000000, "100000"),
      .help = "items of one map (422 beyond)" },
    { COMPUTE, FIELD(map_stream_bytes), BYTES(KIB, GIB, "1m"),
      .help = "results of a streamed map that its reader may leave unread; beyond it no further items are started" },
    { COMPUTE, FIELD(cancel_grace_ms), MS(0, 60000, "50"),
      .help = "time for a job of a plug-in that polls to end by itself once it is cancelled, before its worker is killed; 0: none" },
    { COMPUTE, FIELD(quarantine_ms), MS(0, DAY, "60000"),
      .help = "how long a job is refused of which two workers have died (quarantined); 0: never" },
    { COMPUTE, FIELD(worker_max_jobs), COUNT(0, 1000000000, "0"),
      .help = "jobs, about, after which a worker is replaced; 0: never" },
    { COMPUTE, FIELD(worker_max_growth_bytes), BYTES(0, 64 * GIB, "300m"),
      .help = "by which a worker's memory may exceed that after its first job; then it is replaced; 0: any" },
    { COMPUTE, FIELD(worker_max_age_ms), MS(0, 30 * DAY, "0"),
      .help = "age, about, at which a worker is replaced; 0: never" },
    { COMPUTE, FIELD(worker_memory_bytes), BYTES(0, 64 * GIB, "2g"),
      .help = "address space of a worker of the built-in tasks (memory_limit beyond); 0: any" },
    { COMPUTE, FIELD(worker_nice), COUNT(0, 19, "3"),
      .help = "how much the workers give way to the front end when CPUs are short (see nice(1))" },

    { FETCH, FIELD(io_threads), COUNT(1, 64, "2"),
      .help = "threads that fetch; each holds thousands of transfers" },
    { FETCH, FIELD(fetch_allow), LIST(config_list_allow), .initial = "",
      .help = "networks that may be fetched from although they are special (loopback, private, link-local and others)" },
    { FETCH, FIELD(fetch_deny), LIST(config_list_deny), .initial = "",
      .help = "networks that are never fetched from, whatever --fetch-allow says" },
    { FETCH, FIELD(fetch_hosts), LIST(config_list_hosts), .initial = "",
      .help = "if given, the only hosts that are fetched from" },
    { FETCH, FIELD(fetch_deny_hosts), LIST(config_list_deny_hosts), .initial = "",
      .help = "hosts that are never fetched from" },
    { FETCH, FIELD(fetch_ports), LIST(config_list_ports), .initial = "",
      .help = "if given, the only ports that are fetched from; else all but those that browsers refuse (22, 25, 6667 and others)" },
    { FETCH, FIELD(fetch_timeout_ms), MS(1, HOUR, "15000"),
      .help = "time for one URL when the request names none, from its acceptance: waiting, redirects and retries included" },
    { FETCH, FIELD(fetch_timeout_max_ms), MS(1, HOUR, "60000"),
      .help = "longest time of any kind that a request may ask for" },
    { FETCH, FIELD(fetch_dns_timeout_ms), MS(1, HOUR, "2000"),
      .help = "time to resolve a name, when the request names none" },
    { FETCH, FIELD(fetch_connect_timeout_ms), MS(1, HOUR, "3000"),
      .help = "time to make a TCP connection, all addresses together, when the request names none" },
    { FETCH, FIELD(fetch_tls_timeout_ms), MS(1, HOUR, "5000"),
      .help = "time for the TLS handshake, when the request names none" },
    { FETCH, FIELD(fetch_first_byte_timeout_ms), MS(1, HOUR, "10000"),
      .help = "time from sending a request to the end of the answer's header, when the request names none" },
    { FETCH, FIELD(fetch_min_rate), BYTES(0, GIB, "100"),
      .help = "bytes a second that a body must bring, over ten seconds (too_slow below); 0: any" },
    { FETCH, FIELD(fetch_per_host), COUNT(0, 100000, "100"),
      .help = "transfers with one host at once; further ones wait; 0: no limit" },
    { FETCH, FIELD(fetch_per_call), COUNT(0, 100000, "0"),
      .help = "transfers at once of a request that names no concurrency; 0: half of --fetch-inflight-max" },
    { FETCH, FIELD(fetch_max_urls), COUNT(1, 1000000, "10000"),
      .help = "URLs in one request (422 beyond)" },
    { FETCH, FIELD(fetch_inflight_max), COUNT(1, 100000, "10000"),
      .help = "transfers at once; fewer if the limit of open files is lower; further ones wait" },
    { FETCH, FIELD(fetch_queue_max), COUNT(1, 10000000, "20000"),
      .help = "URLs that were accepted and are not finished (503 beyond)" },
    { FETCH, FIELD(fetch_max_body_bytes), BYTES(1, GIB, "5m"),
      .help = "decoded body of one URL; a longer one is cut and marked as truncated" },
    { FETCH, FIELD(fetch_max_total_bytes), BYTES(1, 16 * GIB, "64m"),
      .help = "decoded bodies of one request, together; a URL beyond fails with response_too_large" },
    { FETCH, FIELD(fetch_max_ratio), COUNT(0, 1000000, "100"),
      .help = "decoded bytes of a body over 1 MiB for each byte received (response_too_large beyond); 0: any" },
    { FETCH, FIELD(fetch_memory_bytes), BYTES(MIB, 256 * GIB, "256m"),
      .help = "bodies and results of all requests, together; beyond it transfers stand still until memory is free" },
    { FETCH, FIELD(fetch_stream_bytes), BYTES(KIB, GIB, "1m"),
      .help = "results of a stream that its reader may leave unread; beyond it the request's transfers stand still" },
    { FETCH, FIELD(fetch_max_redirects), COUNT(0, 20, "5"),
      .help = "redirects that are followed for one URL, and the most that a request may ask for" },
    { FETCH, FIELD(fetch_retries), COUNT(0, 10, "2"),
      .help = "further attempts at one URL, when the request names none" },
    { FETCH, FIELD(fetch_breaker_failures), COUNT(0, 1000000, "0"),
      .help = "failures in a row after which a host is left alone for a while (breaker_open); 0: never" },
    { FETCH, FIELD(fetch_breaker_open_ms), MS(1, HOUR, "10000"),
      .help = "that while; then one request is let through to see whether the host is back" },
    { FETCH, FIELD(fetch_breaker_on), LIST(config_list_breaker_on), .initial = "dns,connect,tls,timeout,closed",
      .help = "what counts as a failure of a host" },
    { FETCH, FIELD(fetch_dns_servers), LIST(config_list_dns_servers), .initial = "",
      .help = "name servers to ask instead of those in /etc/resolv.conf" },
    { FETCH, FIELD(fetch_ca_file), .kind = CONFIG_KIND_PATH, .initial = "",
      .help = "certificate authorities (PEM) to trust instead of the system's" },

    { LOGGING, FIELD(log_format), .kind = CONFIG_KIND_CHOICE, .choices = { "text", "json" }, .initial = "text",
      .help = "form of the lines on standard error; `listening on ADDR:PORT` is always plain text" },
    { LOGGING, FIELD(log_level), .kind = CONFIG_KIND_CHOICE, .choices = { "debug", "info", "warning", "error" },
      .initial = "info", .help = "events below it are not logged" },
};
/* clang-format on */
const size_t config_option_count = ARRAY_LEN(config_options);
_Static_assert(ARRAY_LEN(config_options) <= CONFIG_OPTIONS_MAX, "raise CONFIG_OPTIONS_MAX");

const char *config_group_title(enum config_group group)
{
    static const char *const titles[CONFIG_GROUP_COUNT] = {
        [CONFIG_GROUP_SERVICE] = "Service",
        [CONFIG_GROUP_COMPUTE] = "Compute",
        [CONFIG_GROUP_FETCH] = "Fetch",
        [CONFIG_GROUP_LOGGING] = "Logging",
    };
    return titles[group];
}

void config_option_key(const struct config_option *option, char ret_key[CONFIG_NAME_MAX])
{
    size_t i = 0;
    for (; option->field[i] != '\0' && i + 1 < CONFIG_NAME_MAX; i++)
        ret_key[i] = option->field[i] == '_' ? '-' : option->field[i];
    ret_key[i] = '\0';
}

void config_option_variable(const struct config_option *option, char ret_variable[CONFIG_NAME_MAX])
{
    snprintf(ret_variable, CONFIG_NAME_MAX, "TWINPOOL_%s", option->field);
    for (char *c = ret_variable; *c != '\0'; c++)
        *c = (char)toupper((unsigned char)*c);
}

static void join_choices(const struct config_option *option, char ret_text[CONFIG_NAME_MAX])
{
    size_t used = 0;
    ret_text[0] = '\0';
    for (size_t i = 0; option->choices[i] && used < CONFIG_NAME_MAX; i++)
        used += (size_t)snprintf(ret_text + used, CONFIG_NAME_MAX - used, "%s%s", i ? "|" : "", option->choices[i]);
}

void config_option_placeholder(const struct config_option *option, char ret_text[CONFIG_NAME_MAX])
{
    static const char *const texts[] = {
        [CONFIG_KIND_COUNT] = "N",          [CONFIG_KIND_BYTES] = "BYTES", [CONFIG_KIND_MS] = "MS",
        [CONFIG_KIND_LISTEN] = "ADDR:PORT", [CONFIG_KIND_PATH] = "FILE",   [CONFIG_KIND_TEXT] = "TEXT",
    };
    if (option->kind == CONFIG_KIND_CHOICE)
        join_choices(option, ret_text);
    else
        snprintf(ret_text, CONFIG_NAME_MAX, "%s",
                 option->kind == CONFIG_KIND_LIST ? option->list->placeholder : texts[option->kind]);
}

const struct config_option *config_option_find(const char *key)
{
    char candidate[CONFIG_NAME_MAX];
    for (size_t i = 0; i < config_option_count; i++) {
        config_option_key(&config_options[i], candidate);
        if (strcmp(candidate, key) == 0)
            return &config_options[i];
    }
    return NULL;
}
