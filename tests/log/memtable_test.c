/* tests/log/memtable_test.c -- a memtable against an array: newest row per key, in key order. */
#include "log/memtable.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "jepsen/sim/splitmix.h"

enum { KEYS = 500, VALUES_MAX = 600 };

static struct store_budget budget;
static struct memtable *table;
static struct splitmix chance = {1};
static void set_up(void)
{
    table = memtable_create(&budget);
}
static void tear_down(void)
{
    memtable_unref(table);
    cr_expect_eq(budget.used_bytes, 0);
}
TestSuite(memtable, .init = set_up, .fini = tear_down, .timeout = 30);

static struct row_key key_of(unsigned number)
{
    struct row_key key;
    char stream[16];
    snprintf(stream, sizeof(stream), "s%u", number % 7);
    row_key_record(&key, slice_str(stream), number / 7 + 1);
    return key;
}

static bool put(unsigned number, const void *value, size_t len, index_t index, bool hint)
{
    struct row_key key = key_of(number), before = key_of(number < 7 ? number : number - 7);
    struct row row = {row_key_bytes(&key), {value, len}, index, 0};
    return memtable_put(table, &row, hint ? &before : NULL);
}

/* Keys in any order, with hints that are right, wrong or absent; values that grow and shrink. */
Test(memtable, holds_the_newest_row_of_each_key_in_order)
{
    static char values[KEYS][VALUES_MAX];
    static size_t lens[KEYS];
    static bool known[KEYS];
    for (index_t index = 1; index <= 5000; index++) {
        unsigned number = (unsigned)splitmix_below(&chance, KEYS);
        lens[number] = splitmix_below(&chance, VALUES_MAX);
        memset(values[number], (int)index, lens[number]);
        cr_assert_eq(put(number, values[number], lens[number], index, splitmix_below(&chance, 2)),
                     !known[number]);
        known[number] = true;
    }
    size_t count = 0;
    for (unsigned i = 0; i < KEYS; i++) {
        struct row_key key = key_of(i);
        struct row row;
        count += known[i];
        cr_assert_eq(memtable_get(table, row_key_bytes(&key), &row), known[i]);
        if (!known[i]) continue;
        cr_expect(slice_equal(row.value, (struct slice){values[i], lens[i]}));
    }
    cr_expect_eq(memtable_rows(table), count);

    struct memtable_iter iter;
    struct row row;
    struct row_key last = {.len = 0};
    memtable_freeze(table);
    for (memtable_seek(table, (struct slice){NULL, 0}, &iter); memtable_row(&iter, &row);
         memtable_step(&iter), count--) {
        cr_assert(slice_compare(row_key_bytes(&last), row.key) < 0);
        memcpy(last.bytes, row.key.data, row.key.len);
        last.len = row.key.len;
    }
    cr_expect_eq(count, 0);
}

Test(memtable, seeking_finds_the_first_key_at_or_behind)
{
    for (unsigned i = 0; i < KEYS; i += 2)
        put(i, "v", 1, 1, true);
    struct memtable_iter iter;
    struct row row, next;
    for (unsigned i = 0; i < KEYS; i++) {
        struct row_key key = key_of(i);
        memtable_seek(table, row_key_bytes(&key), &iter);
        bool found = memtable_row(&iter, &row);
        cr_assert(!found || slice_compare(row.key, row_key_bytes(&key)) >= 0);
        cr_assert_eq(found && slice_equal(row.key, row_key_bytes(&key)), i % 2 == 0);
        if (!found) continue;
        memtable_step(&iter);
        if (memtable_row(&iter, &next)) cr_assert(slice_compare(row.key, next.key) < 0);
    }
}

Test(memtable, large_values_and_references_are_counted)
{
    char *large = mem_zero(PAYLOAD_BYTES_MAX);
    for (unsigned i = 0; i < 20; i++)
        put(i, large, PAYLOAD_BYTES_MAX, 1, false);
    cr_expect_geq(memtable_bytes(table), 20u * PAYLOAD_BYTES_MAX);
    cr_expect_eq(budget.used_bytes, memtable_bytes(table));
    memtable_ref(table);
    memtable_unref(table);
    struct row row;
    struct row_key key = key_of(3);
    cr_expect(memtable_get(table, row_key_bytes(&key), &row));
    free(large);
}
