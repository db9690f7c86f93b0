/* The words are the protocol; everything else in the mapping is plain bytes whose ownership the words pass on. A store
 * that gives bytes away is a release, the load that takes them an acquire. Posting with notifying and sleeping form
 * Dekker's pattern: the front end stores READY and then looks at is_sleeping, the worker stores is_sleeping and then
 * looks for READY; with sequentially consistent fences between, at least one of them sees the other.
 *
 * is_sleeping is the futex: whoever wants the worker up changes it from 1 to 0 and calls FUTEX_WAKE. If the waker is
 * killed between the two, the worker sleeps on with is_sleeping 0; the next front end wakes every worker when it
 * attaches. */
#include "pool/mailbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static uint64_t pack(enum slot_state state, uint32_t generation, uint32_t sequence)
{
    return (uint64_t)state << 56 | (uint64_t)(generation & 0xffffff) << 32 | sequence;
}

/* A worker may write anything there. What neither side writes is RUNNING: claimed, and over with its worker. */
static struct slot_word unpack(uint64_t word)
{
    struct slot_word unpacked = { .state = SLOT_RUNNING,
                                  .generation = (uint32_t)(word >> 32) & 0xffffff,
                                  .sequence = (uint32_t)word };
    uint64_t state = word >> 56;
    if (state == SLOT_DONE || ((state == SLOT_FREE || state == SLOT_READY) && unpacked.generation == 0))
        unpacked.state = (enum slot_state)state;
    return unpacked;
}

struct mailbox *mailbox_map(void)
{
    void *at = mmap(NULL, sizeof(struct mailbox), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return at == MAP_FAILED ? NULL : at;
}

void mailbox_unmap(struct mailbox *mailbox)
{
    if (mailbox != NULL)
        munmap(mailbox, sizeof *mailbox);
}

void slot_result_explain(struct slot_result *result, const char *text)
{
    size_t len = strnlen(text, MAILBOX_DETAIL_BYTES - 1);
    memcpy(result->detail, text, len);
    result->detail[len] = '\0';
}

struct slot_word mailbox_peek(const struct mailbox *mailbox, unsigned slot)
{
    return unpack(atomic_load_explicit(&mailbox->words[slot], memory_order_acquire));
}

/* Not FUTEX_PRIVATE: the word is shared between processes. */
static void futex_wake(_Atomic uint32_t *word) { syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0); }

void mailbox_post(struct mailbox *mailbox, unsigned slot, uint32_t sequence)
{
    atomic_store_explicit(&mailbox->words[slot], pack(SLOT_READY, 0, sequence), memory_order_release);
}

void mailbox_notify(struct mailbox *mailbox)
{
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&mailbox->is_sleeping, memory_order_seq_cst) != 0 &&
        atomic_exchange_explicit(&mailbox->is_sleeping, 0, memory_order_seq_cst) != 0)
        futex_wake(&mailbox->is_sleeping);
}

bool mailbox_recall(struct mailbox *mailbox, unsigned slot, uint32_t sequence)
{
    uint64_t expected = pack(SLOT_READY, 0, sequence);
    return atomic_compare_exchange_strong_explicit(&mailbox->words[slot], &expected, pack(SLOT_FREE, 0, 0),
                                                   memory_order_acq_rel, memory_order_acquire);
}

void mailbox_release(struct mailbox *mailbox, unsigned slot)
{
    atomic_store_explicit(&mailbox->words[slot], pack(SLOT_FREE, 0, 0), memory_order_release);
}

void mailbox_wake(struct mailbox *mailbox)
{
    atomic_store_explicit(&mailbox->is_sleeping, 0, memory_order_seq_cst);
    futex_wake(&mailbox->is_sleeping);
}

