/* Everything that is read from a slot's result is copied once and checked: a worker may be broken, or lie. */
#include "pool/worker_entry.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/utf8.h"

enum { SUCCESSORS_MAX = 64 };

/* Copies result bytes out of a slot that no one writes to any more below `len`. */
static bool copy_result(const struct worker_entry *worker, unsigned slot, struct job *job, size_t len)
{
    const struct slot *from = &worker->mailbox->slots[slot];
    bool is_spilled = atomic_load_explicit(&from->result.is_spilled, memory_order_acquire) != 0;
    if (len > (is_spilled ? worker->spill.region_bytes : MAILBOX_INLINE_BYTES))
        return false;
    char *copy = malloc(len + 1);
    if (copy == NULL)
        return false;
    if (is_spilled && !spill_read_result(&worker->spill, slot, copy, len)) {
        free(copy);
        return false;
    }
    if (!is_spilled)
        memcpy(copy, from->result_bytes, len);
    copy[len] = '\0';
    job->result = copy;
    job->result_len = len;
    return true;
}

bool worker_entry_keep_progress(const struct worker_entry *worker, unsigned slot, struct job *job)
{
    if (job->items == 0)
        return false;
    struct slot_result *result = &worker->mailbox->slots[slot].result;
    uint64_t progress = atomic_load_explicit(&result->progress, memory_order_acquire);
    unsigned items = (unsigned)(progress >> 32);
    if (items == 0 || items > job->items || !copy_result(worker, slot, job, (uint32_t)progress))
        return false;
    unsigned failed = atomic_load_explicit(&result->failed_items, memory_order_relaxed);
    job->items_done = items;
    job->items_failed = failed <= items ? failed : items;
    return true;
}

void worker_entry_free_slot(struct worker_entry *worker, unsigned slot)
{
    if (worker->is_spilled[slot] ||
        atomic_load_explicit(&worker->mailbox->slots[slot].result.is_spilled, memory_order_relaxed) != 0)
        spill_clear(&worker->spill, slot);
    worker->jobs[slot] = NULL;
    worker->in_use[slot] = false;
    worker->busy_ns -= worker->expected_ns[slot];
    worker->expected_ns[slot] = 0;
    worker->used--;
}

void worker_entry_take_detail(const struct worker_entry *worker, unsigned slot, struct job *job)
{
    char detail[MAILBOX_DETAIL_BYTES];
    memcpy(detail, worker->mailbox->slots[slot].result.detail, sizeof detail);
    size_t len = strnlen(detail, sizeof detail);
    if (utf8_valid(detail, len))
        job_set_detail(job, detail, len);
}

enum status worker_entry_take_result(const struct worker_entry *worker, unsigned slot, struct job *job)
{
    struct slot_result *result = &worker->mailbox->slots[slot].result;
    uint32_t status = result->status, length = result->length;
    job->is_binary = status == ST_OK && job->items == 0 && result->is_binary != 0;
    if (status >= STATUS_COUNT)
        return ST_WORKER_PROTOCOL;
    if (status != ST_OK)
        worker_entry_take_detail(worker, slot, job);
    bool is_kept =
        job->items > 0 ? worker_entry_keep_progress(worker, slot, job) : copy_result(worker, slot, job, length);
    /* a chunk may end after some of its items */
    return is_kept || (job->items > 0 && status != ST_OK) ? (enum status)status : ST_WORKER_PROTOCOL;
}

bool worker_entry_note_attempt(const struct worker_entry *worker, unsigned slot, struct job *job)
{
    const struct slot_result *result = &worker->mailbox->slots[slot].result;
    if (atomic_load_explicit(&result->is_started, memory_order_acquire) == 0)
        return false;
    job->attempts++;
    job_set_times(job, result->started_ns, clock_now_ns());
    return true;
}

bool worker_entry_is_ready(const struct worker_entry *worker)
{
    return worker->is_alive && !worker->is_doomed && !worker->is_suspect && worker->kill_ns == 0 &&
           atomic_load_explicit(&worker->mailbox->generation, memory_order_acquire) == worker->generation;
}

