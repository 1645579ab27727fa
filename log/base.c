/* log/base.c -- see base.h. */
#include "log/base.h"

#include <stdio.h>
#include <stdlib.h>

void check_failed(const char *cond, const char *file, int line, const char *func)
{
    fprintf(stderr, "%s:%d: %s: CHECK(%s) failed\n", file, line, func, cond);
    fflush(stderr);
    abort();
}

int slice_compare(struct slice a, struct slice b)
{
    size_t common = a.len < b.len ? a.len : b.len;
    int order = common == 0 ? 0 : memcmp(a.data, b.data, common);
    if (order != 0) return order;
    return a.len < b.len ? -1 : a.len > b.len;
}

void *mem_alloc(size_t bytes)
{
    void *memory = malloc(bytes == 0 ? 1 : bytes);
    CHECK(memory != NULL);
    return memory;
}

void *mem_zero(size_t bytes)
{
    void *memory = calloc(1, bytes == 0 ? 1 : bytes);
    CHECK(memory != NULL);
    return memory;
}

void *mem_resize(void *old, size_t bytes)
{
    void *memory = realloc(old, bytes == 0 ? 1 : bytes);
    CHECK(memory != NULL);
    return memory;
}

void *mem_copy(const void *data, size_t bytes)
{
    void *memory = mem_alloc(bytes);
    if (bytes > 0) memcpy(memory, data, bytes);
    return memory;
}

char *mem_string(struct slice text)
{
    char *copy = mem_alloc(text.len + 1);
    if (text.len > 0) memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    return copy;
}
