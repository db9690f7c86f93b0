/* pbkdf2: a key from a password by PBKDF2 (RFC 8018) with HMAC, by OpenSSL; or whether it is the expected one.
 *
 * Its cost is iterations times the blocks of the key, both bounded by the table. The task wipes its own copies of what
 * is secret; those in the request are not its own. */
#include "tasks/builtin.h"

#include <openssl/err.h>
#include <openssl/evp.h>

#include "tasks/derived_key.h"

enum digest { SHA256, SHA512, SHA1, DIGEST_COUNT };

static const char *const digest_names[DIGEST_COUNT + 1] = {
    [SHA256] = "sha256",
    [SHA512] = "sha512",
    [SHA1] = "sha1",
};

enum { ARG_PASSWORD, ARG_SALT, ARG_ITERATIONS, ARG_DIGEST, ARG_LENGTH, ARG_EXPECTED };

static const struct param params[] = {
    [ARG_PASSWORD] = PASSWORD_PARAM,
    [ARG_SALT] = SALT_PARAM,
    [ARG_ITERATIONS] = { .name = "iterations",
                         .description = "How often the hash is iterated.",
                         .kind = PARAM_INT,
                         .minimum = 1,
                         .maximum = 10 * 1000 * 1000,
                         .default_text = "600000" },
    [ARG_DIGEST] = { .name = "digest",
                     .description = "The hash of the HMAC; sha1 only for keys that exist already.",
                     .kind = PARAM_ENUM,
                     .choices = digest_names,
                     .default_text = "sha256" },
    [ARG_LENGTH] = LENGTH_PARAM,
    [ARG_EXPECTED] = EXPECTED_PARAM,
    { .name = NULL },
};

static const EVP_MD *digest_of(enum digest digest)
{
    switch (digest) {
    case SHA512:
        return EVP_sha512();
    case SHA1:
        return EVP_sha1();
    case SHA256:
    case DIGEST_COUNT:
        break;
    }
    return EVP_sha256();
}

static enum status derive(const struct task_input *input, struct task_output *output, struct derived_key *key)
{
    const struct arg *password = &input->args[ARG_PASSWORD];
    if (PKCS5_PBKDF2_HMAC(password->text, (int)password->text_len, key->salt, (int)key->salt_len,
                          (int)input->args[ARG_ITERATIONS].number,
                          digest_of((enum digest)input->args[ARG_DIGEST].number), (int)key->len, key->key) != 1) {
        ERR_clear_error();
        return task_fail(output, ST_TASK_FAILED, "OpenSSL cannot derive this key here");
    }
    derived_key_write(key, output->result);
    return ST_OK;
}

static enum status run(const struct task_input *input, struct task_output *output)
{
    struct derived_key key;
    enum status status =
        derived_key_begin(&input->args[ARG_SALT], &input->args[ARG_LENGTH], &input->args[ARG_EXPECTED], output, &key);
    if (status == ST_OK)
        status = derive(input, output, &key);
    derived_key_wipe(&key);
    return status;
}

const struct task pbkdf2_task = {
    .name = "pbkdf2",
    .description = "A key from a password by PBKDF2 with HMAC, or whether it is the expected one.",
    .params = params,
    .is_idempotent = true,
    .run = run,
};
