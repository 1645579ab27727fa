/* tests/raft/served.h -- three simulated nodes that serve clients over fake partitions.
 *
 * Each node runs the real serve over tests/raft/fake_part.h in a world of virtual time, so that
 * crashes, cuts, pauses and changes of leader can be put anywhere, from a seed.
 *
 * Owns:   its world, fake, nodes. Thread: one. Errors: what cannot be aborts the test. */
#ifndef TESTS_RAFT_SERVED_H_
#define TESTS_RAFT_SERVED_H_

#include "jepsen/sim/net.h"
#include "raft/client.h"
#include "raft/serve.h"
#include "tests/raft/fake_part.h"

enum { SERVED_NODES = 3, SERVED_PARTS = 4, SERVED_PORT = 7001 };

struct served_node {
    struct served *served;
    unsigned number;
    struct sim_node *sim;
    struct serve *serve; /* NULL while it is down. */
    bool formed;         /* It joins at boot. */
    char name[16];
};
struct served {
    struct world *world;
    struct fake *fake;
    struct served_node nodes[SERVED_NODES];
    struct sim_node *sim; /* Where the client under test lives. */
    struct env *env;      /* Of it. */
    struct client *client;
    struct env_address addresses[SERVED_NODES];
    struct wire_map map;
};

/* Nodes up and formed, node 1 + p % 3 leads partition p, a client on its way. */
void served_set_up(struct served *served, uint64_t seed);
/* Nodes are up but belong to no cluster. */
void served_set_up_unformed(struct served *served, uint64_t seed);
void served_join(struct served *served); /* All nodes join. */
void served_tear_down(struct served *served);
void served_set_true(void *arg); /* arg: a bool; for callbacks that say that something ended. */

void served_crash(struct served *served, unsigned node); /* And nobody leads what it led. */
void served_start(struct served *served, unsigned node);
/* Cut or heal the client's link to node, both ways. */
void served_cut(struct served *served, unsigned node, bool cut);

#endif /* TESTS_RAFT_SERVED_H_ */
