/* raft/client.c -- see client.h, client_impl.h.
 *
 * Here: the life of a client and of its calls. A call is taken from a pool that keeps its buffer,
 * so that a busy client allocates nothing per request.
 *
 * Invariants: a call is in one list, that of its state, or in none while its end is being told. Its
 * body stays as it is while it waits: waiting_bytes counts it.
 * waiting_bytes and inflight_bytes change in call_move alone. */
#include "raft/client.h"

#include <stdlib.h>

#include "raft/client_impl.h"

enum {
    CALL_KEEP_BYTES = 4096, /* A larger buffer is not kept in the pool. */
    CALL_COST_BYTES = 256,  /* What an answer without rows takes. */
    CALLS_MAX = 1 << 24,    /* What an id has room for; the bounds in bytes are met before. */
    END_LATER_MS = 1,   /* Later than this turn, so that trying again at once is no busy loop. */
    BUSY_AFTER_MS = 20, /* Told to who meets this client's own bound. */
};

/* ---- calls ---- */

static void list_remove(struct call *call)
{
    struct call_list *list = call->list;
    *(call->prev == NULL ? &list->first : &call->prev->next) = call->next;
    *(call->next == NULL ? &list->last : &call->next->prev) = call->prev;
    call->next = NULL;
    call->prev = NULL;
    call->list = NULL;
}

/* Most go to the end; those put back are older than almost all, so their place is looked for from
 * the front. */
static void list_insert(struct call_list *list, struct call *call)
{
    struct call *after = list->last;
    if (after != NULL && after->order > call->order) {
        after = NULL;
        while (true) {
            struct call *next = after == NULL ? list->first : after->next;
            if (next->order > call->order) break;
            after = next;
        }
    }
    call->prev = after;
    call->next = after == NULL ? list->first : after->next;
    *(call->prev == NULL ? &list->first : &call->prev->next) = call;
    *(call->next == NULL ? &list->last : &call->next->prev) = call;
    call->list = list;
}

/* What it takes while it waits: its answer's bytes are not there yet. */
static size_t waiting_cost(const struct call *call)
{
    return call->body.len + CALL_COST_BYTES;
}

static void account(struct call *call, enum call_state state, bool enter)
{
    size_t *sum = NULL;
    size_t bytes = 0;
    if (state == CALL_WAITING) {
        sum = &call->client->waiting_bytes;
        bytes = waiting_cost(call);
    }
    if (state == CALL_SENT) {
        sum = &call->node->inflight_bytes;
        bytes = call->cost;
    }
    if (sum == NULL) return;
    CHECK(enter || *sum >= bytes);
    *sum = enter ? *sum + bytes : *sum - bytes;
}

void call_move(struct call *call, enum call_state state, struct call_list *list)
{
    /* To FREE from anywhere; the rest as drawn in client_impl.h. */
    static const bool allowed[CALL_STATES][CALL_STATES] = {
        [CALL_FREE] = {[CALL_WAITING] = true, [CALL_ENDED] = true},
        [CALL_WAITING] =
            {[CALL_FREE] = true, [CALL_SENT] = true, [CALL_ENDED] = true, [CALL_WAITING] = true},
        [CALL_SENT] = {[CALL_FREE] = true, [CALL_WAITING] = true, [CALL_ENDED] = true},
        [CALL_ENDED] = {[CALL_FREE] = true},
    };
    CHECK(allowed[call->state][state]);
    if (call->list != NULL) list_remove(call);
    account(call, call->state, false);
    call->state = state;
    account(call, state, true);
    if (list != NULL) list_insert(list, call);
}

static struct call *call_new(struct client *client)
{
    CHECK(client->calls_count < CALLS_MAX);
    if (client->calls_count == client->calls_capacity) {
        client->calls_capacity = client->calls_capacity == 0 ? 64 : 2 * client->calls_capacity;
        client->calls =
            mem_resize(client->calls, client->calls_capacity * sizeof(client->calls[0]));
    }
    struct call *call = mem_zero(sizeof(*call));
    call->client = client;
    call->slot = client->calls_count;
    client->calls[client->calls_count++] = call;
    return call;
}

