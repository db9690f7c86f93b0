/* HTTPS through the program: nginx with HTTP/2, with HTTP/1.1 and with certificates that are not good, and servers that
 * know no TLS at all. */
#include "tests/integration/fetch_rig.h"

#include "tests/support/h2_origin.h"
#include "tests/support/listener.h"
#include "tests/support/nginx.h"

enum { URL_BYTES = 512 };

static struct nginx nginx;

static int stop(void **state)
{
    nginx_stop(&nginx);
    return rig_stop(state);
}

static int start(void **state)
{
    (void)state;
    if (!nginx_start_tls(&nginx))
        return -1;
    const char *const flags[] = { "--workers",   "1", "--fetch-allow", "127.0.0.0/8,::1/128", "--fetch-ca-file",
                                  nginx.ca_path, NULL };
    return rig_start(flags);
}

/* {"url":"SCHEME://127.0.0.1:PORT<path>"<members>}; the caller frees the answer. */
static cJSON *fetch_from(const char *scheme, uint16_t port, const char *path, const char *members, unsigned status)
{
    char body[URL_BYTES];
    snprintf(body, sizeof body, "{\"url\":\"%s://127.0.0.1:%u%s\"%s}", scheme, (unsigned)port, path, members);
    return post_fetch(body, status);
}

static cJSON *fetch_tls(uint16_t port, const char *path, const char *members)
{
    return fetch_from("https", port, path, members, 200);
}

static void expect_failure(const char *scheme, uint16_t port, const char *members, unsigned status, const char *code,
                           const char *phase)
{
    cJSON *answer = fetch_from(scheme, port, "/small", members, status);
    if (strcmp(json_text_at(answer, "code"), code) != 0 || strcmp(json_text_at(answer, "phase"), phase) != 0)
        fail_msg("port %u: %s in %s: %s", (unsigned)port, json_text_at(answer, "code"), json_text_at(answer, "phase"),
                 json_text_at(answer, "detail"));
    assert_true(json_number(answer, "attempts") >= 1);
    cJSON_Delete(answer);
}

static void versions__by_what_the_server_speaks__told(void **state)
{
    (void)state;
    cJSON *answer = fetch_tls(nginx.h2_port, "/protocol", "");
    assert_string_equal(json_text_at(answer, "http_version"), "2");
    assert_non_null(strstr(json_text_at(answer, "body"), "HTTP/2.0"));
    assert_true(json_number(answer, "timing_ms.tls") > 0);
    assert_true(cJSON_IsFalse(json_at(answer, "reused")));
    cJSON_Delete(answer);
    answer = fetch_tls(nginx.h1_port, "/protocol", "");
    assert_string_equal(json_text_at(answer, "http_version"), "1.1");
    assert_non_null(strstr(json_text_at(answer, "body"), "HTTP/1.1"));
    assert_true(json_number(answer, "timing_ms.tls") > 0);
    cJSON_Delete(answer);
    answer = fetch_from("http", nginx.port, "/protocol", "", 200);
    assert_string_equal(json_text_at(answer, "http_version"), "1.1");
    assert_null(json_at(answer, "timing_ms.tls"));
    cJSON_Delete(answer);
}

static void connection__asked_again__reused_without_a_handshake(void **state)
{
    (void)state;
    const uint16_t ports[] = { nginx.h2_port, nginx.h1_port };
    for (size_t i = 0; i < ARRAY_LEN(ports); i++) {
        cJSON_Delete(fetch_tls(ports[i], "/connection", ""));
        cJSON *answer = fetch_tls(ports[i], "/connection", "");
        assert_true(cJSON_IsTrue(json_at(answer, "reused")));
        assert_true(json_number(answer, "timing_ms.tls") == 0);
        assert_true(json_number(answer, "timing_ms.connect") == 0);
        cJSON_Delete(answer);
    }
}

static void names__in_the_certificate__accepted(void **state)
{
    (void)state;
    char body[URL_BYTES];
    snprintf(body, sizeof body, "{\"url\":\"https://localhost:%u/small\"}", (unsigned)nginx.h2_port);
    cJSON *answer = post_fetch(body, 200);
    assert_true(json_number(answer, "bytes") == 1024);
    cJSON_Delete(answer);
    snprintf(body, sizeof body, "{\"url\":\"https://sub.localhost:%u/small\"}", (unsigned)nginx.h2_port);
    answer = post_fetch(body, 502);
    assert_string_equal(json_text_at(answer, "code"), "tls_verify_failed");
    cJSON_Delete(answer);
}

