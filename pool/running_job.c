#include "pool/running_job.h"

static struct slot *running; /* NULL: none */

void running_job_set(struct slot *slot)
{
    if (slot != NULL)
        atomic_store_explicit(&slot->result.is_started, 1, memory_order_release);
    running = slot;
}

bool running_job_is_cancelled(void)
{
    return running != NULL && atomic_load_explicit(&running->is_cancelled, memory_order_relaxed) != 0;
}

void running_job_take_back(void)
{
    if (running != NULL)
        atomic_store_explicit(&running->result.is_started, 0, memory_order_release);
}

void running_job_explain_end(const char *text)
{
    if (running != NULL)
        slot_result_explain(&running->result, text);
}
