/* tests/log/store_rig.c -- see store_rig.h. */
#include "tests/log/store_rig.h"

#include <stdlib.h>

enum { WAIT_US = 60 * 1000 * 1000 };

static void rig_boot(void *arg, struct env *env)
{
    struct rig *rig = arg;
    struct store_config config = {
        .dir = "/data/store", .part = 3, .owner = rig->owner, .budget = &rig->budget};
    rig->env = env;
    rig->open_err = store_open(env, &config, &rig->store, rig->why, sizeof(rig->why));
    if (rig->open_err != 0) rig->store = NULL;
}

static void ahead_forget(struct rig *rig);

static void rig_died(void *arg)
{
    struct rig *rig = arg;
    if (rig->install != NULL) store_install_cancel(rig->install);
    rig->install = NULL;
    if (rig->store != NULL) store_abandon(rig->store);
    rig->store = NULL;
    ahead_forget(rig);
}

static const struct sim_program program = {rig_boot, rig_died};

static bool flag_up(void *arg)
{
    return *(const bool *)arg;
}

void rig_wait(struct rig *rig, const bool *flag)
{
    CHECK(world_run_until(rig->world, flag_up, (void *)flag, WAIT_US));
}

bool rig_up(const struct rig *rig)
{
    return rig->store != NULL && sim_node_up(rig->node);
}

static bool node_up(void *arg)
{
    struct rig *rig = arg;
    return rig->store != NULL || rig->open_err != 0;
}

static void rig_feed(struct rig *rig, index_t index);

void rig_start(struct rig *rig)
{
    CHECK(rig->store == NULL);
    rig->open_err = 0;
    sim_node_start(rig->node);
    CHECK(world_run_until(rig->world, node_up, rig, WAIT_US));
    if (rig->store == NULL) return;
    for (index_t i = store_facts(rig->store)->index + 1; i <= rig->entries_count; i++)
        rig_feed(rig, i);
}

void rig_open(struct rig *rig, struct world *world, const char *name, size_t limit_bytes)
{
    memset(rig, 0, sizeof(*rig));
    rig->world = world;
    rig->budget.limit_bytes = limit_bytes;
    rig->owner = 77;
    rig->entries = mem_zero(RIG_ENTRIES_MAX * sizeof(rig->entries[0]));
    rig->node = sim_node_create(world, name, &program, rig);
    rig_start(rig);
    CHECK(rig->store != NULL);
}

void rig_close(struct rig *rig)
{
    if (rig->store != NULL) store_close(rig->store);
    rig->store = NULL;
    ahead_forget(rig);
    CHECK(rig->budget.used_bytes == 0); /* All that was counted is gone. */
    for (unsigned i = 0; i < rig->entries_count; i++)
        free((void *)rig->entries[i].data);
    free(rig->entries);
}

void rig_crash(struct rig *rig, enum sim_crash how)
{
    sim_node_crash(rig->node, how);
    rig_start(rig);
}

/* ---- applying ---- */

struct rig_ahead {
    struct rig_ahead *next;
    index_t index;
    struct store_fetch fetch;
    bool done;
    int err;
};

static void ahead_done(struct store_fetch *fetch, int err)
{
    struct rig_ahead *ahead = CONTAINER_OF(fetch, struct rig_ahead, fetch);
    CHECK(!ahead->done);
    ahead->done = true;
    ahead->err = err;
}

static void ahead_forget(struct rig *rig)
{
    while (rig->ahead != NULL) {
        struct rig_ahead *ahead = rig->ahead;
        rig->ahead = ahead->next;
        free(ahead);
    }
}

/* Fetch an entry that is in rig->entries. */
static void rig_fetch(struct rig *rig, index_t index)
{
    struct rig_ahead *ahead = mem_zero(sizeof(*ahead)), **end = &rig->ahead;
    while (*end != NULL)
        end = &(*end)->next;
    *end = ahead;
    ahead->index = index;
    ahead->fetch = (struct store_fetch){.entry = rig->entries[index - 1], .done = ahead_done};
    if (ahead->fetch.entry.len == 0 || store_fetch(rig->store, &ahead->fetch)) ahead->done = true;
}

bool rig_pop(struct rig *rig)
{
    struct rig_ahead *ahead = rig->ahead;
    if (ahead == NULL) return false;
    if (!ahead->done) rig_wait(rig, &ahead->done);
    CHECK(ahead->err == 0);
    rig->ahead = ahead->next;
    rig->applying = ahead->index;
    if (ahead->fetch.entry.len == 0)
        store_skip(rig->store, ahead->index, 1, NULL);
    else
        CHECK(store_apply(rig->store, ahead->index, 1, ahead->fetch.entry, rig->applied,
                          rig->arg) == 0);
    free(ahead);
    return true;
}

