/* transfer: the life of one attempt: check the URL, resolve its name, run a hop, follow or finish.
 *
 * Redirects are followed here and not by libcurl, because each hop must pass everything the first one passed: the URL
 * rules, the policy, the remaining time. Methods change as RFC 9110 section 15.4 has it; credentials stay behind when
 * a hop leaves the first origin, and do not come back if a later one returns; a body never leaves its origin.
 *
 * Names are resolved before libcurl hears of the hop: every address of the answer must pass the policy, and these very
 * addresses are handed to libcurl with the URL. It has no resolver to fall back on: a name that is not pinned fails. */
#include "pool/transfer.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "pool/transfer_internal.h"

enum {
    KEPT_BODY_BYTES = 64 * 1024,
    KEPT_HEAD_BYTES = 8 * 1024,
    URL_TEXT_MAX = URL_LENGTH_MAX + URL_HOST_MAX + 16,
    PINS_MAX = 4096
};

static void on_resolved(struct resolver_wait *wait, const struct resolver_answer *answer);

struct transfer *transfer_new(struct transfer_env *env)
{
    struct transfer *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->env = env;
    t->easy = curl_easy_init();
    t->parsed_url = curl_url();
    if (!t->easy || !t->parsed_url) {
        curl_easy_cleanup(t->easy);
        curl_url_cleanup(t->parsed_url);
        free(t);
        return NULL;
    }
    t->timer.on_due = transfer_timer_due;
    t->lookup.on_answer = on_resolved;
    t->url = BUF_INIT(URL_TEXT_MAX);
    t->pins = BUF_INIT(PINS_MAX);
    t->body = BUF_INIT(0);
    response_head_init(&t->head);
    transfer_configure(t);
    return t;
}

void transfer_free(struct transfer *transfer)
{
    if (!transfer)
        return;
    curl_easy_cleanup(transfer->easy);
    curl_url_cleanup(transfer->parsed_url);
    free(transfer->lines);
    buf_done(&transfer->url);
    buf_done(&transfer->pins);
    buf_done(&transfer->body);
    response_head_done(&transfer->head);
    free(transfer);
}

static struct transfer *transfer_of(CURL *easy)
{
    char *private = NULL;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &private);
    return (struct transfer *)(void *)private;
}

void *transfer_user(const struct transfer *transfer) { return transfer->spec.user; }
struct transfer_usage transfer_usage(const struct transfer *transfer) { return transfer->usage; }
const struct transfer_outcome *transfer_outcome(const struct transfer *transfer) { return &transfer->outcome; }
enum transfer_stage transfer_stage(const struct transfer *transfer) { return transfer->stage; }

size_t transfer_pass_taken(struct transfer *transfer)
{
    size_t bytes = transfer->taken_bytes;
    transfer->taken_bytes = transfer->charged_bytes = 0;
    return bytes;
}

/* ---- pausing */

void transfer_pause(struct transfer *t)
{
    if (t->is_paused)
        return;
    t->is_paused = true;
    TAILQ_INSERT_TAIL(&t->env->paused, t, paused_link);
    atomic_fetch_add(&t->env->memory->waiting, 1);
}

static void unpause(struct transfer *t)
{
    if (!t->is_paused)
        return;
    t->is_paused = false;
    TAILQ_REMOVE(&t->env->paused, t, paused_link);
    atomic_fetch_sub(&t->env->memory->waiting, 1);
    t->rate_since_ns = clock_now_ns(); /* it was not the origin that was slow */
    t->rate_bytes = 0;
}

void transfers_resume(struct transfer_env *env)
{
    struct transfer *t;
    unsigned left = 0;
    TAILQ_FOREACH(t, &env->paused, paused_link)
    left++;
    /* Each has one turn: those that pause again go to the end, and one that ends may take its hedge along. */
    for (; left > 0 && (t = TAILQ_FIRST(&env->paused)) != NULL; left--) {
        unpause(t);
        CURLcode code = curl_easy_pause(t->easy, CURLPAUSE_CONT); /* calls on_body(), which may pause it again */
        if (code != CURLE_OK)
            transfer_done(t->easy, code);
    }
}

/* ---- the end */

static void detach(struct transfer *t)
{
    timers_cancel(&t->env->loop->timers, &t->timer);
    resolver_leave(&t->lookup);
    unpause(t);
    if (t->is_added)
        curl_loop_remove(t->env->loop, t->shard, t->easy);
    t->is_added = false;
}

