#include "daemon/token.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum ist_status ist_token_read(const struct ist_log *log, const char *path, struct ist_token *token) {
    struct ist_token new = {.text = ""};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    ssize_t got = fd < 0 ? -1 : read(fd, new.text, sizeof(new.text));
    int saved = errno;
    if (fd >= 0) {
        close(fd);
    }
    if (got < 0) {
        ist_log_error(log, 0, "cannot read the token file %s: %s", path, strerror(saved));
        return IST_CONFIG;
    }
    while (new.bytes<(size_t)got &&new.text[new.bytes]> ' ' && new.text[new.bytes] < 0x7f) {
        new.bytes++;
    }
    bool ended = new.bytes == (size_t)got || new.text[new.bytes] == '\n' || new.text[new.bytes] == '\r';
    if (!ended || new.bytes < IST_TOKEN_BYTES_MIN || new.bytes > IST_TOKEN_BYTES_MAX) {
        ist_log_error(
            log, 0,
            "the token file %s must have %d to %d visible characters in its first line, no blanks",
            path, IST_TOKEN_BYTES_MIN, IST_TOKEN_BYTES_MAX);
        return IST_CONFIG;
    }
    memset(new.text + new.bytes, 0, sizeof(new.text) - new.bytes);
    *token = new;
    return IST_OK;
}

bool ist_token_matches(const struct ist_token *token, const char *authorization) {
    static const char scheme[] = "Bearer ";
    if (token->bytes == 0 || authorization == NULL ||
        strncasecmp(authorization, scheme, sizeof(scheme) - 1) != 0) {
        return false;
    }
    const char *given = authorization + sizeof(scheme) - 1;
    size_t given_bytes = strnlen(given, IST_TOKEN_BYTES_MAX + 1);
    unsigned different = given_bytes != token->bytes;
    /* As many turns whatever is given; behind its end, its NUL is compared again and again. */
    for (size_t i = 0; i < token->bytes; i++) {
        size_t at = i < given_bytes ? i : given_bytes;
        different |= (unsigned)((unsigned char)given[at] ^ (unsigned char)token->text[i]);
    }
    return different == 0;
}
