/* tests/log/run_test.c -- a run gives back what was written, or says that it is damaged. */
#include "log/run.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "jepsen/sim/world.h"
#include "log/pack.h"

static const char path[] = "/data/1.run";
static struct world *world;
static struct env *env;
static struct disk *disk;
static struct store_budget budget = {.limit_bytes = 64 << 20};
static struct cache *cache;
static _Atomic uint64_t damage;
static uint64_t bytes;

static void set_up(void)
{
    world = world_create(1);
    struct sim_node *node = sim_node_create(world, "n1", NULL, NULL);
    env = sim_node_env(node);
    disk = sim_node_disk(node);
    cache = cache_create(&budget, 32 << 20);
}
static void tear_down(void)
{
    cache_destroy(cache);
    cr_expect_eq(budget.used_bytes, 0);
    world_destroy(world);
}
TestSuite(run, .init = set_up, .fini = tear_down, .timeout = 120);

/* Row number i: stream s<i / 10>, record i % 10 + 1, value of some length that tells i. */
static void row_make(unsigned i, struct row_key *key, char *value, struct row *row)
{
    char stream[16];
    snprintf(stream, sizeof(stream), "s%05u", i / 10);
    row_key_record(key, slice_str(stream), i % 10 + 1);
    int len = snprintf(value, 64, "value of row %u%*s", i, (int)(i % 40), "");
    *row = (struct row){row_key_bytes(key), {value, (size_t)len}, 100 + i % 900, i % 2};
}

static void run_make(unsigned rows)
{
    struct run_writer *writer;
    struct row_key key;
    struct row row;
    char value[64];
    cr_assert_eq(run_writer_open(env, path, 42, &writer), 0);
    for (unsigned i = 0; i < rows; i++) {
        row_make(i, &key, value, &row);
        cr_assert_eq(run_writer_add(writer, &row), 0);
    }
    cr_assert_eq(run_writer_finish(writer, 99, 1000, &bytes), 0);
    run_writer_close(writer);
}

static void row_expect(const struct row *got, unsigned i)
{
    struct row_key key;
    struct row row;
    char value[64];
    row_make(i, &key, value, &row);
    cr_assert(slice_equal(got->key, row.key) && slice_equal(got->value, row.value));
    cr_assert(got->index == row.index && got->flags == row.flags);
}

/* Every row in order; the number read before an error, which is in *err. */
static unsigned rows_read(struct run *run, int *err)
{
    struct run_iter iter;
    unsigned i = 0;
    for (run_iter_open(&iter, run, (struct slice){NULL, 0}, true); iter.valid;
         run_iter_next(&iter), i++)
        row_expect(&iter.row, i);
    *err = iter.err;
    run_iter_close(&iter);
    return i;
}

Test(run, gives_back_every_row_in_order_and_by_key)
{
    enum { ROWS = 30000 };
    struct run *run;
    struct run_iter iter;
    struct row_key key;
    struct row row;
    char value[64];
    int err;
    run_make(ROWS);
    cr_assert_eq(run_open(env, cache, path, 42, bytes, &damage, &run), 0);
    cr_expect_eq(rows_read(run, &err), ROWS);
    cr_expect_eq(err, 0);
    cr_expect_eq(run_verify(run), 0);
    for (unsigned i = 0; i < ROWS; i += 97) {
        row_make(i, &key, value, &row);
        run_iter_open(&iter, run, row.key, true);
        cr_assert(iter.valid);
        row_expect(&iter.row, i);
        run_iter_close(&iter);
    }
    row_key_record(&key, slice_str("zzzzzzz"), 1);
    run_iter_open(&iter, run, row_key_bytes(&key), true);
    cr_expect(!iter.valid && iter.err == 0, "behind the last");
    run_iter_close(&iter);
    cr_expect_eq(run_facts(run)->rows_count, ROWS);
    run_unref(run);
}

Test(run, an_empty_one_is_sound)
{
    struct run *run;
    int err;
    run_make(0);
    cr_assert_eq(run_open(env, cache, path, 42, bytes, &damage, &run), 0);
    cr_expect_eq(rows_read(run, &err), 0);
    cr_expect_eq(run_verify(run), 0);
    cr_expect_eq(run_may_have(run, 1, true), RUN_ABSENT);
    run_unref(run);
}

