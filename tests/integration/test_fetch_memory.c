/* The front end's memory has a bound that follows from its options (docs/architecture.md, "Memory"). Here everything
 * that takes memory is done at once, by callers who do not read what they get. */
#include "tests/integration/stream_rig.h"
#include "tests/support/procs.h"

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)

enum {
    IO_THREADS = 2,
    LOOPS = 1,
    RESERVE_MIB = 32,
    EXEMPT_MIB = 32,
    IN_FLIGHT = 150,
    QUEUE = 3000,
    CONNECTIONS = 100,
    LISTS = 40,
    STREAMS = 20,
    URLS_EACH = 40,
    TIMEOUT_MS = 60000,
    FILL_MAX_MS = 3000, /* until memory is full, and */
    HOLD_MS = 3000      /* how long nobody reads then */
};

static const uint64_t memory_bytes = 24 * MIB, total_bytes = 8 * MIB, body_bytes = MIB, request_bytes = 16 * MIB;

static struct http_conn callers[LISTS + STREAMS];

/* The formula of docs/architecture.md. */
static uint64_t bound(void)
{
    return 30 * MIB + memory_bytes + 2 * total_bytes + IO_THREADS * 7 * body_bytes + IN_FLIGHT * 110 * KIB +
           QUEUE * 12 * KIB + CONNECTIONS * 192 * KIB + 2 * request_bytes + LOOPS * 40 * MIB + RESERVE_MIB * MIB +
           (EXEMPT_MIB * MIB + 2 * body_bytes);
}

static int start(void **state)
{
    (void)state;
    const char *const flags[] = { "--workers",
                                  "1",
                                  "--fetch-allow",
                                  "127.0.0.1/32",
                                  "--fetch-per-host",
                                  "0",
                                  "--loops",
                                  "1",
                                  "--io-threads",
                                  "2",
                                  "--fetch-inflight-max",
                                  "150",
                                  "--fetch-queue-max",
                                  "3000",
                                  "--max-connections",
                                  "100",
                                  "--fetch-memory-bytes",
                                  "24m",
                                  "--fetch-max-total-bytes",
                                  "8m",
                                  "--fetch-max-body-bytes",
                                  "1m",
                                  "--max-bodies-bytes",
                                  "16m",
                                  NULL };
    return rig_start(flags);
}

/* Of everything that takes memory: big bodies, such that grow when they are written as JSON, bombs, bodies without end,
 * big headers, request headers. */
static char *greedy_list(const char *members)
{
    static const char *const paths[] = { "/bytes/1048576",     "/control-bytes/200000", "/bomb/gzip",
                                         "/endless",           "/bytes/900000",         "/gzip-bomb",
                                         "/long-header/60000", "/chunked/500000" };
    struct buf text = BUF_INIT(REQUEST_BYTES_MAX);
    size_t len;
    buf_printf(&text, "{\"timeout_ms\":%u%s,\"urls\":[", TIMEOUT_MS, members);
    for (unsigned i = 0; i < URLS_EACH; i++) {
        buf_printf(&text, "%s{\"url\":\"@%s\",\"headers\":{", i ? "," : "", paths[i % ARRAY_LEN(paths)]);
        for (unsigned header = 0; header < 30; header++)
            buf_printf(&text, "%s\"x-%u\":\"%064u\"", header ? "," : "", header, i);
        buf_lit(&text, "}}");
    }
    buf_lit(&text, "]}");
    buf_byte(&text, '\0');
    assert_false(text.failed);
    return buf_take(&text, &len);
}

static uint64_t peak_bytes(void) { return procs_peak_rss_kib(server_front_end_pid(&server)) * KIB; }

static void everything_at_once__nobody_reads__within_the_bound(void **state)
{
    (void)state;
    char *list = greedy_list(""), *base64 = greedy_list(",\"response_body\":\"base64\"");
    for (unsigned i = 0; i < LISTS + STREAMS; i++)
        open_reluctant(&callers[i], i < LISTS ? "*/*" : NDJSON, i % 2 ? list : base64);
    free(list);
    free(base64);
    uint64_t until_ns = clock_now_ns() + scaled_ms(FILL_MAX_MS) * NS_PER_MS;
    bool is_full = false;
    double taken = 0, paused = 0;
    while (clock_now_ns() < until_ns) {
        double now_taken = server_stat(&server, "fetch.memory.taken_bytes"),
               now_paused = server_stat(&server, "fetch.memory.paused");
        taken = now_taken > taken ? now_taken : taken;
        paused = now_paused > paused ? now_paused : paused;
        if (!is_full && paused > 0 && taken > 0.9 * (double)memory_bytes) {
            is_full = true;
            until_ns = clock_now_ns() + HOLD_MS * NS_PER_MS;
        }
        usleep(20000);
    }
    print_message(
        "    %.1f MiB at the peak, the bound is %.1f; %.1f MiB of bodies and results, %.0f transfers stood still\n",
        (double)peak_bytes() / (double)MIB, (double)bound() / (double)MIB, taken / (double)MIB, paused);
    assert_true(taken <= (double)(memory_bytes + 2 * total_bytes + RESERVE_MIB * MIB));
    assert_true(is_full);  /* or it was no test */
    if (scaled_ms(1) == 1) /* sanitizers have memory of their own for ours */
        assert_true(peak_bytes() <= bound());
}

static bool is_given_back(void *unused)
{
    (void)unused;
    return server_stat(&server, "fetch.memory.taken_bytes") == 0;
}

static void callers_leave__all_memory_is_given_back(void **state)
{
    (void)state;
    for (unsigned i = 0; i < LISTS + STREAMS; i++)
        http_close(&callers[i]);
    await_idle();
    assert_true(wait_until(is_given_back, NULL, scaled_ms(5000))); /* by the last of those who were being answered */
    cJSON *answer = post_fetch("{\"url\":\"@/bytes/1000000\"}", 200);
    assert_true(json_number(answer, "bytes") == 1000000);
    cJSON_Delete(answer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_at_once__nobody_reads__within_the_bound),
        cmocka_unit_test(callers_leave__all_memory_is_given_back),
    };
    return cmocka_run_group_tests_name("fetch_memory", tests, start, rig_stop);
}
