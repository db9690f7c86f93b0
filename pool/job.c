#include "pool/job.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

void job_list_append(struct job_list *list, struct job *job)
{
    job->next = NULL;
    job->previous = list->last;
    if (list->last != NULL)
        list->last->next = job;
    else
        list->first = job;
    list->last = job;
}

void job_list_insert_by_turn(struct job_list *list, struct job *job)
{
    struct job *before = list->last, *after = NULL;
    if (before != NULL && before->turn > job->turn) /* it came back: near the front, where it was taken from */
        for (before = NULL, after = list->first; after->turn < job->turn; after = after->next)
            before = after;
    job->previous = before;
    job->next = after;
    if (before != NULL)
        before->next = job;
    else
        list->first = job;
    if (after != NULL)
        after->previous = job;
    else
        list->last = job;
}

void job_list_remove(struct job_list *list, struct job *job)
{
    if (job->previous != NULL)
        job->previous->next = job->next;
    else
        list->first = job->next;
    if (job->next != NULL)
        job->next->previous = job->previous;
    else
        list->last = job->previous;
    job->next = job->previous = NULL;
}

void job_clear(struct job *job)
{
    free(job->result);
    job->result = NULL;
    job->result_len = 0;
}

void job_set_detail(struct job *job, const char *text, size_t len)
{
    if (len >= sizeof job->detail)
        len = sizeof job->detail - 1;
    memcpy(job->detail, text, len);
    job->detail[len] = '\0';
}

void job_set_times(struct job *job, uint64_t started_ns, uint64_t ended_ns)
{
    uint64_t age_ns = clock_now_ns() - job->accepted_ns;
    uint64_t queue_ns = started_ns > job->accepted_ns ? started_ns - job->accepted_ns : 1;
    uint64_t wall_ns = ended_ns > started_ns ? ended_ns - started_ns : 0;
    job->usage.queue_ns = queue_ns < age_ns ? queue_ns : age_ns;
    job->usage.wall_ns = wall_ns < age_ns ? wall_ns : age_ns;
}
