/* chatd/args.c -- see args.h. */
#include "chatd/args.h"

#include <stdio.h>

#include "chatd/ids.h"
#include "chatd/scan.h"

/* What is absent or refused reads as: not NULL, so that it may be copied like any other. */
static const struct slice EMPTY = {"", 0};

struct args args_of(const struct op *op)
{
    CHECK(json_is_object(op->args));
    return (struct args){.object = op->args, .text = op->text};
}

void args_refuse(struct args *a, const char *field, const char *allowed)
{
    if (a->failed) return; /* The first is told. */
    a->failed = true;
    fault_set(&a->fault, FAULT_FIELD, "%.64s %s", field, allowed);
}

static void must_list(struct args *a, json_t *must, const char *const fields[], size_t count)
{
    size_t i;
    json_t *name;
    if (must == NULL) return;
    if (!json_is_array(must)) {
        args_refuse(a, "must", "must be an array of names");
        return;
    }
    json_array_foreach(must, i, name)
    {
        bool found = false;
        for (size_t k = 0; json_is_string(name) && k < count && !found; k++)
            found = strcmp(json_string_value(name), fields[k]) == 0;
        if (!found) {
            const char *text = json_is_string(name) ? json_string_value(name) : "must";
            args_refuse(a, text, "is not understood here, though it must be");
        }
    }
}

void args_must(struct args *a, const struct op *op, const char *const fields[], size_t count)
{
    must_list(a, op->must, fields, count);
    must_list(a, json_object_get(a->object, "must"), fields, count);
}

static bool given(const struct args *a, const char *field)
{
    json_t *value = json_object_get(a->object, field);
    return value != NULL && !json_is_null(value);
}

/* The value of field, or NULL: absent (a fault when required), or something failed before. */
static json_t *find(struct args *a, const char *field, enum presence presence)
{
    if (a->failed) return NULL;
    if (given(a, field)) return json_object_get(a->object, field);
    if (presence == ARG_REQUIRED) args_refuse(a, field, "is missing");
    return NULL;
}

static struct slice string_of(const json_t *value)
{
    return (struct slice){json_string_value(value), json_string_length(value)};
}

static struct slice id_of(struct args *a, const char *field, enum presence presence,
                          const char *allowed)
{
    json_t *value = find(a, field, presence);
    if (value == NULL) return EMPTY;
    if (json_is_string(value) && id_valid(string_of(value))) return string_of(value);
    args_refuse(a, field, allowed);
    return EMPTY;
}

#define ID_ALPHABET "1 to 64 of A-Z a-z 0-9 . _ @ + = | : ~ - that begin with a letter or digit"

struct slice arg_user(struct args *a, const char *field, enum presence presence)
{
    return id_of(a, field, presence, "must be a user id: " ID_ALPHABET);
}

struct slice arg_device(struct args *a, const char *field, enum presence presence)
{
    return id_of(a, field, presence, "must be a device id: " ID_ALPHABET);
}

struct slice arg_chat(struct args *a, const char *field, enum presence presence)
{
    json_t *value = find(a, field, presence);
    if (value == NULL) return EMPTY;
    if (json_is_string(value) && chat_parse(string_of(value), NULL, NULL) != CHAT_INVALID)
        return string_of(value);
    args_refuse(a, field, "must be the id of a chat: c/<id>, or d/<a>/<b> with a <= b");
    return EMPTY;
}

struct slice arg_string(struct args *a, const char *field, enum presence presence, size_t bytes_max)
{
    char allowed[80];
    json_t *value = find(a, field, presence);
    if (value == NULL) return EMPTY;
    struct slice text = json_is_string(value) ? string_of(value) : EMPTY;
    size_t bytes_min = presence == ARG_REQUIRED ? 1 : 0;
    if (json_is_string(value) && text.len >= bytes_min && text.len <= bytes_max &&
        memchr(text.data, '\0', text.len) == NULL)
        return text;
    snprintf(allowed, sizeof(allowed), "must be a string of %zu to %zu bytes without \\u0000",
             bytes_min, bytes_max);
    args_refuse(a, field, allowed);
    return EMPTY;
}

static int64_t int_in(struct args *a, const char *field, const json_t *value, int64_t min,
                      int64_t max)
{
    char allowed[96];
    CHECK(min >= -INT_MAX_53 && min <= max && max <= INT_MAX_53);
    if (json_is_integer(value)) {
        json_int_t number = json_integer_value(value);
        if (number >= min && number <= max) return number;
    }
    snprintf(allowed, sizeof(allowed), "must be an integer from %lld to %lld", (long long)min,
             (long long)max);
    args_refuse(a, field, allowed);
    return 0;
}

int64_t arg_int(struct args *a, const char *field, int64_t min, int64_t max)
{
    json_t *value = find(a, field, ARG_REQUIRED);
    return value == NULL ? 0 : int_in(a, field, value, min, max);
}

int64_t arg_int_or(struct args *a, const char *field, int64_t min, int64_t max, int64_t absent)
{
    json_t *value = find(a, field, ARG_OPTIONAL);
    if (value == NULL) return a->failed ? 0 : absent;
    return int_in(a, field, value, min, max);
}

