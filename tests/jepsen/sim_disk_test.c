/* tests/jepsen/sim_disk_test.c -- what a crash leaves of a simulated disk.
 *
 * Method: one node without a program; the test calls its env, crashes it, and looks. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "jepsen/sim/world.h"

enum { SECTOR = DISK_SECTOR_BYTES, PATH_BYTES = 64 };

static struct world *world;
static struct sim_node *node;
static struct env *env;
static struct disk *disk;
static const char path[] = "/data/file";

static void world_make(uint64_t seed)
{
    world = world_create(seed);
    node = sim_node_create(world, "n1", NULL, NULL);
    env = sim_node_env(node);
    disk = sim_node_disk(node);
}
static void set_up(void)
{
    world_make(1);
}
static void tear_down(void)
{
    world_destroy(world);
}
TestSuite(sim_disk, .init = set_up, .fini = tear_down, .timeout = 20);

static struct env_file *must_open(const char *name)
{
    struct env_file *file;
    cr_assert_eq(env_file_open(env, name, ENV_READ | ENV_WRITE | ENV_CREATE, &file), 0);
    return file;
}

/* A durable file of sectors full of `letter`, open. */
static struct env_file *must_make(const char *name, char letter, size_t sectors_count)
{
    struct env_file *file = must_open(name);
    char bytes[16 * SECTOR];
    CHECK(sectors_count <= 16);
    memset(bytes, letter, sizeof(bytes));
    cr_assert_eq(env_file_write(env, file, bytes, sectors_count * SECTOR, 0), 0);
    cr_assert_eq(env_file_sync(env, file), 0);
    cr_assert_eq(env_dir_sync(env, "/data"), 0);
    return file;
}

static void put(struct env_file *file, char letter, size_t bytes, uint64_t offset)
{
    char data[16 * SECTOR];
    CHECK(bytes <= sizeof(data));
    memset(data, letter, bytes);
    cr_assert_eq(env_file_write(env, file, data, bytes, offset), 0);
}

/* One letter per sector: "xxZx"; '?' for a sector of more than one letter, '0' for zeroes. */
static const char *sectors(const char *name)
{
    static char text[64];
    struct env_file *file;
    char bytes[16 * SECTOR];
    size_t got;
    memset(text, 0, sizeof(text));
    if (env_file_open(env, name, ENV_READ, &file) != 0) return "absent";
    cr_assert_eq(env_file_read(env, file, bytes, sizeof(bytes), 0, &got), 0);
    for (size_t i = 0; i * SECTOR < got; i++) {
        char letter = bytes[i * SECTOR];
        for (size_t j = i * SECTOR; j < got && j < (i + 1) * SECTOR; j++)
            if (bytes[j] != letter) letter = '?';
        text[i] = letter == 0 ? '0' : letter;
    }
    env_file_close(env, file);
    return text;
}

static bool keep_mask(void *arg, uint64_t n)
{
    return (*(uint64_t *)arg >> n) & 1;
}
static void cut_keeping(uint64_t mask)
{
    disk_keep(disk, keep_mask, &mask);
    sim_node_crash(node, SIM_POWER);
    disk_keep(disk, NULL, NULL);
}

/* ---- contents ---- */

Test(sim_disk, every_subset_of_pending_sectors_can_survive)
{
    for (uint64_t mask = 0; mask < 16; mask++) {
        struct env_file *file = must_make(path, 'x', 4);
        put(file, 'Z', 4 * SECTOR, 0);
        cr_assert_eq(disk_pending_sectors(disk), 4);
        cut_keeping(mask);
        char want[5] = "xxxx";
        for (int i = 0; i < 4; i++)
            if (mask >> i & 1) want[i] = 'Z';
        cr_assert_str_eq(sectors(path), want);
    }
}

Test(sim_disk, what_was_synced_survives_any_cut)
{
    struct env_file *file = must_make(path, 'x', 4);
    put(file, 'y', SECTOR, SECTOR);
    cr_assert_eq(env_file_sync(env, file), 0);
    put(file, 'z', 2 * SECTOR, 2 * SECTOR);
    cut_keeping(2);
    cr_expect_str_eq(sectors(path), "xyxz");
}

/* The second write of a sector holds the first one too: pages are written as they are. */
Test(sim_disk, a_sector_that_survives_holds_all_written_to_it_before)
{
    struct env_file *file = must_make(path, 'x', 1);
    put(file, 'y', SECTOR / 2, 0);
    put(file, 'y', SECTOR / 2, SECTOR / 2);
    cut_keeping(2); /* The second alone. */
    cr_expect_str_eq(sectors(path), "y");
    file = must_open(path);
    put(file, 'a', SECTOR / 2, 0);
    put(file, 'a', SECTOR / 2, SECTOR / 2);
    cut_keeping(1); /* The first alone: torn inside the sector. */
    cr_expect_str_eq(sectors(path), "?");
}

