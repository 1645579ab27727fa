/* tests/log/apply_test.c -- what each part of a transaction does, and what it is refused for.
 *
 * Method: small transactions on one store; what they wrote is read back through queries. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "log/pack.h"
#include "log/row.h"
#include "log/sha.h"
#include "tests/log/store_rig.h"

static struct world *world;
static struct rig rig;
static int64_t now_ms = 1000;
static void set_up(void)
{
    world = world_create(1);
    rig_open(&rig, world, "n1", 64 * 1024 * 1024);
}
static void tear_down(void)
{
    rig_close(&rig);
    world_destroy(world);
}
TestSuite(apply, .init = set_up, .fini = tear_down, .timeout = 60);

static const struct slice chat = {"c/1", 3};

static struct txn_record text_of(const char *text)
{
    return (struct txn_record){.kind = 1, .flags = RECORD_COUNTED, .payload = slice_str(text)};
}

static struct outcome run(const struct txn *txn)
{
    return rig_txn(&rig, txn, now_ms++);
}

static struct outcome append(const char *text)
{
    struct txn_record record = text_of(text);
    return run(&(struct txn){.stream = chat, .records = &record, .records_count = 1});
}

/* As producer "ann/phone", number n. */
static struct outcome send(uint64_t n, const char *text, uint8_t flags)
{
    struct txn_record record = text_of(text);
    return run(&(struct txn){.stream = chat,
                             .producer = slice_str("ann/phone"),
                             .n = n,
                             .flags = flags,
                             .records = &record,
                             .records_count = 1});
}

static struct outcome set(const char *key, const char *value, uint8_t flags)
{
    struct txn_set one = {.key = slice_str(key), .value = slice_str(value), .flags = flags};
    return run(&(struct txn){.stream = chat, .sets = &one, .sets_count = 1});
}

static struct outcome checked(struct txn_check check)
{
    struct txn_record record = text_of("checked");
    return run(&(struct txn){.stream = chat,
                             .checks = &check,
                             .checks_count = 1,
                             .records = &record,
                             .records_count = 1});
}

static struct outcome erase(seq_t seq)
{
    return run(&(struct txn){.stream = chat, .erases = &seq, .erases_count = 1});
}

static struct outcome refer(uint8_t flags, seq_t ref, const char *text)
{
    struct txn_record record = text_of(text);
    record.flags = flags;
    record.ref = ref;
    return run(&(struct txn){.stream = chat, .records = &record, .records_count = 1});
}

static struct stream_head head(void)
{
    struct store_query query = {.kind = STORE_HEAD, .stream = chat};
    cr_assert_eq(rig_query(&rig, &query), 0);
    return query.head;
}

/* One record; its slices live in `bytes`, which the caller frees. */
static struct record_view read_record(seq_t seq, struct buf *bytes)
{
    struct record_view record;
    struct store_query query = {.kind = STORE_RECORDS,
                                .stream = chat,
                                .from = seq,
                                .limit_count = 1,
                                .limit_bytes = 1 << 20};
    cr_assert_eq(rig_query(&rig, &query), 0);
    cr_assert_eq(query.rows_count, 1);
    struct reader r = reader_of(buf_bytes(&query.rows));
    record_decode(&r, &record);
    cr_assert(reader_done(&r));
    *bytes = query.rows;
    return record;
}

/* One attribute or cursor; false when it is not there. */
static bool read_item(enum store_query_kind kind, const char *key, struct item_view *item,
                      struct buf *bytes)
{
    struct store_query query = {.kind = kind,
                                .stream = chat,
                                .prefix = slice_str(key),
                                .limit_count = 1,
                                .limit_bytes = 1 << 20};
    cr_assert_eq(rig_query(&rig, &query), 0);
    struct reader r = reader_of(buf_bytes(&query.rows));
    if (query.rows_count == 1) item_decode(&r, item);
    *bytes = query.rows;
    return query.rows_count == 1;
}

