/* Tests of the tests' name server byte by byte, where a client's library would hide what was sent. */
#include "tests/integration/name_server_rig.h"

#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/support/timing.h"

enum { TYPE_SOA = 6, TYPE_HTTPS = 65, RCODE_FORMERR = 1, RCODE_NXDOMAIN = 3, RCODE_NOTIMP = 4 };

struct message {
    uint8_t bytes[65535];
    size_t len;
};

static unsigned word(const struct message *m, size_t at) { return (unsigned)(m->bytes[at] << 8 | m->bytes[at + 1]); }

static unsigned id(const struct message *m) { return word(m, 0); }
static unsigned rcode(const struct message *m) { return word(m, 2) & 15; }
static bool is_truncated(const struct message *m) { return word(m, 2) & 0x0200; }
static unsigned answers(const struct message *m) { return word(m, 6); }
static unsigned authorities(const struct message *m) { return word(m, 8); }
static unsigned additionals(const struct message *m) { return word(m, 10); }

static void put(struct message *m, const void *bytes, size_t len)
{
    memcpy(m->bytes + m->len, bytes, len);
    m->len += len;
}

/* `labels`: as in a message, but for the last zero. `udp_bytes`: 0: no OPT. */
static void write_query(struct message *m, unsigned query_id, const char *labels, unsigned type, unsigned udp_bytes)
{
    const uint8_t header[] = { (uint8_t)(query_id >> 8), (uint8_t)query_id, 1, 0, 0, 1, 0, 0, 0, 0, 0, udp_bytes > 0 };
    const uint8_t tail[] = { 0, (uint8_t)type, 0, 1 };
    const uint8_t opt[] = { 0, 0, 41, (uint8_t)(udp_bytes >> 8), (uint8_t)udp_bytes, 0, 0, 0, 0, 0, 0 };
    m->len = 0;
    put(m, header, sizeof header);
    put(m, labels, strlen(labels) + 1);
    put(m, tail, sizeof tail);
    if (udp_bytes > 0)
        put(m, opt, sizeof opt);
}

/* A connected socket. */
static int reach(int type)
{
    const struct sockaddr_in to = { .sin_family = AF_INET,
                                    .sin_port = htons(name_server_port(server)),
                                    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static void send_message(int fd, const struct message *m)
{
    assert_int_equal(send(fd, m->bytes, m->len, MSG_NOSIGNAL), m->len);
}

static void ask(int fd, unsigned query_id, const char *labels, unsigned type, unsigned udp_bytes)
{
    struct message m;
    write_query(&m, query_id, labels, type, udp_bytes);
    send_message(fd, &m);
}

static bool receive_some(int fd, uint8_t *bytes, size_t size, size_t *ret_len)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };
    ssize_t got = poll(&p, 1, (int)scaled_ms(2000)) == 1 ? recvfrom(fd, bytes, size, 0, NULL, NULL) : -1;
    *ret_len = got > 0 ? (size_t)got : 0;
    return got > 0;
}

static void receive_datagram(int fd, struct message *m)
{
    assert_true(receive_some(fd, m->bytes, sizeof m->bytes, &m->len));
}

static void ask_framed(int fd, unsigned query_id, const char *labels)
{
    struct message query, frame = { .len = 2 };
    write_query(&query, query_id, labels, NAME_A, 0);
    frame.bytes[1] = (uint8_t)query.len;
    put(&frame, query.bytes, query.len);
    send_message(fd, &frame);
}

static void receive_framed(int fd, struct message *m)
{
    uint8_t length[2];
    size_t got;
    assert_true(receive_some(fd, length, 2, &got));
    assert_int_equal(got, 2);
    for (m->len = 0; m->len < (size_t)(length[0] << 8 | length[1]); m->len += got)
        assert_true(receive_some(fd, m->bytes + m->len, (size_t)(length[0] << 8 | length[1]) - m->len, &got));
}

/* ---- the tests */

