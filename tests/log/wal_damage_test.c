/* tests/log/wal_damage_test.c -- damaged files are refused, faults of the disk are told.
 *
 * Method: tests/log/wal_scene.h. */
#include "log/wal.h"

#include <criterion/criterion.h>
#include <signal.h>

#include "tests/log/wal_scene.h"

static struct scene scene;

TestSuite(wal_damage, .timeout = 300); /* They take seconds; the machine may be busy. */

/* ---- damage ---- */

/* Batches 1 and 2 are in file 2, a copy of 2 in file 3, which recovery made; 3, 4 and the empty 5,
 * which follows when nothing happens any more, are in file 4. */
static uint64_t offsets[SCENE_BATCHES_MAX + 1]; /* Of file 4. */
static void small_log(void)
{
    scene_begin(&scene, 5);
    scene_append(&scene, 2, 90);
    scene_crash_and_boot(&scene, SIM_KILL);
    scene_append(&scene, 2, 90);
    scene_run_us(&scene, 100 * 1000);
    CHECK(wal_durable(scene.rig->wal) == 5);
    scene_crash(&scene, SIM_KILL);
    CHECK(scene_batches(&scene, 4, offsets) == 3);
}

static void flip_and_expect_damage(wal_number_t number, uint64_t end)
{
    for (uint64_t at = 0; at < end; at++) {
        uint8_t mask = (uint8_t)(1 << at % 8);
        scene_file_flip(&scene, number, at, mask);
        cr_assert_eq(scene_boot_damaged(&scene), ERR_CORRUPT, "file %lu, offset %lu", number, at);
        cr_assert_not_null(strstr(scene.rig->why, "offset "));
        scene_file_flip(&scene, number, at, mask);
    }
}

/* Each byte in front of the last batch, but for what was copied and counts no more. */
Test(wal_damage, a_flipped_bit_before_the_last_batch_is_always_found)
{
    uint64_t second[SCENE_BATCHES_MAX + 1], third[SCENE_BATCHES_MAX + 1];
    small_log();
    CHECK(scene_batches(&scene, 2, second) == 2);
    CHECK(scene_batches(&scene, 3, third) == 1);
    flip_and_expect_damage(2, second[1]);
    flip_and_expect_damage(3, third[1]);
    flip_and_expect_damage(4, offsets[2]);
    scene_end(&scene);
}

/* A file that recovery made is complete, so its batch is never taken for torn. */
Test(wal_damage, a_flipped_bit_in_a_copied_batch_is_always_found)
{
    uint64_t third[SCENE_BATCHES_MAX + 1];
    scene_begin(&scene, 17);
    scene_append(&scene, 2, 90);
    scene_crash_and_boot(&scene, SIM_KILL);
    scene_crash(&scene, SIM_KILL);
    CHECK(scene_batches(&scene, 3, third) == 1);
    for (uint64_t at = third[0]; at < third[1]; at++) {
        scene_file_flip(&scene, 3, at, (uint8_t)(1 << at % 8));
        cr_assert_eq(scene_boot_damaged(&scene), ERR_CORRUPT, "offset %lu", at);
        scene_file_flip(&scene, 3, at, (uint8_t)(1 << at % 8));
    }
    scene_end(&scene);
}

/* In the last batch it cannot be told from a torn write: the batch is cut, the others stay. */
Test(wal_damage, a_flipped_bit_in_the_last_batch_cuts_it)
{
    small_log();
    scene_end(&scene);
    for (uint64_t at = offsets[2]; at < offsets[3]; at++) {
        small_log();
        scene_file_flip(&scene, 4, at, (uint8_t)(1 << at % 8));
        cr_assert_eq(scene_boot_damaged(&scene), 0, "%s", scene.rig->why);
        cr_assert(rig_found_prefix(scene.rig, 4));
        scene_end(&scene);
    }
}

/* A file that lost its end: the batches that are whole are there. */
Test(wal_damage, the_last_file_may_be_cut_at_every_byte)
{
    char path[WAL_PATH_BYTES];
    wal_path(path, SCENE_DIR, 4);
    for (uint64_t bytes = 0; bytes <= offsets[3]; bytes += bytes < SCENE_HEAD_BYTES - 8 ? 8 : 1) {
        small_log();
        CHECK(disk_cut_file(scene.disk, path, bytes) == 0);
        cr_assert_eq(scene_boot_damaged(&scene), 0, "%s", scene.rig->why);
        index_t last = bytes >= offsets[2] ? 4 : bytes >= offsets[1] ? 3 : 2;
        cr_assert(rig_found_prefix(scene.rig, last), "cut to %lu", bytes);
        scene_end(&scene);
    }
}

