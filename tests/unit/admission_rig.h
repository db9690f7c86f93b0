/* admission_rig: groups of tickets for the tests of pool/admission.c, which know what state each ticket should be in.
 */
#ifndef TWINPOOL_TESTS_UNIT_ADMISSION_RIG_H
#define TWINPOOL_TESTS_UNIT_ADMISSION_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pool/admission.h"

enum { TICKETS_MAX = 64, GROUPS = 12, HOSTS = 7 };

enum ticket_state { NOT_ADDED, WAITS, RUNS, RESTS, OVER };

struct group {
    struct admission_group group;
    struct admission_lane lanes[TICKETS_MAX];
    struct admission_ticket tickets[TICKETS_MAX];
    int host_of[TICKETS_MAX];
    enum ticket_state state[TICKETS_MAX];
    unsigned extras[TICKETS_MAX]; /* slots besides its own */
    unsigned count, limit;
    bool is_paused;
};

static struct hosts hosts;
static struct admission admission;
static struct group groups[GROUPS];
static uint64_t now_ns; /* the time that admission is told */

static inline void begin(unsigned running_max, unsigned per_host_max)
{
    memset(groups, 0, sizeof groups);
    now_ns = 1000;
    assert_true(hosts_init(&hosts));
    admission_init(&admission, &hosts, running_max, per_host_max);
}

/* Memory that was another group's before comes with that group's remains. */
static inline void open_group(struct group *g, unsigned limit)
{
    memset(g, 0xa5, sizeof *g);
    memset(g->state, 0, sizeof g->state);
    memset(g->extras, 0, sizeof g->extras);
    g->count = 0;
    g->limit = limit;
    g->is_paused = false;
    admission_group_init(&admission, &g->group, limit, g->lanes);
}

static inline unsigned add(struct group *g, int host)
{
    char origin[32];
    snprintf(origin, sizeof origin, "http://host-%d:80", host);
    assert_true(g->count < TICKETS_MAX);
    g->host_of[g->count] = host;
    g->state[g->count] = WAITS;
    assert_true(admission_add(&admission, &g->group, &g->tickets[g->count], origin, strlen(origin), now_ns));
    return g->count++;
}

static inline void add_many(struct group *g, int host, unsigned count)
{
    while (count-- > 0)
        add(g, host);
}

static inline struct group *owner_of(const struct admission_ticket *ticket, unsigned *ret_index)
{
    for (unsigned g = 0; g < GROUPS; g++) {
        if (ticket >= groups[g].tickets && ticket < groups[g].tickets + TICKETS_MAX) {
            *ret_index = (unsigned)(ticket - groups[g].tickets);
            return &groups[g];
        }
    }
    fail_msg("a ticket that is nobody's");
    *ret_index = 0;
    return groups;
}

/* Starts one; NULL if none may. */
static inline struct group *start(unsigned *ret_index)
{
    struct admission_ticket *ticket = admission_next(&admission, now_ns);
    if (!ticket)
        return NULL;
    struct group *g = owner_of(ticket, ret_index);
    assert_int_equal(g->state[*ret_index], WAITS);
    g->state[*ret_index] = RUNS;
    return g;
}

static inline unsigned start_all(void)
{
    unsigned index = 0, started = 0;
    while (start(&index))
        started++;
    return started;
}

/* The one that may start is this one. */
static inline void expect_start(const struct group *g, unsigned index)
{
    unsigned started = 0;
    const struct group *owner = start(&started);
    if (owner != g || started != index)
        fail_msg("group %d ticket %u was started, not group %d ticket %u", owner ? (int)(owner - groups) : -1, started,
                 (int)(g - groups), index);
}

static inline void expect_nothing_to_start(void)
{
    unsigned index;
    assert_null(start(&index));
}

static inline void finish(struct group *g, unsigned index)
{
    assert_int_equal(g->state[index], RUNS);
    assert_int_equal(g->extras[index], 0);
    g->state[index] = OVER;
    admission_finish(&admission, &g->tickets[index], now_ns);
}

static inline void withdraw(struct group *g, unsigned index)
{
    assert_int_equal(g->state[index], WAITS);
    g->state[index] = OVER;
    admission_withdraw(&admission, &g->tickets[index], now_ns);
}

static inline void rest(struct group *g, unsigned index)
{
    assert_int_equal(g->state[index], RUNS);
    assert_int_equal(g->extras[index], 0);
    g->state[index] = RESTS;
    admission_rest(&admission, &g->tickets[index], now_ns);
}

static inline void resume(struct group *g, unsigned index)
{
    assert_int_equal(g->state[index], RESTS);
    g->state[index] = WAITS;
    admission_resume(&admission, &g->tickets[index], now_ns);
}

static inline void drop(struct group *g, unsigned index)
{
    assert_int_equal(g->state[index], RESTS);
    g->state[index] = OVER;
    admission_drop(&admission, &g->tickets[index]);
}

static inline bool take_extra(struct group *g, unsigned index)
{
    assert_int_equal(g->state[index], RUNS);
    bool is_taken = admission_take_extra(&admission, &g->tickets[index]);
    g->extras[index] += is_taken;
    return is_taken;
}

static inline void give_extra(struct group *g, unsigned index)
{
    assert_true(g->extras[index] > 0);
    g->extras[index]--;
    admission_give_extra(&admission, &g->tickets[index], now_ns);
}

static inline void set_paused(struct group *g, bool is_paused)
{
    g->is_paused = is_paused;
    admission_pause_group(&admission, &g->group, is_paused, now_ns);
}

/* Slots that the group has with the host; -1: with all. */
static inline unsigned running_of(const struct group *g, int host)
{
    unsigned running = 0;
    for (unsigned i = 0; i < g->count; i++)
        if (g->state[i] == RUNS && (host < 0 || g->host_of[i] == host))
            running += 1 + g->extras[i];
    return running;
}

static inline unsigned running(int host)
{
    unsigned sum = 0;
    for (unsigned g = 0; g < GROUPS; g++)
        sum += running_of(&groups[g], host);
    return sum;
}

/* One of each state is ended as fits it, until nothing is left. */
static inline void end_one(struct group *g, unsigned index)
{
    while (g->extras[index] > 0)
        give_extra(g, index);
    if (g->state[index] == RUNS)
        finish(g, index);
    else if (g->state[index] == RESTS)
        drop(g, index);
}

static inline void finish_everything(void)
{
    do {
        for (unsigned g = 0; g < GROUPS; g++) {
            if (groups[g].is_paused)
                set_paused(&groups[g], false);
            for (unsigned i = 0; i < groups[g].count; i++)
                end_one(&groups[g], i);
        }
    } while (start_all() > 0);
    assert_int_equal(admission.waiting, 0);
    assert_int_equal(admission.running, 0);
    assert_int_equal(hosts.count, 0);
    for (unsigned g = 0; g < GROUPS; g++)
        for (unsigned i = 0; i < groups[g].count; i++)
            assert_int_equal(groups[g].state[i], OVER);
    hosts_done(&hosts);
}

/* The same numbers for the same seed (Marsaglia's xorshift64). */
static uint64_t dice_seed = 88172645463325252u;

static inline unsigned dice(unsigned sides)
{
    dice_seed ^= dice_seed << 13;
    dice_seed ^= dice_seed >> 7;
    dice_seed ^= dice_seed << 17;
    return (unsigned)((dice_seed >> 16) % sides);
}

#endif
