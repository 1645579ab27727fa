/* raft/gate_impl.h -- what the files of the gate share. Private to gate*.c.
 *
 * gate.c        calls from the host, and what follows each entry into libraft (gate_after)
 * gate_open.c   the beginning and the end
 * gate_view.c   accessors
 * gate_io.c     what libraft calls: struct raft_io and struct raft_fsm
 * gate_filter.c the rules about messages, in and out
 * gate_msg.c    messages as bytes
 *
 * libraft's rules for us: no callback of its runs inside a method of raft_io; its methods never
 * fail; nothing calls raft_* inside a callback. So methods queue, and gate_after acts. */
#ifndef RAFT_GATE_IMPL_H_
#define RAFT_GATE_IMPL_H_

#include "raft/gate_msg.h"

/* An append that libraft waits for. */
struct gate_append {
    struct raft_io_append *req;
    index_t end;   /* Its last entry. */
    batch_t batch; /* Durable with this batch of the WAL. */
};

/* Appends in the order of their submission: a ring that grows. */
struct gate_appends {
    struct gate_append *items; /* Owned. */
    size_t capacity;           /* A power of two, or 0. */
    size_t front, count;
    size_t durable_count; /* How many, from the front on, are on disk. */
};

/* A send whose callback is due. */
struct gate_sent {
    struct raft_io_send *req;
    int status;
    struct gate_sent *next;
};

/* An INSTALL_SNAPSHOT on its way (rule 17). */
struct gate_shipment {
    struct raft_io_send *req;
    uint64_t to;
    uint64_t seen_ms; /* When it was sent, or `to` last said that it is at it. */
    struct gate_shipment *next;
};

/* A message that waits to go out. */
struct gate_parcel {
    uint64_t to;
    size_t bytes;
    struct gate_parcel *next;
    uint8_t data[];
};

/* A message that waits to come in. */
struct gate_arrival {
    struct raft_message message;
    bool installing; /* Of its envelope. */
    bool fetched;    /* An install whose files are here. */
    size_t bytes;    /* About what it takes. */
    struct gate_arrival *next;
};

/* What the host was last told by changed(). */
struct gate_seen {
    int state;
    term_t term;
    uint64_t leader;
    bool ready, transferring, changing, installing;
    index_t configuration, uncommitted;
};

struct gate {
    struct raft raft;
    struct raft_io io;
    struct raft_fsm fsm;
    struct raft_tracer tracer; /* Ours, silent: libraft's own writes to stderr. */
    struct gate_config config;
    const struct gate_boot *boot; /* Inside gate_open only. */
    raft_io_tick_cb tick;
    raft_io_recv_cb recv;
    raft_io_close_cb closed;
    bool inside;  /* A call of the host is being worked on. */
    bool closing; /* Nothing is told to the host any more. */

    struct gate_appends appends;
    index_t next_index; /* The next append's: raft_io.append does not say. */
    batch_t durable;
    size_t log_bytes;

    term_t disk_term; /* As last given to the WAL. */
    uint64_t disk_vote;
    batch_t settle_batch; /* Term and vote are durable with it. */

    struct gate_sent *sent, **sent_tail;
    struct gate_shipment *shipments;
    struct gate_parcel *parcels, **parcels_tail;
    size_t parcels_bytes;
    struct gate_arrival *arrivals, **arrivals_tail;
    size_t arrivals_bytes;
    struct buf scratch; /* A message being encoded. */

    const struct raft_message *current; /* Being delivered to libraft. */
    term_t verified_term;               /* F2: in this term */
    index_t verified;                   /* our log equals its leader's up to here. */
    uint64_t appended_count;            /* Calls of raft_io.append. */

    term_t led_term;   /* F1: term in which we proposed our barrier. */
    term_t ready_term; /* Term whose barrier is committed. */
    struct raft_barrier barrier;
    bool barrier_busy;
    struct raft_transfer transfer;
    struct raft_change change;
    bool change_busy;

    index_t reported;         /* Told to the host by committed(). */
    struct buf configuration; /* The last GATE_CHANGE up to reported, */
    index_t configuration_index;

    struct raft_io_snapshot_get *gets[GATE_MEMBERS_MAX];
    size_t gets_count;
    bool get_asked;                    /* The host makes a snapshot, */
    bool get_again;                    /* or could not: ask with the next tick. */
    index_t checkpointed;              /* The newest manifest's index. */
    struct raft_io_snapshot_put *trim; /* libraft's own snapshot: its memory is about to shrink. */
    index_t trim_index;                /* Up to this entry. */

    bool fetched;                     /* An install whose files are here waits to be delivered. */
    bool fetching;                    /* The host gets what `fetch` names. */
    bool fetch_told;                  /* install() was called for it. */
    struct raft_message fetch;        /* Owned while fetching. */
    struct raft_io_snapshot_put *put; /* An install is being committed. */
    const struct raft_snapshot *put_snapshot; /* Until install_commit. */
    struct raft_buffer *put_bufs;             /* Its buffers, which libraft forgets at close. */

    struct gate_seen seen;
    struct gate_stats stats;
};

static inline bool gate_on(const struct gate *gate, enum gate_rule rule)
{
    return (gate->config.rules & (uint32_t)rule) != 0;
}

/* ---- libraft's log, which has no accessors of its own ---- */
const struct raft_entry *gate_entry(const struct gate *gate, index_t index); /* NULL: not there. */
term_t gate_term_of(const struct gate *gate, index_t index);                 /* 0: unknown. */
/* Where id is among the members, or their number. */
unsigned gate_member_at(const struct gate *gate, uint64_t id);
bool gate_sole_voter(const struct gate *gate);
/* Bytes that entries first .. last take in memory. */
size_t gate_entries_bytes(const struct gate *gate, index_t first, index_t last);
size_t gate_entry_cost(size_t data_bytes);

/* ---- gate.c ---- */
/* Hand out all callbacks that are due; the end of each call of the host. */
void gate_after(struct gate *gate);
/* The next send's callback; false when none is due. */
bool gate_after_sends(struct gate *gate);

/* ---- gate_io.c ---- */
void gate_io_init(struct gate *gate);
/* Term and vote into the WAL; messages wait until they are durable (rule GATE_VOTE). */
void gate_write_vote(struct gate *gate, term_t term, uint64_t vote);
/* Tell the host about entries up to index that are no commands; libraft applies those alone. */
void gate_report(struct gate *gate, index_t index);
size_t gate_appends_in_flight(const struct gate *gate); /* Not durable yet. */
void gate_appends_pop(struct gate *gate, struct gate_append *out);
/* As libraft wants one: it frees the result. */
struct raft_snapshot *gate_snapshot_copy(const struct gate_snapshot *from);
void gate_send_done(struct gate *gate, struct raft_io_send *req, int status);

/* ---- gate_filter.c ---- */
/* Take a message, whatever becomes of it. */
void gate_arrive(struct gate *gate, struct gate_arrival *arrival);
/* Give libraft what may go in by now; true when anything did. */
bool gate_admit(struct gate *gate);
void gate_arrival_free(struct gate_arrival *arrival);
/* A message of libraft's, corrected, encoded, sent or kept. */
void gate_emit(struct gate *gate, const struct raft_message *message);
/* Send what was kept and is free to go. */
void gate_flush(struct gate *gate);
void gate_verified(struct gate *gate, term_t term, index_t index);

#endif /* RAFT_GATE_IMPL_H_ */
