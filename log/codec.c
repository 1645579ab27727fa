/* log/codec.c -- see codec.h. */
#include "log/codec.h"

#include <stdlib.h>

enum { BUF_BYTES_FIRST = 256, VARINT_BYTES_MAX = 10 };

void buf_free(struct buf *b)
{
    free(b->data);
    *b = (struct buf){0};
}

void buf_reserve(struct buf *b, size_t more)
{
    size_t need = b->len + more;
    CHECK(need >= b->len);
    if (need <= b->capacity) return;
    size_t capacity = b->capacity == 0 ? BUF_BYTES_FIRST : b->capacity;
    while (capacity < need)
        capacity += capacity / 2 + 1;
    b->data = mem_resize(b->data, capacity);
    b->capacity = capacity;
}

uint8_t *buf_grow(struct buf *b, size_t bytes)
{
    buf_reserve(b, bytes);
    uint8_t *at = b->data + b->len;
    b->len += bytes;
    return at;
}

void buf_put(struct buf *b, const void *data, size_t bytes)
{
    if (bytes == 0) return;
    memcpy(buf_grow(b, bytes), data, bytes);
}

void buf_u8(struct buf *b, uint8_t value)
{
    *buf_grow(b, 1) = value;
}

void buf_u16(struct buf *b, uint16_t value)
{
    put_u16(buf_grow(b, 2), value);
}

void buf_u32(struct buf *b, uint32_t value)
{
    put_u32(buf_grow(b, 4), value);
}

void buf_u64(struct buf *b, uint64_t value)
{
    put_u64(buf_grow(b, 8), value);
}

void buf_varint(struct buf *b, uint64_t value)
{
    buf_reserve(b, VARINT_BYTES_MAX);
    while (value >= 0x80) {
        b->data[b->len++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    b->data[b->len++] = (uint8_t)value;
}

void buf_slice(struct buf *b, struct slice s)
{
    buf_varint(b, s.len);
    buf_put(b, s.data, s.len);
}

/* The compiler turns these loops into single moves on a little endian machine. */
void put_u16(uint8_t *at, uint16_t value)
{
    for (int i = 0; i < 2; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

void put_u32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

void put_u64(uint8_t *at, uint64_t value)
{
    for (int i = 0; i < 8; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

uint16_t get_u16(const uint8_t *at)
{
    return (uint16_t)(at[0] | at[1] << 8);
}

uint32_t get_u32(const uint8_t *at)
{
    uint32_t value = 0;
    for (int i = 0; i < 4; i++)
        value |= (uint32_t)at[i] << (8 * i);
    return value;
}

uint64_t get_u64(const uint8_t *at)
{
    uint64_t value = 0;
    for (int i = 0; i < 8; i++)
        value |= (uint64_t)at[i] << (8 * i);
    return value;
}

/* Where the next bytes are, or NULL after failing the reader. */
static const uint8_t *reader_take(struct reader *r, size_t bytes)
{
    if (r->failed || reader_left(r) < bytes) {
        r->failed = true;
        return NULL;
    }
    const uint8_t *at = r->at;
    r->at += bytes;
    return at;
}

uint8_t read_u8(struct reader *r)
{
    const uint8_t *at = reader_take(r, 1);
    return at == NULL ? 0 : *at;
}

uint16_t read_u16(struct reader *r)
{
    const uint8_t *at = reader_take(r, 2);
    return at == NULL ? 0 : get_u16(at);
}

uint32_t read_u32(struct reader *r)
{
    const uint8_t *at = reader_take(r, 4);
    return at == NULL ? 0 : get_u32(at);
}

uint64_t read_u64(struct reader *r)
{
    const uint8_t *at = reader_take(r, 8);
    return at == NULL ? 0 : get_u64(at);
}

uint64_t read_varint(struct reader *r)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t byte = read_u8(r);
        if (r->failed) return 0;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte & 0x80) continue;
        bool longer_than_needed = byte == 0 && shift > 0;
        bool overflows = shift == 63 && byte > 1;
        if (!longer_than_needed && !overflows) return value;
        break;
    }
    r->failed = true;
    return 0;
}

uint64_t read_bounded(struct reader *r, uint64_t max)
{
    uint64_t value = read_varint(r);
    if (value <= max) return value;
    r->failed = true;
    return 0;
}

struct slice read_bytes(struct reader *r, size_t bytes)
{
    const uint8_t *at = reader_take(r, bytes);
    return at == NULL ? (struct slice){NULL, 0} : (struct slice){at, bytes};
}

struct slice read_slice(struct reader *r, size_t bytes_max)
{
    size_t bytes = (size_t)read_bounded(r, bytes_max);
    return read_bytes(r, bytes);
}
