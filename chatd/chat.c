/* chatd/chat.c -- see chat.h. */
#include "chatd/chat.h"

#include <jansson.h>

#include "chatd/out.h"

enum { STAMP_BYTES = 16 };

const char *event_name(uint16_t kind)
{
    switch (kind) {
#define X(number, name, text) \
    case EVENT_##name:        \
        return text;
        EVENT_TABLE(X)
#undef X
        default:
            return NULL;
    }
}

static const char *const ROLE_NAMES[ROLES] = {"", "reader", "member", "admin", "owner"};

const char *role_name(enum role role)
{
    CHECK(role < ROLES);
    return ROLE_NAMES[role];
}

enum role role_of(struct slice name)
{
    for (enum role role = ROLE_READER; role < ROLES; role++)
        if (slice_equal(name, slice_str(ROLE_NAMES[role]))) return role;
    return ROLE_NONE;
}

int member_decode(struct slice value, struct member_value *out)
{
    if (value.len < STAMP_BYTES) return ERR_CORRUPT;
    struct reader r = reader_of(value);
    struct member_value member = {.joined = read_u64(&r), .joined_ordinal = read_u64(&r)};
    member.role = role_of(read_bytes(&r, reader_left(&r)));
    if (member.role == ROLE_NONE) return ERR_CORRUPT;
    *out = member;
    return 0;
}

bool settings_history_all(const char *settings)
{
    if (settings == NULL) return false;
    json_t *tree = json_loads(settings, JSON_REJECT_DUPLICATES, NULL);
    const char *history = json_string_value(json_object_get(tree, "history"));
    bool all = history != NULL && strcmp(history, "all") == 0;
    json_decref(tree);
    return all;
}

struct slice chat_key(char out[CHAT_KEY_BYTES], char letter, struct slice name)
{
    CHECK(name.len + 2 <= CHAT_KEY_BYTES);
    out[0] = letter;
    out[1] = '/';
    memcpy(out + 2, name.data, name.len);
    return (struct slice){out, name.len + 2};
}

bool chat_key_is(struct slice key, char letter, struct slice *name)
{
    const char *text = key.data;
    if (key.len <= 2 || text[0] != letter || text[1] != '/') return false;
    *name = (struct slice){text + 2, key.len - 2};
    return true;
}

struct slice user_stream(char out[USER_STREAM_BYTES], struct slice user)
{
    CHECK(user.len + 2 <= USER_STREAM_BYTES);
    memcpy(out, "u/", 2);
    memcpy(out + 2, user.data, user.len);
    return (struct slice){out, user.len + 2};
}

/* Where the slash of <user>/<device> is, or NULL. Ids hold no slash. */
static const char *producer_slash(struct slice producer)
{
    return producer.len == 0 ? NULL : memchr(producer.data, '/', producer.len);
}

struct slice producer_user(struct slice producer)
{
    const char *text = producer.data, *slash = producer_slash(producer);
    return slash == NULL ? (struct slice){NULL, 0} : (struct slice){text, (size_t)(slash - text)};
}

struct slice producer_device(struct slice producer)
{
    const char *text = producer.data, *slash = producer_slash(producer);
    if (slash == NULL) return (struct slice){NULL, 0};
    return (struct slice){slash + 1, (size_t)(text + producer.len - slash - 1)};
}

void notice_encode(struct buf *out, struct slice actor, struct slice body)
{
    buf_slice(out, actor);
    buf_put(out, body.data, body.len);
}

int notice_decode(struct slice payload, struct slice *actor, struct slice *body)
{
    struct reader r = reader_of(payload);
    struct slice who = read_slice(&r, ID_BYTES_MAX);
    struct slice rest = read_bytes(&r, reader_left(&r));
    if (r.failed || !id_valid(who) || rest.len < 2) return ERR_CORRUPT;
    *actor = who;
    *body = rest;
    return 0;
}

/* Without a producer it is a notice: who did it stands in the payload. */
static bool event_split(const struct record_view *record, struct slice *user, struct slice *body)
{
    if (record->producer.len == 0) return notice_decode(record->payload, user, body) == 0;
    *user = producer_user(record->producer);
    *body = record->payload;
    return true;
}

struct slice event_user(const struct record_view *record)
{
    struct slice user = {NULL, 0}, body;
    return event_split(record, &user, &body) ? user : (struct slice){NULL, 0};
}

struct slice event_body(const struct record_view *record)
{
    struct slice user, body = {NULL, 0};
    return event_split(record, &user, &body) ? body : (struct slice){NULL, 0};
}

bool event_write(struct buf *out, struct slice chat, const struct record_view *record, bool own)
{
    const char *name = event_name(record->kind);
    if (name == NULL) return false;
    struct slice user, body;
    if (!event_split(record, &user, &body)) return false;

    out_object(out);
    out_key_string(out, "c", chat);
    out_key_uint(out, "s", record->seq);
    out_key_uint(out, "ts", (uint64_t)record->time_ms);
    out_key_string(out, "u", user);
    if (record->producer.len > 0) {
        out_key_uint(out, "n", record->n);
        if (own) out_key_string(out, "d", producer_device(record->producer));
    }
    out_key_string(out, "k", slice_str(name));
    out_key_uint(out, "o", record->ordinal);
    if (record->ref != 0) out_key_uint(out, "re", record->ref);
    if (!(record->flags & RECORD_ERASED)) out_key_raw(out, "b", body);
    out_object_end(out);
    return true;
}

void chain_text(const uint8_t chain[32], char out[CHAIN_TEXT_BYTES])
{
    static const char HEX[] = "0123456789abcdef";
    for (int i = 0; i < CHAIN_TEXT_BYTES / 2; i++) {
        out[2 * i] = HEX[chain[i] >> 4];
        out[2 * i + 1] = HEX[chain[i] & 15];
    }
}
