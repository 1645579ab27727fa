/* raft/node.c -- start, forming and stop of one node; see node.h.
 *
 * Happy path of a start: lock the folder -> identity -> stores -> write-ahead log, whose records go
 * to the partitions -> partitions start -> links, clients, tick.
 * Forming: identity (forming) -> the same, with the first entry of every partition -> once that is
 * durable: identity (formed) -> links, clients, tick.
 * Stop: hand over leaderships -> end requests -> close links -> stores, log, lock.
 * Failure modes: whatever is wrong with the folder ends node_create with one line; a crash while
 * forming is gone on with at the next start. */
#include "raft/node.h"

#include <stdio.h>
#include <stdlib.h>

#include "raft/node_impl.h"
#include "raft/status.h"

enum { PATH_BYTES = 4096 };

/* ---- opening ---- */

static int parts_open(struct node *node, char *why, size_t why_bytes)
{
    const struct identity *identity = &node->identity;
    node->parts = mem_zero(identity->parts_count * sizeof(*node->parts));
    for (unsigned i = 0; i < identity->parts_count; i++) {
        char dir[PATH_BYTES];
        snprintf(dir, sizeof(dir), "%s/part-%03u", node->dir, i);
        struct part_config config = {
            .store = {.dir = dir,
                      .part = (part_t)i,
                      .owner = identity->cluster,
                      .budget = &node->budget},
            .self = node->raft_id,
            .election_ms = NODE_ELECTION_MS,
            .heartbeat_ms = NODE_HEARTBEAT_MS,
            .log_bytes = node->config.memory_bytes / 4 / identity->parts_count,
            .diag = node->diag,
            .host = node_part_host(node)};
        int err = part_open(node->env, &config, &node->parts[i], why, why_bytes);
        if (err != 0) return err;
    }
    return 0;
}

static int log_open(struct node *node, char *why, size_t why_bytes)
{
    char dir[PATH_BYTES];
    snprintf(dir, sizeof(dir), "%s/wal", node->dir);
    struct wal_config config = {.dir = dir,
                                .owner = node->identity.cluster ^ node->raft_id,
                                .parts_count = node->identity.parts_count,
                                .file_bytes = node->config.wal_file_bytes};
    struct wal_handlers handlers = node_wal_handlers(node);
    int err = wal_open(node->env, &config, &handlers, &node->wal, why, why_bytes);
    if (err != 0 || node->replay_err == 0) return err;
    snprintf(why, why_bytes, "%s: partition %u: the log does not continue its manifest", dir,
             (unsigned)node->replay_part);
    return ERR_CORRUPT;
}

/* Members of a group that is made now: every node, in its first incarnation. */
static size_t first_members(const struct node *node, struct gate_member out[GATE_MEMBERS_MAX])
{
    for (unsigned i = 0; i < node->identity.nodes_count; i++)
        out[i] = (struct gate_member){
            .id = identity_raft_id(node->identity.incarnation, node->identity.nodes[i].number),
            .role = GATE_VOTER};
    return node->identity.nodes_count;
}

static int parts_start(struct node *node, char *why, size_t why_bytes)
{
    struct gate_member members[GATE_MEMBERS_MAX];
    size_t count = first_members(node, members);
    for (unsigned i = 0; i < node->identity.parts_count; i++) {
        bool blank = part_blank(node->parts[i]);
        if (blank && node->identity.formed) {
            snprintf(why, why_bytes,
                     "%s: partition %u has lost its log: this node must not vote under its old "
                     "name, replace it",
                     node->dir, i);
            return ERR_CORRUPT;
        }
        int err = part_start(node->parts[i], node->wal, blank ? members : NULL, blank ? count : 0);
        /* What it appended is durable with the batch that gathers now. */
        if (blank) node->formed_with = wal_next(node->wal);
        if (err == 0) continue;
        snprintf(why, why_bytes, "%s: partition %u: %s", node->dir, i, err_text(err));
        return err;
    }
    return 0;
}

