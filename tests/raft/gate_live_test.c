/* tests/raft/gate_live_test.c -- the rules that keep libraft going, each with and without it, and
 * what the gate offers besides: transfer, growth, installs, a bounded log in memory. */
#include <criterion/criterion.h>

#include "raft/gate_msg.h"
#include "tests/raft/gate_rig.h"

TestSuite(gate_live, .timeout = 60);

/* Propose all the time; how much of it is acknowledged? In percent. */
static uint64_t acknowledged_percent(uint32_t rules)
{
    struct rig rig;
    rig_open(&rig, (struct rig_options){.nodes = 3, .voters = 3, .rules = rules});
    uint64_t before = cluster_counts(rig.c).acked;
    for (unsigned i = 0; i < 2000; i++) {
        CHECK(cluster_propose(rig.c, 0, 16) == 0);
        world_run_for(rig.world, 300);
    }
    uint64_t percent = (cluster_counts(rig.c).acked - before) * 100 / 2000;
    rig_close(&rig);
    return percent;
}

Test(gate_live, F5_a_pipeline_commits)
{
    cr_expect_gt(acknowledged_percent(ALL_RULES), 90);
    cr_expect_lt(acknowledged_percent(ALL_BUT(GATE_F5)), 20);
}

/* An old leader has 40 entries that must be replaced: how long until it agrees? In ms. */
static uint64_t rejoin_ms(uint32_t rules)
{
    struct rig rig;
    rig_open(&rig, (struct rig_options){.nodes = 3, .voters = 3, .rules = rules});
    cluster_isolate(rig.c, 0, CLUSTER_CUT);
    CHECK(rig_propose(&rig, 0, 40, 16) == 40);
    rig_run(&rig, 1000);
    rig_restart(&rig, 1);
    rig_restart(&rig, 2);
    CHECK(rig_elect_ready(&rig, 1));
    CHECK(rig_propose(&rig, 1, 60, 16) == 60);
    rig_run(&rig, 200);
    rig_restart(&rig, 1); /* The next leader begins at its own end. */
    rig_restart(&rig, 2);
    CHECK(rig_elect_ready(&rig, 1));
    uint64_t begun_us = world_now_us(rig.world);
    index_t last = gate_last_index(cluster_gate(rig.c, 1));
    cluster_heal(rig.c);
    CHECK(rig_await_applied(&rig, 0, last, 20000));
    uint64_t ms = (world_now_us(rig.world) - begun_us) / MS;
    rig_close(&rig);
    return ms;
}

Test(gate_live, F6_a_diverged_log_is_skipped_at_once)
{
    cr_expect_lt(rejoin_ms(ALL_RULES), 400);
    cr_expect_gt(rejoin_ms(ALL_BUT(GATE_F6)), 1500);
}

/* A node that lacks five entries was out of reach when a leader with a compacted log was elected:
 * how many snapshots is it sent? */
static uint64_t needless_installs(uint32_t rules)
{
    struct rig rig;
    rig_open(
        &rig,
        (struct rig_options){
            .nodes = 3, .voters = 3, .rules = rules, .log_bytes = 20000, .checkpoint_entries = 20});
    CHECK(rig_propose(&rig, 0, 400, 16) == 400);
    rig_run(&rig, 300);
    cluster_isolate(rig.c, 2, CLUSTER_UNPLUGGED);
    rig_restart(&rig, 1);
    rig_restart(&rig, 0);
    CHECK(rig_elect_ready(&rig, 1));
    CHECK(rig_propose(&rig, 1, 5, 16) == 5);
    rig_run(&rig, 500);
    cluster_heal(rig.c);
    uint64_t from = cluster_counts(rig.c).installs;
    rig_run(&rig, 3000);
    CHECK(cluster_applied(rig.c, 2) == cluster_applied(rig.c, 1));
    uint64_t installs = cluster_counts(rig.c).installs - from;
    rig_close(&rig);
    return installs;
}

Test(gate_live, F7_a_failed_send_forgets_nothing)
{
    cr_expect_eq(needless_installs(ALL_RULES), 0);
    cr_expect_gt(needless_installs(ALL_BUT(GATE_F7)), 0);
}

