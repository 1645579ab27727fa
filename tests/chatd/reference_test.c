/* tests/chatd/reference_test.c -- PROTOCOL.md says what the operation table says, and every example
 * in it is answered with ok by a real cluster. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "chatd/ops.h"
#include "tests/chatd/people.h"

TestSuite(reference, .timeout = 120);

static char *page_read(void)
{
    FILE *file = fopen(PARLEY_SOURCE "/chatd/PROTOCOL.md", "re");
    cr_assert_not_null(file);
    char *text = mem_zero(1 << 17);
    cr_assert_lt(fread(text, 1, (1 << 17) - 1, file), (1 << 17) - 1);
    fclose(file);
    return text;
}

Test(reference, the_page_ends_with_what_the_table_says)
{
    char *page = page_read();
    struct buf text = {0};
    ops_reference(&text);
    const char *chapter = strstr(page, "## 8. Operations\n\n");
    cr_assert_not_null(chapter);
    chapter += strlen("## 8. Operations\n\n");
    cr_expect_eq(strlen(chapter), text.len, "chatd --protocol prints the chapter anew");
    cr_expect(strncmp(chapter, (const char *)text.data, text.len) == 0);
    buf_free(&text);
    free(page);
}

/* What the examples leave open. */
static char *fill(const char *example, const char *token, const char *group)
{
    static const char *const NAMES[] = {"<JWT>", "<CHAT>", "<USER>", "<GROUP>"};
    const char *values[] = {token, "d/alice/bob", "bob", group};
    struct buf out = {0};
    while (*example != '\0') {
        size_t i = 0;
        while (i < 4 && strncmp(example, NAMES[i], strlen(NAMES[i])) != 0)
            i++;
        if (i < 4) {
            buf_put(&out, values[i], strlen(values[i]));
            example += strlen(NAMES[i]);
        } else {
            buf_u8(&out, (uint8_t)*example++);
        }
    }
    buf_u8(&out, 0);
    return (char *)out.data;
}

/* Alice runs all of them, in the table's order; leaving is Bob's, for an owner may not. */
Test(reference, every_example_is_answered_with_ok)
{
    struct cluster cluster;
    struct talker alice = {.user = "alice"}, bob;
    char group[64] = "";
    size_t count;
    const struct op_row *rows = op_rows(&count);
    cluster_set_up(&cluster, 1, 1);
    char *token = cluster_token(&cluster, "alice");
    ws_open(&alice.ws, cluster_front(&cluster, 1));
    connect_as(&bob, &cluster, "bob", "d1", 1);
    for (size_t i = 0; i < count; i++) {
        struct talker *who = strcmp(rows[i].name, "chat.leave") == 0 ? &bob : &alice;
        char *args = fill(rows[i].example, token, group);
        say(who, "{\"i\":%zu,\"%s\":%s}", 100 + i, rows[i].name, args);
        free(args);
        json_t *tree = answer(who, (int)(100 + i)), *ok = json_object_get(tree, "ok");
        char *text = json_dumps(tree, 0);
        cr_assert_not_null(ok, "%s: %s", rows[i].name, text);
        if (strcmp(rows[i].name, "chat.new") == 0)
            snprintf(group, sizeof(group), "%s", json_string_value(json_object_get(ok, "c")));
        free(text);
        json_decref(tree);
    }
    free(token);
    ws_close(&alice.ws);
    ws_close(&bob.ws);
    cluster_tear_down(&cluster);
}
