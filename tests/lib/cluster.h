/* tests/lib/cluster.h -- a real cluster for one test: `parley dev` in a temporary folder, on ports
 * that nobody else uses.
 *
 * Owns:   the processes and the folder, until cluster_tear_down.
 * Errors: what cannot be started aborts the test (CHECK), after the logs were printed. */
#ifndef TESTS_LIB_CLUSTER_H_
#define TESTS_LIB_CLUSTER_H_

#include <sys/types.h>

#include "tests/lib/dir.h"

struct cluster {
    struct dir dir;
    uint16_t port; /* Node i serves clients on port + i, front-end j people on port + 1000 + j. */
    unsigned nodes, fronts;
};

/* Start so many logd and chatd and wait until they serve; tear_down stops them and fails the test
 * when one of them left a sanitizer's report or a failed CHECK in its log. */
void cluster_set_up(struct cluster *cluster, unsigned nodes, unsigned fronts);
void cluster_tear_down(struct cluster *cluster);

static inline uint16_t cluster_front(const struct cluster *cluster, unsigned j)
{
    return (uint16_t)(cluster->port + 1000 + j);
}

/* The process of "logd" or "chatd" number i; 0 when it does not run. */
pid_t cluster_pid(const struct cluster *cluster, const char *name, unsigned i);
/* Kill it by signal and wait until it is gone. */
void cluster_kill(const struct cluster *cluster, const char *name, unsigned i, int signal);
/* Start logd i again with the arguments it had, and write its .pid file. */
void cluster_restart_logd(const struct cluster *cluster, unsigned i);
void cluster_restart_chatd(const struct cluster *cluster, unsigned j); /* Likewise. */

/* Run `parley ARGS... --dir D`; its exit code, its output (both streams) in out, which the caller
 * frees. */
int cluster_parley(const struct cluster *cluster, char **out, const char *args, ...)
    PRINTF_LIKE(3, 4);
/* A token for user, signed with the cluster's secret; the caller frees it. */
char *cluster_token(const struct cluster *cluster, const char *user);

#endif /* TESTS_LIB_CLUSTER_H_ */
