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
    ADDRESSES_LIFETIME_S = 10, /* of what was pinned: used at once, or after waiting for another's connection in vain */
};

#if LIBCURL_VERSION_NUM < 0x075700
#error "libcurl 7.87.0 or newer is needed (CURL_WRITEFUNC_ERROR)"
#endif
/* RFC 8586: by this field another Twinpool, or this one, knows that the request is a fetch. */
static struct curl_slist loop_line = { .data = (char[]){ "CDN-Loop: twinpool" } };

/* Not CURLOPT_ACCEPT_ENCODING, which has libcurl prepare to decode what transfer_body.c decodes. */
static struct curl_slist accept_line = { .data = (char[]){ "Accept-Encoding: " CONTENT_CODINGS_ACCEPTED },
                                         .next = &loop_line };

static bool may_repeat(const struct transfer *t)
{
    return (t->method != FETCH_POST && t->method != FETCH_PATCH) || t->spec.item->may_repeat_unsafe;
}

/* Once for each hop, beside the attempts that were asked for. */
static bool may_repeat_again(const struct transfer *t)
{
    return may_repeat(t) && t->outcome.repetitions <= t->redirects;
}

/* The request was sent before: the kept connection was dead, or the stream refused (RFC 9113 section 8.7), and libcurl
 * is about to send it once more, over another. False: it must not. */
static bool begin_repetition(struct transfer *t)
{
    if (!may_repeat_again(t)) {
        t->failure = ST_CONNECTION_CLOSED;
        return false;
    }
    transfer_note_repetition(t);
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
    if (!peer_is_allowed(t, peer_ip))
        return CURL_PREREQFUNC_ABORT;
    if (t->sent_ns > 0) { /* libcurl would try kept connections for ever, and an origin may close each on purpose */
        t->failure = ST_CONNECTION_CLOSED;
        t->starts_fresh = may_repeat_again(t);
        return CURL_PREREQFUNC_ABORT;
    }
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
    size_t len = 0;
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &http_status);
    return t->spec.item->max_redirects > 0 && is_followed_status(http_status) &&
           response_head_value(&t->head, "location", &len) && len > 0;
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
    curl_loop_brought(t->env->loop);
    if (t->stage < STAGE_HEAD)
        transfer_enter(t, STAGE_HEAD);
    if (!response_head_line(&t->head, line, len)) {
        t->failure = t->head.text.failed && t->head.bytes <= RESPONSE_HEAD_BYTES_MAX ? ST_NO_MEMORY
                                                                                     : ST_UPSTREAM_HEADERS_TOO_LARGE;
        return 0;
    }
    if (is_upgrade(t, len))
        transfer_break_protocol(t, "the origin switched to another protocol (101), which nobody had asked for");
    if (t->head.is_complete && t->stage < STAGE_BODY)
        transfer_begin_body(t);
    return t->failure == ST_PROTOCOL_ERROR ? 0 : len;
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
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, transfer_on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(easy, CURLOPT_RESOLVER_START_FUNCTION, on_resolver_start);
    curl_easy_setopt(easy, CURLOPT_RESOLVER_START_DATA, t);
    curl_loop_adopt(t->env->loop, easy);
}

void transfer_configure(struct transfer *t)
{
    CURL *easy = t->easy;
    configure_callbacks(t);
    curl_easy_setopt(easy, CURLOPT_CURLU, t->parsed_url);
    /* What libcurl would do by itself and must not: proxies from the environment, other protocols, redirects, HTTP/0.9,
     * .netrc. */
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_HTTP09_ALLOWED, 0L);
    curl_easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
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
    curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long)RECEIVE_BUFFER_BYTES);
    curl_easy_setopt(easy, CURLOPT_MAXLIFETIME_CONN, (long)CONNECTION_LIFETIME_S);
    /* Not CURLOPT_USERAGENT: libcurl 7.88 formats what it sends byte by byte, and that line twice. */
    t->agent_line = (struct curl_slist){ .data = (char *)(uintptr_t)t->env->user_agent_line, .next = &accept_line };
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, &t->agent_line);
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

/* RFC 9110 section 15.4: what a redirect that turns the method into GET leaves behind, with Content-Digest of RFC 9530.
 */
static bool is_of_content(const char *line)
{
    return strncasecmp(line, "Content-", strlen("Content-")) == 0 || line_is_named(line, "Digest") ||
           line_is_named(line, "Last-Modified");
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
    if (!make_room_for_lines(t, given + 6))
        return false;
    bool has_type = false, has_trace = false, has_agent = false;
    for (size_t i = 0; i < given; i++) {
        if ((!t->keeps_credentials && is_credential(lines[i])) ||
            (t->method != item->method && is_of_content(lines[i])))
            continue;
        has_type = has_type || line_is_named(lines[i], "Content-Type");
        has_trace = has_trace || line_is_named(lines[i], "traceparent");
        has_agent = has_agent || line_is_named(lines[i], "User-Agent");
        link_line(t, &count, lines[i]);
        if (line_is_named(lines[i], "Range")) /* of the coded form it would be */
            t->accepts_codings = false;
    }
    if (t->sends_body) {
        link_line(t, &count, "Expect:"); /* libcurl would wait up to a second for a 100 Continue */
        if (!has_type)
            link_line(t, &count, "Content-Type:"); /* libcurl would claim a form */
    }
    if (t->spec.call->traceparent && !has_trace)
        link_line(t, &count, t->spec.call->traceparent);
    if (!has_agent)
        link_line(t, &count, t->env->user_agent_line);
    if (t->accepts_codings)
        link_line(t, &count, accept_line.data);
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
    return t->is_fresh || t->spec.is_hedge || (!may_repeat(t) && !is_http2);
}

static bool is_plain(const struct transfer *t)
{
    return t->method == FETCH_GET && !t->spec.item->headers && !t->sends_body && !t->spec.call->traceparent &&
           !t->spec.is_hedge && !t->is_fresh;
}

/* Parsed here, because libcurl would write the URL out once more after it has parsed it, byte by byte (7.88). The text
 * is what it takes for the effective URL. */
static bool set_url(struct transfer *t)
{
    CURLUcode code = curl_url_set(t->parsed_url, CURLUPART_URL, t->url.data, CURLU_DISALLOW_USER);
    if (code != CURLUE_OK && code != CURLUE_OUT_OF_MEMORY) {
        transfer_fail(t, ST_BAD_URL, "url", "%s", curl_url_strerror(code));
        return false;
    }
    if (code == CURLUE_OK && curl_easy_setopt(t->easy, CURLOPT_URL, t->url.data) == CURLE_OK)
        return true;
    return transfer_no_memory(t);
}

bool transfer_apply_hop(struct transfer *t)
{
    t->accepts_codings = true;
    if (t->is_special) {
        curl_easy_reset(t->easy);
        transfer_configure(t);
        t->is_special = false;
    }
    if (!set_url(t))
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
    return apply_header_lines(t) || transfer_no_memory(t);
}
