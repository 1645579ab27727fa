/* tests/raft/fake_part.c -- see fake_part.h. Linked before raft's library, so that these part_*
 * are the ones that serve and tails call. */
#include "tests/raft/fake_part.h"

#include <stdio.h>
#include <stdlib.h>

#include "log/entry.h"
#include "log/pack.h"

enum { RECORDS_MAX = 100000, ENTRIES_MAX = 100000, HELD_MAX = 4096, PRODUCERS_MAX = 64 };

struct held {
    struct part_txn *req;
    struct buf bytes;
    int answer; /* 0: its outcome. */
    bool lost;  /* It is not done. */
};
/* Asked, to be answered at the end of the turn. */
struct asked {
    void (*answer)(struct part *part, void *req, int err);
    void *req;
    int err;
};
struct part {
    struct fake *fake;
    struct env *env;
    unsigned node;
    part_t number;
    struct store *store;
    struct store_fetch fetch;
    bool fetching;
    index_t index;              /* Being applied. */
    bool told;                  /* leading(true) was said last. */
    struct held held[HELD_MAX]; /* Taken, not committed. */
    unsigned held_count;
    struct held *applying; /* What entry `answers` came from; answered by place. */
    index_t answers;
    struct env_timer commit;
    struct env_task turn;
    struct asked asked[HELD_MAX];
    unsigned asked_count;
    struct part_observer observer;
};
struct log {
    struct buf *entries; /* Entry index - 1. */
    index_t count, recorded;
    unsigned leader;
    term_t term;
};
struct fake {
    unsigned nodes_count, parts_count;
    struct part *parts[FAKE_NODES_MAX + 1][FAKE_PARTS_MAX];
    struct log logs[FAKE_PARTS_MAX];
    struct fake_odds odds;
    uint64_t commit_us;
    struct store_budget budget;
    struct fake_record *records;
    unsigned records_count, gaps_count;
};

/* What does not fit is left out. */
static void text_of(struct slice s, char out[32])
{
    if (s.len > 31) s.len = 31;
    memset(out, 0, 32);
    if (s.len > 0) memcpy(out, s.data, s.len);
}

static struct log *log_of(const struct part *part)
{
    return &part->fake->logs[part->number];
}

/* ---- applying ---- */

/* The first replica that applies an entry writes it into the test's book. */
static void record(struct part *part, const struct applied_txn *applied)
{
    struct fake *fake = part->fake;
    const struct txn *txn = applied->txn;
    fake->gaps_count += applied->outcome->status == ERR_GAP;
    if (applied->outcome->status != 0 || applied->outcome->duplicate) return;
    for (unsigned i = 0; i < txn->records_count; i++) {
        CHECK(fake->records_count < RECORDS_MAX);
        struct fake_record *one = &fake->records[fake->records_count++];
        *one = (struct fake_record){.n = txn->n, .seq = applied->outcome->first + i};
        text_of(txn->stream, one->stream);
        text_of(txn->producer, one->producer);
        text_of(txn->records[i].payload, one->payload);
    }
}

static void each_applied(void *arg, const struct applied_txn *applied)
{
    struct part *part = arg;
    if (part->index > log_of(part)->recorded) record(part, applied);
    if (part->observer.applied != NULL) part->observer.applied(part->observer.arg, applied);
    struct held *held = part->applying;
    if (part->index != part->answers) return;
    while (held->lost)
        held++; /* It is not in the entry. */
    part->applying = held + 1;
    bool known = held->answer == 0;
    held->req->done(held->req, held->answer, known ? applied->outcome : NULL, 0);
}

static void lead_tell(struct part *part)
{
    bool leads = part_leads(part);
    if (leads == part->told) return;
    part->told = leads;
    if (part->observer.leading != NULL) part->observer.leading(part->observer.arg, part, leads);
}

static void catch_up(struct part *part);

static void fetched(struct store_fetch *fetch, int err)
{
    struct part *part = CONTAINER_OF(fetch, struct part, fetch);
    CHECK(err == 0);
    part->fetching = false;
    struct log *log = log_of(part);
    index_t index = store_facts(part->store)->index + 1;
    part->index = index;
    err = store_apply(part->store, index, log->term, fetch->entry, each_applied, part);
    CHECK(err == 0);
    if (log->recorded < index) log->recorded = index;
    catch_up(part);
}

static void catch_up(struct part *part)
{
    struct log *log = log_of(part);
    while (!part->fetching && store_facts(part->store)->index < log->count) {
        index_t index = store_facts(part->store)->index + 1;
        part->fetch =
            (struct store_fetch){.entry = buf_bytes(&log->entries[index - 1]), .done = fetched};
        part->fetching = true;
        if (!store_fetch(part->store, &part->fetch)) return;
        fetched(&part->fetch, 0);
    }
    if (!part->fetching) lead_tell(part);
}

