/* tests/raft/gate_safety_test.c -- the rules that keep libraft from losing or crashing: each
 * scenario runs with all rules and nothing happens, and without its rule, when the bug shows.
 *
 * What was applied twice or differently, and who led twice, is seen by the cluster's own watch. */
#include <criterion/criterion.h>

#include "raft/gate_msg.h"
#include "tests/raft/gate_rig.h"

TestSuite(gate_safety, .timeout = 60);

/* Give node `to` a message as if raft id `from` had sent it. */
static void inject(struct rig *rig, unsigned to, uint64_t from, struct raft_message *message)
{
    struct gate_envelope envelope = {.part = 0, .from = from, .to = rig_id(to)};
    struct buf bytes = {0};
    gate_msg_encode(&bytes, &envelope, message);
    gate_receive(cluster_gate(rig->c, to), buf_bytes(&bytes));
    buf_free(&bytes);
}

static struct raft_message request_vote(term_t term, uint64_t candidate, bool disrupt)
{
    struct raft_message m = {.type = RAFT_IO_REQUEST_VOTE};
    m.request_vote = (struct raft_request_vote){.term = term,
                                                .candidate_id = candidate,
                                                .last_log_index = 1000,
                                                .last_log_term = term,
                                                .disrupt_leader = disrupt};
    return m;
}

/* Figure 8 of the Raft paper on five nodes. Node 0 leads and gives an entry X to node 1 alone;
 * node 4 leads next and keeps its own entry for that place to itself; node 0 leads again, and the
 * old X is on a majority before anything of its new term is on its own slow disk. If that counts
 * as committed, node 4, elected after 0 and 2 died, overwrites it. */
static bool figure_8_overwrites(uint32_t rules)
{
    struct rig rig;
    rig_open(&rig, (struct rig_options){.nodes = 5, .voters = 5, .rules = rules});
    for (unsigned i = 2; i < 5; i++)
        cluster_part(rig.c, 0, i, CLUSTER_CUT);
    CHECK(cluster_propose(rig.c, 0, 16) == 0);
    index_t x = gate_last_index(cluster_gate(rig.c, 0));
    rig_run(&rig, 50);
    rig_stop(&rig, 0);
    for (unsigned i = 2; i < 5; i++) {
        rig_restart(&rig, i);
        cluster_part(rig.c, 1, i, CLUSTER_CUT);
    }
    CHECK(rig_elect(&rig, 4));
    cluster_isolate(rig.c, 4, CLUSTER_CUT);
    rig_run(&rig, 50);
    rig_stop(&rig, 4);
    cluster_heal(rig.c);
    for (unsigned i = 1; i < 4; i++)
        rig_restart(&rig, i);
    cluster_slow_disk(rig.c, 0, 50 * MS);
    rig_start(&rig, 0);
    CHECK(rig_elect(&rig, 0));
    cluster_part(rig.c, 0, 3, CLUSTER_CUT);
    for (unsigned i = 0; i < 3000 && cluster_applied(rig.c, 0) < x; i++) {
        world_run_for(rig.world, 100);
        if (gate_match(cluster_gate(rig.c, 0), rig_id(1)) >= x) {
            cluster_part(rig.c, 0, 1, CLUSTER_CUT);
        }
    }
    rig_stop(&rig, 0);
    rig_stop(&rig, 2);
    cluster_heal(rig.c);
    rig_restart(&rig, 1);
    rig_restart(&rig, 3);
    rig_start(&rig, 4);
    if (rig_elect(&rig, 4)) rig_run(&rig, 1000);
    bool bug = cluster_violation(rig.c) != NULL;
    rig_close(&rig);
    return bug;
}

Test(gate_safety, F1_an_old_term_is_not_committed_by_counting)
{
    cr_expect_not(figure_8_overwrites(ALL_RULES));
    cr_expect(figure_8_overwrites(ALL_BUT(GATE_F1)));
}

/* Node 0 has entries that nobody else got. Node 1 is elected with node 2's vote and can then reach
 * node 0 alone, which acknowledges its own longer log as if it had been compared. */
