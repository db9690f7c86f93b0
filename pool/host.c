/* host: a hash table with chains, and a list of those that only their knowledge keeps. */
#include "pool/host.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { BUCKETS_AT_FIRST = 64 };

/* FNV-1a from a start that no caller knows, then mixed, since the bucket and the choice of a thread and a shard use the
 * low bits. */
static uint32_t hash_bytes(uint32_t seed, const char *bytes, size_t len)
{
    uint32_t hash = seed;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (unsigned char)bytes[i]) * 16777619u;
    hash ^= hash >> 16;
    hash *= 0x85ebca6bu;
    return hash ^ hash >> 13;
}

static struct host **bucket_of(const struct hosts *hosts, uint32_t hash)
{
    return &hosts->buckets[hash & (hosts->bucket_count - 1)];
}

bool hosts_init(struct hosts *hosts)
{
    *hosts = (struct hosts){ .bucket_count = BUCKETS_AT_FIRST };
    TAILQ_INIT(&hosts->kept);
    if (getrandom(&hosts->seed, sizeof hosts->seed, 0) != (ssize_t)sizeof hosts->seed)
        hosts->seed = 2166136261u;
    hosts->buckets = calloc(hosts->bucket_count, sizeof *hosts->buckets);
    return hosts->buckets != NULL;
}

/* Longer chains are the worst of running out of memory here. */
static void grow_table(struct hosts *hosts)
{
    size_t count = hosts->bucket_count * 2;
    struct host **grown = calloc(count, sizeof *grown);
    if (!grown)
        return;
    for (size_t i = 0; i < hosts->bucket_count; i++) {
        for (struct host *host = hosts->buckets[i], *next; host; host = next) {
            next = host->next;
            host->next = grown[host->hash & (count - 1)];
            grown[host->hash & (count - 1)] = host;
        }
    }
    free(hosts->buckets);
    hosts->buckets = grown;
    hosts->bucket_count = count;
}

static struct host *add(struct hosts *hosts, const char *origin, size_t len, uint32_t hash)
{
    struct host *host = calloc(1, sizeof *host + len + 1);
    if (!host)
        return NULL;
    host->hash = hash;
    host->origin_len = len;
    memcpy(host->origin, origin, len);
    TAILQ_INIT(&host->parked);
    if (++hosts->count > hosts->bucket_count)
        grow_table(hosts);
    struct host **bucket = bucket_of(hosts, hash);
    host->next = *bucket;
    *bucket = host;
    return host;
}

static void forget(struct hosts *hosts, struct host *host)
{
    struct host **link = bucket_of(hosts, host->hash);
    while (*link != host)
        link = &(*link)->next;
    *link = host->next;
    hosts->count--;
    free(host->shard_loads);
    free(host);
}

static void unkeep(struct hosts *hosts, struct host *host)
{
    TAILQ_REMOVE(&hosts->kept, host, kept_link);
    hosts->kept_count--;
}

void hosts_done(struct hosts *hosts)
{
    struct host *host;
    while ((host = TAILQ_FIRST(&hosts->kept)) != NULL) {
        unkeep(hosts, host);
        forget(hosts, host);
    }
    free(hosts->buckets);
}

struct host *hosts_acquire(struct hosts *hosts, const char *origin, size_t origin_len)
{
    uint32_t hash = hash_bytes(hosts->seed, origin, origin_len);
    struct host *host = *bucket_of(hosts, hash);
    while (host &&
           !(host->hash == hash && host->origin_len == origin_len && memcmp(host->origin, origin, origin_len) == 0))
        host = host->next;
    if (host && host->users == 0)
        unkeep(hosts, host);
    if (!host)
        host = add(hosts, origin, origin_len, hash);
    if (host)
        host->users++;
    return host;
}

static bool is_worth_keeping(const struct host *host)
{
    return host->breaker.failures > 0 || host->breaker.open_until_ns > 0 ||
           atomic_load_explicit(&host->speaks_http2, memory_order_relaxed);
}

void hosts_release(struct hosts *hosts, struct host *host)
{
    if (--host->users > 0)
        return;
    if (!is_worth_keeping(host)) {
        forget(hosts, host);
        return;
    }
    TAILQ_INSERT_TAIL(&hosts->kept, host, kept_link);
    if (++hosts->kept_count <= HOSTS_KEPT_MAX)
        return;
    struct host *oldest = TAILQ_FIRST(&hosts->kept);
    unkeep(hosts, oldest);
    forget(hosts, oldest);
}

void hosts_for_each(const struct hosts *hosts, void (*visit)(void *user, const struct host *host), void *user)
{
    for (size_t i = 0; i < hosts->bucket_count; i++)
        for (const struct host *host = hosts->buckets[i]; host; host = host->next)
            visit(user, host);
}
