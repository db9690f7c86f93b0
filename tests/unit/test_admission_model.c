/* Tests of pool/admission.c against a model: random operations, and after each of them a naive reference recomputes
 * from scratch what holds: limits, counts, order, waits, and that nothing waits that could start. The seeds are fixed;
 * a failure names the round, and ROUND=n in the environment runs that one alone. */
#include "tests/unit/admission_rig.h"

enum { ROUNDS = 400, STEPS = 1500 };

struct mode {
    unsigned total, per_host;
    bool adds_late;     /* tickets come to a group at any time: then there is no order among its lanes for a host */
    bool always_drains; /* what may start is started after every step */
};

static struct mode mode;
static unsigned round_number, step_number;

/* What the reference knows of a ticket beyond its state. */
static struct {
    uint64_t order;                    /* in which it began to wait */
    uint64_t waited_ns, host_alone_ns; /* of that: only the host was in the way */
    unsigned ends;
} facts[GROUPS][TICKETS_MAX];
static uint64_t next_order;

struct counts {
    unsigned running, waiting, of_host[HOSTS], of_group[GROUPS];
};

static void complain(const char *what, unsigned g, unsigned i)
{
    fail_msg("round %u step %u: %s (group %u ticket %u)", round_number, step_number, what, g, i);
}

static struct counts count(void)
{
    struct counts counts = { 0 };
    for (unsigned g = 0; g < GROUPS; g++) {
        for (unsigned i = 0; i < groups[g].count; i++) {
            unsigned slots = groups[g].state[i] == RUNS ? 1 + groups[g].extras[i] : 0;
            counts.running += slots;
            counts.of_group[g] += slots;
            counts.of_host[groups[g].host_of[i]] += slots;
            counts.waiting += groups[g].state[i] == WAITS;
        }
    }
    return counts;
}

static bool total_has_slot(const struct counts *counts) { return counts->running < mode.total; }
static bool host_has_slot(const struct counts *counts, int host)
{
    return mode.per_host == 0 || counts->of_host[host] < mode.per_host;
}
static bool group_has_slot(const struct counts *counts, unsigned g)
{
    return !groups[g].is_paused && (groups[g].limit == 0 || counts->of_group[g] < groups[g].limit);
}

static bool could_start(const struct counts *counts, unsigned g, unsigned i)
{
    return groups[g].state[i] == WAITS && total_has_slot(counts) && group_has_slot(counts, g) &&
           host_has_slot(counts, groups[g].host_of[i]);
}

/* ---- what holds at any time */

static void check_counts(void)
{
    struct counts counts = count();
    if (counts.running > mode.total)
        complain("too many run", 0, 0);
    if (admission.running != counts.running || admission.waiting != counts.waiting)
        complain("wrong sums", 0, 0);
    for (unsigned g = 0; g < GROUPS; g++) {
        if (groups[g].limit > 0 && counts.of_group[g] > groups[g].limit)
            complain("too many of the group run", g, 0);
        if (groups[g].group.running != counts.of_group[g])
            complain("wrong sum of the group", g, 0);
        for (unsigned i = 0; i < groups[g].count; i++) {
            if (mode.per_host > 0 && counts.of_host[groups[g].host_of[i]] > mode.per_host)
                complain("too many of the host run", g, i);
            if (groups[g].state[i] != OVER &&
                groups[g].tickets[i].lane->host->running != counts.of_host[groups[g].host_of[i]])
                complain("wrong sum of the host", g, i);
        }
    }
}

static void check_nothing_could_start(void)
{
    struct counts counts = count();
    for (unsigned g = 0; g < GROUPS; g++)
        for (unsigned i = 0; i < groups[g].count; i++)
            if (could_start(&counts, g, i))
                complain("waits for nothing", g, i);
}

static void check_waits(unsigned g, unsigned i)
{
    const struct admission_ticket *ticket = &groups[g].tickets[i];
    if (ticket->queue_ns != facts[g][i].waited_ns)
        complain("wrong wait", g, i);
    if (ticket->host_queue_ns > ticket->queue_ns)
        complain("waited longer for the host than at all", g, i);
    if (mode.always_drains && ticket->host_queue_ns < facts[g][i].host_alone_ns)
        complain("waited for the host alone, and was told less", g, i);
}

static void check_order(unsigned g, unsigned i)
{
    for (unsigned other = 0; other < groups[g].count; other++)
        if (groups[g].state[other] == WAITS && groups[g].host_of[other] == groups[g].host_of[i] &&
            facts[g][other].order < facts[g][i].order && !mode.adds_late)
            complain("was not the first in its lane", g, i);
}

/* ---- steps */

static void pass_time(void)
{
    uint64_t passed_ns = dice(50);
    struct counts counts = count();
    now_ns += passed_ns;
    for (unsigned g = 0; g < GROUPS; g++) {
        for (unsigned i = 0; i < groups[g].count; i++) {
            if (groups[g].state[i] != WAITS)
                continue;
            facts[g][i].waited_ns += passed_ns;
            if (total_has_slot(&counts) && group_has_slot(&counts, g) && !host_has_slot(&counts, groups[g].host_of[i]))
                facts[g][i].host_alone_ns += passed_ns;
        }
    }
}

