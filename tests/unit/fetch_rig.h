/* fetch_rig: a real I/O pool, the event loop that it completes calls on, an origin and, for who starts one, a name
 * server: what the tests of the fetch engine (pool/io_*.c, fetch.c, transfer*.c) share. Included by one file of a
 * driver. */
#ifndef TWINPOOL_TESTS_UNIT_FETCH_RIG_H
#define TWINPOOL_TESTS_UNIT_FETCH_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ares.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <curl/curl.h>

#include "base/clock.h"
#include "pool/io_pool.h"
#include "tests/support/json_path.h"
#include "tests/support/listener.h"
#include "tests/support/name_server.h"
#include "tests/support/origin.h"
#include "tests/support/timing.h"

enum { CALL_ITEMS_MAX = 2048, WAIT_MS = 20000, ITEM_TIMEOUT_MS = 10000, BODY_MAX = 1 << 20, TEXT_MAX = 400 };

static struct origin *origin;     /* shared by all tests */
static struct name_server *names; /* of a test that called start_names() */

/* One event loop that submits and collects. */
static struct bell bell;
static int bell_fd;
static struct io_pool *pool;

static struct call {
    struct fetch_call call;
    struct fetch_item items[CALL_ITEMS_MAX];
    char *urls[CALL_ITEMS_MAX];
    unsigned times_done;
    struct fetch_item *told[CALL_ITEMS_MAX]; /* by on_item, in this order */
    size_t told_count;
    struct call *next;
} * calls; /* of the test */

/* ---- the pool */

static inline void start_names(void)
{
    names = name_server_start("127.0.0.1", 0);
    assert_non_null(names);
}

/* Zero in `wanted` stands for what a test does not care about. */
static inline enum status create_pool(const struct io_pool_config *wanted)
{
    struct bell *bells[] = { &bell };
    struct io_pool_config config = *wanted;
    const char *message;
    char servers[32] = "";
    if (names)
        snprintf(servers, sizeof servers, "127.0.0.1:%u", name_server_port(names));
    config.loops = 1;
    config.bells = bells;
    config.event_fds = &bell_fd;
    config.threads = wanted->threads ? wanted->threads : 2;
    config.inflight_max = wanted->inflight_max ? wanted->inflight_max : 1000;
    config.connections_max = wanted->connections_max ? wanted->connections_max : 4000;
    config.queue_max = wanted->queue_max ? wanted->queue_max : 5000;
    config.total_body_max = wanted->total_body_max ? wanted->total_body_max : 64 << 20;
    config.memory_max = wanted->memory_max ? wanted->memory_max : 1 << 30;
    config.stream_window = wanted->stream_window ? wanted->stream_window : 1 << 20;
    config.dns_servers = wanted->dns_servers ? wanted->dns_servers : servers;
    config.ca_file = wanted->ca_file ? wanted->ca_file : "";
    config.user_agent = "test/1";
    if (!wanted->policy.allow.count)
        assert_true(egress_cidrs_parse("127.0.0.1/32", &config.policy.allow, &message));
    return io_pool_create(&config, &pool);
}

static inline void start_pool(const struct io_pool_config *wanted) { assert_int_equal(create_pool(wanted), ST_OK); }

static inline struct io_pool_stats stats(void)
{
    struct io_pool_stats now;
    io_pool_get_stats(pool, &now);
    return now;
}

/* ---- calls */

static void on_done(struct fetch_call *call)
{
    struct call *self = call->user;
    self->times_done++;
}

/* For a call that wants to know of each item: `c->call.on_item = on_item`. */
static inline void on_item(struct fetch_call *call, struct fetch_item *item)
{
    struct call *self = call->user;
    self->told[self->told_count++] = item;
}

static inline struct call *new_call(void)
{
    struct call *c = calloc(1, sizeof *c);
    assert_non_null(c);
    c->next = calls;
    calls = c;
    c->call.items = c->items;
    c->call.on_done = on_done;
    c->call.user = c;
    return c;
}

