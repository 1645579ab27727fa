/* tests/log/wal_rig.c -- see wal_rig.h. */
#include "tests/log/wal_rig.h"

#include <stdlib.h>

#include "log/limits.h"

enum { DATA_BYTES_MAX = 32 * 1024 };

void rig_init(struct rig *rig, struct env *env, const char *dir, uint64_t file_bytes)
{
    *rig = (struct rig){.env = env};
    rig->config = (struct wal_config){
        .dir = dir, .owner = 4711, .parts_count = RIG_PARTS, .file_bytes = file_bytes};
}

void rig_free(struct rig *rig)
{
    CHECK(rig->wal == NULL);
    free(rig->sent);
}

/* ---- the model ---- */

static void part_apply(struct rig_part *part, const struct wal_record *record, uint64_t stamp)
{
    CHECK(record->index <= RIG_INDEX_MAX);
    switch (record->kind) {
        case WAL_ENTRY:
            part->entries[record->index] = (struct rig_entry){record->term, stamp};
            part->last = record->index;
            break;
        case WAL_TRUNCATE:
            while (part->last >= record->index)
                part->entries[part->last--].stamp = 0;
            break;
        case WAL_VOTE:
            part->term = record->term;
            part->vote = record->vote;
            break;
    }
}

/* Batches up to this one are durable: they belong to the truth. */
static void settle(struct rig *rig, batch_t batch)
{
    size_t done = 0;
    CHECK(batch >= rig->acked);
    rig->acked = batch;
    for (; done < rig->sent_count && rig->sent[done].batch <= batch; done++) {
        const struct rig_sent *sent = &rig->sent[done];
        part_apply(&rig->truth[sent->record.part], &sent->record, sent->stamp);
    }
    if (done == 0) return;
    rig->sent_count -= done;
    memmove(rig->sent, rig->sent + done, rig->sent_count * sizeof *rig->sent);
}

/* ---- what the log says ---- */

static bool claims_count(const struct rig *rig)
{
    return rig->void_now == NULL || !rig->void_now(rig->void_arg);
}

static void on_durable(void *arg, batch_t durable)
{
    struct rig *rig = arg;
    if (rig->damaged || !claims_count(rig)) return;
    CHECK(durable > rig->acked);
    settle(rig, durable);
}

static void on_space(void *arg, bool low)
{
    struct rig *rig = arg;
    CHECK(low != rig->low);
    rig->low = low;
    rig->space_calls_count++;
}

/* The data of an append: its stamp, then bytes that follow from that. */
static struct slice data_of(uint64_t stamp, size_t bytes, uint8_t out[DATA_BYTES_MAX])
{
    CHECK(bytes >= 8 && bytes <= DATA_BYTES_MAX);
    memcpy(out, &stamp, 8);
    memset(out + 8, (int)(stamp % 251 + 1), bytes - 8);
    return (struct slice){out, bytes};
}

static void on_replayed(void *arg, const struct wal_record *record, batch_t batch)
{
    struct rig *rig = arg;
    uint64_t stamp = 0;
    CHECK(batch > 0);
    CHECK(record->part < RIG_PARTS);
    if (record->kind == WAL_ENTRY) {
        uint8_t bytes[DATA_BYTES_MAX];
        CHECK(record->data.len >= 8);
        memcpy(&stamp, record->data.data, 8);
        CHECK(slice_equal(record->data, data_of(stamp, record->data.len, bytes)));
        CHECK(record->type == (uint8_t)(stamp % 7));
    }
    part_apply(&rig->found[record->part], record, stamp);
}

/* ---- opening and closing ---- */

