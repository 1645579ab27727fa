/* tests/log/wal_crash_test.c -- the write-ahead log on the simulated disk: power cuts, damage,
 * faults.
 *
 * Method: a scene is a world with one node and a rig on it, made from nothing and a seed, so that
 * every case begins with the same disk. The rig compares what is replayed after each start with
 * its model; tests that damage what was durable compare for themselves. */
#include "log/wal.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "jepsen/sim/world.h"
#include "log/limits.h"
#include "log/wal_format.h"
#include "tests/log/wal_rig.h"

enum { FILE_BYTES = 64 * 1024, HEAD_BYTES = 4096 };

static const char wal_dir[] = "/data/wal";

static struct scene {
    struct world *world;
    struct sim_node *node;
    struct disk *disk;
    struct rig *rig;
    uint64_t cut_at; /* With as many changes of the disk the power is gone. */
    uint64_t mask;   /* Which pending sectors survive, from bit 0. */
} scene;

TestSuite(wal_crash, .timeout = 60);

/* ---- scenes ---- */

static bool power_gone(void *arg)
{
    (void)arg;
    return disk_changes(scene.disk) >= scene.cut_at;
}
static void node_boot(void *arg, struct env *env)
{
    (void)arg;
    scene.rig->env = env;
    rig_open(scene.rig);
}
static void node_died(void *arg)
{
    (void)arg;
    scene.cut_at = 0; /* Whatever wal_close does is void. */
    rig_close(scene.rig, true);
    scene.cut_at = UINT64_MAX;
}
static const struct sim_program program = {node_boot, node_died};

/* Start the node; it is down again at once when the power is cut during that. */
static void scene_boot(void)
{
    sim_node_start(scene.node);
    world_step(scene.world);
}
static void scene_begin(uint64_t seed)
{
    scene.world = world_create(seed);
    scene.rig = mem_zero(sizeof *scene.rig);
    scene.node = sim_node_create(scene.world, "a", &program, NULL);
    scene.disk = sim_node_disk(scene.node);
    scene.cut_at = UINT64_MAX;
    rig_init(scene.rig, sim_node_env(scene.node), wal_dir, FILE_BYTES);
    scene.rig->void_now = power_gone;
    scene_boot();
    CHECK(scene.rig->err == 0);
}
static void scene_end(void)
{
    world_destroy(scene.world);
    rig_free(scene.rig);
    free(scene.rig);
}

static void run_us(uint64_t us)
{
    world_run_for(scene.world, us);
}
static bool all_durable(void *arg)
{
    (void)arg;
    return rig_durable(scene.rig);
}
static void wait_durable(void)
{
    CHECK(world_run_until(scene.world, all_durable, NULL, 10 * 1000 * 1000));
}
static bool node_down(void *arg)
{
    (void)arg;
    return !sim_node_up(scene.node);
}

static bool keep_mask(void *arg, uint64_t n)
{
    (void)arg;
    return n < 64 && (scene.mask >> n & 1) != 0;
}
/* The power will fail before the count-th change from now, and leave what mask says. */
static void cut_before(uint64_t count)
{
    scene.cut_at = disk_changes(scene.disk) + count;
    disk_cut_before(scene.disk, count);
}
static void keep(uint64_t mask)
{
    scene.mask = mask;
    disk_keep(scene.disk, keep_mask, NULL);
}
static void crash(enum sim_crash how)
{
    sim_node_crash(scene.node, how);
    CHECK(!sim_node_up(scene.node));
}
/* Crash, start again: all that was durable must be there. */
static void crash_and_boot(enum sim_crash how)
{
    crash(how);
    scene_boot();
    cr_assert_eq(scene.rig->err, 0, "%s", scene.rig->why);
}

/* Each entry of part 0 becomes a batch of its own. */
static void append_batches(unsigned count, size_t data_bytes)
{
    for (unsigned i = 0; i < count; i++) {
        rig_entry(scene.rig, 0, data_bytes + i % 3);
        wait_durable();
    }
}
/* ---- the files of a node that is down ---- */

