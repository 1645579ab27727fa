/* raft/frame.c -- see frame.h.
 *
 * Happy path: most often whole frames come in one piece, and are given where they lie. Only the
 * beginning of a frame that was cut by the end of a piece is copied, and completed by the next. */
#include "raft/frame.h"

#include "log/pack.h"

static uint64_t frame_sum(uint8_t kind, struct slice body)
{
    return hash64_seed(body, (uint64_t)body.len << 8 | kind);
}

size_t frame_begin(struct buf *out, uint8_t kind)
{
    size_t at = out->len;
    uint8_t *head = buf_grow(out, FRAME_HEAD_BYTES);
    memset(head, 0, FRAME_HEAD_BYTES);
    head[4] = kind;
    return at;
}

void frame_end(struct buf *out, size_t at)
{
    CHECK(at + FRAME_HEAD_BYTES <= out->len);
    uint8_t *head = out->data + at;
    struct slice body = {head + FRAME_HEAD_BYTES, out->len - at - FRAME_HEAD_BYTES};
    CHECK(body.len <= FRAME_BYTES_MAX);
    put_u32(head, (uint32_t)body.len);
    put_u64(head + 5, frame_sum(head[4], body));
}

void frame_put(struct buf *out, uint8_t kind, struct slice body)
{
    size_t at = frame_begin(out, kind);
    buf_put(out, body.data, body.len);
    frame_end(out, at);
}

/* Bytes of the frame that begins at data, of which `bytes` are there: its head's alone while that
 * is not whole. ERR_TOO_BIG by its head. */
static int frame_size(const uint8_t *data, size_t bytes, size_t body_max, size_t *size)
{
    *size = FRAME_HEAD_BYTES;
    if (bytes < FRAME_HEAD_BYTES) return 0;
    size_t body_bytes = get_u32(data);
    if (body_bytes > body_max) return ERR_TOO_BIG;
    *size += body_bytes;
    return 0;
}

static int frame_give(const uint8_t *data, size_t size, frame_cb each, void *arg)
{
    struct slice body = {data + FRAME_HEAD_BYTES, size - FRAME_HEAD_BYTES};
    uint8_t kind = data[4];
    if (get_u64(data + 5) != frame_sum(kind, body)) return ERR_CORRUPT;
    return each(arg, kind, body);
}

/* Complete the frame whose beginning is held, as far as bytes reach; *taken of them were used. */
static int held_complete(struct frame_parser *parser, struct slice bytes, size_t body_max,
                         frame_cb each, void *arg, size_t *taken)
{
    struct buf *held = &parser->held;
    const uint8_t *at = bytes.data;
    size_t used = 0;
    for (;;) {
        size_t size;
        int err = frame_size(held->data, held->len, body_max, &size);
        if (err != 0) return err;
        if (held->len == size && size >= FRAME_HEAD_BYTES) {
            /* A head alone is a whole frame only when its body is empty. */
            err = frame_give(held->data, size, each, arg);
            if (err != 0) return err;
            held->len = 0;
            break;
        }
        size_t more = size - held->len;
        if (more > bytes.len - used) more = bytes.len - used;
        if (more == 0) break;
        buf_put(held, at + used, more);
        used += more;
    }
    *taken = used;
    return 0;
}

int frame_feed(struct frame_parser *parser, struct slice bytes, size_t body_max, frame_cb each,
               void *arg)
{
    CHECK(body_max <= FRAME_BYTES_MAX);
    const uint8_t *at = bytes.data;
    size_t left = bytes.len;
    if (parser->held.len > 0) {
        size_t taken = 0;
        int err = held_complete(parser, bytes, body_max, each, arg, &taken);
        if (err != 0) return err;
        at += taken;
        left -= taken;
        /* A burst of large frames must not keep its memory on an idle link. */
        if (parser->held.len == 0 && parser->held.capacity > 64 * 1024) buf_free(&parser->held);
    }
    while (left > 0) {
        size_t size;
        int err = frame_size(at, left, body_max, &size);
        if (err != 0) return err;
        if (size > left) {
            buf_put(&parser->held, at, left);
            break;
        }
        err = frame_give(at, size, each, arg);
        if (err != 0) return err;
        at += size;
        left -= size;
    }
    return 0;
}

void frame_parser_free(struct frame_parser *parser)
{
    buf_free(&parser->held);
}
