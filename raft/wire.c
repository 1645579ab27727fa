/* raft/wire.c -- see wire.h. One encode and one decode per message, side by side: the two must
 * read as the same list of fields. */
#include "raft/wire.h"

enum {
    HOST_BYTES_MAX = sizeof(((struct env_address *)0)->host) - 1,
    AFTER_BYTES_MAX = KEY_BYTES_MAX + 1, /* STORE_CHANGES has a byte in front. */
    QUERY_BACKWARDS = 1,
};

/* What every decode returns: all was read, and no read failed. */
static int done(const struct reader *r)
{
    return reader_done(r) ? 0 : ERR_CORRUPT;
}

static bool read_flag(struct reader *r)
{
    return read_bounded(r, 1) == 1;
}

/* ERR_* travels as its positive number. */
static void put_err(struct buf *out, int err)
{
    CHECK(err <= 0);
    buf_varint(out, (uint64_t)-err);
}

static int read_err(struct reader *r)
{
    return -(int)read_bounded(r, 255); /* Codes of newer nodes pass, as errors without a name. */
}

/* ---- opening ---- */

void wire_hello_encode(const struct wire_hello *m, struct buf *out)
{
    buf_u32(out, WIRE_MAGIC);
    buf_u16(out, m->version_min);
    buf_u16(out, m->version_max);
    buf_u64(out, m->cluster);
    buf_u64(out, m->client);
}

/* What follows the fields known here belongs to newer versions: a hello alone may be longer. */
int wire_hello_decode(struct slice body, struct wire_hello *m)
{
    struct reader r = reader_of(body);
    if (read_u32(&r) != WIRE_MAGIC) return ERR_CORRUPT;
    m->version_min = read_u16(&r);
    m->version_max = read_u16(&r);
    m->cluster = read_u64(&r);
    m->client = read_u64(&r);
    return r.failed || m->version_min > m->version_max ? ERR_CORRUPT : 0;
}

void wire_welcome_encode(const struct wire_welcome *m, struct buf *out)
{
    buf_u16(out, m->version);
    buf_u8(out, m->node);
    buf_u64(out, m->cluster);
}

int wire_welcome_decode(struct slice body, struct wire_welcome *m)
{
    struct reader r = reader_of(body);
    m->version = read_u16(&r);
    m->node = read_u8(&r);
    m->cluster = read_u64(&r);
    if ((m->node == 0) != (m->cluster == 0)) return ERR_CORRUPT;
    return done(&r);
}

void wire_map_encode(const struct wire_map *m, struct buf *out)
{
    buf_u64(out, m->cluster);
    buf_varint(out, m->version);
    buf_varint(out, m->parts_count);
    buf_varint(out, m->nodes_count);
    for (unsigned i = 0; i < m->nodes_count; i++) {
        buf_u8(out, m->nodes[i].number);
        buf_u16(out, m->nodes[i].address.port);
        buf_slice(out, slice_str(m->nodes[i].address.host));
    }
}

static void map_node_decode(struct reader *r, struct wire_node *node)
{
    *node = (struct wire_node){.number = read_u8(r)};
    node->address.port = read_u16(r);
    struct slice host = read_slice(r, HOST_BYTES_MAX);
    if (host.len == 0 || node->number == 0 || memchr(host.data, 0, host.len) != NULL)
        r->failed = true;
    else
        memcpy(node->address.host, host.data, host.len);
}

int wire_map_decode(struct slice body, struct wire_map *m)
{
    struct reader r = reader_of(body);
    *m = (struct wire_map){.cluster = read_u64(&r)};
    m->version = read_varint(&r);
    m->parts_count = (unsigned)read_bounded(&r, PARTITIONS_MAX);
    m->nodes_count = (unsigned)read_bounded(&r, NODES_MAX);
    if (m->cluster == 0 || m->parts_count == 0 || m->nodes_count == 0) return ERR_CORRUPT;
    for (unsigned i = 0; i < m->nodes_count && !r.failed; i++) {
        map_node_decode(&r, &m->nodes[i]);
        for (unsigned k = 0; k < i; k++)
            if (m->nodes[k].number == m->nodes[i].number) return ERR_CORRUPT;
    }
    return done(&r);
}

