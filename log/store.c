/* log/store.c -- opening and closing a store, and what its other files share.
 *
 * Happy path of opening: the manifest is read, files it does not name are deleted (they belong to a
 * checkpoint or an install that did not reach its rename), and its runs are opened.
 * Invariant: a folder with runs has a manifest; it is written before the first run. */
#include <stdio.h>
#include <stdlib.h>

#include "log/store_impl.h"

enum {
    /* Of the budget, for one store: with 16 of them, half of it for blocks and a quarter for rows,
     * and the budget itself evicts before that when memtables need it. */
    BLOCKS_SHARE = 32,
    ROWS_SHARE = 64,
};

struct reading store_reading(struct store *store)
{
    return (struct reading){.active = store->active, .view = store->view, .rows = store->rows};
}

void store_facts_set(struct store *store, const struct store_facts *facts)
{
    struct buf configuration = {0};
    buf_put(&configuration, facts->configuration.data, facts->configuration.len);
    buf_free(&store->configuration); /* Only now: facts may point into it. */
    store->configuration = configuration;
    store->facts = *facts;
    store->facts.configuration = buf_bytes(&store->configuration);
}

void store_view_set(struct store *store, struct view *view)
{
    view_unref(store->view);
    store->view = view;
}

void store_table_leave(struct store *store, struct view_table *table)
{
    CHECK(table->written);
    if (table->leaving) return;
    table->leaving = true;
    table->until = store->fetches_made;
    store->tables_leaving++;
}

void store_tables_trim(struct store *store)
{
    struct view_table kept[STORE_TABLES_MAX];
    unsigned count = 0;
    if (store->tables_leaving == 0) return;
    for (unsigned i = 0; i < store->view->tables_count; i++) {
        const struct view_table *table = &store->view->tables[i];
        if (table->leaving && table->until < fetch_oldest(store))
            store->tables_leaving--;
        else
            kept[count++] = *table;
    }
    if (count == store->view->tables_count) return;
    store_view_set(store, view_create(kept, count, store->view->runs, store->view->runs_count));
}

/* ---- opening ---- */

struct names {
    char (*list)[64];
    unsigned count, room;
};

static void name_note(void *arg, const char *name)
{
    struct names *names = arg;
    size_t len = strlen(name);
    if (len >= sizeof(names->list[0])) return; /* None of ours. */
    if (names->count == names->room) {
        names->room = names->room == 0 ? 16 : names->room * 2;
        names->list = mem_resize(names->list, names->room * sizeof(names->list[0]));
    }
    memcpy(names->list[names->count++], name, len + 1);
}

static bool is_run(const char *name)
{
    size_t len = strlen(name);
    return len > 4 && strcmp(name + len - 4, ".run") == 0;
}

/* Delete what the manifest does not name. ERR_CORRUPT: there are runs and no manifest. */
static int files_tidy(struct store *store, bool fresh)
{
    struct names names = {0};
    int err = env_dir_list(store->env, store->dir, name_note, &names);
    for (unsigned i = 0; i < names.count && err == 0; i++) {
        char path[STORE_PATH_BYTES_MAX];
        if (fresh && is_run(names.list[i])) err = ERR_CORRUPT;
        if (manifest_names(&store->manifest, names.list[i]) || err != 0) continue;
        int len = snprintf(path, sizeof(path), "%s/%s", store->dir, names.list[i]);
        CHECK(len > 0 && (size_t)len < sizeof(path));
        err = env_unlink(store->env, path);
    }
    free(names.list);
    return err;
}

/* The folder itself must outlive a power cut: its name lies in the one above. */
static int parent_sync(const struct store *store)
{
    char above[STORE_PATH_BYTES_MAX];
    const char *end = strrchr(store->dir, '/');
    CHECK(store->dir[0] == '/' && end[1] != 0);
    int len = snprintf(above, sizeof(above), "%.*s/", (int)(end - store->dir), store->dir);
    CHECK(len > 0 && (size_t)len < sizeof(above));
    if (len > 1) above[len - 1] = 0; /* Only the root keeps its slash. */
    return env_dir_sync(store->env, above);
}

static int manifest_open(struct store *store, const struct store_config *config, const char **what)
{
    *what = "manifest";
    int err = manifest_read(store->env, store->dir, &store->manifest);
    bool fresh = err == ERR_NOT_FOUND;
    if (fresh) {
        store->manifest =
            (struct manifest){.owner = config->owner, .part = config->part, .run_next = 1};
        store->manifest.runs = mem_zero(sizeof(struct manifest_run));
        err = 0;
    }
    if (err != 0) return err;
    if (store->manifest.owner != config->owner || store->manifest.part != config->part)
        return ERR_FOREIGN;
    *what = fresh ? "manifest (missing beside runs)" : "folder";
    err = files_tidy(store, fresh);
    if (err == 0 && fresh) err = parent_sync(store);
    if (err == 0 && fresh) err = manifest_write(store->env, store->dir, &store->manifest);
    return err;
}

