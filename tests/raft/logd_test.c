/* tests/raft/logd_test.c -- a logd that cannot start says why in one line, and exits with 2.
 *
 * Method: the real program, in a temporary folder; those that should start are ended with SIGTERM.
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "log/env_uv.h"
#include "raft/identity.h"
#include "tests/lib/dir.h"

static struct dir dir;
static char said[4096]; /* The last program's stderr and stdout. */

static void set_up(void)
{
    dir_set_up(&dir);
}
static void tear_down(void)
{
    dir_tear_down(&dir);
}
TestSuite(logd, .init = set_up, .fini = tear_down, .timeout = 60);

PRINTF_LIKE(1, 2) static int logd(const char *format, ...)
{
    char args[1024], command[2048];
    va_list list;
    va_start(list, format);
    vsnprintf(args, sizeof(args), format, list);
    va_end(list);
    snprintf(command, sizeof(command), "timeout 5 '%s/logd' %s 2>&1", PARLEY_PROGRAMS, args);
    FILE *pipe = popen(command, "re");
    cr_assert_not_null(pipe);
    size_t got = fread(said, 1, sizeof(said) - 1, pipe);
    said[got] = '\0';
    int status = pclose(pipe);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static unsigned lines_said(void)
{
    unsigned count = 0;
    for (const char *at = said; *at != '\0'; at++)
        count += *at == '\n';
    return count;
}

static void expect_refused(int rv, const char *words)
{
    cr_expect_eq(rv, 2, "exit %d: %s", rv, said);
    cr_expect_eq(lines_said(), 1, "%s", said);
    cr_expect(strstr(said, words) != NULL, "%s", said);
}

/* Starts one that runs on, until stop. */
static pid_t start(const char *folder, unsigned port)
{
    char path[256], number[3][32];
    snprintf(path, sizeof(path), "%s/%s", dir.path, folder);
    for (unsigned i = 0; i < 2; i++)
        snprintf(number[i], sizeof(number[i]), "127.0.0.1:%u", port + i);
    pid_t pid = fork();
    if (pid == 0) {
        execl(PARLEY_PROGRAMS "/logd", "logd", "--node", "1", "--dir", path, "--client", number[0],
              "--peer", number[1], "--log-level", "error", (char *)NULL);
        _exit(127);
    }
    struct timespec time = {0, 20000000};
    char lock[300];
    snprintf(lock, sizeof(lock), "%s/LOCK", folder);
    for (unsigned i = 0; i < 250 && !dir_has(&dir, lock); i++)
        (void)nanosleep(&time, NULL);
    time.tv_nsec = 300000000;
    (void)nanosleep(&time, NULL);
    return pid;
}

static void stop(pid_t pid)
{
    int status;
    cr_expect_eq(kill(pid, SIGTERM), 0);
    cr_expect_eq(waitpid(pid, &status, 0), pid);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %d", status);
}

Test(logd, a_wrong_configuration_is_one_line)
{
    expect_refused(logd("--node 0"), "1 to 255");
    expect_refused(logd("--node 1"), "is needed");
    expect_refused(logd("--config /nowhere/at/all"), "/nowhere/at/all");
}

Test(logd, check_only_checks)
{
    cr_expect_eq(logd("--node 1 --dir %s/a --client 127.0.0.1:20590 --peer 127.0.0.1:20591 "
                      "--check",
                      dir.path),
                 0);
    cr_expect_not(dir_has(&dir, "a"));
}

Test(logd, a_folder_in_use_is_refused)
{
    pid_t pid = start("a", 20580);
    expect_refused(
        logd("--node 1 --dir %s/a --client 127.0.0.1:20584 --peer 127.0.0.1:20585", dir.path),
        "in use by another process");
    stop(pid);
}

Test(logd, a_port_in_use_is_refused)
{
    pid_t pid = start("a", 20586);
    expect_refused(
        logd("--node 1 --dir %s/b --client 127.0.0.1:20586 --peer 127.0.0.1:20588", dir.path),
        "127.0.0.1:20586: the address is in use");
    /* A node without a cluster, too, though it has nobody to talk to yet. */
    expect_refused(
        logd("--node 1 --dir %s/c --client 127.0.0.1:20588 --peer 127.0.0.1:20586", dir.path),
        "127.0.0.1:20586: the address is in use");
    stop(pid);
}

Test(logd, a_folder_that_is_not_logds_is_refused)
{
    dir_put(&dir, "holiday.jpg", 0, slice_str("sun"));
    expect_refused(
        logd("--node 1 --dir %s --client 127.0.0.1:20592 --peer 127.0.0.1:20593", dir.path),
        "no identity");
}

Test(logd, a_folder_that_cannot_be_made_is_refused)
{
    expect_refused(logd("--node 1 --dir /proc/no/where --client 127.0.0.1:20594 "
                        "--peer 127.0.0.1:20595"),
                   "/proc/no/where");
}

/* A folder that was formed and has lost its log may have voted: never again under this name. */
Test(logd, a_formed_folder_without_its_log_is_refused)
{
    struct env_uv *uv;
    struct identity identity;
    char why[256];
    static const char map[] =
        "{\"cluster\":\"00000000000000aa\",\"partitions\":4,\"nodes\":["
        "{\"node\":1,\"client\":\"127.0.0.1:20596\",\"peer\":\"127.0.0.1:20597\"}]}";
    cr_assert_eq(env_uv_create(NULL, &uv), 0);
    cr_assert_eq(identity_parse_map(slice_str(map), &identity, why, sizeof(why)), 0);
    identity.node = 1;
    identity.incarnation = 1;
    identity.formed = true;
    cr_assert_eq(identity_save(env_uv_env(uv), dir.path, &identity), 0);
    env_uv_destroy(uv);
    expect_refused(logd("--node 1 --dir %s --client 127.0.0.1:20596 --peer 127.0.0.1:20597 "
                        "--log-level error",
                        dir.path),
                   "has lost its log");
    expect_refused(
        logd("--node 2 --dir %s --client 127.0.0.1:20596 --peer 127.0.0.1:20597", dir.path),
        "belongs to node 1");
}