static void part_compare(const struct rig_part *truth, const struct rig_part *found,
                         index_t released)
{
    CHECK(found->term == truth->term);
    CHECK(found->vote == truth->vote);
    CHECK(found->last == truth->last || (found->last < truth->last && truth->last <= released));
    for (index_t i = released + 1; i <= truth->last; i++) {
        CHECK(found->entries[i].stamp == truth->entries[i].stamp);
        CHECK(found->entries[i].term == truth->entries[i].term);
    }
    for (index_t i = 1; i <= found->last; i++)
        CHECK(found->entries[i].stamp == 0 || found->entries[i].stamp == truth->entries[i].stamp);
}

void rig_open(struct rig *rig)
{
    CHECK(rig->wal == NULL);
    memset(rig->found, 0, sizeof rig->found);
    rig->why[0] = '\0';
    rig->low = false;
    struct wal_handlers handlers = {on_replayed, on_durable, on_space, rig};
    rig->err = wal_open(rig->env, &rig->config, &handlers, &rig->wal, rig->why, sizeof rig->why);
    if (rig->err != 0 || rig->damaged || !claims_count(rig)) return;
    /* What was appended last and is not there, was never reported durable: it is forgotten. */
    settle(rig, wal_durable(rig->wal));
    rig->sent_count = 0;
    for (unsigned part = 0; part < RIG_PARTS; part++)
        part_compare(&rig->truth[part], &rig->found[part], rig->released[part]);
    memcpy(rig->tip, rig->truth, sizeof rig->tip);
}

void rig_close(struct rig *rig, bool died)
{
    if (rig->wal == NULL) return;
    wal_close(rig->wal);
    rig->wal = NULL;
    if (!died && rig->sent_count > 0) settle(rig, rig->sent[rig->sent_count - 1].batch);
}

/* ---- appending ---- */

static batch_t append(struct rig *rig, struct wal_record record, size_t data_bytes)
{
    uint8_t bytes[DATA_BYTES_MAX];
    uint64_t stamp = ++rig->stamps_count;
    if (record.kind == WAL_ENTRY) {
        record.data = data_of(stamp, data_bytes, bytes);
        record.type = (uint8_t)(stamp % 7);
    }
    batch_t batch = wal_append(rig->wal, &record);
    if (rig->sent_count == rig->sent_capacity) {
        rig->sent_capacity = rig->sent_capacity * 2 + 16;
        rig->sent = mem_resize(rig->sent, rig->sent_capacity * sizeof *rig->sent);
    }
    record.data = (struct slice){NULL, 0};
    rig->sent[rig->sent_count++] = (struct rig_sent){record, data_bytes, stamp, batch};
    part_apply(&rig->tip[record.part], &record, stamp);
    return batch;
}

batch_t rig_entry(struct rig *rig, part_t part, size_t data_bytes)
{
    index_t index = rig->tip[part].last + 1;
    term_t term = rig->tip[part].term + 1;
    struct wal_record record = {.kind = WAL_ENTRY, .part = part, .index = index, .term = term};
    return append(rig, record, data_bytes);
}

batch_t rig_truncate(struct rig *rig, part_t part, index_t index)
{
    return append(rig, (struct wal_record){.kind = WAL_TRUNCATE, .part = part, .index = index}, 0);
}

batch_t rig_vote(struct rig *rig, part_t part)
{
    struct wal_record record = {.kind = WAL_VOTE, .part = part};
    record.term = rig->tip[part].term + 1;
    record.vote = record.term * 3 % 5;
    return append(rig, record, 0);
}

void rig_release(struct rig *rig, part_t part, index_t index)
{
    CHECK(index <= rig->truth[part].last);
    if (index > rig->released[part]) rig->released[part] = index;
    wal_release(rig->wal, part, index);
}

bool rig_durable(const struct rig *rig)
{
    return rig->sent_count == 0;
}

bool rig_found_prefix(const struct rig *rig, index_t last)
{
    const struct rig_part *truth = &rig->truth[0], *found = &rig->found[0];
    if (found->last != last) return false;
    for (index_t i = 1; i <= last; i++)
        if (found->entries[i].stamp != truth->entries[i].stamp) return false;
    return true;
}
