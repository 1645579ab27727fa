/* tests/log/diag_test.c -- a line of diagnostics has one form, and no value can forge another. */
#include "log/diag.h"

#include <criterion/criterion.h>

static struct diag diag;
static struct buf lines;
static void sink(void *arg, struct slice line)
{
    buf_put(arg, line.data, line.len);
}
static void set_up(void)
{
    diag_init(&diag, DIAG_INFO, NULL, sink, &lines);
}
static void tear_down(void)
{
    buf_free(&lines);
}
TestSuite(diag, .init = set_up, .fini = tear_down, .timeout = 5);

static void expect(const char *text)
{
    buf_u8(&lines, 0);
    cr_expect_str_eq((const char *)lines.data, text);
}

Test(diag, a_line_holds_level_area_and_message)
{
    diag_warn(&diag, "wal", "disk is slow sync_ms=%d", 612);
    expect("warn wal disk is slow sync_ms=612\n");
}

Test(diag, what_is_less_urgent_is_left_out)
{
    diag_debug(&diag, "wal", "nothing");
    diag_info(NULL, "wal", "nothing");
    cr_expect_eq(lines.len, 0);
}

Test(diag, a_value_cannot_forge_a_line)
{
    diag_info(&diag, "link", "refused name=\"%s\"", "x\nerror wal gone");
    expect("info link refused name=\"x?error wal gone\"\n");
}

Test(diag, a_line_too_long_is_cut)
{
    static char text[3 * DIAG_LINE_BYTES_MAX];
    memset(text, 'a', sizeof(text) - 1);
    diag_error(&diag, "area", "%s", text);
    cr_expect_leq(lines.len, DIAG_LINE_BYTES_MAX);
    cr_expect_eq(lines.data[lines.len - 1], '\n');
}

Test(diag, levels_have_names)
{
    enum diag_level level = DIAG_ERROR;
    cr_expect_eq(diag_level_parse("debug", &level), 0);
    cr_expect_eq(level, DIAG_DEBUG);
    cr_expect_eq(diag_level_parse("loud", &level), ERR_INVAL);
}