/* Several files, several sectors: any lost sector in front of the last batch is found. */
Test(wal_damage, a_lost_sector_is_always_found)
{
    static const uint8_t zeroes[DISK_SECTOR_BYTES];
    uint8_t sector[DISK_SECTOR_BYTES];
    uint64_t batches[SCENE_BATCHES_MAX + 1];
    scene_begin(&scene, 6);
    scene_append(&scene, 14, 6000);
    scene_run_us(&scene, 100 * 1000);
    scene_crash(&scene, SIM_KILL);
    for (wal_number_t number = 2; number <= 3; number++) {
        size_t count = scene_batches(&scene, number, batches);
        /* A sector that holds the last batch's head takes the proof away with what it proves. */
        uint64_t end = number == 2 ? batches[count] : batches[count - 1] - sizeof sector;
        for (uint64_t at = 0; at < end; at += sizeof sector) {
            CHECK(scene_file_get(&scene, number, at, sector, sizeof sector) == sizeof sector);
            if (memcmp(sector, zeroes, sizeof sector) == 0) continue; /* A head's padding. */
            scene_file_put(&scene, number, at, zeroes, sizeof zeroes);
            cr_assert_eq(scene_boot_damaged(&scene), ERR_CORRUPT, "file %lu, offset %lu", number,
                         at);
            scene_file_put(&scene, number, at, sector, sizeof sector);
        }
    }
    scene_end(&scene);
}

/* Batches whose checksums hold, in places that are not theirs. */
Test(wal_damage, a_batch_of_another_place_is_refused)
{
    uint8_t first[512], second[512], old[512];
    uint64_t places[SCENE_BATCHES_MAX + 1];
    scene_begin(&scene, 7);
    for (unsigned i = 0; i < 4; i++)
        scene_append(&scene, 1, 96);
    scene_run_us(&scene, 100 * 1000);
    scene_crash(&scene, SIM_KILL);
    CHECK(scene_batches(&scene, 2, places) == 5);
    size_t bytes = (size_t)(places[1] - places[0]);
    CHECK(places[2] - places[1] == bytes && bytes <= sizeof first);
    scene_file_get(&scene, 2, places[0], first, bytes);
    scene_file_get(&scene, 2, places[1], second, bytes);

    scene_file_put(&scene, 2, places[1], first,
                   bytes); /* A write that went astray, over another. */
    cr_expect_eq(scene_boot_damaged(&scene), ERR_CORRUPT);
    scene_file_put(&scene, 2, places[1], second, bytes);

    memset(old, 0, sizeof old);
    scene_file_put(&scene, 2, places[5], first, bytes); /* Behind the end. */
    cr_expect_eq(scene_boot_damaged(&scene), ERR_CORRUPT);
    cr_expect_not_null(strstr(scene.rig->why, "a batch of another place"));
    scene_file_put(&scene, 2, places[5], old, bytes);

    scene_file_get(&scene, 2, places[4], first,
                   WAL_BATCH_HEAD_BYTES); /* The last one, 16 bytes too far. */
    scene_file_put(&scene, 2, places[4], old, WAL_BATCH_HEAD_BYTES);
    scene_file_put(&scene, 2, places[4] + 16, first, WAL_BATCH_HEAD_BYTES);
    cr_expect_eq(scene_boot_damaged(&scene), ERR_CORRUPT);
    scene_end(&scene);
}

/* The same in a file that has another behind it. */
Test(wal_damage, batches_that_changed_places_are_refused)
{
    static uint8_t first[SCENE_FILE_BYTES], second[SCENE_FILE_BYTES];
    uint64_t places[SCENE_BATCHES_MAX + 1];
    scene_begin(&scene, 7);
    scene_append(&scene, 14, 6000);
    scene_crash(&scene, SIM_KILL);
    CHECK(scene_batches(&scene, 2, places) >= 5);
    size_t bytes = (size_t)(places[1] - places[0]);
    CHECK(places[4] - places[3] == bytes);
    scene_file_get(&scene, 2, places[0], first, bytes);
    scene_file_get(&scene, 2, places[3], second, bytes);
    scene_file_put(&scene, 2, places[0], second, bytes);
    cr_expect_eq(scene_boot_damaged(&scene), ERR_CORRUPT);
    scene_file_put(&scene, 2, places[3], first, bytes);
    cr_expect_eq(scene_boot_damaged(&scene), ERR_CORRUPT);
    cr_expect_not_null(strstr(scene.rig->why, "a batch of another place"));
    scene_end(&scene);
}

