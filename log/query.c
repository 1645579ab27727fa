/* log/query.c -- store_query and store_heads: from memory when it suffices, else on a worker.
 *
 * Happy path: memory has the answer, and the end of this turn tells it. Otherwise a worker answers
 * from the view of this moment and a copy of what the growing memtable has to say.
 * A search by time that needs runs goes in two steps: a worker finds the seq, which no later change
 * moves, and the query is then asked anew from there, at its own read point. */
#include <stdlib.h>

#include "log/query.h"
#include "log/store_impl.h"

/* An answer from memory, waiting for the end of the turn. */
struct answer {
    struct answer *next;
    struct store_query *query; /* Or heads. */
    struct store_heads *heads;
    int err;
};

static void answers_run(struct env_task *task)
{
    struct store *store = CONTAINER_OF(task, struct store, answers_task);
    while (store->answers != NULL) {
        struct answer told = *store->answers;
        free(store->answers);
        store->answers = told.next;
        if (store->answers == NULL) store->answers_end = &store->answers;
        if (told.query != NULL)
            told.query->done(told.query, told.err);
        else
            told.heads->done(told.heads, told.err);
    }
}

void answers_init(struct store *store)
{
    store->answers_end = &store->answers;
    env_task_init(&store->answers_task, ENV_PHASE_WORK, answers_run);
}

void answers_free(struct store *store)
{
    while (store->answers != NULL) {
        struct answer *answer = store->answers;
        store->answers = answer->next;
        free(answer);
    }
}

static void answer_later(struct store *store, struct store_query *query, struct store_heads *heads,
                         int err)
{
    struct answer *answer = mem_alloc(sizeof(*answer));
    *answer = (struct answer){NULL, query, heads, err};
    *store->answers_end = answer;
    store->answers_end = &answer->next;
    env_defer(store->env, &store->answers_task);
}

/* ---- queries ---- */

struct query_job {
    struct job job;
    struct store *store;
    struct view *view;
    struct memtable *copy; /* What matters of the growing memtable. */
    struct store_query *query;
    struct store_query ask; /* As the worker sees it; its rows are its own. */
    bool search;            /* The first step of a search by time: */
    seq_t unseen, found;
    int err;
};

static void query_run(struct job *base)
{
    struct query_job *job = CONTAINER_OF(base, struct query_job, job);
    struct reading reading = {.active = job->copy, .view = job->view, .wait = true};
    if (job->search)
        job->err = query_search(&reading, &job->ask, &job->ask.head, job->unseen, &job->found);
    else
        job->err = query_answer(&reading, &job->ask);
    reading_end(&reading);
}

static void query_give(struct store_query *query, struct store_query *ask)
{
    query->head = ask->head;
    query->failed = ask->failed;
    query->number = ask->number;
    buf_free(&query->rows);
    query->rows = ask->rows;
    ask->rows = (struct buf){0};
    query->rows_count = ask->rows_count;
    query->more = ask->more;
}

static void query_ask(struct store *store, struct store_query *query, struct store_query *ask,
                      bool told_later);

static void query_done(struct job *base)
{
    struct query_job *job = CONTAINER_OF(base, struct query_job, job);
    struct store_query *query = job->query;
    if (job->search && job->err == 0) {
        job->ask.kind = STORE_RECORDS;
        job->ask.from = job->found;
        query_ask(job->store, query, &job->ask, false);
        return;
    }
    query_give(query, &job->ask);
    query->done(query, job->err);
}

static void query_release(struct job *base)
{
    struct query_job *job = CONTAINER_OF(base, struct query_job, job);
    buf_free(&job->ask.rows);
    view_unref(job->view);
    memtable_unref(job->copy);
}

static const struct job_kind query_kind = {query_run, query_done, query_release};

/* The first record in the growing memtable whose time is at least from; 0: none. */
static seq_t unseen_from(const struct memtable *active, const struct store_query *ask)
{
    struct row_key key, begins;
    struct memtable_iter iter;
    struct row row;
    struct record_view record;
    row_key_record(&key, ask->stream, 0);
    row_key_make(&begins, ask->stream, ROW_RECORD, (struct slice){NULL, 0});
    for (memtable_seek(active, row_key_bytes(&key), &iter);
         memtable_row(&iter, &row) && slice_begins(row.key, row_key_bytes(&begins));
         memtable_step(&iter)) {
        seq_t seq = row_key_seq(row.key);
        CHECK(record_row_get(seq, row.value, &record));
        if (record.time_ms >= (int64_t)ask->from) return seq;
    }
    return 0;
}

/* Answer on a worker. ask: copied. */
static void query_send(struct store *store, struct store_query *query,
                       const struct store_query *ask)
{
    struct query_job *job = mem_zero(sizeof(*job));
    job->store = store;
    job->query = query;
    job->ask = *ask;
    job->ask.rows = (struct buf){0};
    job->view = store->view;
    view_ref(job->view);
    job->copy = memtable_create(store->budget);
    /* A head that memory does not have is asked for first: the plain way does that. */
    job->search = ask->kind == STORE_RECORDS_AT && ask->head.version != 0;
    if (job->search)
        job->unseen = unseen_from(store->active, ask);
    else
        query_copy(store->active, ask, job->copy);
    job_start(store->env, &store->jobs, &query_kind, &job->job);
}

/* Answer from memory, or send to a worker. told_later: at the end of the turn; else now. */
static void query_ask(struct store *store, struct store_query *query, struct store_query *ask,
                      bool told_later)
{
    struct reading reading = store_reading(store);
    int err = query_answer(&reading, ask);
    reading_end(&reading);
    if (err == ERR_BUSY) {
        query_send(store, query, ask);
        return;
    }
    if (query != ask) query_give(query, ask);
    if (told_later)
        answer_later(store, query, NULL, err);
    else
        query->done(query, err);
}

