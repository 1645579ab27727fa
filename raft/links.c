/* raft/links.c -- see links.h.
 *
 * Happy path: links_tick connects -> HELLO -> WELCOME -> up; items gather in one open frame at the
 * end of the connection's buffer, which the turn's last phase closes.
 * Failure modes: a peer that is not there (back-off), one that is of another cluster (REFUSED, said
 * in both logs), one that vanished without a word (sends unanswered for LINK_SILENT_MS), one that
 * reconnects while its old connection still holds bytes (the old one is closed, its bytes dropped).
 * Invariants: at most one receiving connection per (peer, class), that of the highest (boot, count)
 * seen; no frame is open at the end of a turn. */
#include "raft/links.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    FRAME_SPLIT_BYTES = 1024 * 1024, /* An open frame beyond this is closed before the next item. */
    REFUSAL_LOG_MS = 5000,           /* A peer that goes on trying must not fill the log. */
};

#define NO_FRAME SIZE_MAX

struct link_out;

/* One connection, until its closed(). */
struct link_conn {
    struct links *links; /* NULL when links is gone. */
    struct env_conn *conn;
    struct link_out *out; /* The one that we connected; NULL for accepted ones. */
    struct frame_parser parser;
    uint64_t since_ms; /* Of connect or accept. */
    uint64_t from;     /* Accepted: raft id, 0 before HELLO. */
    enum link_class class;
    uint64_t alive_ms; /* Accepted: when ALIVE was said last. */
    bool owes_alive;
    bool closing;
    struct link_conn *next;
};

/* What we send on. */
struct link_out {
    struct link_conn *conn; /* NULL between attempts. */
    bool up;
    uint64_t peer_id;       /* While up. */
    uint64_t retry_ms;      /* Not before. */
    uint32_t backoff_ms;    /* After the next failure. */
    uint64_t unanswered_ms; /* When something was sent that no ALIVE followed yet; 0: none. */
    size_t frame_at;        /* Of the open frame in the connection's buffer; NO_FRAME. */
};

/* What we receive on. */
struct link_in {
    struct link_conn *conn;
    uint64_t boot, start; /* The newest ever seen. */
    uint32_t count;
};

struct link_peer {
    struct links_peer who;
    struct link_out out[LINK_CLASSES];
    struct link_in in[LINK_CLASSES];
    uint64_t heard_from; /* Raft id. */
    uint64_t heard_ms;   /* 0: never. */
    struct link_state heard;
    uint64_t refusal_ms; /* When a refusal was logged last. */
};

struct links {
    struct env *env;
    struct diag *diag;
    struct links_handlers handlers;
    uint64_t cluster, self, boot, start;
    uint32_t count; /* Connections made so far. */
    uint8_t flags;
    struct env_listener *listener;
    struct link_peer peers[NODES_MAX];
    unsigned peers_count;
    struct link_conn *conns; /* All of them. */
    unsigned greetings;      /* Accepted ones before HELLO. */
    uint64_t stranger_ms;    /* When a stranger was logged last. */
    struct env_task flush;
    struct link_out *open; /* Between links_begin and links_end. */
    size_t item_at;
    bool closing;
    void (*closed)(void *arg);
    void *closed_arg;
    struct links_stats stats;
};

static uint8_t node_of(uint64_t raft_id)
{
    return (uint8_t)(raft_id & 0xff);
}

static struct link_peer *peer_find(const struct links *links, uint8_t node)
{
    for (unsigned i = 0; i < links->peers_count; i++)
        if (links->peers[i].who.node == node) return (struct link_peer *)&links->peers[i];
    return NULL;
}

static struct link_peer *peer_of_out(struct links *links, const struct link_out *out)
{
    for (unsigned i = 0; i < links->peers_count; i++)
        for (int class = 0; class < LINK_CLASSES; class ++)
            if (out == &links->peers[i].out[class]) return &links->peers[i];
    check_failed("out is of links", __FILE__, __LINE__, __func__);
}

