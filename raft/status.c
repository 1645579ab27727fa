/* raft/status.c -- see status.h. */
#include "raft/status.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "raft/ops.h"

static json_t *number(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static json_t *hex(uint64_t value)
{
    char text[17];
    snprintf(text, sizeof(text), "%016llx", (unsigned long long)value);
    return json_string(text);
}

static json_t *address(const struct env_address *a)
{
    char text[IDENTITY_ADDRESS_BYTES];
    identity_address_text(a, text);
    return json_string(text);
}

static void set(json_t *object, const char *key, json_t *value)
{
    int err = json_object_set_new(object, key, value);
    CHECK(err == 0);
}

static const char *role_name(enum part_role role)
{
    static const char *const names[] = {
        [PART_FOLLOWER] = "follower", [PART_CANDIDATE] = "candidate", [PART_LEADER] = "leader"};
    return names[role];
}

bool status_healthy(const struct node_view *view)
{
    if (view->identity == NULL || view->low) return false;
    for (unsigned i = 0; i < view->identity->parts_count; i++) {
        struct part_stats stats;
        part_stats(view->parts[i], &stats);
        if (stats.stopped != 0 || part_leader_node(view->parts[i]) == 0) return false;
    }
    return true;
}

static json_t *voters_json(struct part *part)
{
    json_t *voters = json_array();
    const struct gate *gate = part_gate(part);
    struct gate_member members[GATE_MEMBERS_MAX];
    size_t count = gate == NULL ? 0 : gate_members(gate, members);
    for (size_t i = 0; i < count; i++) {
        if (members[i].role != GATE_VOTER) continue;
        json_t *voter = json_object();
        set(voter, "id", number(members[i].id));
        set(voter, "node", number(identity_node_of(members[i].id)));
        index_t match = gate_match(gate, members[i].id);
        if (match != 0) set(voter, "lag", number(gate_last_index(gate) - match));
        json_array_append_new(voters, voter);
    }
    return voters;
}

static json_t *store_json(struct part *part)
{
    struct store_stats stats;
    store_stats(part_store(part), &stats);
    json_t *store = json_object();
    set(store, "runs", number(stats.runs_count));
    set(store, "runs_bytes", number(stats.runs_bytes));
    set(store, "dirty_bytes", number(store_dirty_bytes(part_store(part))));
    set(store, "cache_bytes", number(stats.cache_bytes));
    set(store, "damage", number(stats.damage_count));
    set(store, "checkpoints", number(stats.checkpoints_count));
    return store;
}

static json_t *part_json(struct part *part)
{
    struct part_stats stats;
    part_stats(part, &stats);
    json_t *object = json_object();
    set(object, "part", number(part_number(part)));
    set(object, "role", json_string(role_name(part_role(part))));
    set(object, "term", number(part_term(part)));
    set(object, "leader", number(part_leader_node(part)));
    set(object, "leads", json_boolean(part_leads(part)));
    set(object, "commit", number(stats.commit));
    set(object, "applied", number(part_applied(part)));
    set(object, "last", number(stats.last));
    set(object, "manifest", number(store_manifest(part_store(part))->index));
    set(object, "history", hex(store_facts(part_store(part))->history));
    set(object, "stopped", stats.stopped == 0 ? json_null() : json_string(err_name(stats.stopped)));
    set(object, "queued_bytes", number(stats.queued_bytes));
    set(object, "log_bytes", number(stats.log_bytes));
    set(object, "waiting", number(stats.waiting_count));
    set(object, "txns", number(stats.txns_count));
    set(object, "entries", number(stats.entries_count));
    set(object, "reads", number(stats.reads_count));
    set(object, "busy", number(stats.busy_count));
    set(object, "elections", number(stats.elections_count));
    set(object, "voters", voters_json(part));
    set(object, "store", store_json(part));
    return object;
}

static json_t *wal_json(const struct wal *wal)
{
    struct wal_stats stats;
    wal_stats(wal, &stats);
    json_t *object = json_object();
    set(object, "live_bytes", number(wal_live_bytes(wal)));
    set(object, "durable", number(wal_durable(wal)));
    set(object, "batches", number(stats.batches_count));
    set(object, "bytes", number(stats.bytes));
    set(object, "sync_us_last", number(stats.sync_us_last));
    set(object, "sync_us_max", number(stats.sync_us_max));
    set(object, "stall_us", number(stats.stall_us));
    return object;
}

static json_t *links_json(const struct links *links)
{
    struct links_stats stats = {0};
    if (links != NULL) links_stats(links, &stats);
    json_t *object = json_object();
    set(object, "up", number(stats.up_count));
    set(object, "frames_sent", number(stats.frames_sent));
    set(object, "bytes_sent", number(stats.bytes_sent));
    set(object, "bytes_received", number(stats.bytes_received));
    set(object, "refused", number(stats.refused_count));
    return object;
}

static json_t *clients_json(const struct serve *serve)
{
    struct serve_stats stats;
    serve_stats(serve, &stats);
    json_t *object = json_object();
    set(object, "connections", number(stats.connections_count));
    set(object, "tails", number(stats.tails_count));
    set(object, "sessions", number(stats.sessions_count));
    set(object, "open", number(stats.requests_open));
    set(object, "txns", number(stats.txns_count));
    set(object, "queries", number(stats.queries_count));
    set(object, "busy", number(stats.busy_count));
    set(object, "closed", number(stats.closed_count));
    return object;
}

static json_t *nodes_json(const struct node_view *view)
{
    json_t *nodes = json_array();
    for (unsigned i = 0; i < view->identity->nodes_count; i++) {
        const struct identity_node *node = &view->identity->nodes[i];
        bool self = node->number == view->identity->node;
        json_t *object = json_object();
        set(object, "node", number(node->number));
        set(object, "client", address(&node->client));
        set(object, "peer", address(&node->peer));
        set(object, "connected",
            json_boolean(self ||
                         (view->links != NULL && links_peer_id(view->links, node->number) != 0)));
        json_array_append_new(nodes, object);
    }
    return nodes;
}

static void member_json(const struct node_view *view, json_t *object)
{
    set(object, "cluster", hex(view->identity->cluster));
    set(object, "incarnation", number(view->identity->incarnation));
    set(object, "raft_id", number(view->raft_id));
    set(object, "nodes", nodes_json(view));
    json_t *parts = json_array();
    for (unsigned i = 0; i < view->identity->parts_count; i++)
        json_array_append_new(parts, part_json(view->parts[i]));
    set(object, "partitions", parts);
    set(object, "wal", wal_json(view->wal));
    set(object, "links", links_json(view->links));
    set(object, "clients", clients_json(view->serve));
}

void status_json(const struct node_view *view, struct buf *out)
{
    json_t *object = json_object();
    uint64_t disk_free_bytes = 0;
    int err = env_disk_free(view->env, view->config->dir, &disk_free_bytes);
    json_t *memory = json_object();
    set(memory, "limit_bytes", number(view->budget->limit_bytes));
    set(memory, "used_bytes", number(view->budget->used_bytes));
    set(object, "version", json_string(PARLEY_VERSION));
    set(object, "node", number(view->config->node));
    set(object, "client", address(&view->config->client));
    set(object, "peer", address(&view->config->peer));
    set(object, "cluster", json_null());
    set(object, "uptime_ms", number(env_now_ms(view->env) - view->started_ms));
    set(object, "healthy", json_boolean(status_healthy(view)));
    set(object, "disk_low", json_boolean(view->low));
    set(object, "disk_free_bytes", err == 0 ? number(disk_free_bytes) : json_null());
    set(object, "memory", memory);
    if (view->identity != NULL) member_json(view, object);
    char *text = json_dumps(object, JSON_COMPACT);
    CHECK(text != NULL);
    buf_put(out, text, strlen(text));
    free(text);
    json_decref(object);
}

/* ---- metrics ---- */

static void metric(struct buf *out, const char *name, const char *type, const char *help,
                   uint64_t value)
{
    ops_metric(out, name, type, help);
    ops_value(out, name, NULL, value);
}

/* One metric of every partition. */
struct part_metric {
    const char *name, *type, *help;
    uint64_t (*value)(struct part *part, const struct part_stats *stats);
};

static uint64_t value_leads(struct part *part, const struct part_stats *stats)
{
    (void)stats;
    return part_leads(part);
}
static uint64_t value_has_leader(struct part *part, const struct part_stats *stats)
{
    (void)stats;
    return part_leader_node(part) != 0;
}
static uint64_t value_term(struct part *part, const struct part_stats *stats)
{
    (void)stats;
    return part_term(part);
}
static uint64_t value_applied(struct part *part, const struct part_stats *stats)
{
    (void)stats;
    return part_applied(part);
}
static uint64_t value_commit(struct part *part, const struct part_stats *stats)
{
    (void)part;
    return stats->commit;
}
static uint64_t value_txns(struct part *part, const struct part_stats *stats)
{
    (void)part;
    return stats->txns_count;
}
static uint64_t value_entries(struct part *part, const struct part_stats *stats)
{
    (void)part;
    return stats->entries_count;
}
static uint64_t value_reads(struct part *part, const struct part_stats *stats)
{
    (void)part;
    return stats->reads_count;
}
static uint64_t value_busy(struct part *part, const struct part_stats *stats)
{
    (void)part;
    return stats->busy_count;
}
static uint64_t value_queued(struct part *part, const struct part_stats *stats)
{
    (void)part;
    return stats->queued_bytes;
}
static uint64_t value_log(struct part *part, const struct part_stats *stats)
{
    (void)part;
    return stats->log_bytes;
}
static uint64_t value_dirty(struct part *part, const struct part_stats *stats)
{
    (void)stats;
    return store_dirty_bytes(part_store(part));
}
static uint64_t value_stopped(struct part *part, const struct part_stats *stats)
{
    (void)part;
    return stats->stopped != 0;
}

static const struct part_metric part_metrics[] = {
    {"parley_logd_part_leads", "gauge", "1 while this node leads the partition", value_leads},
    {"parley_logd_part_has_leader", "gauge", "1 while a leader is known", value_has_leader},
    {"parley_logd_part_term", "gauge", "The raft term", value_term},
    {"parley_logd_part_applied_index", "gauge", "The last entry applied here", value_applied},
    {"parley_logd_part_commit_index", "gauge", "The last entry known to be committed",
     value_commit},
    {"parley_logd_part_txns_total", "counter", "Transactions applied", value_txns},
    {"parley_logd_part_entries_total", "counter", "Entries applied", value_entries},
    {"parley_logd_part_reads_total", "counter", "Linearizable reads answered", value_reads},
    {"parley_logd_part_busy_total", "counter", "Requests refused for want of room", value_busy},
    {"parley_logd_part_queued_bytes", "gauge", "Transactions not proposed yet", value_queued},
    {"parley_logd_part_log_bytes", "gauge", "The raft log in memory", value_log},
    {"parley_logd_part_dirty_bytes", "gauge", "Rows not yet in a run", value_dirty},
    {"parley_logd_part_stopped", "gauge", "1 when this replica serves no more", value_stopped},
};

static void parts_metrics(const struct node_view *view, struct buf *out)
{
    for (size_t m = 0; m < ARRAY_COUNT(part_metrics); m++) {
        const struct part_metric *pm = &part_metrics[m];
        ops_metric(out, pm->name, pm->type, pm->help);
        for (unsigned i = 0; i < view->identity->parts_count; i++) {
            struct part_stats stats;
            char labels[32];
            part_stats(view->parts[i], &stats);
            snprintf(labels, sizeof(labels), "part=\"%u\"", i);
            ops_value(out, pm->name, labels, pm->value(view->parts[i], &stats));
        }
    }
}

static void wal_metrics(const struct wal *wal, struct buf *out)
{
    struct wal_stats stats;
    wal_stats(wal, &stats);
    metric(out, "parley_logd_wal_live_bytes", "gauge", "Log files still needed",
           wal_live_bytes(wal));
    metric(out, "parley_logd_wal_batches_total", "counter", "Batches written", stats.batches_count);
    metric(out, "parley_logd_wal_bytes_total", "counter", "Bytes written", stats.bytes);
    metric(out, "parley_logd_wal_sync_us_last", "gauge", "The last write with its fdatasync",
           stats.sync_us_last);
    metric(out, "parley_logd_wal_sync_us_max", "gauge", "The slowest one since the start",
           stats.sync_us_max);
}

void status_metrics(const struct node_view *view, struct buf *out)
{
    struct serve_stats serve;
    serve_stats(view->serve, &serve);
    metric(out, "parley_logd_healthy", "gauge",
           "1 when every partition has a leader and none stopped here", status_healthy(view));
    metric(out, "parley_logd_disk_low", "gauge", "1 while the disk is nearly full", view->low);
    metric(out, "parley_logd_memory_used_bytes", "gauge", "Counted by the budget",
           view->budget->used_bytes);
    metric(out, "parley_logd_clients", "gauge", "Connections of clients", serve.connections_count);
    metric(out, "parley_logd_tails", "gauge", "Open subscriptions", serve.tails_count);
    metric(out, "parley_logd_sessions", "gauge", "Sessions held here", serve.sessions_count);
    metric(out, "parley_logd_requests_open", "gauge", "Requests not answered yet",
           serve.requests_open);
    if (view->identity == NULL) return;
    struct links_stats links = {0};
    if (view->links != NULL) links_stats(view->links, &links);
    metric(out, "parley_logd_links_up", "gauge", "Connections to other nodes", links.up_count);
    metric(out, "parley_logd_links_bytes_sent_total", "counter", "Bytes to other nodes",
           links.bytes_sent);
    wal_metrics(view->wal, out);
    parts_metrics(view, out);
}
