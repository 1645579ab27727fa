/* admin/dev.c -- parley dev: a whole cluster on this machine, of real processes on loopback.
 *
 * Happy path: folder and secret, logd's, form them when they are new, chatd's, wait until all is
 * ready, print where the page is; then wait for Ctrl-C and stop everything, or leave it running.
 * It restarts nothing by itself, so that a test may kill what it likes. D holds:
 *     dev.json secret logd-<i>/ logd-<i>.pid logd-<i>.log chatd-<j>.pid chatd-<j>.log, and
 *     parley-1.pid while it runs in the foreground */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "admin/cli.h"
#include "admin/form.h"
#include "chatd/auth.h"

enum {
    ARGS_MAX = 64,
    ARG_BYTES = 160,
    UP_MS = 20000,   /* A node that has a WAL to read takes a while. */
    STOP_MS = 15000, /* Handing over, draining; then SIGKILL. */
    POLL_MS = 20,
    TOKEN_DAYS = 30,
    SECRET_BYTES = 32,
    PATH_BYTES = CLI_PATH_BYTES + 64,
};

struct dev {
    struct cli *cli;
    struct cli_cluster cluster;
    char bin[CLI_PATH_BYTES]; /* Where parley, logd and chatd are. */
    char web[CLI_PATH_BYTES + 32];
    char secret[2 * SECRET_BYTES + 1];
};

static void sleep_ms(long ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    (void)nanosleep(&time, NULL);
}

/* Block or unblock what ends us; *set, unless NULL, is what that is. */
static void signals(int how, sigset_t *set)
{
    sigset_t own;
    if (set == NULL) set = &own;
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGHUP);
    (void)sigprocmask(how, set, NULL);
}

/* ---- processes by their files ---- */

static void path_of(const struct dev *dev, char out[PATH_BYTES], const char *name, uint64_t number,
                    const char *ending)
{
    snprintf(out, PATH_BYTES, "%s/%s-%llu%s", dev->cli->dir, name, (unsigned long long)number,
             ending);
}

/* The process id in the file, if that process runs and is one of ours; 0 otherwise. A number may
 * have gone to another program since. */
static pid_t running(const struct dev *dev, const char *name, uint64_t number)
{
    char path[PATH_BYTES], program[64] = "";
    long pid = 0;
    path_of(dev, path, name, number, ".pid");
    FILE *file = fopen(path, "re");
    if (file == NULL) return 0;
    int got = fscanf(file, "%ld", &pid);
    fclose(file);
    if (got != 1 || pid <= 1) return 0;
    snprintf(path, sizeof(path), "/proc/%ld/comm", pid);
    file = fopen(path, "re");
    if (file == NULL) return 0;
    got = fscanf(file, "%63s", program);
    fclose(file);
    return got == 1 && strcmp(program, name) == 0 ? (pid_t)pid : 0;
}

static bool anything_runs(const struct dev *dev)
{
    for (uint64_t i = 1; i <= dev->cluster.nodes_count; i++)
        if (running(dev, "logd", i) != 0) return true;
    for (uint64_t j = 1; j <= dev->cluster.fronts_count; j++)
        if (running(dev, "chatd", j) != 0) return true;
    return false;
}

static void signal_all(const struct dev *dev, const char *name, uint64_t count, int number)
{
    for (uint64_t i = 1; i <= count; i++) {
        pid_t pid = running(dev, name, i);
        if (pid != 0) (void)kill(pid, number);
    }
}

static bool wait_gone(const struct dev *dev, const char *name, uint64_t count, long ms)
{
    for (long waited = 0;; waited += POLL_MS) {
        bool left = false;
        while (waitpid(-1, NULL, WNOHANG) > 0) /* Ours, when it runs in the foreground. */
            ;
        for (uint64_t i = 1; i <= count; i++)
            left |= running(dev, name, i) != 0;
        if (!left) return true;
        if (waited >= ms) return false;
        sleep_ms(POLL_MS);
    }
}

