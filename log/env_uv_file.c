/* log/env_uv_file.c -- files of the real env: plain POSIX calls, on any thread.
 *
 * A call that a signal interrupted is made again, except fdatasync: what it has done by then
 * cannot be known, so it counts as failed. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "log/env_uv_impl.h"

/* Data are for the service's user alone. */
enum { FILE_MODE = 0600, DIR_MODE = 0700 };

struct env_file {
    int fd;
};

static int open_again(const char *path, int flags)
{
    int fd;
    do
        fd = open(path, flags | O_CLOEXEC, FILE_MODE);
    while (fd < 0 && errno == EINTR);
    return fd;
}

static struct env_file *file_of(int fd)
{
    struct env_file *file = mem_alloc(sizeof(*file));
    file->fd = fd;
    return file;
}

int env_uv_file_open(struct env *env, const char *path, int flags, struct env_file **out)
{
    (void)env;
    CHECK(flags & (ENV_READ | ENV_WRITE));
    int how = !(flags & ENV_WRITE) ? O_RDONLY : flags & ENV_READ ? O_RDWR : O_WRONLY;
    if (flags & ENV_CREATE) how |= O_CREAT;
    if (flags & ENV_EXCLUSIVE) how |= O_EXCL;
    int fd = open_again(path, how);
    if (fd < 0) return err_from_errno(errno);
    *out = file_of(fd);
    return 0;
}

void env_uv_file_close(struct env *env, struct env_file *file)
{
    (void)env;
    close(file->fd);
    free(file);
}

int env_uv_file_read(struct env *env, struct env_file *file, void *out, size_t bytes,
                     uint64_t offset, size_t *got)
{
    (void)env;
    size_t sum = 0;
    while (sum < bytes) {
        ssize_t n = pread(file->fd, (char *)out + sum, bytes - sum, (off_t)(offset + sum));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return err_from_errno(errno);
        if (n == 0) break;
        sum += (size_t)n;
    }
    *got = sum;
    return 0;
}

int env_uv_file_write(struct env *env, struct env_file *file, const void *data, size_t bytes,
                      uint64_t offset)
{
    (void)env;
    size_t sum = 0;
    while (sum < bytes) {
        ssize_t n = pwrite(file->fd, (const char *)data + sum, bytes - sum, (off_t)(offset + sum));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return err_from_errno(errno);
        if (n == 0) return ERR_IO;
        sum += (size_t)n;
    }
    return 0;
}

int env_uv_file_sync(struct env *env, struct env_file *file)
{
    (void)env;
    return fdatasync(file->fd) == 0 ? 0 : err_from_errno(errno);
}

int env_uv_file_size(struct env *env, struct env_file *file, uint64_t *bytes)
{
    (void)env;
    struct stat st;
    if (fstat(file->fd, &st) != 0) return err_from_errno(errno);
    *bytes = (uint64_t)st.st_size;
    return 0;
}

int env_uv_file_truncate(struct env *env, struct env_file *file, uint64_t bytes)
{
    (void)env;
    int rv;
    do
        rv = ftruncate(file->fd, (off_t)bytes);
    while (rv != 0 && errno == EINTR);
    return rv == 0 ? 0 : err_from_errno(errno);
}

int env_uv_rename(struct env *env, const char *from, const char *to)
{
    (void)env;
    return rename(from, to) == 0 ? 0 : err_from_errno(errno);
}

int env_uv_unlink(struct env *env, const char *path)
{
    (void)env;
    return unlink(path) == 0 ? 0 : err_from_errno(errno);
}

int env_uv_dir_make(struct env *env, const char *path)
{
    (void)env;
    if (mkdir(path, DIR_MODE) == 0) return 0;
    int number = errno;
    struct stat st;
    if (number == EEXIST && stat(path, &st) == 0 && S_ISDIR(st.st_mode)) return 0;
    return err_from_errno(number);
}

int env_uv_dir_sync(struct env *env, const char *path)
{
    (void)env;
    int fd = open_again(path, O_RDONLY | O_DIRECTORY);
    if (fd < 0) return err_from_errno(errno);
    int err = fsync(fd) == 0 ? 0 : err_from_errno(errno);
    close(fd);
    return err;
}

int env_uv_dir_list(struct env *env, const char *path, env_name_cb each, void *arg)
{
    (void)env;
    DIR *dir = opendir(path);
    if (dir == NULL) return err_from_errno(errno);
    int err = 0;
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (entry == NULL) {
            if (errno != 0) err = err_from_errno(errno);
            break;
        }
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        each(arg, entry->d_name);
    }
    closedir(dir);
    return err;
}

int env_uv_dir_lock(struct env *env, const char *path, struct env_file **lock)
{
    (void)env;
    char name[PATH_MAX];
    int len = snprintf(name, sizeof(name), "%s/LOCK", path);
    if (len < 0 || (size_t)len >= sizeof(name)) return ERR_TOO_BIG;
    int fd = open_again(name, O_RDWR | O_CREAT);
    if (fd < 0) return err_from_errno(errno);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int err = err_from_errno(errno);
        close(fd);
        return err;
    }
    *lock = file_of(fd);
    return 0;
}

int env_uv_disk_free(struct env *env, const char *path, uint64_t *bytes)
{
    (void)env;
    struct statvfs st;
    if (statvfs(path, &st) != 0) return err_from_errno(errno);
    *bytes = (uint64_t)st.f_bavail * st.f_frsize;
    return 0;
}
