/* tests/raft/grid_tail_test.c -- pipelines and subscribers of a real cluster that is hurt all
 * along.
 *
 * Method: writers keep up to 32 numbered transactions open, each with records, attributes and a
 * cursor; followers, opened at different moments, check every event as it comes: seq + 1 each time,
 * each producer's n + 1 each time, no version going back. A schedule drawn from the seed crashes,
 * cuts and freezes. Then all heals, every writer's every number has its outcome, every follower
 * stands at the head, and what it was told of attributes is what a read gives. GRID_SEED and
 * GRID_SEEDS choose other runs. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/raft/grid.h"

enum {
    SECOND_US = 1000000,
    STREAMS = 3,
    WRITERS = 6, /* Two on each stream. */
    FOLLOWERS = 9,
    WINDOW = 32,
    TXNS_MAX = 4000,
    BURST_MS = 30, /* A writer sends up to BURST transactions so often. */
    BURST = 8,
    KEYS = 4, /* Attributes of each writer. */
    FAULTS_FOR_US = 10 * SECOND_US,
    CALM_US = 60 * SECOND_US,
};

struct slot {
    struct client_txn req;
    struct writer *writer;
    uint64_t n;
};
struct writer {
    unsigned number;
    char stream[16], producer[16];
    uint64_t next_n;
    unsigned open;
    uint64_t done; /* Outcomes. */
    struct env_timer burst;
    struct slot slots[TXNS_MAX];
};
struct value {
    char text[24];
    uint64_t version;
    seq_t seq;
};
struct follower {
    struct client_tail *tail;
    char stream[16];
    seq_t last;
    uint64_t version, starts;
    uint64_t n[WRITERS]; /* The last heard of each. */
    struct value values[WRITERS][KEYS], cursors[WRITERS];
    bool present[WRITERS]; /* Sessions. */
};
static struct {
    struct grid grid;
    uint64_t until_us; /* Writers stop then. */
    struct writer writers[WRITERS];
    struct follower followers[FOLLOWERS];
} * run;

static uint64_t below(uint64_t bound)
{
    return world_random(run->grid.world) % bound;
}

/* ---- writers ---- */

static void slot_done(struct client_txn *req, int err, const struct outcome *outcome,
                      uint32_t after_ms)
{
    struct slot *slot = CONTAINER_OF(req, struct slot, req);
    struct writer *w = slot->writer;
    (void)after_ms;
    cr_assert_eq(err, 0, "%s %zu: %s", w->producer, (size_t)slot->n, err_name(err));
    cr_assert_eq(outcome->status, 0, "%s %zu: %s", w->producer, (size_t)slot->n,
                 err_name(outcome->status));
    w->open--;
    w->done++;
}

/* 0 to 2 records, an attribute in turn, the cursor to what was written. */
static void writer_send(struct writer *w)
{
    char value[24], key[16], cursor[16];
    struct slot *slot = &w->slots[w->next_n];
    *slot = (struct slot){.writer = w, .n = w->next_n++};
    snprintf(value, sizeof(value), "%zu", (size_t)slot->n);
    snprintf(key, sizeof(key), "%u.%u", w->number, (unsigned)(slot->n % KEYS));
    snprintf(cursor, sizeof(cursor), "%u", w->number);
    struct txn_record records[2] = {{.payload = slice_str(value)}, {.payload = slice_str("2")}};
    struct txn_set set = {.key = slice_str(key), .value = slice_str(value)};
    struct txn_advance advance = {.key = slice_str(cursor), .flags = TXN_ADVANCE_WRITTEN};
    struct txn txn = {.stream = slice_str(w->stream),
                      .producer = slice_str(w->producer),
                      .n = slot->n,
                      .sets = &set,
                      .sets_count = 1,
                      .advances = &advance,
                      .advances_count = 1,
                      .records = records,
                      .records_count = 1 + slot->n % 2};
    slot->req = (struct client_txn){.txn = &txn, .deadline_ms = 120000, .done = slot_done};
    w->open++;
    client_txn(run->grid.client, &slot->req);
}

static void burst_fired(struct env_timer *timer)
{
    struct writer *w = CONTAINER_OF(timer, struct writer, burst);
    if (world_now_us(run->grid.world) >= run->until_us) return;
    for (uint64_t i = env_random_below(run->grid.env, BURST); i > 0; i--)
        if (w->open < WINDOW && w->next_n < TXNS_MAX) writer_send(w);
    env_timer_start(run->grid.env, timer, BURST_MS);
}

