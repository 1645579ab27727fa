/* raft/links.h -- this node's connections to the other nodes of its cluster.
 *
 * For each peer and class (messages, bulk) this node keeps one connection that it sends on, and
 * takes one that it receives on. A connection begins with HELLO {cluster, who, which start of it};
 * another cluster or version, and a connection older than the newest seen, are refused with a
 * reason. What a link takes arrives in order and at most once, or is lost with its connection.
 * Items appended in one turn to one link share a frame and a write.
 *
 * Owns:   its listener and connections. Borrows: env, diag.
 * Thread: the loop's. Handlers run from the loop, never from inside a call.
 * Errors: whatever goes wrong with a connection closes it, with a line in the log; it is made again
 *         after LINK_BACKOFF_MS_MIN, doubled up to LINK_BACKOFF_MS_MAX.
 * Bounds: LINK_BACKLOG_BYTES_MAX per connection; what does not fit is refused to the caller. */
#ifndef RAFT_LINKS_H_
#define RAFT_LINKS_H_

#include "log/diag.h"
#include "raft/links_msg.h"

struct links; /* Opaque. Made by links_create, ended by links_close or links_abandon. */

enum {
    LINK_BACKLOG_BYTES_MAX = 8 * 1024 * 1024, /* What a slow peer may leave unread. */
    LINK_BACKOFF_MS_MIN = 50,
    LINK_BACKOFF_MS_MAX = 1000,
    LINK_OPEN_MS = 2000,      /* From connect, or accept, to the end of the greeting. */
    LINK_SILENT_MS = 3000,    /* Sent something, heard nothing for so long: made anew. */
    LINK_ALIVE_MS = 500,      /* At most so often who receives shows that it does. */
    LINK_GREETINGS_MAX = 64,  /* Accepted connections that did not say HELLO yet. */
    LINK_CLOCK_MS_MAX = 5000, /* A peer's clock heard longer ago than this counts no more. */
};

struct links_peer {
    uint8_t node; /* Its number, 1 .. 255. */
    struct env_address address;
};

struct links_handlers {
    /* One item came from raft id `from`. bytes: borrowed until return. */
    void (*received)(void *arg, uint64_t from, enum link_class class, uint8_t kind,
                     struct slice bytes);
    /* Our sending connection of this class to `to` opened or closed: what was sent before may be
     * lost. */
    void (*up)(void *arg, uint64_t to, enum link_class class, bool up);
    void *arg;
};

struct links_config {
    uint64_t cluster;
    uint64_t self;                  /* Our raft id: incarnation * 256 + node. */
    uint64_t boot;                  /* Grows with every start of this node. */
    struct env_address listen;      /* Port 0: any. */
    const struct links_peer *peers; /* The others; copied. */
    unsigned peers_count;           /* At most NODES_MAX. */
    struct diag *diag;              /* Borrowed. */
    struct links_handlers handlers;
};

/* Listens and begins to connect. ERR_ADDR_IN_USE and the like: *out is untouched. */
MUST_CHECK int links_create(struct env *env, const struct links_config *config, struct links **out);
uint16_t links_port(const struct links *links);
void links_tick(struct links *links); /* Every 50 ms: reconnects and time-outs. */

/* Close everything, free links, then call closed(arg) on a later turn. No handler runs any more. */
void links_close(struct links *links, void (*closed)(void *arg), void *arg);
/* For the simulator's crash: frees memory alone. */
void links_abandon(struct links *links);

/* Bytes that an item to raft id `to` may have now; 0 while there is no connection to that id. */
size_t links_room(struct links *links, uint64_t to, enum link_class class);
/* Where to append the bytes of one item, which links_end ends; NULL when links_room is 0. Nothing
 * else of links is called in between, and the caller stays within links_room. */
struct buf *links_begin(struct links *links, uint64_t to, enum link_class class, uint8_t kind);
void links_end(struct links *links);
/* A whole item; bytes copied. False: not sent, for want of room or connection. */
bool links_send(struct links *links, uint64_t to, enum link_class class, uint8_t kind,
                struct slice bytes);

/* The raft id behind the sending connection to a node; 0 while there is none. */
uint64_t links_peer_id(const struct links *links, uint8_t node);
/* What raft id `from` said last: its wall clock, brought up to now, and its flags. False when it
 * said nothing for LINK_CLOCK_MS_MAX. */
MUST_CHECK bool links_heard(const struct links *links, uint64_t from, int64_t *wall_ms,
                            uint8_t *flags);
void links_set_flags(struct links *links, uint8_t flags); /* LINK_STATE_*, told from now on. */

struct links_stats {
    uint64_t frames_sent, bytes_sent, bytes_received;
    uint64_t refused_count; /* Connections refused, by us or to us. */
    unsigned up_count;      /* Sending connections open now, of both classes. */
};
void links_stats(const struct links *links, struct links_stats *out);

#endif /* RAFT_LINKS_H_ */
