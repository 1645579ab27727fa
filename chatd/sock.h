/* chatd/sock.h -- the few calls on TCP sockets that the transport makes itself.
 *
 * Apart from the transport because <linux/tcp.h>, which knows more than libc's header, and the
 * library's header cannot be included together. Thread: any. Errors: 0 or ERR_*. */
#ifndef CHATD_SOCK_H_
#define CHATD_SOCK_H_

#include "log/base.h"

/* A socket bound to host (numeric IPv4) and port, REUSEADDR set, not listening; the caller owns
 * *fd. shared: other sockets that say so too may listen on the same port.
 * ERR_ADDR_IN_USE, ERR_PERM, ERR_INVAL (host), ERR_IO. */
MUST_CHECK int sock_bind(const char *host, uint16_t port, bool shared, int *fd);

uint16_t sock_port(int fd); /* That fd is bound to. */
void sock_nodelay(int fd);  /* Small writes are sent at once. */

/* How far the peer's host has got. All zeroes when that cannot be known. */
struct sock_progress {
    uint64_t acked_bytes; /* Acknowledged since the connection began. */
    bool pending;         /* Some of what the kernel took from us is not acknowledged. */
};
struct sock_progress sock_progress(int fd);

#endif /* CHATD_SOCK_H_ */
