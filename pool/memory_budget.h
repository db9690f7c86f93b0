/* memory_budget: how many bytes the bodies and results of all fetches may take together.
 *
 * A transfer takes what it receives before it keeps it; if nothing is left, it pauses and tries again when somebody
 * gives. So that a crowd of half-received bodies cannot block each other for ever, one call at a time is favoured:
 * until it is closed it may go on beyond the budget, by at most `overdraft_max` bytes, which is enough for all its
 * bodies. Their decoders can take more than that. So of a favoured call one transfer at a time is exempt: it takes what
 * it needs and accounts for nothing. What cannot wait (a complete result, a decoder's window that grows) has a reserve.
 *
 * A call whose caller reads its results as they come takes nothing more, and is not favoured, while over `window` bytes
 * are unread. Thread-safe, without locks. */
#ifndef TWINPOOL_POOL_MEMORY_BUDGET_H
#define TWINPOOL_POOL_MEMORY_BUDGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/attrs.h"

/* One call's share. */
struct memory_account {
    size_t window;         /* 0: results are not read as they come */
    _Atomic size_t unread; /* bytes of finished results */
};

struct memory_budget {
    size_t max, overdraft_max, reserve_max;
    _Atomic size_t taken;    /* of max and the overdraft */
    _Atomic size_t reserved; /* of the reserve */
    _Atomic bool is_exempt;  /* some transfer is */
    _Atomic(struct memory_account *) favoured;
    _Atomic unsigned waiting; /* transfers that were refused; theirs to count */
    _Atomic unsigned gifts;   /* changes whenever there may be memory for them */
};

/* What somebody holds. */
struct memory_grant {
    size_t taken, reserved;
};

/* For a body that is being received. False: not now. */
bool memory_take(struct memory_budget *budget, struct memory_account *account, size_t bytes) NONNULL MUST_CHECK;
/* For a decoder and the first step of its body: within the budget, or the transfer becomes exempt, which
 * memory_end_exemption() ends. False: not now. */
bool memory_take_decoder(struct memory_budget *budget, struct memory_account *account, size_t bytes,
                         bool *ret_is_exempt) NONNULL MUST_CHECK;
void memory_end_exemption(struct memory_budget *budget) NONNULL;

/* For a result that is complete: it cannot stand still, whatever its caller has left unread. */
bool memory_take_result(struct memory_budget *budget, struct memory_account *account, size_t bytes,
                        struct memory_grant *grant) NONNULL MUST_CHECK;
/* For a decoder that has begun. */
bool memory_take_growth(struct memory_budget *budget, size_t bytes, struct memory_grant *grant) NONNULL MUST_CHECK;

void memory_give(struct memory_budget *budget, size_t bytes) NONNULL;
void memory_give_back(struct memory_budget *budget, struct memory_grant *grant) NONNULL; /* all; safe to repeat */
/* All but `bytes`. */
void memory_give_surplus(struct memory_budget *budget, struct memory_grant *grant, size_t bytes) NONNULL;
/* The account takes no more. Safe to repeat. */
void memory_close(struct memory_budget *budget, struct memory_account *account) NONNULL;
/* The caller of a stream has read so much. True: it has caught up, no more than `window` is unread any longer. */
bool memory_read(struct memory_budget *budget, struct memory_account *account, size_t bytes) NONNULL;

#endif
