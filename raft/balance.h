/* raft/balance.h -- spreads leaderships over the nodes: a leader writes and answers for its
 * partition, so a node that leads all of them does the work of the whole cluster.
 *
 * Partition p belongs with the (p mod n)th node of the map. A node that leads another's partition,
 * for BALANCE_CALM_MS by now, hands it over when that node is heard, has room on its disk and holds
 * the whole log but the last few entries; one partition every BALANCE_EVERY_MS. What is proposed
 * stays: libraft lets the target catch up first, and clients hear who leads.
 * Thread: the loop's; called once a tick. */
#ifndef RAFT_BALANCE_H_
#define RAFT_BALANCE_H_

#include "log/base.h"
#include "log/limits.h"

struct node;

enum {
    BALANCE_EVERY_MS = 500, /* Each moves some clients: not all at once. */
    BALANCE_CALM_MS = 3000, /* Ten election timeouts: it is no flapping link. */
    BALANCE_AGAIN_MS =
        15000,           /* Between two tries of one partition: a failed one pauses its writes. */
    BALANCE_LAG_MAX = 8, /* Entries: what it catches up with in a round trip. */
};

struct balance {
    uint64_t next_ms;                  /* Private. */
    unsigned cursor;                   /* Private: the partition looked at next. */
    uint64_t again_ms[PARTITIONS_MAX]; /* Private: no try before. */
};

/* Called at every tick of node's; hands over at most one leadership, when it is time. */
void balance_tick(struct node *node);

#endif /* RAFT_BALANCE_H_ */
