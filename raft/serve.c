/* raft/serve.c -- see serve.h.
 *
 * Happy path: accept -> HELLO, WELCOME, MAP, LEADERS -> requests. Each becomes a request struct
 * that a partition holds until it is done; its answer is appended to the connection's buffer, which
 * env sends at the end of the turn. Answers that need nothing are written at once.
 *
 * Failure: a connection that closes leaves its open requests behind (conn NULL); their answers are
 * dropped, what they did stays done. A connection that breaks a rule is closed by conn_refuse.
 *
 * Invariants: a request is open exactly while a partition holds it. Only transactions that decode
 * reach a partition: what is in a raft entry is read by every replica. */
#include <stdlib.h>

#include "raft/serve_impl.h"

enum { SWEEP_MS = 1000 }; /* How often silent connections are looked for. */

struct wire_leader serve_leader_of(const struct serve *serve, const struct part *part)
{
    uint8_t node = part_leader_node(part);
    if (node == serve->node && !part_leads(part)) node = 0;
    return (struct wire_leader){part_number(part), node, part_term(part)};
}

/* The connection must not be touched by the caller's frame loop afterwards: it returns err. */
static int conn_close(struct serve_conn *c, int err)
{
    if (c->state == CONN_CLOSED) return err;
    if (c->state == CONN_OPEN) tails_conn_end(&c->tails);
    c->state = CONN_CLOSED;
    env_conn_close(c->serve->env, c->conn);
    return err;
}

int serve_refuse(struct serve_conn *c, int err, const char *text)
{
    if (c->state == CONN_CLOSED) return err;
    struct serve *serve = c->serve;
    diag_info(serve->config.diag, "serve", "client refused peer=%s why=\"%s\" error=%s",
              env_conn_peer(serve->env, c->conn), text, err_name(err));
    struct buf *out = env_conn_out(serve->env, c->conn);
    size_t at = frame_begin(out, WIRE_ERROR);
    wire_error_encode(&(struct wire_error){err, slice_str(text)}, out);
    frame_end(out, at);
    serve->stats.closed_count++;
    return conn_close(c, err);
}

void serve_bound(struct serve_conn *c)
{
    if (env_conn_backlog(c->serve->env, c->conn) > SERVE_BACKLOG_BYTES_MAX)
        (void)serve_refuse(c, ERR_BUSY, "answers were not read");
}

/* ---- greeting, map and leaders ---- */

static void say_map(struct serve_conn *c)
{
    struct buf *out = env_conn_out(c->serve->env, c->conn);
    size_t at = frame_begin(out, WIRE_MAP);
    wire_map_encode(&c->serve->map, out);
    frame_end(out, at);
    serve_bound(c);
}

/* Of the partitions chosen, or of all when chosen is NULL. */
static void say_leaders(struct serve_conn *c, const bool *chosen)
{
    const struct serve *serve = c->serve;
    struct wire_leader leaders[PARTITIONS_MAX];
    unsigned count = 0;
    for (unsigned i = 0; i < serve->map.parts_count; i++)
        if (serve->parts[i] != NULL && (chosen == NULL || chosen[i]))
            leaders[count++] = serve_leader_of(serve, serve->parts[i]);
    struct buf *out = env_conn_out(serve->env, c->conn);
    size_t at = frame_begin(out, WIRE_LEADERS);
    wire_leaders_encode(leaders, count, out);
    frame_end(out, at);
    serve_bound(c);
}

static void say_welcome(struct serve_conn *c)
{
    const struct serve *serve = c->serve;
    struct wire_welcome m = {WIRE_VERSION_MAX, serve->node, serve->map.cluster};
    struct buf *out = env_conn_out(serve->env, c->conn);
    size_t at = frame_begin(out, WIRE_WELCOME);
    wire_welcome_encode(&m, out);
    frame_end(out, at);
    if (serve->node == 0) return;
    say_map(c);
    if (c->state == CONN_OPEN) say_leaders(c, NULL);
}

static int take_hello(struct serve_conn *c, struct slice body)
{
    const struct serve *serve = c->serve;
    struct wire_hello m;
    if (wire_hello_decode(body, &m) != 0) return serve_refuse(c, ERR_CORRUPT, "not a hello");
    if (m.version_max < WIRE_VERSION_MIN || m.version_min > WIRE_VERSION_MAX)
        return serve_refuse(c, ERR_VERSION, "no version in common");
    if (m.cluster != 0 && serve->node == 0)
        return serve_refuse(c, ERR_NOT_FORMED, "this node belongs to no cluster yet");
    if (m.cluster != 0 && m.cluster != serve->map.cluster)
        return serve_refuse(c, ERR_FOREIGN, "this node belongs to another cluster");
    c->client = m.client;
    c->state = CONN_OPEN;
    tails_conn_begin(&c->tails, serve->tails, c->conn, m.client);
    say_welcome(c);
    return 0;
}

