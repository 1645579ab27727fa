/* tests/raft/grid_chaos_test.c -- clients write and read while nodes crash, hang, lose touch.
 *
 * Method: writers, some of them two on one stream, number what they send and send it again until
 * its outcome is known; readers ask for heads. A schedule drawn from the seed kills nodes and
 * their power, cuts links, freezes processes, fills and stalls disks, moves clocks. Then all heals,
 * and every stream is read back: each acknowledged record is there, once, at the seq that was told,
 * each producer's in the order of n; no reader was told less than was acknowledged before it asked;
 * replicas that applied the same index have the same history hash. GRID_SEED and GRID_SEEDS choose
 * other runs. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/raft/grid.h"

enum {
    SECOND_US = 1000000,
    WRITERS = 8,
    STREAMS = 5, /* Writers share some. */
    TXNS_MAX = 8000,
    READERS = 4,
    FAULTS_FOR_US = 12 * SECOND_US,
    CALM_US = 40 * SECOND_US,
};

static struct chaos {
    struct grid grid;
    struct sim_node *readers_sim;
    struct env *readers_env; /* Readers have a client of their own, which may know an old leader. */
    struct client *readers_client;
    uint64_t until_us; /* Writers stop then. */
    struct stream {
        char name[16];
        seq_t acked; /* The largest seq that was acknowledged. */
    } streams[STREAMS];
    struct writer {
        struct client_txn req;
        struct txn txn;
        struct txn_record record;
        struct stream *stream;
        char producer[16];
        char payload[32];
        uint64_t n;
        seq_t seqs[TXNS_MAX]; /* By n - 1. */
        struct env_timer again;
        bool open;
    } writers[WRITERS];
    struct reader_client {
        struct client_query req;
        struct stream *stream;
        seq_t at_least;
        struct env_timer again;
        bool open;
        uint64_t reads_count;
    } readers[READERS];
    uint64_t acks_count, retries_count;
} * chaos;

/* ---- writers ---- */

static void writer_send(struct writer *w);

static void writer_again(struct env_timer *timer)
{
    writer_send(CONTAINER_OF(timer, struct writer, again));
}

static void writer_done(struct client_txn *req, int err, const struct outcome *outcome,
                        uint32_t after_ms)
{
    struct writer *w = CONTAINER_OF(req, struct writer, req);
    w->open = false;
    (void)after_ms;
    if (err != 0) { /* Not known, or nothing done: the same again. */
        chaos->retries_count++;
        w->open = true;
        env_timer_start(chaos->grid.env, &w->again, 20);
        return;
    }
    cr_assert_eq(outcome->status, 0, "%s n %llu: %s", w->producer, (unsigned long long)w->n,
                 err_text(outcome->status));
    chaos->acks_count++;
    if (!outcome->duplicate || outcome->details) {
        w->seqs[w->n - 1] = outcome->last;
        if (outcome->last > w->stream->acked) w->stream->acked = outcome->last;
    }
    if (world_now_us(chaos->grid.world) < chaos->until_us && w->n < TXNS_MAX) {
        w->n++;
        w->open = true;
        env_timer_start(chaos->grid.env, &w->again, env_random_below(chaos->grid.env, 30));
    }
}

static void writer_send(struct writer *w)
{
    char who[sizeof(w->producer)]; /* A copy: gcc takes the two for one object (-Wrestrict). */
    memcpy(who, w->producer, sizeof(who));
    snprintf(w->payload, sizeof(w->payload), "%s:%llu", who, (unsigned long long)w->n);
    w->record =
        (struct txn_record){.kind = 1, .flags = RECORD_COUNTED, .payload = slice_str(w->payload)};
    w->txn = (struct txn){.stream = slice_str(w->stream->name),
                          .producer = slice_str(w->producer),
                          .n = w->n,
                          .records = &w->record,
                          .records_count = 1};
    w->req = (struct client_txn){.txn = &w->txn, .deadline_ms = 2000, .done = writer_done};
    w->open = true;
    client_txn(chaos->grid.client, &w->req);
}

/* ---- readers ---- */

static void answer_done(struct client_query *req, int err);

static void reader_send(struct env_timer *timer)
{
    struct reader_client *r = CONTAINER_OF(timer, struct reader_client, again);
    r->at_least = r->stream->acked;
    buf_free(&r->req.query.rows);
    r->req = (struct client_query){
        .query = {.kind = STORE_HEAD, .stream = slice_str(r->stream->name)}, .deadline_ms = 1000};
    void answer_done(struct client_query * req, int err);
    r->req.done = answer_done;
    r->open = true;
    client_query(chaos->readers_client, &r->req);
}

static void answer_done(struct client_query *req, int err)
{
    struct reader_client *r = CONTAINER_OF(req, struct reader_client, req);
    r->open = false;
    if (err == 0) {
        r->reads_count++;
        cr_assert_geq(req->query.head.last, r->at_least, "a stale read of %s", r->stream->name);
    } else if (err == ERR_NO_STREAM) {
        cr_assert_eq(r->at_least, 0, "%s was forgotten", r->stream->name);
    }
    if (world_now_us(chaos->grid.world) < chaos->until_us)
        env_timer_start(chaos->readers_env, &r->again,
                        1 + env_random_below(chaos->readers_env, 30));
}

