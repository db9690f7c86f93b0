/* Tests of pool/admission.c: limits are never exceeded, nothing waits that could run, nobody holds others up. */
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

struct group {
    struct admission_group group;
    struct admission_lane lanes[TICKETS_MAX];
    struct admission_ticket tickets[TICKETS_MAX];
    int host_of[TICKETS_MAX];
    enum { UNUSED_YET, WAITS, RUNS, OVER } state[TICKETS_MAX];
    unsigned count, limit;
    bool is_withdrawn;
};

static struct admission admission;
static struct group groups[GROUPS];

static void begin(unsigned running_max, unsigned per_host_max)
{
    memset(groups, 0, sizeof groups);
    assert_true(admission_init(&admission, running_max, per_host_max));
}

static void open_group(struct group *g, unsigned limit)
{
    memset(g, 0, sizeof *g);
    g->limit = limit;
    admission_group_init(&admission, &g->group, limit, g->lanes);
}

static void add(struct group *g, int host)
{
    char origin[32];
    snprintf(origin, sizeof origin, "http://host-%d:80", host);
    g->host_of[g->count] = host;
    g->state[g->count] = WAITS;
    assert_true(admission_add(&admission, &g->group, &g->tickets[g->count], origin, strlen(origin)));
    g->count++;
}

static struct group *owner_of(const struct admission_ticket *ticket, unsigned *ret_index)
{
    for (unsigned g = 0; g < GROUPS; g++) {
        if (ticket >= groups[g].tickets && ticket < groups[g].tickets + TICKETS_MAX) {
            *ret_index = (unsigned)(ticket - groups[g].tickets);
            return &groups[g];
        }
    }
    return NULL;
}

/* Starts one; false if none may. */
static bool start(struct group **ret_group, unsigned *ret_index)
{
    struct admission_ticket *ticket = admission_next(&admission);
    if (!ticket)
        return false;
    *ret_group = owner_of(ticket, ret_index);
    assert_non_null(*ret_group);
    assert_int_equal((*ret_group)->state[*ret_index], WAITS);
    (*ret_group)->state[*ret_index] = RUNS;
    return true;
}

static unsigned start_all(void)
{
    struct group *g;
    unsigned index, started = 0;
    while (start(&g, &index))
        started++;
    return started;
}

static void finish(struct group *g, unsigned index)
{
    assert_int_equal(g->state[index], RUNS);
    g->state[index] = OVER;
    admission_finish(&admission, &g->tickets[index]);
}

static unsigned running_of(const struct group *g, int host)
{
    unsigned running = 0;
    for (unsigned i = 0; i < g->count; i++)
        running += g->state[i] == RUNS && (host < 0 || g->host_of[i] == host);
    return running;
}

static unsigned running(int host)
{
    unsigned sum = 0;
    for (unsigned g = 0; g < GROUPS; g++)
        sum += running_of(&groups[g], host);
    return sum;
}

static void finish_everything(void)
{
    bool any = true;
    while (any) {
        any = false;
        for (unsigned g = 0; g < GROUPS; g++)
            for (unsigned i = 0; i < groups[g].count; i++)
                if (groups[g].state[i] == RUNS) {
                    finish(&groups[g], i);
                    any = true;
                }
        start_all();
    }
    assert_int_equal(admission.waiting, 0);
    assert_int_equal(admission.running, 0);
    assert_int_equal(admission.host_count, 0);
    admission_done(&admission);
}

static void next__one_group_and_host__in_order(void **state)
{
    (void)state;
    begin(100, 0);
    open_group(&groups[0], 0);
    for (int i = 0; i < 10; i++)
        add(&groups[0], 0);
    for (unsigned i = 0; i < 10; i++) {
        struct group *g;
        unsigned index;
        assert_true(start(&g, &index));
        assert_int_equal(index, i);
    }
    finish_everything();
}

static void next__each_limit__exact(void **state)
{
    (void)state;
    begin(5, 3);
    open_group(&groups[0], 2);
    open_group(&groups[1], 0);
    for (int i = 0; i < 4; i++)
        add(&groups[0], 0);
    assert_int_equal(start_all(), 2); /* the group's */
    for (int i = 0; i < 4; i++)
        add(&groups[1], 0);
    assert_int_equal(start_all(), 1); /* the host's */
    for (int i = 0; i < 4; i++)
        add(&groups[1], 1);
    assert_int_equal(start_all(), 2); /* all in all */
    assert_int_equal(running(-1), 5);
    finish_everything();
}

static void next__host_at_its_limit__others_go_on(void **state)
{
    (void)state;
    begin(100, 1);
    open_group(&groups[0], 4);
    for (int i = 0; i < 20; i++)
        add(&groups[0], 0); /* a slow host in front */
    add(&groups[0], 1);
    add(&groups[0], 2);
    assert_int_equal(start_all(), 3);
    assert_int_equal(running(1) + running(2), 2);
    finish_everything();
}

static void next__long_list_before_a_short_one__they_alternate(void **state)
{
    (void)state;
    begin(4, 0);
    open_group(&groups[0], 0);
    open_group(&groups[1], 0);
    for (int i = 0; i < 40; i++)
        add(&groups[0], 0);
    add(&groups[1], 1);
    assert_int_equal(start_all(), 4);
    assert_int_equal(running(1), 1);
    finish_everything();
}

static unsigned withdraw_all(struct group *g)
{
    struct admission_ticket *ticket;
    unsigned withdrawn = 0;
    while ((ticket = admission_withdraw(&admission, &g->group)) != NULL) {
        g->state[ticket - g->tickets] = OVER;
        withdrawn++;
    }
    g->is_withdrawn = true;
    return withdrawn;
}

