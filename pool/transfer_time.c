/* transfer_time: what each phase may take, and what it took.
 *
 * One timer per transfer, because most transfers end before any budget is used up and a timer that is moved at every
 * stage would cost more than they do. It is set to the earliest moment at which any budget could be used up, those of
 * later stages included; when it fires too early, it is set again. */
#include <string.h>

#include "base/clock.h"
#include "pool/transfer_internal.h"

enum { STAGES = STAGE_BODY + 1 };

/* The stage's own budget; CLOCK_NEVER: none. */
static uint64_t budget_ns(const struct transfer *t, enum transfer_stage stage)
{
    const struct fetch_item *item = t->spec.item;
    switch (stage) {
    case STAGE_RESOLVING:
        return item->dns_timeout_ms * NS_PER_MS;
    case STAGE_CONNECTING:
        return item->connect_timeout_ms * NS_PER_MS;
    case STAGE_TLS:
        return item->tls_timeout_ms * NS_PER_MS;
    case STAGE_REQUEST:
    case STAGE_HEAD:
        return item->first_byte_timeout_ms * NS_PER_MS;
    case STAGE_BODY:
        break;
    }
    return t->env->min_rate > 0 ? RATE_WINDOW_MS * NS_PER_MS : CLOCK_NEVER;
}

static uint64_t stage_since_ns(const struct transfer *t)
{
    switch (t->stage) {
    case STAGE_RESOLVING:
        return t->began_ns;
    case STAGE_CONNECTING:
        return t->resolved_ns;
    case STAGE_TLS:
        return t->tls_ns;
    case STAGE_REQUEST:
    case STAGE_HEAD:
        return t->sent_ns;
    case STAGE_BODY:
        break;
    }
    return t->rate_since_ns;
}

static uint64_t add(uint64_t a, uint64_t b) { return a > CLOCK_NEVER - b ? CLOCK_NEVER : a + b; }

static uint64_t stage_due_ns(const struct transfer *t)
{
    return t->is_paused ? CLOCK_NEVER : add(stage_since_ns(t), budget_ns(t, t->stage));
}

bool transfer_watch_time(struct transfer *t)
{
    uint64_t due_ns = stage_due_ns(t), now_ns = clock_now_ns();
    for (unsigned stage = (unsigned)t->stage; stage < STAGES; stage++) {
        uint64_t earliest_ns = add(now_ns, budget_ns(t, (enum transfer_stage)stage));
        if (earliest_ns < due_ns)
            due_ns = earliest_ns;
    }
    if (t->spec.deadline_ns < due_ns)
        due_ns = t->spec.deadline_ns;
    return timers_set(&t->env->loop->timers, &t->timer, due_ns);
}

void transfer_enter(struct transfer *t, enum transfer_stage stage)
{
    uint64_t now_ns = clock_now_ns();
    t->stage = stage;
    switch (stage) {
    case STAGE_RESOLVING:
        break;
    case STAGE_CONNECTING:
        t->resolved_ns = now_ns;
        break;
    case STAGE_TLS:
        t->tls_ns = now_ns;
        break;
    case STAGE_REQUEST:
        t->sent_ns = now_ns;
        break;
    case STAGE_HEAD:
        t->head_ns = now_ns;
        break;
    case STAGE_BODY:
        t->body_ns = t->rate_since_ns = now_ns;
        t->rate_bytes = 0;
        break;
    }
}

/* ---- used up */

static void fail_deadline(struct transfer *t)
{
    const struct fetch_item *item = t->spec.item;
    const struct memory_account *memory = &t->spec.call->memory;
    bool is_unread = memory->window > 0 && atomic_load(&memory->unread) > memory->window;
    transfer_fail(t, ST_DEADLINE_EXCEEDED, transfer_phase(t), "the %u ms for this URL were over (timeout_ms)%s",
                  item->timeout_ms,
                  !t->is_paused ? ""
                  : is_unread   ? "; the caller did not read the stream"
                                : "; it waited for memory (--fetch-memory-bytes)");
    t->outcome.budget = "timeout_ms";
}

