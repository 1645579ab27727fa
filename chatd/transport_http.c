/* chatd/transport_http.c -- HTTP: the upgrade's checks, files in memory, requests and replies.
 *
 * Happy path: a request is answered at once from memory, or handed to the handler and answered
 * when that replies; then the socket closes. Exactly one request a socket: the library, given
 * another one with a body behind the first, spins for ever (L1).
 * Failures: whatever is not GET or HEAD without a body, or an upgrade that may be, is refused with
 * a status and closed. A client that goes away leaves its request to the handler, whose reply then
 * goes nowhere. */
#include <libwebsockets.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "chatd/transport_impl.h"

enum {
    HEADERS_BYTES = 1024, /* Of an answer. */
    PATH_BYTES = 256,
    HEADER_VALUE_BYTES = 512, /* Of the requests' headers that are looked at. */
};

struct request {
    struct conn *conn; /* NULL: the client went away. */
    char path[PATH_BYTES];
};

/* An answer that waits for its socket to be written. */
struct reply {
    int status;
    char type[64];
    struct buf body;
};

static bool header_given(struct lws *wsi, enum lws_token_indexes token)
{
    return lws_hdr_total_length(wsi, token) > 0;
}

/* Copy a header; false when it is absent, or longer than any value we accept. */
static bool header_copy(struct lws *wsi, enum lws_token_indexes token, char out[HEADER_VALUE_BYTES])
{
    return lws_hdr_copy(wsi, out, HEADER_VALUE_BYTES, token) > 0;
}

/* ---- the upgrade ---- */

static int upgrade_refuse(struct conn *conn, const char *status, const char *why)
{
    char answer[512];
    int len = snprintf(answer, sizeof(answer),
                       "HTTP/1.1 %s\r\ncontent-type: text/plain\r\ncontent-length: %zu\r\n"
                       "connection: close\r\n\r\n%s\n",
                       status, strlen(why) + 1, why);
    CHECK(len > 0 && (size_t)len < sizeof(answer));
    conn->t->stats.refused++;
    (void)!lws_write(conn->wsi, (uint8_t *)answer, (size_t)len, LWS_WRITE_HTTP);
    return -1;
}

/* True when list, as "a, b", holds name. */
static bool list_holds(const char *list, const char *name)
{
    size_t name_bytes = strlen(name);
    while (*list != '\0') {
        list += strspn(list, ", \t");
        size_t bytes = strcspn(list, ", \t");
        if (bytes == name_bytes && memcmp(list, name, bytes) == 0) return true;
        list += bytes;
    }
    return false;
}

/* A browser says on whose page the script runs that asks; other programs say nothing. */
static bool origin_allowed(struct conn *conn)
{
    const struct transport *t = conn->t;
    char origin[HEADER_VALUE_BYTES], host[HEADER_VALUE_BYTES];
    if (!header_given(conn->wsi, WSI_TOKEN_ORIGIN)) return true;
    if (!header_copy(conn->wsi, WSI_TOKEN_ORIGIN, origin)) return false;
    for (size_t i = 0; i < t->origins_count; i++)
        if (strcasecmp(origin, t->origins[i]) == 0) return true;
    if (t->origins_count > 0 || !header_copy(conn->wsi, WSI_TOKEN_HOST, host)) return false;
    const char *authority = strstr(origin, "://");
    return authority != NULL && strcasecmp(authority + 3, host) == 0;
}

/* Runs for every upgrade, whatever subprotocol was asked for: the library's own check per
 * subprotocol is skipped for who asks for none (L5). Unknown upgrades and h2c end here (L3, L4). */
int http_upgrade(struct conn *conn)
{
    struct lws *wsi = conn->wsi;
    char value[HEADER_VALUE_BYTES];
    if (conn->phase != CONN_HANDSHAKE) return -1; /* L1. */
    if (!header_copy(wsi, WSI_TOKEN_UPGRADE, value) || strcasecmp(value, "websocket") != 0) {
        conn->t->stats.refused++;
        return -1;
    }
    if (conn->t->draining)
        return upgrade_refuse(conn, "503 Service Unavailable", "going away, connect elsewhere");
    if (!header_copy(wsi, WSI_TOKEN_GET_URI, value) || strcmp(value, "/ws") != 0)
        return upgrade_refuse(conn, "404 Not Found", "WebSockets are at /ws");
    if (!header_copy(wsi, WSI_TOKEN_PROTOCOL, value) || !list_holds(value, "parley.v1"))
        return upgrade_refuse(conn, "400 Bad Request", "the subprotocol must be parley.v1");
    if (!origin_allowed(conn))
        return upgrade_refuse(conn, "403 Forbidden", "this origin is not allowed");
    return 0;
}

/* ---- answers ---- */

static int add_header(struct lws *wsi, const char *name, const char *value, uint8_t **at,
                      uint8_t *end)
{
    return lws_add_http_header_by_name(wsi, (const uint8_t *)name, (const uint8_t *)value,
                                       (int)strlen(value), at, end);
}

/* Write the headers of an answer with a body of body_bytes. -1: they do not fit. */
static int put_headers(struct lws *wsi, int status, const char *type, size_t body_bytes,
                       uint8_t **at, uint8_t *end)
{
    char length[24];
    int len = snprintf(length, sizeof(length), "%zu", body_bytes);
    /* This "illegal" length is what makes the library say, and do, connection: close. */
    if (lws_add_http_common_headers(wsi, (unsigned)status, type, LWS_ILLEGAL_HTTP_CONTENT_LEN, at,
                                    end) != 0)
        return -1;
    if (lws_add_http_header_by_token(wsi, WSI_TOKEN_HTTP_CONTENT_LENGTH, (uint8_t *)length, len, at,
                                     end) != 0)
        return -1;
    if (status == 405 && add_header(wsi, "allow:", "GET, HEAD", at, end) != 0) return -1;
    if (add_header(wsi, "cache-control:", "no-cache", at, end) != 0) return -1;
    if (add_header(wsi, "x-content-type-options:", "nosniff", at, end) != 0) return -1;
    if (add_header(wsi, "content-security-policy:",
                   "default-src 'self'; connect-src 'self' ws: wss:", at, end) != 0)
        return -1;
    return lws_finalize_http_header(wsi, at, end);
}

