/* The misbehaving listeners: each does what its name says, to a plain socket and to a client with TLS, and nothing
 * else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <curl/curl.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/support/listener.h"
#include "tests/support/procs.h"
#include "tests/support/timing.h"

/* A thing that is to come may take PATIENCE_MS (scaled); what has not come within A_WHILE_MS is taken for never. */
enum { PATIENCE_MS = 5000, A_WHILE_MS = 100 };

static const enum listener_kind kinds[] = { LISTENER_SILENT, LISTENER_NO_ACCEPT, LISTENER_CLOSE, LISTENER_RESET,
                                            LISTENER_GARBAGE };

/* NULL only where there is no IPv6. */
static struct listener *start_listener(enum listener_kind kind, const char *address)
{
    struct listener *listener = listener_start(kind, address, 0);
    if (!listener && strcmp(address, "::1") == 0)
        print_message("    no IPv6 here\n");
    else
        assert_non_null(listener);
    return listener;
}

/* Connects for up to timeout_ms. *ret_error is 0, what connect() came to, or EINPROGRESS. */
static int dial(const char *address, uint16_t port, uint32_t timeout_ms, int *ret_error)
{
    const struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM };
    struct addrinfo *found;
    char digits[8];
    snprintf(digits, sizeof digits, "%u", (unsigned)port);
    assert_int_equal(getaddrinfo(address, digits, &hints, &found), 0);
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    *ret_error = connect(fd, found->ai_addr, found->ai_addrlen) == 0 ? 0 : errno;
    freeaddrinfo(found);
    struct pollfd connecting = { .fd = fd, .events = POLLOUT };
    socklen_t len = sizeof *ret_error;
    if (*ret_error == EINPROGRESS && poll(&connecting, 1, (int)timeout_ms) == 1)
        assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_ERROR, ret_error, &len), 0);
    return fd;
}

static bool is_refused(uint16_t port)
{
    int error;
    close(dial("127.0.0.1", port, scaled_ms(PATIENCE_MS), &error));
    return error == ECONNREFUSED;
}

struct meeting {
    enum { MET_SILENCE, MET_NO_ANSWER, MET_END, MET_RESET } with; /* at last */
    size_t got;                                                   /* bytes */
    char first;
};

/* Connects to a listener of that kind and reads until it comes to nothing. */
static struct meeting meet(const char *address, uint16_t port, enum listener_kind kind)
{
    struct meeting meeting = { .with = MET_NO_ANSWER };
    int error;
    int fd = dial(address, port, kind == LISTENER_NO_ACCEPT ? A_WHILE_MS : scaled_ms(PATIENCE_MS), &error);
    const size_t wanted = kind == LISTENER_GARBAGE ? LISTENER_GARBAGE_BYTES : 0;
    const bool will_be_silent = kind == LISTENER_SILENT || kind == LISTENER_GARBAGE;
    ssize_t got = 1;
    while (error == 0 && got > 0) {
        struct pollfd reading = { .fd = fd, .events = POLLIN };
        bool is_last = will_be_silent && meeting.got >= wanted;
        char bytes[512];
        if (poll(&reading, 1, is_last ? A_WHILE_MS : (int)scaled_ms(PATIENCE_MS)) == 0) {
            meeting.with = MET_SILENCE;
            break;
        }
        got = recv(fd, bytes, sizeof bytes, 0);
        error = got < 0 ? errno : 0;
        if (got > 0 && meeting.got == 0)
            meeting.first = bytes[0];
        meeting.got += got > 0 ? (size_t)got : 0;
    }
    close(fd);
    if (error == ECONNRESET)
        meeting.with = MET_RESET;
    else if (got == 0)
        meeting.with = MET_END;
    return meeting;
}

static void check_meeting(const struct meeting *meeting, enum listener_kind kind)
{
    const char tls_handshake = 0x16; /* the first byte of a record */
    switch (kind) {
    case LISTENER_SILENT:
        assert_int_equal(meeting->with, MET_SILENCE);
        break;
    case LISTENER_NO_ACCEPT:
        assert_int_equal(meeting->with, MET_NO_ANSWER);
        break;
    case LISTENER_CLOSE:
        assert_int_equal(meeting->with, MET_END);
        break;
    case LISTENER_RESET:
        assert_int_equal(meeting->with, MET_RESET);
        break;
    case LISTENER_GARBAGE:
        assert_int_equal(meeting->with, MET_SILENCE);
        assert_int_equal(meeting->got, LISTENER_GARBAGE_BYTES);
        assert_int_not_equal(meeting->first, tls_handshake);
        return;
    }
    assert_int_equal(meeting->got, 0);
}

static void listeners__each_kind_and_address__as_named(void **state)
{
    (void)state;
    static const char *const addresses[] = { "127.0.0.1", "127.0.0.2", "::1" };
    for (size_t i = 0; i < ARRAY_LEN(addresses) * ARRAY_LEN(kinds); i++) {
        const char *address = addresses[i / ARRAY_LEN(kinds)];
        const enum listener_kind kind = kinds[i % ARRAY_LEN(kinds)];
        struct listener *listener = start_listener(kind, address);
        if (!listener)
            continue;
        struct meeting first = meet(address, listener_port(listener), kind);
        struct meeting second = meet(address, listener_port(listener), kind);
        uint64_t accepted = listener_accepted(listener);
        listener_stop(listener);
        check_meeting(&first, kind);
        check_meeting(&second, kind);
        assert_int_equal(accepted, kind == LISTENER_NO_ACCEPT ? 0 : 2);
    }
}

