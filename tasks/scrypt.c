/* scrypt: a key from a password by scrypt (RFC 7914), by OpenSSL; or whether it is the expected one.
 *
 * It takes 128 * r * (n + p) bytes, which must stay within MEMORY_MAX_BYTES whatever the single factors are, and p
 * times the time for that much memory. The task wipes its own copies of what is secret; those in the request are not
 * its own.
 */
#include "tasks/builtin.h"

#include <inttypes.h>
#include <openssl/err.h>
#include <openssl/evp.h>

#include "tasks/derived_key.h"

#define MEMORY_MAX_BYTES (INT64_C(256) * 1024 * 1024)
/* OpenSSL counts a few KiB of its own, and its limit is not to be the one that decides. */
#define MEMORY_SLACK_BYTES 65536

enum { ARG_PASSWORD, ARG_SALT, ARG_N, ARG_R, ARG_P, ARG_LENGTH, ARG_EXPECTED };

static const struct param params[] = {
    [ARG_PASSWORD] = PASSWORD_PARAM,
    [ARG_SALT] = SALT_PARAM,
    [ARG_N] = { .name = "n",
                .description = "The cost, a power of two; 128*r*(n+p) bytes, at most 256 MiB, are needed.",
                .kind = PARAM_INT,
                .minimum = 2,
                .maximum = 1024 * 1024,
                .default_text = "32768" },
    [ARG_R] = { .name = "r",
                .description = "The size of a block, in units of 128 bytes.",
                .kind = PARAM_INT,
                .minimum = 1,
                .maximum = 64,
                .default_text = "8" },
    [ARG_P] = { .name = "p",
                .description = "How many times all of it is done.",
                .kind = PARAM_INT,
                .minimum = 1,
                .maximum = 16,
                .default_text = "3" },
    [ARG_LENGTH] = LENGTH_PARAM,
    [ARG_EXPECTED] = EXPECTED_PARAM,
    { .name = NULL },
};

static enum status check_cost(int64_t n, int64_t r, int64_t p, struct task_output *output)
{
    const int64_t memory_bytes = 128 * r * (n + p);
    if ((n & (n - 1)) != 0)
        return task_fail(output, ST_INVALID_ARGS, "n must be a power of two");
    if (r == 1 && n >= 65536) /* RFC 7914, section 6: n < 2^(128 * r / 8) */
        return task_fail(output, ST_INVALID_ARGS, "with r = 1, n must be less than 65536");
    if (memory_bytes > MEMORY_MAX_BYTES)
        return task_fail(output, ST_INVALID_ARGS,
                         "128*r*(n+p) are %" PRId64 " bytes of memory; at most %" PRId64 " are allowed", memory_bytes,
                         MEMORY_MAX_BYTES);
    return ST_OK;
}

static enum status derive(const struct task_input *input, struct task_output *output, struct derived_key *key)
{
    const struct arg *password = &input->args[ARG_PASSWORD];
    if (EVP_PBE_scrypt(password->text, password->text_len, key->salt, key->salt_len,
                       (uint64_t)input->args[ARG_N].number, (uint64_t)input->args[ARG_R].number,
                       (uint64_t)input->args[ARG_P].number, MEMORY_MAX_BYTES + MEMORY_SLACK_BYTES, key->key,
                       key->len) != 1) {
        ERR_clear_error();
        return task_fail(output, ST_NO_MEMORY,
                         "no memory to derive the key"); /* the args were checked: nothing else is left */
    }
    derived_key_write(key, output->result);
    return ST_OK;
}

static enum status run(const struct task_input *input, struct task_output *output)
{
    struct derived_key key;
    enum status status =
        check_cost(input->args[ARG_N].number, input->args[ARG_R].number, input->args[ARG_P].number, output);
    if (status != ST_OK)
        return status;
    status =
        derived_key_begin(&input->args[ARG_SALT], &input->args[ARG_LENGTH], &input->args[ARG_EXPECTED], output, &key);
    if (status == ST_OK)
        status = derive(input, output, &key);
    derived_key_wipe(&key);
    return status;
}

const struct task scrypt_task = {
    .name = "scrypt",
    .description = "A key from a password by scrypt, or whether it is the expected one.",
    .params = params,
    .is_idempotent = true,
    .run = run,
};