static struct link_conn *conn_add(struct links *links)
{
    struct link_conn *c = mem_zero(sizeof *c);
    c->links = links;
    c->since_ms = env_now_ms(links->env);
    c->next = links->conns;
    links->conns = c;
    return c;
}

static void conn_free(struct link_conn *c)
{
    frame_parser_free(&c->parser);
    free(c);
}

/* Its bytes are dropped from here on; closed() follows. */
static void conn_close(struct link_conn *c)
{
    if (c->closing) return;
    c->closing = true;
    if (c->out != NULL && c->out->frame_at != NO_FRAME) {
        /* What was sent is whole frames; the one that is still open is lost. */
        env_conn_out(c->links->env, c->conn)->len = c->out->frame_at;
        c->out->frame_at = NO_FRAME;
    }
    env_conn_close(c->links->env, c->conn);
}

/* ---- sending side ---- */

static void out_went_down(struct link_out *out, int err)
{
    struct links *links = out->conn->links;
    struct link_peer *peer = peer_of_out(links, out);
    enum link_class class = (enum link_class)(out - peer->out);
    bool was_up = out->up;
    uint64_t peer_id = out->peer_id;
    out->conn = NULL;
    out->up = false;
    out->peer_id = 0;
    out->unanswered_ms = 0;
    out->frame_at = NO_FRAME;
    out->retry_ms = env_now_ms(links->env) + out->backoff_ms;
    out->backoff_ms *= 2;
    if (out->backoff_ms > LINK_BACKOFF_MS_MAX) out->backoff_ms = LINK_BACKOFF_MS_MAX;
    if (!was_up || links->closing) return;
    if (class == LINK_MESSAGES)
        diag_warn(links->diag, "links", "connection lost peer=%u reason=\"%s\"",
                  (unsigned)peer->who.node, err_text(err));
    links->handlers.up(links->handlers.arg, peer_id, class, false);
}

static int out_welcomed(struct link_conn *c, struct slice body)
{
    struct link_welcome welcome;
    int err = link_welcome_decode(body, &welcome);
    if (err != 0) return err;
    struct link_out *out = c->out;
    struct links *links = c->links;
    struct link_peer *peer = peer_of_out(links, out);
    if (out->up || node_of(welcome.from) != peer->who.node) return ERR_CORRUPT;
    out->up = true;
    out->peer_id = welcome.from;
    out->backoff_ms = LINK_BACKOFF_MS_MIN;
    enum link_class class = (enum link_class)(out - peer->out);
    if (class == LINK_MESSAGES)
        diag_info(links->diag, "links", "connected peer=%u", (unsigned)peer->who.node);
    links->handlers.up(links->handlers.arg, out->peer_id, class, true);
    return 0;
}

static int out_refused(struct link_conn *c, struct slice body)
{
    struct slice reason;
    int err = link_refused_decode(body, &reason);
    if (err != 0) return err;
    struct links *links = c->links;
    struct link_peer *peer = peer_of_out(links, c->out);
    uint64_t now_ms = env_now_ms(links->env);
    links->stats.refused_count++;
    c->out->backoff_ms = LINK_BACKOFF_MS_MAX;
    if (peer->refusal_ms == 0 || now_ms - peer->refusal_ms >= REFUSAL_LOG_MS) {
        peer->refusal_ms = now_ms;
        diag_error(links->diag, "links", "refused by peer=%u reason=\"%.*s\"",
                   (unsigned)peer->who.node, (int)reason.len, (const char *)reason.data);
    }
    return ERR_CLOSED;
}

static int out_frame(void *arg, uint8_t kind, struct slice body)
{
    struct link_conn *c = arg;
    c->out->unanswered_ms = 0;
    switch (kind) {
        case LINK_WELCOME:
            return out_welcomed(c, body);
        case LINK_REFUSED:
            return out_refused(c, body);
        case LINK_ALIVE:
            return c->out->up ? 0 : ERR_CORRUPT;
        default:
            return ERR_CORRUPT;
    }
}

