/* tests/log/store_rig.h -- a store on a simulated node, driven step by step: the test says what is
 * applied, the rig keeps every entry as a write-ahead log would and applies it again after a crash.
 *
 * Owns: world, node, store. Everything that cannot be done aborts the test (CHECK). */
#ifndef TESTS_LOG_STORE_RIG_H_
#define TESTS_LOG_STORE_RIG_H_

#include "jepsen/sim/world.h"
#include "log/entry.h"
#include "log/store.h"

enum { RIG_ENTRIES_MAX = 20000 };

struct rig {
    struct world *world; /* Shared by all rigs of a test. */
    struct sim_node *node;
    struct env *env;
    struct store_budget budget;
    struct store *store;   /* NULL while the node is down. */
    struct slice *entries; /* entries[i] is index i + 1; empty ones are skips. Owned. */
    unsigned entries_count;
    applied_cb applied; /* Called for what is applied, also again. May be NULL. */
    void *arg;
    index_t applying;        /* The entry that `applied` is called for. */
    struct rig_ahead *ahead; /* Fetched and not applied, in order. */
    char why[256];
    int open_err;                  /* Of the last store_open. */
    uint64_t owner;                /* Given to store_open. */
    struct store_install *install; /* Canceled when the node dies; may be NULL. */
};

/* A node `name` in world with an empty folder, and its store, open. limit_bytes: the budget. */
void rig_open(struct rig *rig, struct world *world, const char *name, size_t limit_bytes);
void rig_close(struct rig *rig); /* Before world_destroy. */

/* Crash and start again: entries beyond the manifest are applied again. */
void rig_crash(struct rig *rig, enum sim_crash how);
/* After a crash that came by itself (disk_cut_before). */
void rig_start(struct rig *rig);
bool rig_up(const struct rig *rig);

/* Apply one entry (copied) as the next one, fetch and all. */
void rig_apply(struct rig *rig, struct slice entry);
void rig_skip(struct rig *rig);
/* The two halves of rig_apply: several entries may be fetched ahead. A crash forgets the fetches
 * and applies the entries. */
void rig_push(struct rig *rig, struct slice entry);
bool rig_pop(struct rig *rig); /* False: nothing was pushed. */
/* One transaction as an entry of its own, at time_ms. */
struct outcome rig_txn(struct rig *rig, const struct txn *txn, int64_t time_ms);
int rig_query(struct rig *rig, struct store_query *query);
int rig_checkpoint(struct rig *rig);
/* Copy from's state: a delta from index `from`, installed. */
int rig_seed(struct rig *to, struct rig *from_rig, index_t from);

/* Run the world until *flag. */
void rig_wait(struct rig *rig, const bool *flag);

#endif /* TESTS_LOG_STORE_RIG_H_ */
