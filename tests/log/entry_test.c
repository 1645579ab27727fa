/* tests/log/entry_test.c -- transactions gathered in one entry come out as they went in. */
#include "log/entry.h"
#include "jepsen/sim/splitmix.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static struct entry entry;
static struct buf bytes;
static void tear_down(void)
{
    entry_free(&entry);
    buf_free(&bytes);
}
static struct splitmix chance = {1};
TestSuite(entry, .fini = tear_down, .timeout = 20);

/* Gather count transactions of len bytes that differ in their first byte, close, and read. */
static void there_and_back(unsigned count, size_t len, bool packable)
{
    uint8_t *txn = mem_zero(len);
    for (unsigned i = 0; i < count; i++) {
        for (size_t k = 1; k < len; k++)
            txn[k] = (uint8_t)(packable ? 7 : splitmix_next(&chance));
        txn[0] = (uint8_t)i;
        entry_add(&entry, (struct slice){txn, len});
    }
    bytes.len = 0;
    entry_close(&entry, 1234, &bytes);
    cr_expect_eq(entry.count, 0);

    struct entry_view view;
    struct slice got;
    cr_assert_eq(entry_open(buf_bytes(&bytes), &view), 0);
    cr_expect_eq(view.time_ms, 1234);
    cr_expect_eq(view.count, count);
    for (unsigned i = 0; i < count; i++) {
        cr_assert(entry_next(&view, &got));
        cr_expect(got.len == len && *(const uint8_t *)got.data == (uint8_t)i);
    }
    cr_expect_not(entry_next(&view, &got));
    cr_expect_not(view.txns.failed);
    entry_view_free(&view);
    free(txn);
}

Test(entry, small_ones_and_packed_ones_and_noise_survive)
{
    there_and_back(0, 1, true);
    there_and_back(1, 100, true);
    cr_expect_eq(bytes.data[1], 0, "too small to pack");
    there_and_back(100, 300, true);
    cr_expect(bytes.len < 3000, "packed");
    there_and_back(10, 300, false);
    cr_expect_eq(bytes.data[1], 0, "packing saves nothing");
}

Test(entry, a_full_one_says_so_and_still_closes_within_the_limit)
{
    uint8_t *txn = mem_alloc(TXN_BYTES_MAX);
    for (size_t i = 0; i < TXN_BYTES_MAX; i++)
        txn[i] = (uint8_t)splitmix_next(&chance);
    while (entry_fits(&entry, TXN_BYTES_MAX))
        entry_add(&entry, (struct slice){txn, TXN_BYTES_MAX});
    cr_expect_eq(entry.count, 3);
    entry_close(&entry, 1, &bytes);
    cr_expect_leq(bytes.len, ENTRY_BYTES_MAX);
    for (unsigned i = 0; i < ENTRY_TXNS_MAX; i++)
        entry_add(&entry, (struct slice){txn, 3});
    cr_expect_not(entry_fits(&entry, 3), "the count is bounded too");
    free(txn);
}

Test(entry, another_version_is_told_apart_from_damage)
{
    struct entry_view view;
    entry_close(&entry, 1, &bytes);
    bytes.data[0] = ENTRY_VERSION + 1;
    cr_expect_eq(entry_open(buf_bytes(&bytes), &view), ERR_VERSION);
    bytes.data[0] = ENTRY_VERSION;
    bytes.data[1] = 2;
    cr_expect_eq(entry_open(buf_bytes(&bytes), &view), ERR_CORRUPT);
}

/* Every cut is refused, at the latest after the last transaction. */
Test(entry, every_shorter_form_is_corrupt)
{
    uint8_t txn[200] = {1};
    for (unsigned i = 0; i < 4; i++)
        entry_add(&entry, (struct slice){txn, sizeof(txn)});
    entry_close(&entry, 1, &bytes);
    for (size_t len = 0; len < bytes.len; len++) {
        struct entry_view view;
        struct slice got;
        uint8_t *exact = mem_copy(bytes.data, len);
        if (entry_open((struct slice){exact, len}, &view) == 0) {
            while (entry_next(&view, &got))
                continue;
            cr_expect(view.txns.failed, "%zu bytes", len);
            entry_view_free(&view);
        }
        free(exact);
    }
}
