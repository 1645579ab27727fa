/* raft/table.c -- see table.h. Chains: a link is found after one step on average, since there are
 * never more links than chains. */
#include "raft/table.h"

#include <stdlib.h>

enum { CHAINS_FIRST = 64 };

static struct table_link **chain_of(const struct table *table, uint64_t hash)
{
    return &table->chains[hash & (table->chains_count - 1)];
}

static void table_grow(struct table *table)
{
    struct table old = *table;
    table->chains_count = old.chains_count == 0 ? CHAINS_FIRST : 2 * old.chains_count;
    table->chains = mem_zero(table->chains_count * sizeof(table->chains[0]));
    for (size_t i = 0; i < old.chains_count; i++)
        while (old.chains[i] != NULL) {
            struct table_link *link = old.chains[i];
            old.chains[i] = link->next;
            struct table_link **chain = chain_of(table, link->hash);
            link->next = *chain;
            *chain = link;
        }
    free(old.chains);
}

void table_add(struct table *table, struct table_link *link, uint64_t hash)
{
    if (table->count == table->chains_count) table_grow(table);
    struct table_link **chain = chain_of(table, hash);
    link->hash = hash;
    link->next = *chain;
    *chain = link;
    table->count++;
}

void table_remove(struct table *table, struct table_link *link)
{
    CHECK(table->count > 0);
    struct table_link **at = chain_of(table, link->hash);
    while (*at != link) {
        CHECK(*at != NULL);
        at = &(*at)->next;
    }
    *at = link->next;
    table->count--;
}

struct table_link *table_find(const struct table *table, uint64_t hash)
{
    if (table->chains_count == 0) return NULL;
    struct table_link *link = *chain_of(table, hash);
    while (link != NULL && link->hash != hash)
        link = link->next;
    return link;
}

struct table_link *table_find_next(const struct table_link *link)
{
    uint64_t hash = link->hash;
    struct table_link *next = link->next;
    while (next != NULL && next->hash != hash)
        next = next->next;
    return next;
}

void table_free(struct table *table)
{
    free(table->chains);
    *table = (struct table){0};
}