/* Front-ends first: they drain to nobody, but their clients hear it. */
static void stop_all(const struct dev *dev)
{
    signal_all(dev, "chatd", dev->cluster.fronts_count, SIGTERM);
    if (!wait_gone(dev, "chatd", dev->cluster.fronts_count, STOP_MS))
        signal_all(dev, "chatd", dev->cluster.fronts_count, SIGKILL);
    signal_all(dev, "logd", dev->cluster.nodes_count, SIGTERM);
    if (!wait_gone(dev, "logd", dev->cluster.nodes_count, STOP_MS))
        signal_all(dev, "logd", dev->cluster.nodes_count, SIGKILL);
}

/* In the child: never returns. report closes by itself when the program runs. */
static void spawn_child(int log, int report, char *const argv[])
{
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    signals(SIG_UNBLOCK, NULL);
    (void)setsid();
    if (null >= 0 && dup2(null, 0) >= 0 && dup2(log, 1) >= 0 && dup2(log, 2) >= 0)
        execv(argv[0], argv);
    int number = errno;
    (void)!write(report, &number, sizeof(number));
    _exit(127);
}

/* Start argv[0] with its output in a log file, in a session of its own. */
static int spawn(const struct dev *dev, const char *name, uint64_t number, char *const argv[])
{
    char path[PATH_BYTES];
    int report[2], failed = 0;
    path_of(dev, path, name, number, ".log");
    int log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (log < 0) return cli_fail(EXIT_USAGE, "%s: %s", path, strerror(errno));
    CHECK(pipe2(report, O_CLOEXEC) == 0);
    pid_t pid = fork();
    if (pid == 0) spawn_child(log, report[1], argv);
    close(log);
    close(report[1]);
    if (pid > 0 && read(report[0], &failed, sizeof(failed)) != sizeof(failed)) failed = 0;
    close(report[0]);
    if (pid < 0) return cli_fail(EXIT_FAILED, "fork: %s", strerror(errno));
    if (failed != 0) return cli_fail(EXIT_FAILED, "%s: %s", argv[0], strerror(failed));
    path_of(dev, path, name, number, ".pid");
    FILE *file = fopen(path, "we");
    if (file == NULL) return cli_fail(EXIT_USAGE, "%s: %s", path, strerror(errno));
    fprintf(file, "%ld\n", (long)pid);
    fclose(file);
    return 0;
}

/* The last line of a log, for the message why something did not start. */
static void last_line(const struct dev *dev, const char *name, uint64_t number, char out[256])
{
    char path[PATH_BYTES], line[256];
    path_of(dev, path, name, number, ".log");
    snprintf(out, 256, "it said nothing");
    FILE *file = fopen(path, "re");
    if (file == NULL) return;
    while (fgets(line, sizeof(line), file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] != '\0') snprintf(out, 256, "%s", line);
    }
    fclose(file);
}

/* ---- what runs ---- */

struct args {
    char text[ARGS_MAX][CLI_PATH_BYTES + ARG_BYTES];
    char *argv[ARGS_MAX + 1];
    int count;
};

PRINTF_LIKE(2, 3) static void arg(struct args *args, const char *format, ...)
{
    va_list list;
    CHECK(args->count < ARGS_MAX);
    va_start(list, format);
    vsnprintf(args->text[args->count], sizeof(args->text[0]), format, list);
    va_end(list);
    args->argv[args->count] = args->text[args->count];
    args->argv[++args->count] = NULL;
}

static int spawn_logd(const struct dev *dev, uint64_t i)
{
    struct args *args = mem_zero(sizeof(*args));
    unsigned long long port = dev->cluster.port;
    arg(args, "%s/logd", dev->bin);
    arg(args, "--node");
    arg(args, "%llu", (unsigned long long)i);
    arg(args, "--dir");
    arg(args, "%s/logd-%llu", dev->cli->dir, (unsigned long long)i);
    arg(args, "--client");
    arg(args, "127.0.0.1:%llu", port + i);
    arg(args, "--peer");
    arg(args, "127.0.0.1:%llu", port + CLI_PEER_OFFSET + i);
    arg(args, "--ops");
    arg(args, "127.0.0.1:%llu", port + CLI_OPS_OFFSET + i);
    int rv = spawn(dev, "logd", i, args->argv);
    free(args);
    return rv;
}

