/* admission: tickets wait in lanes, one per (group, host); a lane is on exactly one list.
 *
 *   ready          it may start, as far as anybody knows
 *   group's parked its group was full when it was last looked at
 *   host's parked  its group had room, its host was full
 *
 * Nothing is moved when a limit is reached; a lane finds out when its turn comes and parks where it was refused. When a
 * slot of a group or host falls free, one of the lanes parked there becomes ready: a slot serves one. A lane that
 * cannot use the slot that woke it parks elsewhere and passes the slot on to the next (wake_one), so a free slot always
 * has a ready lane to take it or nobody who could. Each move is paid for by a ticket that was added or finished, hence
 * O(1) amortised: scanning the waiting tickets instead would be quadratic with one slow host and a thousand callers.
 *
 * Hosts live in a hash table for as long as they have tickets. */
#include "pool/admission.h"

#include <stdlib.h>
#include <string.h>

enum { BUCKETS_AT_FIRST = 64 };

struct admission_host {
    struct admission_host *next; /* in its bucket */
    uint32_t hash;
    unsigned running;
    size_t tickets; /* waiting or running: the host goes with the last */
    struct admission_lanes parked;
    struct admission_lane *newest_lane; /* of the group that is adding tickets, */
    uint64_t newest_serial;             /* if this is the group's serial */
    size_t origin_len;
    char origin[];
};

/* FNV-1a, then mixed, since both the bucket and the caller's choice of a thread use the low bits. */
static uint32_t hash_bytes(const char *bytes, size_t len)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (unsigned char)bytes[i]) * 16777619u;
    hash ^= hash >> 16;
    hash *= 0x85ebca6bu;
    return hash ^ hash >> 13;
}

static struct admission_host **bucket_of(struct admission *admission, uint32_t hash)
{
    return &admission->buckets[hash & (admission->bucket_count - 1)];
}

bool admission_init(struct admission *admission, unsigned running_max, unsigned per_host_max)
{
    *admission = (struct admission){ .running_max = running_max,
                                     .per_host_max = per_host_max,
                                     .bucket_count = BUCKETS_AT_FIRST };
    TAILQ_INIT(&admission->ready);
    admission->buckets = calloc(admission->bucket_count, sizeof *admission->buckets);
    return admission->buckets != NULL;
}

void admission_done(struct admission *admission) { free(admission->buckets); }

void admission_group_init(struct admission *admission, struct admission_group *group, unsigned running_max,
                          struct admission_lane *lanes)
{
    *group =
        (struct admission_group){ .running_max = running_max, .serial = ++admission->group_serial, .lanes = lanes };
    TAILQ_INIT(&group->parked);
}

/* Longer chains are the worst of running out of memory here. */
static void grow_table(struct admission *admission)
{
    size_t count = admission->bucket_count * 2;
    struct admission_host **grown = calloc(count, sizeof *grown);
    if (!grown)
        return;
    for (size_t i = 0; i < admission->bucket_count; i++) {
        for (struct admission_host *host = admission->buckets[i], *next; host; host = next) {
            next = host->next;
            host->next = grown[host->hash & (count - 1)];
            grown[host->hash & (count - 1)] = host;
        }
    }
    free(admission->buckets);
    admission->buckets = grown;
    admission->bucket_count = count;
}

static struct admission_host *find_or_add_host(struct admission *admission, const char *origin, size_t len)
{
    uint32_t hash = hash_bytes(origin, len);
    for (struct admission_host *host = *bucket_of(admission, hash); host; host = host->next)
        if (host->hash == hash && host->origin_len == len && memcmp(host->origin, origin, len) == 0)
            return host;
    struct admission_host *host = calloc(1, sizeof *host + len);
    if (!host)
        return NULL;
    host->hash = hash;
    host->origin_len = len;
    memcpy(host->origin, origin, len);
    TAILQ_INIT(&host->parked);
    if (++admission->host_count > admission->bucket_count)
        grow_table(admission);
    struct admission_host **bucket = bucket_of(admission, hash);
    host->next = *bucket;
    *bucket = host;
    return host;
}

static void release_host(struct admission *admission, struct admission_host *host)
{
    if (--host->tickets > 0)
        return;
    struct admission_host **link = bucket_of(admission, host->hash);
    while (*link != host)
        link = &(*link)->next;
    *link = host->next;
    admission->host_count--;
    free(host);
}

