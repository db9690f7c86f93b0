/* transfer_result: what became of a hop, in our words.
 *
 * What our own callbacks recorded comes first, because libcurl only sees that a callback refused. Then its code is
 * mapped to a status; the phase is how far the callbacks saw the hop come, which is surer than libcurl's timestamps:
 * those of a phase that was cut short are set or not depending on the version. */
#include "pool/transfer_internal.h"

#include <string.h>

#include "base/clock.h"
#include "pool/fetch_render.h"

#define NS_PER_US UINT64_C(1000)

const char *transfer_phase(const struct transfer *t)
{
    switch (t->stage) {
    case STAGE_RESOLVING:
        return "dns";
    case STAGE_CONNECTING:
        return "connect";
    case STAGE_TLS:
        return "tls";
    case STAGE_REQUEST:
        return "first_byte";
    case STAGE_HEAD:
        return t->head.is_complete ? "body" : "first_byte";
    case STAGE_BODY:
        return "body";
    }
    return "connect";
}

void transfer_fail_refused(struct transfer *t)
{
    fetch_item_fail(t->item, ST_BLOCKED_ADDRESS, "policy", "%s is refused: %s; allow it with --fetch-allow %s/%d",
                    t->refused_address, t->refused_rule, t->refused_address, t->refused_is_ipv6 ? 128 : 32);
}

/* The failures that our callbacks caused. */
static void map_own_failure(struct transfer *t)
{
    switch ((int)t->failure) {
    case ST_BLOCKED_ADDRESS:
        if (t->refused_rule)
            transfer_fail_refused(t);
        else
            fetch_item_fail(t->item, ST_BLOCKED_ADDRESS, "policy", "the address of the connection is not known");
        break;
    case ST_UPSTREAM_HEADERS_TOO_LARGE:
        fetch_item_fail(t->item, t->failure, "first_byte", "the answer's header has more than %d bytes or %d lines",
                        RESPONSE_HEAD_BYTES_MAX, RESPONSE_HEAD_LINES_MAX);
        break;
    case ST_TOTAL_TOO_LARGE:
        fetch_item_fail(t->item, t->failure, "body",
                        "the bodies of this call exceed %zu bytes together (--fetch-max-total-bytes)", t->budget->max);
        break;
    case ST_PROTOCOL_ERROR:
        fetch_item_fail(t->item, t->failure, "redirect", "the redirect came with a body of more than 1 MiB");
        break;
    default:
        fetch_item_fail(t->item, t->failure, transfer_phase(t), "%s", status_title(t->failure));
        break;
    }
}

static enum status map_code(const struct transfer *t, CURLcode code)
{
    switch ((int)code) {
    case CURLE_OPERATION_TIMEDOUT:
        return ST_TIMEOUT;
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
    case CURLE_BAD_CONTENT_ENCODING:
        return ST_DECODE_FAILED;
    case CURLE_PARTIAL_FILE:
        return ST_TRUNCATED;
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
        if (t->stage < STAGE_REQUEST)
            return t->parts.is_https ? ST_TLS_FAILED : ST_CONNECT_FAILED;
        return t->stage == STAGE_BODY ? ST_TRUNCATED : ST_PROTOCOL_ERROR;
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
    if (code == CURLE_COULDNT_CONNECT && t->refused_rule) {
        transfer_fail_refused(t);
        return;
    }
    enum status status = map_code(t, code);
    fetch_item_fail(t->item, status, phase_of_failure(t, status, code), "%s",
                    t->error_text[0] ? t->error_text : curl_easy_strerror(code));
}

static uint64_t info_ns(CURL *easy, CURLINFO info)
{
    curl_off_t us = 0;
    curl_easy_getinfo(easy, info, &us);
    return us > 0 ? (uint64_t)us * NS_PER_US : 0;
}

static uint64_t between(uint64_t from_ns, uint64_t to_ns) { return to_ns > from_ns ? to_ns - from_ns : 0; }

static const char *http_version(CURL *easy)
{
    long version = CURL_HTTP_VERSION_NONE;
    curl_easy_getinfo(easy, CURLINFO_HTTP_VERSION, &version);
    return version == CURL_HTTP_VERSION_1_0 ? "1.0" : version == CURL_HTTP_VERSION_2_0 ? "2" : "1.1";
}

/* libcurl's times count from the hop's start and include every phase before. */
static void fill_timing(const struct transfer *t, struct fetch_answer *answer)
{
    answer->elapsed_ns = clock_now_ns() - t->started_ns;
    uint64_t sent = info_ns(t->easy, CURLINFO_PRETRANSFER_TIME_T);
    answer->first_byte_ns = between(sent, info_ns(t->easy, CURLINFO_STARTTRANSFER_TIME_T));
    if (answer->is_reused)
        return;
    uint64_t resolved = info_ns(t->easy, CURLINFO_NAMELOOKUP_TIME_T),
             connected = info_ns(t->easy, CURLINFO_CONNECT_TIME_T);
    answer->dns_ns = resolved;
    answer->connect_ns = between(resolved, connected);
    if (answer->is_tls)
        answer->tls_ns = between(connected, info_ns(t->easy, CURLINFO_APPCONNECT_TIME_T));
}

void transfer_render(struct transfer *t)
{
    long http_status = 0, opened = 0;
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &http_status);
    curl_easy_getinfo(t->easy, CURLINFO_NUM_CONNECTS, &opened);
    struct fetch_answer answer = {
        .final_url = t->url,
        .http_status = (unsigned)http_status,
        .http_version = http_version(t->easy),
        .head = &t->head,
        .body = t->body.data ? t->body.data : "",
        .body_len = t->body.len,
        .is_truncated = t->is_truncated,
        .is_reused = opened == 0,
        .is_tls = t->parts.is_https,
        .redirects = t->redirects,
    };
    fill_timing(t, &answer);
    fetch_render_answer(t->item, t->index, &answer);
}
