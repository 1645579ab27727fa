/* log/wal_recover.h -- private to log/wal*.c: from what a crash left to a log to go on with.
 *
 * Thread: blocks; before the loop runs.
 * Errors: ERR_CORRUPT: damage, which is never mended here. ERR_FOREIGN, ERR_VERSION, ERR_INVAL
 *         (another number of partitions), ERR_NO_SPACE, ERR_IO. After an error the folder holds
 *         all it held before, and recovery may be tried again. */
#ifndef LOG_WAL_RECOVER_H_
#define LOG_WAL_RECOVER_H_

#include "log/wal_state.h"

struct wal_recovered {
    uint64_t salt;
    batch_t last; /* The last batch there is; 0: none yet. */
    /* The file that recovery made, the last one: the next file goes on behind it. */
    wal_number_t number;
    uint64_t end;
};

/* Read all files of config->dir (made when absent), hand their records to handlers->replayed and
 * to state (an empty one), and make sure that all of them are durable. why: as for wal_open. */
MUST_CHECK int wal_recover(struct env *env, const struct wal_config *config,
                           const struct wal_handlers *handlers, struct wal_state *state,
                           struct wal_recovered *out, char *why, size_t why_bytes);

#endif /* LOG_WAL_RECOVER_H_ */