static void fail_stage(struct transfer *t)
{
    static const struct {
        enum status status;
        const char *budget;
    } rows[STAGES] = {
        [STAGE_RESOLVING] = { ST_DNS_TIMEOUT, "dns_timeout_ms" },
        [STAGE_CONNECTING] = { ST_CONNECT_TIMEOUT, "connect_timeout_ms" },
        [STAGE_TLS] = { ST_TLS_TIMEOUT, "tls_timeout_ms" },
        [STAGE_REQUEST] = { ST_FIRST_BYTE_TIMEOUT, "first_byte_timeout_ms" },
        [STAGE_HEAD] = { ST_FIRST_BYTE_TIMEOUT, "first_byte_timeout_ms" },
        [STAGE_BODY] = { ST_TOO_SLOW, "--fetch-min-rate" },
    };
    enum status status = rows[t->stage].status;
    if (t->stage == STAGE_BODY)
        transfer_fail(t, status, "body", "fewer than %u bytes a second came for %u s (--fetch-min-rate)",
                      t->env->min_rate, RATE_WINDOW_MS / 1000);
    else
        transfer_fail(t, status, transfer_phase(t), "%s: %llu ms (%s)", status_title(status),
                      (unsigned long long)(budget_ns(t, t->stage) / NS_PER_MS), rows[t->stage].budget);
    t->outcome.budget = rows[t->stage].budget;
}

/* A body's window is over: was enough in it? */
static bool is_fast_enough(struct transfer *t, uint64_t now_ns)
{
    if (t->stage != STAGE_BODY || t->rate_bytes < (size_t)t->env->min_rate * (RATE_WINDOW_MS / 1000))
        return false;
    t->rate_since_ns = now_ns;
    t->rate_bytes = 0;
    return true;
}

void transfer_timer_due(struct timer *timer)
{
    struct transfer *t = (struct transfer *)(void *)((char *)timer - offsetof(struct transfer, timer));
    uint64_t now_ns = clock_now_ns();
    bool is_over = now_ns >= t->spec.deadline_ns;
    if (is_over)
        fail_deadline(t);
    else if (now_ns >= stage_due_ns(t) && !is_fast_enough(t, now_ns))
        fail_stage(t);
    else if (transfer_watch_time(t))
        return;
    else
        transfer_fail(t, ST_NO_MEMORY, transfer_phase(t), "%s", status_title(ST_NO_MEMORY));
    transfer_note_ended(t, t->outcome.status, 0);
    transfer_end(t);
}

/* ---- the ledger */

static uint64_t between(uint64_t from_ns, uint64_t to_ns)
{
    return from_ns > 0 && to_ns > from_ns ? to_ns - from_ns : 0;
}

static uint64_t first_of(uint64_t a, uint64_t b, uint64_t otherwise) { return a ? a : b ? b : otherwise; }

static void count_usage(struct transfer *t)
{
    if (t->connecting_ns > 0)
        t->usage.connections_opened++;
    else if (t->sent_ns > 0)
        t->usage.connections_reused++;
    t->usage.body_bytes += t->coding == CODING_NONE ? t->seen_bytes : t->coded_bytes;
}

void transfer_note_ended(struct transfer *t, enum status status, unsigned http_status)
{
    uint64_t now_ns = clock_now_ns();
    count_usage(t);
    struct ledger_entry entry = {
        .attempt = t->spec.attempt,
        .is_hedge = t->spec.is_hedge,
        .is_reused = t->sent_ns > 0 && t->connecting_ns == 0,
        .status = status,
        .http_status = http_status,
        .url = t->redirects > 0 && t->url.data ? strndup(t->url.data, LEDGER_URL_MAX) : NULL,
        .began_ns = t->began_ns,
        .dns_ns = t->parts.address_len > 0 ? 0 : between(t->began_ns, t->resolved_ns ? t->resolved_ns : now_ns),
        .connect_ns = between(t->connecting_ns, first_of(t->tls_ns, t->sent_ns, now_ns)),
        .tls_ns = between(t->tls_ns, first_of(t->sent_ns, 0, now_ns)),
        .first_byte_ns = between(t->sent_ns, first_of(t->head_ns, 0, now_ns)),
        .body_ns = between(t->head_ns, now_ns),
        .elapsed_ns = between(t->began_ns, now_ns),
    };
    t->outcome.last = entry;
    t->outcome.last.url = NULL;
    ledger_add(t->spec.ledger, &entry);
}
