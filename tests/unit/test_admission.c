/* Tests of pool/admission.c: limits are exact; rests, withdrawals and pauses hand slots on. That everybody has their
 * turn and how long they waited for it is in test_admission_turns.c; whatever else may happen, in
 * test_admission_model.c. */
#include "tests/unit/admission_rig.h"

/* ---- limits */

static void next__one_group_and_host__in_order(void **state)
{
    (void)state;
    begin(100, 0);
    open_group(&groups[0], 0);
    add_many(&groups[0], 0, 10);
    for (unsigned i = 0; i < 10; i++)
        expect_start(&groups[0], i);
    finish_everything();
}

static void next__each_limit__exact(void **state)
{
    (void)state;
    begin(5, 3);
    open_group(&groups[0], 2);
    open_group(&groups[1], 0);
    add_many(&groups[0], 0, 4);
    assert_int_equal(start_all(), 2); /* the group's */
    add_many(&groups[1], 0, 4);
    assert_int_equal(start_all(), 1); /* the host's */
    add_many(&groups[1], 1, 4);
    assert_int_equal(start_all(), 2); /* all in all */
    assert_int_equal(running(-1), 5);
    finish_everything();
}

static void next__host_at_its_limit__others_go_on(void **state)
{
    (void)state;
    begin(100, 1);
    open_group(&groups[0], 4);
    add_many(&groups[0], 0, 20); /* a slow host in front */
    add(&groups[0], 1);
    add(&groups[0], 2);
    assert_int_equal(start_all(), 3);
    assert_int_equal(running(1) + running(2), 2);
    finish_everything();
}

static void next__group_at_its_limit__others_go_on(void **state)
{
    (void)state;
    begin(100, 0);
    open_group(&groups[0], 1);
    open_group(&groups[1], 0);
    add_many(&groups[0], 0, 5);
    add_many(&groups[1], 0, 5);
    assert_int_equal(start_all(), 6);
    finish(&groups[1], 0);
    expect_nothing_to_start();
    finish(&groups[0], 0);
    expect_start(&groups[0], 1);
    expect_nothing_to_start();
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
        assert_true(admission_add(&admission, &group, &tickets[i], origin, strlen(origin), now_ns));
    }
    assert_int_equal(hosts.count, MANY / 2);
    assert_int_equal(group.lane_count, MANY / 2);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < MANY / 2; i++)
            assert_non_null(admission_next(&admission, now_ns));
        assert_null(admission_next(&admission, now_ns));
        for (int i = round; i < MANY; i += 2)
            admission_finish(&admission, &tickets[i], now_ns);
    }
    assert_int_equal(hosts.count, 0);
    hosts_done(&hosts);
    free(tickets);
    free(lanes);
}

static void add__same_origin__one_host_for_all_groups(void **state)
{
    (void)state;
    begin(100, 0);
    open_group(&groups[0], 0);
    open_group(&groups[1], 0);
    add(&groups[0], 1);
    add(&groups[0], 2);
    add(&groups[1], 1);
    assert_ptr_equal(groups[0].tickets[0].lane->host, groups[1].tickets[0].lane->host);
    assert_ptr_not_equal(groups[0].tickets[0].lane->host, groups[0].tickets[1].lane->host);
    assert_string_equal(groups[0].tickets[1].lane->host->origin, "http://host-2:80");
    assert_int_equal(groups[0].tickets[0].lane->host->users, 2);
    finish_everything();
}

/* ---- withdrawing */

static void withdraw__waiting_ones__the_running_go_on(void **state)
{
    (void)state;
    begin(100, 0);
    open_group(&groups[0], 3);
    for (int i = 0; i < 10; i++)
        add(&groups[0], i % 2);
    assert_int_equal(start_all(), 3);
    for (unsigned i = 0; i < 10; i++)
        if (groups[0].state[i] == WAITS)
            withdraw(&groups[0], i);
    assert_int_equal(admission.waiting, 0);
    assert_int_equal(start_all(), 0);
    assert_int_equal(running(-1), 3);
    finish_everything();
}

static void withdraw__one_in_the_middle__order_is_kept(void **state)
{
    (void)state;
    begin(1, 0);
    open_group(&groups[0], 0);
    add_many(&groups[0], 0, 4);
    withdraw(&groups[0], 1);
    expect_start(&groups[0], 0);
    finish(&groups[0], 0);
    expect_start(&groups[0], 2);
    finish_everything();
}

/* Host 0 has one slot. Groups 1 and 2 are parked there when it falls free. */
static void park_two(void)
{
    begin(100, 1);
    for (unsigned g = 0; g < 3; g++)
        open_group(&groups[g], 1);
    for (unsigned g = 0; g < 3; g++)
        add(&groups[g], 0);
    expect_start(&groups[0], 0);
    expect_nothing_to_start();
}