static void out_opened(struct env_conn *conn, void *arg)
{
    (void)conn;
    (void)arg; /* HELLO was in the buffer from the start. */
}

static void out_received(struct env_conn *conn, void *arg, struct slice bytes)
{
    (void)conn;
    struct link_conn *c = arg;
    if (c->closing) return;
    c->links->stats.bytes_received += bytes.len;
    int err = frame_feed(&c->parser, bytes, LINK_HELLO_BODY_MAX, out_frame, c);
    if (err != 0) conn_close(c);
}

static void links_free(struct links *links)
{
    env_undefer(links->env, &links->flush);
    while (links->conns != NULL) {
        struct link_conn *c = links->conns;
        links->conns = c->next;
        conn_free(c);
    }
    free(links);
}

static void links_closed_check(struct links *links)
{
    if (!links->closing || links->conns != NULL) return;
    void (*closed)(void *) = links->closed;
    void *arg = links->closed_arg;
    links_free(links);
    closed(arg);
}

static void conn_closed(struct env_conn *conn, void *arg, int err)
{
    (void)conn;
    struct link_conn *c = arg;
    struct links *links = c->links;
    struct link_conn **at = &links->conns;
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    if (c->out != NULL) {
        out_went_down(c->out, err);
    } else if (c->from == 0) {
        CHECK(links->greetings > 0);
        links->greetings--;
    } else {
        struct link_peer *peer = peer_find(links, node_of(c->from));
        CHECK(peer != NULL);
        if (peer->in[c->class].conn == c) peer->in[c->class].conn = NULL;
    }
    conn_free(c);
    links_closed_check(links);
}

static const struct env_conn_ops out_ops = {
    .opened = out_opened, .received = out_received, .closed = conn_closed};

static void out_connect(struct links *links, struct link_peer *peer, enum link_class class)
{
    struct link_out *out = &peer->out[class];
    struct link_conn *c = conn_add(links);
    c->out = out;
    c->conn = env_connect(links->env, &peer->who.address, &out_ops, c);
    out->conn = c;
    struct link_hello hello = {.cluster = links->cluster,
                               .from = links->self,
                               .to = peer->who.node,
                               .class = class,
                               .boot = links->boot,
                               .start = links->start,
                               .count = ++links->count};
    struct buf *buf = env_conn_out(links->env, c->conn);
    size_t at = frame_begin(buf, LINK_HELLO);
    link_hello_encode(&hello, buf);
    frame_end(buf, at);
}

/* ---- receiving side ---- */

static void in_refuse(struct link_conn *c, const char *reason)
{
    struct links *links = c->links;
    uint64_t now_ms = env_now_ms(links->env);
    links->stats.refused_count++;
    if (links->stranger_ms == 0 || now_ms - links->stranger_ms >= REFUSAL_LOG_MS) {
        links->stranger_ms = now_ms;
        diag_warn(links->diag, "links", "refused from=%s reason=\"%s\"",
                  env_conn_peer(links->env, c->conn), reason);
    }
    frame_put(env_conn_out(links->env, c->conn), LINK_REFUSED, slice_str(reason));
}

/* Why this HELLO is not welcome; NULL when it is. text: memory for words. */
static const char *in_objection(struct links *links, const struct link_hello *hello, char *text,
                                size_t text_bytes)
{
    if (hello->cluster != links->cluster) {
        snprintf(text, text_bytes, "belongs to cluster %016llx, this node to %016llx",
                 (unsigned long long)hello->cluster, (unsigned long long)links->cluster);
        return text;
    }
    if (hello->to != node_of(links->self)) {
        snprintf(text, text_bytes, "wants node %u, this is node %u", (unsigned)hello->to,
                 (unsigned)node_of(links->self));
        return text;
    }
    const struct link_peer *peer = peer_find(links, node_of(hello->from));
    if (peer == NULL) return "is not in this cluster's map";
    const struct link_in *in = &peer->in[hello->class];
    bool older = hello->boot < in->boot || (hello->boot == in->boot && hello->start == in->start &&
                                            hello->count <= in->count);
    return older ? "a newer connection was seen already" : NULL;
}

