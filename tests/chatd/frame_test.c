/* tests/chatd/frame_test.c -- a frame is taken apart strictly, a line at a time; answers are JSON.
 */
#include "chatd/frame.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "chatd/out.h"

static struct op op;
static struct fault fault;
static struct buf out;
static void tear_down(void)
{
    op_free(&op);
    buf_free(&out);
}
TestSuite(frame, .fini = tear_down, .timeout = 10);

static bool known(void *arg, const char *name)
{
    (void)arg;
    return strcmp(name, "send") == 0 || strcmp(name, "mark") == 0;
}

static int parse(const char *line)
{
    op_free(&op);
    return op_parse(slice_str(line), known, NULL, &op, &fault);
}

static bool text_is(struct slice text, const char *expected)
{
    return slice_equal(text, slice_str(expected));
}

Test(frame, one_operation_a_line_blank_lines_left_out)
{
    struct slice lines[FRAME_LINES_MAX];
    size_t count = 0;
    cr_assert_eq(frame_split(slice_str("{\"a\":1}\n\n \r\n{}\n"), lines, &count, &fault), 0);
    cr_assert_eq(count, 2);
    cr_expect(text_is(lines[0], "{\"a\":1}"));
    cr_expect(text_is(lines[1], "{}"));
    cr_assert_eq(frame_split(slice_str(""), lines, &count, &fault), 0);
    cr_expect_eq(count, 0);
}

Test(frame, more_than_256_lines_are_refused_as_a_whole)
{
    struct slice lines[FRAME_LINES_MAX];
    size_t count = 7;
    for (int i = 0; i < 256; i++)
        buf_put(&out, "{}\n", 3);
    cr_assert_eq(frame_split(buf_bytes(&out), lines, &count, &fault), 0);
    cr_expect_eq(count, 256);
    buf_put(&out, "{}", 2);
    cr_assert_eq(frame_split(buf_bytes(&out), lines, &count, &fault), -1);
    cr_expect_eq(fault.kind, FAULT_FRAME);
}

Test(frame, an_operation_is_found_among_unknown_fields)
{
    cr_assert_eq(parse("{\"x\":[1],\"i\":7,\"send\":{\"c\":\"c/1\"},\"y\":null}"), 0);
    cr_expect(op.id.given);
    cr_expect_eq(op.id.i, 7);
    cr_expect_str_eq(op.name, "send");
    cr_expect(text_is(op.text, "{\"c\":\"c/1\"}"));
}

Test(frame, a_request_without_i_is_an_operation_and_nothing_is_a_sign_of_life)
{
    cr_assert_eq(parse("{\"mark\":{}}"), 0);
    cr_expect_not(op.id.given);
    cr_expect_str_eq(op.name, "mark");
    cr_assert_eq(parse(" {} "), 0);
    cr_expect_null(op.name);
}

/* The text must be what was sent, though jansson knows only its meaning. */
Test(frame, the_text_of_an_operation_is_what_was_sent_byte_for_byte)
{
    cr_assert_eq(
        parse(
            "{\"q\":\"}{\\\"\",\"se\\u006ed\" : { \"b\" :{\"t\":\"\\u00e9\\\\\" , \"n\":1.50}}\t}"),
        0);
    cr_expect_str_eq(op.name, "send");
    cr_expect(text_is(op.text, "{ \"b\" :{\"t\":\"\\u00e9\\\\\" , \"n\":1.50}}"));
}

struct bad_line {
    const char *line;
    enum fault_kind kind;
    bool given; /* Whether i can be read all the same. */
};

