/* The name server under test and a few words for what is said to it, for both drivers of its tests. */
#ifndef TWINPOOL_TESTS_NAME_SERVER_RIG_H
#define TWINPOOL_TESTS_NAME_SERVER_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "base/attrs.h"
#include "tests/support/name_server.h"

static struct name_server *server;

static inline int setup(void **state)
{
    (void)state;
    server = name_server_start("127.0.0.1", 0);
    return server ? 0 : -1;
}

static inline int teardown(void **state)
{
    (void)state;
    name_server_stop(server);
    return 0;
}

static inline void add(const char *name, enum name_type type, const char *value)
{
    assert_true(name_server_add(server, name, type, value, 60));
}

static inline void behave(const char *name, enum name_behaviour behaviour)
{
    assert_true(name_server_behave(server, name, behaviour, 0));
}

static inline void add_many(const char *name, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        char address[32];
        snprintf(address, sizeof address, "10.0.%u.%u", i / 256, i % 256);
        add(name, NAME_A, address);
    }
}

#endif
