/* raft/client_tail.c -- tails, signals and sessions, as seen by who listens and who claims.
 *
 * Happy path: a tail is opened at its stream's leader, from its position; events move the position;
 * when that leader leads no more, or its connection ends, the tail is opened at the next one.
 * Records move the seq one by one; only HEAD moves the version, since items come in no order.
 *
 * Failure: what a node ends for a reason that passes is opened again after a pause. ERR_RESET is
 * the owner's to handle. Events of an earlier opening are told apart by the tail's id and dropped.
 *
 * Claims are said to the leader of their stream at once, and all again every CLAIM_MS, as well as
 * to a new leader. A signal without a leader to take it is lost. */
#include <stdlib.h>

#include "log/pack.h"
#include "raft/client_impl.h"

enum {
    CLAIM_MS = 5000,
    TAILS_MAX = 1 << 24, /* What an id has room for. */
};

struct client_tail {
    struct client *client;
    uint32_t slot;
    uint64_t id; /* Of the last opening. */
    struct buf stream;
    enum tail_what what;
    bool sessions;
    const struct tail_handlers *handlers;
    void *arg;
    struct tail_position position;
    struct client_node *node; /* Where it is open; NULL: nowhere. */
    bool ended;               /* The owner was told so. */
    bool busy, closed;        /* A handler runs; and closed it: freed behind it. */
};

struct claim {
    struct table_link link;
    struct claim *next, **at; /* All claims. */
    struct buf stream, key, payload;
};

struct client_tails {
    struct client *client;
    struct client_tail **tails; /* By slot; NULL: free. */
    uint32_t *free_slots;
    uint32_t slots_count, slots_capacity, free_count;
    uint64_t opens;
    struct env_timer again; /* Open those that are open nowhere. */
    unsigned attempts;      /* Of it, since an event came. */
    struct table claims_table;
    struct claim *claims;
    struct env_timer repeat; /* Claim all again. */
};

/* ---- opening and closing ---- */

static void say_open(struct client_tail *tail, struct client_node *node)
{
    struct client *client = tail->client;
    uint8_t flags = tail->what == TAIL_HEADS ? WIRE_TAIL_HEADS : 0;
    if (tail->sessions) flags |= WIRE_TAIL_SESSIONS;
    tail->id = ++client->tails->opens << 24 | tail->slot;
    tail->node = node;
    struct wire_tail_open m = {.tail = tail->id,
                               .stream = buf_bytes(&tail->stream),
                               .flags = flags,
                               .seq = tail->position.seq,
                               .version = tail->position.version};
    struct buf *out = env_conn_out(client->env, node->conn);
    size_t at = frame_begin(out, WIRE_TAIL_OPEN);
    wire_tail_open_encode(&m, out);
    frame_end(out, at);
}

static void say_close(const struct client_tail *tail)
{
    if (tail->node == NULL || tail->node->state != NODE_UP) return;
    struct buf *out = env_conn_out(tail->client->env, tail->node->conn);
    size_t at = frame_begin(out, WIRE_TAIL_CLOSE);
    wire_tail_close_encode(tail->id, out);
    frame_end(out, at);
}

/* Open it where its stream's leader is, if that is known; if not, its finding opens it. */
static void tail_open(struct client_tail *tail)
{
    struct client *client = tail->client;
    if (client->closing || tail->ended || tail->node != NULL) return;
    const struct route *route = route_of(client, buf_bytes(&tail->stream));
    struct client_node *node = route == NULL ? NULL : route_node(route);
    if (node != NULL)
        say_open(tail, node);
    else
        client_seek(client);
}

static void open_all(struct client *client)
{
    struct client_tails *tails = client->tails;
    for (uint32_t i = 0; i < tails->slots_count; i++)
        if (tails->tails[i] != NULL) tail_open(tails->tails[i]);
}

static void again_fired(struct env_timer *timer)
{
    open_all(CONTAINER_OF(timer, struct client_tails, again)->client);
}

static void open_again(struct client *client)
{
    struct client_tails *tails = client->tails;
    if (client->closing || env_timer_started(&tails->again)) return;
    env_timer_start(client->env, &tails->again, client_backoff_ms(client, tails->attempts++));
}

static void slots_grow(struct client_tails *tails)
{
    uint32_t old = tails->slots_capacity;
    tails->slots_capacity = old == 0 ? 64 : 2 * old;
    tails->tails = mem_resize(tails->tails, tails->slots_capacity * sizeof(tails->tails[0]));
    tails->free_slots =
        mem_resize(tails->free_slots, tails->slots_capacity * sizeof(tails->free_slots[0]));
}

