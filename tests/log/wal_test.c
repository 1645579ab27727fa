/* tests/log/wal_test.c -- the write-ahead log on the real disk: append, close, open again.
 *
 * Crashes and damage: wal_crash_test.c, wal_damage_test.c, on the simulated disk. */
#include "log/wal.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#include "log/env_uv.h"
#include "log/limits.h"
#include "tests/lib/dir.h"
#include "tests/log/wal_rig.h"

enum { FILE_BYTES = 64 * 1024 };

static struct env_uv *uv;
static struct dir dir;
static char *wal_dir;
static struct rig *rig;

static void set_up(void)
{
    dir_set_up(&dir);
    wal_dir = dir_path(&dir, "wal");
    cr_assert_eq(env_uv_create(NULL, &uv), 0);
    rig = mem_zero(sizeof *rig);
    rig_init(rig, env_uv_env(uv), wal_dir, FILE_BYTES);
    rig_open(rig);
    cr_assert_eq(rig->err, 0, "%s", rig->why);
}
static void tear_down(void)
{
    rig_close(rig, false);
    rig_free(rig);
    free(rig);
    env_uv_destroy(uv);
    free(wal_dir);
    dir_tear_down(&dir);
}
TestSuite(wal, .init = set_up, .fini = tear_down, .timeout = 20);

/* ---- running the loop until something holds ---- */

static bool (*waited_for)(void);
static struct env_timer poll;

static void poll_fired(struct env_timer *timer)
{
    if (waited_for())
        env_uv_stop(uv);
    else
        env_timer_start(rig->env, timer, 1);
}
/* The test's timeout is the failure. */
static void run_until(bool (*holds)(void))
{
    waited_for = holds;
    env_timer_init(&poll, poll_fired);
    env_timer_start(rig->env, &poll, 0);
    env_uv_run(uv);
}
static bool all_durable(void)
{
    return rig_durable(rig);
}
static void open_again(void)
{
    rig_close(rig, false);
    rig_open(rig);
    cr_assert_eq(rig->err, 0, "%s", rig->why);
}

/* ---- tests ---- */

Test(wal, a_new_log_is_empty)
{
    part_t part;
    cr_expect_eq(wal_durable(rig->wal), 0);
    cr_expect_eq(wal_next(rig->wal), 1);
    cr_expect_not(wal_oldest_pin(rig->wal, &part));
    cr_expect_eq(wal_pending_bytes(rig->wal), 0);
}

Test(wal, what_one_turn_appends_is_one_batch)
{
    batch_t first = rig_entry(rig, 0, 100);
    cr_expect_eq(rig_vote(rig, 1), first);
    cr_expect_eq(rig_entry(rig, 2, 100), first);
    cr_expect_gt(wal_pending_bytes(rig->wal), 200);
    run_until(all_durable);
    cr_expect_eq(wal_durable(rig->wal), first);
    cr_expect_eq(wal_pending_bytes(rig->wal), 0);
    cr_expect_eq(rig_entry(rig, 0, 100), first + 1);
}

Test(wal, what_was_closed_is_found_again_over_many_files)
{
    for (unsigned round = 0; round < 40; round++) {
        for (part_t part = 0; part < RIG_PARTS; part++) {
            rig_entry(rig, part, 8 + round * 97);
            rig_entry(rig, part, 1000);
            if (round % 3 == 0) rig_vote(rig, part);
            if (round % 5 == 4) rig_truncate(rig, part, rig->tip[part].last - 1);
        }
        run_until(all_durable);
    }
    cr_expect_gt(wal_live_bytes(rig->wal), 2 * FILE_BYTES);
    open_again(); /* Compares. */
    open_again();
}

Test(wal, close_writes_what_gathered)
{
    for (unsigned i = 0; i < 100; i++)
        rig_entry(rig, (part_t)(i % RIG_PARTS), 3000);
    open_again();
    cr_expect_eq(rig->found[0].last, 34);
}

Test(wal, next_parts_what_was_appended_from_what_will_be)
{
    batch_t before = rig_entry(rig, 0, 100);
    batch_t next = wal_next(rig->wal);
    cr_expect_gt(next, before);
    cr_expect_eq(wal_next(rig->wal), next);
    cr_expect_geq(rig_entry(rig, 0, 100), next);
}

static bool idle_batch_written(void)
{
    return wal_durable(rig->wal) == 2;
}

