/* transfer_request: what libcurl is told about a hop, and the callbacks through which it asks back.
 *
 * The handle keeps the options of a plain GET from one fetch to the next; such a fetch sets only its URL and time
, which saves about thirty calls. Any other request adds its options and marks the handle, which is then reset
 * and configured anew. Nothing else is carried over: no cookies, no alt-svc, no HSTS, no authentication state are ever
 * enabled.
 *
 * The open-socket callback is the authority of the egress policy: it sees the very address that is about to be
 * connected to, whatever name, redirect or DNS answer led there. The pre-request callback judges again when a kept
 * connection is reused. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "pool/transfer_internal.h"
#include "pool/trust_store.h"

enum {
    RECEIVE_BUFFER_BYTES = 16 * 1024, /* each transfer has one */
    CONNECTION_LIFETIME_S = 300,      /* so that a host's new address is used eventually */
    BODY_ROOM_MAX = 1024 * 1024,      /* reserved on the word of a Content-Length */
    ADDRESSES_LIFETIME_S = 10, /* of what was pinned: used at once, or after waiting for another's connection in vain */
    BODY_ROOM_STEP = 4096,
    RATIO_FREE_BYTES = 1024 * 1024, /* decoded bytes that may have any ratio */
    DISCARD_MAX = 1024 * 1024,      /* body bytes of a redirect */
    RESULT_BYTES = 1024             /* of a result, beside its body and header */
};

#if LIBCURL_VERSION_NUM < 0x075700
#error "libcurl 7.87.0 or newer is needed (CURL_WRITEFUNC_ERROR)"
#endif
/* Newer releases count a piece of the body as received only after it was decoded. */
#if LIBCURL_VERSION_NUM < 0x080700
#define UNCOUNTED_BYTES 0
#else
#define UNCOUNTED_BYTES RECEIVE_BUFFER_BYTES
#endif

/* RFC 8586: by this field another Twinpool, or this one, knows that the request is a fetch. */
static struct curl_slist loop_line = { .data = (char[]){ "CDN-Loop: twinpool" } };

static bool may_repeat(const struct transfer *t)
{
    return (t->method != FETCH_POST && t->method != FETCH_PATCH) || t->spec.item->may_repeat_unsafe;
}

/* The request was sent before: libcurl found the kept connection dead and is about to send it once more, over another.
 * False: it must not. */
static bool begin_repetition(struct transfer *t)
{
    if (!may_repeat(t)) {
        t->failure = ST_CONNECTION_CLOSED;
        return false;
    }
    transfer_note_ended(t, ST_CONNECTION_CLOSED, 0);
    t->outcome.repetitions++;
    t->began_ns = clock_now_ns();
    t->connecting_ns = t->tls_ns = t->sent_ns = 0;
    transfer_enter(t, STAGE_CONNECTING);
    return true;
}

static curl_socket_t on_open_socket(void *user, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct transfer *t = user;
    if (purpose != CURLSOCKTYPE_IPCXN || (t->sent_ns > 0 && !begin_repetition(t)))
        return CURL_SOCKET_BAD;
    t->refusal_status =
        egress_policy_check_address(t->env->policy, &address->addr, address->addrlen, t->parts.port, t->refusal);
    if (t->refusal_status != ST_OK)
        return CURL_SOCKET_BAD;
    t->refusal[0] = '\0';
    if (t->connecting_ns == 0)
        t->connecting_ns = clock_now_ns();
    int fd = curl_loop_open_socket(t->env->loop, t->shard, address);
    if (fd == CURL_SOCKET_BAD && errno == EMFILE) {
        t->refusal_status = ST_CONNECT_FAILED;
        snprintf(t->refusal, sizeof t->refusal, "no descriptor for a connection was left (ulimit -n)");
    }
    return fd;
}

/* A peer whose address cannot be read is refused: fail closed. */
static bool peer_is_allowed(struct transfer *t, const char *ip)
{
    struct sockaddr_in in = { .sin_family = AF_INET };
    struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
    t->failure = ST_BLOCKED_ADDRESS;
    if (inet_pton(AF_INET, ip, &in.sin_addr) == 1)
        t->failure = egress_policy_check_address(t->env->policy, (const struct sockaddr *)&in, sizeof in, t->parts.port,
                                                 t->refusal);
    else if (inet_pton(AF_INET6, ip, &in6.sin6_addr) == 1)
        t->failure = egress_policy_check_address(t->env->policy, (const struct sockaddr *)&in6, sizeof in6,
                                                 t->parts.port, t->refusal);
    return t->failure == ST_OK;
}

