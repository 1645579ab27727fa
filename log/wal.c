/* log/wal.c -- see wal.h: appending, group commit, the next file, trimming.
 *
 * The happy path: wal_append adds to the batch that gathers. At the end of the turn (ENV_PHASE_LOG)
 * the batch goes to the lane, which seals, writes and syncs it; another one gathers meanwhile and
 * goes when the first is done. A batch that does not fit into the file goes into the next one,
 * which another lane made ahead; its head is written and synced first.
 *
 * When it goes wrong: an error of the lane stops the process. When the next file is not there yet,
 * the batch waits; when that is for want of space, making it is tried again every second and
 * handlers.space tells.
 *
 * Invariants: one batch is under way at most; batches are written in the order of their numbers,
 * without a gap; state knows of every record of every batch that was begun, and of no other. */
#include "log/wal.h"

#include <stdio.h>
#include <stdlib.h>

#include "log/limits.h"
#include "log/wal_files.h"
#include "log/wal_queue.h"
#include "log/wal_recover.h"
#include "log/wal_state.h"

enum {
    IDLE_US = 20 * 1000, /* After so long without a batch an empty one proves the last. */
    RETRY_MS = 1000,     /* Between attempts to make a file on a full disk. */
};

/* The batch on its way to the disk. The lane touches nothing but this. */
struct writing {
    struct env_work work;
    struct env *env;
    struct env_file *file;     /* Borrowed from struct wal. */
    struct env_file *finished; /* Owned: the file before, to be closed; NULL: none. */
    struct buf head;           /* Of a file that begins with this batch; empty otherwise. */
    struct wal_batch *batch;   /* Owned; NULL: none is under way. */
    wal_number_t number;       /* The file's. */
    uint64_t offset, salt;
    uint64_t begun_us;
    int err;
};

enum ahead { AHEAD_NONE, AHEAD_MAKING, AHEAD_READY };

/* The next file. The lane touches nothing but this; state is the loop's. */
struct making {
    struct env_work work;
    struct env *env;
    const char *dir; /* Borrowed from struct wal. */
    wal_number_t number;
    uint64_t bytes;
    struct env_file *file; /* Owned when AHEAD_READY. */
    int err;
    enum ahead state;
};

/* The oldest file being deleted. The lane touches nothing but this; running is the loop's. */
struct dropping {
    struct env_work work;
    struct env *env;
    const char *dir; /* Borrowed from struct wal. */
    wal_number_t number;
    int err;
    bool running;
};

struct wal {
    struct env *env;
    struct wal_handlers handlers;
    char *dir; /* Owned. */
    uint64_t owner, salt, file_bytes;
    struct wal_state state;

    struct wal_queue queue;
    size_t pending_bytes;
    batch_t durable;

    struct env_file *file; /* Owned; written to. NULL: recovery's, which takes nothing more. */
    wal_number_t number;   /* Its number. */
    uint64_t end;          /* Where its next batch goes. */

    struct env_lane *write_lane, *files_lane;
    struct writing writing;
    struct making making;
    struct dropping dropping;

    struct env_task commit_task;
    struct env_timer idle_timer, retry_timer;
    uint64_t wait_since_us; /* With waits: since when. */
    uint64_t busy_us;       /* When the last batch with records became durable. */
    batch_t trim_after;     /* The last truncate's batch: once durable, what it voids may go. */
    bool waits;             /* A batch waits for the next file. */
    bool trim_due;          /* The oldest file may have become free. */
    bool low;               /* What handlers.space said last. */
    bool closing;           /* wal_close runs or ran. */

    struct wal_stats stats;
};

/* What failed here leaves open what is on the disk, and no retry could tell. */
static void stop_unless_ok(const struct wal *wal, int err, wal_number_t number, const char *what)
{
    char path[WAL_PATH_BYTES];
    if (err == 0) return;
    wal_path(path, wal->dir, number);
    fprintf(stderr, "wal: %s: %s: %s; stopping\n", path, what, err_text(err));
    CHECK(err == 0);
}

