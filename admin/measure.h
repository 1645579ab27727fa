/* admin/measure.h -- what a benchmark prints: latencies, CPU per process, the disk's own speed.
 *
 * Latencies are counted in buckets of at most 1/64 of their value (as HdrHistogram does), so a
 * percentile is exact to 1.6 %.
 * Thread: one. Units: us. */
#ifndef ADMIN_MEASURE_H_
#define ADMIN_MEASURE_H_

#include "admin/cli.h"

enum { LATENCY_BUCKETS = 64 * 40 };

struct latency {
    uint64_t counts[LATENCY_BUCKETS];
    uint64_t count, max_us;
};
void latency_add(struct latency *latency, uint64_t us);
uint64_t latency_at(const struct latency *latency, double part); /* 0.99: p99. 0 when empty. */

/* CPU seconds that the cluster's processes and this one used since cpu_begin. */
struct cpu {
    struct cpu_process {
        char name[16];
        long pid;
        double begin_s, used_s;
    } all[NODES_MAX + CLI_FRONTS_MAX + 1];
    unsigned count;
};
void cpu_begin(const struct cli *cli, struct cpu *cpu); /* Without --dir: this process alone. */
void cpu_end(struct cpu *cpu);

/* The median of 200 writes of 4 KiB, each with its fdatasync, in dir (or here); 0: not known. */
uint64_t disk_sync_us(struct env *env, const char *dir);

struct result {
    const char *what; /* "append: 1024 in flight, 256 bytes, 1024 streams, 10 s". */
    double rate_per_s;
    struct latency *latency, *second; /* second: another one, or NULL. */
    const char *latency_name, *second_name;
    uint64_t done, errors, verified;
    uint64_t sync_us;
};
void result_print(const struct cli *cli, const struct result *result, const struct cpu *cpu);

#endif /* ADMIN_MEASURE_H_ */