static void answer__unknown_name__soa_says_how_long(void **state)
{
    (void)state;
    struct message m;
    int fd = reach(SOCK_DGRAM);
    ask(fd, 7, "\2No\4tEsT", NAME_A, 0);
    receive_datagram(fd, &m);
    assert_int_equal(id(&m), 7);
    assert_int_equal(word(&m, 2), 0x8180 | RCODE_NXDOMAIN); /* an answer, recursion desired and available */
    assert_int_equal(word(&m, 4), 1);
    assert_int_equal(answers(&m), 0);
    assert_int_equal(authorities(&m), 1);
    assert_int_equal(additionals(&m), 0);
    assert_memory_equal(m.bytes + 12, "\2No\4tEsT", 9); /* with the case that it came with */
    const size_t soa = 12 + 9 + 4;
    assert_int_equal(m.bytes[soa], 0);
    assert_int_equal(word(&m, soa + 1), TYPE_SOA);
    assert_int_equal(word(&m, soa + 5) << 16 | word(&m, soa + 7), NAME_SERVER_NEGATIVE_TTL_S);
    assert_int_equal(soa + 11 + word(&m, soa + 9), m.len);
    assert_int_equal(word(&m, m.len - 4) << 16 | word(&m, m.len - 2), NAME_SERVER_NEGATIVE_TTL_S);
    close(fd);
}

static void answer__larger_than_the_client_takes__cut(void **state)
{
    (void)state;
    static const struct {
        unsigned udp_bytes, records;
        bool is_cut;
    } cases[] = {
        /* header 12, question 13, 16 a record, OPT 11: 505 bytes with 30 records, 516 with them and an OPT */
        { 0, 30, false },   { 0, 31, true },     { 512, 29, false }, { 512, 30, true },
        { 100, 29, false }, { 1232, 74, false }, { 1232, 75, true }, { 8192, 500, false },
    };
    int fd = reach(SOCK_DGRAM);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct message m;
        name_server_clear(server, "x.test");
        add_many("x.test", cases[i].records);
        ask(fd, 1, "\1x\4test", NAME_A, cases[i].udp_bytes);
        receive_datagram(fd, &m);
        if (is_truncated(&m) != cases[i].is_cut || answers(&m) != (cases[i].is_cut ? 0 : cases[i].records))
            fail_msg("case %zu: %u answers in %zu bytes", i, answers(&m), m.len);
        assert_int_equal(additionals(&m), cases[i].udp_bytes > 0);
    }
    close(fd);
}

static void answer__each_way_to_go_wrong__as_told(void **state)
{
    (void)state;
    struct message m;
    int fd = reach(SOCK_DGRAM);
    add("x.test", NAME_A, "192.0.2.1");
    behave("x.test", NAME_WRONG_ID);
    ask(fd, 0xffff, "\1x\4test", NAME_A, 0);
    receive_datagram(fd, &m);
    assert_int_equal(id(&m), 0);
    assert_int_equal(answers(&m), 1);
    behave("x.test", NAME_GARBAGE);
    ask(fd, 2, "\1x\4test", NAME_A, 0);
    receive_datagram(fd, &m);
    assert_false(word(&m, 2) & 0x8000);
    behave("x.test", NAME_MALFORMED);
    ask(fd, 3, "\1x\4test", NAME_A, 0);
    receive_datagram(fd, &m);
    assert_int_equal(id(&m), 3);
    assert_int_equal(answers(&m), 1);
    assert_int_equal(word(&m, 12 + 12), 0xc000 | (12 + 12));
    behave("x.test", NAME_NORMAL);
    ask(fd, 4, "\1x\4test", TYPE_HTTPS, 0);
    receive_datagram(fd, &m);
    assert_int_equal(rcode(&m), 0);
    assert_int_equal(answers(&m), 0);
    assert_int_equal(authorities(&m), 1);
    close(fd);
}

