/* raft/client_answer.c -- how calls end: what an answer means, and what is tried again.
 *
 * Three kinds of answers: the outcome; "nothing was done" (another leads, busy), after which
 * anything may be sent again; and "it may be done" (the connection went away, leadership was lost),
 * after which only reads and numbered transactions are: their number makes sure that they are done
 * once. A call that may be done can end with an outcome or with ERR_UNKNOWN, with nothing else.
 *
 * Answers to an earlier send of a call are dropped by their id (call_of): the send under way has
 * its own, and a number that was used gives its first outcome again. */
#include "raft/client_impl.h"

enum {
    GAPS_AT_ONCE = 4,    /* Gaps of this side that are closed without a pause. */
    PAUSE_MS_MAX = 1000, /* However long a node wants us to wait. */
    FULL_PAUSE_MS = 500, /* Disks do not get room faster. */
};

static const struct slice no_text = {NULL, 0};

static void route_pause(struct route *route, uint64_t pause_ms)
{
    if (pause_ms > PAUSE_MS_MAX) pause_ms = PAUSE_MS_MAX;
    if (pause_ms > 0) env_timer_start(route->client->env, &route->pause, pause_ms);
}

/* Back into its queue, by its order. */
static void call_requeue(struct call *call)
{
    call_move(call, CALL_WAITING, &call->route->queue);
    client_flush(call->client);
}

/* Nothing was done. */
static void call_turned_away(struct call *call, const struct wire_end *end)
{
    struct route *route = call->route;
    uint8_t speaker = call->node->number;
    call->busy = end->err == ERR_BUSY;
    call->after_ms = end->after_ms;
    call_requeue(call);
    if (call->busy) {
        route_pause(route, end->after_ms == 0 ? CLIENT_BACKOFF_MS_MIN : end->after_ms);
        return;
    }
    if (route->leader == speaker) route->leader = 0;
    route_learn(route, end->leader, end->term, speaker);
}

/* It may be done: only what gives the same result when done twice is sent again. */
static void call_doubtful(struct call *call)
{
    call->maybe = true;
    if (call->kind == CALL_TXN && call->lane == NULL)
        call_finish(call, ERR_UNKNOWN, NULL, 0, no_text);
    else
        call_requeue(call);
}

void call_lost(struct call *call)
{
    if (call->kind == CALL_ASK)
        call_finish(call, ERR_CONNECT, NULL, 0, no_text);
    else
        call_doubtful(call);
}

static bool turned_away(int err)
{
    return err == ERR_NOT_LEADER || err == ERR_NO_LEADER || err == ERR_BUSY ||
           err == ERR_DIVERGED || err == ERR_NOT_FORMED;
}

/* The node gave up on it while its outcome was open. */
static bool doubtful(int err)
{
    return err == ERR_UNKNOWN || err == ERR_CANCELED || err == ERR_CLOSED || err == ERR_TIMEOUT;
}

static void answer_doubtful(struct call *call, const struct wire_end *end)
{
    struct route *route = call->route;
    uint8_t speaker = call->node->number;
    if (route->leader == speaker) route->leader = 0;
    call_doubtful(call);
    route_learn(route, end->leader, end->term, speaker);
}

static void answer_gap(struct call *call, const struct outcome *outcome)
{
    if (!lane_closes_gap(call, outcome->last_n)) {
        call_finish(call, 0, outcome, 0, no_text);
        return;
    }
    if (++call->gaps > GAPS_AT_ONCE) route_pause(call->route, CLIENT_BACKOFF_MS_MIN);
    call_requeue(call);
}

void answer_txn(struct call *call, const struct wire_txn_done *m)
{
    const struct wire_end *end = &m->end;
    const struct outcome *outcome = &m->outcome;
    if (turned_away(end->err)) {
        call_turned_away(call, end);
    } else if (doubtful(end->err)) {
        answer_doubtful(call, end);
    } else if (end->err != 0 && call->maybe) {
        /* Not done this time, but perhaps before: only an outcome can tell. */
        route_pause(call->route, FULL_PAUSE_MS);
        call_requeue(call);
    } else if (end->err != 0) {
        call_finish(call, end->err, NULL, end->after_ms, no_text);
    } else if (outcome->status == ERR_GAP) {
        answer_gap(call, outcome);
    } else {
        call->client->seek_attempts = 0;
        bool used = outcome->status == 0 || outcome->status == ERR_REJECTED || outcome->duplicate;
        if (used) lane_used(call);
        call_finish(call, 0, outcome, 0, no_text);
    }
}

/* True: the read was put back, it has no answer yet. */
static bool read_again(struct call *call, const struct wire_end *end)
{
    if (turned_away(end->err))
        call_turned_away(call, end);
    else if (doubtful(end->err))
        answer_doubtful(call, end);
    else
        call->client->seek_attempts = 0;
    return call->state != CALL_SENT;
}

void answer_query(struct call *call, const struct wire_query_done *m)
{
    if (read_again(call, &m->end)) return;
    struct store_query *query = &((struct client_query *)call->owner)->query;
    query->head = m->head;
    query->failed = m->failed;
    query->number = m->number;
    query->more = m->more;
    query->rows_count = m->rows_count;
    query->rows.len = 0;
    buf_put(&query->rows, m->rows.data, m->rows.len);
    call_finish(call, m->end.err, NULL, 0, no_text);
}

void answer_heads(struct call *call, const struct wire_heads_done *m)
{
    if (read_again(call, &m->end)) return;
    struct client_heads *heads = call->owner;
    heads->index = m->index;
    heads->hits_count = m->hits_count;
    heads->hits.len = 0;
    buf_put(&heads->hits, m->hits.data, m->hits.len);
    call_finish(call, m->end.err, NULL, 0, no_text);
}

void answer_changed(struct call *call, const struct wire_changed_done *m)
{
    if (read_again(call, &m->end)) return;
    struct client_changed *changed = call->owner;
    changed->index = m->index;
    changed->time_ms = m->time_ms;
    changed->more = m->more;
    changed->streams_count = m->streams_count;
    changed->streams.len = 0;
    buf_put(&changed->streams, m->streams.data, m->streams.len);
    call_finish(call, m->end.err, NULL, 0, no_text);
}

void answer_text(struct call *call, const struct wire_text_done *m)
{
    call_finish(call, m->end.err, NULL, 0, m->text);
}

static int expired_err(const struct call *call)
{
    bool sent = call->state == CALL_SENT;
    if (call->kind == CALL_TXN && (sent || call->maybe)) return ERR_UNKNOWN;
    if (sent) return ERR_TIMEOUT;
    if (call->kind == CALL_ASK) return call->node->err != 0 ? call->node->err : ERR_CONNECT;
    return call->busy ? ERR_BUSY : ERR_NO_LEADER;
}

void call_expired(struct call *call)
{
    call_finish(call, expired_err(call), NULL, call->after_ms, no_text);
}
