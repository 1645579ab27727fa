/* chatd/ids.c -- see ids.h. */
#include "chatd/ids.h"

#include "log/sha.h"

static bool is_letter_or_digit(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool id_valid(struct slice id)
{
    const char *text = id.data;
    if (id.len < 1 || id.len > ID_BYTES_MAX) return false;
    if (!is_letter_or_digit(text[0])) return false;
    for (size_t i = 1; i < id.len; i++)
        if (!is_letter_or_digit(text[i]) && (text[i] == '\0' || !strchr("._@+=|:~-", text[i])))
            return false;
    return true;
}

static enum chat_kind direct_parse(struct slice users, struct slice *a, struct slice *b)
{
    const char *text = users.data;
    const char *slash = memchr(text, '/', users.len);
    if (slash == NULL) return CHAT_INVALID;
    struct slice first = {text, (size_t)(slash - text)};
    struct slice second = {slash + 1, users.len - first.len - 1};
    if (!id_valid(first) || !id_valid(second)) return CHAT_INVALID;
    if (slice_compare(first, second) > 0) return CHAT_INVALID; /* One pair, one name. */
    if (a != NULL) *a = first;
    if (b != NULL) *b = second;
    return CHAT_DIRECT;
}

enum chat_kind chat_parse(struct slice chat, struct slice *a, struct slice *b)
{
    const char *text = chat.data;
    if (chat.len < 3 || text[1] != '/') return CHAT_INVALID;
    struct slice rest = {text + 2, chat.len - 2};
    if (text[0] == 'c') return id_valid(rest) ? CHAT_GROUP : CHAT_INVALID;
    if (text[0] == 'd') return direct_parse(rest, a, b);
    return CHAT_INVALID;
}

struct slice chat_direct(struct slice user_a, struct slice user_b, char out[CHAT_BYTES_MAX])
{
    CHECK(id_valid(user_a));
    CHECK(id_valid(user_b));
    bool swap = slice_compare(user_a, user_b) > 0;
    struct slice first = swap ? user_b : user_a;
    struct slice second = swap ? user_a : user_b;
    size_t len = 0;
    memcpy(out, "d/", 2);
    len += 2;
    memcpy(out + len, first.data, first.len);
    len += first.len;
    out[len++] = '/';
    memcpy(out + len, second.data, second.len);
    len += second.len;
    CHECK(len <= CHAT_BYTES_MAX);
    return (struct slice){out, len};
}

struct slice chat_group(struct slice user, struct slice key, char out[GROUP_BYTES])
{
    static const char hex[] = "0123456789abcdef";
    uint8_t digest[SHA_BYTES];
    struct sha sha; /* Made anew each time: groups are made seldom. */
    sha_init(&sha);
    sha_begin(&sha);
    sha_add(&sha, user);
    sha_add(&sha, (struct slice){"", 1}); /* No id holds a zero byte: (user, key) is one pair. */
    sha_add(&sha, key);
    sha_end(&sha, digest);
    sha_close(&sha);

    memcpy(out, "c/", 2);
    for (size_t i = 0; i < 16; i++) {
        out[2 + 2 * i] = hex[digest[i] >> 4];
        out[3 + 2 * i] = hex[digest[i] & 15];
    }
    return (struct slice){out, GROUP_BYTES};
}
