/* json_check: one pass over the text with an explicit stack of open containers.
 *
 * walk() is a machine of five expectations; each step reads one token and says what may follow. Nothing recurses and
 * nothing is allocated: the stack frame holds 64 levels and the hashes of the keys of the objects that are open.
 *
 * Duplicate keys. A key is unescaped on the fly and hashed as a polynomial over the field of 2^61 - 1, in groups of
 * seven bytes, at a point that the kernel drew at random for this process. No checked key holds a NUL, so two
 * different keys are two different polynomials, and they agree at that point with a chance below (length / 7) / 2^61,
 * whatever a client sends: equal hashes are taken as equal keys, without a second look. A few keys are compared one by
 * one; as soon as an object has more, all are found through an index, or 8192 keys would cost 33 million comparisons.
 * Its places are chosen by the secret point too, so that nobody can have them all in one place. Keys leave it in the
 * opposite order in which they came, hence a freed place never breaks a chain of others. */
#include "base/json_check.h"

#include <string.h>
#include <sys/auxv.h>

#include "base/json_scan.h"
#include "base/utf8.h"

#define DEPTH_MAX        64
#define HASH_PRIME       ((UINT64_C(1) << 61) - 1)
#define HASH_GROUP_BYTES 7  /* 56 bits: below the prime */
#define INDEX_FROM_KEYS  32 /* of one object */
#define INDEX_BITS       14
#define INDEX_PLACES     (1u << INDEX_BITS)
_Static_assert(INDEX_PLACES >= 2 * JSON_OPEN_KEYS_MAX && JSON_OPEN_KEYS_MAX < UINT16_MAX, "room for every key");

enum expectation {
    EXPECT_VALUE,
    EXPECT_FIRST_ELEMENT, /* or the end of the array */
    EXPECT_FIRST_KEY,     /* or the end of the object */
    EXPECT_KEY,
    EXPECT_COMMA, /* or the end of the container */
};

struct frame {
    unsigned first_key; /* index into keys */
    bool is_object;
};

struct checker {
    const char *text, *at, *end;
    const struct json_limits *limits;
    struct json_error *error;
    uint64_t hash_point;
    size_t values;
    unsigned depth;
    unsigned key_count;
    struct frame frames[DEPTH_MAX];
    uint64_t keys[JSON_OPEN_KEYS_MAX];
    bool is_indexed;              /* from the first object with many keys on: */
    uint16_t index[INDEX_PLACES]; /* which of `keys`, from 1; 0: free */
};

static bool fail(struct checker *checker, const char *at, const char *message)
{
    *checker->error = (struct json_error){ .offset = (size_t)(at - checker->text), .message = message };
    return false;
}

static bool fail_here(struct checker *checker, const char *message)
{
    return fail(checker, checker->at, checker->at == checker->end ? "unexpected end of the text" : message);
}

/* ---- strings */

static bool take_unicode_escape(struct checker *checker)
{
    const char *at = checker->at;
    unsigned unit, low;
    if (!json_hex4(at + 2, checker->end, &unit))
        return fail(checker, at, "bad \\u escape");
    if (unit == 0)
        return fail(checker, at, "\\u0000 is not accepted");
    checker->at += 6;
    if ((unit & 0xf800) != 0xd800)
        return true;
    const char *second = checker->at;
    bool is_pair = unit < 0xdc00 && checker->end - second >= 6 && second[0] == '\\' && second[1] == 'u' &&
                   json_hex4(second + 2, checker->end, &low) && (low & 0xfc00) == 0xdc00;
    if (!is_pair)
        return fail(checker, at, "lone surrogate");
    checker->at += 6;
    return true;
}

static bool take_escape(struct checker *checker)
{
    if (checker->end - checker->at < 2)
        return fail(checker, checker->end, "unterminated string");
    if (checker->at[1] == 'u')
        return take_unicode_escape(checker);
    if (json_short_escape(checker->at[1]) == 0)
        return fail(checker, checker->at, "bad escape");
    checker->at += 2;
    return true;
}

static bool take_high_bytes(struct checker *checker)
{
    const char *run = checker->at;
    while (checker->at < checker->end && (unsigned char)*checker->at >= 0x80)
        checker->at++;
    const char *invalid = utf8_first_invalid(run, (size_t)(checker->at - run));
    return invalid == NULL || fail(checker, invalid, "invalid UTF-8");
}

static bool take_string(struct checker *checker)
{
    checker->at++;
    for (;;) {
        checker->at = json_skip_plain_ascii(checker->at, checker->end);
        if (checker->at == checker->end)
            return fail(checker, checker->at, "unterminated string");
        unsigned char byte = (unsigned char)*checker->at;
        if (byte == '"') {
            checker->at++;
            return true;
        }
        if (byte < 0x20)
            return fail(checker, checker->at, "raw control byte in a string");
        if (byte == '\\' ? !take_escape(checker) : !take_high_bytes(checker))
            return false;
    }
}

