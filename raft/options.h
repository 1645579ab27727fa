/* raft/options.h -- a daemon's configuration: a table of options, read from a file and from flags.
 *
 * The same names serve both: `listen = 127.0.0.1:7000` in the file, `--listen 127.0.0.1:7000` as a
 * flag; flags win. Every error is one line that names the place, what is wrong and what is allowed.
 * Thread: any; no state. File format: INI, one section, read by inih. */
#ifndef RAFT_OPTIONS_H_
#define RAFT_OPTIONS_H_

#include "log/env.h"

struct option {
    const char *name;
    const char *value; /* What it takes, for the usage: "HOST:PORT"; NULL: a flag without value. */
    const char *help;
    /* Set it in config; value is NULL for a flag without one. 0, or -1 with *why (static storage)
     * saying what is allowed: "a port is 0 to 65535". Called again when given again. */
    int (*set)(void *config, const char *value, const char **why);
};

enum { OPTIONS_WHY_BYTES = 512 };

/* Read section of the file at path. -1: why is the line for the user. */
MUST_CHECK int options_file(const char *path, const char *section, const struct option options[],
                            size_t count, void *config, char why[OPTIONS_WHY_BYTES]);
/* Read argv[1 .. argc). -1 as above. */
MUST_CHECK int options_flags(int argc, char **argv, const struct option options[], size_t count,
                             void *config, char why[OPTIONS_WHY_BYTES]);
/* Whether the flag ("--name") is one of these that takes a value: for who sorts words from flags.
 */
bool options_takes_value(const struct option options[], size_t count, const char *flag);
/* The value of --name in argv, or NULL: for --config, which is read before the others. */
const char *options_peek(int argc, char **argv, const char *name);
/* Print "  --name VALUE  help" for each. */
void options_usage(const struct option options[], size_t count);

/* Values. -1: *why says what is allowed; out untouched. */
MUST_CHECK int option_number(const char *value, uint64_t min, uint64_t max, uint64_t *out,
                             const char **why);
MUST_CHECK int option_address(const char *value, struct env_address *out, const char **why);
/* HOST:PORT,HOST:PORT,... into out[0 .. max). */
MUST_CHECK int option_addresses(const char *value, struct env_address *out, unsigned max,
                                unsigned *count, const char **why);

#endif /* RAFT_OPTIONS_H_ */
