/* log/memtable.c -- see memtable.h.
 *
 * Happy path: put finds the key in the hash table and overwrites the value in place, or links a new
 * node. A record's key follows that of the record before it in the same stream, so with that one
 * as the hint nearly all new nodes (those of height 1) are linked without a search.
 * Invariant: a node is in the list and in the hash table, or in neither. */
#include "log/memtable.h"

#include <stdlib.h>

#include "log/pack.h"

enum {
    HEIGHT_MAX = 12,          /* At 1 in 4 a level: 16 million nodes. */
    CHUNK_BYTES = 128 * 1024, /* Values larger than a quarter of it get a chunk of their own. */
    SLOTS_FIRST = 256,
};

struct memtable_node {
    uint8_t *value;
    index_t index;
    uint32_t value_len, value_room;
    uint32_t hash; /* Of the key: most unequal keys differ here. */
    uint16_t key_len;
    uint8_t flags, height;
    struct memtable_node *next[]; /* height of them, then the key's bytes. */
};

struct chunk {
    struct chunk *next;
    size_t used, room;
    uint8_t bytes[];
};

struct memtable {
    struct store_budget *budget;
    struct chunk *chunks; /* The first one is being filled. */
    struct memtable_node **slots;
    size_t slots_count; /* A power of two. */
    size_t rows_count;
    size_t bytes;
    uint64_t chance; /* Heights need no secret, and the same rows give the same table. */
    unsigned refs;
    bool frozen;
    struct memtable_node *first[HEIGHT_MAX];
};

static void table_grew(struct memtable *table, size_t bytes)
{
    table->bytes += bytes;
    table->budget->used_bytes += bytes;
}

struct memtable *memtable_create(struct store_budget *budget)
{
    struct memtable *table = mem_zero(sizeof(*table));
    table->budget = budget;
    table->slots_count = SLOTS_FIRST;
    table->slots = mem_zero(SLOTS_FIRST * sizeof(*table->slots));
    table->chance = 0x9e3779b97f4a7c15; /* Any odd number. */
    table->refs = 1;
    table_grew(table, sizeof(*table) + SLOTS_FIRST * sizeof(*table->slots));
    return table;
}

void memtable_ref(struct memtable *table)
{
    CHECK(table->refs > 0);
    table->refs++;
}

void memtable_unref(struct memtable *table)
{
    CHECK(table->refs > 0);
    if (--table->refs > 0) return;
    while (table->chunks != NULL) {
        struct chunk *chunk = table->chunks;
        table->chunks = chunk->next;
        free(chunk);
    }
    table->budget->used_bytes -= table->bytes;
    free(table->slots);
    free(table);
}

/* ---- memory ---- */

static struct chunk *chunk_add(struct memtable *table, size_t room)
{
    struct chunk *chunk = mem_alloc(sizeof(*chunk) + room);
    *chunk = (struct chunk){.room = room};
    table_grew(table, sizeof(*chunk) + room);
    return chunk;
}

/* Memory that lives as long as the table, aligned for a pointer. */
static void *table_alloc(struct memtable *table, size_t bytes)
{
    bytes = (bytes + 7) & ~(size_t)7;
    struct chunk *chunk = table->chunks;
    if (bytes > CHUNK_BYTES / 4) {
        struct chunk *own = chunk_add(table, bytes);
        own->used = bytes;
        if (chunk == NULL) {
            table->chunks = own;
        } else { /* Behind the one being filled. */
            own->next = chunk->next;
            chunk->next = own;
        }
        return own->bytes;
    }
    if (chunk == NULL || chunk->room - chunk->used < bytes) {
        struct chunk *fresh = chunk_add(table, CHUNK_BYTES);
        fresh->next = chunk;
        table->chunks = chunk = fresh;
    }
    void *at = chunk->bytes + chunk->used;
    chunk->used += bytes;
    return at;
}

static struct slice node_key(const struct memtable_node *node)
{
    return (struct slice){node->next + node->height, node->key_len};
}

static void node_set(struct memtable *table, struct memtable_node *node, const struct row *row)
{
    size_t len = row->value.len;
    CHECK(len <= ROW_VALUE_BYTES_MAX);
    if (len > node->value_room) {
        /* A value that was outgrown once will be again: producers and tags fill up. */
        size_t room = node->value_room == 0 ? len : len + len / 2;
        node->value = table_alloc(table, room);
        node->value_room = (uint32_t)room;
    }
    if (len != 0) memcpy(node->value, row->value.data, len);
    node->value_len = (uint32_t)len;
    node->index = row->index;
    node->flags = row->flags;
}

/* ---- the hash table ---- */

static size_t slot_of(const struct memtable *table, struct slice key, uint32_t hash)
{
    size_t at = hash & (table->slots_count - 1);
    for (;; at = (at + 1) & (table->slots_count - 1)) {
        struct memtable_node *node = table->slots[at];
        if (node == NULL) return at;
        if (node->hash == hash && slice_equal(node_key(node), key)) return at;
    }
}

