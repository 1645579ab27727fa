/* log/manifest.c -- see manifest.h. */
#include "log/manifest.h"

#include <stdio.h>
#include <stdlib.h>

#include "log/pack.h"

enum {
    MANIFEST_VERSION = 1,
    MANIFEST_RUN_BYTES_MAX = 8 + 4 * 10,
    MANIFEST_BYTES_MAX = 256 + STORE_CONFIGURATION_BYTES_MAX + RUNS_MAX * MANIFEST_RUN_BYTES_MAX,
};

static const uint8_t manifest_magic[8] = "parlyman";

void manifest_set_facts(struct manifest *manifest, const struct store_facts *facts)
{
    struct buf configuration = {0};
    buf_put(&configuration, facts->configuration.data, facts->configuration.len);
    buf_free(&manifest->configuration); /* Only now: facts may be the manifest's own. */
    manifest->configuration = configuration;
    manifest->facts = *facts;
    manifest->facts.configuration = buf_bytes(&manifest->configuration);
}

void manifest_copy(struct manifest *to, const struct manifest *from)
{
    *to = *from;
    to->configuration = (struct buf){0};
    manifest_set_facts(to, &from->facts);
    to->runs = mem_copy(from->runs, from->runs_count * sizeof(*from->runs));
}

void manifest_free(struct manifest *manifest)
{
    buf_free(&manifest->configuration);
    free(manifest->runs);
    *manifest = (struct manifest){0};
}

void manifest_encode(const struct manifest *manifest, struct buf *out)
{
    size_t start = out->len;
    buf_put(out, manifest_magic, sizeof(manifest_magic));
    buf_u32(out, MANIFEST_VERSION);
    buf_u64(out, manifest->owner);
    buf_u16(out, manifest->part);
    facts_encode(&manifest->facts, out);
    buf_varint(out, manifest->run_next);
    buf_varint(out, manifest->runs_count);
    for (unsigned i = 0; i < manifest->runs_count; i++) {
        const struct manifest_run *run = &manifest->runs[i];
        buf_varint(out, run->number);
        buf_u64(out, run->id);
        buf_varint(out, run->bytes);
        buf_varint(out, run->from);
        buf_varint(out, run->to);
    }
    uint64_t sum = hash64((struct slice){out->data + start, out->len - start});
    buf_u64(out, sum);
}

static void runs_decode(struct reader *r, struct manifest *out)
{
    out->runs_count = (unsigned)read_bounded(r, RUNS_MAX);
    out->runs = mem_alloc((out->runs_count + 1) * sizeof(*out->runs));
    for (unsigned i = 0; i < out->runs_count && !r->failed; i++) {
        struct manifest_run *run = &out->runs[i];
        run->number = read_varint(r);
        run->id = read_u64(r);
        run->bytes = read_varint(r);
        run->from = read_varint(r);
        run->to = read_varint(r);
        if (run->number >= out->run_next || run->from > run->to) r->failed = true;
    }
}

int manifest_decode(struct slice bytes, struct manifest *out)
{
    const size_t sum_bytes = 8;
    if (bytes.len < sizeof(manifest_magic) + 4 + sum_bytes) return ERR_CORRUPT;
    struct slice content = {bytes.data, bytes.len - sum_bytes};
    const uint8_t *sum = (const uint8_t *)bytes.data + content.len;
    if (get_u64(sum) != hash64(content)) return ERR_CORRUPT;
    struct reader r = reader_of(content);
    struct slice magic = read_bytes(&r, sizeof(manifest_magic));
    if (memcmp(magic.data, manifest_magic, sizeof(manifest_magic)) != 0) return ERR_CORRUPT;
    if (read_u32(&r) != MANIFEST_VERSION) return ERR_VERSION;

    struct store_facts facts;
    struct manifest manifest = {0};
    manifest.owner = read_u64(&r);
    manifest.part = read_u16(&r);
    facts_decode(&r, &facts);
    manifest.run_next = read_varint(&r);
    if (r.failed) return ERR_CORRUPT;
    manifest_set_facts(&manifest, &facts);
    runs_decode(&r, &manifest);
    if (!reader_done(&r)) {
        manifest_free(&manifest);
        return ERR_CORRUPT;
    }
    *out = manifest;
    out->facts.configuration = buf_bytes(&out->configuration);
    return 0;
}

/* ---- the file ---- */

static void path_of(char out[STORE_PATH_BYTES_MAX], const char *dir, const char *name)
{
    int len = snprintf(out, STORE_PATH_BYTES_MAX, "%s/%s", dir, name);
    CHECK(len > 0 && len < STORE_PATH_BYTES_MAX);
}

static void run_name(char out[32], uint64_t number)
{
    snprintf(out, 32, "%016llx.run", (unsigned long long)number);
}

void run_path(char out[STORE_PATH_BYTES_MAX], const char *dir, uint64_t number)
{
    char name[32];
    run_name(name, number);
    path_of(out, dir, name);
}

bool manifest_names(const struct manifest *manifest, const char *name)
{
    char run[32];
    if (strcmp(name, "manifest") == 0) return true;
    for (unsigned i = 0; i < manifest->runs_count; i++) {
        run_name(run, manifest->runs[i].number);
        if (strcmp(name, run) == 0) return true;
    }
    return false;
}

int manifest_read(struct env *env, const char *dir, struct manifest *out)
{
    char path[STORE_PATH_BYTES_MAX];
    struct env_file *file;
    uint64_t bytes = 0;
    size_t got = 0;
    path_of(path, dir, "manifest");
    int err = env_file_open(env, path, ENV_READ, &file);
    if (err != 0) return err;
    err = env_file_size(env, file, &bytes);
    if (err == 0 && bytes > MANIFEST_BYTES_MAX) err = ERR_CORRUPT;
    if (err == 0) {
        void *data = mem_alloc(bytes + 1);
        err = env_file_read(env, file, data, bytes, 0, &got);
        if (err == 0) err = manifest_decode((struct slice){data, got}, out);
        free(data);
    }
    env_file_close(env, file);
    return err;
}

static int aside_write(struct env *env, const char *path, struct slice bytes)
{
    struct env_file *file;
    int err = env_file_open(env, path, ENV_WRITE | ENV_CREATE, &file);
    if (err != 0) return err;
    err = env_file_truncate(env, file, 0);
    if (err == 0) err = env_file_write(env, file, bytes.data, bytes.len, 0);
    if (err == 0) err = env_file_sync(env, file);
    env_file_close(env, file);
    return err;
}

int manifest_write(struct env *env, const char *dir, const struct manifest *manifest)
{
    char path[STORE_PATH_BYTES_MAX], aside[STORE_PATH_BYTES_MAX];
    struct buf bytes = {0};
    path_of(path, dir, "manifest");
    path_of(aside, dir, "manifest.new");
    manifest_encode(manifest, &bytes);
    CHECK(bytes.len <= MANIFEST_BYTES_MAX);
    int err = aside_write(env, aside, buf_bytes(&bytes));
    if (err == 0) err = env_dir_sync(env, dir);
    if (err == 0) err = env_rename(env, aside, path);
    buf_free(&bytes);
    if (err != 0) {
        (void)!env_unlink(env, aside); /* Or at the next start: nothing names it. */
        return err;
    }
    /* Whether the old or the new one is there after a crash cannot be told when this fails. */
    CHECK(env_dir_sync(env, dir) == 0);
    return 0;
}