/* ---- the next file ---- */

static void make_work(struct env_work *work)
{
    struct making *making = CONTAINER_OF(work, struct making, work);
    making->err =
        wal_file_make(making->env, making->dir, making->number, making->bytes, &making->file);
}

static void make_begin(struct wal *wal)
{
    wal->making.number = wal->number + 1;
    wal->making.file = NULL;
    wal->making.err = ERR_CANCELED; /* Until the lane says otherwise. */
    wal->making.state = AHEAD_MAKING;
}

static void make_submit(struct wal *wal)
{
    CHECK(wal->making.state == AHEAD_NONE);
    if (wal->closing) return;
    make_begin(wal);
    env_work_submit(wal->env, wal->files_lane, &wal->making.work);
}

/* The lane is done with the file. True when it is there. */
static bool make_finish(struct wal *wal)
{
    CHECK(wal->making.state == AHEAD_MAKING);
    wal->making.state = wal->making.err == 0 ? AHEAD_READY : AHEAD_NONE;
    return wal->making.err == 0;
}

static void make_done(struct env_work *work)
{
    struct wal *wal = CONTAINER_OF(work, struct wal, making.work);
    bool made = make_finish(wal);
    if (!made && wal->making.err != ERR_NO_SPACE)
        stop_unless_ok(wal, wal->making.err, wal->making.number, "cannot be made");
    if (!made) env_timer_start(wal->env, &wal->retry_timer, RETRY_MS);
    if (made && wal->waits) env_defer(wal->env, &wal->commit_task);
    if (wal->low == made) {
        wal->low = !made;
        wal->handlers.space(wal->handlers.arg, wal->low);
    }
}

static void retry_fired(struct env_timer *timer)
{
    make_submit(CONTAINER_OF(timer, struct wal, retry_timer));
}

/* Go on in the file made ahead, which begins with batch `first`. */
static void file_switch(struct wal *wal, batch_t first)
{
    CHECK(wal->making.state == AHEAD_READY);
    CHECK(wal->making.number == wal->number + 1);
    struct wal_head head = {
        .owner = wal->owner,
        .salt = wal->salt,
        .number = wal->making.number,
        .prev_number = wal->number,
        .prev_end = wal->end,
        .prev_last = first - 1,
        .parts_count = wal->state.parts_count,
    };
    wal_head_encode(&head, wal->state.seats, &wal->writing.head);
    wal->writing.finished = wal->file;
    wal->file = wal->making.file;
    wal->number = wal->making.number;
    wal->end = wal->writing.head.len;
    wal_state_begin_file(&wal->state, wal->number, wal->end);
    wal->making.state = AHEAD_NONE;
    make_submit(wal);
}

/* ---- trimming ---- */

static void drop_work(struct env_work *work)
{
    struct dropping *dropping = CONTAINER_OF(work, struct dropping, work);
    dropping->err = wal_file_drop(dropping->env, dropping->dir, dropping->number);
}

/* Delete the oldest file when nobody needs it. */
static void trim(struct wal *wal)
{
    if (!wal->trim_due || wal->dropping.running || wal->closing) return;
    if (wal->durable < wal->trim_after) return;
    wal_number_t number = wal_state_drop_oldest(&wal->state);
    wal->trim_due = number != 0;
    if (number == 0) return;
    wal->dropping.number = number;
    wal->dropping.running = true;
    env_work_submit(wal->env, wal->files_lane, &wal->dropping.work);
}

static void drop_done(struct env_work *work)
{
    struct wal *wal = CONTAINER_OF(work, struct wal, dropping.work);
    stop_unless_ok(wal, wal->dropping.err, wal->dropping.number, "cannot be deleted");
    wal->dropping.running = false;
    trim(wal);
}

/* ---- group commit ---- */

