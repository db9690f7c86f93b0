/* transfer_request: what libcurl is told about a hop, and the callbacks through which it asks back.
 *
 * The handle keeps the options of a plain GET from one fetch to the next; such a fetch sets only its URL and time
 * limits, which saves about thirty calls. Any other request adds its options and marks the handle, which is then reset
 * and configured anew. Nothing else is carried over: no cookies, no alt-svc, no HSTS, no authentication state are ever
 * enabled.
 *
 * The open-socket callback is the authority of the egress policy: it sees the very address that is about to be
 * connected to, whatever name, redirect or DNS answer led there. The pre-request callback judges again when a kept
 * connection is reused. */
#include "pool/transfer_internal.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    RECEIVE_BUFFER_BYTES =
        60 * 1024, /* libcurl frees it after each transfer, and from 64 KiB on glibc tidies its heap at a free() */
    CONNECTION_LIFETIME_S = 300, /* so that a host's new address is used eventually */
    BODY_ROOM_MAX = 1024 * 1024, /* reserved on the word of a Content-Length */
    DISCARD_MAX = 1024 * 1024    /* body bytes of a redirect */
};

#if LIBCURL_VERSION_NUM < 0x075700
#error "libcurl 7.87.0 or newer is needed (CURLOPT_QUICK_EXIT)"
#endif

void transfer_note_refusal(struct transfer *t, const struct sockaddr *address, const char *rule)
{
    t->refused_rule = rule;
    t->refused_is_ipv6 = address->sa_family == AF_INET6;
    struct sockaddr_in6 in6 = { .sin6_family = AF_UNSPEC };
    struct sockaddr_in in;
    memcpy(&in, address, sizeof in);
    if (t->refused_is_ipv6)
        memcpy(&in6, address, sizeof in6);
    const void *bytes = t->refused_is_ipv6 ? (const void *)&in6.sin6_addr : (const void *)&in.sin_addr;
    if (!inet_ntop(t->refused_is_ipv6 ? AF_INET6 : AF_INET, bytes, t->refused_address, sizeof t->refused_address))
        t->refused_address[0] = '\0';
}

static curl_socket_t on_open_socket(void *user, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct transfer *t = user;
    if (purpose != CURLSOCKTYPE_IPCXN)
        return CURL_SOCKET_BAD;
    const char *rule = egress_policy_refuses(t->env->policy, &address->addr, address->addrlen);
    if (rule) {
        transfer_note_refusal(t, &address->addr, rule);
        return CURL_SOCKET_BAD;
    }
    t->stage = STAGE_CONNECTING;
    transfer_lookup_done(t);
    return curl_loop_open_socket(t->env->loop, address);
}

/* A peer whose address cannot be read is refused: fail closed. */
static bool peer_is_allowed(struct transfer *t, const char *ip)
{
    struct sockaddr_in in = { .sin_family = AF_INET };
    struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
    const struct sockaddr *address = NULL;
    socklen_t len = 0;
    if (inet_pton(AF_INET, ip, &in.sin_addr) == 1)
        address = (const struct sockaddr *)&in, len = sizeof in;
    else if (inet_pton(AF_INET6, ip, &in6.sin6_addr) == 1)
        address = (const struct sockaddr *)&in6, len = sizeof in6;
    else
        return false;
    const char *rule = egress_policy_refuses(t->env->policy, address, len);
    if (rule)
        transfer_note_refusal(t, address, rule);
    return rule == NULL;
}

/* libcurl prepares TLS when the TCP connection stands. */
static CURLcode on_tls(CURL *easy, void *context, void *user)
{
    struct transfer *t = user;
    (void)easy;
    (void)context;
    t->stage = STAGE_TLS;
    return CURLE_OK;
}

static int on_request(void *user, char *peer_ip, char *local_ip, int peer_port, int local_port)
{
    (void)local_ip;
    (void)peer_port;
    (void)local_port;
    struct transfer *t = user;
    transfer_lookup_done(t); /* a reused connection needed none */
    if (!peer_is_allowed(t, peer_ip)) {
        t->failure = ST_BLOCKED_ADDRESS;
        return CURL_PREREQFUNC_ABORT;
    }
    t->stage = STAGE_REQUEST;
    return CURL_PREREQFUNC_OK;
}

static size_t on_header(char *line, size_t size, size_t count, void *user)
{
    struct transfer *t = user;
    size_t len = size * count;
    if (t->stage < STAGE_HEAD)
        t->stage = STAGE_HEAD;
    if (response_head_line(&t->head, line, len))
        return len;
    t->failure =
        t->head.text.failed && t->head.bytes <= RESPONSE_HEAD_BYTES_MAX ? ST_NO_MEMORY : ST_UPSTREAM_HEADERS_TOO_LARGE;
    return 0;
}

static bool is_followed_status(long http_status)
{
    return http_status == 301 || http_status == 302 || http_status == 303 || http_status == 307 || http_status == 308;
}

