/* raft/part_impl.h -- the inside of a partition, shared by part*.c alone.
 *
 * part.c: life, leadership, the turn. part_propose.c: transactions until they are
 * proposed. part_apply.c: committed entries on their way into the store.
 * part_read.c: what waits for a confirmation. part_disk.c: checkpoints, snapshots, installs. */
#ifndef RAFT_PART_IMPL_H_
#define RAFT_PART_IMPL_H_

#include "log/entry.h"
#include "raft/history.h"
#include "raft/part.h"

enum {
    /* Entries proposed and not committed. With one, what arrives meanwhile makes the next entry
     * larger: fewer, larger entries cost less than many small ones in flight. */
    PART_UNCOMMITTED_MAX = 1,
    PART_UNAPPLIED_MAX = 8,   /* Own entries proposed and not applied: apply must keep up. */
    PART_FETCH_AHEAD_MAX = 8, /* Entries whose rows are pinned before their turn. */
    PART_TELL_MS = 1000,      /* How often history hashes are told while something changes. */
    PART_STEP_DOWN_MS = 2000, /* A stopped leader hands over for at most so long. */
};

/* Transactions that become, or became, one entry. */
struct part_batch {
    struct entry entry;     /* Gathers; empty once encoded. */
    struct buf encoded;     /* The entry's payload, from its first attempt to propose on. */
    struct part_txn *first; /* Who asked, in order. */
    struct part_txn **end;
    size_t bytes;  /* Of transactions. */
    index_t index; /* Once proposed. */
    term_t term;
    struct part_batch *next;
};

struct part_batches {
    struct part_batch *first;
    struct part_batch **end;
    unsigned count;
};

struct part_waits {
    struct part_wait *first;
    struct part_wait **end;
};

/* An install, in the order of its steps (part_disk.c). */
enum install_state {
    INSTALL_NONE,
    INSTALL_WANTED,     /* The gate asked for it. */
    INSTALL_FETCHING,   /* The node brings the rows. */
    INSTALL_STAGED,     /* They are here; from now on nothing is fetched or applied. */
    INSTALL_READY,      /* The gate knows. */
    INSTALL_VOID,       /* libraft took it: what is applied is void. */
    INSTALL_COMMITTING, /* The store's state is being replaced. */
};

enum apply_state { APPLY_NEW, APPLY_FETCHING, APPLY_READY };

/* A committed entry that is not applied yet. */
struct apply_item {
    struct part *part;
    index_t index;
    term_t term;
    enum gate_entry type;
    struct slice data; /* The gate's. */
    struct store_fetch fetch;
    enum apply_state state;
    struct apply_item *next;
};

struct part {
    struct env *env;
    struct diag *diag;
    struct wal *wal; /* From part_start on. */
    struct store *store;
    struct gate *gate; /* From part_start on; NULL again once this replica stopped. */
    struct part_host host;
    struct part_observer observer;
    struct part_config config; /* Without the store's. */
    part_t number;
    struct env_task work;
    bool ended; /* part_end was called. */

    /* What recovery found, until part_start. */
    struct part_boot *boot;

    /* Leadership. */
    bool changed;                      /* The gate said so since the last turn. */
    term_t led_term;                   /* The term we lead in, as the queues know it; 0: none. */
    bool told_leading;                 /* What the observer believes. */
    uint64_t confirmed_ms;             /* When the round that was confirmed last began. */
    uint64_t led_ms;                   /* When this node came to lead, in led_term. */
    uint64_t voters[GATE_MEMBERS_MAX]; /* Raft ids, of the last configuration. */
    unsigned voters_count;
    bool no_space; /* A majority's disks are full. */
    bool pressed;  /* The node's log is too long. */
    int stopped;   /* ERR_DIVERGED or ERR_CORRUPT: this replica serves no more. */
    uint64_t stopped_ms;

    /* Proposals, oldest first: in flight, waiting, gathering. */
    struct part_batches inflight, waiting;
    struct part_batch *gathering; /* NULL: none. */
    size_t queued_bytes;          /* Of waiting and gathering. */
    struct part_txn *refused, **refused_end;

    /* Committed entries. */
    struct apply_item *apply_first, *apply_end;
    index_t committed; /* The last one that the gate gave us. */
    unsigned fetching_count;

    /* Reads: asked for, waiting for the open round, confirmed, failed. */
    struct part_waits fresh, asked, confirmed, failed;
    unsigned waiting_count;  /* In these lists. */
    unsigned querying_count; /* In the store. */
    index_t round_index;     /* Committed when the open round began. */
    term_t round_term;
    uint64_t round_ms;

    /* Snapshots and installs. */
    index_t manifest;    /* Durable up to here. */
    index_t gate_knows;  /* What the gate was told of it. */
    bool snapshot_asked; /* snapshot_get wants one of at least snapshot_index. */
    index_t snapshot_index;
    enum install_state install;
    uint64_t install_from; /* Raft id. */
    index_t install_index;
    struct store_install *staged; /* Owned. */
    index_t staged_index;
    batch_t install_wal_from;

    struct history history;
    index_t told_index;
    uint64_t told_ms;
    struct part_stats stats;
};

/* part.c */
void part_defer(struct part *part);
void part_stop(struct part *part, int err); /* This replica serves no more. */

/* part_propose.c */
void propose_init(struct part *part);
void propose_run(struct part *part);    /* Propose what gathered, when the log is ready for it. */
void propose_finish(struct part *part); /* Tell those that were refused. */
/* Leadership ended. What the gate already reported as committed is going to be applied, and
 * answered then; the rest ends now. */
void propose_lost(struct part *part);
bool propose_full(const struct part *part); /* No room for more entries, here or on this node. */
bool propose_idle(const struct part *part); /* No transaction is open. */
void propose_free(struct part *part);
void batch_fail(struct part *part, struct part_batch *batch, int err); /* Frees batch. */
void propose_fail(struct part *part); /* What is in flight ends with ERR_UNKNOWN. */
struct part_batch *batches_pop(struct part_batches *list); /* NULL when empty. */
void batch_free(struct part_batch *batch);                 /* Its transactions ended. */

/* part_apply.c */
void apply_queue(struct part *part, index_t index, term_t term, enum gate_entry type,
                 struct slice data);
void apply_run(struct part *part);
void apply_drop(struct part *part); /* Forget what is queued; no fetch is under way. */

/* part_read.c */
void waits_init(struct part *part);
void waits_ask(struct part *part); /* Want a round when somebody waits. */
void waits_run(struct part *part); /* Answer what can be. */
void waits_fail(struct part *part, int err);
void waits_finish(struct part *part); /* Tell those that failed. */

/* part_disk.c */
void disk_run(struct part *part);
void disk_manifest_told(struct part *part); /* The manifest moved, or committed caught up. */
void disk_snapshot_get(struct part *part, index_t at_least);
void disk_install(struct part *part, uint64_t from, index_t index);
void disk_install_commit(struct part *part);
void disk_tick(struct part *part);

/* part_boot.c */
struct part_boot; /* Entries, term and vote that the WAL holds. */
struct part_boot *boot_create(void);
void boot_free(struct part_boot *boot);
MUST_CHECK int boot_record(struct part_boot *boot, const struct store_facts *manifest,
                           const struct wal_record *record, batch_t batch);
bool boot_blank(const struct part_boot *boot);
/* Fills out, whose snapshot is set and which borrows from boot. ERR_CORRUPT: entries are missing.
 */
MUST_CHECK int boot_result(const struct part_boot *boot, struct gate_boot *out);

#endif /* RAFT_PART_IMPL_H_ */