Test(run, the_filter_knows_its_streams_and_few_others)
{
    struct run *run;
    unsigned wrong = 0;
    char stream[16];
    run_make(60000);
    cr_assert_eq(run_open(env, cache, path, 42, bytes, &damage, &run), 0);
    cr_expect_eq(run_may_have(run, 1, false), ERR_BUSY, "its block is not in memory");
    for (unsigned i = 0; i < 6000; i++) {
        snprintf(stream, sizeof(stream), "s%05u", i);
        cr_assert_eq(run_may_have(run, hash64(slice_str(stream)), true), RUN_MAYBE);
        snprintf(stream, sizeof(stream), "t%05u", i);
        wrong += run_may_have(run, hash64(slice_str(stream)), true) == RUN_MAYBE;
    }
    cr_expect_lt(wrong, 180, "%u of 6000", wrong);
    run_unref(run);
}

/* What a damaged byte does: the open, the reading or the verifying says so, and until then only
 * true rows are given (row_expect). */
static bool damage_is_found(unsigned rows)
{
    struct run *run;
    int err = run_open(env, cache, path, 42, bytes, &damage, &run);
    if (err != 0) return err == ERR_CORRUPT || err == ERR_VERSION;
    unsigned read = rows_read(run, &err);
    bool found = err == ERR_CORRUPT;
    cr_assert(err == 0 ? read == rows : found);
    if (!found) found = run_verify(run) == ERR_CORRUPT;
    run_unref(run);
    return found;
}

Test(run, every_flipped_byte_is_found_and_never_served)
{
    enum { ROWS = 120 };
    run_make(ROWS);
    for (uint64_t at = 0; at < bytes; at++) {
        uint8_t mask = (uint8_t)(1 << at % 8);
        cr_assert_eq(disk_flip(disk, path, at, mask), 0);
        cr_assert(damage_is_found(ROWS), "offset %d of %d", (int)at, (int)bytes);
        cr_assert_eq(disk_flip(disk, path, at, mask), 0);
        cache_destroy(cache); /* What was read before must not hide it. */
        cache = cache_create(&budget, 32 << 20);
    }
    cr_expect_not(damage_is_found(ROWS));
    cr_expect_gt(damage, 0);
}

Test(run, a_shorter_file_or_another_run_is_damage)
{
    struct run *run;
    run_make(100);
    cr_expect_eq(run_open(env, cache, path, 43, bytes, &damage, &run), ERR_CORRUPT);
    cr_expect_eq(run_open(env, cache, path, 42, bytes + 1, &damage, &run), ERR_CORRUPT);
    cr_assert_eq(disk_cut_file(disk, path, bytes - 1), 0);
    cr_expect_eq(run_open(env, cache, path, 42, bytes, &damage, &run), ERR_CORRUPT);
    cr_expect_eq(run_open(env, cache, "/data/none", 42, bytes, &damage, &run), ERR_CORRUPT);
}

Test(run, a_block_at_another_place_is_damage)
{
    struct buf frame = {0}, out = {0};
    struct run_place place = {42, 32, RUN_BLOCK_ROWS}, moved = {42, 33, RUN_BLOCK_ROWS};
    struct run_place other = {43, 32, RUN_BLOCK_ROWS}, kind = {42, 32, RUN_BLOCK_INDEX};
    run_frame_put(&frame, place, slice_str("content"), true);
    cr_expect_eq(run_frame_get(buf_bytes(&frame), moved, 100, &out), ERR_CORRUPT);
    cr_expect_eq(run_frame_get(buf_bytes(&frame), other, 100, &out), ERR_CORRUPT);
    cr_expect_eq(run_frame_get(buf_bytes(&frame), kind, 100, &out), ERR_CORRUPT);
    cr_expect_eq(run_frame_get(buf_bytes(&frame), place, 6, &out), ERR_CORRUPT);
    cr_expect_eq(run_frame_get(buf_bytes(&frame), place, 7, &out), 0);
    buf_free(&frame);
    buf_free(&out);
}
