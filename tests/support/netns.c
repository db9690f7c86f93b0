/* Every address is the machine's own by two routes of the type "local" that match all of IPv4 and IPv6, in the table
 * where the kernel keeps one for each address that an interface has: what `ip route add local 0.0.0.0/0 dev lo` does.
 */
#include "tests/support/netns.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* <linux/ipv6.h> has it, and does not go together with <netinet/in.h>. */
struct address_of_interface {
    struct in6_addr address;
    uint32_t prefix;
    int interface;
};

static bool is_mount_private; /* a mount namespace of our own */

static bool complain(const char *what)
{
    fprintf(stderr, "netns: %s: %s\n", what, strerror(errno));
    return false;
}

static bool bring_loopback_up(void)
{
    struct ifreq request = { .ifr_name = "lo" };
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    bool is_up = ioctl(fd, SIOCGIFFLAGS, &request) == 0;
    request.ifr_flags |= IFF_UP;
    is_up = is_up && ioctl(fd, SIOCSIFFLAGS, &request) == 0;
    close(fd);
    return is_up;
}

static bool write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool is_written = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    close(fd);
    return is_written;
}

/* Whoever has no name in the user namespace can make no files. */
static bool become_root_of_namespace(uid_t user, gid_t group)
{
    char users[64], groups[64];
    snprintf(users, sizeof users, "0 %u 1", (unsigned)user);
    snprintf(groups, sizeof groups, "0 %u 1", (unsigned)group);
    return write_text("/proc/self/uid_map", users) && write_text("/proc/self/setgroups", "deny") &&
           write_text("/proc/self/gid_map", groups);
}

bool netns_enter(void)
{
    const uid_t user = getuid();
    const gid_t group = getgid();
    if (unshare(CLONE_NEWNET) != 0 &&
        (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0 || !become_root_of_namespace(user, group)))
        return false;
    return bring_loopback_up();
}

/* Asks the kernel and reads what it says. */
static bool add_local_route(int fd, unsigned char family)
{
    struct {
        struct nlmsghdr head;
        struct rtmsg route;
        struct rtattr interface_head;
        uint32_t interface;
    } request = { .head = { .nlmsg_len = sizeof request,
                            .nlmsg_type = RTM_NEWROUTE,
                            .nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_ACK },
                  .route = { .rtm_family = family,
                             .rtm_table = RT_TABLE_LOCAL,
                             .rtm_protocol = RTPROT_STATIC,
                             .rtm_scope = RT_SCOPE_HOST,
                             .rtm_type = RTN_LOCAL },
                  .interface_head = { .rta_len = RTA_LENGTH(sizeof(uint32_t)), .rta_type = RTA_OIF },
                  .interface = if_nametoindex("lo") };
    struct {
        struct nlmsghdr head;
        struct nlmsgerr error;
        char rest[256];
    } reply;
    if (send(fd, &request, sizeof request, 0) != (ssize_t)sizeof request ||
        recvfrom(fd, &reply, sizeof reply, 0, NULL, NULL) < (ssize_t)(sizeof reply.head + sizeof reply.error))
        return false;
    errno = -reply.error.error;
    return reply.head.nlmsg_type == NLMSG_ERROR && reply.error.error == 0;
}

bool netns_add_ipv6(const char *address)
{
    struct address_of_interface request = { .prefix = 64, .interface = (int)if_nametoindex("lo") };
    int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return complain(address);
    bool is_added = inet_pton(AF_INET6, address, &request.address) == 1 &&
                    (ioctl(fd, SIOCSIFADDR, &request) == 0 || errno == EEXIST);
    if (!is_added)
        complain(address);
    close(fd);
    return is_added;
}

bool netns_own_every_address(void)
{
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd < 0)
        return complain("no netlink");
    bool has_both = add_local_route(fd, AF_INET) && add_local_route(fd, AF_INET6);
    if (!has_both)
        complain("a route for all addresses");
    close(fd);
    return has_both && netns_add_ipv6("fe80::1");
}

static bool leave_shared_mounts(void)
{
    is_mount_private =
        is_mount_private || (unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
    return is_mount_private;
}

bool netns_replace_file(const char *path, const char *text)
{
    char copy[] = "/tmp/twinpool-file-XXXXXX";
    int fd = mkostemp(copy, O_CLOEXEC);
    if (fd < 0)
        return complain(copy);
    bool is_replaced = fchmod(fd, 0644) == 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) &&
                       leave_shared_mounts() && mount(copy, path, NULL, MS_BIND, NULL) == 0;
    if (!is_replaced)
        complain(path);
    close(fd);
    unlink(copy); /* the mount keeps it */
    return is_replaced;
}
