/* Tests of pool/admission.c: everybody has their turn, soon, and knows how long it took. */
#include "tests/unit/admission_rig.h"

#include "base/clock.h"
#include "tests/support/timing.h"

/* ---- turns */

static void next__long_list_before_a_short_one__they_alternate(void **state)
{
    (void)state;
    begin(4, 0);
    open_group(&groups[0], 0);
    open_group(&groups[1], 0);
    add_many(&groups[0], 0, 40);
    add(&groups[1], 1);
    assert_int_equal(start_all(), 4);
    assert_int_equal(running(1), 1);
    finish_everything();
}

static void next__one_host_or_many__groups_take_turns(void **state)
{
    (void)state;
    unsigned index, started[GROUPS] = { 0 };
    begin(8, 0);
    for (unsigned g = 0; g < GROUPS; g++) {
        open_group(&groups[g], 0);
        for (int i = 0; i < TICKETS_MAX; i++)
            add(&groups[g], 100 * (int)g + i % (1 + (int)g * (int)g)); /* on 1, 2, 5 … 122 hosts */
    }
    for (unsigned round = 0; round < GROUPS * (TICKETS_MAX - 8); round++) {
        struct group *g = start(&index);
        if (!g) {
            unsigned unlucky = dice(GROUPS);
            for (unsigned i = 0; i < groups[unlucky].count; i++)
                if (groups[unlucky].state[i] == RUNS)
                    finish(&groups[unlucky], i);
            continue;
        }
        started[g - groups]++;
        for (unsigned other = 0; other < GROUPS; other++)
            assert_in_range(started[other] + 1, started[g - groups], started[g - groups] + 2);
    }
    finish_everything();
}

static void next__slow_host_and_others_in_one_list__hosts_take_turns(void **state)
{
    (void)state;
    begin(3, 0);
    open_group(&groups[0], 0);
    add_many(&groups[0], 0, 20);
    add_many(&groups[0], 1, 2);
    add_many(&groups[0], 2, 1);
    expect_start(&groups[0], 0);
    expect_start(&groups[0], 20);
    expect_start(&groups[0], 22);
    finish(&groups[0], 0);
    expect_start(&groups[0], 1);
    finish(&groups[0], 1);
    expect_start(&groups[0], 21);
    finish_everything();
}

/* Groups that always have more for a host with few slots. */
static void share_a_host(unsigned per_host, const unsigned *limits, unsigned count, unsigned total,
                         unsigned *ret_started)
{
    unsigned index;
    begin(total, per_host);
    for (unsigned g = 0; g < count; g++) {
        open_group(&groups[g], limits[g]);
        add_many(&groups[g], 0, TICKETS_MAX);
        ret_started[g] = 0;
    }
    for (unsigned round = 0; round < 40; round++) {
        for (struct group *g; (g = start(&index)) != NULL;)
            ret_started[g - groups]++;
        unsigned lucky = dice(per_host);
        for (unsigned g = 0; g < count; g++)
            for (unsigned i = 0; i < groups[g].count; i++)
                if (groups[g].state[i] == RUNS && lucky-- == 0)
                    finish(&groups[g], i);
    }
    finish_everything();
}

static void next__one_slot_of_a_host__groups_take_turns_whatever_their_limits(void **state)
{
    (void)state;
    static const unsigned limits[][4] = { { 1, 0 }, { 0, 1 }, { 1, 1 }, { 2, 1 }, { 1, 0, 1, 2 }, { 0, 0, 1, 1 } };
    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        unsigned count = i < 4 ? 2 : 4, started[4];
        share_a_host(1, limits[i], count, 100, started);
        for (unsigned g = 0; g < count; g++)
            if (started[g] + 1 < 40 / count || started[g] > 40 / count + 1)
                fail_msg("limits %zu: group %u of %u had %u turns of 40", i, g, count, started[g]);
    }
}

static void next__few_slots_of_a_host__nobody_is_left_out(void **state)
{
    (void)state;
    static const unsigned limits[5] = { 1, 0, 1, 0, 2 };
    unsigned started[5];
    share_a_host(3, limits, 5, 100, started);
    for (unsigned g = 0; g < 5; g++)
        if (started[g] < 5 || started[g] > 12)
            fail_msg("group %u had %u turns of about 43", g, started[g]);
}

/* ---- how long it takes to find out */