void wire_leaders_encode(const struct wire_leader *leaders, unsigned count, struct buf *out)
{
    buf_varint(out, count);
    for (unsigned i = 0; i < count; i++) {
        buf_varint(out, leaders[i].part);
        buf_u8(out, leaders[i].node);
        buf_varint(out, leaders[i].term);
    }
}

int wire_leaders_decode(struct slice body, struct wire_leader *leaders, unsigned *count)
{
    struct reader r = reader_of(body);
    *count = (unsigned)read_bounded(&r, PARTITIONS_MAX);
    for (unsigned i = 0; i < *count; i++) {
        leaders[i].part = (part_t)read_bounded(&r, PARTITIONS_MAX - 1);
        leaders[i].node = read_u8(&r);
        leaders[i].term = read_varint(&r);
    }
    return done(&r);
}

/* ---- requests and answers ---- */

static void end_encode(const struct wire_end *end, struct buf *out)
{
    buf_u64(out, end->id);
    put_err(out, end->err);
    if (end->err == 0) return;
    buf_varint(out, end->after_ms);
    buf_u8(out, end->leader);
    buf_varint(out, end->term);
}

static void end_decode(struct reader *r, struct wire_end *end)
{
    *end = (struct wire_end){.id = read_u64(r)};
    end->err = read_err(r);
    if (end->err == 0) return;
    end->after_ms = (uint32_t)read_bounded(r, UINT32_MAX);
    end->leader = read_u8(r);
    end->term = read_varint(r);
}

void wire_set_id(struct buf *body, uint64_t id)
{
    CHECK(body->len >= sizeof(id));
    put_u64(body->data, id);
}

void wire_txn_begin(uint64_t id, struct buf *out)
{
    buf_u64(out, id);
}

int wire_txn_decode(struct slice body, struct wire_txn *m)
{
    struct reader r = reader_of(body);
    m->id = read_u64(&r);
    if (r.failed || reader_left(&r) > TXN_BYTES_MAX) return ERR_CORRUPT;
    m->txn = read_bytes(&r, reader_left(&r));
    return done(&r);
}

void wire_txn_done_encode(const struct wire_txn_done *m, struct buf *out)
{
    end_encode(&m->end, out);
    if (m->end.err == 0) outcome_encode(&m->outcome, out);
}

int wire_txn_done_decode(struct slice body, struct wire_txn_done *m)
{
    struct reader r = reader_of(body);
    end_decode(&r, &m->end);
    m->outcome = (struct outcome){0};
    if (m->end.err == 0) outcome_decode(&r, &m->outcome);
    return done(&r);
}

static bool check_valid(const struct txn_check *check)
{
    return check->kind >= TXN_IF_PRESENT && check->kind < TXN_IF_KINDS_END &&
           check->key.len <= KEY_BYTES_MAX && check->value.len <= VALUE_BYTES_MAX;
}

static void check_encode(const struct txn_check *check, struct buf *out)
{
    buf_u8(out, (uint8_t)check->kind);
    buf_slice(out, check->key);
    buf_slice(out, check->value);
    buf_varint(out, check->number);
}

static void check_decode(struct reader *r, struct txn_check *check)
{
    *check = (struct txn_check){.kind = (enum txn_check_kind)read_u8(r)};
    check->key = read_slice(r, KEY_BYTES_MAX);
    check->value = read_slice(r, VALUE_BYTES_MAX);
    check->number = read_varint(r);
    if (!check_valid(check)) r->failed = true;
}

/* The rules that both sides hold an input to. */
static int query_check(const struct store_query *query)
{
    if (query->kind < STORE_HEAD || query->kind >= STORE_QUERY_KINDS_END) return ERR_INVAL;
    if (query->stream.len == 0) return ERR_INVAL;
    if (query->limit_count == 0 && query->kind != STORE_HEAD) return ERR_INVAL;
    if (query->stream.len > STREAM_NAME_BYTES_MAX) return ERR_TOO_BIG;
    if (query->prefix.len > KEY_BYTES_MAX || query->after.len > AFTER_BYTES_MAX) return ERR_TOO_BIG;
    if (query->checks_count > WIRE_CHECKS_MAX) return ERR_TOO_BIG;
    for (unsigned i = 0; i < query->checks_count; i++)
        if (!check_valid(&query->checks[i])) return ERR_INVAL;
    return 0;
}

