/* admin/form.h -- make a cluster of nodes that belong to none yet: the one act that bootstraps.
 *
 * Asks every node who it is; all must answer and none may belong to a cluster; then gives all the
 * same map, with a cluster id drawn here.
 * Thread: runs the link's loop until it is done. */
#ifndef ADMIN_FORM_H_
#define ADMIN_FORM_H_

#include "admin/cli.h"

/* 0, or an exit code after its message. *already: all belong to one cluster, nothing was done; that
 * is an error unless already is given. cluster (of 17 bytes): its id as text. */
MUST_CHECK int form_cluster(struct cli *cli, struct cli_link *link, bool *already,
                            char cluster[17]);

/* Wait until every partition has a leader that is known. failed, unless NULL, is asked meanwhile:
 * an exit code ends the wait. 0, or an exit code after its message. */
MUST_CHECK int form_wait_leaders(struct cli_link *link, int (*failed)(const void *arg),
                                 const void *arg);

#endif /* ADMIN_FORM_H_ */