/* ---- faults ---- */

static uint64_t below(uint64_t limit)
{
    return world_random(chaos->grid.world) % limit;
}

static void all_start(void)
{
    for (unsigned i = 0; i < chaos->grid.nodes_count; i++)
        grid_start(&chaos->grid, i);
}

static void fault(void)
{
    struct grid *grid = &chaos->grid;
    unsigned node = (unsigned)below(grid->nodes_count);
    unsigned other = (unsigned)below(grid->nodes_count);
    switch (below(14)) {
        case 10:
            disk_stall(sim_node_disk(grid->nodes[node].sim), below(2 * SECOND_US));
            break;
        case 11:
            disk_set_capacity(sim_node_disk(grid->nodes[node].sim), below(2) == 0 ? 1 : UINT64_MAX);
            break;
        case 9:
            for (part_t p = 0; p < GRID_PARTS && sim_node_up(grid->nodes[node].sim); p++)
                if (grid_part(grid, node, p) != NULL)
                    (void)part_hand_over(grid_part(grid, node, p));
            break;
        case 0:
        case 1:
            grid_crash(grid, node, SIM_KILL);
            break;
        case 2:
            grid_crash(grid, node, SIM_POWER);
            break;
        case 3:
            net_isolate(grid->nodes[node].sim);
            break;
        case 12:
        case 13: /* From its peers alone; its readers see nobody else, and go on asking it. */
            for (unsigned i = 0; i < grid->nodes_count; i++) {
                if (i == node) continue;
                net_cut(grid->nodes[node].sim, grid->nodes[i].sim);
                net_cut(grid->nodes[i].sim, grid->nodes[node].sim);
                net_cut(grid->nodes[i].sim, chaos->readers_sim);
                net_cut(chaos->readers_sim, grid->nodes[i].sim);
            }
            break;
        case 4:
            if (node != other) net_cut(grid->nodes[node].sim, grid->nodes[other].sim);
            break;
        case 5:
            if (sim_node_up(grid->nodes[node].sim))
                sim_node_pause(grid->nodes[node].sim, below(SECOND_US));
            break;
        case 6:
            sim_node_wall_shift(grid->nodes[node].sim, (int64_t)below(7200000) - 3600000);
            break;
        case 7:
            net_heal(grid->world);
            break;
        default:
            all_start();
            break;
    }
}

