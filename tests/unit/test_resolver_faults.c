/* Tests of pool/resolver.c: name servers that are silent, fail or lie, and where the servers' addresses come from. */
#include <errno.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/netns.h"
#include "tests/unit/resolver_rig.h"

/* ---- silence */

static void silence__all__fails_when_the_tries_are_used_up(void **state)
{
    (void)state;
    name_server_set_silent(server, true);
    begin_ask(&asks[0], "silent.test");
    begin_ask(&asks[1], "silent.test");
    begin_ask(&asks[2], "silent.test");
    begin_ask(&asks[3], "other.test");
    resolver_leave(&asks[1].wait); /* its own time was over */
    AWAIT_OVER_SECONDS(asks[0].answers > 0 && asks[3].answers > 0);
    expect_failure(&asks[0], true, "no name server answered");
    expect_failure(&asks[2], true, "no name server answered");
    expect_failure(&asks[3], true, "no name server answered");
    assert_int_equal(asks[1].answers, 0);
    assert_int_equal(asked("silent.test"), 2 * 3);
}

static void silence__only_at_first__asked_again(void **state)
{
    (void)state;
    add("sleepy.test", NAME_A, "192.0.2.1", 60);
    behave("sleepy.test", NAME_ONCE_SILENT);
    begin_ask(&asks[0], "sleepy.test");
    AWAIT(asked("sleepy.test") == 2);
    assert_int_equal(asks[0].answers, 0);
    AWAIT_OVER_SECONDS(asks[0].answers > 0);
    expect_only(&asks[0], "192.0.2.1");
}

static void silence__of_many_names__others_answered_meanwhile(void **state)
{
    (void)state;
    char name[32];
    behave("*.silent.test", NAME_SILENT);
    add("fast.test", NAME_A, "192.0.2.1", 60);
    for (unsigned i = 0; i < 200; i++) {
        snprintf(name, sizeof name, "n%u.silent.test", i);
        begin_ask(&asks[i], name);
    }
    uint64_t start_ns = clock_now_ns();
    begin_ask(&asks[200], "fast.test");
    AWAIT(asks[200].answers > 0);
    expect_only(&asks[200], "192.0.2.1");
    assert_true(elapsed_ms(start_ns) < scaled_ms(500)); /* below c-ares' first time-out */
    for (unsigned i = 0; i < 200; i++)
        assert_int_equal(asks[i].answers, 0);
}

static void silence__of_the_first_server__the_second_is_asked(void **state)
{
    (void)state;
    struct name_server *second = name_server_start("127.0.0.1", 0);
    assert_non_null(second);
    assert_true(name_server_add(second, "spare.test", NAME_A, "192.0.2.2", 60));
    name_server_set_silent(server, true);
    char servers[64];
    snprintf(servers, sizeof servers, "127.0.0.1:%u,127.0.0.1:%u", name_server_port(server), name_server_port(second));
    struct resolver *before = resolver;
    resolver = resolver_new(&loop, servers);
    assert_non_null(resolver);
    begin_ask(&asks[0], "spare.test");
    AWAIT_OVER_SECONDS(asks[0].answers > 0);
    expect_only(&asks[0], "192.0.2.2");
    resolver_free(before);
    name_server_stop(second);
}

/* Nobody listens there, and the kernel says so. */
static void silence__nobody_there__failure(void **state)
{
    (void)state;
    uint16_t port = name_server_port(server);
    name_server_stop(server);
    server = NULL;
    resolver_free(resolver);
    curl_loop_done(&loop);
    start_resolver(port);
    begin_ask(&asks[0], "any.test");
    AWAIT_OVER_SECONDS(asks[0].answers > 0);
    expect_failure(&asks[0], true, "the name servers failed");
}

static void free__queries_under_way__ended(void **state)
{
    (void)state;
    char name[32];
    behave("*.test", NAME_SILENT);
    for (unsigned i = 0; i < 50; i++) {
        snprintf(name, sizeof name, "n%u.test", i);
        begin_ask(&asks[i], name);
    }
    AWAIT(name_server_total_queries(server) > 0);
    for (unsigned i = 0; i < 50; i++)
        resolver_leave(&asks[i].wait);
    resolver_free(resolver);
    resolver = NULL;
    curl_loop_done(&loop);
    for (unsigned i = 0; i < 50; i++)
        assert_int_equal(asks[i].answers, 0);
}

/* ---- one family that is late */

/* A name server of the test's own, which answers what it is told to and when. */
struct half_server {
    int fd;
    struct sockaddr_in peer[2];
    unsigned char query[2][512]; /* A, AAAA */
    size_t len[2];
};

