/* log/err.c -- see err.h. */
#include "log/err.h"

#include <errno.h>

const char *err_text(int err)
{
    switch (err) {
        case 0:
            return "ok";
#define X(number, name, text) \
    case name:                \
        return text;
            ERR_TABLE(X)
#undef X
        default:
            return "an error without a name";
    }
}

const char *err_name(int err)
{
    switch (err) {
        case 0:
            return "OK";
#define X(number, name, text) \
    case name:                \
        return &#name[sizeof("ERR_") - 1];
            ERR_TABLE(X)
#undef X
        default:
            return "NAMELESS";
    }
}

int err_from_errno(int number)
{
    switch (number) {
        case ENOSPC:
        case EDQUOT:
            return ERR_NO_SPACE;
        case ENOENT:
            return ERR_NOT_FOUND;
        case EEXIST:
            return ERR_EXISTS;
        case EACCES:
        case EPERM:
        case EROFS:
            return ERR_PERM;
        case EADDRINUSE:
            return ERR_ADDR_IN_USE;
        case EWOULDBLOCK:
            return ERR_LOCKED;
        case EINVAL:
            return ERR_INVAL;
        case ECONNREFUSED:
        case ECONNRESET:
        case ECONNABORTED:
        case EHOSTUNREACH:
        case ENETUNREACH:
        case ENOTCONN:
        case EPIPE:
            return ERR_CONNECT;
        case ETIMEDOUT:
            return ERR_TIMEOUT;
        case ECANCELED:
            return ERR_CANCELED;
        default:
            return ERR_IO;
    }
}
