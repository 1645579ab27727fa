/* chatd/out.c -- see out.h. Commas come from the last byte written, so there is no state. */
#include "chatd/out.h"

#include <stdio.h>

/* The length of the valid UTF-8 sequence that starts text, 0 when it is none (RFC 3629, 4). */
static size_t utf8_step(const uint8_t *text, size_t bytes)
{
    uint8_t lead = text[0];
    if (lead < 0x80) return 1;
    size_t len = lead >= 0xc2 && lead < 0xe0 ? 2 : (lead & 0xf0) == 0xe0 ? 3 : 0;
    if (lead >= 0xf0 && lead <= 0xf4) len = 4;
    if (len == 0 || len > bytes) return 0;
    for (size_t i = 1; i < len; i++)
        if ((text[i] & 0xc0) != 0x80) return 0;
    if (lead == 0xe0 && text[1] < 0xa0) return 0;  /* Longer than needed. */
    if (lead == 0xed && text[1] >= 0xa0) return 0; /* A surrogate. */
    if (lead == 0xf0 && text[1] < 0x90) return 0;  /* Longer than needed. */
    if (lead == 0xf4 && text[1] >= 0x90) return 0; /* Beyond U+10FFFF. */
    return len;
}

size_t utf8_valid_bytes(struct slice text)
{
    const uint8_t *at = text.data;
    size_t done = 0;
    while (done < text.len) {
        size_t step = utf8_step(at + done, text.len - done);
        if (step == 0) return done;
        done += step;
    }
    return done;
}

/* A value or a key is about to be written. */
static void separate(struct buf *out)
{
    if (out->len == 0) return;
    uint8_t last = out->data[out->len - 1];
    if (last != '{' && last != '[' && last != ':' && last != ',' && last != '\n') buf_u8(out, ',');
}

void out_object(struct buf *out)
{
    separate(out);
    buf_u8(out, '{');
}

void out_object_end(struct buf *out)
{
    buf_u8(out, '}');
}

void out_array(struct buf *out)
{
    separate(out);
    buf_u8(out, '[');
}

void out_array_end(struct buf *out)
{
    buf_u8(out, ']');
}

void out_key(struct buf *out, const char *key)
{
    separate(out);
    buf_u8(out, '"');
    buf_put(out, key, strlen(key));
    buf_put(out, "\":", 2);
}

void out_name(struct buf *out, struct slice key)
{
    out_string(out, key);
    buf_u8(out, ':');
}

static void put_escape(struct buf *out, uint8_t byte)
{
    static const char hex[] = "0123456789abcdef";
    char text[6] = {'\\', 'u', '0', '0', hex[byte >> 4], hex[byte & 15]};
    switch (byte) {
        case '"':
            buf_put(out, "\\\"", 2);
            break;
        case '\\':
            buf_put(out, "\\\\", 2);
            break;
        case '\n':
            buf_put(out, "\\n", 2);
            break;
        default:
            buf_put(out, text, sizeof(text));
            break;
    }
}

void out_string(struct buf *out, struct slice text)
{
    const uint8_t *at = text.data;
    size_t plain = 0; /* Bytes from at that need no change, not yet copied. */
    separate(out);
    buf_u8(out, '"');
    for (size_t left = text.len; left > 0;) {
        uint8_t byte = at[plain];
        size_t step = utf8_step(at + plain, left);
        if (step > 0 && byte >= 0x20 && byte != '"' && byte != '\\') {
            plain += step;
            left -= step;
            continue;
        }
        buf_put(out, at, plain);
        if (step == 0)
            buf_put(out, "\xef\xbf\xbd", 3); /* U+FFFD, the replacement character. */
        else
            put_escape(out, byte);
        at += plain + 1;
        left--;
        plain = 0;
    }
    buf_put(out, at, plain);
    buf_u8(out, '"');
}

void out_uint(struct buf *out, uint64_t value)
{
    char digits[24];
    int len = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)value);
    separate(out);
    buf_put(out, digits, (size_t)len);
}

void out_bool(struct buf *out, bool value)
{
    separate(out);
    buf_put(out, value ? "true" : "false", value ? 4 : 5);
}

void out_raw(struct buf *out, struct slice json)
{
    separate(out);
    buf_put(out, json.data, json.len);
}

void out_key_string(struct buf *out, const char *key, struct slice text)
{
    out_key(out, key);
    out_string(out, text);
}

void out_key_uint(struct buf *out, const char *key, uint64_t value)
{
    out_key(out, key);
    out_uint(out, value);
}

void out_key_bool(struct buf *out, const char *key, bool value)
{
    out_key(out, key);
    out_bool(out, value);
}

void out_key_raw(struct buf *out, const char *key, struct slice json)
{
    out_key(out, key);
    out_raw(out, json);
}
