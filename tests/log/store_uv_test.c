/* tests/log/store_uv_test.c -- the store with real threads and a real disk: checkpoints, cold
 * fetches, queries and deltas at once while entries are applied; and closing in the middle of it.
 *
 * Method: a small budget, so that rows go cold at once; the sanitizers see what threads share. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "log/entry.h"
#include "log/env_uv.h"
#include "log/store.h"
#include "tests/lib/dir.h"

enum { ENTRIES = 300, STREAMS = 40, ASKS = 8 };

static struct dir dir;
static struct env_uv *uv;
static struct env *env;
static struct store_budget budget = {.limit_bytes = 4 << 20};
static struct store *store;
static unsigned under_way;
static unsigned answered;

static void store_start(void)
{
    char *path = dir_path(&dir, "store");
    char why[256];
    struct store_config config = {.dir = path, .owner = 1, .budget = &budget};
    cr_assert_eq(store_open(env, &config, &store, why, sizeof(why)), 0, "%s", why);
    free(path);
}
static void set_up(void)
{
    dir_set_up(&dir);
    cr_assert_eq(env_uv_create(NULL, &uv), 0);
    env = env_uv_env(uv);
    store_start();
}
static void tear_down(void)
{
    store_close(store);
    env_uv_destroy(uv);
    cr_expect_eq(budget.used_bytes, 0);
    dir_tear_down(&dir);
}
TestSuite(store_uv, .init = set_up, .fini = tear_down, .timeout = 60);

/* Something was done: have env_uv_run return. */
static void ended(void)
{
    CHECK(under_way > 0);
    under_way--;
    env_uv_stop(uv);
}
static void drain(unsigned left)
{
    while (under_way > left)
        env_uv_run(uv);
}

static void stream_name(unsigned i, char out[16])
{
    snprintf(out, 16, "c/%u", i % STREAMS);
}

static bool fetched;
static void fetch_done(struct store_fetch *fetch, int err)
{
    (void)fetch;
    cr_assert_eq(err, 0);
    fetched = true;
    ended();
}

/* One record for each of four streams. */
static void apply_one(unsigned number)
{
    struct entry entry = {0};
    struct buf bytes = {0}, payload = {0};
    char name[16], text[64];
    for (unsigned i = 0; i < 4; i++) {
        stream_name(number * 4 + i, name);
        snprintf(text, sizeof(text), "%s record of entry %u", name, number);
        struct txn_record record = {.payload = slice_str(text)};
        struct txn txn = {.stream = slice_str(name), .records = &record, .records_count = 1};
        bytes.len = 0;
        cr_assert_eq(txn_encode(&txn, &bytes), 0);
        entry_add(&entry, buf_bytes(&bytes));
    }
    entry_close(&entry, number, &payload);
    struct store_fetch fetch = {.entry = buf_bytes(&payload), .done = fetch_done};
    fetched = store_fetch(store, &fetch);
    if (!fetched) under_way++;
    while (!fetched)
        env_uv_run(uv);
    cr_assert_eq(store_apply(store, number, 1, fetch.entry, NULL, NULL), 0);
    entry_free(&entry);
    buf_free(&bytes);
    buf_free(&payload);
}

static struct asking {
    struct store_query query;
    char name[16];
    bool busy;
} asks[ASKS];

static void query_done(struct store_query *query, int err)
{
    struct asking *asking = CONTAINER_OF(query, struct asking, query);
    cr_assert(err == 0 || (err == ERR_NO_STREAM && query->head.version == 0), "%s", err_text(err));
    cr_assert_eq(query->rows_count, query->head.last < 30 ? query->head.last : 30);
    buf_free(&query->rows);
    asking->busy = false;
    answered++;
    ended();
}

static void ask(unsigned i)
{
    struct asking *asking = &asks[i % ASKS];
    if (asking->busy) return;
    stream_name(i * 7, asking->name);
    asking->busy = true;
    asking->query = (struct store_query){.kind = STORE_RECORDS,
                                         .stream = slice_str(asking->name),
                                         .backwards = i % 2,
                                         .limit_count = 30,
                                         .limit_bytes = 1 << 20,
                                         .done = query_done};
    under_way++;
    store_query(store, &asking->query);
}

static void checkpoint_done(void *arg, int err)
{
    (void)arg;
    cr_assert_eq(err, 0);
    ended();
}

static void delta_done(void *arg, int err, struct store_delta *delta)
{
    (void)arg;
    cr_assert_eq(err, 0);
    store_delta_release(delta);
    ended();
}

/* Entries first .. last, with all that goes on beside. */
static void work(unsigned first, unsigned last)
{
    for (unsigned i = first; i <= last; i++) {
        apply_one(i);
        ask(i);
        if (i % 10 == 0 && store_checkpoint(store, checkpoint_done, NULL) == 0) under_way++;
        if (i % 50 == 25 && store_delta_make(store, 0, delta_done, NULL) == 0) under_way++;
        if (under_way > 6) drain(3);
    }
}

static index_t manifest_index(void)
{
    return store_manifest(store)->index;
}

Test(store_uv, everything_at_once_on_real_threads)
{
    struct store_stats stats;
    work(1, ENTRIES);
    drain(0);
    store_stats(store, &stats);
    cr_expect_gt(stats.checkpoints_count, 0); /* How many fit in: the disk's speed tells. */
    cr_expect_gt(answered, 100);
    uint64_t history = store_facts(store)->history;
    cr_assert_eq(store_checkpoint(store, checkpoint_done, NULL), 0);
    under_way++;
    drain(0);
    cr_expect_eq(manifest_index(), ENTRIES);
    store_close(store);
    store_start();
    cr_expect_eq(store_facts(store)->history, history);
}

/* Whatever is under way, the store closes, opens again, and goes on from its manifest. */
Test(store_uv, closing_in_the_middle_leaves_a_sound_folder)
{
    unsigned next = 1;
    for (unsigned round = 0; round < 30; round++) {
        work(next, next + 12);
        (void)!store_checkpoint(store, checkpoint_done, NULL);
        (void)!store_delta_make(store, 0, delta_done, NULL);
        ask(round);
        store_close(store);
        for (unsigned i = 0; i < ASKS; i++) {
            asks[i].busy = false;
            buf_free(&asks[i].query.rows);
        }
        under_way = 0;
        store_start();
        next = (unsigned)manifest_index() + 1;
        if (next > 200) next = (unsigned)store_facts(store)->index + 1;
    }
    cr_expect_gt(next, 1);
}
