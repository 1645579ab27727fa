/* raft/serve_request.c -- what clients ask of the partitions: requests and their answers.
 *
 * Happy path: a frame becomes a request struct that a partition holds until it is done; its answer
 * is appended to the connection's buffer. Answers that need no partition are written at once.
 *
 * Failure: a connection that closes leaves its open requests behind as orphans; their answers are
 * dropped, what they did stays done.
 *
 * Invariants: a request is open exactly while a partition holds it. Only transactions that decode
 * reach a partition: what is in a raft entry is read by every replica. */
#include <stdlib.h>

#include "log/pack.h"
#include "raft/serve_impl.h"

enum { BUSY_AFTER_MS = 50 }; /* Told to who meets a bound here: some turns of work. */

struct txn_request {
    struct request base;
    struct part_txn txn;
    struct txn_request *next_free;
};
struct query_request {
    struct request base;
    struct part_read read;
    struct txn_check checks[WIRE_CHECKS_MAX];
    struct buf bytes; /* The frame's body, which the query's slices borrow from. */
};
struct heads_request {
    struct request base;
    struct part_heads heads;
    struct slice *streams;
    struct buf bytes; /* Likewise. */
};
struct changed_request {
    struct request base;
    struct part_changed changed;
    uint8_t after[STREAM_NAME_BYTES_MAX];
};

static struct wire_end end_of(const struct request *request, int err, uint32_t after_ms)
{
    struct wire_end end = {.id = request->id, .err = err, .after_ms = after_ms};
    if (err == 0) return end;
    struct wire_leader leader = serve_leader_of(request->serve, request->part);
    end.leader = leader.node;
    end.term = leader.term;
    return end;
}

static void answer_txn(struct serve_conn *c, struct wire_end end, const struct outcome *outcome)
{
    struct wire_txn_done done = {.end = end};
    if (end.err == 0) done.outcome = *outcome;
    struct buf *out = env_conn_out(c->serve->env, c->conn);
    size_t at = frame_begin(out, WIRE_TXN_DONE);
    wire_txn_done_encode(&done, out);
    frame_end(out, at);
    serve_bound(c);
}

static void answer_query(struct serve_conn *c, struct wire_end end, const struct store_query *query)
{
    struct wire_query_done done = {.end = end};
    if (query != NULL) {
        done.head = query->head;
        done.failed = query->failed;
        done.number = query->number;
        done.more = query->more;
        done.rows_count = query->rows_count;
        done.rows = buf_bytes(&query->rows);
    }
    struct buf *out = env_conn_out(c->serve->env, c->conn);
    size_t at = frame_begin(out, WIRE_QUERY_DONE);
    wire_query_done_encode(&done, out);
    frame_end(out, at);
    serve_bound(c);
}

static void answer_heads(struct serve_conn *c, struct wire_end end, const struct part_heads *heads)
{
    struct wire_heads_done done = {.end = end};
    if (heads != NULL) {
        done.index = heads->index;
        done.hits_count = heads->heads.hits_count;
        done.hits = buf_bytes(&heads->heads.out);
    }
    struct buf *out = env_conn_out(c->serve->env, c->conn);
    size_t at = frame_begin(out, WIRE_HEADS_DONE);
    wire_heads_done_encode(&done, out);
    frame_end(out, at);
    serve_bound(c);
}

static void answer_text(struct serve_conn *c, uint64_t id, int err, struct slice text)
{
    if (text.len > WIRE_TEXT_BYTES_MAX) text.len = WIRE_TEXT_BYTES_MAX;
    struct wire_text_done done = {.end = {.id = id, .err = err}, .text = text};
    struct buf *out = env_conn_out(c->serve->env, c->conn);
    size_t at = frame_begin(out, WIRE_TEXT_DONE);
    wire_text_done_encode(&done, out);
    frame_end(out, at);
    serve_bound(c);
}

/* ---- open requests ---- */

static void request_link(struct request *request, struct serve_conn *c, uint64_t id,
                         struct part *part, void (*release)(struct request *request))
{
    *request =
        (struct request){.serve = c->serve, .conn = c, .id = id, .part = part, .release = release};
    request->next = c->requests;
    request->at = &c->requests;
    if (request->next != NULL) request->next->at = &request->next;
    c->requests = request;
    c->requests_count++;
    c->serve->stats.requests_open++;
}

