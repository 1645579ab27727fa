/* raft/gate.h -- one raft group on this node: libraft, and the fence around it.
 *
 * Nothing but gate*.c knows libraft. Every message in and out, every tick, every completion and
 * every call passes here, under the rules of raft/gate_rules.h. The gate keeps the group's log in
 * the node's write-ahead log; what has been applied, and the manifests that replace the log's
 * beginning (raft calls them snapshots), are its host's.
 *
 * Owns:   the libraft instance and its log in memory. Borrows: env, WAL, host; they outlive it.
 * Thread: the loop's.
 * Calls:  committed, send, room, snapshot_get and install_commit run in the middle of things: they
 *         only queue and call nothing of this gate. changed and install run last; they call
 *         nothing but accessors. All may run during gate_open (*out is set before) and every
 *         other call that takes a gate which is not const, but gate_close.
 * Errors: ERR_NOT_LEADER: another node leads. ERR_BUSY: not now (an election or transfer is being
 *         finished, a configuration change is under way): nothing was done.
 * Bounds: GATE_HELD_BYTES_MAX of messages that wait, each way; what comes beyond is dropped, as a
 *         network may. The log in memory: gate_log_bytes, the host's to bound by checkpoints.
 * Units:  raft ids name a node and its incarnation: incarnation * 256 + node. Never 0.
 * Format: messages and configurations, version 1, in raft/gate_msg.c. */
#ifndef RAFT_GATE_H_
#define RAFT_GATE_H_

#include "log/env.h"
#include "log/limits.h"
#include "log/wal.h"
#include "raft/gate_rules.h"

struct gate; /* Opaque. Made by gate_open, ended by gate_close. */

enum {
    GATE_MEMBERS_MAX = 2 * NODES_MAX,      /* Nodes, and the incarnations that replace them. */
    GATE_HELD_BYTES_MAX = 8 * 1024 * 1024, /* Messages that wait for the disk, each way. */
    GATE_CHUNK_BYTES = 256 * 1024,         /* Entries in one message, beyond the first entry. */
    GATE_SNAPSHOT_DATA_MAX = 1024 * 1024,  /* A manifest's facts in an install. */
    GATE_CONFIGURATION_MAX = 1024,         /* An encoded configuration. */
};

enum gate_state { GATE_FOLLOWER, GATE_CANDIDATE, GATE_LEADER };

/* What an entry is; also wal_record.type. */
enum gate_entry { GATE_NORMAL = 1, GATE_BARRIER = 2, GATE_CHANGE = 3 };

enum gate_role {
    GATE_STANDBY = 0, /* Gets the log, has no vote. */
    GATE_VOTER = 1,
    GATE_SPARE = 2, /* Gets nothing. */
};

struct gate_member {
    uint64_t id; /* A raft id. */
    enum gate_role role;
};

/* A manifest as raft sees it: it stands for all entries up to index. */
struct gate_snapshot {
    index_t index;
    term_t term;                 /* Of the entry at index. */
    struct slice configuration;  /* As of index: the data of the last GATE_CHANGE up to index. */
    index_t configuration_index; /* That entry's. */
    struct slice data;           /* The host's; at most GATE_SNAPSHOT_DATA_MAX. */
};

struct gate_host {
    /* Pass one message to the gate of raft id `to`. message: borrowed until return. May drop it
     * silently; delivers in order, at most once. */
    void (*send)(void *arg, uint64_t to, struct slice message);
    /* Bytes that send would take for `to` by now; 0 while there is no link. Asked before a message
     * with entries or a snapshot is encoded; a message that does not fit is not made. */
    size_t (*room)(void *arg, uint64_t to);
    /* The entry at index is committed: called once for each index, without a gap, from the
     * snapshot's index + 1 (or 1) on. data: empty for GATE_BARRIER, an encoded configuration for
     * GATE_CHANGE; borrowed until gate_checkpointed reaches index, install_commit or gate_close. */
    void (*committed)(void *arg, index_t index, term_t term, enum gate_entry type,
                      struct slice data);
    /* State, term, leader, readiness, members, transfer or change differ from the last call. */
    void (*changed)(void *arg);
    /* A peer needs a snapshot of index at_least or later: make a checkpoint and call
     * gate_snapshot_ready. Not called again before that. */
    void (*snapshot_get)(void *arg, index_t at_least);
    /* `from` leads and says that we need this: fetch what we lack up to it, then call
     * gate_install_ready. All borrowed until return. Called again before that, or after it when
     * there was no use for what came: this one counts, what was fetched so far is of use still.
     * Never between install_commit and gate_install_done. */
    void (*install)(void *arg, uint64_t from, const struct gate_snapshot *snapshot);
    /* The install that was made ready: replace all that is applied by it, durably, and call
     * gate_install_done. WAL entries of this partition before wal_next() are void from there on;
     * committed entries that are still queued are void at once. All borrowed until return. */
    void (*install_commit)(void *arg, const struct gate_snapshot *snapshot);
    void *arg;
};

struct gate_config {
    struct env *env;
    struct wal *wal;
    part_t part;
    uint64_t self;         /* Our raft id. */
    unsigned election_ms;  /* 300 in the product. Peers share both numbers. */
    unsigned heartbeat_ms; /* 50: gate_tick is called this often. */
    size_t log_bytes;      /* Budget of the log in memory: what is kept for slow peers. */
    uint32_t rules;        /* GATE_RULES_ALL; tests alone switch rules off. */
    struct gate_host host;
};

struct gate_boot_entry {
    term_t term;
    enum gate_entry type;
    struct slice data;
};

