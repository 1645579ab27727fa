/* tests/log/changed_test.c -- which streams changed after an index, in pages, from table and runs.
 *
 * Method: the test keeps the index of each stream's last change, and asks from many indexes, with
 * many page sizes, while the rows lie in the growing memtable, in runs, or in both. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "log/pack.h"
#include "tests/log/store_rig.h"

enum { STREAMS = 40 };
static struct world *world;
static struct rig rig;
static index_t changed_at[STREAMS];

static void set_up(void)
{
    world = world_create(4);
    rig_open(&rig, world, "n1", 16 * 1024 * 1024);
}
static void tear_down(void)
{
    rig_close(&rig);
    world_destroy(world);
}
TestSuite(changed, .init = set_up, .fini = tear_down, .timeout = 30);

/* Names of different lengths: their order is that of length first. */
static void name_of(unsigned i, char name[32])
{
    snprintf(name, 32, "c/%.*s%u", (int)(i % 7), "xxxxxxx", i);
}

static void write(unsigned i)
{
    char name[32];
    name_of(i, name);
    struct txn_record records[3] = {
        {.payload = slice_str("a")}, {.payload = slice_str("b")}, {.payload = slice_str("c")}};
    struct txn txn = {.stream = slice_str(name), .records = records, .records_count = 1 + i % 3};
    struct outcome outcome = rig_txn(&rig, &txn, 1000);
    cr_assert_eq(outcome.status, 0);
    changed_at[i] = store_facts(rig.store)->index;
}

struct page {
    struct store_changed changed;
    bool done;
};

static void page_done(struct store_changed *changed, int err)
{
    cr_assert_eq(err, 0);
    CONTAINER_OF(changed, struct page, changed)->done = true;
}

/* Page by page; each stream that changed, once, and no other. */
static void expect_changed(index_t since, uint32_t limit)
{
    bool seen[STREAMS] = {false};
    char last[32] = "", name[32];
    bool more = true;
    while (more) {
        struct page page = {
            .changed = {
                .since = since, .after = slice_str(last), .limit_count = limit, .done = page_done}};
        store_changed(rig.store, &page.changed);
        rig_wait(&rig, &page.done);
        cr_assert_eq(page.changed.index, store_facts(rig.store)->index);
        cr_assert_leq(page.changed.count, limit);
        struct reader r = reader_of(buf_bytes(&page.changed.out));
        for (uint32_t k = 0; k < page.changed.count; k++) {
            struct stream_head head;
            struct slice stream = read_slice(&r, 31);
            stream_head_decode(&r, &head);
            unsigned i = 0;
            for (name_of(0, name); !slice_equal(slice_str(name), stream); name_of(i, name))
                cr_assert_lt(++i, STREAMS);
            cr_assert_not(seen[i], "%s is told once", name);
            seen[i] = true;
            cr_assert_eq(head.index, changed_at[i]);
            snprintf(last, sizeof(last), "%s", name);
        }
        cr_assert(reader_done(&r));
        more = page.changed.more;
        cr_assert(!more || page.changed.count > 0, "it comes to an end");
        buf_free(&page.changed.out);
    }
    for (unsigned i = 0; i < STREAMS; i++)
        cr_assert_eq(seen[i], changed_at[i] > since, "%u since %zu", i, (size_t)since);
}

static void expect_all(void)
{
    index_t last = store_facts(rig.store)->index;
    for (index_t since = 0; since <= last; since += 1 + last / 12)
        for (uint32_t limit = 1; limit <= 64; limit *= 4)
            expect_changed(since, limit);
    expect_changed(last, 5);
}

Test(changed, nothing_changed_in_an_empty_store)
{
    expect_changed(0, 10);
}

Test(changed, streams_in_the_memtable)
{
    for (unsigned i = 0; i < STREAMS; i++)
        write(i * 7 % STREAMS);
    expect_all();
}

Test(changed, streams_in_runs_and_in_the_memtable)
{
    for (unsigned round = 0; round < 4; round++) {
        for (unsigned i = round; i < STREAMS; i += 1 + round)
            write(i * 7 % STREAMS);
        if (round < 3) cr_assert_eq(rig_checkpoint(&rig), 0);
        expect_all();
    }
    rig_crash(&rig, SIM_KILL);
    expect_all();
}
