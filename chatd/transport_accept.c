/* chatd/transport_accept.c -- who may connect: the listening socket and its limits.
 *
 * Happy path: the socket is readable, up to 64 connections are accepted and given to the library.
 * Failures: too many sockets, or too many unfinished handshakes of one address: a short answer and
 * a close. No file descriptor left: the spare one is given up to take one connection and drop it,
 * then accepting pauses; the loop never spins on a socket it cannot accept from (L9). */
#include <errno.h>
#include <fcntl.h>
#include <libwebsockets.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "chatd/sock.h"
#include "chatd/transport_impl.h"

enum {
    ACCEPTS_PER_WAKE = 64, /* Then the open connections have their turn. */
    ACCEPT_PAUSE_MS = 100,
    LISTEN_BACKLOG = 4096, /* The kernel cuts it to net.core.somaxconn. */
};

/* ---- unfinished handshakes per address ---- */

static struct ip_count **ip_find(struct transport *t, uint32_t ip)
{
    uint32_t spread = ip * 2654435761u; /* Knuth's multiplier: neighbours fall apart. */
    struct ip_count **at = &t->ips[spread >> 24];
    while (*at != NULL && (*at)->ip != ip)
        at = &(*at)->next;
    return at;
}

/* False: the address has too many. */
static bool handshake_begin(struct conn *conn)
{
    struct transport *t = conn->t;
    struct ip_count **at = ip_find(t, conn->ip);
    if (*at == NULL) {
        *at = mem_zero(sizeof(**at));
        (*at)->ip = conn->ip;
    }
    if ((*at)->count >= t->limits.handshakes_per_ip) return false;
    (*at)->count++;
    conn->counted = true;
    return true;
}

void handshake_done(struct conn *conn)
{
    if (!conn->counted) return;
    conn->counted = false;
    struct ip_count **at = ip_find(conn->t, conn->ip);
    CHECK(*at != NULL);
    CHECK((*at)->count > 0);
    if (--(*at)->count > 0) return;
    struct ip_count *empty = *at;
    *at = empty->next;
    free(empty);
}

/* ---- accepting ---- */

static void refuse(struct transport *t, int fd, const char *status)
{
    char answer[128];
    int len = snprintf(answer, sizeof(answer),
                       "HTTP/1.1 %s\r\ncontent-length: 0\r\nretry-after: 5\r\n"
                       "connection: close\r\n\r\n",
                       status);
    t->stats.refused++;
    (void)!send(fd, answer, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT);
    close(fd);
}

static void adopt(struct transport *t, int fd, const struct sockaddr_in *from)
{
    if (t->sockets >= t->limits.conns_max) {
        refuse(t, fd, "503 Service Unavailable");
        return;
    }
    struct conn *conn = conn_create(t);
    conn->ip = from->sin_addr.s_addr;
    if (!handshake_begin(conn)) {
        conn_destroy(conn);
        refuse(t, fd, "429 Too Many Requests");
        return;
    }
    /* The library does not do it for a socket it adopts (L10). */
    sock_nodelay(fd);
    t->stats.accepted++;
    conn->wsi = lws_adopt_socket_vhost(t->vhost, fd); /* On failure it closed fd. */
    if (conn->wsi == NULL) {
        conn_destroy(conn);
        return;
    }
    lws_set_opaque_user_data(conn->wsi, conn);
}

static void accept_ready(uv_poll_t *poll, int status, int events);

static void retry_fired(uv_timer_t *timer)
{
    struct transport *t = timer->data;
    if (t->listen_fd < 0) return;
    CHECK(uv_poll_start(&t->accept_poll, UV_READABLE, accept_ready) == 0);
}

/* Without a descriptor the waiting client would wait for ever, and the poll would spin. */
static void out_of_files(struct transport *t)
{
    t->stats.no_files++;
    if (t->spare_fd >= 0) close(t->spare_fd);
    int fd = accept4(t->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) refuse(t, fd, "503 Service Unavailable");
    t->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    uv_poll_stop(&t->accept_poll);
    CHECK(uv_timer_start(&t->accept_retry, retry_fired, ACCEPT_PAUSE_MS, 0) == 0);
}

/* Accept at most max; true: there may be more. */
static bool accept_some(struct transport *t, int max)
{
    struct sockaddr_in from;
    for (int i = 0; i < max; i++) {
        socklen_t bytes = sizeof(from);
        int fd =
            accept4(t->listen_fd, (struct sockaddr *)&from, &bytes, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            adopt(t, fd, &from);
            continue;
        }
        if (errno == EINTR || errno == ECONNABORTED) continue;
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
            out_of_files(t);
        return false;
    }
    return true;
}

static void accept_ready(uv_poll_t *poll, int status, int events)
{
    (void)events;
    if (status < 0) return;
    (void)accept_some(poll->data, ACCEPTS_PER_WAKE); /* The poll tells again of what is left. */
}

/* ---- start and end ---- */

/* Not shared: another socket that listens there is in the way. */
int transport_probe(const char *host, uint16_t port)
{
    int fd;
    int rv = sock_bind(host, port, false, &fd);
    if (rv == 0) close(fd);
    return rv;
}

/* Shared: each worker, and each process, has a socket of its own on the port (L10). */
int accept_open(struct transport *t, const char *host, uint16_t port)
{
    t->listen_fd = t->spare_fd = -1;
    int rv = sock_bind(host, port, true, &t->listen_fd);
    if (rv != 0) return rv;
    if (listen(t->listen_fd, LISTEN_BACKLOG) != 0) return err_from_errno(errno);
    t->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (t->spare_fd < 0) return err_from_errno(errno);
    t->port = sock_port(t->listen_fd);
    return 0; /* After an error accept_free closes what is open. */
}

void accept_start(struct transport *t)
{
    CHECK(uv_poll_init(t->loop, &t->accept_poll, t->listen_fd) == 0);
    CHECK(uv_timer_init(t->loop, &t->accept_retry) == 0);
    t->accept_poll.data = t->accept_retry.data = t;
    CHECK(uv_poll_start(&t->accept_poll, UV_READABLE, accept_ready) == 0);
}

/* The kernel resets who waits in the backlog of a socket that closes: they are taken first. */
void accept_stop(struct transport *t)
{
    if (t->listen_fd < 0) return;
    while (!t->ended && accept_some(t, ACCEPTS_PER_WAKE))
        continue;
    uv_close((uv_handle_t *)&t->accept_poll, NULL);
    uv_close((uv_handle_t *)&t->accept_retry, NULL);
    close(t->listen_fd);
    t->listen_fd = -1;
}

void accept_free(struct transport *t)
{
    if (t->listen_fd >= 0) close(t->listen_fd);
    if (t->spare_fd >= 0) close(t->spare_fd);
    for (size_t i = 0; i < IP_BUCKETS; i++)
        CHECK(t->ips[i] == NULL);
}
