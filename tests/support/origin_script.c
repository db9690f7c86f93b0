#include "tests/support/origin_script.h"

#include <stdlib.h>
#include <string.h>

/* Repetitions put together for one send(). */
enum { REFILL_BYTES = 64 * 1024 };

void script_answer(struct script *script, unsigned status, const char *fields, const char *body, size_t len)
{
    struct buf *first = &script->reply->first;
    buf_printf(first, "HTTP/1.1 %u Test\r\n%sContent-Length: %zu\r\n\r\n", status, fields, len);
    if (len > 0)
        buf_append(first, body, len);
}

void script_answer_text(struct script *script, unsigned status, const char *fields, const char *body)
{
    script_answer(script, status, fields, body, strlen(body));
}

void script_not_found(struct script *script) { script_answer_text(script, 404, TEXT, "no such behaviour\n"); }

void script_repeat(struct script *script, const char *head, const char *block, size_t len, uint64_t count)
{
    buf_str(&script->reply->first, head);
    script->reply->repeat = block;
    script->reply->repeat_len = len;
    script->reply->repeat_count = count;
}

unsigned script_number(const struct script *script, const char *name, unsigned otherwise)
{
    return (unsigned)origin_query_number(script->request->target, name, otherwise);
}

unsigned script_status(const struct script *script, unsigned otherwise)
{
    return script_number(script, "status", otherwise);
}

enum origin_ending script_ending(const struct script *script)
{
    struct buf how = BUF_INIT(REPLY_BYTES_MAX);
    bool is_reset =
        origin_query(script->request->target, "how", &how) && how.len == 3 && memcmp(how.data, "rst", 3) == 0;
    buf_done(&how);
    return is_reset ? ORIGIN_RESET : ORIGIN_CLOSE;
}

void script_add_param(struct script *script, const char *name, const char *otherwise)
{
    if (!origin_query(script->request->target, name, &script->reply->first))
        buf_str(&script->reply->first, otherwise);
}

uint64_t script_arg_number(const struct script *script) { return strtoull(script->arg, NULL, 10); }

bool script_arg_is(const struct script *script, const char *text)
{
    size_t len = strcspn(script->arg, "?");
    return len == strlen(text) && memcmp(script->arg, text, len) == 0;
}

static const struct behaviour *find_behaviour(const char *target)
{
    static const struct behaviour *const tables[] = { origin_plain_paths, origin_time_paths,     origin_redirect_paths,
                                                      origin_size_paths,  origin_protocol_paths, origin_coded_paths };
    const size_t path_len = strcspn(target, "?");
    for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
        for (const struct behaviour *at = tables[i]; at->prefix; at++) {
            size_t len = strlen(at->prefix);
            bool takes_arg = at->prefix[len - 1] == '/';
            if (strncmp(target, at->prefix, len) == 0 && (takes_arg || path_len == len))
                return at;
        }
    }
    return NULL;
}

/* Leaves the head alone. A script that never ends its head goes on as it is. */
static void drop_body(struct origin_reply *reply)
{
    const char *head_end = reply->first.len ? memmem(reply->first.data, reply->first.len, "\r\n\r\n", 4) : NULL;
    if (!head_end)
        return;
    reply->first.len = (size_t)(head_end - reply->first.data) + 4;
    reply->repeat_count = 0;
    reply->last_len = 0;
    reply->body_waits_for_gate = false;
}

void origin_reply_write(const struct origin_request *request, struct origin_reply *ret_reply)
{
    *ret_reply = (struct origin_reply){ .first = BUF_INIT(REPLY_BYTES_MAX), .block = BUF_INIT(REPLY_BYTES_MAX) };
    struct script script = { request, "", ret_reply };
    const struct behaviour *behaviour = find_behaviour(request->target);
    if (!behaviour) {
        script_not_found(&script);
        return;
    }
    script.arg = request->target + strlen(behaviour->prefix);
    ret_reply->ending = behaviour->ending;
    if (behaviour->write)
        behaviour->write(&script);
    else
        buf_append(&ret_reply->first, behaviour->bytes, behaviour->len);
    if (ret_reply->first.failed || ret_reply->block.failed) {
        origin_reply_done(ret_reply);
        *ret_reply = (struct origin_reply){ .first = BUF_INIT(REPLY_BYTES_MAX), .block = BUF_INIT(REPLY_BYTES_MAX) };
        script_answer_text(&script, 500, TEXT, "that is more than fits\n");
    }
    if (strcmp(request->method, "HEAD") == 0 && !behaviour->is_same_for_head)
        drop_body(ret_reply);
}

void origin_reply_done(struct origin_reply *reply)
{
    buf_done(&reply->first);
    buf_done(&reply->block);
}

bool origin_reply_refill(struct origin_reply *reply)
{
    buf_clear(&reply->first);
    reply->step_bytes = 0;
    if (reply->repeat_count == 0) {
        size_t len = reply->last_len;
        reply->last_len = 0;
        if (len > 0)
            buf_append(&reply->first, reply->last, len);
        return len > 0;
    }
    uint64_t count = reply->repeat_every_ms || reply->repeat_len > REFILL_BYTES ? 1 : REFILL_BYTES / reply->repeat_len;
    if (count > reply->repeat_count)
        count = reply->repeat_count;
    for (uint64_t i = 0; i < count; i++)
        buf_append(&reply->first, reply->repeat, reply->repeat_len);
    if (reply->repeat_count != UINT64_MAX)
        reply->repeat_count -= count;
    return true;
}