/* On the lane. The checksums are made here as well: the loop has other things to do. */
static void write_work(struct env_work *work)
{
    struct writing *writing = CONTAINER_OF(work, struct writing, work);
    struct buf *head = &writing->head, *bytes = &writing->batch->bytes;
    int err = 0;
    wal_batch_seal(buf_bytes(bytes), writing->number, writing->batch->number, writing->salt);
    if (head->len > 0) {
        err = env_file_write(writing->env, writing->file, head->data, head->len, 0);
        if (err == 0) err = env_file_sync(writing->env, writing->file);
    }
    if (err == 0)
        err = env_file_write(writing->env, writing->file, bytes->data, bytes->len, writing->offset);
    if (err == 0) err = env_file_sync(writing->env, writing->file);
    if (writing->finished != NULL) env_file_close(writing->env, writing->finished);
    writing->err = err;
}

/* Tell state what the batch holds, by reading what was written into it. */
static void batch_note(struct wal *wal, const struct wal_batch *batch)
{
    struct slice bytes = buf_bytes(&batch->bytes);
    struct reader body = reader_of(bytes);
    struct wal_record record;
    bool end;
    read_bytes(&body, WAL_BATCH_HEAD_BYTES);
    for (;;) {
        int err = wal_record_decode(&body, wal->state.parts_count, &record, &end);
        CHECK(err == 0);
        if (end) return;
        wal_state_note(&wal->state, &record);
        if (record.kind != WAL_TRUNCATE) continue;
        wal->trim_after = batch->number;
        wal->trim_due = true;
    }
}

/* Is there room for a batch? Begins the next file when it takes that. */
static bool file_ready(struct wal *wal, const struct wal_batch *batch)
{
    bool fits = wal->file != NULL && wal->file_bytes - wal->end >= batch->bytes.len;
    if (fits) return true;
    if (wal->making.state != AHEAD_READY) return false;
    file_switch(wal, batch->number);
    return true;
}

/* Fill in the request for a batch that file_ready found room for. */
static void write_begin(struct wal *wal, struct wal_batch *batch)
{
    struct writing *writing = &wal->writing;
    CHECK(writing->batch == NULL);
    CHECK(wal->end % WAL_ALIGN == 0);
    CHECK(wal->end + batch->bytes.len <= wal->file_bytes);
    writing->file = wal->file;
    writing->batch = batch;
    writing->number = wal->number;
    writing->offset = wal->end;
    writing->begun_us = env_now_us(wal->env);
    wal->waits = false;
    wal->end += batch->bytes.len;
    wal_state_last_file(&wal->state)->bytes = wal->end;
    batch_note(wal, batch);
}

/* The batch under way is durable. */
static void write_finish(struct wal *wal)
{
    struct writing *writing = &wal->writing;
    struct wal_batch *batch = writing->batch;
    stop_unless_ok(wal, writing->err, writing->number, "cannot be written");
    CHECK(batch->number == wal->durable + 1);
    wal->durable = batch->number;
    wal_state_last_file(&wal->state)->settled = true;
    writing->batch = NULL;
    writing->finished = NULL;
    if (writing->head.len > 0) wal->trim_due = true;
    writing->head.len = 0;

    struct wal_stats *stats = &wal->stats;
    stats->batches_count++;
    stats->bytes += batch->bytes.len;
    stats->records_count += batch->records_count;
    stats->sync_us_last = env_now_us(wal->env) - writing->begun_us;
    if (stats->sync_us_last > stats->sync_us_max) stats->sync_us_max = stats->sync_us_last;
    wal->pending_bytes -= batch->records_bytes;
    wal_queue_give_back(&wal->queue, batch);
}

/* Some batch waits, or gathers. */
static bool queue_waits(const struct wal *wal)
{
    return wal->queue.first != NULL || wal_queue_gathers(&wal->queue);
}

