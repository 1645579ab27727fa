/* log/diag.c -- see diag.h. */
#include "log/diag.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

static const char *const diag_names[] = {"error", "warn", "info", "debug"};

static void diag_stderr(void *arg, struct slice line)
{
    (void)arg;
    fwrite(line.data, 1, line.len, stderr); /* Unbuffered: one write, so lines do not mix. */
}

void diag_init(struct diag *diag, enum diag_level level, struct env *env,
               void (*sink)(void *arg, struct slice line), void *arg)
{
    *diag = (struct diag){level, env, sink == NULL ? diag_stderr : sink, arg};
}

int diag_level_parse(const char *text, enum diag_level *out)
{
    for (size_t i = 0; i < ARRAY_COUNT(diag_names); i++)
        if (strcmp(text, diag_names[i]) == 0) {
            *out = (enum diag_level)i;
            return 0;
        }
    return ERR_INVAL;
}

/* The time of the line and a space into out; its length, 0 without an env. */
static size_t diag_time(struct diag *diag, char *out, size_t bytes)
{
    if (diag->env == NULL) return 0;
    int64_t wall_ms = env_wall_ms(diag->env);
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm;
    if (wall_ms < 0 || gmtime_r(&seconds, &tm) == NULL) return 0;
    size_t len = strftime(out, bytes, "%Y-%m-%dT%H:%M:%S", &tm);
    return len + (size_t)snprintf(out + len, bytes - len, ".%03dZ ", (int)(wall_ms % 1000));
}

void diag_write(struct diag *diag, enum diag_level level, const char *area, const char *format, ...)
{
    if (diag == NULL || level > diag->level) return;
    char line[DIAG_LINE_BYTES_MAX];
    size_t room = sizeof(line) - 1; /* The last byte is for the end of the line. */
    size_t len = diag_time(diag, line, room);
    len += (size_t)snprintf(line + len, room - len, "%s %s ", diag_names[level], area);
    CHECK(len < room);

    va_list args;
    va_start(args, format);
    int wanted = vsnprintf(line + len, room - len, format, args);
    va_end(args);
    if (wanted < 0) return;
    size_t got = (size_t)wanted < room - len ? (size_t)wanted : room - len - 1;
    for (size_t i = len; i < len + got; i++)
        if ((unsigned char)line[i] < 0x20) line[i] = '?';
    len += got;
    line[len++] = '\n';
    diag->sink(diag->arg, (struct slice){line, len});
}
