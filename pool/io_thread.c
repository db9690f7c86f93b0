/* io_thread: trade jobs with the pool, run libcurl, harvest, again.
 *
 * All locking is in the one trade per turn: finished jobs go back in a batch and new ones come in a batch. Results are
 * rendered here, by the thread that fetched them, so the event loops only pass them on. Transfers are kept for reuse,
 * handle and buffers included, up to a number that bounds what an idle thread holds. */
#include "pool/io_thread.h"

#include <signal.h>
#include <stdlib.h>

#include "pool/fetch_render.h"

enum { IDLE_TRANSFERS_MAX = 512 };

bool io_thread_init(struct io_thread *thread, long connections_max)
{
    TAILQ_INIT(&thread->inbox);
    TAILQ_INIT(&thread->to_cancel);
    TAILQ_INIT(&thread->finished);
    TAILQ_INIT(&thread->env.waiting);
    thread->idle = calloc(IDLE_TRANSFERS_MAX, sizeof *thread->idle);
    if (!thread->idle)
        return false;
    thread->idle_capacity = IDLE_TRANSFERS_MAX;
    if (curl_loop_init(&thread->loop, connections_max)) {
        thread->env.loop = &thread->loop;
        return true;
    }
    free(thread->idle);
    return false;
}

void io_thread_done(struct io_thread *thread)
{
    for (size_t i = 0; i < thread->idle_count; i++)
        transfer_free(thread->idle[i]);
    free(thread->idle);
    curl_loop_done(&thread->loop);
}

static struct transfer *take_transfer(struct io_thread *thread)
{
    return thread->idle_count > 0 ? thread->idle[--thread->idle_count] : transfer_new(&thread->env);
}

static void keep_transfer(struct io_thread *thread, struct transfer *transfer)
{
    transfer_recycle(transfer);
    if (thread->idle_count < thread->idle_capacity)
        thread->idle[thread->idle_count++] = transfer;
    else
        transfer_free(transfer);
}

/* The item's result is complete. */
static void finish(struct io_thread *thread, struct io_job *job)
{
    if (job->transfer) {
        job->usage = transfer_usage(job->transfer);
        keep_transfer(thread, job->transfer);
        job->transfer = NULL;
    }
    TAILQ_INSERT_TAIL(&thread->finished, job, link);
}

static void finish_unstarted(struct io_thread *thread, struct io_job *job, enum status why)
{
    fetch_item_fail(job->item, why, "queue", "%s", status_title(why));
    fetch_render_failure(job->item, (size_t)(job - job->call->jobs));
    finish(thread, job);
}

static void start(struct io_thread *thread, struct io_job *job)
{
    if (job->is_cancelled) {
        finish_unstarted(thread, job, job->call->why);
        return;
    }
    job->transfer = take_transfer(thread);
    if (!job->transfer)
        finish_unstarted(thread, job, ST_NO_MEMORY);
    else if (!transfer_start(job->transfer, job->item, (size_t)(job - job->call->jobs), &job->call->budget, job))
        finish(thread, job);
}

static void cancel(struct io_thread *thread, struct io_job *job)
{
    if (!job->transfer) {
        job->is_cancelled = true; /* still in the inbox, or new with this trade: start() sees it */
        return;
    }
    transfer_abort(job->transfer, job->call->why);
    finish(thread, job);
}

static void harvest(struct io_thread *thread)
{
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(thread->loop.multi, &left)) != NULL) {
        if (message->msg != CURLMSG_DONE)
            continue;
        CURLcode code = message->data.result; /* the message goes with its handle */
        struct transfer *transfer = transfer_of(message->easy_handle);
        if (!transfer_hop_done(transfer, code))
            finish(thread, transfer_user(transfer));
    }
}

static void resume_waiting(struct io_thread *thread)
{
    struct transfer *transfer;
    while ((transfer = transfer_next_waiting(&thread->env)) != NULL)
        if (!transfer_resume(transfer))
            finish(thread, transfer_user(transfer));
}

static void note_awake(void *user)
{
    struct io_thread *thread = user;
    atomic_store_explicit(&thread->is_asleep, false, memory_order_relaxed);
}

static void *run(void *user)
{
    struct io_thread *thread = user;
    struct io_jobs new_jobs, to_cancel;
    while (io_pool_trade(thread, &new_jobs, &to_cancel)) {
        struct io_job *job, *next;
        bool has_work = !TAILQ_EMPTY(&new_jobs) || !TAILQ_EMPTY(&to_cancel);
        for (job = TAILQ_FIRST(&to_cancel); job; job = TAILQ_NEXT(job, cancel_link))
            cancel(thread, job);
        for (job = TAILQ_FIRST(&new_jobs); job; job = next) {
            next = TAILQ_NEXT(job, link); /* finishing moves it to another list */
            start(thread, job);
        }
        curl_loop_run_due(&thread->loop);
        harvest(thread);
        resume_waiting(thread);
        curl_loop_wait(&thread->loop, !has_work && TAILQ_EMPTY(&thread->finished), note_awake, thread);
        harvest(thread);
    }
    return NULL;
}

bool io_thread_start(struct io_thread *thread)
{
    /* Signals are for the threads that expect them. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&thread->id, NULL, run, thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error == 0;
}
