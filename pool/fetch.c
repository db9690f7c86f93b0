/* fetch: attempts one after the other, each perhaps with a second request (a hedge) beside it.
 *
 * An attempt ends with an answer, or when its last request has failed. What the retry policy then says decides: rest
 * and try again, or be over. While it rests a fetch holds no slot, no connection and no body: only its ledger. */
#include "pool/fetch.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/timers.h"
#include "pool/fetch_render.h"
#include "pool/retry_policy.h"

enum { SPARE_MAX = 512 };

enum fetch_state { FETCH_UNSTARTED, FETCH_RUNNING, FETCH_RESTING, FETCH_OVER };

struct fetch {
    struct fetch_env *env;
    struct fetch_spec spec;
    enum fetch_state state;
    uint64_t deadline_ns, rest_due_ns, ended_ns;
    unsigned attempts, repetitions, hedges;
    struct transfer *first, *hedge; /* under way; NULL: none */
    struct transfer *last;          /* ended, its outcome counts; NULL: own_outcome does */
    struct transfer_outcome own_outcome;
    bool has_extra;
    struct timer hedge_timer;
    struct ledger ledger;
    struct transfer_usage usage;
};

/* ---- spares */

static struct transfer *take_transfer(struct fetch_env *env)
{
    return env->spare_transfer_count > 0 ? env->spare_transfers[--env->spare_transfer_count]
                                         : transfer_new(&env->transfers);
}

static void keep_transfer(struct fetch *fetch, struct transfer *transfer)
{
    struct fetch_env *env = fetch->env;
    struct transfer_usage usage = transfer_usage(transfer);
    fetch->usage.body_bytes += usage.body_bytes;
    fetch->usage.connections_opened += usage.connections_opened;
    fetch->usage.connections_reused += usage.connections_reused;
    fetch->repetitions += transfer_outcome(transfer)->repetitions;
    transfer_recycle(transfer);
    if (env->spare_transfer_count < SPARE_MAX)
        env->spare_transfers[env->spare_transfer_count++] = transfer;
    else
        transfer_free(transfer);
}

static void on_transfer_end(struct transfer *transfer);
static void on_hedge_due(struct timer *timer);

bool fetch_env_init(struct fetch_env *env)
{
    env->transfers.on_end = on_transfer_end;
    env->spare_transfer_count = env->spare_fetch_count = 0;
    env->spare_transfers = calloc(SPARE_MAX, sizeof(struct transfer *));
    env->spare_fetches = calloc(SPARE_MAX, sizeof(struct fetch *));
    if (getrandom(&env->random, sizeof env->random, 0) != (ssize_t)sizeof env->random)
        env->random = clock_now_ns();
    env->random |= 1;
    if (env->spare_transfers && env->spare_fetches)
        return true;
    free(env->spare_transfers);
    free(env->spare_fetches);
    return false;
}

void fetch_env_done(struct fetch_env *env)
{
    for (unsigned i = 0; i < env->spare_transfer_count; i++)
        transfer_free(env->spare_transfers[i]);
    for (unsigned i = 0; i < env->spare_fetch_count; i++) {
        ledger_done(&env->spare_fetches[i]->ledger);
        free(env->spare_fetches[i]);
    }
    free(env->spare_transfers);
    free(env->spare_fetches);
}

struct fetch *fetch_new(struct fetch_env *env)
{
    if (env->spare_fetch_count > 0)
        return env->spare_fetches[--env->spare_fetch_count];
    struct fetch *fetch = calloc(1, sizeof *fetch);
    if (!fetch)
        return NULL;
    fetch->env = env;
    fetch->hedge_timer.on_due = on_hedge_due;
    return fetch;
}

void fetch_recycle(struct fetch *fetch)
{
    struct fetch_env *env = fetch->env;
    if (fetch->last)
        keep_transfer(fetch, fetch->last);
    fetch->last = NULL;
    fetch->state = FETCH_UNSTARTED;
    ledger_clear(&fetch->ledger);
    if (env->spare_fetch_count < SPARE_MAX) {
        env->spare_fetches[env->spare_fetch_count++] = fetch;
        return;
    }
    ledger_done(&fetch->ledger);
    free(fetch);
}

/* ---- the end */

static void be_over(struct fetch *fetch)
{
    fetch->state = FETCH_OVER;
    fetch->ended_ns = clock_now_ns();
    fetch->env->on_over(fetch);
}