static void start_half_server(struct half_server *half)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof address;
    *half = (struct half_server){ .fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0) };
    assert_int_equal(bind(half->fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(getsockname(half->fd, (struct sockaddr *)&address, &len), 0);
    resolver_free(resolver);
    curl_loop_done(&loop);
    start_resolver(ntohs(address.sin_port));
}

/* Takes what came. True: it has both queries. */
static bool has_both(struct half_server *half)
{
    unsigned char message[512];
    struct sockaddr_in peer;
    socklen_t peer_len = sizeof peer;
    ssize_t len;
    while ((len = recvfrom(half->fd, message, sizeof message, 0, (struct sockaddr *)&peer, &peer_len)) > 16) {
        size_t at = 12;
        while (message[at])
            at += 1u + message[at];
        unsigned family = message[at + 2] == NAME_AAAA;
        memcpy(half->query[family], message, (size_t)len);
        half->len[family] = at + 5; /* header and question */
        half->peer[family] = peer;
    }
    return half->len[0] && half->len[1];
}

/* `record_len` 0: there is no such record. */
static void answer(struct half_server *half, unsigned family, const void *record, uint16_t record_len)
{
    unsigned char *message = half->query[family];
    size_t len = half->len[family];
    message[2] = 0x81;
    message[3] = 0x80;
    message[7] = record_len > 0;
    memset(message + 8, 0, 4);
    if (record_len) { /* the name of the question, type, IN, a minute */
        const unsigned char head[] = { 0xc0, 0x0c, 0, family ? NAME_AAAA : NAME_A, 0, 1, 0, 0,
                                       0,    60,   0, (unsigned char)record_len };
        memcpy(message + len, head, sizeof head);
        memcpy(message + len + sizeof head, record, record_len);
        len += sizeof head + record_len;
    }
    ssize_t sent = sendto(half->fd, message, len, 0, (struct sockaddr *)&half->peer[family], sizeof half->peer[family]);
    assert_int_equal(sent, len);
}

static const unsigned char four[] = { 192, 0, 2, 1 }, six[16] = { 0x20, 0x01, 0x0d, 0xb8, [15] = 1 };

static void late_family__aaaa_silent__a_after_a_moment(void **state)
{
    (void)state;
    struct half_server half;
    start_half_server(&half);
    begin_ask(&asks[0], "half.test");
    AWAIT(has_both(&half));
    answer(&half, 0, four, sizeof four);
    uint64_t start_ns = clock_now_ns();
    AWAIT(asks[0].answers > 0);
    assert_true(elapsed_ms(start_ns) < scaled_ms(500)); /* 50, and below c-ares' first time-out */
    expect_only(&asks[0], "192.0.2.1");
    assert_true(begin_ask(&asks[1], "half.test"));
    expect_only(&asks[1], "192.0.2.1");
    answer(&half, 1, six, sizeof six); /* better late than never */
    AWAIT(begin_ask(&asks[1], "half.test") && asks[1].answer.count == 2);
    assert_true(has_address(&asks[1], "192.0.2.1") && has_address(&asks[1], "2001:db8::1"));
    assert_int_equal(asks[0].answers, 1);
    close(half.fd);
}

static void late_family__a_silent__aaaa_after_a_moment(void **state)
{
    (void)state;
    struct half_server half;
    start_half_server(&half);
    begin_ask(&asks[0], "half.test");
    AWAIT(has_both(&half));
    answer(&half, 1, six, sizeof six);
    uint64_t start_ns = clock_now_ns();
    AWAIT(asks[0].answers > 0);
    assert_true(elapsed_ms(start_ns) < scaled_ms(500)); /* 50, and below c-ares' first time-out */
    expect_only(&asks[0], "2001:db8::1");
    close(half.fd);
}

/* No address is no reason to stop waiting for one. */
static void late_family__the_other_has_no_address__awaited(void **state)
{
    (void)state;
    struct half_server half;
    start_half_server(&half);
    begin_ask(&asks[0], "half.test");
    AWAIT(has_both(&half));
    answer(&half, 0, NULL, 0);
    uint64_t start_ns = clock_now_ns();
    AWAIT(elapsed_ms(start_ns) > 120);
    assert_int_equal(asks[0].answers, 0);
    answer(&half, 1, six, sizeof six);
    AWAIT(asks[0].answers > 0);
    expect_only(&asks[0], "2001:db8::1");
    close(half.fd);
}

/* ---- servers that fail or lie */

static void faults__servers_that_fail__retriable(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum name_behaviour behaviour;
        const char *message;
    } cases[] = {
        { "servfail.test", NAME_SERVFAIL, "the name servers failed" },
        { "refused.test", NAME_REFUSED, "the name servers failed" },
        { "malformed.test", NAME_MALFORMED, "the name servers failed" },
        { "garbage.test", NAME_GARBAGE, NULL }, /* c-ares 1.18 takes these for no answer, 1.34 for failures */
        { "wrong-id.test", NAME_WRONG_ID, NULL },
    };
    enum { CASES = sizeof cases / sizeof *cases };
    for (size_t i = 0; i < CASES; i++) {
        add(cases[i].name, NAME_A, "192.0.2.1", 60);
        behave(cases[i].name, cases[i].behaviour);
        begin_ask(&asks[i], cases[i].name);
    }
    for (size_t i = 0; i < CASES; i++) {
        AWAIT_OVER_SECONDS(asks[i].answers > 0);
        expect_failure(&asks[i], true, cases[i].message ? cases[i].message : asks[i].answer.message);
    }
    assert_int_equal(resolver_get_stats(resolver).failures, CASES);
}