/* The partition is done with it. True: the connection is there and hears the answer. */
static bool request_unlink(struct request *request)
{
    CHECK(*request->at == request);
    *request->at = request->next;
    if (request->next != NULL) request->next->at = request->at;
    CHECK(request->serve->stats.requests_open > 0);
    request->serve->stats.requests_open--;
    if (request->conn == NULL) return false;
    request->conn->requests_count--;
    return request->conn->state == CONN_OPEN;
}

void serve_requests_orphan(struct serve_conn *c)
{
    struct serve *serve = c->serve;
    while (c->requests != NULL) {
        struct request *request = c->requests;
        c->requests = request->next;
        request->conn = NULL;
        request->next = serve->orphans;
        request->at = &serve->orphans;
        if (request->next != NULL) request->next->at = &request->next;
        serve->orphans = request;
    }
    c->requests_count = 0;
}

void serve_requests_free(struct serve *serve, bool open)
{
    while (open && serve->orphans != NULL) {
        struct request *request = serve->orphans;
        (void)request_unlink(request);
        request->release(request);
    }
    while (serve->free_txns != NULL) {
        struct txn_request *next = serve->free_txns->next_free;
        free(serve->free_txns);
        serve->free_txns = next;
    }
}

static bool requests_full(const struct serve_conn *c)
{
    return c->requests_count >= SERVE_CONN_REQUESTS_MAX ||
           c->serve->stats.requests_open >= SERVE_REQUESTS_MAX;
}

/* The partition of a stream; NULL: it has no replica here. */
static struct part *part_of(const struct serve *serve, struct slice stream)
{
    return serve->parts[partition_of(stream, serve->map.parts_count)];
}

/* Why a request cannot be handed on, or 0. */
static int request_barred(const struct serve_conn *c, const struct part *part)
{
    if (part == NULL) return ERR_NOT_LEADER;
    return requests_full(c) ? ERR_BUSY : 0;
}

static struct wire_end end_barred(struct serve_conn *c, uint64_t id, int err)
{
    if (err == ERR_BUSY) c->serve->stats.busy_count++;
    return (struct wire_end){.id = id, .err = err, .after_ms = BUSY_AFTER_MS};
}

static void txn_release(struct request *base)
{
    struct txn_request *request = CONTAINER_OF(base, struct txn_request, base);
    request->next_free = base->serve->free_txns;
    base->serve->free_txns = request;
}

static void txn_done(struct part_txn *txn, int err, const struct outcome *outcome,
                     uint32_t after_ms)
{
    struct txn_request *request = CONTAINER_OF(txn, struct txn_request, txn);
    if (request_unlink(&request->base))
        answer_txn(request->base.conn, end_of(&request->base, err, after_ms), outcome);
    txn_release(&request->base);
}

int serve_take_txn(struct serve_conn *c, struct slice body)
{
    struct serve *serve = c->serve;
    struct wire_txn m;
    struct txn txn;
    int err = wire_txn_decode(body, &m);
    if (err == 0) err = txn_decode(m.txn, &txn);
    if (err != 0) return serve_refuse(c, err, "not a transaction");
    struct part *part = part_of(serve, txn.stream);
    txn_free(&txn);
    serve->stats.txns_count++;
    err = request_barred(c, part);
    if (err != 0) {
        answer_txn(c, end_barred(c, m.id, err), NULL);
        return 0;
    }
    struct txn_request *request = serve->free_txns;
    if (request != NULL)
        serve->free_txns = request->next_free;
    else
        request = mem_alloc(sizeof(*request));
    *request = (struct txn_request){.txn = {.txn = m.txn, .done = txn_done}};
    request_link(&request->base, c, m.id, part, txn_release);
    part_txn(part, &request->txn);
    return 0;
}

static void query_release(struct request *base)
{
    struct query_request *request = CONTAINER_OF(base, struct query_request, base);
    buf_free(&request->read.query.rows);
    buf_free(&request->bytes);
    free(request);
}

