/* transfer_internal: one transfer's state, shared by transfer.c (its life), transfer_request.c (options and callbacks:
 * what goes into libcurl), transfer_body.c (what it brings), transfer_time.c (its budgets of time) and
 * transfer_result.c (what came out). For these files only. */
#ifndef TWINPOOL_POOL_TRANSFER_INTERNAL_H
#define TWINPOOL_POOL_TRANSFER_INTERNAL_H

#include <netinet/in.h>

#include "base/timers.h"
#include "pool/content_decoder.h"
#include "pool/transfer.h"
#include "pool/url_rules.h"

enum { RATE_WINDOW_MS = 10000, CALLBACK_MESSAGE_SIZE = EGRESS_MESSAGE_SIZE };

struct transfer {
    struct transfer_env *env;
    CURL *easy;
    bool is_added;   /* to a shard */
    bool is_special; /* the easy handle has options beyond those of a plain GET */
    bool is_paused;  /* in env->paused */
    unsigned shard;
    TAILQ_ENTRY(transfer) paused_link;
    struct timer timer; /* the earliest budget that can be used up */
    struct resolver_wait lookup;

    struct transfer_spec spec;
    struct transfer_outcome outcome;
    struct transfer_usage usage;

    /* the current hop */
    struct buf url; /* with its NUL */
    struct url_parts parts;
    enum fetch_method method;
    bool sends_body;
    bool keeps_credentials; /* no hop has left the first origin */
    unsigned redirects;
    struct buf pins;              /* "+host:port:address,…" of a name */
    CURLU *parsed_url;            /* for CURLOPT_CURLU */
    struct curl_slist pin_line;   /* for CURLOPT_RESOLVE */
    struct curl_slist agent_line; /* for CURLOPT_HTTPHEADER */
    struct curl_slist *lines;     /* array of header lines, linked; grows */
    size_t line_capacity;
    size_t resolved_count; /* addresses that were pinned */

    /* when the hop came to its stages; 0: it did not */
    enum transfer_stage stage;
    uint64_t began_ns, resolved_ns, connecting_ns, tls_ns, sent_ns, head_ns, body_ns;
    uint64_t rate_since_ns; /* the current window of the rate */
    size_t rate_bytes;      /* seen in it */

    /* what the callbacks found */
    enum status failure;                 /* ST_OK: none */
    const char *budget;                  /* of a time-out of ours */
    char refusal[CALLBACK_MESSAGE_SIZE]; /* the policy's last words; "": none */
    enum status refusal_status;
    bool discards_body; /* of a redirect that will be followed */
    bool counts_body;   /* keeps none of it */
    bool is_truncated;
    bool is_fresh;     /* over a new connection, */
    bool starts_fresh; /* or shall be, from the beginning */
    bool accepts_codings;
    enum content_coding coding;
    struct content_decoder *decoder; /* NULL: not begun */
    bool is_exempt;                  /* it runs beside the memory budget */
    size_t decoder_bytes;            /* what it will take; 0: what is usual */
    char beginning[32];              /* of the coded body: what pieces before this one have brought, */
    size_t earlier_bytes;            /* if they were no longer than that */
    size_t decoded_len;              /* of the piece that a pause has interrupted */
    size_t coded_bytes;              /* that were decoded */
    size_t paid_bytes;               /* decoded bytes that were paid for and have not come yet */
    size_t seen_bytes;               /* decoded bytes of the body */
    size_t charged_bytes;            /* to the call's total */
    size_t taken_bytes;              /* of the memory budget */
    struct buf body;
    struct response_head head;
    char error_text[CURL_ERROR_SIZE];
};

/* transfer_request.c */
void transfer_configure(struct transfer *t) NONNULL;            /* all options of a plain GET */
bool transfer_apply_hop(struct transfer *t) NONNULL MUST_CHECK; /* false: the outcome says why */
bool transfer_will_follow(const struct transfer *t)
    NONNULL MUST_CHECK; /* a redirect, by its status, header and our limit */

void transfer_note_repetition(struct transfer *t) NONNULL; /* the request went out and is about to go out once more */

/* transfer_body.c */
void transfer_break_protocol(struct transfer *t, const char *how) NONNULL;
void transfer_begin_body(struct transfer *t) NONNULL; /* the header is complete: the time is the body's from now on */
size_t transfer_on_body(char *bytes, size_t size, size_t count, void *user); /* for CURLOPT_WRITEFUNCTION */
void transfer_end_decoding(struct transfer *t) NONNULL;                      /* safe to repeat */
bool transfer_body_is_whole(const struct transfer *t) NONNULL MUST_CHECK;

/* transfer.c */
void transfer_end(struct transfer *t) NONNULL; /* the outcome is set; tells the owner */
void transfer_pause(struct transfer *t) NONNULL;

/* transfer_time.c */
void transfer_enter(struct transfer *t, enum transfer_stage stage) NONNULL; /* from callbacks too */
bool transfer_watch_time(struct transfer *t) NONNULL MUST_CHECK;            /* sets the timer; false: no memory */
void transfer_timer_due(struct timer *timer) NONNULL;
void transfer_note_ended(struct transfer *t, enum status status, unsigned http_status) NONNULL; /* ledger and usage */

/* transfer_result.c */
void transfer_fail(struct transfer *t, enum status status, const char *phase, const char *format, ...)
    __attribute__((format(printf, 4, 5), nonnull));
bool transfer_no_memory(struct transfer *t) NONNULL;                  /* sets the outcome; always false */
void transfer_map_failure(struct transfer *t, CURLcode code) NONNULL; /* sets the outcome */
void transfer_fill_answer(struct transfer *t) NONNULL;

#endif
