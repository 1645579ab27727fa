/* log/diag.h -- diagnostics for operators: one line per event.
 *
 *     2026-11-22T03:01:59.123Z warn wal disk is slow sync_ms=612 file=00000007.wal
 *
 * that is: time, level, area, message, then key=value pairs; a value that may hold spaces stands
 * in double quotes. Bytes below 0x20 in values become '?', so that a value cannot forge a line.
 * Borrows: env (for the time) and the sink's arg. Thread: as the sink's; stderr: any.
 * Errors:  none; a line longer than DIAG_LINE_BYTES_MAX is cut. */
#ifndef LOG_DIAG_H_
#define LOG_DIAG_H_

#include "log/env.h"

enum { DIAG_LINE_BYTES_MAX = 2048 }; /* Long enough for a path and a reason. */

enum diag_level { DIAG_ERROR, DIAG_WARN, DIAG_INFO, DIAG_DEBUG };

/* Filled in by diag_init; the caller's memory, shared by pointer with all who report. */
struct diag {
    enum diag_level level;                      /* The least urgent level that is written. */
    struct env *env;                            /* Borrowed; NULL: lines carry no time. */
    void (*sink)(void *arg, struct slice line); /* line: with its end of line; borrowed. */
    void *arg;                                  /* The sink's. */
};

/* sink NULL: stderr. */
void diag_init(struct diag *diag, enum diag_level level, struct env *env,
               void (*sink)(void *arg, struct slice line), void *arg);

/* "error", "warn", "info" or "debug" into *out. ERR_INVAL: none of these. */
MUST_CHECK int diag_level_parse(const char *text, enum diag_level *out);

/* Write one line; format: the message, then key=value pairs. diag NULL: nothing is written. */
PRINTF_LIKE(4, 5)
void diag_write(struct diag *diag, enum diag_level level, const char *area, const char *format,
                ...);

#define diag_error(diag, area, ...) diag_write(diag, DIAG_ERROR, area, __VA_ARGS__)
#define diag_warn(diag, area, ...) diag_write(diag, DIAG_WARN, area, __VA_ARGS__)
#define diag_info(diag, area, ...) diag_write(diag, DIAG_INFO, area, __VA_ARGS__)
#define diag_debug(diag, area, ...) diag_write(diag, DIAG_DEBUG, area, __VA_ARGS__)

#endif /* LOG_DIAG_H_ */