static void certificates__of_each_bad_kind__not_accepted(void **state)
{
    (void)state;
    for (int kind = CERTIFICATE_GOOD + 1; kind < CERTIFICATE_KINDS; kind++)
        expect_failure("https", nginx.bad_port[kind], "", 502, "tls_verify_failed", "tls");
}

static void servers__without_tls__fail_in_their_phase(void **state)
{
    (void)state;
    struct listener *silent = listener_start(LISTENER_SILENT, "127.0.0.1", 0),
                    *garbage = listener_start(LISTENER_GARBAGE, "127.0.0.1", 0),
                    *closing = listener_start(LISTENER_CLOSE, "127.0.0.1", 0);
    assert_true(silent && garbage && closing);
    cJSON *answer = fetch_from("https", listener_port(silent), "/", ",\"tls_timeout_ms\":150,\"retries\":0", 504);
    assert_string_equal(json_text_at(answer, "code"), "tls_timeout");
    assert_non_null(strstr(json_text_at(answer, "detail"), "tls_timeout_ms"));
    assert_true(json_number(answer, "timing_ms.tls") >= 145);
    cJSON_Delete(answer);
    expect_failure("https", listener_port(garbage), ",\"retries\":0", 502, "tls_failed", "tls");
    expect_failure("https", nginx.port, ",\"retries\":0", 502, "tls_failed", "tls");
    cJSON_Delete(fetch_from("https", listener_port(closing), "/", ",\"retries\":0", 502));
    answer = fetch_from("http", nginx.h1_port, "/small", "", 200); /* nginx says so itself */
    assert_true(json_number(answer, "status") == 400);
    cJSON_Delete(answer);
    listener_stop(silent);
    listener_stop(garbage);
    listener_stop(closing);
}

/* ---- what passes through */

static void range__asked_for__206_with_its_part(void **state)
{
    (void)state;
    const uint16_t ports[] = { nginx.h2_port, nginx.h1_port };
    for (size_t i = 0; i < ARRAY_LEN(ports); i++) {
        cJSON *answer = fetch_tls(ports[i], "/lines", ",\"headers\":{\"Range\":\"bytes=16-31\"}");
        assert_true(json_number(answer, "status") == 206);
        assert_string_equal(json_text_at(answer, "body"), "0000002\n0000003\n");
        assert_string_equal(json_text_at(json_at(answer, "headers"), "content-range"), "bytes 16-31/65536");
        assert_true(cJSON_IsFalse(json_at(answer, "truncated")));
        cJSON_Delete(answer);
        answer = fetch_tls(ports[i], "/lines", ",\"headers\":{\"Range\":\"bytes=99999-\"}");
        assert_true(json_number(answer, "status") == 416);
        cJSON_Delete(answer);
    }
}

static void conditions__that_do_not_hold__304_without_body(void **state)
{
    (void)state;
    char members[URL_BYTES];
    cJSON *answer = fetch_tls(nginx.h2_port, "/small", "");
    const char *etag = json_text_at(json_at(answer, "headers"), "etag");
    assert_true(*etag == '"');
    snprintf(members, sizeof members, ",\"headers\":{\"If-None-Match\":\"\\\"%.*s\\\"\"}", (int)strlen(etag) - 2,
             etag + 1);
    cJSON_Delete(answer);
    answer = fetch_tls(nginx.h2_port, "/small", members);
    assert_true(json_number(answer, "status") == 304);
    assert_true(json_number(answer, "bytes") == 0);
    assert_string_equal(json_text_at(answer, "body"), "");
    cJSON_Delete(answer);
    answer = fetch_tls(nginx.h1_port, "/small", ",\"headers\":{\"If-Modified-Since\":\"" NGINX_LAST_MODIFIED "\"}");
    assert_true(json_number(answer, "status") == 304);
    cJSON_Delete(answer);
}