static void file_name(char path[WAL_PATH_BYTES], wal_number_t number)
{
    wal_path(path, wal_dir, number);
}
static size_t file_get(wal_number_t number, uint64_t offset, void *out, size_t bytes)
{
    char path[WAL_PATH_BYTES];
    struct env_file *file;
    size_t got = 0;
    file_name(path, number);
    CHECK(env_file_open(scene.rig->env, path, ENV_READ, &file) == 0);
    CHECK(env_file_read(scene.rig->env, file, out, bytes, offset, &got) == 0);
    env_file_close(scene.rig->env, file);
    return got;
}
static void file_put(wal_number_t number, uint64_t offset, const void *data, size_t bytes)
{
    char path[WAL_PATH_BYTES];
    struct env_file *file;
    file_name(path, number);
    CHECK(env_file_open(scene.rig->env, path, ENV_WRITE, &file) == 0);
    CHECK(env_file_write(scene.rig->env, file, data, bytes, offset) == 0);
    CHECK(env_file_sync(scene.rig->env, file) == 0);
    env_file_close(scene.rig->env, file);
}
static void file_flip(wal_number_t number, uint64_t offset, uint8_t mask)
{
    char path[WAL_PATH_BYTES];
    file_name(path, number);
    CHECK(disk_flip(scene.disk, path, offset, mask) == 0);
}

/* Where the batches of a file lie: offsets[0 .. count), and offsets[count] is their end. */
enum { BATCHES_MAX = 64 };
static size_t batches_of(wal_number_t number, uint64_t offsets[BATCHES_MAX + 1])
{
    uint8_t at[WAL_BATCH_HEAD_BYTES];
    uint64_t offset = HEAD_BYTES;
    size_t count = 0;
    for (;; count++) {
        offsets[count] = offset;
        if (file_get(number, offset, at, sizeof at) < sizeof at) return count;
        if (memcmp(at + 8, "PLWb", 4) != 0) return count;
        CHECK(count < BATCHES_MAX);
        offset += get_u32(at + 12);
    }
}

/* Start on damaged files, stop again. What recovery said. */
static int boot_damaged(void)
{
    scene.rig->damaged = true;
    scene_boot();
    int err = scene.rig->err;
    crash(SIM_KILL);
    return err;
}

/* ---- power cuts ---- */

/* Every subset of the sectors of the last batch: it is there whole, or not at all. */
Test(wal_crash, any_sectors_of_the_last_batch_may_be_lost)
{
    unsigned whole_count = 0;
    for (uint64_t mask = 0; mask < 1 << 8; mask++) {
        scene_begin(1);
        append_batches(5, 150);
        rig_entry(scene.rig, 0, 3300);
        keep(mask);
        cut_before(2); /* The write, then the sync that never is. */
        CHECK(world_run_until(scene.world, node_down, NULL, 1000 * 1000));
        scene_boot();
        cr_assert_eq(scene.rig->err, 0, "%s", scene.rig->why);
        cr_assert_geq(scene.rig->found[0].last, 5);
        whole_count += scene.rig->found[0].last == 6;
        append_batches(2, 100);
        crash_and_boot(SIM_POWER);
        scene_end();
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
            scene_begin(2);
            rig_vote(scene.rig, 1);
            append_batches(9, 6000);
            run_us(10 * 1000);
            rig_entry(scene.rig, 0, 12000);
            rig_vote(scene.rig, 1);
            keep(masks[m]);
            cut_before(cut);
            if (!world_run_until(scene.world, node_down, NULL, 1000 * 1000)) crash(SIM_POWER);
            scene_boot();
            cr_assert_eq(scene.rig->err, 0, "%s", scene.rig->why);
            append_batches(3, 6000);
            crash_and_boot(SIM_POWER);
            scene_end();
        }
}

/* Recovery itself is cut before each of its changes, and then again before each. Once all pending
 * sectors and names are lost, once none is, twice as the seed says. */
