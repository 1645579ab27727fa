/* tests/raft/tails_test.c -- what a subscriber hears: everything, once, in order, whatever fails.
 *
 * Method: as client_test.c. A follower checks each event as it comes and keeps what it was told of
 * attributes and cursors; at the end that must be what a read gives. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/raft/served.h"

static struct served served;
static void set_up(void)
{
    served_set_up(&served, 3);
    world_run_for(served.world, 200000); /* The map, the leaders. */
}
static void tear_down(void)
{
    served_tear_down(&served);
}
TestSuite(tails, .init = set_up, .fini = tear_down, .timeout = 60);

/* ---- writing ---- */

struct write {
    struct client_txn req;
    bool ended;
    int err;
    struct outcome outcome;
};

static void write_done(struct client_txn *req, int err, const struct outcome *outcome,
                       uint32_t after_ms)
{
    struct write *write = CONTAINER_OF(req, struct write, req);
    (void)after_ms;
    write->ended = true;
    write->err = err;
    if (outcome != NULL) write->outcome = *outcome;
}

static bool write_ended(void *arg)
{
    return ((struct write *)arg)->ended;
}

static void wait_for(struct write *write)
{
    cr_assert(world_run_until(served.world, write_ended, write, 60 * 1000000ull));
    cr_assert_eq(write->err, 0, "%s", err_name(write->err));
    cr_assert(write->outcome.status == 0 || write->outcome.duplicate);
}

static uint64_t sent_n; /* Of the one producer. */

/* records records, key := value, and cursor "r" up to the last record. */
static void begin(struct write *write, const char *stream, unsigned records, const char *key,
                  const char *value)
{
    struct txn_record record[8] = {0};
    for (unsigned i = 0; i < records; i++)
        record[i] = (struct txn_record){.flags = RECORD_COUNTED, .payload = slice_str(value)};
    struct txn_set set = {.key = slice_str(key), .value = slice_str(value)};
    struct txn_advance advance = {.key = slice_str("r"), .flags = TXN_ADVANCE_WRITTEN};
    struct txn txn = {.stream = slice_str(stream),
                      .producer = slice_str("w/1"),
                      .n = ++sent_n,
                      .sets = &set,
                      .sets_count = key[0] != 0,
                      .advances = &advance,
                      .advances_count = records > 0,
                      .records = record,
                      .records_count = records};
    *write = (struct write){.req = {.txn = &txn, .deadline_ms = 60000, .done = write_done}};
    client_txn(served.client, &write->req);
}

static void put(const char *stream, unsigned records, const char *key, const char *value)
{
    struct write write;
    begin(&write, stream, records, key, value);
    wait_for(&write);
}

/* ---- following ---- */

enum { KEYS_MAX = 8, SESSIONS_MAX_HERE = 8 };
struct follower {
    struct client_tail *tail;
    seq_t last;
    uint64_t version;
    unsigned starts, heads, signals, resets;
    int ended;
    struct {
        char key[16], value[16];
        uint64_t version;
        seq_t seq;
    } items[KEYS_MAX];
    unsigned items_count;
    char present[SESSIONS_MAX_HERE][16];
    unsigned present_count;
    bool close_at_record;
};

static void on_started(void *arg, const struct stream_head *head)
{
    struct follower *f = arg;
    f->starts++;
    cr_assert_geq(head->last, f->last);
}

static void on_head(void *arg, const struct stream_head *head)
{
    struct follower *f = arg;
    f->heads++;
    cr_assert_eq(head->last, f->last, "all records of a head were told before it");
    cr_assert_geq(head->version, f->version);
    f->version = head->version;
}

static void on_record(void *arg, const struct record_view *record)
{
    struct follower *f = arg;
    cr_assert_eq(record->seq, f->last + 1, "no gap, no double");
    f->last = record->seq;
    if (f->close_at_record) client_tail_close(f->tail);
}

static void on_item(void *arg, const struct item_view *item)
{
    struct follower *f = arg;
    unsigned i = 0;
    while (i < f->items_count && !slice_equal(slice_str(f->items[i].key), item->key))
        i++;
    cr_assert_lt(i, KEYS_MAX);
    if (i == f->items_count) {
        memset(&f->items[i], 0, sizeof(f->items[i]));
        memcpy(f->items[i].key, item->key.data, item->key.len);
        f->items_count++;
    }
    cr_assert_geq(item->version, f->items[i].version, "values never go back");
    cr_assert_geq(item->seq, f->items[i].seq);
    memset(f->items[i].value, 0, 16);
    if (item->value.len > 0) memcpy(f->items[i].value, item->value.data, item->value.len);
    f->items[i].version = item->version;
    f->items[i].seq = item->seq;
}