/* libcurl prepares TLS when the TCP connection stands. */
static CURLcode on_tls(CURL *easy, void *context, void *user)
{
    struct transfer *t = user;
    (void)easy;
    if (t->stage < STAGE_TLS)
        transfer_enter(t, STAGE_TLS);
    trust_store_use(t->env->trust, context);
    return CURLE_OK;
}

static int on_request(void *user, char *peer_ip, char *local_ip, int peer_port, int local_port)
{
    (void)local_ip;
    (void)peer_port;
    (void)local_port;
    struct transfer *t = user;
    if (!peer_is_allowed(t, peer_ip) || (t->sent_ns > 0 && !begin_repetition(t)))
        return CURL_PREREQFUNC_ABORT;
    transfer_enter(t, STAGE_REQUEST);
    t->outcome.was_sent = true;
    return CURL_PREREQFUNC_OK;
}

/* libcurl's own resolver must never be asked: it starts a thread for each name. */
static int on_resolver_start(void *resolver_state, void *reserved, void *user)
{
    const struct transfer *t = user;
    (void)resolver_state;
    (void)reserved;
    return t->parts.address_len > 0 ? 0 : 1;
}

static bool is_followed_status(long http_status)
{
    return http_status == 301 || http_status == 302 || http_status == 303 || http_status == 307 || http_status == 308;
}

bool transfer_will_follow(const struct transfer *t)
{
    long http_status = 0;
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &http_status);
    return t->spec.item->max_redirects > 0 && is_followed_status(http_status) &&
           response_head_count(&t->head, "location") > 0;
}

static void break_protocol(struct transfer *t, const char *how)
{
    t->failure = ST_PROTOCOL_ERROR;
    snprintf(t->refusal, sizeof t->refusal, "%s", how);
}

/* The header is complete: from now on the time is the body's, though the first byte of it may take long to come. */
static void begin_body(struct transfer *t)
{
    unsigned codings = response_head_count(&t->head, "content-encoding");
    transfer_enter(t, STAGE_BODY);
    t->discards_body = transfer_will_follow(t);
    t->is_coded = codings > 0;
    if (codings > 1 || response_head_is_list(&t->head, "content-encoding"))
        t->failure = ST_DECODE_FAILED;
    if (response_head_differs(&t->head, "content-length")) /* RFC 9112 section 6.3 */
        break_protocol(t, "the answer has two Content-Lengths that differ");
}

/* 101 would be the answer to an Upgrade, which is never sent; libcurl would wait for what comes. */
static bool is_upgrade(const struct transfer *t, size_t len)
{
    long http_status = 0;
    if (!t->head.is_interim || len > sizeof "\r\n" - 1)
        return false;
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &http_status);
    return http_status == 101;
}

static size_t on_header(char *line, size_t size, size_t count, void *user)
{
    struct transfer *t = user;
    size_t len = size * count;
    if (t->stage < STAGE_HEAD)
        transfer_enter(t, STAGE_HEAD);
    if (!response_head_line(&t->head, line, len)) {
        t->failure = t->head.text.failed && t->head.bytes <= RESPONSE_HEAD_BYTES_MAX ? ST_NO_MEMORY
                                                                                     : ST_UPSTREAM_HEADERS_TOO_LARGE;
        return 0;
    }
    if (is_upgrade(t, len))
        break_protocol(t, "the origin switched to another protocol (101), which nobody had asked for");
    if (t->head.is_complete && t->stage < STAGE_BODY)
        begin_body(t);
    return t->failure == ST_PROTOCOL_ERROR ? 0 : len;
}

/* Room for what comes and a quarter more, so that a body does not take twice what it is charged for. */
static void make_room(struct transfer *t, size_t len)
{
    curl_off_t declared = -1;
    if (t->body.len == 0)
        curl_easy_getinfo(t->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &declared);
    size_t wanted = t->body.len + len, room = wanted + wanted / 4 + BODY_ROOM_STEP;
    if (declared > 0 && (size_t)declared >= len && (uint64_t)declared <= BODY_ROOM_MAX && !t->is_coded)
        room = (size_t)declared;
    t->body.max = room;
    if (wanted > t->body.cap) {
        char *reserved = buf_reserve(&t->body, room - t->body.len);
        (void)reserved; /* a failure is sticky and seen by the append */
    }
}

/* What the bytes will take as they are rendered: about as much, as text or as base64. Text of many escapes takes more,
 * which is seen to when it is rendered. */
static size_t rendered_bytes(size_t len) { return len + len / 3 + 4; }

static bool charge_total(struct transfer *t, size_t bytes)
{
    struct call_share *call = t->spec.call;
    size_t before = atomic_fetch_add_explicit(&call->body_bytes, bytes, memory_order_relaxed);
    t->charged_bytes += bytes;
    if (before + bytes <= call->body_bytes_max)
        return true;
    snprintf(t->refusal, sizeof t->refusal,
             "the bodies of this call exceed %zu bytes together (--fetch-max-total-bytes)", call->body_bytes_max);
    return false;
}

