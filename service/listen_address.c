/* listen_address: the text is cut at its last colon; inet_pton() judges what stands before it, so whatever it refuses
 * (names, short forms like 127.1, zone ids) is refused here. */
#include "service/listen_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

static bool parse_port(const char *text, uint16_t *ret_port)
{
    uint32_t port = 0;
    size_t len = strlen(text);
    if (len == 0 || len > 5 || strspn(text, "0123456789") != len)
        return false;
    for (size_t i = 0; i < len; i++)
        port = port * 10 + (uint32_t)(text[i] - '0');
    if (port > UINT16_MAX)
        return false;
    *ret_port = (uint16_t)port;
    return true;
}

bool listen_address_parse(const char *text, struct listen_address *ret_address)
{
    char host[INET6_ADDRSTRLEN];
    uint16_t port;
    const char *colon = strrchr(text, ':');
    if (!colon || !parse_port(colon + 1, &port))
        return false;

    size_t len = (size_t)(colon - text);
    bool is_v6 = len >= 2 && text[0] == '[' && colon[-1] == ']';
    if (is_v6) {
        text++;
        len -= 2;
    }
    if (len >= sizeof(host))
        return false;
    memcpy(host, text, len);
    host[len] = '\0';

    struct listen_address address = { 0 };
    if (is_v6) {
        struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
        if (inet_pton(AF_INET6, host, &v6.sin6_addr) != 1)
            return false;
        memcpy(&address.storage, &v6, sizeof(v6));
        address.len = sizeof(v6);
    } else {
        struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(port) };
        if (inet_pton(AF_INET, host, &v4.sin_addr) != 1)
            return false;
        memcpy(&address.storage, &v4, sizeof(v4));
        address.len = sizeof(v4);
    }
    *ret_address = address;
    return true;
}

uint16_t listen_address_port(const struct listen_address *address)
{
    if (address->storage.ss_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)&address->storage)->sin6_port);
    return ntohs(((const struct sockaddr_in *)&address->storage)->sin_port);
}

void listen_address_to_local(struct listen_address *address)
{
    if (address->storage.ss_family == AF_INET6) {
        struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address->storage;
        if (IN6_IS_ADDR_UNSPECIFIED(&v6->sin6_addr))
            v6->sin6_addr = in6addr_loopback;
    } else {
        struct sockaddr_in *v4 = (struct sockaddr_in *)&address->storage;
        if (v4->sin_addr.s_addr == htonl(INADDR_ANY))
            v4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    }
}
