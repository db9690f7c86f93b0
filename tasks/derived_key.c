#include "tasks/derived_key.h"

#include <openssl/crypto.h>
#include <openssl/err.h>

#include "base/json_write.h"

/* False: not hexadecimal, or an odd number of digits. */
static bool read_hex(const struct arg *hex, unsigned char *to, size_t room, size_t *ret_len)
{
    *ret_len = 0;
    if (hex->text_len == 0)
        return true;
    if (hex->text_len % 2 == 0 && OPENSSL_hexstr2buf_ex(to, room, ret_len, hex->text, '\0') == 1)
        return true;
    ERR_clear_error();
    return false;
}

enum status derived_key_begin(const struct arg *salt_hex, const struct arg *length, const struct arg *expected_hex,
                              struct task_output *output, struct derived_key *ret_key)
{
    *ret_key = (struct derived_key){ .is_verifying = expected_hex->is_set };
    if (!read_hex(salt_hex, ret_key->salt, sizeof ret_key->salt, &ret_key->salt_len))
        return task_fail(output, ST_INVALID_ARGS, "salt_hex must be pairs of hexadecimal digits");
    if (!expected_hex->is_set) {
        ret_key->len = length->is_set ? (size_t)length->number : KEY_DEFAULT_BYTES;
        return ST_OK;
    }
    if (!read_hex(expected_hex, ret_key->expected, sizeof ret_key->expected, &ret_key->len))
        return task_fail(output, ST_INVALID_ARGS, "expected_hex must be pairs of hexadecimal digits");
    if (length->is_set && (size_t)length->number != ret_key->len)
        return task_fail(output, ST_INVALID_ARGS, "length is not that of expected_hex; leave it out");
    return ST_OK;
}

void derived_key_write(const struct derived_key *key, struct buf *result)
{
    if (key->is_verifying) {
        buf_lit(result, "{\"matches\":");
        json_bool(result, CRYPTO_memcmp(key->key, key->expected, key->len) == 0);
    } else {
        buf_lit(result, "{\"hex\":");
        json_hex(result, key->key, key->len);
        buf_lit(result, ",\"base64\":");
        json_base64(result, key->key, key->len);
    }
    buf_byte(result, '}');
}

void derived_key_wipe(struct derived_key *key) { OPENSSL_cleanse(key, sizeof *key); }
