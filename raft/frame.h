/* raft/frame.h -- frames on every link of the log store: between nodes, and to clients.
 *
 * A frame is a kind and a body. The checksum covers both, so that a byte damaged on the way, or a
 * peer that speaks something else, is met at the first frame and never decoded.
 *
 * Thread: any, one at a time. Errors: ERR_TOO_BIG, ERR_CORRUPT: close the connection.
 * Format: u32 bytes of the body, u8 kind, u64 XXH3-64 of the body seeded with kind and bytes, then
 *         the body. Little endian. */
#ifndef RAFT_FRAME_H_
#define RAFT_FRAME_H_

#include "log/codec.h"
#include "log/limits.h"

enum { FRAME_HEAD_BYTES = 4 + 1 + 8 };

/* Begin a frame at the end of out; append its body to out, then frame_end with the place that
 * frame_begin gave. Frames do not nest. The body is at most FRAME_BYTES_MAX (checked). */
size_t frame_begin(struct buf *out, uint8_t kind);
void frame_end(struct buf *out, size_t at);

/* A whole frame at once; body is copied. */
void frame_put(struct buf *out, uint8_t kind, struct slice body);

/* Takes frames out of a stream of bytes. All zeroes is an empty one; frame_parser_free ends it. */
struct frame_parser {
    struct buf held; /* Private: the beginning of a frame whose end did not come yet. */
};

/* One frame; body is borrowed until return. Not 0: parsing stops, frame_feed returns it. */
typedef int (*frame_cb)(void *arg, uint8_t kind, struct slice body);

/* Take bytes (borrowed until return) and give every frame that is whole now to each, in order. A
 * body beyond body_max bytes: ERR_TOO_BIG, before it is gathered. A checksum that does not hold:
 * ERR_CORRUPT. After any error the parser may only be freed. each may not feed the same parser. */
MUST_CHECK int frame_feed(struct frame_parser *parser, struct slice bytes, size_t body_max,
                          frame_cb each, void *arg);
void frame_parser_free(struct frame_parser *parser);

#endif /* RAFT_FRAME_H_ */
