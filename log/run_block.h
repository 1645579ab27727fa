/* log/run_block.h -- what a run's file is made of: framed blocks, and rows packed into them.
 *
 * A frame is {u32 stored bytes, u32 content bytes, u64 XXH3 over kind, place and the bytes}; the
 * place is the run's id and the frame's offset, so that a block that is whole but was written to
 * another file or place is damage too. Rows share the front of their key with the row before.
 *
 * Thread: any. Errors: ERR_CORRUPT.
 * Format: log/FORMAT.md, chapter Run. Private to run_write.c and run_read.c, and their tests. */
#ifndef LOG_RUN_BLOCK_H_
#define LOG_RUN_BLOCK_H_

#include "log/row.h"

enum run_block_kind { RUN_BLOCK_ROWS = 1, RUN_BLOCK_INDEX, RUN_BLOCK_FILTER, RUN_BLOCK_FOOTER };

enum {
    RUN_VERSION = 1,
    RUN_HEAD_BYTES = 32,     /* Magic, version, id, checksum. */
    RUN_FRAME_BYTES = 16,    /* In front of each block. */
    RUN_TAIL_BYTES = 32,     /* Where the footer is, magic, checksum. */
    RUN_FILTER_BYTES = 4096, /* One filter block: about 3,200 streams at 10 bits. */
    RUN_FILTER_BITS = 10,    /* Per stream, with 6 probes: 1 % answer "maybe" wrongly. */
    RUN_FILTER_PROBES = 6,
};

/* Where in which run a block is. */
struct run_place {
    uint64_t id;
    uint64_t offset;
    enum run_block_kind kind;
};

/* Append frame and content; pack: packed when that is shorter. */
void run_frame_put(struct buf *out, struct run_place place, struct slice content, bool pack);
/* Content bytes and frame length from a frame's head; ERR_CORRUPT: more than content_max. */
MUST_CHECK int run_frame_size(struct slice head, size_t content_max, size_t *frame_bytes);
/* Check and unpack the whole frame into out (appended). */
MUST_CHECK int run_frame_get(struct slice frame, struct run_place place, size_t content_max,
                             struct buf *out);

/* Rows being packed. All zeroes is an empty one; the buffer is the caller's to free. */
struct rows_packer {
    struct buf bytes;
    struct row_key last; /* Key of the last row. */
};
void rows_pack(struct rows_packer *packer, const struct row *row);
void rows_pack_reset(struct rows_packer *packer); /* Empty again. */

/* Rows being read from a block's content. */
struct rows_reader {
    struct reader r; /* Private; failed: damage. */
    struct row_key key;
};
void rows_open(struct rows_reader *rows, struct slice content);
/* The next row: its key is borrowed until the next call, its value from the content. False at the
 * end, or when damaged (r.failed). Keys that do not rise are damage. */
MUST_CHECK bool rows_next(struct rows_reader *rows, struct row *out);

/* A row of an index: the last key of the block it names. */
struct run_link {
    uint64_t offset;
    uint64_t frame_bytes;
};
void run_link_put(struct buf *out, const struct run_link *link);
bool run_link_get(struct slice value, struct run_link *out);

/* What the footer says; top: rows of the upper index, borrowed. */
struct run_footer {
    uint64_t id;
    index_t from, to; /* Commit indexes (from, to]. */
    uint64_t rows_count, streams_count;
    uint64_t filter_offset; /* First of the filter's blocks, all of one frame size. */
    uint64_t filter_blocks;
    struct slice top;
};
void run_footer_put(struct buf *out, const struct run_footer *footer);
MUST_CHECK int run_footer_get(struct slice content, struct run_footer *out);

void run_head_put(uint8_t out[RUN_HEAD_BYTES], uint64_t id);
MUST_CHECK int run_head_get(const uint8_t head[RUN_HEAD_BYTES], uint64_t *id); /* ERR_VERSION. */
void run_tail_put(uint8_t out[RUN_TAIL_BYTES], uint64_t id, const struct run_link *footer);
MUST_CHECK int run_tail_get(const uint8_t tail[RUN_TAIL_BYTES], uint64_t id,
                            struct run_link *footer);

/* The filter: which block a stream's hash belongs to, and its bits in there. */
uint64_t run_filter_block(uint64_t hash, uint64_t blocks);
void run_filter_add(uint8_t bits[RUN_FILTER_BYTES], uint64_t hash);
bool run_filter_has(const uint8_t bits[RUN_FILTER_BYTES], uint64_t hash);

#endif /* LOG_RUN_BLOCK_H_ */