static void head__over_http_2__length_without_body(void **state)
{
    (void)state;
    cJSON *answer = fetch_tls(nginx.h2_port, "/64k", ",\"method\":\"HEAD\"");
    assert_true(json_number(answer, "status") == 200);
    assert_true(json_number(answer, "bytes") == 0);
    assert_string_equal(json_text_at(json_at(answer, "headers"), "content-length"), "65536");
    assert_true(cJSON_IsFalse(json_at(answer, "truncated")));
    cJSON_Delete(answer);
}

static void bodies__coded_empty_and_cut__as_they_are(void **state)
{
    (void)state;
    cJSON *answer = fetch_tls(nginx.h2_port, "/page.html", "");
    assert_string_equal(json_text_at(json_at(answer, "headers"), "content-encoding"), "gzip");
    assert_true(json_number(answer, "bytes") == 65536); /* decoded */
    assert_int_equal(strlen(json_text_at(answer, "body")), 65536);
    cJSON_Delete(answer);
    answer = fetch_tls(nginx.h2_port, "/no-content", "");
    assert_true(json_number(answer, "status") == 204);
    cJSON_Delete(answer);
    answer = fetch_tls(nginx.h2_port, "/empty", "");
    assert_true(json_number(answer, "bytes") == 0);
    cJSON_Delete(answer);
    answer = fetch_tls(nginx.h2_port, "/lines", ",\"max_body_bytes\":12");
    assert_string_equal(json_text_at(answer, "body"), "0000000\n0000");
    assert_true(cJSON_IsTrue(json_at(answer, "truncated")));
    cJSON_Delete(answer);
    answer = fetch_tls(nginx.h2_port, "/lines", ""); /* the cut stream has not spoiled the connection */
    assert_true(json_number(answer, "bytes") == 65536);
    cJSON_Delete(answer);
}

static void http_2__100_at_once__few_connections(void **state)
{
    (void)state;
    char url[URL_BYTES];
    double before = server_stat(&server, "fetch.connections_opened");
    snprintf(url, sizeof url, "https://127.0.0.1:%u/64k?%%u", (unsigned)nginx.h2_port);
    char *body = list_of(url, 100, ",\"response_body\":\"none\"");
    cJSON *answer = post_fetch(body, 200);
    assert_true(json_number(answer, "ok") == 100);
    double opened = server_stat(&server, "fetch.connections_opened") - before;
    print_message("    100 transfers over %.0f new connections\n", opened);
    assert_true(opened <= 20);
    cJSON_Delete(answer);
    free(body);
}

/* ---- frames without end */

/* Beside each flood, on the only I/O thread, something slow from a good origin. */
static void floods__of_every_kind__cost_their_own_url_only(void **state)
{
    (void)state;
    struct server given = server;
    const char *const flags[] = {
        "--workers", "1", "--io-threads", "1", "--fetch-allow", "127.0.0.0/8", "--fetch-ca-file", nginx.ca_path, NULL
    };
    struct h2_origin *floods[H2_REFUSED] = { NULL };
    char pem_path[URL_BYTES], body[URL_BYTES];
    snprintf(pem_path, sizeof pem_path, "%s/%s.pem", nginx.dir, certificates_kind_name(CERTIFICATE_GOOD));
    assert_true(server_start(&server, flags, NULL));
    for (int kind = 0; kind < H2_REFUSED; kind++) {
        floods[kind] = h2_origin_start((enum h2_kind)kind, pem_path);
        assert_non_null(floods[kind]);
        snprintf(body, sizeof body,
                 "{\"urls\":[\"https://127.0.0.1:%u/\",\"@/delay/300\"],\"retries\":0,\"timeout_ms\":20000}",
                 (unsigned)h2_origin_port(floods[kind]));
        cJSON *answer = post_fetch(body, 200);
        print_message("    kind %d: ended after %.0f ms (%s), the good one after %.0f ms\n", kind,
                      json_number(answer, "results.0.elapsed_ms"), json_text_at(answer, "results.0.error.code"),
                      json_number(answer, "results.1.elapsed_ms"));
        assert_string_equal(json_text_at(answer, "results.0.error.code"), "protocol_error");
        assert_true(json_number(answer, "results.1.status") == 200);
        assert_true(json_number(answer, "results.1.elapsed_ms") < scaled_ms(1000));
        cJSON_Delete(answer);
        h2_origin_stop(floods[kind]);
    }
    assert_int_equal(server_stop(&server), 0);
    server = given;
}

