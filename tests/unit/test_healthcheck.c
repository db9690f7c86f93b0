/* healthcheck: against a child process that answers one connection in a given way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "service/healthcheck.h"

static int listen_on_loopback(uint16_t *ret_port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 4), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    *ret_port = ntohs(address.sin_port);
    return fd;
}

/* Answers one request and ends; leaves only by _exit, for its copy of the test program must not run on. */
static pid_t start_answering(int listener, const char *answer)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    char request[512];
    int fd = accept(listener, NULL, NULL);
    if (fd < 0 || recv(fd, request, sizeof(request), 0) <= 0 || strncmp(request, "GET /healthz HTTP/1.1\r\n", 23) != 0)
        _exit(1);
    for (; *answer != '\0'; answer++) {
        if (write(fd, answer, 1) != 1) /* byte by byte: the reader must put the line together */
            break;
    }
    shutdown(fd, SHUT_WR);
    while (recv(fd, request, sizeof(request), 0) > 0) {
    }
    _exit(0);
}

static int check_port(const char *host, uint16_t port)
{
    struct config config = { 0 };
    snprintf(config.listen, sizeof(config.listen), "%s:%u", host, port);
    return healthcheck_run(&config);
}

static int check_against(const char *host, const char *answer)
{
    uint16_t port;
    int listener = listen_on_loopback(&port);
    pid_t pid = start_answering(listener, answer);
    assert_true(pid > 0);
    int result = check_port(host, port);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    close(listener);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return result;
}

static void run__answer_200__is_0(void **state)
{
    (void)state;
    assert_int_equal(check_against("127.0.0.1", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), 0);
}

static void run__wildcard_address__asks_loopback(void **state)
{
    (void)state;
    assert_int_equal(check_against("0.0.0.0", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), 0);
}

static void run__answer_503_or_none__is_1(void **state)
{
    (void)state;
    assert_int_equal(check_against("127.0.0.1", "HTTP/1.1 503 Service Unavailable\r\n\r\n"), 1);
    assert_int_equal(check_against("127.0.0.1", "HTTP/1.1 2000 OK\r\n\r\n"), 1);
    assert_int_equal(check_against("127.0.0.1", "HTTP/1.1 2"), 1);
    assert_int_equal(check_against("127.0.0.1", ""), 1);
}

static void run__nobody_listens__is_1(void **state)
{
    uint16_t port;
    (void)state;
    close(listen_on_loopback(&port));
    assert_int_equal(check_port("127.0.0.1", port), 1);
    assert_int_equal(check_port("127.0.0.1", 0), 1);
}

static void run__never_answered__is_1_after_2_s(void **state)
{
    uint16_t port;
    (void)state;
    int listener = listen_on_loopback(&port); /* the kernel accepts, nobody reads */
    uint64_t start_ns = clock_now_ns();
    assert_int_equal(check_port("127.0.0.1", port), 1);
    uint64_t elapsed_ms = (clock_now_ns() - start_ns) / NS_PER_MS;
    assert_in_range(elapsed_ms, 1990, 10000);
    close(listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run__answer_200__is_0),
        cmocka_unit_test(run__wildcard_address__asks_loopback),
        cmocka_unit_test(run__answer_503_or_none__is_1),
        cmocka_unit_test(run__nobody_listens__is_1),
        cmocka_unit_test(run__never_answered__is_1_after_2_s),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests_name("healthcheck", tests, NULL, NULL);
}