static int runs_open(struct store *store, char *what, size_t what_bytes)
{
    struct run **runs = mem_alloc((store->manifest.runs_count + 1) * sizeof(struct run *));
    unsigned opened = 0;
    int err = 0;
    for (unsigned i = 0; i < store->manifest.runs_count && err == 0; i++) {
        const struct manifest_run *run = &store->manifest.runs[i];
        char path[STORE_PATH_BYTES_MAX];
        run_path(path, store->dir, run->number);
        err = run_open(store->env, store->blocks, path, run->id, run->bytes, &store->damage_count,
                       &runs[i]);
        if (err == 0) opened++;
        if (err != 0) snprintf(what, what_bytes, "run %016llx", (unsigned long long)run->number);
    }
    if (err == 0) store->view = view_create(NULL, 0, runs, opened);
    for (unsigned i = 0; i < opened; i++)
        run_unref(runs[i]);
    free(runs);
    return err;
}

static void store_free(struct store *store)
{
    fetch_free_all(store);
    answers_free(store);
    if (store->view != NULL) view_unref(store->view);
    memtable_unref(store->active);
    rowcache_destroy(store->rows);
    cache_destroy(store->blocks);
    manifest_free(&store->manifest);
    manifest_free(&store->frozen);
    sha_close(&store->sha);
    buf_free(&store->configuration);
    buf_free(&store->scratch);
    buf_free(&store->header);
    buf_free(&store->value);
    free(store->dir);
    free(store);
}

int store_open(struct env *env, const struct store_config *config, struct store **out, char *why,
               size_t why_bytes)
{
    const char *what = "folder";
    char run[32];
    struct store *store = mem_zero(sizeof(*store));
    CHECK(strlen(config->dir) < STORE_PATH_BYTES_MAX - 64);
    store->env = env;
    store->dir = mem_string(slice_str(config->dir));
    store->budget = config->budget;
    store->blocks = cache_create(config->budget, config->budget->limit_bytes / BLOCKS_SHARE);
    store->rows = rowcache_create(config->budget, config->budget->limit_bytes / ROWS_SHARE);
    store->active = memtable_create(config->budget);
    sha_init(&store->sha);
    answers_init(store);
    int err = env_dir_make(env, store->dir);
    if (err == 0) err = manifest_open(store, config, &what);
    if (err == 0) {
        what = run;
        err = runs_open(store, run, sizeof(run));
    }
    if (err != 0) {
        snprintf(why, why_bytes, "%s: %s: %s", store->dir, what, err_text(err));
        store_free(store);
        return err;
    }
    store->run_next = store->manifest.run_next;
    store_facts_set(store, &store->manifest.facts);
    manifest_set_facts(&store->frozen, &store->manifest.facts);
    *out = store;
    return 0;
}

void store_close(struct store *store)
{
    jobs_close(store->env, &store->jobs);
    env_undefer(store->env, &store->answers_task);
    store_free(store);
}

void store_abandon(struct store *store)
{
    jobs_abandon(&store->jobs);
    store_free(store);
}

/* ---- facts and counts ---- */

const struct store_facts *store_manifest(const struct store *store)
{
    return &store->manifest.facts;
}

const struct store_facts *store_facts(const struct store *store)
{
    return &store->facts;
}

size_t store_dirty_bytes(const struct store *store)
{
    size_t bytes = memtable_rows(store->active) == 0 ? 0 : memtable_bytes(store->active);
    for (unsigned i = 0; i < store->view->tables_count; i++)
        if (!store->view->tables[i].written) bytes += memtable_bytes(store->view->tables[i].table);
    return bytes;
}

void store_stats(const struct store *store, struct store_stats *out)
{
    *out = (struct store_stats){
        .runs_count = store->view->runs_count,
        .memtable_bytes = memtable_bytes(store->active),
        .cache_bytes = cache_bytes(store->blocks) + rowcache_bytes(store->rows),
        .rows_fetched = store->rows_fetched,
        .damage_count = store->damage_count,
        .checkpoints_count = store->checkpoints_count,
    };
    for (unsigned i = 0; i < store->view->runs_count; i++)
        out->runs_bytes += run_file_bytes(store->view->runs[i]);
    for (unsigned i = 0; i < store->view->tables_count; i++)
        out->frozen_bytes += memtable_bytes(store->view->tables[i].table);
}