static int spawn_chatd(const struct dev *dev, uint64_t j)
{
    struct args *args = mem_zero(sizeof(*args));
    char nodes[NODES_MAX * 24] = "";
    unsigned long long port = dev->cluster.port;
    for (uint64_t i = 1; i <= dev->cluster.nodes_count; i++)
        snprintf(nodes + strlen(nodes), sizeof(nodes) - strlen(nodes), "%s127.0.0.1:%llu",
                 i == 1 ? "" : ",", port + i);
    arg(args, "%s/chatd", dev->bin);
    arg(args, "--listen");
    arg(args, "127.0.0.1:%llu", port + CLI_FRONT_OFFSET + j);
    arg(args, "--ops");
    arg(args, "127.0.0.1:%llu", port + CLI_FRONT_OPS_OFFSET + j);
    arg(args, "--nodes");
    arg(args, "%s", nodes);
    arg(args, "--key");
    arg(args, "HS256::%s/secret", dev->cli->dir);
    arg(args, "--web");
    arg(args, "%s", dev->web);
    for (uint64_t k = 1; k <= dev->cluster.fronts_count; k++) {
        /* A page may move between front-ends: each allows the others' pages. */
        arg(args, "--origin");
        arg(args, "http://127.0.0.1:%llu", port + CLI_FRONT_OFFSET + k);
        arg(args, "--origin");
        arg(args, "http://localhost:%llu", port + CLI_FRONT_OFFSET + k);
        if (k == j) continue;
        arg(args, "--alt");
        arg(args, "ws://127.0.0.1:%llu/ws", port + CLI_FRONT_OFFSET + k);
    }
    int rv = spawn(dev, "chatd", j, args->argv);
    free(args);
    return rv;
}

/* ---- folder ---- */

static int file_write(const char *path, const char *text, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    size_t bytes = strlen(text);
    bool good = fd >= 0 && write(fd, text, bytes) == (ssize_t)bytes;
    int number = errno;
    if (fd >= 0) close(fd);
    return good ? 0 : cli_fail(EXIT_USAGE, "%s: %s", path, strerror(number));
}

static int folder_secret(struct dev *dev)
{
    char path[PATH_BYTES];
    uint8_t bytes[SECRET_BYTES];
    snprintf(path, sizeof(path), "%s/secret", dev->cli->dir);
    FILE *file = fopen(path, "re");
    if (file != NULL) {
        bool good = fgets(dev->secret, sizeof(dev->secret), file) != NULL;
        fclose(file);
        if (good) return 0;
    }
    CHECK(getrandom(bytes, sizeof(bytes), 0) == (ssize_t)sizeof(bytes));
    for (size_t i = 0; i < sizeof(bytes); i++)
        snprintf(dev->secret + 2 * i, 3, "%02x", bytes[i]);
    return file_write(path, dev->secret, 0600);
}

/* The secret alone is what --fresh leaves. */
static bool folder_empty(const char *dir)
{
    bool empty = true;
    DIR *entries = opendir(dir);
    if (entries == NULL) return true; /* What cannot be read is told when it is written to. */
    for (struct dirent *entry = readdir(entries); entry != NULL && empty; entry = readdir(entries))
        empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
                strcmp(entry->d_name, "secret") == 0;
    closedir(entries);
    return empty;
}