/* ---- followers ---- */

static unsigned writer_of(struct slice text)
{
    char copy[16] = {0};
    cr_assert_lt(text.len, sizeof(copy));
    memcpy(copy, text.data, text.len);
    unsigned number = (unsigned)strtoul(copy, NULL, 10);
    cr_assert_lt(number, WRITERS);
    return number;
}

static void on_started(void *arg, const struct stream_head *head)
{
    struct follower *f = arg;
    f->starts++;
    cr_assert_geq(head->last, f->last);
    cr_assert_geq(head->version, f->version);
}

static void on_record(void *arg, const struct record_view *record)
{
    struct follower *f = arg;
    cr_assert_eq(record->seq, f->last + 1);
    f->last = record->seq;
    cr_assert_eq(((const char *)record->producer.data)[0], 'p');
    unsigned w = writer_of(
        (struct slice){(const char *)record->producer.data + 1, record->producer.len - 1});
    bool second = slice_equal(record->payload, slice_str("2")) && record->n == f->n[w];
    cr_assert(second || record->n == f->n[w] + 1, "%u: %zu after %zu", w, (size_t)record->n,
              (size_t)f->n[w]);
    f->n[w] = record->n;
}

static void on_item(void *arg, const struct item_view *item)
{
    struct follower *f = arg;
    unsigned w = writer_of(item->key);
    const char *dot = memchr(item->key.data, '.', item->key.len);
    cr_assert_eq(item->cursor, dot == NULL);
    struct value *value = item->cursor ? &f->cursors[w] : &f->values[w][dot[1] - '0'];
    cr_assert_geq(item->version, value->version);
    cr_assert_geq(item->seq, value->seq);
    value->version = item->version;
    value->seq = item->seq;
    memset(value->text, 0, sizeof(value->text));
    if (item->value.len > 0) memcpy(value->text, item->value.data, item->value.len);
}

static void on_head(void *arg, const struct stream_head *head)
{
    struct follower *f = arg;
    cr_assert_eq(head->last, f->last);
    cr_assert_geq(head->version, f->version);
    f->version = head->version;
}

static void on_session(void *arg, struct slice key, struct slice payload, bool present)
{
    struct follower *f = arg;
    (void)payload;
    f->present[writer_of(key)] = present;
}

static void on_session_reset(void *arg)
{
    struct follower *f = arg;
    memset(f->present, 0, sizeof(f->present));
}

static void on_ended(void *arg, int err)
{
    (void)arg;
    cr_assert_eq(err, 0, "no position is ever too old: %s", err_name(err));
}

static const struct tail_handlers handlers = {.started = on_started,
                                              .head = on_head,
                                              .record = on_record,
                                              .item = on_item,
                                              .session = on_session,
                                              .session_reset = on_session_reset,
                                              .ended = on_ended};

static void follow(unsigned i)
{
    struct follower *f = &run->followers[i];
    snprintf(f->stream, sizeof(f->stream), "s/%u", i % STREAMS);
    f->tail = client_tail_open(run->grid.client, slice_str(f->stream), TAIL_ALL,
                               (struct tail_position){0, 0}, true, &handlers, f);
}

/* ---- faults ---- */

static void all_start(void)
{
    for (unsigned i = 0; i < run->grid.nodes_count; i++)
        grid_start(&run->grid, i);
}

static void fault(void)
{
    struct grid *grid = &run->grid;
    unsigned node = (unsigned)below(grid->nodes_count);
    struct sim_node *sim = grid->nodes[node].sim;
    switch (below(8)) {
        case 0:
            grid_crash(grid, node, SIM_KILL);
            break;
        case 1:
            grid_crash(grid, node, SIM_POWER);
            break;
        case 2:
            net_isolate(sim);
            break;
        case 3:
            net_cut(sim, grid->client_sim);
            break;
        case 4:
            if (sim_node_up(sim)) sim_node_pause(sim, below(2 * SECOND_US));
            break;
        case 5:
            net_heal(grid->world);
            break;
        default:
            all_start();
    }
}

/* ---- judging ---- */

struct reading {
    struct client_query req;
    bool done;
    int err;
};

static void reading_done(struct client_query *req, int err)
{
    struct reading *reading = CONTAINER_OF(req, struct reading, req);
    reading->err = err;
    reading->done = true;
}

static bool reading_is_done(void *arg)
{
    return ((struct reading *)arg)->done;
}

