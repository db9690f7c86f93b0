/* The tools for tests of TLS against libcurl and OpenSSL as they come: certificates are good or bad in the way they are
 * named after, nginx speaks the protocol that its port promises and serves what its header says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <curl/curl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "tests/support/nginx.h"
#include "tests/support/procs.h"
#include "tests/support/timing.h"

enum { BODY_MAX = 1 << 20, FIELD_BYTES = 128, PATIENCE_MS = 5000 };

static struct nginx nginx;
static CURL *curl;

static int start(void **state)
{
    (void)state;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    curl = curl_easy_init();
    return curl && nginx_start_tls(&nginx) ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    nginx_stop(&nginx);
    curl_easy_cleanup(curl);
    curl_global_cleanup();
    return 0;
}

/* --- asking nginx --- */

struct question {
    const char *scheme; /* NULL: https */
    const char *host;   /* NULL: origin.test */
    uint16_t port;
    const char *path;
    const char *range;
    const char *field;    /* one more header line */
    const char *encoding; /* accepted */
    bool is_head;
    bool is_http1; /* HTTP/1.1 is all that is offered */
};

static struct answer {
    CURLcode code;
    long verdict; /* OpenSSL's, on the certificate */
    long status, version;
    struct buf body; /* ends in a NUL that `len` does not count */
} answer;

static size_t keep(char *bytes, size_t size, size_t count, void *context)
{
    buf_append(context, bytes, size * count);
    return size * count;
}

static struct curl_slist *resolutions(uint16_t port)
{
    static const char *const hosts[] = { "origin.test", "a.origin.test", "a.b.origin.test", "elsewhere.test" };
    struct curl_slist *list = NULL;
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        char line[FIELD_BYTES];
        snprintf(line, sizeof line, "%s:%u:127.0.0.1", hosts[i], (unsigned)port);
        list = curl_slist_append(list, line);
    }
    return list;
}

/* Leaves everything in `answer`; fields can be had with header() until the next call. */
static void ask(const struct question *question)
{
    char url[FIELD_BYTES];
    snprintf(url, sizeof url, "%s://%s:%u%s", question->scheme ? question->scheme : "https",
             question->host ? question->host : "origin.test", (unsigned)question->port, question->path);
    struct curl_slist *resolve = resolutions(question->port);
    struct curl_slist *fields = question->field ? curl_slist_append(NULL, question->field) : NULL;
    answer = (struct answer){ .body = BUF_INIT(BODY_MAX) };
    curl_easy_reset(curl);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)scaled_ms(PATIENCE_MS));
    curl_easy_setopt(curl, CURLOPT_CAINFO, nginx.ca_path);
    curl_easy_setopt(curl, CURLOPT_RESOLVE, resolve);
    curl_easy_setopt(curl, CURLOPT_HTTP_VERSION,
                     (long)(question->is_http1 ? CURL_HTTP_VERSION_1_1 : CURL_HTTP_VERSION_2TLS));
    curl_easy_setopt(curl, CURLOPT_NOBODY, question->is_head ? 1L : 0L);
    curl_easy_setopt(curl, CURLOPT_RANGE, question->range);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, fields);
    curl_easy_setopt(curl, CURLOPT_ACCEPT_ENCODING, question->encoding);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, keep);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &answer.body);
    answer.code = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_SSL_VERIFYRESULT, &answer.verdict);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer.status);
    curl_easy_getinfo(curl, CURLINFO_HTTP_VERSION, &answer.version);
    buf_byte(&answer.body, '\0');
    answer.body.len--;
    curl_easy_setopt(curl, CURLOPT_RESOLVE, NULL);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, NULL);
    curl_slist_free_all(resolve);
    curl_slist_free_all(fields);
}

static int drop_answer(void **state)
{
    (void)state;
    buf_done(&answer.body);
    return 0;
}

/* Asks and expects an answer with that status. */
static void ask_for(const struct question *question, long status)
{
    drop_answer(NULL);
    ask(question);
    if (answer.code != CURLE_OK || answer.status != status)
        fail_msg("%s on port %u: %s, status %ld", question->path, (unsigned)question->port,
                 curl_easy_strerror(answer.code), answer.status);
}

