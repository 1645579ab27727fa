/* log/wal.h -- the write-ahead log: one per node, for all its partitions.
 *
 * What is appended in one turn of the loop becomes one batch: one write, one fdatasync, on a lane
 * of its own, while the next batch gathers (group commit). Batch k + 1 is written only after k is
 * durable, so a valid batch proves all before it: a bad last batch is torn and is cut whole; a
 * bad batch with a valid one of a higher number behind it is damage, and the node does not start.
 *
 * Owns:   the files *.wal of its folder. Borrows: env.
 * Thread: the loop's. wal_open and wal_close block.
 * Errors: ERR_*; a write or fdatasync that fails once stops the process (CHECK), for nobody can
 *         say afterwards what is on the disk. Disk full is known before: files are made ahead.
 * Units:  batch_t counts batches of this node from 1, over all files, never reused.
 * Format: log/FORMAT.md, version 1. */
#ifndef LOG_WAL_H_
#define LOG_WAL_H_

#include "log/env.h"

struct wal; /* Opaque. Made by wal_open, ended by wal_close. */

enum wal_kind {
    WAL_ENTRY = 1,    /* The entry `index` of `part`; replaces nothing: a truncate came before. */
    WAL_TRUNCATE = 2, /* Entries of `part` from `index` on are void. */
    WAL_VOTE = 3,     /* `term` and `vote` of `part`. */
};

struct wal_record {
    enum wal_kind kind;
    part_t part;
    index_t index;     /* WAL_ENTRY, WAL_TRUNCATE; otherwise 0. */
    term_t term;       /* WAL_ENTRY, WAL_VOTE; otherwise 0. */
    uint64_t vote;     /* WAL_VOTE: a raft id or 0; otherwise 0. */
    uint8_t type;      /* WAL_ENTRY: what the entry is, the gate's; otherwise 0. */
    struct slice data; /* WAL_ENTRY: at most ENTRY_BYTES_MAX; borrowed. */
};

struct wal_config {
    const char *dir;      /* Copied; made when absent. */
    uint64_t owner;       /* Names cluster and incarnation; a file of another owner: ERR_FOREIGN. */
    unsigned parts_count; /* 1 .. PARTITIONS_MAX. */
    uint64_t file_bytes;  /* WAL_FILE_BYTES in the product; tests take less. At least 64 KiB. */
};

struct wal_handlers {
    /* During wal_open, for each record in the order of writing, term and vote at the head of each
     * file included. batch: the one that holds it. record: borrowed until return. */
    void (*replayed)(void *arg, const struct wal_record *record, batch_t batch);
    /* On the loop: batches up to and including this one are on disk for good. */
    void (*durable)(void *arg, batch_t durable);
    /* On the loop: room changed hands. low is true while fewer bytes are free on the disk than
     * the WAL needs to go on (one file made ahead, and a reserve): refuse new proposals. */
    void (*space)(void *arg, bool low);
    void *arg;
};

/* Recover what is there, open a new file (an old one is never appended to), and only then return:
 * all that was replayed is durable. ERR_CORRUPT: damage; `why` (of why_bytes) then names file,
 * offset and what is wrong. ERR_FOREIGN, ERR_VERSION, ERR_INVAL (made for another number of
 * partitions), ERR_NO_SPACE, ERR_IO likewise. After an error nothing is lost or changed.
 * handlers: copied. */
MUST_CHECK int wal_open(struct env *env, const struct wal_config *config,
                        const struct wal_handlers *handlers, struct wal **out, char *why,
                        size_t why_bytes);

/* Append to the batch that gathers; its number. record and its data are copied. A batch that
 * reached WAL_BATCH_BYTES_MAX is closed and another one gathers; order is kept.
 * Not durable until wal_durable() reaches that number, which handlers.durable reports. */
batch_t wal_append(struct wal *wal, const struct wal_record *record);

batch_t wal_durable(const struct wal *wal); /* 0 when none is. */

/* What is appended from now on goes to batches of this number and above, what was appended before
 * is in batches below it. (A batch that gathers is closed: not for asking all the time.) */
batch_t wal_next(struct wal *wal);

/* Bytes appended and not durable yet. Who appends bounds it. */
size_t wal_pending_bytes(const struct wal *wal);

/* Entries of part up to index are kept elsewhere, durably (a manifest holds them): files that
 * nobody needs any more are deleted, oldest first. Entries above index that an installed manifest
 * made void keep their files until a WAL_TRUNCATE, appended once that manifest is durable. */
void wal_release(struct wal *wal, part_t part, index_t index);

/* Bytes of files that are still needed, and the partition that pins the oldest of them (true when
 * there is one): what should checkpoint next when live comes near WAL_LIVE_BYTES_MAX. */
uint64_t wal_live_bytes(const struct wal *wal);
bool wal_oldest_pin(const struct wal *wal, part_t *part);

struct wal_stats {
    uint64_t batches_count, bytes, records_count; /* Since wal_open. */
    uint64_t sync_us_last, sync_us_max;           /* One write with its fdatasync. */
    uint64_t stall_us; /* How long the write under way, or the wait for a file to
 write to, takes by now; 0 when there is none. */
};
void wal_stats(const struct wal *wal, struct wal_stats *out);

/* Write what gathered, wait for it, close the files; what finds no room on the disk is dropped, it
 * never was durable. No callback runs during or after it. Not from inside a handler. */
void wal_close(struct wal *wal);

#endif /* LOG_WAL_H_ */