static void expect_rejected(struct outcome outcome, uint16_t failed, const char *what)
{
    cr_expect_eq(outcome.status, ERR_REJECTED, "%s: %d", what, outcome.status);
    cr_expect_eq(outcome.failed, failed, "%s", what);
    cr_expect(outcome.first == 0 && outcome.last == 0, "%s", what);
}

/* ---- checks ---- */

Test(apply, every_check_holds_and_fails_as_it_says)
{
    append("one");
    set("title", "Tea", 0);
    set("stamped", "Tea", TXN_SET_STAMP);
    uint64_t version = head().version - 1; /* Of "title". */
    struct slice title = slice_str("title"), none = slice_str("none"), tea = slice_str("Tea");
    struct {
        struct txn_check check;
        bool holds;
    } rows[] = {
        {{.kind = TXN_IF_PRESENT, .key = title}, true},
        {{.kind = TXN_IF_PRESENT, .key = none}, false},
        {{.kind = TXN_IF_ABSENT, .key = none}, true},
        {{.kind = TXN_IF_ABSENT, .key = title}, false},
        {{.kind = TXN_IF_EQUALS, .key = title, .value = tea}, true},
        {{.kind = TXN_IF_EQUALS, .key = slice_str("stamped"), .value = tea}, true},
        {{.kind = TXN_IF_EQUALS, .key = title, .value = slice_str("Te")}, false},
        {{.kind = TXN_IF_EQUALS, .key = none, .value = {"", 0}}, false},
        {{.kind = TXN_IF_VERSION, .key = title, .number = version}, true},
        {{.kind = TXN_IF_VERSION, .key = title, .number = version + 1}, false},
        {{.kind = TXN_IF_VERSION, .key = none, .number = 0}, true},
        {{.kind = TXN_IF_STREAM_ABSENT}, false},
        {{.kind = TXN_IF_NOT_ERASED, .number = 1}, true},
        {{.kind = TXN_IF_NOT_ERASED, .number = 1000}, false},
        {{.kind = TXN_IF_NOT_ERASED, .number = 0}, false},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct outcome outcome = checked(rows[i].check);
        cr_expect_eq(outcome.status, rows[i].holds ? 0 : ERR_REJECTED, "row %zu", i);
    }
    seq_t last = head().last;
    cr_expect_eq(checked((struct txn_check){.kind = TXN_IF_LAST, .number = last}).status, 0);
    expect_rejected(checked((struct txn_check){.kind = TXN_IF_LAST, .number = last}), 0, "last");
}

Test(apply, a_stream_is_absent_until_its_first_change)
{
    cr_expect_eq(checked((struct txn_check){.kind = TXN_IF_STREAM_ABSENT}).status, 0);
    expect_rejected(checked((struct txn_check){.kind = TXN_IF_STREAM_ABSENT}), 0, "second");
}

Test(apply, a_missed_version_tells_the_attributes_own)
{
    append("one");
    set("role", "admin", 0); /* Version 2. */
    append("two");
    struct outcome missed =
        checked((struct txn_check){.kind = TXN_IF_VERSION, .key = slice_str("role"), .number = 9});
    expect_rejected(missed, 0, "version");
    cr_expect_eq(missed.version, 2);
    set("role", "", TXN_SET_DROP);
    missed =
        checked((struct txn_check){.kind = TXN_IF_VERSION, .key = slice_str("role"), .number = 2});
    cr_expect_eq(missed.version, 0, "dropped");
}

