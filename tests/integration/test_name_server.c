/* Tests of the tests' name server through c-ares, whose view of it is what other tests build on. */
#include "tests/integration/name_server_rig.h"

#include <ares.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "base/clock.h"
#include "tests/support/timing.h"

/* ---- one channel a look-up, driven by poll() */

struct lookup {
    struct pollfd fds[ARES_GETSOCK_MAXNUM];
    nfds_t fd_count;
    bool is_done;
    int status;
    unsigned address_count;
    int ttl;             /* of the last address */
    char addresses[256]; /* the first ones, a space between them, sorted by family */
    char cnames[256];    /* "alias>name", a space between them */
};

static void on_socket(void *context, ares_socket_t fd, int readable, int writable)
{
    struct lookup *l = context;
    nfds_t i = 0;
    while (i < l->fd_count && l->fds[i].fd != fd)
        i++;
    if (!readable && !writable) {
        if (i < l->fd_count)
            l->fds[i] = l->fds[--l->fd_count];
        return;
    }
    assert_true(i < ARRAY_LEN(l->fds));
    l->fds[i] = (struct pollfd){ .fd = fd, .events = (short)((readable ? POLLIN : 0) | (writable ? POLLOUT : 0)) };
    if (i == l->fd_count)
        l->fd_count++;
}

static void tell_addresses(struct lookup *l, const struct ares_addrinfo *found, int family)
{
    for (const struct ares_addrinfo_node *node = found->nodes; node; node = node->ai_next) {
        char text[INET6_ADDRSTRLEN];
        const void *address = family == AF_INET ? (const void *)&((const struct sockaddr_in *)node->ai_addr)->sin_addr
                                                : &((const struct sockaddr_in6 *)node->ai_addr)->sin6_addr;
        size_t used = strlen(l->addresses);
        if (node->ai_family != family)
            continue;
        inet_ntop(family, address, text, sizeof text);
        snprintf(l->addresses + used, sizeof l->addresses - used, "%s%s", used ? " " : "", text);
        l->address_count++;
        l->ttl = node->ai_ttl;
    }
}

static void on_found(void *context, int status, int timeouts, struct ares_addrinfo *found)
{
    struct lookup *l = context;
    (void)timeouts;
    l->is_done = true;
    l->status = status;
    if (!found)
        return;
    tell_addresses(l, found, AF_INET);
    tell_addresses(l, found, AF_INET6);
    for (const struct ares_addrinfo_cname *cname = found->cnames; cname; cname = cname->next) {
        size_t used = strlen(l->cnames);
        snprintf(l->cnames + used, sizeof l->cnames - used, "%s%s>%s", used ? " " : "", cname->alias, cname->name);
    }
    ares_freeaddrinfo(found);
}

/* Runs the channel until the answer is there. c-ares gives up by itself long before the bound. */
static void run_channel(ares_channel channel, struct lookup *l)
{
    const uint64_t end_ns = clock_now_ns() + scaled_ms(10000) * NS_PER_MS;
    while (!l->is_done) {
        struct timeval longest = { .tv_sec = 1 }, step;
        struct pollfd ready[ARES_GETSOCK_MAXNUM];
        nfds_t count = l->fd_count;
        const struct timeval *wait = ares_timeout(channel, &longest, &step);
        assert_true(clock_now_ns() < end_ns);
        memcpy(ready, l->fds, sizeof ready);
        assert_true(poll(ready, count, (int)(wait->tv_sec * 1000 + (wait->tv_usec + 999) / 1000)) >= 0);
        for (nfds_t i = 0; i < count; i++) {
            bool reads = ready[i].revents & (POLLIN | POLLERR | POLLHUP), writes = ready[i].revents & POLLOUT;
            if (reads || writes)
                ares_process_fd(channel, reads ? ready[i].fd : ARES_SOCKET_BAD, writes ? ready[i].fd : ARES_SOCKET_BAD);
        }
        ares_process_fd(channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD); /* its timers */
    }
}

