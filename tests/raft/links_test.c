/* tests/raft/links_test.c -- what links deliver, whom they refuse, how they come back.
 *
 * Method: nodes of a simulated world with links alone; items carry numbers. */
#include "raft/links.h"

#include <criterion/criterion.h>
#include <stdio.h>

#include "jepsen/sim/net.h"

enum { NODES = 3, PORT = 7100, SECOND_US = 1000000 };

static struct world *world;
static struct node {
    unsigned number;
    char name[8];
    struct sim_node *sim;
    struct env *env;
    struct links *links;
    struct env_timer tick;
    uint64_t cluster, boot;
    uint64_t last[NODES + 1][LINK_CLASSES]; /* The last number from each. */
    unsigned items_count, refused_lines;
    struct diag diag;
} nodes[NODES];

static void node_tick(struct env_timer *timer)
{
    struct node *node = CONTAINER_OF(timer, struct node, tick);
    env_timer_start(node->env, timer, 50);
    links_tick(node->links);
}

static void node_received(void *arg, uint64_t from, enum link_class class, uint8_t kind,
                          struct slice bytes)
{
    struct node *node = arg;
    struct reader r = reader_of(bytes);
    uint64_t number = read_u64(&r);
    cr_assert_eq(kind, 9);
    cr_assert(!r.failed);
    cr_assert_gt(number, node->last[from & 0xff][class], "in order, at most once");
    node->last[from & 0xff][class] = number;
    node->items_count++;
}

static void node_up(void *arg, uint64_t to, enum link_class class, bool up)
{
    (void)arg;
    (void)to;
    (void)class;
    (void)up;
}

static void node_line(void *arg, struct slice line)
{
    struct node *node = arg;
    if (memmem(line.data, line.len, "refused", 7) != NULL) node->refused_lines++;
}

static void node_boot(void *arg, struct env *env)
{
    struct node *node = arg;
    struct links_peer peers[NODES];
    unsigned count = 0;
    for (unsigned i = 0; i < NODES; i++) {
        if (&nodes[i] == node) continue;
        peers[count].node = (uint8_t)nodes[i].number;
        peers[count].address = (struct env_address){.port = PORT};
        snprintf(peers[count++].address.host, 8, "%s", nodes[i].name);
    }
    struct links_config config = {
        .cluster = node->cluster,
        .self = 256 + node->number,
        .boot = ++node->boot,
        .listen = {.port = PORT},
        .peers = peers,
        .peers_count = count,
        .diag = &node->diag,
        .handlers = {.received = node_received, .up = node_up, .arg = node}};
    snprintf(config.listen.host, 8, "%s", node->name);
    node->env = env;
    diag_init(&node->diag, DIAG_DEBUG, NULL, node_line, node);
    cr_assert_eq(links_create(env, &config, &node->links), 0);
    env_timer_init(&node->tick, node_tick);
    env_timer_start(env, &node->tick, 50);
}

static void node_died(void *arg)
{
    struct node *node = arg;
    env_timer_stop(node->env, &node->tick);
    links_abandon(node->links);
    node->links = NULL;
}

static const struct sim_program program = {node_boot, node_died};

static void set_up_as(uint64_t third_cluster)
{
    world = world_create(11);
    for (unsigned i = 0; i < NODES; i++) {
        nodes[i] = (struct node){.number = i + 1, .cluster = i == 2 ? third_cluster : 77};
        snprintf(nodes[i].name, sizeof(nodes[i].name), "n%u", i + 1);
        nodes[i].sim = sim_node_create(world, nodes[i].name, &program, &nodes[i]);
        sim_node_start(nodes[i].sim);
    }
    world_run_for(world, SECOND_US);
}

static void set_up(void)
{
    set_up_as(77);
}

static void tear_down(void)
{
    world_destroy(world);
}
TestSuite(links, .init = set_up, .fini = tear_down, .timeout = 20);

static bool send(unsigned from, unsigned to, enum link_class class, uint64_t number)
{
    uint8_t bytes[8];
    put_u64(bytes, number);
    return links_send(nodes[from].links, 256 + nodes[to].number, class, 9,
                      (struct slice){bytes, sizeof(bytes)});
}

static void turn(void)
{
    world_run_for(world, 20000);
}

static unsigned up_count(unsigned node)
{
    struct links_stats stats;
    links_stats(nodes[node].links, &stats);
    return stats.up_count;
}

Test(links, all_nodes_connect_both_ways_with_both_classes)
{
    for (unsigned i = 0; i < NODES; i++)
        cr_expect_eq(up_count(i), 2 * LINK_CLASSES);
    cr_expect_eq(links_peer_id(nodes[0].links, 2), 258);
    cr_expect_eq(links_peer_id(nodes[0].links, 9), 0);
}