Test(apply, nothing_of_a_rejected_transaction_happens)
{
    append("one");
    struct stream_head before = head();
    struct txn_check check = {.kind = TXN_IF_PRESENT, .key = slice_str("none")};
    struct txn_set put = {.key = slice_str("k"), .value = slice_str("v")};
    struct txn_record record = text_of("two");
    seq_t first = 1;
    struct outcome outcome = run(&(struct txn){.stream = chat,
                                               .checks = &check,
                                               .checks_count = 1,
                                               .sets = &put,
                                               .sets_count = 1,
                                               .erases = &first,
                                               .erases_count = 1,
                                               .records = &record,
                                               .records_count = 1});
    expect_rejected(outcome, 0, "check");
    struct stream_head after = head();
    cr_expect(after.last == before.last && after.version == before.version);
    struct buf bytes;
    struct item_view item;
    cr_expect_not(read_item(STORE_ATTRIBUTES, "k", &item, &bytes));
    buf_free(&bytes);
    cr_expect_eq(read_record(1, &bytes).flags & RECORD_ERASED, 0);
    buf_free(&bytes);
}

/* ---- parts that do not hold are counted behind the checks ---- */

Test(apply, what_lies_above_the_last_record_is_refused_with_its_place)
{
    append("one");
    struct txn_check check = {.kind = TXN_IF_LAST, .number = 1};
    struct txn_advance advances[] = {{.key = slice_str("r"), .seq = 1, .ordinal = 1},
                                     {.key = slice_str("d"), .seq = 2, .ordinal = 1}};
    struct txn txn = {.stream = chat,
                      .checks = &check,
                      .checks_count = 1,
                      .advances = advances,
                      .advances_count = 2};
    expect_rejected(run(&txn), 2, "advance");
    advances[1].seq = 1;
    advances[1].ordinal = 2;
    expect_rejected(run(&txn), 2, "ordinal");
    advances[1].ordinal = 1;
    cr_expect_eq(run(&txn).status, 0);
    expect_rejected(erase(2), 0, "erase");
    expect_rejected(refer(0, 2, "x"), 0, "ref");
}

/* ---- exactly once ---- */

Test(apply, a_number_has_one_outcome_for_ever)
{
    struct outcome first = send(1, "one", 0), again = send(1, "one", 0);
    cr_expect(first.status == 0 && first.first == 1 && first.last_n == 1 && !first.duplicate);
    cr_expect(again.duplicate && again.details && again.status == 0);
    cr_expect(again.first == 1 && again.last == 1 && again.version == first.version);
    cr_expect_eq(head().last, 1);
}

Test(apply, other_content_under_a_used_number_is_told)
{
    send(1, "one", 0);
    struct outcome other = send(1, "other", 0);
    cr_expect(other.status == ERR_REUSED && !other.duplicate && other.last_n == 1);
    struct outcome any = send(1, "other", TXN_ANY_CONTENT);
    cr_expect(any.duplicate && any.first == 1);
    cr_expect_eq(head().last, 1);
}

Test(apply, a_number_beyond_the_next_is_a_gap_and_changes_nothing)
{
    struct outcome gap = send(2, "two", 0);
    cr_expect(gap.status == ERR_GAP && gap.last_n == 0);
    send(1, "one", 0);
    gap = send(3, "three", 0);
    cr_expect(gap.status == ERR_GAP && gap.last_n == 1);
    cr_expect_eq(send(2, "two", 0).first, 2);
}

Test(apply, a_rejection_uses_its_number_up)
{
    struct txn_check check = {.kind = TXN_IF_PRESENT, .key = slice_str("m/ann")};
    struct txn_record record = text_of("one");
    struct txn txn = {.stream = chat,
                      .producer = slice_str("ann/phone"),
                      .n = 1,
                      .checks = &check,
                      .checks_count = 1,
                      .records = &record,
                      .records_count = 1};
    struct outcome first = run(&txn);
    expect_rejected(first, 0, "first"); /* The stream does not even exist. */
    cr_expect_eq(first.last_n, 1);
    set("m/ann", "member", 0);
    struct outcome again = run(&txn);
    cr_expect(again.duplicate && again.details && again.status == ERR_REJECTED,
              "the check would hold now");
    txn.n = 2;
    cr_expect_eq(run(&txn).first, 1);
}