/* The server reads in order, so what it answers first tells that it did not answer the query before. */
static void answer__silent_name__the_next_query_is_answered(void **state)
{
    (void)state;
    struct message m;
    add("x.test", NAME_A, "192.0.2.1");
    behave("*.test", NAME_SILENT);
    int udp = reach(SOCK_DGRAM), tcp = reach(SOCK_STREAM);
    ask(udp, 1, "\1s\4test", NAME_A, 0);
    ask(udp, 2, "\1x\4test", NAME_A, 0);
    receive_datagram(udp, &m);
    assert_int_equal(id(&m), 2);
    ask_framed(tcp, 3, "\1s\4test");
    ask_framed(tcp, 4, "\1x\4test");
    receive_framed(tcp, &m);
    assert_int_equal(id(&m), 4);
    assert_int_equal(name_server_queries(server, "s.test"), 2);
    assert_int_equal(name_server_queries(server, "x.test"), 2);
    assert_int_equal(name_server_total_queries(server), 4);
    close(udp);
    close(tcp);
}

static bool was_asked_again(void *context)
{
    (void)context;
    return name_server_queries(server, "s.test") == 4;
}

static void answer__delayed__others_do_not_wait(void **state)
{
    (void)state;
    enum { DELAY_MS = 100 };
    struct message m;
    add("x.test", NAME_A, "192.0.2.1");
    add("s.test", NAME_A, "192.0.2.2");
    assert_true(name_server_behave(server, "s.test", NAME_DELAY, DELAY_MS));
    int udp = reach(SOCK_DGRAM), tcp = reach(SOCK_STREAM), leaver = reach(SOCK_STREAM);
    uint64_t start_ns = clock_now_ns();
    ask_framed(leaver, 9, "\1s\4test");
    close(leaver); /* its answer has nowhere to go */
    ask(udp, 1, "\1s\4test", NAME_A, 0);
    ask(udp, 2, "\1x\4test", NAME_A, 0);
    ask_framed(tcp, 3, "\1s\4test");
    ask_framed(tcp, 4, "\1x\4test");
    receive_datagram(udp, &m);
    assert_int_equal(id(&m), 2);
    receive_framed(tcp, &m);
    assert_int_equal(id(&m), 4);
    receive_datagram(udp, &m);
    assert_int_equal(id(&m), 1);
    receive_framed(tcp, &m);
    assert_int_equal(id(&m), 3);
    assert_true(elapsed_ms(start_ns) >= DELAY_MS);
    assert_true(name_server_behave(server, "s.test", NAME_DELAY, 60000));
    ask(udp, 5, "\1s\4test", NAME_A, 0);
    assert_true(
        wait_until(was_asked_again, NULL, scaled_ms(2000))); /* and the answer still waits when the server stops */
    close(udp);
    close(tcp);
}

enum { QUESTION_END = 12 + 8 + 4 }; /* of one for x.test */

static void answer__nonsense__bounced_or_ignored(void **state)
{
    (void)state;
    struct message m;
    int fd = reach(SOCK_DGRAM);
    assert_int_equal(send(fd, "x", 1, 0), 1);
    assert_int_equal(send(fd, "", 0, 0), 0);
    write_query(&m, 1, "\1x\4test", NAME_A, 0);
    m.bytes[2] |= 0x80;                /* itself an answer */
    send_message(fd, &m);              /* nothing so far is answered */
    ask(fd, 3, "\xc0\x0c", NAME_A, 0); /* a name that points at itself */
    receive_datagram(fd, &m);
    assert_int_equal(id(&m), 3);
    assert_int_equal(rcode(&m), RCODE_FORMERR);
    assert_int_equal(m.len, 12);
    write_query(&m, 4, "\1x\4test", NAME_A, 1232);
    m.bytes[2] |= 0x28; /* an update */
    send_message(fd, &m);
    receive_datagram(fd, &m);
    assert_int_equal(rcode(&m), RCODE_NOTIMP);
    write_query(&m, 5, "\1x\4test", NAME_A, 1232);
    m.bytes[QUESTION_END + 2] = 42;              /* no OPT after all, */
    memset(m.bytes + QUESTION_END + 9, 0xff, 2); /* and more data than there is */
    send_message(fd, &m);
    receive_datagram(fd, &m);
    assert_int_equal(rcode(&m), RCODE_NXDOMAIN);
    assert_int_equal(additionals(&m), 0);
    assert_int_equal(name_server_total_queries(server), 1);
    close(fd);
}