static struct call *call_take(struct client *client, enum call_kind kind, enum wire_kind frame,
                              void *owner)
{
    struct call *call = client->free_calls;
    if (call != NULL)
        client->free_calls = call->next;
    else
        call = call_new(client);
    CHECK(call->state == CALL_FREE);
    struct buf body = call->body;
    body.len = 0;
    *call = (struct call){.client = client, .slot = call->slot, .body = body};
    call->kind = kind;
    call->frame = (uint8_t)frame;
    call->owner = owner;
    call->order = ++client->orders;
    return call;
}

/* Into the pool. Its fields stay readable until the next call_take. */
static void call_free(struct call *call)
{
    struct client *client = call->client;
    lane_leave(call);
    deadline_remove(&client->deadlines, &call->deadline);
    call_move(call, CALL_FREE, NULL);
    if (call->body.capacity > CALL_KEEP_BYTES) buf_free(&call->body);
    call->next = client->free_calls;
    client->free_calls = call;
}

struct call *call_of(struct client_node *node, uint64_t id)
{
    const struct client *client = node->client;
    uint64_t slot = id % CALLS_MAX;
    if (slot >= client->calls_count) return NULL;
    struct call *call = client->calls[slot];
    return call->id == id && call->state == CALL_SENT && call->node == node ? call : NULL;
}

void call_finish(struct call *call, int err, const struct outcome *outcome, uint32_t after_ms,
                 struct slice text)
{
    enum call_kind kind = call->kind;
    uint8_t frame = call->frame;
    void *owner = call->owner;
    call_free(call);
    if (kind == CALL_TXN) {
        struct client_txn *req = owner;
        req->done(req, err, err == 0 ? outcome : NULL, after_ms);
    } else if (kind == CALL_QUERY) {
        struct client_query *req = owner;
        req->done(req, err);
    } else if (kind == CALL_HEADS) {
        struct client_heads *req = owner;
        req->done(req, err);
    } else if (kind == CALL_CHANGED) {
        struct client_changed *req = owner;
        req->done(req, err);
    } else if (frame == WIRE_STATUS) {
        struct client_status *req = owner;
        req->done(req, err, text);
    } else {
        struct client_form *req = owner;
        req->done(req, err, text);
    }
}

void call_end_later(struct call *call, int err)
{
    struct client *client = call->client;
    deadline_remove(&client->deadlines, &call->deadline);
    call->err = err;
    call_move(call, CALL_ENDED, &client->ended);
    if (!env_timer_started(&client->ending))
        env_timer_start(client->env, &client->ending, END_LATER_MS);
}

static void deadline_passed(struct deadlines *all, struct deadline *one)
{
    (void)all;
    call_expired(CONTAINER_OF(one, struct call, deadline));
}

/* Set its cost and deadline, unless err or a bound ends it: false. */
static bool call_begin(struct call *call, int err, size_t answer_bytes, uint32_t deadline_ms)
{
    struct client *client = call->client;
    call->cost = waiting_cost(call) + answer_bytes;
    if (client->closing) err = ERR_CANCELED;
    if (err == 0 && client->waiting_bytes + waiting_cost(call) > CLIENT_QUEUE_BYTES_MAX)
        err = ERR_BUSY;
    if (err != 0) {
        call->after_ms = BUSY_AFTER_MS;
        call_end_later(call, err);
        return false;
    }
    if (deadline_ms == 0) deadline_ms = CLIENT_DEADLINE_MS;
    deadline_add(&client->deadlines, &call->deadline, deadline_ms);
    return true;
}

void client_txn(struct client *client, struct client_txn *req)
{
    const struct txn *txn = req->txn;
    struct call *call = call_take(client, CALL_TXN, WIRE_TXN, req);
    req->impl = call;
    wire_txn_begin(0, &call->body);
    if (!call_begin(call, txn_encode(txn, &call->body), 0, req->deadline_ms)) return;
    call->n = txn->n;
    if (txn->producer.len > 0) lane_join(call, txn->stream, txn->producer);
    route_submit(call, txn->stream);
}

void client_query(struct client *client, struct client_query *req)
{
    const struct store_query *query = &req->query;
    struct call *call = call_take(client, CALL_QUERY, WIRE_QUERY, req);
    req->impl = call;
    struct wire_query m = {.query = *query};
    size_t rows_bytes = query->limit_bytes;
    if (rows_bytes > WIRE_ROWS_BYTES_MAX) rows_bytes = WIRE_ROWS_BYTES_MAX;
    if (query->kind == STORE_HEAD) rows_bytes = 0;
    int err = wire_query_encode(&m, &call->body);
    if (!call_begin(call, err, rows_bytes, req->deadline_ms)) return;
    route_submit(call, query->stream);
}