static void slots_double(struct memtable *table)
{
    size_t old_count = table->slots_count;
    struct memtable_node **old = table->slots;
    table->slots_count = 2 * old_count;
    table->slots = mem_zero(table->slots_count * sizeof(*table->slots));
    for (size_t i = 0; i < old_count; i++) {
        if (old[i] == NULL) continue;
        size_t at = old[i]->hash & (table->slots_count - 1);
        while (table->slots[at] != NULL)
            at = (at + 1) & (table->slots_count - 1);
        table->slots[at] = old[i];
    }
    table_grew(table, old_count * sizeof(*old));
    free(old);
}

/* ---- the list ---- */

/* 1 in 4 nodes of a level is in the next; of hinted ones, which need no search at the lowest level
 * alone, 1 in 16 is in the second. */
static unsigned height_draw(struct memtable *table, bool hinted)
{
    unsigned height = 1;
    table->chance ^= table->chance << 13; /* xorshift64, Marsaglia 2003. */
    table->chance ^= table->chance >> 7;
    table->chance ^= table->chance << 17;
    uint64_t bits = table->chance;
    if (hinted && (bits & 3) != 0) return 1;
    if (hinted) bits >>= 2;
    while (height < HEIGHT_MAX && (bits & 3) == 0) {
        height++;
        bits >>= 2;
    }
    return height;
}

/* At each level, the link that a node with this key belongs behind. */
static void links_find(struct memtable *table, struct slice key,
                       struct memtable_node **links[HEIGHT_MAX])
{
    struct memtable_node **next = table->first;
    for (int level = HEIGHT_MAX - 1; level >= 0; level--) {
        while (next[level] != NULL && slice_compare(node_key(next[level]), key) < 0)
            next = next[level]->next;
        links[level] = &next[level];
    }
}

/* The lowest link behind the hinted node when the key belongs right there; otherwise NULL. */
static struct memtable_node **link_hinted(struct memtable *table, struct slice key,
                                          const struct row_key *before)
{
    struct slice hint = row_key_bytes(before);
    uint32_t hash = (uint32_t)hash64(hint);
    struct memtable_node *node = table->slots[slot_of(table, hint, hash)];
    if (node == NULL || slice_compare(hint, key) >= 0) return NULL;
    if (node->next[0] != NULL && slice_compare(node_key(node->next[0]), key) < 0) return NULL;
    return &node->next[0];
}

static void node_link(struct memtable *table, struct memtable_node *node,
                      const struct row_key *before)
{
    struct memtable_node **links[HEIGHT_MAX];
    links[0] = NULL;
    if (node->height == 1 && before != NULL) links[0] = link_hinted(table, node_key(node), before);
    if (links[0] == NULL) links_find(table, node_key(node), links);
    for (unsigned level = 0; level < node->height; level++) {
        node->next[level] = *links[level];
        *links[level] = node;
    }
}

bool memtable_put(struct memtable *table, const struct row *row, const struct row_key *before)
{
    CHECK(!table->frozen);
    uint32_t hash = (uint32_t)hash64(row->key);
    size_t at = slot_of(table, row->key, hash);
    struct memtable_node *node = table->slots[at];
    if (node != NULL) {
        CHECK(node->index <= row->index);
        node_set(table, node, row);
        return false;
    }
    CHECK(row->key.len >= 3 && row->key.len <= ROW_KEY_BYTES_MAX);
    unsigned height = height_draw(table, before != NULL);
    node = table_alloc(table, sizeof(*node) + height * sizeof(node->next[0]) + row->key.len);
    *node = (struct memtable_node){
        .hash = hash, .key_len = (uint16_t)row->key.len, .height = (uint8_t)height};
    memcpy(node->next + height, row->key.data, row->key.len);
    node_set(table, node, row);
    node_link(table, node, before);
    table->slots[at] = node;
    table->rows_count++;
    if (table->rows_count * 2 > table->slots_count) slots_double(table);
    return true;
}

static void node_row(const struct memtable_node *node, struct row *out)
{
    *out = (struct row){node_key(node), {node->value, node->value_len}, node->index, node->flags};
}

bool memtable_get(const struct memtable *table, struct slice key, struct row *out)
{
    const struct memtable_node *node = table->slots[slot_of(table, key, (uint32_t)hash64(key))];
    if (node == NULL) return false;
    node_row(node, out);
    return true;
}

void memtable_freeze(struct memtable *table)
{
    table->frozen = true;
}

size_t memtable_bytes(const struct memtable *table)
{
    return table->bytes;
}

size_t memtable_rows(const struct memtable *table)
{
    return table->rows_count;
}

void memtable_seek(const struct memtable *table, struct slice key, struct memtable_iter *iter)
{
    struct memtable_node *const *next = table->first;
    for (int level = HEIGHT_MAX - 1; level >= 0; level--)
        while (next[level] != NULL && slice_compare(node_key(next[level]), key) < 0)
            next = next[level]->next;
    iter->node = next[0];
}

bool memtable_row(const struct memtable_iter *iter, struct row *out)
{
    if (iter->node == NULL) return false;
    node_row(iter->node, out);
    return true;
}

void memtable_step(struct memtable_iter *iter)
{
    CHECK(iter->node != NULL);
    iter->node = iter->node->next[0];
}