/* A failed attempt holds nothing of the call's budgets, nor does an answer that was not passed on. */
static void give_back(struct transfer *t)
{
    if (t->charged_bytes > 0)
        atomic_fetch_sub_explicit(&t->spec.call->body_bytes, t->charged_bytes, memory_order_relaxed);
    t->charged_bytes = 0;
    memory_give(t->env->memory, t->taken_bytes);
    t->taken_bytes = 0;
}

static void end_quietly(struct transfer *t)
{
    detach(t);
    transfer_end_decoding(t);
    if (t->outcome.status != ST_OK)
        give_back(t);
}

void transfer_end(struct transfer *t)
{
    end_quietly(t);
    t->env->on_end(t);
}

static void end_failed(struct transfer *t)
{
    transfer_note_ended(t, t->outcome.status, 0);
    transfer_end(t);
}

void transfer_stop(struct transfer *transfer)
{
    transfer_note_ended(transfer, ST_CANCELLED, 0);
    transfer->outcome.status = ST_CANCELLED;
    end_quietly(transfer);
}

/* ---- a hop */

static void clear_hop(struct transfer *t)
{
    t->stage = STAGE_RESOLVING;
    t->began_ns = clock_now_ns();
    t->resolved_ns = t->connecting_ns = t->tls_ns = t->sent_ns = t->head_ns = t->body_ns = 0;
    t->failure = ST_OK;
    t->budget = NULL;
    t->refusal[0] = '\0';
    t->discards_body = t->is_truncated = t->is_exempt = false;
    t->decoder_bytes = t->earlier_bytes = t->decoded_len = t->coded_bytes = t->paid_bytes = t->seen_bytes = 0;
    t->error_text[0] = '\0';
    buf_clear(&t->body);
    response_head_clear(&t->head);
}

/* The policy's words, and what led there if it is not the URL itself. Always false. */
static bool refuse(struct transfer *t, enum status status)
{
    if (t->redirects > 0)
        transfer_fail(t, status, "policy", "redirected to \"%.80s\": %s", t->url.data, t->refusal);
    else if (t->parts.address_len == 0 && (status == ST_BLOCKED_ADDRESS || status == ST_LOOP_DETECTED))
        transfer_fail(t, status, "policy", "%.80s: %s", t->parts.host, t->refusal); /* of one of its addresses */
    else
        transfer_fail(t, status, "policy", "%s", t->refusal);
    return false;
}

static unsigned shard_of_hop(const struct transfer *t)
{
    uint32_t hash = t->spec.shard;
    if (!t->keeps_credentials) /* it has left the item's host */
        for (const char *c = t->parts.host; *c; c++)
            hash = hash * 31 + (unsigned char)*c;
    return hash % CURL_LOOP_SHARDS;
}

/* Hands the hop to libcurl. False: it cannot be made, and the outcome says why. */
static bool hand_over(struct transfer *t)
{
    transfer_enter(t, STAGE_CONNECTING);
    t->shard = shard_of_hop(t);
    if (!transfer_apply_hop(t))
        return false;
    t->is_added = curl_loop_add(t->env->loop, t->shard, t->easy);
    return (t->is_added && transfer_watch_time(t)) || transfer_no_memory(t);
}

static void pin_address(struct transfer *t, const struct sockaddr_storage *address)
{
    char text[INET6_ADDRSTRLEN] = "";
    bool is_ipv6 = address->ss_family == AF_INET6;
    const void *bytes = is_ipv6 ? (const void *)&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr
                                : (const void *)&((const struct sockaddr_in *)(const void *)address)->sin_addr;
    inet_ntop(address->ss_family, bytes, text, sizeof text);
    buf_printf(&t->pins, is_ipv6 ? "%s[%s]" : "%s%s", t->resolved_count++ > 0 ? "," : "", text);
}

/* One bad address condemns the name, since which of them would be taken is chance; but of our own answer, IPv4 and IPv6
 * loopback, one may be allowed without the other, unless the other is this service. */
static bool condemns(const struct resolver_answer *answer, enum status refusal)
{
    return refusal != ST_OK && (!answer->is_own || refusal == ST_LOOP_DETECTED);
}

