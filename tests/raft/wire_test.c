/* tests/raft/wire_test.c -- what one side says, the other reads; what breaks a limit is refused. */
#include "raft/wire.h"

#include <criterion/criterion.h>

static struct buf buf;
static void tear_down(void)
{
    buf_free(&buf);
}
TestSuite(wire, .fini = tear_down, .timeout = 10);

/* Whatever is cut off the end of a message, it is no message any more. */
#define EXPECT_WHOLE(decode)                                                 \
    do {                                                                     \
        cr_assert_eq((decode)(buf_bytes(&buf), &got), 0);                    \
        for (size_t len = 0; len < buf.len; len++)                           \
            cr_assert_neq((decode)((struct slice){buf.data, len}, &got), 0); \
        cr_assert_eq((decode)(buf_bytes(&buf), &got), 0);                    \
    } while (0)

Test(wire, hello_and_welcome)
{
    wire_hello_encode(&(struct wire_hello){1, 3, 42, 43}, &buf);
    {
        struct wire_hello got;
        EXPECT_WHOLE(wire_hello_decode);
        cr_expect_eq(got.version_max, 3);
        cr_expect_eq(got.cluster, 42);
        cr_expect_eq(got.client, 43);
        buf_u8(&buf, 9); /* A newer version may say more. */
        cr_expect_eq(wire_hello_decode(buf_bytes(&buf), &got), 0);
    }
    buf.len = 0;
    wire_welcome_encode(&(struct wire_welcome){1, 2, 42}, &buf);
    struct wire_welcome got;
    EXPECT_WHOLE(wire_welcome_decode);
    cr_expect_eq(got.node, 2);
}

Test(wire, hello_of_something_else_is_refused)
{
    struct wire_hello got;
    struct slice http = slice_str("GET / HTTP/1.1\r\nHost: example\r\n\r\n");
    cr_expect_eq(wire_hello_decode(http, &got), ERR_CORRUPT);
    wire_hello_encode(&(struct wire_hello){4, 3, 42, 43}, &buf);
    cr_expect_eq(wire_hello_decode(buf_bytes(&buf), &got), ERR_CORRUPT);
}

static struct wire_map some_map(void)
{
    struct wire_map map = {.cluster = 42, .version = 300, .parts_count = 16, .nodes_count = 2};
    map.nodes[0] = (struct wire_node){1, {"10.0.0.1", 7001}};
    map.nodes[1] = (struct wire_node){2, {"node-b", 7002}};
    return map;
}

Test(wire, map)
{
    struct wire_map map = some_map(), got;
    wire_map_encode(&map, &buf);
    EXPECT_WHOLE(wire_map_decode);
    cr_expect_eq(got.version, 300);
    cr_expect_eq(got.nodes[1].address.port, 7002);
    cr_expect_str_eq(got.nodes[1].address.host, "node-b");
}

Test(wire, a_map_with_two_nodes_of_one_number_is_refused)
{
    struct wire_map map = some_map(), got;
    map.nodes[1].number = 1;
    wire_map_encode(&map, &buf);
    cr_expect_eq(wire_map_decode(buf_bytes(&buf), &got), ERR_CORRUPT);
}

Test(wire, leaders)
{
    struct wire_leader said[2] = {{0, 3, 7}, {255, 0, 1}}, got[PARTITIONS_MAX];
    unsigned count;
    wire_leaders_encode(said, 2, &buf);
    cr_assert_eq(wire_leaders_decode(buf_bytes(&buf), got, &count), 0);
    cr_assert_eq(count, 2);
    cr_expect_eq(got[0].node, 3);
    cr_expect_eq(got[1].part, 255);
    cr_expect_eq(wire_leaders_decode((struct slice){buf.data, buf.len - 1}, got, &count),
                 ERR_CORRUPT);
}

Test(wire, a_transaction_is_sent_again_under_another_id)
{
    struct txn txn = {.stream = slice_str("c/1")}, inside;
    struct wire_txn got;
    wire_txn_begin(1, &buf);
    cr_assert_eq(txn_encode(&txn, &buf), 0);
    wire_set_id(&buf, 0x123456789abcdefull);
    cr_assert_eq(wire_txn_decode(buf_bytes(&buf), &got), 0);
    cr_expect_eq(got.id, 0x123456789abcdefull);
    cr_assert_eq(txn_decode(got.txn, &inside), 0);
    cr_expect(slice_equal(inside.stream, txn.stream));
    txn_free(&inside);
}

