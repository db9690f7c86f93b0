/* derived_key: what the tasks that derive a key from a password have in common: the salt, the length or the key that is
 * expected, and the answer. Binary values are hexadecimal, which has one spelling for every length. */
#ifndef TWINPOOL_TASKS_DERIVED_KEY_H
#define TWINPOOL_TASKS_DERIVED_KEY_H

#include <stdbool.h>
#include <stddef.h>

#include "tasks/task.h"

enum { SALT_MAX_BYTES = 256, KEY_MAX_BYTES = 512, KEY_DEFAULT_BYTES = 32, PASSWORD_MAX_BYTES = 1024 };

/* The rows of a parameter table that derived_key_begin() reads. */
#define PASSWORD_PARAM                                                                              \
    {                                                                                               \
        .name = "password", .description = "The password.", .kind = PARAM_STRING, .required = true, \
        .maximum = PASSWORD_MAX_BYTES                                                               \
    }
#define SALT_PARAM                                                                                              \
    {                                                                                                           \
        .name = "salt_hex", .description = "The salt in hexadecimal, two digits a byte.", .kind = PARAM_STRING, \
        .required = true, .maximum = 2L * SALT_MAX_BYTES                                                        \
    }
#define LENGTH_PARAM                                                                                            \
    {                                                                                                           \
        .name = "length", .description = "Bytes of the key: 32 unless given.", .kind = PARAM_INT, .minimum = 1, \
        .maximum = KEY_MAX_BYTES                                                                                \
    }
#define EXPECTED_PARAM                                                                                                 \
    {                                                                                                                  \
        .name = "expected_hex",                                                                                        \
        .description = "Verify: the key to compare with, in hexadecimal; gives its length, too. The answer then says " \
                       "only whether they match.",                                                                     \
        .kind = PARAM_STRING, .minimum = 2, .maximum = 2L * KEY_MAX_BYTES                                              \
    }

struct derived_key {
    unsigned char salt[SALT_MAX_BYTES];
    size_t salt_len;
    unsigned char key[KEY_MAX_BYTES]; /* the task's to fill: `len` bytes */
    size_t len;
    unsigned char expected[KEY_MAX_BYTES]; /* `len` bytes, if is_verifying */
    bool is_verifying;
};

/* ST_OK: *ret_key is ready for the derivation; derived_key_wipe() it in any case. ST_INVALID_ARGS: the output says why.
 */
enum status derived_key_begin(const struct arg *salt_hex, const struct arg *length, const struct arg *expected_hex,
                              struct task_output *output, struct derived_key *ret_key) NONNULL MUST_CHECK;

/* The result: `{"hex","base64"}` or, verifying, `{"matches"}`; compared in a time that does not depend on the bytes. */
void derived_key_write(const struct derived_key *key, struct buf *result) NONNULL;

void derived_key_wipe(struct derived_key *key) NONNULL;

#endif
