/* tests/raft/items_fuzz.c -- any bytes as messages of confirm and install.
 *
 * The first byte chooses who gets the rest. Rounds are open and a fetch waits, so that what looks
 * like an answer goes further than its head. */
#include <stdlib.h>

#include "jepsen/sim/world.h"
#include "raft/confirm.h"
#include "raft/install.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { PARTS = 4 };

struct host {
    struct confirm *confirm;
    struct install *install;
    uint64_t sent_count;
};

static bool host_claim(void *arg, part_t part, struct confirm_claim *out)
{
    (void)arg;
    (void)part;
    *out = (struct confirm_claim){
        .term = 1, .self_votes = true, .voters = {258, 259}, .voters_count = 2, .majority = 2};
    return true;
}

static void host_confirmed(void *arg, part_t part)
{
    struct host *host = arg;
    CHECK(part < PARTS);
    confirm_ask(host->confirm, part);
}

static bool host_term(void *arg, part_t part, term_t *term)
{
    (void)arg;
    *term = 1;
    return part != 3; /* This one's term never gets durable. */
}

static void host_send(void *arg, uint64_t to, bool question, struct slice bytes)
{
    struct host *host = arg;
    (void)to;
    (void)question;
    CHECK(bytes.len < 1024);
    host->sent_count++;
}

static void host_install_send(void *arg, uint64_t to, enum install_item kind, struct slice bytes)
{
    struct host *host = arg;
    (void)to;
    (void)kind;
    CHECK(bytes.len < 1024);
    host->sent_count++;
}

static struct store *host_store(void *arg, part_t part)
{
    (void)arg;
    CHECK(part < PARTS);
    return NULL;
}

static void host_done(void *arg, part_t part, struct store_install *staged, index_t index)
{
    (void)arg;
    (void)index;
    CHECK(part < PARTS);
    CHECK(staged == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes < 2) return 0;
    struct host host = {0};
    struct world *world = world_create(1);
    struct env *env = sim_node_env(sim_node_create(world, "n1", NULL, NULL));
    struct confirm_host confirm_host = {host_claim, host_confirmed, host_term, host_send, &host};
    struct install_host install_host = {host_install_send, host_store, host_done, &host};
    host.confirm = confirm_create(env, PARTS, &confirm_host);
    host.install = install_create(env, PARTS, NULL, &install_host);
    confirm_ask(host.confirm, 0);
    world_run_for(world, 1000);
    struct slice rest = {data + 2, bytes - 2};
    if (data[0] % 4 == 0) (void)!confirm_receive(host.confirm, 258, true, rest);
    if (data[0] % 4 == 1) (void)!confirm_receive(host.confirm, 258, false, rest);
    if (data[0] % 4 >= 2) (void)!install_receive(host.install, 258, data[1] % 8, rest);
    confirm_settled(host.confirm);
    world_run_for(world, 1000);
    confirm_destroy(host.confirm);
    install_abandon(host.install);
    world_destroy(world);
    return 0;
}
