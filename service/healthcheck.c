/* healthcheck: one request over a plain socket; only the status line is read. Every wait ends at the same deadline. */
#include "service/healthcheck.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "service/listen_address.h"

#define TIME_LIMIT_NS (2 * NS_PER_SEC)

static const char request[] = "GET /healthz HTTP/1.1\r\n"
                              "Host: localhost\r\n"
                              "User-Agent: twinpool-healthcheck\r\n"
                              "Connection: close\r\n\r\n";

/* False: the deadline passed. */
static bool wait_for(int fd, short events, uint64_t deadline_ns)
{
    for (;;) {
        uint64_t now_ns = clock_now_ns();
        if (now_ns >= deadline_ns)
            return false;
        struct pollfd poll_fd = { .fd = fd, .events = events };
        int ready = poll(&poll_fd, 1, (int)((deadline_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS));
        if (ready > 0)
            return true;
        if (ready < 0 && errno != EINTR)
            return false;
    }
}

/* NULL, or why there is no connection. */
static const char *connect_to(int fd, const struct listen_address *address, uint64_t deadline_ns)
{
    if (connect(fd, (const struct sockaddr *)&address->storage, address->len) == 0)
        return NULL;
    if (errno != EINPROGRESS)
        return strerrordesc_np(errno);
    if (!wait_for(fd, POLLOUT, deadline_ns))
        return "no connection within 2 s";
    int error = 0;
    socklen_t len = sizeof(error);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
        error = errno;
    return error != 0 ? strerrordesc_np(error) : NULL;
}

/* NULL, or why the answer is not a 200. The request fits any socket buffer, so one send is enough. */
static const char *ask(int fd, uint64_t deadline_ns)
{
    static const char expected[] = "HTTP/1.1 200 ";
    char answer[sizeof(expected) - 1];
    size_t received = 0;

    if (send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) != (ssize_t)sizeof(request) - 1)
        return "the request could not be sent";
    while (received < sizeof(answer)) {
        if (!wait_for(fd, POLLIN, deadline_ns))
            return "no answer within 2 s";
        ssize_t len = read(fd, answer + received, sizeof(answer) - received);
        if (len == 0)
            return "closed without an answer";
        if (len < 0 && errno != EINTR && errno != EAGAIN)
            return strerrordesc_np(errno);
        if (len > 0)
            received += (size_t)len;
    }
    return memcmp(answer, expected, sizeof(answer)) == 0 ? NULL : "the answer is not a 200";
}

int healthcheck_run(const struct config *config)
{
    uint64_t deadline_ns = clock_now_ns() + TIME_LIMIT_NS;
    struct listen_address address;
    const char *problem = "the address names no port";

    if (listen_address_parse(config->listen, &address) && listen_address_port(&address) != 0) {
        listen_address_to_local(&address);
        int fd = socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0) {
            problem = strerrordesc_np(errno);
        } else {
            problem = connect_to(fd, &address, deadline_ns);
            if (!problem)
                problem = ask(fd, deadline_ns);
            close(fd);
        }
    }
    if (!problem)
        return 0;
    fprintf(stderr, "twinpool: healthcheck of %s: %s\n", config->listen, problem);
    return 1;
}