struct answer {
    bool given;
    struct raft_append_entries_result result;
};

static bool keep_answer(void *arg, unsigned from, unsigned to, struct slice message)
{
    struct answer *answer = arg;
    struct gate_envelope envelope;
    struct raft_message m;
    (void)to;
    CHECK(gate_msg_decode(message, &envelope, &m) == 0);
    if (from == 1 && m.type == RAFT_IO_APPEND_ENTRIES_RESULT) {
        answer->given = true;
        answer->result = m.append_entries_result;
    }
    gate_msg_free(&m);
    return true;
}

/* The leader asks about an entry that a follower compacted: does that reject it? */
static bool rejects_compacted(uint32_t rules)
{
    struct rig rig;
    rig_open(
        &rig,
        (struct rig_options){
            .nodes = 3, .voters = 3, .rules = rules, .log_bytes = 4000, .checkpoint_entries = 20});
    CHECK(rig_propose(&rig, 0, 200, 16) == 200);
    rig_run(&rig, 300);
    struct answer answer = {0};
    cluster_watch(rig.c, keep_answer, &answer);
    term_t term = gate_term(cluster_gate(rig.c, 0));
    struct raft_message m = {.type = RAFT_IO_APPEND_ENTRIES};
    m.append_entries =
        (struct raft_append_entries){.term = term, .prev_log_index = 10, .prev_log_term = term};
    struct gate_envelope envelope = {.from = rig_id(0), .to = rig_id(1)};
    struct buf bytes = {0};
    gate_msg_encode(&bytes, &envelope, &m);
    gate_receive(cluster_gate(rig.c, 1), buf_bytes(&bytes));
    buf_free(&bytes);
    CHECK(answer.given);
    bool rejects = answer.result.rejected != 0;
    if (!rejects) cr_expect_geq(answer.result.last_log_index, 200);
    rig_close(&rig);
    return rejects;
}

Test(gate_live, F9_what_a_follower_compacted_it_has)
{
    cr_expect_not(rejects_compacted(ALL_RULES));
    cr_expect(rejects_compacted(ALL_BUT(GATE_F9)));
}

/* A leader that is cut off begins a change, and gets a snapshot from its successor that goes beyond
 * it. When it leads again, can it change anything? */
static bool changes_after_install(uint32_t rules)
{
    struct rig rig;
    rig_open(
        &rig,
        (struct rig_options){
            .nodes = 4, .voters = 3, .rules = rules, .log_bytes = 4000, .checkpoint_entries = 20});
    cluster_isolate(rig.c, 0, CLUSTER_CUT);
    CHECK(gate_member_add(cluster_gate(rig.c, 0), rig_id(3)) == 0);
    rig_run(&rig, 1000);
    rig_restart(&rig, 1);
    rig_restart(&rig, 2);
    CHECK(rig_elect_ready(&rig, 1));
    CHECK(rig_propose(&rig, 1, 300, 16) == 300);
    cluster_heal(rig.c);
    CHECK(rig_await_applied(&rig, 0, cluster_applied(rig.c, 1), 5000));
    CHECK(cluster_counts(rig.c).installs > 0);
    rig_run(&rig, 200);
    CHECK(gate_transfer(cluster_gate(rig.c, 1), rig_id(0)) == 0);
    CHECK(rig_elect_ready(&rig, 0));
    bool changes = rig_change(&rig, 0, rig_id(3), GATE_SPARE);
    rig_close(&rig);
    return changes;
}

Test(gate_live, F10_an_install_ends_the_change_it_overtakes)
{
    cr_expect(changes_after_install(ALL_RULES));
    cr_expect_not(changes_after_install(ALL_BUT(GATE_F10)));
}

/* Node 3 becomes a voter, which it does not hear before the leader dies: the next leader needs its
 * vote. Restarted, it also forgets the dead leader; otherwise rule 13 has to help. */
