/* tests/lib/dir.c -- see dir.h. */
#include "tests/lib/dir.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

void dir_set_up(struct dir *dir)
{
    snprintf(dir->path, sizeof(dir->path), "/tmp/parley-test-XXXXXX");
    CHECK(mkdtemp(dir->path) != NULL);
    dir->fd = open(dir->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(dir->fd >= 0);
}

static int dir_remove_each(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st;
    (void)kind;
    (void)ftw;
    return remove(path);
}

void dir_tear_down(struct dir *dir)
{
    close(dir->fd);
    CHECK(nftw(dir->path, dir_remove_each, 16, FTW_DEPTH | FTW_PHYS) == 0);
}

char *dir_path(const struct dir *dir, const char *name)
{
    char *path = NULL;
    CHECK(asprintf(&path, "%s/%s", dir->path, name) > 0);
    return path;
}

static int dir_open(const struct dir *dir, const char *name, int flags)
{
    int fd = openat(dir->fd, name, flags | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    return fd;
}

uint64_t dir_size(const struct dir *dir, const char *name)
{
    struct stat st;
    CHECK(fstatat(dir->fd, name, &st, 0) == 0);
    return (uint64_t)st.st_size;
}

bool dir_has(const struct dir *dir, const char *name)
{
    return faccessat(dir->fd, name, F_OK, 0) == 0;
}

size_t dir_count(const struct dir *dir)
{
    DIR *entries = opendir(dir->path);
    CHECK(entries != NULL);
    size_t count = 0;
    for (struct dirent *entry; (entry = readdir(entries)) != NULL;)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) count++;
    closedir(entries);
    return count;
}

void dir_cut(const struct dir *dir, const char *name, uint64_t bytes)
{
    uint64_t size = dir_size(dir, name);
    CHECK(bytes <= size);
    dir_cut_to(dir, name, size - bytes);
}

void dir_cut_to(const struct dir *dir, const char *name, uint64_t bytes)
{
    int fd = dir_open(dir, name, O_WRONLY);
    CHECK(ftruncate(fd, (off_t)bytes) == 0);
    close(fd);
}

void dir_flip(const struct dir *dir, const char *name, uint64_t offset, uint8_t mask)
{
    int fd = dir_open(dir, name, O_RDWR);
    uint8_t byte;
    CHECK(pread(fd, &byte, 1, (off_t)offset) == 1);
    byte ^= mask;
    CHECK(pwrite(fd, &byte, 1, (off_t)offset) == 1);
    close(fd);
}

void dir_put(const struct dir *dir, const char *name, uint64_t offset, struct slice bytes)
{
    int fd = dir_open(dir, name, O_WRONLY | O_CREAT);
    CHECK(pwrite(fd, bytes.data, bytes.len, (off_t)offset) == (ssize_t)bytes.len);
    close(fd);
}

void dir_zero(const struct dir *dir, const char *name, uint64_t offset, uint64_t bytes)
{
    void *zeroes = mem_zero((size_t)bytes);
    dir_put(dir, name, offset, (struct slice){zeroes, (size_t)bytes});
    free(zeroes);
}

void dir_copy(const struct dir *dir, const char *from, const char *to)
{
    uint8_t *data;
    size_t bytes;
    dir_get(dir, from, &data, &bytes);
    dir_put(dir, to, 0, (struct slice){data, bytes});
    dir_cut_to(dir, to, bytes);
    free(data);
}

void dir_remove(const struct dir *dir, const char *name)
{
    CHECK(unlinkat(dir->fd, name, 0) == 0);
}

void dir_get(const struct dir *dir, const char *name, uint8_t **data, size_t *bytes)
{
    *bytes = (size_t)dir_size(dir, name);
    *data = mem_alloc(*bytes);
    int fd = dir_open(dir, name, O_RDONLY);
    CHECK(read(fd, *data, *bytes) == (ssize_t)*bytes);
    close(fd);
}
