/* config: every option of the program, from one table.
 *
 * A row gives the flag, the TWINPOOL_… environment variable, the key in the INI file, the kind, range and default, and
 * the help text; --help, --print-config, docs/configuration.md and the validation come from it. Precedence: flag over
 * environment over file over default. A typo or a value out of range is an error that names it. */
#ifndef TWINPOOL_SERVICE_CONFIG_H
#define TWINPOOL_SERVICE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/attrs.h"
#include "base/log.h"
#include "pool/egress_policy.h"

enum { CONFIG_TEXT_MAX = 1024 };

struct config_task;

struct config {
    struct config_task *tasks; /* users' programs: config_tasks.h */
    size_t task_count;
    /* front end */
    char listen[128];             /* ADDR:PORT or [ADDR6]:PORT, numeric; port 0 picks one */
    unsigned loops;               /* event loops, 1..64 */
    unsigned max_connections;     /* clients at once */
    unsigned max_header_bytes;    /* request line and header fields together */
    unsigned max_url_bytes;       /* request target */
    size_t max_body_bytes;        /* request body */
    size_t max_bodies_bytes;      /* bodies of all requests at once */
    uint32_t header_timeout_ms;   /* from a request's first byte (or the connection) to the end of its header */
    uint32_t body_timeout_ms;     /* from there to the end of its body */
    uint32_t response_timeout_ms; /* from the answer being ready to its last byte sent */
    uint32_t idle_timeout_ms;     /* keep-alive connection without a request */
    uint32_t drain_delay_ms;      /* after SIGTERM: readiness is 503, work is still accepted */
    uint32_t grace_ms;            /* after SIGTERM: time for work in flight */
    /* compute pool */
    unsigned workers;            /* 0: online CPUs within the cgroup's quota */
    unsigned workers_max;        /* while jobs wait; 0: as workers */
    uint32_t worker_idle_ms;     /* of one beyond workers */
    unsigned queue_max;          /* jobs waiting; 0: 16 per worker */
    size_t queue_max_bytes;      /* bytes of their bodies */
    uint32_t compute_timeout_ms; /* default deadline, queue time included */
    uint32_t compute_timeout_max_ms;
    size_t max_result_bytes; /* of one job */
    unsigned map_max_items;
    size_t map_stream_bytes; /* unread, of one stream */
    int worker_nice;         /* 0..19 */
    uint32_t quarantine_ms;
    uint32_t cancel_grace_ms;
    unsigned worker_max_jobs;
    uint32_t worker_max_age_ms;
    size_t worker_max_growth_bytes, worker_memory_bytes;
    /* fetch pool */
    unsigned io_threads;
    char fetch_allow[CONFIG_TEXT_MAX]; /* these lists as they were given; the parsed form is in egress */
    char fetch_deny[CONFIG_TEXT_MAX];
    char fetch_hosts[CONFIG_TEXT_MAX];
    char fetch_deny_hosts[CONFIG_TEXT_MAX];
    char fetch_ports[CONFIG_TEXT_MAX];
    struct egress_policy egress;
    uint32_t fetch_timeout_ms;
    uint32_t fetch_timeout_max_ms;
    uint32_t fetch_dns_timeout_ms;
    uint32_t fetch_connect_timeout_ms;
    uint32_t fetch_tls_timeout_ms;
    uint32_t fetch_first_byte_timeout_ms;
    uint32_t fetch_min_rate; /* bytes a second */
    unsigned fetch_per_host; /* 0: no limit */
    unsigned fetch_per_call; /* 0: half of fetch_inflight_max */
    unsigned fetch_max_urls; /* of one call */
    unsigned fetch_inflight_max;
    unsigned fetch_queue_max;     /* URLs */
    size_t fetch_max_body_bytes;  /* default and maximum of max_body_bytes */
    size_t fetch_max_total_bytes; /* of one call */
    unsigned fetch_max_ratio;
    size_t fetch_memory_bytes; /* of all calls */
    size_t fetch_stream_bytes; /* unread, of one stream */
    unsigned fetch_max_redirects;
    unsigned fetch_retries;
    unsigned fetch_breaker_failures; /* 0: no breaker */
    uint32_t fetch_breaker_open_ms;
    char fetch_breaker_on[CONFIG_TEXT_MAX];
    unsigned breaker_counted; /* the same as bits of enum breaker_outcome */
    char fetch_dns_servers[CONFIG_TEXT_MAX];
    char fetch_ca_file[CONFIG_TEXT_MAX];
    /* logging */
    enum log_format log_format;
    enum log_level log_level;
};

enum config_action {
    CONFIG_SERVE,
    CONFIG_HELP,        /* --help */
    CONFIG_VERSION,     /* --version */
    CONFIG_PRINT,       /* --print-config */
    CONFIG_HEALTHCHECK, /* `twinpool healthcheck` */
    CONFIG_DOCS         /* `twinpool docs`: docs/configuration.md on stdout */
};

/* Reads everything. True: *ret_config is valid and complete. False: a message for people was written to `errors`
 * that names the option, where it came from (flag, variable or file:line) and what is allowed. */
bool config_load(int argc, char *const *argv, char *const *environment, struct config *ret_config,
                 enum config_action *ret_action, FILE *errors) NONNULL MUST_CHECK;

void config_print_help(FILE *out) NONNULL;
/* The effective values as an INI file that --config accepts. */
void config_print(const struct config *config, FILE *out) NONNULL;
void config_print_docs(FILE *out) NONNULL;

#endif