static void write_done(struct env_work *work)
{
    struct wal *wal = CONTAINER_OF(work, struct wal, writing.work);
    bool empty = wal->writing.batch->records_count == 0;
    write_finish(wal);
    if (!empty) wal->busy_us = env_now_us(wal->env);
    if (!empty && !env_timer_started(&wal->idle_timer))
        env_timer_start_us(wal->env, &wal->idle_timer, IDLE_US);
    if (queue_waits(wal)) env_defer(wal->env, &wal->commit_task);
    trim(wal);
    wal->handlers.durable(wal->handlers.arg, wal->durable);
}

/* The next batch to write, taken out of the queue; NULL: none, or no room for it yet. */
static struct wal_batch *batch_next(struct wal *wal)
{
    const struct wal_batch *first = wal_queue_first(&wal->queue);
    if (first == NULL || !file_ready(wal, first)) return NULL;
    return wal_queue_pop(&wal->queue);
}

/* Write the next batch, if there is one and none is under way. */
static void commit(struct wal *wal)
{
    if (wal->writing.batch != NULL) return;
    struct wal_batch *batch = batch_next(wal);
    if (batch != NULL) {
        write_begin(wal, batch);
        env_work_submit(wal->env, wal->write_lane, &wal->writing.work);
    } else if (wal->queue.first != NULL && !wal->waits) {
        wal->waits = true;
        wal->wait_since_us = env_now_us(wal->env);
    }
}

static void commit_run(struct env_task *task)
{
    commit(CONTAINER_OF(task, struct wal, commit_task));
}

/* Nothing was appended for a while: an empty batch proves that the last one is durable. */
static void idle_fired(struct env_timer *timer)
{
    struct wal *wal = CONTAINER_OF(timer, struct wal, idle_timer);
    if (wal->writing.batch != NULL || queue_waits(wal)) return; /* write_done starts it again. */
    uint64_t idle_us = env_now_us(wal->env) - wal->busy_us;
    if (idle_us < IDLE_US) {
        env_timer_start_us(wal->env, timer, IDLE_US - idle_us);
        return;
    }
    wal_queue_close(&wal->queue);
    commit(wal);
    wal_queue_shrink(&wal->queue);
}

/* ---- the outside ---- */

static void record_check(const struct wal *wal, const struct wal_record *record)
{
    CHECK(record->part < wal->state.parts_count);
    CHECK(record->data.len <= ENTRY_BYTES_MAX);
    CHECK((record->index > 0) == (record->kind != WAL_VOTE));
    CHECK(record->kind == WAL_ENTRY || record->data.len == 0);
}

batch_t wal_append(struct wal *wal, const struct wal_record *record)
{
    record_check(wal, record);
    env_defer(wal->env, &wal->commit_task);
    return wal_queue_append(&wal->queue, record, &wal->pending_bytes);
}

batch_t wal_durable(const struct wal *wal)
{
    return wal->durable;
}

batch_t wal_next(struct wal *wal)
{
    if (wal_queue_gathers(&wal->queue)) wal_queue_close(&wal->queue);
    return wal->queue.gather->number;
}

size_t wal_pending_bytes(const struct wal *wal)
{
    return wal->pending_bytes;
}

void wal_release(struct wal *wal, part_t part, index_t index)
{
    wal_state_release(&wal->state, part, index);
    wal->trim_due = true;
    trim(wal);
}

uint64_t wal_live_bytes(const struct wal *wal)
{
    return wal_state_bytes(&wal->state);
}

bool wal_oldest_pin(const struct wal *wal, part_t *part)
{
    return wal_state_oldest_pin(&wal->state, part);
}

void wal_stats(const struct wal *wal, struct wal_stats *out)
{
    bool writes = wal->writing.batch != NULL;
    uint64_t since_us = writes ? wal->writing.begun_us : wal->wait_since_us;
    *out = wal->stats;
    if (writes || wal->waits) out->stall_us = env_now_us(wal->env) - since_us;
}