static void withdraw__waiting_ones__the_running_go_on(void **state)
{
    (void)state;
    begin(100, 0);
    open_group(&groups[0], 3);
    for (int i = 0; i < 10; i++)
        add(&groups[0], i % 2);
    assert_int_equal(start_all(), 3);
    assert_int_equal(withdraw_all(&groups[0]), 7);
    assert_int_equal(admission.waiting, 0);
    assert_int_equal(start_all(), 0);
    assert_int_equal(running(-1), 3);
    finish_everything();
}

static void host_hash__same_host__same(void **state)
{
    (void)state;
    begin(100, 0);
    open_group(&groups[0], 0);
    open_group(&groups[1], 0);
    add(&groups[0], 1);
    add(&groups[0], 2);
    add(&groups[1], 1);
    assert_int_equal(admission_host_hash(&groups[0].tickets[0]), admission_host_hash(&groups[1].tickets[0]));
    assert_true(admission_host_hash(&groups[0].tickets[0]) != admission_host_hash(&groups[0].tickets[1]));
    start_all();
    finish_everything();
}

static void add__thousands_of_hosts__all_found_again(void **state)
{
    (void)state;
    enum { MANY = 3000 };
    struct admission_ticket *tickets = calloc(MANY, sizeof *tickets);
    struct admission_lane *lanes = calloc(MANY, sizeof *lanes);
    struct admission_group group;
    begin(MANY, 1);
    admission_group_init(&admission, &group, 0, lanes);
    for (int i = 0; i < MANY; i++) {
        char origin[32];
        snprintf(origin, sizeof origin, "http://host-%d:80", i / 2);
        assert_true(admission_add(&admission, &group, &tickets[i], origin, strlen(origin)));
    }
    assert_int_equal(admission.host_count, MANY / 2);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < MANY / 2; i++)
            assert_non_null(admission_next(&admission));
        assert_null(admission_next(&admission));
        for (int i = round; i < MANY; i += 2)
            admission_finish(&admission, &tickets[i]);
    }
    assert_int_equal(admission.host_count, 0);
    admission_done(&admission);
    free(tickets);
    free(lanes);
}

/* ---- against a model, at random */

static unsigned dice(unsigned sides)
{
    static uint64_t seed = 88172645463325252u;
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (unsigned)(seed % sides);
}

static void check_limits(unsigned total, unsigned per_host)
{
    assert_true(running(-1) <= total);
    for (int host = 0; host < HOSTS; host++)
        assert_true(per_host == 0 || running(host) <= per_host);
    for (unsigned g = 0; g < GROUPS; g++)
        assert_true(groups[g].limit == 0 || running_of(&groups[g], -1) <= groups[g].limit);
}

/* After admission_next() said that none may start. */
static void check_nothing_could_run(unsigned total, unsigned per_host)
{
    if (running(-1) >= total)
        return;
    for (unsigned g = 0; g < GROUPS; g++) {
        if (groups[g].limit != 0 && running_of(&groups[g], -1) >= groups[g].limit)
            continue;
        for (unsigned i = 0; i < groups[g].count; i++)
            if (groups[g].state[i] == WAITS && (per_host == 0 || running(groups[g].host_of[i]) < per_host))
                fail_msg("ticket %u of group %u waits for nothing", i, g);
    }
}

static void finish_some(void)
{
    for (unsigned tries = dice(8); tries > 0; tries--) {
        struct group *g = &groups[dice(GROUPS)];
        for (unsigned i = 0; i < g->count; i++)
            if (g->state[i] == RUNS && dice(3) == 0)
                finish(g, i);
    }
}

static bool is_over(const struct group *g)
{
    for (unsigned i = 0; i < g->count; i++)
        if (g->state[i] != OVER)
            return false;
    return true;
}

static void any__random_work__limits_hold_and_nothing_waits_for_nothing(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 60; round++) {
        unsigned total = 1 + dice(30), per_host = dice(5);
        begin(total, per_host);
        for (unsigned g = 0; g < GROUPS; g++)
            open_group(&groups[g], dice(6));
        for (unsigned step = 0; step < 300; step++) {
            struct group *g = &groups[dice(GROUPS)];
            if ((g->is_withdrawn || g->count > TICKETS_MAX - 8) && is_over(g))
                open_group(g, dice(6));
            if (!g->is_withdrawn)
                for (unsigned n = dice(8); n > 0 && g->count < TICKETS_MAX; n--)
                    add(g, (int)dice(HOSTS));
            if (dice(20) == 0)
                withdraw_all(&groups[dice(GROUPS)]);
            finish_some();
            if (dice(3) > 0)
                continue;
            start_all();
            check_limits(total, per_host);
            check_nothing_could_run(total, per_host);
        }
        start_all();
        finish_everything();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(next__one_group_and_host__in_order),
        cmocka_unit_test(next__each_limit__exact),
        cmocka_unit_test(next__host_at_its_limit__others_go_on),
        cmocka_unit_test(next__long_list_before_a_short_one__they_alternate),
        cmocka_unit_test(withdraw__waiting_ones__the_running_go_on),
        cmocka_unit_test(host_hash__same_host__same),
        cmocka_unit_test(add__thousands_of_hosts__all_found_again),
        cmocka_unit_test(any__random_work__limits_hold_and_nothing_waits_for_nothing),
    };
    return cmocka_run_group_tests_name("admission", tests, NULL, NULL);
}
