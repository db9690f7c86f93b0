/* Rebinding names point to 8.8.8.8, where at {R} the origin's like is, and to addresses where at {R} canaries are. So a
 * fetch of one may end in two ways, by the origin's answer or by a refusal, and in no third. */
#include "tests/abuse/scenarios.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "tests/abuse/batch.h"
#include "tests/support/json_path.h"
#include "tests/support/procs.h"
#include "tests/support/spawn.h"
#include "tests/support/timing.h"

enum {
    TIMES = 12,
    AT_ONCE = 50,
    SILENT_NAMES = 200,
    MEANWHILE = 30,
    MEANWHILE_MOST_MS = 1000,
    LIST_BYTES_MAX = 1 << 20,
    ANSWER_TIMEOUT_MS = 30000,
    MEMORY_MOST_KIB = 128 * 1024
};

static const struct trial_group rebinding = { "rebinding (S172-S176)", NULL, 0, LAB_STRICT };
static const struct trial_group silence = { "names without an answer, 200 at once (S182-S184)", NULL, 0, LAB_STRICT };
static const struct trial_group replay = { "replay and loops (S288-S290)", NULL, 0, LAB_SELF };

static void add_rebinding(const char *name)
{
    static const char *const addresses[] = { "8.8.8.8", "127.0.0.1",       "8.8.8.8", "10.0.0.1",
                                             "8.8.8.8", "169.254.169.254", "8.8.8.8", "0.0.0.1" };
    for (size_t i = 0; i < ARRAY_LEN(addresses); i++)
        assert_true(name_server_add(lab_names(), name, NAME_A, addresses[i], 0));
    assert_true(name_server_behave(lab_names(), name, NAME_ALTERNATE, 0));
}

/* The list's answer, parsed; fails the test if there is none. */
static cJSON *receive(struct http_conn *conn)
{
    struct http_reply reply;
    if (http_receive(conn, false, scaled_ms(ANSWER_TIMEOUT_MS), &reply) != HTTP_ANSWERED || reply.status != 200)
        fail_msg("the list's answer: %s, status %u", http_outcome_name(reply.outcome), reply.status);
    cJSON *answer = cJSON_Parse(reply.body);
    http_reply_done(&reply);
    return answer;
}

/* POST /fetch of `count` URLs; %u in the URL is their number. */
static void send_list(struct http_conn *conn, const struct trial_group *group, size_t count, const char *url,
                      const char *members)
{
    struct buf body = BUF_INIT(LIST_BYTES_MAX), plain = BUF_INIT(LIST_BYTES_MAX);
    lab_expand(url, group->server, &plain);
    buf_byte(&plain, '\0');
    buf_lit(&body, "{\"urls\":[");
    for (size_t i = 0; i < count; i++) {
        const char *number = strstr(plain.data, "%u");
        size_t before = number ? (size_t)(number - plain.data) : strlen(plain.data);
        buf_str(&body, i == 0 ? "\"" : ",\"");
        buf_append(&body, plain.data, before);
        if (number)
            buf_printf(&body, "%zu%s", i, number + 2);
        buf_byte(&body, '"');
    }
    buf_printf(&body, "],\"retries\":0%s}", members);
    assert_true(http_connect(conn, lab_server(group->server)->port));
    assert_true(http_send(conn, "POST", "/fetch", HTTP_JSON, body.data, body.len));
    buf_done(&body);
    buf_done(&plain);
}

/* Judges `count` results of a list and returns how many were "ok"; the others must be `refusal`. */
static size_t judge_list(const struct trial_group *group, const struct trial *trial, const cJSON *answer, size_t count)
{
    size_t ok = 0;
    for (size_t i = 0; i < count; i++) {
        char path[32], code[TRIAL_CODE_SIZE];
        snprintf(path, sizeof path, "results.%zu", i);
        const cJSON *result = json_at(answer, path);
        trial_code_of(result, code);
        if (strcmp(code, "ok") == 0) {
            ok++;
            continue;
        }
        char *text = cJSON_PrintUnformatted(result);
        trial_judge(group, trial, trial->url, code, text ? text : "");
        free(text);
    }
    return ok;
}

/* Fetches `url` so many times, one after the other; each time it is answered or refused. */
static size_t fetch_repeatedly(const struct trial *trial, size_t times)
{
    size_t ok = 0;
    for (size_t i = 0; i < times; i++) {
        struct http_conn conn;
        send_list(&conn, &rebinding, 1, trial->url, "");
        cJSON *answer = receive(&conn);
        ok += judge_list(&rebinding, trial, answer, 1);
        cJSON_Delete(answer);
        http_close(&conn);
    }
    trial_count(rebinding.name, 0, times);
    return ok;
}

