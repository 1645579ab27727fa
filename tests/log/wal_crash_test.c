/* tests/log/wal_crash_test.c -- power cuts at every moment: nothing that was durable is lost.
 *
 * Method: tests/log/wal_scene.h. */
#include "log/wal.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/log/wal_scene.h"

static struct scene scene;

TestSuite(wal_crash, .timeout = 300); /* They take seconds; the machine may be busy. */

/* ---- power cuts ---- */

/* Every subset of the sectors of the last batch: it is there whole, or not at all. */
Test(wal_crash, any_sectors_of_the_last_batch_may_be_lost)
{
    unsigned whole_count = 0;
    for (uint64_t mask = 0; mask < 1 << 8; mask++) {
        scene_begin(&scene, 1);
        scene_append(&scene, 5, 150);
        rig_entry(scene.rig, 0, 3300);
        scene_keep(&scene, mask);
        scene_cut_before(&scene, 2); /* The write, then the sync that never is. */
        CHECK(scene_wait_down(&scene));
        scene_boot(&scene);
        cr_assert_eq(scene.rig->err, 0, "%s", scene.rig->why);
        cr_assert_geq(scene.rig->found[0].last, 5);
        whole_count += scene.rig->found[0].last == 6;
        scene_append(&scene, 2, 100);
        scene_crash_and_boot(&scene, SIM_POWER);
        scene_end(&scene);
    }
    cr_expect_eq(whole_count, 1, "when all 8 sectors are there");
}

/* The same around the change of files: heads, first batches and the file made ahead. */
Test(wal_crash, a_new_file_may_be_torn_anywhere)
{
    static const uint64_t masks[] = {
        0, UINT64_MAX, 0x5555555555555555, 0xaaaaaaaaaaaaaaaa, 0x00ff00ff00ff00ff,
        1, 2,          ~UINT64_C(1)};
    for (unsigned m = 0; m < ARRAY_COUNT(masks); m++)
        for (uint64_t cut = 1; cut <= 16; cut++) {
            scene_begin(&scene, 2);
            rig_vote(scene.rig, 1);
            scene_append(&scene, 9, 6000);
            scene_run_us(&scene, 10 * 1000);
            rig_entry(scene.rig, 0, 12000);
            rig_vote(scene.rig, 1);
            scene_keep(&scene, masks[m]);
            scene_cut_before(&scene, cut);
            if (!scene_wait_down(&scene)) scene_crash(&scene, SIM_POWER);
            scene_boot(&scene);
            cr_assert_eq(scene.rig->err, 0, "%s", scene.rig->why);
            scene_append(&scene, 3, 6000);
            scene_crash_and_boot(&scene, SIM_POWER);
            scene_end(&scene);
        }
}

/* Recovery itself is cut before each of its changes, and then again before each. Once all pending
 * sectors and names are lost, once none is, twice as the seed says. */
enum { RECOVERY_CHANGES = 11 }; /* It makes no more. */
static void cut_recovery(uint64_t first, uint64_t second, unsigned how)
{
    scene_begin(&scene, 100 + how);
    scene_append(&scene, 12, 6000);
    rig_entry(scene.rig, 0, 2000);
    rig_entry(scene.rig, 1, 2000);
    scene_run_us(&scene, 60); /* The batch is written, perhaps; its sync is not done. */
    if (how < 2) scene_keep(&scene, how == 0 ? 0 : UINT64_MAX);
    scene_crash(&scene, how % 2 == 0 ? SIM_KILL : SIM_POWER);
    scene_cut_before(&scene, first);
    scene_boot(&scene);
    if (sim_node_up(scene.node)) scene_crash(&scene, SIM_POWER);
    scene_cut_before(&scene, second);
    scene_boot(&scene);
    if (sim_node_up(scene.node)) scene_crash(&scene, SIM_POWER);
    scene_boot(&scene);
    cr_assert_eq(scene.rig->err, 0, "%s", scene.rig->why);
    scene_append(&scene, 2, 100);
    scene_crash_and_boot(&scene, SIM_POWER);
    scene_end(&scene);
}
Test(wal_crash, recovery_may_be_cut_anywhere_twice)
{
    for (unsigned how = 0; how < 4; how++)
        for (uint64_t first = 1; first <= RECOVERY_CHANGES; first++)
            for (uint64_t second = 1; second <= RECOVERY_CHANGES; second++)
                cut_recovery(first, second, how);
}

/* After kill -9 the last batch is read from the page cache. What was read once must survive the
 * power cut that follows, though nobody synced it where it lies. */