static int links_open(struct node *node, char *why, size_t why_bytes)
{
    struct links_peer peers[NODES_MAX];
    unsigned count = 0;
    for (unsigned i = 0; i < node->identity.nodes_count; i++) {
        const struct identity_node *peer = &node->identity.nodes[i];
        if (peer->number == node->identity.node) continue;
        peers[count++] = (struct links_peer){.node = peer->number, .address = peer->peer};
    }
    struct links_config config = {.cluster = node->identity.cluster,
                                  .self = node->raft_id,
                                  .boot = wal_next(node->wal),
                                  .listen = node->config.peer,
                                  .peers = peers,
                                  .peers_count = count,
                                  .diag = node->diag,
                                  .handlers = node_links_handlers(node)};
    int err = links_create(node->env, &config, &node->links);
    if (err == 0) {
        links_set_flags(node->links, node->low ? LINK_STATE_LOW : 0);
        return 0;
    }
    char text[IDENTITY_ADDRESS_BYTES];
    identity_address_text(&node->config.peer, text);
    snprintf(why, why_bytes, "peer address %s: %s", text, err_text(err));
    return err;
}

static void clients_join(struct node *node)
{
    const struct identity *identity = &node->identity;
    struct wire_map map = {.cluster = identity->cluster,
                           .version = 1,
                           .parts_count = identity->parts_count,
                           .nodes_count = identity->nodes_count};
    for (unsigned i = 0; i < identity->nodes_count; i++) {
        map.nodes[i].number = identity->nodes[i].number;
        map.nodes[i].address = identity->nodes[i].client;
    }
    serve_join(node->serve, &map, identity->node, node->parts);
}

/* Everything that needs an identity. On an error the caller gives up the node as a whole. */
static int node_open(struct node *node, char *why, size_t why_bytes)
{
    node->raft_id = identity_raft_id(node->identity.incarnation, node->identity.node);
    struct confirm_host confirm_host = node_confirm_host(node);
    struct install_host install_host = node_install_host(node);
    node->confirm = confirm_create(node->env, node->identity.parts_count, &confirm_host);
    node->install =
        install_create(node->env, node->identity.parts_count, node->diag, &install_host);
    int err = parts_open(node, why, why_bytes);
    if (err == 0) err = log_open(node, why, why_bytes);
    if (err == 0) err = parts_start(node, why, why_bytes);
    if (err == 0) err = links_open(node, why, why_bytes);
    if (err != 0) return err;
    node->state = node->identity.formed ? NODE_RUNNING : NODE_FORMING;
    diag_info(node->diag, "node", "started node=%u cluster=%016llx partitions=%u",
              (unsigned)node->identity.node, (unsigned long long)node->identity.cluster,
              node->identity.parts_count);
    return 0;
}

static void node_formed(struct node *node)
{
    struct identity formed = node->identity;
    formed.formed = true;
    int err = identity_save(node->env, node->dir, &formed);
    if (err != 0) {
        diag_error(node->diag, "node", "forming waits: %s", err_text(err));
        return; /* Until the next tick. */
    }
    node->identity = formed;
    node->state = NODE_RUNNING;
    clients_join(node);
    diag_info(node->diag, "node", "formed");
}

/* ---- what serve asks ---- */

static void serve_wants_status(void *arg, struct buf *json)
{
    struct node *node = arg;
    struct node_view view;
    node_view(node, &view);
    status_json(&view, json);
}

static bool map_has(const struct identity *map, uint8_t number)
{
    for (unsigned i = 0; i < map->nodes_count; i++)
        if (map->nodes[i].number == number) return true;
    return false;
}

/* The cluster is made by whoever asks: only a node that has nothing to lose agrees. */
static int serve_wants_form(void *arg, struct slice map, struct buf *text)
{
    struct node *node = arg;
    char why[512];
    struct identity identity;
    int err = node->state == NODE_ALONE ? 0 : ERR_EXISTS;
    snprintf(why, sizeof(why), "this node belongs to cluster %016llx already",
             (unsigned long long)node->identity.cluster);
    if (err == 0) err = identity_parse_map(map, &identity, why, sizeof(why));
    if (err == 0 && !map_has(&identity, node->config.node)) {
        err = ERR_INVAL;
        snprintf(why, sizeof(why), "the map has no node %u, which this is",
                 (unsigned)node->config.node);
    }
    if (err == 0) {
        identity.node = node->config.node;
        identity.incarnation = 1;
        err = identity_save(node->env, node->dir, &identity);
        snprintf(why, sizeof(why), "%s: %s", node->dir, err_text(err));
    }
    if (err != 0) {
        buf_put(text, why, strlen(why));
        return err;
    }
    /* Opened in a turn of its own, by the tick. */
    node->identity = identity;
    node->state = NODE_CHOSEN;
    return 0;
}

