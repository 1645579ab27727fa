/* log/wal_queue.h -- private to log/wal*.c: the batches in memory, on their way to the disk.
 *
 * One batch gathers; full ones wait behind each other. Numbers go up by one from batch to batch.
 *
 * Owns:   all its batches but the one that was popped. Thread: the loop's. Errors: none.
 * Bounds: who appends bounds the bytes. Empty buffers are kept: no allocation in the long run. */
#ifndef LOG_WAL_QUEUE_H_
#define LOG_WAL_QUEUE_H_

#include "log/wal_format.h"

struct wal_batch {
    struct wal_batch *next; /* Private. */
    batch_t number;
    uint64_t records_count;
    size_t records_bytes; /* Without head and padding. */
    struct buf bytes;     /* Room for the head, records, padding. */
};

struct wal_queue {
    size_t bytes_max;                     /* Of one batch. */
    struct wal_batch *gather;             /* Where records go; its number is the highest. */
    struct wal_batch *first, **first_end; /* Closed batches, oldest first. */
    struct wal_batch *spares;             /* Empty buffers. */
    size_t spares_count;
};

/* The first batch will be number `first`; batches are at most bytes_max. */
void wal_queue_init(struct wal_queue *queue, batch_t first, size_t bytes_max);
void wal_queue_free(struct wal_queue *queue); /* With what waits. */

/* Append to the batch that gathers, or to a new one when that is full; record is copied. The
 * batch's number; *bytes grows by what the record takes. */
batch_t wal_queue_append(struct wal_queue *queue, const struct wal_record *record, size_t *bytes);

/* Nothing more goes into the batch that gathers. */
void wal_queue_close(struct wal_queue *queue);
bool wal_queue_gathers(const struct wal_queue *queue); /* Some record is in that batch. */

/* The oldest batch that waits, which is closed and padded; NULL: none waits. Borrowed. */
struct wal_batch *wal_queue_first(struct wal_queue *queue);
/* Take it out; it is the caller's until wal_queue_give_back. */
struct wal_batch *wal_queue_pop(struct wal_queue *queue);
void wal_queue_give_back(struct wal_queue *queue, struct wal_batch *batch);

/* Nothing happens: buffers that a burst left large are freed. */
void wal_queue_shrink(struct wal_queue *queue);

#endif /* LOG_WAL_QUEUE_H_ */