static void on_signal(void *arg, struct slice payload)
{
    struct follower *f = arg;
    f->signals += slice_equal(payload, slice_str("typing"));
}

static void on_session(void *arg, struct slice key, struct slice payload, bool present)
{
    struct follower *f = arg;
    (void)payload;
    unsigned i = 0;
    while (i < f->present_count && !slice_equal(slice_str(f->present[i]), key))
        i++;
    if (present && i == f->present_count) {
        cr_assert_lt(i, SESSIONS_MAX_HERE);
        memset(f->present[i], 0, 16);
        memcpy(f->present[f->present_count++], key.data, key.len);
    }
    if (!present && i < f->present_count)
        memmove(f->present[i], f->present[--f->present_count], 16);
}

static void on_session_reset(void *arg)
{
    struct follower *f = arg;
    f->resets++;
    f->present_count = 0;
}

static void on_ended(void *arg, int err)
{
    struct follower *f = arg;
    f->ended = err;
}

static const struct tail_handlers handlers = {.started = on_started,
                                              .head = on_head,
                                              .record = on_record,
                                              .item = on_item,
                                              .signal = on_signal,
                                              .session = on_session,
                                              .session_reset = on_session_reset,
                                              .ended = on_ended};

static void follow(struct follower *f, const char *stream, struct tail_position from, bool sessions)
{
    *f = (struct follower){.last = from.seq, .version = from.version};
    f->tail =
        client_tail_open(served.client, slice_str(stream), TAIL_ALL, from, sessions, &handlers, f);
}

static const char *value_of(const struct follower *f, const char *key)
{
    for (unsigned i = 0; i < f->items_count; i++)
        if (strcmp(f->items[i].key, key) == 0) return f->items[i].value;
    return "";
}

static seq_t cursor_of(const struct follower *f, const char *key)
{
    for (unsigned i = 0; i < f->items_count; i++)
        if (strcmp(f->items[i].key, key) == 0) return f->items[i].seq;
    return 0;
}

static void settle(void)
{
    world_run_for(served.world, 1000000);
}

static const struct tail_position start = {0, 0};

/* ---- the plain path ---- */

Test(tails, what_was_before_and_what_comes_is_told)
{
    struct follower f;
    put("c/1", 3, "title", "a");
    follow(&f, "c/1", start, false);
    settle();
    cr_expect_eq(f.starts, 1);
    cr_expect_eq(f.last, 3);
    cr_expect_eq(f.version, 1);
    cr_expect_str_eq(value_of(&f, "title"), "a");
    cr_expect_eq(cursor_of(&f, "r"), 3);
    put("c/1", 2, "title", "b");
    put("c/1", 0, "topic", "c");
    settle();
    cr_expect_eq(f.last, 5);
    cr_expect_eq(f.version, 3);
    cr_expect_str_eq(value_of(&f, "title"), "b");
    cr_expect_str_eq(value_of(&f, "topic"), "c");
    cr_expect_eq(cursor_of(&f, "r"), 5);
    cr_expect_eq(f.starts, 1);
    client_tail_close(f.tail);
}

Test(tails, a_stream_may_be_followed_before_it_is_there)
{
    struct follower f;
    follow(&f, "c/new", start, false);
    settle();
    cr_expect_eq(f.starts, 1);
    put("c/new", 1, "", "first");
    settle();
    cr_expect_eq(f.last, 1);
}

Test(tails, a_position_beyond_the_stream_is_reset)
{
    struct follower f, g;
    put("c/1", 1, "", "x");
    follow(&f, "c/1", (struct tail_position){9, 1}, false);
    follow(&g, "c/none", (struct tail_position){0, 3}, false);
    settle();
    cr_expect_eq(f.ended, ERR_RESET);
    cr_expect_eq(g.ended, ERR_RESET);
    cr_expect_eq(f.starts, 0);
    client_tail_close(f.tail);
}

