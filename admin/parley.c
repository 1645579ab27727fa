/* admin/parley.c -- the operators' command: a table of commands, and picking one. */
#include <stdio.h>

#include "admin/cli.h"

static int set_wanted(void *arg, const char *value, const char **why)
{
    uint64_t nodes;
    *why = "a cluster has 1, 3 or 5 nodes";
    const char *range;
    if (option_number(value, 1, 5, &nodes, &range) != 0 || nodes % 2 == 0) return -1;
    ((struct cli *)arg)->nodes_wanted = nodes;
    return 0;
}

#define NUMBER_OPTION(name, min, max, text)                                       \
    static int set_##name(void *arg, const char *value, const char **why)         \
    {                                                                             \
        int rv = option_number(value, min, max, &((struct cli *)arg)->name, why); \
        *why = text;                                                              \
        return rv;                                                                \
    }
NUMBER_OPTION(fronts_wanted, 1, CLI_FRONTS_MAX, "1 to 16 front-ends")
NUMBER_OPTION(partitions, 1, PARTITIONS_MAX, "1 to 256 partitions")
NUMBER_OPTION(users, 2, 10000, "2 to 10000 users")
NUMBER_OPTION(rate, 1, 1000000, "1 to 1000000 a second")
NUMBER_OPTION(inflight, 1, 100000, "1 to 100000 at once")
NUMBER_OPTION(size, 1, PAYLOAD_BYTES_MAX, "1 to 65536 bytes")
NUMBER_OPTION(seconds, 1, 3600, "1 to 3600 seconds")
NUMBER_OPTION(streams, 1, 1000000, "1 to 1000000 streams")
NUMBER_OPTION(limit, 1, 100000, "1 to 100000 events")
NUMBER_OPTION(rounds, 1, 1000, "1 to 1000 rounds")
NUMBER_OPTION(ttl_s, 1, 365 * 86400, "1 second to a year, in seconds")

#define FLAG_OPTION(name)                                                 \
    static int set_##name(void *arg, const char *value, const char **why) \
    {                                                                     \
        (void)value;                                                      \
        (void)why;                                                        \
        ((struct cli *)arg)->name = true;                                 \
        return 0;                                                         \
    }
FLAG_OPTION(detach)
FLAG_OPTION(stop)
FLAG_OPTION(fresh)
FLAG_OPTION(follow)

#define PATH_OPTION(name)                                                                        \
    static int set_##name(void *arg, const char *value, const char **why)                        \
    {                                                                                            \
        *why = "this path is too long";                                                          \
        return snprintf(((struct cli *)arg)->name, CLI_PATH_BYTES, "%s", value) < CLI_PATH_BYTES \
                   ? 0                                                                           \
                   : -1;                                                                         \
    }
PATH_OPTION(web)
PATH_OPTION(secret)

static int set_fronts(void *arg, const char *value, const char **why)
{
    struct cli *cli = arg;
    return option_addresses(value, cli->fronts, CLI_FRONTS_MAX, &cli->fronts_count, why);
}

static const struct option DEV[] = {
    {"dir", "D", "where data, logs and process ids live", cli_set_dir},
    {"port", "P", "node i on P+i (peers P+100+i), front-end j on P+1000+j (7000)", cli_set_port},
    {"nodes", "1|3|5", "how many logd (3)", set_wanted},
    {"fronts", "N", "how many chatd (2)", set_fronts_wanted},
    {"partitions", "N", "of a new cluster (16)", set_partitions},
    {"detach", NULL, "leave it running", set_detach},
    {"stop", NULL, "stop what runs in D", set_stop},
    {"fresh", NULL, "start from empty data", set_fresh},
    {"web", "FOLDER", "serve the web client in FOLDER", set_web},
};
static const struct option CLUSTER[] = {CLI_CLUSTER_OPTIONS};
static const struct option INIT[] = {
    {"nodes", "HOST:PORT,...", "client addresses of all its nodes, none of a cluster yet",
     cli_set_nodes},
    {"partitions", "N", "fixed for ever (16)", set_partitions},
    {"json", NULL, "print JSON, for programs", cli_set_json},
};
static const struct option TOKEN[] = {
    {"dir", "D", "sign with the secret of the cluster that `parley dev --dir D` made", cli_set_dir},
    {"secret", "FILE", "sign with the secret in FILE (HS256)", set_secret},
    {"ttl", "SECONDS", "how long it is good for (a day)", set_ttl_s},
};
static const struct option TAIL[] = {
    CLI_CLUSTER_OPTIONS,
    {"limit", "N", "the last N events (20)", set_limit},
    {"follow", NULL, "go on as events come", set_follow},
};
static const struct option APPEND[] = {
    CLI_CLUSTER_OPTIONS,
    {"inflight", "K", "appends without an answer at once (64)", set_inflight},
    {"size", "BYTES", "of one payload (256)", set_size},
    {"seconds", "S", "how long (10)", set_seconds},
    {"streams", "N", "over how many streams (1024, at least --inflight)", set_streams},
};
static const struct option FAILOVER[] = {
    {"dir", "D", "the cluster that `parley dev --dir D` made", cli_set_dir},
    {"rounds", "N", "how often a leader is killed (5)", set_rounds},
    {"json", NULL, "print JSON, for programs", cli_set_json},
};
static const struct option CHAT[] = {
    CLI_CLUSTER_OPTIONS,
    {"fronts", "HOST:PORT,...", "front-ends of another cluster", set_fronts},
    {"secret", "FILE", "sign the users' tokens with the secret in FILE", set_secret},
    {"users", "U", "in pairs (200)", set_users},
    {"rate", "R", "messages a second, of all together (2000)", set_rate},
    {"seconds", "S", "how long (10)", set_seconds},
    {"size", "BYTES", "of one message's text (100)", set_size},
};