enum { RECOVERY_CHANGES = 11 }; /* It makes no more. */
static void cut_recovery(uint64_t first, uint64_t second, unsigned how)
{
    scene_begin(100 + how);
    append_batches(12, 6000);
    rig_entry(scene.rig, 0, 2000);
    rig_entry(scene.rig, 1, 2000);
    run_us(60); /* The batch is written, perhaps; its sync is not done. */
    if (how < 2) keep(how == 0 ? 0 : UINT64_MAX);
    crash(how % 2 == 0 ? SIM_KILL : SIM_POWER);
    cut_before(first);
    scene_boot();
    if (sim_node_up(scene.node)) crash(SIM_POWER);
    cut_before(second);
    scene_boot();
    if (sim_node_up(scene.node)) crash(SIM_POWER);
    scene_boot();
    cr_assert_eq(scene.rig->err, 0, "%s", scene.rig->why);
    append_batches(2, 100);
    crash_and_boot(SIM_POWER);
    scene_end();
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
    scene_begin(4);
    append_batches(3, 500);
    rig_entry(scene.rig, 0, 500);
    cut_before(2);
    CHECK(world_run_until(scene.world, node_down, NULL, 1000 * 1000) || true);
    scene_boot();
    rig_entry(scene.rig, 0, 500);
    run_us(45); /* Written, not synced. */
    crash_and_boot(SIM_KILL);
    keep(0);
    crash_and_boot(SIM_POWER); /* The rig compares. */
    scene_end();
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
    if (sim_node_up(scene.node)) crash(dice < 5 ? SIM_POWER : SIM_KILL);
    while (!sim_node_up(scene.node)) {
        if (world_random(world) % 2 == 0) cut_before(1 + world_random(world) % 14);
        scene_boot();
        if (!sim_node_up(scene.node)) continue;
        cr_assert_eq(scene.rig->err, 0, "%s", scene.rig->why);
        scene.cut_at = UINT64_MAX;
        disk_cut_before(scene.disk, 0);
    }
}
static void random_life(uint64_t seed)
{
    scene_begin(seed);
    struct world *world = scene.world;
    for (unsigned life = 0; life < 8; life++) {
        uint64_t ops_count = world_random(world) % 120;
        if (world_random(world) % 2 == 0) cut_before(1 + world_random(world) % 200);
        for (uint64_t op = 0; op < ops_count && sim_node_up(scene.node); op++)
            random_op(world);
        random_crash(world);
    }
    scene_end();
}

/* WAL_SEEDS=first,count in the environment tries others. */
Test(wal_crash, random_lives_keep_every_promise)
{
    unsigned long first = 1, count = 150;
    const char *seeds = getenv("WAL_SEEDS");
    if (seeds != NULL) sscanf(seeds, "%lu,%lu", &first, &count);
    for (unsigned long seed = first; seed < first + count; seed++) {
        if (seeds != NULL) fprintf(stderr, "seed %lu\r", seed);
        random_life(seed);
    }
}

/* ---- damage ---- */

/* Batches 1 and 2 are in file 2, a copy of 2 in file 3, which recovery made; 3, 4 and the empty 5,
 * which follows when nothing happens any more, are in file 4. */
static uint64_t offsets[BATCHES_MAX + 1]; /* Of file 4. */
static void small_log(void)
{
    scene_begin(5);
    append_batches(2, 90);
    crash_and_boot(SIM_KILL);
    append_batches(2, 90);
    run_us(100 * 1000);
    CHECK(wal_durable(scene.rig->wal) == 5);
    crash(SIM_KILL);
    CHECK(batches_of(4, offsets) == 3);
}

static void flip_and_expect_damage(wal_number_t number, uint64_t end)
{
    for (uint64_t at = 0; at < end; at++) {
        uint8_t mask = (uint8_t)(1 << at % 8);
        file_flip(number, at, mask);
        cr_assert_eq(boot_damaged(), ERR_CORRUPT, "file %lu, offset %lu", number, at);
        cr_assert_not_null(strstr(scene.rig->why, "offset "));
        file_flip(number, at, mask);
    }
}

/* Each byte in front of the last batch, but for what was copied and counts no more. */
Test(wal_crash, a_flipped_bit_before_the_last_batch_is_always_found)
{
    uint64_t second[BATCHES_MAX + 1], third[BATCHES_MAX + 1];
    small_log();
    CHECK(batches_of(2, second) == 2);
    CHECK(batches_of(3, third) == 1);
    flip_and_expect_damage(2, second[1]);
    flip_and_expect_damage(3, third[1]);
    flip_and_expect_damage(4, offsets[2]);
    scene_end();
}

/* In the last batch it cannot be told from a torn write: the batch is cut, the others stay. */
Test(wal_crash, a_flipped_bit_in_the_last_batch_cuts_it)
{
    small_log();
    scene_end();
    for (uint64_t at = offsets[2]; at < offsets[3]; at++) {
        small_log();
        file_flip(4, at, (uint8_t)(1 << at % 8));
        cr_assert_eq(boot_damaged(), 0, "%s", scene.rig->why);
        cr_assert(rig_found_prefix(scene.rig, 4));
        scene_end();
    }
}