static void query_done(struct part_read *read, int err)
{
    struct query_request *request = CONTAINER_OF(read, struct query_request, read);
    if (request_unlink(&request->base))
        answer_query(request->base.conn, end_of(&request->base, err, 0), &read->query);
    query_release(&request->base);
}

/* Its slices borrow from a copy of the body, decoded in its place. */
static struct query_request *query_make(struct slice body, uint64_t *id, int *err)
{
    struct query_request *request = mem_zero(sizeof(*request));
    struct wire_query m;
    buf_put(&request->bytes, body.data, body.len);
    *err = wire_query_decode(buf_bytes(&request->bytes), &m);
    if (*err != 0) {
        query_release(&request->base);
        return NULL;
    }
    *id = m.id;
    memcpy(request->checks, m.checks, m.query.checks_count * sizeof(m.checks[0]));
    struct store_query *query = &request->read.query;
    *query = m.query;
    query->checks = request->checks;
    if (query->limit_count > WIRE_ROWS_COUNT_MAX) query->limit_count = WIRE_ROWS_COUNT_MAX;
    if (query->limit_bytes > WIRE_ROWS_BYTES_MAX) query->limit_bytes = WIRE_ROWS_BYTES_MAX;
    request->read.done = query_done;
    return request;
}

int serve_take_query(struct serve_conn *c, struct slice body)
{
    uint64_t id;
    int err;
    struct query_request *request = query_make(body, &id, &err);
    if (request == NULL) return serve_refuse(c, err, "not a query");
    c->serve->stats.queries_count++;
    struct part *part = part_of(c->serve, request->read.query.stream);
    err = request_barred(c, part);
    if (err != 0) {
        query_release(&request->base);
        answer_query(c, end_barred(c, id, err), NULL);
        return 0;
    }
    request_link(&request->base, c, id, part, query_release);
    part_read(part, &request->read);
    return 0;
}

static void heads_release(struct request *base)
{
    struct heads_request *request = CONTAINER_OF(base, struct heads_request, base);
    buf_free(&request->heads.heads.out);
    buf_free(&request->bytes);
    free(request->streams);
    free(request);
}

static void heads_done(struct part_heads *heads, int err)
{
    struct heads_request *request = CONTAINER_OF(heads, struct heads_request, heads);
    if (request_unlink(&request->base))
        answer_heads(request->base.conn, end_of(&request->base, err, 0), err == 0 ? heads : NULL);
    heads_release(&request->base);
}

/* Fills streams; *part is that of all of them. ERR_INVAL: they are of several. */
static int heads_streams(struct heads_request *request, struct wire_heads *m, struct part **part)
{
    const struct serve *serve = request->base.serve;
    request->streams = mem_alloc(m->streams_count * sizeof(request->streams[0]));
    part_t first = 0;
    for (unsigned i = 0; i < m->streams_count; i++) {
        request->streams[i] = read_slice(&m->streams, STREAM_NAME_BYTES_MAX);
        part_t number = partition_of(request->streams[i], serve->map.parts_count);
        if (i == 0) first = number;
        if (number != first) return ERR_INVAL;
    }
    *part = serve->parts[first];
    return 0;
}

int serve_take_heads(struct serve_conn *c, struct slice body)
{
    struct heads_request *request = mem_zero(sizeof(*request));
    struct wire_heads m;
    struct part *part = NULL;
    request->base.serve = c->serve;
    buf_put(&request->bytes, body.data, body.len);
    int err = wire_heads_decode(buf_bytes(&request->bytes), &m);
    if (err == 0) err = heads_streams(request, &m, &part);
    if (err != 0) {
        heads_release(&request->base);
        return serve_refuse(c, err, "not streams of one partition");
    }
    c->serve->stats.queries_count++;
    err = request_barred(c, part);
    if (err != 0) {
        heads_release(&request->base);
        answer_heads(c, end_barred(c, m.id, err), NULL);
        return 0;
    }
    request->heads.heads.streams = request->streams;
    request->heads.heads.streams_count = m.streams_count;
    request->heads.heads.since = m.since;
    request->heads.done = heads_done;
    request_link(&request->base, c, m.id, part, heads_release);
    part_heads(part, &request->heads);
    return 0;
}

