/* control: the messages between the supervisor and the front end.
 *
 * One SOCK_SEQPACKET socket pair per front end process, fixed-size messages, non-blocking on both sides. End of file
 * means that the other side is gone. */
#ifndef TWINPOOL_SERVICE_CONTROL_H
#define TWINPOOL_SERVICE_CONTROL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attrs.h"

enum control_type {
    /* supervisor to front end */
    CONTROL_WORKER_STARTED, /* worker, generation, pid */
    CONTROL_WORKER_DIED,    /* worker, generation, wait_status */
    CONTROL_HAND_OVER,      /* accept no more, serve whom there is, then exit 0 */
    CONTROL_DRAIN,          /* finish what is in flight, then exit 0 */
    CONTROL_STOP,           /* give up what is in flight, answer every client, exit 0 */
    /* front end to supervisor */
    CONTROL_SERVING,     /* the loops run */
    CONTROL_KILL_WORKER, /* worker, generation, reason, is_idle */
    CONTROL_WANT_WORKERS /* group, count */
};

struct control_message {
    uint32_t type; /* enum control_type */
    uint32_t worker, generation;
    uint32_t group, count; /* workers that it is to have */
    int32_t pid;
    int32_t wait_status;
    uint32_t is_idle; /* it has no job, and is no longer needed */
    char reason[24];  /* NUL-terminated, for the log */
};

/* False: no memory or descriptors. Both ends are close-on-exec. */
bool control_pair(int ret_ends[2]) NONNULL MUST_CHECK;

/* False: it did not fit (try again when the socket is writable) or the other side is gone. */
bool control_send(int fd, const struct control_message *message) NONNULL MUST_CHECK;

enum control_result { CONTROL_RECEIVED, CONTROL_NOTHING, CONTROL_CLOSED };
/* Never blocks. */
enum control_result control_receive(int fd, struct control_message *ret_message) NONNULL MUST_CHECK;

#endif
