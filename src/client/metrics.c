#include "client/metrics.h"

#include <string.h>

#include "wire/codec.h"

/* One allocation: this, the items, their names. */
struct box {
    const struct ist_alloc *alloc;
    struct ist_metrics metrics;
    struct ist_metric items[];
};

static struct ist_metrics *pack(const struct ist_codec_metric *decoded, size_t count,
                                const struct ist_alloc *alloc) {
    size_t bytes = sizeof(struct box) + count * sizeof(struct ist_metric);
    for (size_t i = 0; i < count; i++) {
        bytes += decoded[i].name.bytes + 1;
    }
    struct box *box = ist_allocate(alloc, bytes);
    if (box == NULL) {
        return NULL;
    }
    char *text = (char *)&box->items[count];
    for (size_t i = 0; i < count; i++) {
        struct ist_span name = decoded[i].name;
        box->items[i] = (struct ist_metric){.name = text, .value = decoded[i].value};
        if (name.bytes > 0) {
            memcpy(text, name.data, name.bytes);
        }
        text[name.bytes] = '\0';
        text += name.bytes + 1;
    }
    box->alloc = alloc;
    box->metrics = (struct ist_metrics){.count = count, .items = box->items};
    return &box->metrics;
}

enum ist_status ist_metrics_decode(struct ist_span body, const char *note,
                                   const struct ist_alloc *alloc, struct ist_metrics **metrics) {
    struct ist_codec_metric *decoded = ist_allocate_array(alloc, IST_METRICS_MAX + 1, sizeof(*decoded));
    if (decoded == NULL) {
        return IST_NO_MEMORY;
    }
    size_t count, own = note != NULL;
    if (own > 0) {
        decoded[0] = (struct ist_codec_metric){.name = ist_span_of_string(note), .value = 1};
    }
    enum ist_status status = ist_codec_decode_metrics(body, decoded + own, IST_METRICS_MAX, &count);
    if (status == IST_OK) {
        struct ist_metrics *packed = pack(decoded, own + count, alloc);
        if (packed == NULL) {
            status = IST_NO_MEMORY;
        } else {
            *metrics = packed;
        }
    }
    ist_release(alloc, decoded);
    return status;
}

void ist_metrics_free(struct ist_metrics *metrics) {
    if (metrics != NULL) {
        struct box *box = (struct box *)((char *)metrics - offsetof(struct box, metrics));
        ist_release(box->alloc, box);
    }
}
