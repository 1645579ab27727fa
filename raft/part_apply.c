/* raft/part_apply.c -- committed entries on their way into the store, and the answers.
 *
 * libraft's apply only queues here. Rows that an entry names are fetched ahead, so that a cold row
 * delays its entry and not the loop; entries are applied strictly in order.
 * Failure modes: rows that cannot be read (damage in a run), or bytes that are no entry: the
 * replica stops. An install makes the queue void: no fetch is under way then (part_disk.c sees to
 * it). Invariant: the first item's index is the store's applied index + 1, or it is void. */
#include <stdlib.h>

#include "raft/part_impl.h"

void apply_queue(struct part *part, index_t index, term_t term, enum gate_entry type,
                 struct slice data)
{
    CHECK(index > part->committed || index <= store_facts(part->store)->index);
    if (index > part->committed) part->committed = index;
    if (part->stopped != 0) return;
    struct apply_item *item = mem_zero(sizeof *item);
    *item =
        (struct apply_item){.part = part, .index = index, .term = term, .type = type, .data = data};
    if (part->apply_end == NULL)
        part->apply_first = item;
    else
        part->apply_end->next = item;
    part->apply_end = item;
}

static void item_pop(struct part *part)
{
    struct apply_item *item = part->apply_first;
    part->apply_first = item->next;
    if (part->apply_first == NULL) part->apply_end = NULL;
    free(item);
}

void apply_drop(struct part *part)
{
    while (part->apply_first != NULL)
        item_pop(part);
    part->fetching_count = 0;
}

static void fetch_done(struct store_fetch *fetch, int err)
{
    struct apply_item *item = CONTAINER_OF(fetch, struct apply_item, fetch);
    struct part *part = item->part;
    CHECK(part->fetching_count > 0);
    part->fetching_count--;
    item->state = APPLY_READY;
    if (err != 0) part_stop(part, err);
    part_defer(part);
}

static void fetch_ahead(struct part *part)
{
    unsigned ahead = 0;
    for (struct apply_item *item = part->apply_first; item != NULL && ahead < PART_FETCH_AHEAD_MAX;
         item = item->next) {
        if (item->type != GATE_NORMAL) continue;
        ahead++;
        if (item->state != APPLY_NEW) continue;
        item->fetch = (struct store_fetch){.entry = item->data, .done = fetch_done};
        item->state = APPLY_FETCHING;
        if (store_fetch(part->store, &item->fetch))
            item->state = APPLY_READY;
        else
            part->fetching_count++;
    }
}

/* Who is answered while one entry is applied. */
struct answering {
    struct part *part;
    struct part_txn *next; /* NULL: the entry is not ours. */
};

static void applied_one(void *arg, const struct applied_txn *applied)
{
    struct answering *to = arg;
    struct part *part = to->part;
    part->stats.txns_count++;
    if (part->observer.applied != NULL) part->observer.applied(part->observer.arg, applied);
    struct part_txn *req = to->next;
    if (req == NULL) return;
    to->next = req->next;
    req->done(req, 0, applied->outcome, 0);
}

/* The batch that became entry (index, term), taken from those in flight. One of the same index and
 * another term was replaced by another leader's entry. */
static struct part_batch *inflight_take(struct part *part, index_t index, term_t term)
{
    struct part_batch *batch = part->inflight.first;
    if (batch == NULL || batch->index > index) return NULL;
    CHECK(batch->index == index);
    batch = batches_pop(&part->inflight);
    if (batch->term == term) return batch;
    batch_fail(part, batch, ERR_UNKNOWN);
    return NULL;
}

static int apply_entry(struct part *part, const struct apply_item *item)
{
    struct part_batch *batch = inflight_take(part, item->index, item->term);
    struct answering to = {.part = part, .next = batch == NULL ? NULL : batch->first};
    int err = store_apply(part->store, item->index, item->term, item->data, applied_one, &to);
    part->stats.entries_count++;
    if (batch == NULL) return err;
    if (err != 0) {
        batch_fail(part, batch, ERR_UNKNOWN);
        return err;
    }
    CHECK(to.next == NULL); /* Each transaction of the entry was answered. */
    batch_free(batch);
    return 0;
}

static int apply_item(struct part *part, const struct apply_item *item)
{
    if (item->type == GATE_NORMAL) return apply_entry(part, item);
    struct part_batch *batch = inflight_take(part, item->index, item->term);
    CHECK(batch == NULL);
    store_skip(part->store, item->index, item->term,
               item->type == GATE_CHANGE ? &item->data : NULL);
    return 0;
}

void apply_run(struct part *part)
{
    if (part->install >= INSTALL_STAGED) return; /* About to be replaced. */
    while (part->stopped == 0 && part->apply_first != NULL) {
        struct apply_item *item = part->apply_first;
        index_t applied = store_facts(part->store)->index;
        if (item->index <= applied) {
            /* An install brought more than the entry that raft asked it for. */
            CHECK(item->state == APPLY_NEW);
            item_pop(part);
            continue;
        }
        CHECK(item->index == applied + 1);
        if (item->type == GATE_NORMAL) fetch_ahead(part);
        if (item->type == GATE_NORMAL && item->state != APPLY_READY) break;
        int err = apply_item(part, item);
        item_pop(part);
        if (err != 0) {
            part_stop(part, err);
            return;
        }
        const struct store_facts *facts = store_facts(part->store);
        history_applied(&part->history, facts->index, facts->history);
    }
    disk_manifest_told(part);
}
