/* raft/config.h -- logd's configuration: a file, section [logd], and flags of the same names.
 *
 * Thread: any. Errors: one line that names file and line, or flag, what is wrong, what is allowed.
 * Format: raft/options.h; the names are the rows of raft/config.c. */
#ifndef RAFT_CONFIG_H_
#define RAFT_CONFIG_H_

#include "log/diag.h"
#include "raft/options.h"

struct config {
    char dir[512]; /* Absolute. */
    uint64_t node;
    struct env_address client, peer, ops; /* ops.port 0: none. */
    uint64_t memory_bytes;
    enum diag_level level;
    bool check, help, version;
};

/* Read --config's file, if given, then the flags. -1: why is the line for the user. */
MUST_CHECK int config_read(int argc, char **argv, struct config *out, char why[OPTIONS_WHY_BYTES]);
void config_usage(void); /* To stdout. */

#endif /* RAFT_CONFIG_H_ */
