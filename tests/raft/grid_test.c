/* tests/raft/grid_test.c -- what three nodes promise when something particular happens to them.
 *
 * Method: whole nodes in a simulated world (tests/raft/grid.h); a writer that sends one record
 * after the other to one stream, until it is told to stop. */
#include "tests/raft/grid.h"
#include "log/pack.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

enum { SECOND_US = 1000000, MEMORY = 1024 * 1024 };

static struct grid grid;

/* One record after the other, numbered; ends at `until` or when told. */
static struct writer {
    struct client_txn req;
    struct txn txn;
    struct txn_record record;
    char stream[16];
    char payload[512];
    uint64_t n, until;
    uint32_t deadline_ms;
    struct env_timer again;
    unsigned errors_count; /* Requests that did not end with 0. */
    int last_err;
    uint64_t acked;
    uint64_t slowest_us, sent_us;
    bool open;
} writer;

static void writer_send(void);

static void writer_again(struct env_timer *timer)
{
    (void)timer;
    writer_send();
}

static void writer_done(struct client_txn *req, int err, const struct outcome *outcome,
                        uint32_t after_ms)
{
    (void)req;
    (void)after_ms;
    uint64_t took_us = env_now_us(grid.env) - writer.sent_us;
    writer.open = false;
    writer.last_err = err;
    if (took_us > writer.slowest_us) writer.slowest_us = took_us;
    if (err != 0) {
        writer.errors_count++;
    } else {
        cr_assert_eq(outcome->status, 0, "%s", err_text(outcome->status));
        cr_assert_eq(outcome->last, writer.n, "no gap, no double");
        writer.acked = writer.n++;
    }
    if (writer.acked < writer.until) {
        writer.open = true;
        env_timer_start(grid.env, &writer.again, 2);
    }
}

static void writer_send(void)
{
    writer.record = (struct txn_record){
        .kind = 1, .flags = RECORD_COUNTED, .payload = {writer.payload, sizeof(writer.payload)}};
    writer.txn = (struct txn){.stream = slice_str(writer.stream),
                              .producer = slice_str("w/1"),
                              .n = writer.n,
                              .records = &writer.record,
                              .records_count = 1};
    writer.req = (struct client_txn){
        .txn = &writer.txn, .deadline_ms = writer.deadline_ms, .done = writer_done};
    writer.sent_us = env_now_us(grid.env);
    writer.open = true;
    client_txn(grid.client, &writer.req);
}

static void writer_start(const char *stream, uint64_t count)
{
    writer = (struct writer){.n = 1, .until = count, .deadline_ms = 10000};
    snprintf(writer.stream, sizeof(writer.stream), "%s", stream);
    for (size_t i = 0; i < sizeof(writer.payload); i++)
        writer.payload[i] = (char)env_random(grid.env); /* Nothing that packs well. */
    env_timer_init(&writer.again, writer_again);
    writer_send();
}

static bool writer_quiet(void *arg)
{
    (void)arg;
    return !writer.open;
}

static void writer_wait(void)
{
    cr_assert(world_run_until(grid.world, writer_quiet, NULL, 120 * SECOND_US));
}

static bool settled(void *arg)
{
    (void)arg;
    return grid_settled(&grid);
}

static void settle(void)
{
    cr_assert(world_run_until(grid.world, settled, NULL, 60 * SECOND_US));
    grid_check_history(&grid);
}

static void set_up(void)
{
    grid_set_up(&grid, 1, 3, MEMORY);
}

static void tear_down(void)
{
    grid_tear_down(&grid);
}
TestSuite(grid, .init = set_up, .fini = tear_down, .timeout = 120);

static unsigned leader_of(part_t part)
{
    int leader = grid_leader(&grid, part);
    cr_assert_geq(leader, 0);
    return (unsigned)leader;
}

static part_t part_of_writer(void)
{
    return partition_of(slice_str(writer.stream), GRID_PARTS);
}

/* The leader dies: the same request goes on elsewhere, within a second. */
Test(grid, a_leaders_death_costs_less_than_a_second)
{
    writer_start("s", 400);
    world_run_for(grid.world, SECOND_US / 5);
    grid_crash(&grid, leader_of(part_of_writer()), SIM_KILL);
    writer_wait();
    cr_expect_eq(writer.errors_count, 0);
    cr_expect_gt(writer.slowest_us, 100000, "it did wait for an election");
    cr_expect_lt(writer.slowest_us, SECOND_US);
}