static void new__what_is_no_list_of_servers__refused(void **state)
{
    (void)state;
    static const char *const lists[] = { "nonsense", "127.0.0.1,nonsense", "127.0.0.1:53:53" };
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        struct resolver *other = resolver_new(&loop, lists[i]);
        if (other)
            fail_msg("taken: %s", lists[i]);
    }
}

/* ---- the system's configuration, in a machine of our own */

static bool hide_etc(void)
{
    return netns_enter() && unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("none", "/etc", "tmpfs", 0, NULL) == 0;
}

static void write_config(const char *text)
{
    FILE *file = fopen("/etc/resolv.conf", "we");
    if (!file || fputs(text, file) < 0 || fclose(file) != 0)
        _exit(2);
}

/* True: the child's resolver came to this address. */
static bool child_gets(const char *name, const char *address)
{
    begin_ask(&asks[0], name);
    for (unsigned i = 0; i < 2000 && asks[0].answers == 0; i++) {
        turn();
        if (i % 50 == 49)
            fake_clock_put_forward(1);
    }
    return asks[0].answers == 1 && asks[0].answer.count == 1 && is_address(&asks[0], 0, address);
}

static bool opens(const char *servers)
{
    bool is_ready = curl_loop_init(&loop, 16);
    curl_loop_bind(&loop);
    turn_timer = (struct timer){ .on_due = on_turn_timer };
    resolver = is_ready ? resolver_new(&loop, servers) : NULL;
    return resolver != NULL;
}

enum { CHILD_PASSED, CHILD_SKIPPED = 77 };

static int run_in_child(int (*body)(void))
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(hide_etc() ? body() : CHILD_SKIPPED);
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int ask_without_config(void)
{
    struct name_server *own = name_server_start("127.0.0.1", 0);
    char servers[32];
    if (!own || !name_server_add(own, "given.test", NAME_A, "192.0.2.1", 60))
        return 3;
    snprintf(servers, sizeof servers, "127.0.0.1:%u", name_server_port(own));
    return !opens(servers) ? 4 : child_gets("given.test", "192.0.2.1") ? CHILD_PASSED : 5;
}

static void config__servers_given__no_file_needed(void **state)
{
    (void)state;
    int code = run_in_child(ask_without_config);
    if (code == CHILD_SKIPPED)
        skip();
    assert_int_equal(code, CHILD_PASSED);
}

static int follow_config(void)
{
    struct name_server *first = name_server_start("127.0.0.2", 53), *second = name_server_start("127.0.0.3", 53);
    if (!first || !second || !name_server_add(first, "*.test", NAME_A, "192.0.2.1", 60) ||
        !name_server_add(second, "*.test", NAME_A, "192.0.2.2", 60))
        return 3;
    write_config("nameserver 127.0.0.2\n");
    if (!opens(""))
        return 4;
    if (!child_gets("one.test", "192.0.2.1"))
        return 5;
    write_config("# moved\nnameserver 127.0.0.3\n");
    fake_clock_put_forward(6); /* it is looked at every five seconds */
    if (!child_gets("two.test", "192.0.2.2"))
        return 6;
    return child_gets("one.test", "192.0.2.1") ? CHILD_PASSED : 7; /* still in the cache */
}

static void config__file_changes__taken_up(void **state)
{
    (void)state;
    int code = run_in_child(follow_config);
    if (code == CHILD_SKIPPED)
        skip();
    assert_int_equal(code, CHILD_PASSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(config__servers_given__no_file_needed), /* before there are threads */
        cmocka_unit_test(config__file_changes__taken_up),
        resolver_test(silence__all__fails_when_the_tries_are_used_up),
        resolver_test(silence__only_at_first__asked_again),
        resolver_test(silence__of_many_names__others_answered_meanwhile),
        resolver_test(silence__of_the_first_server__the_second_is_asked),
        resolver_test(silence__nobody_there__failure),
        resolver_test(free__queries_under_way__ended),
        resolver_test(late_family__aaaa_silent__a_after_a_moment),
        resolver_test(late_family__a_silent__aaaa_after_a_moment),
        resolver_test(late_family__the_other_has_no_address__awaited),
        resolver_test(faults__servers_that_fail__retriable),
        resolver_test(new__what_is_no_list_of_servers__refused),
    };
    return cmocka_run_group_tests_name("resolver_faults", tests, start_libraries, stop_libraries);
}
