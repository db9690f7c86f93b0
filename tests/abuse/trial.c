#include "tests/abuse/trial.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_write.h"
#include "tests/support/http.h"
#include "tests/support/json_path.h"

enum {
    REQUEST_BYTES_MAX = 2 << 20,
    URL_BYTES_MAX = 256 * 1024,
    SHOWN_BYTES = 600,
    QUERY_URL_MAX = 2000, /* a URL that is tried with GET, too */
    ROWS_MAX = 64
};

static struct row {
    const char *group;
    size_t cases, requests;
    uint64_t hits;
} rows[ROWS_MAX];
static uint64_t hits_known; /* connections to canaries that are accounted for */
static unsigned mismatches;

/* ---- the table */

static struct row *row_of(const char *group)
{
    size_t i = 0;
    while (i < ROWS_MAX - 1 && rows[i].group && strcmp(rows[i].group, group) != 0)
        i++;
    rows[i].group = group;
    return &rows[i];
}

void trial_count(const char *group, size_t cases, size_t requests)
{
    struct row *row = row_of(group);
    row->cases += cases;
    row->requests += requests;
}

void trial_forget_hits(void) { hits_known = lab_canary_hits(); }

unsigned trial_print_table(void)
{
    struct row sum = { 0 };
    if (!rows[0].group)
        return 0; /* there was no lab */
    print_message("\n    %-58s %6s %9s %8s\n", "group", "cases", "requests", "canary");
    for (size_t i = 0; i < ROWS_MAX && rows[i].group; i++) {
        print_message("    %-58s %6zu %9zu %8llu\n", rows[i].group, rows[i].cases, rows[i].requests,
                      (unsigned long long)rows[i].hits);
        sum.cases += rows[i].cases;
        sum.requests += rows[i].requests;
        sum.hits += rows[i].hits;
    }
    print_message("    %-58s %6zu %9zu %8llu\n\n", "all", sum.cases, sum.requests, (unsigned long long)sum.hits);
    return mismatches;
}

/* ---- asking */

void trial_write(const struct trial *trial, enum lab_server server, struct buf *out)
{
    bool has_retries = trial->with && strstr(trial->with, "\"retries\"");
    if (trial->url) {
        struct buf url = BUF_INIT(URL_BYTES_MAX);
        lab_expand(trial->url, server, &url);
        buf_lit(out, "\"url\":");
        json_string(out, url.data ? url.data : "", url.len);
        buf_done(&url);
    }
    if (!has_retries)
        buf_str(out, trial->url ? ",\"retries\":0" : "\"retries\":0");
    if (trial->with) {
        buf_lit(out, ",");
        lab_expand(trial->with, server, out);
    }
    assert_false(out->failed);
}

void trial_code_of(const cJSON *result, char ret_code[static TRIAL_CODE_SIZE])
{
    const char *code = json_text_at(result, "error.code");
    double status = json_number(result, "status");
    if (!*code)
        code = json_text_at(result, "code");
    if (*code)
        snprintf(ret_code, TRIAL_CODE_SIZE, "%s", code);
    else if (status == 200)
        snprintf(ret_code, TRIAL_CODE_SIZE, "ok");
    else
        snprintf(ret_code, TRIAL_CODE_SIZE, "%.0f", status);
}

static void code_of_reply(const struct http_reply *reply, char ret_code[static TRIAL_CODE_SIZE])
{
    if (reply->outcome != HTTP_ANSWERED) {
        snprintf(ret_code, TRIAL_CODE_SIZE, "%s", http_outcome_name(reply->outcome));
        return;
    }
    cJSON *answer = cJSON_Parse(reply->body);
    trial_code_of(answer, ret_code);
    cJSON_Delete(answer);
}

/* ---- judging */

static void complain(const struct trial_group *group, const struct trial *trial, const char *url, const char *what,
                     const char *code, const char *answer)
{
    print_error("%s (%s: %s): %s\n    URL       %.*s\n    expected  %s\n    got       %s\n    answer    %.*s\n",
                trial->id, group->name, trial->what, what, SHOWN_BYTES, url, trial->expect, code, SHOWN_BYTES, answer);
    mismatches++;
    if (!getenv("ABUSE_ALL"))
        fail();
}

