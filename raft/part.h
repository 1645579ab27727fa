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

#include "log/diag.h"
#include "log/store.h"
#include "raft/confirm.h"
#include "raft/gate.h"

struct part;

enum part_role { PART_FOLLOWER, PART_CANDIDATE, PART_LEADER };

/* The caller's memory until done runs, which it does exactly once. */
struct part_txn {
    struct slice txn; /* Encoded (log/txn.h); borrowed until part_txn returns. */
    /* err 0: *outcome tells what became of it (rejected and duplicate ones too). Otherwise outcome
     * is NULL. after_ms: with ERR_BUSY, when to try again. */
    void (*done)(struct part_txn *req, int err, const struct outcome *outcome, uint32_t after_ms);
    struct part_txn *next; /* Private. */
    int err;               /* Private. */
};
void part_txn(struct part *part, struct part_txn *req);

/* What reads have in common: private to part. */
struct part_wait {
    struct part *part;
    void (*go)(struct part_wait *wait, int err); /* err 0: it may be answered now. */
    int err;
    index_t index; /* Of ours, to be applied first. */
    struct part_wait *next;
};

/* A linearizable read: `query` is answered at a point after this call, confirmed by a majority. The
 * query's own done is part's; its answers are read in this done. Borrowed slices as in store.h. */
struct part_read {
    struct store_query query;
    void (*done)(struct part_read *req, int err);
    struct part_wait wait; /* Private. */
};
void part_read(struct part *part, struct part_read *req);

/* Which of these streams changed after entry `heads.since`; `index` is the read point's applied
 * index, the next `since`. */
struct part_heads {
    struct store_heads heads;
    index_t index;
    void (*done)(struct part_heads *req, int err);
    struct part_wait wait; /* Private. */
};
void part_heads(struct part *part, struct part_heads *req);

/* Which streams of the partition changed after entry `changed.since`. */
struct part_changed {
    struct store_changed changed;
    void (*done)(struct part_changed *req, int err);
    struct part_wait wait; /* Private. */
};
void part_changed(struct part *part, struct part_changed *req);

/* Only wait until this node is confirmed as leader and has applied all that was committed before
 * the call: what a tail starts from. done(err). */
