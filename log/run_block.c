/* log/run_block.c -- see run_block.h. */
#include "log/run_block.h"

#include "log/pack.h"

static const uint8_t head_magic[8] = "parlyrun";
static const uint8_t tail_magic[8] = "nurylrap";

/* ---- frames ---- */

static uint64_t frame_sum(struct run_place place, struct slice sizes, struct slice stored)
{
    uint64_t seed_of[3] = {place.id, place.offset, (uint64_t)place.kind};
    uint64_t seed = hash64((struct slice){seed_of, sizeof(seed_of)});
    return hash64_seed(stored, hash64_seed(sizes, seed));
}

void run_frame_put(struct buf *out, struct run_place place, struct slice content, bool pack)
{
    size_t start = out->len;
    buf_u64(out, 0);
    buf_u64(out, 0);
    size_t stored = pack ? lz4_pack(content, out) : content.len;
    if (stored >= content.len) {
        out->len = start + RUN_FRAME_BYTES;
        buf_put(out, content.data, content.len);
        stored = content.len;
    }
    uint8_t *head = out->data + start;
    put_u32(head, (uint32_t)stored);
    put_u32(head + 4, (uint32_t)content.len);
    put_u64(head + 8, frame_sum(place, (struct slice){head, 8},
                                (struct slice){head + RUN_FRAME_BYTES, stored}));
}

int run_frame_size(struct slice head, size_t content_max, size_t *frame_bytes)
{
    CHECK(head.len >= RUN_FRAME_BYTES);
    uint32_t stored = get_u32(head.data);
    uint32_t content = get_u32((const uint8_t *)head.data + 4);
    if (content > content_max || stored > content) return ERR_CORRUPT;
    *frame_bytes = RUN_FRAME_BYTES + (size_t)stored;
    return 0;
}

int run_frame_get(struct slice frame, struct run_place place, size_t content_max, struct buf *out)
{
    const uint8_t *head = frame.data;
    size_t frame_bytes = 0;
    if (frame.len < RUN_FRAME_BYTES) return ERR_CORRUPT;
    int err = run_frame_size(frame, content_max, &frame_bytes);
    if (err != 0 || frame_bytes != frame.len) return ERR_CORRUPT;
    struct slice stored = {head + RUN_FRAME_BYTES, frame.len - RUN_FRAME_BYTES};
    if (get_u64(head + 8) != frame_sum(place, (struct slice){head, 8}, stored)) return ERR_CORRUPT;
    uint32_t content = get_u32(head + 4);
    if (stored.len < content) return lz4_unpack(stored, content, out);
    buf_put(out, stored.data, stored.len);
    return 0;
}

/* ---- rows: varint shared, slice of the rest of the key, varint index, u8 flags, slice value ----
 */

void rows_pack(struct rows_packer *packer, const struct row *row)
{
    struct slice key = row->key;
    const uint8_t *bytes = key.data;
    size_t shared = 0;
    while (shared < key.len && shared < packer->last.len &&
           bytes[shared] == packer->last.bytes[shared])
        shared++;
    CHECK(key.len <= ROW_KEY_BYTES_MAX && row->value.len <= ROW_VALUE_BYTES_MAX);
    CHECK(packer->last.len == 0 || slice_compare(row_key_bytes(&packer->last), key) < 0);
    buf_varint(&packer->bytes, shared);
    buf_slice(&packer->bytes, (struct slice){bytes + shared, key.len - shared});
    buf_varint(&packer->bytes, row->index);
    buf_u8(&packer->bytes, row->flags);
    buf_slice(&packer->bytes, row->value);
    memcpy(packer->last.bytes + shared, bytes + shared, key.len - shared);
    packer->last.len = key.len;
}

void rows_pack_reset(struct rows_packer *packer)
{
    packer->bytes.len = 0;
    packer->last.len = 0;
}

void rows_open(struct rows_reader *rows, struct slice content)
{
    rows->r = reader_of(content);
    rows->key.len = 0;
}

/* Put shared old bytes and the new ones together; false when the key did not rise. */
static bool key_step(struct row_key *key, size_t shared, struct slice rest)
{
    struct slice old_rest = {key->bytes + shared, key->len - shared};
    if (shared + rest.len > ROW_KEY_BYTES_MAX) return false;
    if (key->len != 0 && slice_compare(old_rest, rest) >= 0) return false;
    if (rest.len != 0) memcpy(key->bytes + shared, rest.data, rest.len);
    key->len = shared + rest.len;
    return key->len != 0;
}

bool rows_next(struct rows_reader *rows, struct row *out)
{
    struct reader *r = &rows->r;
    if (r->failed || reader_left(r) == 0) return false;
    size_t shared = (size_t)read_bounded(r, rows->key.len);
    struct slice rest = read_slice(r, ROW_KEY_BYTES_MAX);
    if (r->failed || !key_step(&rows->key, shared, rest)) {
        r->failed = true;
        return false;
    }
    out->index = read_varint(r);
    out->flags = read_u8(r);
    out->value = read_slice(r, ROW_VALUE_BYTES_MAX);
    out->key = row_key_bytes(&rows->key);
    if (out->flags & ~ROW_DELETED) r->failed = true;
    return !r->failed;
}

