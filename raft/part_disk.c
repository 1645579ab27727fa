/* raft/part_disk.c -- checkpoints, the snapshots that the gate asks for, and installs.
 *
 * Checkpoint: the store writes what it applied as a run; the manifest then stands for the log up to
 * its index, which the gate and the write-ahead log need no longer.
 * Snapshot: the gate wants a manifest of at least some index for a peer that is too far behind; a
 * checkpoint is made when the manifest is older.
 * Install, on the other end: the gate says who leads and up to what -> the node fetches the rows
 * (host.fetch) -> part_staged -> fetches and applying pause -> gate_install_ready -> the gate lets
 * libraft have the message -> install_commit -> the store's state is replaced -> gate_install_done.
 * Failure modes: rows that cannot be had: gate_install_ready(false), the leader says it again; a
 * commit that fails after libraft counted on it stops the process.
 * Invariant: from gate_install_ready(true) to the end no fetch and no checkpoint is under way. */
#include "raft/part_impl.h"

/* ---- checkpoints ---- */

void disk_manifest_told(struct part *part)
{
    index_t index = part->manifest < part->committed ? part->manifest : part->committed;
    if (part->gate == NULL || index <= part->gate_knows) return;
    part->gate_knows = index;
    gate_checkpointed(part->gate, index);
}

static void snapshot_answer(struct part *part, bool possible)
{
    part->snapshot_asked = false;
    if (part->gate == NULL) return;
    if (!possible) {
        gate_snapshot_ready(part->gate, NULL);
        return;
    }
    const struct store_facts *facts = store_manifest(part->store);
    struct buf data = {0};
    facts_encode(facts, &data);
    struct gate_snapshot snapshot = {.index = facts->index,
                                     .term = facts->term,
                                     .configuration = facts->configuration,
                                     .configuration_index = facts->configuration_index,
                                     .data = buf_bytes(&data)};
    gate_snapshot_ready(part->gate, &snapshot);
    buf_free(&data);
}

static void checkpoint_done(void *arg, int err)
{
    struct part *part = arg;
    if (err != part->stats.checkpoint_err && err != 0)
        diag_warn(part->diag, "part", "checkpoint failed part=%u reason=\"%s\"",
                  (unsigned)part->number, err_text(err));
    part->stats.checkpoint_ms = env_now_ms(part->env);
    part->stats.checkpoint_err = err;
    part->manifest = store_manifest(part->store)->index;
    wal_release(part->wal, part->number, part->manifest);
    disk_manifest_told(part);
    if (part->snapshot_asked && err != 0) snapshot_answer(part, false);
    part_defer(part);
}

bool part_checkpointing(const struct part *part)
{
    return store_checkpointing(part->store);
}

void part_checkpoint(struct part *part)
{
    if (part->stopped != 0 || part->install != INSTALL_NONE || store_checkpointing(part->store))
        return;
    /* ERR_BUSY: reads hold all the memtables there may be, or the manifest is full. What is not
     * written stays in memory and in the WAL; it is due again. */
    int err = store_checkpoint(part->store, checkpoint_done, part);
    CHECK(err == 0 || err == ERR_BUSY);
}

void disk_snapshot_get(struct part *part, index_t at_least)
{
    part->snapshot_asked = true;
    part->snapshot_index = at_least;
    part_defer(part);
}

static void snapshot_run(struct part *part)
{
    if (!part->snapshot_asked) return;
    if (part->manifest >= part->snapshot_index)
        snapshot_answer(part, true);
    else if (part->stopped != 0 || part->install != INSTALL_NONE)
        snapshot_answer(part, false);
    else if (store_facts(part->store)->index >= part->snapshot_index)
        part_checkpoint(part); /* Otherwise applying catches up first. */
}

/* ---- installs ---- */

static void staged_drop(struct part *part)
{
    if (part->staged != NULL) store_install_cancel(part->staged);
    part->staged = NULL;
}

/* Over, one way or the other. */
static void install_end(struct part *part)
{
    staged_drop(part);
    part->install = INSTALL_NONE;
    part_defer(part);
}

void disk_install(struct part *part, uint64_t from, index_t index)
{
    CHECK(part->install < INSTALL_VOID);
    part->install = INSTALL_WANTED;
    part->install_from = from;
    part->install_index = index;
    part_defer(part);
}

void part_staged(struct part *part, struct store_install *install, index_t index)
{
    if (part->install != INSTALL_FETCHING || part->gate == NULL) {
        if (install != NULL) store_install_cancel(install);
        return;
    }
    if (install == NULL) {
        install_end(part);
        gate_install_ready(part->gate, false);
        return;
    }
    part->staged = install;
    part->staged_index = index;
    /* Wanted again meanwhile, with a later index: what came may do. */
    part->install = index >= part->install_index ? INSTALL_STAGED : INSTALL_WANTED;
    part_defer(part);
}

void disk_install_commit(struct part *part)
{
    CHECK(part->install == INSTALL_READY);
    CHECK(part->fetching_count == 0);
    part->install = INSTALL_VOID;
    /* Nothing of ours is in flight in the WAL now, so the batch that gathers begins anew. */
    part->install_wal_from = wal_next(part->wal);
    apply_drop(part);
    part_defer(part);
}

static void commit_done(void *arg, int err)
{
    struct part *part = arg;
    if (err != 0)
        diag_error(part->diag, "part", "install could not be committed part=%u reason=\"%s\"",
                   (unsigned)part->number, err_text(err));
    CHECK(err == 0); /* libraft counts on it already: only a restart can take it back. */
    part->manifest = store_manifest(part->store)->index;
    part->committed = part->install_index;
    part->gate_knows = part->install_index;
    wal_release(part->wal, part->number, part->manifest);
    history_reset(&part->history);
    diag_info(part->diag, "part", "snapshot installed part=%u index=%llu", (unsigned)part->number,
              (unsigned long long)part->manifest);
    install_end(part);
    if (part->gate != NULL) gate_install_done(part->gate);
}

static void install_run(struct part *part)
{
    /* A checkpoint that ends now would move the manifest that the rows start from. */
    if (part->install == INSTALL_WANTED && !store_checkpointing(part->store)) {
        if (part->staged != NULL && part->staged_index >= part->install_index) {
            part->install = INSTALL_STAGED;
        } else {
            staged_drop(part);
            part->install = INSTALL_FETCHING;
            part->host.fetch(part->host.arg, part->number, part->install_from, part->install_index);
        }
    }
    if (part->install == INSTALL_STAGED && part->fetching_count == 0 &&
        !store_checkpointing(part->store)) {
        part->install = INSTALL_READY;
        gate_install_ready(part->gate, true);
    }
    if (part->install == INSTALL_VOID) {
        struct store_install *staged = part->staged;
        part->staged = NULL;
        part->install = INSTALL_COMMITTING;
        /* Committed while we led, not applied when the snapshot came: it stands for them now. */
        propose_fail(part);
        store_install_commit(staged, part->install_wal_from, commit_done, part);
    }
}

void disk_run(struct part *part)
{
    snapshot_run(part);
    install_run(part);
}

/* The gate may have dropped the install: its message was of an old term. */
void disk_tick(struct part *part)
{
    bool open = part->install != INSTALL_NONE && part->install < INSTALL_VOID;
    if (!open || gate_installing(part->gate)) return;
    part->host.fetch(part->host.arg, part->number, 0, 0);
    install_end(part);
}