/* A file that lost its end: the batches that are whole are there. */
Test(wal_crash, the_last_file_may_be_cut_at_every_byte)
{
    char path[WAL_PATH_BYTES];
    file_name(path, 4);
    for (uint64_t bytes = 0; bytes <= offsets[3]; bytes += bytes < HEAD_BYTES - 8 ? 8 : 1) {
        small_log();
        CHECK(disk_cut_file(scene.disk, path, bytes) == 0);
        cr_assert_eq(boot_damaged(), 0, "%s", scene.rig->why);
        index_t last = 2 + (bytes >= offsets[1]) + (bytes >= offsets[2]);
        cr_assert(rig_found_prefix(scene.rig, last), "cut to %lu", bytes);
        scene_end();
    }
}

/* Several files, several sectors: any lost sector in front of the last batch is found. */
Test(wal_crash, a_lost_sector_is_always_found)
{
    static const uint8_t zeroes[DISK_SECTOR_BYTES];
    uint8_t sector[DISK_SECTOR_BYTES];
    uint64_t batches[BATCHES_MAX + 1];
    scene_begin(6);
    append_batches(14, 6000);
    run_us(100 * 1000);
    crash(SIM_KILL);
    for (wal_number_t number = 2; number <= 3; number++) {
        size_t count = batches_of(number, batches);
        /* A sector that holds the last batch's head takes the proof away with what it proves. */
        uint64_t end = number == 2 ? batches[count] : batches[count - 1] - sizeof sector;
        for (uint64_t at = 0; at < end; at += sizeof sector) {
            CHECK(file_get(number, at, sector, sizeof sector) == sizeof sector);
            if (memcmp(sector, zeroes, sizeof sector) == 0) continue; /* A head's padding. */
            file_put(number, at, zeroes, sizeof zeroes);
            cr_assert_eq(boot_damaged(), ERR_CORRUPT, "file %lu, offset %lu", number, at);
            file_put(number, at, sector, sizeof sector);
        }
    }
    scene_end();
}

/* Batches whose checksums hold, in places that are not theirs. */
Test(wal_crash, a_batch_of_another_place_is_refused)
{
    uint8_t first[512], second[512], old[512];
    uint64_t places[BATCHES_MAX + 1];
    scene_begin(7);
    for (unsigned i = 0; i < 4; i++)
        append_batches(1, 96);
    run_us(100 * 1000);
    crash(SIM_KILL);
    CHECK(batches_of(2, places) == 5);
    size_t bytes = (size_t)(places[1] - places[0]);
    CHECK(places[2] - places[1] == bytes && bytes <= sizeof first);
    file_get(2, places[0], first, bytes);
    file_get(2, places[1], second, bytes);

    file_put(2, places[1], first, bytes); /* A write that went astray, over another. */
    cr_expect_eq(boot_damaged(), ERR_CORRUPT);
    file_put(2, places[1], second, bytes);

    memset(old, 0, sizeof old);
    file_put(2, places[5], first, bytes); /* Behind the end. */
    cr_expect_eq(boot_damaged(), ERR_CORRUPT);
    cr_expect_not_null(strstr(scene.rig->why, "a batch of another place"));
    file_put(2, places[5], old, bytes);

    file_get(2, places[4], first, WAL_BATCH_HEAD_BYTES); /* The last one, 16 bytes too far. */
    file_put(2, places[4], old, WAL_BATCH_HEAD_BYTES);
    file_put(2, places[4] + 16, first, WAL_BATCH_HEAD_BYTES);
    cr_expect_eq(boot_damaged(), ERR_CORRUPT);
    scene_end();
}

Test(wal_crash, a_file_in_the_place_of_another_is_refused)
{
    static uint8_t bytes[FILE_BYTES];
    scene_begin(8);
    append_batches(14, 6000);
    crash(SIM_KILL);
    CHECK(file_get(2, 0, bytes, sizeof bytes) == sizeof bytes);
    file_put(3, 0, bytes, sizeof bytes);
    cr_expect_eq(boot_damaged(), ERR_CORRUPT);
    scene_end();
}

/* What a user wrote may look like a batch of a log: it is none of this one. */
Test(wal_crash, the_image_of_a_batch_proves_nothing)
{
    struct buf image = {0};
    small_log();
    wal_batch_begin(&image);
    for (uint64_t salt = 0; salt < 3; salt++) {
        wal_batch_seal(buf_bytes(&image), 4, 1000, salt);
        file_put(4, offsets[3] + 512, image.data, image.len);
        cr_expect_eq(boot_damaged(), 0, "%s", scene.rig->why);
        scene_end();
        small_log();
    }
    buf_free(&image);
    scene_end();
}

