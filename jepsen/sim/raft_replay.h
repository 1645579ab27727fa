/* jepsen/sim/raft_replay.h -- what the WAL's records of one partition add up to, for gate_open.
 *
 * The manifest is read first; then wal_open tells all records of all partitions, and each
 * partition folds its own: entries after the manifest, without what was truncated, without what
 * an install made void; the last term and vote.
 *
 * Owns:   copies of the entries' data. Thread: one. Errors: ERR_CORRUPT: records that no gate
 *         writes in this order: damage that no checksum saw, or another partition's manifest. */
#ifndef JEPSEN_SIM_RAFT_REPLAY_H_
#define JEPSEN_SIM_RAFT_REPLAY_H_

#include "raft/gate.h"

/* Begun by replay_init, ended by replay_free. */
struct replay {
    index_t manifest; /* Its index; entries up to it are skipped. */
    batch_t wal_from; /* Entries in earlier batches are void. */
    term_t term;      /* Of the last WAL_VOTE, 0 before. */
    uint64_t vote;
    struct gate_boot_entry *entries; /* Entry `first` and on. */
    index_t first;                   /* manifest + 1 in the end. */
    size_t entries_count;
    size_t capacity; /* Private. */
};

/* Nothing read yet: entries up to manifest, and records before wal_from, will be passed over. */
void replay_init(struct replay *replay, index_t manifest, batch_t wal_from);

/* The next record of the partition, in the order of writing; copied. */
MUST_CHECK int replay_record(struct replay *replay, const struct wal_record *record, batch_t batch);

/* No record is left. ERR_CORRUPT: entries between the manifest and those told are missing. */
MUST_CHECK int replay_end(const struct replay *replay);

void replay_free(struct replay *replay); /* After gate_open, which copies. */

#endif /* JEPSEN_SIM_RAFT_REPLAY_H_ */
