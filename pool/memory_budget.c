/* memory_budget: counters and a pointer. Takers compare and swap rather than add first and take back what was too
 * much: that would have one who fits refused because of another who does not, and one who is refused waits for a gift,
 * which might never come. */
#include "pool/memory_budget.h"

static bool add_within(_Atomic size_t *counter, size_t bytes, size_t max)
{
    size_t before = atomic_load(counter);
    do {
        if (before > max || bytes > max - before)
            return false;
    } while (!atomic_compare_exchange_weak(counter, &before, before + bytes));
    return true;
}

static bool is_unread(const struct memory_account *account)
{
    return account->window > 0 && atomic_load(&account->unread) > account->window;
}

/* Is the account favoured, perhaps from now on? */
static bool is_favoured(struct memory_budget *budget, struct memory_account *account)
{
    struct memory_account *nobody = NULL;
    return atomic_load(&budget->favoured) == account ||
           atomic_compare_exchange_strong(&budget->favoured, &nobody, account);
}

/* It is its reader that it waits for: another may be favoured. */
static bool must_wait_for_reader(struct memory_budget *budget, struct memory_account *account)
{
    if (!is_unread(account))
        return false;
    memory_close(budget, account);
    return true;
}

static bool take(struct memory_budget *budget, struct memory_account *account, size_t bytes)
{
    return add_within(&budget->taken, bytes, budget->max) ||
           (is_favoured(budget, account) && add_within(&budget->taken, bytes, budget->max + budget->overdraft_max));
}

bool memory_take(struct memory_budget *budget, struct memory_account *account, size_t bytes)
{
    return !must_wait_for_reader(budget, account) && take(budget, account, bytes);
}

bool memory_take_decoder(struct memory_budget *budget, struct memory_account *account, size_t bytes,
                         bool *ret_is_exempt)
{
    *ret_is_exempt = false;
    if (must_wait_for_reader(budget, account))
        return false;
    if (add_within(&budget->taken, bytes, budget->max))
        return true;
    *ret_is_exempt = is_favoured(budget, account) && !atomic_exchange(&budget->is_exempt, true);
    return *ret_is_exempt;
}

void memory_end_exemption(struct memory_budget *budget)
{
    atomic_store(&budget->is_exempt, false);
    atomic_fetch_add(&budget->gifts, 1);
}

static bool take_reserve(struct memory_budget *budget, size_t bytes, struct memory_grant *grant)
{
    if (!add_within(&budget->reserved, bytes, budget->reserve_max))
        return false;
    grant->reserved += bytes;
    return true;
}

bool memory_take_result(struct memory_budget *budget, struct memory_account *account, size_t bytes,
                        struct memory_grant *grant)
{
    bool is_taken = is_unread(account) ? add_within(&budget->taken, bytes, budget->max) : take(budget, account, bytes);
    if (is_taken)
        grant->taken += bytes;
    return is_taken || take_reserve(budget, bytes, grant);
}

bool memory_take_growth(struct memory_budget *budget, size_t bytes, struct memory_grant *grant)
{
    if (!add_within(&budget->taken, bytes, budget->max))
        return take_reserve(budget, bytes, grant);
    grant->taken += bytes;
    return true;
}

void memory_give(struct memory_budget *budget, size_t bytes)
{
    if (bytes == 0)
        return;
    atomic_fetch_sub(&budget->taken, bytes);
    atomic_fetch_add(&budget->gifts, 1);
}

void memory_give_surplus(struct memory_budget *budget, struct memory_grant *grant, size_t bytes)
{
    size_t held = grant->taken + grant->reserved, surplus = held > bytes ? held - bytes : 0,
           reserved = surplus < grant->reserved ? surplus : grant->reserved;
    if (reserved > 0)
        atomic_fetch_sub(&budget->reserved, reserved);
    memory_give(budget, surplus - reserved);
    grant->reserved -= reserved;
    grant->taken -= surplus - reserved;
}

void memory_give_back(struct memory_budget *budget, struct memory_grant *grant)
{
    memory_give_surplus(budget, grant, 0);
}

void memory_close(struct memory_budget *budget, struct memory_account *account)
{
    struct memory_account *self = account;
    if (atomic_compare_exchange_strong(&budget->favoured, &self, NULL))
        atomic_fetch_add(&budget->gifts, 1);
}

bool memory_read(struct memory_budget *budget, struct memory_account *account, size_t bytes)
{
    size_t before = atomic_fetch_sub(&account->unread, bytes); /* one step: what is added meanwhile must not hide it */
    atomic_fetch_add(&budget->gifts, 1);
    return before > account->window && before - bytes <= account->window;
}
