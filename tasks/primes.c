/* primes: how many primes there are below n, and the largest of them.
 *
 * A segmented sieve of Eratosthenes: Bays and Hudson, "The segmented sieve of Eratosthenes and primes in arithmetic
 * progressions to 10^12", BIT 17 (1977). Only odd numbers are kept, one byte each: slot k stands for 2k+1, and slot 0,
 * which would be 1, stands for 2. Each segment starts as a copy of a pattern from which the multiples of the five
 * smallest odd primes are already struck (40 % of all the strikes). Then every prime p up to the root of the segment's
 * end strikes its multiples, from p*p on, and remembers where to go on in the next segment. Memory is the segment, the
 * pattern and eight bytes for each prime up to sqrt(N_MAX): about 150 KiB whatever n is. */
#include "tasks/builtin.h"

#include <stdlib.h>
#include <string.h>

#include "base/json_write.h"

#define N_MAX INT64_C(10000000000)
enum {
    ROOT_PRIMES = 9592, /* up to 10^5 = sqrt(N_MAX): every composite below N_MAX has a factor among them */
    PATTERN_SLOTS = 3 * 5 * 7 * 11 * 13,
    SEGMENT_SLOTS = 4 * PATTERN_SLOTS, /* whole patterns; small enough to stay in the level 1 and 2 caches */
};
static const uint32_t pattern_primes[] = { 3, 5, 7, 11, 13 };

/* An odd prime above 13 and the slot of the current segment that it strikes next. */
struct striker {
    uint32_t prime;
    uint32_t slot;
};

struct sieve {
    size_t striker_count; /* the primes from 17 to sqrt(n) */
    size_t active_count;  /* those whose square was reached */
    struct striker strikers[ROOT_PRIMES];
    uint8_t pattern[PATTERN_SLOTS];
    uint8_t segment[SEGMENT_SLOTS]; /* 1: a prime */
};

struct primes_below {
    uint64_t count;
    uint64_t largest; /* 0: none */
};

static uint64_t slot_of(uint64_t odd) { return odd / 2; }

static uint64_t number_of(uint64_t slot) { return slot == 0 ? 2 : 2 * slot + 1; }

static uint64_t min_u64(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* Strikes every `step`th slot from `slot` on and returns the first that lies past the end. */
static size_t strike(uint8_t *slots, size_t count, size_t slot, size_t step)
{
    for (; slot < count; slot += step)
        slots[slot] = 0;
    return slot;
}

/* The primes from 17 to `root`, by a plain sieve in the memory of the segment, which is not yet in use. */
static void find_strikers(struct sieve *sieve, uint32_t root)
{
    uint8_t *slots = sieve->segment;
    const uint32_t count = (root + 1) / 2;
    sieve->striker_count = 0;
    sieve->active_count = 0;
    memset(slots, 1, count);
    for (uint32_t slot = 1; slot < count; slot++) {
        if (!slots[slot])
            continue;
        const uint32_t prime = 2 * slot + 1;
        (void)strike(slots, count, (size_t)slot_of((uint64_t)prime * prime), prime);
        if (prime > 13)
            sieve->strikers[sieve->striker_count++].prime = prime;
    }
}

static void make_pattern(struct sieve *sieve)
{
    memset(sieve->pattern, 1, PATTERN_SLOTS);
    for (size_t i = 0; i < ARRAY_LEN(pattern_primes); i++)
        (void)strike(sieve->pattern, PATTERN_SLOTS, (size_t)slot_of(pattern_primes[i]), pattern_primes[i]);
}

/* Fills the segment of `count` slots that starts at slot `first`. */
static void sieve_segment(struct sieve *sieve, uint64_t first, size_t count)
{
    for (size_t i = 0; i < count; i += PATTERN_SLOTS)
        memcpy(sieve->segment + i, sieve->pattern, PATTERN_SLOTS);
    if (first == 0)
        for (size_t i = 0; i < ARRAY_LEN(pattern_primes); i++)
            sieve->segment[slot_of(pattern_primes[i])] = 1;

    for (; sieve->active_count < sieve->striker_count; sieve->active_count++) {
        struct striker *next = &sieve->strikers[sieve->active_count];
        const uint64_t square_slot = slot_of((uint64_t)next->prime * next->prime);
        if (square_slot >= first + count)
            break;
        next->slot = (uint32_t)(square_slot - first);
    }
    for (size_t i = 0; i < sieve->active_count; i++) {
        struct striker *striker = &sieve->strikers[i];
        striker->slot = (uint32_t)(strike(sieve->segment, count, striker->slot, striker->prime) - count);
    }
}

static struct primes_below count_primes(struct sieve *sieve, uint64_t n)
{
    struct primes_below found = { .count = 0 };
    const uint64_t slot_count = n > 2 ? n / 2 : 0;
    uint32_t root = 1;
    while ((uint64_t)root * root < n)
        root++;
    find_strikers(sieve, root);
    make_pattern(sieve);

    for (uint64_t first = 0; first < slot_count; first += SEGMENT_SLOTS) {
        const size_t count = (size_t)min_u64(SEGMENT_SLOTS, slot_count - first);
        sieve_segment(sieve, first, count);
        for (size_t i = 0; i < count; i++)
            found.count += sieve->segment[i];
        const uint8_t *last = memrchr(sieve->segment, 1, count);
        if (last)
            found.largest = number_of(first + (uint64_t)(last - sieve->segment));
    }
    return found;
}

enum { ARG_N };

static const struct param params[] = {
    [ARG_N] = { .name = "n",
                .description = "Primes below this are counted; n itself is not.",
                .kind = PARAM_INT,
                .required = true,
                .minimum = 0,
                .maximum = N_MAX },
    { .name = NULL },
};

static enum status run(const struct task_input *input, struct task_output *output)
{
    struct buf *result = output->result;
    struct sieve *sieve = malloc(sizeof *sieve);
    if (!sieve)
        return task_fail(output, ST_NO_MEMORY, "no memory for the sieve");
    const struct primes_below found = count_primes(sieve, (uint64_t)input->args[ARG_N].number);
    free(sieve);

    buf_byte(result, '{');
    json_key(result, "count");
    json_uint(result, found.count);
    buf_byte(result, ',');
    json_key(result, "largest");
    if (found.count == 0)
        buf_lit(result, "null");
    else
        json_uint(result, found.largest);
    buf_byte(result, '}');
    return ST_OK;
}

const struct task primes_task = {
    .name = "primes",
    .description = "The number of primes below n and the largest of them, by a segmented sieve.",
    .params = params,
    .is_idempotent = true,
    .run = run,
};