/* The first `count` of what part holds become one entry, whose index it gives; 0: none does. */
static index_t commit(struct part *part, struct held *held, unsigned count)
{
    struct log *log = log_of(part);
    struct entry entry = {0};
    for (unsigned i = 0; i < count; i++)
        if (!held[i].lost) entry_add(&entry, buf_bytes(&held[i].bytes));
    bool any = entry.count > 0;
    CHECK(log->count < ENTRIES_MAX);
    if (any) entry_close(&entry, env_wall_ms(part->env), &log->entries[log->count++]);
    entry_free(&entry);
    return any ? log->count : 0;
}

static void followers_wake(struct part *part)
{
    for (unsigned node = 1; node <= part->fake->nodes_count; node++) {
        struct part *other = part->fake->parts[node][part->number];
        if (other != NULL && other != part) env_defer(other->env, &other->turn);
    }
}

static void commit_fired(struct env_timer *timer)
{
    struct part *part = CONTAINER_OF(timer, struct part, commit);
    unsigned count = part->held_count;
    struct held *held = mem_copy(part->held, count * sizeof(*held));
    part->held_count = 0;
    CHECK(!part->fetching); /* Stores of this size have all rows in memory. */
    part->answers = commit(part, held, count);
    part->applying = held;
    catch_up(part);
    for (unsigned i = 0; i < count; i++) {
        if (held[i].lost) held[i].req->done(held[i].req, held[i].answer, NULL, 0);
        buf_free(&held[i].bytes);
    }
    free(held);
    followers_wake(part);
}

/* ---- answering ---- */

static void ask(struct part *part, void *req, int err,
                void (*answer)(struct part *part, void *req, int err))
{
    CHECK(part->asked_count < HELD_MAX);
    part->asked[part->asked_count++] = (struct asked){answer, req, err};
    env_defer(part->env, &part->turn);
}

static void turn_run(struct env_task *task)
{
    struct part *part = CONTAINER_OF(task, struct part, turn);
    catch_up(part);
    unsigned count = part->asked_count;
    struct asked *asked = mem_copy(part->asked, count * sizeof(*asked));
    part->asked_count = 0;
    for (unsigned i = 0; i < count; i++) {
        int err = asked[i].err;
        if (err == 0 && !part_leads(part)) err = ERR_NOT_LEADER;
        asked[i].answer(part, asked[i].req, err);
    }
    free(asked);
}

static bool by_chance(struct part *part, unsigned of_thousand)
{
    return env_random_below(part->env, 1000) < of_thousand;
}

static void answer_txn(struct part *part, void *req, int err)
{
    struct part_txn *txn = req;
    (void)part;
    txn->done(txn, err, NULL, 5);
}