static bool promoted_node_votes(uint32_t rules, bool restart)
{
    struct rig rig;
    rig_open(&rig, (struct rig_options){.nodes = 4, .voters = 3, .rules = rules});
    CHECK(rig_change(&rig, 0, rig_id(3), GATE_STANDBY));
    rig_run(&rig, 200);
    cluster_part(rig.c, 0, 2, CLUSTER_CUT);
    cluster_part(rig.c, 0, 3, CLUSTER_CUT);
    CHECK(gate_member_assign(cluster_gate(rig.c, 0), rig_id(3), GATE_VOTER) == 0);
    rig_run(&rig, 20);
    rig_stop(&rig, 0);
    if (restart) rig_restart(&rig, 3);
    bool elected = rig_elect(&rig, 1);
    rig_close(&rig);
    return elected;
}

Test(gate_live, F11_a_node_votes_whatever_its_own_configuration_says)
{
    cr_expect(promoted_node_votes(ALL_RULES, true));
    cr_expect_not(promoted_node_votes(ALL_BUT(GATE_F11), true));
}

Test(gate_live, F13_a_node_without_a_vote_forgets_a_dead_leader)
{
    cr_expect(promoted_node_votes(ALL_RULES, false));
    cr_expect_not(promoted_node_votes(ALL_BUT(GATE_F13), false));
}

/* Two nodes are left: one has the longer log, the other the higher term, by far. */
static bool term_is_learned(uint32_t rules)
{
    struct rig rig;
    rig_open(&rig, (struct rig_options){.nodes = 3, .voters = 3, .rules = rules});
    cluster_isolate(rig.c, 0, CLUSTER_CUT);
    CHECK(cluster_propose(rig.c, 0, 16) == 0);
    rig_run(&rig, 50);
    rig_restart(&rig, 0);
    rig_stop(&rig, 2);
    rig_restart(&rig, 1);
    struct raft_message m = {.type = RAFT_IO_REQUEST_VOTE};
    m.request_vote = (struct raft_request_vote){.term = 100, .candidate_id = rig_id(2)};
    struct gate_envelope envelope = {.from = rig_id(2), .to = rig_id(1)};
    struct buf bytes = {0};
    gate_msg_encode(&bytes, &envelope, &m);
    gate_receive(cluster_gate(rig.c, 1), buf_bytes(&bytes));
    buf_free(&bytes);
    CHECK(gate_term(cluster_gate(rig.c, 1)) == 100);
    cluster_heal(rig.c);
    bool elected = rig_elect(&rig, 0);
    rig_close(&rig);
    return elected;
}

Test(gate_live, F12_a_refusal_tells_the_higher_term)
{
    cr_expect(term_is_learned(ALL_RULES));
    cr_expect_not(term_is_learned(ALL_BUT(GATE_F12)));
}

static bool drop_installs(void *arg, unsigned from, unsigned to, struct slice message)
{
    unsigned *left = arg;
    (void)from;
    (void)to;
    if (((const uint8_t *)message.data)[1] != RAFT_IO_INSTALL_SNAPSHOT || *left == 0) return true;
    (*left)--;
    return false;
}

/* The first two snapshots for a node that was away vanish: does it get another one? */
static bool gets_another_install(uint32_t rules)
{
    struct rig rig;
    unsigned left = 2;
    rig_open(
        &rig,
        (struct rig_options){
            .nodes = 3, .voters = 3, .rules = rules, .log_bytes = 4000, .checkpoint_entries = 20});
    rig_stop(&rig, 2);
    CHECK(rig_propose(&rig, 0, 500, 16) == 500);
    rig_run(&rig, 300);
    cluster_watch(rig.c, drop_installs, &left);
    rig_start(&rig, 2);
    bool caught_up = rig_await_applied(&rig, 2, cluster_applied(rig.c, 0), 10000);
    if (caught_up) cr_expect_gt(cluster_counts(rig.c).installs, 0);
    rig_close(&rig);
    return caught_up;
}

Test(gate_live, F17_a_lost_install_is_sent_again)
{
    cr_expect(gets_another_install(ALL_RULES));
    cr_expect_not(gets_another_install(ALL_BUT(GATE_F17)));
}

