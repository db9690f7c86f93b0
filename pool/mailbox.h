/* mailbox: the shared memory between the front end and one worker process.
 *
 * A mailbox has MAILBOX_SLOTS slots; each holds one job on its way in or out. The only thing the two sides share is one
 * atomic word per slot: state (8 bits) | generation of the worker (24) | sequence number of the job (32).
 *
 *     FREE ──post──▶ READY ──claim──▶ RUNNING ──finish──▶ DONE ──release──▶ FREE
 *      ▲               │                 │
 *      └────recall─────┘                 └──settle (only after the worker's death was reaped)──▶ FREE
 *
 *     front end: post (store), recall (compare-and-swap), release (store), settle (store)
 *     worker:    claim (compare-and-swap), finish (store)
 *
 * No lock, and every state has one owner of the slot's bytes: FREE and DONE the front end, RUNNING the worker, READY
 * nobody (they are frozen). So either side may be killed or stopped at any instruction and the other can always tell
 * what is left: docs/architecture.md walks through each point, tests/faults and tests/unit/test_mailbox.c visit them.
 * The generation tells a dead worker's RUNNING from its successor's, the sequence number a recalled job from the one
 * posted in its place (no ABA). All functions are non-blocking unless they say otherwise. */
#ifndef TWINPOOL_POOL_MAILBOX_H
#define TWINPOOL_POOL_MAILBOX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attrs.h"
#include "base/status.h"
#include "tasks/task.h"

enum { MAILBOX_SLOTS = 16, MAILBOX_INLINE_BYTES = 16 * 1024, MAILBOX_DETAIL_BYTES = TASK_DETAIL_BYTES };

enum slot_state { SLOT_FREE, SLOT_READY, SLOT_RUNNING, SLOT_DONE };

struct slot_word {
    enum slot_state state;
    uint32_t generation; /* 24 bits; of RUNNING and DONE, else 0 */
    uint32_t sequence;
};

/* Written by the front end while the slot is FREE. */
struct slot_request {
    uint32_t task; /* index into task_table */
    enum task_args_form form;
    uint32_t args_len, payload_len; /* bytes: args first, the payload right behind */
    bool has_payload;               /* an empty payload is one too */
    bool is_spilled;                /* the bytes are in the spill file, not in request_bytes */
    uint32_t items;                 /* 0: one job; else args is a JSON array of that many args (a map's chunk) */
    uint32_t loop;                  /* event loop to ring when done */
    uint64_t deadline_ns;           /* not to be started after this */
    uint64_t result_max;            /* bytes */
};

/* Written by the worker while the slot is RUNNING. The front end copies a field once and checks it: a worker may lie.
 */
struct slot_result {
    _Atomic uint32_t is_started;   /* 1 just before the task's code runs: from then on a crash may be the job's fault */
    _Atomic uint64_t progress;     /* of a chunk: items finished << 32 | bytes of their results */
    _Atomic uint32_t failed_items; /* of those */
    _Atomic uint32_t is_spilled;   /* the result bytes are in the spill file */
    uint32_t is_binary;            /* the result is bytes, not JSON */
    uint32_t status;               /* enum status */
    uint32_t length;               /* bytes */
    uint64_t started_ns, finished_ns, cpu_ns;
    uint64_t max_rss_kib;
    char detail[MAILBOX_DETAIL_BYTES]; /* of a failure; need not end with NUL */
};

/* Sets the detail, cut to what there is room for. */
void slot_result_explain(struct slot_result *result, const char *text) NONNULL;

struct slot {
    _Alignas(64) struct slot_request request;
    /* Front end: 0 while it fills the request, 1 when nobody wants the result any more. It posts no other job in the
     * slot before this one has ended, so a 1 never meets a later job. */
    _Atomic uint32_t is_cancelled;
    _Alignas(64) struct slot_result result;
    _Alignas(64) char request_bytes[MAILBOX_INLINE_BYTES];
    _Alignas(64) char result_bytes[MAILBOX_INLINE_BYTES];
};

struct mailbox {
    _Alignas(64) _Atomic uint64_t words[MAILBOX_SLOTS];
    _Alignas(64) _Atomic uint32_t is_sleeping; /* the worker's futex */
    _Atomic uint32_t done_count;               /* worker: one more after each DONE, and once when it is ready */
    _Atomic uint32_t generation;               /* worker: its own, once it is ready to claim */
    _Atomic uint32_t first_done;               /* worker: done_count as it was then */
    _Atomic uint32_t pong;                     /* worker: the last ping it saw */
    _Alignas(64) _Atomic uint32_t ping;        /* front end */
    struct slot slots[MAILBOX_SLOTS];
};

/* A spill file belongs to one mailbox: a sparse, size-sealed memfd with two regions per slot for what does not fit
 * inline. */
struct spill {
    int fd;
    uint64_t region_bytes;
};

/* Shared anonymous mapping, inherited over fork. NULL: no memory. Free with mailbox_unmap(). */
struct mailbox *mailbox_map(void) MUST_CHECK;
void mailbox_unmap(struct mailbox *mailbox);

/* ST_OK: ret_spill->fd is the caller's. Regions hold region_bytes each. */
enum status spill_create(uint64_t region_bytes, struct spill *ret_spill) NONNULL MUST_CHECK;
/* Whole transfers; false on any error (a full memory, a sealed size). */
bool spill_write_request(const struct spill *spill, unsigned slot, uint64_t at, const void *bytes, size_t len)
    NONNULL MUST_CHECK;
bool spill_read_request(const struct spill *spill, unsigned slot, void *bytes, size_t len) NONNULL MUST_CHECK;
bool spill_write_result(const struct spill *spill, unsigned slot, uint64_t at, const void *bytes, size_t len)
    NONNULL MUST_CHECK;
bool spill_read_result(const struct spill *spill, unsigned slot, void *bytes, size_t len) NONNULL MUST_CHECK;
/* Gives the memory of both regions of the slot back. */
void spill_clear(const struct spill *spill, unsigned slot) NONNULL;

struct slot_word mailbox_peek(const struct mailbox *mailbox, unsigned slot) NONNULL;

/* Front end. post: the slot must be FREE and its request filled in. A worker that sleeps does not notice until it is
 * notified, which is owed. */
void mailbox_post(struct mailbox *mailbox, unsigned slot, uint32_t sequence) NONNULL;
/* Wakes the worker if it sleeps. */
void mailbox_notify(struct mailbox *mailbox) NONNULL;
/* True: the job was not claimed and never will be; the slot is FREE. */
bool mailbox_recall(struct mailbox *mailbox, unsigned slot, uint32_t sequence) NONNULL MUST_CHECK;
/* DONE, or RUNNING of a generation that was reaped, becomes FREE. */
void mailbox_release(struct mailbox *mailbox, unsigned slot) NONNULL;
/* Wakes the worker whether it says that it sleeps or not (its waker may have died between the two steps). */
void mailbox_wake(struct mailbox *mailbox) NONNULL;

/* Worker. claim: the READY slot with the oldest sequence number becomes RUNNING; false: there is none. */
bool mailbox_claim(struct mailbox *mailbox, uint32_t generation, unsigned *ret_slot) NONNULL MUST_CHECK;
void mailbox_finish(struct mailbox *mailbox, unsigned slot) NONNULL;
/* Blocks until it is woken, unless something was posted or pinged; may return for no reason. */
void mailbox_sleep(struct mailbox *mailbox) NONNULL;

#endif
