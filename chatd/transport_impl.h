/* chatd/transport_impl.h -- what the three files of the transport share; nobody else includes it.
 *
 *   transport.c         context, callbacks of the library, keepalive, drain, end
 *   transport_conn.c    connections: messages, queue, flush, close, kill
 *   transport_http.c    the upgrade's checks, files in memory, requests and replies
 *   transport_accept.c  the listening socket, limits on who may connect
 *
 * The rules L1-L23 are what the library (libwebsockets 4.1.6, Debian 12) must be kept from; each
 * is named where it is obeyed. */
#ifndef CHATD_TRANSPORT_IMPL_H_
#define CHATD_TRANSPORT_IMPL_H_

#include "chatd/transport.h"

struct lws;
struct lws_context;
struct lws_vhost;

/* The life of a socket; see the table of moves in transport_conn.c. */
enum conn_phase {
    CONN_HANDSHAKE, /* Accepted; nothing whole was received. */
    CONN_HTTP,      /* A request is being answered; the socket closes with the answer. */
    CONN_OPEN,      /* A WebSocket. */
    CONN_CLOSING,   /* A WebSocket with our close frame queued or sent, or the peer's received. */
    CONN_KILLED,    /* The library was asked to end the socket; nothing is written any more. */
    CONN_GONE,      /* The socket is closed; the struct waits for the library to let go of it. */
};

/* One socket, from accept until the library destroys its own struct for it. */
struct conn {
    struct transport *t; /* Borrowed. */
    struct lws *wsi;     /* Borrowed; never used in CONN_GONE (L16). */
    enum conn_phase phase;
    bool opened;  /* The handlers know it: closed is due. */
    uint32_t ip;  /* IPv4, network order. */
    bool counted; /* In its address's count of handshakes. */
    void *user;   /* The handlers'. */

    struct conn *prev; /* In t->first .. t->last, oldest first. */
    struct conn *next;
    struct conn *dirty_prev; /* In t->dirty while dirty. */
    struct conn *dirty_next;
    bool dirty;
    bool want_write; /* The library will call when the socket takes bytes again. */
    bool blocked;

    struct message **queue; /* A ring of queue_slots (a power of 2, or 0). */
    uint32_t queue_slots;
    uint32_t queue_head;
    uint32_t queue_count;
    size_t queue_bytes;

    struct buf rx; /* A message of several pieces. */

    uint64_t since_ms;    /* Entered its phase. */
    uint64_t heard_ms;    /* Anything came. */
    bool pinged;          /* Since heard_ms. */
    uint64_t stall_ms;    /* Since when its socket took no byte; 0: nothing waits. */
    uint64_t acked_bytes; /* What the peer's host had acknowledged then. */

    struct request *request; /* Owned by the handler until its reply. */
    struct reply *reply;     /* Owned; waits for the socket. */
};

/* Sockets of one address that have not finished their handshake. */
struct ip_count {
    uint32_t ip;
    unsigned count;
    struct ip_count *next; /* In its bucket. */
};

enum {
    IP_BUCKETS = 256,
    HTTP_REPLY_MS = 60 * 1000, /* A slow client may take this long to read an answer. */
};

struct transport {
    uv_loop_t *loop; /* Borrowed. */
    struct lws_context *context;
    struct lws_vhost *vhost;
    struct transport_handlers handlers;
    void *arg;
    struct transport_limits limits;
    char **origins; /* Owned copies. */
    size_t origins_count;
    const struct webroot *files; /* Borrowed. */
    struct transport_stats stats;

    int listen_fd; /* -1 when it does not listen. */
    int spare_fd;  /* Given up to be able to refuse when there are no descriptors left. */
    uint16_t port;
    struct ip_count *ips[IP_BUCKETS];

    uv_poll_t accept_poll;
    uv_timer_t accept_retry;
    uv_timer_t tick;
    uv_check_t check;
    uv_prepare_t prepare;
    uv_idle_t idle; /* Active while something is dirty: the loop must not wait. */

    struct conn *first;
    struct conn *last;
    struct conn *cursor; /* Where the walk goes on; NULL: at first. */
    struct conn *dirty;  /* To be flushed at the end of this turn. */
    unsigned sockets;    /* In the list. */
    unsigned open;       /* WebSockets among them, until closed. */
    size_t queue_bytes;  /* Sum over the connections. */
    size_t rx_bytes;     /* Likewise, of unfinished messages. */

    bool draining;
    unsigned drain_per_second;
    uint64_t drain_credit; /* Thousandths of a connection. */
    bool ended;            /* transport_close was called. */

    struct message *ping;              /* Ping and {} in one. */
    uint8_t scratch[CONN_WRITE_BYTES]; /* Where frames are gathered into one write. */
};

/* ---- transport_conn.c ---- */
uint64_t transport_now_ms(const struct transport *t);
struct conn *conn_create(struct transport *t); /* In CONN_HANDSHAKE, in the list. */
void conn_destroy(struct conn *conn); /* Tells the handlers closed, if that is still due. */
void conn_move(struct conn *conn, enum conn_phase to);
void conn_opened(struct conn *conn); /* The upgrade is done: tells the handlers. */
void conn_gone(struct conn *conn);   /* The library closed the socket: tells the handlers. */
void conn_kill(struct conn *conn);   /* End it soon without a word; safe from anywhere. */
MUST_CHECK int conn_flush(struct conn *conn); /* ERR_CLOSED: the socket is dead. */
void conn_heard(struct conn *conn);
void conn_peer_closed(struct conn *conn); /* Its close frame came first. */
void conn_received(struct conn *conn, struct slice piece, bool first, bool last, size_t remaining);
bool conn_backlog(const struct conn *conn); /* Something waits to be taken by the socket. */
void transport_flush(struct transport *t);
struct message *message_raw(struct slice bytes); /* Frames ready as they are. */

/* ---- transport_http.c ---- */
/* Check an upgrade; 0: go on. -1: refused, the answer is written. */
int http_upgrade(struct conn *conn);
/* Answer or hand on the request that is in; what the library's callback must return. */
int http_request(struct conn *conn, const char *path, size_t path_bytes);
/* Write the reply that waits for it; likewise. */
int http_writable(struct conn *conn);
/* The socket is gone: the handler may keep its request, and reply to nobody. */
void http_abandon(struct conn *conn);

/* ---- transport_accept.c ---- */
MUST_CHECK int accept_open(struct transport *t, const char *host, uint16_t port);
void accept_start(struct transport *t);
void accept_stop(struct transport *t);  /* Takes what is waiting, then listens no more. */
void accept_free(struct transport *t);  /* What is left after the loop has ended. */
void handshake_done(struct conn *conn); /* It counts no more for its address. Twice is fine. */

#endif /* CHATD_TRANSPORT_IMPL_H_ */