/* A body that grows by more than text can be compressed is meant to fill memory. */
static bool has_honest_ratio(struct transfer *t)
{
    curl_off_t received = 0;
    if (!t->is_coded || t->env->max_ratio == 0 || t->seen_bytes <= RATIO_FREE_BYTES)
        return true;
    curl_easy_getinfo(t->easy, CURLINFO_SIZE_DOWNLOAD_T, &received);
    if (t->seen_bytes <= ((uint64_t)received + UNCOUNTED_BYTES) * t->env->max_ratio)
        return true;
    snprintf(t->refusal, sizeof t->refusal, "the body decodes to more than %u times its size (--fetch-max-ratio)",
             t->env->max_ratio);
    return false;
}

static size_t discard(struct transfer *t, size_t len)
{
    if (t->seen_bytes <= DISCARD_MAX)
        return len;
    break_protocol(t, "the redirect came with a body of more than 1 MiB");
    return CURL_WRITEFUNC_ERROR;
}

/* Any return value but `len` ends or pauses the transfer; when it goes on after a pause, the same bytes come again. */
static size_t on_body(char *bytes, size_t size, size_t count, void *user)
{
    struct transfer *t = user;
    size_t len = size * count;
    if (t->stage < STAGE_BODY)
        begin_body(t);
    if (t->failure != ST_OK)
        return CURL_WRITEFUNC_ERROR;
    size_t max = t->spec.item->max_body_bytes, before = t->seen_bytes, room = before < max ? max - before : 0,
           kept = t->discards_body || t->counts_body ? 0
                  : len < room                       ? len
                                                     : room;
    size_t taken = kept > 0 ? rendered_bytes(kept) + (before == 0 ? RESULT_BYTES + 2 * t->head.text.len : 0) : 0;
    if (kept > 0 && !memory_take(t->env->memory, &t->spec.call->memory, taken)) {
        transfer_pause(t);
        return CURL_WRITEFUNC_PAUSE;
    }
    t->taken_bytes += taken;
    t->seen_bytes += len;
    t->rate_bytes += len;
    if (t->discards_body)
        return discard(t, len);
    if (!has_honest_ratio(t) || !charge_total(t, kept)) {
        t->failure = ST_TOTAL_TOO_LARGE;
        return CURL_WRITEFUNC_ERROR;
    }
    if (kept > 0) {
        make_room(t, kept);
        buf_append(&t->body, bytes, kept);
    }
    if (t->body.failed) {
        t->failure = ST_NO_MEMORY;
        return CURL_WRITEFUNC_ERROR;
    }
    t->is_truncated = len > room;
    return t->is_truncated ? CURL_WRITEFUNC_ERROR : len;
}

static void configure_callbacks(struct transfer *t)
{
    CURL *easy = t->easy;
    curl_easy_setopt(easy, CURLOPT_PRIVATE, t);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, t->error_text);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, t);
    curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, on_tls);
    curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, t);
    curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_request);
    curl_easy_setopt(easy, CURLOPT_PREREQDATA, t);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(easy, CURLOPT_RESOLVER_START_FUNCTION, on_resolver_start);
    curl_easy_setopt(easy, CURLOPT_RESOLVER_START_DATA, t);
    curl_loop_adopt(t->env->loop, easy);
}

void transfer_configure(struct transfer *t)
{
    CURL *easy = t->easy;
    configure_callbacks(t);
    /* What libcurl would do by itself and must not: proxies from the environment, other protocols, redirects, HTTP/0.9,
     * .netrc. */
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_HTTP09_ALLOWED, 0L);
    curl_easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    curl_easy_setopt(easy, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_DNS_CACHE_TIMEOUT, (long)ADDRESSES_LIFETIME_S);
    /* Certificates are verified against a store that on_tls() sets; libcurl would read the files for every connection.
     */
    curl_easy_setopt(easy, CURLOPT_CAINFO, NULL);
    curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (t->env->share)
        curl_easy_setopt(easy, CURLOPT_SHARE, t->env->share);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "");
    curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long)RECEIVE_BUFFER_BYTES);
    curl_easy_setopt(easy, CURLOPT_MAXLIFETIME_CONN, (long)CONNECTION_LIFETIME_S);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, t->env->user_agent);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, &loop_line);
}

static bool line_is_named(const char *line, const char *name)
{
    size_t len = strlen(name);
    return strncasecmp(line, name, len) == 0 && (line[len] == ':' || line[len] == ';');
}

static bool is_credential(const char *line)
{
    return line_is_named(line, "Authorization") || line_is_named(line, "Cookie") ||
           line_is_named(line, "Proxy-Authorization");
}