static void rig_feed(struct rig *rig, index_t index)
{
    rig_fetch(rig, index);
    CHECK(rig_pop(rig));
}

void rig_push(struct rig *rig, struct slice entry)
{
    CHECK(rig->entries_count < RIG_ENTRIES_MAX);
    rig->entries[rig->entries_count++] =
        (struct slice){entry.len == 0 ? NULL : mem_copy(entry.data, entry.len), entry.len};
    rig_fetch(rig, rig->entries_count);
}

void rig_apply(struct rig *rig, struct slice entry)
{
    CHECK(rig->ahead == NULL);
    rig_push(rig, entry);
    CHECK(rig_pop(rig));
}

void rig_skip(struct rig *rig)
{
    rig_apply(rig, (struct slice){NULL, 0});
}

static void outcome_keep(void *arg, const struct applied_txn *applied)
{
    *(struct outcome *)arg = *applied->outcome;
}

struct outcome rig_txn(struct rig *rig, const struct txn *txn, int64_t time_ms)
{
    struct entry entry = {0};
    struct buf bytes = {0}, payload = {0};
    struct outcome outcome = {0};
    CHECK(txn_encode(txn, &bytes) == 0);
    entry_add(&entry, buf_bytes(&bytes));
    entry_close(&entry, time_ms, &payload);
    rig->applied = outcome_keep;
    rig->arg = &outcome;
    rig_apply(rig, buf_bytes(&payload));
    rig->applied = NULL;
    entry_free(&entry);
    buf_free(&bytes);
    buf_free(&payload);
    return outcome;
}

/* ---- reading, checkpoints ---- */

struct asking {
    bool done;
    int err;
};
static struct asking asked; /* One query at a time. */

static void asking_done(struct store_query *query, int err)
{
    (void)query;
    CHECK(!asked.done);
    asked = (struct asking){true, err};
}

int rig_query(struct rig *rig, struct store_query *query)
{
    asked = (struct asking){0};
    query->done = asking_done;
    store_query(rig->store, query);
    CHECK(!asked.done); /* Never from inside the call. */
    rig_wait(rig, &asked.done);
    return asked.err;
}

static void flag_done(void *arg, int err)
{
    struct asking *asking = arg;
    asking->done = true;
    asking->err = err;
}

int rig_checkpoint(struct rig *rig)
{
    struct asking asking = {0};
    int err = store_checkpoint(rig->store, flag_done, &asking);
    if (err != 0) return err;
    rig_wait(rig, &asking.done);
    return asking.err;
}

/* ---- deltas ---- */

struct making {
    struct asking asking;
    struct store_delta *delta;
};

static void delta_made(void *arg, int err, struct store_delta *delta)
{
    struct making *making = arg;
    making->asking = (struct asking){true, err};
    making->delta = delta;
}

/* All of it, in pieces of an odd size. */
static void delta_carry(struct store_delta *delta, struct store_install *install)
{
    uint8_t piece[4001];
    uint64_t offset = 0;
    size_t got;
    do {
        CHECK(store_delta_read(delta, offset, piece, sizeof(piece), &got) == 0);
        if (got != 0) store_install_put(install, (struct slice){piece, got});
        offset += got;
    } while (got == sizeof(piece));
    CHECK(offset == store_delta_bytes(delta));
}

/* The entries that the state stands for, so that a crash can go on from there. */
static void entries_adopt(struct rig *to, const struct rig *from_rig, index_t index)
{
    for (unsigned i = 0; i < to->entries_count; i++)
        free((void *)to->entries[i].data);
    to->entries_count = (unsigned)index;
    for (unsigned i = 0; i < to->entries_count; i++) {
        struct slice entry = from_rig->entries[i];
        to->entries[i] =
            (struct slice){entry.len == 0 ? NULL : mem_copy(entry.data, entry.len), entry.len};
    }
}

int rig_seed(struct rig *to, struct rig *from_rig, index_t from)
{
    struct making making = {0};
    struct asking asking = {0};
    struct store_install *install;
    CHECK(store_delta_make(from_rig->store, from, delta_made, &making) == 0);
    rig_wait(from_rig, &making.asking.done);
    CHECK(making.asking.err == 0);
    index_t index = store_delta_facts(making.delta)->index;
    CHECK(store_install_begin(to->store, store_delta_facts(making.delta), from, &install) == 0);
    delta_carry(making.delta, install);
    store_delta_release(making.delta);
    store_install_finish(install, flag_done, &asking);
    rig_wait(to, &asking.done);
    if (asking.err != 0) {
        store_install_cancel(install);
        return asking.err;
    }
    asking.done = false;
    store_install_commit(install, 1, flag_done, &asking);
    rig_wait(to, &asking.done);
    if (asking.err == 0) entries_adopt(to, from_rig, index);
    return asking.err;
}
