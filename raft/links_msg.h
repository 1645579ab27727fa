/* raft/links_msg.h -- what travels on the links between nodes, below the items.
 *
 * Who connects says HELLO, and waits for WELCOME or REFUSED; then it sends ITEMS, and hears ALIVE
 * now and then. Nothing else comes back on a link: answers go on the link of the other direction.
 *
 * Owns: nothing; decoded slices borrow from the frame's body. Thread: any.
 * Errors: ERR_CORRUPT for bytes that are no such message; ERR_VERSION for another magic or version.
 * Format: bodies of frames (raft/frame.h) whose kind is an enum link_frame. */
#ifndef RAFT_LINKS_MSG_H_
#define RAFT_LINKS_MSG_H_

#include "raft/frame.h"

enum link_frame { LINK_HELLO = 1, LINK_WELCOME, LINK_REFUSED, LINK_ITEMS, LINK_ALIVE };

enum {
    LINK_MAGIC = 0x6b6e4c50, /* "PLnk", little endian. */
    LINK_VERSION = 1,
    LINK_REASON_BYTES_MAX = 256,       /* Words of a refusal. */
    LINK_ITEM_HEAD_BYTES = 1 + 4,      /* u8 kind, u32 bytes. */
    LINK_ITEM_BYTES_MAX = 2560 * 1024, /* One entry of 1 MiB, or a manifest, and heads. */
    LINK_HELLO_BODY_MAX = 512,         /* Before a peer said who it is, no more is read. */
};

/* Two connections each way: bulk never delays a heartbeat. */
enum link_class { LINK_MESSAGES, LINK_BULK, LINK_CLASSES };

struct link_hello {
    uint64_t cluster;
    uint64_t from; /* Raft id of who connects. */
    uint8_t to;    /* Node number of whom it wants. */
    enum link_class class;
    uint64_t boot;  /* Never falls from one start of `from` to the next. */
    uint64_t start; /* Drawn at each start: tells two of equal boot apart. */
    uint32_t count; /* Grows with every connection of that start. */
};
void link_hello_encode(const struct link_hello *m, struct buf *out);
MUST_CHECK int link_hello_decode(struct slice body, struct link_hello *m);

struct link_welcome {
    uint64_t from; /* Raft id of who was connected to. */
};
void link_welcome_encode(const struct link_welcome *m, struct buf *out);
MUST_CHECK int link_welcome_decode(struct slice body, struct link_welcome *m);

/* The reason of LINK_REFUSED, borrowed. */
MUST_CHECK int link_refused_decode(struct slice body, struct slice *reason);

/* What every ITEMS frame says of its sender. */
struct link_state {
    int64_t wall_ms; /* Its clock when the frame was made. */
    uint8_t flags;   /* LINK_STATE_LOW. */
};
enum { LINK_STATE_LOW = 1 }; /* Its disk is nearly full. */

void link_items_begin(const struct link_state *state, struct buf *out); /* Items follow. */
/* Opens an ITEMS body; then link_item_next until it is false. */
MUST_CHECK int link_items_open(struct slice body, struct link_state *state, struct reader *r);
/* The next item; false at the end, or when damaged (r->failed tells). */
MUST_CHECK bool link_item_next(struct reader *r, uint8_t *kind, struct slice *bytes);

#endif /* RAFT_LINKS_MSG_H_ */
