/* tests/chatd/args_test.c -- each kind of field: what passes, what is refused and how it is told.
 */
#include "chatd/args.h"

#include <criterion/criterion.h>
#include <stdio.h>

static struct op op;
static struct fault fault;
static struct args a;
static void tear_down(void)
{
    op_free(&op);
}
TestSuite(args, .fini = tear_down, .timeout = 10);

static bool any(void *arg, const char *name)
{
    (void)arg;
    (void)name;
    return true;
}

/* a reads the fields of this object from here on. */
static void given(const char *fields)
{
    static char line[4096]; /* Each test runs in its own process. */
    op_free(&op);
    snprintf(line, sizeof(line), "{\"i\":1,\"op\":%s}", fields);
    cr_assert_eq(op_parse(slice_str(line), any, NULL, &op, &fault), 0, "%s", line);
    a = args_of(&op);
}

static bool text_is(struct slice text, const char *expected)
{
    return slice_equal(text, slice_str(expected));
}

static bool refused(const char *field)
{
    bool named = strncmp(fault_text(&a.fault), field, strlen(field)) == 0;
    return args_failed(&a) && a.fault.kind == FAULT_FIELD && named;
}

Test(args, what_is_as_it_must_be_is_read)
{
    given("{\"c\":\"d/a/b\",\"u\":\"bob\",\"t\":\"\xc3\xa9\",\"n\":9007199254740991,\"y\":true}");
    cr_expect(text_is(arg_chat(&a, "c", ARG_REQUIRED), "d/a/b"));
    cr_expect(text_is(arg_user(&a, "u", ARG_REQUIRED), "bob"));
    cr_expect(text_is(arg_string(&a, "t", ARG_REQUIRED, 2), "\xc3\xa9"));
    cr_expect_eq(arg_int(&a, "n", 1, INT_MAX_53 - 1), INT_MAX_53 - 1);
    cr_expect(arg_bool(&a, "y", ARG_REQUIRED));
    cr_expect_not(args_failed(&a));
}

Test(args, what_is_absent_or_null_reads_as_nothing)
{
    given("{\"n\":null}");
    cr_expect_eq(arg_chat(&a, "c", ARG_OPTIONAL).len, 0);
    cr_expect_eq(arg_string(&a, "t", ARG_OPTIONAL, 9).len, 0);
    cr_expect_eq(arg_int_or(&a, "n", 1, 9, 5), 5);
    cr_expect_not(arg_bool(&a, "y", ARG_OPTIONAL));
    cr_expect_eq(arg_raw(&a, "b", ARG_OPTIONAL, 9).len, 0);
    cr_expect_not_null(arg_raw(&a, "b", ARG_OPTIONAL, 9).data, "it may be copied");
    cr_expect_not(args_failed(&a));
    arg_int(&a, "n", 1, 9);
    cr_expect(refused("n is missing"));
}

Test(args, the_first_fault_is_told_and_all_later_reads_give_nothing)
{
    given("{\"c\":\"x\",\"u\":7,\"n\":3}");
    arg_chat(&a, "c", ARG_REQUIRED);
    cr_expect_eq(arg_user(&a, "u", ARG_REQUIRED).len, 0);
    cr_expect_eq(arg_int_or(&a, "n", 1, 9, 5), 0);
    cr_expect(refused("c must be the id of a chat"), "%s", fault_text(&a.fault));
}

#define EXPECT_REFUSED(fields, read, field)                                \
    do {                                                                   \
        given(fields);                                                     \
        (void)(read);                                                      \
        cr_expect(refused(field), "%s: %s", fields, fault_text(&a.fault)); \
    } while (0)