static int in_hello(struct link_conn *c, struct slice body)
{
    struct links *links = c->links;
    struct link_hello hello;
    int err = link_hello_decode(body, &hello);
    char text[LINK_REASON_BYTES_MAX];
    if (err == ERR_VERSION) in_refuse(c, "speaks another version of the links' protocol");
    if (err != 0) return err;
    const char *objection = in_objection(links, &hello, text, sizeof text);
    if (objection != NULL) {
        in_refuse(c, objection);
        return ERR_FOREIGN;
    }
    struct link_in *in = &peer_find(links, node_of(hello.from))->in[hello.class];
    if (in->conn != NULL) conn_close(in->conn);
    *in =
        (struct link_in){.conn = c, .boot = hello.boot, .start = hello.start, .count = hello.count};
    c->from = hello.from;
    c->class = hello.class;
    links->greetings--;
    struct link_welcome welcome = {.from = links->self};
    struct buf *buf = env_conn_out(links->env, c->conn);
    size_t at = frame_begin(buf, LINK_WELCOME);
    link_welcome_encode(&welcome, buf);
    frame_end(buf, at);
    return 0;
}

static void alive_say(struct link_conn *c)
{
    c->owes_alive = false;
    c->alive_ms = env_now_ms(c->links->env);
    frame_put(env_conn_out(c->links->env, c->conn), LINK_ALIVE, (struct slice){NULL, 0});
}

static int in_items(struct link_conn *c, struct slice body)
{
    struct links *links = c->links;
    struct link_peer *peer = peer_find(links, node_of(c->from));
    struct reader r;
    struct link_state state;
    int err = link_items_open(body, &state, &r);
    if (err != 0) return err;
    peer->heard_from = c->from;
    peer->heard_ms = env_now_ms(links->env);
    peer->heard = state;
    c->owes_alive = true;
    uint8_t kind;
    struct slice bytes;
    while (!c->closing && !links->closing && link_item_next(&r, &kind, &bytes))
        links->handlers.received(links->handlers.arg, c->from, c->class, kind, bytes);
    return r.failed ? ERR_CORRUPT : 0;
}

static int in_frame(void *arg, uint8_t kind, struct slice body)
{
    struct link_conn *c = arg;
    if (c->closing) return ERR_CLOSED;
    if (c->from == 0) return kind == LINK_HELLO ? in_hello(c, body) : ERR_CORRUPT;
    return kind == LINK_ITEMS ? in_items(c, body) : ERR_CORRUPT;
}

static void in_received(struct env_conn *conn, void *arg, struct slice bytes)
{
    (void)conn;
    struct link_conn *c = arg;
    struct links *links = c->links;
    if (c->closing) return;
    links->stats.bytes_received += bytes.len;
    /* Whoever did not say HELLO yet gets no memory. */
    size_t body_max = c->from == 0 ? (size_t)LINK_HELLO_BODY_MAX : (size_t)FRAME_BYTES_MAX;
    int err = frame_feed(&c->parser, bytes, body_max, in_frame, c);
    if (err == 0 || c->closing) return;
    if (c->from != 0)
        diag_warn(links->diag, "links", "connection closed from=%u reason=\"%s\"",
                  (unsigned)node_of(c->from), err_text(err));
    else if (err != ERR_FOREIGN && err != ERR_VERSION)
        in_refuse(c, "says something that is no greeting");
    conn_close(c);
}

static const struct env_conn_ops in_ops = {.received = in_received, .closed = conn_closed};

static void in_accepted(void *arg, struct env_conn *conn)
{
    struct links *links = arg;
    if (links->greetings >= LINK_GREETINGS_MAX) {
        env_conn_close(links->env, conn);
        return;
    }
    struct link_conn *c = conn_add(links);
    c->conn = conn;
    links->greetings++;
    env_conn_accept(links->env, conn, &in_ops, c);
}

