/* jepsen/sim/net.h -- the network between simulated nodes: connections that delay, stall, break.
 *
 * Bytes of one connection arrive in order, each chunk after its link's delay, now and then in two
 * pieces. A cut link holds what is under way, as TCP does with packets that are lost, and lets it
 * go some time after healing; a connect over it ends with ERR_TIMEOUT, as does one to a machine
 * without power. A lost chunk resets its connection on both sides. Connecting to a machine whose
 * process is dead, or to a port nobody listens on, ends with ERR_CONNECT.
 * A link is one way: from one node to another. Thread: one. Units: virtual us. */
#ifndef JEPSEN_SIM_NET_H_
#define JEPSEN_SIM_NET_H_

#include "jepsen/sim/world.h"

struct net_link {
    uint64_t delay_us;     /* Each chunk takes this long at least. */
    uint64_t jitter_us;    /* And up to this longer. */
    uint32_t loss_ppm;     /* Of a million chunks so many are lost, each with its connection. */
    uint32_t bytes_per_us; /* Speed; 0: without limit. */
    bool cut;              /* Nothing passes. */
};

/* The link as it is set now; a new link has 50 us, 50 us of jitter, no loss, 1000 bytes/us. */
struct net_link net_link(struct sim_node *from, struct sim_node *to);
void net_link_set(struct sim_node *from, struct sim_node *to, struct net_link link);

void net_cut(struct sim_node *from, struct sim_node *to); /* One way. */
void net_isolate(struct sim_node *node);                  /* Both ways, to all others. */
void net_heal(struct world *world);                       /* All cuts and losses end. */

#endif /* JEPSEN_SIM_NET_H_ */
