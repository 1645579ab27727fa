/* raft/part.h -- one partition on this node: a raft group (raft/gate.h) over a store.
 *
 * Transactions that arrive in one turn become one entry; entries that libraft commits queue, get
 * their rows fetched, are applied in order; replies, reads and tails follow our own applied index.
 *
 * Owns:   its gate, its store, its queues. Borrows: env, WAL, links; all outlive it.
 * Thread: the loop's. No callback runs from inside the call that asked for it.
 * Errors: ERR_NO_LEADER, ERR_NOT_LEADER: nothing was done. ERR_BUSY: nothing was done, try again
 *         after after_ms. ERR_NO_SPACE: a majority's disks are full. ERR_UNKNOWN: leadership was
 *         lost while the outcome was open. ERR_DIVERGED: this replica stopped serving.
 * Bounds: PART_QUEUE_BYTES_MAX of transactions not yet proposed, then ERR_BUSY. */
#ifndef RAFT_PART_H_
#define RAFT_PART_H_

#include "log/store.h"

struct part;

enum part_role { PART_FOLLOWER, PART_CANDIDATE, PART_LEADER };

/* The caller's memory until done runs, which it does exactly once. */
struct part_txn {
    struct slice txn; /* Encoded (log/txn.h); borrowed until part_txn returns. */
    /* err 0: *outcome tells what became of it (rejected and duplicate ones too). Otherwise outcome
     * is NULL. after_ms: with ERR_BUSY, when to try again. */
    void (*done)(struct part_txn *req, int err, const struct outcome *outcome, uint32_t after_ms);
    struct part_txn *next; /* Private. */
};
void part_txn(struct part *part, struct part_txn *req);

/* A linearizable read: `query` is answered at a point after this call, confirmed by a majority. The
 * query's own done is part's; its answers are read in this done. Borrowed slices as in store.h. */
struct part_read {
    struct store_query query;
    void (*done)(struct part_read *req, int err);
    struct part_read *next; /* Private. */
    uint64_t round;         /* Private. */
};
void part_read(struct part *part, struct part_read *req);

/* Which of these streams changed after entry `heads.since`; `index` is the read point's applied
 * index, the next `since`. */
struct part_heads {
    struct store_heads heads;
    index_t index;
    void (*done)(struct part_heads *req, int err);
    struct part_heads *next; /* Private. */
    uint64_t round;          /* Private. */
};
void part_heads(struct part *part, struct part_heads *req);

/* Only wait until this node is confirmed as leader and has applied all that was committed before
 * the call: what a tail starts from. done(err). */
struct part_confirm {
    void (*done)(struct part_confirm *req, int err);
    struct part_confirm *next; /* Private. */
    uint64_t round;            /* Private. */
};
void part_confirm(struct part *part, struct part_confirm *req);

/* Who listens to everything this partition applies, and to its leadership. One per partition: the
 * node's tails (raft/tails.h). */
struct part_observer {
    applied_cb applied; /* While leader or not; borrowed until return. */
    /* Leadership as of now: true once this node leads and applied an entry of its own term; false
     * when it does no longer, or could not confirm it for one election timeout. */
    void (*leading)(void *arg, struct part *part, bool leading);
    void *arg;
};
void part_observe(struct part *part, const struct part_observer *observer);
/* For queries at this moment's applied state, without confirmation: tails and status. */
struct store *part_store(struct part *part);

part_t part_number(const struct part *part);
enum part_role part_role(const struct part *part);
bool part_leads(const struct part *part); /* Leader, with an applied entry of its own term. */
uint8_t part_leader_node(const struct part *part); /* Node number, or 0 when unknown. */
term_t part_term(const struct part *part);
index_t part_applied(const struct part *part);

#endif /* RAFT_PART_H_ */
