/* log/wal_state.h -- private to log/wal*.c: what the files of the log hold, kept in memory.
 *
 * Term and vote of each partition, and per file and partition the highest index of an entry, so
 * that it is known which files somebody still needs. Fed with every record in the order of
 * writing, by recovery and by every batch that is written.
 *
 * Owns:   its tables. Thread: the loop's.
 * Errors: none. */
#ifndef LOG_WAL_STATE_H_
#define LOG_WAL_STATE_H_

#include "log/wal_format.h"

struct wal_held {
    wal_number_t number;
    uint64_t bytes;   /* Head and batches. */
    index_t *highest; /* Owned; per partition the highest entry that counts, 0 when none. */
    bool settled;     /* Its head is on the disk for good: the file before may go. */
};

struct wal_state {
    unsigned parts_count;
    struct wal_seat *seats; /* Owned; per partition. */
    index_t *released;      /* Owned; per partition: entries up to here are kept elsewhere. */
    struct wal_held *files; /* Owned; oldest first, the last one is written to. */
    size_t files_count, files_capacity;
};

/* No file, nothing released; close frees what init and the others took. */
void wal_state_init(struct wal_state *state, unsigned parts_count);
void wal_state_close(struct wal_state *state);

/* A new last file begins, which has `bytes` (its head) so far. */
void wal_state_begin_file(struct wal_state *state, wal_number_t number, uint64_t bytes);
struct wal_held *wal_state_last_file(struct wal_state *state); /* There must be one. */

/* A record was written to the last file. */
void wal_state_note(struct wal_state *state, const struct wal_record *record);

/* The partition needs no entry up to index any more. */
void wal_state_release(struct wal_state *state, part_t part, index_t index);

/* The partition that needs the oldest file; false when none does. */
bool wal_state_oldest_pin(const struct wal_state *state, part_t *part);

/* Forget the oldest file and tell its number when nobody needs it, also not for terms and votes,
 * which the head of the next file repeats. 0: it stays. */
wal_number_t wal_state_drop_oldest(struct wal_state *state);

uint64_t wal_state_bytes(const struct wal_state *state); /* Of all files. */

#endif /* LOG_WAL_STATE_H_ */