Test(tails, a_position_in_the_middle_tells_what_is_after_it)
{
    struct follower f;
    put("c/1", 3, "title", "a");
    put("c/1", 3, "topic", "b");
    follow(&f, "c/1", (struct tail_position){3, 1}, false);
    settle();
    cr_expect_eq(f.last, 6);
    cr_expect_str_eq(value_of(&f, "title"), "", "it did not change since");
    cr_expect_str_eq(value_of(&f, "topic"), "b");
}

/* Several pages of records; those written meanwhile belong to it. */
Test(tails, a_long_way_behind_is_caught_up_in_pages)
{
    struct follower f, g;
    enum { MANY = 200 };
    struct write *writes = mem_zero(MANY * sizeof(*writes));
    for (unsigned i = 0; i < MANY; i++)
        begin(&writes[i], "c/1", 8, "k", "v");
    for (unsigned i = 0; i < MANY; i++) {
        if (i == MANY / 2) follow(&f, "c/1", start, false);
        wait_for(&writes[i]);
    }
    follow(&g, "c/1", start, false);
    settle();
    cr_expect_eq(f.last, 8 * MANY);
    cr_expect_eq(g.last, 8 * MANY);
    cr_expect_eq(g.version, MANY);
    free(writes);
}

Test(tails, heads_alone_are_told_to_who_wants_no_more)
{
    struct follower f = {0};
    struct tail_handlers heads = {.started = on_started};
    struct client_tail *tail =
        client_tail_open(served.client, slice_str("c/1"), TAIL_HEADS, start, false, &heads, &f);
    settle();
    heads = handlers;
    heads.head = NULL;
    put("c/1", 4, "title", "a");
    settle();
    cr_expect_eq(f.last, 0, "no record came");
    cr_expect_eq(f.items_count, 0);
    client_tail_close(tail);
}

Test(tails, a_tail_may_be_closed_from_its_handler)
{
    struct follower f;
    put("c/1", 5, "", "x");
    follow(&f, "c/1", start, false);
    f.close_at_record = true;
    settle();
    cr_expect_eq(f.last, 1, "nothing is told after the close");
}

/* ---- when nodes fail ---- */

Test(tails, a_tail_goes_on_at_the_next_leader)
{
    struct follower f;
    put("c/1", 3, "", "x");
    follow(&f, "c/1", start, false);
    settle();
    part_t p = client_partition_of(served.client, slice_str("c/1"));
    for (unsigned i = 0; i < 4; i++) {
        fake_lead(served.fake, p, 1 + fake_leader(served.fake, p) % SERVED_NODES);
        put("c/1", 1, "", "y");
    }
    settle();
    cr_expect_eq(f.last, 7);
    cr_expect_eq(f.starts, 5);
}

/* Another client is frozen for a while; more comes than the network and its connection hold. */
Test(tails, a_slow_subscriber_misses_nothing_and_is_not_cut)
{
    struct follower f = {0};
    static struct write writes[32];
    static char large[4001];
    struct client *slow;
    struct sim_node *sim = sim_node_create(served.world, "slow", NULL, NULL);
    struct client_config config = {served.addresses, SERVED_NODES};
    cr_assert_eq(client_create(sim_node_env(sim), &config, &slow), 0);
    f.tail = client_tail_open(slow, slice_str("c/1"), TAIL_ALL, start, true, &handlers, &f);
    settle();
    client_claim(served.client, slice_str("c/1"), slice_str("before"), slice_str(""));
    memset(large, 'x', sizeof(large) - 1);
    sim_node_pause(sim, 4500000);
    for (unsigned round = 0; round < 8; round++) {
        for (unsigned i = 0; i < ARRAY_COUNT(writes); i++)
            begin(&writes[i], "c/1", 8, "", large);
        for (unsigned i = 0; i < ARRAY_COUNT(writes); i++)
            wait_for(&writes[i]);
    }
    client_claim(served.client, slice_str("c/1"), slice_str("late"), slice_str(""));
    for (unsigned i = 0; i < 10; i++)
        settle();
    cr_expect_eq(f.last, 8 * 8 * ARRAY_COUNT(writes));
    cr_expect_eq(f.starts, 1, "it went on where it stood");
    cr_expect_eq(f.present_count, 2);
    bool closed = false;
    client_destroy(slow, served_set_true, &closed);
    settle();
    cr_expect(closed);
}

