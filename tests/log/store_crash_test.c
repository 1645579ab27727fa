/* tests/log/store_crash_test.c -- power cuts, full disks and damage, wherever they hit.
 *
 * Method: a scene is played again and again, with the power failing before the first, the second,
 * the third ... change of the disk. Whatever is left, the store opens, and with the entries that
 * the log still has it becomes what it was: the same history, the same records. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "tests/log/store_rig.h"

static struct world *world;
static struct rig rig, source;
static uint64_t seed = 1;

static void set_up(void)
{
    world = world_create(seed);
    rig_open(&rig, world, "n1", 8 << 20);
    rig_open(&source, world, "n2", 8 << 20);
}
static void tear_down(void)
{
    rig_close(&rig);
    rig_close(&source);
    world_destroy(world);
}
TestSuite(store_crash, .init = set_up, .fini = tear_down, .timeout = 120);

static void append(struct rig *to, unsigned count)
{
    char text[32];
    for (unsigned i = 0; i < count; i++) {
        int len = snprintf(text, sizeof(text), "record %u", to->entries_count);
        struct txn_record record = {.payload = {text, (size_t)len}};
        struct txn txn = {
            .stream = slice_str(i % 2 ? "a" : "b"), .records = &record, .records_count = 1};
        cr_assert_eq(rig_txn(to, &txn, 1000).status, 0);
    }
}

static uint64_t history_of(const struct rig *of)
{
    return store_facts(of->store)->history;
}

/* Both streams can be read to their end, and hold a record for each entry applied. */
static void expect_whole(struct rig *of)
{
    seq_t records = 0;
    for (int i = 0; i < 2; i++) {
        struct store_query query = {.kind = STORE_RECORDS,
                                    .stream = slice_str(i ? "a" : "b"),
                                    .limit_count = 1000,
                                    .limit_bytes = 1 << 20};
        cr_assert_eq(rig_query(of, &query), 0);
        cr_assert_eq(query.rows_count, query.head.last);
        records += query.rows_count;
        buf_free(&query.rows);
    }
    cr_assert_eq(records, store_facts(of->store)->index);
}

struct asked {
    bool done;
    int err;
};
static void told(void *arg, int err)
{
    *(struct asked *)arg = (struct asked){true, err};
}

static bool done_or_dead(void *arg)
{
    return ((struct asked *)arg)->done || !rig_up(&rig);
}

static void run_until(struct asked *asked)
{
    cr_assert(world_run_until(world, done_or_dead, asked, 60 * 1000 * 1000));
}

/* After the cut: the store is there again, with or without what was under way. */
static void expect_recovered(uint64_t history, uint64_t cut)
{
    if (rig_up(&rig)) sim_node_crash(rig.node, SIM_POWER);
    disk_cut_before(sim_node_disk(rig.node), 0);
    rig_start(&rig);
    cr_assert(rig_up(&rig), "cut %d: %s", (int)cut, rig.why);
    cr_assert_eq(history_of(&rig), history, "cut %d", (int)cut);
    expect_whole(&rig);
    append(&rig, 2);
    cr_assert_eq(rig_checkpoint(&rig), 0);
    rig_crash(&rig, SIM_POWER);
    cr_assert(rig_up(&rig), "cut %d: %s", (int)cut, rig.why);
    expect_whole(&rig);
}

Test(store_crash, a_power_cut_during_a_checkpoint_loses_nothing)
{
    for (uint64_t cut = 1; cut < 40; cut++) {
        struct asked asked = {0};
        tear_down();
        seed = cut;
        set_up();
        append(&rig, 6);
        cr_assert_eq(rig_checkpoint(&rig), 0);
        append(&rig, 6);
        uint64_t history = history_of(&rig);
        disk_cut_before(sim_node_disk(rig.node), cut);
        cr_assert_eq(store_checkpoint(rig.store, told, &asked), 0);
        run_until(&asked);
        bool whole = asked.done;
        if (whole) {
            cr_expect_eq(asked.err, 0);
            cr_expect_eq(store_manifest(rig.store)->index, 12);
        }
        expect_recovered(history, cut);
        if (whole) return;
    }
    cr_assert_fail("a checkpoint takes fewer changes than that");
}

