/* origin_reply: what the test origin sends for a request, as a small script. Between origin.c, which plays scripts,
 * and origin_paths.c, which writes them. */
#ifndef TWINPOOL_TESTS_ORIGIN_REPLY_H
#define TWINPOOL_TESTS_ORIGIN_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attrs.h"
#include "base/buf.h"

enum origin_ending {
    ORIGIN_KEEP, /* ready for the next request */
    ORIGIN_CLOSE,
    ORIGIN_RESET,  /* RST instead of FIN */
    ORIGIN_SILENCE /* stays open and says no more */
};

struct origin_reply {
    struct buf first; /* sent after delay_ms */
    uint32_t delay_ms;
    bool waits_for_gate; /* and when the gate is open */
    const char *repeat;  /* static bytes, sent repeat_count times after that */
    size_t repeat_len;
    uint64_t repeat_count;    /* UINT64_MAX: for ever */
    uint32_t repeat_every_ms; /* 0: as fast as the peer reads */
    enum origin_ending ending;
};

struct origin_request {
    const char *method, *target; /* NUL-terminated */
    const char *fields;          /* field lines with their line ends */
    size_t fields_len;
    const char *body;
    size_t body_len;
};

/* `first` is owned by the reply; free it with buf_done(). */
void origin_reply_write(const struct origin_request *request, struct origin_reply *ret_reply) NONNULL;

#endif