/* Items of one turn share a frame. */
Test(links, items_arrive_in_order_and_share_a_frame)
{
    struct links_stats before, after;
    links_stats(nodes[0].links, &before);
    for (uint64_t n = 1; n <= 100; n++)
        cr_assert(send(0, 1, LINK_MESSAGES, n));
    /* The items wait in the open frame; something of the node's own loop ends its turn. */
    turn();
    world_run_for(world, SECOND_US / 10);
    links_stats(nodes[0].links, &after);
    cr_expect_eq(nodes[1].last[1][LINK_MESSAGES], 100);
    cr_expect_eq(after.frames_sent - before.frames_sent, 1);
}

Test(links, a_peer_that_was_down_is_connected_again)
{
    sim_node_crash(nodes[1].sim, SIM_KILL);
    turn();
    cr_expect_eq(links_room(nodes[0].links, 258, LINK_MESSAGES), 0);
    cr_expect_not(send(0, 1, LINK_MESSAGES, 1));
    world_run_for(world, 2 * SECOND_US);
    sim_node_start(nodes[1].sim);
    world_run_for(world, 2 * SECOND_US);
    cr_assert(send(0, 1, LINK_MESSAGES, 1));
    turn();
    cr_expect_eq(nodes[1].last[1][LINK_MESSAGES], 1);
}

/* Power fails without a word: the sender notices that nothing comes back. */
Test(links, a_peer_that_vanished_is_noticed)
{
    sim_node_crash(nodes[1].sim, SIM_POWER);
    for (unsigned i = 0; i < 5 * LINK_SILENT_MS / 100 && up_count(0) > LINK_CLASSES; i++) {
        (void)send(0, 1, LINK_MESSAGES, i + 1);
        (void)send(0, 1, LINK_BULK, i + 1);
        world_run_for(world, SECOND_US / 10);
    }
    cr_expect_eq(up_count(0), LINK_CLASSES, "those to node 3 alone");
}

/* Cut for a while: what was under way arrives late or never, never after what is newer. */
Test(links, nothing_of_an_older_connection_arrives_after_a_newer_one)
{
    uint64_t number = 0;
    for (unsigned round = 0; round < 20; round++) {
        if (round % 4 == 1) net_cut(nodes[0].sim, nodes[1].sim);
        if (round % 4 == 3) net_heal(world);
        for (unsigned i = 0; i < 20; i++) {
            (void)send(0, 1, LINK_MESSAGES, ++number);
            world_run_for(world, SECOND_US / 10);
        }
    }
    net_heal(world);
    world_run_for(world, 10 * SECOND_US);
    cr_assert(send(0, 1, LINK_MESSAGES, ++number));
    turn();
    cr_expect_eq(nodes[1].last[1][LINK_MESSAGES], number);
    cr_expect_lt(nodes[1].items_count, number, "some were lost");
}

Test(links, a_backlog_is_bounded)
{
    net_cut(nodes[0].sim, nodes[1].sim);
    static uint8_t chunk[256 * 1024];
    unsigned taken = 0;
    while (taken < 1000 &&
           links_send(nodes[0].links, 258, LINK_BULK, 9, (struct slice){chunk, sizeof(chunk)}))
        taken++;
    cr_expect_leq(taken * sizeof(chunk), LINK_BACKLOG_BYTES_MAX);
    cr_expect_geq(taken * sizeof(chunk), LINK_BACKLOG_BYTES_MAX / 2);
    cr_expect_gt(links_room(nodes[0].links, 258, LINK_MESSAGES), 0, "the other class has its own");
}

Test(links, clocks_and_flags_are_heard)
{
    int64_t wall_ms;
    uint8_t flags;
    links_set_flags(nodes[1].links, LINK_STATE_LOW);
    sim_node_wall_shift(nodes[1].sim, 3600000);
    cr_assert(send(1, 0, LINK_MESSAGES, 1));
    turn();
    world_run_for(world, SECOND_US);
    cr_assert(links_heard(nodes[0].links, 258, &wall_ms, &flags));
    cr_expect_eq(flags, LINK_STATE_LOW);
    int64_t off_ms = wall_ms - env_wall_ms(nodes[1].env);
    cr_expect(off_ms > -50 && off_ms < 50, "brought up to now, off by %lld", (long long)off_ms);
    world_run_for(world, (LINK_CLOCK_MS_MAX + 1000) * 1000);
    cr_expect_not(links_heard(nodes[0].links, 258, &wall_ms, &flags), "too old");
}

static void set_up_foreign(void)
{
    set_up_as(78);
}

Test(links_foreign, a_node_of_another_cluster_is_refused_in_both_logs, .init = set_up_foreign,
     .fini = tear_down, .timeout = 20)
{
    cr_expect_eq(up_count(0), LINK_CLASSES);
    cr_expect_eq(up_count(2), 0);
    cr_expect_gt(nodes[0].refused_lines, 0);
    cr_expect_gt(nodes[2].refused_lines, 0);
    cr_expect_lt(nodes[2].refused_lines, 10, "said now and then, not each time");
}
