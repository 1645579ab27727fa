/* admin/bench_failover.c -- parley bench failover: how long a partition is without writes when its
 * leader is killed.
 *
 * One writer per partition appends without a pause. Each round kills (SIGKILL) the logd that leads
 * most partitions, takes the time from the kill to the first acknowledgement on each of those, then
 * starts the same program with the same arguments again and waits until the cluster is whole. Only
 * for a cluster of `parley dev`: it knows the processes by their files. */
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "admin/cli.h"
#include "admin/measure.h"

enum {
    ROUNDS_DEFAULT = 5,
    WARM_MS = 2000,  /* Of load before each kill. */
    HEAL_MS = 30000, /* Until a round's writes, and the cluster, are whole again. */
    GONE_POLL_MS = 20,
    BURIED_MS = 20,
    CALM_MS = 1500, /* A node that came back catches up. */
    PAYLOAD_BYTES = 256,
    ASK_MS = 1000,
    ARGUMENTS_BYTES = 8192,
    ARGUMENTS_MAX = 64,
    NAMES_TRIED_MAX = 1000000,
};

struct failover;

struct writer {
    struct client_txn request;
    struct failover *failover;
    char name[48];
    uint64_t n;
    bool victim; /* Its leader was killed; the first acknowledgement is awaited. */
    uint64_t took_us;
};

struct node_said {
    struct client_status request;
    bool done, up;
    bool leads[PARTITIONS_MAX];
    unsigned leads_count, replicas_behind;
};

struct failover {
    struct cli *cli;
    struct cli_link link;
    struct writer *writers; /* One per partition. */
    unsigned parts_count, waiting_count;
    uint64_t killed_us;
    bool done, stopping;
    uint64_t errors;
    uint8_t payload[PAYLOAD_BYTES];
};

/* ---- writing ---- */

static void writer_go(struct writer *writer);

static void written(struct client_txn *request, int err, const struct outcome *outcome,
                    uint32_t after_ms)
{
    struct writer *writer = CONTAINER_OF(request, struct writer, request);
    struct failover *f = writer->failover;
    (void)after_ms;
    if (err == 0 && outcome->status == 0) {
        writer->n++;
        if (writer->victim) {
            writer->victim = false;
            writer->took_us = uv_hrtime() / 1000 - f->killed_us;
            f->done = --f->waiting_count == 0;
        }
    } else {
        f->errors++;
    }
    if (!f->stopping) writer_go(writer);
}

static void writer_go(struct writer *writer)
{
    struct txn_record record = {.kind = 1, .payload = {writer->failover->payload, PAYLOAD_BYTES}};
    struct txn txn = {.stream = slice_str(writer->name),
                      .producer = slice_str("bench/failover"),
                      .n = writer->n + 1,
                      .records = &record,
                      .records_count = 1};
    writer->request = (struct client_txn){.txn = &txn, .done = written};
    client_txn(writer->failover->link.client, &writer->request);
}

/* A stream for each partition, found by trying names. */
static void writers_make(struct failover *f)
{
    unsigned found = 0;
    unsigned long long run = env_random(f->link.env);
    f->parts_count = client_partitions(f->link.client);
    f->writers = mem_zero(f->parts_count * sizeof(f->writers[0]));
    for (unsigned i = 0; i < NAMES_TRIED_MAX && found < f->parts_count; i++) {
        char name[48];
        snprintf(name, sizeof(name), "bench/%016llx/%u", run, i);
        struct writer *writer = &f->writers[client_partition_of(f->link.client, slice_str(name))];
        if (writer->failover != NULL) continue;
        writer->failover = f;
        memcpy(writer->name, name, sizeof(name));
        found++;
    }
    CHECK(found == f->parts_count);
    for (unsigned p = 0; p < f->parts_count; p++)
        writer_go(&f->writers[p]);
}

/* ---- the nodes ---- */

static void said(struct client_status *request, int err, struct slice text)
{
    struct node_said *node = CONTAINER_OF(request, struct node_said, request);
    json_t *tree = err == 0 ? json_loadb(text.data, text.len, 0, NULL) : NULL, *part;
    size_t i;
    node->done = true;
    node->up = tree != NULL;
    json_array_foreach(json_object_get(tree, "partitions"), i, part)
    {
        json_int_t number = json_integer_value(json_object_get(part, "part"));
        if (number < 0 || number >= PARTITIONS_MAX) continue;
        node->leads[number] = json_is_true(json_object_get(part, "leads"));
        node->leads_count += node->leads[number];
        node->replicas_behind += json_integer_value(json_object_get(part, "leader")) == 0;
    }
    json_decref(tree);
}