/* Everything that node_open made, as far as it came. */
static void node_shut(struct node *node)
{
    for (unsigned i = 0; node->parts != NULL && i < node->identity.parts_count; i++)
        if (node->parts[i] != NULL) part_close(node->parts[i]);
    if (node->wal != NULL) wal_close(node->wal);
    if (node->confirm != NULL) confirm_destroy(node->confirm);
    if (node->install != NULL) install_abandon(node->install);
    free(node->parts);
    node->parts = NULL;
    node->wal = NULL;
    node->confirm = NULL;
    node->install = NULL;
}

void node_form_tick(struct node *node)
{
    char why[512];
    if (node->state == NODE_FORMING && wal_durable(node->wal) >= node->formed_with)
        node_formed(node);
    if (node->state != NODE_CHOSEN) return;
    int err = node_open(node, why, sizeof(why));
    if (err == 0) return;
    diag_error(node->diag, "node", "forming failed, start this node again: %s", why);
    node_shut(node);
    node->state = NODE_BROKEN;
}

/* ---- life ---- */

static void node_free(struct node *node)
{
    env_timer_stop(node->env, &node->tick);
    node_shut(node);
    if (node->lock != NULL) env_file_close(node->env, node->lock);
    free(node->dir);
    free(node);
}

/* Links begin to listen when a cluster is formed: too late to say that the port is taken. */
static int peer_probe(struct node *node, char *why, size_t why_bytes)
{
    struct env_listener *listener;
    int err = env_listen(node->env, &node->config.peer, NULL, NULL, &listener);
    if (err == 0) {
        env_listener_close(node->env, listener); /* Before a turn of the loop: none is accepted. */
        return 0;
    }
    char text[IDENTITY_ADDRESS_BYTES];
    identity_address_text(&node->config.peer, text);
    snprintf(why, why_bytes, "peer address %s: %s", text, err_text(err));
    return err;
}

static int folder_take(struct node *node, char *why, size_t why_bytes)
{
    int err = env_dir_make(node->env, node->dir);
    if (err == 0) err = env_dir_lock(node->env, node->dir, &node->lock);
    if (err != 0) {
        snprintf(why, why_bytes, "%s: %s", node->dir, err_text(err));
        return err;
    }
    err = identity_load(node->env, node->dir, node->config.node, &node->identity, why, why_bytes);
    if (err == ERR_NOT_FOUND) return peer_probe(node, why, why_bytes);
    return err == 0 ? node_open(node, why, why_bytes) : err;
}

static int clients_open(struct node *node, char *why, size_t why_bytes)
{
    struct serve_config config = {.address = node->config.client,
                                  .status = serve_wants_status,
                                  .form = serve_wants_form,
                                  .arg = node};
    int err = serve_create(node->env, &config, &node->serve);
    if (err != 0) {
        char text[IDENTITY_ADDRESS_BYTES];
        identity_address_text(&node->config.client, text);
        snprintf(why, why_bytes, "client address %s: %s", text, err_text(err));
        return err;
    }
    if (node->state == NODE_RUNNING) clients_join(node);
    return 0;
}

int node_create(struct env *env, const struct node_config *config, struct diag *diag,
                struct node **out, char *why, size_t why_bytes)
{
    struct node *node = mem_zero(sizeof(*node));
    *node = (struct node){.env = env,
                          .diag = diag,
                          .config = *config,
                          .dir = mem_string(slice_str(config->dir)),
                          .budget = {.limit_bytes = config->memory_bytes / 2},
                          .started_ms = env_now_ms(env)};
    node->config.dir = node->dir;
    env_timer_init(&node->tick, node_tick);
    int err = folder_take(node, why, why_bytes);
    if (err == 0) err = clients_open(node, why, why_bytes);
    if (err != 0) {
        if (node->links != NULL) links_abandon(node->links);
        node_free(node);
        return err;
    }
    if (node->state == NODE_ALONE)
        diag_info(diag, "node", "started node=%u, of no cluster yet: it waits to be formed",
                  (unsigned)node->config.node);
    env_timer_start(env, &node->tick, NODE_HEARTBEAT_MS);
    *out = node;
    return 0;
}

