/* transfer_result: what became of a hop, in our words.
 *
 * What our own callbacks recorded comes first, because libcurl only sees that a callback refused. Then its code is
 * mapped to a status; the phase is how far the callbacks saw the hop come, which is surer than libcurl's timestamps:
 * those of a phase that was cut short are set or not depending on the version. */
#include <stdarg.h>
#include <stdio.h>
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "pool/retry_policy.h"
#include "pool/transfer_internal.h"

const char *transfer_phase(const struct transfer *transfer)
{
    switch (transfer->stage) {
    case STAGE_RESOLVING:
        return "dns";
    case STAGE_CONNECTING:
        return "connect";
    case STAGE_TLS:
        return "tls";
    case STAGE_REQUEST:
        return "first_byte";
    case STAGE_HEAD:
        return transfer->head.is_complete ? "body" : "first_byte";
    case STAGE_BODY:
        return "body";
    }
    return "connect";
}

void transfer_fail(struct transfer *t, enum status status, const char *phase, const char *format, ...)
{
    struct transfer_outcome *outcome = &t->outcome;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(outcome->message, sizeof outcome->message, format, arguments);
    va_end(arguments);
    outcome->status = status;
    outcome->phase = phase;
    outcome->redirects = t->redirects;
    outcome->budget = NULL;
    outcome->is_retriable = status_retriable(status);
    outcome->was_sent = outcome->was_sent || t->sent_ns > 0;
}

bool transfer_no_memory(struct transfer *t)
{
    transfer_fail(t, ST_NO_MEMORY, transfer_phase(t), "%s", status_title(ST_NO_MEMORY));
    return false;
}

/* The failures that our callbacks caused. */
static void map_own_failure(struct transfer *t)
{
    switch ((int)t->failure) {
    case ST_BLOCKED_ADDRESS:
    case ST_LOOP_DETECTED:
        transfer_fail(t, t->failure, "policy", "%s",
                      t->refusal[0] ? t->refusal : "the address of the connection is not known");
        break;
    case ST_UPSTREAM_HEADERS_TOO_LARGE:
        transfer_fail(t, t->failure, transfer_phase(t), "the answer's header has more than %d bytes or %d lines",
                      RESPONSE_HEAD_BYTES_MAX, RESPONSE_HEAD_LINES_MAX);
        break;
    case ST_CONNECT_FAILED:
        transfer_fail(t, t->failure, "connect", "%s", t->refusal);
        break;
    case ST_DECODE_FAILED:
        transfer_fail(t, t->failure, "body", "%s", t->refusal);
        break;
    case ST_TOTAL_TOO_LARGE:
        transfer_fail(t, t->failure, "body", "%s", t->refusal);
        if (!t->refusal[0])
            transfer_explain_total(t->spec.call, t->outcome.message);
        break;
    case ST_PROTOCOL_ERROR:
        transfer_fail(t, t->failure, t->discards_body ? "redirect" : transfer_phase(t), "%s", t->refusal);
        break;
    case ST_CONNECTION_CLOSED:
        transfer_fail(t, t->failure, "first_byte", "%s",
                      t->outcome.repetitions > 0
                          ? "the request was sent twice, and the origin took it neither time"
                          : "the origin closed the kept connection; the request is not sent again, since it is not "
                            "idempotent");
        break;
    default:
        transfer_fail(t, t->failure, transfer_phase(t), "%s", status_title(t->failure));
        break;
    }
}

static enum status map_broken_off(const struct transfer *t)
{
    if (t->stage < STAGE_REQUEST)
        return t->parts.is_https && t->stage == STAGE_TLS ? ST_TLS_FAILED : ST_CONNECT_FAILED;
    return t->stage == STAGE_BODY || t->head.is_complete ? ST_TRUNCATED : ST_CONNECTION_CLOSED;
}

/* libcurl reports broken chunks as it reports broken connections. */
static bool is_about_chunks(const struct transfer *t) { return strstr(t->error_text, "chunk") != NULL; }

