/* jepsen/sim/raft_chaos.c -- the schedule of faults, and what must hold after the last of them. */
#include "jepsen/sim/raft_chaos.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    MS = 1000,
    LEADER_MS_MAX = 15000, /* After healing there is a leader within this time, */
    AGREE_MS_MAX = 20000,  /* and all members have applied the same within this. */
    CHANGE_MS_MAX = 40000, /* A promotion that hangs is given up after libraft's 10 rounds. */
};

struct chaos {
    struct world *world;
    struct cluster *cluster;
    const struct chaos_options *options;
    uint64_t down_until_us[CLUSTER_NODES_MAX];
    uint64_t gap_us; /* Between two looks at the clients. */
};

static uint64_t below(struct chaos *x, uint64_t limit)
{
    return world_random(x->world) % limit;
}

static size_t entry_bytes(struct chaos *x)
{
    uint64_t dice = below(x, 1000);
    if (dice == 0) return 100 * 1000 + below(x, 200 * 1000); /* Larger than a piece (F18). */
    return 16 + below(x, dice < 50 ? 20 * 1000 : 300);
}

/* Clients talk to everyone who believes to lead, deposed leaders included. */
static void clients(struct chaos *x)
{
    for (unsigned i = 0; i < x->options->nodes; i++) {
        struct gate *gate = cluster_gate(x->cluster, i);
        if (gate == NULL || !gate_ready(gate)) continue;
        /* A partition bounds what it has in flight; so do we. */
        bool room = gate_last_index(gate) < gate_commit(gate) + 40;
        for (uint64_t k = below(x, 4); room && k > 0; k--) {
            if (cluster_propose(x->cluster, i, entry_bytes(x)) != 0) break;
        }
        if (below(x, 2) == 0) cluster_read(x->cluster, i);
    }
}

/* Let time pass under load; false once something is violated. */
static bool pass_time(struct chaos *x, uint64_t us, bool load)
{
    uint64_t end = world_now_us(x->world) + us;
    while (world_now_us(x->world) < end) {
        if (load) clients(x);
        world_run_for(x->world, x->gap_us);
        cluster_check(x->cluster);
        if (cluster_violation(x->cluster) != NULL) return false;
    }
    return true;
}

static void crash_one(struct chaos *x)
{
    unsigned up = 0;
    for (unsigned i = 0; i < x->options->nodes; i++)
        up += cluster_up(x->cluster, i);
    unsigned n = (unsigned)below(x, x->options->nodes);
    if (!cluster_up(x->cluster, n) || up <= 1) return;
    cluster_crash(x->cluster, n, below(x, 2) == 0 ? SIM_KILL : SIM_POWER);
    x->down_until_us[n] = world_now_us(x->world) + below(x, 3000) * MS;
}

/* The lights go out: all nodes at once. */
static void crash_all(struct chaos *x)
{
    for (unsigned i = 0; i < x->options->nodes; i++) {
        if (!cluster_up(x->cluster, i)) continue;
        cluster_crash(x->cluster, i, SIM_POWER);
        x->down_until_us[i] = world_now_us(x->world) + below(x, 500) * MS;
    }
}

static void partition(struct chaos *x)
{
    unsigned nodes = x->options->nodes;
    uint64_t side = below(x, UINT64_C(1) << nodes);
    for (unsigned p = 0; p < nodes; p++) {
        for (unsigned q = 0; q < nodes; q++) {
            if (p == q) continue;
            bool apart = (side >> p & 1) != (side >> q & 1);
            bool cut = apart || below(x, 12) == 0;
            enum cluster_cut how = below(x, 2) == 0 ? CLUSTER_CUT : CLUSTER_UNPLUGGED;
            cluster_cut(x->cluster, p, q, cut ? how : CLUSTER_WHOLE);
        }
    }
}

static void transfer(struct chaos *x)
{
    int leader = cluster_leader(x->cluster);
    if (leader < 0) return;
    /* Refused while another one is under way, or nobody is there to take it. */
    int rv = gate_transfer(cluster_gate(x->cluster, (unsigned)leader), 0);
    CHECK(rv == 0 || rv == ERR_BUSY || rv == ERR_NOT_FOUND);
}

/* One change that keeps two voters at least, and never touches the leader itself. */
static void change_members(struct chaos *x)
{
    unsigned leader = (unsigned)below(x, x->options->nodes);
    struct gate *gate = cluster_gate(x->cluster, leader); /* Ready or not (rule 14). */
    if (gate == NULL || gate_state(gate) != GATE_LEADER) return;
    struct gate_member members[GATE_MEMBERS_MAX];
    size_t count = gate_members(gate, members), voters = 0;
    uint64_t id = 257 + below(x, x->options->nodes), dice = below(x, 3);
    int role = -1;
    for (size_t i = 0; i < count; i++) {
        voters += members[i].role == GATE_VOTER;
        if (members[i].id == id) role = (int)members[i].role;
    }
    if (role == GATE_VOTER && (voters <= 2 || id == 257 + leader)) return;
    int rv;
    if (role < 0)
        rv = gate_member_add(gate, id);
    else if (dice == 0)
        rv = gate_member_remove(gate, id);
    else if (role == GATE_SPARE)
        rv = gate_member_assign(gate, id, GATE_STANDBY);
    else if (role == GATE_STANDBY)
        rv = gate_member_assign(gate, id, GATE_VOTER);
    else
        rv = gate_member_assign(gate, id, dice == 1 ? GATE_STANDBY : GATE_SPARE);
    CHECK(rv == 0 || rv == ERR_BUSY);
}

