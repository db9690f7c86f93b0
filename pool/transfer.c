/* transfer: the life of one fetch: check the URL, run a hop, follow or finish.
 *
 * Redirects are followed here and not by libcurl, because each hop must pass everything the first one passed: the URL
 * rules, the policy, the remaining time. Methods change as RFC 9110 section 15.4 has it; credentials stay behind when
 * a hop leaves the first origin, and do not come back if a later one returns; a body never leaves its origin. */
#include "pool/transfer.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "pool/fetch_render.h"
#include "pool/transfer_internal.h"

enum { KEPT_BODY_BYTES = 256 * 1024 };

struct transfer *transfer_new(struct transfer_env *env)
{
    struct transfer *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->env = env;
    t->easy = curl_easy_init();
    if (!t->easy) {
        free(t);
        return NULL;
    }
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
    free(transfer->hop_url);
    free(transfer->lines);
    buf_done(&transfer->body);
    response_head_done(&transfer->head);
    free(transfer);
}

struct transfer *transfer_of(CURL *easy)
{
    char *private = NULL;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &private);
    return (struct transfer *)(void *)private;
}

void *transfer_user(const struct transfer *transfer) { return transfer->user; }
struct transfer_usage transfer_usage(const struct transfer *transfer) { return transfer->usage; }

void transfer_lookup_done(struct transfer *t)
{
    if (!t->is_resolving)
        return;
    t->is_resolving = false;
    t->env->lookups--;
    t->budget->lookups[t->env->thread]--;
    t->env->may_resume = true;
}

static bool has_place(const struct transfer *t)
{
    return t->parts.address_len > 0 || (t->env->lookups < TRANSFER_LOOKUPS_MAX &&
                                        t->budget->lookups[t->env->thread] < TRANSFER_LOOKUPS_PER_CALL);
}

static void remove_from_multi(struct transfer *t)
{
    if (t->is_waiting)
        TAILQ_REMOVE(&t->env->waiting, t, waiting_link);
    t->is_waiting = false;
    transfer_lookup_done(t);
    if (t->is_added)
        curl_multi_remove_handle(t->env->loop->multi, t->easy);
    t->is_added = false;
}

/* Every failed fetch ends here: its result is complete, and it holds nothing of the call's budget. */
static void end_failed(struct transfer *t)
{
    atomic_fetch_sub_explicit(&t->budget->used, t->charged_bytes, memory_order_relaxed);
    t->charged_bytes = 0;
    remove_from_multi(t);
    fetch_render_failure(t->item, t->index);
}

static void clear_hop(struct transfer *t)
{
    t->stage = STAGE_RESOLVING;
    t->failure = ST_OK;
    t->refused_rule = NULL;
    t->discards_body = t->is_truncated = false;
    t->discarded_bytes = 0;
    t->error_text[0] = '\0';
    buf_clear(&t->body);
    t->body.max = t->item->max_body_bytes;
    response_head_clear(&t->head);
}

