/* tests/raft/serve_test.c -- a node and its clients, also those that are none.
 *
 * Method: a bare connection says bytes to a real serve in a simulated world, and keeps the frames
 * that come back. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "raft/frame.h"
#include "tests/raft/served.h"

static struct served served;

/* A connection of this test's own. */
struct raw {
    struct env_conn *conn;
    struct frame_parser parser;
    bool opened, closed;
    unsigned kinds[256]; /* How many frames of each kind came. */
    int error;           /* Of the last ERROR frame. */
    char words[128];
    struct wire_txn_done txn;
    struct wire_welcome welcome;
};

static int raw_frame(void *arg, uint8_t kind, struct slice body)
{
    struct raw *raw = arg;
    raw->kinds[kind]++;
    if (kind == WIRE_ERROR) {
        struct wire_error m;
        cr_assert_eq(wire_error_decode(body, &m), 0);
        raw->error = m.err;
        memset(raw->words, 0, sizeof(raw->words));
        memcpy(raw->words, m.text.data, m.text.len);
    }
    if (kind == WIRE_TXN_DONE) cr_assert_eq(wire_txn_done_decode(body, &raw->txn), 0);
    if (kind == WIRE_WELCOME) cr_assert_eq(wire_welcome_decode(body, &raw->welcome), 0);
    return 0;
}

static void raw_opened(struct env_conn *conn, void *arg)
{
    (void)conn;
    ((struct raw *)arg)->opened = true;
}

static void raw_received(struct env_conn *conn, void *arg, struct slice bytes)
{
    struct raw *raw = arg;
    (void)conn;
    cr_assert_eq(frame_feed(&raw->parser, bytes, FRAME_BYTES_MAX, raw_frame, raw), 0);
}

static void raw_closed(struct env_conn *conn, void *arg, int err)
{
    struct raw *raw = arg;
    (void)conn;
    (void)err;
    raw->closed = true;
    frame_parser_free(&raw->parser);
}

static const struct env_conn_ops raw_ops = {
    .opened = raw_opened, .received = raw_received, .closed = raw_closed};

static struct raw raw;

static void set_up(void)
{
    served_set_up(&served, 5);
    world_run_for(served.world, 100000);
    raw.conn = env_connect(served.env, &served.addresses[0], &raw_ops, &raw);
    world_run_for(served.world, 10000);
    cr_assert(raw.opened);
}
static void tear_down(void)
{
    if (!raw.closed) env_conn_close(served.env, raw.conn);
    world_run_for(served.world, 10000);
    served_tear_down(&served);
}
TestSuite(serve, .init = set_up, .fini = tear_down, .timeout = 20);

static void say_bytes(const void *data, size_t len)
{
    buf_put(env_conn_out(served.env, raw.conn), data, len);
    world_run_for(served.world, 10000);
}

static void say(uint8_t kind, struct slice body)
{
    frame_put(env_conn_out(served.env, raw.conn), kind, body);
    world_run_for(served.world, 10000);
}

static void greet(uint64_t cluster)
{
    struct buf body = {0};
    wire_hello_encode(&(struct wire_hello){1, 1, cluster, 9}, &body);
    say(WIRE_HELLO, buf_bytes(&body));
    buf_free(&body);
}

static void expect_refused(int err)
{
    cr_expect_eq(raw.kinds[WIRE_ERROR], 1);
    cr_expect_eq(raw.error, err, "%s: %s", err_name(raw.error), raw.words);
    cr_expect(raw.closed);
    cr_expect_gt(strlen(raw.words), 0, "it says what was wrong");
}

/* ---- greeting ---- */

Test(serve, hello_is_answered_with_welcome_map_and_leaders)
{
    greet(0);
    cr_expect_eq(raw.kinds[WIRE_WELCOME], 1);
    cr_expect_eq(raw.kinds[WIRE_MAP], 1);
    cr_expect_eq(raw.kinds[WIRE_LEADERS], 1);
    cr_expect_eq(raw.welcome.node, 1);
    cr_expect_eq(raw.welcome.cluster, 77);
}

Test(serve, a_change_of_leader_is_said_without_being_asked)
{
    greet(77);
    fake_lead(served.fake, 0, 2);
    world_run_for(served.world, 10000);
    cr_expect_eq(raw.kinds[WIRE_LEADERS], 2);
}