/* False: the name is refused, and the outcome says for which address. */
static bool pin(struct transfer *t, const struct resolver_answer *answer)
{
    enum status refusal = ST_OK;
    buf_clear(&t->pins);
    t->resolved_count = 0;
    buf_printf(&t->pins, "+%s:%u:", t->parts.host, t->parts.port);
    for (size_t i = 0; i < answer->count && !condemns(answer, refusal); i++) {
        const struct sockaddr_storage *address = &answer->addresses[i];
        enum status status = t->env->skips_url_check
                                 ? ST_OK
                                 : egress_policy_check_address(t->env->policy, (const struct sockaddr *)address,
                                                               sizeof *address, t->parts.port, t->refusal);
        if (status == ST_OK)
            pin_address(t, address);
        else
            refusal = status;
    }
    if (condemns(answer, refusal) || t->resolved_count == 0)
        return refuse(t, refusal);
    t->refusal[0] = '\0';
    buf_byte(&t->pins, '\0');
    return !t->pins.failed || transfer_no_memory(t);
}

static bool take_answer(struct transfer *t, const struct resolver_answer *answer)
{
    if (answer->status == ST_OK)
        return pin(t, answer) && hand_over(t);
    transfer_fail(t, answer->status, "dns", "%s: %.150s", answer->message, t->parts.host);
    t->outcome.is_retriable = answer->is_retriable;
    return false;
}

static void on_resolved(struct resolver_wait *wait, const struct resolver_answer *answer)
{
    struct transfer *t = (struct transfer *)(void *)((char *)wait - offsetof(struct transfer, lookup));
    if (!take_answer(t, answer))
        end_failed(t);
}

/* t->url and t->parts are the hop's. False: it cannot be made, and the outcome says why. */
static bool run_hop(struct transfer *t)
{
    clear_hop(t);
    enum status status =
        t->env->skips_url_check ? ST_OK : egress_policy_check_url(t->env->policy, &t->parts, t->refusal);
    if (status != ST_OK)
        return refuse(t, status);
    if (t->parts.address_len > 0)
        return hand_over(t);
    const struct resolver_answer *answer = resolver_ask(t->env->resolver, t->parts.host, &t->lookup);
    if (answer)
        return take_answer(t, answer);
    return transfer_watch_time(t) || transfer_no_memory(t);
}

/* Makes `text` the current URL. */
static enum status take_url(struct transfer *t, const char *text, struct url_parts *ret_parts, const char **ret_message)
{
    enum status status = url_rules_check(text, ret_parts, ret_message);
    if (status != ST_OK)
        return status;
    buf_clear(&t->url);
    url_rules_write(ret_parts, text, &t->url);
    buf_byte(&t->url, '\0');
    *ret_message = t->url.failed ? "there was no memory for the URL" : NULL;
    return t->url.failed ? ST_NO_MEMORY : ST_OK;
}

static bool method_sends_body(const struct fetch_item *item)
{
    return item->method == FETCH_POST || item->method == FETCH_PUT || item->method == FETCH_PATCH || item->body_len > 0;
}

bool transfer_start(struct transfer *transfer, const struct transfer_spec *spec)
{
    struct transfer *t = transfer;
    t->spec = *spec;
    t->usage = (struct transfer_usage){ 0 };
    t->method = spec->item->method;
    t->sends_body = method_sends_body(spec->item);
    t->counts_body = spec->item->body_form == FETCH_BODY_NONE;
    t->keeps_credentials = true;
    t->redirects = 0;
    t->is_fresh = t->starts_fresh = false;
    t->charged_bytes = t->taken_bytes = 0;
    t->outcome.was_sent = false;
    t->outcome.repetitions = 0;
    t->outcome.is_tls = false;
    t->outcome.retry_after_ns = CLOCK_NEVER;
    t->outcome.last = (struct ledger_entry){ .attempt = spec->attempt };
    const char *message;
    enum status status = take_url(t, spec->item->url, &t->parts, &message);
    if (status != ST_OK) {
        clear_hop(t);
        transfer_fail(t, status, "url", "%s", message);
        return false;
    }
    if (run_hop(t))
        return true;
    if (t->outcome.status != ST_NO_MEMORY)
        transfer_note_ended(t, t->outcome.status, 0);
    end_quietly(t);
    return false;
}

/* ---- redirects */

/* RFC 9110: 303 asks for the result with GET; 301 and 302 turn a POST into GET, as every client does; 307 and 308 keep
 * all. */
static void change_method(struct transfer *t, unsigned http_status)
{
    bool becomes_get = (http_status == 303 && t->method != FETCH_HEAD) ||
                       ((http_status == 301 || http_status == 302) && t->method == FETCH_POST);
    if (!becomes_get)
        return;
    t->method = FETCH_GET;
    t->sends_body = false;
}

