/* tests/raft/fake_part.c -- see fake_part.h. Linked before raft's library, so that these part_*
 * are the ones that serve and tails call. */
#include "tests/raft/fake_part.h"

#include <stdio.h>
#include <stdlib.h>

#include "log/pack.h"

enum { RECORDS_MAX = 200000, PRODUCERS_MAX = 256, STREAMS_MAX = 64, HELD_MAX = 4096 };

struct held {
    struct part_txn *req;
    struct buf bytes;
    int answer; /* 0: its outcome. */
    bool lost;  /* It is not done. */
};
struct part {
    struct fake *fake;
    struct env *env;
    unsigned node;
    part_t number;
    struct held held[HELD_MAX]; /* Taken, not committed. */
    unsigned held_count;
    struct env_timer commit;
    struct env_task turn;
    struct part_read *reads;
    struct part_heads *heads;
    struct part_confirm *confirms;
    struct {
        struct part_txn *req;
        int err;
    } refused[HELD_MAX];
    unsigned refused_count;
    struct part_observer observer;
};
struct producer {
    char stream[32], name[32];
    uint64_t n;
    uint64_t content[64], seq[64]; /* By n % 64. */
};
struct stream {
    char name[32];
    struct stream_head head;
};
struct fake {
    unsigned nodes_count, parts_count;
    struct part *parts[FAKE_NODES_MAX + 1][FAKE_PARTS_MAX];
    unsigned leader[FAKE_PARTS_MAX];
    term_t term[FAKE_PARTS_MAX];
    index_t index[FAKE_PARTS_MAX];
    struct fake_odds odds;
    uint64_t commit_us;
    struct fake_record *records;
    unsigned records_count;
    struct producer producers[PRODUCERS_MAX];
    unsigned producers_count;
    struct stream streams[STREAMS_MAX];
    unsigned streams_count;
};

static void text_of(struct slice s, char out[32])
{
    CHECK(s.len < 32);
    memset(out, 0, 32);
    if (s.len > 0) memcpy(out, s.data, s.len);
}

static struct stream *stream_get(struct fake *fake, struct slice name, bool make)
{
    for (unsigned i = 0; i < fake->streams_count; i++)
        if (slice_equal(slice_str(fake->streams[i].name), name)) return &fake->streams[i];
    if (!make) return NULL;
    CHECK(fake->streams_count < STREAMS_MAX);
    struct stream *stream = &fake->streams[fake->streams_count++];
    text_of(name, stream->name);
    stream->head.first = 1;
    return stream;
}

static struct producer *producer_get(struct fake *fake, struct slice stream, struct slice name)
{
    for (unsigned i = 0; i < fake->producers_count; i++) {
        struct producer *one = &fake->producers[i];
        if (slice_equal(slice_str(one->name), name) && slice_equal(slice_str(one->stream), stream))
            return one;
    }
    CHECK(fake->producers_count < PRODUCERS_MAX);
    struct producer *one = &fake->producers[fake->producers_count++];
    *one = (struct producer){0};
    text_of(stream, one->stream);
    text_of(name, one->name);
    return one;
}

/* ---- the truth ---- */

/* True: *out has the answer, nothing is to be done. */
static bool seen_before(struct producer *producer, const struct txn *txn, struct outcome *out)
{
    if (producer == NULL || txn->n == producer->n + 1) return false;
    out->last_n = producer->n;
    if (txn->n > producer->n) {
        out->status = ERR_GAP;
        return true;
    }
    out->duplicate = true;
    out->details = producer->n - txn->n < 32;
    if (!out->details) return true;
    if (producer->content[txn->n % 64] != txn_content_hash(txn)) {
        *out = (struct outcome){.status = ERR_REUSED, .last_n = producer->n};
        return true;
    }
    out->first = out->last = producer->seq[txn->n % 64];
    return true;
}

static void apply(struct part *part, const struct txn *txn, struct outcome *out)
{
    struct fake *fake = part->fake;
    struct producer *producer = NULL;
    *out = (struct outcome){.details = true};
    if (txn->producer.len > 0) producer = producer_get(fake, txn->stream, txn->producer);
    if (seen_before(producer, txn, out)) return;
    CHECK(txn->records_count == 1);
    CHECK(fake->records_count < RECORDS_MAX);
    struct stream *stream = stream_get(fake, txn->stream, true);
    stream->head.last++;
    stream->head.version++;
    stream->head.index = ++fake->index[part->number];
    struct fake_record *record = &fake->records[fake->records_count++];
    *record = (struct fake_record){.n = txn->n, .seq = stream->head.last};
    text_of(txn->stream, record->stream);
    text_of(txn->producer, record->producer);
    text_of(txn->records[0].payload, record->payload);
    if (producer != NULL) {
        producer->n = txn->n;
        producer->content[txn->n % 64] = txn_content_hash(txn);
        producer->seq[txn->n % 64] = record->seq;
        out->last_n = txn->n;
    }
    out->first = out->last = record->seq;
    out->version = stream->head.version;
}