/* 200,000 tickets of 1,000 groups for one host: as many steps as there are tickets, or this takes minutes. */
static void finish_many(unsigned per_host, unsigned group_limit, bool has_own_hosts)
{
    enum { MANY_GROUPS = 1000, EACH = 200 };
    struct admission_group *many = calloc(MANY_GROUPS, sizeof *many);
    struct admission_lane *lanes = calloc(MANY_GROUPS * EACH, sizeof *lanes);
    struct admission_ticket *tickets = calloc(MANY_GROUPS * EACH, sizeof *tickets);
    struct admission_ticket **queue = calloc(MANY_GROUPS * EACH, sizeof(struct admission_ticket *)), *ticket;
    size_t head = 0, tail = 0;
    begin(2000, per_host);
    uint64_t began_ns = clock_now_ns();
    for (unsigned g = 0; g < MANY_GROUPS; g++) {
        admission_group_init(&admission, &many[g], group_limit, &lanes[g * EACH]);
        for (unsigned i = 0; i < EACH; i++) {
            char origin[32] = "http://slow:80";
            if (has_own_hosts && i % 2)
                snprintf(origin, sizeof origin, "http://host-%u:80", g);
            assert_true(admission_add(&admission, &many[g], &tickets[g * EACH + i], origin, strlen(origin), now_ns));
        }
    }
    do {
        while ((ticket = admission_next(&admission, now_ns)) != NULL)
            queue[tail++] = ticket;
        if (head < tail)
            admission_finish(&admission, queue[head++], ++now_ns);
    } while (head < tail || admission.waiting > 0);
    assert_int_equal(head, MANY_GROUPS * EACH);
    double took_ms = elapsed_ms(began_ns);
    if (took_ms > scaled_ms(4000)) /* some 100 ms are usual */
        fail_msg("%g ms for 200,000 tickets", took_ms);
    hosts_done(&hosts);
    free(many);
    free(lanes);
    free(tickets);
    free(queue);
}

static void next__many_groups_for_one_host__in_linear_time(void **state)
{
    (void)state;
    finish_many(100, 0, false);
    finish_many(1, 0, false);
    finish_many(1, 1, false);
    finish_many(0, 1, false);
}

/* Their groups fill up with other hosts again and again, while they wait for the slow one. */
static void next__many_full_groups_for_one_host__in_linear_time(void **state)
{
    (void)state;
    finish_many(1, 1, true);
    finish_many(2, 2, true);
    finish_many(10, 3, true);
}

/* ---- waits */

static void expect_waits(const struct group *g, unsigned index, uint64_t queue_ns, uint64_t host_queue_ns)
{
    if (g->tickets[index].queue_ns != queue_ns || g->tickets[index].host_queue_ns != host_queue_ns)
        fail_msg("ticket %u: waited %lu, %lu of it for the host; expected %lu, %lu", index,
                 (unsigned long)g->tickets[index].queue_ns, (unsigned long)g->tickets[index].host_queue_ns,
                 (unsigned long)queue_ns, (unsigned long)host_queue_ns);
}

static void waits__for_a_slot_of_the_group__not_the_hosts_fault(void **state)
{
    (void)state;
    begin(100, 0);
    open_group(&groups[0], 1);
    add_many(&groups[0], 0, 2);
    expect_start(&groups[0], 0);
    expect_nothing_to_start();
    expect_waits(&groups[0], 0, 0, 0);
    now_ns += 500;
    finish(&groups[0], 0);
    now_ns += 30;
    expect_start(&groups[0], 1);
    expect_waits(&groups[0], 1, 530, 0);
    finish_everything();
}

static void waits__for_any_slot__not_the_hosts_fault(void **state)
{
    (void)state;
    begin(1, 5);
    open_group(&groups[0], 0);
    add_many(&groups[0], 0, 2);
    expect_start(&groups[0], 0);
    expect_nothing_to_start();
    now_ns += 500;
    finish(&groups[0], 0);
    expect_start(&groups[0], 1);
    expect_waits(&groups[0], 1, 500, 0);
    finish_everything();
}

static void waits__for_a_slot_of_the_host__its_fault(void **state)
{
    (void)state;
    begin(100, 1);
    open_group(&groups[0], 0);
    add_many(&groups[0], 0, 3);
    expect_start(&groups[0], 0);
    expect_nothing_to_start();
    now_ns += 500;
    finish(&groups[0], 0);
    expect_start(&groups[0], 1);
    expect_nothing_to_start();
    expect_waits(&groups[0], 1, 500, 500);
    now_ns += 70;
    finish(&groups[0], 1);
    expect_start(&groups[0], 2);
    expect_waits(&groups[0], 2, 570, 570);
    finish_everything();
}

static void waits__first_for_the_group_then_for_the_host__each_its_share(void **state)
{
    (void)state;
    begin(100, 1);
    open_group(&groups[0], 1);
    open_group(&groups[1], 0);
    add(&groups[0], 1);
    add(&groups[0], 0);
    add(&groups[1], 0);
    expect_start(&groups[0], 0);
    expect_start(&groups[1], 0);
    expect_nothing_to_start();
    now_ns += 100; /* group 0 is full */
    finish(&groups[0], 0);
    expect_nothing_to_start();
    now_ns += 20; /* now only host 0 is */
    finish(&groups[1], 0);
    now_ns += 3; /* it was left a slot, and its turn has not come */
    expect_start(&groups[0], 1);
    expect_waits(&groups[0], 1, 123, 20);
    finish_everything();
}

