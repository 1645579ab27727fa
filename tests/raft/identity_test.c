/* tests/raft/identity_test.c -- a node knows its folder again, and no other. */
#include "raft/identity.h"

#include <criterion/criterion.h>

#include "log/env_uv.h"
#include "tests/lib/dir.h"

static struct dir dir;
static struct env_uv *uv;
static struct env *env;
static char why[512];

static const char map[] =
    "{\"cluster\":\"00000000000000aa\",\"partitions\":16,\"nodes\":["
    "{\"node\":1,\"client\":\"127.0.0.1:20501\",\"peer\":\"127.0.0.1:20511\"},"
    "{\"node\":3,\"client\":\"[::1]:20503\",\"peer\":\"[::1]:20513\"}]}";

static void set_up(void)
{
    dir_set_up(&dir);
    cr_assert_eq(env_uv_create(NULL, &uv), 0);
    env = env_uv_env(uv);
}
static void tear_down(void)
{
    env_uv_destroy(uv);
    dir_tear_down(&dir);
}
TestSuite(identity, .init = set_up, .fini = tear_down, .timeout = 10);

static void save_one(void)
{
    struct identity identity;
    cr_assert_eq(identity_parse_map(slice_str(map), &identity, why, sizeof why), 0, "%s", why);
    identity.node = 3;
    identity.incarnation = 1;
    cr_assert_eq(identity_save(env, dir.path, &identity), 0);
}

Test(identity, what_was_saved_is_loaded)
{
    struct identity got;
    save_one();
    cr_assert_eq(identity_load(env, dir.path, 3, &got, why, sizeof why), 0, "%s", why);
    cr_expect_eq(got.cluster, 0xaa);
    cr_expect_eq(got.parts_count, 16);
    cr_expect_eq(got.nodes_count, 2);
    cr_expect_eq(got.nodes[1].number, 3);
    cr_expect_str_eq(got.nodes[1].peer.host, "::1");
    cr_expect_eq(got.nodes[1].peer.port, 20513);
    cr_expect_eq(got.incarnation, 1);
    cr_expect_not(got.formed);
}

Test(identity, an_empty_folder_has_none)
{
    struct identity got;
    cr_expect_eq(identity_load(env, dir.path, 3, &got, why, sizeof why), ERR_NOT_FOUND);
}

Test(identity, a_folder_of_another_node_is_refused)
{
    struct identity got;
    save_one();
    cr_expect_eq(identity_load(env, dir.path, 1, &got, why, sizeof why), ERR_FOREIGN);
    cr_expect(strstr(why, "belongs to node 3") != NULL, "%s", why);
}

Test(identity, a_folder_with_other_files_is_refused)
{
    struct identity got;
    dir_put(&dir, "holiday.jpg", 0, slice_str("sun"));
    cr_expect_eq(identity_load(env, dir.path, 1, &got, why, sizeof why), ERR_FOREIGN);
}

/* Every byte of the file changed: never loaded as something else. */
Test(identity, damage_is_found)
{
    struct identity got;
    save_one();
    for (uint64_t at = 0; at < dir_size(&dir, "identity"); at++) {
        dir_flip(&dir, "identity", at, 1);
        int err = identity_load(env, dir.path, 3, &got, why, sizeof why);
        cr_expect(err == ERR_CORRUPT || err == ERR_VERSION, "byte %llu", (unsigned long long)at);
        dir_flip(&dir, "identity", at, 1);
    }
}

Test(identity, maps_that_break_a_rule_are_refused_with_words)
{
    static const char *const bad[] = {
        "",
        "[]",
        "{\"cluster\":1}",
        "{\"cluster\":\"0000000000000000\"}",
        "{\"cluster\":\"00000000000000aa\",\"partitions\":0,\"nodes\":[]}",
        "{\"cluster\":\"00000000000000aa\",\"partitions\":16,\"nodes\":[]}",
        "{\"cluster\":\"00000000000000aa\",\"partitions\":16,\"nodes\":[{\"node\":1}]}",
        "{\"cluster\":\"00000000000000aa\",\"partitions\":16,\"nodes\":["
        "{\"node\":2,\"client\":\"a:1\",\"peer\":\"a:2\"},"
        "{\"node\":2,\"client\":\"a:1\",\"peer\":\"a:2\"}]}",
    };
    struct identity got;
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        why[0] = '\0';
        cr_expect_eq(identity_parse_map(slice_str(bad[i]), &got, why, sizeof why), ERR_INVAL, "%s",
                     bad[i]);
        cr_expect_neq(why[0], '\0');
    }
}
