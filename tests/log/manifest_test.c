/* tests/log/manifest_test.c -- a manifest is read as it was written, or refused. */
#include "log/manifest.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#include "jepsen/sim/world.h"

static struct world *world;
static struct sim_node *node;
static struct env *env;
static struct disk *disk;
static void set_up(void)
{
    world = world_create(1);
    node = sim_node_create(world, "n1", NULL, NULL);
    env = sim_node_env(node);
    disk = sim_node_disk(node);
}
static void tear_down(void)
{
    world_destroy(world);
}
TestSuite(manifest, .init = set_up, .fini = tear_down, .timeout = 30);

static struct manifest some(index_t index)
{
    struct manifest manifest = {.owner = 7, .part = 3, .run_next = 9};
    struct store_facts facts = {.index = index,
                                .term = 2,
                                .time_ms = 1234,
                                .history = 99,
                                .configuration_index = 1,
                                .configuration = slice_str("three voters"),
                                .wal_from = 5};
    manifest_set_facts(&manifest, &facts);
    manifest.runs_count = 2;
    manifest.runs = mem_zero(2 * sizeof(manifest.runs[0]));
    manifest.runs[0] = (struct manifest_run){8, 80, 800, 50, index};
    manifest.runs[1] = (struct manifest_run){4, 40, 400, 0, 50};
    return manifest;
}

Test(manifest, is_read_as_it_was_written)
{
    struct manifest in = some(100), out;
    cr_assert_eq(manifest_write(env, "/data", &in), 0);
    cr_assert_eq(manifest_read(env, "/data", &out), 0);
    cr_expect(out.owner == 7 && out.part == 3 && out.run_next == 9 && out.runs_count == 2);
    cr_expect(out.facts.index == 100 && out.facts.wal_from == 5 && out.facts.history == 99);
    cr_expect(slice_equal(out.facts.configuration, slice_str("three voters")));
    cr_expect_eq(memcmp(out.runs, in.runs, 2 * sizeof(in.runs[0])), 0);
    cr_expect(manifest_names(&out, "0000000000000004.run"));
    cr_expect_not(manifest_names(&out, "0000000000000005.run"));
    manifest_free(&in);
    manifest_free(&out);
}

Test(manifest, none_is_not_found)
{
    struct manifest out;
    cr_expect_eq(manifest_read(env, "/data", &out), ERR_NOT_FOUND);
}

Test(manifest, every_flipped_bit_and_every_cut_is_found)
{
    struct manifest in = some(100), out;
    struct buf bytes = {0};
    manifest_encode(&in, &bytes);
    for (size_t bit = 0; bit < bytes.len * 8; bit++) {
        bytes.data[bit / 8] = (uint8_t)(bytes.data[bit / 8] ^ 1 << bit % 8);
        cr_expect_eq(manifest_decode(buf_bytes(&bytes), &out), ERR_CORRUPT);
        bytes.data[bit / 8] = (uint8_t)(bytes.data[bit / 8] ^ 1 << bit % 8);
    }
    for (size_t len = 0; len < bytes.len; len++)
        cr_expect_eq(manifest_decode((struct slice){bytes.data, len}, &out), ERR_CORRUPT);
    buf_free(&bytes);
    manifest_free(&in);
}

/* Power fails before each of the disk's changes in turn: the old one or the new one is there,
 * never a mixture; once the write has returned it is the new one. */
Test(manifest, a_power_cut_leaves_the_old_or_the_new_one)
{
    for (uint64_t cut = 1; cut < 20; cut++) {
        tear_down();
        set_up();
        struct manifest first = some(100), second = some(200), out;
        cr_assert_eq(manifest_write(env, "/data", &first), 0);
        uint64_t before = disk_changes(disk);
        disk_cut_before(disk, cut);
        cr_assert_eq(manifest_write(env, "/data", &second), 0);
        bool whole = disk_changes(disk) - before < cut;
        disk_cut_before(disk, 0);
        sim_node_crash(node, SIM_POWER);
        cr_assert_eq(manifest_read(env, "/data", &out), 0, "cut %d", (int)cut);
        cr_expect(out.facts.index == 200 || (!whole && out.facts.index == 100));
        manifest_free(&out);
        manifest_free(&first);
        manifest_free(&second);
        if (whole) return;
    }
    cr_assert_fail("a manifest takes fewer changes than that");
}