void part_txn(struct part *part, struct part_txn *req)
{
    const struct fake_odds *odds = &part->fake->odds;
    int err = part_leads(part) ? 0 : ERR_NOT_LEADER;
    if (err == 0 && (part->held_count == HELD_MAX || by_chance(part, odds->busy))) err = ERR_BUSY;
    if (err != 0) {
        ask(part, req, err, answer_txn);
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

static void read_done(struct store_query *query, int err)
{
    struct part_read *read = CONTAINER_OF(query, struct part_read, query);
    read->done(read, err);
}

static void answer_read(struct part *part, void *req, int err)
{
    struct part_read *read = req;
    read->query.done = read_done;
    if (err != 0)
        read->done(read, err);
    else
        store_query(part->store, &read->query);
}

void part_read(struct part *part, struct part_read *req)
{
    ask(part, req, 0, answer_read);
}

static void heads_done(struct store_heads *store_heads, int err)
{
    struct part_heads *heads = CONTAINER_OF(store_heads, struct part_heads, heads);
    heads->done(heads, err);
}

static void answer_heads(struct part *part, void *req, int err)
{
    struct part_heads *heads = req;
    heads->heads.done = heads_done;
    heads->index = store_facts(part->store)->index;
    if (err != 0)
        heads->done(heads, err);
    else
        store_heads(part->store, &heads->heads);
}

void part_heads(struct part *part, struct part_heads *req)
{
    ask(part, req, 0, answer_heads);
}

static void changed_done(struct store_changed *store_changed, int err)
{
    struct part_changed *changed = CONTAINER_OF(store_changed, struct part_changed, changed);
    changed->done(changed, err);
}

static void answer_changed(struct part *part, void *req, int err)
{
    struct part_changed *changed = req;
    changed->changed.done = changed_done;
    if (err != 0)
        changed->done(changed, err);
    else
        store_changed(part->store, &changed->changed);
}

void part_changed(struct part *part, struct part_changed *req)
{
    ask(part, req, 0, answer_changed);
}

static void answer_confirm(struct part *part, void *req, int err)
{
    struct part_confirm *confirm = req;
    (void)part;
    confirm->done(confirm, err);
}

void part_confirm(struct part *part, struct part_confirm *req)
{
    ask(part, req, 0, answer_confirm);
}

void part_observe(struct part *part, const struct part_observer *observer)
{
    part->observer = *observer;
}

struct store *part_store(struct part *part)
{
    return part->store;
}

part_t part_number(const struct part *part)
{
    return part->number;
}

bool part_leads(const struct part *part)
{
    const struct log *log = log_of(part);
    return log->leader == part->node && store_facts(part->store)->index == log->count;
}

uint8_t part_leader_node(const struct part *part)
{
    return (uint8_t)log_of(part)->leader;
}

term_t part_term(const struct part *part)
{
    return log_of(part)->term;
}

/* ---- what the test does ---- */

struct fake *fake_create(unsigned nodes_count, unsigned parts_count)
{
    CHECK(nodes_count <= FAKE_NODES_MAX);
    CHECK(parts_count <= FAKE_PARTS_MAX);
    struct fake *fake = mem_zero(sizeof(*fake));
    fake->nodes_count = nodes_count;
    fake->parts_count = parts_count;
    fake->budget.limit_bytes = 64 * 1024 * 1024;
    fake->records = mem_alloc(RECORDS_MAX * sizeof(fake->records[0]));
    for (unsigned p = 0; p < parts_count; p++)
        fake->logs[p].entries = mem_zero(ENTRIES_MAX * sizeof(struct buf));
    return fake;
}

struct part *fake_part(struct fake *fake, struct env *env, unsigned node, part_t p)
{
    struct part *part = fake->parts[node][p];
    if (part != NULL) return part;
    part = mem_zero(sizeof(*part));
    part->fake = fake;
    part->env = env;
    part->node = node;
    part->number = p;
    env_timer_init(&part->commit, commit_fired);
    env_task_init(&part->turn, ENV_PHASE_WORK, turn_run);
    char dir[32], why[256];
    snprintf(dir, sizeof(dir), "/data/p%u", p);
    struct store_config config = {.dir = dir, .part = p, .owner = 77, .budget = &fake->budget};
    int err = store_open(env, &config, &part->store, why, sizeof(why));
    CHECK(err == 0);
    fake->parts[node][p] = part;
    env_defer(env, &part->turn);
    return part;
}

static void part_drop(struct part *part)
{
    for (unsigned i = 0; i < part->held_count; i++)
        buf_free(&part->held[i].bytes);
    store_abandon(part->store);
    free(part);
}

void fake_destroy(struct fake *fake)
{
    for (unsigned p = 0; p < fake->parts_count; p++) {
        for (unsigned node = 1; node <= fake->nodes_count; node++)
            CHECK(fake->parts[node][p] == NULL);
        for (index_t i = 0; i < fake->logs[p].count; i++)
            buf_free(&fake->logs[p].entries[i]);
        free(fake->logs[p].entries);
    }
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

/* A prefix of what is held is committed, and the requests will hear that it is unknown. */
static void held_settle(struct part *part)
{
    (void)commit(part, part->held, (unsigned)env_random_below(part->env, part->held_count + 1));
    for (unsigned i = 0; i < part->held_count; i++) {
        part->held[i].lost = true;
        part->held[i].answer = ERR_UNKNOWN;
    }
}

void fake_lead(struct fake *fake, part_t p, unsigned node)
{
    struct log *log = &fake->logs[p];
    struct part *old = fake->parts[log->leader][p];
    if (log->leader == node) return;
    if (old != NULL) held_settle(old);
    log->leader = node;
    if (node != 0) log->term++;
    for (unsigned i = 1; i <= fake->nodes_count; i++)
        if (fake->parts[i][p] != NULL) env_defer(fake->parts[i][p]->env, &fake->parts[i][p]->turn);
}

unsigned fake_leader(const struct fake *fake, part_t p)
{
    return fake->logs[p].leader;
}

void fake_node_died(struct fake *fake, unsigned node)
{
    for (unsigned p = 0; p < fake->parts_count; p++) {
        struct part *part = fake->parts[node][p];
        if (part == NULL) continue;
        held_settle(part);
        part_drop(part);
        fake->parts[node][p] = NULL;
        if (fake->logs[p].leader == node) fake->logs[p].leader = 0;
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

unsigned fake_gaps(const struct fake *fake)
{
    return fake->gaps_count;
}

bool fake_in_order(const struct fake *fake)
{
    struct {
        const struct fake_record *first;
        uint64_t n;
    } seen[PRODUCERS_MAX];
    unsigned count = 0;
    for (unsigned i = 0; i < fake->records_count; i++) {
        const struct fake_record *one = &fake->records[i];
        unsigned k = 0;
        while (k < count && (strcmp(seen[k].first->stream, one->stream) != 0 ||
                             strcmp(seen[k].first->producer, one->producer) != 0))
            k++;
        CHECK(k < PRODUCERS_MAX);
        if (k == count) {
            seen[count].first = one;
            seen[count++].n = 0;
        }
        if (one->n != ++seen[k].n) return false;
    }
    return true;
}