struct part_confirm {
    void (*done)(struct part_confirm *req, int err);
    struct part_wait wait; /* Private. */
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

/* ---- for the node that carries it: raft/node.c and its helpers alone ---- */

/* What a partition needs of its node. */
struct part_host {
    /* Take one message to the same partition's gate of raft id `to`; may drop it. message: borrowed
     * until return. Called from inside libraft: it only appends to the link. */
    void (*send)(void *arg, part_t part, uint64_t to, struct slice message);
    size_t (*room)(void *arg, uint64_t to); /* Bytes that send takes now; 0: no link. */
    /* What raft id `id` (ourselves too) says of its clock and its disk; false: not heard of. */
    bool (*heard)(void *arg, uint64_t id, int64_t *wall_ms, bool *low);
    /* Leadership is to be confirmed: part_claim, then part_confirmed. */
    void (*ask)(void *arg, part_t part);
    void (*forget)(void *arg, part_t part); /* Leadership ended: no round is wanted. */
    /* Raft id `from` has a manifest of `index` or later: bring the rows between ours and that one
     * (store_install_begin and so on); then part_staged. Called again: with a later index; with
     * from 0: not any more. */
    void (*fetch)(void *arg, part_t part, uint64_t from, index_t index);
    /* Tell the other replicas what we applied. */
    void (*tell)(void *arg, part_t part, index_t index, uint64_t history);
    void *arg;
};

struct part_config {
    struct store_config store;
    uint64_t self;         /* Our raft id. */
    unsigned election_ms;  /* As in gate.h. */
    unsigned heartbeat_ms; /* part_tick is called this often. */
    size_t log_bytes;      /* The gate's budget for its log in memory. */
    struct diag *diag;     /* Borrowed. */
    struct part_host host;
};

/* Open the store; blocks. Then part_replayed for each record of the WAL that is this partition's,
 * then part_start. ERR_*: why says it in words; *out is untouched. */
MUST_CHECK int part_open(struct env *env, const struct part_config *config, struct part **out,
                         char *why, size_t why_bytes);
/* One record that recovery found. ERR_CORRUPT: it does not continue what came before. */
MUST_CHECK int part_replayed(struct part *part, const struct wal_record *record, batch_t batch);
/* Whether anything was found at all: a member of a formed cluster that has nothing lost its disk.
 */
bool part_blank(const struct part *part);
/* Take part in the group. members: of a group that is made now, only when blank; otherwise 0. */
MUST_CHECK int part_start(struct part *part, struct wal *wal, const struct gate_member *members,
                          size_t members_count);
/* From now on every request ends with ERR_CANCELED, open ones too, and observers hear no more. */
void part_end(struct part *part);
/* No request is open: after part_end, part_close may follow. */
bool part_idle(const struct part *part);
void part_close(struct part *part);   /* Waits for the store's work; blocks. */
void part_abandon(struct part *part); /* For the simulator's crash: frees memory alone. */

void part_tick(struct part *part); /* Every heartbeat_ms, all partitions in one turn. */
void part_receive(struct part *part, struct slice message); /* From a peer's send. Borrowed. */
void part_durable(struct part *part, batch_t durable);      /* The WAL says so. */
void part_heard(struct part *part, uint64_t from, index_t index, uint64_t history); /* A tell. */

/* For raft/confirm.h, as its host's calls of the same names. */
bool part_claim(struct part *part, struct confirm_claim *out);
void part_confirmed(struct part *part);
bool part_vouch(const struct part *part, term_t *term);

/* The rows that fetch asked for are here: install is taken, and stands for facts.index. NULL: they
 * could not be had, the leader will say it again. */
void part_staged(struct part *part, struct store_install *install, index_t index);

/* Write a checkpoint now; nothing happens when one is under way or an install. */
void part_checkpoint(struct part *part);
bool part_checkpointing(const struct part *part);
/* The node's write-ahead log is too long: what would make it longer is refused with ERR_BUSY, or
 * dropped, until it is called with false. */
void part_press(struct part *part, bool pressed);
/* Hand leadership to whoever is most up to date. False: it does not lead, or is not able to now. */
bool part_hand_over(struct part *part);
/* Hand leadership to the voter `to`. False: not led for calm_ms, `to` lacks more than lag_max
 * entries, or as above. */
bool part_hand_to(struct part *part, uint64_t to, uint64_t calm_ms, index_t lag_max);

struct part_stats {
    index_t commit, last;
    size_t log_bytes;                                /* Of the gate's log in memory. */
    size_t queued_bytes;                             /* Transactions not proposed yet. */
    size_t waiting_count;                            /* Reads not answered yet. */
    uint64_t txns_count, entries_count, reads_count; /* Applied; answered. */
    uint64_t busy_count;                             /* Refused for want of room. */
    uint64_t elections_count;                        /* Times this node came to lead. */
    uint64_t checkpoint_ms;                          /* When the last one ended; env's clock. */
    int checkpoint_err;                              /* How it ended. */
    int stopped; /* 0, or why this replica serves no more: ERR_DIVERGED, ERR_CORRUPT. */
};
void part_stats(const struct part *part, struct part_stats *out);
struct gate *part_gate(struct part *part); /* For status: accessors alone. */

enum {
    PART_QUEUE_BYTES_MAX = 4 * 1024 * 1024, /* 16 partitions: 64 MiB at worst. */
    PART_WAITING_MAX = 16384,               /* Reads that wait for a round or its index. */
    PART_LOG_FACTOR = 4, /* A log in memory of so many budgets takes no more: apply lags. */
    PART_SMALL_MESSAGE_BYTES = 400, /* Larger ones bring entries. */
    PART_BUSY_MS = 50,              /* What a refused caller is told to wait. */
};

#endif /* RAFT_PART_H_ */
