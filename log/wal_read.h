/* log/wal_read.h -- private to log/wal*.c: reads one file of the log, batch by batch.
 *
 * Owns:   the open file, and a window of its bytes that moves over it: at least one batch of
 *         WAL_BATCH_BYTES_MAX, whatever the file's size.
 * Thread: blocks.
 * Errors: ERR_NOT_FOUND, ERR_IO. Damage is not an error here: it is what the caller looks for. */
#ifndef LOG_WAL_READ_H_
#define LOG_WAL_READ_H_

#include "log/wal_format.h"

struct wal_file {
    char path[WAL_PATH_BYTES];
    wal_number_t number; /* By its name. */
    uint64_t size;
    struct env *env;       /* Private, as all that follows. */
    struct env_file *file; /* Owned. */
    uint8_t *window;       /* Owned. */
    size_t capacity, len;  /* Of the window. */
    uint64_t start;        /* Offset of its first byte. */
};

/* What lies at an offset. */
enum wal_found {
    WAL_FOUND_NOTHING, /* Zeroes, or anything that is no batch of this log. */
    WAL_FOUND_TORN,    /* The valid head of a batch whose body is not what was written. */
    WAL_FOUND_BATCH,
};

/* Open file `number` of a folder for reading. file->path is set in any case. */
MUST_CHECK int wal_file_open(struct env *env, const char *dir, wal_number_t number,
                             struct wal_file *file);
void wal_file_close(struct wal_file *file);

/* Point *out at bytes of the file, all of which lie within its size; borrowed until the next
 * call. */
MUST_CHECK int wal_file_at(struct wal_file *file, uint64_t offset, size_t bytes,
                           const uint8_t **out);

/* What lies between offset and limit; head is filled unless that is nothing, and *body, borrowed
 * until the next call, for a batch. */
MUST_CHECK int wal_file_batch(struct wal_file *file, uint64_t offset, uint64_t limit, uint64_t salt,
                              enum wal_found *found, struct wal_batch_head *head,
                              struct slice *body);

/* Look for the head of any batch after `last`, from offset (a multiple of WAL_ALIGN) to the end of
 * the file. *head and *place tell the first; head->batch is 0 when there is none. */
MUST_CHECK int wal_file_search(struct wal_file *file, uint64_t offset, batch_t last, uint64_t salt,
                               struct wal_batch_head *head, uint64_t *place);

#endif /* LOG_WAL_READ_H_ */
