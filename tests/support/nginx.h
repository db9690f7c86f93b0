/* nginx: a real origin for tests: nginx with static files, unprivileged, in a temporary directory.
 *
 * Files: /small (1 KiB of text), /64k (64 KiB of bytes that are no text), /page.html (64 KiB, sent with gzip). */
#ifndef TWINPOOL_TESTS_NGINX_H
#define TWINPOOL_TESTS_NGINX_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attrs.h"

struct nginx {
    pid_t pid; /* 0: not running */
    uint16_t port;
    char dir[64];
};

/* Waits until it accepts connections on 127.0.0.1. False: says why on stderr; nothing is left behind. */
bool nginx_start(struct nginx *ret_nginx) NONNULL MUST_CHECK;
/* Stops it and removes its directory. Safe to repeat. */
void nginx_stop(struct nginx *nginx) NONNULL;

#endif