Test(sim_disk, a_file_that_grew_unsynced_is_cut_or_has_holes)
{
    bool seen_old = false, seen_new = false, seen_hole = false;
    for (uint64_t seed = 0; seed < 200; seed++) {
        tear_down();
        world_make(seed);
        struct env_file *file = must_make(path, 'x', 1);
        put(file, 'y', 2 * SECTOR, SECTOR);
        sim_node_crash(node, SIM_POWER);
        const char *left = sectors(path);
        seen_old |= strcmp(left, "x") == 0;
        seen_new |= strcmp(left, "xyy") == 0;
        seen_hole |= strcmp(left, "x0y") == 0;
        cr_assert(left[0] == 'x' && strspn(left, "xy0") == strlen(left), "%s", left);
    }
    cr_expect(seen_old && seen_new && seen_hole);
}

Test(sim_disk, a_truncate_is_pending_until_synced)
{
    struct env_file *file = must_make(path, 'x', 4);
    cr_assert_eq(env_file_truncate(env, file, SECTOR), 0);
    cr_assert_eq(env_file_truncate(env, file, 2 * SECTOR), 0);
    cr_expect_str_eq(sectors(path), "x0");
    cr_assert_eq(env_file_sync(env, file), 0);
    cut_keeping(0);
    cr_expect_str_eq(sectors(path), "x0", "no old bytes behind a cut");
}

Test(sim_disk, a_kill_keeps_what_was_written)
{
    struct env_file *file = must_make(path, 'x', 2);
    put(file, 'y', SECTOR, 0);
    sim_node_crash(node, SIM_KILL);
    cr_expect_str_eq(sectors(path), "yx");
    cut_keeping(0);
    cr_expect_str_eq(sectors(path), "xx", "but not through a cut");
}

Test(sim_disk, a_failed_sync_loses_what_it_should_have_saved)
{
    struct env_file *file = must_make(path, 'x', 2);
    put(file, 'y', SECTOR, 0);
    disk_fail_syncs(disk, 1);
    cr_expect_eq(env_file_sync(env, file), ERR_IO);
    cr_expect_eq(env_file_sync(env, file), 0, "as Linux: the second one says all is well");
    cr_expect_str_eq(sectors(path), "yx");
    cut_keeping(UINT64_MAX);
    cr_expect_str_eq(sectors(path), "xx");
}

/* ---- names ---- */

Test(sim_disk, a_name_without_dir_sync_may_be_lost)
{
    bool lost = false, kept = false;
    for (uint64_t seed = 0; seed < 50; seed++) {
        tear_down();
        world_make(seed);
        struct env_file *file = must_open(path);
        put(file, 'x', SECTOR, 0);
        cr_assert_eq(env_file_sync(env, file), 0);
        sim_node_crash(node, SIM_POWER);
        lost |= strcmp(sectors(path), "absent") == 0;
        kept |= strcmp(sectors(path), "x") == 0;
    }
    cr_expect(lost && kept);
}

/* The idiom: write aside, sync, rename, sync the folder. At each step the file is old or new. */
Test(sim_disk, a_rename_is_whole_or_not_at_all)
{
    for (uint64_t seed = 0; seed < 50; seed++) {
        tear_down();
        world_make(seed);
        env_file_close(env, must_make(path, 'o', 2));
        struct env_file *file = must_open("/data/aside");
        put(file, 'n', 2 * SECTOR, 0);
        cr_assert_eq(env_file_sync(env, file), 0);
        cr_assert_eq(env_rename(env, "/data/aside", path), 0);
        bool synced = seed % 2 == 0;
        if (synced) cr_assert_eq(env_dir_sync(env, "/data"), 0);
        sim_node_crash(node, SIM_POWER);
        const char *left = sectors(path);
        cr_assert(strcmp(left, "nn") == 0 || (!synced && strcmp(left, "oo") == 0), "%s", left);
    }
}

Test(sim_disk, an_unlinked_file_comes_back_unless_synced)
{
    env_file_close(env, must_make(path, 'x', 1));
    cr_assert_eq(env_unlink(env, path), 0);
    cr_expect_str_eq(sectors(path), "absent");
    disk_cut_before(disk, 1);
    cr_expect_eq(env_dir_sync(env, "/data"), 0, "says 0 and does nothing: the power is gone");
    bool back = false, gone = false;
    for (uint64_t seed = 0; seed < 30; seed++) {
        tear_down();
        world_make(seed);
        env_file_close(env, must_make(path, 'x', 1));
        cr_assert_eq(env_unlink(env, path), 0);
        sim_node_crash(node, SIM_POWER);
        back |= strcmp(sectors(path), "x") == 0;
        gone |= strcmp(sectors(path), "absent") == 0;
    }
    cr_expect(back && gone);
}