#define OPTIONS_OF(table) table, ARRAY_COUNT(table)
static const struct command COMMANDS[] = {
    {"dev", "", 0, 0, command_dev, "run a cluster on this machine", OPTIONS_OF(DEV)},
    {"cluster init", "", 0, 0, command_init, "make a cluster of fresh nodes", OPTIONS_OF(INIT)},
    {"status", "", 0, 0, command_status, "how the cluster is", OPTIONS_OF(CLUSTER)},
    {"partitions", "", 0, 0, command_partitions, "where each partition is", OPTIONS_OF(CLUSTER)},
    {"token", "USER", 1, 1, command_token, "print a token for a user", OPTIONS_OF(TOKEN)},
    {"chat tail", "CHAT", 1, 1, command_chat_tail, "print a chat's events", OPTIONS_OF(TAIL)},
    {"chat post", "CHAT TEXT", 2, 2, command_chat_post, "say something as the operator",
     OPTIONS_OF(CLUSTER)},
    {"bench append", "", 0, 0, command_bench_append, "measure durable appends", OPTIONS_OF(APPEND)},
    {"bench chat", "", 0, 0, command_bench_chat, "measure chat through WebSockets",
     OPTIONS_OF(CHAT)},
    {"bench failover", "", 0, 0, command_bench_failover,
     "measure how fast a killed leader is replaced", OPTIONS_OF(FAILOVER)},
    {"version", "", 0, 0, command_version, "print the version", NULL, 0},
};

int command_version(struct cli *cli)
{
    (void)cli;
    puts("parley " PARLEY_VERSION);
    return EXIT_FINE;
}

static void usage(FILE *out)
{
    fprintf(out, "usage: parley COMMAND [options]; parley COMMAND --help\n");
    for (size_t i = 0; i < ARRAY_COUNT(COMMANDS); i++) {
        char left[64];
        snprintf(left, sizeof(left), "%s %s", COMMANDS[i].words, COMMANDS[i].takes);
        fprintf(out, "  %-24s %s\n", left, COMMANDS[i].help);
    }
}

/* How many of argv's words name this command; 0: they do not. */
static int command_match(const struct command *command, int argc, char **argv)
{
    const char *words = command->words;
    int used = 0;
    while (*words != '\0') {
        size_t bytes = strcspn(words, " ");
        if (used + 1 >= argc || strlen(argv[used + 1]) != bytes ||
            memcmp(argv[used + 1], words, bytes) != 0)
            return 0;
        used++;
        words += bytes + (words[bytes] == ' ');
    }
    return used;
}

static bool asks_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

static int command_usage(const struct command *command)
{
    printf("usage: parley %s%s%s%s -- %s\n", command->words, command->takes[0] == '\0' ? "" : " ",
           command->takes, command->options_count == 0 ? "" : " [options]", command->help);
    options_usage(command->options, command->options_count);
    return EXIT_FINE;
}

/* Sort what follows the command's name into words and options. */
static int command_run(const struct command *command, int used, int argc, char **argv)
{
    struct cli cli = {.argc = argc, .argv = argv};
    char why[OPTIONS_WHY_BYTES];
    for (int i = used + 1; i < argc; i++) {
        if (asks_help(argv[i])) return command_usage(command);
        if (strncmp(argv[i], "--", 2) != 0) {
            if (cli.words_count == command->words_max)
                return cli_fail(EXIT_USAGE, "%s takes %s: what is %s?", command->words,
                                command->takes[0] == '\0' ? "options alone" : command->takes,
                                argv[i]);
            cli.words[cli.words_count++] = argv[i];
            continue;
        }
        bool takes_value = options_takes_value(command->options, command->options_count, argv[i]);
        int count = takes_value && i + 1 < argc ? 2 : 1;
        if (options_flags(count + 1, argv + i - 1, command->options, command->options_count, &cli,
                          why) != 0)
            return cli_fail(EXIT_USAGE, "%s", why);
        i += count - 1;
    }
    if (cli.words_count < command->words_min)
        return cli_fail(EXIT_USAGE, "%s needs %s", command->words, command->takes);
    return command->run(&cli);
}

int main(int argc, char **argv)
{
    if (argc > 1 && (asks_help(argv[1]) || strcmp(argv[1], "help") == 0))
        return usage(stdout), EXIT_FINE;
    if (argc > 1 && strcmp(argv[1], "--version") == 0) return command_version(NULL);
    for (size_t i = 0; i < ARRAY_COUNT(COMMANDS); i++) {
        int used = command_match(&COMMANDS[i], argc, argv);
        if (used > 0) return command_run(&COMMANDS[i], used, argc, argv);
    }
    if (argc > 1) (void)cli_fail(EXIT_USAGE, "%s is no command", argv[1]);
    usage(stderr);
    return EXIT_USAGE;
}