/* A leader that nobody follows any more must not be listened to: its tails end at once. */
Test(tails, tails_end_with_leadership)
{
    struct follower f;
    struct serve_stats stats;
    follow(&f, "c/1", start, false);
    settle();
    part_t p = client_partition_of(served.client, slice_str("c/1"));
    unsigned leader = fake_leader(served.fake, p);
    fake_lead(served.fake, p, 0);
    settle();
    serve_stats(served.nodes[leader - 1].serve, &stats);
    cr_expect_eq(stats.tails_count, 0);
    fake_lead(served.fake, p, leader);
    put("c/1", 1, "", "x");
    settle();
    cr_expect_eq(f.last, 1);
    cr_expect_eq(f.starts, 2);
}

/* ---- signals and sessions ---- */

Test(tails, a_signal_reaches_who_follows)
{
    struct follower f, g, other;
    follow(&f, "c/1", start, false);
    follow(&g, "c/1", start, false);
    follow(&other, "c/2", start, false);
    settle();
    client_signal(served.client, slice_str("c/1"), slice_str("typing"));
    settle();
    cr_expect_eq(f.signals, 1);
    cr_expect_eq(g.signals, 1);
    cr_expect_eq(other.signals, 0);
}

Test(tails, sessions_come_and_go)
{
    struct follower f, late;
    follow(&f, "u/bob", start, true);
    settle();
    client_claim(served.client, slice_str("u/bob"), slice_str("web"), slice_str("1"));
    client_claim(served.client, slice_str("u/bob"), slice_str("phone"), slice_str("1"));
    settle();
    cr_expect_eq(f.present_count, 2);
    follow(&late, "u/bob", start, true);
    settle();
    cr_expect_eq(late.present_count, 2, "who comes late hears of all");
    world_run_for(served.world, 40 * 1000000ull);
    cr_expect_eq(f.present_count, 2, "claims are repeated");
    client_release(served.client, slice_str("u/bob"), slice_str("web"));
    settle();
    cr_expect_eq(f.present_count, 1);
    cr_expect_eq(late.present_count, 1);
}

/* A front-end that dies releases nothing; its sessions go 15 s later. */
Test(tails, sessions_of_a_dead_client_go_by_themselves)
{
    struct follower f;
    struct client *other;
    struct sim_node *sim = sim_node_create(served.world, "other", NULL, NULL);
    struct client_config config = {served.addresses, SERVED_NODES};
    cr_assert_eq(client_create(sim_node_env(sim), &config, &other), 0);
    follow(&f, "u/bob", start, true);
    client_claim(other, slice_str("u/bob"), slice_str("web"), slice_str(""));
    settle();
    cr_expect_eq(f.present_count, 1);
    sim_node_pause(sim, 60 * 1000000ull);
    world_run_for(served.world, 14 * 1000000ull);
    cr_expect_eq(f.present_count, 1);
    world_run_for(served.world, 8 * 1000000ull);
    cr_expect_eq(f.present_count, 0);
    bool closed = false;
    world_run_for(served.world, 50 * 1000000ull);
    client_destroy(other, served_set_true, &closed);
    settle();
    cr_expect(closed);
}

Test(tails, sessions_outlive_their_leader)
{
    struct follower f;
    follow(&f, "u/bob", start, true);
    client_claim(served.client, slice_str("u/bob"), slice_str("web"), slice_str(""));
    world_run_for(served.world, 20 * 1000000ull); /* Settled. */
    part_t p = client_partition_of(served.client, slice_str("u/bob"));
    unsigned leader = fake_leader(served.fake, p);
    served_crash(&served, leader);
    world_run_for(served.world, 300000);
    fake_lead(served.fake, p, 1 + leader % SERVED_NODES);
    for (unsigned i = 0; i < 200; i++) {
        world_run_for(served.world, 100000);
        cr_assert_eq(f.present_count, 1, "at %u", i);
    }
}

