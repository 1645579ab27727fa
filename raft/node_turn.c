/* raft/node_turn.c -- what a running node does: the tick, items from the links, and what
 * partitions, confirmation, installs and the write-ahead log ask of it. */
#include "raft/node_impl.h"

/* ---- for partitions ---- */

static void part_wants_send(void *arg, part_t part, uint64_t to, struct slice message)
{
    struct node *node = arg;
    if (node->links == NULL) return;
    if (links_room(node->links, to, LINK_MESSAGES) < message.len + sizeof(uint16_t)) return;
    struct buf *buf = links_begin(node->links, to, LINK_MESSAGES, NODE_ITEM_RAFT);
    if (buf == NULL) return;
    buf_u16(buf, part);
    buf_put(buf, message.data, message.len);
    links_end(node->links);
}

static size_t part_wants_room(void *arg, uint64_t to)
{
    struct node *node = arg;
    if (node->links == NULL) return 0;
    size_t room = links_room(node->links, to, LINK_MESSAGES);
    return room > sizeof(uint16_t) ? room - sizeof(uint16_t) : 0;
}

static bool part_wants_heard(void *arg, uint64_t id, int64_t *wall_ms, bool *low)
{
    struct node *node = arg;
    uint8_t flags = node->low ? LINK_STATE_LOW : 0;
    if (id == node->raft_id)
        *wall_ms = env_wall_ms(node->env);
    else if (node->links == NULL || !links_heard(node->links, id, wall_ms, &flags))
        return false;
    *low = (flags & LINK_STATE_LOW) != 0;
    return true;
}

static void part_wants_ask(void *arg, part_t part)
{
    struct node *node = arg;
    confirm_ask(node->confirm, part);
}

static void part_wants_forget(void *arg, part_t part)
{
    struct node *node = arg;
    confirm_forget(node->confirm, part);
}

static void part_wants_fetch(void *arg, part_t part, uint64_t from, index_t index)
{
    struct node *node = arg;
    if (from == 0)
        install_cancel(node->install, part);
    else
        install_fetch(node->install, part, from, index);
}

static void part_wants_tell(void *arg, part_t part, index_t index, uint64_t history)
{
    struct node *node = arg;
    for (unsigned i = 0; node->links != NULL && i < node->identity.nodes_count; i++) {
        uint64_t to = links_peer_id(node->links, node->identity.nodes[i].number);
        struct buf *buf =
            to == 0 ? NULL : links_begin(node->links, to, LINK_MESSAGES, NODE_ITEM_TELL);
        if (buf == NULL) continue;
        buf_u16(buf, part);
        buf_u64(buf, index);
        buf_u64(buf, history);
        links_end(node->links);
    }
}

struct part_host node_part_host(struct node *node)
{
    return (struct part_host){.send = part_wants_send,
                              .room = part_wants_room,
                              .heard = part_wants_heard,
                              .ask = part_wants_ask,
                              .forget = part_wants_forget,
                              .fetch = part_wants_fetch,
                              .tell = part_wants_tell,
                              .arg = node};
}

/* ---- for confirmation ---- */

static bool confirm_wants_claim(void *arg, part_t part, struct confirm_claim *out)
{
    struct node *node = arg;
    return part_claim(node->parts[part], out);
}

static void confirm_wants_confirmed(void *arg, part_t part)
{
    struct node *node = arg;
    part_confirmed(node->parts[part]);
}

static bool confirm_wants_term(void *arg, part_t part, term_t *term)
{
    struct node *node = arg;
    return part_vouch(node->parts[part], term);
}

static void confirm_wants_send(void *arg, uint64_t to, bool question, struct slice bytes)
{
    struct node *node = arg;
    if (node->links == NULL) return;
    /* A lost question is asked again by confirm_tick. */
    (void)links_send(node->links, to, LINK_MESSAGES, question ? NODE_ITEM_ASK : NODE_ITEM_ANSWER,
                     bytes);
}

struct confirm_host node_confirm_host(struct node *node)
{
    return (struct confirm_host){.claim = confirm_wants_claim,
                                 .confirmed = confirm_wants_confirmed,
                                 .term = confirm_wants_term,
                                 .send = confirm_wants_send,
                                 .arg = node};
}

/* ---- for installs ---- */

static void install_wants_send(void *arg, uint64_t to, enum install_item kind, struct slice bytes)
{
    struct node *node = arg;
    if (node->links == NULL) return;
    /* A lost request is said again by install_tick. */
    (void)links_send(node->links, to, LINK_BULK, (uint8_t)kind, bytes);
}