/* ---- what keeps files ---- */

/* A truncate voids entries; their file must not go before the truncate is durable. */
Test(wal_crash, a_truncate_that_is_not_durable_lets_no_file_go)
{
    scene_begin(9);
    append_batches(25, 6000);
    run_us(100 * 1000);
    disk_stall(sim_node_disk(scene.node), 50 * 1000);
    rig_truncate(scene.rig, 0, 1);
    run_us(1000);
    rig_release(scene.rig, 1, 0); /* Whoever releases looks for files to delete. */
    run_us(1000);
    keep(0);
    crash_and_boot(SIM_POWER); /* The rig compares. */
    cr_expect_eq(scene.rig->found[0].last, 25);
    scene_end();
}

/* Terms and votes are in the head of the next file; before that is durable, no file may go. */
Test(wal_crash, a_file_stays_until_the_head_of_the_next_is_durable)
{
    scene_begin(10);
    rig_vote(scene.rig, 1);
    append_batches(9, 6000);
    run_us(100 * 1000);
    disk_stall(sim_node_disk(scene.node), 50 * 1000);
    rig_entry(scene.rig, 0, 12000); /* Goes into the next file. */
    run_us(1000);
    for (part_t part = 0; part < RIG_PARTS; part++)
        rig_release(scene.rig, part, scene.rig->truth[part].last);
    run_us(1000);
    keep(0);
    crash_and_boot(SIM_POWER);
    cr_expect_eq(scene.rig->found[1].term, 1);
    scene_end();
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

Test(wal_crash, a_full_disk_is_told_and_recovers_by_itself)
{
    scene_begin(11);
    append_batches(2, 100);
    disk_set_capacity(scene.disk, 3 * FILE_BYTES);
    for (unsigned i = 0; i < 20; i++)
        rig_entry(scene.rig, 0, 12000);
    CHECK(world_run_until(scene.world, space_low, NULL, 1000 * 1000));
    run_us(5 * 1000 * 1000);
    cr_expect_not(rig_durable(scene.rig), "the batch waits");
    cr_expect_eq(scene.rig->space_calls_count, 1, "told once");
    struct wal_stats stats;
    wal_stats(scene.rig->wal, &stats);
    cr_expect_gt(stats.stall_us, 4 * 1000 * 1000);

    disk_set_capacity(scene.disk, UINT64_MAX / 2);
    wait_durable();
    CHECK(world_run_until(scene.world, space_fine, NULL, 1000 * 1000));
    cr_expect_eq(scene.rig->space_calls_count, 2);
    crash_and_boot(SIM_POWER);
    scene_end();
}

Test(wal_crash, a_log_opens_on_a_full_disk)
{
    scene_begin(12);
    append_batches(12, 6000);
    crash(SIM_POWER);
    disk_set_capacity(scene.disk, 5 * FILE_BYTES);
    scene_boot();
    cr_expect_eq(scene.rig->err, 0, "%s", scene.rig->why);
    scene_end();
}

Test(wal_crash, a_stalled_disk_is_seen)
{
    struct wal_stats stats;
    scene_begin(13);
    append_batches(2, 100);
    run_us(100 * 1000);
    wal_stats(scene.rig->wal, &stats);
    cr_expect_eq(stats.stall_us, 0);
    disk_stall(sim_node_disk(scene.node), 2 * 1000 * 1000);
    rig_entry(scene.rig, 0, 100);
    run_us(600 * 1000);
    wal_stats(scene.rig->wal, &stats);
    cr_expect_gt(stats.stall_us, 500 * 1000);
    wait_durable();
    wal_stats(scene.rig->wal, &stats);
    cr_expect_geq(stats.sync_us_max, 1900 * 1000);
    scene_end();
}

Test(wal_crash, a_sync_that_fails_stops_the_process, .signal = SIGABRT)
{
    scene_begin(14);
    append_batches(2, 100);
    run_us(100 * 1000);
    disk_fail_syncs(scene.disk, 1);
    rig_entry(scene.rig, 0, 100);
    run_us(100 * 1000);
}

Test(wal_crash, a_write_that_fails_stops_the_process, .signal = SIGABRT)
{
    scene_begin(15);
    append_batches(2, 100);
    run_us(100 * 1000);
    disk_fail_writes(scene.disk, 1);
    rig_entry(scene.rig, 0, 100);
    run_us(100 * 1000);
}