static void move_lane(struct admission_lane *lane, struct admission_lanes *list)
{
    if (lane->list)
        TAILQ_REMOVE(lane->list, lane, link);
    lane->list = list;
    if (list)
        TAILQ_INSERT_TAIL(list, lane, link);
}

static bool group_is_full(const struct admission_group *group)
{
    return group->running_max != 0 && group->running >= group->running_max;
}

static bool host_is_full(const struct admission *admission, const struct admission_host *host)
{
    return admission->per_host_max != 0 && host->running >= admission->per_host_max;
}

static void wake_one(struct admission *admission, struct admission_lanes *parked, bool is_full)
{
    if (!is_full && !TAILQ_EMPTY(parked))
        move_lane(TAILQ_FIRST(parked), &admission->ready);
}

static void wake_one_of_host(struct admission *admission, struct admission_host *host)
{
    wake_one(admission, &host->parked, host_is_full(admission, host));
}

static void wake_one_of_group(struct admission *admission, struct admission_group *group)
{
    wake_one(admission, &group->parked, group_is_full(group));
}

static struct admission_lane *lane_for(struct admission_group *group, struct admission_host *host)
{
    if (host->newest_serial == group->serial)
        return host->newest_lane;
    struct admission_lane *lane = &group->lanes[group->lane_count++];
    *lane = (struct admission_lane){ .group = group, .host = host };
    TAILQ_INIT(&lane->waiting);
    host->newest_serial = group->serial;
    host->newest_lane = lane;
    return lane;
}

bool admission_add(struct admission *admission, struct admission_group *group, struct admission_ticket *ticket,
                   const char *origin, size_t origin_len)
{
    struct admission_host *host = find_or_add_host(admission, origin, origin_len);
    if (!host)
        return false;
    host->tickets++;
    ticket->lane = lane_for(group, host);
    TAILQ_INSERT_TAIL(&ticket->lane->waiting, ticket, link);
    if (!ticket->lane->list)
        move_lane(ticket->lane, &admission->ready);
    admission->waiting++;
    return true;
}

/* Both counts of the lane are below their limits. */
static struct admission_ticket *start_first(struct admission *admission, struct admission_lane *lane)
{
    struct admission_ticket *ticket = TAILQ_FIRST(&lane->waiting);
    TAILQ_REMOVE(&lane->waiting, ticket, link);
    move_lane(lane, TAILQ_EMPTY(&lane->waiting) ? NULL : &admission->ready);
    admission->waiting--;
    admission->running++;
    lane->group->running++;
    lane->host->running++;
    return ticket;
}

struct admission_ticket *admission_next(struct admission *admission)
{
    struct admission_lane *lane;
    while (admission->running < admission->running_max && (lane = TAILQ_FIRST(&admission->ready)) != NULL) {
        if (group_is_full(lane->group)) {
            move_lane(lane, &lane->group->parked);
            wake_one_of_host(admission, lane->host);
        } else if (host_is_full(admission, lane->host)) {
            move_lane(lane, &lane->host->parked);
            wake_one_of_group(admission, lane->group);
        } else {
            return start_first(admission, lane);
        }
    }
    return NULL;
}

void admission_finish(struct admission *admission, struct admission_ticket *ticket)
{
    struct admission_group *group = ticket->lane->group;
    struct admission_host *host = ticket->lane->host;
    admission->running--;
    group->running--;
    host->running--;
    wake_one_of_group(admission, group);
    wake_one_of_host(admission, host);
    release_host(admission, host);
}

struct admission_ticket *admission_withdraw(struct admission *admission, struct admission_group *group)
{
    while (group->lane_count > 0) {
        struct admission_lane *lane = &group->lanes[group->lane_count - 1];
        struct admission_ticket *ticket = TAILQ_FIRST(&lane->waiting);
        if (!ticket) {
            group->lane_count--; /* those of its tickets that run still point to it, so its memory stays as it is */
            continue;
        }
        TAILQ_REMOVE(&lane->waiting, ticket, link);
        admission->waiting--;
        if (TAILQ_EMPTY(&lane->waiting)) {
            move_lane(lane, NULL);
            wake_one_of_host(admission, lane->host); /* it may have been the one that was to take a free slot */
        }
        release_host(admission, lane->host);
        return ticket;
    }
    return NULL;
}

uint32_t admission_host_hash(const struct admission_ticket *ticket) { return ticket->lane->host->hash; }