void rebinding__every_answer__origin_or_refused(void **state)
{
    static const struct trial trial =
        CASE("I01", "TTL 0, another address each time", "http://rebind.test:{R}/small", "blocked_address");
    (void)state;
    add_rebinding("rebind.test");
    size_t ok = fetch_repeatedly(&trial, TIMES);
    trial_count(rebinding.name, 1, 0);
    assert_true(ok > 0 && ok < TIMES);
    assert_true(name_server_queries(lab_names(), "rebind.test") >= TIMES);
}

void rebinding__fifty_at_once__origin_or_refused(void **state)
{
    static const struct trial trial =
        CASE("I02", "fifty at once", "http://rebind-%u.test:{R}/small", "blocked_address");
    struct http_conn conn;
    (void)state;
    for (unsigned i = 0; i < AT_ONCE; i++) {
        char name[32];
        snprintf(name, sizeof name, "rebind-%u.test", i);
        add_rebinding(name);
    }
    for (unsigned round = 0; round < 4; round++) {
        send_list(&conn, &rebinding, AT_ONCE, trial.url, "");
        cJSON *answer = receive(&conn);
        (void)judge_list(&rebinding, &trial, answer, AT_ONCE);
        cJSON_Delete(answer);
        http_close(&conn);
    }
    trial_count(rebinding.name, 1, 4 * (size_t)AT_ONCE);
}

void rebinding__behind_a_redirect__origin_or_refused(void **state)
{
#define REBIND_BY(status)                                                                                  \
    CASE("I03-" status, "behind a redirect, again and again",                                              \
         "http://8.8.8.8:{O}/redirect-to?url=http://rebind-" status ".late.test:{R}/small&status=" status, \
         "blocked_address")
    static const struct trial trials[] = { REBIND_BY("301"), REBIND_BY("302"), REBIND_BY("303"), REBIND_BY("307"),
                                           REBIND_BY("308") };
#undef REBIND_BY
    static const char *const names[] = { "rebind-301.late.test", "rebind-302.late.test", "rebind-303.late.test",
                                         "rebind-307.late.test", "rebind-308.late.test" };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(trials); i++) {
        add_rebinding(names[i]);
        size_t ok = fetch_repeatedly(&trials[i], TIMES);
        assert_true(ok > 0 && ok < TIMES);
    }
    trial_count(rebinding.name, ARRAY_LEN(trials), 0);
}

/* The name is fetched from, keeps its connection, and then points elsewhere. */
void rebinding__with_a_kept_connection__refused(void **state)
{
    static const struct trial before = CASE("I04", "a name that will change", "http://flip.test:{R}/small", "ok");
    static const struct trial after =
        CASE("I05", "the same after the change", "http://flip.test:{R}/small", "blocked_address");
    static const struct trial again = CASE("I06", "and back again", "http://flip.test:{R}/small", "ok");
    (void)state;
    assert_true(name_server_add(lab_names(), "flip.test", NAME_A, "8.8.8.8", 0));
    trial_run(&rebinding, &before);
    name_server_clear(lab_names(), "flip.test");
    assert_true(name_server_add(lab_names(), "flip.test", NAME_A, "127.0.0.1", 0));
    trial_run(&rebinding, &after);
    name_server_clear(lab_names(), "flip.test");
    assert_true(name_server_add(lab_names(), "flip.test", NAME_A, "8.8.8.8", 0));
    trial_run(&rebinding, &again);
}

/* "Without a packet": not even one to the name server. */
void explain__names__asks_nobody(void **state)
{
    static const char body[] = "{\"urls\":[\"http://explained.test/\",\"https://explained.test:8443/x\"]}";
    struct http_reply reply;
    (void)state;
    http_once(lab_server(LAB_STRICT)->port, "POST", "/fetch?explain=1", HTTP_JSON, body, &reply);
    assert_int_equal(reply.outcome, HTTP_ANSWERED);
    assert_int_equal(reply.status, 200);
    http_reply_done(&reply);
    static const struct trial later =
        CASE("J00", "a name that is asked for later", "http://asked-later.test/", "dns_failed");
    trial_run(&silence, &later);
    assert_true(name_server_queries(lab_names(), "asked-later.test") > 0);
    assert_int_equal(name_server_queries(lab_names(), "explained.test"), 0);
}

