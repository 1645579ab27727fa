/* tests/raft/fake_part.h -- a cluster's partitions without raft: one log, replicas that obey it.
 *
 * It stands in for raft/part.h in tests of what lies above it: client library, serve and tails. The
 * committed entries of a partition are in one place; each node's replica has a real store, applies
 * them, and leads when the test says so. The test chooses what goes wrong: by odds from the env's
 * chance.
 *
 * Owns:   everything it makes. Thread: one. Errors: what cannot be aborts the test. */
#ifndef TESTS_RAFT_FAKE_PART_H_
#define TESTS_RAFT_FAKE_PART_H_

#include "raft/part.h"

enum { FAKE_NODES_MAX = 3, FAKE_PARTS_MAX = 4 };

struct fake; /* Opaque. */

/* Of a thousand transactions that a leader takes, so many ... */
struct fake_odds {
    unsigned busy;         /* are answered ERR_BUSY, and not done; */
    unsigned unknown_done; /* are done, and answered ERR_UNKNOWN; */
    unsigned unknown_lost; /* are not done, and answered ERR_UNKNOWN. */
};

/* What the test may ask of the truth. */
struct fake_record {
    char stream[32], producer[32], payload[32];
    uint64_t n;
    seq_t seq;
};

struct fake *fake_create(unsigned nodes_count, unsigned parts_count);
void fake_destroy(struct fake *fake);
/* The replica of partition p on node (from 1), which lives in env. Made at its first use. */
struct part *fake_part(struct fake *fake, struct env *env, unsigned node, part_t p);
void fake_odds(struct fake *fake, struct fake_odds odds);
/* Every entry takes so long to commit; 0: until the end of the turn. */
void fake_commit_us(struct fake *fake, uint64_t us);

/* node leads p from now on (0: nobody). What the old leader had not committed yet is committed up
 * to some point by chance, and answered ERR_UNKNOWN. */
void fake_lead(struct fake *fake, part_t p, unsigned node);
unsigned fake_leader(const struct fake *fake, part_t p);
/* The node's process died: what its replicas held is never answered; the same chance decides what
 * of it is committed. They may be made anew. */
void fake_node_died(struct fake *fake, unsigned node);

unsigned fake_records_count(const struct fake *fake);
const struct fake_record *fake_record(const struct fake *fake, unsigned i);
/* How often a record of this producer and n is in the truth. */
unsigned fake_times(const struct fake *fake, const char *stream, const char *producer, uint64_t n);
unsigned fake_gaps(const struct fake *fake); /* Transactions that met ERR_GAP. */
/* True when each producer's records are in the order of n, without a hole. */
bool fake_in_order(const struct fake *fake);

#endif /* TESTS_RAFT_FAKE_PART_H_ */
