#include "tools/cli_list.h"

#include "tools/cli_text.h"

static void heading(struct ist_cli_screen *screen, const char *text) {
    ist_cli_screen_print(screen, IST_CLI_BOLD, "%s", text);
    ist_cli_screen_line(screen);
}

static void line(struct ist_cli_screen *screen, const char *name, const char *value) {
    ist_cli_screen_print(screen, IST_CLI_PLAIN, "  %-22s %12s", name, value);
    ist_cli_screen_line(screen);
}

static void share_line(struct ist_cli_screen *screen, const char *name, double bytes, double whole) {
    ist_cli_screen_print(screen, IST_CLI_PLAIN, "  %-22s %12s %9s", name, IST_CLI_BYTES(bytes),
                         IST_CLI_SHARE(bytes, whole));
    ist_cli_screen_line(screen);
}

static void draw_pool(const struct ist_cli_figures *figures, struct ist_cli_screen *screen) {
    double size = figures->pool_size_bytes;
    heading(screen, "Pool");
    line(screen, "size", IST_CLI_BYTES(size));
    if (figures->pool_limit_bytes > size) {
        line(screen, "grows to", IST_CLI_BYTES(figures->pool_limit_bytes));
    }
    share_line(screen, "committed", figures->committed_bytes, size);
    share_line(screen, "reserved", figures->reserved_bytes, size);
    share_line(screen, "doomed", figures->doomed_bytes, size);
    share_line(screen, "free", figures->free_bytes, size);
    share_line(screen, "largest free block", figures->largest_free_bytes, size);
    heading(screen, "Keys");
    line(screen, "stored", IST_CLI_COUNT(figures->keys_stored));
    line(screen, "their values", IST_CLI_BYTES(figures->value_bytes));
    line(screen, "in use", IST_CLI_COUNT(figures->pinned_entries));
    line(screen, "metadata", IST_CLI_BYTES(figures->metadata_bytes));
}

static void draw_operations(const struct ist_cli_figures *figures, struct ist_cli_screen *screen) {
    ist_cli_screen_print(screen, IST_CLI_BOLD, "%-14s%12s %12s %10s %10s %10s", "Operations",
                         "requests", "keys", "failed", "p50", "p99");
    ist_cli_screen_line(screen);
    for (size_t i = 0; i < IST_CLI_KINDS; i++) {
        const struct ist_cli_kind_figures *kind = &figures->kinds[i];
        ist_cli_screen_print(screen, IST_CLI_PLAIN, "  %-12s%12s %12s ",
                             ist_cli_kind_name((enum ist_cli_kind)i), IST_CLI_COUNT(kind->requests),
                             IST_CLI_COUNT(kind->keys));
        ist_cli_screen_print(screen, kind->failed > 0 ? IST_CLI_RED : IST_CLI_PLAIN, "%10s",
                             IST_CLI_COUNT(kind->failed));
        ist_cli_screen_print(screen, IST_CLI_PLAIN, " %10s %10s",
                             IST_CLI_SECONDS(ist_cli_histogram_quantile_s(&kind->latency, 0.5)),
                             IST_CLI_SECONDS(ist_cli_histogram_quantile_s(&kind->latency, 0.99)));
        ist_cli_screen_line(screen);
    }
    line(screen, "bytes put", IST_CLI_BYTES(figures->put_bytes));
    line(screen, "bytes got", IST_CLI_BYTES(figures->get_bytes));
}

static void draw_cache(const struct ist_cli_figures *figures, struct ist_cli_screen *screen) {
    heading(screen, "Cache");
    line(screen, "hits", IST_CLI_COUNT(figures->hits));
    line(screen, "misses", IST_CLI_COUNT(figures->misses));
    line(screen, "hit ratio", IST_CLI_SHARE(figures->hits, figures->hits + figures->misses));
    line(screen, "evicted entries", IST_CLI_COUNT(figures->evicted_entries));
    line(screen, "evicted bytes", IST_CLI_BYTES(figures->evicted_bytes));
}

static void draw_sessions(const struct ist_cli_figures *figures, struct ist_cli_screen *screen) {
    heading(screen, "Sessions");
    line(screen, "open", IST_CLI_COUNT(figures->sessions));
    line(screen, "requests in flight", IST_CLI_COUNT(figures->requests_in_flight));
    line(screen, "opened", IST_CLI_COUNT(figures->sessions_opened));
    line(screen, "refused", IST_CLI_COUNT(figures->sessions_refused));
    line(screen, "ended by the peer", IST_CLI_COUNT(figures->sessions_ended_peer));
    line(screen, "broke the protocol", IST_CLI_COUNT(figures->sessions_ended_protocol));
    line(screen, "were too slow", IST_CLI_COUNT(figures->sessions_ended_timeout));
    heading(screen, "Network");
    line(screen, "received", IST_CLI_BYTES(figures->received_bytes));
    line(screen, "sent", IST_CLI_BYTES(figures->sent_bytes));
}

void ist_cli_list_draw(const struct ist_cli_figures *figures, struct ist_cli_screen *screen) {
    ist_cli_screen_begin(screen);
    draw_pool(figures, screen);
    draw_operations(figures, screen);
    draw_cache(figures, screen);
    draw_sessions(figures, screen);
    ist_cli_screen_end(screen);
}