static bool unseen_tail_counts(uint32_t rules)
{
    struct rig rig;
    rig_open(&rig, (struct rig_options){.nodes = 3, .voters = 3, .rules = rules});
    cluster_isolate(rig.c, 0, CLUSTER_CUT);
    rig_propose(&rig, 0, 3, 16);
    rig_run(&rig, 50);
    rig_stop(&rig, 0);
    cluster_heal(rig.c);
    rig_restart(&rig, 1);
    rig_restart(&rig, 2);
    rig_start(&rig, 0);
    CHECK(rig_elect(&rig, 1));
    cluster_part(rig.c, 1, 2, CLUSTER_CUT);
    for (unsigned i = 0; i < 900 && !gate_ready(cluster_gate(rig.c, 1)); i++)
        rig_run(&rig, 1);
    CHECK(gate_ready(cluster_gate(rig.c, 1))); /* Its first entry was applied: it must not go. */
    rig_stop(&rig, 1);
    cluster_heal(rig.c);
    rig_restart(&rig, 0);
    rig_restart(&rig, 2);
    if (rig_elect(&rig, 0)) rig_run(&rig, 500);
    bool bug = cluster_violation(rig.c) != NULL;
    rig_close(&rig);
    return bug;
}

Test(gate_safety, F2_only_what_was_compared_is_acknowledged)
{
    cr_expect_not(unseen_tail_counts(ALL_RULES));
    cr_expect(unseen_tail_counts(ALL_BUT(GATE_F2)));
}

/* A leader that hands over to node 1 learns of a higher term, votes for node 2 in it, and is then
 * asked by node 1. */
static bool votes_for_both(uint32_t rules)
{
    struct rig rig;
    rig_open(&rig, (struct rig_options){.nodes = 3, .voters = 3, .rules = rules});
    struct gate *gate = cluster_gate(rig.c, 0);
    cluster_isolate(rig.c, 0, CLUSTER_CUT);
    term_t term = gate_term(gate) + 1;
    CHECK(gate_transfer(gate, rig_id(1)) == 0);
    struct raft_message higher = {.type = RAFT_IO_APPEND_ENTRIES_RESULT};
    higher.append_entries_result = (struct raft_append_entries_result){term, 1, 1};
    inject(&rig, 0, rig_id(2), &higher);
    struct raft_message first = request_vote(term, rig_id(2), false);
    inject(&rig, 0, rig_id(2), &first);
    CHECK(gate_vote(gate) == rig_id(2));
    struct raft_message second = request_vote(term, rig_id(1), true);
    inject(&rig, 0, rig_id(1), &second);
    bool bug = gate_vote(gate) != rig_id(2);
    rig_close(&rig);
    return bug;
}

Test(gate_safety, F3_a_transfer_gets_no_second_vote)
{
    cr_expect_not(votes_for_both(ALL_RULES));
    cr_expect(votes_for_both(ALL_BUT(GATE_F3)));
}

/* A follower whose disk is slow is told to take over while an append is in flight. */
static bool campaigns_over_appends(uint32_t rules)
{
    struct rig rig;
    rig_open(&rig, (struct rig_options){.nodes = 3, .voters = 3, .rules = rules});
    cluster_slow_disk(rig.c, 1, 200 * MS);
    CHECK(cluster_propose(rig.c, 0, 16) == 0);
    rig_run(&rig, 20);
    struct gate *leader = cluster_gate(rig.c, 0), *follower = cluster_gate(rig.c, 1);
    CHECK(gate_last_index(leader) == gate_last_index(follower));
    CHECK(!gate_idle(follower));
    struct raft_message now = {.type = RAFT_IO_TIMEOUT_NOW};
    now.timeout_now =
        (struct raft_timeout_now){gate_term(leader), gate_last_index(leader), gate_term(leader)};
    inject(&rig, 1, rig_id(0), &now);
    bool bug = gate_state(follower) != GATE_FOLLOWER;
    rig_run(&rig, 900);
    if (!bug) cr_expect_eq(gate_state(follower), GATE_LEADER, "it takes over when it is durable");
    rig_close(&rig);
    return bug;
}

Test(gate_safety, F4_no_candidacy_over_appends_in_flight)
{
    cr_expect_not(campaigns_over_appends(ALL_RULES));
    cr_expect(campaigns_over_appends(ALL_BUT(GATE_F4)));
}