static bool stopped;
static void on_stopped(void *arg)
{
    grid.nodes[*(unsigned *)arg].node = NULL;
    stopped = true;
}

static bool is_stopped(void *arg)
{
    (void)arg;
    return stopped;
}

/* A planned stop hands over first: no request fails, none waits for an election. */
Test(grid, a_planned_stop_fails_no_request_and_waits_for_no_election)
{
    writer_start("s", 600);
    world_run_for(grid.world, SECOND_US / 5);
    unsigned leader = leader_of(part_of_writer());
    node_stop(grid.nodes[leader].node, on_stopped, &leader);
    cr_assert(world_run_until(grid.world, is_stopped, NULL, 10 * SECOND_US));
    grid_crash(&grid, leader, SIM_KILL);
    writer_wait();
    cr_expect_eq(writer.errors_count, 0);
    cr_expect_lt(writer.slowest_us, 300000);
    grid_start(&grid, leader);
    settle();
}

/* Power fails everywhere at once: what was acknowledged is there afterwards. */
Test(grid, all_nodes_lose_power_and_nothing_acknowledged)
{
    writer_start("s", 300);
    world_run_for(grid.world, SECOND_US / 2);
    for (unsigned i = 0; i < 3; i++)
        grid_crash(&grid, i, SIM_POWER);
    cr_assert_gt(writer.acked, 10);
    for (unsigned i = 0; i < 3; i++)
        grid_start(&grid, i);
    writer_wait(); /* Its checks are in writer_done. */
    settle();
}

/* A node was away for so long that the others forgot the entries it lacks: it gets rows instead. */
Test(grid, a_node_that_was_away_gets_a_snapshot)
{
    writer_start("s", 20);
    writer_wait();
    unsigned away = (leader_of(part_of_writer()) + 1) % 3;
    grid_crash(&grid, away, SIM_POWER);
    writer.until = 2500;
    writer_send();
    writer_wait();
    grid_start(&grid, away);
    settle();
    struct part_stats stats;
    part_stats(grid_part(&grid, away, part_of_writer()), &stats);
    const struct store_facts *manifest =
        store_manifest(part_store(grid_part(&grid, away, part_of_writer())));
    cr_expect_gt(manifest->index, 20, "entries alone would have left the manifest where it was");
    cr_expect_gt(manifest->wal_from, 0, "a snapshot was installed");
}

/* The first work submitted on some node while armed is kept back. */
static struct env_ops slow_ops;
static const struct env_ops *real_ops;
static bool armed;
static struct env *held_env;
static struct env_work *held;

static void slow_submit(struct env *env, struct env_lane *lane, struct env_work *work)
{
    if (!armed || lane != NULL) {
        real_ops->work_submit(env, lane, work);
        return;
    }
    armed = false;
    held_env = env;
    held = work;
}

static bool work_held(void *arg)
{
    (void)arg;
    return held != NULL;
}

static unsigned others_ended;
static void other_done(struct client_txn *req, int err, const struct outcome *outcome,
                       uint32_t after_ms)
{
    (void)req;
    (void)after_ms;
    cr_expect(err == 0 && outcome->status == 0, "%s", err_text(err));
    others_ended++;
}

/* One record of another stream of the same partition. */
static void other_send(struct client_txn *req, uint64_t n)
{
    static struct txn_record record;
    static struct txn txn;
    static char name[16] = "t0";
    for (int i = 1; partition_of(slice_str(name), GRID_PARTS) != part_of_writer(); i++)
        snprintf(name, sizeof(name), "t%d", i);
    record = (struct txn_record){.payload = slice_str("x")};
    txn = (struct txn){.stream = slice_str(name),
                       .producer = slice_str("w/1"),
                       .n = n,
                       .records = &record,
                       .records_count = 1};
    *req = (struct client_txn){.txn = &txn, .deadline_ms = 60000, .done = other_done};
    client_txn(grid.client, req);
}

/* An entry is committed, and its rows are read slowly; meanwhile its leader is cut off, and so far
 * behind at last that a snapshot takes the entry's place. Its request must not stay open there. */
