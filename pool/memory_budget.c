/* memory_budget: a counter and a pointer. Takers compare and swap rather than add first and take back what was too
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

/* Is the account favoured, perhaps from now on? */
static bool is_favoured(struct memory_budget *budget, struct memory_account *account)
{
    struct memory_account *nobody = NULL;
    return atomic_load(&budget->favoured) == account ||
           atomic_compare_exchange_strong(&budget->favoured, &nobody, account);
}

bool memory_take(struct memory_budget *budget, struct memory_account *account, size_t bytes)
{
    if (account->window > 0 && atomic_load(&account->unread) > account->window) {
        memory_close(budget, account); /* it is its reader that it waits for: another may be favoured */
        return false;
    }
    return memory_take_result(budget, account, bytes);
}

bool memory_take_result(struct memory_budget *budget, struct memory_account *account, size_t bytes)
{
    return add_within(&budget->taken, bytes, budget->max) ||
           (is_favoured(budget, account) && add_within(&budget->taken, bytes, budget->max + budget->overdraft_max));
}

void memory_give(struct memory_budget *budget, size_t bytes)
{
    if (bytes == 0)
        return;
    atomic_fetch_sub(&budget->taken, bytes);
    atomic_fetch_add(&budget->gifts, 1);
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