Test(wal_damage, a_file_in_the_place_of_another_is_refused)
{
    static uint8_t bytes[SCENE_FILE_BYTES];
    scene_begin(&scene, 8);
    scene_append(&scene, 14, 6000);
    scene_crash(&scene, SIM_KILL);
    CHECK(scene_file_get(&scene, 2, 0, bytes, sizeof bytes) == sizeof bytes);
    scene_file_put(&scene, 3, 0, bytes, sizeof bytes);
    cr_expect_eq(scene_boot_damaged(&scene), ERR_CORRUPT);
    scene_end(&scene);
}

/* What a user wrote may look like a batch of a log: it is none of this one. */
Test(wal_damage, the_image_of_a_batch_proves_nothing)
{
    struct buf image = {0};
    small_log();
    wal_batch_begin(&image);
    for (uint64_t salt = 0; salt < 3; salt++) {
        wal_batch_seal(buf_bytes(&image), 4, 1000, salt);
        scene_file_put(&scene, 4, offsets[3] + 512, image.data, image.len);
        cr_expect_eq(scene_boot_damaged(&scene), 0, "%s", scene.rig->why);
        scene_end(&scene);
        small_log();
    }
    buf_free(&image);
    scene_end(&scene);
}

/* ---- faults ---- */

static bool space_low(void *arg)
{
    (void)arg;
    return scene.rig->low;
}
static bool space_fine(void *arg)
{
    (void)arg;
    return !scene.rig->low;
}

Test(wal_damage, a_full_disk_is_told_and_recovers_by_itself)
{
    scene_begin(&scene, 11);
    scene_append(&scene, 2, 100);
    disk_set_capacity(scene.disk, 3 * SCENE_FILE_BYTES);
    for (unsigned i = 0; i < 20; i++)
        rig_entry(scene.rig, 0, 12000);
    CHECK(world_run_until(scene.world, space_low, NULL, 1000 * 1000));
    scene_run_us(&scene, 5 * 1000 * 1000);
    cr_expect_not(rig_durable(scene.rig), "the batch waits");
    cr_expect_eq(scene.rig->space_calls_count, 1, "told once");
    struct wal_stats stats;
    wal_stats(scene.rig->wal, &stats);
    cr_expect_gt(stats.stall_us, 4 * 1000 * 1000);

    disk_set_capacity(scene.disk, UINT64_MAX / 2);
    scene_wait_durable(&scene);
    CHECK(world_run_until(scene.world, space_fine, NULL, 1000 * 1000));
    cr_expect_eq(scene.rig->space_calls_count, 2);
    scene_crash_and_boot(&scene, SIM_POWER);
    scene_end(&scene);
}

Test(wal_damage, a_log_opens_on_a_full_disk)
{
    scene_begin(&scene, 12);
    scene_append(&scene, 12, 6000);
    scene_crash(&scene, SIM_POWER);
    disk_set_capacity(scene.disk, 5 * SCENE_FILE_BYTES);
    scene_boot(&scene);
    cr_expect_eq(scene.rig->err, 0, "%s", scene.rig->why);
    scene_end(&scene);
}

Test(wal_damage, a_stalled_disk_is_seen)
{
    struct wal_stats stats;
    scene_begin(&scene, 13);
    scene_append(&scene, 2, 100);
    scene_run_us(&scene, 100 * 1000);
    wal_stats(scene.rig->wal, &stats);
    cr_expect_eq(stats.stall_us, 0);
    disk_stall(sim_node_disk(scene.node), 2 * 1000 * 1000);
    rig_entry(scene.rig, 0, 100);
    scene_run_us(&scene, 600 * 1000);
    wal_stats(scene.rig->wal, &stats);
    cr_expect_gt(stats.stall_us, 500 * 1000);
    scene_wait_durable(&scene);
    wal_stats(scene.rig->wal, &stats);
    cr_expect_geq(stats.sync_us_max, 1900 * 1000);
    scene_end(&scene);
}

Test(wal_damage, a_sync_that_fails_stops_the_process, .signal = SIGABRT)
{
    scene_begin(&scene, 14);
    scene_append(&scene, 2, 100);
    scene_run_us(&scene, 100 * 1000);
    disk_fail_syncs(scene.disk, 1);
    rig_entry(scene.rig, 0, 100);
    scene_run_us(&scene, 100 * 1000);
}

Test(wal_damage, a_write_that_fails_stops_the_process, .signal = SIGABRT)
{
    scene_begin(&scene, 15);
    scene_append(&scene, 2, 100);
    scene_run_us(&scene, 100 * 1000);
    disk_fail_writes(scene.disk, 1);
    rig_entry(scene.rig, 0, 100);
    scene_run_us(&scene, 100 * 1000);
}
