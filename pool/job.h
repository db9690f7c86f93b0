/* job: one piece of CPU-bound work for the process pool, and what became of it. */
#ifndef TWINPOOL_POOL_JOB_H
#define TWINPOOL_POOL_JOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attrs.h"
#include "base/status.h"
#include "pool/evidence.h"
#include "pool/mailbox.h"

struct job_usage {
    uint64_t queue_ns; /* accepted until started; of a job that never started: until it ended */
    uint64_t wall_ns;
    uint64_t cpu_ns;      /* user and system time of the worker */
    uint64_t max_rss_kib; /* of the worker process, its peak so far */
};

enum job_state { JOB_NEW, JOB_QUEUED, JOB_POSTED, JOB_ENDED };

/* A queue of jobs, linked through them. */
struct job_list {
    struct job *first, *last;
};

/* The jobs of one call: one at a time has its turn among those of others. The submitter's; all zero at first. */
struct job_flow {
    struct job_list waiting; /* for the others */
    unsigned in_line;        /* one, or more if some came back */
};

struct job {
    /* Set by the submitter; stays put until on_done. */
    unsigned loop; /* whose process_pool_collect() completes it */
    unsigned task; /* index into task_table */
    enum task_args_form form;
    const char *args; /* JSON text; unchecked, the worker does that */
    size_t args_len;
    const char *payload; /* binary body */
    size_t payload_len;
    bool has_payload;
    enum task_priority priority;
    struct job_flow
        *flow;        /* of its call, all of whose jobs have the same task and priority; NULL: it is the only one */
    unsigned items;   /* 0: one job; else args is a JSON array of that many args */
    bool is_admitted; /* a further chunk of an accepted map: exempt from the bound on the queue's length */
    uint64_t
        deadline_ns; /* CLOCK_NEVER for none; an expired job is not started. The submitter cancels a running one. */
    void (*on_done)(struct job *job); /* exactly once, on that loop, no lock held */
    void *user;

    /* Result, valid in on_done; job_clear() frees it. */
    enum status status;
    char *result; /* ST_OK: the result as JSON text. A chunk: `{"result":…}` or `{"error":{…}}` of each finished item,
                     separated by commas, also if the chunk failed. ST_INVALID_ARGS, ST_INVALID_JSON: the JSON array of
                     problems */
    size_t result_len;
    bool is_binary;                    /* ST_OK: the result is bytes */
    unsigned items_done;               /* of a chunk */
    unsigned items_failed;             /* of those */
    char detail[MAILBOX_DETAIL_BYTES]; /* of a failure, valid UTF-8, "" if there is nothing to add */
    char evidence[EVIDENCE_MAX];       /* of a job that was stopped at its deadline: what its worker was at; else "" */
    int signal;                        /* that ended the worker, 0 if none */
    size_t result_max;                 /* bytes that the result might have; of one that a worker got */
    int exit_status;                   /* of a worker that has ended itself, -1 if it has not */
    unsigned attempts;                 /* times it was started; at least 1 for a job that ended in a worker */
    struct job_usage usage;

    /* The pool's own. */
    enum job_state state;
    struct job *next, *previous;
    uint64_t accepted_ns;
    uint64_t turn; /* its place in the line */
    bool is_in_line;
    uint64_t expected_ns; /* what it will take, as was known when it was accepted, or taken from the line since */
    uint64_t level_tag_ns, line_tag_ns, charged_ns; /* of one that was taken: see job_queue.h */
    unsigned worker, slot;
    uint32_t sequence;
};

/* Frees what the pool allocated for the result (with free()). */
void job_clear(struct job *job) NONNULL;

/* Sets detail, cut to fit. */
void job_set_detail(struct job *job, const char *text, size_t len) NONNULL;
/* Sets queue_ns and wall_ns from what a worker says about its clock, within what can be true. */
void job_set_times(struct job *job, uint64_t started_ns, uint64_t ended_ns) NONNULL;

/* Args and payload. */
static inline size_t job_bytes(const struct job *job) { return job->args_len + job->payload_len; }

void job_list_append(struct job_list *list, struct job *job) NONNULL;
/* Among those whose turn is before and after its own. */
void job_list_insert_by_turn(struct job_list *list, struct job *job) NONNULL;
void job_list_remove(struct job_list *list, struct job *job) NONNULL;

#endif