static void tell_run(struct env_task *task)
{
    struct serve *serve = CONTAINER_OF(task, struct serve, tell);
    for (struct serve_conn *c = serve->conns; c != NULL; c = c->next)
        if (c->state == CONN_OPEN) say_leaders(c, serve->changed);
    memset(serve->changed, 0, sizeof(serve->changed));
}

/* ---- connections ---- */

static int take_frame(void *arg, uint8_t kind, struct slice body)
{
    struct serve_conn *c = arg;
    if (c->state == CONN_HELLO) {
        if (kind != WIRE_HELLO) return serve_refuse(c, ERR_CORRUPT, "hello is said first");
        return take_hello(c, body);
    }
    CHECK(c->state == CONN_OPEN);
    if (kind == WIRE_STATUS || kind == WIRE_FORM) {
        int err = serve_take_ask(c, kind, body);
        return c->state == CONN_OPEN ? err : ERR_CLOSED;
    }
    if (c->serve->node == 0)
        return serve_refuse(c, ERR_NOT_FORMED, "this node belongs to no cluster yet");
    int err = 0;
    switch (kind) {
        case WIRE_PROBE:
            say_leaders(c, NULL);
            break;
        case WIRE_TXN:
            err = serve_take_txn(c, body);
            break;
        case WIRE_QUERY:
            err = serve_take_query(c, body);
            break;
        case WIRE_HEADS:
            err = serve_take_heads(c, body);
            break;
        case WIRE_CHANGED:
            err = serve_take_changed(c, body);
            break;
        case WIRE_TAIL_OPEN:
            err = serve_take_tail_open(c, body);
            break;
        case WIRE_TAIL_CLOSE:
            err = serve_take_tail_close(c, body);
            break;
        case WIRE_SIGNAL:
            err = serve_take_signal(c, body);
            break;
        case WIRE_CLAIMS:
            err = serve_take_claims(c, body);
            break;
        default:
            return serve_refuse(c, ERR_INVAL, "a message of unknown kind");
    }
    return c->state == CONN_OPEN ? err : ERR_CLOSED;
}

static void conn_received(struct env_conn *conn, void *arg, struct slice bytes)
{
    struct serve_conn *c = arg;
    (void)conn;
    c->heard_ms = env_now_ms(c->serve->env);
    int err = frame_feed(&c->parser, bytes, FRAME_BYTES_MAX, take_frame, c);
    if (err != 0) (void)serve_refuse(c, err, "not a frame");
}

static void conn_closed(struct env_conn *conn, void *arg, int err)
{
    struct serve_conn *c = arg;
    struct serve *serve = c->serve;
    (void)conn;
    (void)err;
    if (c->state == CONN_OPEN) tails_conn_end(&c->tails);
    serve_requests_orphan(c);
    if (c->next != NULL) c->next->prev = c->prev;
    if (c->prev != NULL)
        c->prev->next = c->next;
    else
        serve->conns = c->next;
    serve->stats.connections_count--;
    frame_parser_free(&c->parser);
    free(c);
}

static void conn_drained(struct env_conn *conn, void *arg)
{
    struct serve_conn *c = arg;
    (void)conn;
    if (c->state == CONN_OPEN) tails_conn_drained(&c->tails);
}

static const struct env_conn_ops conn_ops = {
    .received = conn_received,
    .drained = conn_drained,
    .closed = conn_closed,
};

static void conn_accepted(void *arg, struct env_conn *conn)
{
    struct serve *serve = arg;
    if (serve->stats.connections_count >= SERVE_CONNECTIONS_MAX) {
        diag_warn(serve->config.diag, "serve", "too many clients refused=%s",
                  env_conn_peer(serve->env, conn));
        serve->stats.closed_count++;
        env_conn_close(serve->env, conn);
        return;
    }
    struct serve_conn *c = mem_zero(sizeof(*c));
    *c = (struct serve_conn){.serve = serve, .conn = conn, .next = serve->conns};
    c->heard_ms = env_now_ms(serve->env);
    if (c->next != NULL) c->next->prev = c;
    serve->conns = c;
    serve->stats.connections_count++;
    env_conn_accept(serve->env, conn, &conn_ops, c);
}