static bool keep_largest(void *arg, unsigned from, unsigned to, struct slice message)
{
    size_t *largest = arg;
    (void)from;
    (void)to;
    if (message.len > *largest) *largest = message.len;
    return true;
}

/* A node that was away lacks 3 MB of entries: how large is the largest message? */
static size_t largest_message(uint32_t rules)
{
    struct rig rig;
    size_t largest = 0;
    rig_open(&rig, (struct rig_options){.nodes = 3, .voters = 3, .rules = rules});
    rig_stop(&rig, 2);
    CHECK(rig_propose(&rig, 0, 30, 100 * 1000) == 30);
    rig_run(&rig, 500);
    cluster_watch(rig.c, keep_largest, &largest);
    rig_start(&rig, 2);
    CHECK(rig_await_applied(&rig, 2, cluster_applied(rig.c, 0), 10000));
    rig_close(&rig);
    return largest;
}

Test(gate_live, F18_a_message_has_bounds)
{
    cr_expect_lt(largest_message(ALL_RULES), (size_t)GATE_CHUNK_BYTES + 1000);
    cr_expect_gt(largest_message(ALL_BUT(GATE_F18)), 2000 * 1000);
}

Test(gate_live, a_transfer_hands_over_within_an_election_timeout)
{
    struct rig rig;
    rig_open(&rig, (struct rig_options){.nodes = 3, .voters = 3, .rules = ALL_RULES});
    struct gate *gate = cluster_gate(rig.c, 0);
    cr_expect_eq(gate_transfer(gate, 999), ERR_NOT_FOUND);
    cr_expect_eq(gate_transfer(gate, rig_id(2)), 0);
    cr_expect_eq(cluster_propose(rig.c, 0, 16), ERR_BUSY);
    rig_run(&rig, 300);
    cr_expect_eq(cluster_leader(rig.c), 2);
    cr_expect_eq(gate_leader(gate), rig_id(2));
    cr_expect_not(gate_transferring(gate));
    cr_expect_eq(cluster_propose(rig.c, 0, 16), ERR_NOT_LEADER);
    rig_close(&rig);
}

Test(gate_live, a_group_grows_from_three_to_five_under_load)
{
    struct rig rig;
    rig_open(&rig, (struct rig_options){.nodes = 5,
                                        .voters = 3,
                                        .rules = ALL_RULES,
                                        .log_bytes = 4000,
                                        .checkpoint_entries = 20});
    CHECK(rig_propose(&rig, 0, 300, 16) == 300);
    for (unsigned n = 3; n < 5; n++) {
        cr_expect(rig_change(&rig, 0, rig_id(n), GATE_SPARE));
        cr_expect(rig_change(&rig, 0, rig_id(n), GATE_STANDBY));
        rig_propose(&rig, 0, 100, 16);
        cr_expect(rig_change(&rig, 0, rig_id(n), GATE_VOTER));
    }
    struct gate *gate = cluster_gate(rig.c, 0);
    cr_expect_eq(gate_member_remove(gate, rig_id(0)), ERR_INVAL, "the leader goes first");
    cr_expect_eq(gate_member_add(gate, rig_id(3)), ERR_EXISTS);
    cr_expect_eq(gate_member_remove(gate, 999), ERR_NOT_FOUND);
    rig_run(&rig, 1000);
    for (unsigned n = 1; n < 5; n++) {
        cr_expect_eq(cluster_applied(rig.c, n), cluster_applied(rig.c, 0));
        cr_expect_eq(cluster_chain(rig.c, n), cluster_chain(rig.c, 0));
    }
    cr_expect_null(cluster_violation(rig.c));
    rig_close(&rig);
}

