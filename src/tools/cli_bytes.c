#include "tools/cli_bytes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Length of the well-formed sequence at p, 0 when there is none. */
static size_t sequence_bytes(const uint8_t *p, size_t left) {
    /* RFC 3629, section 4: first bytes, and the range of the second; the others are 80..BF. */
    static const struct {
        uint8_t from, to, second_from, second_to;
        size_t length;
    } kinds[] = {
        {0x00, 0x7f, 0x00, 0xff, 1}, {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };
    size_t i = 0;
    while (i < sizeof(kinds) / sizeof(kinds[0]) && (p[0] < kinds[i].from || p[0] > kinds[i].to)) {
        i++;
    }
    if (i == sizeof(kinds) / sizeof(kinds[0]) || left < kinds[i].length) {
        return 0;
    }
    if (kinds[i].length > 1 && (p[1] < kinds[i].second_from || p[1] > kinds[i].second_to)) {
        return 0;
    }
    for (size_t at = 2; at < kinds[i].length; at++) {
        if (p[at] < 0x80 || p[at] > 0xbf) {
            return 0;
        }
    }
    return kinds[i].length;
}

/* Also the C1 controls, U+0080 to U+009F, which some terminals obey. */
static bool is_control(const uint8_t *p, size_t length) {
    return length == 1 ? p[0] < 0x20 || p[0] == 0x7f : p[0] == 0xc2 && p[1] < 0xa0;
}

bool ist_cli_bytes_are_text(const void *data, size_t bytes) {
    const uint8_t *p = data;
    size_t length;
    for (size_t i = 0; i < bytes; i += length) {
        length = sequence_bytes(p + i, bytes - i);
        if (length == 0 || p[i] == 0) {
            return false;
        }
    }
    return true;
}

bool ist_cli_bytes_are_printable(const void *data, size_t bytes) {
    const uint8_t *p = data;
    size_t length;
    for (size_t i = 0; i < bytes; i += length) {
        length = sequence_bytes(p + i, bytes - i);
        bool space = p[i] == '\t' || p[i] == '\n' || p[i] == '\r';
        if (length == 0 || (is_control(p + i, length) && !space)) {
            return false;
        }
    }
    return true;
}

static int digit_value(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

enum ist_status ist_cli_hex_decode(const char *hex, uint8_t *out, size_t *bytes) {
    size_t digits = strlen(hex);
    if (digits % 2 != 0) {
        return IST_INVALID;
    }
    for (size_t i = 0; i < digits; i += 2) {
        int high = digit_value(hex[i]), low = digit_value(hex[i + 1]);
        if (high < 0 || low < 0) {
            return IST_INVALID;
        }
        out[i / 2] = (uint8_t)(high << 4 | low);
    }
    *bytes = digits / 2;
    return IST_OK;
}

char *ist_cli_bytes_hex(const void *data, size_t bytes, char *out) {
    static const char digits[] = "0123456789abcdef";
    const uint8_t *p = data;
    for (size_t i = 0; i < bytes; i++) {
        out[2 * i] = digits[p[i] >> 4];
        out[2 * i + 1] = digits[p[i] & 15];
    }
    out[2 * bytes] = '\0';
    return out;
}

char *ist_cli_bytes_escape(const void *data, size_t bytes, char *out) {
    const uint8_t *p = data;
    char *to = out;
    for (size_t i = 0; i < bytes;) {
        size_t length = sequence_bytes(p + i, bytes - i);
        if (length == 0 || is_control(p + i, length)) {
            /* one byte at a time: the second of a C1 control is no sequence of its own */
            to[0] = '\\';
            to[1] = 'x';
            ist_cli_bytes_hex(p + i, 1, to + 2);
            to += 4;
            i++;
        } else if (p[i] == '\\') {
            *to++ = '\\';
            *to++ = '\\';
            i++;
        } else {
            memcpy(to, p + i, length);
            to += length;
            i += length;
        }
    }
    *to = '\0';
    return out;
}

enum ist_status ist_cli_json_base64(struct ist_json *json, const void *data, size_t bytes) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *p = data;
    char *text = malloc((bytes + 2) / 3 * 4 + 1), *to = text;
    if (text == NULL) {
        return IST_NO_MEMORY;
    }
    for (size_t i = 0; i < bytes; i += 3) {
        size_t left = bytes - i;
        unsigned group = (unsigned)p[i] << 16 | (left > 1 ? (unsigned)p[i + 1] << 8 : 0) |
                         (left > 2 ? (unsigned)p[i + 2] : 0);
        *to++ = digits[group >> 18];
        *to++ = digits[group >> 12 & 63];
        *to++ = left > 1 ? digits[group >> 6 & 63] : '=';
        *to++ = left > 2 ? digits[group & 63] : '=';
    }
    *to = '\0';
    ist_json_string(json, text);
    free(text);
    return IST_OK;
}
