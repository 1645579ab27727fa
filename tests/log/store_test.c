/* tests/log/store_test.c -- what a store promises across checkpoints, cold reads and restarts. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "tests/log/store_rig.h"

static struct world *world;
static struct rig rig;
static struct rig *at = &rig; /* What append and expect_records work on. */
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
TestSuite(store, .init = set_up, .fini = tear_down, .timeout = 60);

static struct outcome append(const char *stream, uint64_t n, const char *text)
{
    struct txn_record record = {.kind = 1, .flags = RECORD_COUNTED, .payload = slice_str(text)};
    struct txn txn = {.stream = slice_str(stream),
                      .producer = n == 0 ? (struct slice){NULL, 0} : slice_str("ann/phone"),
                      .n = n,
                      .records = &record,
                      .records_count = 1};
    return rig_txn(at, &txn, 1000 + (int64_t)n);
}

/* Records from..: payloads joined by a space. */
static void expect_records(const char *stream, uint64_t from, bool backwards, const char *expected)
{
    struct store_query query = {.kind = STORE_RECORDS,
                                .stream = slice_str(stream),
                                .from = from,
                                .backwards = backwards,
                                .limit_count = 100,
                                .limit_bytes = 1 << 20};
    char got[256] = "";
    cr_assert_eq(rig_query(at, &query), 0);
    struct reader r = reader_of(buf_bytes(&query.rows));
    for (uint32_t i = 0; i < query.rows_count; i++) {
        struct record_view record;
        record_decode(&r, &record);
        cr_assert_not(r.failed);
        size_t len = strlen(got);
        snprintf(got + len, sizeof(got) - len, "%s%.*s", i == 0 ? "" : " ", (int)record.payload.len,
                 (const char *)record.payload.data);
    }
    cr_expect(reader_done(&r));
    cr_expect_str_eq(got, expected);
    buf_free(&query.rows);
}

Test(store, records_are_read_from_memory_then_from_a_run_then_after_a_restart)
{
    append("c/1", 1, "one");
    append("c/1", 2, "two");
    append("c/2", 1, "other");
    expect_records("c/1", 0, false, "one two");
    cr_assert_eq(rig_checkpoint(&rig), 0);
    expect_records("c/1", 0, false, "one two");
    append("c/1", 3, "three");
    expect_records("c/1", 0, true, "three two one");

    rig_crash(&rig, SIM_POWER);
    cr_assert(rig_up(&rig), "%s", rig.why);
    expect_records("c/1", 0, false, "one two three");
    expect_records("c/1", 2, true, "two one");
    expect_records("c/2", 0, false, "other");
    struct outcome again = append("c/1", 2, "two");
    cr_expect(again.duplicate && again.details && again.first == 2);
}

Test(store, a_delta_from_zero_seeds_an_empty_store_and_a_later_one_catches_it_up)
{
    static struct rig other; /* Its node outlives this function. */
    rig_open(&other, world, "n2", 64 * 1024 * 1024);
    append("c/1", 1, "one");
    append("c/2", 1, "other");
    cr_assert_eq(rig_checkpoint(&rig), 0);
    cr_assert_eq(rig_seed(&other, &rig, 0), 0);
    cr_expect_eq(store_facts(other.store)->history, store_facts(rig.store)->history);
    index_t from = store_manifest(other.store)->index;
    append("c/1", 2, "two");
    cr_assert_eq(rig_checkpoint(&rig), 0);
    cr_assert_eq(rig_seed(&other, &rig, from), 0);
    cr_expect_eq(store_manifest(other.store)->index, 3);
    rig_crash(&other, SIM_POWER);
    cr_assert(rig_up(&other), "%s", other.why);

    at = &other;
    expect_records("c/1", 0, false, "one two");
    expect_records("c/2", 0, false, "other");
    struct outcome again = append("c/1", 2, "two");
    cr_expect(again.duplicate && again.details && again.first == 2);
    rig_close(&other);
}