/* The only voter loses its newest entry in a power cut while the standby got it, and leads again:
 * in the same term it would put another entry under the same index and term. */
static bool sole_voter_diverges(uint32_t rules)
{
    struct rig rig;
    rig_open(&rig, (struct rig_options){.nodes = 2, .voters = 1, .rules = rules});
    CHECK(rig_change(&rig, 0, rig_id(1), GATE_STANDBY));
    rig_propose(&rig, 0, 3, 16);
    rig_run(&rig, 300);
    disk_stall(sim_node_disk(cluster_node(rig.c, 0)), 1000 * MS);
    CHECK(cluster_propose(rig.c, 0, 16) == 0);
    index_t lost = gate_last_index(cluster_gate(rig.c, 0));
    rig_run(&rig, 40);
    CHECK(gate_last_index(cluster_gate(rig.c, 1)) == lost);
    cluster_crash(rig.c, 0, SIM_POWER);
    rig_start(&rig, 0);
    CHECK(rig_elect_ready(&rig, 0));
    rig_propose(&rig, 0, 2, 16);
    rig_run(&rig, 3000);
    bool bug = cluster_violation(rig.c) != NULL;
    rig_close(&rig);
    return bug;
}

Test(gate_safety, F8_a_sole_voter_leads_in_a_new_term)
{
    cr_expect_not(sole_voter_diverges(ALL_RULES));
    cr_expect(sole_voter_diverges(ALL_BUT(GATE_F8)));
}

/* A leader that is cut off adds a member when the configuration before it is long compacted, and
 * must take it back when it hears of the next leader. */
static void take_back_compacted(uint32_t rules)
{
    struct rig rig;
    rig_open(
        &rig,
        (struct rig_options){
            .nodes = 4, .voters = 3, .rules = rules, .log_bytes = 4000, .checkpoint_entries = 20});
    rig_propose(&rig, 0, 200, 16);
    rig_run(&rig, 300);
    cluster_isolate(rig.c, 0, CLUSTER_CUT);
    CHECK(gate_member_add(cluster_gate(rig.c, 0), rig_id(3)) == 0);
    rig_run(&rig, 2000);
    rig_restart(&rig, 1);
    rig_restart(&rig, 2);
    CHECK(rig_elect_ready(&rig, 1));
    rig_propose(&rig, 1, 5, 16);
    cluster_heal(rig.c);
    rig_run(&rig, 2000);
    struct gate_member members[GATE_MEMBERS_MAX];
    CHECK(gate_members(cluster_gate(rig.c, 0), members) == 3);
    CHECK(cluster_applied(rig.c, 0) == cluster_applied(rig.c, 1));
    rig_close(&rig);
}

Test(gate_safety, F10_a_compacted_configuration_comes_back)
{
    cr_expect_not(rig_dies(take_back_compacted, ALL_RULES));
    cr_expect(rig_dies(take_back_compacted, ALL_BUT(GATE_F10)));
}

/* The bug in single-server changes (Ongaro, 2015). Node 0 makes node 4 a voter, which only 4
 * hears. Node 1 leads next by the old majority and removes node 0 before anything of its own term
 * is committed: two nodes suffice for that. Node 0 then leads by node 3 and 4, and neither of its
 * majorities meets node 1's. */
static bool majorities_miss(uint32_t rules)
{
    struct rig rig;
    rig_open(&rig, (struct rig_options){.nodes = 5, .voters = 4, .rules = rules});
    CHECK(rig_change(&rig, 0, rig_id(4), GATE_STANDBY));
    rig_run(&rig, 200);
    for (unsigned i = 1; i < 4; i++)
        cluster_part(rig.c, 0, i, CLUSTER_CUT);
    CHECK(gate_member_assign(cluster_gate(rig.c, 0), rig_id(4), GATE_VOTER) == 0);
    rig_run(&rig, 100);
    for (unsigned i = 1; i < 4; i++) {
        rig_restart(&rig, i);
        cluster_part(rig.c, 4, i, CLUSTER_CUT);
    }
    CHECK(rig_elect(&rig, 1));
    cluster_part(rig.c, 1, 3, CLUSTER_CUT);
    for (unsigned i = 0; i < 300; i++) {
        if (gate_member_remove(cluster_gate(rig.c, 1), rig_id(0)) == 0) break;
        rig_run(&rig, 1);
    }
    rig_run(&rig, 200);
    rig_stop(&rig, 1);
    rig_stop(&rig, 2);
    cluster_heal(rig.c);
    rig_restart(&rig, 0);
    rig_restart(&rig, 3);
    rig_restart(&rig, 4);
    if (rig_elect(&rig, 0)) rig_run(&rig, 1000);
    bool bug = cluster_violation(rig.c) != NULL;
    rig_close(&rig);
    return bug;
}