static struct node_said node_ask(struct failover *f, unsigned node)
{
    struct node_said answer = {.request = {.node = node, .deadline_ms = ASK_MS, .done = said}};
    client_status(f->link.client, &answer.request);
    (void)cli_run(&f->link, &answer.done, 4 * ASK_MS);
    return answer;
}

/* The arguments of a running process, to start it again: text with ends, and pointers into it. */
static long process_arguments(const struct cli *cli, unsigned node, char text[ARGUMENTS_BYTES],
                              char *argv[ARGUMENTS_MAX + 1])
{
    char path[CLI_PATH_BYTES + 64];
    long pid = 0;
    snprintf(path, sizeof(path), "%s/logd-%u.pid", cli->dir, node + 1);
    FILE *file = fopen(path, "re");
    if (file == NULL) return 0;
    if (fscanf(file, "%ld", &pid) != 1) pid = 0;
    fclose(file);
    snprintf(path, sizeof(path), "/proc/%ld/cmdline", pid);
    file = fopen(path, "re");
    if (file == NULL) return 0;
    size_t bytes = fread(text, 1, ARGUMENTS_BYTES - 1, file);
    fclose(file);
    text[bytes] = '\0';
    int count = 0;
    for (size_t at = 0; at < bytes && count < ARGUMENTS_MAX; at += strlen(text + at) + 1)
        argv[count++] = text + at;
    argv[count] = NULL;
    return count > 0 ? pid : 0;
}

/* It runs no more: what it locked is free. A killed process lives on while the disk is busy for it.
 */
static bool process_gone(long pid)
{
    char path[64], state = 'Z';
    snprintf(path, sizeof(path), "/proc/%ld/stat", pid);
    FILE *file = fopen(path, "re");
    if (file == NULL) return true;
    if (fscanf(file, "%*d %*s %c", &state) != 1) state = 'Z';
    fclose(file);
    return state == 'Z';
}

static void process_start(const struct cli *cli, unsigned node, char *const argv[])
{
    char path[CLI_PATH_BYTES + 64];
    snprintf(path, sizeof(path), "%s/logd-%u.log", cli->dir, node + 1);
    pid_t pid = fork();
    if (pid == 0) {
        int log = open(path, O_WRONLY | O_APPEND | O_CLOEXEC), null = open("/dev/null", O_RDONLY);
        (void)setsid();
        if (log >= 0 && null >= 0 && dup2(null, 0) >= 0 && dup2(log, 1) >= 0 && dup2(log, 2) >= 0)
            execv(argv[0], argv);
        _exit(127);
    }
    snprintf(path, sizeof(path), "%s/logd-%u.pid", cli->dir, node + 1);
    FILE *file = fopen(path, "we");
    if (file == NULL) return;
    fprintf(file, "%ld\n", (long)pid);
    fclose(file);
}

/* Every node answers and knows a leader for every partition. */
static bool wait_whole(struct failover *f)
{
    const bool never = false;
    uint64_t until = env_now_ms(f->link.env) + HEAL_MS;
    while (env_now_ms(f->link.env) < until) {
        unsigned whole = 0;
        for (unsigned i = 0; i < f->cli->nodes_count; i++) {
            struct node_said node = node_ask(f, i);
            whole += node.up && node.replicas_behind == 0;
        }
        if (whole == f->cli->nodes_count) return true;
        (void)cli_run(&f->link, &never, ASK_MS / 10);
    }
    return false;
}

/* ---- the command ---- */