static void read_all(struct reading *reading, const char *stream, enum store_query_kind kind)
{
    *reading = (struct reading){.req = {.done = reading_done}};
    reading->req.query = (struct store_query){
        .kind = kind, .stream = slice_str(stream), .limit_count = 1000, .limit_bytes = 256 * 1024};
    client_query(run->grid.client, &reading->req);
    cr_assert(world_run_until(run->grid.world, reading_is_done, reading, 20 * SECOND_US));
    cr_assert_eq(reading->err, 0);
}

static void follower_judge(const struct follower *f)
{
    struct reading head, items;
    read_all(&head, f->stream, STORE_HEAD);
    cr_assert_eq(f->last, head.req.query.head.last);
    cr_assert_eq(f->version, head.req.query.head.version);
    for (int cursors = 0; cursors < 2; cursors++) {
        read_all(&items, f->stream, cursors ? STORE_CURSORS : STORE_ATTRIBUTES);
        struct reader r = reader_of(buf_bytes(&items.req.query.rows));
        for (uint32_t i = 0; i < items.req.query.rows_count; i++) {
            struct item_view item;
            item_decode(&r, &item);
            unsigned w = writer_of(item.key);
            const char *dot = memchr(item.key.data, '.', item.key.len);
            const struct value *value = cursors ? &f->cursors[w] : &f->values[w][dot[1] - '0'];
            cr_assert_eq(value->version, item.version);
            cr_assert_eq(value->seq, item.seq);
            cr_assert(cursors || slice_equal(slice_str(value->text), item.value));
        }
        buf_free(&items.req.query.rows);
    }
    for (unsigned w = 0; w < WRITERS; w++) {
        if (strcmp(run->writers[w].stream, f->stream) != 0) continue;
        cr_assert_eq(f->n[w], run->writers[w].next_n - 1, "every number is there");
        cr_assert(f->present[w]);
    }
}

static bool all_quiet(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < WRITERS; i++)
        if (run->writers[i].open > 0 || env_timer_started(&run->writers[i].burst)) return false;
    return grid_settled(&run->grid);
}

static void run_seed(uint64_t seed)
{
    run = mem_zero(sizeof(*run));
    grid_set_up(&run->grid, seed, 3, 1024 * 1024);
    run->until_us = world_now_us(run->grid.world) + FAULTS_FOR_US + SECOND_US;
    uint64_t end_us = world_now_us(run->grid.world) + FAULTS_FOR_US;
    for (unsigned i = 0; i < WRITERS; i++) {
        struct writer *w = &run->writers[i];
        w->number = i;
        w->next_n = 1;
        snprintf(w->stream, sizeof(w->stream), "s/%u", i % STREAMS);
        snprintf(w->producer, sizeof(w->producer), "p%u", i);
        env_timer_init(&w->burst, burst_fired);
        burst_fired(&w->burst);
        char key[4];
        snprintf(key, sizeof(key), "%u", i);
        client_claim(run->grid.client, slice_str(w->stream), slice_str(key), slice_str(""));
    }
    for (unsigned i = 0; world_now_us(run->grid.world) < end_us; i++) {
        if (i < FOLLOWERS) follow(i);
        world_run_for(run->grid.world, 50000 + below(500000));
        fault();
    }
    net_heal(run->grid.world);
    all_start();
    cr_assert(world_run_until(run->grid.world, all_quiet, NULL, CALM_US), "seed %zu is not quiet",
              (size_t)seed);
    world_run_for(run->grid.world, 20 * SECOND_US); /* Sessions settle. */
    uint64_t done = 0;
    for (unsigned i = 0; i < WRITERS; i++)
        done += run->writers[i].done;
    for (unsigned i = 0; i < FOLLOWERS; i++)
        if (run->followers[i].tail != NULL) follower_judge(&run->followers[i]);
    cr_assert_gt(done, 300, "seed %zu: too little happened", (size_t)seed);
    if (run->grid.loud) fprintf(stderr, "seed %zu: %zu outcomes\n", (size_t)seed, (size_t)done);
    grid_tear_down(&run->grid);
    free(run);
}

static uint64_t number_from(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

TestSuite(grid_tail, .timeout = 300);

Test(grid_tail, every_number_is_used_once_and_every_follower_hears_it)
{
    uint64_t first = number_from("GRID_SEED", 1);
    uint64_t seeds = number_from("GRID_SEEDS", 2);
    for (uint64_t seed = first; seed < first + seeds; seed++)
        run_seed(seed);
}