/* "@" in front stands for the test origin. An item has time for everything and is tried once. */
static inline struct fetch_item *add_url(struct call *c, const char *url)
{
    struct fetch_item *item = &c->items[c->call.count];
    char **text = &c->urls[c->call.count++];
    int length = url[0] == '@' ? asprintf(text, "http://127.0.0.1:%u%s", origin_port(origin), url + 1)
                               : asprintf(text, "%s", url);
    assert_true(length > 0);
    item->url = *text;
    item->timeout_ms = item->dns_timeout_ms = item->connect_timeout_ms = item->tls_timeout_ms =
        item->first_byte_timeout_ms = scaled_ms(ITEM_TIMEOUT_MS);
    item->max_body_bytes = BODY_MAX;
    item->max_redirects = 5;
    return item;
}

__attribute__((format(printf, 2, 3))) static inline struct fetch_item *add_urlf(struct call *c, const char *format, ...)
{
    char url[TEXT_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(url, sizeof url, format, arguments);
    va_end(arguments);
    return add_url(c, url);
}

/* One redirect by the test origin, to anything at all. */
static inline struct fetch_item *add_redirect(struct call *c, unsigned status, const char *target)
{
    char escaped[TEXT_MAX] = "";
    for (const char *at = target; *at; at++)
        snprintf(escaped + strlen(escaped), sizeof escaped - strlen(escaped), "%%%02x", (unsigned char)*at);
    return add_urlf(c, "@/redirect-to?url=%s&status=%u", escaped, status);
}

/* The loop's side of the bell, as the service does it. */
static inline void turn_loop(int timeout_ms)
{
    struct pollfd waits = { .fd = bell_fd, .events = POLLIN };
    uint64_t rings;
    bell_lie_down(&bell);
    if (!io_pool_has_news(pool, 0))
        poll(&waits, 1, timeout_ms);
    bell_get_up(&bell);
    ssize_t ignored = read(bell_fd, &rings, sizeof rings);
    (void)ignored;
    io_pool_collect(pool, 0);
}

/* Turns the loop until the condition holds, and fails the test if it never does. */
#define AWAIT(condition)                                                                      \
    do {                                                                                      \
        uint64_t await_until_ns = clock_now_ns() + scaled_ms(WAIT_MS) * NS_PER_MS;            \
        while (!(condition)) {                                                                \
            if (clock_now_ns() > await_until_ns)                                              \
                fail_msg("%s:%d: it never came to this: %s", __FILE__, __LINE__, #condition); \
            turn_loop(2);                                                                     \
        }                                                                                     \
    } while (0)

static inline void submit(struct call *c) { assert_int_equal(io_pool_submit(pool, &c->call), ST_OK); }

static inline void wait_done(struct call *c)
{
    AWAIT(c->times_done > 0);
    assert_int_equal(c->times_done, 1);
}

static inline void run(struct call *c)
{
    submit(c);
    wait_done(c);
}

static inline void cancel(struct call *c)
{
    io_pool_cancel(pool, &c->call, ST_CANCELLED);
    wait_done(c);
}

/* ---- results */

static inline void expect_status(const struct fetch_item *item, enum status status)
{
    if (item->status != status)
        fail_msg("%s: expected %s, got %s: %.*s", item->url, status_code(status), status_code(item->status),
                 (int)item->json_len, item->json ? item->json : "");
}

static inline void expect_all(const struct call *c, enum status status)
{
    for (size_t i = 0; i < c->call.count; i++)
        expect_status(&c->items[i], status);
}

static inline void expect_failure(const struct fetch_item *item, enum status status, const char *phase)
{
    expect_status(item, status);
    if (strcmp(item->phase, phase) != 0)
        fail_msg("%s: expected %s in %s, got it in %s: %s", item->url, status_code(status), phase, item->phase,
                 item->message);
}

/* Of a failure as of an answer; to be freed with cJSON_Delete(). */
static inline cJSON *json_of(const struct fetch_item *item)
{
    assert_non_null(item->json);
    cJSON *json = cJSON_ParseWithLength(item->json, item->json_len);
    assert_non_null(json);
    return json;
}

static inline bool has_text(const struct fetch_item *item, const char *text)
{
    return memmem(item->json, item->json_len, text, strlen(text)) != NULL;
}

static inline void expect_text(const struct fetch_item *item, const char *path, const char *text)
{
    cJSON *json = json_of(item);
    if (strcmp(json_text_at(json, path), text) != 0)
        fail_msg("%s of %s: expected \"%s\", got \"%.300s\" in %.*s", path, item->url, text, json_text_at(json, path),
                 (int)item->json_len, item->json);
    cJSON_Delete(json);
}

static inline double number_at(const struct fetch_item *item, const char *path)
{
    cJSON *json = json_of(item);
    double number = json_number(json, path);
    cJSON_Delete(json);
    return number;
}

static inline void expect_number(const struct fetch_item *item, const char *path, double number)
{
    if (number_at(item, path) != number)
        fail_msg("%s of %s: expected %g, got %g in %.*s", path, item->url, number, number_at(item, path),
                 (int)item->json_len, item->json);
}

static inline bool is_true_at(const struct fetch_item *item, const char *path)
{
    cJSON *json = json_of(item);
    bool is_true = cJSON_IsTrue(json_at(json, path));
    cJSON_Delete(json);
    return is_true;
}

static inline int length_at(const struct fetch_item *item, const char *path)
{
    cJSON *json = json_of(item);
    int length = cJSON_GetArraySize(json_at(json, path));
    cJSON_Delete(json);
    return length;
}

/* ---- others */

/* A port that nobody listens on: one that was bound a moment ago. */
static inline uint16_t closed_port(void)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    close(fd);
    return ntohs(address.sin_port);
}

/* ---- fixtures */

static int setup(void **state)
{
    (void)state;
    atomic_store(&bell.epoch, 0);
    bell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return bell_fd < 0;
}

/* A test that failed may have left calls under way. */
static bool end_call(struct call *c)
{
    uint64_t until_ns = clock_now_ns() + scaled_ms(WAIT_MS) * NS_PER_MS;
    io_pool_cancel(pool, &c->call, ST_CANCELLED);
    while (c->call.pool_state && c->times_done == 0 && clock_now_ns() < until_ns)
        turn_loop(2);
    return !c->call.pool_state || c->times_done > 0;
}

static int teardown(void **state)
{
    (void)state;
    bool is_over = true;
    for (struct call *c = calls; c && pool; c = c->next)
        is_over = end_call(c) && is_over;
    if (!is_over) {
        fprintf(stderr, "a call did not end\n");
        abort(); /* it cannot be freed */
    }
    for (struct call *c = calls, *next; c; c = next) {
        next = c->next;
        if (pool)
            io_pool_release(pool, &c->call);
        for (size_t i = 0; i < c->call.count; i++)
            free(c->urls[i]);
        free(c);
    }
    calls = NULL;
    bool is_empty = !pool || (stats().memory_taken == 0 && stats().in_flight == 0 && stats().queued == 0);
    io_pool_free(pool);
    pool = NULL;
    name_server_stop(names);
    names = NULL;
    if (!is_empty)
        fprintf(stderr, "the pool kept something\n");
    return close(bell_fd) || !is_empty;
}

static inline void raise_file_limit(void)
{
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
}

/* For both ends of so many connections. */
static inline bool has_files_for(unsigned connections)
{
    struct rlimit files;
    return getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur > 3 * (rlim_t)connections;
}

static int start_origin(void **state)
{
    (void)state;
    raise_file_limit();
    curl_global_init(CURL_GLOBAL_ALL);
    ares_library_init(ARES_LIB_INIT_ALL);
    origin = origin_start("127.0.0.1", 0);
    return origin ? 0 : -1;
}

static int stop_origin(void **state)
{
    (void)state;
    origin_stop(origin);
    ares_library_cleanup();
    curl_global_cleanup();
    return 0;
}

#define pool_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