bool arg_bool(struct args *a, const char *field, enum presence presence)
{
    json_t *value = find(a, field, presence);
    if (value != NULL && !json_is_boolean(value)) args_refuse(a, field, "must be true or false");
    return value != NULL && json_is_true(value);
}

static void refuse_word(struct args *a, const char *field, const char *lead,
                        const char *const words[], size_t count)
{
    char allowed[FAULT_MSG_BYTES];
    size_t len = (size_t)snprintf(allowed, sizeof(allowed), "%s", lead);
    for (size_t i = 0; i < count && len < sizeof(allowed); i++)
        len += (size_t)snprintf(allowed + len, sizeof(allowed) - len, "%s %s", i > 0 ? "," : "",
                                words[i]);
    args_refuse(a, field, allowed);
}

/* The place of value among words; count when it is none of them. */
static size_t word_of(const json_t *value, const char *const words[], size_t count)
{
    size_t i = 0;
    if (!json_is_string(value)) return count;
    while (i < count && !slice_equal(string_of(value), slice_str(words[i])))
        i++;
    return i;
}

size_t arg_word(struct args *a, const char *field, enum presence presence,
                const char *const words[], size_t count)
{
    json_t *value = find(a, field, presence);
    if (value == NULL) return 0;
    size_t word = word_of(value, words, count);
    if (word < count) return word;
    refuse_word(a, field, "must be one of:", words, count);
    return 0;
}

uint32_t arg_words(struct args *a, const char *field, const char *const words[], size_t count,
                   uint32_t absent_bits)
{
    size_t i;
    json_t *item;
    uint32_t bits = 0;
    CHECK(count <= 32);
    json_t *value = find(a, field, ARG_OPTIONAL);
    if (value == NULL) return a->failed ? 0 : absent_bits;
    bool valid = json_is_array(value);
    json_array_foreach(value, i, item)
    {
        size_t word = word_of(item, words, count);
        if (word == count)
            valid = false;
        else
            bits |= (uint32_t)1 << word;
    }
    if (valid) return bits;
    refuse_word(a, field, "must be an array of some of:", words, count);
    return 0;
}

static bool listed(const struct slice out[], size_t count, struct slice user)
{
    for (size_t i = 0; i < count; i++)
        if (slice_equal(out[i], user)) return true;
    return false;
}

size_t arg_users(struct args *a, const char *field, enum presence presence, struct slice out[],
                 size_t max)
{
    size_t i, count = 0;
    char text[96];
    json_t *item;
    json_t *value = find(a, field, presence);
    if (value == NULL) return 0;
    size_t given = json_is_array(value) ? json_array_size(value) : 0;
    if (given < 1 || given > max) {
        snprintf(text, sizeof(text), "must be an array of 1 to %zu user ids", max);
        args_refuse(a, field, text);
        return 0;
    }
    json_array_foreach(value, i, item)
    {
        if (!json_is_string(item) || !id_valid(string_of(item))) {
            snprintf(text, sizeof(text), "%.64s[%zu]", field, i);
            args_refuse(a, text, "must be a user id: " ID_ALPHABET);
            return 0;
        }
        /* At most 500 short names: 125,000 comparisons of mostly a length. */
        if (!listed(out, count, string_of(item))) out[count++] = string_of(item);
    }
    return count;
}

size_t arg_positions(struct args *a, const char *field, struct chat_pos out[], size_t max)
{
    char text[96];
    const char *key;
    json_t *item;
    size_t count = 0;
    json_t *value = find(a, field, ARG_OPTIONAL);
    if (value == NULL) return 0;
    if (!json_is_object(value) || json_object_size(value) > max) {
        snprintf(text, sizeof(text), "must be an object of at most %zu chats and their seq", max);
        args_refuse(a, field, text);
        return 0;
    }
    json_object_foreach(value, key, item)
    {
        json_int_t seq = json_is_integer(item) ? json_integer_value(item) : -1;
        if (chat_parse(slice_str(key), NULL, NULL) == CHAT_INVALID || seq < 0 ||
            seq >= INT_MAX_53) {
            args_refuse(a, field, "must map the ids of chats to integers from 0 to 2^53 - 1");
            return 0;
        }
        out[count++] = (struct chat_pos){slice_str(key), (uint64_t)seq};
    }
    return count;
}

struct slice arg_raw(struct args *a, const char *field, enum presence presence, size_t bytes_max)
{
    struct slice raw;
    json_t *value = find(a, field, presence);
    if (value == NULL) return EMPTY;
    if (!json_is_object(value)) {
        args_refuse(a, field, "must be a JSON object");
        return EMPTY;
    }
    CHECK(scan_member(a->text, field, &raw)); /* jansson found it there. */
    if (raw.len <= bytes_max) return raw;
    a->failed = true;
    fault_set(&a->fault, FAULT_BIG, "%.64s has %zu bytes, %zu are allowed", field, raw.len,
              bytes_max);
    return EMPTY;
}
