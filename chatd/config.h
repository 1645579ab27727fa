/* chatd/config.h -- a front-end's configuration, from a file and from flags.
 *
 * Owns:   all it points to, until front_config_free. Thread: any, once read; it never changes.
 * Errors: -1, and one line for the user. Format: INI, section [chatd]; see `chatd --help`. */
#ifndef CHATD_CONFIG_H_
#define CHATD_CONFIG_H_

#include "chatd/auth.h"
#include "raft/options.h"

enum {
    CONFIG_LIST_MAX = 16, /* Origins, other front-ends, keys. */
    CONFIG_WORKERS_MAX = 64,
    CONFIG_NODES_MAX = NODES_MAX,
};

struct front_config {
    struct env_address listen; /* Clients: WebSocket and HTTP. */
    struct env_address ops;    /* Operators: /metrics and /healthz; port 0: none. */
    struct env_address nodes[CONFIG_NODES_MAX];
    unsigned nodes_count;
    uint64_t workers_count;
    struct auth_key keys[AUTH_KEYS_MAX]; /* Owned. */
    size_t keys_count;
    char *issuer, *audience; /* Owned; NULL: not checked. */
    char *origins[CONFIG_LIST_MAX];
    size_t origins_count;
    char *alts[CONFIG_LIST_MAX]; /* ws:// or wss:// addresses of the other front-ends. */
    size_t alts_count;
    char *web;  /* Folder of the web client; NULL: none is served. */
    bool check; /* Only read the configuration. */
    bool help, version, protocol;
};

/* Defaults, then the file of --config, then the flags; then what must be there is checked. */
MUST_CHECK int front_config_read(int argc, char **argv, struct front_config *config,
                                 char why[OPTIONS_WHY_BYTES]);
void front_config_usage(void);
void front_config_free(struct front_config *config);

#endif /* CHATD_CONFIG_H_ */
