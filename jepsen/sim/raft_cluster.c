/* jepsen/sim/raft_cluster.c -- links between replicas, the watch over all, what tests call. */
#include "jepsen/sim/raft_cluster.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "jepsen/sim/raft_cluster_impl.h"

/* ---- the watch ---- */

void violated(struct cluster *c, const char *format, ...)
{
    if (c->violation[0] != 0) return;
    int used = snprintf(c->violation, sizeof(c->violation),
                        "at %.3f s: ", (double)world_now_us(c->world) / 1e6);
    va_list args;
    va_start(args, format);
    (void)vsnprintf(c->violation + used, sizeof(c->violation) - (size_t)used, format, args);
    va_end(args);
}

void watch_applied(struct replica *r, const struct committed *e)
{
    struct cluster *c = r->cluster;
    if (e->index >= c->facts_count) {
        size_t count = (size_t)e->index * 2 + 64;
        c->facts = mem_resize(c->facts, count * sizeof(c->facts[0]));
        memset(c->facts + c->facts_count, 0, (count - c->facts_count) * sizeof(c->facts[0]));
        c->facts_count = count;
    }
    struct fact *fact = &c->facts[e->index];
    if (fact->term == 0) *fact = (struct fact){r->applied.chain, e->term};
    if (fact->term != e->term || fact->chain != r->applied.chain) {
        violated(c, "node %u applied another entry %" PRIu64 " (term %" PRIu64 ", was %" PRIu64 ")",
                 r->number, e->index, e->term, fact->term);
    }
}

/* An entry of our own that is committed in the term we proposed it in is acknowledged. */
void watch_committed(struct replica *r, const struct committed *e)
{
    struct cluster *c = r->cluster;
    size_t kept = 0;
    for (size_t i = 0; i < r->proposals_count; i++) {
        struct proposal *p = &r->proposals[i];
        if (p->index > e->index) {
            r->proposals[kept++] = *p;
            continue;
        }
        if (p->index < e->index || p->term != e->term) continue;
        CHECK(e->data.len >= OP_BYTES);
        if (get_u64(e->data.data) != p->op) violated(c, "another operation under our index");
        c->counts.acked++;
        if (e->index > c->acked_index) c->acked_index = e->index;
    }
    r->proposals_count = kept;
}

void watch_leader(struct replica *r)
{
    struct cluster *c = r->cluster;
    term_t term = gate_term(r->gate);
    if (term >= c->leaders_count) {
        size_t count = (size_t)term * 2 + 64;
        c->leaders = mem_resize(c->leaders, count * sizeof(c->leaders[0]));
        memset(c->leaders + c->leaders_count, 0,
               (count - c->leaders_count) * sizeof(c->leaders[0]));
        c->leaders_count = count;
    }
    if (c->leaders[term] == 0) {
        c->leaders[term] = id_of(r->number);
        c->counts.leaders++;
    } else if (c->leaders[term] != id_of(r->number)) {
        violated(c, "nodes %u and %u both led term %" PRIu64, number_of(c->leaders[term]),
                 r->number, term);
    }
}

/* ---- links ---- */

static void inbox_arm(struct replica *r)
{
    if (r->inbox == NULL) return;
    uint64_t now = world_now_us(r->cluster->world); /* Nodes have clocks of their own. */
    uint64_t due = r->inbox->due_us;
    env_timer_start_us(r->env, &r->inbox_timer, due > now ? due - now : 0);
}

/* Inboxes are ordered by due time; links keep their own order, so equal times keep theirs. */
static void inbox_put(struct replica *r, struct parcel *p)
{
    struct parcel **at = &r->inbox;
    while (*at != NULL && (*at)->due_us <= p->due_us)
        at = &(*at)->next;
    p->next = *at;
    *at = p;
    if (at == &r->inbox) inbox_arm(r);
}