/* New connections at canaries are put down to the group; one that was made behind the answer's back, to the next. */
static bool is_canary_silent(const struct trial_group *group)
{
    uint64_t hits = lab_canary_hits(), fresh = hits - hits_known;
    hits_known = hits;
    row_of(group->name)->hits += fresh;
    return fresh == 0;
}

static bool is_expected(const struct trial *trial, const char *code)
{
    const size_t len = strlen(code);
    for (const char *at = trial->expect; at; at = strchr(at, '|') ? strchr(at, '|') + 1 : NULL)
        if (strncmp(at, code, len) == 0 && (at[len] == '\0' || at[len] == '|'))
            return true;
    return false;
}

void trial_judge(const struct trial_group *group, const struct trial *trial, const char *url, const char *code,
                 const char *answer)
{
    const char *wrong = !is_canary_silent(group)                           ? "A CANARY WAS CONNECTED TO"
                        : !is_expected(trial, code)                        ? "another outcome"
                        : trial->has && !strcasestr(answer, trial->has)    ? "the answer lacks what it must have"
                        : trial->lacks && strcasestr(answer, trial->lacks) ? "the answer has what it must not have"
                                                                           : NULL;
    if (wrong)
        complain(group, trial, url, wrong, code, answer);
}

/* ---- explaining */

/* The policy's verdict, or "" if it depends on what a name resolves to. */
static void code_of_explanation(const struct http_reply *reply, char ret_code[static TRIAL_CODE_SIZE])
{
    cJSON *answer = cJSON_Parse(reply->body);
    const char *code = reply->status == 200 ? json_text_at(answer, "explained.0.code") : json_text_at(answer, "code");
    const cJSON *step;
    bool is_open = false;
    cJSON_ArrayForEach(step, json_at(answer, "explained.0.steps")) is_open =
        is_open || strcmp(json_text_at(step, "result"), "open") == 0;
    if (cJSON_IsTrue(json_at(answer, "explained.0.allowed")))
        code = is_open ? "" : "allowed";
    snprintf(ret_code, TRIAL_CODE_SIZE, "%s", code);
    cJSON_Delete(answer);
}

/* Whether a fetch that ended with this code was let through by the policy. */
static bool is_let_through(const char *code)
{
    static const char *const refusals[] = { "bad_url",          "scheme_not_allowed", "port_not_allowed",
                                            "host_not_allowed", "blocked_address",    "loop_detected",
                                            "invalid_args",     "invalid_json" };
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++)
        if (strcmp(code, refusals[i]) == 0)
            return false;
    return true;
}

/* What happens at its target is no word of the policy's on the URL. */
static bool is_redirect(const struct trial *trial) { return trial->url && strstr(trial->url, "/redirect") != NULL; }

static void compare(const struct trial_group *group, const struct trial *trial, const char *url, const char *code,
                    const struct http_reply *reply)
{
    char explained[TRIAL_CODE_SIZE];
    assert_int_equal(reply->outcome, HTTP_ANSWERED);
    code_of_explanation(reply, explained);
    bool agrees = strcmp(explained, "allowed") == 0 ? is_let_through(code) : strcmp(explained, code) == 0;
    if (*explained && !agrees && !is_redirect(trial))
        complain(group, trial, url, "explain=1 says otherwise", code, reply->body);
    if (!is_canary_silent(group))
        complain(group, trial, url, "A CANARY WAS CONNECTED TO by explain=1", code, reply->body);
}

static void append_encoded(struct buf *out, const char *bytes, size_t len)
{
    static const char hex[] = "0123456789ABCDEF", plain[] = "-._~";
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)bytes[i];
        if ((c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || (c && strchr(plain, c)))
            buf_byte(out, (char)c);
        else
            buf_append(out, (const char[]){ '%', hex[c >> 4], hex[c & 15] }, 3);
    }
}

static void explain_by_get(const struct trial_group *group, const struct trial *trial, const struct buf *url,
                           const char *code)
{
    struct buf target = BUF_INIT(4 * QUERY_URL_MAX);
    struct http_reply reply;
    buf_lit(&target, "/fetch?explain=1&url=");
    append_encoded(&target, url->data ? url->data : "", url->len);
    buf_byte(&target, '\0');
    http_once(lab_server(group->server)->port, "GET", target.data, NULL, NULL, &reply);
    compare(group, trial, target.data, code, &reply);
    http_reply_done(&reply);
    buf_done(&target);
}

