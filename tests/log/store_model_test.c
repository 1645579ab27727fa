/* tests/log/store_model_test.c -- the store against a plain model, through random transactions,
 * queries, checkpoints, fetches ahead, crashes and deltas, over many seeds.
 *
 * Method: few names and keys, so that everything meets everything; small blocks of chance decide
 * what comes next. What the store says of each transaction and each query must be what the model
 * says, byte for byte, and its history after a crash what it was before. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "jepsen/sim/splitmix.h"
#include "log/limits.h"
#include "tests/log/model.h"
#include "tests/log/store_rig.h"

enum { STEPS = 400, SEEDS = 12, PARTS_MAX = 4 };

struct play {
    uint64_t chance;
    struct world *world;
    struct rig rig, other;
    struct model model;
    index_t modelled; /* Entries the model has applied. */
    uint64_t histories[RIG_ENTRIES_MAX + 1];
    int64_t times[RIG_ENTRIES_MAX + 1]; /* Each entry's. */
    int64_t time_ms;
    bool checkpointing;
};

static uint64_t draw(struct play *p, uint64_t below)
{
    p->chance ^= p->chance << 13;
    p->chance ^= p->chance >> 7;
    p->chance ^= p->chance << 17;
    return (p->chance >> 11) % below;
}

/* One of a few names; every one lives as long as the test. */
static struct slice name(struct play *p, const char *kind, uint64_t count)
{
    static char names[8][16][8];
    uint64_t i = draw(p, count);
    char *at = names[kind[0] % 8][i];
    snprintf(at, 8, "%s%c", kind, 'a' + (int)i);
    return slice_str(at);
}

/* ---- transactions ---- */

struct parts {
    struct txn txn;
    struct txn_check checks[PARTS_MAX];
    struct txn_set sets[PARTS_MAX];
    struct txn_advance advances[PARTS_MAX];
    seq_t erases[PARTS_MAX];
    struct txn_record records[PARTS_MAX];
    struct slice tags[PARTS_MAX][2];
};

static char noise[PAYLOAD_BYTES_MAX];

static struct slice payload(struct play *p)
{
    uint64_t len = draw(p, 40) == 0 ? draw(p, 20000) : draw(p, 60);
    return (struct slice){noise + draw(p, sizeof(noise) - 20000), len};
}

static seq_t some_seq(struct play *p, const struct model_stream *s)
{
    return 1 + draw(p, (s == NULL ? 0 : s->head.last) + 2);
}

static void draw_checks(struct play *p, struct parts *t, const struct model_stream *s)
{
    for (unsigned i = 0; i < t->txn.checks_count; i++) {
        struct txn_check *check = &t->checks[i];
        *check = (struct txn_check){.kind = 1 + (enum txn_check_kind)draw(p, 7)};
        if (check->kind <= TXN_IF_VERSION) check->key = name(p, "m/", 5);
        if (check->kind == TXN_IF_EQUALS) check->value = name(p, "v", 2);
        if (check->kind == TXN_IF_VERSION)
            check->number = draw(p, 2) ? 0 : draw(p, s == NULL ? 1 : s->head.version + 1);
        if (check->kind == TXN_IF_LAST) check->number = s == NULL ? 0 : s->head.last - draw(p, 2);
        if (check->kind == TXN_IF_NOT_ERASED) check->number = some_seq(p, s);
    }
}

static void draw_records(struct play *p, struct parts *t, const struct model_stream *s)
{
    for (unsigned i = 0; i < t->txn.records_count; i++) {
        struct txn_record *r = &t->records[i];
        *r = (struct txn_record){.kind = (uint16_t)draw(p, 9), .payload = payload(p)};
        r->flags = (uint8_t)draw(p, 2);
        if (draw(p, 3) == 0) r->ref = some_seq(p, s);
        if (r->ref != 0 && draw(p, 2)) r->flags |= RECORD_DEPENDENT;
        r->tags = t->tags[i];
        r->tags_count = (unsigned)draw(p, 3);
        for (unsigned k = 0; k < r->tags_count; k++)
            t->tags[i][k] = name(p, "t", 3);
    }
}

