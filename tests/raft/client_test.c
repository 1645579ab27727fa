/* tests/raft/client_test.c -- what the client library promises while nodes fail around it.
 *
 * Method: real client and real serve in a simulated world; partitions are fakes with one truth,
 * which tells afterwards what was done, how often, and in which order. */
#include "raft/client.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/raft/served.h"

static struct served served;
static void set_up(void)
{
    served_set_up(&served, 1);
}
static void tear_down(void)
{
    served_tear_down(&served);
}
TestSuite(client, .init = set_up, .fini = tear_down, .timeout = 60);

/* ---- one request and what became of it ---- */

struct one {
    struct client_txn req;
    bool ended;
    int err;
    struct outcome outcome;
    uint32_t after_ms;
};

static void one_done(struct client_txn *req, int err, const struct outcome *outcome,
                     uint32_t after_ms)
{
    struct one *one = CONTAINER_OF(req, struct one, req);
    cr_assert_not(one->ended, "done runs once");
    one->ended = true;
    one->err = err;
    if (outcome != NULL) one->outcome = *outcome;
    one->after_ms = after_ms;
}

static void send(struct one *one, const char *stream, const char *producer, uint64_t n,
                 const char *payload, uint32_t deadline_ms)
{
    struct txn_record record = {.kind = 1, .flags = RECORD_COUNTED, .payload = slice_str(payload)};
    struct txn txn = {.stream = slice_str(stream),
                      .producer = slice_str(producer),
                      .n = n,
                      .records = &record,
                      .records_count = 1};
    *one = (struct one){.req = {.txn = &txn, .deadline_ms = deadline_ms, .done = one_done}};
    client_txn(served.client, &one->req);
    cr_assert_not(one->ended, "done never runs from inside the call");
}

static bool one_ended(void *arg)
{
    return ((struct one *)arg)->ended;
}

static void wait_for(struct one *one)
{
    cr_assert(world_run_until(served.world, one_ended, one, 120 * 1000000ull));
}

/* A stream of the partition that node 1 leads first, and so on. */
static const char *stream_of(part_t p)
{
    static char name[16];
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(name, sizeof(name), "c/%u", i);
        if (client_partitions(served.client) == 0) world_run_for(served.world, 100000);
        if (client_partition_of(served.client, slice_str(name)) == p) return name;
    }
    cr_assert(false);
    return NULL;
}

/* ---- the plain path ---- */

Test(client, a_transaction_is_committed_and_answered)
{
    struct one one;
    send(&one, "c/1", "alice/1", 1, "hello", 0);
    wait_for(&one);
    cr_expect_eq(one.err, 0);
    cr_expect_eq(one.outcome.status, 0);
    cr_expect_eq(one.outcome.first, 1);
    cr_expect_eq(fake_times(served.fake, "c/1", "alice/1", 1), 1);
}

Test(client, the_same_number_again_is_a_duplicate_and_other_content_is_reused)
{
    struct one one;
    send(&one, "c/1", "alice/1", 1, "hello", 0);
    wait_for(&one);
    send(&one, "c/1", "alice/1", 1, "hello", 0);
    wait_for(&one);
    cr_expect_eq(one.err, 0);
    cr_expect(one.outcome.duplicate);
    cr_expect_eq(one.outcome.first, 1);
    send(&one, "c/1", "alice/1", 1, "other", 0);
    wait_for(&one);
    cr_expect_eq(one.outcome.status, ERR_REUSED);
    cr_expect_eq(fake_times(served.fake, "c/1", "alice/1", 1), 1);
}

/* Nothing open closes this gap: it is the caller's to know. */
Test(client, a_gap_of_the_callers_own_is_told)
{
    struct one one;
    send(&one, "c/1", "alice/1", 3, "three", 0);
    wait_for(&one);
    cr_expect_eq(one.err, 0);
    cr_expect_eq(one.outcome.status, ERR_GAP);
    cr_expect_eq(one.outcome.last_n, 0);
}

/* Given in the wrong order, both are open: the gap is closed by sending again. */
Test(client, a_gap_that_an_open_transaction_closes_is_not_told)
{
    struct one two, one;
    send(&two, "c/1", "alice/1", 2, "two", 0);
    send(&one, "c/1", "alice/1", 1, "one", 0);
    wait_for(&two);
    wait_for(&one);
    cr_expect_eq(two.outcome.status, 0);
    cr_expect_eq(one.outcome.status, 0);
    cr_expect(fake_in_order(served.fake));
}

Test(client, a_transaction_that_breaks_a_limit_is_refused)
{
    struct one one;
    send(&one, "", "alice/1", 1, "no stream", 0);
    wait_for(&one);
    cr_expect_eq(one.err, ERR_INVAL);
    cr_expect_eq(fake_records_count(served.fake), 0);
}

/* ---- deadlines ---- */