bool transfer_will_follow(const struct transfer *t)
{
    long http_status = 0;
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &http_status);
    return t->item->max_redirects > 0 && is_followed_status(http_status) && response_head_has(&t->head, "location");
}

static void begin_body(struct transfer *t)
{
    t->stage = STAGE_BODY;
    t->discards_body = transfer_will_follow(t);
    curl_off_t declared = -1;
    curl_easy_getinfo(t->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &declared);
    t->body.max = t->item->max_body_bytes;
    if (declared <= 0 || t->discards_body)
        return;
    size_t room = (uint64_t)declared > BODY_ROOM_MAX ? BODY_ROOM_MAX : (size_t)declared;
    if (room > t->body.max)
        room = t->body.max;
    char *reserved = buf_reserve(&t->body, room);
    (void)reserved; /* a failure is sticky and seen by the append */
}

static bool charge(struct transfer *t, size_t bytes)
{
    size_t before = atomic_fetch_add_explicit(&t->budget->used, bytes, memory_order_relaxed);
    if (before + bytes <= t->budget->max) {
        t->charged_bytes += bytes;
        return true;
    }
    atomic_fetch_sub_explicit(&t->budget->used, bytes, memory_order_relaxed);
    return false;
}

/* Any return value but `len` ends the transfer. */
static size_t on_body(char *bytes, size_t size, size_t count, void *user)
{
    struct transfer *t = user;
    size_t len = size * count;
    if (t->stage < STAGE_BODY)
        begin_body(t);
    if (t->discards_body) {
        t->discarded_bytes += len;
        t->failure = t->discarded_bytes > DISCARD_MAX ? ST_PROTOCOL_ERROR : ST_OK;
        return t->failure == ST_OK ? len : CURL_WRITEFUNC_ERROR;
    }
    size_t room = t->item->max_body_bytes - t->body.len, kept = len < room ? len : room;
    if (!charge(t, kept)) {
        t->failure = ST_TOTAL_TOO_LARGE;
        return CURL_WRITEFUNC_ERROR;
    }
    buf_append(&t->body, bytes, kept);
    if (t->body.failed) {
        t->failure = ST_NO_MEMORY;
        return CURL_WRITEFUNC_ERROR;
    }
    t->is_truncated = kept < len;
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
    /* Else a transfer that times out during a slow lookup stops the whole thread until the resolver gives up. */
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "");
    curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long)RECEIVE_BUFFER_BYTES);
    curl_easy_setopt(easy, CURLOPT_MAXLIFETIME_CONN, (long)CONNECTION_LIFETIME_S);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, t->env->user_agent);
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
    const char *const *lines = t->item->headers ? t->item->headers : none;
    size_t given = 0, count = 0;
    while (lines[given])
        given++;
    if (!make_room_for_lines(t, given + 2))
        return false;
    bool has_type = false;
    for (size_t i = 0; i < given; i++) {
        bool is_type = line_is_named(lines[i], "Content-Type");
        if ((!t->keeps_credentials && is_credential(lines[i])) || (is_type && !t->sends_body && t->item->body_len > 0))
            continue;
        has_type = has_type || is_type;
        link_line(t, &count, lines[i]);
    }
    if (t->sends_body) {
        link_line(t, &count, "Expect:"); /* libcurl would wait up to a second for a 100 Continue */
        if (!has_type)
            link_line(t, &count, "Content-Type:"); /* libcurl would claim a form */
    }
    if (count > 0)
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
    if (t->sends_body) {
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)t->item->body_len);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS,
                         t->item->body_len ? t->item->body : ""); /* implies POST; not copied */
    }
    if (t->method == FETCH_HEAD)
        curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    else if (t->method != FETCH_POST && (t->method != FETCH_GET || t->sends_body))
        curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method_name(t->method));
    /* libcurl silently sends a request again if a reused connection turns out to be dead. */
    if (t->method == FETCH_POST || t->method == FETCH_PATCH)
        curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
}

bool transfer_apply_hop(struct transfer *t, uint64_t remaining_ms)
{
    if (t->is_special) {
        curl_easy_reset(t->easy);
        transfer_configure(t);
        t->is_special = false;
    }
    uint64_t connect_ms = remaining_ms < t->env->connect_timeout_ms ? remaining_ms : t->env->connect_timeout_ms;
    curl_easy_setopt(t->easy, CURLOPT_TIMEOUT_MS, (long)remaining_ms);
    curl_easy_setopt(t->easy, CURLOPT_CONNECTTIMEOUT_MS, (long)connect_ms);
    if (curl_easy_setopt(t->easy, CURLOPT_URL, t->url) != CURLE_OK)
        return false;
    if (t->method == FETCH_GET && !t->item->headers && !t->sends_body)
        return true;
    t->is_special = true;
    apply_method(t);
    return apply_header_lines(t);
}