Test(apply, a_void_uses_its_number_up_and_changes_nothing)
{
    send(1, "one", 0);
    uint64_t version = head().version;
    struct txn nothing = {.stream = chat, .producer = slice_str("ann/phone"), .n = 2};
    struct outcome outcome = run(&nothing);
    cr_expect(outcome.status == 0 && outcome.first == 0 && outcome.version == version);
    cr_expect_eq(head().version, version);
    cr_expect(run(&nothing).duplicate);
    cr_expect_eq(send(3, "three", 0).first, 2);
}

Test(apply, no_stream_uses_no_number_up)
{
    struct txn nothing = {.stream = chat, .producer = slice_str("ann/phone"), .n = 1};
    struct outcome outcome = run(&nothing);
    cr_expect(outcome.status == ERR_NO_STREAM && outcome.last_n == 0);
    cr_expect_eq(send(1, "one", 0).first, 1);
}

Test(apply, only_the_last_32_outcomes_are_told_in_full)
{
    char text[8];
    for (uint64_t n = 1; n <= 40; n++) {
        snprintf(text, sizeof(text), "%d", (int)n);
        cr_assert_eq(send(n, text, 0).first, n);
        if (n % 3 == 0) cr_assert_eq(rig_checkpoint(&rig), 0);
    }
    for (uint64_t n = 1; n <= 40; n++) {
        snprintf(text, sizeof(text), "%d", (int)n);
        struct outcome again = send(n, text, 0);
        cr_expect(again.duplicate && again.last_n == 40);
        cr_expect_eq(again.details, n > 8, "number %d", (int)n);
        cr_expect_eq(again.first, n > 8 ? n : 0);
    }
    cr_expect(send(8, "whatever", 0).duplicate, "too old to tell the content");
}

/* ---- sets, stamps, advances ---- */

Test(apply, a_stamp_is_the_end_as_the_transaction_leaves_it)
{
    append("one");
    struct txn_set put = {
        .key = slice_str("m/bob"), .value = slice_str("member"), .flags = TXN_SET_STAMP};
    struct txn_record records[] = {text_of("join"), text_of("hello")};
    records[0].flags = 0;
    struct txn txn = {
        .stream = chat, .sets = &put, .sets_count = 1, .records = records, .records_count = 2};
    cr_assert_eq(run(&txn).status, 0);
    struct item_view item;
    struct buf bytes;
    cr_assert(read_item(STORE_ATTRIBUTES, "m/bob", &item, &bytes));
    cr_assert_eq(item.value.len, TXN_STAMP_BYTES + 6);
    cr_expect_eq(get_u64(item.value.data), 3);
    cr_expect_eq(get_u64((const uint8_t *)item.value.data + 8), 2, "two of three are counted");
    buf_free(&bytes);
}

Test(apply, dropping_what_is_not_there_changes_nothing)
{
    append("one");
    cr_expect_eq(set("none", "", TXN_SET_DROP).version, 1);
    cr_expect_eq(set("key", "x", 0).version, 2);
    cr_expect_eq(set("key", "", TXN_SET_DROP).version, 3);
    cr_expect_eq(set("key", "", TXN_SET_DROP).version, 3);
}

static struct outcome advance(seq_t seq, uint64_t ordinal, const char *only_if, uint8_t flags)
{
    struct txn_advance one = {.key = slice_str("r/ann"),
                              .only_if = slice_str(only_if),
                              .seq = seq,
                              .ordinal = ordinal,
                              .flags = flags};
    return run(&(struct txn){.stream = chat, .advances = &one, .advances_count = 1});
}

Test(apply, cursors_never_move_back)
{
    for (int i = 0; i < 3; i++)
        append("x");
    cr_expect_eq(advance(2, 2, "", 0).version, 4);
    cr_expect_eq(advance(1, 1, "", 0).version, 4, "below: nothing happens");
    cr_expect_eq(advance(2, 2, "", 0).version, 4);
    struct item_view item;
    struct buf bytes;
    cr_assert(read_item(STORE_CURSORS, "r/ann", &item, &bytes));
    cr_expect(item.seq == 2 && item.ordinal == 2 && item.version == 4 && item.cursor);
    buf_free(&bytes);
    cr_expect_eq(advance(0, 0, "", TXN_ADVANCE_WRITTEN).version, 5, "to the last record");
}

