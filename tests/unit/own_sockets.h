/* own_sockets: what the kernel says of this process's TCP connections to a port: a look at what the pool has sent and
 * read that needs no word from the pool. Included by one file of a driver. */
#ifndef TWINPOOL_TESTS_UNIT_OWN_SOCKETS_H
#define TWINPOOL_TESTS_UNIT_OWN_SOCKETS_H

#include <arpa/inet.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

struct own_traffic {
    unsigned connections;
    uint64_t read;         /* bytes that came and were read */
    uint64_t acknowledged; /* bytes that were sent and have arrived, with one for each SYN */
};

/* Sums over all descriptors below 1024. */
static inline struct own_traffic own_traffic_with(uint16_t port)
{
    struct own_traffic sum = { 0 };
    for (int fd = 3; fd < 1024; fd++) {
        struct sockaddr_in peer = { 0 };
        struct tcp_info info = { 0 };
        socklen_t peer_len = sizeof peer, info_len = sizeof info;
        int unread = 0;
        if (getpeername(fd, (struct sockaddr *)&peer, &peer_len) != 0 || peer.sin_family != AF_INET ||
            ntohs(peer.sin_port) != port || ioctl(fd, FIONREAD, &unread) != 0 ||
            getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &info_len) != 0)
            continue;
        sum.connections++;
        sum.read += (uint64_t)info.tcpi_bytes_received - (uint64_t)unread;
        sum.acknowledged += info.tcpi_bytes_acked;
    }
    return sum;
}

#endif
