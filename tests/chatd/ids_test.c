/* tests/chatd/ids_test.c -- which names exist, and that those we make are always the same. */
#include "chatd/ids.h"

#include <criterion/criterion.h>

TestSuite(ids, .timeout = 10);

static bool valid(const char *id)
{
    return id_valid(slice_str(id));
}

static enum chat_kind kind(const char *chat)
{
    return chat_parse(slice_str(chat), NULL, NULL);
}

Test(ids, every_allowed_byte_is_allowed_and_no_other)
{
    const char *allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._@+=|:~-";
    for (int byte = 0; byte < 256; byte++) {
        char id[2] = {'a', (char)byte};
        bool expected = byte != 0 && strchr(allowed, byte) != NULL;
        cr_expect_eq(id_valid((struct slice){id, 2}), expected, "byte %d", byte);
    }
}

Test(ids, an_id_has_1_to_64_bytes_and_begins_with_a_letter_or_digit)
{
    char longest[65];
    memset(longest, 'x', 65);
    cr_expect(id_valid((struct slice){longest, 64}));
    cr_expect_not(id_valid((struct slice){longest, 65}));
    cr_expect_not(id_valid((struct slice){NULL, 0}));
    cr_expect(valid("a"));
    cr_expect(valid("7f3k"));
    cr_expect_not(valid(".a"));
    cr_expect_not(valid("-a"));
    cr_expect_not(valid("_a"));
}

Test(ids, chats_are_groups_or_pairs_in_byte_order)
{
    cr_expect_eq(kind("c/42"), CHAT_GROUP);
    cr_expect_eq(kind("d/a/b"), CHAT_DIRECT);
    cr_expect_eq(kind("d/a/a"), CHAT_DIRECT, "notes to oneself");
    cr_expect_eq(kind("d/Z/a"), CHAT_DIRECT, "bytes, not letters, are compared");
    const char *wrong[] = {"",      "c",      "c/",    "c",       "u/a",   "c/a/b", "d/b/a",
                           "d/a",   "d/a/",   "d//a",  "d/a/b/c", "c/ a",  "C/42",  "sys/cluster",
                           "c//42", "c/42\n", "d/a/ ", "/c/42",   "c/-42", "d/-/-"};
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++)
        cr_expect_eq(kind(wrong[i]), CHAT_INVALID, "%s", wrong[i]);
}

Test(ids, a_direct_chat_has_one_name_whoever_begins)
{
    char one[CHAT_BYTES_MAX], two[CHAT_BYTES_MAX];
    struct slice bob = slice_str("bob"), alice = slice_str("alice");
    struct slice first = chat_direct(bob, alice, one);
    cr_expect(slice_equal(first, chat_direct(alice, bob, two)));
    cr_expect(slice_equal(first, slice_str("d/alice/bob")));

    struct slice a, b;
    cr_assert_eq(chat_parse(first, &a, &b), CHAT_DIRECT);
    cr_expect(slice_equal(a, alice));
    cr_expect(slice_equal(b, bob));
}

Test(ids, the_longest_names_fit)
{
    char user[ID_BYTES_MAX], out[CHAT_BYTES_MAX];
    memset(user, 'x', sizeof(user));
    struct slice longest = {user, sizeof(user)};
    struct slice chat = chat_direct(longest, longest, out);
    cr_expect_eq(chat.len, CHAT_BYTES_MAX);
    cr_expect_eq(chat_parse(chat, NULL, NULL), CHAT_DIRECT);
}

/* The name must be the same in every version and on every machine: it is compared with what
 * `printf 'alice\0key' | sha256sum` says. */
Test(ids, a_group_is_named_by_its_maker_and_key)
{
    char out[GROUP_BYTES], other[GROUP_BYTES];
    struct slice chat = chat_group(slice_str("alice"), slice_str("key"), out);
    cr_expect(slice_equal(chat, slice_str("c/d31ea2b5bc5287555f004428b449bb4f")), "%.*s",
              (int)chat.len, out);
    cr_expect_eq(chat_parse(chat, NULL, NULL), CHAT_GROUP);
    struct slice shifted = chat_group(slice_str("alic"), slice_str("ekey"), other);
    cr_expect_not(slice_equal(chat, shifted));
}
