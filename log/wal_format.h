/* log/wal_format.h -- private to log/wal*.c: what the files of the write-ahead log look like.
 *
 * Encodes and decodes heads, batches and records; touches no file. log/FORMAT.md has the layout
 * and why it is so.
 *
 * Thread: any.
 * Errors: what is read comes from a disk and is believed only after its checksum. */
#ifndef LOG_WAL_FORMAT_H_
#define LOG_WAL_FORMAT_H_

#include "log/wal.h"

typedef uint64_t wal_number_t; /* A file's number, from 1; 0 is none. */

enum {
    WAL_VERSION = 1,
    WAL_ALIGN = 8,              /* Batches begin at multiples of this. */
    WAL_BATCH_HEAD_BYTES = 40,  /* Also the smallest batch: an empty one. */
    WAL_HEAD_BYTES_MAX = 8192,  /* A file's head with PARTITIONS_MAX seats. */
    WAL_RECORD_HEAD_BYTES = 40, /* At least what an encoded record has besides its data. */
    WAL_PATH_BYTES = 4096,
    WAL_FILE_BYTES_MIN = 64 * 1024,
};

/* Term and vote of one partition. */
struct wal_seat {
    term_t term;
    uint64_t vote;
};

/* The head of a file. */
struct wal_head {
    uint64_t owner;           /* wal_config.owner. */
    uint64_t salt;            /* Seeds every checksum of a batch; drawn once per log. */
    wal_number_t number;      /* This file's. */
    wal_number_t prev_number; /* The file before; 0 for the first ever. */
    uint64_t prev_end;        /* Where the batches of that file end: an offset. */
    batch_t prev_last;        /* The last batch before this file; 0 when there was none. */
    bool recovered;       /* Recovery made it: complete before it got its name, never added to. */
    bool copied;          /* With recovered: one batch follows, copied from behind prev_end. */
    unsigned parts_count; /* 1 .. PARTITIONS_MAX. */
    const uint8_t *seats; /* Encoded seats: borrowed from the bytes decoded. */
};

/* Bytes of a head, also where the first batch begins: a multiple of 4 KiB, so that no batch ever
 * shares a page with it. */
size_t wal_head_bytes(unsigned parts_count);

/* Append the head to out; head->seats is not read, seats (parts_count of them) is. */
void wal_head_encode(const struct wal_head *head, const struct wal_seat *seats, struct buf *out);

/* Decode the first bytes of a file (WAL_HEAD_BYTES_MAX of them, fewer when it is shorter).
 * ERR_CORRUPT: no valid head; ERR_VERSION: a valid one of another version. */
MUST_CHECK int wal_head_decode(struct slice bytes, struct wal_head *out);
struct wal_seat wal_head_seat(const struct wal_head *head, part_t part);

/* The head of a batch. */
struct wal_batch_head {
    size_t bytes;        /* The whole batch, its head included; a multiple of WAL_ALIGN. */
    wal_number_t number; /* Of the file that it was written to. */
    batch_t batch;
    uint64_t body_hash;
};

/* Append room for a batch's head to out, which is empty. */
void wal_batch_begin(struct buf *out);
/* Append a record to the body; its data is copied. At most data.len + WAL_RECORD_HEAD_BYTES. */
void wal_record_encode(const struct wal_record *record, struct buf *out);
/* Pad the body to WAL_ALIGN. */
void wal_batch_end(struct buf *out);
/* Fill in the head of a padded batch: it can be written now, to that file alone. */
void wal_batch_seal(struct slice batch, wal_number_t number, batch_t name, uint64_t salt);

/* Decode WAL_BATCH_HEAD_BYTES. False: not a head of a batch of this log, or a damaged one. */
bool wal_batch_head_decode(const uint8_t *at, uint64_t salt, struct wal_batch_head *out);
/* True when body, the bytes behind the head, is what the head was made for. */
bool wal_batch_body_holds(const struct wal_batch_head *head, struct slice body, uint64_t salt);

/* Take the next record from a body; its data is borrowed from there. *end is set instead when
 * none is left. ERR_CORRUPT: not a record. */
MUST_CHECK int wal_record_decode(struct reader *body, unsigned parts_count, struct wal_record *out,
                                 bool *end);

/* The name of a file within its folder, and back: 0 when name is not one of them. */
void wal_path(char out[WAL_PATH_BYTES], const char *dir, wal_number_t number);
wal_number_t wal_path_number(const char *name);
/* Names of files not complete yet: made ahead, made by recovery. */
void wal_path_of(char out[WAL_PATH_BYTES], const char *dir, const char *name);
#define WAL_NAME_AHEAD "ahead.tmp"
#define WAL_NAME_RECOVERED "recovered.tmp"

#endif /* LOG_WAL_FORMAT_H_ */