static void held_apply(struct part *part, struct held *held, struct outcome *out)
{
    struct txn txn;
    CHECK(txn_decode(buf_bytes(&held->bytes), &txn) == 0);
    apply(part, &txn, out);
    txn_free(&txn);
}

/* ---- replicas ---- */

static void commit_fired(struct env_timer *timer)
{
    struct part *part = CONTAINER_OF(timer, struct part, commit);
    unsigned count = part->held_count;
    struct held *held = mem_copy(part->held, count * sizeof(*held));
    part->held_count = 0;
    for (unsigned i = 0; i < count; i++) {
        struct outcome outcome = {0};
        if (!held[i].lost) held_apply(part, &held[i], &outcome);
        buf_free(&held[i].bytes);
        held[i].req->done(held[i].req, held[i].answer, held[i].answer == 0 ? &outcome : NULL, 0);
    }
    free(held);
}

static void answer_read(struct part *part, struct part_read *req, int err)
{
    struct store_query *query = &req->query;
    struct stream *stream = stream_get(part->fake, query->stream, false);
    if (err == 0 && stream == NULL) err = ERR_NO_STREAM;
    if (err == 0) query->head = stream->head;
    for (unsigned i = 0; err == 0 && i < part->fake->records_count; i++) {
        const struct fake_record *from = &part->fake->records[i];
        if (query->kind != STORE_RECORDS || query->rows_count == query->limit_count) break;
        if (strcmp(from->stream, stream->name) != 0 || from->seq < query->from) continue;
        struct record_view view = {.seq = from->seq,
                                   .n = from->n,
                                   .producer = slice_str(from->producer),
                                   .payload = slice_str(from->payload)};
        record_encode(&view, &query->rows);
        query->rows_count++;
    }
    req->done(req, err);
}

static void answer_heads(struct part *part, struct part_heads *req, int err)
{
    for (unsigned i = 0; err == 0 && i < req->heads.streams_count; i++) {
        struct stream *stream = stream_get(part->fake, req->heads.streams[i], false);
        if (stream == NULL || stream->head.index <= req->heads.since) continue;
        buf_varint(&req->heads.out, i);
        stream_head_encode(&stream->head, &req->heads.out);
        req->heads.hits_count++;
    }
    req->index = part->fake->index[part->number];
    req->done(req, err);
}

static void turn_run(struct env_task *task)
{
    struct part *part = CONTAINER_OF(task, struct part, turn);
    int err = part_leads(part) ? 0 : ERR_NOT_LEADER;
    while (part->refused_count > 0) {
        unsigned i = --part->refused_count;
        part->refused[i].req->done(part->refused[i].req, part->refused[i].err, NULL, 5);
    }
    while (part->reads != NULL) {
        struct part_read *req = part->reads;
        part->reads = req->query.impl;
        answer_read(part, req, err);
    }
    while (part->heads != NULL) {
        struct part_heads *req = part->heads;
        part->heads = req->heads.impl;
        answer_heads(part, req, err);
    }
}

struct part *fake_part(struct fake *fake, struct env *env, unsigned node, part_t p)
{
    struct part **at = &fake->parts[node][p];
    if (*at != NULL) return *at;
    *at = mem_zero(sizeof(**at));
    **at = (struct part){.fake = fake, .env = env, .node = node, .number = p};
    env_timer_init(&(*at)->commit, commit_fired);
    env_task_init(&(*at)->turn, ENV_PHASE_WORK, turn_run);
    return *at;
}

static bool by_chance(struct part *part, unsigned of_thousand)
{
    return env_random_below(part->env, 1000) < of_thousand;
}

void part_txn(struct part *part, struct part_txn *req)
{
    const struct fake_odds *odds = &part->fake->odds;
    int err = part_leads(part) ? 0 : ERR_NOT_LEADER;
    if (err == 0 && (part->held_count == HELD_MAX || by_chance(part, odds->busy))) err = ERR_BUSY;
    if (err != 0) {
        CHECK(part->refused_count < HELD_MAX);
        memmove(&part->refused[1], &part->refused[0],
                part->refused_count++ * sizeof(part->refused[0]));
        part->refused[0].req = req;
        part->refused[0].err = err;
        env_defer(part->env, &part->turn);
        return;
    }
    struct held *held = &part->held[part->held_count++];
    *held = (struct held){.req = req};
    if (by_chance(part, odds->unknown_done)) held->answer = ERR_UNKNOWN;
    if (by_chance(part, odds->unknown_lost)) {
        held->answer = ERR_UNKNOWN;
        held->lost = true;
    }
    buf_put(&held->bytes, req->txn.data, req->txn.len);
    if (!env_timer_started(&part->commit))
        env_timer_start_us(part->env, &part->commit, part->fake->commit_us);
}