/* Data of an earlier cluster is found again as it was; flags that say otherwise are refused. */
static int folder_open(struct dev *dev)
{
    struct cli *cli = dev->cli;
    dev->cluster = (struct cli_cluster){
        .port = cli->port == 0 ? CLI_PORT_DEFAULT : cli->port,
        .nodes_count = cli->nodes_wanted == 0 ? 3 : cli->nodes_wanted,
        .fronts_count = cli->fronts_wanted == 0 ? 2 : cli->fronts_wanted,
    };
    if (mkdir(cli->dir, 0755) != 0 && errno != EEXIST)
        return cli_fail(EXIT_USAGE, "%s: %s", cli->dir, strerror(errno));
    struct cli_cluster old;
    if (cli_cluster_read(cli->dir, &old) == 0) {
        if (cli->nodes_wanted != 0 && cli->nodes_wanted != old.nodes_count)
            return cli_fail(EXIT_USAGE, "%s holds a cluster of %llu nodes; --fresh forgets it",
                            cli->dir, (unsigned long long)old.nodes_count);
        dev->cluster.nodes_count = old.nodes_count;
        dev->cluster.port = old.port;
        if (cli->port != 0 && cli->port != old.port)
            return cli_fail(EXIT_USAGE, "%s holds a cluster at port %llu; --fresh forgets it",
                            cli->dir, (unsigned long long)old.port);
        if (cli->fronts_wanted == 0) dev->cluster.fronts_count = old.fronts_count;
    } else if (!folder_empty(cli->dir)) {
        return cli_fail(EXIT_USAGE, "%s holds files, but no cluster of `parley dev`", cli->dir);
    }
    return 0;
}

static int folder_write(struct dev *dev)
{
    char path[PATH_BYTES], text[160];
    snprintf(path, sizeof(path), "%s/dev.json", dev->cli->dir);
    snprintf(text, sizeof(text), "{\"port\":%llu,\"nodes\":%llu,\"fronts\":%llu}\n",
             (unsigned long long)dev->cluster.port, (unsigned long long)dev->cluster.nodes_count,
             (unsigned long long)dev->cluster.fronts_count);
    int rv = file_write(path, text, 0644);
    return rv != 0 ? rv : folder_secret(dev);
}

/* Remove what dev made, and nothing else: a folder without dev.json is not ours. */
static int folder_fresh(struct dev *dev)
{
    struct cli_cluster old;
    char command[2 * PATH_BYTES];
    if (cli_cluster_read(dev->cli->dir, &old) != 0) return 0;
    for (uint64_t i = 1; i <= NODES_MAX; i++) {
        char path[PATH_BYTES];
        path_of(dev, path, "logd", i, "");
        if (access(path, F_OK) != 0) continue;
        char *argv[] = {"rm", "-rf", "--", path, NULL};
        pid_t pid = fork();
        if (pid == 0) {
            execvp(argv[0], argv);
            _exit(127);
        }
        int status = -1;
        if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
            return cli_fail(EXIT_FAILED, "%s: cannot be removed", path);
    }
    for (uint64_t i = 1; i <= CLI_FRONTS_MAX; i++) {
        static const char *const NAMES[] = {"logd", "chatd"}, *const ENDS[] = {".log", ".pid"};
        for (int k = 0; k < 4; k++) {
            path_of(dev, command, NAMES[k / 2], i, ENDS[k % 2]);
            (void)unlink(command);
        }
    }
    snprintf(command, sizeof(command), "%s/dev.json", dev->cli->dir);
    (void)unlink(command);
    return 0;
}

/* ---- waiting until all is up ---- */

static int died(const struct dev *dev, const char *name, uint64_t number)
{
    char line[256];
    (void)waitpid(-1, NULL, WNOHANG);
    if (running(dev, name, number) != 0) return 0;
    last_line(dev, name, number, line);
    return cli_fail(EXIT_FAILED, "%s %llu ended: %s", name, (unsigned long long)number, line);
}

/* 0, or an exit code after its message: a logd ended. */
static int some_died(const void *arg)
{
    const struct dev *dev = arg;
    int rv = 0;
    for (uint64_t i = 1; i <= dev->cluster.nodes_count && rv == 0; i++)
        rv = died(dev, "logd", i);
    return rv;
}

struct look {
    struct client_status request;
    bool done, up;
};

static void look_done(struct client_status *request, int err, struct slice text)
{
    struct look *look = CONTAINER_OF(request, struct look, request);
    (void)text;
    look->up = err == 0;
    look->done = true;
}