Test(grid, a_snapshot_takes_the_place_of_an_entry_that_was_not_applied)
{
    static struct client_txn first, second;
    writer_start("s", 5);
    writer_wait();
    other_send(&first, 1);
    writer.until = 1200;
    writer_send();
    writer_wait();
    for (unsigned i = 0; i < 3; i++)
        grid_crash(&grid, i, SIM_POWER); /* Rows of the other stream are in runs alone then. */
    for (unsigned i = 0; i < 3; i++)
        grid_start(&grid, i);
    settle();
    unsigned old = leader_of(part_of_writer());
    struct env *env = sim_node_env(grid.nodes[old].sim);
    real_ops = env->ops;
    slow_ops = *real_ops;
    slow_ops.work_submit = slow_submit;
    env->ops = &slow_ops;
    armed = true;
    other_send(&second, 2);
    cr_assert(world_run_until(grid.world, work_held, NULL, 5 * SECOND_US));
    for (unsigned i = 0; i < 3; i++) {
        net_cut(grid.nodes[old].sim, grid.nodes[i].sim);
        net_cut(grid.nodes[i].sim, grid.nodes[old].sim);
    }
    writer.until = 4000;
    writer_send();
    writer_wait();
    net_heal(grid.world);
    world_run_for(grid.world, 5 * SECOND_US);
    real_ops->work_submit(held_env, NULL, held);
    env->ops = real_ops;
    settle();
    cr_expect_eq(others_ended, 2);
    const struct store_facts *manifest =
        store_manifest(part_store(grid_part(&grid, old, part_of_writer())));
    cr_expect_gt(manifest->wal_from, 0, "a snapshot was installed");
    writer.until = 4010;
    writer_send();
    writer_wait();
    settle();
}

/* Nobody may vote under an old name after forgetting: an empty disk is nobody's. */
Test(grid, a_node_whose_disk_was_replaced_serves_nothing)
{
    writer_start("s", 20);
    writer_wait();
    settle();
    grid_crash(&grid, 0, SIM_KILL);
    disk_wipe(sim_node_disk(grid.nodes[0].sim));
    grid_start(&grid, 0);
    world_run_for(grid.world, SECOND_US);
    cr_expect_not_null(grid.nodes[0].node, "an empty folder is nobody's");
    cr_expect_null(grid_part(&grid, 0, 0), "it serves nothing and never votes");
    writer.until = 40;
    writer_send();
    writer_wait();
    cr_expect_eq(writer.acked, 40, "the others go on");
}

/* Replicas tell a leader that its history is not theirs: it stops, hands over, others serve. */
Test(grid, a_replica_whose_history_differs_stops_serving)
{
    writer_start("s", 20);
    writer_wait();
    settle();
    unsigned leader = leader_of(part_of_writer());
    struct part *part = grid_part(&grid, leader, part_of_writer());
    for (unsigned i = 0; i < 3; i++)
        if (i != leader) part_heard(part, 256 + i + 1, part_applied(part), 12345);
    writer.until = 60;
    writer_send();
    writer_wait();
    cr_expect_eq(writer.acked, 60);
    struct part_stats stats;
    part_stats(part, &stats);
    cr_expect_eq(stats.stopped, ERR_DIVERGED);
    cr_expect_not(part_leads(part));
}

/* One disk is full, the leader's: another node leads, and no request fails. */
Test(grid, a_leader_whose_disk_is_full_hands_over)
{
    writer_start("s", 20);
    writer_wait();
    unsigned leader = leader_of(part_of_writer());
    disk_set_capacity(sim_node_disk(grid.nodes[leader].sim), 1);
    writer.until = 4000;
    writer_send();
    writer_wait();
    cr_expect_eq(writer.errors_count, 0);
    cr_expect_neq(leader_of(part_of_writer()), leader);
    disk_set_capacity(sim_node_disk(grid.nodes[leader].sim), UINT64_MAX);
    settle(); /* It catches up when there is room. */
}

/* The disks are full: writes are refused with the reason, reads go on; with room, writes come
 * back by themselves. */
Test(grid, full_disks_refuse_writes_and_recover)
{
    writer_start("s", 20);
    writer_wait();
    writer.deadline_ms = 1000;
    for (unsigned i = 0; i < 3; i++)
        disk_set_capacity(sim_node_disk(grid.nodes[i].sim), 1);
    writer.until = 1000000;
    writer_send();
    for (unsigned i = 0; i < 600 && writer.last_err != ERR_NO_SPACE; i++)
        world_run_for(grid.world, SECOND_US / 10);
    cr_assert_eq(writer.last_err, ERR_NO_SPACE);
    for (unsigned i = 0; i < 3; i++)
        disk_set_capacity(sim_node_disk(grid.nodes[i].sim), UINT64_MAX);
    uint64_t before = writer.acked;
    for (unsigned i = 0; i < 200 && writer.acked < before + 20; i++)
        world_run_for(grid.world, SECOND_US / 10);
    cr_expect_geq(writer.acked, before + 20);
    writer.until = writer.acked;
    writer_wait();
    settle();
}

