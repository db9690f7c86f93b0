/* Tests of pool/resolver.c: answers, how long they are kept, and who shares them. */
#include "tests/unit/resolver_rig.h"

/* ---- answers */

static void ask__a_and_aaaa__all_addresses(void **state)
{
    (void)state;
    add("both.test", NAME_A, "192.0.2.1", 60);
    add("both.test", NAME_A, "192.0.2.2", 60);
    add("both.test", NAME_AAAA, "2001:db8::1", 60);
    struct ask *both = ask("both.test");
    assert_int_equal(both->answer.status, ST_OK);
    assert_int_equal(both->answer.count, 3);
    assert_false(both->answer.is_own);
    assert_true(has_address(both, "192.0.2.1") && has_address(both, "192.0.2.2") && has_address(both, "2001:db8::1"));
    assert_int_equal(asked("both.test"), 2);
}

static void ask__one_family_only__its_addresses(void **state)
{
    (void)state;
    add("four.test", NAME_A, "192.0.2.4", 60);
    add("six.test", NAME_AAAA, "2001:db8::6", 60);
    expect_only(ask("four.test"), "192.0.2.4");
    expect_only(ask("six.test"), "2001:db8::6");
}

static void ask__alias__addresses_of_its_target(void **state)
{
    (void)state;
    add("alias.test", NAME_CNAME, "target.test", 60);
    add("target.test", NAME_A, "192.0.2.7", 60);
    expect_only(ask("alias.test"), "192.0.2.7");
    assert_true(begin_ask(&asks[1], "alias.test"));
    assert_int_equal(asked("alias.test"), 2);
}

static void ask__more_records_than_are_kept__the_rest_left_out(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 500; i++) { /* more than fits into a datagram: over TCP */
        char address[32];
        snprintf(address, sizeof address, "10.1.%u.%u", i / 250, i % 250);
        add("many.test", NAME_A, address, 60);
    }
    struct ask *many = ask("many.test");
    assert_int_equal(many->answer.status, ST_OK);
    assert_int_equal(many->answer.count, RESOLVER_ADDRESSES_MAX);
    for (size_t i = 0; i < many->answer.count; i++)
        assert_int_equal(many->addresses[i].ss_family, AF_INET);
}

static void ask__truncated_answer__over_tcp(void **state)
{
    (void)state;
    add("tcp.test", NAME_A, "192.0.2.9", 60);
    behave("tcp.test", NAME_TRUNCATED);
    expect_only(ask("tcp.test"), "192.0.2.9");
    assert_true(asked("tcp.test") >= 4); /* each family twice */
}

static void ask__localhost_and_below__loopback_without_a_query(void **state)
{
    (void)state;
    static const char *const names[] = { "localhost", "LocalHost", "localhost.", "a.localhost", "a.b.localhost." };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_true(begin_ask(&asks[0], names[i]));
        assert_int_equal(asks[0].answer.status, ST_OK);
        assert_true(asks[0].answer.is_own);
        assert_int_equal(asks[0].answer.count, 2);
        assert_true(has_address(&asks[0], "127.0.0.1") && has_address(&asks[0], "::1"));
    }
    assert_int_equal(name_server_total_queries(server), 0);
    expect_failure(ask("notlocalhost"), false, "there is no such name");
    expect_failure(ask("localhost.test"), false, "there is no such name");
}

static void ask__names_that_cannot_be__refused_without_a_query(void **state)
{
    (void)state;
    char label[80];
    memset(label, 'a', sizeof label);
    memcpy(label + 70, ".test", sizeof ".test");
    static const char message[] = "the name cannot be one in the DNS";
    expect_failure(ask(label), false, message);
    expect_failure(ask("a..test"), false, message);
    assert_int_equal(name_server_total_queries(server), 0);
}

/* ---- how long they are kept */

static void cache__within_the_ttl__no_query(void **state)
{
    (void)state;
    add("kept.test", NAME_A, "192.0.2.1", 20);
    expect_only(ask("kept.test"), "192.0.2.1");
    fake_clock_put_forward(18);
    assert_true(begin_ask(&asks[1], "kept.test"));
    expect_only(&asks[1], "192.0.2.1");
    assert_int_equal(asked("kept.test"), 2);
    struct resolver_stats stats = resolver_get_stats(resolver);
    assert_int_equal(stats.queries, 1);
    assert_int_equal(stats.hits, 1);
    fake_clock_put_forward(3);
    assert_false(begin_ask(&asks[2], "kept.test"));
    AWAIT(asks[2].answers == 1);
    assert_int_equal(asked("kept.test"), 4);
}

