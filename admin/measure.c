/* admin/measure.c -- see measure.h. */
#include "admin/measure.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { SUB_BITS = 6, SUB = 1 << SUB_BITS, SYNCS = 200, SYNC_BYTES = 4096 };

/* Values below 64 have a bucket each; above, 64 buckets per power of two. */
static size_t bucket_of(uint64_t us)
{
    if (us < SUB) return (size_t)us;
    unsigned power = 63 - (unsigned)__builtin_clzll(us) - SUB_BITS + 1;
    size_t bucket = (size_t)power * SUB + (size_t)((us >> (power - 1)) - SUB);
    return bucket < LATENCY_BUCKETS ? bucket : LATENCY_BUCKETS - 1;
}

static uint64_t bucket_top(size_t bucket)
{
    if (bucket < SUB) return bucket;
    unsigned power = (unsigned)(bucket / SUB);
    return (((uint64_t)(bucket % SUB) + SUB + 1) << (power - 1)) - 1;
}

void latency_add(struct latency *latency, uint64_t us)
{
    latency->counts[bucket_of(us)]++;
    latency->count++;
    if (us > latency->max_us) latency->max_us = us;
}

uint64_t latency_at(const struct latency *latency, double part)
{
    uint64_t seen = 0, want = (uint64_t)((double)latency->count * part);
    for (size_t i = 0; i < LATENCY_BUCKETS; i++) {
        seen += latency->counts[i];
        if (seen > want) return bucket_top(i) < latency->max_us ? bucket_top(i) : latency->max_us;
    }
    return latency->max_us;
}

/* utime and stime are the 14th and 15th word; the 2nd may hold spaces, in brackets. */
static double process_cpu_s(long pid)
{
    char path[64], text[1024];
    unsigned long long user = 0, kernel = 0;
    snprintf(path, sizeof(path), "/proc/%ld/stat", pid);
    FILE *file = fopen(path, "re");
    if (file == NULL) return 0;
    size_t got = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    text[got] = '\0';
    const char *at = strrchr(text, ')');
    if (at == NULL || sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu",
                             &user, &kernel) != 2)
        return 0;
    return (double)(user + kernel) / (double)sysconf(_SC_CLK_TCK);
}

static void cpu_add(struct cpu *cpu, const char *name, long pid)
{
    struct cpu_process *process = &cpu->all[cpu->count++];
    snprintf(process->name, sizeof(process->name), "%s", name);
    process->pid = pid;
    process->begin_s = process_cpu_s(pid);
}

static void cpu_add_files(struct cpu *cpu, const char *dir, const char *name, uint64_t count)
{
    for (uint64_t i = 1; i <= count; i++) {
        char path[CLI_PATH_BYTES + 64], label[16];
        long pid = 0;
        snprintf(path, sizeof(path), "%s/%s-%llu.pid", dir, name, (unsigned long long)i);
        snprintf(label, sizeof(label), "%s-%llu", name, (unsigned long long)i);
        FILE *file = fopen(path, "re");
        if (file == NULL) continue;
        if (fscanf(file, "%ld", &pid) == 1) cpu_add(cpu, label, pid);
        fclose(file);
    }
}

void cpu_begin(const struct cli *cli, struct cpu *cpu)
{
    struct cli_cluster cluster;
    *cpu = (struct cpu){0};
    cpu_add(cpu, "bench", (long)getpid());
    if (cli->dir[0] == '\0' || cli_cluster_read(cli->dir, &cluster) != 0) return;
    cpu_add_files(cpu, cli->dir, "logd", cluster.nodes_count);
    cpu_add_files(cpu, cli->dir, "chatd", cluster.fronts_count);
}

void cpu_end(struct cpu *cpu)
{
    for (unsigned i = 0; i < cpu->count; i++)
        cpu->all[i].used_s = process_cpu_s(cpu->all[i].pid) - cpu->all[i].begin_s;
}

