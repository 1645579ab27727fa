/* tests/log/txn_test.c -- a transaction is read as it was written; what breaks a limit is told. */
#include "log/txn.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static struct buf buf;
static void tear_down(void)
{
    buf_free(&buf);
}
TestSuite(txn, .fini = tear_down, .timeout = 20);

static const struct slice tags[] = {{"ann", 3}, {"bob", 3}};
static const struct txn_check checks[] = {
    {.kind = TXN_IF_PRESENT, .key = {"m/ann", 5}},
    {.kind = TXN_IF_ABSENT, .key = {"x/ann", 5}},
    {.kind = TXN_IF_EQUALS, .key = {"title", 5}, .value = {"Tea", 3}},
    {.kind = TXN_IF_VERSION, .key = {"role", 4}, .number = 7},
    {.kind = TXN_IF_STREAM_ABSENT},
    {.kind = TXN_IF_LAST, .number = 300},
    {.kind = TXN_IF_NOT_ERASED, .number = 12},
};
static const struct txn_set sets[] = {
    {.key = {"m/bob", 5}, .value = {"member", 6}, .flags = TXN_SET_STAMP},
    {.key = {"m/eve", 5}, .flags = TXN_SET_DROP},
};
static const struct txn_advance advances[] = {
    {.key = {"r/ann", 5}, .only_if = {"m/ann", 5}, .seq = 9, .ordinal = 4},
    {.key = {"d/ann", 5}, .flags = TXN_ADVANCE_WRITTEN},
};
static const seq_t erases[] = {5, 1ull << 40};
static const struct txn_record records[] = {
    {.kind = 1, .flags = RECORD_COUNTED, .payload = {"hello", 5}, .tags = tags, .tags_count = 2},
    {.kind = 65535, .flags = RECORD_DEPENDENT, .ref = 3, .payload = {"", 0}},
};

/* One of everything. */
static struct txn everything(void)
{
    return (struct txn){
        .stream = slice_str("c/42"),
        .producer = slice_str("ann/phone"),
        .n = 58,
        .flags = TXN_ANY_CONTENT,
        .checks = checks,
        .checks_count = ARRAY_COUNT(checks),
        .sets = sets,
        .sets_count = ARRAY_COUNT(sets),
        .advances = advances,
        .advances_count = ARRAY_COUNT(advances),
        .erases = erases,
        .erases_count = ARRAY_COUNT(erases),
        .records = records,
        .records_count = ARRAY_COUNT(records),
    };
}

Test(txn, one_of_everything_is_read_as_it_was_written)
{
    struct txn in = everything(), out;
    cr_assert_eq(txn_encode(&in, &buf), 0);
    cr_assert_eq(txn_decode(buf_bytes(&buf), &out), 0);
    cr_expect(slice_equal(out.stream, in.stream) && slice_equal(out.producer, in.producer));
    cr_expect(out.n == 58 && out.flags == TXN_ANY_CONTENT);
    for (unsigned i = 0; i < out.checks_count; i++) {
        cr_expect_eq(out.checks[i].kind, checks[i].kind);
        cr_expect(slice_equal(out.checks[i].key, checks[i].key));
        cr_expect(slice_equal(out.checks[i].value, checks[i].value));
        cr_expect_eq(out.checks[i].number, checks[i].number);
    }
    cr_expect(slice_equal(out.sets[0].value, sets[0].value) && out.sets[1].flags == TXN_SET_DROP);
    cr_expect(out.advances[0].seq == 9 && out.advances[1].flags == TXN_ADVANCE_WRITTEN);
    cr_expect_eq(out.erases[1], erases[1]);
    cr_expect(slice_equal(out.records[0].tags[1], tags[1]) && out.records[0].tags_count == 2);
    cr_expect(out.records[1].ref == 3 && out.records[1].kind == 65535);
    cr_expect_eq(txn_content_hash(&out), txn_content_hash(&in));

    struct buf again = {0};
    cr_assert_eq(txn_encode(&out, &again), 0);
    cr_expect(slice_equal(buf_bytes(&again), buf_bytes(&buf)), "one form for one transaction");
    buf_free(&again);
    txn_free(&out);
}

Test(txn, every_shorter_form_is_corrupt_and_so_is_a_longer_one)
{
    struct txn in = everything(), out;
    cr_assert_eq(txn_encode(&in, &buf), 0);
    for (size_t len = 0; len < buf.len; len++) {
        uint8_t *exact = mem_copy(buf.data, len); /* So that reading beyond it is seen. */
        cr_expect_neq(txn_decode((struct slice){exact, len}, &out), 0, "%zu bytes", len);
        free(exact);
    }
    buf_u8(&buf, 0);
    cr_expect_eq(txn_decode(buf_bytes(&buf), &out), ERR_CORRUPT);
}

