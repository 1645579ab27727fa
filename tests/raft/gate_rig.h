/* tests/raft/gate_rig.h -- a simulated group whose elections a test decides.
 *
 * All nodes but node 0 sleep: they never stand for election until rig_elect wakes one. Links take
 * 2 ms, disks what the world's disks take. Owns: world and cluster. Thread: one. */
#ifndef TESTS_RAFT_GATE_RIG_H_
#define TESTS_RAFT_GATE_RIG_H_

#include "jepsen/sim/raft_cluster.h"

enum { MS = 1000 };

struct rig {
    struct world *world;
    struct cluster *c;
    unsigned nodes;
};

struct rig_options {
    unsigned nodes, voters;
    uint32_t rules;
    size_t log_bytes;            /* 0: 4 MiB. */
    unsigned checkpoint_entries; /* 0: never. */
};

/* Make the group; node 0 leads and is ready. */
void rig_open(struct rig *rig, struct rig_options options);
void rig_close(struct rig *rig);

void rig_run(struct rig *rig, uint64_t ms);
/* Only node n may stand for election: run until it leads, for at most 10 s. */
bool rig_elect(struct rig *rig, unsigned n);
/* As rig_elect, and until an entry of its own term is committed. */
bool rig_elect_ready(struct rig *rig, unsigned n);
/* Stop and start, asleep: it forgets its leader and what was not durable. */
void rig_restart(struct rig *rig, unsigned n);
void rig_stop(struct rig *rig, unsigned n); /* kill -9. */
void rig_start(struct rig *rig, unsigned n);
/* Propose count entries, a millisecond apart; how many were taken. */
unsigned rig_propose(struct rig *rig, unsigned n, unsigned count, size_t bytes);
/* Run until node n has applied index, for at most ms. */
bool rig_await_applied(struct rig *rig, unsigned n, index_t index, uint64_t ms);
/* Let a change of node n's go through; false after 10 s. */
bool rig_change(struct rig *rig, unsigned n, uint64_t id, enum gate_role role);

/* Raft id of node n. */
static inline uint64_t rig_id(unsigned n)
{
    return 257 + n;
}

/* Run scenario(rules) in a process of its own: true when it dies (CHECK, signal, sanitizer). */
bool rig_dies(void (*scenario)(uint32_t rules), uint32_t rules);

/* All rules, and all but one. */
#define ALL_RULES ((uint32_t)GATE_RULES_ALL)
#define ALL_BUT(rule) (ALL_RULES & ~(uint32_t)(rule))

#endif /* TESTS_RAFT_GATE_RIG_H_ */