static const struct bad_line bad_lines[] = {
    {"", FAULT_FRAME, false},
    {"hello", FAULT_FRAME, false},
    {"[]", FAULT_FRAME, false},
    {"7", FAULT_FRAME, false},
    {"{\"i\":7,\"send\":{}", FAULT_FRAME, true},
    {"{\"i\":7,\"send\":{}} x", FAULT_FRAME, true},
    {"{\"i\":7,}", FAULT_FRAME, true},
    {"{\"i\":7}", FAULT_FRAME, true},
    {"{\"i\":7,\"send\":{},\"mark\":{}}", FAULT_FRAME, true},
    {"{\"i\":7,\"fly\":{}}", FAULT_OP, true},
    {"{\"i\":7,\"send\":[]}", FAULT_FIELD, true},
    {"{\"i\":7,\"send\":null}", FAULT_FIELD, true},
    {"{\"i\":\"7\",\"send\":{}}", FAULT_FIELD, false},
    {"{\"i\":-1,\"send\":{}}", FAULT_FIELD, false},
    {"{\"i\":1.5,\"send\":{}}", FAULT_FIELD, false},
    {"{\"i\":9007199254740992,\"send\":{}}", FAULT_FIELD, false},
    {"{\"i\":7,\"send\":{},\"send\":{}}", FAULT_FIELD, true},
    {"{\"i\":7,\"send\":{\"a\":1,\"\\u0061\":2}}", FAULT_FIELD, true},
    {"{\"send\":{\"b\":{\"t\":\"\\ud800\"}},\"i\":7}", FAULT_FIELD, true},
    {"{\"send\":{\"b\":{\"t\":\"\\udc00 \"}},\"i\":7}", FAULT_FIELD, true},
    {"{\"i\":7,\"send\":{\"b\":{\"t\":\"\xff\"}}}", FAULT_FIELD, true},
    {"{\"i\":7,\"send\":{\"b\":{\"t\":\"\xed\xa0\x80\"}}}", FAULT_FIELD, true},
    {"{\"i\":7,\"send\":{\"b\":{\"t\":\"\xc0\xaf\"}}}", FAULT_FIELD, true},
    {"{\"i\":7,\"send\":{\"a\\u0000\":1}}", FAULT_FIELD, true},
    {"{\"i\":7,\"send\":{\"n\":123456789012345678901}}", FAULT_FIELD, true},
    {"{\"i\":7,\"send\":{\"n\":1e999}}", FAULT_FIELD, true},
};

Test(frame, every_bad_line_has_its_fault_and_keeps_its_i)
{
    for (size_t k = 0; k < ARRAY_COUNT(bad_lines); k++) {
        const struct bad_line *bad = &bad_lines[k];
        cr_assert_eq(parse(bad->line), -1, "%s", bad->line);
        cr_expect_eq(fault.kind, bad->kind, "%s: %s", bad->line, fault_text(&fault));
        cr_expect_eq(op.id.given, bad->given, "%s", bad->line);
        if (bad->given) cr_expect_eq(op.id.i, 7, "%s", bad->line);
    }
}

/* The line and the operation are two of the 32. */
Test(frame, depth_is_32_at_most)
{
    for (int depth = 31; depth <= 33; depth++) {
        char line[256], left[40] = "", right[40] = "";
        memset(left, '[', (size_t)depth - 2);
        memset(right, ']', (size_t)depth - 2);
        snprintf(line, sizeof(line), "{\"i\":7,\"send\":{\"b\":%s\"]]\"%s}}", left, right);
        cr_expect_eq(parse(line), depth <= 32 ? 0 : -1, "depth %d", depth);
        cr_expect_eq(op.id.i, 7);
    }
    cr_expect_eq(fault.kind, FAULT_FIELD);
}

/* Far beyond what a parser that calls itself could stand. */
Test(frame, 64_kib_of_brackets_are_refused)
{
    memset(buf_grow(&out, CLIENT_FRAME_BYTES_MAX), '[', CLIENT_FRAME_BYTES_MAX);
    cr_assert_eq(op_parse(buf_bytes(&out), known, NULL, &op, &fault), -1);
    cr_expect_eq(fault.kind, FAULT_FIELD);
}