static void fail(struct fetch *fetch, const struct fetch_why *why)
{
    struct ledger_entry last = fetch->own_outcome.last;
    if (fetch->last)
        keep_transfer(fetch, fetch->last);
    fetch->last = NULL;
    fetch->own_outcome = (struct transfer_outcome){ .status = why->status,
                                                    .phase = why->phase,
                                                    .budget = why->budget,
                                                    .is_retriable = status_retriable(why->status),
                                                    .last = last };
    memccpy(fetch->own_outcome.message, why->message, '\0', sizeof fetch->own_outcome.message - 1);
    be_over(fetch);
}

static void release_extra(struct fetch *fetch)
{
    timers_cancel(&fetch->env->transfers.loop->timers, &fetch->hedge_timer);
    if (fetch->has_extra)
        fetch->env->give_extra(fetch);
    fetch->has_extra = false;
}

static void stop(struct fetch *fetch, struct transfer **transfer)
{
    if (!*transfer)
        return;
    transfer_stop(*transfer);
    fetch->own_outcome.last = transfer_outcome(*transfer)->last;
    keep_transfer(fetch, *transfer);
    *transfer = NULL;
}

/* ---- attempts */

static uint32_t next_random(struct fetch_env *env)
{
    env->random ^= env->random << 13; /* Marsaglia's xorshift64: waits need no better */
    env->random ^= env->random >> 7;
    env->random ^= env->random << 17;
    return (uint32_t)(env->random >> 32);
}

static bool is_due_again(struct fetch *fetch, const struct transfer_outcome *outcome, uint64_t *ret_delay_ns)
{
    const struct fetch_item *item = fetch->spec.item;
    uint64_t now_ns = clock_now_ns();
    struct retry_question question = {
        .attempts = fetch->attempts,
        .retries_max = item->retries,
        .method = item->method,
        .may_repeat_unsafe = item->may_repeat_unsafe,
        .was_sent = outcome->was_sent,
        .status = outcome->status,
        .http_status = outcome->http_status,
        .is_retriable = outcome->is_retriable,
        .retry_after_ns = outcome->retry_after_ns,
        .left_ns = fetch->deadline_ns > now_ns ? fetch->deadline_ns - now_ns : 0,
        .random = next_random(fetch->env),
    };
    return retry_is_due(&question, ret_delay_ns);
}

/* `transfer` was the last of the attempt. */
static void end_attempt(struct fetch *fetch, struct transfer *transfer)
{
    uint64_t delay_ns;
    release_extra(fetch);
    if (!is_due_again(fetch, transfer_outcome(transfer), &delay_ns)) {
        fetch->last = transfer;
        be_over(fetch);
        return;
    }
    fetch->own_outcome = *transfer_outcome(transfer);
    keep_transfer(fetch, transfer);
    fetch->state = FETCH_RESTING;
    fetch->rest_due_ns = clock_now_ns() + delay_ns;
    fetch->env->on_rest(fetch);
}

static bool is_good(const struct transfer_outcome *outcome)
{
    return outcome->status == ST_OK && !retry_is_for_status(outcome->http_status);
}

static void on_transfer_end(struct transfer *transfer)
{
    struct fetch *fetch = transfer_user(transfer);
    struct transfer **own = transfer == fetch->first ? &fetch->first : &fetch->hedge,
                    **other = transfer == fetch->first ? &fetch->hedge : &fetch->first;
    *own = NULL;
    bool is_answer = transfer_outcome(transfer)->status == ST_OK;
    if (*other && !is_good(transfer_outcome(transfer))) { /* the other may do better */
        fetch->own_outcome = *transfer_outcome(transfer);
        if (is_answer)
            fetch->last = transfer; /* or not */
        else
            keep_transfer(fetch, transfer);
        release_extra(fetch);
        return;
    }
    stop(fetch, other);
    struct transfer *earlier = fetch->last;
    fetch->last = NULL;
    if (earlier)
        keep_transfer(fetch, is_answer ? earlier : transfer);
    end_attempt(fetch, earlier && !is_answer ? earlier : transfer);
}

