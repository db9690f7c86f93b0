#include "service/control.h"

#include <errno.h>
#include <sys/socket.h>

bool control_pair(int ret_ends[2])
{
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ret_ends) == 0;
}

bool control_send(int fd, const struct control_message *message)
{
    ssize_t n;
    do
        n = send(fd, message, sizeof *message, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)sizeof *message;
}

enum control_result control_receive(int fd, struct control_message *ret_message)
{
    struct control_message message;
    ssize_t n;
    do
        n = recv(fd, &message, sizeof message, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n == (ssize_t)sizeof message) {
        *ret_message = message;
        return CONTROL_RECEIVED;
    }
    return n < 0 && errno == EAGAIN ? CONTROL_NOTHING : CONTROL_CLOSED;
}
