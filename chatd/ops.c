/* chatd/ops.c -- see ops.h. */
#include "chatd/ops.h"

#define FIELDS(...)                     \
    (const char *const[]){__VA_ARGS__}, \
        sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *)

static const struct op_row ROWS[] = {
    {"hello", op_hello, FIELDS("v", "tok", "dev", "ua", "epoch", "pos", "iv"),
     "Says who is there, with a token, and goes on from what this client knows.",
     "{\"v\":[1,1],\"tok\":\"<JWT>\",\"dev\":\"phone\",\"ua\":\"web/1\",\"pos\":{}}",
     "v user sid epoch now n alt back_ms lim feat"},
    {"auth", op_auth, FIELDS("tok"), "Renews the token, for the same user.", "{\"tok\":\"<JWT>\"}",
     ""},
    {"send", op_send, FIELDS("c", "n", "k", "b", "if_head"),
     "Sends a message; ok when it is on disk at a majority. k void uses a number up.",
     "{\"c\":\"<CHAT>\",\"n\":1,\"k\":\"msg\",\"b\":{\"text\":\"hello\"}}", "s o ts h dup"},
    {"open", op_open, FIELDS("c", "from", "what"),
     "Follows a chat from a seq on (-1: from now); the reply comes before its events.",
     "{\"c\":\"<CHAT>\",\"from\":0}", "head first n marks mine"},
    {"close", op_close, FIELDS("c"), "Stops following.", "{\"c\":\"<CHAT>\"}", ""},
    {"hist", op_hist, FIELDS("c", "from", "to", "limit", "back", "around", "at", "fold"),
     "Events of a chat, in order; the answer covers [from, next).",
     "{\"c\":\"<CHAT>\",\"from\":1,\"limit\":50}", "ev next first head more h"},
    {"mark", op_mark, FIELDS("c", "recv", "read"), "Raises my marks: received and read up to here.",
     "{\"c\":\"<CHAT>\",\"read\":1}", ""},
    {"note", op_note, FIELDS("c", "k", "b", "to"),
     "Tells those who follow the chat now that I am typing; never stored.",
     "{\"c\":\"<CHAT>\",\"k\":\"typing\"}", ""},
    {"pres.watch", op_pres_watch, FIELDS("c", "users"),
     "Tells whether fellow members are online, now and when it changes.",
     "{\"c\":\"<CHAT>\",\"users\":[\"<USER>\"]}", "states"},
    {"pres.unwatch", op_pres_unwatch, FIELDS("c", "users"), "Stops telling.",
     "{\"c\":\"<CHAT>\",\"users\":[\"<USER>\"]}", ""},
    {"chat.new", op_chat_new, FIELDS("key", "title", "users", "settings"),
     "Makes a group; the same key from the same user is the same chat.",
     "{\"key\":\"picnic\",\"title\":\"Picnic\",\"users\":[\"<USER>\"]}", "c seq n"},
    {"chat.get", op_chat_get, FIELDS("c"), "What a chat is, and where I am in it.",
     "{\"c\":\"<CHAT>\"}", "c kind title settings role count head first recv read n ver"},
    {"chat.members", op_chat_members, FIELDS("c", "from", "limit"),
     "Its members, in pages: those after `from` in byte order.", "{\"c\":\"<CHAT>\"}",
     "members more"},
    {"chat.add", op_chat_add, FIELDS("c", "users"), "Adds members; doing it twice does it once.",
     "{\"c\":\"<GROUP>\",\"users\":[\"carol\"]}", "seq"},
    {"chat.kick", op_chat_kick, FIELDS("c", "users"), "Removes members.",
     "{\"c\":\"<GROUP>\",\"users\":[\"carol\"]}", "seq"},
    {"chat.leave", op_chat_leave, FIELDS("c"), "Leaves a group.", "{\"c\":\"<GROUP>\"}", "seq"},
    {"inbox", op_inbox, FIELDS("iv", "limit", "before"),
     "My chats with what is unread: what changed since iv, or the whole list in pages.",
     "{\"limit\":50}", "iv chats gone before more"},
};

const struct op_row *op_rows(size_t *count)
{
    *count = ARRAY_COUNT(ROWS);
    return ROWS;
}

const struct op_row *op_row_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_COUNT(ROWS); i++)
        if (strcmp(ROWS[i].name, name) == 0) return &ROWS[i];
    return NULL;
}

static void put(struct buf *out, const char *text)
{
    buf_put(out, text, strlen(text));
}

void ops_reference(struct buf *out)
{
    for (size_t i = 0; i < ARRAY_COUNT(ROWS); i++) {
        put(out, "### `");
        put(out, ROWS[i].name);
        put(out, "`\n\n");
        put(out, ROWS[i].does);
        put(out, "\n\n    C {\"i\":1,\"");
        put(out, ROWS[i].name);
        put(out, "\":");
        put(out, ROWS[i].example);
        put(out, "}\n\nok: ");
        put(out, ROWS[i].answer[0] == '\0' ? "nothing" : ROWS[i].answer);
        put(out, "\n\n");
    }
}
