/* raft/tails_impl.h -- private to tails*.c: subscribers, and the points they stand at. */
#ifndef RAFT_TAILS_IMPL_H_
#define RAFT_TAILS_IMPL_H_

#include "raft/frame.h"
#include "raft/sessions.h"
#include "raft/table.h"
#include "raft/tails.h"

/* A stream that somebody follows. */
struct tails_stream {
    struct table_link link;
    struct tails *tails;
    struct tails_stream *next, **at; /* All of them. */
    part_t part;
    struct buf name;
    struct point *points;
    uint64_t version; /* The latest heard of; 0: none yet. */
    bool dirty;       /* In tails->dirty. */
    struct tails_stream *next_dirty;
};

/* A position in a stream, with those who stand there.
 *
 *     CONFIRMING -> READING <-> RESTING      (a paused point rests, whatever comes)
 *
 * The last subscriber to leave takes the point along, unless something is under way: then its
 * callback does. */
enum point_state { POINT_CONFIRMING, POINT_READING, POINT_RESTING, POINT_STATES };
struct point {
    struct tails_stream *stream;
    struct point *next, **at; /* Of its stream. */
    enum point_state state;
    bool heads;   /* Its subscribers want heads alone. */
    bool started; /* They were told STARTED. */
    bool paused;  /* It has one subscriber, whose connection is full. */
    bool more;    /* The last read was stopped by a limit. */
    bool paging;  /* That was among the items: they are told up to `after`, of page_head. */
    seq_t seq;    /* Told up to here. */
    uint64_t version;
    struct tails_sub *subs;
    struct part_confirm confirm;
    struct point_read *read; /* READING. */
    struct stream_head page_head;
    struct buf after;
};

struct tails_sub {
    struct table_link link;
    struct tails_conn *conn;
    struct tails_sub *next, **at; /* Of its connection. */
    uint64_t id;                  /* The client's. */
    bool sessions;
    bool missed; /* Session events were lost while its connection was full. */
    struct point *point;
    struct tails_sub *point_next, **point_at;
};

struct tails {
    struct env *env;
    struct part *const *parts; /* NULL before tails_join. */
    unsigned parts_count;
    struct sessions *sessions;
    struct table streams_table, subs_table;
    struct tails_stream *streams, *dirty;
    struct env_task pump;
    struct buf events; /* Scratch: what is told to several. */
    bool stopped;
};

/* ---- tails.c ---- */
void stream_dirty(struct tails_stream *stream); /* Look at it at the end of this turn. */
bool tails_conn_full(const struct tails_conn *c);
/* One frame with these events. */
void sub_tell(const struct tails_sub *sub, struct slice events);
void sub_tell_sessions(struct tails_sub *sub);
void sub_end(struct tails_sub *sub, int err); /* Tells and frees it; its point may go with it. */

/* ---- tails_point.c ---- */
struct point *point_create(struct tails_stream *stream, bool heads, seq_t seq, uint64_t version);
void point_destroy(struct point *point);
void point_join(struct point *point, struct tails_sub *sub);
void point_leave(struct tails_sub *sub); /* Frees the point when it was the last and may. */
void point_confirm(struct point *point); /* Then reads. */
void point_pump(struct point *point);    /* Read what is new, if anything is; may free it. */

#endif /* RAFT_TAILS_IMPL_H_ */
