/* fetch_rig: a real I/O pool, the event loop that it completes calls on, and an origin, for the tests of pool/io_pool.c
 * and pool/transfer.c. Included by one file of a driver. */
#ifndef TWINPOOL_TESTS_UNIT_FETCH_RIG_H
#define TWINPOOL_TESTS_UNIT_FETCH_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

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
#include "tests/support/origin.h"
#include "tests/support/timing.h"

enum { URLS_MAX = 1000, WAIT_MS = 20000, ITEM_TIMEOUT_MS = 10000, BODY_MAX = 1 << 20 };

static struct origin *origin; /* shared by all tests */

/* One event loop that submits and collects. */
static struct bell bell;
static int bell_fd;
static struct io_pool *pool;

static struct call {
    struct fetch_call call;
    struct fetch_item items[URLS_MAX];
    char urls[URLS_MAX][300];
    unsigned times_done;
} * calls[40];
static size_t call_count;

static void start_pool(const struct io_pool_config *wanted)
{
    struct bell *bells[] = { &bell };
    struct io_pool_config config = *wanted;
    const char *message;
    config.loops = 1;
    config.bells = bells;
    config.event_fds = &bell_fd;
    config.threads = wanted->threads ? wanted->threads : 2;
    config.inflight_max = wanted->inflight_max ? wanted->inflight_max : 1000;
    config.queue_max = wanted->queue_max ? wanted->queue_max : 5000;
    config.total_body_max = wanted->total_body_max ? wanted->total_body_max : 64 << 20;
    config.connect_timeout_ms = wanted->connect_timeout_ms ? wanted->connect_timeout_ms : 3000;
    config.user_agent = "test/1";
    if (!wanted->policy.allow_count)
        assert_true(egress_policy_parse("127.0.0.1/32", &config.policy, &message));
    assert_int_equal(io_pool_create(&config, &pool), ST_OK);
}

static int setup(void **state)
{
    (void)state;
    atomic_store(&bell.epoch, 0);
    bell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pool = NULL;
    call_count = 0;
    return bell_fd < 0;
}

static int teardown(void **state)
{
    (void)state;
    io_pool_free(pool);
    for (size_t i = 0; i < call_count; i++) {
        fetch_call_clear(&calls[i]->call);
        free(calls[i]);
    }
    return close(bell_fd);
}

static void on_done(struct fetch_call *call)
{
    struct call *self = call->user;
    self->times_done++;
}

static struct call *new_call(void)
{
    struct call *c = calloc(1, sizeof *c);
    assert_non_null(c);
    calls[call_count++] = c;
    c->call.items = c->items;
    c->call.on_done = on_done;
    c->call.user = c;
    return c;
}

/* "@" in front stands for the test origin. */
static struct fetch_item *add_url(struct call *c, const char *url)
{
    struct fetch_item *item = &c->items[c->call.count];
    char *text = c->urls[c->call.count++];
    if (url[0] == '@')
        snprintf(text, sizeof c->urls[0], "http://127.0.0.1:%u%s", origin_port(origin), url + 1);
    else
        snprintf(text, sizeof c->urls[0], "%s", url);
    item->url = text;
    item->timeout_ms = ITEM_TIMEOUT_MS;
    item->max_body_bytes = BODY_MAX;
    item->max_redirects = 5;
    return item;
}

/* The loop's side of the bell, as the service does it. */
static void turn_loop(int timeout_ms)
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

static void wait_done(struct call *c)
{
    uint64_t deadline_ns = clock_now_ns() + scaled_ms(WAIT_MS) * NS_PER_MS;
    while (c->times_done == 0) {
        if (clock_now_ns() > deadline_ns)
            fail_msg("the call did not complete");
        turn_loop(1000);
    }
    assert_int_equal(c->times_done, 1);
    assert_null(c->call.pool_state);
}

static void run(struct call *c)
{
    assert_int_equal(io_pool_submit(pool, &c->call), ST_OK);
    wait_done(c);
}

static inline void expect_failure(const struct fetch_item *item, enum status status, const char *phase)
{
    if (item->status != status || strcmp(item->phase, phase) != 0)
        fail_msg("%s: expected %s in %s, got %s in %s: %s", item->url, status_code(status), phase,
                 status_code(item->status), item->status == ST_OK ? "" : item->phase, item->message);
}

static inline cJSON *json_of(const struct fetch_item *item)
{
    if (item->status != ST_OK)
        fail_msg("%s failed: %s: %s", item->url, status_code(item->status), item->message);
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
        fail_msg("%s of %s: expected \"%s\", got \"%.300s\"", path, item->url, text, json_text_at(json, path));
    cJSON_Delete(json);
}

static inline void expect_number(const struct fetch_item *item, const char *path, double number)
{
    cJSON *json = json_of(item);
    if (json_number(json, path) != number)
        fail_msg("%s of %s: expected %g, got %g", path, item->url, number, json_number(json, path));
    cJSON_Delete(json);
}

static inline struct io_pool_stats stats(void)
{
    struct io_pool_stats now;
    io_pool_get_stats(pool, &now);
    return now;
}

static int start_origin(void **state)
{
    (void)state;
    curl_global_init(CURL_GLOBAL_ALL);
    origin = origin_start("127.0.0.1", 0);
    return origin ? 0 : -1;
}

static int stop_origin(void **state)
{
    (void)state;
    origin_stop(origin);
    curl_global_cleanup();
    return 0;
}

#define pool_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