Test(client, without_a_leader_nothing_was_done_at_the_deadline)
{
    struct one one;
    const char *stream = stream_of(0);
    fake_lead(served.fake, 0, 0);
    uint64_t before_us = world_now_us(served.world);
    send(&one, stream, "alice/1", 1, "hello", 500);
    wait_for(&one);
    cr_expect_eq(one.err, ERR_NO_LEADER);
    uint64_t took_us = world_now_us(served.world) - before_us;
    cr_expect_geq(took_us, 500000);
    cr_expect_leq(took_us, 600000);
    cr_expect_eq(fake_records_count(served.fake), 0);
}

/* The request arrives, its answer does not. */
Test(client, an_answer_that_never_comes_is_unknown_at_the_deadline)
{
    struct one one;
    const char *stream = stream_of(0);
    world_run_for(served.world, 100000);
    fake_commit_us(served.fake, 50000);
    send(&one, stream, "alice/1", 1, "hello", 500);
    world_run_for(served.world, 20000);
    served_cut(&served, 1, true);
    wait_for(&one);
    cr_expect_eq(one.err, ERR_UNKNOWN);
    cr_expect_eq(fake_times(served.fake, stream, "alice/1", 1), 1);
}

/* A deadline that meets the request on its way once more cannot tell: ERR_UNKNOWN. */
Test(client, a_busy_leader_is_told_as_busy_at_the_deadline)
{
    struct one ones[10];
    unsigned busy = 0;
    fake_odds(served.fake, (struct fake_odds){.busy = 1000});
    for (unsigned i = 0; i < 10; i++)
        send(&ones[i], "c/1", "", 0, "hello", 200 + i * 13);
    for (unsigned i = 0; i < 10; i++) {
        wait_for(&ones[i]);
        cr_expect(ones[i].err == ERR_BUSY || ones[i].err == ERR_UNKNOWN);
        busy += ones[i].err == ERR_BUSY && ones[i].after_ms > 0;
    }
    cr_expect_geq(busy, 5);
    cr_expect_eq(fake_records_count(served.fake), 0);
}

/* ---- what is sent again, and what is not ---- */

Test(client, a_numbered_transaction_survives_the_death_of_its_leader)
{
    struct one one;
    const char *stream = stream_of(0);
    world_run_for(served.world, 100000);
    fake_commit_us(served.fake, 50000);
    send(&one, stream, "alice/1", 1, "hello", 0);
    world_run_for(served.world, 20000);
    served_crash(&served, 1);
    world_run_for(served.world, 300000);
    fake_lead(served.fake, 0, 2);
    wait_for(&one);
    cr_expect_eq(one.err, 0);
    cr_expect_eq(fake_times(served.fake, stream, "alice/1", 1), 1);
}

Test(client, a_transaction_without_a_number_is_never_sent_twice)
{
    struct one one;
    const char *stream = stream_of(0);
    world_run_for(served.world, 100000);
    fake_commit_us(served.fake, 50000);
    send(&one, stream, "", 0, "hello", 0);
    world_run_for(served.world, 20000);
    served_crash(&served, 1);
    world_run_for(served.world, 300000);
    fake_lead(served.fake, 0, 2);
    wait_for(&one);
    cr_expect_eq(one.err, ERR_UNKNOWN);
    cr_expect_leq(fake_records_count(served.fake), 1);
}

Test(client, a_transaction_without_a_number_finds_the_leader)
{
    struct one one;
    const char *stream = stream_of(0);
    fake_lead(served.fake, 0, 3);
    send(&one, stream, "", 0, "hello", 0);
    wait_for(&one);
    cr_expect_eq(one.err, 0);
    cr_expect_eq(fake_records_count(served.fake), 1);
}

/* The old leader is frozen with the request in its hands; nothing ends its connection. */
Test(client, what_is_in_flight_to_a_frozen_leader_goes_to_the_next_one)
{
    struct one one;
    const char *stream = stream_of(0);
    world_run_for(served.world, 100000);
    sim_node_pause(served.nodes[0].sim, 4000000);
    send(&one, stream, "alice/1", 1, "hello", 0);
    world_run_for(served.world, 300000);
    fake_lead(served.fake, 0, 2);
    uint64_t before_us = world_now_us(served.world);
    wait_for(&one);
    cr_expect_eq(one.err, 0);
    cr_expect_leq(world_now_us(served.world) - before_us, 100000, "a push tells the new leader");
    world_run_for(served.world, 6000000); /* The frozen one wakes, with the delayed duplicate. */
    cr_expect_eq(fake_times(served.fake, stream, "alice/1", 1), 1);
}

/* What was in flight goes to the next leader in the order it was given: it meets no gap there. */
Test(client, a_pipeline_is_sent_again_in_order)
{
    static struct one ones[32];
    const char *stream = stream_of(0);
    char payload[8];
    world_run_for(served.world, 100000);
    fake_commit_us(served.fake, 50000);
    for (unsigned i = 0; i < ARRAY_COUNT(ones); i++) {
        snprintf(payload, sizeof(payload), "%u", i);
        send(&ones[i], stream, "alice/1", i + 1, payload, 0);
    }
    world_run_for(served.world, 20000);
    fake_lead(served.fake, 0, 2);
    for (unsigned i = 0; i < ARRAY_COUNT(ones); i++) {
        wait_for(&ones[i]);
        cr_expect_eq(ones[i].err, 0);
        cr_expect_eq(ones[i].outcome.last, i + 1);
    }
    cr_expect(fake_in_order(served.fake));
    cr_expect_eq(fake_gaps(served.fake), 0);
}