/* A leader that is new knows nobody: it must not say that all are gone. */
Test(tails, a_new_leader_says_that_somebody_is_gone_only_when_all_had_time_to_claim)
{
    struct follower f;
    struct client *other;
    struct sim_node *sim = sim_node_create(served.world, "other", NULL, NULL);
    struct client_config config = {served.addresses, SERVED_NODES};
    cr_assert_eq(client_create(sim_node_env(sim), &config, &other), 0);
    follow(&f, "u/bob", start, true);
    client_claim(other, slice_str("u/bob"), slice_str("web"), slice_str(""));
    world_run_for(served.world, 20 * 1000000ull);
    cr_expect_eq(f.present_count, 1);
    unsigned resets = f.resets;
    client_claim(served.client, slice_str("u/bob"), slice_str("web"), slice_str(""));
    client_claim(other, slice_str("u/bob"), slice_str("web"), slice_str(""));
    settle();
    client_release(served.client, slice_str("u/bob"), slice_str("web"));
    settle();
    cr_expect_eq(f.present_count, 1, "an earlier claimer takes nobody away");
    sim_node_pause(sim, 60 * 1000000ull); /* It claims no more. */
    part_t p = client_partition_of(served.client, slice_str("u/bob"));
    fake_lead(served.fake, p, 1 + fake_leader(served.fake, p) % SERVED_NODES);
    world_run_for(served.world, 14 * 1000000ull);
    cr_expect_eq(f.present_count, 1);
    cr_expect_eq(f.resets, resets);
    world_run_for(served.world, 3 * 1000000ull);
    cr_expect_eq(f.present_count, 0);
    bool closed = false;
    world_run_for(served.world, 50 * 1000000ull);
    client_destroy(other, served_set_true, &closed);
    settle();
    cr_expect(closed);
}

/* ---- everything at once ---- */

static void trouble(void)
{
    unsigned node = 1 + (unsigned)(world_random(served.world) % SERVED_NODES);
    bool up = sim_node_up(served.nodes[node - 1].sim);
    switch (world_random(served.world) % 6) {
        case 0:
            if (up) served_crash(&served, node);
            break;
        case 1:
            served_cut(&served, node, true);
            break;
        case 2:
            if (up) sim_node_pause(served.nodes[node - 1].sim, 700000);
            break;
        case 3:
            served_cut(&served, node, false);
            break;
        default:
            if (!up) served_start(&served, node);
    }
    part_t p = (part_t)(world_random(served.world) % SERVED_PARTS);
    unsigned leader = 1 + (unsigned)(world_random(served.world) % SERVED_NODES);
    if (sim_node_up(served.nodes[leader - 1].sim)) fake_lead(served.fake, p, leader);
}

static void mend(void)
{
    for (unsigned node = 1; node <= SERVED_NODES; node++) {
        served_cut(&served, node, false);
        if (!sim_node_up(served.nodes[node - 1].sim)) served_start(&served, node);
    }
    world_run_for(served.world, 2000000);
    for (part_t p = 0; p < SERVED_PARTS; p++)
        if (fake_leader(served.fake, p) == 0) fake_lead(served.fake, p, 1 + p % SERVED_NODES);
}

/* Each follower opens at another moment and from another position; all must end with the same. */
Test(tails, every_follower_hears_everything_once_whatever_fails)
{
    enum { FOLLOWERS = 6, WRITES = 240 };
    static struct follower followers[FOLLOWERS];
    static struct write writes[WRITES];
    char value[16];
    fake_commit_us(served.fake, 2000);
    for (unsigned i = 0; i < WRITES; i++) {
        snprintf(value, sizeof(value), "%u", i);
        begin(&writes[i], "c/1", i % 4, i % 3 == 0 ? "title" : "topic", value);
        if (i % (WRITES / FOLLOWERS) == 0)
            follow(&followers[i / (WRITES / FOLLOWERS)], "c/1", start, false);
        do {
            if (world_random(served.world) % 6 == 0) trouble();
            world_run_for(served.world, world_random(served.world) % 50000);
        } while (i >= 16 && !writes[i - 16].ended);
    }
    mend();
    for (unsigned i = 0; i < WRITES; i++)
        wait_for(&writes[i]);
    world_run_for(served.world, 5000000);
    for (unsigned i = 0; i < FOLLOWERS; i++) {
        cr_expect_eq(followers[i].last, WRITES / 4 * 6);
        cr_expect_eq(followers[i].version, WRITES);
        cr_expect_str_eq(value_of(&followers[i], "title"), "237");
        cr_expect_str_eq(value_of(&followers[i], "topic"), "239");
        cr_expect_eq(cursor_of(&followers[i], "r"), WRITES / 4 * 6);
    }
}