static struct lookup look_up_with(const char *name, int family, int timeout_ms, int tries)
{
    struct lookup l = { .is_done = false };
    char lookups[] = "b"; /* not the hosts file */
    struct ares_options options = { .flags = ARES_FLAG_NOSEARCH,
                                    .timeout = timeout_ms,
                                    .tries = tries,
                                    .lookups = lookups,
                                    .sock_state_cb = on_socket,
                                    .sock_state_cb_data = &l };
    const struct ares_addrinfo_hints hints = { .ai_family = family,
                                               .ai_socktype = SOCK_STREAM,
                                               .ai_flags = ARES_AI_NOSORT };
    ares_channel channel;
    char address[32];
    snprintf(address, sizeof address, "127.0.0.1:%u", name_server_port(server));
    assert_int_equal(ares_init_options(&channel, &options,
                                       ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_LOOKUPS |
                                           ARES_OPT_SOCK_STATE_CB),
                     ARES_SUCCESS);
    assert_int_equal(ares_set_servers_ports_csv(channel, address), ARES_SUCCESS);
    ares_getaddrinfo(channel, name, NULL, &hints, on_found, &l);
    run_channel(channel, &l);
    ares_destroy(channel);
    return l;
}

static struct lookup look_up(const char *name, int family)
{
    return look_up_with(name, family, (int)scaled_ms(2000), 2);
}

static void expect(const char *name, int family, int status, const char *addresses)
{
    struct lookup l = look_up(name, family);
    if (l.status != status || strcmp(l.addresses, addresses) != 0)
        fail_msg("%s: %s: '%s' instead of '%s'", name, ares_strerror(l.status), l.addresses, addresses);
}

/* ---- the tests */

static void lookup__a_and_aaaa__both_in_order(void **state)
{
    (void)state;
    add("both.test", NAME_A, "192.0.2.1");
    add("both.test", NAME_AAAA, "2001:db8::1");
    add("both.test", NAME_A, "192.0.2.2");
    expect("both.test", AF_UNSPEC, ARES_SUCCESS, "192.0.2.1 192.0.2.2 2001:db8::1");
    expect("both.test", AF_INET6, ARES_SUCCESS, "2001:db8::1");
    expect("BOTH.Test.", AF_INET, ARES_SUCCESS, "192.0.2.1 192.0.2.2");
}

static void lookup__ttl_of_a_record__arrives(void **state)
{
    (void)state;
    assert_true(name_server_add(server, "ttl.test", NAME_A, "192.0.2.1", 1234));
    assert_int_equal(look_up("ttl.test", AF_INET).ttl, 1234);
}

static void lookup__names_that_lack_something__told_apart(void **state)
{
    (void)state;
    add("v4.test", NAME_A, "192.0.2.1");
    behave("empty.test", NAME_EMPTY);
    add("gone.test", NAME_A, "192.0.2.1");
    behave("gone.test", NAME_NXDOMAIN);
    expect("unknown.test", AF_UNSPEC, ARES_ENOTFOUND, "");
    expect("v4.test", AF_INET6, ARES_ENODATA, "");
    expect("v4.test", AF_UNSPEC, ARES_SUCCESS, "192.0.2.1");
    expect("empty.test", AF_INET, ARES_ENODATA, "");
    expect("gone.test", AF_UNSPEC, ARES_ENOTFOUND, "");
    name_server_clear(server, "gone.test");
    add("gone.test", NAME_A, "192.0.2.1");
    expect("gone.test", AF_INET, ARES_SUCCESS, "192.0.2.1");
    name_server_clear(server, "GONE.test.");
    expect("gone.test", AF_INET, ARES_ENOTFOUND, "");
}

static void lookup__cname__followed_within_the_zone(void **state)
{
    (void)state;
    add("alias.test", NAME_CNAME, "middle.test");
    add("middle.test", NAME_CNAME, "Target.test");
    add("target.test", NAME_A, "192.0.2.7");
    add("target.test", NAME_AAAA, "2001:db8::7");
    add("dangling.test", NAME_CNAME, "elsewhere.example");
    add("loop.test", NAME_CNAME, "pool.test");
    add("pool.test", NAME_CNAME, "loop.test");
    expect("alias.test", AF_UNSPEC, ARES_SUCCESS, "192.0.2.7 2001:db8::7");
    assert_string_equal(look_up("alias.test", AF_INET).cnames, "alias.test>middle.test middle.test>Target.test");
    expect("dangling.test", AF_INET, ARES_ENODATA, "");
    assert_int_not_equal(look_up("loop.test", AF_INET).status, ARES_SUCCESS);
}

static void lookup__server_refuses_or_fails__client_sees_it(void **state)
{
    (void)state;
    static const enum name_behaviour failures[] = { NAME_SERVFAIL, NAME_REFUSED, NAME_MALFORMED };
    add("bad.test", NAME_A, "192.0.2.1");
    for (size_t i = 0; i < ARRAY_LEN(failures); i++) {
        behave("bad.test", failures[i]);
        struct lookup l = look_up_with("bad.test", AF_INET, 200, 1);
        assert_int_not_equal(l.status, ARES_SUCCESS);
        assert_int_equal(l.address_count, 0);
    }
    assert_true(name_server_queries(server, "bad.test") >= ARRAY_LEN(failures));
}