Test(apply, an_advance_of_who_is_no_member_is_left_out)
{
    append("one");
    cr_expect_eq(advance(1, 1, "m/ann", 0).version, 1);
    cr_expect_eq(advance(7, 7, "m/ann", 0).status, 0, "left out, so not judged either");
    set("m/ann", "member", 0);
    cr_expect_eq(advance(1, 1, "m/ann", 0).version, 3);
    expect_rejected(advance(7, 7, "m/ann", 0), 0, "above the last");
}

/* ---- erasing ---- */

Test(apply, erasing_a_record_erases_what_depends_on_it_in_memory_and_in_runs)
{
    append("message");
    append("other");
    refer(RECORD_DEPENDENT, 1, "edit one");
    cr_assert_eq(rig_checkpoint(&rig), 0);
    append("x");
    cr_assert_eq(rig_checkpoint(&rig), 0); /* Now the first run is cold. */
    append("y");
    cr_assert_eq(rig_checkpoint(&rig), 0);
    refer(RECORD_DEPENDENT, 1, "edit two");
    refer(0, 1, "reaction");
    cr_expect_eq(erase(1).status, 0);
    struct {
        seq_t seq;
        bool erased;
    } rows[] = {{1, true}, {2, false}, {3, true}, {6, true}, {7, false}};
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct buf bytes;
        struct record_view record = read_record(rows[i].seq, &bytes);
        cr_expect_eq((record.flags & RECORD_ERASED) != 0, rows[i].erased, "seq %d",
                     (int)rows[i].seq);
        cr_expect_eq(record.payload.len == 0, rows[i].erased);
        buf_free(&bytes);
    }
    uint64_t version = head().version;
    cr_expect_eq(erase(1).version, version, "again: no change");
}

Test(apply, nothing_may_depend_on_what_is_erased_or_itself_depends)
{
    append("message");
    refer(RECORD_DEPENDENT, 1, "edit");
    expect_rejected(refer(RECORD_DEPENDENT, 2, "edit of an edit"), 0, "depends itself");
    erase(1);
    expect_rejected(refer(RECORD_DEPENDENT, 1, "late edit"), 0, "erased");
    cr_expect_eq(refer(0, 1, "mention").status, 0);
}

Test(apply, the_number_of_dependents_is_bounded)
{
    append("message");
    for (int i = 0; i < ERASE_DEPENDENTS_MAX; i++)
        cr_assert_eq(refer(RECORD_DEPENDENT, 1, "edit").status, 0);
    expect_rejected(refer(RECORD_DEPENDENT, 1, "one more"), 0, "bound");
    cr_assert_eq(rig_checkpoint(&rig), 0);
    expect_rejected(refer(RECORD_DEPENDENT, 1, "one more"), 0, "bound, from a run");
}

/* ---- chain, tags, time ---- */

static void chain_by_hand(struct sha *sha, uint8_t chain[32], const struct record_view *record)
{
    struct buf link = {0};
    uint8_t digest[SHA_BYTES];
    if (record->flags & RECORD_ERASED)
        memcpy(digest, record->digest.data, SHA_BYTES);
    else
        sha_256(sha, record->payload, digest);
    buf_put(&link, chain, 32);
    record_row_header(&link, record);
    buf_put(&link, digest, SHA_BYTES);
    sha_256(sha, buf_bytes(&link), chain);
    buf_free(&link);
}