static int heads_check(const struct client *client, const struct client_heads *req)
{
    if (req->streams_count == 0 || req->streams_count > CLIENT_HEADS_MAX) return ERR_INVAL;
    if (!client->mapped && req->streams_count > 1) return ERR_INVAL; /* Who knows partitions yet? */
    for (unsigned i = 0; i < req->streams_count; i++) {
        struct slice stream = req->streams[i];
        if (stream.len == 0 || stream.len > STREAM_NAME_BYTES_MAX) return ERR_INVAL;
        if (i > 0 &&
            client_partition_of(client, stream) != client_partition_of(client, req->streams[0]))
            return ERR_INVAL;
    }
    return 0;
}

void client_heads(struct client *client, struct client_heads *req)
{
    struct call *call = call_take(client, CALL_HEADS, WIRE_HEADS, req);
    req->impl = call;
    int err = heads_check(client, req);
    if (err == 0) wire_heads_encode(0, req->since, req->streams, req->streams_count, &call->body);
    if (!call_begin(call, err, (size_t)req->streams_count * 64, req->deadline_ms)) return;
    route_submit(call, req->streams[0]);
}

void client_changed(struct client *client, struct client_changed *req)
{
    struct call *call = call_take(client, CALL_CHANGED, WIRE_CHANGED, req);
    struct wire_changed m = {.part = req->part,
                             .since = req->since,
                             .after = req->after,
                             .limit_count = req->limit_count};
    CHECK(req->part < client_partitions(client));
    wire_changed_encode(&m, &call->body);
    if (!call_begin(call, 0, (size_t)req->limit_count * 128, 0)) return;
    route_put(call, &client->routes[req->part]);
}

/* To one node, whichever partitions it leads; it waits until that node is UP. */
static void ask(struct client *client, enum wire_kind frame, unsigned place, struct slice text,
                uint32_t deadline_ms, void *owner, void **impl)
{
    struct call *call = call_take(client, CALL_ASK, frame, owner);
    *impl = call;
    int err = place < client->config_count ? 0 : ERR_INVAL;
    if (text.len > WIRE_TEXT_BYTES_MAX) err = ERR_TOO_BIG;
    if (err == 0) wire_ask_encode(&(struct wire_ask){0, text}, &call->body);
    if (!call_begin(call, err, 0, deadline_ms)) return;
    call->node = client->nodes[place];
    call_move(call, CALL_WAITING, &call->node->asks);
    if (call->node->state == NODE_UP) call_send(call);
}

void client_status(struct client *client, struct client_status *req)
{
    ask(client, WIRE_STATUS, req->node, (struct slice){NULL, 0}, req->deadline_ms, req, &req->impl);
}

void client_form(struct client *client, struct client_form *req)
{
    ask(client, WIRE_FORM, req->node, req->map, req->deadline_ms, req, &req->impl);
}

/* ---- the map ---- */

static void ready_tell(struct ready *ready, int err)
{
    struct ready **at = &ready->client->ready;
    while (*at != ready)
        at = &(*at)->next;
    *at = ready->next;
    env_timer_stop(ready->client->env, &ready->timer);
    ready->done(ready->arg, err);
    free(ready);
}

/* Why there is no map: what the nodes said last, if any said something. */
static int unmapped_reason(const struct client *client)
{
    int err = ERR_TIMEOUT;
    for (unsigned i = 0; i < client->nodes_count; i++) {
        if (client->nodes[i]->state == NODE_UP) return ERR_NOT_FORMED;
        if (client->nodes[i]->err != 0 && (err == ERR_TIMEOUT || err == ERR_CONNECT))
            err = client->nodes[i]->err;
    }
    return err;
}

static void ready_fired(struct env_timer *timer)
{
    struct ready *ready = CONTAINER_OF(timer, struct ready, timer);
    const struct client *client = ready->client;
    int err = client->mapped ? 0 : unmapped_reason(client);
    ready_tell(ready, client->closing ? ERR_CANCELED : err);
}

void client_when_ready(struct client *client, uint32_t deadline_ms,
                       void (*ready)(void *arg, int err), void *arg)
{
    struct ready *one = mem_zero(sizeof(*one));
    *one = (struct ready){.next = client->ready, .client = client, .done = ready, .arg = arg};
    client->ready = one;
    env_timer_init(&one->timer, ready_fired);
    if (deadline_ms == 0) deadline_ms = CLIENT_DEADLINE_MS;
    if (client->mapped || client->closing) deadline_ms = 0;
    env_timer_start(client->env, &one->timer, deadline_ms);
}