Test(wire, transaction_done)
{
    struct wire_txn_done said = {.end = {.id = 5}, .outcome = {.first = 7, .last = 8}}, got;
    wire_txn_done_encode(&said, &buf);
    EXPECT_WHOLE(wire_txn_done_decode);
    cr_expect_eq(got.outcome.last, 8);
    buf.len = 0;
    said.end = (struct wire_end){5, ERR_NOT_LEADER, 20, 3, 9};
    wire_txn_done_encode(&said, &buf);
    EXPECT_WHOLE(wire_txn_done_decode);
    cr_expect_eq(got.end.err, ERR_NOT_LEADER);
    cr_expect_eq(got.end.leader, 3);
    cr_expect_eq(got.end.term, 9);
    cr_expect_eq(got.outcome.last, 0);
}

static struct wire_query some_query(const struct txn_check *checks)
{
    return (struct wire_query){.id = 6,
                               .query = {.kind = STORE_RECORDS,
                                         .stream = slice_str("c/1"),
                                         .from = 9,
                                         .to = 20,
                                         .backwards = true,
                                         .prefix = slice_str("m/"),
                                         .after = slice_str("m/bob"),
                                         .checks = checks,
                                         .checks_count = 2,
                                         .limit_count = 100,
                                         .limit_bytes = 1000}};
}

Test(wire, query)
{
    struct txn_check checks[2] = {{.kind = TXN_IF_PRESENT, .key = slice_str("m/alice")},
                                  {.kind = TXN_IF_LAST, .number = 12}};
    struct wire_query said = some_query(checks), got;
    cr_assert_eq(wire_query_encode(&said, &buf), 0);
    EXPECT_WHOLE(wire_query_decode);
    cr_expect_eq(got.query.kind, STORE_RECORDS);
    cr_expect_eq(got.query.to, 20);
    cr_expect(got.query.backwards);
    cr_expect(slice_equal(got.query.after, slice_str("m/bob")));
    cr_expect_eq(got.query.limit_bytes, 1000);
    cr_assert_eq(got.query.checks_count, 2);
    cr_expect(slice_equal(got.query.checks[0].key, slice_str("m/alice")));
    cr_expect_eq(got.query.checks[1].number, 12);
}

Test(wire, a_query_that_breaks_a_limit_is_refused_and_nothing_is_written)
{
    char name[STREAM_NAME_BYTES_MAX + 1] = {'c'};
    struct wire_query said = some_query(NULL);
    said.query.checks_count = 0;
    said.query.stream = (struct slice){name, sizeof(name)};
    cr_expect_eq(wire_query_encode(&said, &buf), ERR_TOO_BIG);
    said.query.stream.len = 0;
    cr_expect_eq(wire_query_encode(&said, &buf), ERR_INVAL);
    said = some_query(NULL);
    said.query.checks_count = WIRE_CHECKS_MAX + 1;
    cr_expect_eq(wire_query_encode(&said, &buf), ERR_TOO_BIG);
    said.query.checks_count = 0;
    said.query.kind = STORE_QUERY_KINDS_END;
    cr_expect_eq(wire_query_encode(&said, &buf), ERR_INVAL);
    cr_expect_eq(buf.len, 0);
}

Test(wire, heads_and_their_answer)
{
    struct slice streams[2] = {slice_str("c/1"), slice_str("c/2")};
    wire_heads_encode(7, 99, streams, 2, &buf);
    {
        struct wire_heads got;
        EXPECT_WHOLE(wire_heads_decode);
        cr_expect_eq(got.since, 99);
        cr_expect(slice_equal(read_slice(&got.streams, 255), streams[0]));
        cr_expect(slice_equal(read_slice(&got.streams, 255), streams[1]));
    }
    struct buf hits = {0};
    buf_varint(&hits, 1);
    stream_head_encode(&(struct stream_head){.last = 12}, &hits);
    buf.len = 0;
    struct wire_heads_done said = {.index = 100, .hits_count = 1, .hits = buf_bytes(&hits)}, got;
    wire_heads_done_encode(&said, &buf);
    EXPECT_WHOLE(wire_heads_done_decode);
    cr_expect_eq(got.index, 100);
    cr_expect_eq(got.hits.len, hits.len);
    buf_free(&hits);
}