static void lookup__nothing_that_counts_as_an_answer__times_out(void **state)
{
    (void)state;
    static const enum name_behaviour mute[] = { NAME_SILENT, NAME_WRONG_ID };
    add("mute.test", NAME_A, "192.0.2.1");
    for (size_t i = 0; i < ARRAY_LEN(mute); i++) {
        behave("mute.test", mute[i]);
        assert_int_equal(look_up_with("mute.test", AF_INET, 50, 1).status, ARES_ETIMEOUT);
    }
    behave("mute.test", NAME_GARBAGE); /* one release waits for better, another gives up */
    assert_int_not_equal(look_up_with("mute.test", AF_INET, 50, 1).status, ARES_SUCCESS);
    behave("mute.test", NAME_NORMAL);
    expect("mute.test", AF_INET, ARES_SUCCESS, "192.0.2.1");
    name_server_set_silent(server, true);
    assert_int_equal(look_up_with("mute.test", AF_INET, 50, 1).status, ARES_ETIMEOUT);
    name_server_set_silent(server, false);
    expect("mute.test", AF_INET, ARES_SUCCESS, "192.0.2.1");
    assert_true(name_server_queries(server, "mute.test") >= 6);
}

static void lookup__first_query_dropped__a_second_one_succeeds(void **state)
{
    (void)state;
    add("once.test", NAME_A, "192.0.2.1");
    behave("once.test", NAME_ONCE_SILENT);
    struct lookup l = look_up_with("once.test", AF_INET, (int)scaled_ms(100), 4);
    assert_string_equal(l.addresses, "192.0.2.1");
    assert_true(name_server_queries(server, "once.test") >= 2);
}

static void lookup__alternating_records__one_at_a_time(void **state)
{
    (void)state;
    add("rebind.test", NAME_A, "192.0.2.1");
    add("rebind.test", NAME_A, "127.0.0.1");
    add("rebind.test", NAME_AAAA, "2001:db8::1");
    add("rebind.test", NAME_AAAA, "::1");
    behave("rebind.test", NAME_ALTERNATE);
    expect("rebind.test", AF_UNSPEC, ARES_SUCCESS, "192.0.2.1 2001:db8::1");
    expect("rebind.test", AF_INET, ARES_SUCCESS, "127.0.0.1");
    expect("rebind.test", AF_INET, ARES_SUCCESS, "192.0.2.1");
    expect("rebind.test", AF_INET6, ARES_SUCCESS, "::1"); /* each type has its own turns */
    behave("rebind.test", NAME_ALTERNATE);
    expect("rebind.test", AF_INET, ARES_SUCCESS, "192.0.2.1"); /* begun anew */
}

static void lookup__alternating_alias__rotates_its_target(void **state)
{
    (void)state;
    add("*.alias.test", NAME_CNAME, "real.test");
    add("real.test", NAME_A, "192.0.2.1");
    add("real.test", NAME_A, "192.0.2.2");
    behave("*.alias.test", NAME_ALTERNATE);
    expect("a.alias.test", AF_INET, ARES_SUCCESS, "192.0.2.1");
    expect("b.alias.test", AF_INET, ARES_SUCCESS, "192.0.2.1"); /* names under a wildcard are counted each */
    expect("a.alias.test", AF_INET, ARES_SUCCESS, "192.0.2.2");
    add("two.test", NAME_CNAME, "real.test");
    add("two.test", NAME_CNAME, "other.test");
    add("other.test", NAME_A, "192.0.2.3");
    expect("two.test", AF_INET, ARES_SUCCESS, "192.0.2.1 192.0.2.2"); /* otherwise only the first CNAME counts */
    expect("two.test", AF_INET, ARES_SUCCESS, "192.0.2.1 192.0.2.2");
    behave("two.test", NAME_ALTERNATE);
    expect("two.test", AF_INET, ARES_SUCCESS, "192.0.2.1");
    expect("two.test", AF_INET, ARES_SUCCESS, "192.0.2.3");
}