static struct store *install_wants_store(void *arg, part_t part)
{
    struct node *node = arg;
    return node->state == NODE_RUNNING ? part_store(node->parts[part]) : NULL;
}

static void install_wants_done(void *arg, part_t part, struct store_install *staged, index_t index)
{
    struct node *node = arg;
    part_staged(node->parts[part], staged, index);
}

struct install_host node_install_host(struct node *node)
{
    return (struct install_host){.send = install_wants_send,
                                 .store = install_wants_store,
                                 .done = install_wants_done,
                                 .arg = node};
}

/* ---- for the write-ahead log ---- */

static void wal_replayed(void *arg, const struct wal_record *record, batch_t batch)
{
    struct node *node = arg;
    if (node->replay_err != 0) return;
    CHECK(record->part < node->identity.parts_count);
    node->replay_err = part_replayed(node->parts[record->part], record, batch);
    node->replay_part = record->part;
}

static void wal_durable_up_to(void *arg, batch_t durable)
{
    struct node *node = arg;
    for (unsigned i = 0; i < node->identity.parts_count; i++)
        part_durable(node->parts[i], durable);
    confirm_settled(node->confirm);
}

static void wal_space(void *arg, bool low)
{
    struct node *node = arg;
    node->wal_low = low; /* Acted upon by the tick. */
}

struct wal_handlers node_wal_handlers(struct node *node)
{
    return (struct wal_handlers){
        .replayed = wal_replayed, .durable = wal_durable_up_to, .space = wal_space, .arg = node};
}

/* ---- from the links ---- */

static int item_raft(struct node *node, struct slice bytes)
{
    struct reader r = reader_of(bytes);
    part_t part = read_u16(&r);
    if (r.failed || part >= node->identity.parts_count) return ERR_CORRUPT;
    part_receive(node->parts[part], (struct slice){r.at, reader_left(&r)});
    return 0;
}

static int item_tell(struct node *node, uint64_t from, struct slice bytes)
{
    struct reader r = reader_of(bytes);
    part_t part = read_u16(&r);
    index_t index = read_u64(&r);
    uint64_t history = read_u64(&r);
    if (!reader_done(&r) || part >= node->identity.parts_count) return ERR_CORRUPT;
    part_heard(node->parts[part], from, index, history);
    return 0;
}

static int item_receive(struct node *node, uint64_t from, uint8_t kind, struct slice bytes)
{
    switch (kind) {
        case NODE_ITEM_RAFT:
            return item_raft(node, bytes);
        case NODE_ITEM_ASK:
            return confirm_receive(node->confirm, from, true, bytes);
        case NODE_ITEM_ANSWER:
            return confirm_receive(node->confirm, from, false, bytes);
        case NODE_ITEM_TELL:
            return item_tell(node, from, bytes);
        default:
            return ERR_CORRUPT;
    }
}

static void links_received(void *arg, uint64_t from, enum link_class class, uint8_t kind,
                           struct slice bytes)
{
    struct node *node = arg;
    int err = class == LINK_BULK ? install_receive(node->install, from, kind, bytes)
                                 : item_receive(node, from, kind, bytes);
    /* The frame's checksum held, so this is a bug of the other side, not damage. */
    if (err != 0)
        diag_error(node->diag, "node", "message not understood from=%u kind=%u",
                   (unsigned)identity_node_of(from), (unsigned)kind);
}

static void links_up(void *arg, uint64_t to, enum link_class class, bool up)
{
    (void)arg; /* libraft, confirm and install repeat what was lost. */
    (void)to;
    (void)class;
    (void)up;
}

struct links_handlers node_links_handlers(struct node *node)
{
    return (struct links_handlers){.received = links_received, .up = links_up, .arg = node};
}

/* ---- the tick ---- */

/* A checkpoint that failed is not tried again at once. */
static bool checkpoint_may(struct node *node, struct part *part)
{
    struct part_stats stats;
    part_stats(part, &stats);
    uint64_t ago_ms = env_now_ms(node->env) - stats.checkpoint_ms;
    return !part_checkpointing(part) && stats.stopped == 0 &&
           (stats.checkpoint_err == 0 || ago_ms >= NODE_CHECKPOINT_AGAIN_MS);
}

