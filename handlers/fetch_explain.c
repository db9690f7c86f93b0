/* fetch_explain: the checks of pool/transfer.c in their order, each with its verdict.
 *
 * A name is not resolved, since that would be a packet: its addresses are judged when it is fetched, and all must pass.
 */
#include "handlers/fetch_explain.h"

#include <stdio.h>
#include <string.h>

#include "base/json_write.h"
#include "handlers/handler.h"
#include "handlers/limits.h"
#include "pool/egress_policy.h"
#include "pool/url_rules.h"

enum { STEPS_BYTES = 2048, TRAIL_MAX_BYTES = 64 * 1024 * 1024 };

struct trail {
    struct buf steps; /* JSON objects with commas between */
    enum status status;
    bool is_open; /* it depends on what the name's addresses will be */
    char message[EGRESS_MESSAGE_SIZE];
};

static void add_step(struct trail *trail, const char *check, const char *value, const char *result, const char *detail)
{
    struct buf *out = &trail->steps;
    buf_str(out, out->len > 0 ? ",{\"check\":\"" : "{\"check\":\"");
    buf_str(out, check);
    buf_lit(out, "\"");
    if (value) {
        buf_lit(out, ",\"value\":");
        json_text(out, value);
    }
    buf_lit(out, ",\"result\":\"");
    buf_str(out, result);
    buf_lit(out, "\"");
    if (detail) {
        buf_lit(out, ",\"detail\":");
        json_text(out, detail);
    }
    buf_byte(out, '}');
}

/* False: the trail ends here. */
static bool add_verdict(struct trail *trail, const char *check, const char *value, enum status status)
{
    trail->status = status;
    add_step(trail, check, value, status == ST_OK ? "allowed" : "refused", status == ST_OK ? NULL : trail->message);
    return status == ST_OK;
}

static void add_open_step(struct trail *trail)
{
    trail->is_open = true;
    add_step(trail, "address", NULL, "open",
             "the name is resolved when it is fetched; then every one of its addresses must be allowed");
}

static void follow(const struct egress_policy *policy, const char *url, struct trail *trail)
{
    struct url_parts parts;
    const char *message;
    char port[8];
    enum status status = url_rules_check(url, &parts, &message);
    if (status != ST_OK)
        snprintf(trail->message, sizeof trail->message, "%s", message);
    if (!add_verdict(trail, status == ST_SCHEME_NOT_ALLOWED ? "scheme" : "url", NULL, status))
        return;
    snprintf(port, sizeof port, "%u", parts.port);
    add_step(trail, "scheme", parts.is_https ? "https" : "http", "allowed", NULL);
    if (!add_verdict(trail, "port", port, egress_policy_check_port(policy, parts.port, trail->message)) ||
        !add_verdict(trail, "host", parts.host, egress_policy_check_host(policy, parts.host, trail->message)))
        return;
    if (parts.address_len > 0)
        (void)add_verdict(trail, "address", parts.host,
                          egress_policy_check_address(policy, (const struct sockaddr *)&parts.address,
                                                      parts.address_len, parts.port, trail->message));
    else
        add_open_step(trail);
}

static void write_trail(const struct fetch_item *item, size_t index, const struct egress_policy *policy,
                        struct buf *out)
{
    struct trail trail = { .steps = BUF_INIT(STEPS_BYTES + 12 * strlen(item->url)) };
    follow(policy, item->url, &trail);
    buf_str(out, index > 0 ? ",{\"index\":" : "{\"index\":");
    json_uint(out, index);
    buf_lit(out, ",\"url\":");
    json_text(out, item->url);
    buf_str(out, trail.status != ST_OK ? ",\"allowed\":false"
                 : trail.is_open       ? ",\"allowed\":null"
                                       : ",\"allowed\":true");
    if (trail.status != ST_OK) {
        buf_lit(out, ",\"code\":");
        json_text(out, status_code(trail.status));
    }
    buf_lit(out, ",\"steps\":[");
    buf_append(out, trail.steps.data ? trail.steps.data : "", trail.steps.len);
    buf_lit(out, "]}");
    out->failed = out->failed || trail.steps.failed;
    buf_done(&trail.steps);
}

void fetch_explain(struct fetch_request *request)
{
    struct buf out = BUF_INIT(TRAIL_MAX_BYTES);
    buf_lit(&out, "{\"explained\":[");
    for (size_t i = 0; i < request->call.count; i++)
        write_trail(&request->call.items[i], i, request->x->app->limits->egress, &out);
    buf_lit(&out, "]}");
    exchange_answer_buf(request->x, 200, JSON_TYPE, &out);
}