bool mailbox_claim(struct mailbox *mailbox, uint32_t generation, unsigned *ret_slot)
{
    for (;;) {
        int oldest = -1;
        uint32_t oldest_sequence = 0;
        for (unsigned i = 0; i < MAILBOX_SLOTS; i++) {
            struct slot_word word = mailbox_peek(mailbox, i);
            if (word.state != SLOT_READY)
                continue;
            /* serial number arithmetic: the counter wraps */
            if (oldest < 0 || (int32_t)(word.sequence - oldest_sequence) < 0) {
                oldest = (int)i;
                oldest_sequence = word.sequence;
            }
        }
        if (oldest < 0)
            return false;
        uint64_t expected = pack(SLOT_READY, 0, oldest_sequence);
        if (atomic_compare_exchange_strong_explicit(&mailbox->words[oldest], &expected,
                                                    pack(SLOT_RUNNING, generation, oldest_sequence),
                                                    memory_order_acq_rel, memory_order_relaxed)) {
            *ret_slot = (unsigned)oldest;
            return true;
        }
        /* recalled, perhaps reposted: look again */
    }
}

void mailbox_finish(struct mailbox *mailbox, unsigned slot)
{
    struct slot_word word = mailbox_peek(mailbox, slot);
    atomic_store_explicit(&mailbox->words[slot], pack(SLOT_DONE, word.generation, word.sequence), memory_order_release);
    atomic_fetch_add_explicit(&mailbox->done_count, 1, memory_order_release);
}

static bool has_ready(const struct mailbox *mailbox)
{
    for (unsigned i = 0; i < MAILBOX_SLOTS; i++)
        if (mailbox_peek(mailbox, i).state == SLOT_READY)
            return true;
    return false;
}

void mailbox_sleep(struct mailbox *mailbox)
{
    atomic_store_explicit(&mailbox->is_sleeping, 1, memory_order_seq_cst);
    atomic_thread_fence(memory_order_seq_cst);
    uint32_t ping = atomic_load_explicit(&mailbox->ping, memory_order_acquire);
    if (!has_ready(mailbox) && ping == atomic_load_explicit(&mailbox->pong, memory_order_relaxed))
        syscall(SYS_futex, &mailbox->is_sleeping, FUTEX_WAIT, 1, NULL, NULL, 0);
    atomic_store_explicit(&mailbox->is_sleeping, 0, memory_order_seq_cst);
}

enum status spill_create(uint64_t region_bytes, struct spill *ret_spill)
{
    int fd = memfd_create("twinpool-spill", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return ST_INTERNAL;
    off_t size = (off_t)(region_bytes * 2 * MAILBOX_SLOTS);
    /* sealed, so that no worker can cut the file under a reader */
    if (ftruncate(fd, size) != 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
        close(fd);
        return ST_INTERNAL;
    }
    *ret_spill = (struct spill){ .fd = fd, .region_bytes = region_bytes };
    return ST_OK;
}

static off_t region_start(const struct spill *spill, unsigned slot, bool is_result)
{
    return (off_t)(spill->region_bytes * (slot * 2 + (is_result ? 1 : 0)));
}

static bool write_all(const struct spill *spill, off_t start, uint64_t at, const char *bytes, size_t len)
{
    if (at > spill->region_bytes || len > spill->region_bytes - at)
        return false;
    start += (off_t)at;
    while (len > 0) {
        ssize_t n = pwrite(spill->fd, bytes, len, start);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        bytes += n;
        start += n;
        len -= (size_t)n;
    }
    return true;
}

static bool read_all(const struct spill *spill, off_t start, char *bytes, size_t len)
{
    if (len > spill->region_bytes)
        return false;
    while (len > 0) {
        ssize_t n = pread(spill->fd, bytes, len, start);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        bytes += n;
        start += n;
        len -= (size_t)n;
    }
    return true;
}

bool spill_write_request(const struct spill *spill, unsigned slot, uint64_t at, const void *bytes, size_t len)
{
    return write_all(spill, region_start(spill, slot, false), at, bytes, len);
}

bool spill_read_request(const struct spill *spill, unsigned slot, void *bytes, size_t len)
{
    return read_all(spill, region_start(spill, slot, false), bytes, len);
}

bool spill_write_result(const struct spill *spill, unsigned slot, uint64_t at, const void *bytes, size_t len)
{
    return write_all(spill, region_start(spill, slot, true), at, bytes, len);
}

bool spill_read_result(const struct spill *spill, unsigned slot, void *bytes, size_t len)
{
    return read_all(spill, region_start(spill, slot, true), bytes, len);
}

void spill_clear(const struct spill *spill, unsigned slot)
{
    fallocate(spill->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, region_start(spill, slot, false),
              (off_t)(spill->region_bytes * 2));
}
