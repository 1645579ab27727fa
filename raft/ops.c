/* raft/ops.c -- see ops.h. */
#include "raft/ops.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>

struct ops {
    struct MHD_Daemon *daemon;
    struct ops_handlers handlers;
};

static enum MHD_Result reply(struct MHD_Connection *connection, unsigned status, const char *type,
                             struct buf *text)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(text->len, text->data, MHD_RESPMEM_MUST_COPY);
    buf_free(text);
    if (response == NULL) return MHD_NO;
    enum MHD_Result rv = MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    if (rv == MHD_YES) rv = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return rv;
}

static enum MHD_Result request(void *arg, struct MHD_Connection *connection, const char *url,
                               const char *method, const char *version, const char *upload,
                               size_t *upload_bytes, void **state)
{
    struct ops *ops = arg;
    struct buf text = {0};
    (void)version;
    (void)upload;
    (void)upload_bytes;
    (void)state;
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0) {
        buf_put(&text, "GET alone\n", 10);
        return reply(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "text/plain", &text);
    }
    if (strcmp(url, "/metrics") == 0) {
        ops->handlers.metrics(ops->handlers.arg, &text);
        return reply(connection, MHD_HTTP_OK, "text/plain; version=0.0.4", &text);
    }
    if (strcmp(url, "/healthz") == 0) {
        unsigned status = MHD_HTTP_OK;
        if (ops->handlers.health(ops->handlers.arg, &text) != 0)
            status = MHD_HTTP_SERVICE_UNAVAILABLE;
        else
            buf_put(&text, "ok\n", 3);
        return reply(connection, status, "text/plain", &text);
    }
    buf_put(&text, "/metrics or /healthz\n", 21);
    return reply(connection, MHD_HTTP_NOT_FOUND, "text/plain", &text);
}

int ops_create(const struct env_address *address, const struct ops_handlers *handlers,
               struct ops **out)
{
    struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons(address->port)};
    if (inet_pton(AF_INET, address->host, &where.sin_addr) != 1) return ERR_INVAL;
    struct ops *ops = mem_zero(sizeof(*ops));
    ops->handlers = *handlers;
    ops->daemon =
        MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL, 0, NULL, NULL, request,
                         ops, MHD_OPTION_SOCK_ADDR, (struct sockaddr *)&where,
                         MHD_OPTION_CONNECTION_LIMIT, (unsigned)OPS_CONNECTIONS_MAX,
                         MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)OPS_SECONDS, MHD_OPTION_END);
    if (ops->daemon == NULL) {
        int err = errno == EADDRINUSE ? ERR_ADDR_IN_USE : ERR_IO;
        free(ops);
        return err;
    }
    *out = ops;
    return 0;
}

void ops_destroy(struct ops *ops)
{
    if (ops == NULL) return;
    MHD_stop_daemon(ops->daemon);
    free(ops);
}

static void put_text(struct buf *text, const char *line)
{
    buf_put(text, line, strlen(line));
}

void ops_metric(struct buf *text, const char *name, const char *type, const char *help)
{
    put_text(text, "# HELP ");
    put_text(text, name);
    put_text(text, " ");
    put_text(text, help);
    put_text(text, "\n# TYPE ");
    put_text(text, name);
    put_text(text, " ");
    put_text(text, type);
    put_text(text, "\n");
}

void ops_value(struct buf *text, const char *name, const char *labels, uint64_t value)
{
    char number[32];
    put_text(text, name);
    if (labels != NULL) {
        put_text(text, "{");
        put_text(text, labels);
        put_text(text, "}");
    }
    snprintf(number, sizeof(number), " %llu\n", (unsigned long long)value);
    put_text(text, number);
}