static char listed[64];
static void each(void *arg, const char *name)
{
    (void)arg;
    size_t used = strlen(listed);
    snprintf(listed + used, sizeof(listed) - used, "%s ", name);
}

Test(sim_disk, folders_hold_files_and_folders)
{
    cr_expect_eq(env_dir_make(env, "/data/sub"), 0);
    cr_expect_eq(env_dir_make(env, "/data/sub"), 0, "there already");
    cr_expect_eq(env_dir_make(env, "/data/no/sub"), ERR_NOT_FOUND);
    env_file_close(env, must_open("/data/sub/b"));
    env_file_close(env, must_open("/data/sub/a"));
    cr_expect_eq(env_dir_make(env, "/data/sub/a"), ERR_EXISTS);
    cr_expect_eq(env_rename(env, "/data/sub/b", "/data/sub/c"), 0);
    cr_expect_eq(env_dir_list(env, "/data/sub", each, NULL), 0);
    cr_expect_str_eq(listed, "a c ");
    struct env_file *file;
    cr_expect_eq(env_file_open(env, "/data/x/y", ENV_READ, &file), ERR_NOT_FOUND);
    int make = ENV_WRITE | ENV_CREATE | ENV_EXCLUSIVE;
    cr_expect_eq(env_file_open(env, "/data/sub/a", make, &file), ERR_EXISTS);
    cr_expect_eq(env_unlink(env, "/data/sub/b"), ERR_NOT_FOUND);
}

Test(sim_disk, a_lock_ends_with_its_process)
{
    struct env_file *lock, *second;
    cr_assert_eq(env_dir_lock(env, "/data", &lock), 0);
    cr_expect_eq(env_dir_lock(env, "/data", &second), ERR_LOCKED);
    sim_node_crash(node, SIM_KILL);
    cr_assert_eq(env_dir_lock(env, "/data", &lock), 0);
    env_file_close(env, lock);
    cr_assert_eq(env_dir_lock(env, "/data", &lock), 0);
}

/* ---- faults ---- */

Test(sim_disk, power_fails_before_the_call_that_was_chosen)
{
    struct env_file *file = must_make(path, 'x', 3);
    disk_cut_before(disk, 3);
    put(file, 'a', SECTOR, 0);
    cr_assert_eq(env_file_sync(env, file), 0);
    put(file, 'b', SECTOR, SECTOR); /* This one and all later ones do nothing. */
    cr_assert_eq(env_file_sync(env, file), 0);
    sim_node_crash(node, SIM_POWER);
    cr_expect_str_eq(sectors(path), "axx");
}

Test(sim_disk, a_full_disk_says_so_and_recovers)
{
    uint64_t left = 0;
    struct env_file *file = must_make(path, 'x', 8), *more = must_open("/data/more");
    disk_set_capacity(disk, 8192);
    cr_expect_eq(env_disk_free(env, "/data", &left), 0);
    cr_expect_eq(left, 4096);
    put(more, 'y', 8 * SECTOR, 0);
    cr_expect_eq(env_file_write(env, more, "z", 1, 8 * SECTOR), ERR_NO_SPACE);
    put(file, 'z', SECTOR, 0); /* Overwriting needs no room. */
    env_file_close(env, file);
    cr_expect_eq(env_unlink(env, path), 0);
    cr_expect_eq(env_file_write(env, more, "z", 1, 8 * SECTOR), 0);
    sim_node_crash(node, SIM_KILL);
    cr_expect_eq(env_disk_free(env, "/data", &left), 0);
    cr_expect_eq(left, 0);
}

Test(sim_disk, damage_stays)
{
    env_file_close(env, must_make(path, 'x', 2));
    uint64_t before = disk_hash(disk);
    cr_expect_eq(disk_flip(disk, path, SECTOR, 1), 0);
    cr_expect_neq(disk_hash(disk), before);
    cut_keeping(UINT64_MAX);
    cr_expect_str_eq(sectors(path), "x?");
    cr_expect_eq(disk_cut_file(disk, path, SECTOR), 0);
    cr_expect_str_eq(sectors(path), "x");
    cr_expect_eq(disk_flip(disk, "/data/none", 0, 1), ERR_NOT_FOUND);
    disk_wipe(disk);
    cr_expect_str_eq(sectors(path), "absent");
}

/* ---- against a naive model ---- */

enum { MODEL_BYTES = 6 * 4096, OPS = 3000 };
static uint8_t present[MODEL_BYTES], durable[MODEL_BYTES], found[MODEL_BYTES];