Test(txn, peeking_finds_the_stream_alone)
{
    struct txn in = everything();
    struct slice stream;
    cr_assert_eq(txn_encode(&in, &buf), 0);
    cr_assert_eq(txn_peek_stream(buf_bytes(&buf), &stream), 0);
    cr_expect(slice_equal(stream, in.stream));
    cr_expect_eq(txn_peek_stream((struct slice){"\0\0", 2}, &stream), ERR_CORRUPT);
}

Test(txn, limits_are_told_and_leave_the_buffer_alone)
{
    static char long_bytes[PAYLOAD_BYTES_MAX + 1];
    struct slice long_key = {long_bytes, KEY_BYTES_MAX + 1};
    struct txn_record record = {.payload = {long_bytes, sizeof(long_bytes)}};
    struct txn_set set = {.key = long_key};
    struct txn_check bad_kind = {.kind = TXN_IF_KINDS_END};
    struct txn many = {.stream = {"s", 1}, .checks_count = TXN_PARTS_MAX + 1};
    struct {
        struct txn txn;
        int err;
    } rows[] = {
        {{.stream = {"", 0}}, ERR_INVAL},
        {{.stream = {long_bytes, 256}}, ERR_TOO_BIG},
        {{.stream = {"s", 1}, .n = 1}, ERR_INVAL},
        {{.stream = {"s", 1}, .producer = {"p", 1}}, ERR_INVAL},
        {{.stream = {"s", 1}, .producer = {long_bytes, 130}, .n = 1}, ERR_TOO_BIG},
        {{.stream = {"s", 1}, .flags = 2}, ERR_INVAL},
        {{.stream = {"s", 1}, .records = &record, .records_count = 1}, ERR_TOO_BIG},
        {{.stream = {"s", 1}, .sets = &set, .sets_count = 1}, ERR_TOO_BIG},
        {{.stream = {"s", 1}, .checks = &bad_kind, .checks_count = 1}, ERR_INVAL},
        {many, ERR_TOO_BIG},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        cr_expect_eq(txn_encode(&rows[i].txn, &buf), rows[i].err, "row %zu", i);
        cr_expect_eq(buf.len, 0);
    }
}

Test(txn, one_larger_than_its_limit_is_too_big)
{
    static char bytes[PAYLOAD_BYTES_MAX];
    struct txn_record big[5];
    for (int i = 0; i < 5; i++)
        big[i] = (struct txn_record){.payload = {bytes, sizeof(bytes)}};
    struct txn txn = {.stream = {"s", 1}, .records = big, .records_count = 5};
    cr_expect_eq(txn_encode(&txn, &buf), ERR_TOO_BIG);
    cr_expect_eq(buf.len, 0);
}

/* Same content: kind, ref and payload of the records, and nothing else. */
Test(txn, content_is_kind_ref_and_payload)
{
    struct txn_record one = {.kind = 1, .ref = 2, .payload = {"x", 1}}, other = one;
    struct txn a = {.stream = {"s", 1}, .records = &one, .records_count = 1};
    struct txn b = {.stream = {"t", 1}, .records = &other, .records_count = 1, .sets_count = 0};
    cr_expect_eq(txn_content_hash(&a), txn_content_hash(&b));
    other.kind = 2;
    cr_expect_neq(txn_content_hash(&a), txn_content_hash(&b));
    other = one;
    other.ref = 3;
    cr_expect_neq(txn_content_hash(&a), txn_content_hash(&b));
    other = one;
    other.payload = slice_str("y");
    cr_expect_neq(txn_content_hash(&a), txn_content_hash(&b));
}

Test(txn, an_outcome_is_read_as_it_was_written)
{
    struct outcome in = {.status = ERR_REJECTED,
                         .duplicate = true,
                         .details = true,
                         .failed = 9,
                         .first = 4,
                         .last = 6,
                         .ordinal = 3,
                         .version = 77,
                         .last_n = 12,
                         .time_ms = -5};
    in.chain[31] = 9;
    outcome_encode(&in, &buf);
    struct reader r = reader_of(buf_bytes(&buf));
    struct outcome out;
    outcome_decode(&r, &out);
    cr_assert(reader_done(&r));
    cr_expect(out.status == in.status && out.duplicate && out.details && out.failed == 9);
    cr_expect(out.first == 4 && out.last == 6 && out.ordinal == 3 && out.version == 77);
    cr_expect(out.last_n == 12 && out.time_ms == -5 && out.chain[31] == 9);
}
