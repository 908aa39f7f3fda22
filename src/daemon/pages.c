#include "daemon/pages.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/json.h"

/* ---- metrics ---------------------------------------------------------------------------------------- */

#define ROOM_MIN 8192u
#define LINE_MAX 512u

struct text {
    const struct ist_alloc *alloc;
    char *data;
    size_t used, room;
    bool failed; /* an allocation: nothing is added any more */
};

__attribute__((format(printf, 2, 3))) static void add_line(struct text *text, const char *format, ...) {
    if (!text->failed && text->room - text->used < LINE_MAX) {
        size_t room = text->room == 0 ? ROOM_MIN : 2 * text->room;
        char *data = ist_resize_array(text->alloc, text->data, room, 1);
        text->failed = data == NULL;
        text->data = data == NULL ? text->data : data;
        text->room = data == NULL ? text->room : room;
    }
    if (text->failed) {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text->data + text->used, LINE_MAX, format, arguments);
    va_end(arguments);
    IST_ASSERT(length > 0 && (size_t)length < LINE_MAX);
    text->used += (size_t)length;
}

static const char *kind_name(enum ist_metric_kind kind) {
    switch (kind) {
    case IST_METRIC_COUNTER: return "counter";
    case IST_METRIC_GAUGE: return "gauge";
    case IST_METRIC_HISTOGRAM: return "histogram";
    }
    return "untyped";
}

static void add_family(struct text *text, const char *family, const char *help,
                       enum ist_metric_kind kind) {
    add_line(text, "# HELP %s %s\n# TYPE %s %s\n", family, help, family, kind_name(kind));
}

char *ist_page_metrics(const struct ist_alloc *alloc, const struct ist_stats *stats,
                       const struct ist_page_facts *facts) {
    struct text text = {.alloc = alloc};
    struct ist_stats_sample sample;
    const char *family = "";
    size_t cursor = 0;
    add_family(&text, "infinistore_build_info", "The version, as a label of a 1.", IST_METRIC_GAUGE);
    add_line(&text, "infinistore_build_info{version=\"%s\"} 1\n", facts->version);
    add_family(&text, "process_start_time_seconds", "When the daemon started, since 1970.",
               IST_METRIC_GAUGE);
    add_line(&text, "process_start_time_seconds %" PRIu64 "\n", facts->started_at_sec);
    while (ist_stats_next(stats, &cursor, &sample)) {
        if (strcmp(sample.family, family) != 0) {
            family = sample.family;
            add_family(&text, family, sample.help, sample.kind);
        }
        add_line(&text, "%s %.17g\n", sample.name, sample.value);
    }
    if (text.failed) {
        ist_release(alloc, text.data);
        return NULL;
    }
    return text.data;
}

/* ---- the same as JSON ------------------------------------------------------------------------------- */

#define PREFIX "infinistore_"
#define LEVELS_MAX 5 /* family, two labels, the part of a histogram, a bucket's limit */
#define LEVEL_BYTES 64

/* Where a sample stands: infinistore_x_bucket{op="put",le="1"} is at "x", "put", "bucket", "1". */
struct path {
    char levels[LEVELS_MAX][LEVEL_BYTES];
    size_t count;
};

static void path_add(struct path *path, const char *text, size_t bytes) {
    IST_ASSERT(path->count < LEVELS_MAX && bytes < LEVEL_BYTES);
    memcpy(path->levels[path->count], text, bytes);
    path->levels[path->count++][bytes] = '\0';
}

static void path_of(const struct ist_stats_sample *sample, struct path *path) {
    path->count = 0;
    const char *family = sample->family;
    if (strncmp(family, PREFIX, strlen(PREFIX)) == 0) {
        family += strlen(PREFIX);
    }
    path_add(path, family, strlen(family));
    const char *part = sample->name + strlen(sample->family);
    size_t part_bytes = strcspn(part, "{");
    const char *at = part + part_bytes;
    /* {name="value",name="value"}: values of ours, without escapes */
    while (*at == '{' || *at == ',') {
        const char *name = at + 1;
        const char *value = strchr(name, '"');
        IST_ASSERT(value != NULL);
        size_t value_bytes = strcspn(++value, "\"");
        if (strncmp(name, "le=", 3) == 0) {
            path_add(path, part + 1, part_bytes - 1);
            part_bytes = 0;
        }
        path_add(path, value, value_bytes);
        at = value + value_bytes + 1;
    }
    if (part_bytes > 0) {
        path_add(path, part + 1, part_bytes - 1);
    }
}

/* From the object that holds the sample at `from` to the one that holds `to`; the samples of one object
 * follow each other. */
static void step(struct ist_json *json, const struct path *from, const struct path *to) {
    size_t common = 0;
    while (common + 1 < from->count && common + 1 < to->count &&
           strcmp(from->levels[common], to->levels[common]) == 0) {
        common++;
    }
    for (size_t i = common; i + 1 < from->count; i++) {
        ist_json_end(json);
    }
    for (size_t i = common; i + 1 < to->count; i++) {
        ist_json_key(json, to->levels[i]);
        ist_json_object(json);
    }
}

char *ist_page_stats(const struct ist_alloc *alloc, const struct ist_stats *stats,
                     const struct ist_page_facts *facts) {
    struct ist_json json;
    struct ist_stats_sample sample;
    struct path here = {.count = 0}, next;
    size_t cursor = 0;
    ist_json_init(&json, alloc);
    ist_json_object(&json);
    ist_json_key(&json, "version");
    ist_json_string(&json, facts->version);
    ist_json_key(&json, "uptime_seconds");
    ist_json_uint(&json, facts->uptime_sec);
    while (ist_stats_next(stats, &cursor, &sample)) {
        path_of(&sample, &next);
        step(&json, &here, &next);
        ist_json_key(&json, next.levels[next.count - 1]);
        ist_json_double(&json, sample.value);
        here = next;
    }
    step(&json, &here, &(const struct path){.count = 1});
    ist_json_end(&json);
    if (ist_json_text(&json) == NULL) {
        ist_json_fini(&json);
        return NULL;
    }
    return json.text; /* now the caller's */
}