static uint32_t slot_take(struct client_tails *tails)
{
    if (tails->free_count > 0) return tails->free_slots[--tails->free_count];
    CHECK(tails->slots_count < TAILS_MAX);
    if (tails->slots_count == tails->slots_capacity) slots_grow(tails);
    return tails->slots_count++;
}

struct client_tail *client_tail_open(struct client *client, struct slice stream,
                                     enum tail_what what, struct tail_position from, bool sessions,
                                     const struct tail_handlers *handlers, void *arg)
{
    CHECK(stream.len > 0);
    CHECK(stream.len <= STREAM_NAME_BYTES_MAX);
    struct client_tail *tail = mem_alloc(sizeof(*tail));
    *tail = (struct client_tail){.client = client,
                                 .slot = slot_take(client->tails),
                                 .what = what,
                                 .sessions = sessions,
                                 .handlers = handlers,
                                 .arg = arg,
                                 .position = from};
    buf_put(&tail->stream, stream.data, stream.len);
    client->tails->tails[tail->slot] = tail;
    tail_open(tail);
    return tail;
}

static void tail_free(struct client_tail *tail)
{
    struct client_tails *tails = tail->client->tails;
    tails->tails[tail->slot] = NULL;
    tails->free_slots[tails->free_count++] = tail->slot;
    buf_free(&tail->stream);
    free(tail);
}

void client_tail_close(struct client_tail *tail)
{
    CHECK(!tail->closed);
    if (!tail->client->closing) say_close(tail);
    tail->closed = true;
    if (!tail->busy) tail_free(tail);
}

/* ---- events ---- */

static int tell_record(struct client_tail *tail, const struct record_view *record)
{
    if (record->seq <= tail->position.seq) return 0;
    if (record->seq != tail->position.seq + 1) return ERR_CORRUPT;
    tail->position.seq = record->seq;
    if (tail->handlers->record != NULL) tail->handlers->record(tail->arg, record);
    return 0;
}

static int tell_head(struct client_tail *tail, const struct stream_head *head)
{
    if (tail->what == TAIL_HEADS)
        tail->position.seq = head->last;
    else if (tail->position.seq != head->last)
        return ERR_CORRUPT; /* Records are missing: begin again from where we are. */
    tail->position.version = head->version;
    if (tail->handlers->head != NULL) tail->handlers->head(tail->arg, head);
    return 0;
}

static int tell(struct client_tail *tail, const struct wire_event *event)
{
    const struct tail_handlers *h = tail->handlers;
    switch (event->kind) {
        case WIRE_EVENT_STARTED:
            if (h->started != NULL) h->started(tail->arg, &event->head);
            return 0;
        case WIRE_EVENT_HEAD:
            return tell_head(tail, &event->head);
        case WIRE_EVENT_RECORD:
            return tell_record(tail, &event->record);
        case WIRE_EVENT_ITEM:
            if (h->item != NULL) h->item(tail->arg, &event->item);
            return 0;
        case WIRE_EVENT_SIGNAL:
            if (h->signal != NULL) h->signal(tail->arg, event->payload);
            return 0;
        case WIRE_EVENT_SESSION:
            if (h->session != NULL) h->session(tail->arg, event->key, event->payload, true);
            return 0;
        case WIRE_EVENT_SESSION_GONE:
            if (h->session != NULL)
                h->session(tail->arg, event->key, (struct slice){NULL, 0}, false);
            return 0;
        case WIRE_EVENT_SESSION_RESET:
            if (h->session_reset != NULL) h->session_reset(tail->arg);
            return 0;
        case WIRE_EVENT_KINDS_END:
            break;
    }
    return ERR_CORRUPT;
}

/* The tail that is open under this id on this node; NULL: it was closed, or moved, meanwhile. */
static struct client_tail *tail_of(const struct client_node *node, uint64_t id)
{
    const struct client_tails *tails = node->client->tails;
    uint64_t slot = id % TAILS_MAX;
    struct client_tail *tail = slot < tails->slots_count ? tails->tails[slot] : NULL;
    return tail != NULL && tail->id == id && tail->node == node ? tail : NULL;
}

/* Open nowhere from now on. */
static void tail_detach(struct client_tail *tail)
{
    tail->node = NULL;
    tail->id = 0;
}

