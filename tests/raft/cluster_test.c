/* tests/raft/cluster_test.c -- real processes that are killed while clients write and retry.
 *
 * Method: `parley dev` starts three logd; writers in this process, each with a stream and a
 * producer of its own, pipeline records through the client library; logd are killed and started
 * again meanwhile. Then every stream is read back: each acknowledged record once, in order. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "log/env_uv.h"
#include "raft/client.h"
#include "tests/lib/cluster.h"

enum { WRITERS = 8, PIPELINE = 4, PAYLOAD_MAX = 60 * 1024 };

static struct cluster cluster;
static struct env_uv *uv;
static struct env *env;
static struct client *client;
static unsigned open_count;
static bool stopping;
static size_t payload_bytes = 64;

/* One request of a writer's pipeline. */
static struct slot {
    struct client_txn req;
    struct txn txn;
    struct txn_record record;
    struct writer *writer;
    uint64_t n;
    uint8_t payload[PAYLOAD_MAX];
} slots[WRITERS * PIPELINE];

static struct writer {
    char stream[16], producer[16];
    uint64_t n;     /* The last one sent. */
    uint64_t acked; /* How many, and since they are answered in order: up to which. */
} writers[WRITERS];

static void slot_send(struct slot *slot, uint64_t n);

static void slot_done(struct client_txn *req, int err, const struct outcome *outcome,
                      uint32_t after_ms)
{
    struct slot *slot = CONTAINER_OF(req, struct slot, req);
    (void)after_ms;
    open_count--;
    cr_assert_eq(err, 0, "the library retries within its deadline: %s", err_text(err));
    cr_assert_eq(outcome->status, 0, "%s", err_text(outcome->status));
    if (!outcome->duplicate || outcome->details) cr_assert_eq(outcome->last, slot->n);
    slot->writer->acked++;
    if (!stopping) {
        slot_send(slot, ++slot->writer->n);
    } else if (open_count == 0) {
        env_uv_stop(uv);
    }
}

static void slot_send(struct slot *slot, uint64_t n)
{
    slot->n = n;
    put_u64(slot->payload, n);
    slot->record = (struct txn_record){
        .kind = 1, .flags = RECORD_COUNTED, .payload = {slot->payload, payload_bytes}};
    slot->txn = (struct txn){.stream = slice_str(slot->writer->stream),
                             .producer = slice_str(slot->writer->producer),
                             .n = n,
                             .records = &slot->record,
                             .records_count = 1};
    slot->req = (struct client_txn){.txn = &slot->txn, .deadline_ms = 30000, .done = slot_done};
    open_count++;
    client_txn(client, &slot->req);
}

static void writers_start(void)
{
    for (size_t i = 0; i < WRITERS * PIPELINE; i++) {
        struct writer *w = &writers[i / PIPELINE];
        slots[i].writer = w;
        snprintf(w->stream, sizeof(w->stream), "s/%zu", i / PIPELINE);
        snprintf(w->producer, sizeof(w->producer), "p%zu/1", i / PIPELINE);
        for (size_t at = 0; at < payload_bytes; at += 8)
            put_u64(slots[i].payload + at, env_random(env));
    }
    for (size_t i = 0; i < WRITERS * PIPELINE; i++)
        slot_send(&slots[i], ++slots[i].writer->n);
}

/* ---- the loop, for a while ---- */

static void pause_over(struct env_timer *timer)
{
    (void)timer;
    env_uv_stop(uv);
}

static void run_for(uint64_t ms)
{
    struct env_timer timer;
    env_timer_init(&timer, pause_over);
    env_timer_start(env, &timer, ms);
    env_uv_run(uv);
    env_timer_stop(env, &timer);
}

static void writers_stop(void)
{
    stopping = true;
    while (open_count > 0)
        run_for(40000);
}

/* ---- reading back ---- */

struct reading {
    struct client_query req;
    int err;
    bool done;
};

static void reading_done(struct client_query *req, int err)
{
    struct reading *reading = CONTAINER_OF(req, struct reading, req);
    reading->err = err;
    reading->done = true;
    env_uv_stop(uv);
}