static int order(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

uint64_t disk_sync_us(struct env *env, const char *dir)
{
    char path[CLI_PATH_BYTES + 32], block[SYNC_BYTES] = "parley";
    uint64_t times[SYNCS];
    struct env_file *file;
    snprintf(path, sizeof(path), "%s/bench-sync.tmp", dir[0] == '\0' ? "." : dir);
    if (env_file_open(env, path, ENV_READ | ENV_WRITE | ENV_CREATE, &file) != 0) return 0;
    int err = 0;
    for (int i = 0; i < SYNCS && err == 0; i++) /* Allocated and written once, as the WAL's are. */
        err = env_file_write(env, file, block, sizeof(block), (uint64_t)i * SYNC_BYTES);
    if (err == 0) err = env_file_sync(env, file);
    for (int i = 0; i < SYNCS && err == 0; i++) {
        uint64_t begin = uv_hrtime();
        err = env_file_write(env, file, block, sizeof(block), (uint64_t)i * SYNC_BYTES);
        if (err == 0) err = env_file_sync(env, file);
        times[i] = (uv_hrtime() - begin) / 1000;
    }
    env_file_close(env, file);
    if (env_unlink(env, path) != 0 || err != 0) return 0;
    qsort(times, SYNCS, sizeof(times[0]), order);
    return times[SYNCS / 2];
}

static void print_json(const struct result *r, const struct cpu *cpu)
{
    printf(
        "{\"what\":\"%s\",\"rate_per_s\":%.0f,\"p50_us\":%llu,\"p99_us\":%llu,\"p999_us\":%llu,"
        "\"max_us\":%llu,\"done\":%llu,\"errors\":%llu,\"verified\":%llu,\"fdatasync_us\":%llu",
        r->what, r->rate_per_s, (unsigned long long)latency_at(r->latency, 0.5),
        (unsigned long long)latency_at(r->latency, 0.99),
        (unsigned long long)latency_at(r->latency, 0.999), (unsigned long long)r->latency->max_us,
        (unsigned long long)r->done, (unsigned long long)r->errors, (unsigned long long)r->verified,
        (unsigned long long)r->sync_us);
    if (r->second != NULL)
        printf(",\"%s\":{\"p50_us\":%llu,\"p99_us\":%llu,\"p999_us\":%llu,\"max_us\":%llu}",
               r->second_name, (unsigned long long)latency_at(r->second, 0.5),
               (unsigned long long)latency_at(r->second, 0.99),
               (unsigned long long)latency_at(r->second, 0.999),
               (unsigned long long)r->second->max_us);
    printf(",\"cpu_s\":{");
    for (unsigned i = 0; i < cpu->count; i++)
        printf("%s\"%s\":%.2f", i == 0 ? "" : ",", cpu->all[i].name, cpu->all[i].used_s);
    printf("}}\n");
}

static void print_latency(const char *name, const struct latency *latency)
{
    printf("%-9s p50 %llu us, p99 %llu us, p99.9 %llu us, max %llu us\n", name,
           (unsigned long long)latency_at(latency, 0.5),
           (unsigned long long)latency_at(latency, 0.99),
           (unsigned long long)latency_at(latency, 0.999), (unsigned long long)latency->max_us);
}

void result_print(const struct cli *cli, const struct result *r, const struct cpu *cpu)
{
    double all_s = 0;
    if (cli->json) {
        print_json(r, cpu);
        return;
    }
    printf("%s\n", r->what);
    printf("rate      %.0f/s (%llu done, %llu errors, %llu verified)\n", r->rate_per_s,
           (unsigned long long)r->done, (unsigned long long)r->errors,
           (unsigned long long)r->verified);
    print_latency(r->latency_name, r->latency);
    if (r->second != NULL) print_latency(r->second_name, r->second);
    printf("cpu      ");
    for (unsigned i = 0; i < cpu->count; i++) {
        printf(" %s %.2f s", cpu->all[i].name, cpu->all[i].used_s);
        all_s += cpu->all[i].used_s;
    }
    printf("; %.1f us each\n", r->done == 0 ? 0 : all_s * 1e6 / (double)r->done);
    if (r->sync_us > 0)
        printf("disk      4 KiB write + fdatasync %llu us (median)\n",
               (unsigned long long)r->sync_us);
}