static void explain(const struct trial_group *group, const struct trial *trial, const char *body, const char *code)
{
    struct http_reply reply;
    http_once(lab_server(group->server)->port, "POST", "/fetch?explain=1", HTTP_JSON, body, &reply);
    compare(group, trial, body, code, &reply);
    http_reply_done(&reply);
    trial_count(group->name, 0, 1);
    struct buf url = BUF_INIT(URL_BYTES_MAX);
    if (trial->url && !trial->with)
        lab_expand(trial->url, group->server, &url);
    if (url.len > 0 && url.len <= QUERY_URL_MAX) {
        explain_by_get(group, trial, &url, code);
        trial_count(group->name, 0, 1);
    }
    buf_done(&url);
}

/* ---- the three ways to fetch a trial's URL */

static void fetch(const struct trial_group *group, const struct trial *trial, bool is_explained)
{
    struct buf body = BUF_INIT(REQUEST_BYTES_MAX);
    char code[TRIAL_CODE_SIZE];
    struct http_reply reply;
    buf_byte(&body, '{');
    trial_write(trial, group->server, &body);
    buf_append(&body, "}", 2); /* with its NUL */
    http_once(lab_server(group->server)->port, "POST", "/fetch", HTTP_JSON, body.data, &reply);
    code_of_reply(&reply, code);
    trial_judge(group, trial, body.data, code, reply.outcome == HTTP_ANSWERED ? reply.body : "");
    http_reply_done(&reply);
    trial_count(group->name, 0, 1);
    if (is_explained)
        explain(group, trial, body.data, code);
    buf_done(&body);
}

void trial_run(const struct trial_group *group, const struct trial *trial)
{
    fetch(group, trial, true);
    trial_count(group->name, 1, 0);
}

void trial_repeat(const struct trial_group *group, const struct trial *trial) { fetch(group, trial, false); }

void trial_run_group(const struct trial_group *group)
{
    for (size_t i = 0; i < group->count; i++)
        trial_run(group, &group->trials[i]);
}

void trial_run_redirected(const struct trial_group *group)
{
    for (size_t i = 0; i < group->count; i++) {
        struct buf target = BUF_INIT(URL_BYTES_MAX), url = BUF_INIT(URL_BYTES_MAX);
        struct trial trial = group->trials[i];
        lab_expand(trial.url, group->server, &target);
        buf_lit(&url, "http://8.8.8.8:{O}/redirect-to?url=");
        append_encoded(&url, target.data, target.len);
        buf_byte(&url, '\0');
        trial.url = url.data;
        fetch(group, &trial, false);
        buf_done(&target);
        buf_done(&url);
    }
}

/* The address between "http://" and the port, without brackets. */
static bool get_plain_host(const char *url, char ret_host[static INET6_ADDRSTRLEN], enum name_type *ret_type,
                           const char **ret_rest)
{
    unsigned char ignored[sizeof(struct in6_addr)];
    const char *host = url + strlen("http://");
    bool is_ipv6 = *host == '[';
    size_t len = strcspn(host + is_ipv6, is_ipv6 ? "]" : ":/");
    if (strncmp(url, "http://", 7) != 0 || len >= INET6_ADDRSTRLEN)
        return false;
    memcpy(ret_host, host + is_ipv6, len);
    ret_host[len] = '\0';
    *ret_type = is_ipv6 ? NAME_AAAA : NAME_A;
    *ret_rest = host + len + (is_ipv6 ? 2 : 0);
    return inet_pton(is_ipv6 ? AF_INET6 : AF_INET, ret_host, ignored) == 1;
}

void trial_run_named(const struct trial_group *group)
{
    for (size_t i = 0; i < group->count; i++) {
        char host[INET6_ADDRSTRLEN], name[128];
        const char *rest;
        enum name_type type;
        struct trial trial = group->trials[i];
        if (!get_plain_host(trial.url, host, &type, &rest))
            continue;
        snprintf(name, sizeof name, "%s.by-name.test", trial.id);
        assert_true(name_server_add(lab_names(), name, type, host, 60));
        struct buf url = BUF_INIT(URL_BYTES_MAX);
        buf_printf(&url, "http://%s%s", name, rest);
        buf_byte(&url, '\0');
        trial.url = url.data;
        fetch(group, &trial, false);
        buf_done(&url);
    }
}
