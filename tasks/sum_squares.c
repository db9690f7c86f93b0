/* sum_squares: the exact sum of i*i for i in range(n), by looping: the CPU-bound job of every lesson on processes.
 *
 * It is meant to burn CPU, so the closed formula (n-1)n(2n-1)/6 would miss the point; the loop is merely a good one.
 * For n = 10^10 the sum has 99 bits, but a product and a sum of 128 bits cost twice as much as one of 64. So there are
 * two loops:
 * - below NARROW_END, blocks short enough that their sum fits 64 bits, each added to the 128-bit total;
 * - from there on, 128-bit products and sums.
 * Both keep several sums going, because a single one makes every addition wait for the one before it (and its carry).
 */
#include "tasks/builtin.h"

#include "base/json_write.h"

typedef unsigned __int128 u128;

#define N_MAX INT64_C(10000000000) /* seconds of work, and squares that need more than 64 bits */

enum { NARROW_BITS = 28 };
#define NARROW_END (UINT64_C(1) << NARROW_BITS)
#define BLOCK      (UINT64_C(1) << (64 - 2 * NARROW_BITS)) /* BLOCK squares, each below 2^56, stay below 2^64 */

/* Sum of i*i for first <= i < end; at most BLOCK of them, all below NARROW_END. */
static uint64_t sum_narrow(uint64_t first, uint64_t end)
{
    uint64_t i = first;
    uint64_t a = 0, b = 0, c = 0, d = 0;
    for (; i + 4 <= end; i += 4) {
        a += i * i;
        b += (i + 1) * (i + 1);
        c += (i + 2) * (i + 2);
        d += (i + 3) * (i + 3);
    }
    for (; i < end; i++)
        a += i * i;
    return a + b + c + d;
}

/* The same without limits. */
static u128 sum_wide(uint64_t first, uint64_t end)
{
    uint64_t i = first;
    u128 a = 0, b = 0;
    for (; i + 2 <= end; i += 2) {
        a += (u128)i * i;
        b += (u128)(i + 1) * (i + 1);
    }
    if (i < end)
        a += (u128)i * i;
    return a + b;
}

static u128 sum_squares(uint64_t n)
{
    const uint64_t narrow_end = n < NARROW_END ? n : NARROW_END;
    u128 total = 0;
    for (uint64_t first = 0; first < narrow_end; first += BLOCK) {
        const uint64_t end = first + BLOCK;
        total += sum_narrow(first, end < narrow_end ? end : narrow_end);
    }
    return total + sum_wide(narrow_end, n);
}

enum { ARG_N };

static const struct param params[] = {
    [ARG_N] = { .name = "n",
                .description = "How many squares to add: 0*0 to (n-1)*(n-1).",
                .kind = PARAM_INT,
                .required = true,
                .minimum = 0,
                .maximum = N_MAX },
    { .name = NULL },
};

static enum status run(const struct task_input *input, struct task_output *output)
{
    json_u128(output->result, sum_squares((uint64_t)input->args[ARG_N].number));
    return ST_OK;
}

const struct task sum_squares_task = {
    .name = "sum_squares",
    .description = "The exact sum of i*i for i in range(n), computed by looping.",
    .params = params,
    .is_idempotent = true,
    .run = run,
};