int wire_query_encode(const struct wire_query *m, struct buf *out)
{
    const struct store_query *query = &m->query;
    int err = query_check(query);
    if (err != 0) return err;
    buf_u64(out, m->id);
    buf_u8(out, (uint8_t)query->kind);
    buf_u8(out, query->backwards ? QUERY_BACKWARDS : 0);
    buf_slice(out, query->stream);
    buf_varint(out, query->from);
    buf_varint(out, query->to);
    buf_slice(out, query->prefix);
    buf_slice(out, query->after);
    buf_varint(out, query->limit_count);
    buf_varint(out, query->limit_bytes);
    buf_varint(out, query->checks_count);
    for (unsigned i = 0; i < query->checks_count; i++)
        check_encode(&query->checks[i], out);
    return 0;
}

int wire_query_decode(struct slice body, struct wire_query *m)
{
    struct reader r = reader_of(body);
    struct store_query *query = &m->query;
    m->id = read_u64(&r);
    *query = (struct store_query){.kind = (enum store_query_kind)read_u8(&r)};
    query->backwards = (read_u8(&r) & QUERY_BACKWARDS) != 0;
    query->stream = read_slice(&r, STREAM_NAME_BYTES_MAX);
    query->from = read_varint(&r);
    query->to = read_varint(&r);
    query->prefix = read_slice(&r, KEY_BYTES_MAX);
    query->after = read_slice(&r, AFTER_BYTES_MAX);
    query->limit_count = (uint32_t)read_bounded(&r, UINT32_MAX);
    query->limit_bytes = (uint32_t)read_bounded(&r, UINT32_MAX);
    query->checks_count = (unsigned)read_bounded(&r, WIRE_CHECKS_MAX);
    for (unsigned i = 0; i < query->checks_count; i++)
        check_decode(&r, &m->checks[i]);
    query->checks = m->checks;
    int err = done(&r);
    if (err != 0) return err;
    return query_check(query) == 0 ? 0 : ERR_CORRUPT;
}

void wire_query_done_encode(const struct wire_query_done *m, struct buf *out)
{
    end_encode(&m->end, out);
    stream_head_encode(&m->head, out);
    buf_u16(out, m->failed);
    buf_varint(out, m->number);
    buf_u8(out, m->more);
    buf_varint(out, m->rows_count);
    buf_put(out, m->rows.data, m->rows.len);
}

int wire_query_done_decode(struct slice body, struct wire_query_done *m)
{
    struct reader r = reader_of(body);
    end_decode(&r, &m->end);
    stream_head_decode(&r, &m->head);
    m->failed = read_u16(&r);
    m->number = read_varint(&r);
    m->more = read_flag(&r);
    m->rows_count = (uint32_t)read_bounded(&r, WIRE_ROWS_COUNT_MAX);
    m->rows = read_bytes(&r, reader_left(&r));
    return done(&r);
}

void wire_heads_encode(uint64_t id, index_t since, const struct slice *streams, unsigned count,
                       struct buf *out)
{
    buf_u64(out, id);
    buf_varint(out, since);
    buf_varint(out, count);
    for (unsigned i = 0; i < count; i++)
        buf_slice(out, streams[i]);
}

int wire_heads_decode(struct slice body, struct wire_heads *m)
{
    struct reader r = reader_of(body);
    m->id = read_u64(&r);
    m->since = read_varint(&r);
    m->streams_count = (unsigned)read_bounded(&r, WIRE_HEADS_STREAMS_MAX);
    if (m->streams_count == 0) return ERR_CORRUPT;
    m->streams = r;
    for (unsigned i = 0; i < m->streams_count; i++)
        if (read_slice(&r, STREAM_NAME_BYTES_MAX).len == 0) return ERR_CORRUPT;
    return done(&r);
}

void wire_heads_done_encode(const struct wire_heads_done *m, struct buf *out)
{
    end_encode(&m->end, out);
    buf_varint(out, m->index);
    buf_varint(out, m->hits_count);
    buf_put(out, m->hits.data, m->hits.len);
}

int wire_heads_done_decode(struct slice body, struct wire_heads_done *m)
{
    struct reader r = reader_of(body);
    end_decode(&r, &m->end);
    m->index = read_varint(&r);
    m->hits_count = (unsigned)read_bounded(&r, WIRE_HEADS_STREAMS_MAX);
    m->hits = (struct slice){r.at, reader_left(&r)};
    for (unsigned i = 0; i < m->hits_count && !r.failed; i++) {
        struct stream_head head;
        read_bounded(&r, WIRE_HEADS_STREAMS_MAX - 1);
        stream_head_decode(&r, &head);
    }
    return done(&r);
}