Test(wal, an_empty_batch_follows_when_nothing_is_appended_any_more)
{
    cr_expect_eq(rig_entry(rig, 0, 100), 1);
    run_until(idle_batch_written);
    struct wal_stats stats;
    wal_stats(rig->wal, &stats);
    cr_expect_eq(stats.batches_count, 2);
    cr_expect_eq(stats.records_count, 1);
    cr_expect_eq(stats.stall_us, 0);
}

static void fill_files(unsigned entries_count)
{
    for (unsigned i = 0; i < entries_count; i++) {
        rig_entry(rig, (part_t)(i % RIG_PARTS), 4000);
        run_until(all_durable);
    }
}
static bool one_file_left(void)
{
    return wal_live_bytes(rig->wal) < FILE_BYTES && !dir_has(&dir, "wal/0000000002.wal");
}

Test(wal, files_that_nobody_needs_are_deleted)
{
    part_t part;
    fill_files(60);
    cr_expect(wal_oldest_pin(rig->wal, &part));
    for (part = 0; part < RIG_PARTS; part++)
        rig_release(rig, part, rig->truth[part].last);
    run_until(one_file_left);
    open_again();
    cr_expect_leq(rig->found[0].last, 20);
}

Test(wal, one_partition_keeps_the_files_it_needs)
{
    part_t part;
    fill_files(60);
    rig_release(rig, 0, rig->truth[0].last);
    rig_release(rig, 2, rig->truth[2].last);
    cr_expect(wal_oldest_pin(rig->wal, &part));
    cr_expect_eq(part, 1);
    open_again();
    cr_expect_eq(rig->found[1].last, 20);
    cr_expect_gt(rig->found[1].entries[1].stamp, 0);
}

/* Entries that a truncate voided need no file, once the truncate is durable. */
Test(wal, a_truncate_lets_files_go)
{
    fill_files(60);
    for (part_t part = 0; part < RIG_PARTS; part++)
        rig_truncate(rig, part, 1);
    run_until(all_durable);
    run_until(one_file_left);
    open_again();
    cr_expect_eq(rig->found[0].last, 0);
}

Test(wal, terms_and_votes_outlive_their_file)
{
    rig_vote(rig, 1);
    fill_files(60);
    for (part_t part = 0; part < RIG_PARTS; part++)
        rig_release(rig, part, rig->truth[part].last);
    run_until(one_file_left);
    open_again(); /* Compares. */
    cr_expect_eq(rig->found[1].term, 1);
}

/* ---- what wal_open refuses ---- */

Test(wal, a_log_of_another_node_is_refused)
{
    rig_close(rig, false);
    rig->config.owner++;
    rig_open(rig);
    cr_expect_eq(rig->err, ERR_FOREIGN);
    cr_expect_not_null(strstr(rig->why, "0000000001.wal: belongs to another node"));
}

Test(wal, another_number_of_partitions_is_refused)
{
    rig_close(rig, false);
    rig->config.parts_count++;
    rig_open(rig);
    cr_expect_eq(rig->err, ERR_INVAL);
    cr_expect_not_null(strstr(rig->why, "has 3 partitions, the configuration 4"));
}

Test(wal, a_missing_file_is_refused)
{
    fill_files(60);
    rig_close(rig, false);
    dir_remove(&dir, "wal/0000000003.wal");
    rig_open(rig);
    cr_expect_eq(rig->err, ERR_CORRUPT);
    cr_expect_not_null(strstr(rig->why, "0000000004.wal: offset 0: the file before it is missing"),
                       "%s", rig->why);
}

Test(wal, files_of_other_names_are_left_alone)
{
    rig_close(rig, false);
    dir_put(&dir, "wal/notes.txt", 0, slice_str("mine"));
    dir_put(&dir, "wal/1.wal", 0, slice_str("mine"));
    open_again();
    cr_expect(dir_has(&dir, "wal/notes.txt"));
    cr_expect(dir_has(&dir, "wal/1.wal"));
}

/* A node that crashes whenever it starts must not leave a file each time. */
Test(wal, opening_an_idle_log_again_and_again_makes_no_more_files)
{
    fill_files(3);
    open_again();
    rig_close(rig, false);
    uint64_t size = dir_size(&dir, "wal/0000000003.wal");
    for (unsigned i = 0; i < 5; i++)
        open_again();
    rig_close(rig, false);
    cr_expect_eq(dir_size(&dir, "wal/0000000003.wal"), size);
    cr_expect_not(dir_has(&dir, "wal/0000000005.wal"));
}
