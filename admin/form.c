/* admin/form.c -- see form.h. */
#include "admin/form.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

enum { ASK_MS = 3000, FORM_MS = 30000, LEADERS_MS = 20000, LOOK_MS = 20 };

struct ask {
    struct client_status status;
    struct client_form form;
    bool done;
    int err;
    char *text; /* Owned. */
};

static void ask_end(struct ask *ask, int err, struct slice text)
{
    free(ask->text);
    ask->text = mem_string(text);
    ask->err = err;
    ask->done = true;
}

static void status_done(struct client_status *request, int err, struct slice text)
{
    ask_end(CONTAINER_OF(request, struct ask, status), err, text);
}

static void form_done(struct client_form *request, int err, struct slice text)
{
    ask_end(CONTAINER_OF(request, struct ask, form), err, text);
}

/* The node's own words about itself, or NULL after a message. */
static json_t *node_ask(struct cli *cli, struct cli_link *link, unsigned node)
{
    struct ask ask = {.status = {.node = node, .deadline_ms = ASK_MS, .done = status_done}};
    client_status(link->client, &ask.status);
    CHECK(cli_run(link, &ask.done, 4 * ASK_MS));
    json_t *tree = ask.err == 0 ? json_loads(ask.text, 0, NULL) : NULL;
    free(ask.text);
    if (tree == NULL)
        (void)cli_fail(EXIT_NO_NODE, "node at %s:%u does not answer: %s", cli->nodes[node].host,
                       cli->nodes[node].port, err_text(ask.err));
    return tree;
}

static json_t *map_make(struct cli *cli, struct cli_link *link, unsigned *formed_count,
                        char cluster[17], int *exit_code)
{
    json_t *nodes = json_array();
    *formed_count = 0;
    for (unsigned i = 0; i < cli->nodes_count; i++) {
        json_t *said = node_ask(cli, link, i);
        if (said == NULL) {
            json_decref(nodes);
            *exit_code = EXIT_NO_NODE;
            return NULL;
        }
        const char *its = json_string_value(json_object_get(said, "cluster"));
        if (its != NULL && strlen(its) == 16) {
            ++*formed_count;
            memcpy(cluster, its, 17);
        }
        json_array_append_new(
            nodes,
            json_pack("{s:O, s:O, s:O}", "node", json_object_get(said, "node"), "client",
                      json_object_get(said, "client"), "peer", json_object_get(said, "peer")));
        json_decref(said);
    }
    if (*formed_count == 0)
        snprintf(cluster, 17, "%016llx", (unsigned long long)(env_random(link->env) | 1));
    uint64_t partitions = cli->partitions == 0 ? PARTITIONS_DEFAULT : cli->partitions;
    return json_pack("{s:s, s:I, s:o}", "cluster", cluster, "partitions", (json_int_t)partitions,
                     "nodes", nodes);
}

static int form_node(struct cli *cli, struct cli_link *link, unsigned node, const char *map)
{
    struct ask ask = {
        .form = {.node = node, .map = slice_str(map), .deadline_ms = FORM_MS, .done = form_done}};
    client_form(link->client, &ask.form);
    CHECK(cli_run(link, &ask.done, 2 * FORM_MS));
    int rv = 0;
    if (ask.err != 0)
        rv = cli_fail(EXIT_FAILED,
                      "node at %s:%u refused: %s%s%s; empty the folders of all nodes, then again",
                      cli->nodes[node].host, cli->nodes[node].port, err_text(ask.err),
                      ask.text[0] == '\0' ? "" : ": ", ask.text);
    free(ask.text);
    return rv;
}

int form_cluster(struct cli *cli, struct cli_link *link, bool *already, char cluster[17])
{
    unsigned formed_count;
    int rv = 0;
    json_t *tree = map_make(cli, link, &formed_count, cluster, &rv);
    if (tree == NULL) return rv;
    if (already != NULL) *already = formed_count == cli->nodes_count;
    if (formed_count > 0) {
        json_decref(tree);
        if (already != NULL && *already) return 0;
        return cli_fail(EXIT_FAILED, "%u of %u nodes belong to cluster %s already", formed_count,
                        cli->nodes_count, cluster);
    }
    char *map = json_dumps(tree, JSON_COMPACT);
    json_decref(tree);
    for (unsigned i = 0; i < cli->nodes_count && rv == 0; i++)
        rv = form_node(cli, link, i, map);
    free(map);
    return rv;
}

int form_wait_leaders(struct cli_link *link, int (*failed)(const void *arg), const void *arg)
{
    const bool never = false;
    uint64_t until = env_now_ms(link->env) + LEADERS_MS;
    for (;;) {
        unsigned partitions = client_partitions(link->client);
        unsigned led = client_leaders_known(link->client);
        if (partitions > 0 && led == partitions) return 0;
        int rv = failed == NULL ? 0 : failed(arg);
        if (rv != 0) return rv;
        if (env_now_ms(link->env) > until)
            return cli_fail(EXIT_FAILED, "%u of %u partitions have a leader", led, partitions);
        (void)cli_run(link, &never, LOOK_MS);
    }
}

int command_init(struct cli *cli)
{
    struct cli_link link;
    char cluster[17];
    if (cli->nodes_count == 0)
        return cli_fail(EXIT_USAGE, "--nodes HOST:PORT,... must name every node of the cluster");
    if (cli->nodes_count % 2 == 0)
        return cli_fail(EXIT_USAGE, "--nodes names %u nodes: a cluster has an odd number",
                        cli->nodes_count);
    int rv = cli_open(cli, &link, false);
    if (rv != 0) return rv;
    rv = form_cluster(cli, &link, NULL, cluster);
    if (rv == 0) rv = form_wait_leaders(&link, NULL, NULL);
    cli_close(&link);
    if (rv != 0) return rv;
    if (cli->json)
        printf("{\"cluster\":\"%s\",\"nodes\":%u}\n", cluster, cli->nodes_count);
    else
        printf("cluster %s of %u nodes\n", cluster, cli->nodes_count);
    return EXIT_FINE;
}
