/* admission: tickets wait in lanes, one per (group, host); a lane is on exactly one list.
 *
 *   group's ready   it may start, as far as anybody knows
 *   host's parked   its host was full when it was last looked at
 *   group's woken   it was parked, and a slot of its host has become free since
 *
 * A group is listed while it has a slot and a ready or woken lane; the listed groups take turns. Nothing is moved when
 * a limit is reached; a lane finds out when its turn comes. When a slot of a host falls free, one of the lanes parked
 * there whose group can start is woken: a slot wakes one. If that lane's group fills up or is paused before the lane's
 * turn, the slot is passed on. So a free slot always has a ready lane to take it or nobody who could. Each move of a
 * lane is paid for by a ticket that was added or finished, hence O(1) amortised: scanning the waiting tickets instead
 * would be quadratic with one slow host and a thousand callers. */
#include "pool/admission.h"

#include "base/clock.h"

void admission_init(struct admission *admission, struct hosts *hosts, unsigned running_max, unsigned per_host_max)
{
    *admission = (struct admission){ .running_max = running_max, .per_host_max = per_host_max, .hosts = hosts };
    TAILQ_INIT(&admission->groups);
}

void admission_group_init(struct admission *admission, struct admission_group *group, unsigned running_max,
                          struct admission_lane *lanes)
{
    *group =
        (struct admission_group){ .running_max = running_max, .serial = ++admission->group_serial, .lanes = lanes };
    TAILQ_INIT(&group->ready);
    TAILQ_INIT(&group->woken);
}

static bool group_has_slot(const struct admission_group *group)
{
    return !group->is_paused && (group->running_max == 0 || group->running < group->running_max);
}

static bool host_has_slot(const struct admission *admission, const struct host *host)
{
    return admission->per_host_max == 0 || host->running < admission->per_host_max;
}

static void move_lane(struct admission_lane *lane, struct admission_lanes *list)
{
    if (lane->list)
        TAILQ_REMOVE(lane->list, lane, link);
    lane->list = list;
    if (list)
        TAILQ_INSERT_TAIL(list, lane, link);
}

/* Callers read the clock before they have the lock: a later call may come with an earlier time. */
static uint64_t elapsed_ns(uint64_t since_ns, uint64_t now_ns) { return now_ns > since_ns ? now_ns - since_ns : 0; }

static void park(struct admission_lane *lane, uint64_t now_ns)
{
    lane->parked_since_ns = now_ns;
    move_lane(lane, &lane->host->parked);
}

static void unpark(struct admission_lane *lane, struct admission_lanes *list, uint64_t now_ns)
{
    lane->host_wait_ns += elapsed_ns(lane->parked_since_ns, now_ns);
    move_lane(lane, list);
}

static uint64_t host_wait_ns(const struct admission_lane *lane, uint64_t now_ns)
{
    bool is_parked = lane->list == &lane->host->parked;
    return lane->host_wait_ns + (is_parked ? elapsed_ns(lane->parked_since_ns, now_ns) : 0);
}

/* Lists the group, at the end, or takes it off, as its state asks for. */
static void update_group(struct admission *admission, struct admission_group *group)
{
    bool belongs = group_has_slot(group) && (!TAILQ_EMPTY(&group->ready) || !TAILQ_EMPTY(&group->woken));
    if (belongs && !group->is_listed)
        TAILQ_INSERT_TAIL(&admission->groups, group, link);
    else if (!belongs && group->is_listed)
        TAILQ_REMOVE(&admission->groups, group, link);
    group->is_listed = belongs;
}

/* Lanes of groups that could not start are moved out of the way: they are tried when their group has its turn again. */
static void wake_one_of_host(struct admission *admission, struct host *host, uint64_t now_ns)
{
    struct admission_lane *lane;
    while (host_has_slot(admission, host) && (lane = TAILQ_FIRST(&host->parked)) != NULL) {
        bool can_start = group_has_slot(lane->group);
        unpark(lane, can_start ? &lane->group->woken : &lane->group->ready, now_ns);
        if (!can_start)
            continue;
        update_group(admission, lane->group);
        return;
    }
}

/* The group cannot start anything for now. */
static void pass_slots_on(struct admission *admission, struct admission_group *group, uint64_t now_ns)
{
    struct admission_lane *lane;
    while ((lane = TAILQ_FIRST(&group->woken)) != NULL) {
        move_lane(lane, &group->ready);
        wake_one_of_host(admission, lane->host, now_ns);
    }
}

static struct admission_lane *lane_for(struct admission_group *group, struct host *host)
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

static void wait_in_lane(struct admission *admission, struct admission_ticket *ticket, uint64_t now_ns)
{
    struct admission_lane *lane = ticket->lane;
    ticket->added_ns = now_ns;
    ticket->lane_wait_ns = host_wait_ns(lane, now_ns);
    TAILQ_INSERT_TAIL(&lane->waiting, ticket, link);
    admission->waiting++;
    if (!lane->list)
        move_lane(lane, &lane->group->ready);
    update_group(admission, lane->group);
}

