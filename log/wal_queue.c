/* log/wal_queue.c -- see wal_queue.h. */
#include "log/wal_queue.h"

#include <stdlib.h>

enum {
    SPARES_MAX = 2,            /* One gathers while another is written. */
    SPARE_BYTES = 1024 * 1024, /* Buffers beyond this are for bursts. */
};

static struct wal_batch *batch_take(struct wal_queue *queue, batch_t number)
{
    struct wal_batch *batch = queue->spares;
    if (batch != NULL) {
        queue->spares = batch->next;
        queue->spares_count--;
    } else {
        batch = mem_zero(sizeof *batch);
    }
    batch->next = NULL;
    batch->number = number;
    batch->records_count = 0;
    batch->records_bytes = 0;
    wal_batch_begin(&batch->bytes);
    return batch;
}

static void batches_free(struct wal_batch *list)
{
    while (list != NULL) {
        struct wal_batch *batch = list;
        list = batch->next;
        buf_free(&batch->bytes);
        free(batch);
    }
}

void wal_queue_init(struct wal_queue *queue, batch_t first, size_t bytes_max)
{
    *queue = (struct wal_queue){.bytes_max = bytes_max};
    queue->first_end = &queue->first;
    queue->gather = batch_take(queue, first);
}

void wal_queue_free(struct wal_queue *queue)
{
    batches_free(queue->first);
    batches_free(queue->gather);
    batches_free(queue->spares);
}

batch_t wal_queue_append(struct wal_queue *queue, const struct wal_record *record, size_t *bytes)
{
    size_t more = record->data.len + WAL_RECORD_HEAD_BYTES;
    CHECK(WAL_BATCH_HEAD_BYTES + more <= queue->bytes_max);
    if (queue->gather->bytes.len + more > queue->bytes_max) wal_queue_close(queue);
    struct wal_batch *batch = queue->gather;
    size_t before = batch->bytes.len;
    wal_record_encode(record, &batch->bytes);
    batch->records_count++;
    batch->records_bytes += batch->bytes.len - before;
    *bytes += batch->bytes.len - before;
    return batch->number;
}

void wal_queue_close(struct wal_queue *queue)
{
    wal_batch_end(&queue->gather->bytes);
    CHECK(queue->gather->bytes.len <= queue->bytes_max);
    *queue->first_end = queue->gather;
    queue->first_end = &queue->gather->next;
    queue->gather = batch_take(queue, queue->gather->number + 1);
}

bool wal_queue_gathers(const struct wal_queue *queue)
{
    return queue->gather->records_count > 0;
}

struct wal_batch *wal_queue_first(struct wal_queue *queue)
{
    if (queue->first == NULL && wal_queue_gathers(queue)) wal_queue_close(queue);
    return queue->first;
}

struct wal_batch *wal_queue_pop(struct wal_queue *queue)
{
    struct wal_batch *batch = queue->first;
    CHECK(batch != NULL);
    queue->first = batch->next;
    if (queue->first == NULL) queue->first_end = &queue->first;
    batch->next = NULL;
    return batch;
}

void wal_queue_give_back(struct wal_queue *queue, struct wal_batch *batch)
{
    CHECK(batch->next == NULL);
    if (queue->spares_count == SPARES_MAX) {
        batches_free(batch);
        return;
    }
    batch->bytes.len = 0;
    batch->next = queue->spares;
    queue->spares = batch;
    queue->spares_count++;
}

void wal_queue_shrink(struct wal_queue *queue)
{
    for (struct wal_batch *batch = queue->spares; batch != NULL; batch = batch->next)
        if (batch->bytes.capacity > SPARE_BYTES) buf_free(&batch->bytes);
}