static bool start_one(void)
{
    unsigned i = 0;
    struct counts before = count();
    struct group *group = start(&i);
    if (!group) {
        check_nothing_could_start();
        return false;
    }
    unsigned g = (unsigned)(group - groups);
    group->state[i] = WAITS;
    if (!could_start(&before, g, i))
        complain("may not start", g, i);
    group->state[i] = RUNS;
    check_order(g, i);
    check_waits(g, i);
    return true;
}

static void add_some(unsigned g, unsigned amount)
{
    for (; amount > 0 && groups[g].count < TICKETS_MAX; amount--) {
        unsigned i = add(&groups[g], (int)(dice(2) ? dice(HOSTS) : 0)); /* one host is in demand */
        facts[g][i].order = ++next_order;
        facts[g][i].waited_ns = facts[g][i].host_alone_ns = facts[g][i].ends = 0;
    }
}

static bool is_over(const struct group *group)
{
    for (unsigned i = 0; i < group->count; i++)
        if (group->state[i] != OVER)
            return false;
    return true;
}

static void reopen(unsigned g)
{
    for (unsigned i = 0; i < groups[g].count; i++)
        if (facts[g][i].ends != 1)
            complain("did not end exactly once", g, i);
    open_group(&groups[g], dice(6));
    if (dice(8) == 0)
        set_paused(&groups[g], true); /* before anything was added */
    add_some(g, 1 + dice(mode.adds_late ? 4 : 24));
}

static void step_extra(unsigned g, unsigned i)
{
    struct counts counts = count();
    bool has_room =
        total_has_slot(&counts) && group_has_slot(&counts, g) && host_has_slot(&counts, groups[g].host_of[i]);
    bool is_wanted = false;
    for (unsigned other = 0; other < GROUPS; other++)
        for (unsigned j = 0; j < groups[other].count; j++)
            is_wanted = is_wanted || could_start(&counts, other, j);
    bool is_taken = take_extra(&groups[g], i);
    if (is_taken && (!has_room || is_wanted))
        complain("took a slot that was none, or another's", g, i);
    if (!is_taken && has_room && counts.waiting == 0)
        complain("did not get a slot that nobody else wants", g, i);
}

static void end(unsigned g, unsigned i) { facts[g][i].ends++; }

static void step_running(unsigned g, unsigned i)
{
    if (groups[g].extras[i] > 0) {
        give_extra(&groups[g], i);
    } else if (dice(6) == 0) {
        step_extra(g, i);
    } else if (dice(5) == 0) {
        rest(&groups[g], i);
    } else {
        finish(&groups[g], i);
        end(g, i);
    }
}

static void step_resting(unsigned g, unsigned i)
{
    if (dice(4) == 0) {
        drop(&groups[g], i);
        end(g, i);
    } else {
        facts[g][i].order = ++next_order;
        resume(&groups[g], i);
    }
}

static void step_waiting(unsigned g, unsigned i)
{
    if (dice(4) == 0) {
        withdraw(&groups[g], i);
        end(g, i);
    } else {
        admission_touch(&groups[g].tickets[i], now_ns);
    }
    check_waits(g, i);
}

/* Something happens to a ticket, most often to one that runs. */
static void step_ticket(void)
{
    unsigned g = dice(GROUPS), i;
    if (groups[g].count == 0)
        return;
    i = dice(groups[g].count);
    for (unsigned tries = 0; tries < 3 && groups[g].state[i] != RUNS; tries++)
        i = dice(groups[g].count);
    if (groups[g].state[i] == RUNS)
        step_running(g, i);
    else if (groups[g].state[i] == RESTS)
        step_resting(g, i);
    else if (groups[g].state[i] == WAITS)
        step_waiting(g, i);
}

static void step_group(void)
{
    unsigned g = dice(GROUPS);
    if (is_over(&groups[g]) && (dice(3) == 0 || groups[g].count > TICKETS_MAX - 8))
        reopen(g);
    else if (mode.adds_late && dice(3) == 0)
        add_some(g, dice(6));
    else if (dice(4) == 0)
        set_paused(&groups[g], !groups[g].is_paused || dice(8) == 0);
}

static void step(void)
{
    pass_time();
    if (dice(3) == 0)
        step_group();
    else
        step_ticket();
    check_counts();
    if (mode.always_drains || dice(4) == 0)
        while (start_one() && (mode.always_drains || dice(8) > 0)) {
        }
    check_counts();
}

static void run_round(unsigned number)
{
    round_number = number;
    dice_seed = 0x9e3779b97f4a7c15u * (number + 1);
    mode = (struct mode){
        .total = 1 + dice(30), .per_host = dice(5), .adds_late = number % 2, .always_drains = number % 3 == 0
    };
    begin(mode.total, mode.per_host);
    memset(facts, 0, sizeof facts);
    for (unsigned g = 0; g < GROUPS; g++)
        reopen(g);
    for (step_number = 0; step_number < STEPS; step_number++)
        step();
    while (start_one()) {
    }
    finish_everything();
}

static void any__random_work__as_the_reference_says(void **state)
{
    (void)state;
    const char *only = getenv("ROUND");
    for (unsigned number = 0; number < ROUNDS; number++)
        if (!only || number == (unsigned)atoi(only))
            run_round(number);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any__random_work__as_the_reference_says),
    };
    return cmocka_run_group_tests_name("admission_model", tests, NULL, NULL);
}