static bool is_same_origin(const struct url_parts *a, const struct url_parts *b)
{
    return a->is_https == b->is_https && a->port == b->port && strcmp(a->host, b->host) == 0;
}

/* Makes the target the current URL. False: it may not be followed, and the outcome says why. */
static bool take_target(struct transfer *t, const char *target, unsigned http_status)
{
    struct url_parts parts;
    const char *message;
    enum status status = take_url(t, target, &parts, &message);
    if (status != ST_OK) {
        transfer_fail(t, status, "redirect", "redirected to \"%.80s\": %s", target, message);
        return false;
    }
    change_method(t, http_status);
    if (!is_same_origin(&parts, &t->parts)) {
        t->keeps_credentials = false;
        if (t->sends_body && t->spec.item->body_len > 0) {
            transfer_fail(t, ST_REDIRECT_REFUSED, "redirect",
                          "the %u redirect would send the request's body to another origin, \"%.80s\"", http_status,
                          target);
            return false;
        }
    }
    t->parts = parts;
    return true;
}

void transfer_note_repetition(struct transfer *t)
{
    transfer_note_ended(t, ST_CONNECTION_CLOSED, 0);
    t->outcome.repetitions++;
    t->began_ns = clock_now_ns();
    t->connecting_ns = t->tls_ns = t->sent_ns = 0;
    transfer_enter(t, STAGE_CONNECTING);
}

/* The hop again, over a new connection: the kept one was dead. */
static void start_fresh(struct transfer *t)
{
    transfer_note_repetition(t);
    t->starts_fresh = false;
    t->is_fresh = true;
    t->failure = ST_OK;
    detach(t);
    if (!hand_over(t))
        end_failed(t);
}

static bool follow(struct transfer *t, const char *target, unsigned http_status)
{
    transfer_note_ended(t, ST_OK, http_status);
    if (t->redirects == t->spec.item->max_redirects) {
        transfer_fail(t, ST_TOO_MANY_REDIRECTS, "redirect", "gave up after %u redirects (max_redirects)", t->redirects);
        return false;
    }
    if (response_head_count(&t->head, "location") > 1) {
        transfer_fail(t, ST_PROTOCOL_ERROR, "redirect", "the redirect has more than one Location");
        return false;
    }
    if (!take_target(t, target, http_status))
        return false;
    t->redirects++;
    detach(t);
    if (run_hop(t))
        return true;
    transfer_note_ended(t, t->outcome.status, 0);
    return false;
}

/* libcurl takes an answer for whole that ends within its header, or its coded body. */
static bool is_whole(struct transfer *t)
{
    if (!t->head.is_complete)
        transfer_fail(t, ST_CONNECTION_CLOSED, "first_byte", "the origin closed within the answer's header");
    else if (!t->is_truncated && !transfer_body_is_whole(t))
        transfer_fail(t, ST_TRUNCATED, "body", "the coded body ends too early");
    else
        return true;
    return false;
}

/* False: the outcome says why. */
static bool has_answer(struct transfer *t, CURLcode code)
{
    if (code == CURLE_OK || (t->is_truncated && t->failure == ST_OK))
        return is_whole(t);
    transfer_map_failure(t, code);
    return false;
}

void transfer_done(CURL *easy, CURLcode code)
{
    struct transfer *t = transfer_of(easy);
    long http_status = 0;
    char *target = NULL;
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &http_status);
    if (t->starts_fresh) {
        start_fresh(t);
        return;
    }
    if (!has_answer(t, code)) {
        end_failed(t);
        return;
    }
    if (transfer_will_follow(t))
        curl_easy_getinfo(easy, CURLINFO_REDIRECT_URL, &target);
    if (target) {
        if (!follow(t, target, (unsigned)http_status))
            transfer_end(t);
        return;
    }
    transfer_note_ended(t, ST_OK, (unsigned)http_status);
    transfer_fill_answer(t);
    transfer_end(t);
}

void transfer_recycle(struct transfer *transfer)
{
    give_back(transfer);
    if (transfer->body.cap > KEPT_BODY_BYTES)
        buf_done(&transfer->body);
    if (transfer->head.text.cap > KEPT_HEAD_BYTES) {
        response_head_done(&transfer->head);
        response_head_init(&transfer->head);
    }
}