Test(serve, a_client_of_another_cluster_is_refused)
{
    greet(78);
    expect_refused(ERR_FOREIGN);
}

Test(serve, a_client_of_another_version_is_refused)
{
    struct buf body = {0};
    wire_hello_encode(&(struct wire_hello){7, 9, 0, 9}, &body);
    say(WIRE_HELLO, buf_bytes(&body));
    buf_free(&body);
    expect_refused(ERR_VERSION);
}

Test(serve, requests_before_hello_are_refused)
{
    say(WIRE_PROBE, (struct slice){NULL, 0});
    expect_refused(ERR_CORRUPT);
}

Test(serve, who_says_nothing_is_let_go)
{
    world_run_for(served.world, 15 * 1000000ull);
    expect_refused(ERR_TIMEOUT);
}

Test(serve, who_falls_silent_is_let_go)
{
    greet(0);
    world_run_for(served.world, 40 * 1000000ull);
    expect_refused(ERR_TIMEOUT);
}

/* ---- bytes that are no messages ---- */

Test(serve, another_protocol_is_refused)
{
    const char *http = "GET / HTTP/1.1\r\nHost: here\r\n\r\n";
    say_bytes(http, strlen(http));
    cr_expect_eq(raw.kinds[WIRE_ERROR], 1);
    cr_expect(raw.closed);
}

Test(serve, a_frame_larger_than_any_is_refused_before_it_is_gathered)
{
    uint8_t head[FRAME_HEAD_BYTES] = {0};
    put_u32(head, FRAME_BYTES_MAX + 1);
    say_bytes(head, sizeof(head));
    expect_refused(ERR_TOO_BIG);
}

Test(serve, a_damaged_frame_is_refused)
{
    struct buf frame = {0};
    frame_put(&frame, WIRE_HELLO, slice_str("some body"));
    frame.data[frame.len - 1] ^= 1;
    say_bytes(frame.data, frame.len);
    buf_free(&frame);
    expect_refused(ERR_CORRUPT);
}

/* Every kind there is and is not, with bodies of noise: an error and a close, or nothing. */
Test(serve, noise_in_any_frame_harms_nobody)
{
    for (unsigned kind = 0; kind < 256; kind++) {
        uint8_t noise[40];
        for (size_t i = 0; i < sizeof(noise); i++)
            noise[i] = (uint8_t)env_random(served.env);
        memset(&raw, 0, sizeof(raw));
        raw.conn = env_connect(served.env, &served.addresses[0], &raw_ops, &raw);
        world_run_for(served.world, 10000);
        greet(0);
        say((uint8_t)kind, (struct slice){noise, sizeof(noise)});
        /* PROBE has no body to read, an empty tail id closes nothing. */
        cr_expect(raw.closed || kind == WIRE_PROBE || raw.kinds[WIRE_TXN_DONE] > 0 ||
                      raw.kinds[WIRE_TEXT_DONE] > 0,
                  "kind %u", kind);
        if (!raw.closed) env_conn_close(served.env, raw.conn);
        world_run_for(served.world, 10000);
    }
    cr_expect(sim_node_up(served.nodes[0].sim));
    raw.closed = true;
}

Test(serve, a_transaction_that_does_not_decode_is_refused_and_goes_nowhere)
{
    struct buf body = {0};
    struct txn txn = {.stream = slice_str("c/1")};
    wire_txn_begin(1, &body);
    cr_assert_eq(txn_encode(&txn, &body), 0);
    body.len--;
    greet(0);
    say(WIRE_TXN, buf_bytes(&body));
    buf_free(&body);
    expect_refused(ERR_CORRUPT);
    cr_expect_eq(fake_records_count(served.fake), 0);
}

Test(serve, heads_of_streams_of_two_partitions_are_refused)
{
    struct buf body = {0};
    struct slice streams[8];
    char names[8][8];
    for (unsigned i = 0; i < 8; i++) {
        snprintf(names[i], sizeof(names[i]), "c/%u", i);
        streams[i] = slice_str(names[i]);
    }
    wire_heads_encode(1, 0, streams, 8, &body);
    greet(0);
    say(WIRE_HEADS, buf_bytes(&body));
    buf_free(&body);
    expect_refused(ERR_INVAL);
}