static void answer_changed(struct serve_conn *c, struct wire_end end,
                           const struct store_changed *changed)
{
    struct wire_changed_done done = {.end = end};
    if (changed != NULL) {
        done.index = changed->index;
        done.time_ms = changed->time_ms;
        done.more = changed->more;
        done.streams_count = changed->count;
        done.streams = buf_bytes(&changed->out);
    }
    struct buf *out = env_conn_out(c->serve->env, c->conn);
    size_t at = frame_begin(out, WIRE_CHANGED_DONE);
    wire_changed_done_encode(&done, out);
    frame_end(out, at);
    serve_bound(c);
}

static void changed_release(struct request *base)
{
    struct changed_request *request = CONTAINER_OF(base, struct changed_request, base);
    buf_free(&request->changed.changed.out);
    free(request);
}

static void changed_done(struct part_changed *changed, int err)
{
    struct changed_request *request = CONTAINER_OF(changed, struct changed_request, changed);
    if (request_unlink(&request->base))
        answer_changed(request->base.conn, end_of(&request->base, err, 0),
                       err == 0 ? &changed->changed : NULL);
    changed_release(&request->base);
}

int serve_take_changed(struct serve_conn *c, struct slice body)
{
    struct wire_changed m;
    int err = wire_changed_decode(body, &m);
    if (err == 0 && m.part >= c->serve->map.parts_count) err = ERR_INVAL;
    if (err != 0) return serve_refuse(c, err, "not a question for changed streams");
    c->serve->stats.queries_count++;
    struct part *part = c->serve->parts[m.part];
    err = request_barred(c, part);
    if (err != 0) {
        answer_changed(c, end_barred(c, m.id, err), NULL);
        return 0;
    }
    struct changed_request *request = mem_zero(sizeof(*request));
    if (m.after.len > 0) memcpy(request->after, m.after.data, m.after.len);
    request->changed.changed = (struct store_changed){
        .since = m.since, .after = {request->after, m.after.len}, .limit_count = m.limit_count};
    request->changed.done = changed_done;
    request_link(&request->base, c, m.id, part, changed_release);
    part_changed(part, &request->changed);
    return 0;
}

int serve_take_ask(struct serve_conn *c, uint8_t kind, struct slice body)
{
    const struct serve_config *config = &c->serve->config;
    struct wire_ask m;
    struct buf text = {0};
    int err = wire_ask_decode(body, &m);
    if (err != 0) return serve_refuse(c, err, "not a question to a node");
    if (kind == WIRE_STATUS)
        config->status(config->arg, &text);
    else
        err = config->form(config->arg, m.text, &text);
    answer_text(c, m.id, err, buf_bytes(&text));
    buf_free(&text);
    return 0;
}

/* ---- tails, signals, claims ---- */

int serve_take_tail_open(struct serve_conn *c, struct slice body)
{
    struct wire_tail_open m;
    int err = wire_tail_open_decode(body, &m);
    if (err == 0) err = tails_open(&c->tails, &m);
    return err == 0 ? 0 : serve_refuse(c, err, "not a tail to open");
}

int serve_take_tail_close(struct serve_conn *c, struct slice body)
{
    uint64_t tail;
    int err = wire_tail_close_decode(body, &tail);
    if (err != 0) return serve_refuse(c, err, "not a tail to close");
    tails_close(&c->tails, tail);
    return 0;
}

int serve_take_signal(struct serve_conn *c, struct slice body)
{
    struct wire_signal m;
    int err = wire_signal_decode(body, &m);
    if (err != 0) return serve_refuse(c, err, "not a signal");
    struct part *part = part_of(c->serve, m.stream);
    if (part != NULL && part_leads(part)) tails_signal(c->serve->tails, &m);
    return 0;
}

int serve_take_claims(struct serve_conn *c, struct slice body)
{
    struct reader r = reader_of(body);
    while (reader_left(&r) > 0) {
        struct wire_claim m;
        int err = wire_claim_decode(&r, &m);
        if (err != 0) return serve_refuse(c, err, "not claims");
        tails_claim(&c->tails, &m);
    }
    return 0;
}