Test(wal_crash, what_recovery_told_is_durable)
{
    unsigned told_count = 0;
    for (uint64_t us = 5; us < 150; us += 5) {
        scene_begin(&scene, 4);
        scene_append(&scene, 3, 500);
        rig_entry(scene.rig, 0, 500);
        scene_run_us(&scene, us); /* Written at some of these moments, synced at none. */
        cr_assert_not(rig_durable(scene.rig));
        scene_crash_and_boot(&scene, SIM_KILL);
        told_count += scene.rig->found[0].last == 4;
        scene_keep(&scene, 0);
        scene_crash_and_boot(&scene, SIM_POWER); /* The rig compares. */
        scene_end(&scene);
    }
    cr_expect_gt(told_count, 0);
}

/* Crash by `how` so that file 3 has a head, and nothing behind it. durable: the head's sync was
 * done; otherwise what is there is in memory alone. */
static void crash_behind_head(enum sim_crash how, bool durable)
{
    struct wal_head head;
    uint8_t bytes[WAL_HEAD_BYTES_MAX];
    uint64_t places[SCENE_BATCHES_MAX + 1];
    for (uint64_t us = 0; us < 2000; us += 3) {
        scene_begin(&scene, 16);
        scene_append(&scene, 9, 6000);
        scene_run_us(&scene, 100 * 1000);
        rig_entry(scene.rig, 0, 12000);
        scene_run_us(&scene, us);
        scene_keep(&scene, 0);
        scene_crash(&scene, how);
        scene_file_get(&scene, 3, 0, bytes, sizeof bytes);
        bool has_head = wal_head_decode((struct slice){bytes, sizeof bytes}, &head) == 0;
        bool pending = disk_pending_sectors(scene.disk) > 0;
        if (has_head && scene_batches(&scene, 3, places) == 0 && pending != durable) return;
        scene_end(&scene);
    }
    cr_assert_fail("there is no such moment");
}

/* A head that recovery reads from memory alone may be gone at the next start. */
Test(wal_crash, nothing_builds_on_a_head_that_may_be_lost)
{
    crash_behind_head(SIM_KILL, false);
    scene_boot(&scene);
    cr_assert_eq(scene.rig->err, 0, "%s", scene.rig->why);
    scene_crash_and_boot(&scene, SIM_POWER);
    scene_end(&scene);
}

Test(wal_crash, a_head_proves_the_file_before_it)
{
    uint64_t places[SCENE_BATCHES_MAX + 1];
    crash_behind_head(SIM_POWER, true);
    size_t count = scene_batches(&scene, 2, places);
    for (uint64_t at = places[count - 1]; at < places[count]; at += 7) {
        scene_file_flip(&scene, 2, at, 0x10);
        cr_assert_eq(scene_boot_damaged(&scene), ERR_CORRUPT);
        scene_file_flip(&scene, 2, at, 0x10);
    }
    scene_end(&scene);
}

/* The file that recovery made has its name, but the folder was not synced when the process died:
 * the next recovery must not trust the name. Where the batch was copied from, it is damaged here,
 * so that the copy is all there is. */
Test(wal_crash, a_name_that_may_be_lost_is_made_durable)
{
    static const char third[] = "/data/wal/0000000003.wal", other[] = "/data/wal/other";
    uint64_t places[SCENE_BATCHES_MAX + 1];
    for (uint64_t seed = 1; seed <= 12; seed++) {
        scene_begin(&scene, seed);
        scene_append(&scene, 3, 100);
        scene_crash_and_boot(&scene, SIM_KILL);
        scene_crash(&scene, SIM_KILL);
        struct env *env = scene.rig->env;
        CHECK(scene_batches(&scene, 2, places) == 3);
        scene_file_flip(&scene, 2, places[2] + WAL_BATCH_HEAD_BYTES, 1);
        CHECK(env_rename(env, third, other) == 0);
        CHECK(env_dir_sync(env, SCENE_DIR) == 0);
        CHECK(env_rename(env, other, third) == 0);
        scene_boot(&scene);
        cr_assert_eq(scene.rig->err, 0, "%s", scene.rig->why);
        scene_crash_and_boot(&scene, SIM_POWER);
        scene_end(&scene);
    }
}

/* ---- random life ---- */

