/* tests/raft/confirm_test.c -- a round is confirmed by a majority that answered it, by nothing
 * else.
 *
 * Method: three confirms, one per node, in the world's loop; what they send waits in a list that
 * the test delivers, drops or keeps. Node 1 leads both partitions in term 5. */
#include "raft/confirm.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#include "jepsen/sim/world.h"

enum { NODES = 3, PARTS = 2, SENT_MAX = 64 };

static struct world *world;
static struct env *env;
static struct node {
    struct confirm *confirm;
    uint64_t id;
    term_t term[PARTS];
    bool settled, leads;
    unsigned claims_count[PARTS], confirmed_count[PARTS];
} nodes[NODES];
static struct sent {
    uint64_t from, to;
    bool question;
    struct buf bytes;
} sent[SENT_MAX];
static unsigned sent_count;

static bool node_claim(void *arg, part_t part, struct confirm_claim *out)
{
    struct node *node = arg;
    if (!node->leads) return false;
    node->claims_count[part]++;
    *out = (struct confirm_claim){.term = node->term[part],
                                  .self_votes = true,
                                  .voters = {nodes[1].id, nodes[2].id},
                                  .voters_count = 2,
                                  .majority = 2};
    return true;
}

static void node_confirmed(void *arg, part_t part)
{
    ((struct node *)arg)->confirmed_count[part]++;
}

static bool node_term(void *arg, part_t part, term_t *term)
{
    struct node *node = arg;
    *term = node->term[part];
    return node->settled;
}

static void node_send(void *arg, uint64_t to, bool question, struct slice bytes)
{
    struct node *node = arg;
    CHECK(sent_count < SENT_MAX);
    struct sent *s = &sent[sent_count++];
    *s = (struct sent){.from = node->id, .to = to, .question = question};
    buf_put(&s->bytes, bytes.data, bytes.len);
}

static void set_up(void)
{
    world = world_create(7);
    env = sim_node_env(sim_node_create(world, "test", NULL, NULL));
    for (unsigned i = 0; i < NODES; i++) {
        nodes[i] = (struct node){.id = 257 + i, .term = {5, 5}, .settled = true, .leads = i == 0};
        struct confirm_host host = {.claim = node_claim,
                                    .confirmed = node_confirmed,
                                    .term = node_term,
                                    .send = node_send,
                                    .arg = &nodes[i]};
        nodes[i].confirm = confirm_create(env, PARTS, &host);
    }
}

static void tear_down(void)
{
    for (unsigned i = 0; i < NODES; i++)
        confirm_destroy(nodes[i].confirm);
    for (unsigned i = 0; i < sent_count; i++)
        buf_free(&sent[i].bytes);
    world_destroy(world);
}
TestSuite(confirm, .init = set_up, .fini = tear_down, .timeout = 10);

/* Deliver message i of those sent so far. */
static void deliver(unsigned i)
{
    struct node *node = &nodes[sent[i].to - 257];
    cr_assert_eq(
        confirm_receive(node->confirm, sent[i].from, sent[i].question, buf_bytes(&sent[i].bytes)),
        0);
}

static void turn(void)
{
    world_run_for(world, 1000);
}

/* Both partitions ask in one turn: one question to each peer serves both. */
Test(confirm, reads_of_one_turn_share_a_round)
{
    confirm_ask(nodes[0].confirm, 0);
    confirm_ask(nodes[0].confirm, 1);
    confirm_ask(nodes[0].confirm, 1);
    turn();
    cr_assert_eq(sent_count, 2);
    cr_expect_eq(nodes[0].confirmed_count[0], 0, "not before somebody answered");
    deliver(0);
    cr_assert_eq(sent_count, 3);
    deliver(2);
    cr_expect_eq(nodes[0].confirmed_count[0], 1);
    cr_expect_eq(nodes[0].confirmed_count[1], 1);
}

Test(confirm, a_peer_of_a_later_term_confirms_nothing)
{
    nodes[1].term[0] = 6;
    confirm_ask(nodes[0].confirm, 0);
    turn();
    deliver(0);
    deliver(2);
    cr_expect_eq(nodes[0].confirmed_count[0], 0);
    deliver(1); /* The other one still follows: a majority. */
    deliver(3);
    cr_expect_eq(nodes[0].confirmed_count[0], 1);
}

/* An answer to the round before must not count for the one that began after. */
Test(confirm, an_answer_to_an_older_round_does_not_count)
{
    confirm_ask(nodes[0].confirm, 0);
    turn();
    deliver(0);
    cr_assert_eq(sent_count, 3);
    world_run_for(world, 1000 * 1000);
    confirm_tick(nodes[0].confirm); /* Lost, as far as the leader knows. */
    turn();
    cr_assert_eq(nodes[0].claims_count[0], 2);
    deliver(2); /* Of the first round. */
    cr_expect_eq(nodes[0].confirmed_count[0], 0);
}

Test(confirm, the_same_answer_twice_counts_once)
{
    nodes[0].leads = true;
    confirm_ask(nodes[0].confirm, 0);
    turn();
    nodes[1].term[0] = 4;
    deliver(0);
    deliver(2);
    deliver(2);
    cr_expect_eq(nodes[0].confirmed_count[0], 0);
}

Test(confirm, an_answer_waits_until_its_term_is_durable)
{
    nodes[1].settled = false;
    confirm_ask(nodes[0].confirm, 0);
    turn();
    deliver(0);
    cr_expect_eq(sent_count, 2, "held");
    nodes[1].settled = true;
    confirm_settled(nodes[1].confirm);
    cr_assert_eq(sent_count, 3);
    deliver(2);
    cr_expect_eq(nodes[0].confirmed_count[0], 1);
}

Test(confirm, a_deposed_leader_begins_no_round)
{
    confirm_ask(nodes[0].confirm, 0);
    nodes[0].leads = false;
    turn();
    cr_expect_eq(sent_count, 0);
    cr_expect_not(confirm_open(nodes[0].confirm, 0));
}

Test(confirm, a_forgotten_round_confirms_nothing)
{
    confirm_ask(nodes[0].confirm, 0);
    turn();
    confirm_forget(nodes[0].confirm, 0);
    deliver(0);
    deliver(2);
    cr_expect_eq(nodes[0].confirmed_count[0], 0);
}

Test(confirm, bytes_that_are_no_message_are_refused)
{
    cr_expect_eq(confirm_receive(nodes[0].confirm, 258, true, slice_str("")), ERR_CORRUPT);
    cr_expect_eq(confirm_receive(nodes[0].confirm, 258, false, slice_str("abc")), ERR_CORRUPT);
    cr_expect_eq(confirm_receive(nodes[0].confirm, 258, true, slice_str("12345678\x01\x09")),
                 ERR_CORRUPT, "a partition that is not there");
}