/* An answer that comes after its deadline belongs to nobody, though its place is taken again. */
Test(client, a_late_answer_is_not_taken_for_that_of_a_later_request)
{
    struct one one;
    char first[16];
    snprintf(first, sizeof(first), "%s", stream_of(0));
    char second[16];
    for (unsigned i = 1000;; i++) {
        snprintf(second, sizeof(second), "c/%u", i);
        if (client_partition_of(served.client, slice_str(second)) == 0) break;
    }
    for (unsigned n = 1; n <= 3; n++) {
        send(&one, second, "bob/1", n, "x", 0);
        wait_for(&one);
    }
    fake_commit_us(served.fake, 300000);
    send(&one, first, "alice/1", 1, "late", 250);
    wait_for(&one);
    cr_expect_eq(one.err, ERR_UNKNOWN);
    send(&one, second, "bob/1", 4, "x", 0);
    wait_for(&one);
    cr_expect_eq(one.err, 0);
    cr_expect_eq(one.outcome.last, 4);
    cr_expect_eq(one.outcome.last_n, 4);
}

/* ---- reads ---- */

struct read {
    struct client_query req;
    bool ended;
    int err;
};

static void read_done(struct client_query *req, int err)
{
    struct read *read = CONTAINER_OF(req, struct read, req);
    read->ended = true;
    read->err = err;
}

static bool read_ended(void *arg)
{
    return ((struct read *)arg)->ended;
}

static void ask(struct read *read, const char *stream, enum store_query_kind kind,
                uint32_t deadline_ms)
{
    *read = (struct read){.req = {.deadline_ms = deadline_ms, .done = read_done}};
    read->req.query = (struct store_query){.kind = kind,
                                           .stream = slice_str(stream),
                                           .from = 1,
                                           .limit_count = 100,
                                           .limit_bytes = 65536};
    client_query(served.client, &read->req);
    cr_assert(world_run_until(served.world, read_ended, read, 60 * 1000000ull));
}

Test(client, a_read_gives_records_and_head)
{
    struct one one;
    struct read read;
    send(&one, "c/1", "alice/1", 1, "hello", 0);
    wait_for(&one);
    ask(&read, "c/1", STORE_RECORDS, 0);
    cr_expect_eq(read.err, 0);
    cr_expect_eq(read.req.query.head.last, 1);
    cr_assert_eq(read.req.query.rows_count, 1);
    struct reader r = reader_of(buf_bytes(&read.req.query.rows));
    struct record_view record;
    record_decode(&r, &record);
    cr_expect(reader_done(&r));
    cr_expect(slice_equal(record.payload, slice_str("hello")));
    buf_free(&read.req.query.rows);
    ask(&read, "c/none", STORE_HEAD, 0);
    cr_expect_eq(read.err, ERR_NO_STREAM);
}

Test(client, a_read_follows_the_leader_and_ends_at_its_deadline_without_one)
{
    struct read read;
    const char *stream = stream_of(0);
    fake_lead(served.fake, 0, 2);
    ask(&read, stream, STORE_HEAD, 0);
    cr_expect_eq(read.err, ERR_NO_STREAM, "the leader answered");
    fake_lead(served.fake, 0, 0);
    ask(&read, stream, STORE_HEAD, 400);
    cr_expect_eq(read.err, ERR_NO_LEADER);
}

static void heads_told(struct client_heads *req, int err)
{
    cr_expect_eq(err, 0);
    req->impl = NULL;
}

static bool heads_ended(void *arg)
{
    return ((struct client_heads *)arg)->impl == NULL;
}

Test(client, heads_tells_which_streams_changed)
{
    char a[16], b[16];
    struct one one;
    snprintf(a, sizeof(a), "%s", stream_of(0));
    send(&one, a, "alice/1", 1, "hello", 0);
    wait_for(&one);
    for (unsigned i = 1000;; i++) {
        snprintf(b, sizeof(b), "c/%u", i);
        if (client_partition_of(served.client, slice_str(b)) == 0) break;
    }
    struct slice streams[2] = {slice_str(b), slice_str(a)};
    struct client_heads req = {.streams = streams, .streams_count = 2, .done = heads_told};
    client_heads(served.client, &req);
    cr_assert(world_run_until(served.world, heads_ended, &req, 1000000));
    cr_assert_eq(req.hits_count, 1);
    struct reader r = reader_of(buf_bytes(&req.hits));
    cr_expect_eq(read_varint(&r), 1, "the second one");
    cr_expect_eq(req.index, 1);
    buf_free(&req.hits);
}
