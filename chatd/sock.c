/* chatd/sock.c -- see sock.h. */
#include "chatd/sock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

int sock_bind(const char *host, uint16_t port, bool shared, int *fd)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int one = 1, reuse_port = shared;
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1) return ERR_INVAL;
    int made = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (made < 0) return err_from_errno(errno);
    if (setsockopt(made, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
        setsockopt(made, SOL_SOCKET, SO_REUSEPORT, &reuse_port, sizeof(reuse_port)) != 0 ||
        bind(made, (const struct sockaddr *)&address, sizeof(address)) != 0) {
        int rv = err_from_errno(errno);
        close(made);
        return rv;
    }
    *fd = made;
    return 0;
}

uint16_t sock_port(int fd)
{
    struct sockaddr_in address;
    socklen_t bytes = sizeof(address);
    CHECK(getsockname(fd, (struct sockaddr *)&address, &bytes) == 0);
    return ntohs(address.sin_port);
}

void sock_nodelay(int fd)
{
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* Slower without, no more. */
}

struct sock_progress sock_progress(int fd)
{
    struct tcp_info info = {.tcpi_bytes_acked = 0};
    socklen_t bytes = sizeof(info);
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &bytes) != 0)
        return (struct sock_progress){.pending = false};
    return (struct sock_progress){
        .acked_bytes = info.tcpi_bytes_acked,
        .pending = info.tcpi_unacked > 0 || info.tcpi_notsent_bytes > 0,
    };
}
