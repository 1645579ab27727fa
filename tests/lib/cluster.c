/* tests/lib/cluster.c -- see cluster.h. */
#include "tests/lib/cluster.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    COMMAND_BYTES = 2048,
    /* Below the ports that the kernel gives away. A cluster at P uses P, P+100, P+200, P+1000 and
     * P+1100, each with ten numbers: so ten clusters in a block of 100, blocks 300 apart. */
    PORT_FIRST = 21000,
    PORT_TRIES = 30,
    GONE_MS = 20000,
};

static void sleep_ms(long ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    (void)nanosleep(&time, NULL);
}

/* A base port is ours while a lock file of its number is held: tests run side by side. */
static uint16_t port_take(void)
{
    for (int i = 0; i < PORT_TRIES; i++) {
        char path[64];
        int port = PORT_FIRST + i / 10 * 300 + i % 10 * 10;
        snprintf(path, sizeof(path), "/tmp/parley-test-port-%d.lock", port);
        int fd = open(path, O_RDONLY | O_CLOEXEC); /* It may be another user's. */
        if (fd < 0) fd = open(path, O_RDONLY | O_CREAT | O_CLOEXEC, 0644);
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0) return (uint16_t)port; /* Until we end. */
        if (fd >= 0) close(fd);
    }
    CHECK(false); /* All port ranges are taken. */
    return 0;
}

static int run(char **out, const char *command)
{
    size_t bytes = 0, capacity = 65536;
    char *text = mem_alloc(capacity);
    FILE *pipe = popen(command, "re");
    CHECK(pipe != NULL);
    for (;;) {
        size_t got = fread(text + bytes, 1, capacity - bytes - 1, pipe);
        if (got == 0) break;
        bytes += got;
        if (bytes + 1 == capacity) text = mem_resize(text, capacity *= 2);
    }
    text[bytes] = '\0';
    int status = pclose(pipe);
    if (out != NULL)
        *out = text;
    else
        free(text);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int cluster_parley(const struct cluster *cluster, char **out, const char *args, ...)
{
    char words[COMMAND_BYTES / 2], command[COMMAND_BYTES];
    va_list list;
    va_start(list, args);
    vsnprintf(words, sizeof(words), args, list);
    va_end(list);
    snprintf(command, sizeof(command), "'%s/parley' %s --dir '%s' 2>&1", PARLEY_PROGRAMS, words,
             cluster->dir.path);
    return run(out, command);
}

char *cluster_token(const struct cluster *cluster, const char *user)
{
    char *token = NULL;
    CHECK(cluster_parley(cluster, &token, "token '%s'", user) == 0);
    token[strcspn(token, "\n")] = '\0';
    return token;
}

static void print_logs(const struct cluster *cluster)
{
    char command[COMMAND_BYTES], *text = NULL;
    snprintf(command, sizeof(command), "tail -n 20 '%s'/*.log 2>&1", cluster->dir.path);
    (void)run(&text, command);
    fputs(text, stderr);
    free(text);
}

void cluster_set_up(struct cluster *cluster, unsigned nodes, unsigned fronts)
{
    char *text = NULL;
    dir_set_up(&cluster->dir);
    cluster->port = port_take();
    cluster->nodes = nodes;
    cluster->fronts = fronts;
    int rv =
        cluster_parley(cluster, &text, "dev --detach --port %u --nodes %u --fronts %u --web '%s'",
                       cluster->port, nodes, fronts, PARLEY_WEB);
    if (rv != 0) {
        fputs(text, stderr);
        print_logs(cluster);
    }
    CHECK(rv == 0);
    free(text);
}

void cluster_tear_down(struct cluster *cluster)
{
    char *text = NULL;
    (void)cluster_parley(cluster, &text, "dev --stop");
    free(text);
    /* A sanitizer's report in a log is a failure that nobody else would see. */
    char command[COMMAND_BYTES];
    snprintf(command, sizeof(command), "grep -lE 'Sanitizer|runtime error|CHECK' '%s'/*.log",
             cluster->dir.path);
    bool clean = run(NULL, command) != 0;
    if (!clean) print_logs(cluster);
    dir_tear_down(&cluster->dir);
    CHECK(clean);
}

pid_t cluster_pid(const struct cluster *cluster, const char *name, unsigned i)
{
    char path[128];
    long pid = 0;
    snprintf(path, sizeof(path), "%s/%s-%u.pid", cluster->dir.path, name, i);
    FILE *file = fopen(path, "re");
    if (file == NULL) return 0;
    if (fscanf(file, "%ld", &pid) != 1) pid = 0;
    fclose(file);
    return pid > 1 && kill((pid_t)pid, 0) == 0 ? (pid_t)pid : 0;
}

void cluster_kill(const struct cluster *cluster, const char *name, unsigned i, int signal)
{
    pid_t pid = cluster_pid(cluster, name, i);
    CHECK(pid != 0);
    CHECK(kill(pid, signal) == 0);
    for (long waited = 0; kill(pid, 0) == 0; waited++) {
        char path[64], state = 'R';
        snprintf(path, sizeof(path), "/proc/%ld/stat", (long)pid);
        FILE *file = fopen(path, "re");
        if (file == NULL) break;
        if (fscanf(file, "%*d %*s %c", &state) != 1) state = 'R';
        fclose(file);
        if (state == 'Z') break; /* Its parent is gone or does not look: it runs no more. */
        CHECK(waited < GONE_MS);
        sleep_ms(1);
    }
}

void cluster_restart_logd(const struct cluster *cluster, unsigned i)
{
    char command[COMMAND_BYTES];
    const char *dir = cluster->dir.path;
    snprintf(command, sizeof(command),
             "setsid '%s/logd' --node %u --dir '%s/logd-%u' --client 127.0.0.1:%u --peer "
             "127.0.0.1:%u --ops 127.0.0.1:%u >>'%s/logd-%u.log' 2>&1 </dev/null & echo $! "
             ">'%s/logd-%u.pid'",
             PARLEY_PROGRAMS, i, dir, i, cluster->port + i, cluster->port + 100 + i,
             cluster->port + 200 + i, dir, i, dir, i);
    CHECK(run(NULL, command) == 0);
}

void cluster_restart_chatd(const struct cluster *cluster, unsigned j)
{
    char command[COMMAND_BYTES], nodes[256] = "";
    const char *dir = cluster->dir.path;
    for (unsigned i = 1; i <= cluster->nodes; i++)
        snprintf(nodes + strlen(nodes), sizeof(nodes) - strlen(nodes), "%s127.0.0.1:%u",
                 i == 1 ? "" : ",", cluster->port + i);
    snprintf(command, sizeof(command),
             "setsid '%s/chatd' --listen 127.0.0.1:%u --ops 127.0.0.1:%u --nodes %s --key "
             "'HS256::%s/secret' --web '%s' >>'%s/chatd-%u.log' 2>&1 </dev/null & echo $! "
             ">'%s/chatd-%u.pid'",
             PARLEY_PROGRAMS, cluster_front(cluster, j), cluster->port + 1100 + j, nodes, dir,
             PARLEY_WEB, dir, j, dir, j);
    CHECK(run(NULL, command) == 0);
}