void run_link_put(struct buf *out, const struct run_link *link)
{
    buf_varint(out, link->offset);
    buf_varint(out, link->frame_bytes);
}

bool run_link_get(struct slice value, struct run_link *out)
{
    struct reader r = reader_of(value);
    out->offset = read_varint(&r);
    out->frame_bytes = read_varint(&r);
    return reader_done(&r) && out->frame_bytes >= RUN_FRAME_BYTES &&
           out->offset <= UINT64_MAX / 2 && out->frame_bytes <= RUN_FOOTER_BYTES_MAX * 2;
}

/* ---- head, footer, tail ---- */

void run_head_put(uint8_t out[RUN_HEAD_BYTES], uint64_t id)
{
    memcpy(out, head_magic, sizeof(head_magic));
    put_u64(out + 8, RUN_VERSION);
    put_u64(out + 16, id);
    put_u64(out + 24, hash64((struct slice){out, 24}));
}

int run_head_get(const uint8_t head[RUN_HEAD_BYTES], uint64_t *id)
{
    if (memcmp(head, head_magic, sizeof(head_magic)) != 0) return ERR_CORRUPT;
    if (get_u64(head + 24) != hash64((struct slice){head, 24})) return ERR_CORRUPT;
    if (get_u64(head + 8) != RUN_VERSION) return ERR_VERSION;
    *id = get_u64(head + 16);
    return 0;
}

void run_tail_put(uint8_t out[RUN_TAIL_BYTES], uint64_t id, const struct run_link *footer)
{
    put_u64(out, footer->offset);
    put_u64(out + 8, footer->frame_bytes);
    memcpy(out + 16, tail_magic, sizeof(tail_magic));
    put_u64(out + 24, hash64_seed((struct slice){out, 24}, id));
}

int run_tail_get(const uint8_t tail[RUN_TAIL_BYTES], uint64_t id, struct run_link *footer)
{
    if (memcmp(tail + 16, tail_magic, sizeof(tail_magic)) != 0) return ERR_CORRUPT;
    if (get_u64(tail + 24) != hash64_seed((struct slice){tail, 24}, id)) return ERR_CORRUPT;
    footer->offset = get_u64(tail);
    footer->frame_bytes = get_u64(tail + 8);
    return 0;
}

void run_footer_put(struct buf *out, const struct run_footer *footer)
{
    buf_u64(out, footer->id);
    buf_varint(out, footer->from);
    buf_varint(out, footer->to);
    buf_varint(out, footer->rows_count);
    buf_varint(out, footer->streams_count);
    buf_varint(out, footer->filter_offset);
    buf_varint(out, footer->filter_blocks);
    buf_slice(out, footer->top);
}

int run_footer_get(struct slice content, struct run_footer *out)
{
    struct reader r = reader_of(content);
    out->id = read_u64(&r);
    out->from = read_varint(&r);
    out->to = read_varint(&r);
    out->rows_count = read_varint(&r);
    out->streams_count = read_varint(&r);
    out->filter_offset = read_varint(&r);
    out->filter_blocks = read_varint(&r);
    out->top = read_slice(&r, RUN_FOOTER_BYTES_MAX);
    return reader_done(&r) && out->from <= out->to ? 0 : ERR_CORRUPT;
}

/* ---- filter ---- */

uint64_t run_filter_block(uint64_t hash, uint64_t blocks)
{
    CHECK(blocks > 0 && blocks <= UINT32_MAX);
    return (hash >> 32) * blocks >> 32;
}

/* Double hashing (Kirsch and Mitzenmacher 2006) from the half that did not choose the block. */
static uint32_t filter_bit(uint64_t hash, unsigned probe)
{
    uint32_t start = (uint32_t)hash & 0xffff;
    uint32_t step = (uint32_t)hash >> 16 | 1;
    return (start + probe * step) % (RUN_FILTER_BYTES * 8);
}

void run_filter_add(uint8_t bits[RUN_FILTER_BYTES], uint64_t hash)
{
    for (unsigned i = 0; i < RUN_FILTER_PROBES; i++) {
        uint32_t bit = filter_bit(hash, i);
        bits[bit / 8] = (uint8_t)(bits[bit / 8] | 1 << bit % 8);
    }
}

bool run_filter_has(const uint8_t bits[RUN_FILTER_BYTES], uint64_t hash)
{
    for (unsigned i = 0; i < RUN_FILTER_PROBES; i++) {
        uint32_t bit = filter_bit(hash, i);
        if ((bits[bit / 8] & 1 << bit % 8) == 0) return false;
    }
    return true;
}