bool worker_entry_takes_jobs(const struct worker_entry *worker)
{
    return !worker->is_retiring && worker_entry_is_ready(worker) && !worker_wear_is_spent(&worker->wear, worker->used);
}

bool worker_entry_fill_request(struct worker_entry *worker, unsigned slot, const struct job *job)
{
    struct slot *to = &worker->mailbox->slots[slot];
    size_t total = job_bytes(job);
    bool is_spilled = total > MAILBOX_INLINE_BYTES;
    to->request = (struct slot_request){ .task = job->task,
                                         .form = job->form,
                                         .args_len = (uint32_t)job->args_len,
                                         .payload_len = (uint32_t)job->payload_len,
                                         .has_payload = job->has_payload,
                                         .is_spilled = is_spilled,
                                         .items = job->items,
                                         .loop = job->loop,
                                         .deadline_ns = job->deadline_ns,
                                         .result_max = job->result_max };
    atomic_store_explicit(&to->is_cancelled, 0, memory_order_relaxed);
    atomic_store_explicit(&to->result.is_started, 0, memory_order_relaxed);
    atomic_store_explicit(&to->result.progress, 0, memory_order_relaxed);
    atomic_store_explicit(&to->result.failed_items, 0, memory_order_relaxed);
    atomic_store_explicit(&to->result.is_spilled, 0, memory_order_relaxed);
    if (is_spilled)
        return (job->args_len == 0 || spill_write_request(&worker->spill, slot, 0, job->args, job->args_len)) &&
               (job->payload_len == 0 ||
                spill_write_request(&worker->spill, slot, job->args_len, job->payload, job->payload_len));
    if (job->args_len > 0)
        memcpy(to->request_bytes, job->args, job->args_len);
    if (job->payload_len > 0)
        memcpy(to->request_bytes + job->args_len, job->payload, job->payload_len);
    return true;
}

int worker_entry_newest_slot(const struct worker_entry *worker)
{
    int newest = -1;
    for (unsigned slot = 0; slot < MAILBOX_SLOTS; slot++)
        if (worker->jobs[slot] != NULL &&
            (newest < 0 || (int32_t)(worker->jobs[slot]->sequence - worker->jobs[newest]->sequence) > 0))
            newest = (int)slot;
    return newest;
}

/* News is never that late: else a worker that has lost its mind could name one that never comes. */
static bool is_successor(uint32_t generation, uint32_t of)
{
    uint32_t distance = (generation - of) & 0xffffff;
    return distance > 0 && distance <= SUCCESSORS_MAX;
}

bool worker_entry_is_of_successor(struct slot_word word, uint32_t generation)
{
    return word.state == SLOT_RUNNING && is_successor(word.generation, generation);
}

bool worker_entry_has_lost_itself(const struct worker_entry *worker)
{
    uint32_t generation = atomic_load_explicit(&worker->mailbox->generation, memory_order_acquire);
    return worker->is_alive && generation != worker->generation && !is_successor(generation, worker->generation);
}

void worker_entry_attach(struct worker_entry *worker)
{
    /* first: what finishes while this looks is news */
    worker->seen_done = atomic_load_explicit(&worker->mailbox->done_count, memory_order_acquire);
    for (unsigned slot = 0; slot < MAILBOX_SLOTS; slot++) {
        struct slot_word word = mailbox_peek(worker->mailbox, slot);
        if (word.state == SLOT_READY)
            (void)!mailbox_recall(worker->mailbox, slot, word.sequence);
        word = mailbox_peek(worker->mailbox, slot);
        if (word.state == SLOT_DONE)
            mailbox_release(worker->mailbox, slot);
        if (word.state == SLOT_RUNNING) { /* in use without a job: its worker is doomed once it is announced */
            worker->in_use[slot] = worker->is_spilled[slot] = true;
            worker->used++;
        }
        spill_clear(&worker->spill, slot);
    }
    mailbox_wake(worker->mailbox);
}

bool worker_entry_has_claimed(const struct worker_entry *worker)
{
    for (unsigned slot = 0; slot < MAILBOX_SLOTS; slot++)
        if (worker->in_use[slot] && mailbox_peek(worker->mailbox, slot).state != SLOT_READY)
            return true;
    return false;
}