static struct store_delta *made;
static void delta_told(void *arg, int err, struct store_delta *delta)
{
    made = delta;
    told(arg, err);
}

/* Install what source has into rig, until it is done or the power fails. True: done. */
static bool install_all(index_t from)
{
    struct asked asked = {0};
    struct store_install *install;
    static uint8_t bytes[1 << 16];
    size_t got;
    cr_assert_eq(store_delta_make(source.store, from, delta_told, &asked), 0);
    rig_wait(&source, &asked.done);
    cr_assert_eq(asked.err, 0);
    cr_assert_eq(store_delta_read(made, 0, bytes, sizeof(bytes), &got), 0);
    cr_assert_eq(store_install_begin(rig.store, store_delta_facts(made), from, &install), 0);
    rig.install = install; /* Let go of when the node dies. */
    store_delta_release(made);
    store_install_put(install, (struct slice){bytes, got});
    asked.done = false;
    store_install_finish(install, told, &asked);
    run_until(&asked);
    rig.install = NULL;
    if (!asked.done) return false;
    cr_assert_eq(asked.err, 0);
    asked.done = false;
    store_install_commit(install, 9, told, &asked);
    run_until(&asked);
    if (asked.done) cr_assert_eq(asked.err, 0);
    return asked.done;
}

/* Seeding: afterwards it is either the empty store it was, or all that the source has. */
Test(store_crash, a_power_cut_during_an_install_leaves_the_old_state_or_the_new_one)
{
    for (uint64_t cut = 1; cut < 40; cut++) {
        tear_down();
        seed = cut;
        set_up();
        append(&source, 8);
        cr_assert_eq(rig_checkpoint(&source), 0);
        disk_cut_before(sim_node_disk(rig.node), cut);
        bool whole = install_all(0);
        if (rig_up(&rig)) sim_node_crash(rig.node, SIM_POWER);
        disk_cut_before(sim_node_disk(rig.node), 0);
        rig_start(&rig);
        cr_assert(rig_up(&rig), "cut %d: %s", (int)cut, rig.why);
        index_t index = store_facts(rig.store)->index;
        cr_assert(index == 8 || (!whole && index == 0), "cut %d: index %d", (int)cut, (int)index);
        if (index == 8) {
            cr_assert_eq(history_of(&rig), history_of(&source));
            cr_assert_eq(store_manifest(rig.store)->wal_from, 9);
            expect_whole(&rig);
        }
        if (whole) return;
    }
    cr_assert_fail("an install takes fewer changes than that");
}

Test(store_crash, a_full_disk_fails_the_checkpoint_and_it_goes_on_when_there_is_room)
{
    append(&rig, 6);
    cr_assert_eq(rig_checkpoint(&rig), 0);
    index_t before = store_manifest(rig.store)->index;
    for (int i = 0; i < 4; i++) {
        append(&rig, 4);
        disk_set_capacity(sim_node_disk(rig.node), 1);
        cr_expect_eq(rig_checkpoint(&rig), ERR_NO_SPACE);
        cr_expect_eq(store_manifest(rig.store)->index, before);
        cr_expect_gt(store_dirty_bytes(rig.store), 0);
        expect_whole(&rig);
    }
    disk_set_capacity(sim_node_disk(rig.node), UINT64_MAX);
    uint64_t history = history_of(&rig);
    cr_assert_eq(rig_checkpoint(&rig), 0); /* What was frozen first; the rest is in the log. */
    cr_expect_gt(store_manifest(rig.store)->index, before);
    rig_crash(&rig, SIM_POWER);
    cr_assert(rig_up(&rig), "%s", rig.why);
    cr_expect_eq(history_of(&rig), history);
    expect_whole(&rig);
    cr_assert_eq(rig_checkpoint(&rig), 0);
    cr_expect_eq(store_manifest(rig.store)->index, store_facts(rig.store)->index);
    cr_expect_eq(store_dirty_bytes(rig.store), 0);
}

Test(store_crash, a_write_or_sync_that_fails_fails_the_checkpoint_alone)
{
    append(&rig, 6);
    disk_fail_writes(sim_node_disk(rig.node), 1);
    cr_expect_eq(rig_checkpoint(&rig), ERR_IO);
    disk_fail_syncs(sim_node_disk(rig.node), 1);
    cr_expect_eq(rig_checkpoint(&rig), ERR_IO);
    expect_whole(&rig);
    cr_expect_eq(rig_checkpoint(&rig), 0);
    rig_crash(&rig, SIM_POWER);
    cr_assert(rig_up(&rig), "%s", rig.why);
    expect_whole(&rig);
}