int client_tails_take_events(struct client_node *node, struct slice body)
{
    struct client *client = node->client;
    uint64_t id;
    struct reader r;
    int err = wire_events_open(body, &id, &r);
    if (err != 0) return err;
    struct client_tail *tail = tail_of(node, id);
    if (tail == NULL) return 0;
    client->tails->attempts = 0;
    tail->busy = true;
    while (err == 0 && reader_left(&r) > 0 && !tail->closed && !client->closing) {
        struct wire_event event = {.kind = WIRE_EVENT_KINDS_END};
        err = wire_event_decode(&r, &event);
        if (err == 0) err = tell(tail, &event);
    }
    tail->busy = false;
    if (tail->closed) tail_free(tail);
    return err;
}

int client_tails_take_ended(struct client_node *node, struct slice body)
{
    struct wire_end m;
    int err = wire_tail_ended_decode(body, &m);
    if (err != 0) return err;
    struct client_tail *tail = tail_of(node, m.id);
    if (tail == NULL) return 0;
    tail_detach(tail);
    if (m.err != ERR_RESET) {
        struct route *route = route_of(node->client, buf_bytes(&tail->stream));
        open_again(node->client);
        if (m.leader != 0) route_learn(route, m.leader, m.term, node->number);
        return 0;
    }
    tail->ended = true;
    if (tail->handlers->ended != NULL) tail->handlers->ended(tail->arg, ERR_RESET);
    return 0;
}

/* ---- signals and claims ---- */

void client_signal(struct client *client, struct slice stream, struct slice payload)
{
    CHECK(stream.len > 0);
    CHECK(stream.len <= STREAM_NAME_BYTES_MAX);
    CHECK(payload.len <= CLIENT_SIGNAL_BYTES_MAX);
    const struct route *route = client->closing ? NULL : route_of(client, stream);
    struct client_node *node = route == NULL ? NULL : route_node(route);
    if (node == NULL) return;
    if (env_conn_backlog(client->env, node->conn) > CLIENT_INFLIGHT_BYTES_MAX) return;
    struct buf *out = env_conn_out(client->env, node->conn);
    size_t at = frame_begin(out, WIRE_SIGNAL);
    wire_signal_encode(&(struct wire_signal){stream, payload}, out);
    frame_end(out, at);
}

static struct claim *claim_find(const struct client_tails *tails, struct slice stream,
                                struct slice key)
{
    struct table_link *link = table_find(&tails->claims_table, hash64_pair(stream, key));
    while (link != NULL) {
        struct claim *claim = CONTAINER_OF(link, struct claim, link);
        if (slice_equal(buf_bytes(&claim->stream), stream) &&
            slice_equal(buf_bytes(&claim->key), key))
            return claim;
        link = table_find_next(link);
    }
    return NULL;
}

static struct client_node *claim_node(const struct claim *claim, struct client *client)
{
    const struct route *route = route_of(client, buf_bytes(&claim->stream));
    return route == NULL ? NULL : route_node(route);
}

static void claim_encode(const struct claim *claim, bool release, struct buf *out)
{
    struct wire_claim m = {
        .release = release, .stream = buf_bytes(&claim->stream), .key = buf_bytes(&claim->key)};
    if (!release) m.payload = buf_bytes(&claim->payload);
    wire_claim_encode(&m, out);
}

static void say_claim(const struct claim *claim, struct client *client, bool release)
{
    struct client_node *node = client->closing ? NULL : claim_node(claim, client);
    if (node == NULL) return;
    struct buf *out = env_conn_out(client->env, node->conn);
    size_t at = frame_begin(out, WIRE_CLAIMS);
    claim_encode(claim, release, out);
    frame_end(out, at);
}

/* All claims that belong to node, of one route or (NULL) of all, in as few frames as may be. */
static void say_claims(struct client *client, struct client_node *node, const struct route *route)
{
    struct buf *out = env_conn_out(client->env, node->conn);
    size_t none = SIZE_MAX;
    size_t at = none;
    for (struct claim *claim = client->tails->claims; claim != NULL; claim = claim->next) {
        if (claim_node(claim, client) != node) continue;
        if (route != NULL && route_of(client, buf_bytes(&claim->stream)) != route) continue;
        if (at == none) at = frame_begin(out, WIRE_CLAIMS);
        claim_encode(claim, false, out);
        if (out->len - at < WIRE_CLAIMS_BYTES_MAX) continue;
        frame_end(out, at);
        at = none;
    }
    if (at != none) frame_end(out, at);
}