/* What recovery found. All borrowed until gate_open returns. */
struct gate_boot {
    term_t term;                           /* Of the last WAL_VOTE; 0 when there was none. */
    uint64_t vote;                         /* Likewise. */
    struct gate_snapshot snapshot;         /* index 0: none. */
    const struct gate_boot_entry *entries; /* snapshot.index + 1 and on, without a gap. */
    size_t entries_count;
    /* Members of a group that is made now; 0 when there is any state, and for nodes that join
     * (their first entries come from the leader). */
    const struct gate_member *bootstrap;
    size_t bootstrap_count;
};

/* Start this node's part of the group. All of boot is durable but for what bootstrap adds.
 * ERR_CORRUPT: boot contradicts itself. ERR_INVAL: bad bootstrap members. config: copied. */
MUST_CHECK int gate_open(const struct gate_config *config, const struct gate_boot *boot,
                         struct gate **out);

/* Free it, at any moment, also after a simulated crash: no callback runs, nothing is written. */
void gate_close(struct gate *gate);

/* Every heartbeat_ms, all partitions in one turn. */
void gate_tick(struct gate *gate);

/* A message that a peer's gate sent. Malformed, or for another raft id: dropped and counted.
 * message: borrowed until return. */
void gate_receive(struct gate *gate, struct slice message);

/* The WAL's batches up to durable are on disk. */
void gate_durable(struct gate *gate, batch_t durable);

/* Append one GATE_NORMAL entry of 1 .. ENTRY_BYTES_MAX bytes, copied; *index is its place if it is
 * ever committed: it is ours exactly if committed() reports that index with the term that
 * gate_term() returns now. ERR_NOT_LEADER, ERR_BUSY (not ready yet, or handing over). */
MUST_CHECK int gate_propose(struct gate *gate, struct slice data, index_t *index);

/* Hand leadership to a voter, to 0: to whoever is most up to date. Proposals are refused until
 * gate_transferring() is false; gate_leader() tells how it went. ERR_NOT_LEADER, ERR_BUSY,
 * ERR_NOT_FOUND: no such voter. */
MUST_CHECK int gate_transfer(struct gate *gate, uint64_t to);

/* Membership: one change at a time, by a ready leader. A new member is a GATE_SPARE; make it
 * GATE_STANDBY, let it catch up, then GATE_VOTER. Over when gate_changing() is false, and
 * gate_members() tells how it went. ERR_NOT_LEADER, ERR_BUSY; ERR_INVAL: it would take the
 * leader's own vote (transfer first), or role and id do not fit the members;
 * ERR_EXISTS, ERR_NOT_FOUND: the id, or the role it has already. */
MUST_CHECK int gate_member_add(struct gate *gate, uint64_t id);
MUST_CHECK int gate_member_assign(struct gate *gate, uint64_t id, enum gate_role role);
MUST_CHECK int gate_member_remove(struct gate *gate, uint64_t id);

/* A manifest with this index is durable: WAL and memory need the entries up to it no longer. */
void gate_checkpointed(struct gate *gate, index_t index);

/* The answer to snapshot_get; copied. NULL: not possible now, it is asked for again. An index
 * below the one asked for counts as NULL. */
void gate_snapshot_ready(struct gate *gate, const struct gate_snapshot *snapshot);

/* The answers to install and install_commit. ok false: could not be fetched, the leader will try
 * again. There is no such answer to install_commit: a failure there stops the process. */
void gate_install_ready(struct gate *gate, bool ok);
void gate_install_done(struct gate *gate);

/* What libraft believes now. */
enum gate_state gate_state(const struct gate *gate);
term_t gate_term(const struct gate *gate);
uint64_t gate_vote(const struct gate *gate);   /* Raft id voted for in this term, or 0. */
uint64_t gate_leader(const struct gate *gate); /* Raft id, our own included; 0: unknown. */
bool gate_ready(const struct gate *gate);      /* Leads, and an entry of this term is committed. */
bool gate_settled(const struct gate *gate);    /* Term and vote are durable: promises may go out. */
index_t gate_commit(const struct gate *gate);
index_t gate_last_index(const struct gate *gate);
size_t gate_log_bytes(const struct gate *gate); /* Entries in memory. */
bool gate_transferring(const struct gate *gate);
bool gate_changing(const struct gate *gate);
bool gate_installing(const struct gate *gate); /* Between install and gate_install_done. */
/* True when nothing is in flight or held: closing now loses nothing that disk time would save. */
bool gate_idle(const struct gate *gate);
/* The members, at most GATE_MEMBERS_MAX; how many. The last configuration, committed or not. */
size_t gate_members(const struct gate *gate, struct gate_member out[GATE_MEMBERS_MAX]);
/* How far the leader knows member id to hold its log; 0 when unknown or not leading. */
index_t gate_match(const struct gate *gate, uint64_t id);

struct gate_stats {
    uint64_t received_count, sent_count;
    uint64_t refused_count;  /* Malformed, misdirected or contradicting messages. */
    uint64_t dropped_count;  /* For want of room. */
    uint64_t held_count;     /* Messages that had to wait, both ways. */
    uint64_t installs_count; /* Snapshots sent. */
};
void gate_stats(const struct gate *gate, struct gate_stats *out);

/* Invariants; for tests, after every turn. */
void gate_check(const struct gate *gate);

/* Members of an encoded configuration; *count of them. ERR_CORRUPT: not one. */
MUST_CHECK int gate_members_decode(struct slice configuration,
                                   struct gate_member out[GATE_MEMBERS_MAX], size_t *count);

#endif /* RAFT_GATE_H_ */