/* Who said no hello, or nothing for long, is let go. */
static void sweep_fired(struct env_timer *timer)
{
    struct serve *serve = CONTAINER_OF(timer, struct serve, sweep);
    uint64_t now_ms = env_now_ms(serve->env);
    for (struct serve_conn *c = serve->conns; c != NULL; c = c->next) {
        uint64_t silent_ms = now_ms - c->heard_ms;
        if (c->state == CONN_HELLO && silent_ms > SERVE_HELLO_MS)
            (void)serve_refuse(c, ERR_TIMEOUT, "no hello came");
        if (c->state == CONN_OPEN && silent_ms > SERVE_SILENT_MS)
            (void)serve_refuse(c, ERR_TIMEOUT, "nothing was heard");
    }
    env_timer_start(serve->env, timer, SWEEP_MS);
}

/* ---- life ---- */

int serve_create(struct env *env, const struct serve_config *config, struct serve **out)
{
    struct serve *serve = mem_zero(sizeof(*serve));
    serve->env = env;
    serve->config = *config;
    int err = env_listen(env, &config->address, conn_accepted, serve, &serve->listener);
    if (err != 0) {
        free(serve);
        return err;
    }
    env_timer_init(&serve->sweep, sweep_fired);
    env_task_init(&serve->tell, ENV_PHASE_WORK, tell_run);
    serve->tails = tails_create(env);
    env_timer_start(env, &serve->sweep, SWEEP_MS);
    *out = serve;
    return 0;
}

uint16_t serve_port(const struct serve *serve)
{
    return env_listener_port(serve->env, serve->listener);
}

static void part_leading(void *arg, struct part *part, bool leading)
{
    struct serve *serve = arg;
    tails_leading(serve->tails, part_number(part), leading);
    if (serve->closed) return;
    serve->changed[part_number(part)] = true;
    env_defer(serve->env, &serve->tell);
}

static void part_applied_txn(void *arg, const struct applied_txn *applied)
{
    struct serve *serve = arg;
    tails_applied(serve->tails, applied);
}

void serve_join(struct serve *serve, const struct wire_map *map, uint8_t node,
                struct part *const *parts)
{
    CHECK(serve->node == 0);
    CHECK(node != 0);
    serve->map = *map;
    serve->node = node;
    tails_join(serve->tails, serve->parts, map->parts_count);
    for (unsigned i = 0; i < map->parts_count; i++) {
        serve->parts[i] = parts[i];
        if (parts[i] == NULL) continue;
        struct part_observer observer = {part_applied_txn, part_leading, serve};
        part_observe(parts[i], &observer);
        tails_leading(serve->tails, (part_t)i, part_leads(parts[i]));
    }
    /* Who asked before greets again, as of a node with a number. */
    for (struct serve_conn *c = serve->conns; c != NULL; c = c->next)
        if (c->state == CONN_OPEN) say_welcome(c);
}

void serve_map_changed(struct serve *serve, const struct wire_map *map)
{
    CHECK(map->cluster == serve->map.cluster);
    CHECK(map->parts_count == serve->map.parts_count);
    serve->map = *map;
    for (struct serve_conn *c = serve->conns; c != NULL; c = c->next)
        if (c->state == CONN_OPEN) say_map(c);
}

void serve_close(struct serve *serve)
{
    CHECK(!serve->closed);
    serve->closed = true;
    env_listener_close(serve->env, serve->listener);
    env_timer_stop(serve->env, &serve->sweep);
    tails_stop(serve->tails);
    for (struct serve_conn *c = serve->conns; c != NULL; c = c->next)
        (void)conn_close(c, ERR_CLOSED);
}

void serve_destroy(struct serve *serve)
{
    CHECK(serve->closed);
    CHECK(serve->conns == NULL);
    CHECK(serve->stats.requests_open == 0);
    CHECK(!serve->tell.queued);
    tails_destroy(serve->tails);
    serve_requests_free(serve, false);
    free(serve);
}

void serve_abandon(struct serve *serve)
{
    while (serve->conns != NULL) {
        struct serve_conn *c = serve->conns;
        serve->conns = c->next;
        if (c->state == CONN_OPEN) tails_conn_end(&c->tails);
        serve_requests_orphan(c);
        frame_parser_free(&c->parser);
        free(c);
    }
    tails_destroy(serve->tails);
    serve_requests_free(serve, true);
    free(serve);
}

void serve_stats(const struct serve *serve, struct serve_stats *out)
{
    *out = serve->stats;
    out->tails_count = tails_count(serve->tails);
    out->sessions_count = tails_sessions_count(serve->tails);
}
