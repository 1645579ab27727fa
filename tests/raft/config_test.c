/* tests/raft/config_test.c -- logd's options: what is missing or wrong is said in one line. */
#include "raft/config.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#include "tests/lib/dir.h"

static struct config config;
static char why[OPTIONS_WHY_BYTES];
TestSuite(config, .timeout = 10);

#define READ(...)                                                    \
    config_read((int)ARRAY_COUNT(((char *[]){"logd", __VA_ARGS__})), \
                (char *[]){"logd", __VA_ARGS__, NULL}, &config, why)

Test(config, flags_alone_suffice)
{
    cr_assert_eq(READ("--node", "2", "--dir", "/data/x", "--client", "127.0.0.1:7002", "--peer",
                      "[::1]:7102"),
                 0, "%s", why);
    cr_expect_eq(config.node, 2);
    cr_expect_str_eq(config.dir, "/data/x");
    cr_expect_eq(config.client.port, 7002);
    cr_expect_str_eq(config.peer.host, "::1");
    cr_expect_eq(config.ops.port, 0);
    cr_expect_eq(config.memory_bytes, 256 * 1024 * 1024);
}

Test(config, what_is_missing_is_named)
{
    cr_assert_eq(READ("--node", "2", "--dir", "/data/x", "--client", "127.0.0.1:7002"), -1);
    cr_expect(strstr(why, "--peer HOST:PORT") != NULL, "%s", why);
}

Test(config, what_is_wrong_is_named_with_what_is_allowed)
{
    cr_assert_eq(READ("--node", "300"), -1);
    cr_expect(strstr(why, "300") != NULL && strstr(why, "1 to 255") != NULL, "%s", why);
    cr_assert_eq(READ("--memory", "1000"), -1);
    cr_expect(strstr(why, "33554432") != NULL, "%s", why);
    cr_assert_eq(READ("--log-level", "loud"), -1);
    cr_expect(strstr(why, "error, warn, info or debug") != NULL, "%s", why);
    cr_assert_eq(READ("--colour", "red"), -1);
    cr_expect(strstr(why, "--colour") != NULL, "%s", why);
    cr_assert_eq(READ("--dir"), -1);
    cr_expect_neq(why[0], '\0');
}

Test(config, a_relative_folder_becomes_an_absolute_one)
{
    cr_assert_eq(READ("--node", "1", "--dir", "data", "--client", "a:1", "--peer", "a:2"), 0);
    cr_expect_eq(config.dir[0], '/');
}

/* The file is read first, flags win; a wrong line is named with its number. */
Test(config, a_file_gives_what_flags_do_not)
{
    struct dir dir;
    dir_set_up(&dir);
    dir_put(&dir, "logd.conf", 0,
            slice_str("[logd]\nnode = 3\ndir = /data/y\nclient = a:1\npeer = a:2\n"));
    char *path = dir_path(&dir, "logd.conf");
    cr_assert_eq(READ("--config", path, "--node", "4"), 0, "%s", why);
    cr_expect_eq(config.node, 4);
    cr_expect_str_eq(config.dir, "/data/y");
    dir_put(&dir, "logd.conf", 0, slice_str("[logd]\nnode = x\ndir = /data/y\n"));
    cr_assert_eq(READ("--config", path), -1);
    cr_expect(strstr(why, "logd.conf:2") != NULL, "%s", why);
    free(path);
    dir_tear_down(&dir);
}

Test(config, help_and_version_need_nothing_else)
{
    cr_expect_eq(READ("--help"), 0);
    cr_expect(config.help);
    cr_expect_eq(READ("--version"), 0);
    cr_expect(config.version);
}
