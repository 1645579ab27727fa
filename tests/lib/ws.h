/* tests/lib/ws.h -- a small blocking WebSocket and HTTP client for tests, over plain sockets.
 *
 * Owns:   its socket and buffer. Borrows: all arguments until return.
 * Thread: any, one at a time per struct ws.
 * Errors: what a test cannot go on without (a connection, a handshake asked for with ws_open)
 *         aborts it (CHECK); what a server may do wrong or on purpose is returned.
 * Units:  every read waits at most WS_WAIT_MS. */
#ifndef TESTS_LIB_WS_H_
#define TESTS_LIB_WS_H_

#include "log/base.h"
#include "log/codec.h"

enum {
    WS_WAIT_MS = 5000,
    WS_TEXT = 1,
    WS_BINARY = 2,
    WS_CLOSE = 8,
    WS_PING = 9,
    WS_PONG = 10,
};

/* The caller's memory; private but for fd. */
struct ws {
    int fd;        /* -1 when closed. A test may set socket options. */
    struct buf in; /* Bytes read; those before at are used up. */
    size_t at;
};

struct ws_frame {
    int opcode;
    bool fin;
    struct slice payload; /* Borrowed until the next read. */
    int close_code;       /* Of a WS_CLOSE frame; 0 when it has none. */
};

/* Connect to 127.0.0.1:port and no more. */
void ws_connect(struct ws *ws, uint16_t port);
/* Likewise, with a receive buffer of a few KiB: what is not read soon fills the server's side. */
void ws_connect_small(struct ws *ws, uint16_t port);
/* Connect and upgrade at /ws with subprotocol parley.v1. */
void ws_open(struct ws *ws, uint16_t port);
/* Likewise; false when nobody listens, or the answer is another one. */
bool ws_try(struct ws *ws, uint16_t port);
/* Something may be read, now or within wait_ms. */
bool ws_waits(struct ws *ws, int wait_ms);
/* Send a GET upgrade request with more header lines, each with its \r\n; the status of the answer,
 * 0 when there was none. path: "/ws". */
int ws_upgrade(struct ws *ws, const char *path, const char *headers);
void ws_close(struct ws *ws); /* Closes the socket, no close frame. Twice is fine. */

void ws_write(struct ws *ws, struct slice bytes); /* As they are; what a peer refuses is dropped. */
void ws_send(struct ws *ws, const char *text);    /* One text frame. */
void ws_send_frame(struct ws *ws, int opcode, bool fin, struct slice payload); /* Masked. */

/* The next frame. False: the server closed, or nothing came. */
bool ws_read(struct ws *ws, struct ws_frame *frame);
/* The next text that is not "{}"; pings are answered. Data NULL: closed, or nothing came. */
struct slice ws_text(struct ws *ws);
/* The code of the next close frame, all else skipped; 0: the socket ended without one; -1: nothing
 * ended. Answers the close and closes the socket. */
int ws_close_code(struct ws *ws);
/* True when the server closes the socket, whatever it sends before. */
bool ws_ended(struct ws *ws);

/* Send request as it is on a connection of its own and read to the end. Returns the status, 0 when
 * there was no answer; *answer, if not NULL, gets all bytes; the caller frees it. */
int http_exchange(uint16_t port, struct slice request, struct buf *answer);
int http_get(uint16_t port, const char *path, struct buf *answer);

#endif /* TESTS_LIB_WS_H_ */
