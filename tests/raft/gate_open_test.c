/* tests/raft/gate_open_test.c -- what a gate makes of what recovery found, sound and unsound. */
#include <criterion/criterion.h>

#include "jepsen/sim/world.h"
#include "raft/gate_msg.h"

TestSuite(gate_open, .timeout = 20);

enum { SELF = 257, PEER = 258 };

static void no_send(void *arg, uint64_t to, struct slice message)
{
    (void)arg;
    (void)to;
    (void)message;
}

static size_t no_room(void *arg, uint64_t to)
{
    (void)arg;
    (void)to;
    return 0;
}

static void count_committed(void *arg, index_t index, term_t term, enum gate_entry type,
                            struct slice data)
{
    (void)term;
    (void)type;
    (void)data;
    *(index_t *)arg = index;
}

static void ignore(void *arg)
{
    (void)arg;
}

static void ignore_get(void *arg, index_t at_least)
{
    (void)arg;
    (void)at_least;
}

static void ignore_install(void *arg, uint64_t from, const struct gate_snapshot *snapshot)
{
    (void)arg;
    (void)from;
    (void)snapshot;
}

static void ignore_commit(void *arg, const struct gate_snapshot *snapshot)
{
    (void)arg;
    (void)snapshot;
}

static void ignore_record(void *arg, const struct wal_record *record, batch_t batch)
{
    (void)arg;
    (void)record;
    (void)batch;
}

static void ignore_durable(void *arg, batch_t durable)
{
    (void)arg;
    (void)durable;
}

static void ignore_space(void *arg, bool low)
{
    (void)arg;
    (void)low;
}

/* One node whose WAL is empty, and the gate that boot makes there, if any. */
struct bench {
    struct world *world;
    struct env *env;
    struct wal *wal;
    struct gate *gate;
    index_t committed;
    struct buf configuration; /* Of two voters, SELF and PEER. */
};

static void bench_set_up(struct bench *b)
{
    *b = (struct bench){.world = world_create(1)};
    struct sim_node *node = sim_node_create(b->world, "n", NULL, NULL);
    b->env = sim_node_env(node);
    struct wal_config config = {
        .dir = "/data/wal", .owner = 1, .parts_count = 1, .file_bytes = 512 * 1024};
    struct wal_handlers handlers = {ignore_record, ignore_durable, ignore_space, NULL};
    char why[200];
    cr_assert_eq(wal_open(b->env, &config, &handlers, &b->wal, why, sizeof(why)), 0);
    struct gate_member members[] = {{SELF, GATE_VOTER}, {PEER, GATE_VOTER}};
    gate_configuration_encode(&b->configuration, members, 2);
}

static int bench_open(struct bench *b, const struct gate_boot *boot)
{
    struct gate_config config = {
        .env = b->env,
        .wal = b->wal,
        .self = SELF,
        .election_ms = 300,
        .heartbeat_ms = 50,
        .log_bytes = 1024 * 1024,
        .rules = GATE_RULES_ALL,
        .host = {no_send, no_room, count_committed, ignore, ignore_get, ignore_install,
                 ignore_commit, &b->committed},
    };
    return gate_open(&config, boot, &b->gate);
}

static void bench_tear_down(struct bench *b)
{
    if (b->gate != NULL) gate_close(b->gate);
    wal_close(b->wal);
    buf_free(&b->configuration);
    world_destroy(b->world);
}

static struct gate_snapshot snapshot_of(const struct bench *b, index_t index, term_t term)
{
    return (struct gate_snapshot){.index = index,
                                  .term = term,
                                  .configuration = buf_bytes(&b->configuration),
                                  .configuration_index = 1};
}

Test(gate_open, the_log_continues_after_the_manifest)
{
    struct bench b;
    bench_set_up(&b);
    struct gate_boot_entry entries[] = {{7, GATE_NORMAL, {"a", 1}}, {8, GATE_BARRIER, {NULL, 0}}};
    struct gate_boot boot = {.term = 9,
                             .vote = PEER,
                             .snapshot = snapshot_of(&b, 10, 7),
                             .entries = entries,
                             .entries_count = 2};
    cr_assert_eq(bench_open(&b, &boot), 0);
    cr_expect_eq(gate_last_index(b.gate), 12);
    cr_expect_eq(gate_commit(b.gate), 10);
    cr_expect_eq(gate_term(b.gate), 9);
    cr_expect_eq(gate_vote(b.gate), PEER);
    cr_expect_eq(b.committed, 0, "nothing beyond the manifest is known to be committed");
    gate_check(b.gate);
    bench_tear_down(&b);
}