Test(wire, changed_and_its_answer)
{
    wire_changed_encode(&(struct wire_changed){8, 3, 99, slice_str("c/1"), 50}, &buf);
    {
        struct wire_changed got;
        EXPECT_WHOLE(wire_changed_decode);
        cr_expect_eq(got.part, 3);
        cr_expect_eq(got.since, 99);
        cr_expect(slice_equal(got.after, slice_str("c/1")));
        cr_expect_eq(got.limit_count, 50);
    }
    struct buf streams = {0};
    buf_slice(&streams, slice_str("c/2"));
    stream_head_encode(&(struct stream_head){.last = 12}, &streams);
    buf.len = 0;
    struct wire_changed_done said = {.index = 100, .time_ms = -5, .more = true, .streams_count = 1},
                             got;
    said.streams = buf_bytes(&streams);
    wire_changed_done_encode(&said, &buf);
    EXPECT_WHOLE(wire_changed_done_decode);
    cr_expect_eq(got.time_ms, -5);
    cr_expect(got.more);
    cr_expect_eq(got.streams.len, streams.len);
    buf_free(&streams);
}

Test(wire, tail_signal_and_claim)
{
    struct wire_tail_open said = {9, slice_str("c/1"), WIRE_TAIL_SESSIONS, 4, 5};
    wire_tail_open_encode(&said, &buf);
    {
        struct wire_tail_open got;
        EXPECT_WHOLE(wire_tail_open_decode);
        cr_expect_eq(got.version, 5);
        cr_expect_eq(got.flags, WIRE_TAIL_SESSIONS);
    }
    buf.len = 0;
    wire_signal_encode(&(struct wire_signal){slice_str("c/1"), slice_str("typing")}, &buf);
    {
        struct wire_signal got;
        EXPECT_WHOLE(wire_signal_decode);
        cr_expect(slice_equal(got.payload, slice_str("typing")));
    }
    buf.len = 0;
    struct wire_claim claim = {false, slice_str("u/bob"), slice_str("7f"), slice_str("web")}, got;
    wire_claim_encode(&claim, &buf);
    struct reader r = reader_of(buf_bytes(&buf));
    cr_assert_eq(wire_claim_decode(&r, &got), 0);
    cr_expect(slice_equal(got.key, slice_str("7f")));
    cr_expect(reader_done(&r));
}

Test(wire, events_of_every_kind_in_one_body)
{
    struct wire_event said[] = {
        {.kind = WIRE_EVENT_STARTED, .head = {.last = 4}},
        {.kind = WIRE_EVENT_RECORD, .record = {.seq = 5, .payload = slice_str("hi")}},
        {.kind = WIRE_EVENT_ITEM, .item = {.key = slice_str("m/bob"), .version = 6}},
        {.kind = WIRE_EVENT_HEAD, .head = {.last = 5, .version = 6}},
        {.kind = WIRE_EVENT_SIGNAL, .payload = slice_str("typing")},
        {.kind = WIRE_EVENT_SESSION, .key = slice_str("7f"), .payload = slice_str("web")},
        {.kind = WIRE_EVENT_SESSION_GONE, .key = slice_str("7f")},
        {.kind = WIRE_EVENT_SESSION_RESET},
    };
    uint64_t tail;
    struct reader r;
    wire_events_begin(11, &buf);
    for (size_t i = 0; i < ARRAY_COUNT(said); i++)
        wire_event_encode(&said[i], &buf);
    cr_assert_eq(wire_events_open(buf_bytes(&buf), &tail, &r), 0);
    cr_expect_eq(tail, 11);
    for (size_t i = 0; i < ARRAY_COUNT(said); i++) {
        struct wire_event got;
        cr_assert_eq(wire_event_decode(&r, &got), 0);
        cr_expect_eq(got.kind, said[i].kind);
        if (got.kind == WIRE_EVENT_RECORD) cr_expect_eq(got.record.seq, 5);
        if (got.kind == WIRE_EVENT_HEAD) cr_expect_eq(got.head.version, 6);
    }
    cr_expect(reader_done(&r));
}