/* A node or its disk stands still for a while. */
static void stop_for_a_while(struct chaos *x, unsigned n)
{
    if (!cluster_up(x->cluster, n)) return;
    struct sim_node *node = cluster_node(x->cluster, n);
    uint64_t us = below(x, 3000) * MS;
    if (below(x, 2) == 0) {
        sim_node_pause(node, us);
    } else {
        disk_stall(sim_node_disk(node), us);
    }
}

static void fault(struct chaos *x)
{
    uint64_t dice = below(x, 100);
    unsigned n = (unsigned)below(x, x->options->nodes);
    if (dice < 26) {
        crash_one(x);
    } else if (dice < 28) {
        crash_all(x);
    } else if (dice < 54) {
        partition(x);
    } else if (dice < 68) {
        cluster_heal(x->cluster);
    } else if (dice < 82) {
        transfer(x);
    } else if (dice < 91) {
        stop_for_a_while(x, n);
    } else {
        cluster_slow_disk(x->cluster, n, below(x, 2) == 0 ? 0 : below(x, 60) * MS);
    }
}

static void restart_some(struct chaos *x, bool all)
{
    for (unsigned i = 0; i < x->options->nodes; i++) {
        if (cluster_up(x->cluster, i)) continue;
        if (all || (world_now_us(x->world) >= x->down_until_us[i] && below(x, 2) == 0)) {
            cluster_start(x->cluster, i);
        }
    }
    world_run_for(x->world, 1);
}

static bool is_quiet(void *arg)
{
    struct chaos *x = arg;
    int leader = cluster_leader(x->cluster);
    return leader >= 0 && !gate_changing(cluster_gate(x->cluster, (unsigned)leader));
}

/* Everyone who gets the log has applied all of it, and the same. */
static bool agrees(void *arg)
{
    struct chaos *x = arg;
    int leader = cluster_leader(x->cluster);
    if (leader < 0) return false;
    unsigned l = (unsigned)leader;
    struct gate *gate = cluster_gate(x->cluster, l);
    struct gate_member members[GATE_MEMBERS_MAX];
    size_t count = gate_members(gate, members);
    if (cluster_applied(x->cluster, l) < gate_last_index(gate)) return false;
    for (size_t i = 0; i < count; i++) {
        if (members[i].role == GATE_SPARE) continue;
        unsigned n = (unsigned)(members[i].id - 257);
        if (cluster_applied(x->cluster, n) != cluster_applied(x->cluster, l)) return false;
        if (cluster_chain(x->cluster, n) != cluster_chain(x->cluster, l)) return false;
    }
    return cluster_applied(x->cluster, l) >= cluster_acked_index(x->cluster);
}

static const char *final_check(struct chaos *x)
{
    cluster_heal(x->cluster);
    for (unsigned i = 0; i < x->options->nodes; i++)
        cluster_slow_disk(x->cluster, i, 0);
    restart_some(x, true);
    if (cluster_await_leader(x->cluster, LEADER_MS_MAX * MS) < 0) {
        return "no leader after healing";
    }
    if (!world_run_until(x->world, is_quiet, x, CHANGE_MS_MAX * MS)) {
        return "a change never ends after healing";
    }
    for (unsigned i = 0; i < 20 && cluster_violation(x->cluster) == NULL; i++) {
        int leader = cluster_await_leader(x->cluster, LEADER_MS_MAX * MS);
        if (leader < 0) return "no leader stays after healing";
        if (cluster_propose(x->cluster, (unsigned)leader, 100) == 0) break;
        (void)pass_time(x, 100 * MS, false);
    }
    if (!world_run_until(x->world, agrees, x, AGREE_MS_MAX * MS)) {
        return "members do not agree after healing";
    }
    return NULL;
}

static const char *run(struct chaos *x)
{
    struct chaos_options const *o = x->options;
    restart_some(x, true);
    for (unsigned step = 0; step < o->steps; step++) {
        if (!pass_time(x, below(x, 1000) * MS, true)) break;
        if (o->members) {
            for (uint64_t k = below(x, 12); k > 0; k--)
                change_members(x);
        }
        fault(x);
        restart_some(x, false);
    }
    const char *bad = cluster_violation(x->cluster);
    if (bad == NULL) bad = final_check(x);
    if (cluster_violation(x->cluster) != NULL) bad = cluster_violation(x->cluster);
    return bad;
}

void chaos_run(uint64_t seed, const struct chaos_options *options, struct chaos_result *out)
{
    struct chaos x = {.options = options, .world = world_create(seed)};
    x.gap_us = 1 * MS + below(&x, 20 * MS);
    struct cluster_config config = {
        .nodes = options->nodes,
        .voters = options->members ? 3 : options->nodes,
        .rules = options->rules,
        .log_bytes = 4000 + below(&x, 60000),
        .checkpoint_entries = 20 + (unsigned)below(&x, 200),
        .delay_us = 100 + below(&x, 3000),
        .jitter_us = below(&x, 2000),
        .loss_ppm = below(&x, 3) == 0 ? (uint32_t)below(&x, 20000) : 0,
        .install_fail_percent = (unsigned)below(&x, 30),
    };
    x.cluster = cluster_create(x.world, &config);
    const char *bad = run(&x);
    *out = (struct chaos_result){.counts = cluster_counts(x.cluster), .hash = world_hash(x.world)};
    if (bad != NULL) {
        (void)snprintf(out->violation, sizeof(out->violation), "%s", bad);
        if (options->verbose) cluster_print(x.cluster);
    }
    cluster_destroy(x.cluster);
    world_destroy(x.world);
}