static void withdraw__the_one_a_slot_was_left_for__the_next_gets_it(void **state)
{
    (void)state;
    park_two();
    finish(&groups[0], 0);
    withdraw(&groups[1], 0);
    expect_start(&groups[2], 0);
    finish_everything();
}

static void withdraw__parked__nothing_is_left_behind(void **state)
{
    (void)state;
    park_two();
    withdraw(&groups[1], 0);
    finish(&groups[0], 0);
    expect_start(&groups[2], 0);
    finish_everything();
}

/* Group 1 is left a slot of host 0 while all slots are taken, and fills up with host 1 first. */
static void next__group_filled_up_before_its_lanes_turn__the_slot_goes_on(void **state)
{
    (void)state;
    park_two();
    add(&groups[1], 1);
    expect_start(&groups[1], 1); /* now it is full */
    finish(&groups[0], 0);
    expect_start(&groups[2], 0);
    finish(&groups[1], 1);
    expect_nothing_to_start();
    finish(&groups[2], 0);
    expect_start(&groups[1], 0);
    finish_everything();
}

/* Slots of both hosts are left for group 1, which can use but one. */
static void next__group_filled_up_after_two_slots_were_left_for_it__the_other_goes_on(void **state)
{
    (void)state;
    begin(100, 1);
    open_group(&groups[0], 0);
    open_group(&groups[1], 1);
    open_group(&groups[2], 0);
    for (int host = 0; host < 2; host++) {
        add(&groups[0], host);
        expect_start(&groups[0], (unsigned)host);
        add(&groups[1], host);
        expect_nothing_to_start();
    }
    add(&groups[2], 1);
    expect_nothing_to_start();
    finish(&groups[0], 0);
    finish(&groups[0], 1);
    expect_start(&groups[1], 0);
    expect_start(&groups[2], 0);
    expect_nothing_to_start();
    finish_everything();
}

/* ---- pausing */

static void pause__group__starts_nothing_until_it_goes_on(void **state)
{
    (void)state;
    begin(100, 0);
    open_group(&groups[0], 0);
    open_group(&groups[1], 0);
    add_many(&groups[0], 0, 3);
    expect_start(&groups[0], 0);
    set_paused(&groups[0], true);
    set_paused(&groups[0], true);
    expect_nothing_to_start();
    add(&groups[0], 1);
    add(&groups[1], 0);
    expect_start(&groups[1], 0); /* others go on */
    finish(&groups[0], 0);       /* what runs may end */
    expect_nothing_to_start();
    set_paused(&groups[0], false);
    assert_int_equal(start_all(), 3);
    finish_everything();
}

static void pause__group_a_slot_was_left_for__the_next_gets_it(void **state)
{
    (void)state;
    park_two();
    finish(&groups[0], 0);
    set_paused(&groups[1], true);
    expect_start(&groups[2], 0);
    set_paused(&groups[1], false);
    expect_nothing_to_start();
    finish(&groups[2], 0);
    expect_start(&groups[1], 0);
    finish_everything();
}

static void pause__before_the_slot_falls_free__the_next_gets_it(void **state)
{
    (void)state;
    park_two();
    set_paused(&groups[1], true);
    finish(&groups[0], 0);
    expect_start(&groups[2], 0);
    finish(&groups[2], 0);
    expect_nothing_to_start();
    set_paused(&groups[1], false);
    expect_start(&groups[1], 0);
    finish_everything();
}

/* ---- resting */

static void rest__running__its_slots_are_free_for_others(void **state)
{
    (void)state;
    begin(1, 1);
    open_group(&groups[0], 1);
    add_many(&groups[0], 0, 2);
    expect_start(&groups[0], 0);
    expect_nothing_to_start();
    rest(&groups[0], 0);
    assert_int_equal(admission.running, 0);
    assert_int_equal(hosts.count, 1);
    expect_start(&groups[0], 1);
    resume(&groups[0], 0);
    expect_nothing_to_start();
    finish(&groups[0], 1);
    expect_start(&groups[0], 0);
    finish_everything();
}

static void resume__others_wait__at_the_end(void **state)
{
    (void)state;
    begin(1, 0);
    open_group(&groups[0], 0);
    add_many(&groups[0], 0, 3);
    expect_start(&groups[0], 0);
    rest(&groups[0], 0);
    resume(&groups[0], 0);
    for (unsigned i = 1; i < 3; i++) {
        expect_start(&groups[0], i);
        finish(&groups[0], i);
    }
    expect_start(&groups[0], 0);
    finish_everything();
}

static void drop__resting__its_host_is_released(void **state)
{
    (void)state;
    begin(1, 0);
    open_group(&groups[0], 0);
    add(&groups[0], 0);
    expect_start(&groups[0], 0);
    rest(&groups[0], 0);
    assert_int_equal(hosts.count, 1);
    drop(&groups[0], 0);
    assert_int_equal(hosts.count, 0);
    assert_int_equal(admission.running, 0);
    finish_everything();
}

