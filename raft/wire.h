/* raft/wire.h -- every message between the client library and a node, as a struct each.
 *
 * A client says HELLO, the node answers WELCOME, MAP and LEADERS, and says MAP and LEADERS again
 * whenever they change. A node that belongs to no cluster welcomes with node 0 and answers STATUS
 * and FORM alone. Requests carry an id that the client chose; their answer carries it back; answers
 * come in any order. What breaks a rule is answered with ERROR, then the connection is closed.
 *
 * Owns:   nothing. Decoded slices borrow from the frame's body.
 * Thread: any.
 * Errors: decoding gives ERR_CORRUPT for bytes that are no such message or exceed a limit, and
 *         never reads beyond them; outputs are undefined then.
 * Format: bodies of frames (raft/frame.h) whose kind is an enum wire_kind; integers as in
 *         log/codec.h. Numbers of kinds and errors never change their meaning. */
#ifndef RAFT_WIRE_H_
#define RAFT_WIRE_H_

#include "log/store.h"

enum wire_kind {
    /* Client to node. */
    WIRE_HELLO = 1,
    WIRE_PROBE, /* No body: say LEADERS for all partitions. Also shows that one is alive. */
    WIRE_TXN,
    WIRE_QUERY,
    WIRE_HEADS,
    WIRE_TAIL_OPEN,
    WIRE_TAIL_CLOSE,
    WIRE_SIGNAL,
    WIRE_CLAIMS,
    WIRE_STATUS,
    WIRE_FORM,
    WIRE_CHANGED,
    /* Node to client. */
    WIRE_WELCOME = 32,
    WIRE_MAP,
    WIRE_LEADERS,
    WIRE_TXN_DONE,
    WIRE_QUERY_DONE,
    WIRE_HEADS_DONE,
    WIRE_TAIL_EVENTS,
    WIRE_TAIL_ENDED,
    WIRE_TEXT_DONE, /* Answers STATUS and FORM. */
    WIRE_ERROR,
    WIRE_CHANGED_DONE,
    WIRE_KINDS_END
};

enum {
    WIRE_MAGIC = 0x796c7250, /* "Prly", little endian. */
    WIRE_VERSION_MIN = 1,    /* What this build speaks. */
    WIRE_VERSION_MAX = 1,
    WIRE_HEADS_STREAMS_MAX = 4096,       /* As client.h says. */
    WIRE_SIGNAL_BYTES_MAX = 4096,        /* One signal's or one session's payload. */
    WIRE_CLAIMS_BYTES_MAX = 256 * 1024,  /* One CLAIMS frame; more claims take more frames. */
    WIRE_ROWS_BYTES_MAX = 1024 * 1024,   /* Rows of one answer: the node stops there. */
    WIRE_ROWS_COUNT_MAX = 65536,         /* Likewise. */
    WIRE_CHECKS_MAX = 16,                /* Checks of one query. */
    WIRE_TEXT_BYTES_MAX = 512 * 1024,    /* Status or map as JSON; an error's words. */
    WIRE_EVENTS_BYTES_MAX = 1024 * 1024, /* Rows of one TAIL_EVENTS frame. */
};

/* ---- opening ---- */

struct wire_hello {
    uint16_t version_min, version_max;
    uint64_t cluster; /* 0: not known yet, any. */
    uint64_t client;  /* Drawn once per client: who claims a session. */
};
void wire_hello_encode(const struct wire_hello *m, struct buf *out);
MUST_CHECK int wire_hello_decode(struct slice body, struct wire_hello *m);

struct wire_welcome {
    uint16_t version;
    uint8_t node;     /* The node's number; 0: it belongs to no cluster. */
    uint64_t cluster; /* 0 likewise. */
};
void wire_welcome_encode(const struct wire_welcome *m, struct buf *out);
MUST_CHECK int wire_welcome_decode(struct slice body, struct wire_welcome *m);

/* What a client needs to know of a cluster. */
struct wire_map {
    uint64_t cluster;
    uint64_t version;     /* The larger one is the newer one. */
    unsigned parts_count; /* 1 .. PARTITIONS_MAX. */
    unsigned nodes_count; /* 1 .. NODES_MAX. */
    struct wire_node {
        uint8_t number;             /* From 1. */
        struct env_address address; /* For clients. */
    } nodes[NODES_MAX];
};
void wire_map_encode(const struct wire_map *m, struct buf *out);
MUST_CHECK int wire_map_decode(struct slice body, struct wire_map *m);

