/* chatd/webroot.c -- see webroot.h. */
#include "chatd/webroot.h"

#include <stdio.h>
#include <stdlib.h>

struct webroot {
    struct webfile files[WEBROOT_FILES_MAX];
    size_t count;
    size_t bytes;
    struct env *env;    /* While loading. */
    const char *folder; /* While loading. */
    int err;            /* The first while loading. */
};

/* The content type of name; NULL: not a file of a web page. */
static const char *type_of(const char *name)
{
    static const struct {
        const char *ending;
        const char *type;
    } types[] = {
        {".html", "text/html; charset=utf-8"},
        {".js", "text/javascript; charset=utf-8"},
        {".css", "text/css; charset=utf-8"},
        {".svg", "image/svg+xml"},
        {".png", "image/png"},
        {".ico", "image/x-icon"},
        {".webmanifest", "application/manifest+json"},
        {".json", "application/json"},
        {".woff2", "font/woff2"},
    };
    const char *dot = strrchr(name, '.');
    if (dot == NULL || name[0] == '.') return NULL;
    for (size_t i = 0; i < ARRAY_COUNT(types); i++)
        if (strcmp(dot, types[i].ending) == 0) return types[i].type;
    return NULL;
}

static int read_body(struct webroot *root, const char *path, struct slice *body)
{
    struct env_file *file;
    uint64_t bytes = 0;
    size_t got = 0;
    int rv = env_file_open(root->env, path, ENV_READ, &file);
    if (rv != 0) return rv;
    rv = env_file_size(root->env, file, &bytes);
    if (rv == 0 && bytes > WEBROOT_BYTES_MAX - root->bytes) rv = ERR_TOO_BIG;
    if (rv == 0) {
        void *data = mem_alloc(bytes);
        rv = env_file_read(root->env, file, data, bytes, 0, &got);
        if (rv == 0 && got != bytes) rv = ERR_IO; /* It shrank meanwhile. */
        if (rv == 0)
            *body = (struct slice){data, bytes};
        else
            free(data);
    }
    env_file_close(root->env, file);
    return rv;
}

static int load(struct webroot *root, const char *name, const char *type)
{
    char path[4096], where[256];
    struct slice body;
    int len = snprintf(path, sizeof(path), "%s/%s", root->folder, name);
    if (len < 0 || (size_t)len >= sizeof(path)) return ERR_INVAL;
    if (root->count == WEBROOT_FILES_MAX) return ERR_TOO_BIG;
    len = snprintf(where, sizeof(where), "/%s", name);
    if (len < 0 || (size_t)len >= sizeof(where)) return ERR_INVAL;
    int rv = read_body(root, path, &body);
    if (rv != 0) return rv;
    root->bytes += body.len;
    root->files[root->count++] =
        (struct webfile){.path = mem_string(slice_str(where)), .type = type, .body = body};
    return 0;
}

static void name_found(void *arg, const char *name)
{
    struct webroot *root = arg;
    const char *type = type_of(name);
    if (type == NULL || root->err != 0) return;
    root->err = load(root, name, type);
}

int webroot_load(struct env *env, const char *folder, struct webroot **out)
{
    struct webroot *root = mem_zero(sizeof(*root));
    root->env = env;
    root->folder = folder;
    int rv = env_dir_list(env, folder, name_found, root);
    if (rv == 0) rv = root->err;
    if (rv == 0 && webroot_find(root, "/") == NULL) rv = ERR_NOT_FOUND;
    if (rv != 0) {
        webroot_destroy(root);
        return rv;
    }
    root->env = NULL;
    root->folder = NULL;
    *out = root;
    return 0;
}

void webroot_destroy(struct webroot *root)
{
    if (root == NULL) return;
    for (size_t i = 0; i < root->count; i++) {
        free((void *)(uintptr_t)root->files[i].path);
        free((void *)(uintptr_t)root->files[i].body.data);
    }
    free(root);
}

const struct webfile *webroot_find(const struct webroot *root, const char *path)
{
    if (strcmp(path, "/") == 0) path = "/index.html";
    for (size_t i = 0; i < root->count; i++)
        if (strcmp(root->files[i].path, path) == 0) return &root->files[i];
    return NULL;
}