Test(serve, a_tail_id_that_is_open_already_is_refused)
{
    struct buf body = {0};
    wire_tail_open_encode(&(struct wire_tail_open){.tail = 1, .stream = slice_str("c/1")}, &body);
    greet(0);
    say(WIRE_TAIL_OPEN, buf_bytes(&body));
    if (raw.kinds[WIRE_TAIL_ENDED] == 0) {
        say(WIRE_TAIL_OPEN, buf_bytes(&body));
        expect_refused(ERR_INVAL);
    }
    buf_free(&body);
}

/* ---- answers ---- */

static void say_txn(uint64_t id)
{
    struct buf body = {0};
    struct txn_record record = {.payload = slice_str("x")};
    struct txn txn = {.stream = slice_str("c/1"), .records = &record, .records_count = 1};
    wire_txn_begin(id, &body);
    cr_assert_eq(txn_encode(&txn, &body), 0);
    say(WIRE_TXN, buf_bytes(&body));
    buf_free(&body);
}

Test(serve, a_node_that_does_not_lead_says_who_does)
{
    greet(0);
    part_t p = client_partition_of(served.client, slice_str("c/1"));
    fake_lead(served.fake, p, 3);
    world_run_for(served.world, 10000);
    say_txn(55);
    cr_expect_eq(raw.kinds[WIRE_TXN_DONE], 1);
    cr_expect_eq(raw.txn.end.id, 55);
    cr_expect_eq(raw.txn.end.err, ERR_NOT_LEADER);
    cr_expect_eq(raw.txn.end.leader, 3);
    cr_expect_gt(raw.txn.end.term, 0);
}

Test(serve, answers_to_a_closed_connection_are_dropped)
{
    greet(0);
    part_t p = client_partition_of(served.client, slice_str("c/1"));
    fake_lead(served.fake, p, 1);
    fake_commit_us(served.fake, 100000);
    world_run_for(served.world, 10000);
    say_txn(1);
    env_conn_close(served.env, raw.conn);
    world_run_for(served.world, 300000);
    struct serve_stats stats;
    serve_stats(served.nodes[0].serve, &stats);
    cr_expect_eq(stats.requests_open, 0);
    cr_expect_eq(fake_records_count(served.fake), 1, "what it asked for is done");
}

/* ---- bounds ---- */

/* Records of a megabyte, read over and over by a client that takes nothing. */
Test(serve, a_client_that_does_not_read_is_closed_and_the_node_lives_on)
{
    struct buf body = {0};
    static char large[60000];
    struct txn_record records[4];
    part_t p = client_partition_of(served.client, slice_str("c/1"));
    fake_lead(served.fake, p, 1);
    greet(0);
    for (unsigned i = 0; i < 4; i++)
        records[i] = (struct txn_record){.payload = {large, sizeof(large)}};
    for (unsigned i = 0; i < 5; i++) {
        struct txn txn = {.stream = slice_str("c/1"), .records = records, .records_count = 4};
        body.len = 0;
        wire_txn_begin(1, &body);
        cr_assert_eq(txn_encode(&txn, &body), 0);
        say(WIRE_TXN, buf_bytes(&body));
    }
    cr_expect_eq(raw.kinds[WIRE_TXN_DONE], 5);
    struct wire_query query = {.query = {.kind = STORE_RECORDS,
                                         .stream = slice_str("c/1"),
                                         .from = 1,
                                         .limit_count = 1000,
                                         .limit_bytes = WIRE_ROWS_BYTES_MAX}};
    for (unsigned i = 0; i < 60; i++) {
        body.len = 0;
        cr_assert_eq(wire_query_encode(&query, &body), 0);
        frame_put(env_conn_out(served.env, raw.conn), WIRE_QUERY, buf_bytes(&body));
    }
    buf_free(&body);
    world_run_for(served.world, 100); /* They leave, and nothing is taken any more. */
    sim_node_pause(served.sim, 3000000);
    world_run_for(served.world, 4000000);
    cr_expect(raw.closed);
    struct serve_stats stats;
    serve_stats(served.nodes[0].serve, &stats);
    cr_expect_eq(stats.closed_count, 1);
    cr_expect_lt(raw.kinds[WIRE_QUERY_DONE], 60);
}
