#include "tests/support/steps.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/json_path.h"

/* What is wrong with the answer, or NULL. */
static const char *check_problem(const struct step *step, const struct http_reply *reply)
{
    const char *type = http_header(reply, "Content-Type");
    if (!type || strncmp(type, "application/problem+json", 24) != 0)
        return "an error that is not application/problem+json";
    if (reply->status == 405 && !http_header(reply, "Allow"))
        return "405 without Allow";
    if (reply->status == 503 && !http_header(reply, "Retry-After"))
        return "503 without Retry-After";
    if (strcmp(step->method, "HEAD") == 0)
        return NULL;
    cJSON *problem = cJSON_Parse(reply->body);
    const char *complaint = NULL;
    if ((unsigned)json_number(problem, "status") != reply->status)
        complaint = "a problem whose status member differs";
    else if (step->code && strcmp(json_text_at(problem, "code"), step->code) != 0)
        complaint = "another code";
    else if (!*json_text_at(problem, "title") || !*json_text_at(problem, "type"))
        complaint = "a problem without title or type";
    else if (!http_header(reply, "X-Request-Id") ||
             strcmp(json_text_at(problem, "request_id"), http_header(reply, "X-Request-Id")) != 0)
        complaint = "a problem whose request_id is not the header's";
    cJSON_Delete(problem);
    return complaint;
}

static const char *check(const struct step *step, const struct http_reply *reply)
{
    if (reply->outcome != HTTP_ANSWERED)
        return http_outcome_name(reply->outcome);
    if (reply->status != step->status)
        return "another status";
    if (!http_header(reply, "X-Request-Id"))
        return "no X-Request-Id";
    if (step->contains && !strstr(reply->body, step->contains))
        return "the body lacks what it must contain";
    return reply->status >= 400 ? check_problem(step, reply) : NULL;
}

void steps_run(const struct server *server, const struct step *steps, size_t count)
{
    struct http_conn conn = { .fd = -1 };
    for (size_t i = 0; i < count; i++) {
        const struct step *step = &steps[i];
        if (conn.fd < 0 && !http_connect(&conn, server->port))
            fail_msg("step %zu: cannot connect", i + 1);
        struct http_reply reply;
        http_exchange(&conn, step->method, step->target, step->fields, step->body, step->body ? strlen(step->body) : 0,
                      &reply);
        const char *complaint = check(step, &reply);
        if (complaint) {
            print_error("step %zu: %s %.200s %.300s\nexpected %u %s %s\ngot %s, status %u\n%.1500s\n", i + 1,
                        step->method, step->target, step->body ? step->body : "", step->status,
                        step->code ? step->code : "", step->contains ? step->contains : "",
                        http_outcome_name(reply.outcome), reply.status, reply.body ? reply.body : "");
            http_reply_done(&reply);
            http_close(&conn);
            fail_msg("step %zu: %s", i + 1, complaint);
        }
        if (reply.will_close)
            http_close(&conn);
        http_reply_done(&reply);
    }
    http_close(&conn);
}

struct http_reply step_once(const struct server *server, const char *method, const char *target, const char *fields,
                            const char *body, unsigned status)
{
    struct http_reply reply;
    http_once(server->port, method, target, fields, body, &reply);
    if (reply.outcome != HTTP_ANSWERED || reply.status != status) {
        print_error("%s %.200s: expected %u, got %s, status %u\n%.1500s\n", method, target, status,
                    http_outcome_name(reply.outcome), reply.status, reply.body ? reply.body : "");
        http_reply_done(&reply);
        fail_msg("%s %.200s: not the expected answer", method, target);
    }
    return reply;
}
