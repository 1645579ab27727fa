/* tests/chatd/people.c -- see people.h. */
#include "tests/chatd/people.h"

#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void say(struct talker *p, const char *format, ...)
{
    char text[40000];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    ws_send(&p->ws, text);
}

json_t *hear(struct talker *p, const char *key)
{
    for (int i = 0; i < 200; i++) {
        struct slice text = ws_text(&p->ws);
        cr_assert_not_null(text.data, "%s hears nothing of %s", p->user, key);
        json_t *tree = json_loadb(text.data, text.len, 0, NULL);
        cr_assert_not_null(tree, "%.*s", (int)text.len, (const char *)text.data);
        if (json_object_get(tree, key) != NULL) return tree;
        json_decref(tree);
    }
    cr_assert(false, "%s never hears %s", p->user, key);
    return NULL;
}

json_t *answer(struct talker *p, int i)
{
    for (;;) {
        json_t *tree = hear(p, "i");
        if (json_integer_value(json_object_get(tree, "i")) == i) return tree;
        json_decref(tree);
    }
}

void expect_ok(struct talker *p, int i)
{
    json_t *tree = answer(p, i);
    char *text = json_dumps(tree, 0);
    cr_assert_not_null(json_object_get(tree, "ok"), "%s: %s", p->user, text);
    free(text);
    json_decref(tree);
}

void expect_err(struct talker *p, int i, int code, const char *name)
{
    json_t *tree = answer(p, i), *err = json_object_get(tree, "err");
    char *text = json_dumps(tree, 0);
    cr_expect_eq(json_integer_value(json_object_get(err, "code")), code, "%s", text);
    cr_expect_str_eq(json_string_value(json_object_get(err, "t")), name, "%s", text);
    free(text);
    json_decref(tree);
}

json_int_t member(json_t *tree, const char *outer, const char *inner)
{
    return json_integer_value(json_object_get(json_object_get(tree, outer), inner));
}

void connect_as(struct talker *p, const struct cluster *cluster, const char *user,
                const char *device, unsigned front)
{
    char *token = cluster_token(cluster, user);
    p->user = user;
    ws_open(&p->ws, cluster_front(cluster, front));
    say(p, "{\"i\":1,\"hello\":{\"v\":[1,1],\"tok\":\"%s\",\"dev\":\"%s\"}}", token, device);
    free(token);
    expect_ok(p, 1);
}