Test(gate_safety, F14_a_change_waits_for_an_entry_of_its_term)
{
    cr_expect_not(majorities_miss(ALL_RULES));
    cr_expect(majorities_miss(ALL_BUT(GATE_F14)));
}

/* A peer that lost its mind sends another entry for a committed place. */
static void contradict(uint32_t rules)
{
    struct rig rig;
    rig_open(&rig, (struct rig_options){.nodes = 3, .voters = 3, .rules = rules});
    rig_propose(&rig, 0, 5, 16);
    rig_run(&rig, 300);
    uint64_t payload = 1;
    struct raft_entry entry = {.term = gate_term(cluster_gate(rig.c, 0)) + 1,
                               .type = RAFT_COMMAND,
                               .buf = {&payload, sizeof(payload)}};
    struct raft_message m = {.type = RAFT_IO_APPEND_ENTRIES};
    m.append_entries = (struct raft_append_entries){.term = entry.term,
                                                    .prev_log_index = 1,
                                                    .prev_log_term = 1,
                                                    .entries = &entry,
                                                    .n_entries = 1};
    inject(&rig, 1, rig_id(2), &m);
    struct gate_stats stats;
    gate_stats(cluster_gate(rig.c, 1), &stats);
    CHECK(stats.refused_count == 1);
    rig_run(&rig, 300);
    CHECK(cluster_violation(rig.c) == NULL);
    rig_close(&rig);
}

Test(gate_safety, F15_what_contradicts_committed_entries_is_refused)
{
    cr_expect_not(rig_dies(contradict, ALL_RULES));
    cr_expect(rig_dies(contradict, ALL_BUT(GATE_F15)));
}

struct grants {
    unsigned count;
};

static bool count_grants(void *arg, unsigned from, unsigned to, struct slice message)
{
    struct grants *grants = arg;
    struct gate_envelope envelope;
    struct raft_message m;
    (void)to;
    CHECK(gate_msg_decode(message, &envelope, &m) == 0);
    if (from == 1 && m.type == RAFT_IO_REQUEST_VOTE_RESULT && m.request_vote_result.vote_granted) {
        grants->count++;
    }
    gate_msg_free(&m);
    return false;
}

/* A node votes, the power fails before the vote is on disk, and another candidate asks for a vote
 * in the same term. How often does a vote leave the node? */
static unsigned votes_given(uint32_t rules)
{
    struct rig rig;
    struct grants grants = {0};
    rig_open(&rig, (struct rig_options){.nodes = 3, .voters = 3, .rules = rules});
    rig_stop(&rig, 0);
    rig_restart(&rig, 1);
    cluster_watch(rig.c, count_grants, &grants);
    for (unsigned candidate = 0; candidate <= 2; candidate += 2) {
        if (candidate == 0) disk_stall(sim_node_disk(cluster_node(rig.c, 1)), 1000 * MS);
        struct raft_message m = request_vote(50, rig_id(candidate), true);
        inject(&rig, 1, rig_id(candidate), &m);
        rig_run(&rig, 20);
        cluster_crash(rig.c, 1, SIM_POWER);
        rig_start(&rig, 1);
        rig_run(&rig, 20);
    }
    rig_close(&rig);
    return grants.count;
}

Test(gate_safety, VOTE_a_promise_leaves_when_it_is_durable)
{
    cr_expect_leq(votes_given(ALL_RULES), 1);
    cr_expect_eq(votes_given(ALL_BUT(GATE_VOTE)), 2);
}
