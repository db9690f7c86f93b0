/* io_share: identical items that were sent with "coalesce" share one transfer.
 *
 * The first one leads: it goes through admission like any other. Those that come while it is not done follow it, from
 * the same call or another, and get a copy of its result, whatever that is. Only if it ends for reasons that are its
 * own (its call was cancelled, its deadline passed) do they share nothing: the first follower becomes the leader of the
 * others.
 *
 * A stream whose reader does not read stands still; other calls do not follow its items, or they would, too. */
#include <stdlib.h>
#include <string.h>

#include "pool/io_internal.h"

struct io_share {
    struct io_share *next; /* in its bucket */
    uint64_t hash;
    struct io_job *leader;
    struct io_jobs followers; /* linked by share_link */
    size_t origin_len;
    char origin[];
};

/* FNV-1a; what collides is compared. */
static uint64_t hash_text(uint64_t hash, const char *text)
{
    do
        hash = (hash ^ (unsigned char)*text) * UINT64_C(1099511628211);
    while (*text++);
    return hash;
}

static uint64_t hash_item(const struct io_pool *pool, const struct fetch_item *item)
{
    uint64_t hash = hash_text(UINT64_C(14695981039346656037) ^ pool->hosts.seed, item->url);
    for (const char *const *line = item->headers; line && *line; line++)
        hash = hash_text(hash, *line);
    return hash;
}

static bool are_equal_lists(const char *const *a, const char *const *b)
{
    if (!a || !b)
        return a == b;
    for (; *a && *b; a++, b++)
        if (strcmp(*a, *b) != 0)
            return false;
    return *a == *b;
}

/* Would the same be sent, under the same conditions? */
static bool are_identical(const struct io_job *x, const struct io_job *y)
{
    const struct fetch_item *a = x->item, *b = y->item;
    const char *trace_a = x->call->share.traceparent, *trace_b = y->call->share.traceparent;
    return a->method == b->method && a->body_form == b->body_form && a->max_body_bytes == b->max_body_bytes &&
           a->timeout_ms == b->timeout_ms && a->dns_timeout_ms == b->dns_timeout_ms &&
           a->connect_timeout_ms == b->connect_timeout_ms && a->tls_timeout_ms == b->tls_timeout_ms &&
           a->first_byte_timeout_ms == b->first_byte_timeout_ms && a->hedge_ms == b->hedge_ms &&
           a->max_redirects == b->max_redirects && a->retries == b->retries && strcmp(a->url, b->url) == 0 &&
           are_equal_lists(a->headers, b->headers) && !trace_a && !trace_b;
}

static struct io_share **bucket_of(struct io_pool *pool, uint64_t hash)
{
    return &pool->shares[(hash ^ hash >> 32) % IO_SHARE_BUCKETS];
}

/* What changes something at the origin is sent as often as it was asked for. */
static bool may_be_shared(const struct fetch_item *item)
{
    return item->coalesces && item->body_len == 0 &&
           (item->method == FETCH_GET || item->method == FETCH_HEAD || item->method == FETCH_OPTIONS);
}

static bool may_follow(const struct io_job *leader, const struct io_job *job)
{
    return (leader->call == job->call || !leader->call->call->on_item) && are_identical(leader, job);
}

bool io_share_join(struct io_pool *pool, struct io_job *job, const char *origin, size_t origin_len)
{
    if (!may_be_shared(job->item))
        return false;
    uint64_t hash = hash_item(pool, job->item);
    struct io_share **bucket = bucket_of(pool, hash);
    for (struct io_share *share = *bucket; share; share = share->next) {
        if (share->hash != hash || !may_follow(share->leader, job))
            continue;
        job->share = share;
        job->place = IO_FOLLOWING;
        TAILQ_INSERT_TAIL(&share->followers, job, share_link);
        return true;
    }
    struct io_share *share = calloc(1, sizeof *share + origin_len + 1);
    if (!share)
        return false;
    share->hash = hash;
    share->leader = job;
    share->origin_len = origin_len;
    memcpy(share->origin, origin, origin_len);
    TAILQ_INIT(&share->followers);
    share->next = *bucket;
    *bucket = share;
    job->share = share;
    return false;
}

void io_share_leave(struct io_job *job)
{
    TAILQ_REMOVE(&job->share->followers, job, share_link);
    job->share = NULL;
}

static void remove_share(struct io_pool *pool, struct io_share *share)
{
    struct io_share **link = bucket_of(pool, share->hash);
    while (*link != share)
        link = &(*link)->next;
    *link = share->next;
    free(share);
}

/* Rather one of a call that is no stream: see above. */
static struct io_job *next_leader(const struct io_share *share)
{
    struct io_job *job;
    TAILQ_FOREACH(job, &share->followers, share_link)
    if (!job->call->call->on_item)
        return job;
    return TAILQ_FIRST(&share->followers);
}

static bool promote(struct io_share *share, uint64_t now_ns)
{
    struct io_job *job = next_leader(share);
    if (!job || !io_enqueue(job, share->origin, share->origin_len, now_ns))
        return false;
    TAILQ_REMOVE(&share->followers, job, share_link);
    share->leader = job;
    io_watch_job(job);
    return true;
}

void io_share_close(struct io_job *leader, bool is_own, uint64_t now_ns, struct io_jobs *ret_followers)
{
    struct io_share *share = leader->share;
    struct io_job *job;
    TAILQ_INIT(ret_followers);
    leader->share = NULL;
    if (is_own && promote(share, now_ns))
        return;
    while ((job = TAILQ_FIRST(&share->followers)) != NULL) {
        io_share_leave(job);
        job->place = IO_SERVED;
        TAILQ_INSERT_TAIL(ret_followers, job, link);
    }
    remove_share(leader->call->pool, share);
}
