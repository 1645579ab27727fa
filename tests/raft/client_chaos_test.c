/* tests/raft/client_chaos_test.c -- exactly once, in order, whatever fails.
 *
 * Method: as client_test.c, with many writers that pipeline, and a schedule of troubles from a
 * seed. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "tests/raft/served.h"

static struct served served;

enum { WRITERS = 12, WRITES = 150, WINDOW = 32 };
struct writer {
    char stream[16], producer[16];
    uint64_t next; /* The next n to be sent; those below are sent. */
    unsigned open, ended, bad;
    struct slot {
        struct client_txn req;
        struct writer *writer;
        uint64_t n;
    } slots[WRITES + 1];
};
static struct writer writers[WRITERS];

static void writer_fill(struct writer *writer);

static void writer_done(struct client_txn *req, int err, const struct outcome *outcome,
                        uint32_t after_ms)
{
    struct slot *slot = CONTAINER_OF(req, struct slot, req);
    struct writer *writer = slot->writer;
    (void)after_ms;
    bool good = err == 0 && (outcome->status == 0 || outcome->duplicate);
    if (!good) fprintf(stderr, "n %zu: %s\n", (size_t)slot->n, err_name(err));
    writer->bad += !good;
    writer->open--;
    writer->ended++;
    if (good) writer_fill(writer);
}

static void writer_fill(struct writer *writer)
{
    while (writer->open < WINDOW && writer->next <= WRITES) {
        struct slot *slot = &writer->slots[writer->next];
        char payload[32];
        snprintf(payload, sizeof(payload), "%s %u", writer->producer, (unsigned)writer->next);
        struct txn_record record = {.kind = 1, .payload = slice_str(payload)};
        struct txn txn = {.stream = slice_str(writer->stream),
                          .producer = slice_str(writer->producer),
                          .n = writer->next,
                          .records = &record,
                          .records_count = 1};
        *slot = (struct slot){.writer = writer, .n = writer->next++};
        slot->req = (struct client_txn){.txn = &txn, .deadline_ms = 60000, .done = writer_done};
        writer->open++;
        client_txn(served.client, &slot->req);
    }
}

static bool writers_ended(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < WRITERS; i++)
        if (writers[i].ended < WRITES && writers[i].bad == 0) return false;
    return true;
}

/* One thing goes wrong, and something else is mended. */
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
    fake_odds(served.fake, (struct fake_odds){0});
}

static void run_seed(uint64_t seed)
{
    served_set_up(&served, seed);
    fake_commit_us(served.fake, 3000);
    fake_odds(served.fake, (struct fake_odds){.busy = 30, .unknown_done = 10, .unknown_lost = 10});
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.next = 1};
        snprintf(writers[i].stream, sizeof(writers[i].stream), "c/%u", i / 2);
        snprintf(writers[i].producer, sizeof(writers[i].producer), "u%u/1", i);
        writer_fill(&writers[i]);
    }
    for (unsigned i = 0; i < 40 && !writers_ended(NULL); i++) {
        world_run_for(served.world, world_random(served.world) % 200000);
        trouble();
    }
    mend();
    cr_assert(world_run_until(served.world, writers_ended, NULL, 60 * 1000000ull), "seed %zu",
              (size_t)seed);
    for (unsigned i = 0; i < WRITERS; i++) {
        cr_assert_eq(writers[i].bad, 0, "seed %zu", (size_t)seed);
        for (uint64_t n = 1; n <= WRITES; n++)
            cr_assert_eq(fake_times(served.fake, writers[i].stream, writers[i].producer, n), 1);
    }
    cr_assert(fake_in_order(served.fake));
    served_tear_down(&served);
}

TestSuite(client_chaos, .timeout = 60);

/* Leaders move, die, freeze; connections break; answers lie about nothing but are lost, late, or
 * "unknown". Every number must be used once, and in order, and every done be told. */
Test(client_chaos, numbered_transactions_are_done_once_and_in_order_whatever_fails)
{
    for (uint64_t seed = 1; seed <= 10; seed++)
        run_seed(seed);
}