void post(struct replica *from, unsigned to, enum frame frame, struct slice bytes)
{
    struct cluster *c = from->cluster;
    struct link *link = &c->links[from->number][to];
    struct replica *r = &c->replicas[to];
    if (link->cut != CLUSTER_WHOLE || r->gate == NULL || !sim_node_up(r->node)) return;
    if (env_random_below(from->env, 1000000) < c->config.loss_ppm) return;
    uint64_t due = world_now_us(c->world) + c->config.delay_us +
                   env_random_below(from->env, c->config.jitter_us + 1);
    if (due < link->last_due_us) due = link->last_due_us;
    link->last_due_us = due;
    struct parcel *p = mem_alloc(sizeof(*p) + 1 + bytes.len);
    p->due_us = due;
    p->from = from->number;
    p->bytes = 1 + bytes.len;
    p->data[0] = (uint8_t)frame;
    if (bytes.len > 0) memcpy(p->data + 1, bytes.data, bytes.len);
    inbox_put(r, p);
}

void host_send(void *arg, uint64_t to, struct slice message)
{
    struct replica *r = arg;
    struct cluster *c = r->cluster;
    if (c->pass != NULL && !c->pass(c->pass_arg, r->number, number_of(to), message)) return;
    post(r, number_of(to), FRAME_GATE, message);
}

size_t host_room(void *arg, uint64_t to)
{
    struct replica *r = arg;
    const struct link *link = &r->cluster->links[r->number][number_of(to)];
    return link->cut == CLUSTER_UNPLUGGED ? 0 : LINK_BYTES;
}

void inbox_fired(struct env_timer *timer)
{
    struct replica *r = CONTAINER_OF(timer, struct replica, inbox_timer);
    while (r->inbox != NULL && r->inbox->due_us <= world_now_us(r->cluster->world)) {
        struct parcel *p = r->inbox;
        r->inbox = p->next;
        const uint8_t *body = p->data + 1;
        if (r->cluster->links[p->from][r->number].cut != CLUSTER_WHOLE) {
            free(p); /* Lost with its connection. */
            continue;
        }
        replica_frame(r, p->from, (enum frame)p->data[0], (struct slice){body, p->bytes - 1});
        free(p);
    }
    inbox_arm(r);
}

/* ---- the cluster ---- */

struct cluster *cluster_create(struct world *world, const struct cluster_config *config)
{
    static const struct sim_program program = {replica_boot, replica_died};
    CHECK(config->nodes <= CLUSTER_NODES_MAX);
    CHECK(config->voters >= 1 && config->voters <= config->nodes);
    struct cluster *c = mem_zero(sizeof(*c));
    c->world = world;
    c->config = *config;
    for (unsigned i = 0; i < config->nodes; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "n%u", i);
        c->replicas[i].cluster = c;
        c->replicas[i].number = i;
        c->replicas[i].node = sim_node_create(world, name, &program, &c->replicas[i]);
    }
    return c;
}

void cluster_destroy(struct cluster *c)
{
    for (unsigned i = 0; i < c->config.nodes; i++) {
        sim_node_crash(c->replicas[i].node, SIM_KILL);
    }
    free(c->facts);
    free(c->leaders);
    free(c);
}

void cluster_start(struct cluster *c, unsigned n)
{
    CHECK(!cluster_up(c, n));
    sim_node_start(c->replicas[n].node);
}

void cluster_crash(struct cluster *c, unsigned n, enum sim_crash how)
{
    sim_node_crash(c->replicas[n].node, how);
}

bool cluster_up(const struct cluster *c, unsigned n)
{
    return c->replicas[n].gate != NULL;
}

void cluster_cut(struct cluster *c, unsigned from, unsigned to, enum cluster_cut cut)
{
    c->links[from][to].cut = cut;
}

void cluster_part(struct cluster *c, unsigned a, unsigned b, enum cluster_cut cut)
{
    cluster_cut(c, a, b, cut);
    cluster_cut(c, b, a, cut);
}

void cluster_isolate(struct cluster *c, unsigned n, enum cluster_cut cut)
{
    for (unsigned i = 0; i < c->config.nodes; i++) {
        if (i != n) cluster_part(c, i, n, cut);
    }
}

void cluster_heal(struct cluster *c)
{
    for (unsigned i = 0; i < c->config.nodes; i++)
        cluster_isolate(c, i, CLUSTER_WHOLE);
    c->config.loss_ppm = 0;
}

void cluster_sleep(struct cluster *c, unsigned n, bool sleep)
{
    c->replicas[n].asleep = sleep;
}

void cluster_slow_disk(struct cluster *c, unsigned n, uint64_t us)
{
    c->replicas[n].slow_us = us;
}

