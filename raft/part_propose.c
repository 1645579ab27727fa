/* raft/part_propose.c -- transactions on their way into the raft log.
 *
 * Happy path: part_txn copies it into the entry that gathers -> at the end of the turn, or when the
 * entry before it is committed, the entry is encoded and proposed -> the gate reports it committed
 * -> part_apply.c applies it and answers each transaction in order.
 * Failure modes: leadership lost: what was proposed and not yet reported committed ends with
 * ERR_UNKNOWN, what was not proposed with ERR_NOT_LEADER. Overload: ERR_BUSY before anything is
 * kept.
 * Invariants: inflight is ordered by index, in one term; an entry is answered only if it was
 * committed at the index and in the term that it was proposed with. */
#include <stdlib.h>

#include "raft/part_impl.h"

/* ---- batches ---- */

static void batches_init(struct part_batches *list)
{
    *list = (struct part_batches){.end = &list->first};
}

static void batches_push(struct part_batches *list, struct part_batch *batch)
{
    batch->next = NULL;
    *list->end = batch;
    list->end = &batch->next;
    list->count++;
}

struct part_batch *batches_pop(struct part_batches *list)
{
    struct part_batch *batch = list->first;
    if (batch == NULL) return NULL;
    list->first = batch->next;
    if (list->first == NULL) list->end = &list->first;
    list->count--;
    return batch;
}

static struct part_batch *batch_create(void)
{
    struct part_batch *batch = mem_zero(sizeof *batch);
    batch->end = &batch->first;
    return batch;
}

void batch_free(struct part_batch *batch)
{
    entry_free(&batch->entry);
    buf_free(&batch->encoded);
    free(batch);
}

static void txn_end(struct part_txn *req, int err)
{
    req->done(req, err, NULL, err == ERR_BUSY ? PART_BUSY_MS : 0);
}

void batch_fail(struct part *part, struct part_batch *batch, int err)
{
    struct part_txn *req = batch->first;
    if (batch->index == 0) part->queued_bytes -= batch->bytes;
    batch_free(batch);
    while (req != NULL) {
        struct part_txn *next = req->next;
        txn_end(req, err);
        req = next;
    }
}

/* ---- transactions ---- */

bool propose_full(const struct part *part)
{
    return part->pressed || gate_log_bytes(part->gate) > PART_LOG_FACTOR * part->config.log_bytes;
}

static int txn_refusal(struct part *part, size_t txn_bytes)
{
    if (part->ended) return ERR_CANCELED;
    if (part->stopped != 0) return part->stopped;
    if (txn_bytes == 0) return ERR_INVAL;
    if (txn_bytes > TXN_BYTES_MAX) return ERR_TOO_BIG;
    if (gate_state(part->gate) != GATE_LEADER)
        return gate_leader(part->gate) != 0 ? ERR_NOT_LEADER : ERR_NO_LEADER;
    if (part->no_space) return ERR_NO_SPACE;
    if (part->queued_bytes + txn_bytes > PART_QUEUE_BYTES_MAX) return ERR_BUSY;
    return propose_full(part) ? ERR_BUSY : 0;
}

void part_txn(struct part *part, struct part_txn *req)
{
    req->next = NULL;
    req->err = txn_refusal(part, req->txn.len);
    part_defer(part);
    if (req->err != 0) {
        if (req->err == ERR_BUSY) part->stats.busy_count++;
        *part->refused_end = req;
        part->refused_end = &req->next;
        return;
    }
    struct part_batch *batch = part->gathering;
    if (batch != NULL && !entry_fits(&batch->entry, req->txn.len)) {
        batches_push(&part->waiting, batch);
        batch = NULL;
    }
    if (batch == NULL) batch = batch_create();
    part->gathering = batch;
    entry_add(&batch->entry, req->txn);
    *batch->end = req;
    batch->end = &req->next;
    batch->bytes += req->txn.len;
    part->queued_bytes += req->txn.len;
}

