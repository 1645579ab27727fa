/* tests/chatd/frame_fuzz.c -- any bytes as a frame: no crash, every answer is JSON, and the
 * scanner finds in accepted text exactly what jansson found. */
#include "chatd/args.h"
#include "chatd/frame.h"
#include "chatd/out.h"
#include "chatd/scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static bool known(void *arg, const char *name)
{
    (void)arg;
    return strcmp(name, "send") == 0 || strcmp(name, "a") == 0;
}

static void check_members(const struct op *op)
{
    const char *key;
    json_t *value;
    json_object_foreach(op->args, key, value)
    {
        struct slice raw;
        CHECK(scan_member(op->text, key, &raw));
        json_t *again = json_loadb(raw.data, raw.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        CHECK(json_equal(again, value) == 1);
        json_decref(again);
    }
}

static void read_all(const struct op *op)
{
    static const char *const words[] = {"msg", "void"};
    struct slice users[8];
    struct chat_pos pos[8];
    for (int kind = 0; kind < 9; kind++) {
        struct args a = args_of(op);
        if (kind == 0) arg_chat(&a, "c", ARG_REQUIRED);
        if (kind == 1) arg_user(&a, "c", ARG_OPTIONAL);
        if (kind == 2) arg_string(&a, "c", ARG_REQUIRED, 9);
        if (kind == 3) arg_int(&a, "n", 1, INT_MAX_53);
        if (kind == 4) arg_word(&a, "k", ARG_REQUIRED, words, 2);
        if (kind == 5) arg_words(&a, "k", words, 2, 0);
        if (kind == 6) arg_users(&a, "u", ARG_REQUIRED, users, 8);
        if (kind == 7) arg_positions(&a, "pos", pos, 8);
        if (kind == 8) arg_raw(&a, "b", ARG_REQUIRED, 20);
        args_must(&a, op, words, 2);
    }
}

static void check_reply(struct op_id id, const struct fault *fault)
{
    struct buf out = {.data = NULL};
    reply_err(&out, id, fault, slice_str(""));
    json_t *tree =
        json_loadb((char *)out.data, out.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    CHECK(json_is_object(tree));
    json_decref(tree);
    buf_free(&out);
}

static void judge(struct slice text)
{
    struct slice lines[FRAME_LINES_MAX];
    struct fault fault;
    struct op op;
    size_t count;
    if (frame_split(text, lines, &count, &fault) != 0) return;
    for (size_t i = 0; i < count; i++) {
        if (op_parse(lines[i], known, NULL, &op, &fault) != 0) {
            check_reply(op.id, &fault);
            continue;
        }
        if (op.name != NULL) {
            check_members(&op);
            read_all(&op);
        }
        op_free(&op);
    }
}

/* The bytes as they are, and as the fields of an operation, so that more of them gets far. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct buf inside = {.data = NULL};
    judge((struct slice){data, bytes});
    buf_put(&inside, "{\"i\":7,\"send\":{", 16);
    buf_put(&inside, data, bytes);
    buf_put(&inside, "}}", 2);
    judge(buf_bytes(&inside));
    buf_free(&inside);
    return 0;
}
