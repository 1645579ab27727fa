/* jepsen/sim/raft_chaos.h -- one random run of a simulated raft group, all of it from a seed:
 * crashes, power cuts, pauses, cut and lossy links, slow and stalled disks, transfers, membership
 * changes, under writes and reads. Then all heals, and the group must lead, agree and have lost
 * nothing.
 *
 * Thread: one. The same seed and options give the same run. */
#ifndef JEPSEN_SIM_RAFT_CHAOS_H_
#define JEPSEN_SIM_RAFT_CHAOS_H_

#include "jepsen/sim/raft_cluster.h"

struct chaos_options {
    unsigned nodes; /* 3 or 5; with members: all that may take part. */
    bool members;   /* Membership changes; begins with 3 voters. */
    unsigned steps; /* Faults, each after up to a second. */
    uint32_t rules; /* GATE_RULES_ALL, or less to see a bug. */
    bool verbose;   /* Print the state when something is violated. */
};

struct chaos_result {
    char violation[256]; /* Empty: clean. */
    struct cluster_counts counts;
    uint64_t hash; /* world_hash at the end. */
};

/* Run one cluster from one seed until its faults are over and it had time to recover; *out says
 * what happened. options: borrowed until return. */
void chaos_run(uint64_t seed, const struct chaos_options *options, struct chaos_result *out);

#endif /* JEPSEN_SIM_RAFT_CHAOS_H_ */