/* Everything but the files: what recovery found is in state and found. */
static struct wal *wal_create(struct env *env, const struct wal_config *config,
                              const struct wal_handlers *handlers, const struct wal_state *state,
                              const struct wal_recovered *found)
{
    struct wal *wal = mem_zero(sizeof *wal);
    size_t room = (size_t)config->file_bytes - wal_head_bytes(config->parts_count);
    wal->env = env;
    wal->handlers = *handlers;
    wal->dir = mem_string(slice_str(config->dir));
    wal->owner = config->owner;
    wal->salt = found->salt;
    wal->file_bytes = config->file_bytes;
    wal->state = *state;
    wal->durable = found->last;
    wal_queue_init(&wal->queue, found->last + 1,
                   room < WAL_BATCH_BYTES_MAX ? room : WAL_BATCH_BYTES_MAX);
    wal->number = found->number;
    wal->end = found->end;
    wal->writing.env = wal->making.env = wal->dropping.env = env;
    wal->making.dir = wal->dropping.dir = wal->dir;
    wal->making.bytes = wal->file_bytes;
    wal->writing.salt = wal->salt;
    wal->writing.work = (struct env_work){.work = write_work, .done = write_done};
    wal->making.work = (struct env_work){.work = make_work, .done = make_done};
    wal->dropping.work = (struct env_work){.work = drop_work, .done = drop_done};
    wal->write_lane = env_lane_create(env, "wal");
    wal->files_lane = env_lane_create(env, "wal-files");
    env_task_init(&wal->commit_task, ENV_PHASE_LOG, commit_run);
    env_timer_init(&wal->idle_timer, idle_fired);
    env_timer_init(&wal->retry_timer, retry_fired);
    return wal;
}

int wal_open(struct env *env, const struct wal_config *config, const struct wal_handlers *handlers,
             struct wal **out, char *why, size_t why_bytes)
{
    struct wal_state state;
    struct wal_recovered found;
    CHECK(config->dir[0] == '/');
    CHECK(config->file_bytes >= WAL_FILE_BYTES_MIN);
    CHECK(config->file_bytes % WAL_ALIGN == 0);
    wal_state_init(&state, config->parts_count);
    int err = wal_recover(env, config, handlers, &state, &found, why, why_bytes);
    if (err != 0) {
        wal_state_close(&state);
        return err;
    }
    *out = wal_create(env, config, handlers, &state, &found);
    make_submit(*out);
    return 0;
}

/* Write what is left, on this thread: the lanes are gone. What finds no file is dropped. */
static void close_write(struct wal *wal)
{
    struct wal_batch *batch;
    if (wal->writing.batch != NULL) write_finish(wal);
    if (wal->making.state == AHEAD_MAKING) make_finish(wal);
    for (;;) {
        batch = batch_next(wal);
        if (batch == NULL && wal->queue.first == NULL) return;
        if (batch == NULL) {
            make_begin(wal);
            make_work(&wal->making.work);
            if (!make_finish(wal)) return;
            continue;
        }
        write_begin(wal, batch);
        write_work(&wal->writing.work);
        write_finish(wal);
    }
}

void wal_close(struct wal *wal)
{
    CHECK(!wal->closing);
    wal->closing = true;
    env_lane_destroy(wal->env, wal->write_lane);
    env_lane_destroy(wal->env, wal->files_lane);
    close_write(wal);
    if (wal->file != NULL) env_file_close(wal->env, wal->file);
    if (wal->making.state == AHEAD_READY) env_file_close(wal->env, wal->making.file);
    env_undefer(wal->env, &wal->commit_task);
    env_timer_stop(wal->env, &wal->idle_timer);
    env_timer_stop(wal->env, &wal->retry_timer);
    wal_queue_free(&wal->queue);
    buf_free(&wal->writing.head);
    wal_state_close(&wal->state);
    free(wal->dir);
    free(wal);
}