/* The deadline counts, also when each frame is just worth reading. */
static void floods__many_at_once__end_at_their_deadline(void **state)
{
    (void)state;
    enum { COUNT = 8 };
    struct h2_origin *floods[COUNT];
    char pem_path[URL_BYTES];
    struct buf body = BUF_INIT(4096);
    size_t len;
    snprintf(pem_path, sizeof pem_path, "%s/%s.pem", nginx.dir, certificates_kind_name(CERTIFICATE_GOOD));
    buf_lit(&body, "{\"urls\":[");
    for (int i = 0; i < COUNT; i++) {
        floods[i] = h2_origin_start((enum h2_kind)(i % H2_REFUSED), pem_path);
        assert_non_null(floods[i]);
        buf_printf(&body, "%s\"https://127.0.0.1:%u/\"", i ? "," : "", (unsigned)h2_origin_port(floods[i]));
    }
    buf_printf(&body, "],\"retries\":10,\"timeout_ms\":1000}%c", '\0');
    char *text = buf_take(&body, &len);
    cJSON *answer = post_fetch(text, 200);
    assert_true(json_number(answer, "failed") == COUNT);
    assert_true(json_number(answer, "elapsed_ms") < 1000 + scaled_ms(1000));
    cJSON_Delete(answer);
    free(text);
    for (int i = 0; i < COUNT; i++)
        h2_origin_stop(floods[i]);
}

/* libcurl alone would send it five times. */
static void refused_stream__no_retries_asked__sent_twice(void **state)
{
    (void)state;
    char pem_path[URL_BYTES];
    snprintf(pem_path, sizeof pem_path, "%s/%s.pem", nginx.dir, certificates_kind_name(CERTIFICATE_GOOD));
    struct h2_origin *refusing = h2_origin_start(H2_REFUSED, pem_path);
    assert_non_null(refusing);
    cJSON *answer = fetch_from("https", h2_origin_port(refusing), "/", ",\"retries\":0", 502);
    assert_string_equal(json_text_at(answer, "code"), "connection_closed");
    assert_true(json_number(answer, "attempts") == 2);
    assert_non_null(strstr(json_text_at(answer, "detail"), "sent twice"));
    cJSON_Delete(answer);
    h2_origin_stop(refusing);
}

/* ---- which authorities are trusted */

static void ca_file__not_given__our_authority_is_unknown(void **state)
{
    (void)state;
    struct server given = server;
    const char *const flags[] = { "--workers", "1", "--fetch-allow", "127.0.0.0/8", NULL };
    bool has_started = server_start(&server, flags, NULL);
    if (has_started) {
        struct server other = server;
        expect_failure("https", nginx.h2_port, "", 502, "tls_verify_failed", "tls");
        assert_int_equal(server_stop(&other), 0);
    }
    server = given;
    assert_true(has_started);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(versions__by_what_the_server_speaks__told),
        cmocka_unit_test(connection__asked_again__reused_without_a_handshake),
        cmocka_unit_test(names__in_the_certificate__accepted),
        cmocka_unit_test(certificates__of_each_bad_kind__not_accepted),
        cmocka_unit_test(servers__without_tls__fail_in_their_phase),
        cmocka_unit_test(range__asked_for__206_with_its_part),
        cmocka_unit_test(conditions__that_do_not_hold__304_without_body),
        cmocka_unit_test(head__over_http_2__length_without_body),
        cmocka_unit_test(bodies__coded_empty_and_cut__as_they_are),
        cmocka_unit_test(http_2__100_at_once__few_connections),
        cmocka_unit_test(floods__of_every_kind__cost_their_own_url_only),
        cmocka_unit_test(floods__many_at_once__end_at_their_deadline),
        cmocka_unit_test(refused_stream__no_retries_asked__sent_twice),
        cmocka_unit_test(ca_file__not_given__our_authority_is_unknown),
    };
    return cmocka_run_group_tests_name("fetch_tls", tests, start, stop);
}
