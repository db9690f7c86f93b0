#include "tests/abuse/batch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/json_path.h"
#include "tests/support/timing.h"

enum { REQUEST_BYTES_MAX = 1 << 20, ANSWER_TIMEOUT_MS = 60000 };

void batch_send(const struct trial_group *group, struct batch *ret_batch)
{
    struct buf body = BUF_INIT(REQUEST_BYTES_MAX);
    *ret_batch = (struct batch){ .group = group, .conn.fd = -1 };
    for (size_t i = 0; i < group->count; i++) {
        buf_str(&body, i == 0 ? "{\"urls\":[{" : ",{");
        trial_write(&group->trials[i], group->server, &body);
        buf_byte(&body, '}');
    }
    buf_lit(&body, "]}");
    assert_false(body.failed);
    assert_true(http_connect(&ret_batch->conn, lab_server(group->server)->port));
    assert_true(http_send(&ret_batch->conn, "POST", "/fetch", HTTP_JSON, body.data, body.len));
    buf_done(&body);
}

double batch_judge(struct batch *batch)
{
    const struct trial_group *group = batch->group;
    struct http_reply reply;
    if (http_receive(&batch->conn, false, scaled_ms(ANSWER_TIMEOUT_MS), &reply) != HTTP_ANSWERED || reply.status != 200)
        fail_msg("%s: %s, status %u", group->name, http_outcome_name(reply.outcome), reply.status);
    cJSON *answer = cJSON_Parse(reply.body);
    const double took_ms = json_number(answer, "elapsed_ms");
    for (size_t i = 0; i < group->count; i++) {
        char code[TRIAL_CODE_SIZE], path[32];
        snprintf(path, sizeof path, "results.%zu", i);
        const cJSON *result = json_at(answer, path);
        char *text = cJSON_PrintUnformatted(result);
        trial_code_of(result, code);
        trial_judge(group, &group->trials[i], group->trials[i].url, code, text ? text : "");
        free(text);
    }
    trial_count(group->name, group->count, group->count);
    cJSON_Delete(answer);
    http_reply_done(&reply);
    batch_drop(batch);
    return took_ms;
}

void batch_drop(struct batch *batch)
{
    http_close(&batch->conn);
    batch->conn.fd = -1;
}
