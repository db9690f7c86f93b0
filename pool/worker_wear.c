#include "pool/worker_wear.h"

#include "base/clock.h"

enum { GROWN_PATIENCE_MS = 1000 /* for a successor: memory that grows is better given back soon */ };

/* A tenth less up to a tenth more. */
static uint64_t jitter(uint64_t value, uint32_t random) { return value - value / 10 + random % (value / 5 + 1); }

void worker_wear_begin(struct worker_wear *wear, const struct worker_limits *limits, uint64_t jobs_done,
                       uint32_t random, uint64_t now_ns)
{
    *wear = (struct worker_wear){
        .jobs_limit = jitter(limits->jobs_max, random),
        .jobs_done = jobs_done,
        .growth_max_kib = limits->growth_max_kib,
        .old_ns =
            limits->age_max_ns > 0 ? now_ns + jitter(limits->age_max_ns / NS_PER_MS, random) * NS_PER_MS : CLOCK_NEVER,
    };
}

void worker_wear_note_job(struct worker_wear *wear, uint64_t max_rss_kib)
{
    wear->jobs_done++;
    if (wear->first_rss_kib == 0)
        wear->first_rss_kib = max_rss_kib;
    if (wear->growth_max_kib > 0 && max_rss_kib > wear->first_rss_kib + wear->growth_max_kib)
        wear->is_grown = true;
}

bool worker_wear_is_near(const struct worker_wear *wear, unsigned jobs_held, uint64_t now_ns)
{
    uint64_t rest = wear->jobs_limit / 10 > 0 ? wear->jobs_limit / 10 : 1;
    uint64_t near = wear->jobs_limit > rest ? wear->jobs_limit - rest : 1;
    return (wear->jobs_limit > 0 && wear->jobs_done + jobs_held >= near) || wear->is_grown || now_ns >= wear->old_ns;
}

void worker_wear_advance(struct worker_wear *wear, uint64_t now_ns)
{
    if (wear->is_grown && wear->grown_ns == 0)
        wear->grown_ns = now_ns;
    if (wear->grown_ns > 0 && now_ns >= wear->grown_ns + GROWN_PATIENCE_MS * NS_PER_MS)
        wear->is_overdue = true;
}

bool worker_wear_is_spent(const struct worker_wear *wear, unsigned jobs_held)
{
    return (wear->jobs_limit > 0 && wear->jobs_done + jobs_held >= wear->jobs_limit) || wear->is_overdue;
}

uint64_t worker_wear_due(const struct worker_wear *wear, uint64_t now_ns)
{
    uint64_t due_ns = wear->old_ns > now_ns ? wear->old_ns : CLOCK_NEVER;
    uint64_t spent_ns = wear->grown_ns + GROWN_PATIENCE_MS * NS_PER_MS;
    return wear->grown_ns > 0 && spent_ns > now_ns && spent_ns < due_ns ? spent_ns : due_ns;
}