/* NULL: it has ended, or there was no memory for it. */
static struct transfer *send_request(struct fetch *fetch, bool is_hedge, struct transfer **ret_ended)
{
    *ret_ended = NULL;
    struct transfer *transfer = take_transfer(fetch->env);
    if (!transfer)
        return NULL;
    struct transfer_spec spec = {
        .item = fetch->spec.item,
        .call = fetch->spec.call,
        .deadline_ns = fetch->deadline_ns,
        .attempt = fetch->attempts,
        .is_hedge = is_hedge,
        .shard = fetch->spec.shard,
        .speaks_http2 = fetch->spec.speaks_http2,
        .ledger = &fetch->ledger,
        .user = fetch,
    };
    if (transfer_start(transfer, &spec))
        return transfer;
    *ret_ended = transfer;
    return NULL;
}

static bool may_hedge(const struct fetch_item *item)
{
    return item->hedge_ms > 0 &&
           ((item->method != FETCH_POST && item->method != FETCH_PATCH) || item->may_repeat_unsafe);
}

static void watch_for_hedge(struct fetch *fetch)
{
    bool ignored = timers_set(&fetch->env->transfers.loop->timers, &fetch->hedge_timer,
                              clock_now_ns() + fetch->spec.item->hedge_ms * NS_PER_MS);
    (void)ignored; /* no memory: there will be no hedge */
}

static void on_hedge_due(struct timer *timer)
{
    struct fetch *fetch = (struct fetch *)(void *)((char *)timer - offsetof(struct fetch, hedge_timer));
    struct transfer *ended;
    if (!fetch->first || transfer_stage(fetch->first) >= STAGE_HEAD)
        return;
    fetch->has_extra = fetch->env->take_extra(fetch);
    if (!fetch->has_extra) {
        watch_for_hedge(fetch); /* when there is room */
        return;
    }
    fetch->hedges++;
    fetch->hedge = send_request(fetch, true, &ended);
    if (ended)
        keep_transfer(fetch, ended);
    if (!fetch->hedge)
        release_extra(fetch);
}

static void begin_attempt(struct fetch *fetch)
{
    struct transfer *ended;
    fetch->state = FETCH_RUNNING;
    fetch->attempts++;
    fetch->first = send_request(fetch, false, &ended);
    if (ended)
        end_attempt(fetch, ended);
    else if (!fetch->first)
        fail(fetch, &(struct fetch_why){ ST_NO_MEMORY, "connect", status_title(ST_NO_MEMORY), NULL });
    else if (may_hedge(fetch->spec.item))
        watch_for_hedge(fetch);
}

void fetch_start(struct fetch *fetch, const struct fetch_spec *spec)
{
    fetch->spec = *spec;
    fetch->deadline_ns = spec->accepted_ns + spec->item->timeout_ms * NS_PER_MS;
    fetch->attempts = fetch->repetitions = fetch->hedges = 0;
    fetch->usage = (struct transfer_usage){ 0 };
    fetch->own_outcome = (struct transfer_outcome){ .status = ST_OK };
    begin_attempt(fetch);
}

void fetch_resume(struct fetch *fetch) { begin_attempt(fetch); }

void fetch_set_waits(struct fetch *fetch, uint64_t queue_ns, uint64_t host_queue_ns)
{
    fetch->spec.queue_ns = queue_ns;
    fetch->spec.host_queue_ns = host_queue_ns;
}

void fetch_give_up(struct fetch *fetch, const struct fetch_why *why)
{
    struct fetch_why reached = *why;
    if (!reached.phase)
        reached.phase = fetch->first ? transfer_phase(fetch->first) : fetch->state == FETCH_RESTING ? "retry" : "queue";
    stop(fetch, &fetch->first);
    stop(fetch, &fetch->hedge);
    release_extra(fetch);
    fail(fetch, &reached);
}

/* ---- what others ask */

void *fetch_user(const struct fetch *fetch) { return fetch->spec.user; }
uint64_t fetch_rest_due_ns(const struct fetch *fetch) { return fetch->rest_due_ns; }

static const struct transfer_outcome *outcome_of(const struct fetch *fetch)
{
    return fetch->last ? transfer_outcome(fetch->last) : &fetch->own_outcome;
}