void node_abandon(struct node *node)
{
    struct serve *serve = node->serve;
    if (node->links != NULL) links_abandon(node->links);
    if (node->install != NULL) install_abandon(node->install);
    node->install = NULL;
    for (unsigned i = 0; node->parts != NULL && i < node->identity.parts_count; i++) {
        part_abandon(node->parts[i]);
        node->parts[i] = NULL;
    }
    node_free(node);
    if (serve != NULL) serve_abandon(serve); /* Partitions hold its requests: after them. */
}

/* ---- the end ---- */

void node_stop(struct node *node, void (*stopped)(void *arg), void *arg)
{
    CHECK(node->state < NODE_LEAVING);
    node->stopped = stopped;
    node->stopped_arg = arg;
    node->stopping_ms = env_now_ms(node->env);
    node->state = NODE_LEAVING;
    diag_info(node->diag, "node", "stopping");
}

static bool peers_connected(const struct node *node)
{
    for (unsigned i = 0; node->links != NULL && i < node->identity.nodes_count; i++)
        if (links_peer_id(node->links, node->identity.nodes[i].number) != 0) return true;
    return false;
}

/* True while this node leads something that another could lead. */
static bool leaderships_leave(struct node *node)
{
    bool leads = false;
    if (!peers_connected(node) || env_now_ms(node->env) - node->stopping_ms > NODE_HAND_OVER_MS)
        return false;
    for (unsigned i = 0; i < node->identity.parts_count; i++) {
        if (part_role(node->parts[i]) != PART_LEADER) continue;
        leads = true;
        (void)part_hand_over(node->parts[i]); /* Under way already, or tried again. */
    }
    return leads;
}

static void links_gone(void *arg)
{
    struct node *node = arg;
    node->links = NULL;
    node->closing_count--;
}

static void install_gone(void *arg)
{
    struct node *node = arg;
    node->install = NULL;
    node->closing_count--;
}

static bool parts_idle(const struct node *node)
{
    for (unsigned i = 0; node->parts != NULL && i < node->identity.parts_count; i++)
        if (!part_idle(node->parts[i])) return false;
    return true;
}

static void node_end(struct node *node)
{
    node->state = NODE_ENDING;
    serve_close(node->serve);
    for (unsigned i = 0; node->parts != NULL && i < node->identity.parts_count; i++)
        part_end(node->parts[i]);
}

static void node_close(struct node *node)
{
    node->state = NODE_CLOSING;
    node->closing_count = (node->links != NULL ? 1u : 0u) + (node->install != NULL ? 1u : 0u);
    if (node->links != NULL) links_close(node->links, links_gone, node);
    if (node->install != NULL) install_close(node->install, install_gone, node);
}

void node_stop_tick(struct node *node)
{
    switch (node->state) {
        case NODE_LEAVING:
            if (node->parts == NULL || !leaderships_leave(node)) node_end(node);
            return;
        case NODE_ENDING:
            if (parts_idle(node)) node_close(node);
            return;
        case NODE_CLOSING:
            if (node->closing_count > 0) return;
            break;
        default:
            return;
    }
    void (*stopped)(void *) = node->stopped;
    void *arg = node->stopped_arg;
    diag_info(node->diag, "node", "stopped");
    serve_destroy(node->serve);
    node_free(node);
    stopped(arg);
}

void node_view(struct node *node, struct node_view *out)
{
    bool member = node->state >= NODE_FORMING && node->parts != NULL;
    *out = (struct node_view){.serve = node->serve,
                              .config = &node->config,
                              .started_ms = node->started_ms,
                              .budget = &node->budget,
                              .low = node->low,
                              .env = node->env};
    if (!member) return;
    out->identity = &node->identity;
    out->raft_id = node->raft_id;
    out->parts = node->parts;
    out->wal = node->wal;
    out->links = node->links;
}