/* A field of the last answer, or NULL; valid until the next call. */
static const char *header(const char *name)
{
    struct curl_header *found;
    return curl_easy_header(curl, name, 0, CURLH_HEADER, -1, &found) == CURLHE_OK ? found->value : NULL;
}

static void nginx_tls__each_name__http2_or_http1_as_the_port_says(void **state)
{
    (void)state;
    static const char *const hosts[] = { "localhost", "origin.test", "a.origin.test", "127.0.0.1" };
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        ask_for(&(struct question){ .host = hosts[i], .port = nginx.h2_port, .path = "/protocol" }, 200);
        assert_int_equal(answer.version, CURL_HTTP_VERSION_2_0);
        assert_string_equal(answer.body.data, "HTTP/2.0");
        ask_for(&(struct question){ .host = hosts[i], .port = nginx.h1_port, .path = "/protocol" }, 200);
        assert_int_equal(answer.version, CURL_HTTP_VERSION_1_1);
        assert_string_equal(answer.body.data, "HTTP/1.1");
    }
    ask_for(&(struct question){ .scheme = "http", .port = nginx.port, .path = "/protocol" }, 200);
    assert_string_equal(answer.body.data, "HTTP/1.1");
}

static void nginx_h2_port__client_of_http1__served(void **state)
{
    (void)state;
    curl_easy_cleanup(curl); /* with its connections: HTTP/2 would be used again */
    curl = curl_easy_init();
    ask_for(&(struct question){ .port = nginx.h2_port, .path = "/protocol", .is_http1 = true }, 200);
    assert_int_equal(answer.version, CURL_HTTP_VERSION_1_1);
    assert_string_equal(answer.body.data, "HTTP/1.1");
}

static void nginx_tls__bad_certificates__refused_each_for_its_reason(void **state)
{
    (void)state;
    enum { WRONG_NAME = X509_V_ERR_UNSPECIFIED }; /* libcurl looks at the name itself, before it asks for the verdict */
    const struct {
        uint16_t port;
        const char *host;
        long verdict;
    } cases[] = {
        { nginx.bad_port[CERTIFICATE_EXPIRED], "origin.test", X509_V_ERR_CERT_HAS_EXPIRED },
        { nginx.bad_port[CERTIFICATE_NOT_YET_VALID], "origin.test", X509_V_ERR_CERT_NOT_YET_VALID },
        { nginx.bad_port[CERTIFICATE_OTHER_HOST], "origin.test", WRONG_NAME },
        { nginx.bad_port[CERTIFICATE_OTHER_HOST], "127.0.0.1", WRONG_NAME },
        { nginx.bad_port[CERTIFICATE_SELF_SIGNED], "origin.test", X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT },
        { nginx.bad_port[CERTIFICATE_UNKNOWN_CA], "origin.test", X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY },
        { nginx.h2_port, "elsewhere.test", WRONG_NAME },
        { nginx.h1_port, "a.b.origin.test", WRONG_NAME }, /* '*' is one label */
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        drop_answer(NULL);
        ask(&(struct question){ .host = cases[i].host, .port = cases[i].port, .path = "/small" });
        if (answer.code != CURLE_PEER_FAILED_VERIFICATION || answer.verdict != cases[i].verdict)
            fail_msg("case %zu: %s; verification: %s", i, curl_easy_strerror(answer.code),
                     X509_verify_cert_error_string(answer.verdict));
    }
}

static void nginx_ranges__every_port__parts_of_lines(void **state)
{
    (void)state;
    const uint16_t ports[] = { nginx.port, nginx.h1_port, nginx.h2_port };
    for (size_t i = 0; i < ARRAY_LEN(ports); i++) {
        struct question question = { .scheme = i == 0 ? "http" : "https", .port = ports[i], .path = "/lines" };
        question.range = "80-95";
        ask_for(&question, 206);
        assert_string_equal(answer.body.data, "0000010\n0000011\n");
        assert_string_equal(header("Content-Range"), "bytes 80-95/65536");
        question.range = "-8";
        ask_for(&question, 206);
        assert_string_equal(answer.body.data, "0008191\n");
        question.range = "65536-";
        ask_for(&question, 416);
        question.path = "/no-ranges";
        question.range = "80-95";
        ask_for(&question, 200);
        assert_int_equal(answer.body.len, 65536);
    }
}