/* libcurl only reads the lines, though its type does not say so. */
static void link_line(struct transfer *t, size_t *count, const char *line)
{
    struct curl_slist *node = &t->lines[*count];
    *node = (struct curl_slist){ .data = (char *)(uintptr_t)line };
    if (*count > 0)
        t->lines[*count - 1].next = node;
    ++*count;
}

static bool make_room_for_lines(struct transfer *t, size_t count)
{
    if (count <= t->line_capacity)
        return true;
    struct curl_slist *grown = realloc(t->lines, count * sizeof *grown);
    if (!grown)
        return false;
    t->lines = grown;
    t->line_capacity = count;
    return true;
}

static bool apply_header_lines(struct transfer *t)
{
    static const char *const none[] = { NULL };
    const struct fetch_item *item = t->spec.item;
    const char *const *lines = item->headers ? item->headers : none;
    size_t given = 0, count = 0;
    while (lines[given])
        given++;
    if (!make_room_for_lines(t, given + 4))
        return false;
    bool has_type = false;
    for (size_t i = 0; i < given; i++) {
        bool is_type = line_is_named(lines[i], "Content-Type");
        if ((!t->keeps_credentials && is_credential(lines[i])) || (is_type && !t->sends_body && item->body_len > 0))
            continue;
        has_type = has_type || is_type;
        link_line(t, &count, lines[i]);
        if (line_is_named(lines[i], "Range")) /* of the coded form it would be */
            curl_easy_setopt(t->easy, CURLOPT_ACCEPT_ENCODING, NULL);
    }
    if (t->sends_body) {
        link_line(t, &count, "Expect:"); /* libcurl would wait up to a second for a 100 Continue */
        if (!has_type)
            link_line(t, &count, "Content-Type:"); /* libcurl would claim a form */
    }
    if (t->spec.call->traceparent)
        link_line(t, &count, t->spec.call->traceparent);
    link_line(t, &count, loop_line.data);
    curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->lines);
    return true;
}

static const char *method_name(enum fetch_method method)
{
    switch (method) {
    case FETCH_GET:
        return "GET";
    case FETCH_HEAD:
        return "HEAD";
    case FETCH_POST:
        return "POST";
    case FETCH_PUT:
        return "PUT";
    case FETCH_PATCH:
        return "PATCH";
    case FETCH_DELETE:
        return "DELETE";
    case FETCH_OPTIONS:
        return "OPTIONS";
    }
    return "GET";
}

static void apply_method(struct transfer *t)
{
    CURL *easy = t->easy;
    const struct fetch_item *item = t->spec.item;
    if (t->sends_body) {
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)item->body_len);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, item->body_len ? item->body : ""); /* implies POST; not copied */
    }
    if (t->method == FETCH_HEAD)
        curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    else if (t->method != FETCH_POST && (t->method != FETCH_GET || t->sends_body))
        curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method_name(t->method));
}

/* A request that must not be sent twice goes over a new connection, because a kept one may turn out to be dead when it
 * is too late. HTTP/2 tells which requests it has not begun. */
static bool wants_fresh_connection(const struct transfer *t, bool is_http2)
{
    return t->spec.is_hedge || (!may_repeat(t) && !is_http2);
}

static bool is_plain(const struct transfer *t)
{
    return t->method == FETCH_GET && !t->spec.item->headers && !t->sends_body && !t->spec.call->traceparent &&
           !t->spec.is_hedge;
}

bool transfer_apply_hop(struct transfer *t)
{
    if (t->is_special) {
        curl_easy_reset(t->easy);
        transfer_configure(t);
        t->is_special = false;
    }
    if (curl_easy_setopt(t->easy, CURLOPT_URL, t->url.data) != CURLE_OK)
        return false;
    if (t->parts.address_len == 0) {
        t->pin_line.data = t->pins.data;
        curl_easy_setopt(t->easy, CURLOPT_RESOLVE, &t->pin_line);
    }
    bool is_http2 = t->parts.is_https && t->redirects == 0 && t->spec.speaks_http2 &&
                    atomic_load_explicit(t->spec.speaks_http2, memory_order_relaxed);
    /* Wait for a connection that is being made rather than make another; with HTTP/1 that would be one after the other.
     */
    if (t->parts.is_https)
        curl_easy_setopt(t->easy, CURLOPT_PIPEWAIT, is_http2 ? 1L : 0L);
    if (is_plain(t))
        return true;
    t->is_special = true;
    if (wants_fresh_connection(t, is_http2))
        curl_easy_setopt(t->easy, CURLOPT_FRESH_CONNECT, 1L);
    apply_method(t);
    return apply_header_lines(t);
}
