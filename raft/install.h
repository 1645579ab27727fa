/* raft/install.h -- how the rows of a snapshot come from a leader's disk to a replica's.
 *
 * The replica that needs them asks over the bulk link, chunk by chunk, so that it sets the pace;
 * the other side makes a delta of its store, from the replica's manifest on, and answers from it. A
 * connection that breaks loses nothing: the next request names the delta and the offset.
 *
 * Owns:   the deltas it lends, the installs it gathers. Borrows: env, stores, links (host.send).
 * Thread: the loop's; files are read on env's pool.
 * Errors: whatever fails ends with done(install NULL): the leader will say it again.
 * Bounds: INSTALL_CHUNK_BYTES asked for at a time per partition, INSTALL_BYTES_PER_S on the whole;
 *         INSTALL_LENDS_MAX deltas lent. */
#ifndef RAFT_INSTALL_H_
#define RAFT_INSTALL_H_

#include "log/diag.h"
#include "log/store.h"

struct install; /* Opaque. Made by install_create, freed by install_close or install_abandon. */

enum {
    INSTALL_CHUNK_BYTES = 256 * 1024,
    INSTALL_BYTES_PER_S = 64 * 1024 * 1024, /* Leaves the disk and the net to the others. */
    INSTALL_LENDS_MAX = 64,
    INSTALL_LEND_MS = 30000, /* A delta that nobody asked for so long is given back. */
    INSTALL_AGAIN_MS = 2000, /* A request without an answer is said again. */
};

/* Items on the bulk link. */
enum install_item { INSTALL_OPEN = 1, INSTALL_OPENED, INSTALL_READ, INSTALL_DATA, INSTALL_REFUSED };

struct install_host {
    /* Send to the install of raft id `to`; may drop it. bytes: borrowed until return. */
    void (*send)(void *arg, uint64_t to, enum install_item kind, struct slice bytes);
    /* The store of a partition, NULL when it may not be asked. */
    struct store *(*store)(void *arg, part_t part);
    /* What install_fetch asked for; install is the receiver's, index is what it stands for. NULL:
     * could not be had. */
    void (*done)(void *arg, part_t part, struct store_install *install, index_t index);
    void *arg;
};

struct install *install_create(struct env *env, unsigned parts_count, struct diag *diag,
                               const struct install_host *host);
/* Bring part's rows from raft id `from`, up to `index` at least. Called again while it runs: with
 * another source or a later index. done follows once for the last call, on a later turn. */
void install_fetch(struct install *install, part_t part, uint64_t from, index_t index);
void install_cancel(struct install *install, part_t part); /* No done follows. */
/* From the links; malformed: ERR_CORRUPT. bytes: borrowed until return. */
MUST_CHECK int install_receive(struct install *install, uint64_t from, uint8_t kind,
                               struct slice bytes);
void install_tick(struct install *install); /* Every 50 ms: rate, repeats, lends. */
/* Everything is given back; frees it once its work is done, then closed(arg), on a later turn. */
void install_close(struct install *install, void (*closed)(void *arg), void *arg);
void install_abandon(struct install *install); /* For the simulator's crash. */

#endif /* RAFT_INSTALL_H_ */
