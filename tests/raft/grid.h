/* tests/raft/grid.h -- whole nodes (raft/node.h) in one simulated world, and one client of them.
 *
 * Real gate, libraft, log, store, links and client library, over simulated disks and links, in
 * virtual time, from a seed. The cluster is formed through the client when the grid is made.
 *
 * Owns: all of it. Thread: one. Errors: what cannot be done aborts (CHECK). Units: virtual us. */
#ifndef TESTS_RAFT_GRID_H_
#define TESTS_RAFT_GRID_H_

#include "jepsen/sim/net.h"
#include "raft/client.h"
#include "raft/node.h"

enum { GRID_PARTS = 4, GRID_NODES_MAX = 5, GRID_CLIENT_PORT = 7000, GRID_PEER_PORT = 7100 };

struct grid_node {
    struct grid *grid;
    unsigned number; /* From 1. */
    char name[8];
    struct sim_node *sim;
    struct node *node; /* NULL while it is down. */
    struct diag diag;
    unsigned boots_count;
    char why[512]; /* Why it did not start; "": it did. */
};

struct grid {
    struct world *world;
    unsigned nodes_count;
    size_t memory_bytes;
    struct grid_node nodes[GRID_NODES_MAX];
    struct sim_node *client_sim;
    struct env *env; /* The client's. */
    struct client *client;
    bool loud; /* Nodes' lines go to stderr. */
};

/* A formed cluster whose partitions all have a leader. memory_bytes: small ones make checkpoints
 * and snapshots frequent. GRID_LOUD in the environment: nodes' lines go to stderr. */
void grid_set_up(struct grid *grid, uint64_t seed, unsigned nodes_count, size_t memory_bytes);
void grid_tear_down(struct grid *grid);

void grid_crash(struct grid *grid, unsigned node, enum sim_crash how); /* node: from 0. */
void grid_start(struct grid *grid, unsigned node); /* Also again, when it refused to start. */

/* True when every node is up, every partition has one leader that leads, and all replicas of it
 * applied the same index. */
bool grid_settled(struct grid *grid);
/* All replicas that applied the same index have the same history hash. Aborts otherwise. */
void grid_check_history(struct grid *grid);
/* Which node (from 0) leads a partition; -1: none does. */
int grid_leader(struct grid *grid, part_t part);
struct part *grid_part(struct grid *grid, unsigned node, part_t part);

#endif /* TESTS_RAFT_GRID_H_ */
