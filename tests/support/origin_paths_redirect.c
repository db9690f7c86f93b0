/* Where the test origin sends its clients, and how. */
#include "tests/support/origin_script.h"

/* Status line and Location field; its value is the parameter `url`, or `otherwise`. */
static void begin_redirect(struct script *script, const char *otherwise)
{
    struct buf *first = &script->reply->first;
    buf_printf(first, "HTTP/1.1 %u Test\r\nLocation: ", script_status(script, 302));
    script_add_param(script, "url", otherwise);
    buf_lit(first, "\r\n");
}

static void end_redirect(struct script *script) { buf_lit(&script->reply->first, SIZED(0) "\r\n"); }

static void redirect(struct script *script)
{
    const unsigned left = (unsigned)script_arg_number(script), code = script_status(script, 302);
    if (left == 0) {
        script_answer_text(script, 200, TEXT, "landed\n");
        return;
    }
    buf_printf(&script->reply->first, "HTTP/1.1 %u Test\r\nLocation: ../redirect/%u?status=%u\r\n", code, left - 1,
               code);
    end_redirect(script);
}

static void redirect_to(struct script *script)
{
    begin_redirect(script, "");
    end_redirect(script);
}

static void redirect_loop(struct script *script)
{
    const unsigned code = script_status(script, 302);
    buf_printf(&script->reply->first, "HTTP/1.1 %u Test\r\nLocation: /redirect-loop?status=%u\r\n", code, code);
    end_redirect(script);
}

static void redirect_raw(struct script *script)
{
    buf_printf(&script->reply->first, "HTTP/1.1 %u Test\r\nLocation: ", script_status(script, 302));
    script_add_param(script, "location", "");
    buf_lit(&script->reply->first, "\r\n");
    end_redirect(script);
}

static void redirect_cookie(struct script *script)
{
    begin_redirect(script, "/echo");
    buf_lit(&script->reply->first, "Set-Cookie: session=from-the-origin; Path=/\r\n");
    end_redirect(script);
}

static void redirect_big(struct script *script)
{
    begin_redirect(script, "/small");
    script_repeat(script, TEXT SIZED(2097152) "\r\n", BLOCK_1024, BLOCK_BYTES, 2048);
}

static void redirect_nowhere(struct script *script)
{
    buf_printf(&script->reply->first, "HTTP/1.1 %u Test\r\n", script_status(script, 302));
    end_redirect(script);
}

static void redirect_twice(struct script *script)
{
    begin_redirect(script, "/small");
    buf_lit(&script->reply->first, "Location: ");
    script_add_param(script, "second", "/utf8");
    buf_lit(&script->reply->first, "\r\n");
    end_redirect(script);
}

static void refresh(struct script *script)
{
    buf_lit(&script->reply->first, OK TEXT "Refresh: 0; url=");
    script_add_param(script, "url", "/small");
    buf_lit(&script->reply->first, "\r\n" SIZED(5) "\r\nstay\n");
}

static void meta_refresh(struct script *script)
{
    struct buf page = BUF_INIT(REPLY_BYTES_MAX);
    buf_lit(&page, "<!doctype html><meta http-equiv=\"refresh\" content=\"0; url=");
    if (!origin_query(script->request->target, "url", &page))
        buf_lit(&page, "/small");
    buf_lit(&page, "\"><title>stay</title>\n");
    script_answer(script, 200, "Content-Type: text/html\r\n", page.data ? page.data : "", page.len);
    buf_done(&page);
}

const struct behaviour origin_redirect_paths[] = {
    { .prefix = "/redirect/", .write = redirect },
    { .prefix = "/redirect-to", .write = redirect_to },
    { .prefix = "/redirect-loop", .write = redirect_loop },
    { .prefix = "/redirect-raw", .write = redirect_raw },
    { .prefix = "/redirect-cookie", .write = redirect_cookie },
    { .prefix = "/redirect-big", .write = redirect_big },
    { .prefix = "/redirect-nowhere", .write = redirect_nowhere },
    { .prefix = "/redirect-twice", .write = redirect_twice },
    { .prefix = "/refresh", .write = refresh },
    { .prefix = "/meta-refresh", .write = meta_refresh },
    { .prefix = NULL },
};
