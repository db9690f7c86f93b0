/* quarantine: a table that is searched from end to end; it is empty in a healthy service. */
#include "pool/quarantine.h"

#include <string.h>
#include <sys/random.h>

#define FNV_PRIME UINT64_C(0x100000001b3)

/* FNV-1a (Fowler, Noll, Vo), from a seed that nobody outside knows. */
static uint64_t add_bytes(uint64_t hash, const void *bytes, size_t len)
{
    const unsigned char *at = bytes;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ at[i]) * FNV_PRIME;
    return hash;
}

static uint64_t hash_of(const struct quarantine *quarantine, const struct job *job)
{
    const uint64_t numbers[] = { job->task, (uint64_t)job->form, job->args_len, job->has_payload };
    uint64_t hash = quarantine->seed;
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        hash = (hash ^ numbers[i]) * FNV_PRIME;
    if (job->args_len > 0)
        hash = add_bytes(hash, job->args, job->args_len);
    return job->payload_len > 0 ? add_bytes(hash, job->payload, job->payload_len) : hash;
}

void quarantine_init(struct quarantine *quarantine, uint64_t time_ns)
{
    memset(quarantine, 0, sizeof *quarantine);
    quarantine->time_ns = time_ns;
    if (getrandom(&quarantine->seed, sizeof quarantine->seed, GRND_NONBLOCK) < 0)
        quarantine->seed = UINT64_C(0xcbf29ce484222325);
}

static void forget_old(struct quarantine *quarantine, uint64_t now_ns)
{
    for (size_t i = 0; i < QUARANTINE_JOBS_MAX; i++) {
        if (quarantine->jobs[i].deaths == 0 || now_ns - quarantine->jobs[i].last_ns < quarantine->time_ns)
            continue;
        quarantine->jobs[i].deaths = 0;
        quarantine->count--;
    }
}

/* The job's entry; -1: it has none. */
static int find(const struct quarantine *quarantine, uint64_t hash)
{
    for (int i = 0; i < QUARANTINE_JOBS_MAX; i++)
        if (quarantine->jobs[i].deaths > 0 && quarantine->jobs[i].hash == hash)
            return i;
    return -1;
}

/* A free entry, or the oldest. */
static int find_room(const struct quarantine *quarantine)
{
    int oldest = 0;
    for (int i = 0; i < QUARANTINE_JOBS_MAX; i++) {
        if (quarantine->jobs[i].deaths == 0)
            return i;
        if (quarantine->jobs[i].last_ns < quarantine->jobs[oldest].last_ns)
            oldest = i;
    }
    return oldest;
}

void quarantine_note(struct quarantine *quarantine, const struct job *job, uint64_t now_ns)
{
    if (quarantine->time_ns == 0)
        return;
    forget_old(quarantine, now_ns);
    uint64_t hash = hash_of(quarantine, job);
    int at = find(quarantine, hash);
    if (at < 0) {
        at = find_room(quarantine);
        quarantine->count += quarantine->jobs[at].deaths == 0;
        quarantine->jobs[at].hash = hash;
        quarantine->jobs[at].deaths = 0;
    }
    quarantine->jobs[at].deaths++;
    quarantine->jobs[at].last_ns = now_ns;
}

bool quarantine_holds(struct quarantine *quarantine, const struct job *job, uint64_t now_ns)
{
    if (quarantine->count == 0)
        return false;
    forget_old(quarantine, now_ns);
    int at = quarantine->count > 0 ? find(quarantine, hash_of(quarantine, job)) : -1;
    return at >= 0 && quarantine->jobs[at].deaths >= QUARANTINE_DEATHS;
}