/* Who leads, as the node sees it. */
struct wire_leader {
    part_t part;
    uint8_t node; /* 0: unknown. */
    term_t term;
};
void wire_leaders_encode(const struct wire_leader *leaders, unsigned count, struct buf *out);
/* leaders: room for PARTITIONS_MAX. */
MUST_CHECK int wire_leaders_decode(struct slice body, struct wire_leader *leaders, unsigned *count);

/* ---- requests and answers ---- */

/* How a request ended, at the head of every answer. */
struct wire_end {
    uint64_t id;
    int err;           /* 0 or ERR_*. */
    uint32_t after_ms; /* ERR_BUSY: when to try again. */
    uint8_t leader;    /* ERR_NOT_LEADER, ERR_NO_LEADER: who leads, if the node knows; or 0. */
    term_t term;       /* Of that knowledge. */
};

/* A request that is kept and sent again under another id: every request's body begins with it. */
void wire_set_id(struct buf *body, uint64_t id);

struct wire_txn {
    uint64_t id;
    struct slice txn; /* Encoded as log/txn.h says. */
};
/* txn_encode to the same buffer completes the body. */
void wire_txn_begin(uint64_t id, struct buf *out);
MUST_CHECK int wire_txn_decode(struct slice body, struct wire_txn *m);

struct wire_txn_done {
    struct wire_end end;
    struct outcome outcome; /* When end.err is 0; zeroes otherwise. */
};
void wire_txn_done_encode(const struct wire_txn_done *m, struct buf *out);
MUST_CHECK int wire_txn_done_decode(struct slice body, struct wire_txn_done *m);

struct wire_query {
    uint64_t id;
    struct store_query query; /* The inputs; checks point into checks below after decoding. */
    struct txn_check checks[WIRE_CHECKS_MAX];
};
/* Reads m->query.checks wherever they are. ERR_INVAL, ERR_TOO_BIG: an input breaks a limit; out is
 * untouched then. */
MUST_CHECK int wire_query_encode(const struct wire_query *m, struct buf *out);
MUST_CHECK int wire_query_decode(struct slice body, struct wire_query *m);

/* The answer to a query: number and rows as log/query.h says. */
struct wire_query_done {
    struct wire_end end;
    struct stream_head head;
    uint16_t failed;
    uint64_t number;
    bool more;
    uint32_t rows_count;
    struct slice rows;
};
void wire_query_done_encode(const struct wire_query_done *m, struct buf *out);
MUST_CHECK int wire_query_done_decode(struct slice body, struct wire_query_done *m);

struct wire_heads {
    uint64_t id;
    index_t since;
    unsigned streams_count; /* 1 .. WIRE_HEADS_STREAMS_MAX. */
    struct reader streams;  /* After decoding: read_slice each, checked already. */
};
void wire_heads_encode(uint64_t id, index_t since, const struct slice *streams, unsigned count,
                       struct buf *out);
MUST_CHECK int wire_heads_decode(struct slice body, struct wire_heads *m);

struct wire_heads_done {
    struct wire_end end;
    index_t index;
    unsigned hits_count;
    struct slice hits; /* Varint place, stream_head_encode; each checked when decoded. */
};
void wire_heads_done_encode(const struct wire_heads_done *m, struct buf *out);
MUST_CHECK int wire_heads_done_decode(struct slice body, struct wire_heads_done *m);

/* Which streams of a partition changed: for feeds. */
struct wire_changed {
    uint64_t id;
    part_t part;
    index_t since;
    struct slice after;   /* At most STREAM_NAME_BYTES_MAX. */
    uint32_t limit_count; /* 1 .. WIRE_HEADS_STREAMS_MAX. */
};
void wire_changed_encode(const struct wire_changed *m, struct buf *out);
MUST_CHECK int wire_changed_decode(struct slice body, struct wire_changed *m);