static void cache__changed_record__seen_when_the_ttl_is_over(void **state)
{
    (void)state;
    add("moves.test", NAME_A, "192.0.2.1", 1);
    expect_only(ask("moves.test"), "192.0.2.1");
    name_server_clear(server, "moves.test");
    add("moves.test", NAME_A, "192.0.2.2", 1);
    fake_clock_put_forward(2);
    expect_only(ask("moves.test"), "192.0.2.2"); /* and not the old one beside it */
}

static void cache__least_ttl_of_all__counts(void **state)
{
    (void)state;
    add("alias.test", NAME_CNAME, "target.test", 2);
    add("target.test", NAME_A, "192.0.2.7", 100);
    add("mixed.test", NAME_A, "192.0.2.1", 100);
    add("mixed.test", NAME_AAAA, "2001:db8::1", 2);
    ask("alias.test");
    ask("mixed.test");
    fake_clock_put_forward(3);
    assert_false(begin_ask(&asks[1], "alias.test"));
    assert_false(begin_ask(&asks[2], "mixed.test"));
    AWAIT(asks[1].answers == 1 && asks[2].answers == 1);
}

static void cache__ttl_of_a_week__five_minutes(void **state)
{
    (void)state;
    add("old.test", NAME_A, "192.0.2.1", 604800);
    ask("old.test");
    fake_clock_put_forward(298);
    assert_true(begin_ask(&asks[1], "old.test"));
    fake_clock_put_forward(3);
    assert_false(begin_ask(&asks[2], "old.test"));
    AWAIT(asks[2].answers == 1);
}

static void cache__ttl_0__every_time_anew(void **state)
{
    (void)state;
    add("fleeting.test", NAME_A, "192.0.2.1", 0);
    for (unsigned i = 1; i <= 3; i++) {
        expect_only(ask("fleeting.test"), "192.0.2.1");
        AWAIT(asked("fleeting.test") == 2 * i);
    }
    assert_int_equal(resolver_get_stats(resolver).hits, 0);
}

static void cache__no_such_name_or_address__five_seconds(void **state)
{
    (void)state;
    behave("empty.test", NAME_EMPTY);
    expect_failure(ask("none.test"), false, "there is no such name");
    expect_failure(ask("empty.test"), false, "the name has no address");
    assert_true(begin_ask(&asks[1], "none.test"));
    assert_true(begin_ask(&asks[1], "empty.test"));
    expect_failure(&asks[1], false, "the name has no address");
    assert_int_equal(asked("none.test"), 2);
    assert_int_equal(resolver_get_stats(resolver).failures, 2);
    fake_clock_put_forward(6); /* the name server's own word is 30 */
    add("none.test", NAME_A, "192.0.2.1", 60);
    expect_only(ask("none.test"), "192.0.2.1");
    expect_failure(ask("empty.test"), false, "the name has no address");
    assert_int_equal(asked("empty.test"), 4);
}

static void cache__failure_of_the_server__one_second(void **state)
{
    (void)state;
    behave("failing.test", NAME_SERVFAIL);
    expect_failure(ask("failing.test"), true, "the name servers failed");
    assert_true(begin_ask(&asks[1], "failing.test"));
    name_server_clear(server, "failing.test");
    add("failing.test", NAME_A, "192.0.2.1", 60);
    fake_clock_put_forward(2);
    expect_only(ask("failing.test"), "192.0.2.1");
}

/* A name that was answered long ago makes place for new ones; one that was answered lately stays. */
static void cache__more_names_than_places__the_oldest_forgotten(void **state)
{
    (void)state;
    char name[16];
    for (unsigned i = 0; i < RESOLVER_NAMES_MAX + 10; i++) { /* names that no server needs to be asked for */
        snprintf(name, sizeof name, "n%u..x", i);
        assert_true(begin_ask(&asks[0], name));
        if (i % 1000 == 0)
            turn();
    }
    uint64_t queries = resolver_get_stats(resolver).queries;
    assert_int_equal(queries, RESOLVER_NAMES_MAX + 10);
    snprintf(name, sizeof name, "n%u..x", RESOLVER_NAMES_MAX + 9);
    assert_true(begin_ask(&asks[0], name));
    assert_int_equal(resolver_get_stats(resolver).queries, queries);
    assert_true(begin_ask(&asks[0], "n0..x"));
    assert_int_equal(resolver_get_stats(resolver).queries, queries + 1);
}

/* ---- who shares them */

