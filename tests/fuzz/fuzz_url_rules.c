/* Any bytes as a URL: what url_rules accepts must have one meaning. Its canonical spelling is accepted again with the
 * same meaning, and libcurl, which will be given that spelling, reads the same host, port and address out of it. */
#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "pool/egress_policy.h"
#include "pool/url_rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

static bool is_same_server(const struct url_parts *a, const struct url_parts *b)
{
    return a->is_https == b->is_https && a->port == b->port && strcmp(a->host, b->host) == 0 &&
           a->address_len == b->address_len && memcmp(&a->address, &b->address, a->address_len) == 0;
}

static char *canonical(const struct url_parts *parts, const char *url)
{
    struct buf out = BUF_INIT(1 << 16);
    size_t len;
    url_rules_write(parts, url, &out);
    buf_byte(&out, '\0');
    require(!out.failed);
    return buf_take(&out, &len);
}

/* libcurl's reading of the canonical spelling. */
static void require_libcurl_agrees(const char *url, const struct url_parts *parts)
{
    char *host = NULL, *port = NULL, *user = NULL, *zone = NULL;
    struct in_addr in;
    CURLU *handle = curl_url();
    CURLUcode code = curl_url_set(handle, CURLUPART_URL, url, CURLU_DISALLOW_USER | CURLU_PATH_AS_IS);
    if (code == CURLUE_OK) { /* refusing it is safe: the transfer fails */
        require(curl_url_get(handle, CURLUPART_HOST, &host, 0) == CURLUE_OK);
        require(curl_url_get(handle, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK);
        require(curl_url_get(handle, CURLUPART_USER, &user, 0) != CURLUE_OK);
        size_t len = strcspn(parts->host, "%"); /* libcurl keeps an IPv6 zone apart */
        require(strncmp(host, parts->host, len) == 0);
        require((unsigned long)parts->port == strtoul(port, NULL, 10));
        /* an address is one to both of us */
        require((inet_pton(AF_INET, host, &in) == 1 || host[0] == '[') == (parts->address_len > 0));
    }
    curl_free(host);
    curl_free(port);
    curl_free(user);
    curl_free(zone);
    curl_url_cleanup(handle);
}

static void require_sane(const struct url_parts *parts, const char *url)
{
    for (const char *c = parts->host; *c && *c != '%'; c++) /* the zone of an IPv6 address is as it was */
        require(*c > ' ' && *c < 0x7f && !(*c >= 'A' && *c <= 'Z') && !strchr("@/\\?#", *c));
    require(parts->host[0] && parts->port > 0 && parts->rest_at <= strlen(url));
    /* 127.0.0.1 in whatever spelling is refused by a policy that allows nothing */
    struct egress_policy policy = { .own_address.ss_family = AF_UNSPEC };
    char message[EGRESS_MESSAGE_SIZE];
    if (strcmp(parts->host, "127.0.0.1") == 0 || strcmp(parts->host, "[::1]") == 0)
        require(egress_policy_check_url(&policy, parts, message) != ST_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *url = malloc(size + 1);
    require(url != NULL);
    memcpy(url, data, size);
    url[size] = '\0';
    struct url_parts parts, again;
    const char *message = NULL;
    if (url_rules_check(url, &parts, &message) == ST_OK) {
        char *first = canonical(&parts, url);
        require_sane(&parts, url);
        /* it can only have become too long */
        if (url_rules_check(first, &again, &message) == ST_OK) {
            char *second = canonical(&again, first);
            require(is_same_server(&parts, &again) && strcmp(first, second) == 0);
            free(second);
            require_libcurl_agrees(first, &again);
        } else {
            require(strlen(first) > URL_LENGTH_MAX);
        }
        free(first);
    } else {
        require(message != NULL);
    }
    free(url);
    return 0;
}