void wire_changed_encode(const struct wire_changed *m, struct buf *out)
{
    buf_u64(out, m->id);
    buf_varint(out, m->part);
    buf_varint(out, m->since);
    buf_slice(out, m->after);
    buf_varint(out, m->limit_count);
}

int wire_changed_decode(struct slice body, struct wire_changed *m)
{
    struct reader r = reader_of(body);
    m->id = read_u64(&r);
    m->part = (part_t)read_bounded(&r, PARTITIONS_MAX - 1);
    m->since = read_varint(&r);
    m->after = read_slice(&r, STREAM_NAME_BYTES_MAX);
    m->limit_count = (uint32_t)read_bounded(&r, WIRE_HEADS_STREAMS_MAX);
    return m->limit_count == 0 ? ERR_CORRUPT : done(&r);
}

void wire_changed_done_encode(const struct wire_changed_done *m, struct buf *out)
{
    end_encode(&m->end, out);
    buf_varint(out, m->index);
    buf_u64(out, (uint64_t)m->time_ms);
    buf_u8(out, m->more);
    buf_varint(out, m->streams_count);
    buf_put(out, m->streams.data, m->streams.len);
}

int wire_changed_done_decode(struct slice body, struct wire_changed_done *m)
{
    struct reader r = reader_of(body);
    end_decode(&r, &m->end);
    m->index = read_varint(&r);
    m->time_ms = (int64_t)read_u64(&r);
    m->more = read_flag(&r);
    m->streams_count = (uint32_t)read_bounded(&r, WIRE_HEADS_STREAMS_MAX);
    m->streams = (struct slice){r.at, reader_left(&r)};
    for (uint32_t i = 0; i < m->streams_count && !r.failed; i++) {
        struct stream_head head;
        if (read_slice(&r, STREAM_NAME_BYTES_MAX).len == 0) r.failed = true;
        stream_head_decode(&r, &head);
    }
    return done(&r);
}

void wire_ask_encode(const struct wire_ask *m, struct buf *out)
{
    buf_u64(out, m->id);
    buf_slice(out, m->text);
}

int wire_ask_decode(struct slice body, struct wire_ask *m)
{
    struct reader r = reader_of(body);
    m->id = read_u64(&r);
    m->text = read_slice(&r, WIRE_TEXT_BYTES_MAX);
    return done(&r);
}

void wire_text_done_encode(const struct wire_text_done *m, struct buf *out)
{
    end_encode(&m->end, out);
    buf_slice(out, m->text);
}

int wire_text_done_decode(struct slice body, struct wire_text_done *m)
{
    struct reader r = reader_of(body);
    end_decode(&r, &m->end);
    m->text = read_slice(&r, WIRE_TEXT_BYTES_MAX);
    return done(&r);
}

void wire_error_encode(const struct wire_error *m, struct buf *out)
{
    put_err(out, m->err);
    buf_slice(out, m->text);
}

int wire_error_decode(struct slice body, struct wire_error *m)
{
    struct reader r = reader_of(body);
    m->err = read_err(&r);
    m->text = read_slice(&r, WIRE_TEXT_BYTES_MAX);
    return m->err == 0 ? ERR_CORRUPT : done(&r);
}

/* ---- tails, signals, sessions ---- */

void wire_tail_open_encode(const struct wire_tail_open *m, struct buf *out)
{
    buf_u64(out, m->tail);
    buf_slice(out, m->stream);
    buf_u8(out, m->flags);
    buf_varint(out, m->seq);
    buf_varint(out, m->version);
}

int wire_tail_open_decode(struct slice body, struct wire_tail_open *m)
{
    struct reader r = reader_of(body);
    m->tail = read_u64(&r);
    m->stream = read_slice(&r, STREAM_NAME_BYTES_MAX);
    m->flags = read_u8(&r);
    m->seq = read_varint(&r);
    m->version = read_varint(&r);
    return m->stream.len == 0 ? ERR_CORRUPT : done(&r);
}

void wire_tail_close_encode(uint64_t tail, struct buf *out)
{
    buf_u64(out, tail);
}