static void repeat_fired(struct env_timer *timer)
{
    struct client_tails *tails = CONTAINER_OF(timer, struct client_tails, repeat);
    struct client *client = tails->client;
    for (unsigned i = 0; i < client->nodes_count; i++)
        if (client->nodes[i]->state == NODE_UP) say_claims(client, client->nodes[i], NULL);
    if (tails->claims != NULL) env_timer_start(client->env, timer, CLAIM_MS);
}

static struct claim *claim_add(struct client *client, struct slice stream, struct slice key)
{
    struct client_tails *tails = client->tails;
    struct claim *claim = mem_zero(sizeof(*claim));
    buf_put(&claim->stream, stream.data, stream.len);
    buf_put(&claim->key, key.data, key.len);
    claim->next = tails->claims;
    claim->at = &tails->claims;
    if (claim->next != NULL) claim->next->at = &claim->next;
    tails->claims = claim;
    table_add(&tails->claims_table, &claim->link, hash64_pair(stream, key));
    if (!env_timer_started(&tails->repeat) && !client->closing)
        env_timer_start(client->env, &tails->repeat, CLAIM_MS);
    return claim;
}

static void claim_free(struct client_tails *tails, struct claim *claim)
{
    *claim->at = claim->next;
    if (claim->next != NULL) claim->next->at = claim->at;
    table_remove(&tails->claims_table, &claim->link);
    buf_free(&claim->stream);
    buf_free(&claim->key);
    buf_free(&claim->payload);
    free(claim);
}

void client_claim(struct client *client, struct slice stream, struct slice key,
                  struct slice payload)
{
    CHECK(stream.len > 0);
    CHECK(stream.len <= STREAM_NAME_BYTES_MAX);
    CHECK(key.len > 0);
    CHECK(key.len <= KEY_BYTES_MAX);
    CHECK(payload.len <= CLIENT_SIGNAL_BYTES_MAX);
    struct claim *claim = claim_find(client->tails, stream, key);
    if (claim == NULL) claim = claim_add(client, stream, key);
    claim->payload.len = 0;
    buf_put(&claim->payload, payload.data, payload.len);
    say_claim(claim, client, false);
}

void client_release(struct client *client, struct slice stream, struct slice key)
{
    struct claim *claim = claim_find(client->tails, stream, key);
    if (claim == NULL) return;
    say_claim(claim, client, true);
    claim_free(client->tails, claim);
}

/* ---- what happens to nodes and leaders ---- */

void client_tails_mapped(struct client *client)
{
    open_all(client);
}

void client_tails_node_up(struct client *client, struct client_node *node)
{
    say_claims(client, node, NULL);
    open_all(client);
}

void client_tails_node_down(struct client *client, const struct client_node *node)
{
    struct client_tails *tails = client->tails;
    for (uint32_t i = 0; i < tails->slots_count; i++)
        if (tails->tails[i] != NULL && tails->tails[i]->node == node) tail_detach(tails->tails[i]);
}

void client_tails_moved(struct client *client, const struct route *route)
{
    struct client_tails *tails = client->tails;
    struct client_node *node = route_node(route);
    for (uint32_t i = 0; i < tails->slots_count; i++) {
        struct client_tail *tail = tails->tails[i];
        if (tail == NULL || route_of(client, buf_bytes(&tail->stream)) != route) continue;
        if (tail->node == node && node != NULL) continue;
        say_close(tail);
        tail_detach(tail);
        tail_open(tail);
    }
    if (node != NULL) say_claims(client, node, route);
}

/* ---- life ---- */

void client_tails_init(struct client *client)
{
    struct client_tails *tails = mem_zero(sizeof(*tails));
    tails->client = client;
    env_timer_init(&tails->again, again_fired);
    env_timer_init(&tails->repeat, repeat_fired);
    client->tails = tails;
}

void client_tails_close(struct client *client)
{
    env_timer_stop(client->env, &client->tails->again);
    env_timer_stop(client->env, &client->tails->repeat);
}

void client_tails_free(struct client *client)
{
    struct client_tails *tails = client->tails;
    for (uint32_t i = 0; i < tails->slots_count; i++)
        if (tails->tails[i] != NULL) tail_free(tails->tails[i]);
    while (tails->claims != NULL)
        claim_free(tails, tails->claims);
    table_free(&tails->claims_table);
    free(tails->tails);
    free(tails->free_slots);
    free(tails);
}
