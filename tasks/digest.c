/* digest: the cryptographic hash of a binary payload or of a text, through OpenSSL's EVP interface.
 *
 * An algorithm is fetched from OpenSSL's provider once and kept for the life of the process: the fetch costs more than
 * hashing a short text, and the first one reads OpenSSL's configuration, which a worker cannot do any more when jobs
 * come. A worker runs one job at a time, so the cache needs no lock. */
#include "tasks/builtin.h"

#include <openssl/evp.h>

#include "base/json_write.h"
#include "tasks/subject.h"

enum { TEXT_MAX_BYTES = 1024 * 1024 };

enum algorithm { SHA256, SHA512, BLAKE2B512, BLAKE2S256, ALGORITHM_COUNT };

/* One more than there are: the NULL that ends `choices`. */
static const char *const algorithm_names[ALGORITHM_COUNT + 1] = {
    [SHA256] = "sha256",
    [SHA512] = "sha512",
    [BLAKE2B512] = "blake2b512",
    [BLAKE2S256] = "blake2s256",
};
static const char *const openssl_names[ALGORITHM_COUNT] = {
    [SHA256] = "SHA2-256",
    [SHA512] = "SHA2-512",
    [BLAKE2B512] = "BLAKE2B-512",
    [BLAKE2S256] = "BLAKE2S-256",
};

static const EVP_MD *algorithm_fetch(enum algorithm algorithm)
{
    static EVP_MD *fetched[ALGORITHM_COUNT];
    if (!fetched[algorithm])
        fetched[algorithm] = EVP_MD_fetch(NULL, openssl_names[algorithm], NULL);
    return fetched[algorithm];
}

static void warm_up(void)
{
    for (unsigned i = 0; i < ALGORITHM_COUNT; i++)
        (void)algorithm_fetch((enum algorithm)i);
}

enum { ARG_ALGORITHM, ARG_TEXT };

static const struct param params[] = {
    [ARG_ALGORITHM] = { .name = "algorithm",
                        .description = "The hash function.",
                        .kind = PARAM_ENUM,
                        .choices = algorithm_names,
                        .default_text = "sha256" },
    [ARG_TEXT] = { .name = "text",
                   .description = "What to hash, as UTF-8; give this or a binary body, not both.",
                   .kind = PARAM_STRING,
                   .minimum = 0,
                   .maximum = TEXT_MAX_BYTES },
    { .name = NULL },
};

static enum status run(const struct task_input *input, struct task_output *output)
{
    struct buf *result = output->result;
    struct subject subject;
    const enum status status = subject_take(input, &input->args[ARG_TEXT], "text", output, &subject);
    if (status != ST_OK)
        return status;

    const enum algorithm algorithm = (enum algorithm)input->args[ARG_ALGORITHM].number;
    const EVP_MD *md = algorithm_fetch(algorithm);
    unsigned char hash[EVP_MAX_MD_SIZE];
    unsigned int hash_len = 0;
    if (!md || EVP_Digest(subject.bytes, subject.len, hash, &hash_len, md, NULL) != 1)
        return task_fail(output, ST_TASK_FAILED, "OpenSSL does not offer this algorithm here");

    buf_byte(result, '{');
    json_key(result, "algorithm");
    json_text(result, algorithm_names[algorithm]);
    buf_byte(result, ',');
    json_key(result, "hex");
    json_hex(result, hash, hash_len);
    buf_byte(result, ',');
    json_key(result, "bytes");
    json_uint(result, subject.len);
    buf_byte(result, '}');
    return ST_OK;
}

const struct task digest_task = {
    .name = "digest",
    .description = "The SHA-2 or BLAKE2 hash of a binary body or of a text, in hexadecimal.",
    .params = params,
    .takes_payload = true,
    .is_idempotent = true,
    .run = run,
    .warm_up = warm_up,
};