Test(gate_live, a_group_of_one_leads_commits_and_restarts)
{
    struct rig rig;
    rig_open(&rig, (struct rig_options){.nodes = 1, .voters = 1, .rules = ALL_RULES});
    cr_expect_eq(rig_propose(&rig, 0, 50, 16), 50);
    rig_run(&rig, 100);
    term_t term = gate_term(cluster_gate(rig.c, 0));
    index_t acked = cluster_acked_index(rig.c);
    cr_expect_eq(acked, gate_last_index(cluster_gate(rig.c, 0)));
    cr_expect_eq(gate_transfer(cluster_gate(rig.c, 0), 0), ERR_NOT_FOUND);
    cluster_crash(rig.c, 0, SIM_POWER);
    rig_start(&rig, 0);
    cr_expect(rig_elect_ready(&rig, 0));
    cr_expect_gt(gate_term(cluster_gate(rig.c, 0)), term);
    rig_run(&rig, 100);
    cr_expect_gt(cluster_applied(rig.c, 0), acked);
    cr_expect_null(cluster_violation(rig.c));
    rig_close(&rig);
}

/* The log in memory follows the manifests; a restart begins at the manifest. */
Test(gate_live, memory_stays_within_the_budget)
{
    struct rig rig;
    rig_open(&rig, (struct rig_options){.nodes = 3,
                                        .voters = 3,
                                        .rules = ALL_RULES,
                                        .log_bytes = 20000,
                                        .checkpoint_entries = 20});
    CHECK(rig_propose(&rig, 0, 2000, 100) == 2000);
    for (unsigned n = 0; n < 3; n++) {
        cr_expect_lt(gate_log_bytes(cluster_gate(rig.c, n)), 2 * 20000);
    }
    index_t last = gate_last_index(cluster_gate(rig.c, 0));
    rig_run(&rig, 300);
    rig_restart(&rig, 1);
    cr_expect_gt(cluster_applied(rig.c, 1), last - 200);
    cr_expect(rig_await_applied(&rig, 1, last, 1000));
    cr_expect_null(cluster_violation(rig.c));
    rig_close(&rig);
}

/* All lights go out at once, again and again: what was acknowledged is there. */
Test(gate_live, acknowledged_entries_survive_power_loss_of_all)
{
    struct rig rig;
    rig_open(&rig, (struct rig_options){.nodes = 3, .voters = 3, .rules = ALL_RULES});
    for (unsigned round = 0; round < 5; round++) {
        CHECK(rig_elect_ready(&rig, round % 3));
        rig_propose(&rig, round % 3, 20, 16);
        for (unsigned n = 0; n < 3; n++)
            cluster_crash(rig.c, n, SIM_POWER);
        for (unsigned n = 0; n < 3; n++)
            rig_start(&rig, n);
    }
    for (unsigned n = 0; n < 3; n++)
        cluster_sleep(rig.c, n, false);
    int leader = cluster_await_leader(rig.c, 5000 * MS);
    cr_assert_geq(leader, 0);
    cr_expect(rig_await_applied(&rig, (unsigned)leader, cluster_acked_index(rig.c), 1000));
    cr_expect_null(cluster_violation(rig.c));
    rig_close(&rig);
}

/* Bytes that are no message, or somebody else's, are counted and change nothing. */
Test(gate_live, bad_messages_are_refused)
{
    struct rig rig;
    rig_open(&rig, (struct rig_options){.nodes = 3, .voters = 3, .rules = ALL_RULES});
    struct gate *gate = cluster_gate(rig.c, 1);
    struct raft_message m = {.type = RAFT_IO_TIMEOUT_NOW};
    m.timeout_now = (struct raft_timeout_now){99, 1, 1};
    struct gate_envelope others = {.from = rig_id(0), .to = rig_id(2)};
    struct gate_envelope part = {.part = 1, .from = rig_id(0), .to = rig_id(1)};
    struct buf bytes = {0};
    gate_receive(gate, (struct slice){"", 0});
    gate_receive(gate, (struct slice){"\1\7\0\0\0", 5});
    gate_msg_encode(&bytes, &others, &m);
    gate_receive(gate, buf_bytes(&bytes));
    bytes.len = 0;
    gate_msg_encode(&bytes, &part, &m);
    gate_receive(gate, buf_bytes(&bytes));
    gate_receive(gate, (struct slice){bytes.data, bytes.len - 1});
    buf_free(&bytes);
    struct gate_stats stats;
    gate_stats(gate, &stats);
    cr_expect_eq(stats.refused_count, 5);
    cr_expect_neq(gate_term(gate), 99);
    rig_close(&rig);
}