int wire_tail_close_decode(struct slice body, uint64_t *tail)
{
    struct reader r = reader_of(body);
    *tail = read_u64(&r);
    return done(&r);
}

void wire_event_encode(const struct wire_event *m, struct buf *out)
{
    CHECK(m->kind < WIRE_EVENT_KINDS_END);
    buf_u8(out, (uint8_t)m->kind);
    switch (m->kind) {
        case WIRE_EVENT_STARTED:
        case WIRE_EVENT_HEAD:
            stream_head_encode(&m->head, out);
            return;
        case WIRE_EVENT_RECORD:
            record_encode(&m->record, out);
            return;
        case WIRE_EVENT_ITEM:
            item_encode(&m->item, out);
            return;
        case WIRE_EVENT_SIGNAL:
            buf_slice(out, m->payload);
            return;
        case WIRE_EVENT_SESSION:
            buf_slice(out, m->key);
            buf_slice(out, m->payload);
            return;
        case WIRE_EVENT_SESSION_GONE:
            buf_slice(out, m->key);
            return;
        case WIRE_EVENT_SESSION_RESET:
            return;
        case WIRE_EVENT_KINDS_END:
            return;
    }
}

void wire_events_begin(uint64_t tail, struct buf *out)
{
    buf_u64(out, tail);
}

int wire_events_open(struct slice body, uint64_t *tail, struct reader *r)
{
    *r = reader_of(body);
    *tail = read_u64(r);
    return r->failed ? ERR_CORRUPT : 0;
}

int wire_event_decode(struct reader *r, struct wire_event *m)
{
    m->kind = (enum wire_event_kind)read_u8(r);
    switch (m->kind) {
        case WIRE_EVENT_STARTED:
        case WIRE_EVENT_HEAD:
            stream_head_decode(r, &m->head);
            break;
        case WIRE_EVENT_RECORD:
            record_decode(r, &m->record);
            break;
        case WIRE_EVENT_ITEM:
            item_decode(r, &m->item);
            break;
        case WIRE_EVENT_SIGNAL:
            m->payload = read_slice(r, WIRE_SIGNAL_BYTES_MAX);
            break;
        case WIRE_EVENT_SESSION:
            m->key = read_slice(r, KEY_BYTES_MAX);
            m->payload = read_slice(r, WIRE_SIGNAL_BYTES_MAX);
            break;
        case WIRE_EVENT_SESSION_GONE:
            m->key = read_slice(r, KEY_BYTES_MAX);
            break;
        case WIRE_EVENT_SESSION_RESET:
            break;
        case WIRE_EVENT_KINDS_END:
        default:
            r->failed = true;
    }
    return r->failed ? ERR_CORRUPT : 0;
}

void wire_tail_ended_encode(const struct wire_end *m, struct buf *out)
{
    end_encode(m, out);
}

int wire_tail_ended_decode(struct slice body, struct wire_end *m)
{
    struct reader r = reader_of(body);
    end_decode(&r, m);
    return m->err == 0 ? ERR_CORRUPT : done(&r);
}

void wire_signal_encode(const struct wire_signal *m, struct buf *out)
{
    buf_slice(out, m->stream);
    buf_slice(out, m->payload);
}

int wire_signal_decode(struct slice body, struct wire_signal *m)
{
    struct reader r = reader_of(body);
    m->stream = read_slice(&r, STREAM_NAME_BYTES_MAX);
    m->payload = read_slice(&r, WIRE_SIGNAL_BYTES_MAX);
    return m->stream.len == 0 ? ERR_CORRUPT : done(&r);
}

void wire_claim_encode(const struct wire_claim *m, struct buf *out)
{
    buf_u8(out, m->release);
    buf_slice(out, m->stream);
    buf_slice(out, m->key);
    buf_slice(out, m->payload);
}

int wire_claim_decode(struct reader *r, struct wire_claim *m)
{
    m->release = read_flag(r);
    m->stream = read_slice(r, STREAM_NAME_BYTES_MAX);
    m->key = read_slice(r, KEY_BYTES_MAX);
    m->payload = read_slice(r, WIRE_SIGNAL_BYTES_MAX);
    if (m->stream.len == 0 || m->key.len == 0) r->failed = true;
    return r->failed ? ERR_CORRUPT : 0;
}