static bool all_quiet(void *arg)
{
    (void)arg;
    for (size_t i = 0; i < WRITERS; i++)
        if (chaos->writers[i].open) return false;
    for (size_t i = 0; i < READERS; i++)
        if (chaos->readers[i].open) return false;
    return grid_settled(&chaos->grid);
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

static struct writer *writer_of(const char *producer)
{
    for (size_t i = 0; i < WRITERS; i++)
        if (strcmp(chaos->writers[i].producer, producer) == 0) return &chaos->writers[i];
    check_failed("a writer has this name", __FILE__, __LINE__, __func__);
}

/* One record: the next of its producer, where it was said to be. */
static void record_judge(const struct stream *stream, const struct record_view *record,
                         uint64_t *seen)
{
    char text[32], producer[16];
    unsigned long long n;
    cr_assert_lt(record->payload.len, sizeof(text));
    memcpy(text, record->payload.data, record->payload.len);
    text[record->payload.len] = '\0';
    cr_assert_eq(sscanf(text, "%15[^:]:%llu", producer, &n), 2);
    struct writer *w = writer_of(producer);
    size_t at = (size_t)(w - chaos->writers);
    cr_assert_eq(w->stream, stream);
    cr_assert_eq(n, seen[at] + 1, "%s: %llu follows %llu at seq %llu", producer, n,
                 (unsigned long long)seen[at], (unsigned long long)record->seq);
    seen[at] = n;
    if (w->seqs[n - 1] != 0) cr_assert_eq(w->seqs[n - 1], record->seq, "%s %llu", producer, n);
}

static void stream_judge(const struct stream *stream, uint64_t *seen)
{
    for (seq_t from = 1;;) {
        struct reading reading = {.req = {.query = {.kind = STORE_RECORDS,
                                                    .stream = slice_str(stream->name),
                                                    .from = from,
                                                    .limit_count = 500,
                                                    .limit_bytes = 256 * 1024},
                                          .deadline_ms = 10000,
                                          .done = reading_done}};
        client_query(chaos->grid.client, &reading.req);
        cr_assert(world_run_until(chaos->grid.world, reading_is_done, &reading, 20 * SECOND_US));
        if (reading.err == ERR_NO_STREAM && stream->acked == 0) return;
        cr_assert_eq(reading.err, 0, "%s: %s", stream->name, err_text(reading.err));
        struct reader r = reader_of(buf_bytes(&reading.req.query.rows));
        for (uint32_t i = 0; i < reading.req.query.rows_count; i++) {
            struct record_view record;
            record_decode(&r, &record);
            cr_assert(!r.failed);
            cr_assert_eq(record.seq, from, "a gap");
            from++;
            record_judge(stream, &record, seen);
        }
        bool more = reading.req.query.more;
        cr_assert_geq(reading.req.query.head.last, stream->acked);
        buf_free(&reading.req.query.rows);
        if (!more) break;
    }
}

static void readers_start(void)
{
    struct env_address addresses[GRID_NODES_MAX];
    for (unsigned i = 0; i < chaos->grid.nodes_count; i++) {
        addresses[i].port = GRID_CLIENT_PORT;
        snprintf(addresses[i].host, sizeof(addresses[i].host), "%s", chaos->grid.nodes[i].name);
    }
    struct client_config config = {.nodes = addresses, .nodes_count = chaos->grid.nodes_count};
    chaos->readers_sim = sim_node_create(chaos->grid.world, "rdr", NULL, NULL);
    chaos->readers_env = sim_node_env(chaos->readers_sim);
    cr_assert_eq(client_create(chaos->readers_env, &config, &chaos->readers_client), 0);
    for (size_t i = 0; i < READERS; i++) {
        chaos->readers[i].stream = &chaos->streams[i % STREAMS];
        env_timer_init(&chaos->readers[i].again, reader_send);
        reader_send(&chaos->readers[i].again);
    }
}

static void set_true(void *arg)
{
    *(bool *)arg = true;
}

static bool is_true(void *arg)
{
    return *(bool *)arg;
}

static void readers_end(void)
{
    bool closed = false;
    for (size_t i = 0; i < READERS; i++)
        buf_free(&chaos->readers[i].req.query.rows);
    client_destroy(chaos->readers_client, set_true, &closed);
    cr_assert(world_run_until(chaos->grid.world, is_true, &closed, SECOND_US));
}

static void run_seed(uint64_t seed, unsigned nodes_count)
{
    chaos = mem_zero(sizeof(*chaos));
    grid_set_up(&chaos->grid, seed, nodes_count, 1024 * 1024);
    chaos->until_us = world_now_us(chaos->grid.world) + FAULTS_FOR_US + 2 * SECOND_US;
    for (size_t i = 0; i < STREAMS; i++)
        snprintf(chaos->streams[i].name, sizeof(chaos->streams[i].name), "s/%zu", i);
    for (size_t i = 0; i < WRITERS; i++) {
        struct writer *w = &chaos->writers[i];
        w->stream = &chaos->streams[i % STREAMS];
        snprintf(w->producer, sizeof(w->producer), "p%zu", i);
        env_timer_init(&w->again, writer_again);
        w->n = 1;
        writer_send(w);
    }
    readers_start();
    uint64_t end_us = world_now_us(chaos->grid.world) + FAULTS_FOR_US;
    while (world_now_us(chaos->grid.world) < end_us) {
        world_run_for(chaos->grid.world, 50000 + below(600000));
        fault();
        grid_check_history(&chaos->grid);
    }
    net_heal(chaos->grid.world);
    for (unsigned i = 0; i < nodes_count; i++)
        disk_set_capacity(sim_node_disk(chaos->grid.nodes[i].sim), UINT64_MAX);
    all_start();
    cr_assert(world_run_until(chaos->grid.world, all_quiet, NULL, CALM_US),
              "seed %llu: not quiet %u s after all healed", (unsigned long long)seed,
              CALM_US / SECOND_US);
    grid_check_history(&chaos->grid);
    uint64_t seen[WRITERS] = {0};
    for (size_t i = 0; i < STREAMS; i++)
        stream_judge(&chaos->streams[i], seen);
    for (size_t i = 0; i < WRITERS; i++)
        cr_assert_eq(seen[i], chaos->writers[i].n, "%s: the last acknowledged is there",
                     chaos->writers[i].producer);
    uint64_t reads_count = 0;
    for (size_t i = 0; i < READERS; i++)
        reads_count += chaos->readers[i].reads_count;
    readers_end();
    cr_assert_gt(chaos->acks_count, 100, "seed %llu: too little happened",
                 (unsigned long long)seed);
    if (chaos->grid.loud)
        fprintf(stderr, "seed %llu: %llu acks, %llu retries, %llu reads\n",
                (unsigned long long)seed, (unsigned long long)chaos->acks_count,
                (unsigned long long)chaos->retries_count, (unsigned long long)reads_count);
    grid_tear_down(&chaos->grid);
    free(chaos);
}

static uint64_t number_from(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

Test(grid_chaos, nothing_acknowledged_is_lost_doubled_or_swapped, .timeout = 3600)
{
    /* Served without a round, the second of these gives a stale read. */
    uint64_t first = number_from("GRID_SEED", 3004), count = number_from("GRID_SEEDS", 2);
    for (uint64_t seed = first; seed < first + count; seed++)
        run_seed(seed, seed % 4 == 3 ? 5 : 3);
}
