#include "tools/cli_text.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/size.h"

_Static_assert(IST_CLI_TEXT_MAX >= IST_SIZE_TEXT_MAX + 2, "a size and \"/s\" fit");

static char *nothing(char *out) {
    return strcpy(out, "-");
}

static char *grouped(uint64_t value, char *out) {
    char digits[IST_CLI_TEXT_MAX];
    int length = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)value);
    char *to = out;
    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0) {
            *to++ = ',';
        }
        *to++ = digits[i];
    }
    *to = '\0';
    return out;
}

/* Three digits and a letter: value is at least 1e6. */
static char *scaled(double value, char *out) {
    static const char letters[] = "MGTPEZY";
    size_t letter = 0;
    value /= 1e6;
    while (value >= 999.95 && letters[letter + 1] != '\0') {
        value /= 1000;
        letter++;
    }
    snprintf(out, IST_CLI_TEXT_MAX, "%.1f %c", value, letters[letter]);
    return out;
}

char *ist_cli_text_count(double count, char *out) {
    if (!isfinite(count) || count < 0) {
        return nothing(out);
    }
    if (count < 9.95 && count != floor(count)) {
        snprintf(out, IST_CLI_TEXT_MAX, "%.1f", count);
        return out;
    }
    return count < 9999999.5 ? grouped((uint64_t)llround(count), out) : scaled(count, out);
}

char *ist_cli_text_bytes(double bytes, char *out) {
    if (!isfinite(bytes) || bytes < 0) {
        return nothing(out);
    }
    return ist_size_text(bytes < 0x1p63 ? (uint64_t)llround(bytes) : UINT64_MAX, out);
}

char *ist_cli_text_bytes_rate(double bytes_per_second, char *out) {
    ist_cli_text_bytes(bytes_per_second, out);
    return out[0] == '-' ? out : strcat(out, "/s");
}

char *ist_cli_text_seconds(double seconds, char *out) {
    static const struct {
        double scale;
        const char *unit;
    } units[] = {{1e6, "us"}, {1e3, "ms"}, {1, "s"}};
    if (!isfinite(seconds) || seconds < 0 || seconds > 1e12) {
        return nothing(out);
    }
    size_t i = 0;
    while (i < 2 && seconds * units[i].scale >= 999.5) {
        i++;
    }
    double value = seconds * units[i].scale;
    snprintf(out, IST_CLI_TEXT_MAX, value < 9.95 && value > 0 ? "%.1f %s" : "%.0f %s", value,
             units[i].unit);
    return out;
}

char *ist_cli_text_share(double part, double whole, char *out) {
    double percent = whole > 0 ? 100 * part / whole : NAN;
    if (!isfinite(percent) || fabs(percent) > 1e9) {
        return nothing(out);
    }
    snprintf(out, IST_CLI_TEXT_MAX, "%.1f %%", percent);
    return out;
}
