/* admin/cli.h -- what every command of `parley` shares: its words, its options, its cluster.
 *
 * Exit codes: 0 fine, 1 failed, 2 usage, 3 no node reached, 10 unhealthy. Tables are for people,
 * --json is for programs: one JSON value on stdout. Errors go to stderr, one line. */
#ifndef ADMIN_CLI_H_
#define ADMIN_CLI_H_

#include "log/env_uv.h"
#include "raft/client.h"
#include "raft/options.h"

enum { EXIT_FINE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_NO_NODE = 3, EXIT_UNHEALTHY = 10 };

enum {
    CLI_WORDS_MAX = 8,
    CLI_FRONTS_MAX = 16,
    CLI_PATH_BYTES = 1024,
    CLI_PORT_DEFAULT = 7000,
    CLI_PEER_OFFSET = 100,   /* Node i: clients on P+i, peers here+i. */
    CLI_OPS_OFFSET = 200,    /* Operators of node i. */
    CLI_FRONT_OFFSET = 1000, /* Front-end j. */
    CLI_FRONT_OPS_OFFSET = 1100,
};

struct cli {
    int argc;
    char **argv;
    const char *words[CLI_WORDS_MAX]; /* What is no option, the command's name left out. */
    unsigned words_count;

    /* Options; each command's table sets those it knows. */
    char dir[CLI_PATH_BYTES]; /* Absolute; empty: not given. */
    uint64_t port;            /* 0: not given. */
    struct env_address nodes[NODES_MAX];
    unsigned nodes_count;
    bool json;
    uint64_t nodes_wanted, fronts_wanted, partitions;
    bool detach, stop, fresh, follow;
    uint64_t users, rate, inflight, size, seconds, streams, limit, ttl_s, rounds;
    char web[CLI_PATH_BYTES], secret[CLI_PATH_BYTES];
    struct env_address fronts[CLI_FRONTS_MAX];
    unsigned fronts_count;
};

struct command {
    const char *words;             /* "chat tail": what it is called by. */
    const char *takes;             /* "CHAT": what follows, for the usage. */
    unsigned words_min, words_max; /* Of what follows. */
    int (*run)(struct cli *cli);
    const char *help;
    const struct option *options;
    size_t options_count;
};

/* Option setters shared by tables (arg is the struct cli). */
int cli_set_dir(void *cli, const char *value, const char **why);
int cli_set_port(void *cli, const char *value, const char **why);
int cli_set_nodes(void *cli, const char *value, const char **why);
int cli_set_json(void *cli, const char *value, const char **why);

#define CLI_CLUSTER_OPTIONS                                                                 \
    {"dir", "D", "the cluster that `parley dev --dir D` made", cli_set_dir},                \
        {"port", "P", "the cluster that `parley dev --port P` made (7000)", cli_set_port},  \
        {"nodes", "HOST:PORT,...", "client addresses of any other cluster", cli_set_nodes}, \
    {                                                                                       \
        "json", NULL, "print JSON, for programs", cli_set_json                              \
    }

PRINTF_LIKE(2, 3) int cli_fail(int exit_code, const char *format, ...); /* Returns exit_code. */

/* What `parley dev` wrote about a cluster into its folder. ERR_NOT_FOUND, ERR_CORRUPT. */
struct cli_cluster {
    uint64_t port, nodes_count, fronts_count;
};
MUST_CHECK int cli_cluster_read(const char *dir, struct cli_cluster *out);

/* Fill cli->nodes from --nodes, --dir or --port; 0 or an exit code after its message. */
MUST_CHECK int cli_find_nodes(struct cli *cli);
/* Likewise the front-ends' WebSocket addresses: from --dir or --port. */
MUST_CHECK int cli_find_fronts(struct cli *cli);
/* The secret of dev's tokens, from --secret or --dir; end mark included, caller frees. */
MUST_CHECK int cli_find_secret(struct cli *cli, char **secret);

/* A loop and a client of the cluster that cli names. */
struct cli_link {
    struct env_uv *uv;
    struct env *env;
    struct client *client;
    bool closed;
};
/* 0, or an exit code after its message. With wait: until the map is known, or EXIT_NO_NODE. */
MUST_CHECK int cli_open(struct cli *cli, struct cli_link *link, bool wait);
/* Run the loop until *done is true, at most ms. False: it took longer. */
bool cli_run(struct cli_link *link, const bool *done, uint64_t ms);
void cli_close(struct cli_link *link);

/* The commands of the table in admin/parley.c, each told there: an exit code, after a message when
 * it is not 0. cli: borrowed until return. */
int command_dev(struct cli *cli);
int command_init(struct cli *cli);
int command_status(struct cli *cli);
int command_partitions(struct cli *cli);
int command_token(struct cli *cli);
int command_chat_tail(struct cli *cli);
int command_chat_post(struct cli *cli);
int command_bench_append(struct cli *cli);
int command_bench_chat(struct cli *cli);
int command_bench_failover(struct cli *cli);
int command_version(struct cli *cli);

#endif /* ADMIN_CLI_H_ */