struct fetch_summary fetch_summary(const struct fetch *fetch)
{
    const struct transfer_outcome *outcome = outcome_of(fetch);
    struct transfer_usage last = fetch->last ? transfer_usage(fetch->last) : (struct transfer_usage){ 0 };
    return (struct fetch_summary){
        .status = outcome->status,
        .http_status = outcome->http_status,
        .redirects = outcome->redirects,
        .body_bytes = fetch->usage.body_bytes + last.body_bytes,
        .connections_opened = fetch->usage.connections_opened + last.connections_opened,
        .connections_reused = fetch->usage.connections_reused + last.connections_reused,
        .retries = fetch->attempts > 0 ? fetch->attempts - 1 : 0,
        .hedges = fetch->hedges,
    };
}

static struct fetch_report report_of(const struct fetch *fetch)
{
    const struct transfer_outcome *outcome = outcome_of(fetch);
    return (struct fetch_report){
        .outcome = outcome,
        .ledger = &fetch->ledger,
        .attempts = fetch->attempts + fetch->repetitions + (fetch->last ? outcome->repetitions : 0),
        .is_hedged = fetch->hedges > 0,
        .accepted_ns = fetch->spec.accepted_ns,
        .ended_ns = fetch->ended_ns,
        .queue_ns = fetch->spec.queue_ns,
        .host_queue_ns = fetch->spec.host_queue_ns,
    };
}

static void render_refusal(struct fetch_item *item, size_t index, const struct fetch_report *report, enum status why,
                           const char *message)
{
    struct fetch_report refused = *report;
    struct transfer_outcome failure = { .status = why,
                                        .phase = "body",
                                        .is_retriable = status_retriable(why),
                                        .is_tls = report->outcome->is_tls,
                                        .last = report->outcome->last };
    memccpy(failure.message, message, '\0', sizeof failure.message - 1);
    refused.outcome = &failure;
    fetch_render_report(item, index, &refused);
}

static const char no_memory_left[] = "no memory was left for the result (--fetch-memory-bytes)";

/* The rendered result holds as much of the memory budget as it takes, no more than it was granted before, no less. */
static void settle(struct memory_budget *memory, struct memory_account *account, struct fetch_item *item, size_t index,
                   const struct fetch_report *report)
{
    size_t held = item->memory.taken + item->memory.reserved;
    memory_give_surplus(memory, &item->memory, item->json_len);
    if (item->json_len <= held || item->status != ST_OK ||
        memory_take_result(memory, account, item->json_len - held, &item->memory))
        return;
    memory_give_back(memory, &item->memory);
    free(item->json);
    item->json = NULL;
    render_refusal(item, index, report, ST_NO_MEMORY, no_memory_left);
}

void fetch_render(const struct fetch *fetch, struct fetch_item *item, size_t index)
{
    struct memory_budget *memory = fetch->env->transfers.memory;
    struct fetch_report report = report_of(fetch);
    fetch_render_report(item, index, &report);
    item->memory.taken = fetch->last ? transfer_pass_taken(fetch->last) : 0;
    settle(memory, &fetch->spec.call->memory, item, index, &report);
}

/* A body counts for each call that gets it. */
static bool charge(struct call_share *call, size_t bytes)
{
    size_t before = atomic_fetch_add_explicit(&call->body_bytes, bytes, memory_order_relaxed);
    if (before + bytes <= call->body_bytes_max)
        return true;
    atomic_fetch_sub_explicit(&call->body_bytes, bytes, memory_order_relaxed);
    return false;
}

/* Rendering is the expensive part, and there may be thousands to do: it is paid for before. */
void fetch_render_shared(const struct fetch *fetch, struct fetch_item *item, size_t index, struct call_share *call,
                         uint64_t accepted_ns)
{
    struct memory_budget *memory = fetch->env->transfers.memory;
    const struct fetch_item *first = fetch->spec.item;
    const struct transfer_outcome *outcome = outcome_of(fetch);
    struct fetch_report report = report_of(fetch);
    char too_large[TRANSFER_MESSAGE_SIZE];
    report.is_shared = true;
    report.accepted_ns = accepted_ns;
    if (outcome->status == ST_OK && !charge(call, outcome->body_len)) {
        transfer_explain_total(call, too_large);
        render_refusal(item, index, &report, ST_TOTAL_TOO_LARGE, too_large);
    } else if (outcome->status == ST_OK && !memory_take_result(memory, &call->memory, first->json_len, &item->memory)) {
        render_refusal(item, index, &report, ST_NO_MEMORY, no_memory_left);
    } else {
        fetch_render_report(item, index, &report);
        settle(memory, &call->memory, item, index, &report);
    }
}