/* Hands the hop to libcurl. False: it cannot be made, and the item says why. */
static bool begin_hop(struct transfer *t)
{
    uint64_t now_ns = clock_now_ns();
    uint64_t remaining_ms = t->deadline_ns > now_ns ? (t->deadline_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS : 0;
    if (remaining_ms == 0) {
        fetch_item_fail(t->item, ST_TIMEOUT, t->redirects > 0 ? "redirect" : "dns",
                        t->redirects > 0 ? "no time was left to follow the redirect" : "no time was left to resolve the name");
        return false;
    }
    if (!transfer_apply_hop(t, remaining_ms) || curl_multi_add_handle(t->env->loop->multi, t->easy) != CURLM_OK) {
        fetch_item_fail(t->item, ST_NO_MEMORY, "connect", "%s", status_title(ST_NO_MEMORY));
        return false;
    }
    t->is_added = true;
    if (t->parts.address_len == 0) {
        t->is_resolving = true;
        t->env->lookups++;
        t->budget->lookups[t->env->thread]++;
    }
    return true;
}

/* t->parts is that of t->url. False: the hop cannot be made, and the item says why. */
static bool run_hop(struct transfer *t)
{
    clear_hop(t);
    if (t->parts.address_len > 0) {
        const struct sockaddr *address = (const struct sockaddr *)&t->parts.address;
        const char *rule = egress_policy_refuses(t->env->policy, address, t->parts.address_len);
        if (rule) {
            transfer_note_refusal(t, address, rule);
            transfer_fail_refused(t);
            return false;
        }
    }
    if (has_place(t))
        return begin_hop(t);
    t->is_waiting = true;
    TAILQ_INSERT_TAIL(&t->env->waiting, t, waiting_link);
    return true;
}

struct transfer *transfer_next_waiting(struct transfer_env *env)
{
    if (!env->may_resume)
        return NULL;
    struct transfer *t;
    TAILQ_FOREACH(t, &env->waiting, waiting_link)
        if (has_place(t)) {
            TAILQ_REMOVE(&env->waiting, t, waiting_link);
            t->is_waiting = false;
            return t;
        }
    env->may_resume = false;
    return NULL;
}

bool transfer_resume(struct transfer *transfer)
{
    if (begin_hop(transfer))
        return true;
    end_failed(transfer);
    return false;
}

static bool method_sends_body(const struct fetch_item *item)
{
    return item->method == FETCH_POST || item->method == FETCH_PUT || item->method == FETCH_PATCH || item->body_len > 0;
}

bool transfer_start(struct transfer *transfer, struct fetch_item *item, size_t index, struct call_budget *budget,
                    void *user)
{
    struct transfer *t = transfer;
    t->item = item;
    t->index = index;
    t->budget = budget;
    t->user = user;
    t->started_ns = clock_now_ns();
    t->deadline_ns = t->started_ns + (uint64_t)item->timeout_ms * NS_PER_MS;
    t->usage = (struct transfer_usage){ 0 };
    t->url = item->url;
    t->method = item->method;
    t->sends_body = method_sends_body(item);
    t->keeps_credentials = true;
    t->redirects = 0;
    t->charged_bytes = 0;
    const char *message;
    enum status status = url_rules_check(t->url, &t->parts, &message);
    if (status != ST_OK) {
        fetch_item_fail(item, status, "url", "%s", message);
        end_failed(t);
        return false;
    }
    if (run_hop(t))
        return true;
    end_failed(t);
    return false;
}

static void count_usage(struct transfer *t)
{
    long opened = 0;
    curl_easy_getinfo(t->easy, CURLINFO_NUM_CONNECTS, &opened);
    t->usage.connections_opened += (unsigned)opened;
    if (opened == 0 && t->stage >= STAGE_REQUEST)
        t->usage.connections_reused++;
    t->usage.body_bytes += t->body.len;
}

/* RFC 9110: 303 asks for the result with GET; 301 and 302 turn a POST into GET, as every client does; 307 and 308 keep
 * all. */
static void change_method(struct transfer *t, long http_status)
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

/* Makes the target the current URL. False: it may not be followed, and the item says why. */
static bool take_target(struct transfer *t, const char *target, long http_status)
{
    struct url_parts parts;
    const char *message;
    enum status status = url_rules_check(target, &parts, &message);
    if (status != ST_OK) {
        fetch_item_fail(t->item, status, "redirect", "redirected to \"%.80s\": %s", target, message);
        return false;
    }
    change_method(t, http_status);
    if (!is_same_origin(&parts, &t->parts)) {
        t->keeps_credentials = false;
        if (t->sends_body && t->item->body_len > 0) {
            fetch_item_fail(t->item, ST_REDIRECT_REFUSED, "redirect",
                            "the %ld redirect would send the request's body to another origin, \"%.80s\"", http_status,
                            target);
            return false;
        }
    }
    char *copy = strdup(target); /* libcurl's own goes with the next request */
    if (!copy) {
        fetch_item_fail(t->item, ST_NO_MEMORY, "redirect", "%s", status_title(ST_NO_MEMORY));
        return false;
    }
    free(t->hop_url);
    t->url = t->hop_url = copy;
    t->parts = parts;
    return true;
}

static bool follow(struct transfer *t, const char *target)
{
    long http_status = 0;
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &http_status);
    if (t->redirects == t->item->max_redirects) {
        fetch_item_fail(t->item, ST_TOO_MANY_REDIRECTS, "redirect", "gave up after %u redirects (max_redirects)",
                        t->redirects);
        return false;
    }
    if (!take_target(t, target, http_status))
        return false;
    t->redirects++;
    remove_from_multi(t);
    return run_hop(t);
}

bool transfer_hop_done(struct transfer *transfer, CURLcode code)
{
    struct transfer *t = transfer;
    count_usage(t);
    if (code != CURLE_OK && !(t->is_truncated && t->failure == ST_OK)) {
        transfer_map_failure(t, code);
        end_failed(t);
        return false;
    }
    char *target = NULL;
    if (transfer_will_follow(t))
        curl_easy_getinfo(t->easy, CURLINFO_REDIRECT_URL, &target);
    if (target) {
        if (follow(t, target))
            return true;
        end_failed(t);
        return false;
    }
    transfer_render(t);
    remove_from_multi(t);
    return false;
}

void transfer_abort(struct transfer *transfer, enum status why)
{
    fetch_item_fail(transfer->item, why, transfer_phase(transfer), "%s", status_title(why));
    end_failed(transfer);
}

void transfer_recycle(struct transfer *transfer)
{
    free(transfer->hop_url);
    transfer->hop_url = NULL;
    if (transfer->body.cap > KEPT_BODY_BYTES)
        buf_done(&transfer->body);
}