void cluster_watch(struct cluster *c,
                   bool (*pass)(void *arg, unsigned from, unsigned to, struct slice message),
                   void *arg)
{
    c->pass = pass;
    c->pass_arg = arg;
}

struct sim_node *cluster_node(const struct cluster *c, unsigned n)
{
    return c->replicas[n].node;
}

struct gate *cluster_gate(const struct cluster *c, unsigned n)
{
    return c->replicas[n].gate;
}

int cluster_propose(struct cluster *c, unsigned n, size_t bytes)
{
    struct replica *r = &c->replicas[n];
    if (r->gate == NULL) return ERR_CLOSED;
    CHECK(bytes >= OP_BYTES);
    uint8_t *data = mem_zero(bytes);
    put_u64(data, c->ops + 1);
    struct proposal p = {.term = gate_term(r->gate), .op = c->ops + 1};
    int rv = gate_propose(r->gate, (struct slice){data, bytes}, &p.index);
    free(data);
    if (rv != 0) return rv;
    c->ops++;
    c->counts.proposed++;
    if (r->proposals_count == r->proposals_capacity) {
        r->proposals_capacity = r->proposals_capacity > 0 ? r->proposals_capacity * 2 : 16;
        r->proposals = mem_resize(r->proposals, r->proposals_capacity * sizeof(r->proposals[0]));
    }
    r->proposals[r->proposals_count++] = p;
    return 0;
}

int cluster_leader(const struct cluster *c)
{
    int best = -1;
    for (unsigned i = 0; i < c->config.nodes; i++) {
        const struct gate *gate = c->replicas[i].gate;
        if (gate == NULL || !gate_ready(gate)) continue;
        if (best < 0 || gate_term(gate) > gate_term(c->replicas[best].gate)) best = (int)i;
    }
    return best;
}

static bool has_leader(void *arg)
{
    return cluster_leader(arg) >= 0;
}

int cluster_await_leader(struct cluster *c, uint64_t us)
{
    (void)world_run_until(c->world, has_leader, c, us);
    return cluster_leader(c);
}

index_t cluster_applied(const struct cluster *c, unsigned n)
{
    return c->replicas[n].applied.index;
}

index_t cluster_manifest(const struct cluster *c, unsigned n)
{
    return c->replicas[n].durable.index;
}

uint64_t cluster_chain(const struct cluster *c, unsigned n)
{
    return c->replicas[n].applied.chain;
}

index_t cluster_acked_index(const struct cluster *c)
{
    return c->acked_index;
}

struct cluster_counts cluster_counts(const struct cluster *c)
{
    return c->counts;
}

const char *cluster_violation(const struct cluster *c)
{
    return c->violation[0] != 0 ? c->violation : NULL;
}

void cluster_check(const struct cluster *c)
{
    for (unsigned i = 0; i < c->config.nodes; i++) {
        if (c->replicas[i].gate != NULL) gate_check(c->replicas[i].gate);
    }
}

void cluster_print(const struct cluster *c)
{
    static const char *const states[] = {"follower", "candidate", "leader"};
    for (unsigned i = 0; i < c->config.nodes; i++) {
        const struct replica *r = &c->replicas[i];
        if (r->gate == NULL) {
            printf("  node %u is down\n", i);
            continue;
        }
        struct gate_member members[GATE_MEMBERS_MAX];
        size_t count = gate_members(r->gate, members);
        printf("  node %u %s term %" PRIu64 " leader %" PRIu64 " commit %" PRIu64 " last %" PRIu64
               " applied %" PRIu64 " manifest %" PRIu64 "%s%s%s members",
               i, states[gate_state(r->gate)], gate_term(r->gate), gate_leader(r->gate),
               gate_commit(r->gate), gate_last_index(r->gate), r->applied.index, r->durable.index,
               gate_ready(r->gate) ? " ready" : "", gate_settled(r->gate) ? "" : " unsettled",
               gate_installing(r->gate) ? " installing" : "");
        for (size_t m = 0; m < count; m++) {
            printf(" %" PRIu64 ":%d(%" PRIu64 ")", members[m].id, (int)members[m].role,
                   gate_match(r->gate, members[m].id));
        }
        printf("\n");
    }
}