/* The delta starts in the middle of a run of the sender, and the receiver has applied beyond that:
 * what it kept in memory is older than what comes. */
Test(store, a_delta_may_start_anywhere_and_replaces_what_is_in_memory)
{
    static struct rig other;
    rig_open(&other, world, "n2", 64 * 1024 * 1024);
    for (uint64_t n = 1; n <= 3; n++) {
        static const char *const texts[] = {"one", "two", "three"};
        at = &rig;
        append("c/1", n, texts[n - 1]);
        at = &other;
        if (n <= 2) append("c/1", n, texts[n - 1]);
        if (n == 1) cr_assert_eq(rig_checkpoint(&other), 0);
    }
    cr_assert_eq(rig_checkpoint(&rig), 0);
    cr_assert_eq(store_manifest(other.store)->index, 1);
    cr_assert_eq(rig_seed(&other, &rig, 1), 0);
    cr_expect_eq(store_facts(other.store)->history, store_facts(rig.store)->history);
    expect_records("c/1", 0, false, "one two three");
    struct outcome next = append("c/1", 4, "four");
    cr_expect(next.status == 0 && next.first == 4);
    rig_close(&other);
}

/* ---- a worker that is slow ---- */

/* Work submitted while holding is kept back until it is let go. */
static struct env_ops slow_ops;
static const struct env_ops *real_ops;
static bool holding;
static struct env_work *held;

static void slow_submit(struct env *env, struct env_lane *lane, struct env_work *work)
{
    if (!holding) {
        real_ops->work_submit(env, lane, work);
        return;
    }
    cr_assert(held == NULL && lane == NULL);
    held = work;
}

static void push_txn(const struct txn *txn)
{
    struct entry entry = {0};
    struct buf bytes = {0}, payload = {0};
    cr_assert_eq(txn_encode(txn, &bytes), 0);
    entry_add(&entry, buf_bytes(&bytes));
    entry_close(&entry, 2000, &payload);
    rig_push(&rig, buf_bytes(&payload));
    entry_free(&entry);
    buf_free(&bytes);
    buf_free(&payload);
}

/* While a worker reads an old row for one entry, the entry before changes it, and its table is
 * written and begins to leave. The old row must not stay behind in the cache. */
Test(store, a_slow_fetch_leaves_no_old_row_behind)
{
    struct txn_set old = {.key = slice_str("k"), .value = slice_str("old")};
    struct txn_set new = {.key = slice_str("k"), .value = slice_str("new")};
    struct txn_check is_new = {
        .kind = TXN_IF_EQUALS, .key = slice_str("k"), .value = slice_str("new")};
    struct txn_record record = {.payload = slice_str("x")};
    struct txn first = {.stream = slice_str("s"), .sets = &old, .sets_count = 1};
    struct txn change = {.stream = slice_str("s"), .sets = &new, .sets_count = 1};
    struct txn check = {.stream = slice_str("s"),
                        .checks = &is_new,
                        .checks_count = 1,
                        .records = &record,
                        .records_count = 1};
    cr_assert_eq(rig_txn(&rig, &first, 1000).status, 0);
    cr_assert_eq(rig_checkpoint(&rig), 0);
    rig_crash(&rig, SIM_POWER); /* The row is in a run alone now. */
    cr_assert(rig_up(&rig), "%s", rig.why);

    real_ops = rig.env->ops;
    slow_ops = *real_ops;
    slow_ops.work_submit = slow_submit;
    rig.env->ops = &slow_ops;
    push_txn(&change);
    holding = true;
    push_txn(&check);
    holding = false;
    cr_assert(held != NULL, "the row is cold");
    cr_assert(rig_pop(&rig));
    rig.budget.limit_bytes = 0; /* What is written leaves at once. */
    cr_assert_eq(rig_checkpoint(&rig), 0);
    real_ops->work_submit(rig.env, NULL, held);
    cr_assert(rig_pop(&rig));
    cr_expect_eq(rig_txn(&rig, &check, 3000).status, 0, "k is new");
    rig.env->ops = real_ops;
}