static enum status map_code(const struct transfer *t, CURLcode code)
{
    switch ((int)code) {
    case CURLE_OPERATION_TIMEDOUT:
        return ST_DEADLINE_EXCEEDED;
    case CURLE_URL_MALFORMAT:
        return ST_BAD_URL;
    case CURLE_COULDNT_RESOLVE_HOST:
        return ST_DNS_FAILED;
    case CURLE_COULDNT_CONNECT:
        return ST_CONNECT_FAILED;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_CRL_BADFILE:
    case CURLE_SSL_INVALIDCERTSTATUS:
        return ST_TLS_VERIFY_FAILED;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_SHUTDOWN_FAILED:
        return ST_TLS_FAILED;
    case CURLE_PARTIAL_FILE: /* with HTTP/2 of a header, too */
        return map_broken_off(t);
    case CURLE_RECV_ERROR:
        return is_about_chunks(t) ? ST_PROTOCOL_ERROR : map_broken_off(t);
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
        return map_broken_off(t);
    case CURLE_OUT_OF_MEMORY: /* libcurl's answer to a header line beyond its own limit, too */
        return t->stage == STAGE_REQUEST || t->stage == STAGE_HEAD ? ST_UPSTREAM_HEADERS_TOO_LARGE : ST_NO_MEMORY;
#if LIBCURL_VERSION_NUM >= 0x080600
    case CURLE_TOO_LARGE:
        return ST_UPSTREAM_HEADERS_TOO_LARGE;
#endif
    default:
        return ST_PROTOCOL_ERROR;
    }
}

/* Some codes tell it better than the stage does. */
static const char *phase_of_failure(const struct transfer *t, enum status status, CURLcode code)
{
    if (status == ST_BAD_URL)
        return "url";
    if (status == ST_TLS_FAILED || status == ST_TLS_VERIFY_FAILED)
        return "tls";
    return code == CURLE_SEND_ERROR && t->stage == STAGE_REQUEST ? "send" : transfer_phase(t);
}

void transfer_map_failure(struct transfer *t, CURLcode code)
{
    if (t->failure != ST_OK) {
        map_own_failure(t);
        return;
    }
    if (code == CURLE_COULDNT_CONNECT && t->refusal[0]) { /* the socket callback refused every address */
        t->failure = t->refusal_status;
        map_own_failure(t);
        return;
    }
    enum status status = map_code(t, code);
    if (status == ST_UPSTREAM_HEADERS_TOO_LARGE) { /* a line above libcurl's own limit */
        t->failure = status;
        map_own_failure(t);
        return;
    }
    long reason = 0;
    const char *text = t->error_text[0] ? t->error_text : curl_easy_strerror(code),
               *phase = phase_of_failure(t, status, code);
    curl_easy_getinfo(t->easy, CURLINFO_OS_ERRNO, &reason);
    if (reason == EPROTO && (status == ST_CONNECTION_CLOSED || status == ST_TRUNCATED)) /* curl_loop_receive()'s */
        transfer_fail(t, ST_PROTOCOL_ERROR, phase,
                      "the origin sends without end, and nothing of it is for this request");
    else if (code == CURLE_COULDNT_CONNECT && reason != 0)
        transfer_fail(t, status, phase, "%s port %u: %s", t->parts.host, t->parts.port, strerrordesc_np((int)reason));
    else if (status == ST_TLS_VERIFY_FAILED)
        transfer_fail(t, status, phase, "%s (an authority of your own goes into --fetch-ca-file)", text);
    else
        transfer_fail(t, status, phase, "%s", text);
}

static const char *http_version(CURL *easy)
{
    long version = CURL_HTTP_VERSION_NONE;
    curl_easy_getinfo(easy, CURLINFO_HTTP_VERSION, &version);
    return version == CURL_HTTP_VERSION_1_0 ? "1.0" : version == CURL_HTTP_VERSION_2_0 ? "2" : "1.1";
}

static void note_retry_after(struct transfer *t)
{
    curl_off_t seconds = 0;
    if (!retry_is_for_status(t->outcome.http_status) || !response_head_count(&t->head, "retry-after"))
        return;
    curl_easy_getinfo(t->easy, CURLINFO_RETRY_AFTER, &seconds);
    t->outcome.retry_after_ns = seconds > 0 ? (uint64_t)seconds * NS_PER_SEC : 0;
}

void transfer_fill_answer(struct transfer *t)
{
    struct transfer_outcome *outcome = &t->outcome;
    long http_status = 0;
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &http_status);
    outcome->status = ST_OK;
    outcome->was_sent = true;
    outcome->http_status = (unsigned)http_status;
    outcome->final_url = t->url.data;
    outcome->http_version = http_version(t->easy);
    outcome->head = &t->head;
    outcome->body = t->body.data ? t->body.data : "";
    outcome->body_len = t->body.len;
    outcome->has_no_body = t->method == FETCH_HEAD || http_status == 204 || http_status == 304;
    outcome->body_seen = t->seen_bytes < t->spec.item->max_body_bytes ? t->seen_bytes : t->spec.item->max_body_bytes;
    outcome->is_truncated = t->is_truncated;
    outcome->is_tls = t->parts.is_https;
    outcome->redirects = t->redirects;
    note_retry_after(t);
    if (t->spec.speaks_http2 && t->redirects == 0 && t->parts.is_https)
        atomic_store_explicit(t->spec.speaks_http2, outcome->http_version[0] == '2', memory_order_relaxed);
}
