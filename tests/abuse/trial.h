/* trial: one abusive fetch and what must come of it.
 *
 * The oracle is twofold: the expected code, and not one connection at any canary, whether the case is refused or not.
 * Where the policy alone decides (no name to resolve, no redirect), POST /fetch?explain=1 and GET /fetch?explain=1 must
 * say the same as the fetch did. Everything here fails the running test at the first mismatch, with all that is known.
 */
#ifndef TWINPOOL_TESTS_ABUSE_TRIAL_H
#define TWINPOOL_TESTS_ABUSE_TRIAL_H

#include <cjson/cJSON.h>

#include "tests/abuse/lab.h"

enum { TRIAL_CODE_SIZE = 64 };

struct trial {
    const char *id; /* unique in the lab */
    const char *what;
    const char *url; /* with lab_expand()'s placeholders; NULL: `with` has it */
    const char
        *expect; /* "ok": the origin's 200 came back; "302": that status did; else an error's code. "a|b": either */
    const char *with;  /* further members of the request ("\"method\":\"HEAD\""), expanded too; or NULL */
    const char *has;   /* must be in the answer, in any case of letters; or NULL */
    const char *lacks; /* must not be */
};

/* CASE("X01", "what", "URL", "expected", .with = "…", .has = "…") */
#define CASE(id_, what_, url_, expect_, ...)                                                       \
    {                                                                                              \
        .id = (id_), .what = (what_), .url = (url_), .expect = (expect_)__VA_OPT__(, ) __VA_ARGS__ \
    }

struct trial_group {
    const char *name; /* with the cases of the reference list that it stands for */
    const struct trial *trials;
    size_t count;
    enum lab_server server;
};
#define TRIAL_GROUP(server, name, trials)             \
    {                                                 \
        (name), (trials), ARRAY_LEN(trials), (server) \
    }

/* Each trial as it stands, and explained. */
void trial_run_group(const struct trial_group *group) NONNULL;
/* The same URLs again, each as the target of a 302 from an origin that may be fetched. */
void trial_run_redirected(const struct trial_group *group) NONNULL;
/* The same addresses again, each as the only address of a name; only trials whose host is a plain address. */
void trial_run_named(const struct trial_group *group) NONNULL;

/* One trial. `group`: only its name and server are looked at. */
void trial_run(const struct trial_group *group, const struct trial *trial) NONNULL;
/* The same trial again, not explained; the table does not count it as a case of its own. */
void trial_repeat(const struct trial_group *group, const struct trial *trial) NONNULL;

/* The members of a fetch of the trial's URL, without braces: "url":…,"retries":0,… */
void trial_write(const struct trial *trial, enum lab_server server, struct buf *out) NONNULL;
/* What became of a result, or of an entry of a list of results, in the words of trial.expect. */
void trial_code_of(const cJSON *result, char ret_code[static TRIAL_CODE_SIZE]) NONNULL;
/* Judges: the code, what the text of the answer has and lacks, the canaries. */
void trial_judge(const struct trial_group *group, const struct trial *trial, const char *url, const char *code,
                 const char *answer) NONNULL;

/* For those that run trials in other ways: adds to the table. */
void trial_count(const char *group, size_t cases, size_t requests) NONNULL;
/* What canaries have seen until now was meant to be. */
void trial_forget_hits(void);
/* Every group with its numbers of cases, requests and connections to canaries. Returns how many mismatches there were.
 */
unsigned trial_print_table(void);

#endif