/* ---- damage ---- */

Test(store_crash, damage_in_a_run_is_told_and_not_served)
{
    static const char run[] = "/data/store/0000000000000001.run";
    append(&rig, 6);
    cr_assert_eq(rig_checkpoint(&rig), 0);
    cr_assert_eq(disk_flip(sim_node_disk(rig.node), run, 60, 1), 0); /* In its block of rows. */
    rig_crash(&rig, SIM_KILL);
    cr_assert(rig_up(&rig), "%s", rig.why);
    struct store_query query = {
        .kind = STORE_RECORDS, .stream = slice_str("a"), .limit_count = 10, .limit_bytes = 1000};
    cr_expect_eq(rig_query(&rig, &query), ERR_CORRUPT);
    cr_expect_eq(query.rows_count, 0);
    buf_free(&query.rows);
    struct store_stats stats;
    store_stats(rig.store, &stats);
    cr_expect_gt(stats.damage_count, 0);
}

Test(store_crash, a_damaged_or_foreign_folder_is_refused_and_named)
{
    static const char manifest[] = "/data/store/manifest";
    append(&rig, 6);
    cr_assert_eq(rig_checkpoint(&rig), 0);
    cr_assert_eq(disk_flip(sim_node_disk(rig.node), manifest, 20, 1), 0);
    rig_crash(&rig, SIM_KILL);
    cr_expect_eq(rig.open_err, ERR_CORRUPT);
    cr_expect_not_null(strstr(rig.why, "manifest"), "%s", rig.why);
    cr_assert_eq(disk_flip(sim_node_disk(rig.node), manifest, 20, 1), 0);
    rig.owner = 78;
    sim_node_crash(rig.node, SIM_KILL);
    rig_start(&rig);
    cr_expect_eq(rig.open_err, ERR_FOREIGN);
}

/* A damaged delta is found before anything of the store changes. */
Test(store_crash, a_damaged_delta_is_refused_and_leaves_the_store_as_it_was)
{
    struct asked asked = {0};
    struct store_install *install;
    static uint8_t bytes[1 << 16];
    size_t got;
    append(&source, 8);
    cr_assert_eq(rig_checkpoint(&source), 0);
    cr_assert_eq(store_delta_make(source.store, 0, delta_told, &asked), 0);
    rig_wait(&source, &asked.done);
    cr_assert_eq(store_delta_read(made, 0, bytes, sizeof(bytes), &got), 0);
    for (size_t at = 0; at < got; at += 37) {
        bytes[at] ^= 4;
        cr_assert_eq(store_install_begin(rig.store, store_delta_facts(made), 0, &install), 0);
        store_install_put(install, (struct slice){bytes, got});
        asked.done = false;
        store_install_finish(install, told, &asked);
        rig_wait(&rig, &asked.done);
        cr_expect(asked.err == ERR_CORRUPT || asked.err == ERR_VERSION, "offset %d", (int)at);
        store_install_cancel(install);
        bytes[at] ^= 4;
    }
    store_delta_release(made);
    cr_expect_eq(store_facts(rig.store)->index, 0);
    append(&rig, 2);
    expect_whole(&rig);
}

static unsigned files_count;
static void file_seen(void *arg, const char *name)
{
    (void)arg;
    (void)name;
    files_count++;
}

Test(store_crash, files_nobody_names_are_gone_after_the_next_start)
{
    struct env_file *file;
    append(&rig, 2);
    cr_assert_eq(rig_checkpoint(&rig), 0);
    cr_assert_eq(env_file_open(rig.env, "/data/store/delta-1.tmp", ENV_WRITE | ENV_CREATE, &file),
                 0);
    env_file_close(rig.env, file);
    rig_crash(&rig, SIM_KILL);
    cr_assert(rig_up(&rig), "%s", rig.why);
    cr_assert_eq(env_dir_list(rig.env, "/data/store", file_seen, NULL), 0);
    cr_expect_eq(files_count, 2, "the manifest and one run");
}
