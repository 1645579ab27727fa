/* chatd/scan.c -- see scan.h. */
#include "chatd/scan.h"

#include <jansson.h>

struct scan {
    const char *at;
    const char *end;
};

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void skip_space(struct scan *s)
{
    while (s->at < s->end && is_space(*s->at))
        s->at++;
}

/* Step over c. */
static bool skip_char(struct scan *s, char c)
{
    skip_space(s);
    if (s->at == s->end || *s->at != c) return false;
    s->at++;
    return true;
}

/* Step over the string that starts here, quotes included. */
static bool skip_string(struct scan *s)
{
    if (s->at == s->end || *s->at != '"') return false;
    for (s->at++; s->at < s->end; s->at++) {
        if (*s->at == '"') {
            s->at++;
            return true;
        }
        if (*s->at != '\\') continue;
        s->at++; /* What follows a backslash ends no string. */
        if (s->at == s->end) return false;
    }
    return false;
}

/* Step over an object or array: brackets outside strings are counted, not matched in kind. */
static bool skip_nested(struct scan *s)
{
    size_t open = 0;
    while (s->at < s->end) {
        char c = *s->at;
        if (c == '"') {
            if (!skip_string(s)) return false;
            continue;
        }
        s->at++;
        if (c == '{' || c == '[') open++;
        if (c == '}' || c == ']') open--;
        if (open == 0) return true;
    }
    return false;
}

static bool skip_value(struct scan *s)
{
    if (s->at == s->end) return false;
    if (*s->at == '"') return skip_string(s);
    if (*s->at == '{' || *s->at == '[') return skip_nested(s);
    const char *start = s->at;
    while (s->at < s->end && !is_space(*s->at) && strchr(",:]}", *s->at) == NULL)
        s->at++;
    return s->at > start;
}

/* True when raw, a string with its quotes, means key. Escapes are left to jansson: "\u0062" is b.
 */
static bool same_key(struct slice raw, const char *key)
{
    struct slice inner = {(const char *)raw.data + 1, raw.len - 2};
    if (memchr(inner.data, '\\', inner.len) == NULL) return slice_equal(inner, slice_str(key));
    json_t *value = json_loadb(raw.data, raw.len, JSON_DECODE_ANY, NULL);
    bool same =
        value != NULL && json_is_string(value) && strcmp(json_string_value(value), key) == 0;
    json_decref(value);
    return same;
}

bool scan_member(struct slice text, const char *key, struct slice *value)
{
    struct scan s = {text.data, (const char *)text.data + text.len};
    if (!skip_char(&s, '{')) return false;
    do {
        skip_space(&s);
        const char *name = s.at;
        if (!skip_string(&s)) return false;
        struct slice raw = {name, (size_t)(s.at - name)};
        if (!skip_char(&s, ':')) return false;
        skip_space(&s);
        const char *start = s.at;
        if (!skip_value(&s)) return false;
        if (!same_key(raw, key)) continue;
        *value = (struct slice){start, (size_t)(s.at - start)};
        return true;
    } while (skip_char(&s, ','));
    return false;
}

size_t scan_depth(struct slice text)
{
    struct scan s = {text.data, (const char *)text.data + text.len};
    size_t open = 0, deepest = 0;
    while (s.at < s.end) {
        char c = *s.at;
        if (c == '"') {
            if (!skip_string(&s)) return deepest;
            continue;
        }
        s.at++;
        if (c == '{' || c == '[') open++;
        if ((c == '}' || c == ']') && open > 0) open--;
        if (open > deepest) deepest = open;
    }
    return deepest;
}

bool scan_blank(struct slice text)
{
    struct scan s = {text.data, (const char *)text.data + text.len};
    skip_space(&s);
    return s.at == s.end;
}
