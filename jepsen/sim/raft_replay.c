/* jepsen/sim/raft_replay.c -- fold the WAL's records of one partition into a log.
 *
 * The records tell the story of the log from some point on, its detours included. An entry that
 * was truncated and written anew may end up below the manifest, and the truncate then still ends
 * those above. The WAL deletes a file once all in it is void or in the manifest, so the story may
 * begin in the middle of entries that a later truncate takes back: the first entry may have any
 * index, and only what is left at the end must follow the manifest. */
#include "jepsen/sim/raft_replay.h"

#include <stdlib.h>

void replay_init(struct replay *replay, index_t manifest, batch_t wal_from)
{
    *replay = (struct replay){.manifest = manifest, .wal_from = wal_from};
}

static void drop_from(struct replay *replay, index_t index)
{
    while (replay->entries_count > 0 && replay->first + replay->entries_count > index) {
        replay->entries_count--;
        free((void *)replay->entries[replay->entries_count].data.data);
    }
}

static int add(struct replay *replay, const struct wal_record *record)
{
    if (record->index <= replay->manifest) return 0;
    if (replay->entries_count == 0) replay->first = record->index;
    if (record->index != replay->first + replay->entries_count) return ERR_CORRUPT;
    if (record->type < GATE_NORMAL || record->type > GATE_CHANGE) return ERR_CORRUPT;
    if (replay->entries_count == replay->capacity) {
        replay->capacity = replay->capacity > 0 ? replay->capacity * 2 : 64;
        replay->entries =
            mem_resize(replay->entries, replay->capacity * sizeof(replay->entries[0]));
    }
    void *data = mem_copy(record->data.data, record->data.len);
    replay->entries[replay->entries_count++] = (struct gate_boot_entry){
        record->term, (enum gate_entry)record->type, {data, record->data.len}};
    return 0;
}

int replay_record(struct replay *replay, const struct wal_record *record, batch_t batch)
{
    if (record->kind == WAL_VOTE) {
        if (record->term < replay->term) return ERR_CORRUPT;
        replay->term = record->term;
        replay->vote = record->vote;
        return 0;
    }
    if (batch < replay->wal_from) return 0;
    if (record->kind == WAL_ENTRY) return add(replay, record);
    drop_from(replay, record->index);
    return 0;
}

int replay_end(const struct replay *replay)
{
    bool follows = replay->entries_count == 0 || replay->first == replay->manifest + 1;
    return follows ? 0 : ERR_CORRUPT;
}

void replay_free(struct replay *replay)
{
    drop_from(replay, 0);
    free(replay->entries);
    *replay = (struct replay){0};
}