void admission_touch(struct admission_ticket *ticket, uint64_t now_ns)
{
    uint64_t lane_ns = host_wait_ns(ticket->lane, now_ns);
    ticket->queue_ns += elapsed_ns(ticket->added_ns, now_ns);
    ticket->host_queue_ns += elapsed_ns(ticket->lane_wait_ns, lane_ns);
    ticket->added_ns = now_ns;
    ticket->lane_wait_ns = lane_ns;
}

static void stop_waiting(struct admission *admission, struct admission_ticket *ticket, uint64_t now_ns)
{
    admission_touch(ticket, now_ns);
    TAILQ_REMOVE(&ticket->lane->waiting, ticket, link);
    admission->waiting--;
}

bool admission_add(struct admission *admission, struct admission_group *group, struct admission_ticket *ticket,
                   const char *origin, size_t origin_len, uint64_t now_ns)
{
    struct host *host = hosts_acquire(admission->hosts, origin, origin_len);
    if (!host)
        return false;
    ticket->lane = lane_for(group, host);
    ticket->queue_ns = ticket->host_queue_ns = 0;
    wait_in_lane(admission, ticket, now_ns);
    return true;
}

/* The group and the host have a slot. */
static struct admission_ticket *start_first(struct admission *admission, struct admission_lane *lane, uint64_t now_ns)
{
    struct admission_group *group = lane->group;
    struct admission_ticket *ticket = TAILQ_FIRST(&lane->waiting);
    stop_waiting(admission, ticket, now_ns);
    move_lane(lane, TAILQ_EMPTY(&lane->waiting) ? NULL : &group->ready);
    admission->running++;
    group->running++;
    lane->host->running++;
    TAILQ_REMOVE(&admission->groups, group, link); /* its next turn comes after everybody else's */
    group->is_listed = false;
    if (!group_has_slot(group))
        pass_slots_on(admission, group, now_ns);
    update_group(admission, group);
    return ticket;
}

struct admission_ticket *admission_next(struct admission *admission, uint64_t now_ns)
{
    struct admission_group *group;
    while (admission->running < admission->running_max && (group = TAILQ_FIRST(&admission->groups)) != NULL) {
        struct admission_lane *lane = TAILQ_FIRST(TAILQ_EMPTY(&group->woken) ? &group->ready : &group->woken);
        if (host_has_slot(admission, lane->host))
            return start_first(admission, lane, now_ns);
        park(lane, now_ns);
        update_group(admission, group);
    }
    return NULL;
}

static void give_slots_back(struct admission *admission, struct admission_lane *lane, uint64_t now_ns)
{
    admission->running--;
    lane->group->running--;
    lane->host->running--;
    wake_one_of_host(admission, lane->host, now_ns); /* first, or a group at its limit would always be before them */
    update_group(admission, lane->group);
}

void admission_finish(struct admission *admission, struct admission_ticket *ticket, uint64_t now_ns)
{
    give_slots_back(admission, ticket->lane, now_ns);
    hosts_release(admission->hosts, ticket->lane->host);
}

void admission_rest(struct admission *admission, struct admission_ticket *ticket, uint64_t now_ns)
{
    give_slots_back(admission, ticket->lane, now_ns);
}

void admission_resume(struct admission *admission, struct admission_ticket *ticket, uint64_t now_ns)
{
    wait_in_lane(admission, ticket, now_ns);
}

void admission_drop(struct admission *admission, struct admission_ticket *ticket)
{
    hosts_release(admission->hosts, ticket->lane->host);
}

bool admission_take_extra(struct admission *admission, struct admission_ticket *ticket)
{
    struct admission_lane *lane = ticket->lane;
    bool is_wanted = !TAILQ_EMPTY(&admission->groups) || !TAILQ_EMPTY(&lane->host->parked);
    if (is_wanted || admission->running >= admission->running_max || !group_has_slot(lane->group) ||
        !host_has_slot(admission, lane->host))
        return false;
    admission->running++;
    lane->group->running++;
    lane->host->running++;
    update_group(admission, lane->group);
    return true;
}

void admission_give_extra(struct admission *admission, struct admission_ticket *ticket, uint64_t now_ns)
{
    give_slots_back(admission, ticket->lane, now_ns);
}

void admission_withdraw(struct admission *admission, struct admission_ticket *ticket, uint64_t now_ns)
{
    struct admission_lane *lane = ticket->lane;
    stop_waiting(admission, ticket, now_ns);
    if (TAILQ_EMPTY(&lane->waiting)) {
        bool held_a_slot = lane->list == &lane->group->woken;
        move_lane(lane, NULL);
        update_group(admission, lane->group);
        if (held_a_slot)
            wake_one_of_host(admission, lane->host, now_ns);
    }
    hosts_release(admission->hosts, lane->host);
}

void admission_pause_group(struct admission *admission, struct admission_group *group, bool is_paused, uint64_t now_ns)
{
    group->is_paused = is_paused;
    if (is_paused)
        pass_slots_on(admission, group, now_ns);
    update_group(admission, group);
}