/* ---- keys */

static uint64_t hash_point(void)
{
    const void *random = (const void *)getauxval(AT_RANDOM);
    uint64_t words[2] = { UINT64_C(0x9e3779b97f4a7c15), UINT64_C(0xd1b54a32d192ed03) };
    if (random != NULL)
        memcpy(words, random, sizeof words);
    return (words[0] ^ (words[1] << 32 | words[1] >> 32)) % HASH_PRIME;
}

static uint64_t hash_step(uint64_t sum, uint64_t point, uint64_t group)
{
    unsigned __int128 wide = (unsigned __int128)sum * point + group;
    uint64_t folded = (uint64_t)(wide & HASH_PRIME) + (uint64_t)(wide >> 61);
    return folded >= HASH_PRIME ? folded - HASH_PRIME : folded;
}

/* The hash of the checked string contents in [at, end). */
static uint64_t hash_key(uint64_t point, const char *at, const char *end)
{
    uint64_t sum = 0, group = 0;
    unsigned grouped = 0;
    char bytes[4];
    for (size_t len; at < end && (len = json_unescape(&at, end, bytes)) > 0;) {
        for (size_t i = 0; i < len; i++) {
            group = group << 8 | (unsigned char)bytes[i];
            if (++grouped == HASH_GROUP_BYTES) {
                sum = hash_step(sum, point, group);
                group = 0;
                grouped = 0;
            }
        }
    }
    return grouped == 0 ? sum : hash_step(sum, point, group);
}

static unsigned place_of(const struct checker *checker, uint64_t hash)
{
    return (unsigned)(hash * (checker->hash_point | 1) >> (64 - INDEX_BITS));
}

static unsigned next_place(unsigned place) { return (place + 1) & (INDEX_PLACES - 1); }

static void put_into_index(struct checker *checker, unsigned key)
{
    unsigned place = place_of(checker, checker->keys[key]);
    while (checker->index[place] != 0)
        place = next_place(place);
    checker->index[place] = (uint16_t)(key + 1);
}

static void take_from_index(struct checker *checker, unsigned key)
{
    unsigned place = place_of(checker, checker->keys[key]);
    while (checker->index[place] != key + 1)
        place = next_place(place);
    checker->index[place] = 0;
}

static void build_index(struct checker *checker)
{
    memset(checker->index, 0, sizeof checker->index);
    checker->is_indexed = true;
    for (unsigned key = 0; key < checker->key_count; key++)
        put_into_index(checker, key);
}

/* Is the hash among the keys from `first` on, those of the innermost object? */
static bool has_key(const struct checker *checker, unsigned first, uint64_t hash)
{
    if (checker->is_indexed) {
        for (unsigned place = place_of(checker, hash); checker->index[place] != 0; place = next_place(place)) {
            unsigned key = checker->index[place] - 1u;
            if (key >= first && checker->keys[key] == hash)
                return true;
        }
        return false;
    }
    for (unsigned key = first; key < checker->key_count; key++) {
        if (checker->keys[key] == hash)
            return true;
    }
    return false;
}

static bool add_key(struct checker *checker, const char *quote)
{
    unsigned first = checker->frames[checker->depth - 1].first_key, count = checker->key_count - first;
    if (count >= checker->limits->members)
        return fail(checker, quote, "too many members");
    if (checker->key_count == JSON_OPEN_KEYS_MAX)
        return fail(checker, quote, "too many keys in nested objects");
    uint64_t hash = hash_key(checker->hash_point, quote + 1, checker->at - 1);
    if (count == INDEX_FROM_KEYS && !checker->is_indexed)
        build_index(checker);
    if (has_key(checker, first, hash))
        return fail(checker, quote, "duplicate key");
    checker->keys[checker->key_count++] = hash;
    if (checker->is_indexed)
        put_into_index(checker, checker->key_count - 1);
    return true;
}

static bool take_key(struct checker *checker, enum expectation *ret_next)
{
    const char *quote = checker->at;
    if (quote == checker->end || *quote != '"')
        return fail_here(checker, "expected a key");
    if (!take_string(checker) || !add_key(checker, quote))
        return false;
    checker->at = json_skip_space(checker->at, checker->end);
    if (checker->at == checker->end || *checker->at != ':')
        return fail_here(checker, "expected a colon");
    checker->at++;
    *ret_next = EXPECT_VALUE;
    return true;
}

/* ---- values */