Test(args, every_kind_refuses_what_it_must)
{
    const char *const words[] = {"msg", "void"};
    struct slice users[2];
    struct chat_pos pos[1];
    EXPECT_REFUSED("{\"u\":\"a\\u0000\"}", arg_user(&a, "u", ARG_REQUIRED), "u must be a user id");
    EXPECT_REFUSED("{\"d\":\"\"}", arg_device(&a, "d", ARG_REQUIRED), "d must be a device id");
    EXPECT_REFUSED("{\"t\":\"abc\"}", arg_string(&a, "t", ARG_REQUIRED, 2), "t must be a string");
    EXPECT_REFUSED("{\"t\":\"\"}", arg_string(&a, "t", ARG_REQUIRED, 2), "t must be a string of 1");
    EXPECT_REFUSED("{\"t\":\"\\u0000\"}", arg_string(&a, "t", ARG_OPTIONAL, 2), "t must be");
    EXPECT_REFUSED("{\"n\":0}", arg_int(&a, "n", 1, 9), "n must be an integer from 1 to 9");
    EXPECT_REFUSED("{\"n\":10}", arg_int(&a, "n", 1, 9), "n must be an integer");
    EXPECT_REFUSED("{\"n\":1.0}", arg_int(&a, "n", 1, 9), "n must be an integer");
    EXPECT_REFUSED("{\"n\":\"1\"}", arg_int_or(&a, "n", 1, 9, 1), "n must be an integer");
    EXPECT_REFUSED("{\"y\":1}", arg_bool(&a, "y", ARG_REQUIRED), "y must be true or false");
    EXPECT_REFUSED("{\"k\":\"x\"}", arg_word(&a, "k", ARG_REQUIRED, words, 2),
                   "k must be one of: msg, void");
    EXPECT_REFUSED("{\"k\":[\"msg\",7]}", arg_words(&a, "k", words, 2, 0), "k must be an array");
    EXPECT_REFUSED("{\"k\":\"msg\"}", arg_words(&a, "k", words, 2, 0), "k must be an array");
    EXPECT_REFUSED("{\"m\":[]}", arg_users(&a, "m", ARG_REQUIRED, users, 2), "m must be an array");
    EXPECT_REFUSED("{\"m\":[\"a\",\"/\"]}", arg_users(&a, "m", ARG_REQUIRED, users, 2),
                   "m[1] must");
    EXPECT_REFUSED("{\"m\":[\"a\",\"b\",\"c\"]}", arg_users(&a, "m", ARG_REQUIRED, users, 2),
                   "m must be an array of 1 to 2");
    EXPECT_REFUSED("{\"p\":{\"c/1\":-1}}", arg_positions(&a, "p", pos, 1), "p must map");
    EXPECT_REFUSED("{\"p\":{\"x\":1}}", arg_positions(&a, "p", pos, 1), "p must map");
    EXPECT_REFUSED("{\"p\":{\"c/1\":1,\"c/2\":1}}", arg_positions(&a, "p", pos, 1), "p must be");
    EXPECT_REFUSED("{\"b\":[]}", arg_raw(&a, "b", ARG_REQUIRED, 9), "b must be a JSON object");
}

Test(args, words_lists_and_positions_are_read)
{
    const char *const words[] = {"ev", "mark", "note"};
    struct slice users[3];
    struct chat_pos pos[2];
    given("{\"k\":\"mark\",\"w\":[\"note\",\"ev\"],\"m\":[\"a\",\"b\",\"a\"],\"p\":{\"c/1\":5}}");
    cr_expect_eq(arg_word(&a, "k", ARG_REQUIRED, words, 3), 1);
    cr_expect_eq(arg_words(&a, "w", words, 3, 1), 5);
    cr_expect_eq(arg_words(&a, "absent", words, 3, 1), 1);
    cr_expect_eq(arg_users(&a, "m", ARG_REQUIRED, users, 3), 2, "each once");
    cr_expect(text_is(users[1], "b"));
    cr_expect_eq(arg_positions(&a, "p", pos, 2), 1);
    cr_expect(text_is(pos[0].chat, "c/1"));
    cr_expect_eq(pos[0].seq, 5);
    cr_expect_not(args_failed(&a));
}

Test(args, a_body_is_what_was_sent_and_bounded)
{
    given("{\"a\":{\"b\":0}, \"b\" : { \"t\":\"\\u0000\",  \"x\": 1.0 } }");
    struct slice body = arg_raw(&a, "b", ARG_REQUIRED, 64);
    cr_expect(text_is(body, "{ \"t\":\"\\u0000\",  \"x\": 1.0 }"));
    arg_raw(&a, "b", ARG_REQUIRED, body.len - 1);
    cr_expect(args_failed(&a));
    cr_expect_eq(a.fault.kind, FAULT_BIG);
}

Test(args, what_must_be_understood_is_or_is_refused)
{
    const char *const fields[] = {"c", "n"};
    given("{\"must\":[\"n\"]}");
    args_must(&a, &op, fields, 2);
    cr_expect_not(args_failed(&a));
    given("{\"must\":[\"n\",\"fold\"]}");
    args_must(&a, &op, fields, 2);
    cr_expect(refused("fold is not understood"), "%s", fault_text(&a.fault));
}
