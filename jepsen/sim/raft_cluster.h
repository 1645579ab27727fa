/* jepsen/sim/raft_cluster.h -- one raft group on simulated nodes: real gate, real libraft, real
 * write-ahead log, over simulated disks, with a state machine that is a chain of hashes.
 *
 * Each replica applies committed entries in order, writes manifests, makes and installs snapshots
 * and confirms reads, as a partition does. What must never happen is watched all the time: two
 * leaders in a term, two entries at one index, an acknowledged entry that is gone, a read that
 * misses an acknowledged entry. The first violation is kept as text.
 *
 * Owns:   its replicas and what is between them. Borrows: the world, in which it makes its nodes.
 * Thread: one. Units: virtual us. Nodes are numbered from 0; raft ids are 257 + number.
 * Messages of the gates pass over links of our own, which delay, cut and lose, in order. */
#ifndef JEPSEN_SIM_RAFT_CLUSTER_H_
#define JEPSEN_SIM_RAFT_CLUSTER_H_

#include "jepsen/sim/world.h"
#include "raft/gate.h"

enum { CLUSTER_NODES_MAX = 7 };

struct cluster_config {
    unsigned nodes, voters;       /* Nodes 0 .. voters - 1 begin as the members; others may join. */
    uint32_t rules;               /* Of the gates. */
    size_t log_bytes;             /* Likewise. */
    unsigned checkpoint_entries;  /* A manifest after so many entries. */
    uint64_t delay_us, jitter_us; /* Of each message. */
    uint32_t loss_ppm;            /* Of a million messages so many vanish. */
    unsigned install_fail_percent; /* Fetches that come to nothing. */
};

struct cluster; /* Opaque. Made by cluster_create, freed by cluster_destroy. */

/* All nodes are down at first. */
struct cluster *cluster_create(struct world *world, const struct cluster_config *config);
void cluster_destroy(struct cluster *c); /* Before its world. */

void cluster_start(struct cluster *c, unsigned n); /* Boots in an event of its own. */
void cluster_crash(struct cluster *c, unsigned n, enum sim_crash how);
bool cluster_up(const struct cluster *c, unsigned n);
/* No messages pass from one to the other while cut; what is under way is lost. */
enum cluster_cut {
    CLUSTER_WHOLE,
    CLUSTER_CUT,       /* The sender has not noticed. */
    CLUSTER_UNPLUGGED, /* It has: gate_host.room says 0. */
};
void cluster_cut(struct cluster *c, unsigned from, unsigned to, enum cluster_cut cut);
void cluster_part(struct cluster *c, unsigned a, unsigned b, enum cluster_cut cut); /* Both ways. */
/* Both ways, from and to all others. */
void cluster_isolate(struct cluster *c, unsigned n, enum cluster_cut cut);
void cluster_heal(struct cluster *c);
/* Its clock stands still while it follows: it never stands for election. */
void cluster_sleep(struct cluster *c, unsigned n, bool sleep);
/* Its gate learns that much later what is durable; 0: at once. */
void cluster_slow_disk(struct cluster *c, unsigned n, uint64_t us);
/* Look at each message of a gate before it is sent; false drops it. */
void cluster_watch(struct cluster *c,
                   bool (*pass)(void *arg, unsigned from, unsigned to, struct slice message),
                   void *arg);

struct sim_node *cluster_node(const struct cluster *c, unsigned n);
struct gate *cluster_gate(const struct cluster *c, unsigned n); /* NULL while it is down. */
/* Propose one entry to node n; ERR_* as gate_propose, ERR_CLOSED when it is down. */
MUST_CHECK int cluster_propose(struct cluster *c, unsigned n, size_t bytes);
/* Begin a linearizable read at node n, if it leads. */
void cluster_read(struct cluster *c, unsigned n);
/* The ready leader of the highest term, or -1. */
int cluster_leader(const struct cluster *c);
/* Run until there is one, for at most us; as cluster_leader. */
int cluster_await_leader(struct cluster *c, uint64_t us);

index_t cluster_applied(const struct cluster *c, unsigned n);
index_t cluster_manifest(const struct cluster *c, unsigned n);
/* What was applied so far: equal histories, equal numbers. */
uint64_t cluster_chain(const struct cluster *c, unsigned n);
index_t cluster_acked_index(const struct cluster *c); /* The highest acknowledged entry. */

struct cluster_counts {
    uint64_t proposed, acked, reads, reads_lost, leaders, installs, manifests, boots;
};
struct cluster_counts cluster_counts(const struct cluster *c); /* Since it was made. */

/* The first thing that must not happen and did; NULL: none. */
const char *cluster_violation(const struct cluster *c);
/* Call gate_check on all gates that are up. */
void cluster_check(const struct cluster *c);
/* One line per node, for people who look for a bug. */
void cluster_print(const struct cluster *c);

#endif /* JEPSEN_SIM_RAFT_CLUSTER_H_ */