/* Every logd answers. */
static int wait_nodes(const struct dev *dev, struct cli_link *link)
{
    uint64_t until = env_now_ms(link->env) + UP_MS;
    for (uint64_t i = 1; i <= dev->cluster.nodes_count;) {
        struct look look = {
            .request = {.node = (unsigned)(i - 1), .deadline_ms = 250, .done = look_done}};
        client_status(link->client, &look.request);
        (void)cli_run(link, &look.done, UP_MS);
        if (look.up)
            i++;
        else if (died(dev, "logd", i) != 0)
            return EXIT_FAILED;
        else if (env_now_ms(link->env) > until)
            return cli_fail(EXIT_FAILED, "logd %llu does not answer", (unsigned long long)i);
        else
            sleep_ms(POLL_MS);
    }
    return 0;
}

static int start_nodes(struct dev *dev)
{
    struct cli_link link;
    char cluster[17];
    bool already;
    int rv = 0;
    for (uint64_t i = 1; i <= dev->cluster.nodes_count && rv == 0; i++)
        rv = spawn_logd(dev, i);
    if (rv != 0) return rv;
    dev->cli->nodes_count = 0;
    rv = cli_open(dev->cli, &link, false);
    if (rv != 0) return rv;
    rv = wait_nodes(dev, &link);
    if (rv == 0) rv = form_cluster(dev->cli, &link, &already, cluster);
    if (rv == 0) rv = form_wait_leaders(&link, some_died, dev);
    cli_close(&link);
    return rv;
}

/* A connection to the port tells that somebody listens. */
static bool listens(uint64_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool good = fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
    if (fd >= 0) close(fd);
    return good;
}

static int port_free(uint64_t port)
{
    if (!listens(port)) return 0;
    return cli_fail(EXIT_USAGE, "port %llu is in use; --port P takes others",
                    (unsigned long long)port);
}

/* Before anything starts: what answers at our ports later would be another cluster. */
static int ports_free(const struct dev *dev)
{
    uint64_t port = dev->cluster.port;
    int rv = 0;
    for (uint64_t i = 1; i <= dev->cluster.nodes_count && rv == 0; i++) {
        rv = port_free(port + i);
        if (rv == 0) rv = port_free(port + CLI_PEER_OFFSET + i);
        if (rv == 0) rv = port_free(port + CLI_OPS_OFFSET + i);
    }
    for (uint64_t j = 1; j <= dev->cluster.fronts_count && rv == 0; j++) {
        rv = port_free(port + CLI_FRONT_OFFSET + j);
        if (rv == 0) rv = port_free(port + CLI_FRONT_OPS_OFFSET + j);
    }
    return rv;
}

static int start_fronts(struct dev *dev)
{
    int rv = 0;
    for (uint64_t j = 1; j <= dev->cluster.fronts_count && rv == 0; j++)
        rv = spawn_chatd(dev, j);
    for (uint64_t j = 1; j <= dev->cluster.fronts_count && rv == 0; j++)
        for (long waited = 0; !listens(dev->cluster.port + CLI_FRONT_OFFSET + j) && rv == 0;
             waited += POLL_MS) {
            rv = died(dev, "chatd", j);
            if (rv == 0 && waited > UP_MS)
                rv = cli_fail(EXIT_FAILED, "chatd %llu does not listen", (unsigned long long)j);
            sleep_ms(POLL_MS);
        }
    return rv;
}

/* ---- the command ---- */

static int print_login(const struct dev *dev, const char *user, uint64_t front)
{
    struct buf token = {0};
    struct auth_grant grant = {.user = slice_str(user),
                               .exp_ms = ((int64_t)time(NULL) + TOKEN_DAYS * 86400) * 1000};
    if (auth_sign(&grant, slice_str(dev->secret), &token) != 0)
        return cli_fail(EXIT_FAILED, "no token could be signed");
    printf("  %-6s http://127.0.0.1:%llu/#token=%.*s\n", user,
           (unsigned long long)(dev->cluster.port + CLI_FRONT_OFFSET + front), (int)token.len,
           (const char *)token.data);
    buf_free(&token);
    return 0;
}