static void answer__query_cut_anywhere__bounced_or_answered_without_its_opt(void **state)
{
    (void)state;
    struct message whole, m;
    int fd = reach(SOCK_DGRAM);
    write_query(&whole, 1, "\1x\4test", NAME_A, 1232);
    for (m.len = 12; m.len < whole.len; m.len++) {
        struct message answer;
        memcpy(m.bytes, whole.bytes, m.len);
        send_message(fd, &m);
        receive_datagram(fd, &answer);
        assert_int_equal(rcode(&answer), m.len < QUESTION_END ? RCODE_FORMERR : RCODE_NXDOMAIN);
        assert_int_equal(additionals(&answer), 0);
    }
    assert_int_equal(name_server_total_queries(server), whole.len - QUESTION_END);
    close(fd);
}

static void start__port__taken_once_and_free_again_after_stop(void **state)
{
    (void)state;
    uint16_t port = name_server_port(server);
    struct name_server *other = name_server_start("127.0.0.2", port); /* another address: another port */
    assert_non_null(other);
    name_server_stop(other);
    assert_null(name_server_start("127.0.0.1", port));
    assert_null(name_server_start("localhost", 0));
    struct message m;
    int fd = reach(SOCK_STREAM); /* a connection that the server closes first keeps its port in TIME-WAIT */
    ask_framed(fd, 1, "\1x\4test");
    receive_framed(fd, &m);
    name_server_stop(server);
    server = name_server_start("127.0.0.1", port);
    assert_non_null(server);
    assert_int_equal(name_server_port(server), port);
    close(fd);
    name_server_stop(NULL);
}

enum { CHANGERS = 4, CHANGES = 200 };

static void *change(void *context)
{
    const char *name = context;
    unsigned refused = 0;
    for (unsigned i = 0; i < CHANGES; i++) {
        refused += !name_server_add(server, name, NAME_A, "192.0.2.1", i);
        refused += !name_server_behave(server, name, i % 2 ? NAME_ALTERNATE : NAME_NORMAL, 0);
        (void)name_server_queries(server, "x.test");
        if (i % 8 == 7)
            name_server_clear(server, name);
    }
    return refused ? context : NULL;
}

static void zone__changed_while_it_answers__every_query_is_answered(void **state)
{
    (void)state;
    static char names[CHANGERS][16] = { "x.test", "x.test", "*.test", "y.test" };
    pthread_t threads[CHANGERS];
    int fd = reach(SOCK_DGRAM);
    struct message m;
    for (size_t i = 0; i < CHANGERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, change, names[i]), 0);
    for (unsigned i = 0; i < CHANGES; i++) {
        ask(fd, i, "\1x\4test", NAME_A, 0);
        receive_datagram(fd, &m);
        assert_int_equal(id(&m), i);
    }
    for (size_t i = 0; i < CHANGERS; i++) {
        void *refused;
        pthread_join(threads[i], &refused);
        assert_null(refused);
    }
    assert_int_equal(name_server_queries(server, "X.TEST"), CHANGES);
    close(fd);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(answer__unknown_name__soa_says_how_long),
        TEST(answer__larger_than_the_client_takes__cut),
        TEST(answer__each_way_to_go_wrong__as_told),
        TEST(answer__silent_name__the_next_query_is_answered),
        TEST(answer__delayed__others_do_not_wait),
        TEST(answer__nonsense__bounced_or_ignored),
        TEST(answer__query_cut_anywhere__bounced_or_answered_without_its_opt),
        TEST(start__port__taken_once_and_free_again_after_stop),
        TEST(zone__changed_while_it_answers__every_query_is_answered),
    };
    return cmocka_run_group_tests_name("name_server_bytes", tests, NULL, NULL);
}
