/* resolver_rig: a resolver on a loop that the test itself turns, a name server, and a clock that can be put forward:
 * what the drivers of pool/resolver.c share. Included by one file of a driver. */
#ifndef TWINPOOL_TESTS_UNIT_RESOLVER_RIG_H
#define TWINPOOL_TESTS_UNIT_RESOLVER_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ares.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "pool/resolver.h"
#include "tests/support/name_server.h"
#include "tests/support/timing.h"
#include "tests/unit/fake_clock.h"

enum { WAIT_MS = 10000, ASKS_MAX = 256, TURN_MS = 2 };

static struct name_server *server;
static struct curl_loop loop;
static struct resolver *resolver;
static struct timer turn_timer; /* so that no turn sleeps for long */

/* One question and what became of it. */
static struct ask {
    struct resolver_wait wait;
    unsigned answers; /* times it was answered, at once or later */
    struct resolver_answer answer;
    struct sockaddr_storage addresses[RESOLVER_ADDRESSES_MAX];
    void (*then)(struct ask *ask);
} asks[ASKS_MAX];

static inline void keep(struct ask *ask, const struct resolver_answer *answer)
{
    ask->answers++;
    ask->answer = *answer;
    for (size_t i = 0; i < answer->count; i++)
        ask->addresses[i] = answer->addresses[i];
}

static inline void on_answer(struct resolver_wait *wait, const struct resolver_answer *answer)
{
    struct ask *ask = (struct ask *)(void *)wait; /* its first member */
    keep(ask, answer);
    if (ask->then)
        ask->then(ask);
}

/* True: it was answered at once. */
static inline bool begin_ask(struct ask *ask, const char *name)
{
    *ask = (struct ask){ .wait = { .on_answer = on_answer }, .then = ask->then };
    const struct resolver_answer *answer = resolver_ask(resolver, name, &ask->wait);
    if (answer)
        keep(ask, answer);
    return answer != NULL;
}

static inline void on_turn_timer(struct timer *timer) { (void)timer; }
static inline void on_awake(void *user) { (void)user; }

static inline void turn(void)
{
    bool ignored = timers_set(&loop.timers, &turn_timer, clock_now_ns() + TURN_MS * NS_PER_MS);
    (void)ignored;
    curl_loop_run_due(&loop);
    curl_loop_wait(&loop, true, on_awake, NULL);
}

#define AWAIT(condition)                                                                      \
    do {                                                                                      \
        uint64_t await_until_ns = clock_now_ns() + scaled_ms(WAIT_MS) * NS_PER_MS;            \
        while (!(condition)) {                                                                \
            if (clock_now_ns() > await_until_ns)                                              \
                fail_msg("%s:%d: it never came to this: %s", __FILE__, __LINE__, #condition); \
            turn();                                                                           \
        }                                                                                     \
    } while (0)

/* For what only ends by c-ares' time-outs, which are seconds. */
#define AWAIT_OVER_SECONDS(condition)                                                         \
    do {                                                                                      \
        for (unsigned await_rounds = 0; !(condition); await_rounds++) {                       \
            if (await_rounds == 400)                                                          \
                fail_msg("%s:%d: it never came to this: %s", __FILE__, __LINE__, #condition); \
            for (unsigned await_turns = 0; await_turns < 10 && !(condition); await_turns++)   \
                turn();                                                                       \
            fake_clock_put_forward(1);                                                        \
        }                                                                                     \
    } while (0)

static inline struct ask *ask(const char *name)
{
    begin_ask(&asks[0], name);
    AWAIT(asks[0].answers > 0);
    assert_int_equal(asks[0].answers, 1);
    return &asks[0];
}

static inline bool is_address(const struct ask *ask, size_t index, const char *text)
{
    char found[INET6_ADDRSTRLEN] = "";
    const struct sockaddr_storage *address = &ask->addresses[index];
    bool is_ipv6 = address->ss_family == AF_INET6;
    const void *bytes = is_ipv6 ? (const void *)&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr
                                : (const void *)&((const struct sockaddr_in *)(const void *)address)->sin_addr;
    return index < ask->answer.count && inet_ntop(address->ss_family, bytes, found, sizeof found) &&
           strcmp(found, text) == 0;
}

static inline bool has_address(const struct ask *ask, const char *text)
{
    for (size_t i = 0; i < ask->answer.count; i++)
        if (is_address(ask, i, text))
            return true;
    return false;
}

static inline void expect_only(const struct ask *ask, const char *address)
{
    assert_int_equal(ask->answer.status, ST_OK);
    assert_int_equal(ask->answer.count, 1);
    assert_true(is_address(ask, 0, address));
}

static inline void expect_failure(const struct ask *ask, bool is_retriable, const char *message)
{
    assert_int_equal(ask->answer.status, ST_DNS_FAILED);
    assert_string_equal(ask->answer.message, message);
    assert_int_equal(ask->answer.is_retriable, is_retriable);
    assert_int_equal(ask->answer.count, 0);
}

static inline void add(const char *name, enum name_type type, const char *value, uint32_t ttl_s)
{
    assert_true(name_server_add(server, name, type, value, ttl_s));
}

static inline void behave(const char *name, enum name_behaviour behaviour)
{
    assert_true(name_server_behave(server, name, behaviour, 0));
}

static inline uint64_t asked(const char *name) { return name_server_queries(server, name); }

static inline void start_resolver(uint16_t port)
{
    char servers[32];
    snprintf(servers, sizeof servers, "127.0.0.1:%u", port);
    assert_true(curl_loop_init(&loop, 16));
    curl_loop_bind(&loop);
    turn_timer = (struct timer){ .on_due = on_turn_timer };
    resolver = resolver_new(&loop, servers);
    assert_non_null(resolver);
}

static inline int setup(void **state)
{
    (void)state;
    memset(asks, 0, sizeof asks);
    server = name_server_start("127.0.0.1", 0);
    if (server)
        start_resolver(name_server_port(server));
    return server ? 0 : -1;
}

static inline int teardown(void **state)
{
    (void)state;
    for (size_t i = 0; i < ASKS_MAX; i++)
        resolver_leave(&asks[i].wait);
    if (resolver) {
        resolver_free(resolver);
        curl_loop_done(&loop);
    }
    resolver = NULL;
    name_server_stop(server);
    return 0;
}

static inline int start_libraries(void **state)
{
    (void)state;
    return curl_global_init(CURL_GLOBAL_ALL) != CURLE_OK || ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS;
}

static inline int stop_libraries(void **state)
{
    (void)state;
    ares_library_cleanup();
    curl_global_cleanup();
    return 0;
}

#define resolver_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
