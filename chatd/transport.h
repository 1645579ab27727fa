/* chatd/transport.h -- WebSocket and HTTP for one worker; libwebsockets is known behind it alone.
 *
 * One transport serves one port on one uv loop: path /ws with subprotocol parley.v1 becomes a
 * connection that carries text; everything else is HTTP, one request a connection, answered from
 * the files in memory or by the request handler. Several transports, one per thread, may share a
 * port (SO_REUSEPORT); they share nothing else.
 *
 *     accepted --handshake--> open --conn_close, a peer's close, silence, a stalled socket-->
 * closed
 *
 * Output: frames gather in a queue per connection and are written, many at once, at the end of
 * the loop's turn. The queue is bounded. Above CONN_QUEUE_BYTES_HIGH a connection is blocked:
 * pushes should stop (the client catches up later), answers still fit. A send beyond
 * CONN_QUEUE_BYTES_MAX is refused. A slow network is never cut; a socket that takes no byte for
 * stall_ms is.
 *
 * Owns:    its sockets and connections. Borrows: config and handlers as told below.
 * Thread:  its loop's. Create transports one after another, before the threads start (the library
 *          initialises global state then).
 * Errors:  0 or ERR_*. Units: names end in ms or bytes. Format: PROTOCOL.md, RFC 6455.
 * Process: RLIMIT_NOFILE should be what all transports together need and a tenth more, never
 *          "unlimited": the library keeps, and at each close walks, a table of that size. */
#ifndef CHATD_TRANSPORT_H_
#define CHATD_TRANSPORT_H_

#include <uv.h>

#include "chatd/error.h"
#include "chatd/limits.h"
#include "chatd/webroot.h"
#include "log/base.h"

struct transport; /* Opaque. */
struct conn;      /* Opaque: one WebSocket; from opened until closed returns. */
struct request;   /* Opaque: one HTTP request; from request until request_reply. */
struct message;   /* Opaque: one frame ready to be sent to any number of connections. */

/* Callbacks run on the loop. arg is transport_create's. */
struct transport_handlers {
    /* A WebSocket is open. What it returns is user in the callbacks about conn. */
    void *(*opened)(void *arg, struct conn *conn);
    /* A whole text message of 1 .. CLIENT_FRAME_BYTES_MAX bytes; text is borrowed until return, and
     * not yet checked for UTF-8. Never after conn_close. */
    void (*frame)(void *user, struct slice text);
    /* A blocked connection is down to CONN_QUEUE_BYTES_LOW. */
    void (*unblocked)(void *user);
    /* The last callback about a connection, once, in a later turn than conn_close; conn is gone
     * when it returns. */
    void (*closed)(void *user);
    /* A GET or HEAD of a path that is no file in memory; must lead to one request_reply, now or
     * later. */
    void (*request)(void *arg, struct request *request);
};

/* What a test may shorten; transport_limits_default gives what the protocol says. */
struct transport_limits {
    unsigned conns_max;         /* Sockets at once, handshakes included; beyond: 503. */
    unsigned handshakes_per_ip; /* Sockets of one address without a finished handshake; 429. */
    unsigned handshake_ms;      /* For the whole HTTP request; rounded up to seconds. */
    unsigned ping_ms;           /* Nothing heard: ping and {}. */
    unsigned silent_ms;         /* Nothing heard: closed with 4009. */
    unsigned stall_ms;          /* No byte taken by the socket: killed. */
    unsigned close_ms;          /* From our close frame to the end of the socket. */
    unsigned walk_ms;           /* Every connection is looked at once in this time. */
};
struct transport_limits transport_limits_default(void);

struct transport_config {
    const char *host;           /* Numeric IPv4 address. Borrowed during the call. */
    uint16_t port;              /* 0: any free one, see transport_port. */
    const char *const *origins; /* Allowed values of Origin; copied. None: the page's own host. */
    size_t origins_count;
    const struct webroot *files; /* Borrowed as long as the transport lives; may be NULL. */
    struct transport_limits limits;
};

/* Numbers since the start, for metrics. */
struct transport_stats {
    uint64_t accepted;   /* Sockets. */
    uint64_t refused;    /* Sockets beyond a limit, handshakes and requests that were refused. */
    uint64_t no_files;   /* Times that accept found no file descriptor left. */
    uint64_t frames_in;  /* Text messages received. */
    uint64_t frames_out; /* Messages sent. */
    uint64_t writes;     /* Writes that carried them. */
    uint64_t stalled;    /* Connections killed for taking no byte. */
    uint64_t silent;     /* Connections closed with 4009. */
};

/* Listen and serve. handlers: copied. ERR_ADDR_IN_USE, ERR_PERM, ERR_INVAL (host), ERR_IO. */
MUST_CHECK int transport_create(uv_loop_t *loop, const struct transport_config *config,
                                const struct transport_handlers *handlers, void *arg,
                                struct transport **out);

/* Whether host:port can be listened on by us alone. To be asked once per process, before the first
 * create: a port that another process shares by SO_REUSEPORT looks free to it.
 * ERR_ADDR_IN_USE, ERR_PERM, ERR_INVAL (host), ERR_IO. */
MUST_CHECK int transport_probe(const char *host, uint16_t port);

uint16_t transport_port(const struct transport *t);
unsigned transport_conns(const struct transport *t); /* Open WebSockets. */
struct transport_stats transport_stats(const struct transport *t);

/* Stop listening, refuse upgrades with 503, and close per_second open connections a second with
 * 4001, oldest first. Calling again only changes the rate. transport_conns tells when it is done.
 */
void transport_drain(struct transport *t, unsigned per_second);

/* Begin the end: kills what is left; closed has run for each open connection when this returns.
 * Requests without an answer still want theirs. Not from inside one of the transport's callbacks.
 * Then run the loop until uv_run returns because nothing is left on it (an env on the same loop is
 * destroyed before), then transport_destroy. */
void transport_close(struct transport *t);

/* Free t after transport_close, once uv_run has returned because nothing was left on the loop. */
void transport_destroy(struct transport *t);

/* ---- messages ---- */

/* A text frame with a copy of text (at most SERVER_FRAME_BYTES_MAX); the caller owns one
 * reference. Not shared between threads. */
struct message *message_text(struct slice text);
void message_unref(struct message *m); /* Frees it with the last reference. */

/* ---- connections ---- */

/* Queue m, taking a reference of its own. ERR_BUSY: it does not fit into the queue (one message
 * always fits into an empty one): a client that does not read its answers may be closed with
 * CLOSE_FULL. ERR_CLOSED: the connection is ending. After an error nothing is queued. */
MUST_CHECK int conn_send(struct conn *conn, struct message *m);

/* True from CONN_QUEUE_BYTES_HIGH on until the unblocked callback. */
bool conn_blocked(const struct conn *conn);

/* Close with code and reason (cut to 120 bytes) behind what is queued; closed follows, close_ms
 * later at most. Closing twice does nothing. */
void conn_close(struct conn *conn, enum close_code code, const char *reason);

/* ---- HTTP ---- */

/* The path without its query, percent-decoded by the library: compare it with known ones, never
 * hand it to a file system. Lives until the reply. */
const char *request_path(const struct request *request);

/* Answer with status, type and a copy of body; request is gone. Does nothing to a client that
 * went away meanwhile. */
void request_reply(struct request *request, int status, const char *type, struct slice body);

#endif /* CHATD_TRANSPORT_H_ */
