/* raft/links_msg.c -- see links_msg.h. */
#include "raft/links_msg.h"

void link_hello_encode(const struct link_hello *m, struct buf *out)
{
    buf_u32(out, LINK_MAGIC);
    buf_u16(out, LINK_VERSION);
    buf_u64(out, m->cluster);
    buf_u64(out, m->from);
    buf_u8(out, m->to);
    buf_u8(out, (uint8_t)m->class);
    buf_u64(out, m->boot);
    buf_u64(out, m->start);
    buf_u32(out, m->count);
}

int link_hello_decode(struct slice body, struct link_hello *m)
{
    struct reader r = reader_of(body);
    uint32_t magic = read_u32(&r);
    uint16_t version = read_u16(&r);
    if (r.failed) return ERR_CORRUPT;
    if (magic != LINK_MAGIC || version != LINK_VERSION) return ERR_VERSION;
    m->cluster = read_u64(&r);
    m->from = read_u64(&r);
    m->to = read_u8(&r);
    uint8_t class = read_u8(&r);
    m->class = class == LINK_BULK ? LINK_BULK : LINK_MESSAGES;
    m->boot = read_u64(&r);
    m->start = read_u64(&r);
    m->count = read_u32(&r);
    return reader_done(&r) && class < LINK_CLASSES && m->from != 0 ? 0 : ERR_CORRUPT;
}

void link_welcome_encode(const struct link_welcome *m, struct buf *out)
{
    buf_u64(out, m->from);
}

int link_welcome_decode(struct slice body, struct link_welcome *m)
{
    struct reader r = reader_of(body);
    m->from = read_u64(&r);
    return reader_done(&r) && m->from != 0 ? 0 : ERR_CORRUPT;
}

int link_refused_decode(struct slice body, struct slice *reason)
{
    if (body.len > LINK_REASON_BYTES_MAX) return ERR_CORRUPT;
    *reason = body;
    return 0;
}

void link_items_begin(const struct link_state *state, struct buf *out)
{
    buf_u64(out, (uint64_t)state->wall_ms);
    buf_u8(out, state->flags);
}

int link_items_open(struct slice body, struct link_state *state, struct reader *r)
{
    *r = reader_of(body);
    state->wall_ms = (int64_t)read_u64(r);
    state->flags = read_u8(r);
    return r->failed ? ERR_CORRUPT : 0;
}

bool link_item_next(struct reader *r, uint8_t *kind, struct slice *bytes)
{
    if (r->failed || reader_left(r) == 0) return false;
    *kind = read_u8(r);
    size_t len = read_u32(r);
    *bytes = read_bytes(r, len);
    return !r->failed;
}
