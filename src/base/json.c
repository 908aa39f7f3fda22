#include "base/json.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"

#define ROOM_MIN 256u

void ist_json_init(struct ist_json *json, const struct ist_alloc *alloc) {
    *json = (struct ist_json){.alloc = alloc};
}

void ist_json_fini(struct ist_json *json) {
    ist_release(json->alloc, json->text);
    json->text = NULL;
}

/* Room for `more` bytes and the NUL behind them. */
static bool ensure(struct ist_json *json, size_t more) {
    if (json->failed) {
        return false;
    }
    if (json->room - json->used > more) {
        return true;
    }
    size_t room = json->room < ROOM_MIN ? ROOM_MIN : json->room;
    while (room - json->used <= more) {
        room *= 2;
    }
    char *text = ist_resize_array(json->alloc, json->text, room, 1);
    if (text == NULL) {
        json->failed = true;
        return false;
    }
    json->text = text;
    json->room = room;
    return true;
}

static void append(struct ist_json *json, const char *bytes, size_t count) {
    if (ensure(json, count)) {
        memcpy(json->text + json->used, bytes, count);
        json->used += count;
        json->text[json->used] = '\0';
    }
}

static void append_char(struct ist_json *json, char c) {
    append(json, &c, 1);
}

/* Before every value and key. */
static void separate(struct ist_json *json) {
    if (json->comma) {
        append_char(json, ',');
    }
    json->comma = true;
}

static void open(struct ist_json *json, char opener, char closer) {
    IST_ASSERT(json->depth < IST_JSON_DEPTH_MAX);
    separate(json);
    append_char(json, opener);
    json->closers[json->depth++] = closer;
    json->comma = false;
}

void ist_json_object(struct ist_json *json) {
    open(json, '{', '}');
}

void ist_json_array(struct ist_json *json) {
    open(json, '[', ']');
}

void ist_json_end(struct ist_json *json) {
    IST_ASSERT(json->depth > 0);
    append_char(json, json->closers[--json->depth]);
    json->comma = true;
}

/* Length of the well-formed UTF-8 sequence at p, 0 when there is none. RFC 3629, section 4. */
static size_t utf8_length(const uint8_t *p, size_t left) {
    uint8_t low = 0x80;
    uint8_t high = 0xbf;
    size_t length;
    if (p[0] < 0x80) {
        return 1;
    } else if (p[0] >= 0xc2 && p[0] <= 0xdf) {
        length = 2;
    } else if (p[0] >= 0xe0 && p[0] <= 0xef) {
        length = 3;
        low = p[0] == 0xe0 ? 0xa0 : low;   /* no overlong form */
        high = p[0] == 0xed ? 0x9f : high; /* no surrogate */
    } else if (p[0] >= 0xf0 && p[0] <= 0xf4) {
        length = 4;
        low = p[0] == 0xf0 ? 0x90 : low;
        high = p[0] == 0xf4 ? 0x8f : high; /* up to U+10FFFF */
    } else {
        return 0;
    }
    if (left < length || p[1] < low || p[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < length; i++) {
        if (p[i] < 0x80 || p[i] > 0xbf) {
            return 0;
        }
    }
    return length;
}

static void append_escaped(struct ist_json *json, uint8_t c) {
    static const char hex[] = "0123456789abcdef";
    if (c == '"' || c == '\\') {
        append(json, (const char[]){'\\', (char)c}, 2);
    } else {
        append(json, (const char[]){'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]}, 6);
    }
}

void ist_json_bytes(struct ist_json *json, const void *data, size_t bytes) {
    const uint8_t *p = data;
    separate(json);
    append_char(json, '"');
    for (size_t i = 0; i < bytes;) {
        size_t length = utf8_length(p + i, bytes - i);
        if (length == 0) {
            append(json, "\xef\xbf\xbd", 3);
            i++;
        } else if (length == 1 && (p[i] < 0x20 || p[i] == '"' || p[i] == '\\')) {
            append_escaped(json, p[i]);
            i++;
        } else {
            append(json, (const char *)p + i, length);
            i += length;
        }
    }
    append_char(json, '"');
}

void ist_json_string(struct ist_json *json, const char *utf8) {
    ist_json_bytes(json, utf8, strlen(utf8));
}

void ist_json_key(struct ist_json *json, const char *key) {
    IST_ASSERT(json->depth > 0 && json->closers[json->depth - 1] == '}');
    ist_json_string(json, key);
    append_char(json, ':');
    json->comma = false;
}

__attribute__((format(printf, 2, 3))) static void append_number(struct ist_json *json,
                                                                const char *format, ...) {
    char text[32];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    IST_ASSERT(length > 0 && (size_t)length < sizeof(text));
    separate(json);
    append(json, text, (size_t)length);
}

void ist_json_uint(struct ist_json *json, uint64_t value) {
    append_number(json, "%llu", (unsigned long long)value);
}

void ist_json_int(struct ist_json *json, int64_t value) {
    append_number(json, "%lld", (long long)value);
}

void ist_json_double(struct ist_json *json, double value) {
    if (!__builtin_isfinite(value)) {
        ist_json_null(json);
        return;
    }
    /* Whole numbers up to 2^53 in full; else what a reader of six digits wants. */
    append_number(
        json,
        __builtin_fabs(value) < 9007199254740992.0 && (double)(int64_t)value == value ? "%.0f" : "%.9g",
        value);
}

void ist_json_bool(struct ist_json *json, bool value) {
    separate(json);
    append(json, value ? "true" : "false", value ? 4 : 5);
}

void ist_json_null(struct ist_json *json) {
    separate(json);
    append(json, "null", 4);
}

const char *ist_json_text(const struct ist_json *json) {
    IST_ASSERT(json->depth == 0);
    return json->failed ? NULL : json->text;
}