/* A checkpoint found no room while the log had some, and nothing but its failure makes it due: it
 * is written again when there is room, or the nodes would stay full for ever. */
Test(grid, a_checkpoint_that_found_no_room_is_written_again)
{
    writer_start("s", 20);
    writer_wait();
    for (unsigned i = 0; i < 3; i++) {
        disk_set_capacity(sim_node_disk(grid.nodes[i].sim), 1);
        part_checkpoint(grid_part(&grid, i, part_of_writer()));
    }
    world_run_for(grid.world, SECOND_US);
    struct part_stats stats;
    part_stats(grid_part(&grid, 0, part_of_writer()), &stats);
    cr_assert_eq(stats.checkpoint_err, ERR_NO_SPACE);
    for (unsigned i = 0; i < 3; i++)
        disk_set_capacity(sim_node_disk(grid.nodes[i].sim), UINT64_MAX);
    world_run_for(grid.world, 5 * (uint64_t)SECOND_US);
    part_stats(grid_part(&grid, 0, part_of_writer()), &stats);
    cr_expect_eq(stats.checkpoint_err, 0);
    writer.until = 40;
    writer_send();
    writer_wait();
    cr_expect_eq(writer.errors_count, 0);
    settle();
}

/* A disk that hangs leads no more: its partitions are handed over before anybody gives up. */
Test(grid, a_stalled_disk_hands_leadership_over)
{
    writer_start("s", 400);
    world_run_for(grid.world, SECOND_US / 5);
    unsigned leader = leader_of(part_of_writer());
    disk_stall(sim_node_disk(grid.nodes[leader].sim), 10 * (uint64_t)SECOND_US);
    writer_wait();
    cr_expect_eq(writer.errors_count, 0);
    cr_expect_lt(writer.slowest_us, 2 * SECOND_US);
    cr_expect_neq(leader_of(part_of_writer()), leader);
}

/* Clocks an hour off move no entry's time by more than the median allows. */
Test(grid, one_wrong_clock_moves_no_time)
{
    writer_start("s", 20);
    writer_wait();
    struct part *part = grid_part(&grid, leader_of(part_of_writer()), part_of_writer());
    sim_node_wall_shift(grid.nodes[leader_of(part_of_writer())].sim, 3600 * 1000);
    writer.until = 60;
    writer_send();
    writer_wait();
    int64_t off_ms = store_facts(part_store(part))->time_ms - env_wall_ms(grid.env);
    cr_expect(off_ms > -60000 && off_ms < 60000, "off by %lld ms", (long long)off_ms);
}

static void set_up_one(void)
{
    grid_set_up(&grid, 2, 1, MEMORY);
}

Test(grid_one, a_cluster_of_one_serves_and_survives_power_cuts, .init = set_up_one,
     .fini = tear_down, .timeout = 60)
{
    writer_start("s", 300);
    for (unsigned i = 0; i < 3; i++) {
        world_run_for(grid.world, SECOND_US / 4);
        grid_crash(&grid, 0, SIM_POWER);
        grid_start(&grid, 0);
    }
    writer_wait();
    cr_expect_eq(writer.acked, 300);
    settle();
}

static void set_up_five(void)
{
    grid_set_up(&grid, 3, 5, MEMORY);
}

Test(grid_five, a_cluster_of_five_goes_on_without_two, .init = set_up_five, .fini = tear_down,
     .timeout = 60)
{
    writer_start("s", 400);
    world_run_for(grid.world, SECOND_US / 5);
    unsigned leader = leader_of(part_of_writer());
    grid_crash(&grid, leader, SIM_POWER);
    grid_crash(&grid, (leader + 1) % 5, SIM_KILL);
    writer_wait();
    cr_expect_eq(writer.acked, 400);
    cr_expect_eq(writer.errors_count, 0);
    grid_start(&grid, leader);
    grid_start(&grid, (leader + 1) % 5);
    settle();
}
