/* raft/options.c -- see options.h. */
#include "raft/options.h"

#include <ini.h>
#include <stdio.h>
#include <stdlib.h>

enum { ADDRESS_BYTES_MAX = 80 };

struct reading {
    const char *path, *section;
    const struct option *options;
    size_t count;
    void *config;
    char fault[OPTIONS_WHY_BYTES / 2]; /* Of the first line that is wrong. */
};

static const struct option *option_find(const struct option options[], size_t count,
                                        const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(options[i].name, name) == 0) return &options[i];
    return NULL;
}

/* inih's handler: 1 goes on, 0 is an error on this line. */
static int file_line(void *arg, const char *section, const char *name, const char *value)
{
    struct reading *reading = arg;
    const struct option *option = option_find(reading->options, reading->count, name);
    const char *why = NULL;
    char *fault = reading->fault[0] == '\0' ? reading->fault : NULL;
    size_t bytes = fault == NULL ? 0 : sizeof(reading->fault);
    if (strcmp(section, reading->section) != 0) {
        snprintf(fault, bytes, "section [%.40s] is not known, only [%s]", section,
                 reading->section);
        return 0;
    }
    if (option == NULL || option->value == NULL) {
        snprintf(fault, bytes, "%.60s is no option (see --help)", name);
        return 0;
    }
    if (option->set(reading->config, value, &why) == 0) return 1;
    snprintf(fault, bytes, "%s = %.80s: %s", name, value, why);
    return 0;
}

int options_file(const char *path, const char *section, const struct option options[], size_t count,
                 void *config, char why[OPTIONS_WHY_BYTES])
{
    struct reading reading = {path, section, options, count, config, ""};
    int line = ini_parse(path, file_line, &reading);
    if (line == 0) return 0;
    if (line < 0)
        snprintf(why, OPTIONS_WHY_BYTES, "%.200s: the file cannot be read", path);
    else
        snprintf(why, OPTIONS_WHY_BYTES, "%.200s:%d: %s", path, line,
                 reading.fault[0] == '\0' ? "a line is `name = value`" : reading.fault);
    return -1;
}

int options_flags(int argc, char **argv, const struct option options[], size_t count, void *config,
                  char why[OPTIONS_WHY_BYTES])
{
    for (int i = 1; i < argc; i++) {
        const struct option *option =
            strncmp(argv[i], "--", 2) == 0 ? option_find(options, count, argv[i] + 2) : NULL;
        const char *allowed = NULL, *value = NULL;
        if (option == NULL) {
            snprintf(why, OPTIONS_WHY_BYTES, "%.80s is no option (see --help)", argv[i]);
            return -1;
        }
        if (option->value != NULL && i + 1 == argc) {
            snprintf(why, OPTIONS_WHY_BYTES, "--%s needs %s", option->name, option->value);
            return -1;
        }
        if (option->value != NULL) value = argv[++i];
        if (option->set(config, value, &allowed) == 0) continue;
        snprintf(why, OPTIONS_WHY_BYTES, "--%s %.80s: %s", option->name, value ? value : "",
                 allowed);
        return -1;
    }
    return 0;
}

bool options_takes_value(const struct option options[], size_t count, const char *flag)
{
    const struct option *option = option_find(options, count, flag + 2);
    return option != NULL && option->value != NULL;
}

const char *options_peek(int argc, char **argv, const char *name)
{
    for (int i = 1; i + 1 < argc; i++)
        if (strncmp(argv[i], "--", 2) == 0 && strcmp(argv[i] + 2, name) == 0) return argv[i + 1];
    return NULL;
}

void options_usage(const struct option options[], size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char left[64];
        snprintf(left, sizeof(left), "--%s %s", options[i].name,
                 options[i].value == NULL ? "" : options[i].value);
        printf("  %-28s %s\n", left, options[i].help);
    }
}

int option_number(const char *value, uint64_t min, uint64_t max, uint64_t *out, const char **why)
{
    *why = "this number is out of its range";
    if (value[0] == '\0' || strspn(value, "0123456789") != strlen(value) || strlen(value) > 18)
        return -1;
    uint64_t number = strtoull(value, NULL, 10);
    if (number < min || number > max) return -1;
    *out = number;
    return 0;
}

int option_address(const char *value, struct env_address *out, const char **why)
{
    uint64_t port;
    const char *colon = strrchr(value, ':');
    *why = "an address is HOST:PORT, the port 1 to 65535";
    if (colon == NULL || colon == value) return -1;
    const char *host = value;
    size_t host_bytes = (size_t)(colon - value);
    if (host[0] == '[' && host[host_bytes - 1] == ']') { /* [::1]:7000 */
        host++;
        host_bytes -= 2;
    }
    if (host_bytes == 0 || host_bytes >= sizeof(out->host)) return -1;
    const char *range;
    if (option_number(colon + 1, 1, UINT16_MAX, &port, &range) != 0) return -1;
    *out = (struct env_address){.port = (uint16_t)port};
    memcpy(out->host, host, host_bytes);
    return 0;
}

int option_addresses(const char *value, struct env_address *out, unsigned max, unsigned *count,
                     const char **why)
{
    unsigned found = 0;
    while (*value != '\0') {
        char one[ADDRESS_BYTES_MAX];
        size_t bytes = strcspn(value, ",");
        *why = "addresses are HOST:PORT,HOST:PORT,... and at most as many as there may be nodes";
        if (found == max || bytes >= sizeof(one)) return -1;
        memcpy(one, value, bytes);
        one[bytes] = '\0';
        if (option_address(one, &out[found], why) != 0) return -1;
        found++;
        value += bytes;
        if (*value == ',') value++;
    }
    *why = "one address at least";
    if (found == 0) return -1;
    *count = found;
    return 0;
}