/* Send a whole answer; what the socket does not take at once the library keeps. Returns what the
 * library's callback must: 0 only while that tail drains. */
static int send_answer(struct conn *conn, int status, const char *type, struct slice body)
{
    struct lws *wsi = conn->wsi;
    bool head = header_given(wsi, WSI_TOKEN_HEAD_URI);
    size_t body_bytes = head ? 0 : body.len;
    uint8_t *answer = mem_alloc(LWS_PRE + HEADERS_BYTES + body_bytes);
    uint8_t *start = answer + LWS_PRE, *at = start;
    int rv = put_headers(wsi, status, type, body.len, &at, start + HEADERS_BYTES);
    if (rv == 0) {
        if (body_bytes > 0) memcpy(at, body.data, body_bytes);
        rv = lws_write(wsi, start, (size_t)(at - start) + body_bytes, LWS_WRITE_HTTP);
    }
    free(answer);
    if (rv < 0) return -1;
    /* The library's default would cut a slow download short (L18). */
    lws_set_timeout(wsi, PENDING_TIMEOUT_HTTP_CONTENT, HTTP_REPLY_MS / 1000);
    return lws_http_transaction_completed(wsi) != 0 ? -1 : 0;
}

static int refuse_request(struct conn *conn, int status, const char *why)
{
    conn->t->stats.refused++;
    return send_answer(conn, status, "text/plain", slice_str(why));
}

/* ---- requests ---- */

/* The status to refuse a request's form with, 0 when it is one that we answer (L19). */
static int judge_form(struct lws *wsi, const char **why)
{
    char length[HEADER_VALUE_BYTES];
    *why = "only GET and HEAD\n";
    if (!header_given(wsi, WSI_TOKEN_GET_URI) && !header_given(wsi, WSI_TOKEN_HEAD_URI)) return 405;
    *why = "no transfer encodings\n";
    if (header_given(wsi, WSI_TOKEN_HTTP_TRANSFER_ENCODING)) return 501;
    *why = "no bodies\n";
    if (!header_given(wsi, WSI_TOKEN_HTTP_CONTENT_LENGTH)) return 0;
    if (!header_copy(wsi, WSI_TOKEN_HTTP_CONTENT_LENGTH, length)) return 400;
    return strcmp(length, "0") == 0 ? 0 : 413;
}

static int hand_over(struct conn *conn, const char *path)
{
    struct request *request = mem_zero(sizeof(*request));
    request->conn = conn;
    snprintf(request->path, sizeof(request->path), "%s", path);
    conn->request = request;
    /* For the handler; renewed when the answer is there. */
    lws_set_timeout(conn->wsi, PENDING_TIMEOUT_HTTP_CONTENT, HTTP_REPLY_MS / 1000);
    conn->t->handlers.request(conn->t->arg, request); /* May reply, and free it, at once. */
    return http_writable(conn);
}

int http_request(struct conn *conn, const char *path, size_t path_bytes)
{
    const char *why;
    if (conn->phase != CONN_HANDSHAKE) return -1; /* A second request (L1). */
    conn_move(conn, CONN_HTTP);
    handshake_done(conn);
    int status = judge_form(conn->wsi, &why);
    if (status != 0) {
        (void)refuse_request(conn, status, why);
        return -1; /* Whatever body there is, nobody reads it. */
    }
    if (path_bytes >= PATH_BYTES || strlen(path) != path_bytes)
        return refuse_request(conn, 404, "nothing has such a path\n");
    const struct webfile *file = conn->t->files == NULL ? NULL : webroot_find(conn->t->files, path);
    if (file != NULL) return send_answer(conn, 200, file->type, file->body);
    return hand_over(conn, path);
}

int http_writable(struct conn *conn)
{
    struct reply *reply = conn->reply;
    if (conn->phase == CONN_KILLED) return -1;
    if (reply == NULL) return 0; /* Not there yet; or its tail is draining. */
    conn->reply = NULL;
    int rv = send_answer(conn, reply->status, reply->type, buf_bytes(&reply->body));
    buf_free(&reply->body);
    free(reply);
    return rv;
}

void http_abandon(struct conn *conn)
{
    if (conn->request != NULL) conn->request->conn = NULL;
    conn->request = NULL;
    if (conn->reply == NULL) return;
    buf_free(&conn->reply->body);
    free(conn->reply);
    conn->reply = NULL;
}

const char *request_path(const struct request *request)
{
    return request->path;
}

void request_reply(struct request *request, int status, const char *type, struct slice body)
{
    struct conn *conn = request->conn;
    free(request);
    if (conn == NULL) return;
    conn->request = NULL;
    if (conn->phase != CONN_HTTP) return;
    struct reply *reply = mem_zero(sizeof(*reply));
    reply->status = status;
    snprintf(reply->type, sizeof(reply->type), "%s", type);
    buf_put(&reply->body, body.data, body.len);
    conn->reply = reply;
    lws_callback_on_writable(conn->wsi); /* Sent at once if hand_over is still on the stack. */
}
