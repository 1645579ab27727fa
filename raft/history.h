/* raft/history.h -- do the replicas of one partition agree on what they applied?
 *
 * A store folds every applied transaction and its outcome into a running hash. Replicas tell each
 * other (index, hash) now and then; this keeps the hashes of our last indexes, compares what peers
 * tell, and gives a verdict. Hashes run on: who differs once differs for ever after.
 *
 * Thread: any, one at a time. Errors: none. */
#ifndef RAFT_HISTORY_H_
#define RAFT_HISTORY_H_

#include "log/base.h"
#include "log/limits.h"

enum { HISTORY_INDEXES = 256 }; /* How far apart replicas may be and still be compared at once. */

/* Embedded by its owner; all zeroes is an empty one. The fields are private. */
struct history {
    struct {
        index_t index; /* 0: empty. */
        uint64_t hash;
    } own[HISTORY_INDEXES];
    struct history_peer {
        uint64_t id;   /* Raft id; 0: free. */
        index_t index; /* What it told that we did not reach yet; 0: none. */
        uint64_t hash; /* Likewise. */
        bool compared; /* At least once. */
        bool differs;  /* At the last comparison. */
        index_t differs_at;
    } peers[2 * NODES_MAX];
};

/* We applied index, and have this hash now. Indexes only grow. */
void history_applied(struct history *h, index_t index, uint64_t hash);
/* Our state was replaced (an install): what was kept says nothing any more. */
void history_reset(struct history *h);
/* Raft id `from` has this hash at index. */
void history_heard(struct history *h, uint64_t from, index_t index, uint64_t hash);

/* True when so many of the voters (raft ids, our own among them) are known to differ from us that
 * no majority can agree with us: we are wrong, or nobody knows. *at: where that showed. */
MUST_CHECK bool history_diverged(const struct history *h, const uint64_t *voters, unsigned count,
                                 index_t *at);

#endif /* RAFT_HISTORY_H_ */