/* ---- items ---- */

static struct link_out *out_find(const struct links *links, uint64_t to, enum link_class class)
{
    struct link_peer *peer = peer_find(links, node_of(to));
    if (peer == NULL) return NULL;
    struct link_out *out = &peer->out[class];
    bool usable = out->up && out->peer_id == to && !out->conn->closing && !links->closing;
    return usable ? out : NULL;
}

static size_t out_room(const struct links *links, const struct link_out *out)
{
    /* Heads of a frame and of an item, with something to spare. */
    const size_t overhead = 64;
    size_t backlog = env_conn_backlog(links->env, out->conn->conn) + overhead;
    if (backlog >= LINK_BACKLOG_BYTES_MAX) return 0;
    size_t room = LINK_BACKLOG_BYTES_MAX - backlog;
    return room < LINK_ITEM_BYTES_MAX ? room : LINK_ITEM_BYTES_MAX;
}

size_t links_room(struct links *links, uint64_t to, enum link_class class)
{
    const struct link_out *out = out_find(links, to, class);
    return out == NULL ? 0 : out_room(links, out);
}

static void out_frame_end(struct links *links, struct link_out *out, struct buf *buf)
{
    CHECK(out->frame_at < buf->len);
    links->stats.frames_sent++;
    links->stats.bytes_sent += buf->len - out->frame_at;
    frame_end(buf, out->frame_at);
    out->frame_at = NO_FRAME;
}

struct buf *links_begin(struct links *links, uint64_t to, enum link_class class, uint8_t kind)
{
    CHECK(links->open == NULL);
    struct link_out *out = out_find(links, to, class);
    if (out == NULL || out_room(links, out) == 0) return NULL;
    struct buf *buf = env_conn_out(links->env, out->conn->conn);
    if (out->frame_at != NO_FRAME && buf->len - out->frame_at > FRAME_SPLIT_BYTES)
        out_frame_end(links, out, buf);
    if (out->frame_at == NO_FRAME) {
        out->frame_at = frame_begin(buf, LINK_ITEMS);
        struct link_state state = {.wall_ms = env_wall_ms(links->env), .flags = links->flags};
        link_items_begin(&state, buf);
        env_defer(links->env, &links->flush);
    }
    buf_u8(buf, kind);
    buf_u32(buf, 0);
    links->open = out;
    links->item_at = buf->len;
    return buf;
}

void links_end(struct links *links)
{
    struct link_out *out = links->open;
    CHECK(out != NULL);
    struct buf *buf = env_conn_out(links->env, out->conn->conn);
    CHECK(buf->len >= links->item_at);
    size_t bytes = buf->len - links->item_at;
    CHECK(bytes <= LINK_ITEM_BYTES_MAX);
    put_u32(buf->data + links->item_at - 4, (uint32_t)bytes);
    if (out->unanswered_ms == 0) out->unanswered_ms = env_now_ms(links->env);
    links->open = NULL;
}

bool links_send(struct links *links, uint64_t to, enum link_class class, uint8_t kind,
                struct slice bytes)
{
    if (links_room(links, to, class) < bytes.len) return false;
    struct buf *buf = links_begin(links, to, class, kind);
    if (buf == NULL) return false;
    buf_put(buf, bytes.data, bytes.len);
    links_end(links);
    return true;
}

static void links_flush(struct env_task *task)
{
    struct links *links = CONTAINER_OF(task, struct links, flush);
    for (unsigned i = 0; i < links->peers_count; i++)
        for (int class = 0; class < LINK_CLASSES; class ++) {
            struct link_out *out = &links->peers[i].out[class];
            if (out->frame_at == NO_FRAME) continue;
            out_frame_end(links, out, env_conn_out(links->env, out->conn->conn));
        }
    if (links->closing) links_closed_check(links);
}

/* ---- life ---- */