static void withdraw__resumed__as_any_other(void **state)
{
    (void)state;
    begin(1, 0);
    open_group(&groups[0], 0);
    add_many(&groups[0], 0, 2);
    expect_start(&groups[0], 0);
    rest(&groups[0], 0);
    expect_start(&groups[0], 1);
    resume(&groups[0], 0);
    withdraw(&groups[0], 0);
    assert_int_equal(admission.waiting, 0);
    finish_everything();
}

/* ---- extra slots */

static void take_extra__each_limit__only_if_there_is_room(void **state)
{
    (void)state;
    static const struct {
        unsigned total, per_host, group, taken;
    } cases[] = { { 10, 0, 0, 9 }, { 4, 0, 0, 3 }, { 10, 3, 0, 2 }, { 10, 0, 2, 1 }, { 1, 1, 1, 0 } };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        unsigned taken = 0;
        begin(cases[i].total, cases[i].per_host);
        open_group(&groups[0], cases[i].group);
        add(&groups[0], 0);
        expect_start(&groups[0], 0);
        while (take_extra(&groups[0], 0))
            taken++;
        assert_int_equal(taken, cases[i].taken);
        assert_int_equal(admission.running, 1 + taken);
        while (taken-- > 0)
            give_extra(&groups[0], 0);
        assert_int_equal(admission.running, 1);
        finish_everything();
    }
}

static void take_extra__somebody_waits_for_the_slot__refused(void **state)
{
    (void)state;
    begin(3, 2);
    open_group(&groups[0], 0);
    open_group(&groups[1], 0);
    add(&groups[0], 0);
    expect_start(&groups[0], 0);
    add(&groups[1], 1); /* may start, and was not asked for yet */
    assert_false(take_extra(&groups[0], 0));
    expect_start(&groups[1], 0);
    assert_true(take_extra(&groups[0], 0));
    finish_everything();
}

static void give_extra__somebody_parked_at_the_host__gets_the_slot(void **state)
{
    (void)state;
    begin(10, 2);
    open_group(&groups[0], 0);
    open_group(&groups[1], 0);
    add(&groups[0], 0);
    expect_start(&groups[0], 0);
    assert_true(take_extra(&groups[0], 0));
    add_many(&groups[1], 0, 2);
    expect_nothing_to_start();
    assert_false(take_extra(&groups[0], 0));
    give_extra(&groups[0], 0);
    expect_start(&groups[1], 0);
    expect_nothing_to_start();
    finish_everything();
}

static void take_extra__paused_group__refused(void **state)
{
    (void)state;
    begin(10, 0);
    open_group(&groups[0], 0);
    add(&groups[0], 0);
    expect_start(&groups[0], 0);
    set_paused(&groups[0], true);
    assert_false(take_extra(&groups[0], 0));
    finish_everything();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(next__one_group_and_host__in_order),
        cmocka_unit_test(next__each_limit__exact),
        cmocka_unit_test(next__host_at_its_limit__others_go_on),
        cmocka_unit_test(next__group_at_its_limit__others_go_on),
        cmocka_unit_test(add__thousands_of_hosts__all_found_again),
        cmocka_unit_test(add__same_origin__one_host_for_all_groups),
        cmocka_unit_test(withdraw__waiting_ones__the_running_go_on),
        cmocka_unit_test(withdraw__one_in_the_middle__order_is_kept),
        cmocka_unit_test(withdraw__the_one_a_slot_was_left_for__the_next_gets_it),
        cmocka_unit_test(withdraw__parked__nothing_is_left_behind),
        cmocka_unit_test(next__group_filled_up_before_its_lanes_turn__the_slot_goes_on),
        cmocka_unit_test(next__group_filled_up_after_two_slots_were_left_for_it__the_other_goes_on),
        cmocka_unit_test(pause__group__starts_nothing_until_it_goes_on),
        cmocka_unit_test(pause__group_a_slot_was_left_for__the_next_gets_it),
        cmocka_unit_test(pause__before_the_slot_falls_free__the_next_gets_it),
        cmocka_unit_test(rest__running__its_slots_are_free_for_others),
        cmocka_unit_test(resume__others_wait__at_the_end),
        cmocka_unit_test(drop__resting__its_host_is_released),
        cmocka_unit_test(withdraw__resumed__as_any_other),
        cmocka_unit_test(take_extra__each_limit__only_if_there_is_room),
        cmocka_unit_test(take_extra__somebody_waits_for_the_slot__refused),
        cmocka_unit_test(give_extra__somebody_parked_at_the_host__gets_the_slot),
        cmocka_unit_test(take_extra__paused_group__refused),
    };
    return cmocka_run_group_tests_name("admission", tests, NULL, NULL);
}
