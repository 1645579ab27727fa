/* tests/log/env_uv_file_test.c -- files of the real env, in a real folder. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "log/env_uv.h"
#include "tests/lib/dir.h"

static struct env_uv *uv;
static struct env *env;
static struct dir dir;
static char *path, *other;

static void set_up(void)
{
    cr_assert_eq(env_uv_create(NULL, &uv), 0);
    env = env_uv_env(uv);
    dir_set_up(&dir);
    path = dir_path(&dir, "file");
    other = dir_path(&dir, "other");
}
static void tear_down(void)
{
    free(path);
    free(other);
    dir_tear_down(&dir);
    env_uv_destroy(uv);
}
TestSuite(env_uv_file, .init = set_up, .fini = tear_down, .timeout = 10);

Test(env_uv_file, what_is_written_is_read)
{
    struct env_file *file;
    char text[16];
    size_t got = 0;
    uint64_t bytes = 0;
    cr_assert_eq(env_file_open(env, path, ENV_READ | ENV_WRITE | ENV_CREATE, &file), 0);
    cr_expect_eq(env_file_write(env, file, "hello", 5, 3), 0);
    cr_expect_eq(env_file_sync(env, file), 0);
    cr_expect_eq(env_file_size(env, file, &bytes), 0);
    cr_expect_eq(bytes, 8);
    cr_expect_eq(env_file_read(env, file, text, sizeof(text), 0, &got), 0);
    cr_expect_eq(got, 8, "short at the end of the file");
    cr_expect_eq(memcmp(text, "\0\0\0hello", 8), 0);
    cr_expect_eq(env_file_truncate(env, file, 4), 0);
    cr_expect_eq(env_file_read(env, file, text, 1, 4, &got), 0);
    cr_expect_eq(got, 0);
    env_file_close(env, file);
}

Test(env_uv_file, opening_tells_absent_from_present)
{
    struct env_file *file;
    cr_expect_eq(env_file_open(env, path, ENV_READ, &file), ERR_NOT_FOUND);
    int make = ENV_WRITE | ENV_CREATE | ENV_EXCLUSIVE;
    cr_assert_eq(env_file_open(env, path, make, &file), 0);
    env_file_close(env, file);
    cr_expect_eq(env_file_open(env, path, make, &file), ERR_EXISTS);
}

Test(env_uv_file, rename_replaces_and_unlink_removes)
{
    dir_put(&dir, "file", 0, slice_str("new"));
    dir_put(&dir, "other", 0, slice_str("older"));
    cr_expect_eq(env_rename(env, path, other), 0);
    cr_expect_eq(dir_size(&dir, "other"), 3);
    cr_expect_not(dir_has(&dir, "file"));
    cr_expect_eq(env_dir_sync(env, dir.path), 0);
    cr_expect_eq(env_unlink(env, other), 0);
    cr_expect_eq(env_unlink(env, other), ERR_NOT_FOUND);
}

static size_t names;
static void each(void *arg, const char *name)
{
    (void)arg;
    cr_expect(strcmp(name, "file") == 0 || strcmp(name, "other") == 0);
    names++;
}

Test(env_uv_file, a_folder_lists_its_names)
{
    dir_put(&dir, "file", 0, slice_str("x"));
    cr_expect_eq(env_dir_make(env, other), 0);
    cr_expect_eq(env_dir_make(env, other), 0, "there already");
    cr_expect_eq(env_dir_make(env, path), ERR_EXISTS, "a file has that name");
    cr_expect_eq(env_dir_list(env, dir.path, each, NULL), 0);
    cr_expect_eq(names, 2);
    cr_expect_eq(env_dir_list(env, "/nowhere", each, NULL), ERR_NOT_FOUND);
}

Test(env_uv_file, a_folder_has_one_owner)
{
    struct env_file *lock, *second;
    cr_assert_eq(env_dir_lock(env, dir.path, &lock), 0);
    cr_expect_eq(env_dir_lock(env, dir.path, &second), ERR_LOCKED);
    env_file_close(env, lock);
    cr_assert_eq(env_dir_lock(env, dir.path, &lock), 0);
    env_file_close(env, lock);
}

Test(env_uv_file, free_space_is_told)
{
    uint64_t bytes = 0;
    cr_expect_eq(env_disk_free(env, dir.path, &bytes), 0);
    cr_expect_gt(bytes, 0);
}