void part_read(struct part *part, struct part_read *req)
{
    req->query.impl = part->reads;
    part->reads = req;
    env_defer(part->env, &part->turn);
}

void part_heads(struct part *part, struct part_heads *req)
{
    req->heads.impl = part->heads;
    part->heads = req;
    env_defer(part->env, &part->turn);
}

void part_observe(struct part *part, const struct part_observer *observer)
{
    part->observer = *observer;
}

part_t part_number(const struct part *part)
{
    return part->number;
}

bool part_leads(const struct part *part)
{
    return part->fake->leader[part->number] == part->node;
}

uint8_t part_leader_node(const struct part *part)
{
    return (uint8_t)part->fake->leader[part->number];
}

term_t part_term(const struct part *part)
{
    return part->fake->term[part->number];
}

/* ---- what the test does ---- */

struct fake *fake_create(unsigned nodes_count, unsigned parts_count)
{
    CHECK(nodes_count <= FAKE_NODES_MAX);
    CHECK(parts_count <= FAKE_PARTS_MAX);
    struct fake *fake = mem_zero(sizeof(*fake));
    fake->nodes_count = nodes_count;
    fake->parts_count = parts_count;
    fake->records = mem_alloc(RECORDS_MAX * sizeof(fake->records[0]));
    return fake;
}

static void part_drop(struct part *part)
{
    for (unsigned i = 0; i < part->held_count; i++)
        buf_free(&part->held[i].bytes);
    free(part);
}

void fake_destroy(struct fake *fake)
{
    for (unsigned node = 1; node <= fake->nodes_count; node++)
        for (unsigned p = 0; p < fake->parts_count; p++)
            if (fake->parts[node][p] != NULL) part_drop(fake->parts[node][p]);
    free(fake->records);
    free(fake);
}

void fake_odds(struct fake *fake, struct fake_odds odds)
{
    fake->odds = odds;
}

void fake_commit_us(struct fake *fake, uint64_t us)
{
    fake->commit_us = us;
}

/* A prefix of what is held is committed; told: the rest of the world hears of none. */
static void held_settle(struct part *part, bool answer)
{
    uint64_t until = env_random_below(part->env, part->held_count + 1);
    for (unsigned i = 0; i < part->held_count; i++) {
        struct outcome outcome;
        if (i < until && !part->held[i].lost) held_apply(part, &part->held[i], &outcome);
        part->held[i].lost = true;
        part->held[i].answer = ERR_UNKNOWN;
    }
    if (answer || part->held_count == 0) return;
    for (unsigned i = 0; i < part->held_count; i++)
        buf_free(&part->held[i].bytes);
    part->held_count = 0;
}

void fake_lead(struct fake *fake, part_t p, unsigned node)
{
    unsigned before = fake->leader[p];
    if (before == node) return;
    fake->leader[p] = node;
    if (node != 0) fake->term[p]++;
    struct part *old = fake->parts[before][p];
    struct part *new = fake->parts[node][p];
    if (old != NULL) {
        held_settle(old, true);
        if (old->observer.leading != NULL) old->observer.leading(old->observer.arg, old, false);
    }
    if (new != NULL &&new->observer.leading != NULL)
        new->observer.leading(new->observer.arg, new, true);
}

unsigned fake_leader(const struct fake *fake, part_t p)
{
    return fake->leader[p];
}

void fake_node_died(struct fake *fake, unsigned node)
{
    for (unsigned p = 0; p < fake->parts_count; p++) {
        struct part *part = fake->parts[node][p];
        if (part == NULL) continue;
        held_settle(part, false);
        part_drop(part);
        fake->parts[node][p] = NULL;
        if (fake->leader[p] == node) fake->leader[p] = 0;
    }
}

unsigned fake_records_count(const struct fake *fake)
{
    return fake->records_count;
}

const struct fake_record *fake_record(const struct fake *fake, unsigned i)
{
    return &fake->records[i];
}

unsigned fake_times(const struct fake *fake, const char *stream, const char *producer, uint64_t n)
{
    unsigned times = 0;
    for (unsigned i = 0; i < fake->records_count; i++) {
        const struct fake_record *one = &fake->records[i];
        times +=
            strcmp(one->stream, stream) == 0 && strcmp(one->producer, producer) == 0 && one->n == n;
    }
    return times;
}

bool fake_in_order(const struct fake *fake)
{
    for (unsigned k = 0; k < fake->producers_count; k++) {
        uint64_t n = 0;
        for (unsigned i = 0; i < fake->records_count; i++) {
            const struct fake_record *one = &fake->records[i];
            if (strcmp(one->stream, fake->producers[k].stream) != 0) continue;
            if (strcmp(one->producer, fake->producers[k].name) != 0) continue;
            if (one->n != ++n) return false;
        }
    }
    return true;
}