Test(apply, the_chain_can_be_computed_again_also_after_an_erasure)
{
    struct sha sha;
    uint8_t chain[32] = {0};
    sha_init(&sha);
    append("one");
    append("two");
    refer(RECORD_DEPENDENT, 2, "edit");
    erase(2);
    for (seq_t seq = 1; seq <= 3; seq++) {
        struct buf bytes;
        struct record_view record = read_record(seq, &bytes);
        chain_by_hand(&sha, chain, &record);
        cr_expect_eq(memcmp(chain, record.chain, 32), 0, "seq %d", (int)seq);
        buf_free(&bytes);
    }
    cr_expect_eq(memcmp(chain, head().chain, 32), 0);
    sha_close(&sha);
}

Test(apply, a_tag_keeps_its_last_99_seqs)
{
    struct slice tags[] = {slice_str("bob"), slice_str("bob")};
    for (int i = 0; i < TAG_SEQS_MAX + 5; i++) {
        struct txn_record record = text_of("hi bob");
        record.tags = tags;
        record.tags_count = 2; /* Twice on one record counts once. */
        run(&(struct txn){.stream = chat, .records = &record, .records_count = 1});
    }
    struct store_query query = {.kind = STORE_TAG,
                                .stream = chat,
                                .prefix = tags[0],
                                .limit_count = 200,
                                .limit_bytes = 1 << 20};
    cr_assert_eq(rig_query(&rig, &query), 0);
    cr_expect_eq(query.rows_count, TAG_SEQS_MAX);
    struct reader r = reader_of(buf_bytes(&query.rows));
    struct item_view item;
    item_decode(&r, &item);
    cr_expect_eq(item.seq, 6);
    buf_free(&query.rows);
}

Test(apply, time_never_goes_back)
{
    now_ms = 5000;
    cr_expect_eq(append("one").time_ms, 5000);
    now_ms = 4000;
    cr_expect_eq(append("two").time_ms, 5000);
    cr_expect_eq(head().time_ms, 5000);
}

/* ---- entries ---- */

Test(apply, a_later_transaction_of_an_entry_sees_the_earlier_ones)
{
    struct entry entry = {0};
    struct buf bytes = {0}, payload = {0};
    struct txn_record record = text_of("x");
    struct txn_check check = {.kind = TXN_IF_LAST, .number = 1};
    struct txn txns[] = {
        {.stream = chat, .records = &record, .records_count = 1},
        {.stream = chat,
         .checks = &check,
         .checks_count = 1,
         .records = &record,
         .records_count = 1},
    };
    for (size_t i = 0; i < ARRAY_COUNT(txns); i++) {
        bytes.len = 0;
        cr_assert_eq(txn_encode(&txns[i], &bytes), 0);
        entry_add(&entry, buf_bytes(&bytes));
    }
    entry_close(&entry, now_ms, &payload);
    rig_apply(&rig, buf_bytes(&payload));
    cr_expect_eq(head().last, 2);
    cr_expect_eq(head().version, 2);
    entry_free(&entry);
    buf_free(&bytes);
    buf_free(&payload);
}

Test(apply, what_is_no_entry_is_not_applied_at_all)
{
    struct entry entry = {0};
    struct buf bytes = {0}, payload = {0};
    struct txn_record record = text_of("x");
    struct txn txn = {.stream = chat, .records = &record, .records_count = 1};
    cr_assert_eq(txn_encode(&txn, &bytes), 0);
    entry_add(&entry, buf_bytes(&bytes));
    entry_add(&entry, slice_str("no transaction"));
    entry_close(&entry, now_ms, &payload);
    struct store_fetch fetch = {.entry = buf_bytes(&payload)};
    cr_assert(store_fetch(rig.store, &fetch));
    cr_expect_eq(store_apply(rig.store, 1, 1, fetch.entry, NULL, NULL), ERR_CORRUPT);
    cr_expect_eq(store_facts(rig.store)->index, 0);
    struct store_query query = {.kind = STORE_HEAD, .stream = chat};
    cr_expect_eq(rig_query(&rig, &query), ERR_NO_STREAM);
    entry_free(&entry);
    buf_free(&bytes);
    buf_free(&payload);
}
