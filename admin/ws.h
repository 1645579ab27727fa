/* admin/ws.h -- a WebSocket to a front-end, for measuring: text frames both ways (RFC 6455).
 *
 * Owns:   its connection. Thread: the env's loop.
 * Errors: closed(err) is the last callback; a server that breaks the protocol is closed
 *         (ERR_CORRUPT). Bounds: WS_MESSAGE_BYTES_MAX of one message. */
#ifndef ADMIN_WS_H_
#define ADMIN_WS_H_

#include "log/env.h"

enum { WS_MESSAGE_BYTES_MAX = 2 * 1024 * 1024 };

struct ws;

struct ws_handlers {
    void (*opened)(void *arg);
    void (*text)(void *arg, struct slice text);   /* Borrowed until return. */
    void (*closed)(void *arg, int err, int code); /* ws is gone. code: of the close frame, or 0. */
};

struct ws *ws_open(struct env *env, const struct env_address *address,
                   const struct ws_handlers *handlers, void *arg);
void ws_send(struct ws *ws, struct slice text); /* Copied. */
void ws_close(struct ws *ws);                   /* closed follows. */

#endif /* ADMIN_WS_H_ */
