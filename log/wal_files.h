/* log/wal_files.h -- private to log/wal*.c: makes the files that the log will go on in, and
 * deletes those that nobody needs.
 *
 * Thread: a worker's, both block. Errors: ERR_NO_SPACE, ERR_IO. */
#ifndef LOG_WAL_FILES_H_
#define LOG_WAL_FILES_H_

#include "log/wal_format.h"

/* Make file `number` of `bytes` zeroes, all of it and its name durable; *out is open for writing
 * and the caller's. A file of that name is replaced. ERR_NO_SPACE, with nothing left behind: the
 * disk is full, or would have less than `bytes` free afterwards. */
MUST_CHECK int wal_file_make(struct env *env, const char *dir, wal_number_t number, uint64_t bytes,
                             struct env_file **out);

/* Delete file `number`, durably: so the files of the log are always without a gap. */
MUST_CHECK int wal_file_drop(struct env *env, const char *dir, wal_number_t number);

#endif /* LOG_WAL_FILES_H_ */