static void listeners__client_with_tls__fails_as_named(void **state)
{
    (void)state;
    static const struct {
        CURLcode code, or_code;
        unsigned accepted;
    } expected[] = {
        [LISTENER_SILENT] = { CURLE_OPERATION_TIMEDOUT, CURLE_OPERATION_TIMEDOUT, 1 },
        [LISTENER_NO_ACCEPT] = { CURLE_OPERATION_TIMEDOUT, CURLE_OPERATION_TIMEDOUT, 0 },
        [LISTENER_CLOSE] = { CURLE_SSL_CONNECT_ERROR, CURLE_SSL_CONNECT_ERROR, 1 },
        [LISTENER_RESET] = { CURLE_SSL_CONNECT_ERROR, CURLE_COULDNT_CONNECT, 1 }, /* seen after connect() or in it */
        [LISTENER_GARBAGE] = { CURLE_SSL_CONNECT_ERROR, CURLE_SSL_CONNECT_ERROR, 1 },
    };
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        struct listener *listener = start_listener(kinds[i], "127.0.0.1");
        bool is_late = expected[kinds[i]].code == CURLE_OPERATION_TIMEDOUT;
        char url[64];
        snprintf(url, sizeof url, "https://127.0.0.1:%u/", (unsigned)listener_port(listener));
        CURL *curl = curl_easy_init();
        curl_easy_setopt(curl, CURLOPT_URL, url);
        curl_easy_setopt(curl, CURLOPT_PROXY, "");
        curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 0L); /* so it needs no authorities; it never gets that far */
        curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)(is_late ? 2 * A_WHILE_MS : scaled_ms(PATIENCE_MS)));
        CURLcode code = curl_easy_perform(curl);
        curl_easy_cleanup(curl);
        uint64_t accepted = listener_accepted(listener);
        listener_stop(listener);
        if (code != expected[kinds[i]].code && code != expected[kinds[i]].or_code)
            fail_msg("case %zu: %s", i, curl_easy_strerror(code));
        assert_int_equal(accepted, expected[kinds[i]].accepted);
    }
}

/* Bytes sent after the end do not turn it into a reset: a client that asks first still reads end of file. */
static void listener_close__client_that_speaks__end_of_file(void **state)
{
    (void)state;
    struct listener *listener = start_listener(LISTENER_CLOSE, "127.0.0.1");
    int error;
    int fd = dial("127.0.0.1", listener_port(listener), scaled_ms(PATIENCE_MS), &error);
    char byte;
    struct pollfd reading = { .fd = fd, .events = POLLIN };
    ssize_t sent = send(fd, "hello", 5, MSG_NOSIGNAL);
    uint64_t accepted = listener_accepted(listener);
    int has_come = poll(&reading, 1, (int)scaled_ms(PATIENCE_MS));
    ssize_t sent_again = send(fd, "hello", 5, MSG_NOSIGNAL);
    ssize_t got = recv(fd, &byte, 1, 0);
    close(fd);
    listener_stop(listener);
    assert_int_equal(error, 0);
    assert_int_equal(sent, 5);
    assert_int_equal(accepted, 1);
    assert_int_equal(has_come, 1);
    assert_int_equal(sent_again, 5);
    assert_int_equal(got, 0);
}

static void listener_accepted__canary_and_crowd__exact(void **state)
{
    (void)state;
    enum { CROWD = LISTENER_OPEN_MAX + 20 };
    static int fds[CROWD];
    struct listener *listener = start_listener(LISTENER_SILENT, "127.0.0.1");
    uint64_t before = listener_accepted(listener);
    int error = 0;
    for (size_t i = 0; i < CROWD; i++)
        fds[i] = dial("127.0.0.1", listener_port(listener), scaled_ms(PATIENCE_MS), &error);
    uint64_t accepted = listener_accepted(listener);
    for (size_t i = 0; i < CROWD; i++)
        close(fds[i]);
    listener_stop(listener);
    assert_int_equal(before, 0);
    assert_int_equal(accepted, CROWD);
}

static void listener_stop__each_kind__nothing_left(void **state)
{
    (void)state;
    size_t fds = procs_count_fds(getpid());
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        struct listener *listener = start_listener(kinds[i], "127.0.0.1");
        const uint16_t port = listener_port(listener);
        int error;
        int fd = dial("127.0.0.1", port, A_WHILE_MS, &error);
        (void)listener_accepted(listener); /* waits until the thread holds it */
        struct listener *second = listener_start(kinds[i], "127.0.0.1", port);
        listener_stop(listener);
        close(fd);
        assert_null(second); /* the port was taken */
        assert_true(is_refused(port));
        listener = listener_start(kinds[i], "127.0.0.1", port); /* and is free again at once */
        assert_non_null(listener);
        assert_int_equal(listener_port(listener), port);
        listener_stop(listener);
    }
    assert_int_equal(procs_count_fds(getpid()), fds);
    listener_stop(NULL);
    assert_null(listener_start(LISTENER_SILENT, "not an address", 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(listeners__each_kind_and_address__as_named),
        cmocka_unit_test(listeners__client_with_tls__fails_as_named),
        cmocka_unit_test(listener_close__client_that_speaks__end_of_file),
        cmocka_unit_test(listener_accepted__canary_and_crowd__exact),
        cmocka_unit_test(listener_stop__each_kind__nothing_left),
    };
    curl_global_init(CURL_GLOBAL_DEFAULT);
    int failed = cmocka_run_group_tests_name("support_listener", tests, NULL, NULL);
    curl_global_cleanup();
    return failed;
}