/* A query comes from outside: what would break a key is refused here. */
static bool query_sound(const struct store_query *query)
{
    bool limited = query->kind == STORE_HEAD || query->kind == STORE_PRODUCER;
    size_t mark = query->kind == STORE_CHANGES ? 1 : 0;
    if (query->kind < STORE_HEAD || query->kind >= STORE_QUERY_KINDS_END) return false;
    if (query->stream.len == 0 || query->stream.len > STREAM_NAME_BYTES_MAX) return false;
    if (query->prefix.len > KEY_BYTES_MAX || query->after.len > KEY_BYTES_MAX + mark) return false;
    if (query->limit_count == 0 && !limited) return false;
    for (unsigned i = 0; i < query->checks_count; i++) {
        const struct txn_check *check = &query->checks[i];
        if (check->kind < TXN_IF_PRESENT || check->kind >= TXN_IF_KINDS_END) return false;
        if (check->kind <= TXN_IF_VERSION && check->key.len == 0) return false;
        if (check->key.len > KEY_BYTES_MAX) return false;
    }
    return true;
}

void store_query(struct store *store, struct store_query *query)
{
    if (query_sound(query))
        query_ask(store, query, query, true);
    else
        answer_later(store, query, NULL, ERR_INVAL);
}

/* ---- heads ---- */

enum { HEADS_STREAMS_MAX = 4096 };

/* What is known of one of the streams asked for. */
struct heads_slot {
    struct stream_head head;
    bool open; /* Not known yet. */
};

struct heads_job {
    struct job job;
    struct store *store;
    struct view *view;
    struct memtable *none; /* Empty: memory was looked at. */
    struct store_heads *heads;
    struct heads_slot *slots;
    int err;
};

/* A head that is in no table has its newest row in a run; when no run reaches beyond `since`, it
 * did not change after. */
static bool runs_after(const struct view *view, index_t since)
{
    for (unsigned i = 0; i < view->runs_count; i++)
        if (run_facts(view->runs[i])->to > since) return true;
    return false;
}

static bool head_in_tables(const struct reading *reading, struct slice stream)
{
    struct row_key key;
    struct row row;
    row_key_make(&key, stream, ROW_HEAD, (struct slice){NULL, 0});
    return reading_in_tables(reading, row_key_bytes(&key), &row);
}

/* Fill in what the reading knows; on the loop, *open: a worker has to know the rest. */
static int slots_fill(struct reading *reading, const struct store_heads *heads,
                      struct heads_slot *slots, bool *open)
{
    bool newer = runs_after(reading->view, heads->since);
    *open = false;
    for (unsigned i = 0; i < heads->streams_count; i++) {
        bool skip =
            reading->wait ? !slots[i].open : !newer && !head_in_tables(reading, heads->streams[i]);
        if (skip) continue;
        int err = query_head(reading, heads->streams[i], &slots[i].head);
        slots[i].open = err == ERR_BUSY;
        *open |= slots[i].open;
        if (err != 0 && err != ERR_BUSY) return err;
    }
    return 0;
}

static void heads_give(struct store_heads *heads, const struct heads_slot *slots)
{
    heads->out.len = 0;
    heads->hits_count = 0;
    for (unsigned i = 0; i < heads->streams_count; i++) {
        if (slots[i].head.version == 0 || slots[i].head.index <= heads->since) continue;
        buf_varint(&heads->out, i);
        stream_head_encode(&slots[i].head, &heads->out);
        heads->hits_count++;
    }
}

static void heads_run(struct job *base)
{
    struct heads_job *job = CONTAINER_OF(base, struct heads_job, job);
    struct reading reading = {.active = job->none, .view = job->view, .wait = true};
    bool open;
    job->err = slots_fill(&reading, job->heads, job->slots, &open);
    reading_end(&reading);
}

static void heads_done(struct job *base)
{
    struct heads_job *job = CONTAINER_OF(base, struct heads_job, job);
    if (job->err == 0) heads_give(job->heads, job->slots);
    job->heads->done(job->heads, job->err);
}

static void heads_release(struct job *base)
{
    struct heads_job *job = CONTAINER_OF(base, struct heads_job, job);
    free(job->slots);
    view_unref(job->view);
    memtable_unref(job->none);
}

static const struct job_kind heads_kind = {heads_run, heads_done, heads_release};

static bool heads_sound(const struct store_heads *heads)
{
    if (heads->streams_count > HEADS_STREAMS_MAX) return false;
    for (unsigned i = 0; i < heads->streams_count; i++)
        if (heads->streams[i].len == 0 || heads->streams[i].len > STREAM_NAME_BYTES_MAX)
            return false;
    return true;
}

void store_heads(struct store *store, struct store_heads *heads)
{
    bool open = false;
    if (!heads_sound(heads)) {
        answer_later(store, NULL, heads, ERR_INVAL);
        return;
    }
    struct heads_slot *slots = mem_zero((heads->streams_count + 1) * sizeof(*slots));
    struct reading reading = store_reading(store);
    int err = slots_fill(&reading, heads, slots, &open);
    reading_end(&reading);
    if (err != 0 || !open) {
        if (err == 0) heads_give(heads, slots);
        free(slots);
        answer_later(store, NULL, heads, err);
        return;
    }
    struct heads_job *job = mem_zero(sizeof(*job));
    job->store = store;
    job->heads = heads;
    job->slots = slots;
    job->view = store->view;
    view_ref(job->view);
    job->none = memtable_create(store->budget);
    job_start(store->env, &store->jobs, &heads_kind, &job->job);
}
