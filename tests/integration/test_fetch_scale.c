/* Ten thousand URLs in one call: with a concurrency of 5,000, and all of them in flight at once.
 *
 * Descriptors: a transfer takes one here, in the program and in the origin's thread of this process. Where the limit
 * does not allow 10,000, fewer are tried and the test says so.
 *
 * Memory: what the front end needs at its peak beyond what it needed at its start, per transfer in flight: libcurl's
 * handle with its receive buffer (CURLOPT_BUFFERSIZE is 16 KiB), its connection, our transfer, fetch and job, the small
 * body and the result. */
#include "tests/integration/fetch_rig.h"
#include "tests/support/procs.h"

/* So many connections take a slow machine seconds. */
#define PATIENT ",\"connect_timeout_ms\":60000,\"first_byte_timeout_ms\":60000"

enum {
    URLS = 10000,
    CONCURRENCY = 5000,
    OTHER_DESCRIPTORS = 1500, /* of the program: clients, workers, I/O threads; of this process: far fewer */
    TRANSFER_KIB = 32,        /* in flight: 23 were measured */
    BASE_KIB = 32 * 1024      /* heaps that have grown, the request's tree, the answer */
};

static unsigned urls;
static size_t start_kib; /* of the front end before it has fetched anything */

static int start(void **state)
{
    (void)state;
    struct rlimit limit = { 0 };
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < 2 * OTHER_DESCRIPTORS)
        return -1;
    urls = limit.rlim_cur >= URLS + OTHER_DESCRIPTORS ? URLS : (unsigned)(limit.rlim_cur - OTHER_DESCRIPTORS);
    if (urls < URLS)
        print_message("    only %u descriptors: %u URLs instead of %u\n", (unsigned)limit.rlim_cur, urls, URLS);
    if (scaled_ms(1) > 5) /* under ThreadSanitizer the rest would add minutes and nothing new */
        urls /= 4;
    const char *const flags[] = { "--workers",
                                  "1",
                                  "--fetch-allow",
                                  "127.0.0.1/32",
                                  "--fetch-per-host",
                                  "0",
                                  "--max-connections",
                                  "100",
                                  "--fetch-timeout-ms",
                                  "60000",
                                  NULL };
    return rig_start(flags);
}

static size_t peak_kib(void) { return procs_peak_rss_kib(server_front_end_pid(&server)); }

/* Sanitizers have memory of their own for ours. */
static void expect_bounded_memory(unsigned in_flight)
{
    size_t kib = peak_kib(), bound_kib = start_kib + BASE_KIB + (size_t)in_flight * TRANSFER_KIB;
    print_message("    %zu MiB at the peak, %zu at the start: %.1f KiB a transfer; the bound is %zu MiB\n", kib / 1024,
                  start_kib / 1024, (double)(kib - start_kib) / in_flight, bound_kib / 1024);
    if (scaled_ms(1) == 1)
        assert_true(kib < bound_kib);
}

static void call__10000_delayed_urls__5000_at_a_time(void **state)
{
    (void)state;
    start_kib = peak_kib();
    char *body = list_of("@/delay/600?%u", urls, ",\"concurrency\":5000" PATIENT);
    origin_reset_peak(origin);
    cJSON *answer = post_fetch(body, 200);
    assert_true(json_number(answer, "ok") == urls);
    assert_int_equal(cJSON_GetArraySize(json_at(answer, "results")), (int)urls);
    unsigned at_once = origin_get_counts(origin).in_flight_peak;
    print_message("    %u URLs in %.0f ms, %u in flight at the peak\n", urls, json_number(answer, "elapsed_ms"),
                  at_once);
    assert_true(at_once <= CONCURRENCY);
    expect_bounded_memory(CONCURRENCY);
    cJSON_Delete(answer);
    free(body);
}

static void call__all_in_flight__answered_when_the_gate_opens(void **state)
{
    (void)state;
    char concurrency[128];
    struct http_conn conn;
    struct http_reply reply;
    snprintf(concurrency, sizeof concurrency, ",\"concurrency\":%u" PATIENT, urls);
    char *body = list_of("@/gate?%u", urls, concurrency);
    assert_true(http_connect(&conn, server.port));
    assert_true(http_send(&conn, "POST", "/fetch", HTTP_JSON, body, strlen(body)));
    unsigned wanted = urls;
    assert_true(wait_until(origin_has_in_flight, &wanted, scaled_ms(20000)));
    assert_true(server_stat(&server, "fetch.in_flight") == urls);
    origin_open_gate(origin);
    http_receive(&conn, false, scaled_ms(20000), &reply);
    cJSON *answer = cJSON_Parse(reply.body);
    assert_true(json_number(answer, "ok") == urls);
    expect_bounded_memory(urls);
    cJSON_Delete(answer);
    http_reply_done(&reply);
    http_close(&conn);
    free(body);
    await_idle();
}

/* Idle connections and handles stay for a while, and pages with anything left in them. */
static bool has_returned_a_third(void *unused)
{
    (void)unused;
    return procs_rss_kib(server_front_end_pid(&server)) < peak_kib() * 2 / 3;
}

/* Nobody asks for anything meanwhile, and no client is connected. */
static void idle__after_many__memory_is_returned(void **state)
{
    (void)state;
    if (scaled_ms(1) > 1)
        skip(); /* sanitizers keep what is freed */
    size_t before_kib = procs_rss_kib(server_front_end_pid(&server));
    assert_true(wait_until(has_returned_a_third, NULL, 15000));
    print_message("    %zu MiB at the peak, %zu after the last answer, %zu later\n", peak_kib() / 1024,
                  before_kib / 1024, procs_rss_kib(server_front_end_pid(&server)) / 1024);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(call__10000_delayed_urls__5000_at_a_time),
        cmocka_unit_test(call__all_in_flight__answered_when_the_gate_opens),
        cmocka_unit_test(idle__after_many__memory_is_returned),
    };
    return cmocka_run_group_tests_name("fetch_scale", tests, start, rig_stop);
}
