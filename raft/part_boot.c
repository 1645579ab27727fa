/* raft/part_boot.c -- what the write-ahead log holds of one partition, put together at start.
 *
 * Records come in the order of their writing. Entries that the manifest stands for, and those of
 * batches before wal_from, are void; term and vote always count. What remains is the log from the
 * manifest's index + 1 on, without a gap. The WAL deletes a file once all in it is void, so the
 * records may begin in the middle of entries that a later truncate takes back: the first entry may
 * have any index, and only what is left at the end must follow the manifest. */
#include <stdlib.h>

#include "raft/part_impl.h"

struct part_boot {
    term_t term;
    uint64_t vote;
    struct gate_boot_entry *entries; /* Owned, their data too. */
    index_t first;                   /* Of entries, when there are any. */
    size_t count, capacity;
};

struct part_boot *boot_create(void)
{
    return mem_zero(sizeof(struct part_boot));
}

static void boot_cut(struct part_boot *boot, size_t count)
{
    while (boot->count > count)
        free((void *)boot->entries[--boot->count].data.data);
}

void boot_free(struct part_boot *boot)
{
    if (boot == NULL) return;
    boot_cut(boot, 0);
    free(boot->entries);
    free(boot);
}

static int boot_entry(struct part_boot *boot, index_t after, const struct wal_record *record)
{
    if (record->index <= after) return 0;
    if (boot->count == 0) boot->first = record->index;
    if (record->index != boot->first + boot->count) return ERR_CORRUPT;
    if (record->type < GATE_NORMAL || record->type > GATE_CHANGE) return ERR_CORRUPT;
    if (boot->count == boot->capacity) {
        boot->capacity = boot->capacity == 0 ? 64 : boot->capacity * 2;
        boot->entries = mem_resize(boot->entries, boot->capacity * sizeof *boot->entries);
    }
    void *data = mem_copy(record->data.data, record->data.len);
    boot->entries[boot->count++] = (struct gate_boot_entry){.term = record->term,
                                                            .type = (enum gate_entry)record->type,
                                                            .data = {data, record->data.len}};
    return 0;
}

int boot_record(struct part_boot *boot, const struct store_facts *manifest,
                const struct wal_record *record, batch_t batch)
{
    if (record->kind == WAL_VOTE) {
        if (record->term < boot->term) return ERR_CORRUPT;
        boot->term = record->term;
        boot->vote = record->vote;
        return 0;
    }
    if (batch < manifest->wal_from) return 0;
    if (record->kind == WAL_ENTRY) return boot_entry(boot, manifest->index, record);
    if (record->kind != WAL_TRUNCATE) return ERR_CORRUPT;
    if (record->index <= boot->first)
        boot_cut(boot, 0);
    else if (record->index - boot->first < boot->count)
        boot_cut(boot, record->index - boot->first);
    return 0;
}

bool boot_blank(const struct part_boot *boot)
{
    return boot->term == 0 && boot->count == 0;
}

int boot_result(const struct part_boot *boot, struct gate_boot *out)
{
    if (boot->count > 0 && boot->first != out->snapshot.index + 1) return ERR_CORRUPT;
    out->term = boot->term;
    out->vote = boot->vote;
    out->entries = boot->entries;
    out->entries_count = boot->count;
    return 0;
}