/* Random writes and syncs of a file made ahead; after a crash each sector is one that was written
 * to it since the last sync, or the one durable then. Kept or lost whole, the model is exact. */
Test(sim_disk, random_writes_syncs_and_cuts_agree_with_a_model)
{
    struct env_file *file = must_open(path);
    memset(present, 0, sizeof(present));
    cr_assert_eq(env_file_write(env, file, present, MODEL_BYTES, 0), 0);
    cr_assert_eq(env_file_sync(env, file), 0);
    cr_assert_eq(env_dir_sync(env, "/data"), 0);
    for (int op = 0; op < OPS; op++) {
        uint64_t chance = world_random(world);
        size_t got, offset = chance % MODEL_BYTES, bytes = (chance >> 20) % 3000;
        if (bytes > MODEL_BYTES - offset) bytes = MODEL_BYTES - offset;
        memset(found, (int)(chance >> 40) % 3, bytes);
        cr_assert_eq(env_file_write(env, file, found, bytes, offset), 0);
        memcpy(present + offset, found, bytes);
        if (op % 3 == 0) {
            cr_assert_eq(env_file_sync(env, file), 0);
            memcpy(durable, present, sizeof(durable));
        }
        if (op % 7 == 0) {
            cut_keeping(op % 2 == 0 ? 0 : UINT64_MAX);
            memcpy(op % 2 == 0 ? present : durable, op % 2 == 0 ? durable : present, MODEL_BYTES);
            file = must_open(path);
        }
        cr_assert_eq(env_file_read(env, file, found, MODEL_BYTES, 0, &got), 0);
        cr_assert_eq(got, MODEL_BYTES);
        cr_assert_eq(memcmp(found, present, MODEL_BYTES), 0, "op %d", op);
    }
}

/* ---- what a cut may leave, for any operations ---- */

enum { SHOTS_MAX = 8, SHOT_BYTES = 5000, ROUNDS = 400 };

/* The file as it was after each call since the last sync; the first is what is durable. */
struct shot {
    uint64_t size;
    uint8_t bytes[SHOT_BYTES + SECTOR]; /* Zeroes behind size. */
};
static struct shot shots[SHOTS_MAX];
static size_t shots_count;

static void shot_take(struct env_file *file)
{
    CHECK(shots_count < SHOTS_MAX);
    struct shot *shot = &shots[shots_count++];
    size_t got;
    memset(shot, 0, sizeof(*shot));
    cr_assert_eq(env_file_size(env, file, &shot->size), 0);
    cr_assert_eq(env_file_read(env, file, shot->bytes, SHOT_BYTES, 0, &got), 0);
    cr_assert_eq(got, shot->size);
}

static void change_randomly(struct env_file *file)
{
    uint64_t chance = world_random(world), offset = (chance >> 8) % SHOT_BYTES;
    if (chance % 4 == 0)
        cr_assert_eq(env_file_truncate(env, file, offset), 0);
    else if (chance % 4 == 1)
        put(file, (char)('a' + chance % 26), SHOT_BYTES - offset, offset);
    else
        put(file, (char)('A' + chance % 26), 1 + (SHOT_BYTES - offset - 1) % 300, offset);
    shot_take(file);
}

/* The size was one of the sizes, and each sector is as it was at one of the moments. */
static void expect_possible(struct env_file *file)
{
    struct shot left = {0};
    size_t got, k;
    cr_assert_eq(env_file_size(env, file, &left.size), 0);
    cr_assert_eq(env_file_read(env, file, left.bytes, SHOT_BYTES, 0, &got), 0);
    for (k = 0; k < shots_count && shots[k].size != left.size; k++) {
    }
    cr_assert_lt(k, shots_count, "a size it never had");
    for (uint64_t at = 0; at < left.size; at += SECTOR) {
        size_t bytes = left.size - at < SECTOR ? (size_t)(left.size - at) : SECTOR;
        for (k = 0; k < shots_count; k++)
            if (memcmp(shots[k].bytes + at, left.bytes + at, bytes) == 0) break;
        cr_assert_lt(k, shots_count, "sector %u was never so", (unsigned)(at / SECTOR));
    }
}

Test(sim_disk, a_cut_leaves_what_was_there_at_some_moment)
{
    struct env_file *file = must_make(path, 'x', 4);
    for (int round = 0; round < ROUNDS; round++) {
        shots_count = 0;
        shot_take(file);
        for (uint64_t n = world_random(world) % SHOTS_MAX; n > 0; n--)
            change_randomly(file);
        if (round % 3 == 0) {
            cr_assert_eq(env_file_sync(env, file), 0);
            shots[0] = shots[shots_count - 1];
            shots_count = 1;
        }
        sim_node_crash(node, SIM_POWER);
        file = must_open(path);
        expect_possible(file);
    }
}
