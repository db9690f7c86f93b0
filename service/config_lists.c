/* config_lists: text to the parsed form, which is kept beside the text. Whatever a list was before, it is replaced. */
#include "service/config_lists.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "pool/breaker.h"
#include "service/config.h"
#include "service/listen_address.h"

#define NETWORKS                                                                                    \
    .placeholder = "CIDR[,CIDR...]", .described = "a list of networks such as 10.0.0.0/8,fd00::/8", \
    .documented = "networks (`10.0.0.0/8`) or addresses, with commas between"
#define HOSTS                                                                                          \
    .placeholder = "HOST[,HOST...]", .described = "a list of hosts such as example.org,*.example.com", \
    .documented = "hosts (`example.org`) or all below one (`*.example.com`), with commas between"

static bool parse_allow(const char *text, struct config *config, const char **ret_reason)
{
    return egress_cidrs_parse(text, &config->egress.allow, ret_reason);
}

static bool parse_deny(const char *text, struct config *config, const char **ret_reason)
{
    return egress_cidrs_parse(text, &config->egress.deny, ret_reason);
}

static bool parse_hosts(const char *text, struct config *config, const char **ret_reason)
{
    return egress_hosts_parse(text, &config->egress.only_hosts, ret_reason);
}

static bool parse_deny_hosts(const char *text, struct config *config, const char **ret_reason)
{
    return egress_hosts_parse(text, &config->egress.deny_hosts, ret_reason);
}

static bool parse_ports(const char *text, struct config *config, const char **ret_reason)
{
    return egress_ports_parse(text, &config->egress.only_ports, ret_reason);
}

/* Calls take(word, context) for each word between commas, without blanks around it; stops when it returns false. */
static bool for_each_word(const char *text, bool (*take)(const char *word, void *context), void *context)
{
    static const char blank[] = " \t";
    char word[128];
    text += strspn(text, blank);
    for (bool goes_on = *text != '\0'; goes_on; text++) {
        size_t len = strcspn(text, ","), start = strspn(text, blank), end = len;
        while (end > start && strchr(blank, text[end - 1]))
            end--;
        if (end <= start || end - start >= sizeof word)
            return false;
        memcpy(word, text + start, end - start);
        word[end - start] = '\0';
        if (!take(word, context))
            return false;
        text += len;
        goes_on = *text == ',';
    }
    return true;
}

static bool take_outcome(const char *word, void *context)
{
    static const struct {
        const char *name;
        enum breaker_outcome outcome;
    } outcomes[] = {
        { "dns", BREAKER_DNS },         { "connect", BREAKER_CONNECT }, { "tls", BREAKER_TLS },
        { "timeout", BREAKER_TIMEOUT }, { "closed", BREAKER_CLOSED },   { "5xx", BREAKER_5XX },
        { "429", BREAKER_429 },
    };
    unsigned *counted = context;
    for (size_t i = 0; i < ARRAY_LEN(outcomes); i++) {
        if (strcmp(outcomes[i].name, word) == 0) {
            *counted |= outcomes[i].outcome;
            return true;
        }
    }
    return false;
}

static bool parse_breaker_on(const char *text, struct config *config, const char **ret_reason)
{
    unsigned counted = 0;
    *ret_reason = "an unknown word";
    if (!for_each_word(text, take_outcome, &counted))
        return false;
    config->breaker_counted = counted;
    return true;
}

/* ADDR, ADDR:PORT, ADDR6 or [ADDR6]:PORT */
static bool take_server(const char *word, void *context)
{
    struct in_addr in;
    struct in6_addr in6;
    struct listen_address address;
    (void)context;
    return inet_pton(AF_INET, word, &in) == 1 || inet_pton(AF_INET6, word, &in6) == 1 ||
           (listen_address_parse(word, &address) && strcmp(word + strlen(word) - 2, ":0") != 0);
}

static bool parse_dns_servers(const char *text, struct config *config, const char **ret_reason)
{
    (void)config;
    *ret_reason = "not numeric addresses";
    return for_each_word(text, take_server, NULL);
}

const struct config_list config_list_allow = { .parse = parse_allow, NETWORKS };
const struct config_list config_list_deny = { .parse = parse_deny, NETWORKS };
const struct config_list config_list_hosts = { .parse = parse_hosts, HOSTS };
const struct config_list config_list_deny_hosts = { .parse = parse_deny_hosts, HOSTS };
const struct config_list config_list_ports = {
    .parse = parse_ports,
    .placeholder = "PORT[-PORT][,...]",
    .described = "a list of ports such as 80,443,8000-8999",
    .documented = "ports or ranges of them (`80,443,8000-8999`)",
};
const struct config_list config_list_breaker_on = {
    .parse = parse_breaker_on,
    .placeholder = "WHAT[,WHAT...]",
    .described = "a list of dns, connect, tls, timeout, closed, 5xx and 429",
    .documented = "some of `dns`, `connect`, `tls`, `timeout`, `closed`, `5xx`, `429`, with commas between",
};
const struct config_list config_list_dns_servers = {
    .parse = parse_dns_servers,
    .placeholder = "ADDR[:PORT][,...]",
    .described = "a list of name servers such as 9.9.9.9,[2620:fe::fe]:53",
    .documented = "numeric addresses, `ADDR`, `ADDR:PORT` or `[ADDR]:PORT`, with commas between",
};