static void random_op(struct world *world)
{
    struct rig *rig = scene.rig;
    part_t part = (part_t)(world_random(world) % RIG_PARTS);
    struct rig_part *tip = &rig->tip[part];
    uint64_t dice = world_random(world) % 100;
    if (dice < 60) {
        size_t bytes = 8 + world_random(world) % (dice < 50 ? 400 : 20000);
        if (tip->last < RIG_INDEX_MAX) rig_entry(rig, part, bytes);
    } else if (dice < 70) {
        uint64_t above = tip->last - rig->released[part];
        if (tip->last > rig->released[part])
            rig_truncate(rig, part, rig->released[part] + 1 + world_random(world) % above);
    } else if (dice < 80) {
        rig_vote(rig, part);
    } else if (dice < 90 && rig_durable(rig)) {
        uint64_t above = tip->last - rig->released[part];
        if (tip->last > rig->released[part])
            rig_release(rig, part, rig->released[part] + 1 + world_random(world) % above);
    } else if (dice < 92) {
        (void)wal_next(rig->wal);
    } else {
        static const uint64_t waits_us[] = {10, 100, 300, 1000, 30 * 1000};
        world_run_for(world, waits_us[world_random(world) % ARRAY_COUNT(waits_us)]);
    }
}
static void random_crash(struct world *world)
{
    uint64_t dice = world_random(world) % 10;
    if (sim_node_up(scene.node)) scene_crash(&scene, dice < 5 ? SIM_POWER : SIM_KILL);
    while (!sim_node_up(scene.node)) {
        if (world_random(world) % 2 == 0) scene_cut_before(&scene, 1 + world_random(world) % 14);
        scene_boot(&scene);
        if (!sim_node_up(scene.node)) continue;
        cr_assert_eq(scene.rig->err, 0, "%s", scene.rig->why);
        scene.cut_at = UINT64_MAX;
        disk_cut_before(scene.disk, 0);
    }
}
static void random_life(uint64_t seed)
{
    scene_begin(&scene, seed);
    struct world *world = scene.world;
    for (unsigned life = 0; life < 8; life++) {
        uint64_t ops_count = world_random(world) % 120;
        if (world_random(world) % 2 == 0) scene_cut_before(&scene, 1 + world_random(world) % 200);
        for (uint64_t op = 0; op < ops_count && sim_node_up(scene.node); op++)
            random_op(world);
        random_crash(world);
    }
    scene_end(&scene);
}

/* WAL_SEEDS=first,count in the environment tries others. */
Test(wal_crash, random_lives_keep_every_promise)
{
    unsigned long first = 1, count = 100;
    const char *seeds = getenv("WAL_SEEDS");
    if (seeds != NULL) sscanf(seeds, "%lu,%lu", &first, &count);
    for (unsigned long seed = first; seed < first + count; seed++) {
        if (seeds != NULL) fprintf(stderr, "seed %lu\r", seed);
        random_life(seed);
    }
}

/* ---- what keeps files ---- */

/* Run until the batch is under way, have all partitions look for files to delete, and cut the
 * power some time later: names go at once then, what was not synced is lost. */
static void release_and_cut(uint64_t first_us, uint64_t then_us)
{
    scene_run_us(&scene, first_us);
    for (part_t part = 0; part < RIG_PARTS; part++)
        rig_release(scene.rig, part, scene.rig->released[part]);
    scene_run_us(&scene, then_us);
    scene_keep(&scene, 0);
    scene_crash_and_boot(&scene, SIM_POWER); /* The rig compares. */
}

/* A truncate voids entries; their file must not go before the truncate is durable. */
Test(wal_crash, a_truncate_that_is_not_durable_lets_no_file_go)
{
    for (uint64_t first_us = 5; first_us <= 45; first_us += 10)
        for (uint64_t then_us = 10; then_us <= 130; then_us += 40) {
            scene_begin(&scene, 9);
            scene_append(&scene, 25, 6000);
            scene_run_us(&scene, 100 * 1000);
            rig_truncate(scene.rig, 0, 1);
            release_and_cut(first_us, then_us);
            scene_end(&scene);
        }
}

/* Terms and votes are in the head of the next file; before that is durable, no file may go. */
Test(wal_crash, a_file_stays_until_the_head_of_the_next_is_durable)
{
    for (uint64_t first_us = 5; first_us <= 45; first_us += 10)
        for (uint64_t then_us = 10; then_us <= 130; then_us += 40) {
            scene_begin(&scene, 10);
            rig_vote(scene.rig, 1);
            scene_append(&scene, 9, 6000);
            scene_run_us(&scene, 100 * 1000);
            scene.rig->released[0] = scene.rig->truth[0].last;
            disk_set_capacity(scene.disk,
                              3 * SCENE_FILE_BYTES); /* No file ahead delays a deletion. */
            rig_entry(scene.rig, 0, 12000);          /* Goes into the next file. */
            release_and_cut(first_us, then_us);
            cr_assert_eq(scene.rig->found[1].term, 1);
            scene_end(&scene);
        }
}
