/* chatd/frame.c -- see frame.h.
 *
 * jansson decides whether a line is JSON and gives the values. Two things it cannot give are read
 * from the text itself by a small scanner: a body byte for byte as it was sent, and the "i" of a
 * line that jansson refused. The scanner trusts nothing: it stays within its slice on any bytes,
 * and finds what jansson found on text that jansson took (tests/chatd/frame_fuzz.c). */
#include "chatd/frame.h"

#include "chatd/out.h"
#include "chatd/scan.h"

int frame_split(struct slice text, struct slice lines[FRAME_LINES_MAX], size_t *count,
                struct fault *fault)
{
    const char *at = text.data;
    const char *end = at + text.len;
    size_t found = 0;
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *line_end = newline != NULL ? newline : end;
        struct slice line = {at, (size_t)(line_end - at)};
        at = newline != NULL ? newline + 1 : end;
        if (scan_blank(line)) continue;
        if (found == FRAME_LINES_MAX)
            return fault_set(fault, FAULT_FRAME, "more than %d objects in one frame: none is done",
                             FRAME_LINES_MAX);
        lines[found++] = line;
    }
    *count = found;
    return 0;
}

/* Why jansson refused a line. */
static int refuse_text(const json_error_t *error, struct fault *fault)
{
    switch (json_error_code(error)) {
        case json_error_duplicate_key:
            return fault_set(fault, FAULT_FIELD, "an object has the same key twice");
        case json_error_numeric_overflow:
            return fault_set(fault, FAULT_FIELD, "a number is too large");
        case json_error_null_byte_in_key:
            return fault_set(fault, FAULT_FIELD, "a key holds \\u0000");
        case json_error_invalid_utf8:
            return fault_set(fault, FAULT_FIELD, "the text is not valid UTF-8");
        default:
            break;
    }
    /* jansson has no code of its own for a lone surrogate, only this text (2.14, lex_unescape). */
    if (strstr(error->text, "invalid Unicode") != NULL)
        return fault_set(fault, FAULT_FIELD, "a string holds half a surrogate pair");
    return fault_set(fault, FAULT_FRAME, "not JSON at byte %d", error->position);
}

static void read_id(const json_t *value, struct op_id *id)
{
    if (!json_is_integer(value)) return;
    json_int_t i = json_integer_value(value);
    if (i < 0 || i >= (json_int_t)1 << 53) return;
    *id = (struct op_id){true, (uint64_t)i};
}

/* The i of a line that jansson refused. */
static void rescue_id(struct slice line, struct op_id *id)
{
    struct slice raw;
    if (!scan_member(line, "i", &raw)) return;
    json_t *value = json_loadb(raw.data, raw.len, JSON_DECODE_ANY, NULL);
    if (value == NULL) return;
    read_id(value, id);
    json_decref(value);
}

static int find_op(struct op *op, op_known_cb known, void *arg, struct fault *fault)
{
    const char *key;
    const char *unknown = NULL;
    json_t *value;
    json_object_foreach(op->tree, key, value)
    {
        if (strcmp(key, "i") == 0 || strcmp(key, "must") == 0) continue;
        if (!known(arg, key)) {
            if (unknown == NULL) unknown = key;
            continue;
        }
        if (op->name != NULL)
            return fault_set(fault, FAULT_FRAME, "two operations in one object: %s, %s", op->name,
                             key);
        op->name = key;
        op->args = value;
    }
    if (op->name != NULL) return 0;
    if (unknown != NULL) return fault_set(fault, FAULT_OP, "unknown operation: %.64s", unknown);
    if (op->id.given) return fault_set(fault, FAULT_FRAME, "an object without an operation");
    return 0; /* {}: a sign of life. */
}

static int read_op(struct slice line, op_known_cb known, void *arg, struct op *op, struct fault *f)
{
    const json_t *i = json_object_get(op->tree, "i");
    read_id(i, &op->id);
    if (i != NULL && !op->id.given)
        return fault_set(f, FAULT_FIELD, "i must be an integer from 0 to 2^53 - 1");
    op->must = json_object_get(op->tree, "must");
    if (find_op(op, known, arg, f) != 0) return -1;
    if (op->name == NULL) return 0;
    if (!json_is_object(op->args))
        return fault_set(f, FAULT_FIELD, "%s must be an object", op->name);
    CHECK(scan_member(line, op->name, &op->text)); /* jansson found it there. */
    return 0;
}

int op_parse(struct slice line, op_known_cb known, void *arg, struct op *op, struct fault *fault)
{
    json_error_t error;
    *op = (struct op){.name = NULL};
    if (scan_depth(line) > JSON_DEPTH_MAX) {
        rescue_id(line, &op->id);
        return fault_set(fault, FAULT_FIELD, "more than %d objects and arrays within each other",
                         JSON_DEPTH_MAX);
    }
    /* Strings may hold \u0000: a body may. Ids and names may not, see args.c. */
    op->tree = json_loadb(line.data, line.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (op->tree == NULL) {
        rescue_id(line, &op->id);
        return refuse_text(&error, fault);
    }
    int rv = json_is_object(op->tree)
                 ? read_op(line, known, arg, op, fault)
                 : fault_set(fault, FAULT_FRAME, "a line must be a JSON object");
    if (rv != 0) op_free(op);
    return rv;
}

void op_free(struct op *op)
{
    json_decref(op->tree);
    *op = (struct op){.id = op->id}; /* An answer may still be due. */
}

static void reply_begin(struct buf *out, struct op_id id)
{
    out_object(out);
    if (id.given) out_key_uint(out, "i", id.i);
}

void reply_ok(struct buf *out, struct op_id id, struct slice ok)
{
    if (!id.given) return;
    reply_begin(out, id);
    out_key_raw(out, "ok", ok);
    out_object_end(out);
}

void reply_err(struct buf *out, struct op_id id, const struct fault *fault, struct slice more)
{
    reply_begin(out, id);
    out_key(out, "err");
    out_object(out);
    out_key_uint(out, "code", (uint64_t)fault_code(fault->kind));
    out_key_string(out, "t", slice_str(fault_name(fault->kind)));
    out_key_string(out, "msg", slice_str(fault_text(fault)));
    out_key_bool(out, "retry", fault_retry(fault->kind));
    if (fault->after_ms > 0) out_key_uint(out, "after_ms", fault->after_ms);
    if (more.len > 0) out_raw(out, more);
    out_object_end(out);
    out_object_end(out);
}