/* An install may bring more than the entry it was asked for: what an older leader appended behind
 * that entry is not what was committed there. */
Test(gate_open, a_log_older_than_the_manifest_is_void)
{
    struct bench b;
    bench_set_up(&b);
    struct gate_boot_entry entries[] = {{5, GATE_NORMAL, {"a", 1}}, {6, GATE_NORMAL, {"b", 1}}};
    struct gate_boot boot = {.term = 6,
                             .vote = PEER,
                             .snapshot = snapshot_of(&b, 10, 7),
                             .entries = entries,
                             .entries_count = 2};
    cr_assert_eq(bench_open(&b, &boot), 0);
    cr_expect_eq(gate_last_index(b.gate), 10);
    cr_expect_eq(gate_term(b.gate), 7, "the manifest's term is ours");
    cr_expect_eq(gate_vote(b.gate), 0, "in which nothing was promised");
    gate_check(b.gate);
    bench_tear_down(&b);
}

Test(gate_open, a_new_group_begins_with_its_configuration)
{
    struct bench b;
    bench_set_up(&b);
    struct gate_member members[] = {{SELF, GATE_VOTER}, {PEER, GATE_VOTER}},
                       found[GATE_MEMBERS_MAX];
    struct gate_boot boot = {.bootstrap = members, .bootstrap_count = 2};
    cr_assert_eq(bench_open(&b, &boot), 0);
    cr_expect_eq(gate_last_index(b.gate), 1);
    cr_expect_eq(b.committed, 1);
    cr_expect_eq(gate_members(b.gate, found), 2);
    cr_expect_not(gate_settled(b.gate), "not before it is durable");
    bench_tear_down(&b);
}

Test(gate_open, a_node_that_joins_waits)
{
    struct bench b;
    bench_set_up(&b);
    struct gate_boot boot = {0};
    cr_assert_eq(bench_open(&b, &boot), 0);
    cr_expect_eq(gate_last_index(b.gate), 0);
    cr_expect_eq(gate_state(b.gate), GATE_FOLLOWER);
    for (unsigned i = 0; i < 100; i++) {
        world_run_for(b.world, 50000);
        gate_tick(b.gate);
    }
    cr_expect_eq(gate_state(b.gate), GATE_FOLLOWER);
    bench_tear_down(&b);
}

Test(gate_open, what_cannot_be_is_refused)
{
    struct bench b;
    bench_set_up(&b);
    struct slice good = buf_bytes(&b.configuration);
    struct gate_boot_entry falling[] = {{8, GATE_NORMAL, {"a", 1}}, {7, GATE_NORMAL, {"b", 1}}};
    struct gate_boot_entry headless[] = {{1, GATE_NORMAL, {"a", 1}}};
    struct gate_boot_entry cut[] = {{1, GATE_CHANGE, {good.data, good.len - 1}}};
    struct gate_member twice[] = {{SELF, GATE_VOTER}, {SELF, GATE_VOTER}};
    struct gate_boot boot = {
        .snapshot = snapshot_of(&b, 10, 7), .entries = falling, .entries_count = 2};
    cr_expect_eq(bench_open(&b, &boot), ERR_CORRUPT);
    boot = (struct gate_boot){.entries = headless, .entries_count = 1};
    cr_expect_eq(bench_open(&b, &boot), ERR_CORRUPT);
    boot = (struct gate_boot){.entries = cut, .entries_count = 1};
    cr_expect_eq(bench_open(&b, &boot), ERR_CORRUPT);
    boot = (struct gate_boot){.snapshot = {.index = 10, .term = 7}};
    cr_expect_eq(bench_open(&b, &boot), ERR_CORRUPT);
    boot = (struct gate_boot){.bootstrap = twice, .bootstrap_count = 2};
    cr_expect_eq(bench_open(&b, &boot), ERR_INVAL);
    boot.bootstrap_count = 1;
    boot.term = 3;
    cr_expect_eq(bench_open(&b, &boot), ERR_INVAL, "there is a state already");
    bench_tear_down(&b);
}