static void lookup__wildcards__most_specific_one_decides(void **state)
{
    (void)state;
    add("*.wild.test", NAME_A, "192.0.2.1");
    add("*.b.wild.test", NAME_A, "192.0.2.2");
    add("a.b.wild.test", NAME_A, "192.0.2.3");
    expect("x.wild.test", AF_INET, ARES_SUCCESS, "192.0.2.1");
    expect("x.y.wild.test", AF_INET, ARES_SUCCESS, "192.0.2.1");
    expect("b.wild.test", AF_INET, ARES_SUCCESS, "192.0.2.1");
    expect("x.b.wild.test", AF_INET, ARES_SUCCESS, "192.0.2.2");
    expect("a.b.wild.test", AF_INET, ARES_SUCCESS, "192.0.2.3");
    expect("wild.test", AF_INET, ARES_ENOTFOUND, "");
    assert_int_equal(name_server_queries(server, "x.wild.test"), 1);
    assert_int_equal(name_server_queries(server, "*.wild.test"), 0);
}

static void lookup__truncated__comes_back_over_tcp(void **state)
{
    (void)state;
    add("cut.test", NAME_A, "192.0.2.1");
    behave("cut.test", NAME_TRUNCATED);
    expect("cut.test", AF_INET, ARES_SUCCESS, "192.0.2.1");
    assert_int_equal(name_server_queries(server, "cut.test"), 2);
}

static void lookup__five_hundred_records__all_of_them_over_tcp(void **state)
{
    (void)state;
    add_many("many.test", 500);
    struct lookup l = look_up("many.test", AF_INET);
    assert_int_equal(l.status, ARES_SUCCESS);
    assert_int_equal(l.address_count, 500);
    assert_int_equal(name_server_queries(server, "many.test"), 2);
}

static void lookup__delayed__answered_after_that_time(void **state)
{
    (void)state;
    enum { DELAY_MS = 100 };
    add("slow.test", NAME_A, "192.0.2.1");
    assert_true(name_server_behave(server, "slow.test", NAME_DELAY, DELAY_MS));
    uint64_t start_ns = clock_now_ns();
    expect("slow.test", AF_INET, ARES_SUCCESS, "192.0.2.1");
    assert_true(elapsed_ms(start_ns) >= DELAY_MS);
}

static void add__no_such_name_or_value__refused(void **state)
{
    (void)state;
    char label[65], name[300];
    memset(label, 'a', 64);
    label[64] = '\0';
    snprintf(name, sizeof name, "%.63s.%.63s.%.63s.%.61s", label, label, label, label); /* 255 bytes as labels */
    add(name, NAME_A, "192.0.2.1");
    add("short.test", NAME_CNAME, name);
    expect(name, AF_INET, ARES_SUCCESS, "192.0.2.1");
    expect("short.test", AF_INET, ARES_SUCCESS, "192.0.2.1");
    snprintf(name, sizeof name, "%.63s.%.63s.%.63s.%.62s", label, label, label, label);
    assert_false(name_server_add(server, name, NAME_A, "192.0.2.1", 1));
    assert_false(name_server_add(server, label, NAME_A, "192.0.2.1", 1));
    assert_false(name_server_add(server, "a..test", NAME_A, "192.0.2.1", 1));
    assert_false(name_server_add(server, "a test", NAME_A, "192.0.2.1", 1));
    assert_false(name_server_add(server, "a.test", NAME_A, "2001:db8::1", 1));
    assert_false(name_server_add(server, "a.test", NAME_AAAA, "192.0.2.1", 1));
    assert_false(name_server_add(server, "a.test", NAME_CNAME, "b..test", 1));
    assert_false(name_server_behave(server, ".test", NAME_SILENT, 0));
    expect("a.test", AF_INET, ARES_ENOTFOUND, "");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(lookup__a_and_aaaa__both_in_order),
        TEST(lookup__ttl_of_a_record__arrives),
        TEST(lookup__names_that_lack_something__told_apart),
        TEST(lookup__cname__followed_within_the_zone),
        TEST(lookup__server_refuses_or_fails__client_sees_it),
        TEST(lookup__nothing_that_counts_as_an_answer__times_out),
        TEST(lookup__first_query_dropped__a_second_one_succeeds),
        TEST(lookup__alternating_records__one_at_a_time),
        TEST(lookup__alternating_alias__rotates_its_target),
        TEST(lookup__wildcards__most_specific_one_decides),
        TEST(lookup__truncated__comes_back_over_tcp),
        TEST(lookup__five_hundred_records__all_of_them_over_tcp),
        TEST(lookup__delayed__answered_after_that_time),
        TEST(add__no_such_name_or_value__refused),
    };
    return cmocka_run_group_tests_name("name_server", tests, NULL, NULL);
}