static void draw_number(struct play *p, struct parts *t, struct model_stream *s)
{
    unsigned used = 0;
    if (draw(p, 4) == 0) return;
    t->txn.producer = name(p, "p", 3);
    for (unsigned i = 0; s != NULL && i < s->producers_count; i++)
        if (slice_equal(s->producers[i].name, t->txn.producer)) used = s->producers[i].count;
    t->txn.n = used + 1;
    if (draw(p, 8) == 0) t->txn.n = 1 + draw(p, used + 3);
    if (draw(p, 8) == 0) t->txn.flags = TXN_ANY_CONTENT;
}

/* A transaction in p's own chance; its stream may be absent. */
static void draw_txn(struct play *p, struct parts *t)
{
    memset(t, 0, sizeof(*t));
    t->txn.stream = name(p, "s", 6);
    struct model_stream *s = model_stream(&p->model, t->txn.stream);
    bool plain = draw(p, 3) != 0; /* Mostly what chat does: append, and read marks. */
    t->txn.checks_count = plain ? 0 : (unsigned)draw(p, 3);
    t->txn.sets_count = plain ? 0 : (unsigned)draw(p, 3);
    t->txn.advances_count = (unsigned)draw(p, 2 + !plain);
    t->txn.erases_count = draw(p, 6) == 0 ? (unsigned)draw(p, 3) : 0;
    t->txn.records_count = (unsigned)draw(p, 3);
    t->txn.checks = t->checks;
    t->txn.sets = t->sets;
    t->txn.advances = t->advances;
    t->txn.erases = t->erases;
    t->txn.records = t->records;
    draw_checks(p, t, s);
    for (unsigned i = 0; i < t->txn.sets_count; i++) {
        t->sets[i] = (struct txn_set){.key = name(p, "m/", 5), .flags = (uint8_t)draw(p, 3)};
        if (t->sets[i].flags != TXN_SET_DROP) t->sets[i].value = name(p, "v", 2);
    }
    for (unsigned i = 0; i < t->txn.advances_count; i++) {
        struct txn_advance *a = &t->advances[i];
        *a = (struct txn_advance){.key = name(p, "c/", 3), .flags = (uint8_t)draw(p, 2)};
        if (draw(p, 2)) a->only_if = name(p, "m/", 5);
        a->seq = a->flags ? 0 : draw(p, s == NULL ? 1 : s->head.last + 1);
        a->ordinal = a->flags ? 0 : draw(p, s == NULL ? 1 : s->head.ordinal + 1);
    }
    for (unsigned i = 0; i < t->txn.erases_count; i++)
        t->erases[i] = some_seq(p, s);
    draw_records(p, t, s);
    draw_number(p, t, s);
}

static void draw_entry(struct play *p, struct buf *out)
{
    struct entry entry = {0};
    for (uint64_t count = 1 + draw(p, 4); count > 0; count--) {
        struct parts parts;
        struct buf bytes = {0};
        draw_txn(p, &parts);
        CHECK(txn_encode(&parts.txn, &bytes) == 0);
        entry_add(&entry, buf_bytes(&bytes));
        buf_free(&bytes);
    }
    p->time_ms += (int64_t)draw(p, 5) - 1; /* Now and then it would go back. */
    entry_close(&entry, p->time_ms, out);
    entry_free(&entry);
}

/* ---- comparing ---- */

static void applied(void *arg, const struct applied_txn *told)
{
    struct play *p = arg;
    if (p->rig.applying <= p->modelled) return; /* Again, after a crash. */
    struct buf want = {0}, got = {0};
    struct outcome outcome =
        model_txn(&p->model, told->txn, p->rig.applying, p->times[p->rig.applying]);
    outcome_encode(&outcome, &want);
    outcome_encode(told->outcome, &got);
    cr_assert(slice_equal(buf_bytes(&want), buf_bytes(&got)),
              "index %llu place %u: status %d want %d, failed %u want %u, version %llu want %llu",
              (unsigned long long)p->rig.applying, told->place, told->outcome->status,
              outcome.status, told->outcome->failed, outcome.failed,
              (unsigned long long)told->outcome->version, (unsigned long long)outcome.version);
    const struct model_stream *s = model_stream(&p->model, told->txn->stream);
    cr_assert_eq(told->head == NULL, s->head.version == 0);
    if (told->head != NULL) cr_assert_eq(told->head->version, s->head.version);
    buf_free(&want);
    buf_free(&got);
}