static void nginx_conditional_requests__same_and_other__304_and_200(void **state)
{
    (void)state;
    struct question question = { .port = nginx.h2_port, .path = "/lines" };
    ask_for(&question, 200);
    assert_string_equal(header("Last-Modified"), NGINX_LAST_MODIFIED);
    assert_non_null(header("ETag"));
    char same[FIELD_BYTES], same_range[FIELD_BYTES];
    snprintf(same, sizeof same, "If-None-Match: %s", header("ETag"));
    snprintf(same_range, sizeof same_range, "If-Range: %s", header("ETag"));

    question.field = same;
    ask_for(&question, 304);
    assert_int_equal(answer.body.len, 0);
    question.field = "If-None-Match: \"other\"";
    ask_for(&question, 200);
    question.field = "If-Modified-Since: " NGINX_LAST_MODIFIED;
    ask_for(&question, 304);
    question.field = "If-Modified-Since: Tue, 31 Dec 2019 23:59:59 GMT";
    ask_for(&question, 200);
    question.range = "0-7";
    question.field = same_range;
    ask_for(&question, 206);
    question.field = "If-Range: \"other\"";
    ask_for(&question, 200);
}

static void nginx_head_empty_and_gzip__as_documented(void **state)
{
    (void)state;
    ask_for(&(struct question){ .port = nginx.h1_port, .path = "/64k", .is_head = true }, 200);
    assert_string_equal(header("Content-Length"), "65536");
    assert_int_equal(answer.body.len, 0);
    ask_for(&(struct question){ .port = nginx.h1_port, .path = "/small" }, 200);
    assert_int_equal(answer.body.len, 1024);
    ask_for(&(struct question){ .port = nginx.h1_port, .path = "/empty" }, 200);
    assert_int_equal(answer.body.len, 0);
    ask_for(&(struct question){ .port = nginx.h1_port, .path = "/no-content" }, 204);
    ask_for(&(struct question){ .port = nginx.h2_port, .path = "/page.html", .encoding = "gzip" }, 200);
    assert_string_equal(header("Content-Encoding"), "gzip");
    assert_int_equal(answer.body.len, 65536);
    ask_for(&(struct question){ .port = nginx.h2_port, .path = "/page.html" }, 200);
    assert_null(header("Content-Encoding"));
}

static void nginx_connection__used_again__same_number(void **state)
{
    (void)state;
    const uint16_t ports[] = { nginx.h1_port, nginx.h2_port };
    for (size_t i = 0; i < ARRAY_LEN(ports); i++) {
        const struct question question = { .port = ports[i], .path = "/connection" };
        unsigned first[2], second[2];
        ask_for(&question, 200);
        assert_int_equal(sscanf(answer.body.data, "%u %u", &first[0], &first[1]), 2);
        ask_for(&question, 200);
        assert_int_equal(sscanf(answer.body.data, "%u %u", &second[0], &second[1]), 2);
        assert_int_equal(second[0], first[0]);
        assert_int_equal(second[1], first[1] + 1);
    }
}

static void nginx_stop__with_tls_and_without__nothing_left(void **state)
{
    (void)state;
    bool (*const starts[])(struct nginx *) = { nginx_start, nginx_start_tls };
    size_t fds = procs_count_fds(getpid());
    for (size_t i = 0; i < ARRAY_LEN(starts); i++) {
        struct nginx other;
        assert_true(starts[i](&other));
        assert_true(other.port != 0);
        assert_int_equal(other.h2_port != 0, i == 1);
        assert_int_equal(other.ca_path[0] != '\0', i == 1);
        const struct nginx was = other;
        nginx_stop(&other);
        assert_int_equal(procs_state(was.pid), 0);
        assert_int_equal(access(was.dir, F_OK), -1);
        nginx_stop(&other);
    }
    assert_int_equal(procs_count_fds(getpid()), fds);
}