static bool out_is(const char *expected)
{
    bool same = slice_equal(buf_bytes(&out), slice_str(expected));
    if (!same) fprintf(stderr, "got: %.*s\n", (int)out.len, (char *)out.data);
    out.len = 0;
    return same;
}

Test(frame, answers_are_text_of_their_request)
{
    struct op_id id = {true, 7}, none = {false, 0};
    reply_ok(&out, id, slice_str("{\"s\":1}"));
    cr_expect(out_is("{\"i\":7,\"ok\":{\"s\":1}}"));
    reply_ok(&out, none, slice_str("{\"s\":1}"));
    cr_expect(out_is(""));

    fault_set(&fault, FAULT_RATE, "slow %d", 1);
    reply_err(&out, id, &fault, slice_str("\"used\":false,\"n\":7"));
    cr_expect(
        out_is("{\"i\":7,\"err\":{\"code\":429,\"t\":\"RATE\",\"msg\":\"slow 1\","
               "\"retry\":true,\"after_ms\":800,\"used\":false,\"n\":7}}"));
    fault = (struct fault){.kind = FAULT_GONE};
    reply_err(&out, none, &fault, slice_str(""));
    cr_expect(
        out_is("{\"err\":{\"code\":409,\"t\":\"GONE\",\"msg\":\"the message is deleted\","
               "\"retry\":false}}"));
}

Test(frame, what_is_written_is_valid_whatever_bytes_were_given)
{
    out_object(&out);
    out_key_string(&out, "a", (struct slice){"q\"\\\n\x01\0\xc3\xa9\xff\xe2\x82", 11});
    out_key_bool(&out, "b", true);
    out_key(&out, "c");
    out_array(&out);
    out_uint(&out, UINT64_MAX);
    out_array_end(&out);
    out_name(&out, slice_str("d\""));
    out_raw(&out, slice_str("{}"));
    out_object_end(&out);
    buf_u8(&out, '\n');
    out_object(&out);
    out_object_end(&out);
    cr_expect(
        out_is("{\"a\":\"q\\\"\\\\\\n\\u0001\\u0000\xc3\xa9\xef\xbf\xbd\xef\xbf\xbd"
               "\xef\xbf\xbd\",\"b\":true,\"c\":[18446744073709551615],\"d\\\"\":{}}\n{}"));
}

/* A message may quote what the client sent, cut anywhere. */
Test(frame, a_fault_that_quotes_bad_bytes_is_still_json)
{
    char line[200], euros[3 * 40 + 1] = "";
    for (int i = 0; i < 40; i++)
        memcpy(euros + 3 * i, "\xe2\x82\xac", 4);
    snprintf(line, sizeof(line), "{\"i\":1,\"%s\":{}}", euros);
    cr_assert_eq(parse(line), -1);
    reply_err(&out, op.id, &fault, slice_str(""));
    cr_expect_eq(utf8_valid_bytes(buf_bytes(&out)), out.len);
    json_t *tree = json_loadb((char *)out.data, out.len, 0, NULL);
    cr_expect_not_null(tree);
    json_decref(tree);
}

Test(frame, utf8_ends_where_it_is_not_valid)
{
    const char *wrong[] = {"\x80",
                           "\xc1\xbf",
                           "\xe0\x9f\xbf",
                           "\xed\xa0\x80",
                           "\xf0\x8f\xbf\xbf",
                           "\xf4\x90\x80\x80",
                           "\xf5\x80\x80\x80",
                           "\xc3",
                           "\xe2\x82",
                           "\xc3("};
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++)
        cr_expect_eq(utf8_valid_bytes(slice_str(wrong[i])), 0, "case %zu", i);
    struct slice right = slice_str("a\xc2\x80\xdf\xbf\xe0\xa0\x80\xee\x80\x80\xf4\x8f\xbf\xbf");
    cr_expect_eq(utf8_valid_bytes(right), right.len);
}
