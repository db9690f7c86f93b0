/* status: every way a request, a job or a transfer can end, in one table.
 *
 * A row is (name, HTTP status, stable JSON code, title, a retry may help). The code is part of the
 * public contract: never rename one, only add. docs/http-api.md lists them and `make lint` compares. */
#ifndef TWINPOOL_BASE_STATUS_H
#define TWINPOOL_BASE_STATUS_H

#include <stdbool.h>

#define STATUS_TABLE(X)                                                                                            \
    X(ST_OK, 200, "ok", "OK", false)                                                                               \
    /* the request itself */                                                                                       \
    X(ST_BAD_REQUEST, 400, "bad_request", "Malformed HTTP request", false)                                         \
    X(ST_INVALID_JSON, 400, "invalid_json", "The body is not acceptable JSON", false)                              \
    X(ST_CROSS_SITE, 403, "cross_site_refused", "Cross-site browser requests are refused", false)                  \
    X(ST_NOT_FOUND, 404, "not_found", "No such resource", false)                                                   \
    X(ST_UNKNOWN_TASK, 404, "unknown_task", "No such task", false)                                                 \
    X(ST_METHOD_NOT_ALLOWED, 405, "method_not_allowed", "Method not allowed", false)                               \
    X(ST_REQUEST_TIMEOUT, 408, "request_timeout", "The request did not arrive in time", true)                      \
    X(ST_BODY_TOO_LARGE, 413, "body_too_large", "The request body is too large", false)                            \
    X(ST_URI_TOO_LONG, 414, "uri_too_long", "The request target is too long", false)                               \
    X(ST_UNSUPPORTED_MEDIA_TYPE, 415, "unsupported_media_type", "Unsupported media type", false)                   \
    X(ST_EXPECTATION_FAILED, 417, "expectation_failed", "Unsupported expectation", false)                          \
    X(ST_INVALID_ARGS, 422, "invalid_args", "Invalid arguments", false)                                            \
    X(ST_HEADERS_TOO_LARGE, 431, "headers_too_large", "The request header is too large", false)                    \
    X(ST_NOT_IMPLEMENTED, 501, "not_implemented", "Not implemented", false)                                        \
    X(ST_HTTP_VERSION, 505, "http_version_not_supported", "HTTP version not supported", false)                     \
    /* capacity and life cycle */                                                                                  \
    X(ST_CANCELLED, 499, "cancelled", "Cancelled: the caller went away or has what it requires", true)             \
    X(ST_INTERNAL, 500, "internal", "Internal error", true)                                                        \
    X(ST_NO_MEMORY, 503, "out_of_memory", "The service is out of memory", true)                                    \
    X(ST_QUEUE_FULL, 503, "queue_full", "The queue is full", true)                                                 \
    X(ST_OVERLOADED, 503, "overloaded", "The job could not start before its deadline", true)                       \
    X(ST_TOO_MANY_CONNECTIONS, 503, "too_many_connections", "Too many connections", true)                          \
    X(ST_DRAINING, 503, "draining", "The service is shutting down", true)                                          \
    X(ST_NOT_READY, 503, "not_ready", "The service is not ready", true)                                            \
    X(ST_DEADLINE_EXCEEDED, 504, "deadline_exceeded", "The deadline passed", true)                                 \
    /* compute */                                                                                                  \
    X(ST_WORKER_CRASHED, 500, "worker_crashed", "The worker process died", true)                                   \
    X(ST_WORKER_PROTOCOL, 500, "worker_protocol", "The worker's answer made no sense", true)                       \
    X(ST_TASK_FAILED, 500, "task_failed", "The task failed", false)                                                \
    X(ST_MEMORY_LIMIT, 422, "memory_limit", "The job exceeded its memory limit", false)                            \
    X(ST_CPU_LIMIT, 422, "cpu_limit", "The job exceeded its CPU limit", false)                                     \
    X(ST_PROCESS_LIMIT, 422, "process_limit", "The job started too many processes", false)                         \
    X(ST_QUARANTINED, 422, "quarantined", "The job has ended too many workers", false)                             \
    X(ST_RESULT_TOO_LARGE, 422, "result_too_large", "The result is larger than the limit", false)                  \
    /* fetch */                                                                                                    \
    X(ST_BAD_URL, 422, "bad_url", "The URL is not acceptable", false)                                              \
    X(ST_SCHEME_NOT_ALLOWED, 403, "scheme_not_allowed", "Only http and https are fetched", false)                  \
    X(ST_PORT_NOT_ALLOWED, 403, "port_not_allowed", "The port is not allowed by the egress policy", false)         \
    X(ST_HOST_NOT_ALLOWED, 403, "host_not_allowed", "The host is not allowed by the egress policy", false)         \
    X(ST_BLOCKED_ADDRESS, 403, "blocked_address", "The address is not allowed by the egress policy", false)        \
    X(ST_LOOP_DETECTED, 508, "loop_detected", "The fetch leads back to this service", false)                       \
    X(ST_HOST_BUSY, 503, "host_busy", "The host had no room for this fetch in time", true)                         \
    X(ST_BREAKER_OPEN, 503, "breaker_open", "The host has failed too often lately", true)                          \
    X(ST_DNS_FAILED, 502, "dns_failed", "The host name could not be resolved", true)                               \
    X(ST_DNS_TIMEOUT, 504, "dns_timeout", "The host name was not resolved in time", true)                          \
    X(ST_CONNECT_FAILED, 502, "connect_failed", "The connection failed", true)                                     \
    X(ST_CONNECT_TIMEOUT, 504, "connect_timeout", "The connection was not made in time", true)                     \
    X(ST_TLS_FAILED, 502, "tls_failed", "The TLS handshake failed", false)                                         \
    X(ST_TLS_TIMEOUT, 504, "tls_timeout", "The TLS handshake was not done in time", true)                          \
    X(ST_TLS_VERIFY_FAILED, 502, "tls_verify_failed", "The server's certificate was not accepted", false)          \
    X(ST_CONNECTION_CLOSED, 502, "connection_closed", "The origin closed the connection without an answer", true)  \
    X(ST_FIRST_BYTE_TIMEOUT, 504, "first_byte_timeout", "The origin did not begin to answer in time", true)        \
    X(ST_TOO_SLOW, 504, "too_slow", "The origin sends too slowly", true)                                           \
    X(ST_TOO_MANY_REDIRECTS, 502, "too_many_redirects", "Too many redirects", false)                               \
    X(ST_REDIRECT_REFUSED, 502, "redirect_refused", "The redirect would send the body to another origin", false)   \
    X(ST_UPSTREAM_HEADERS_TOO_LARGE, 502, "response_headers_too_large", "The origin's header is too large", false) \
    X(ST_DECODE_FAILED, 502, "decode_failed", "The origin's content coding is broken", false)                      \
    X(ST_TRUNCATED, 502, "truncated", "The origin closed before the body was complete", true)                      \
    X(ST_PROTOCOL_ERROR, 502, "protocol_error", "The origin broke HTTP", true)                                     \
    X(ST_TOTAL_TOO_LARGE, 502, "response_too_large", "The results exceed a limit", false)

enum status {
#define STATUS_ENUM(name, http, code, title, retriable) name,
    STATUS_TABLE(STATUS_ENUM)
#undef STATUS_ENUM
        STATUS_COUNT
};

/* All four accept any value of the enum and never return NULL. */
unsigned status_http(enum status status);
const char *status_code(enum status status);
const char *status_title(enum status status);
bool status_retriable(enum status status);

#endif