struct wire_changed_done {
    struct wire_end end;
    index_t index;
    int64_t time_ms;
    bool more;
    uint32_t streams_count;
    struct slice streams; /* Slice, stream_head_encode; each checked when decoded. */
};
void wire_changed_done_encode(const struct wire_changed_done *m, struct buf *out);
MUST_CHECK int wire_changed_done_decode(struct slice body, struct wire_changed_done *m);

/* Of WIRE_STATUS (text empty) and WIRE_FORM (text: the map to be, as JSON). */
struct wire_ask {
    uint64_t id;
    struct slice text;
};
void wire_ask_encode(const struct wire_ask *m, struct buf *out);
MUST_CHECK int wire_ask_decode(struct slice body, struct wire_ask *m);

/* The answer to either: JSON, or empty. */
struct wire_text_done {
    struct wire_end end;
    struct slice text;
};
void wire_text_done_encode(const struct wire_text_done *m, struct buf *out);
MUST_CHECK int wire_text_done_decode(struct slice body, struct wire_text_done *m);

struct wire_error {
    int err;
    struct slice text; /* For people: what was wrong. */
};
void wire_error_encode(const struct wire_error *m, struct buf *out);
MUST_CHECK int wire_error_decode(struct slice body, struct wire_error *m);

/* ---- tails, signals, sessions ---- */

enum { WIRE_TAIL_HEADS = 1, WIRE_TAIL_SESSIONS = 2 };
struct wire_tail_open {
    uint64_t tail; /* Chosen by the client, one at a time per connection. */
    struct slice stream;
    uint8_t flags;
    seq_t seq;
    uint64_t version;
};
void wire_tail_open_encode(const struct wire_tail_open *m, struct buf *out);
MUST_CHECK int wire_tail_open_decode(struct slice body, struct wire_tail_open *m);

/* The client wants no more of it. */
void wire_tail_close_encode(uint64_t tail, struct buf *out);
MUST_CHECK int wire_tail_close_decode(struct slice body, uint64_t *tail);

/* A TAIL_EVENTS body: the tail's id, then events up to its end. Events are encoded once for all
 * who get them. */
enum wire_event_kind {
    WIRE_EVENT_STARTED = 1,   /* head: the read point. */
    WIRE_EVENT_HEAD,          /* head: all up to it was told now: the tail's new position. */
    WIRE_EVENT_RECORD,        /* record. */
    WIRE_EVENT_ITEM,          /* item. */
    WIRE_EVENT_SIGNAL,        /* payload. */
    WIRE_EVENT_SESSION,       /* key, payload: came, or changed its payload. */
    WIRE_EVENT_SESSION_GONE,  /* key. */
    WIRE_EVENT_SESSION_RESET, /* Those that are there follow. */
    WIRE_EVENT_KINDS_END
};
struct wire_event {
    enum wire_event_kind kind;
    struct stream_head head;
    struct record_view record;
    struct item_view item;
    struct slice key, payload;
};
void wire_event_encode(const struct wire_event *m, struct buf *out);
/* The tail's id in front of events. */
void wire_events_begin(uint64_t tail, struct buf *out);
/* Opens a body: *tail is its id; then wire_event_decode while something is left in r. */
MUST_CHECK int wire_events_open(struct slice body, uint64_t *tail, struct reader *r);
MUST_CHECK int wire_event_decode(struct reader *r, struct wire_event *m);

/* end.id is the tail's. ERR_RESET: the position is too old; ERR_NO_LEADER, ERR_NOT_LEADER: go
 * elsewhere; ERR_BUSY: this node carries too many. */
void wire_tail_ended_encode(const struct wire_end *m, struct buf *out);
MUST_CHECK int wire_tail_ended_decode(struct slice body, struct wire_end *m);

/* For those who follow the stream now. */
struct wire_signal {
    struct slice stream, payload;
};
void wire_signal_encode(const struct wire_signal *m, struct buf *out);
MUST_CHECK int wire_signal_decode(struct slice body, struct wire_signal *m);

/* A CLAIMS body is claims up to its end. */
struct wire_claim {
    bool release; /* The claimer lets go of it; payload is empty. */
    struct slice stream, key, payload;
};
void wire_claim_encode(const struct wire_claim *m, struct buf *out);
MUST_CHECK int wire_claim_decode(struct reader *r, struct wire_claim *m);

#endif /* RAFT_WIRE_H_ */
