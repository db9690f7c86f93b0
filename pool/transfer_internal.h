/* transfer_internal: one transfer's state, shared by transfer.c (its life), transfer_request.c (options and callbacks:
 * what goes into libcurl) and transfer_result.c (what came out). For these files only. */
#ifndef TWINPOOL_POOL_TRANSFER_INTERNAL_H
#define TWINPOOL_POOL_TRANSFER_INTERNAL_H

#include <netinet/in.h>

#include "base/buf.h"
#include "pool/response_head.h"
#include "pool/transfer.h"
#include "pool/url_rules.h"

/* How far the current hop has come, as our callbacks saw it. */
enum transfer_stage { STAGE_RESOLVING, STAGE_CONNECTING, STAGE_TLS, STAGE_REQUEST, STAGE_HEAD, STAGE_BODY };

struct transfer {
    struct transfer_env *env;
    CURL *easy;
    bool is_added;     /* to the multi handle */
    bool is_waiting;   /* in env->waiting */
    bool is_resolving; /* has one of env's places */
    TAILQ_ENTRY(transfer) waiting_link;
    bool is_special; /* the easy handle has options beyond those of a plain GET */

    /* the fetch */
    struct fetch_item *item;
    size_t index;
    struct call_budget *budget;
    void *user;
    uint64_t started_ns, deadline_ns;
    struct transfer_usage usage;

    /* the current hop */
    const char *url; /* the item's, or hop_url */
    char *hop_url;   /* owned; NULL on the first hop */
    struct url_parts parts;
    enum fetch_method method;
    bool sends_body;
    bool keeps_credentials; /* no hop has left the first origin */
    unsigned redirects;
    struct curl_slist *lines; /* array of header lines, linked; grows */
    size_t line_capacity;

    /* what the callbacks found */
    enum transfer_stage stage;
    enum status failure; /* ST_OK: none */
    const char *refused_rule;
    char refused_address[INET6_ADDRSTRLEN];
    bool refused_is_ipv6;
    bool discards_body; /* of a redirect that will be followed */
    size_t discarded_bytes;
    bool is_truncated;
    size_t charged_bytes; /* to the budget */
    struct buf body;
    struct response_head head;
    char error_text[CURL_ERROR_SIZE];
};

/* transfer_request.c */
void transfer_configure(struct transfer *t) NONNULL;                                   /* all options of a plain GET */
bool transfer_apply_hop(struct transfer *t, uint64_t remaining_ms) NONNULL MUST_CHECK; /* false: no memory */
bool transfer_will_follow(const struct transfer *t)
    NONNULL MUST_CHECK; /* a redirect, by its status, header and our limit */
void transfer_note_refusal(struct transfer *t, const struct sockaddr *address, const char *rule) NONNULL;

/* transfer.c: the hop needs its place to resolve a name no longer. From callbacks too. */
void transfer_lookup_done(struct transfer *t) NONNULL;

/* transfer_result.c */
void transfer_fail_refused(struct transfer *t) NONNULL;
void transfer_map_failure(struct transfer *t, CURLcode code) NONNULL; /* sets the item's status, phase and message */
const char *transfer_phase(const struct transfer *t) NONNULL;
void transfer_render(struct transfer *t) NONNULL; /* the item's JSON of an answer */

#endif