static int compare_times(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

/* The median of the voters' clocks as last heard: one that is wrong moves it no further than to
 * its neighbour. Never less than the last entry's. */
static int64_t entry_time(struct part *part)
{
    int64_t times[GATE_MEMBERS_MAX];
    unsigned count = 0;
    for (unsigned i = 0; i < part->voters_count; i++) {
        bool low;
        if (part->host.heard(part->host.arg, part->voters[i], &times[count], &low)) count++;
    }
    qsort(times, count, sizeof times[0], compare_times);
    int64_t last = store_facts(part->store)->time_ms;
    int64_t median = count == 0 ? last : times[(count - 1) / 2];
    return median > last ? median : last;
}

static unsigned uncommitted_count(const struct part *part)
{
    unsigned count = 0;
    for (const struct part_batch *b = part->inflight.first; b != NULL; b = b->next)
        if (b->index > part->committed) count++;
    return count;
}

static struct part_batch *batch_next(struct part *part)
{
    if (part->waiting.first != NULL) return part->waiting.first;
    return part->gathering;
}

void propose_run(struct part *part)
{
    struct part_batch *batch;
    while (part->led_term != 0 && !part->changed && gate_ready(part->gate) &&
           !gate_transferring(part->gate) && part->inflight.count < PART_UNAPPLIED_MAX &&
           uncommitted_count(part) < PART_UNCOMMITTED_MAX && (batch = batch_next(part)) != NULL) {
        if (batch->encoded.len == 0) entry_close(&batch->entry, entry_time(part), &batch->encoded);
        if (batch == part->gathering) {
            part->gathering = NULL;
            batches_push(&part->waiting, batch);
        }
        index_t index;
        int err = gate_propose(part->gate, buf_bytes(&batch->encoded), &index);
        if (err != 0) return; /* changed() tells when to try again, or that leadership ended. */
        struct part_batch *first = batches_pop(&part->waiting);
        CHECK(first == batch);
        batch->index = index;
        batch->term = gate_term(part->gate);
        part->queued_bytes -= batch->bytes;
        buf_free(&batch->encoded);
        batches_push(&part->inflight, batch);
    }
}

/* ---- the ends ---- */

void propose_lost(struct part *part)
{
    struct part_batches open = part->inflight, waiting = part->waiting;
    batches_init(&part->inflight);
    batches_init(&part->waiting);
    if (part->gathering != NULL) {
        if (waiting.first == NULL) waiting.end = &waiting.first;
        batches_push(&waiting, part->gathering);
        part->gathering = NULL;
    }
    struct part_batch *batch;
    while (open.first != NULL && open.first->index <= part->committed && part->stopped == 0) {
        batch = open.first;
        open.first = batch->next;
        batches_push(&part->inflight, batch);
    }
    while ((batch = open.first) != NULL) {
        open.first = batch->next;
        batch_fail(part, batch, ERR_UNKNOWN);
    }
    while ((batch = waiting.first) != NULL) {
        waiting.first = batch->next;
        batch_fail(part, batch, part->stopped != 0 ? part->stopped : ERR_NOT_LEADER);
    }
}

/* Entries of ours that are not going to be applied here: a snapshot took their place, or this
 * replica stopped. Their outcomes are there, but not known to us. */
void propose_fail(struct part *part)
{
    struct part_batch *batch;
    while ((batch = batches_pop(&part->inflight)) != NULL)
        batch_fail(part, batch, ERR_UNKNOWN);
}

void propose_finish(struct part *part)
{
    struct part_txn *req = part->refused;
    part->refused = NULL;
    part->refused_end = &part->refused;
    while (req != NULL) {
        struct part_txn *next = req->next;
        txn_end(req, req->err);
        req = next;
    }
}

bool propose_idle(const struct part *part)
{
    return part->inflight.count == 0 && part->waiting.count == 0 && part->gathering == NULL &&
           part->refused == NULL;
}

void propose_init(struct part *part)
{
    batches_init(&part->inflight);
    batches_init(&part->waiting);
    part->refused_end = &part->refused;
}

static void batches_drop(struct part_batches *list)
{
    struct part_batch *batch;
    while ((batch = batches_pop(list)) != NULL)
        batch_free(batch);
}

void propose_free(struct part *part)
{
    batches_drop(&part->inflight);
    batches_drop(&part->waiting);
    if (part->gathering != NULL) batch_free(part->gathering);
}