int links_create(struct env *env, const struct links_config *config, struct links **out)
{
    CHECK(config->peers_count <= NODES_MAX);
    CHECK(config->self != 0);
    struct links *links = mem_zero(sizeof *links);
    *links = (struct links){.env = env,
                            .diag = config->diag,
                            .handlers = config->handlers,
                            .cluster = config->cluster,
                            .self = config->self,
                            .boot = config->boot,
                            .start = env_random(env),
                            .peers_count = config->peers_count};
    env_task_init(&links->flush, ENV_PHASE_LOG, links_flush);
    for (unsigned i = 0; i < config->peers_count; i++) {
        links->peers[i].who = config->peers[i];
        for (int class = 0; class < LINK_CLASSES; class ++) {
            links->peers[i].out[class].backoff_ms = LINK_BACKOFF_MS_MIN;
            links->peers[i].out[class].frame_at = NO_FRAME;
        }
    }
    int err = env_listen(env, &config->listen, in_accepted, links, &links->listener);
    if (err != 0) {
        free(links);
        return err;
    }
    *out = links;
    links_tick(links);
    return 0;
}

uint16_t links_port(const struct links *links)
{
    return env_listener_port(links->env, links->listener);
}

static void conn_tick(struct link_conn *c, uint64_t now_ms)
{
    bool greeting = c->out != NULL ? !c->out->up : c->from == 0;
    if (greeting && now_ms - c->since_ms > LINK_OPEN_MS) conn_close(c);
    if (c->owes_alive && !c->closing && now_ms - c->alive_ms >= LINK_ALIVE_MS) alive_say(c);
    if (c->out == NULL || c->out->unanswered_ms == 0) return;
    if (now_ms - c->out->unanswered_ms > LINK_SILENT_MS) conn_close(c);
}

void links_tick(struct links *links)
{
    uint64_t now_ms = env_now_ms(links->env);
    for (struct link_conn *c = links->conns; c != NULL; c = c->next)
        conn_tick(c, now_ms);
    for (unsigned i = 0; i < links->peers_count; i++)
        for (int class = 0; class < LINK_CLASSES; class ++) {
            const struct link_out *out = &links->peers[i].out[class];
            if (out->conn == NULL && now_ms >= out->retry_ms)
                out_connect(links, &links->peers[i], (enum link_class) class);
        }
}

void links_close(struct links *links, void (*closed)(void *arg), void *arg)
{
    CHECK(!links->closing);
    links->closing = true;
    links->closed = closed;
    links->closed_arg = arg;
    env_listener_close(links->env, links->listener);
    for (struct link_conn *c = links->conns; c != NULL; c = c->next)
        conn_close(c);
    /* With no connection left, the task calls closed. */
    env_defer(links->env, &links->flush);
}

void links_abandon(struct links *links)
{
    if (!links->closing) env_listener_close(links->env, links->listener);
    links_free(links);
}

uint64_t links_peer_id(const struct links *links, uint8_t node)
{
    const struct link_peer *peer = peer_find(links, node);
    return peer != NULL && peer->out[LINK_MESSAGES].up ? peer->out[LINK_MESSAGES].peer_id : 0;
}

bool links_heard(const struct links *links, uint64_t from, int64_t *wall_ms, uint8_t *flags)
{
    const struct link_peer *peer = peer_find(links, node_of(from));
    if (peer == NULL || peer->heard_ms == 0 || peer->heard_from != from) return false;
    uint64_t ago_ms = env_now_ms(links->env) - peer->heard_ms;
    if (ago_ms > LINK_CLOCK_MS_MAX) return false;
    *wall_ms = peer->heard.wall_ms + (int64_t)ago_ms;
    *flags = peer->heard.flags;
    return true;
}

void links_set_flags(struct links *links, uint8_t flags)
{
    links->flags = flags;
}

void links_stats(const struct links *links, struct links_stats *out)
{
    *out = links->stats;
    for (unsigned i = 0; i < links->peers_count; i++)
        for (int class = 0; class < LINK_CLASSES; class ++)
            if (links->peers[i].out[class].up) out->up_count++;
}