void client_mapped(struct client *client)
{
    routes_mapped(client);
    client_tails_mapped(client);
    for (struct ready *ready = client->ready; ready != NULL; ready = ready->next)
        env_timer_start(client->env, &ready->timer, 0);
}

unsigned client_partitions(const struct client *client)
{
    return client->mapped ? client->map.parts_count : 0;
}

unsigned client_leaders_known(const struct client *client)
{
    unsigned count = 0;
    for (unsigned i = 0; i < client_partitions(client); i++)
        if (route_node(&client->routes[i]) != NULL) count++;
    return count;
}

uint64_t client_backoff_ms(struct client *client, unsigned attempts)
{
    uint64_t whole = CLIENT_BACKOFF_MS_MIN;
    while (attempts-- > 0 && whole < CLIENT_BACKOFF_MS_MAX)
        whole *= 2;
    if (whole > CLIENT_BACKOFF_MS_MAX) whole = CLIENT_BACKOFF_MS_MAX;
    return whole / 2 + env_random_below(client->env, whole / 2 + 1);
}

/* ---- life ---- */

static void client_free(struct client *client)
{
    for (unsigned i = 0; i < client->nodes_count; i++)
        client_node_destroy(client->nodes[i]);
    for (uint32_t i = 0; i < client->calls_count; i++) {
        CHECK(client->calls[i]->state == CALL_FREE);
        buf_free(&client->calls[i]->body);
        free(client->calls[i]);
    }
    free(client->calls);
    lanes_free(client);
    client_tails_free(client);
    deadlines_close(&client->deadlines);
    free(client);
}

/* The client ends once nothing calls back into it any more. */
static bool client_over(const struct client *client)
{
    for (unsigned i = 0; i < client->nodes_count; i++)
        if (client->nodes[i]->conn != NULL) return false;
    return client->closing && client->ended.first == NULL && client->ready == NULL &&
           !client->flush.queued;
}

/* Only those that ended before now: what their owners do about it has its own later turn. */
static void ending_fired(struct env_timer *timer)
{
    struct client *client = CONTAINER_OF(timer, struct client, ending);
    uint64_t until = client->orders;
    while (client->ended.first != NULL && client->ended.first->order <= until) {
        struct call *call = client->ended.first;
        call_finish(call, call->err, NULL, call->after_ms, (struct slice){NULL, 0});
    }
    if (client_over(client)) {
        void (*closed)(void *) = client->closed;
        void *arg = client->closed_arg;
        client_free(client);
        closed(arg);
        return;
    }
    if (client->closing || client->ended.first != NULL)
        env_timer_start(client->env, timer, END_LATER_MS);
}

int client_create(struct env *env, const struct client_config *config, struct client **out)
{
    if (config->nodes_count == 0 || config->nodes_count > NODES_MAX) return ERR_INVAL;
    struct client *client = mem_zero(sizeof(*client));
    client->env = env;
    client->number = env_random(env);
    env_timer_init(&client->ending, ending_fired);
    deadlines_init(&client->deadlines, env, deadline_passed);
    routes_init(client);
    client_tails_init(client);
    for (unsigned i = 0; i < config->nodes_count; i++)
        CHECK(client_node_create(client, &config->nodes[i]) != NULL);
    client->config_count = config->nodes_count;
    *out = client;
    return 0;
}

void client_destroy(struct client *client, void (*closed)(void *arg), void *arg)
{
    CHECK(!client->closing);
    client->closing = true;
    client->closed = closed;
    client->closed_arg = arg;
    routes_close(client);
    client_tails_close(client);
    for (uint32_t i = 0; i < client->calls_count; i++) {
        struct call *call = client->calls[i];
        if (call->state == CALL_WAITING || call->state == CALL_SENT)
            call_end_later(call, ERR_CANCELED);
    }
    for (struct ready *ready = client->ready; ready != NULL; ready = ready->next)
        env_timer_start(client->env, &ready->timer, 0);
    for (unsigned i = 0; i < client->nodes_count; i++)
        client_node_close(client->nodes[i]);
    env_timer_start(client->env, &client->ending, END_LATER_MS);
}