static void note_applied(struct play *p)
{
    index_t index = store_facts(p->rig.store)->index;
    uint64_t history = store_facts(p->rig.store)->history;
    if (index > p->modelled) {
        p->modelled = index;
        p->histories[index] = history;
    }
    cr_assert_eq(p->histories[index], history, "history of index %llu", (unsigned long long)index);
}

static void draw_query(struct play *p, struct store_query *q, struct txn_check *check)
{
    *q = (struct store_query){.kind = 1 + (enum store_query_kind)draw(p, 8)};
    q->stream = name(p, "s", 6);
    const struct model_stream *s = model_stream(&p->model, q->stream);
    uint64_t last = s == NULL ? 0 : s->head.last;
    q->limit_count = 1 + (uint32_t)draw(p, 50);
    q->limit_bytes = (uint32_t)draw(p, draw(p, 2) ? 400 : 100000);
    q->from = draw(p, last + 2);
    if (draw(p, 3) == 0) q->to = 1 + draw(p, last + 2);
    q->backwards = q->kind == STORE_RECORDS && draw(p, 2);
    if (q->kind == STORE_RECORDS_AT) q->from = 900 + draw(p, (uint64_t)p->time_ms - 890);
    if (q->kind == STORE_CHANGES) q->from = draw(p, s == NULL ? 1 : s->head.version + 1);
    if (q->kind == STORE_ATTRIBUTES && draw(p, 2)) q->prefix = slice_str("m/");
    if (q->kind == STORE_ATTRIBUTES && draw(p, 2)) q->after = name(p, "m/", 5);
    if (q->kind == STORE_CURSORS && draw(p, 2)) q->after = name(p, "c/", 3);
    if (q->kind == STORE_CHANGES && draw(p, 3) == 0)
        q->after = draw(p, 2) ? slice_str("\001c/b") : (struct slice){"\000m/b", 4};
    if (q->kind == STORE_TAG) q->prefix = name(p, "t", 3);
    if (q->kind == STORE_PRODUCER) q->prefix = name(p, "p", 3);
    if (draw(p, 5) != 0) return;
    *check = (struct txn_check){.kind = TXN_IF_PRESENT, .key = name(p, "m/", 5)};
    if (draw(p, 2)) *check = (struct txn_check){.kind = TXN_IF_NOT_ERASED, .number = q->from};
    q->checks = check;
    q->checks_count = 1;
}

static void ask(struct play *p, struct rig *rig)
{
    struct store_query q, want;
    struct txn_check check;
    draw_query(p, &q, &check);
    want = q;
    int want_err = model_query(&p->model, &want);
    int err = rig_query(rig, &q);
    cr_assert_eq(err, want_err, "kind %d: err %d want %d", q.kind, err, want_err);
    cr_assert_eq(q.head.version, want.head.version);
    cr_assert_eq(memcmp(q.head.chain, want.head.chain, 32), 0);
    cr_assert_eq(q.number, want.number);
    if (err == ERR_REJECTED) cr_assert_eq(q.failed, want.failed);
    cr_assert_eq(q.rows_count, want.rows_count,
                 "kind %d from %llu to %llu back %d: %u rows, want %u", q.kind,
                 (unsigned long long)q.from, (unsigned long long)q.to, q.backwards, q.rows_count,
                 want.rows_count);
    cr_assert(slice_equal(buf_bytes(&q.rows), buf_bytes(&want.rows)), "kind %d", q.kind);
    cr_assert_eq(q.more, want.more, "kind %d", q.kind);
    buf_free(&q.rows);
    buf_free(&want.rows);
}

static bool heads_told;
static void heads_done(struct store_heads *heads, int err)
{
    (void)heads;
    cr_assert_eq(err, 0);
    heads_told = true;
}

static void ask_heads(struct play *p, struct rig *rig)
{
    struct slice names[6];
    struct buf want = {0};
    unsigned hits = 0;
    for (unsigned i = 0; i < 6; i++)
        names[i] = name(p, "s", 6);
    struct store_heads heads = {.streams = names,
                                .streams_count = 6,
                                .since = draw(p, p->modelled + 2),
                                .done = heads_done};
    for (unsigned i = 0; i < 6; i++) {
        const struct model_stream *s = model_stream(&p->model, names[i]);
        if (s == NULL || s->head.version == 0 || s->head.index <= heads.since) continue;
        buf_varint(&want, i);
        stream_head_encode(&s->head, &want);
        hits++;
    }
    heads_told = false;
    store_heads(rig->store, &heads);
    rig_wait(rig, &heads_told);
    cr_assert_eq(heads.hits_count, hits);
    cr_assert(slice_equal(buf_bytes(&heads.out), buf_bytes(&want)));
    buf_free(&want);
    buf_free(&heads.out);
}