static bool take_number(struct checker *checker)
{
    const char *first = checker->at;
    struct json_number number;
    if (!json_number_scan(&checker->at, checker->end, &number))
        return fail_here(checker, "bad number");
    if ((size_t)(checker->at - first) > checker->limits->number_length)
        return fail(checker, first, "number too long");
    return true;
}

static bool take_literal(struct checker *checker, const char *literal, size_t len)
{
    if ((size_t)(checker->end - checker->at) < len || memcmp(checker->at, literal, len) != 0)
        return fail(checker, checker->at, "bad literal");
    checker->at += len;
    return true;
}

static bool open_container(struct checker *checker, bool is_object)
{
    if (checker->depth >= checker->limits->depth || checker->depth == DEPTH_MAX)
        return fail(checker, checker->at, "nested too deeply");
    checker->frames[checker->depth++] = (struct frame){ .first_key = checker->key_count, .is_object = is_object };
    checker->at++;
    return true;
}

static void close_container(struct checker *checker)
{
    unsigned first = checker->frames[--checker->depth].first_key;
    for (unsigned key = checker->key_count; checker->is_indexed && key > first; key--)
        take_from_index(checker, key - 1);
    checker->key_count = first;
    checker->at++;
}

static bool take_value(struct checker *checker, enum expectation *ret_next)
{
    if (checker->at == checker->end)
        return fail_here(checker, "");
    if (++checker->values > checker->limits->values)
        return fail(checker, checker->at, "too many values");
    *ret_next = EXPECT_COMMA;
    switch (*checker->at) {
    case '{':
        *ret_next = EXPECT_FIRST_KEY;
        return open_container(checker, true);
    case '[':
        *ret_next = EXPECT_FIRST_ELEMENT;
        return open_container(checker, false);
    case '"':
        return take_string(checker);
    case 't':
        return take_literal(checker, "true", 4);
    case 'f':
        return take_literal(checker, "false", 5);
    case 'n':
        return take_literal(checker, "null", 4);
    case '-':
    case '0' ... '9':
        return take_number(checker);
    default:
        return fail(checker, checker->at, "expected a value");
    }
}

/* ---- the machine */

static bool take_comma_or_end(struct checker *checker, enum expectation *ret_next)
{
    bool is_object = checker->frames[checker->depth - 1].is_object;
    char byte = checker->at < checker->end ? *checker->at : 0;
    if (byte == ',') {
        checker->at++;
        *ret_next = is_object ? EXPECT_KEY : EXPECT_VALUE;
        return true;
    }
    if (byte != (is_object ? '}' : ']'))
        return fail_here(checker, is_object ? "expected a comma or }" : "expected a comma or ]");
    close_container(checker);
    *ret_next = EXPECT_COMMA;
    return true;
}

static bool take_first_or_end(struct checker *checker, enum expectation *expectation)
{
    bool is_object = *expectation == EXPECT_FIRST_KEY;
    if (checker->at < checker->end && *checker->at == (is_object ? '}' : ']')) {
        close_container(checker);
        *expectation = EXPECT_COMMA;
        return true;
    }
    return is_object ? take_key(checker, expectation) : take_value(checker, expectation);
}

static bool step(struct checker *checker, enum expectation *expectation)
{
    checker->at = json_skip_space(checker->at, checker->end);
    switch (*expectation) {
    case EXPECT_VALUE:
        return take_value(checker, expectation);
    case EXPECT_KEY:
        return take_key(checker, expectation);
    case EXPECT_COMMA:
        return take_comma_or_end(checker, expectation);
    case EXPECT_FIRST_ELEMENT:
    case EXPECT_FIRST_KEY:
        return take_first_or_end(checker, expectation);
    }
    __builtin_unreachable();
}

static bool walk(struct checker *checker)
{
    enum expectation expectation = EXPECT_VALUE;
    do {
        if (!step(checker, &expectation))
            return false;
    } while (checker->depth > 0);
    checker->at = json_skip_space(checker->at, checker->end);
    return checker->at == checker->end || fail(checker, checker->at, "text after the value");
}

bool json_check(const char *text, size_t len, const struct json_limits *limits, struct json_error *ret_error)
{
    struct checker checker UNINITIALIZED; /* not zeroed: 96 KiB of keys, of which most checks use a few */
    checker.text = checker.at = text;
    checker.end = text + len;
    checker.limits = limits;
    checker.error = ret_error;
    checker.hash_point = hash_point();
    checker.values = 0;
    checker.depth = checker.key_count = 0;
    checker.is_indexed = false;
    if (json_skip_space(text, checker.end) == checker.end)
        return fail(&checker, text, "empty text");
    if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
        return fail(&checker, text, "byte order mark");
    return walk(&checker);
}