static int order(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* One round: the time until the last of the leader's partitions wrote again, in worst_us. */
static int failover_round(struct failover *f, struct latency *each, uint64_t *worst_us,
                          unsigned *parts_count)
{
    const bool never = false;
    char text[ARGUMENTS_BYTES], *argv[ARGUMENTS_MAX + 1];
    struct node_said victim = {0};
    unsigned number = 0;
    (void)cli_run(&f->link, &never, WARM_MS);
    for (unsigned i = 0; i < f->cli->nodes_count; i++) {
        struct node_said node = node_ask(f, i);
        if (node.leads_count <= victim.leads_count) continue;
        victim = node;
        number = i;
    }
    long pid = process_arguments(f->cli, number, text, argv);
    if (pid == 0 || victim.leads_count == 0)
        return cli_fail(EXIT_FAILED, "no leader's process is known in %s", f->cli->dir);
    f->done = false;
    f->waiting_count = victim.leads_count;
    f->killed_us = uv_hrtime() / 1000;
    if (kill((pid_t)pid, SIGKILL) != 0) return cli_fail(EXIT_FAILED, "logd %u is gone", number + 1);
    /* What the leader acknowledged before it died may still wait to be read; nobody else leads
     * within so short a time. */
    (void)cli_run(&f->link, &never, BURIED_MS);
    for (unsigned p = 0; p < f->parts_count; p++)
        f->writers[p].victim = victim.leads[p];
    if (!cli_run(&f->link, &f->done, HEAL_MS))
        return cli_fail(EXIT_FAILED, "%u partitions take no write since logd %u was killed",
                        f->waiting_count, number + 1);
    *worst_us = 0;
    *parts_count = victim.leads_count;
    for (unsigned p = 0; p < f->parts_count; p++) {
        if (!victim.leads[p]) continue;
        latency_add(each, f->writers[p].took_us);
        if (f->writers[p].took_us > *worst_us) *worst_us = f->writers[p].took_us;
    }
    for (unsigned waited = 0; !process_gone(pid) && waited < HEAL_MS; waited += GONE_POLL_MS)
        (void)cli_run(&f->link, &never, GONE_POLL_MS);
    process_start(f->cli, number, argv);
    if (!wait_whole(f)) return cli_fail(EXIT_FAILED, "logd %u did not come back", number + 1);
    (void)cli_run(&f->link, &never, CALM_MS);
    return 0;
}

static int failover_run(struct failover *f)
{
    uint64_t rounds = f->cli->rounds == 0 ? ROUNDS_DEFAULT : f->cli->rounds;
    struct latency *each = mem_zero(sizeof(*each));
    uint64_t *worst_us = mem_zero(rounds * sizeof(*worst_us));
    int rv = 0;
    writers_make(f);
    for (uint64_t i = 0; i < rounds && rv == 0; i++) {
        unsigned parts_count = 0;
        rv = failover_round(f, each, &worst_us[i], &parts_count);
        if (rv == 0 && !f->cli->json)
            printf(
                "round %llu: the leader of %u partitions killed, the last of them wrote again "
                "after %llu ms\n",
                (unsigned long long)i + 1, parts_count, (unsigned long long)worst_us[i] / 1000);
    }
    if (rv == 0) {
        qsort(worst_us, rounds, sizeof(*worst_us), order);
        printf(f->cli->json ? "{\"rounds\":%llu,\"median_ms\":%llu,\"each_p50_ms\":%llu,"
                              "\"each_max_ms\":%llu,\"errors\":%llu}\n"
                            : "failover: %llu rounds, median %llu ms; each partition p50 %llu ms, "
                              "max %llu ms; %llu errors\n",
               (unsigned long long)rounds, (unsigned long long)worst_us[rounds / 2] / 1000,
               (unsigned long long)latency_at(each, 0.5) / 1000,
               (unsigned long long)each->max_us / 1000, (unsigned long long)f->errors);
    }
    free(each);
    free(worst_us);
    return rv;
}

int command_bench_failover(struct cli *cli)
{
    struct failover *f = mem_zero(sizeof(*f));
    f->cli = cli;
    if (cli->dir[0] == '\0') {
        free(f);
        return cli_fail(EXIT_USAGE, "--dir D is needed: only processes of `parley dev` are killed");
    }
    (void)signal(SIGCHLD, SIG_IGN); /* Nobody waits for the nodes that are started again. */
    int rv = cli_open(cli, &f->link, true);
    if (rv == 0 && !wait_whole(f)) {
        cli_close(&f->link);
        rv = cli_fail(EXIT_UNHEALTHY,
                      "a node is down, or a partition has no leader: nothing is killed");
    } else if (rv == 0) {
        rv = failover_run(f);
        f->stopping = true;
        cli_close(&f->link);
    }
    free(f->writers);
    free(f);
    return rv;
}
