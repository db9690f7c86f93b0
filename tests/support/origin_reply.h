/* origin_reply: what the test origin sends for a request, as a small script. Between origin.c, which plays scripts,
 * and the behaviours (origin_script.h), which write them. */
#ifndef TWINPOOL_TESTS_ORIGIN_REPLY_H
#define TWINPOOL_TESTS_ORIGIN_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attrs.h"
#include "base/buf.h"
#include "tests/support/origin_request.h"

enum origin_ending {
    ORIGIN_KEEP, /* ready for the next request */
    ORIGIN_CLOSE,
    ORIGIN_RESET,   /* RST instead of FIN */
    ORIGIN_SILENCE, /* stays open and says no more */
    ORIGIN_HANG_UP  /* FIN, then reads on and forgets what it reads until the client closes too */
};

struct origin_reply {
    struct buf first; /* sent after delay_ms */
    uint32_t delay_ms;
    bool waits_for_gate;      /* and when the gate is open */
    bool body_waits_for_gate; /* what comes after `first` does */
    size_t step_bytes;        /* `first` goes out so many bytes at a time… */
    uint32_t step_ms;         /* …so often; 0 bytes: as fast as the peer reads, as is all the rest */
    const char *repeat;       /* static bytes or `block`, sent repeat_count times after that */
    size_t repeat_len;
    uint64_t repeat_count;    /* UINT64_MAX: for ever */
    uint32_t repeat_every_ms; /* the first time after one such pause; 0: none */
    struct buf block;
    const char *last; /* static bytes sent at the end */
    size_t last_len;
    enum origin_ending ending;
    uint32_t idle_ms; /* with ORIGIN_KEEP: closes when no whole request came for so long; 0: never */
    enum origin_ending
        next_ends; /* with ORIGIN_KEEP: how the next request ends, unanswered; ORIGIN_KEEP: as it should */
};

/* The caller frees the reply with origin_reply_done(). */
void origin_reply_write(const struct origin_request *request, struct origin_reply *ret_reply) NONNULL;
void origin_reply_done(struct origin_reply *reply) NONNULL;

/* Puts the next bytes of the script into `first`, whose own were sent. False: there are none left. */
bool origin_reply_refill(struct origin_reply *reply) NONNULL MUST_CHECK;

#endif