static void stream_check(const struct writer *w)
{
    uint64_t next = 1;
    for (bool more = true; more;) {
        struct reading reading = {.req = {.query = {.kind = STORE_RECORDS,
                                                    .stream = slice_str(w->stream),
                                                    .from = next,
                                                    .limit_count = 1000,
                                                    .limit_bytes = 512 * 1024},
                                          .deadline_ms = 20000,
                                          .done = reading_done}};
        client_query(client, &reading.req);
        while (!reading.done)
            run_for(30000);
        cr_assert_eq(reading.err, 0, "%s", err_text(reading.err));
        struct reader r = reader_of(buf_bytes(&reading.req.query.rows));
        for (uint32_t i = 0; i < reading.req.query.rows_count; i++) {
            struct record_view record;
            record_decode(&r, &record);
            cr_assert(!r.failed);
            cr_assert_eq(record.seq, next);
            cr_assert_eq(get_u64(record.payload.data), next, "%s", w->stream);
            next++;
        }
        more = reading.req.query.more;
        buf_free(&reading.req.query.rows);
    }
    cr_assert_eq(next - 1, w->acked, "%s: what was acknowledged, no more and no less", w->stream);
}

static void set_up(void)
{
    cluster_set_up(&cluster, 3, 1);
    cr_assert_eq(env_uv_create(NULL, &uv), 0);
    env = env_uv_env(uv);
    struct env_address nodes[3];
    for (unsigned i = 0; i < 3; i++)
        nodes[i] = (struct env_address){"127.0.0.1", (uint16_t)(cluster.port + i + 1)};
    struct client_config config = {.nodes = nodes, .nodes_count = 3};
    cr_assert_eq(client_create(env, &config, &client), 0);
}

static void on_closed(void *arg)
{
    (void)arg;
    env_uv_stop(uv);
}

static void tear_down(void)
{
    client_destroy(client, on_closed, NULL);
    env_uv_run(uv);
    env_uv_destroy(uv);
    cluster_tear_down(&cluster);
}
TestSuite(cluster, .init = set_up, .fini = tear_down, .timeout = 120);

Test(cluster, nodes_are_killed_in_turn_and_nothing_is_lost_doubled_or_swapped)
{
    writers_start();
    run_for(1000);
    for (unsigned i = 1; i <= 3; i++) {
        cluster_kill(&cluster, "logd", i, SIGKILL);
        run_for(1200);
        cluster_restart_logd(&cluster, i);
        run_for(1200);
    }
    writers_stop();
    for (size_t i = 0; i < WRITERS; i++)
        stream_check(&writers[i]);
}

/* SIGTERM hands over: nobody waits for an election; the process ends by itself. */
Test(cluster, nodes_are_stopped_in_turn_as_for_an_upgrade)
{
    writers_start();
    run_for(500);
    for (unsigned i = 1; i <= 3; i++) {
        cluster_kill(&cluster, "logd", i, SIGTERM);
        run_for(300);
        cluster_restart_logd(&cluster, i);
        run_for(1000);
    }
    writers_stop();
    for (size_t i = 0; i < WRITERS; i++)
        stream_check(&writers[i]);
}

static bool log_says(unsigned node, const char *words)
{
    char name[32];
    uint8_t *text;
    size_t bytes;
    snprintf(name, sizeof(name), "logd-%u.log", node);
    dir_get(&cluster.dir, name, &text, &bytes);
    bool says = memmem(text, bytes, words, strlen(words)) != NULL;
    free(text);
    return says;
}

/* While a node is away the others write more than their logs keep in memory. */
Test(cluster, a_node_that_was_away_for_long_gets_a_snapshot)
{
    payload_bytes = PAYLOAD_MAX;
    cluster_kill(&cluster, "logd", 2, SIGKILL);
    writers_start();
    for (unsigned i = 0; i < 60 && writers[0].acked < 120; i++)
        run_for(500);
    writers_stop();
    cluster_restart_logd(&cluster, 2);
    for (unsigned i = 0; i < 60 && !log_says(2, "snapshot installed"); i++)
        run_for(500);
    cr_expect(log_says(2, "snapshot installed"));
    /* With another node gone, what it got is needed for every read. */
    run_for(1000);
    cluster_kill(&cluster, "logd", 1, SIGKILL);
    for (size_t i = 0; i < WRITERS; i++)
        stream_check(&writers[i]);
}
