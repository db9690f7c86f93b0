/* When the test origin answers, and whether: delays, gates, silence, and failures that a second try gets past. */
#include "tests/support/origin_script.h"

static void delay(struct script *script)
{
    script->reply->delay_ms = (uint32_t)script_arg_number(script);
    script_answer_text(script, 200, TEXT, "late\n");
}

static void gate(struct script *script)
{
    script->reply->waits_for_gate = true;
    script_answer_text(script, 200, TEXT, "at last\n");
}

static void gate_body(struct script *script)
{
    static const char body[] = "at last\n";
    script->reply->body_waits_for_gate = true;
    script_repeat(script, OK TEXT SIZED(8) "\r\n", body, sizeof body - 1, 1);
}

static void late_body(struct script *script)
{
    static const char body[] = "late\n";
    script_repeat(script, OK TEXT SIZED(5) "\r\n", body, sizeof body - 1, 1);
    script->reply->repeat_every_ms = script_number(script, "ms", 100);
}

static void stall(struct script *script) { script->reply->ending = ORIGIN_SILENCE; }

static void silent_after_headers(struct script *script)
{
    buf_lit(&script->reply->first, OK TEXT SIZED(100) "\r\n");
    script->reply->ending = ORIGIN_SILENCE;
}

static void stall_body(struct script *script)
{
    buf_lit(&script->reply->first, OK SIZED(100) "\r\nbeginning");
    script->reply->ending = ORIGIN_SILENCE;
}

static void trickle(struct script *script)
{
    script_repeat(script, OK SIZED(1000000) "\r\n", ".", 1, 1000000);
    script->reply->repeat_every_ms = script_number(script, "ms", 50);
}

static void drip(struct script *script)
{
    struct origin_reply *reply = script->reply;
    const unsigned wanted = script_number(script, "bytes", 1);
    const int size = wanted > 0 && wanted < REPLY_BYTES_MAX ? (int)wanted : 1;
    buf_lit(&reply->first, OK TEXT CHUNKED "\r\n");
    buf_printf(&reply->block, "%x\r\n%0*d\r\n", (unsigned)size, size, 0);
    reply->repeat = reply->block.data;
    reply->repeat_len = reply->block.len;
    reply->repeat_count = UINT64_MAX;
    reply->repeat_every_ms = script_number(script, "ms", 50);
}

static void slow_headers(struct script *script)
{
    static const char body[] = "slow\n";
    struct origin_reply *reply = script->reply;
    buf_lit(&reply->first, OK TEXT SIZED(5) "\r\n");
    reply->step_bytes = 1;
    reply->step_ms = script_number(script, "ms", 50);
    reply->last = body;
    reply->last_len = sizeof body - 1;
}

static void vary_latency(struct script *script)
{
    const bool is_first = script->request->seen == 1;
    const uint32_t later_ms = script_number(script, "later_ms", 0);
    script->reply->delay_ms = is_first ? script_number(script, "ms", 1000) : later_ms;
    script_answer_text(script, is_first ? script_status(script, 200) : 200, TEXT, is_first ? "first\n" : "later\n");
}

static void count(struct script *script)
{
    struct buf body = BUF_INIT(BLOCK_BYTES);
    buf_printf(&body, "%llu\n", (unsigned long long)script->request->seen);
    script_answer(script, 200, TEXT, body.data ? body.data : "", body.len);
    buf_done(&body);
}

static void flaky(struct script *script)
{
    if (script->request->seen > script_arg_number(script)) {
        count(script);
        return;
    }
    struct buf *first = &script->reply->first;
    buf_printf(first, "HTTP/1.1 %u Test\r\n", script_status(script, 503));
    const size_t before = first->len;
    buf_lit(first, "Retry-After: ");
    if (origin_query(script->request->target, "retry_after", first))
        buf_lit(first, "\r\n");
    else
        first->len = before;
    buf_lit(first, TEXT SIZED(8) "\r\nnot now\n");
}

static void flaky_close(struct script *script)
{
    if (script->request->seen > script_arg_number(script))
        count(script);
    else
        script->reply->ending = script_ending(script);
}

static void close_after_idle(struct script *script)
{
    script_answer_text(script, 200, TEXT, "still here\n");
    script->reply->idle_ms = script_number(script, "ms", 50);
}

static void keepalive_then_close(struct script *script)
{
    script_answer_text(script, 200, TEXT, "once\n");
    script->reply->next_ends = script_ending(script);
}

const struct behaviour origin_time_paths[] = {
    { .prefix = "/delay/", .write = delay },
    { .prefix = "/gate", .write = gate },
    { .prefix = "/gate-body", .write = gate_body },
    { .prefix = "/late-body", .write = late_body },
    { .prefix = "/stall", .write = stall },
    { .prefix = "/stall-body", .write = stall_body },
    { .prefix = "/silent-after-headers", .write = silent_after_headers },
    { .prefix = "/trickle", .write = trickle },
    { .prefix = "/drip", .write = drip },
    { .prefix = "/slow-headers", .write = slow_headers },
    { .prefix = "/vary-latency", .write = vary_latency },
    { .prefix = "/count", .write = count },
    { .prefix = "/flaky/", .write = flaky },
    { .prefix = "/flaky-close/", .write = flaky_close },
    { .prefix = "/close-after-idle", .write = close_after_idle },
    { .prefix = "/keepalive-then-close", .write = keepalive_then_close },
    { .prefix = NULL },
};
