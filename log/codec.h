/* log/codec.h -- bytes out and bytes in: a growing buffer and a bounded reader.
 *
 * Every decoder of network or disk bytes reads through struct reader, which cannot step out of
 * its bytes: the first read that would sets failed, and all later reads give zeroes.
 * Format: integers little endian; varint is LEB128, at most 10 bytes, shortest form only.
 * Thread: any, one at a time. */
#ifndef LOG_CODEC_H_
#define LOG_CODEC_H_

#include "log/base.h"

/* Bytes being written. All zeroes is an empty buffer; buf_free ends it. */
struct buf {
    uint8_t *data;   /* Owned; NULL while nothing was reserved. */
    size_t len;      /* Bytes written. */
    size_t capacity; /* Bytes reserved. */
};

void buf_free(struct buf *b);                   /* Leaves an empty buffer. */
void buf_reserve(struct buf *b, size_t more);   /* Room for more bytes beyond len. */
uint8_t *buf_grow(struct buf *b, size_t bytes); /* Adds bytes, uninitialised; where they are. */
void buf_put(struct buf *b, const void *data, size_t bytes); /* data copied. */
void buf_u8(struct buf *b, uint8_t value);
void buf_u16(struct buf *b, uint16_t value);
void buf_u32(struct buf *b, uint32_t value);
void buf_u64(struct buf *b, uint64_t value);
void buf_varint(struct buf *b, uint64_t value);
void buf_slice(struct buf *b, struct slice s); /* varint length, then the bytes (copied). */
static inline struct slice buf_bytes(const struct buf *b)
{
    return (struct slice){b->data, b->len};
}

/* Integers at fixed places, for headers that are filled in afterwards. */
void put_u16(uint8_t *at, uint16_t value);
void put_u32(uint8_t *at, uint32_t value);
void put_u64(uint8_t *at, uint64_t value);
uint16_t get_u16(const uint8_t *at);
uint32_t get_u32(const uint8_t *at);
uint64_t get_u64(const uint8_t *at);

/* Bytes being read. */
struct reader {
    const uint8_t *at; /* Borrowed from whom the reader was made for. */
    const uint8_t *end;
    bool failed;
};

static inline struct reader reader_of(struct slice s)
{
    const uint8_t *at = s.data == NULL ? (const uint8_t *)"" : s.data; /* NULL + 0 is undefined. */
    return (struct reader){at, at + s.len, false};
}
static inline size_t reader_left(const struct reader *r)
{
    return (size_t)(r->end - r->at);
}
uint8_t read_u8(struct reader *r);
uint16_t read_u16(struct reader *r);
uint32_t read_u32(struct reader *r);
uint64_t read_u64(struct reader *r);
uint64_t read_varint(struct reader *r);
/* A varint of at most max; a larger one fails the reader and gives 0. */
uint64_t read_bounded(struct reader *r, uint64_t max);
struct slice read_bytes(struct reader *r, size_t bytes);     /* Borrowed from the reader's bytes. */
struct slice read_slice(struct reader *r, size_t bytes_max); /* As buf_slice wrote it; borrowed. */
/* True when nothing failed and nothing is left. */
static inline bool reader_done(const struct reader *r)
{
    return !r->failed && r->at == r->end;
}

#endif /* LOG_CODEC_H_ */
