/* tests/raft/grid_feed_test.c -- a feed gives every record of its partition, whatever fails.
 *
 * Method: two workers open the same feed of each partition of a real, simulated cluster; records
 * are written to many streams while nodes crash; the worker that holds the leases dies half way.
 * GRID_SEED chooses another run. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/raft/grid.h"

enum { SECOND_US = 1000000, STREAMS = 12, WRITES = 600, WORKERS = 2 };

/* One worker's feed of one partition. */
struct work {
    struct client_feed *feed;
    bool held;
};
static struct grid grid;
static struct work works[WORKERS][GRID_PARTS];
static seq_t given[STREAMS]; /* The last of each stream, by whichever worker. */
static uint64_t given_count;

static void set_up(void)
{
    const char *seed = getenv("GRID_SEED");
    grid_set_up(&grid, seed == NULL ? 11 : strtoull(seed, NULL, 10), 3, 1024 * 1024);
}
static void tear_down(void)
{
    grid_tear_down(&grid);
}
TestSuite(grid_feed, .init = set_up, .fini = tear_down, .timeout = 120);

static void on_held(void *arg, bool held)
{
    struct work *work = arg;
    cr_assert_neq(work->held, held);
    work->held = held;
}

static void on_record(void *arg, struct slice stream, const struct record_view *record)
{
    char name[16] = {0};
    const struct work *work = arg;
    cr_assert(work->held);
    cr_assert_lt(stream.len, sizeof(name));
    memcpy(name, stream.data, stream.len);
    unsigned i = (unsigned)strtoul(name + 2, NULL, 10);
    cr_assert_lt(i, STREAMS);
    cr_assert_leq(record->seq, given[i] + 1, "%s: none is left out", name);
    if (record->seq == given[i] + 1) given[i]++;
    given_count++;
}

static void on_batch(void *arg)
{
    client_feed_done(((struct work *)arg)->feed);
}

static const struct feed_handlers handlers = {on_held, on_record, on_batch};

static void open_all(unsigned worker)
{
    for (part_t p = 0; p < GRID_PARTS; p++) {
        struct work *work = &works[worker][p];
        work->feed = client_feed_open(grid.client, slice_str("push"), p, &handlers, work);
    }
}

static void close_all(unsigned worker)
{
    for (part_t p = 0; p < GRID_PARTS; p++)
        client_feed_close(works[worker][p].feed);
}

static unsigned held_by(unsigned worker)
{
    unsigned count = 0;
    for (part_t p = 0; p < GRID_PARTS; p++)
        count += works[worker][p].held;
    return count;
}

/* ---- writing ---- */

static struct client_txn writes[WRITES];
static seq_t written[STREAMS];
static unsigned open_count;

static void write_done(struct client_txn *req, int err, const struct outcome *outcome,
                       uint32_t after_ms)
{
    (void)req;
    (void)after_ms;
    cr_assert_eq(err, 0, "%s", err_name(err));
    cr_assert_eq(outcome->status, 0);
    open_count--;
}

static void write_one(unsigned i)
{
    char name[16], text[16];
    unsigned stream = i % STREAMS;
    snprintf(name, sizeof(name), "s/%u", stream);
    snprintf(text, sizeof(text), "%u", i);
    struct txn_record record = {.payload = slice_str(text)};
    struct txn txn = {.stream = slice_str(name),
                      .producer = slice_str("w"),
                      .n = ++written[stream],
                      .records = &record,
                      .records_count = 1};
    writes[i] = (struct client_txn){.txn = &txn, .deadline_ms = 60000, .done = write_done};
    open_count++;
    client_txn(grid.client, &writes[i]);
}

static bool all_given(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < STREAMS; i++)
        if (given[i] < written[i]) return false;
    return open_count == 0;
}

static bool all_held(void *arg)
{
    return held_by(*(unsigned *)arg) == GRID_PARTS;
}

/* ---- tests ---- */

Test(grid_feed, what_was_and_what_comes_is_given_and_then_there_is_peace)
{
    for (unsigned i = 0; i < WRITES / 2; i++)
        write_one(i);
    world_run_for(grid.world, SECOND_US);
    open_all(0);
    cr_assert(world_run_until(grid.world, all_given, NULL, 10 * SECOND_US));
    for (unsigned i = WRITES / 2; i < WRITES; i++)
        write_one(i);
    cr_assert(world_run_until(grid.world, all_given, NULL, 10 * SECOND_US));
    world_run_for(grid.world, 2 * SECOND_US);
    uint64_t before = given_count;
    world_run_for(grid.world, 20 * SECOND_US);
    cr_expect_eq(given_count, before, "nothing is given when nothing happens");
    cr_expect_eq(held_by(0), GRID_PARTS, "the leases are renewed");
    close_all(0);
}

Test(grid_feed, the_cursor_outlives_its_worker)
{
    for (unsigned i = 0; i < WRITES / 2; i++)
        write_one(i);
    open_all(0);
    cr_assert(world_run_until(grid.world, all_given, NULL, 10 * SECOND_US));
    world_run_for(grid.world, 5 * SECOND_US);
    close_all(0);
    uint64_t before = given_count;
    open_all(1);
    world_run_for(grid.world, 20 * SECOND_US);
    cr_expect_eq(held_by(1), GRID_PARTS);
    cr_expect_leq(given_count - before, STREAMS * 2, "only what shares the last moment");
    close_all(1);
}

/* One lease holder at a time works; nothing is left out when it dies and nodes do. */
Test(grid_feed, nothing_is_left_out_when_workers_and_nodes_die)
{
    unsigned first = 0, second = 1;
    open_all(0);
    cr_assert(world_run_until(grid.world, all_held, &first, 20 * SECOND_US));
    open_all(1);
    for (unsigned i = 0; i < WRITES; i++) {
        write_one(i);
        world_run_for(grid.world, 20000);
        if (i % 60 == 30) grid_crash(&grid, (i / 60) % 3, SIM_KILL);
        if (i % 60 == 59)
            for (unsigned node = 0; node < 3; node++)
                grid_start(&grid, node);
        if (i == WRITES / 2) close_all(0);
    }
    for (unsigned node = 0; node < 3; node++)
        grid_start(&grid, node);
    cr_assert(world_run_until(grid.world, all_held, &second, 60 * SECOND_US));
    cr_assert(world_run_until(grid.world, all_given, NULL, 60 * SECOND_US));
    close_all(1);
}