/* One that comes when its lane is parked already waits for the host from then on. */
static void waits__added_to_a_parked_lane__counted_from_then(void **state)
{
    (void)state;
    begin(100, 1);
    open_group(&groups[0], 0);
    add_many(&groups[0], 0, 2);
    expect_start(&groups[0], 0);
    expect_nothing_to_start();
    now_ns += 1000;
    unsigned late = add(&groups[0], 0);
    now_ns += 10;
    admission_touch(&groups[0].tickets[late], now_ns);
    expect_waits(&groups[0], late, 10, 10);
    admission_touch(&groups[0].tickets[1], now_ns);
    expect_waits(&groups[0], 1, 1010, 1010);
    finish_everything();
}

static void touch__waiting__up_to_date_and_never_twice(void **state)
{
    (void)state;
    begin(1, 0);
    open_group(&groups[0], 0);
    add_many(&groups[0], 0, 2);
    expect_start(&groups[0], 0);
    for (unsigned i = 1; i <= 5; i++) {
        now_ns += 10;
        admission_touch(&groups[0].tickets[1], now_ns);
        admission_touch(&groups[0].tickets[1], now_ns);
        expect_waits(&groups[0], 1, 10 * i, 0);
    }
    now_ns += 7;
    finish(&groups[0], 0);
    expect_start(&groups[0], 1);
    expect_waits(&groups[0], 1, 57, 0);
    finish_everything();
}

static void waits__resumed__all_its_waits_together(void **state)
{
    (void)state;
    begin(100, 1);
    open_group(&groups[0], 0);
    add_many(&groups[0], 0, 2);
    expect_start(&groups[0], 0);
    expect_nothing_to_start();
    now_ns += 100;
    rest(&groups[0], 0);
    expect_start(&groups[0], 1);
    expect_waits(&groups[0], 1, 100, 100);
    now_ns += 1000; /* a rest is no wait */
    resume(&groups[0], 0);
    expect_nothing_to_start();
    now_ns += 20;
    rest(&groups[0], 1);
    expect_start(&groups[0], 0);
    expect_waits(&groups[0], 0, 20, 20);
    now_ns += 1;
    resume(&groups[0], 1);
    expect_nothing_to_start();
    now_ns += 4;
    withdraw(&groups[0], 1); /* brings them up to date, too */
    expect_waits(&groups[0], 1, 104, 104);
    finish_everything();
}

/* Threads read the clock before they have the lock, so a later call may come with an earlier time. */
static void waits__times_out_of_order__never_below_zero(void **state)
{
    (void)state;
    begin(100, 1);
    open_group(&groups[0], 0);
    open_group(&groups[1], 0);
    add_many(&groups[0], 0, 3);
    expect_start(&groups[0], 0);
    now_ns -= 5;
    expect_nothing_to_start(); /* parked */
    now_ns += 2;
    unsigned late = add(&groups[0], 0);
    add(&groups[1], 1);
    now_ns -= 10;
    expect_start(&groups[1], 0);
    expect_waits(&groups[1], 0, 0, 0);
    admission_touch(&groups[0].tickets[late], now_ns);
    finish(&groups[0], 0);
    expect_start(&groups[0], 1);
    now_ns -= 10;
    withdraw(&groups[0], 2);
    withdraw(&groups[0], late);
    for (unsigned i = 1; i <= late; i++) {
        assert_in_range(groups[0].tickets[i].queue_ns, 0, 100);
        assert_in_range(groups[0].tickets[i].host_queue_ns, 0, 100);
    }
    finish_everything();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(next__long_list_before_a_short_one__they_alternate),
        cmocka_unit_test(next__one_host_or_many__groups_take_turns),
        cmocka_unit_test(next__slow_host_and_others_in_one_list__hosts_take_turns),
        cmocka_unit_test(next__one_slot_of_a_host__groups_take_turns_whatever_their_limits),
        cmocka_unit_test(next__few_slots_of_a_host__nobody_is_left_out),
        cmocka_unit_test(next__many_groups_for_one_host__in_linear_time),
        cmocka_unit_test(next__many_full_groups_for_one_host__in_linear_time),
        cmocka_unit_test(waits__for_a_slot_of_the_group__not_the_hosts_fault),
        cmocka_unit_test(waits__for_any_slot__not_the_hosts_fault),
        cmocka_unit_test(waits__for_a_slot_of_the_host__its_fault),
        cmocka_unit_test(waits__first_for_the_group_then_for_the_host__each_its_share),
        cmocka_unit_test(waits__added_to_a_parked_lane__counted_from_then),
        cmocka_unit_test(touch__waiting__up_to_date_and_never_twice),
        cmocka_unit_test(waits__resumed__all_its_waits_together),
        cmocka_unit_test(waits__times_out_of_order__never_below_zero),
    };
    return cmocka_run_group_tests_name("admission_turns", tests, NULL, NULL);
}