void silent_names__two_hundred_at_once__others_go_on(void **state)
{
    static const struct trial silent =
        CASE("J01", "names that are never answered", "http://n%u.silent.test:{C}/", "dns_timeout");
    static const struct trial other = CASE("J02", "meanwhile", "http://public.test:{O}/small", "ok");
    struct http_conn conn;
    (void)state;
    uint64_t queries = name_server_total_queries(lab_names()), sent_ns = clock_now_ns();
    send_list(&conn, &silence, SILENT_NAMES, silent.url, ",\"dns_timeout_ms\":2000");
    double longest_ms = 0;
    for (unsigned i = 0; i < MEANWHILE; i++) {
        uint64_t start_ns = clock_now_ns();
        trial_repeat(&silence, &other);
        longest_ms = elapsed_ms(start_ns) > longest_ms ? elapsed_ms(start_ns) : longest_ms;
    }
    double meanwhile_ms = elapsed_ms(sent_ns);
    cJSON *answer = receive(&conn);
    assert_int_equal(judge_list(&silence, &silent, answer, SILENT_NAMES), 0);
    cJSON_Delete(answer);
    http_close(&conn);
    trial_count(silence.name, 2, SILENT_NAMES);
    print_message("    %u fetches in %.0f ms beside %u silent names, the longest %.0f ms\n", MEANWHILE, meanwhile_ms,
                  SILENT_NAMES, longest_ms);
    assert_true(longest_ms < scaled_ms(MEANWHILE_MOST_MS));
    assert_true(name_server_total_queries(lab_names()) - queries >= SILENT_NAMES);
}

/* A connection that ends with the request on it: whether the origin has acted on it nobody knows. */
void post__connection_lost__sent_once(void **state)
{
    static const struct trial trials[] = {
        CASE("K51", "a POST whose connection is closed", "http://8.8.8.8:{O}/flaky-close/9?key=post",
             "connection_closed", .with = "\"method\":\"POST\",\"body\":\"pay\",\"retries\":5"),
        CASE("K52", "a PATCH whose connection is reset", "http://8.8.8.8:{O}/flaky-close/9?key=patch&how=rst",
             "connection_closed", .with = "\"method\":\"PATCH\",\"body\":\"pay\",\"retries\":5"),
        CASE("K53", "a kept connection", "http://8.8.8.8:{O}/keepalive-then-close?key=first", "ok"),
        CASE("K54", "a POST that could use it", "http://8.8.8.8:{O}/count?key=kept", "ok",
             .with = "\"method\":\"POST\",\"body\":\"pay\""),
        CASE("K55", "a GET whose connection is closed is tried again", "http://8.8.8.8:{O}/flaky-close/1?key=get", "ok",
             .with = "\"retries\":2"),
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(trials); i++)
        trial_run(&replay, &trials[i]);
    assert_int_equal(origin_requests_with_key(lab_origin(), "post"), 1);
    assert_int_equal(origin_requests_with_key(lab_origin(), "patch"), 1);
    assert_int_equal(origin_requests_with_key(lab_origin(), "kept"), 1);
    assert_int_equal(origin_requests_with_key(lab_origin(), "get"), 2);
}

void cdn_loop__names_twinpool__refused(void **state)
{
    static const struct {
        const char *fields, *code; /* NULL: answered */
    } cases[] = {
        { HTTP_JSON "CDN-Loop: twinpool\r\n", "loop_detected" },
        { HTTP_JSON "cdn-loop: Twinpool\r\n", "loop_detected" },
        { HTTP_JSON "CDN-Loop: other, twinpool; v=1, third\r\n", "loop_detected" },
        { HTTP_JSON "CDN-Loop: other\r\nCDN-Loop: twinpool\r\n", "loop_detected" },
        { HTTP_JSON "CDN-Loop:\ttwinpool\t\r\n", "loop_detected" },
        { HTTP_JSON "CDN-Loop: nottwinpool, twinpools\r\n", NULL },
        { HTTP_JSON, NULL },
    };
    (void)state;
    struct buf body = BUF_INIT(LIST_BYTES_MAX);
    lab_expand("{\"url\":\"http://8.8.8.8:{O}/small\"}", LAB_SELF, &body);
    buf_byte(&body, '\0');
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct http_reply reply;
        http_once(lab_server(LAB_SELF)->port, "POST", "/fetch", cases[i].fields, body.data, &reply);
        assert_int_equal(reply.outcome, HTTP_ANSWERED);
        if (reply.status != (cases[i].code ? 508 : 200))
            fail_msg("K6%zu: %s: status %u", i, cases[i].fields, reply.status);
        if (cases[i].code)
            assert_non_null(strstr(reply.body, cases[i].code));
        http_reply_done(&reply);
    }
    buf_done(&body);
    trial_count(replay.name, ARRAY_LEN(cases), ARRAY_LEN(cases));
}

/* The front end's peak: bombs and bodies without end passed through it. */
void bombs__after_all__memory_is_bounded(void **state)
{
    (void)state;
    if (scaled_ms(1) != 1) {
        print_message("    a sanitizer's memory says nothing\n");
        skip();
    }
    size_t peak_kib = procs_peak_rss_kib(server_front_end_pid(lab_server(LAB_STRICT)));
    print_message("    the front end's peak is %zu KiB\n", peak_kib);
    assert_true(peak_kib > 0 && peak_kib < MEMORY_MOST_KIB);
}