/* Which partition should write a checkpoint next; NULL: none has to. */
static struct part *checkpoint_due(struct node *node)
{
    part_t pin;
    if (wal_live_bytes(node->wal) > node->config.wal_file_bytes && wal_oldest_pin(node->wal, &pin))
        return checkpoint_may(node, node->parts[pin]) ? node->parts[pin] : NULL;
    struct part *largest = NULL;
    size_t largest_bytes = 0, dirty_bytes = 0;
    size_t log_bytes_max = node->config.memory_bytes / 4 / node->identity.parts_count;
    uint64_t now_ms = env_now_ms(node->env);
    for (unsigned i = 0; i < node->identity.parts_count; i++) {
        struct part *part = node->parts[i];
        struct part_stats stats;
        part_stats(part, &stats);
        size_t bytes = store_dirty_bytes(part_store(part));
        dirty_bytes += bytes;
        if (!checkpoint_may(node, part)) continue;
        bool old = bytes > 0 && now_ms - stats.checkpoint_ms > NODE_CHECKPOINT_AGE_MS;
        /* One that failed keeps the node from taking writes, so nothing else makes it due. */
        bool failed = stats.checkpoint_err != 0;
        if (stats.log_bytes > log_bytes_max || old || failed) return part;
        if (bytes > largest_bytes) {
            largest = part;
            largest_bytes = bytes;
        }
    }
    return dirty_bytes > node->budget.limit_bytes / 2 ? largest : NULL;
}

/* Neither the log nor a checkpoint finds room. */
static bool disk_full(const struct node *node)
{
    bool full = node->wal_low;
    for (unsigned i = 0; i < node->identity.parts_count; i++) {
        struct part_stats stats;
        part_stats(node->parts[i], &stats);
        if (stats.checkpoint_err == ERR_NO_SPACE) full = true;
    }
    return full;
}

static void low_tick(struct node *node)
{
    bool low = disk_full(node);
    if (low == node->low) return;
    node->low = low;
    diag_warn(node->diag, "node", low ? "disk nearly full" : "disk has room again");
    if (node->links != NULL) links_set_flags(node->links, low ? LINK_STATE_LOW : 0);
}

/* With the disk full, what is left of it is for terms and votes; with the log too long, checkpoints
 * catch up first. */
static void press_tick(struct node *node)
{
    uint64_t live_max = NODE_WAL_FILES_MAX * node->config.wal_file_bytes;
    bool pressed = node->low || wal_live_bytes(node->wal) > live_max;
    if (pressed == node->pressed) return;
    node->pressed = pressed;
    if (!node->low)
        diag_warn(node->diag, "node", pressed ? "log too long, writes wait" : "log short again");
    for (unsigned i = 0; i < node->identity.parts_count; i++)
        part_press(node->parts[i], pressed);
}

static void checkpoints_tick(struct node *node)
{
    unsigned running = 0;
    for (unsigned i = 0; i < node->identity.parts_count; i++)
        if (part_checkpointing(node->parts[i])) running++;
    if (running >= NODE_CHECKPOINTS_MAX) return;
    struct part *part = checkpoint_due(node);
    if (part != NULL) part_checkpoint(part);
}

/* A disk that hangs would hold every write of the partitions that this node leads. */
static void stall_tick(struct node *node)
{
    struct wal_stats stats;
    wal_stats(node->wal, &stats);
    bool stalled = stats.stall_us > (uint64_t)NODE_STALL_MS * 1000;
    if (stalled == node->stalled) return;
    node->stalled = stalled;
    diag_warn(node->diag, "node", stalled ? "disk does not answer" : "disk answers again");
    for (unsigned i = 0; stalled && i < node->identity.parts_count; i++)
        (void)part_hand_over(node->parts[i]);
}

void node_tick(struct env_timer *timer)
{
    struct node *node = CONTAINER_OF(timer, struct node, tick);
    env_timer_start(node->env, timer, NODE_HEARTBEAT_MS);
    node_form_tick(node);
    if (node->state >= NODE_RUNNING && node->parts != NULL) {
        /* All partitions in one turn: their messages share frames. */
        for (unsigned i = 0; i < node->identity.parts_count; i++)
            part_tick(node->parts[i]);
        confirm_tick(node->confirm);
        if (node->state < NODE_CLOSING) {
            install_tick(node->install);
            links_tick(node->links);
        }
        checkpoints_tick(node);
        low_tick(node);
        press_tick(node);
        stall_tick(node);
        balance_tick(node);
    }
    node_stop_tick(node); /* Last: it may free the node. */
}
