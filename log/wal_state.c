/* log/wal_state.c -- see wal_state.h. */
#include "log/wal_state.h"

#include <stdlib.h>

#include "log/limits.h"

void wal_state_init(struct wal_state *state, unsigned parts_count)
{
    CHECK(parts_count >= 1);
    CHECK(parts_count <= PARTITIONS_MAX);
    *state = (struct wal_state){
        .parts_count = parts_count,
        .seats = mem_zero(parts_count * sizeof(struct wal_seat)),
        .released = mem_zero(parts_count * sizeof(index_t)),
    };
}

void wal_state_close(struct wal_state *state)
{
    for (size_t i = 0; i < state->files_count; i++)
        free(state->files[i].highest);
    free(state->files);
    free(state->released);
    free(state->seats);
    *state = (struct wal_state){0};
}

void wal_state_begin_file(struct wal_state *state, wal_number_t number, uint64_t bytes)
{
    if (state->files_count > 0) CHECK(wal_state_last_file(state)->number + 1 == number);
    if (state->files_count == state->files_capacity) {
        state->files_capacity = state->files_capacity * 2 + 8;
        state->files = mem_resize(state->files, state->files_capacity * sizeof *state->files);
    }
    state->files[state->files_count++] = (struct wal_held){
        .number = number,
        .bytes = bytes,
        .highest = mem_zero(state->parts_count * sizeof(index_t)),
    };
}

struct wal_held *wal_state_last_file(struct wal_state *state)
{
    CHECK(state->files_count > 0);
    return &state->files[state->files_count - 1];
}

void wal_state_note(struct wal_state *state, const struct wal_record *record)
{
    part_t part = record->part;
    CHECK(part < state->parts_count);
    index_t *highest = &wal_state_last_file(state)->highest[part];
    switch (record->kind) {
        case WAL_ENTRY:
            if (record->index > *highest) *highest = record->index;
            break;
        case WAL_TRUNCATE:
            for (size_t i = 0; i < state->files_count; i++) {
                highest = &state->files[i].highest[part];
                if (*highest >= record->index) *highest = record->index - 1;
            }
            break;
        case WAL_VOTE:
            state->seats[part] = (struct wal_seat){record->term, record->vote};
            break;
    }
}

void wal_state_release(struct wal_state *state, part_t part, index_t index)
{
    CHECK(part < state->parts_count);
    if (index > state->released[part]) state->released[part] = index;
}

bool wal_state_oldest_pin(const struct wal_state *state, part_t *part)
{
    if (state->files_count == 0) return false;
    const struct wal_held *oldest = &state->files[0];
    for (unsigned i = 0; i < state->parts_count; i++)
        if (oldest->highest[i] > state->released[i]) {
            *part = (part_t)i;
            return true;
        }
    return false;
}

wal_number_t wal_state_drop_oldest(struct wal_state *state)
{
    part_t part;
    if (state->files_count < 2 || !state->files[1].settled) return 0;
    if (wal_state_oldest_pin(state, &part)) return 0;
    wal_number_t number = state->files[0].number;
    free(state->files[0].highest);
    state->files_count--;
    memmove(state->files, state->files + 1, state->files_count * sizeof *state->files);
    return number;
}

uint64_t wal_state_bytes(const struct wal_state *state)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < state->files_count; i++)
        bytes += state->files[i].bytes;
    return bytes;
}
