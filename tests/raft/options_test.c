/* tests/raft/options_test.c -- a daemon's configuration, and every way to get it wrong. */
#include "raft/options.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct config {
    uint64_t number;
    struct env_address listen;
    bool check;
};

static int set_number(void *config, const char *value, const char **why)
{
    return option_number(value, 1, 9, &((struct config *)config)->number, why);
}
static int set_listen(void *config, const char *value, const char **why)
{
    return option_address(value, &((struct config *)config)->listen, why);
}
static int set_check(void *config, const char *value, const char **why)
{
    (void)value;
    (void)why;
    ((struct config *)config)->check = true;
    return 0;
}

static const struct option OPTIONS[] = {
    {"number", "1-9", "a number", set_number},
    {"listen", "HOST:PORT", "an address", set_listen},
    {"check", NULL, "only check", set_check},
};

static struct config config;
static char why[OPTIONS_WHY_BYTES];
static char path[] = "/tmp/options_test.XXXXXX";

static int read_file(const char *text)
{
    int fd = mkstemp(path);
    cr_assert(fd >= 0);
    cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    int rv = options_file(path, "it", OPTIONS, ARRAY_COUNT(OPTIONS), &config, why);
    unlink(path);
    return rv;
}

TestSuite(options, .timeout = 10);

Test(options, file_and_flags_set_the_same_and_flags_win)
{
    char *argv[] = {"it", "--number", "7", "--check"};
    cr_assert_eq(read_file("# comment\n[it]\nnumber = 3\nlisten = 127.0.0.1:80\n"), 0, "%s", why);
    cr_expect_eq(config.number, 3);
    cr_expect_str_eq(config.listen.host, "127.0.0.1");
    cr_expect_eq(config.listen.port, 80);
    cr_assert_eq(options_flags(4, argv, OPTIONS, ARRAY_COUNT(OPTIONS), &config, why), 0, "%s", why);
    cr_expect_eq(config.number, 7);
    cr_expect(config.check);
}

Test(options, a_wrong_value_in_a_file_names_file_line_and_what_is_allowed)
{
    cr_assert_eq(read_file("[it]\n\nnumber = 12\n"), -1);
    cr_expect(strstr(why, ":3: number = 12: ") != NULL, "%s", why);
}

Test(options, an_unknown_name_or_section_is_refused)
{
    cr_assert_eq(read_file("[it]\nnumbr = 1\n"), -1);
    cr_expect(strstr(why, ":2: numbr is no option") != NULL, "%s", why);
}

Test(options, a_wrong_section_is_refused)
{
    cr_assert_eq(read_file("[other]\nnumber = 1\n"), -1);
    cr_expect(strstr(why, "only [it]") != NULL, "%s", why);
}

Test(options, a_missing_file_is_told)
{
    cr_assert_eq(options_file("/nowhere", "it", OPTIONS, 3, &config, why), -1);
    cr_expect(strstr(why, "/nowhere") != NULL, "%s", why);
}

Test(options, bad_flags_are_refused)
{
    char *unknown[] = {"it", "--bogus"}, *missing[] = {"it", "--number"},
         *wrong[] = {"it", "--listen", "nowhere"};
    cr_expect_eq(options_flags(2, unknown, OPTIONS, 3, &config, why), -1);
    cr_expect_eq(options_flags(2, missing, OPTIONS, 3, &config, why), -1);
    cr_expect(strstr(why, "needs 1-9") != NULL, "%s", why);
    cr_expect_eq(options_flags(3, wrong, OPTIONS, 3, &config, why), -1);
    cr_expect(strstr(why, "HOST:PORT") != NULL, "%s", why);
}

Test(options, lists_of_addresses_are_bounded)
{
    struct env_address out[2];
    unsigned count = 0;
    const char *allowed;
    cr_expect_eq(option_addresses("a:1,[::1]:2", out, 2, &count, &allowed), 0);
    cr_expect_eq(count, 2);
    cr_expect_str_eq(out[1].host, "::1");
    cr_expect_eq(option_addresses("a:1,b:2,c:3", out, 2, &count, &allowed), -1);
    cr_expect_eq(option_addresses("", out, 2, &count, &allowed), -1);
    cr_expect_eq(option_addresses("a:0", out, 2, &count, &allowed), -1);
    cr_expect_eq(option_addresses("a:65536", out, 2, &count, &allowed), -1);
}