/* --- certificates --- */

static X509 *read_certificate(const char *dir, const char *name)
{
    char path[FIELD_BYTES];
    snprintf(path, sizeof path, "%s/%s.pem", dir, name);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    X509 *certificate = PEM_read_X509(file, NULL, NULL, NULL);
    fclose(file);
    assert_non_null(certificate);
    return certificate;
}

static void certificates__each_kind__wrong_in_one_thing(void **state)
{
    (void)state;
    X509 *ca = read_certificate(nginx.dir, "ca");
    for (unsigned kind = 0; kind < CERTIFICATE_KINDS; kind++) {
        X509 *leaf = read_certificate(nginx.dir, certificates_kind_name(kind));
        const bool has_begun = X509_cmp_current_time(X509_get0_notBefore(leaf)) < 0;
        const bool has_ended = X509_cmp_current_time(X509_get0_notAfter(leaf)) < 0;
        const bool has_names = X509_check_host(leaf, "localhost", 0, 0, NULL) == 1 &&
                               X509_check_host(leaf, "b.origin.test", 0, 0, NULL) == 1 &&
                               X509_check_ip_asc(leaf, "127.0.0.1", 0) == 1;
        const bool is_by_ca = X509_verify(leaf, X509_get0_pubkey(ca)) == 1;
        const bool is_by_itself = X509_verify(leaf, X509_get0_pubkey(leaf)) == 1;
        X509_free(leaf);
        ERR_clear_error(); /* of signatures that do not fit */
        assert_int_equal(has_begun, kind != CERTIFICATE_NOT_YET_VALID);
        assert_int_equal(has_ended, kind == CERTIFICATE_EXPIRED);
        assert_int_equal(has_names, kind != CERTIFICATE_OTHER_HOST);
        assert_int_equal(is_by_ca, kind != CERTIFICATE_SELF_SIGNED && kind != CERTIFICATE_UNKNOWN_CA);
        assert_int_equal(is_by_itself, kind == CERTIFICATE_SELF_SIGNED);
    }
    X509_free(ca);
}

static void certificates__no_directory_or_bad_names__false(void **state)
{
    (void)state;
    char dir[] = "/tmp/twinpool-certificates-XXXXXX", path[FIELD_BYTES];
    struct certificates *certificates = NULL;
    assert_false(certificates_create("/nonexistent", &certificates));
    assert_null(certificates);

    assert_non_null(mkdtemp(dir));
    bool is_made = certificates_create(dir, &certificates);
    bool is_written = is_made && certificates_write(certificates, CERTIFICATE_GOOD, "IP:not an address", "leaf.pem");
    certificates_free(certificates);
    snprintf(path, sizeof path, "%s/ca.pem", dir);
    bool is_removed = unlink(path) == 0 && rmdir(dir) == 0; /* no leaf.pem: the directory was empty */
    assert_true(is_made);
    assert_false(is_written);
    assert_true(is_removed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(nginx_tls__each_name__http2_or_http1_as_the_port_says, drop_answer),
        cmocka_unit_test_teardown(nginx_h2_port__client_of_http1__served, drop_answer),
        cmocka_unit_test_teardown(nginx_tls__bad_certificates__refused_each_for_its_reason, drop_answer),
        cmocka_unit_test_teardown(nginx_ranges__every_port__parts_of_lines, drop_answer),
        cmocka_unit_test_teardown(nginx_conditional_requests__same_and_other__304_and_200, drop_answer),
        cmocka_unit_test_teardown(nginx_head_empty_and_gzip__as_documented, drop_answer),
        cmocka_unit_test_teardown(nginx_connection__used_again__same_number, drop_answer),
        cmocka_unit_test(nginx_stop__with_tls_and_without__nothing_left),
        cmocka_unit_test(certificates__each_kind__wrong_in_one_thing),
        cmocka_unit_test(certificates__no_directory_or_bad_names__false),
    };
    return cmocka_run_group_tests_name("support_tls", tests, start, stop);
}
