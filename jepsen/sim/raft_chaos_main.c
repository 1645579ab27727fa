/* jepsen/sim/raft_chaos_main.c -- raft_chaos [--nodes N] [--members] [--steps N] [--off RULE]...
 * [--verbose] FIRST [COUNT]: run seeds FIRST .. FIRST + COUNT - 1; exit 1 when one is not clean. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "jepsen/sim/raft_chaos.h"

static uint32_t rule_of(const char *name)
{
#define X(bit, rule, without) \
    if (strcmp(name, #rule) == 0) return (uint32_t)rule;
    GATE_RULES(X)
#undef X
    fprintf(stderr, "no such rule: %s\n", name);
    exit(2);
}

static const char *next_of(int argc, char **argv, int *i)
{
    if (*i + 1 >= argc) {
        fprintf(stderr, "%s needs a value\n", argv[*i]);
        exit(2);
    }
    return argv[++*i];
}

int main(int argc, char **argv)
{
    struct chaos_options o = {.nodes = 3, .steps = 60, .rules = GATE_RULES_ALL};
    uint64_t range[2] = {1, 1};
    int given = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--nodes") == 0) {
            o.nodes = (unsigned)strtoul(next_of(argc, argv, &i), NULL, 10);
        } else if (strcmp(argv[i], "--steps") == 0) {
            o.steps = (unsigned)strtoul(next_of(argc, argv, &i), NULL, 10);
        } else if (strcmp(argv[i], "--off") == 0) {
            o.rules &= ~rule_of(next_of(argc, argv, &i));
        } else if (strcmp(argv[i], "--members") == 0) {
            o.members = true;
        } else if (strcmp(argv[i], "--verbose") == 0) {
            o.verbose = true;
        } else if (given < 2) {
            range[given++] = strtoull(argv[i], NULL, 10);
        }
    }
    uint64_t bad = 0, acked = 0, reads = 0, installs = 0, leaders = 0, boots = 0;
    for (uint64_t seed = range[0]; seed < range[0] + range[1]; seed++) {
        struct chaos_result result;
        if (o.verbose) printf("seed %" PRIu64 "\n", seed);
        chaos_run(seed, &o, &result);
        acked += result.counts.acked;
        reads += result.counts.reads;
        installs += result.counts.installs;
        leaders += result.counts.leaders;
        boots += result.counts.boots;
        if (result.violation[0] == 0) continue;
        bad++;
        printf("seed %" PRIu64 ": %s\n", seed, result.violation);
        fflush(stdout);
    }
    printf("%" PRIu64 " seeds, %" PRIu64 " not clean; %" PRIu64 " acknowledged, %" PRIu64
           " reads, %" PRIu64 " leaders, %" PRIu64 " boots, %" PRIu64 " installs\n",
           range[1], bad, acked, reads, leaders, boots, installs);
    return bad > 0 ? 1 : 0;
}