static void sharing__a_hundred_at_once__one_query(void **state)
{
    (void)state;
    add("popular.test", NAME_A, "192.0.2.1", 60);
    for (unsigned i = 0; i < 100; i++)
        assert_false(begin_ask(&asks[i], "popular.test"));
    AWAIT(asks[99].answers > 0);
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(asks[i].answers, 1);
        expect_only(&asks[i], "192.0.2.1");
    }
    assert_int_equal(asked("popular.test"), 2);
    struct resolver_stats stats = resolver_get_stats(resolver);
    assert_int_equal(stats.queries, 1);
    assert_int_equal(stats.shared, 99);
    assert_int_equal(stats.hits, 0);
}

static void sharing__ttl_0__shared_while_under_way(void **state)
{
    (void)state;
    add("fleeting.test", NAME_A, "192.0.2.1", 0);
    for (unsigned i = 0; i < 10; i++)
        assert_false(begin_ask(&asks[i], "fleeting.test"));
    AWAIT(asks[9].answers > 0);
    for (unsigned i = 0; i < 10; i++)
        expect_only(&asks[i], "192.0.2.1");
    assert_int_equal(asked("fleeting.test"), 2);
}

static void ask_again(struct ask *first)
{
    first->then = NULL;
    begin_ask(&asks[9], "fleeting.test");
}

/* Whoever asks again from within an answer takes nothing from those who still wait for that answer. */
static void sharing__asked_again_from_an_answer__the_others_get_theirs(void **state)
{
    (void)state;
    add("fleeting.test", NAME_A, "192.0.2.1", 0);
    asks[0].then = ask_again;
    for (unsigned i = 0; i < 3; i++)
        assert_false(begin_ask(&asks[i], "fleeting.test"));
    AWAIT(asks[2].answers > 0 && asks[9].answers > 0);
    for (unsigned i = 0; i < 3; i++)
        expect_only(&asks[i], "192.0.2.1");
    expect_only(&asks[9], "192.0.2.1");
}

static void leave_third(struct ask *first)
{
    (void)first;
    resolver_leave(&asks[2].wait);
}

static void leave__while_waiting_or_from_an_answer__not_answered(void **state)
{
    (void)state;
    add("left.test", NAME_A, "192.0.2.1", 60);
    asks[0].then = leave_third;
    for (unsigned i = 0; i < 4; i++)
        assert_false(begin_ask(&asks[i], "left.test"));
    resolver_leave(&asks[1].wait);
    resolver_leave(&asks[1].wait); /* a no-op */
    AWAIT(asks[3].answers > 0);
    assert_int_equal(asks[0].answers, 1);
    assert_int_equal(asks[1].answers, 0);
    assert_int_equal(asks[2].answers, 0);
    expect_only(&asks[3], "192.0.2.1");
}

/* Nobody waits any more: the answer is kept for who comes next. */
static void leave__all__answered_into_the_cache(void **state)
{
    (void)state;
    add("left.test", NAME_A, "192.0.2.1", 60);
    assert_true(name_server_behave(server, "left.test", NAME_DELAY, 30));
    assert_false(begin_ask(&asks[0], "left.test"));
    resolver_leave(&asks[0].wait);
    AWAIT(begin_ask(&asks[1], "left.test") || (resolver_leave(&asks[1].wait), false));
    expect_only(&asks[1], "192.0.2.1");
    assert_int_equal(asks[0].answers, 0);
    assert_int_equal(asked("left.test"), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        resolver_test(ask__a_and_aaaa__all_addresses),
        resolver_test(ask__one_family_only__its_addresses),
        resolver_test(ask__alias__addresses_of_its_target),
        resolver_test(ask__more_records_than_are_kept__the_rest_left_out),
        resolver_test(ask__truncated_answer__over_tcp),
        resolver_test(ask__localhost_and_below__loopback_without_a_query),
        resolver_test(ask__names_that_cannot_be__refused_without_a_query),
        resolver_test(cache__within_the_ttl__no_query),
        resolver_test(cache__changed_record__seen_when_the_ttl_is_over),
        resolver_test(cache__least_ttl_of_all__counts),
        resolver_test(cache__ttl_of_a_week__five_minutes),
        resolver_test(cache__ttl_0__every_time_anew),
        resolver_test(cache__no_such_name_or_address__five_seconds),
        resolver_test(cache__failure_of_the_server__one_second),
        resolver_test(cache__more_names_than_places__the_oldest_forgotten),
        resolver_test(sharing__a_hundred_at_once__one_query),
        resolver_test(sharing__ttl_0__shared_while_under_way),
        resolver_test(sharing__asked_again_from_an_answer__the_others_get_theirs),
        resolver_test(leave__while_waiting_or_from_an_answer__not_answered),
        resolver_test(leave__all__answered_into_the_cache),
    };
    return cmocka_run_group_tests_name("resolver", tests, start_libraries, stop_libraries);
}