/* ---- what happens ---- */

static void checkpoint_done(void *arg, int err)
{
    struct play *p = arg;
    cr_assert_eq(err, 0);
    p->checkpointing = false;
}

static void begin_checkpoint(struct play *p)
{
    if (p->checkpointing) return;
    int err = store_checkpoint(p->rig.store, checkpoint_done, p);
    cr_assert(err == 0 || err == ERR_BUSY);
    p->checkpointing = err == 0;
}

static void drain(struct play *p)
{
    while (rig_pop(&p->rig))
        note_applied(p);
}

static void crash(struct play *p)
{
    p->checkpointing = false;
    rig_crash(&p->rig, draw(p, 2) ? SIM_POWER : SIM_KILL);
    cr_assert(rig_up(&p->rig), "%s", p->rig.why);
    note_applied(p);
}

/* Bring the other store to where this one's manifest is, and ask both the same. */
static void carry(struct play *p)
{
    drain(p);
    while (p->checkpointing)
        world_step(p->world);
    cr_assert_eq(rig_checkpoint(&p->rig), 0);
    index_t from = draw(p, 3) == 0 ? 0 : store_manifest(p->other.store)->index;
    cr_assert_eq(rig_seed(&p->other, &p->rig, from), 0);
    cr_assert_eq(store_facts(p->other.store)->history, store_facts(p->rig.store)->history);
    if (draw(p, 2)) rig_crash(&p->other, SIM_POWER);
    cr_assert(rig_up(&p->other), "%s", p->other.why);
    for (int i = 0; i < 10; i++)
        ask(p, &p->other);
}

static void step(struct play *p)
{
    uint64_t what = draw(p, 100);
    if (what < 50) {
        struct buf entry = {0};
        draw_entry(p, &entry);
        p->times[p->rig.entries_count + 1] = p->time_ms;
        rig_push(&p->rig, buf_bytes(&entry));
        buf_free(&entry);
        while (draw(p, 4) != 0 && rig_pop(&p->rig))
            note_applied(p);
    } else if (what < 80) {
        ask(p, &p->rig);
    } else if (what < 88) {
        ask_heads(p, &p->rig);
    } else if (what < 96) {
        begin_checkpoint(p);
    } else if (what < 97) {
        world_step(p->world);
    } else if (what < 98) { /* Workers that began come back late. */
        disk_stall(sim_node_disk(p->rig.node), draw(p, 50) * 1000);
    } else if (what < 99) {
        crash(p);
    } else {
        carry(p);
    }
}

static void play(uint64_t seed)
{
    struct play *p = mem_zero(sizeof(*p));
    p->chance = seed * 0x9e3779b97f4a7c15 | 1;
    p->time_ms = 1000;
    p->world = world_create(seed);
    size_t budget = draw(p, 2) ? 64 << 20 : 1 << 20; /* Little: everything is evicted at once. */
    rig_open(&p->rig, p->world, "n1", budget);
    rig_open(&p->other, p->world, "n2", budget);
    model_init(&p->model);
    p->rig.applied = applied;
    p->rig.arg = p;
    for (int i = 0; i < STEPS; i++)
        step(p);
    struct store_stats stats;
    store_stats(p->rig.store, &stats);
    fprintf(stderr, "seed %llu: %llu entries, %llu runs, %llu rows fetched\n",
            (unsigned long long)seed, (unsigned long long)p->modelled,
            (unsigned long long)stats.runs_count, (unsigned long long)stats.rows_fetched);
    rig_close(&p->rig);
    rig_close(&p->other);
    world_destroy(p->world);
    model_free(&p->model);
    free(p);
}

TestSuite(store_model, .timeout = 300);

Test(store_model, the_store_says_what_the_model_says)
{
    struct splitmix chance = {1};
    const char *text = getenv("PARLEY_SEED");
    for (size_t i = 0; i < sizeof(noise); i++)
        noise[i] = (char)(splitmix_next(&chance) >> 7);
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        uint64_t chosen = text == NULL ? seed : strtoull(text, NULL, 10);
        play(chosen);
        if (text != NULL) return;
    }
}