static int print_where(const struct dev *dev)
{
    uint64_t fronts = dev->cluster.fronts_count;
    printf("cluster: %llu logd, %llu chatd, data in %s\n",
           (unsigned long long)dev->cluster.nodes_count, (unsigned long long)fronts, dev->cli->dir);
    printf("page:    http://127.0.0.1:%llu/\n",
           (unsigned long long)(dev->cluster.port + CLI_FRONT_OFFSET + 1));
    printf("log in (click one in each of two browsers, or a private window):\n");
    int rv = print_login(dev, "alice", 1);
    if (rv == 0) rv = print_login(dev, "bob", fronts > 1 ? 2 : 1);
    printf("more:    %s/parley token USER --dir %s\n", dev->bin, dev->cli->dir);
    printf("         %s/parley status --dir %s\n", dev->bin, dev->cli->dir);
    if (dev->cli->detach)
        printf("stop:    %s/parley dev --stop --dir %s\n", dev->bin, dev->cli->dir);
    fflush(stdout);
    return rv;
}

static int find_programs(struct dev *dev)
{
    ssize_t bytes = readlink("/proc/self/exe", dev->bin, sizeof(dev->bin) - 1);
    if (bytes <= 0) return cli_fail(EXIT_FAILED, "/proc/self/exe: %s", strerror(errno));
    dev->bin[bytes] = '\0';
    *strrchr(dev->bin, '/') = '\0';
    if (dev->cli->web[0] != '\0')
        snprintf(dev->web, sizeof(dev->web), "%s", dev->cli->web);
    else
        snprintf(dev->web, sizeof(dev->web), "%s/../chatd/web", dev->bin);
    return 0;
}

static int wait_for_end(const struct dev *dev)
{
    sigset_t set;
    int number;
    char path[PATH_BYTES], pid[32];
    signals(SIG_BLOCK, &set);
    path_of(dev, path, "parley", 1, ".pid"); /* For who says --stop elsewhere. */
    snprintf(pid, sizeof(pid), "%ld\n", (long)getpid());
    int rv = file_write(path, pid, 0644);
    printf("Ctrl-C ends it\n");
    fflush(stdout);
    if (rv == 0) (void)sigwait(&set, &number);
    printf("stopping\n");
    fflush(stdout);
    stop_all(dev);
    (void)unlink(path);
    return rv;
}

/* What runs in the foreground elsewhere is asked to end, and ends the others itself. */
static void stop_foreground(const struct dev *dev)
{
    pid_t pid = running(dev, "parley", 1);
    if (pid == 0) return;
    (void)kill(pid, SIGTERM);
    (void)wait_gone(dev, "parley", 1, 2 * STOP_MS);
}

static int dev_start(struct dev *dev)
{
    int rv = folder_open(dev);
    if (rv != 0) return rv;
    if (anything_runs(dev))
        return cli_fail(EXIT_FAILED, "%s: a cluster runs already; --stop ends it", dev->cli->dir);
    rv = ports_free(dev);
    if (rv == 0) rv = folder_write(dev);
    if (rv != 0) return rv;
    rv = start_nodes(dev);
    if (rv == 0) rv = start_fronts(dev);
    if (rv == 0) rv = print_where(dev);
    if (rv != 0) stop_all(dev);
    return rv;
}

int command_dev(struct cli *cli)
{
    struct dev dev = {.cli = cli};
    const char *why;
    if (cli->dir[0] == '\0' && cli_set_dir(cli, "data", &why) != 0)
        return cli_fail(EXIT_USAGE, "this folder's path is too long");
    int rv = find_programs(&dev);
    if (rv != 0) return rv;
    if (cli->stop || cli->fresh) {
        bool ran = false;
        if (cli_cluster_read(cli->dir, &dev.cluster) == 0) {
            ran = anything_runs(&dev);
            stop_foreground(&dev);
            stop_all(&dev);
        }
        if (cli->stop) {
            printf("%s: %s\n", cli->dir, ran ? "stopped" : "nothing runs");
            return EXIT_FINE;
        }
        rv = folder_fresh(&dev);
        if (rv != 0) return rv;
    }
    signals(SIG_BLOCK, NULL); /* Ctrl-C while things start is seen when they have. */
    rv = dev_start(&dev);
    if (rv != 0 || cli->detach) return rv;
    return wait_for_end(&dev);
}
