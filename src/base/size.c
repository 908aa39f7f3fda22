#include "base/size.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static char upper(char c) {
    return c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
}

/* "K", "KB", "KiB", "B", ...: how far to shift; false when it is no suffix. */
static bool suffix_shift(const char *suffix, unsigned *shift) {
    static const char prefixes[] = "KMGTPE";
    if (upper(suffix[0]) == 'B' && suffix[1] == '\0') {
        *shift = 0;
        return true;
    }
    const char *prefix = suffix[0] == '\0' ? NULL : strchr(prefixes, upper(suffix[0]));
    if (prefix == NULL) {
        return false;
    }
    *shift = 10 * (unsigned)(prefix - prefixes + 1);
    suffix++;
    if (upper(suffix[0]) == 'I') {
        suffix++;
        return upper(suffix[0]) == 'B' && suffix[1] == '\0';
    }
    return suffix[0] == '\0' || (upper(suffix[0]) == 'B' && suffix[1] == '\0');
}

enum ist_status ist_size_parse(const char *text, uint64_t unit, uint64_t *bytes) {
    /* number = digits / scale */
    uint64_t digits = 0;
    uint64_t scale = 1;
    const char *p = text;
    if (!is_digit(*p)) {
        return IST_INVALID;
    }
    bool fraction = false;
    for (; is_digit(*p) || (*p == '.' && !fraction && is_digit(p[1])); p++) {
        if (*p == '.') {
            fraction = true;
            continue;
        }
        if (__builtin_mul_overflow(digits, 10u, &digits) ||
            __builtin_add_overflow(digits, (uint64_t)(*p - '0'), &digits) ||
            (fraction && __builtin_mul_overflow(scale, 10u, &scale))) {
            return IST_INVALID;
        }
    }
    unsigned shift = 0;
    if (*p != '\0') {
        if (!suffix_shift(p, &shift)) {
            return IST_INVALID;
        }
        unit = (uint64_t)1 << shift;
    }
    unsigned __int128 product = (unsigned __int128)digits * unit;
    if (product % scale != 0 || product / scale > UINT64_MAX) {
        return IST_INVALID;
    }
    *bytes = (uint64_t)(product / scale);
    return IST_OK;
}

char *ist_size_text(uint64_t bytes, char *out) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    unsigned unit = 0;
    uint64_t whole = bytes;
    uint64_t rest = 0; /* of the last division, in 1/1024 */
    while (whole >= 1024) {
        rest = whole % 1024;
        whole /= 1024;
        unit++;
    }
    uint64_t tenth = (rest * 10 + 512) / 1024;
    if (tenth == 10) {
        whole++;
        tenth = 0;
    }
    if (whole == 1024) {
        whole = 1;
        unit++;
    }
    if (tenth == 0) {
        snprintf(out, IST_SIZE_TEXT_MAX, "%u %s", (unsigned)whole, units[unit]);
    } else {
        snprintf(out, IST_SIZE_TEXT_MAX, "%u.%u %s", (unsigned)whole, (unsigned)tenth, units[unit]);
    }
    return out;
}
