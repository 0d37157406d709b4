/* Sums the primes of a range: a WASI command, which is a plain C program.
 *
 *     main(start, end)     sum of the primes from start up to, but without, end
 *     primes(start, end)   the primes themselves
 *
 * A command reads its arguments from standard input, a JSON array, finds the name of the function in its own first
 * argument, and prints its result as JSON. When it ends with another exit code than 0, the last line of its standard
 * error is the error of the task. It computes what ../python/prime_sum.py computes, for ends up to 10,000,000,000.
 *
 *     zig cc -target wasm32-wasi -O2 -o prime_sum.wasm prime_sum.c
 *     potluck cpu --module prime_sum.wasm --args '[1, 1000000]'
 */

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Numbers that are sieved at once. A long range then needs no more memory than a short one. */
#define SEGMENT_LENGTH 65536
/* Sums of primes below this fit into 64 bits. */
#define END_MAX INT64_C(10000000000)
/* The square root of END_MAX: larger divisors are not needed. */
#define DIVISOR_MAX 100000

static uint32_t divisors[DIVISOR_MAX];
static size_t divisor_count;

static void fail(const char *reason) {
    fprintf(stderr, "%s\n", reason);
    exit(1);
}

/* Reads `[start, end]` and nothing else. */
static void read_range(uint64_t *start, uint64_t *end) {
    int64_t first, last;
    int length = 0;
    /* %n is reached, and sets the length, only when the closing bracket is there. */
    int found = scanf(" [ %" SCNd64 " , %" SCNd64 " ] %n", &first, &last, &length);
    if (found != 2 || length == 0 || getchar() != EOF) {
        fail("the arguments are two whole numbers, [start, end]");
    }
    if (last > END_MAX) {
        fail("the end is beyond 10000000000");
    }
    *start = first < 2 ? 2 : (uint64_t)first;
    *end = last < 0 ? 0 : (uint64_t)last;
}

/* Finds the primes up to the square root of `end`. */
static void find_divisors(uint64_t end) {
    static bool is_composite[DIVISOR_MAX + 1];
    for (uint64_t number = 2; number <= DIVISOR_MAX && number * number < end; number++) {
        if (is_composite[number]) {
            continue;
        }
        divisors[divisor_count++] = (uint32_t)number;
        for (uint64_t multiple = number * number; multiple <= DIVISOR_MAX; multiple += number) {
            is_composite[multiple] = true;
        }
    }
}

/* Marks the numbers from `low` up to `high` that have a divisor. */
static void sieve(uint64_t low, uint64_t high, bool *is_composite) {
    memset(is_composite, 0, high - low);
    for (size_t index = 0; index < divisor_count; index++) {
        uint64_t divisor = divisors[index];
        if (divisor * divisor >= high) {
            break;
        }
        /* Smaller multiples have a smaller divisor and are marked already. */
        uint64_t first = (low + divisor - 1) / divisor * divisor;
        if (first < divisor * divisor) {
            first = divisor * divisor;
        }
        for (uint64_t multiple = first; multiple < high; multiple += divisor) {
            is_composite[multiple - low] = true;
        }
    }
}

int main(int argc, char **argv) {
    const char *function = argc > 1 ? argv[1] : "main";
    bool is_sum = strcmp(function, "main") == 0;
    if (!is_sum && strcmp(function, "primes") != 0) {
        fail("there is no such function; there are main and primes");
    }
    uint64_t start, end;
    read_range(&start, &end);
    find_divisors(end);

    static bool is_composite[SEGMENT_LENGTH];
    uint64_t sum = 0;
    const char *separator = "[";
    for (uint64_t low = start; low < end; low += SEGMENT_LENGTH) {
        uint64_t high = end - low < SEGMENT_LENGTH ? end : low + SEGMENT_LENGTH;
        sieve(low, high, is_composite);
        for (uint64_t number = low; number < high; number++) {
            if (is_composite[number - low]) {
                continue;
            }
            sum += number;
            if (!is_sum) {
                printf("%s%" PRIu64, separator, number);
                separator = ",";
            }
        }
    }
    if (is_sum) {
        printf("%" PRIu64 "\n", sum);
    } else {
        /* Without any prime the list has not been opened yet. */
        printf("%s]\n", separator[0] == '[' ? "[" : "");
    }
    return 0;
}
