/* src/tools/cli_screen, cli_view, cli_list: from figures to text that fits the screen. */
#include "tests/support.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/cli_list.h"
#include "tools/cli_screen.h"
#include "tools/cli_view.h"

#define MIB 1048576.0

/* What was drawn, and its lines. */
struct picture {
    char *text;
    size_t bytes;
    struct ist_cli_screen screen;
};

static void picture_begin(struct picture *picture, unsigned columns, unsigned rows) {
    *picture = (struct picture){.screen = {.columns = columns, .rows = rows}};
    picture->screen.out = open_memstream(&picture->text, &picture->bytes);
    assert_non_null(picture->screen.out);
}

static void picture_end(struct picture *picture) {
    assert_int_equal(fclose(picture->screen.out), 0);
}

static unsigned columns_of(const char *line, size_t bytes) {
    unsigned columns = 0;
    for (size_t i = 0; i < bytes; i++) {
        columns += ((unsigned char)line[i] & 0xc0) != 0x80;
    }
    return columns;
}

/* Lines of a picture that is not live; the widest. */
static unsigned count_lines(const struct picture *picture, unsigned *widest) {
    unsigned lines = 0;
    *widest = 0;
    for (const char *at = picture->text; *at != '\0';) {
        const char *end = strchr(at, '\n');
        assert_non_null(end);
        unsigned columns = columns_of(at, (size_t)(end - at));
        *widest = columns > *widest ? columns : *widest;
        lines++;
        at = end + 1;
    }
    return lines;
}

static void assert_shows(const struct picture *picture, const char *text) {
    if (strstr(picture->text, text) == NULL) {
        fail_msg("\"%s\" is not in:\n%s", text, picture->text);
    }
}

static void assert_lacks(const struct picture *picture, const char *text) {
    if (strstr(picture->text, text) != NULL) {
        fail_msg("\"%s\" is in:\n%s", text, picture->text);
    }
}

/* ---- screen ------------------------------------------------------------------------------------------- */

static void test_screen__more_than_fits__cut_at_width_and_height(void **state) {
    (void)state;
    struct picture picture;
    picture_begin(&picture, 5, 2);
    ist_cli_screen_begin(&picture.screen);
    ist_cli_screen_print(&picture.screen, IST_CLI_PLAIN, "abc");
    ist_cli_screen_print(&picture.screen, IST_CLI_PLAIN, "%s", "\xc3\xbc\xc3\xbc\xc3\xbc");
    ist_cli_screen_print(&picture.screen, IST_CLI_PLAIN, "x");
    ist_cli_screen_line(&picture.screen);
    ist_cli_screen_repeat(&picture.screen, IST_CLI_PLAIN, "█", "#", 9);
    ist_cli_screen_line(&picture.screen);
    ist_cli_screen_print(&picture.screen, IST_CLI_PLAIN, "no row for this");
    ist_cli_screen_repeat(&picture.screen, IST_CLI_PLAIN, "█", "#", 9);
    ist_cli_screen_to(&picture.screen, 4);
    ist_cli_screen_line(&picture.screen);
    ist_cli_screen_end(&picture.screen);
    picture_end(&picture);
    assert_string_equal(picture.text, "abc\xc3\xbc\xc3\xbc\n#####\n");
    free(picture.text);
}

static void test_screen__live__homes_and_wipes_and_never_scrolls(void **state) {
    (void)state;
    struct picture picture;
    picture_begin(&picture, 3, 2);
    picture.screen.live = true;
    picture.screen.utf8 = true;
    ist_cli_screen_begin(&picture.screen);
    ist_cli_screen_print(&picture.screen, IST_CLI_PLAIN, "ab");
    ist_cli_screen_line(&picture.screen);
    ist_cli_screen_repeat(&picture.screen, IST_CLI_PLAIN, "█", "#", 3);
    ist_cli_screen_line(&picture.screen);
    ist_cli_screen_end(&picture.screen);
    picture_end(&picture);
    /* a full line is not wiped: that would take its last column */
    assert_string_equal(picture.text, "\033[Hab\033[K\r\n███");
    free(picture.text);
}

static void test_screen__fewer_lines_than_rows__wipes_below(void **state) {
    (void)state;
    struct picture picture;
    picture_begin(&picture, 10, 10);
    picture.screen.live = true;
    ist_cli_screen_begin(&picture.screen);
    ist_cli_screen_line(&picture.screen);
    ist_cli_screen_end(&picture.screen);
    picture_end(&picture);
    assert_string_equal(picture.text, "\033[H\033[K\r\n\033[J");
    free(picture.text);
}

static void test_screen__colour__only_when_asked_for(void **state) {
    (void)state;
    for (int colour = 0; colour < 2; colour++) {
        struct picture picture;
        picture_begin(&picture, 80, 3);
        picture.screen.colour = colour != 0;
        ist_cli_screen_print(&picture.screen, IST_CLI_RED, "bad\033[2J\a");
        ist_cli_screen_line(&picture.screen);
        picture_end(&picture);
        /* control characters of others never get through */
        assert_string_equal(picture.text, colour != 0 ? "\033[1;31mbad?[2J?\033[0m\n" : "bad?[2J?\n");
        free(picture.text);
    }
}

/* ---- view --------------------------------------------------------------------------------------------- */

/* A busy server after `seconds` more. */
static struct ist_cli_view *view_new(double seconds) {
    struct ist_cli_view *view = calloc(1, sizeof(*view));
    assert_non_null(view);
    view->endpoints = "10.0.0.7:22345";
    view->clock = "14:03:07";
    view->interval_s = 1;
    view->seconds = seconds;
    struct ist_cli_figures *total = &view->total, *growth = &view->growth;
    total->pool_size_bytes = total->pool_limit_bytes = 100 * MIB;
    total->committed_bytes = 50 * MIB;
    total->reserved_bytes = 20 * MIB;
    total->doomed_bytes = 10 * MIB;
    total->free_bytes = 20 * MIB;
    total->keys_stored = 198231;
    total->sessions = 12;
    total->requests_in_flight = 34;
    total->hits = 90;
    total->misses = 10;
    total->evicted_entries = 123456;
    growth->hits = 3;
    growth->misses = 1;
    growth->put_bytes = 6 * MIB;
    growth->evicted_entries = 8;
    struct ist_cli_kind_figures *put = &growth->kinds[IST_CLI_KIND_PUT];
    put->requests = 2408;
    put->keys = 9632;
    put->failed = 4;
    put->latency = (struct ist_cli_histogram){
        .buckets = 2, .upper_s = {0.001, 0.002}, .up_to = {50, 100}, .count = 100};
    return view;
}

static void test_view__80_by_24__everything_in_place(void **state) {
    (void)state;
    struct ist_cli_view *view = view_new(2);
    struct picture picture;
    unsigned widest;
    ist_cli_view_remember(view);
    picture_begin(&picture, 80, 24);
    ist_cli_view_draw(view, &picture.screen);
    picture_end(&picture);
    assert_int_equal(count_lines(&picture, &widest), 24);
    assert_int_equal(widest, 80);
    assert_shows(&picture, "InfiniStore 10.0.0.7:22345");
    assert_shows(&picture, "every 1 s  14:03:07\n");
    assert_shows(&picture, "80 MiB of 100 MiB used, 80.0 %\n");
    /* 80 columns: 50 %, 20 %, 10 %, 20 % */
    assert_shows(&picture,
                 "########################################++++++++++++++++xxxxxxxx................\n");
    assert_shows(&picture, "# committed 50 MiB   + reserved 20 MiB   x doomed 10 MiB   . free 20 MiB");
    assert_shows(&picture, "198,231, values");
    assert_shows(&picture,
                 "put           1,204       4,816       3 MiB/s     1.0 ms     2.0 ms          2\n");
    assert_shows(&picture, "75.0 % now; 90.0 % since the start");
    assert_shows(&picture, "4/s, 0 B/s; 123,456 since the start");
    assert_shows(&picture, "12 open, 0 opened/s; 34 requests in flight");
    assert_shows(&picture, "q or Ctrl-C leaves");
    assert_lacks(&picture, "\033");
    free(picture.text);
    free(view);
}

static void test_view__any_size__never_exceeds_it(void **state) {
    (void)state;
    static const unsigned widths[] = {1, 2, 19, 40, 79, 80, 120, 400, 1000};
    struct ist_cli_view *view = view_new(1);
    for (size_t i = 0; i < 2 * IST_CLI_HISTORY_MAX; i++) {
        view->growth.get_bytes = (double)(i * i);
        ist_cli_view_remember(view);
    }
    assert_int_equal(view->history.count, IST_CLI_HISTORY_MAX);
    for (size_t i = 0; i < sizeof(widths) / sizeof(widths[0]); i++) {
        for (unsigned rows = 1; rows < 30; rows += 7) {
            struct picture picture;
            unsigned widest, lines;
            picture_begin(&picture, widths[i], rows);
            picture.screen.utf8 = i % 2 == 0;
            ist_cli_view_draw(view, &picture.screen);
            picture_end(&picture);
            lines = count_lines(&picture, &widest);
            assert_true(lines <= rows && widest <= widths[i]);
            free(picture.text);
        }
    }
    free(view);
}

static void test_view__no_interval_yet__no_rates(void **state) {
    (void)state;
    struct ist_cli_view *view = view_new(0);
    struct picture picture;
    ist_cli_view_remember(view);
    assert_int_equal(view->history.count, 0);
    picture_begin(&picture, 80, 24);
    ist_cli_view_draw(view, &picture.screen);
    picture_end(&picture);
    assert_shows(&picture,
                 "put               -           -             -          -          -          -\n");
    assert_shows(&picture, "- now; 90.0 % since the start");
    free(picture.text);
    free(view);
}

static void test_view__a_problem__is_shown_and_the_layout_stays(void **state) {
    (void)state;
    struct ist_cli_view *view = view_new(1);
    struct picture picture;
    unsigned widest;
    view->problem = "no connection to the peer";
    picture_begin(&picture, 80, 24);
    ist_cli_view_draw(view, &picture.screen);
    picture_end(&picture);
    assert_shows(&picture, "\nno connection to the peer\n");
    assert_int_equal(count_lines(&picture, &widest), 24);
    free(picture.text);
    free(view);
}

static void test_view__an_empty_server__draws(void **state) {
    (void)state;
    struct ist_cli_view *view = calloc(1, sizeof(*view));
    struct picture picture;
    assert_non_null(view);
    view->endpoints = view->clock = "";
    picture_begin(&picture, 80, 24);
    ist_cli_view_draw(view, &picture.screen);
    picture_end(&picture);
    assert_shows(&picture, "0 B of 0 B used, -\n");
    free(picture.text);
    free(view);
}

static void test_view__history__scaled_to_its_top_with_the_newest_last(void **state) {
    (void)state;
    struct ist_cli_view *view = view_new(1);
    struct picture picture;
    static const double rates[] = {0, 1, 50, 100};
    for (size_t i = 0; i < 4; i++) {
        view->growth.put_bytes = rates[i] * MIB;
        ist_cli_view_remember(view);
    }
    picture_begin(&picture, 80, 24);
    picture.screen.utf8 = true;
    ist_cli_view_draw(view, &picture.screen);
    picture_end(&picture);
    assert_shows(&picture, "100 MiB/s  ▁▄█\n");
    free(picture.text);
    /* room for the last two only */
    picture_begin(&picture, 12 + 13 + 2, 24);
    picture.screen.utf8 = true;
    ist_cli_view_draw(view, &picture.screen);
    picture_end(&picture);
    assert_shows(&picture, "100 MiB/s ▄█\n");
    free(picture.text);
    free(view);
}

static void test_line__under_its_heading__same_columns(void **state) {
    (void)state;
    struct ist_cli_view *view = view_new(2);
    struct picture picture;
    picture_begin(&picture, 1, 1);
    ist_cli_view_heading(picture.screen.out);
    ist_cli_view_line(view, picture.screen.out);
    picture_end(&picture);
    char *line = strchr(picture.text, '\n') + 1;
    assert_int_equal(line - picture.text, strlen(line));
    assert_shows(&picture, "14:03:07     1,204         0       3 MiB/s");
    assert_shows(&picture, "75.0 %");
    free(picture.text);
    free(view);
}

/* ---- list --------------------------------------------------------------------------------------------- */

static void test_list__figures__in_groups(void **state) {
    (void)state;
    struct ist_cli_view *view = view_new(1);
    struct picture picture;
    view->total.pool_limit_bytes = 400 * MIB;
    view->total.kinds[IST_CLI_KIND_PUT] = view->growth.kinds[IST_CLI_KIND_PUT];
    picture_begin(&picture, UINT_MAX, UINT_MAX);
    ist_cli_list_draw(&view->total, &picture.screen);
    picture_end(&picture);
    assert_shows(&picture, "Pool\n");
    assert_shows(&picture, "  committed                    50 MiB    50.0 %\n");
    assert_shows(&picture, "  grows to                    400 MiB\n");
    assert_shows(&picture,
                 "  put                2,408        9,632          4     1.0 ms     2.0 ms\n");
    assert_shows(&picture, "  hit ratio                    90.0 %\n");
    assert_shows(&picture, "  requests in flight               34\n");
    assert_lacks(&picture, "\033");
    free(picture.text);
    free(view);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_screen__more_than_fits__cut_at_width_and_height),
        cmocka_unit_test(test_screen__live__homes_and_wipes_and_never_scrolls),
        cmocka_unit_test(test_screen__fewer_lines_than_rows__wipes_below),
        cmocka_unit_test(test_screen__colour__only_when_asked_for),
        cmocka_unit_test(test_view__80_by_24__everything_in_place),
        cmocka_unit_test(test_view__any_size__never_exceeds_it),
        cmocka_unit_test(test_view__no_interval_yet__no_rates),
        cmocka_unit_test(test_view__a_problem__is_shown_and_the_layout_stays),
        cmocka_unit_test(test_view__an_empty_server__draws),
        cmocka_unit_test(test_view__history__scaled_to_its_top_with_the_newest_last),
        cmocka_unit_test(test_line__under_its_heading__same_columns),
        cmocka_unit_test(test_list__figures__in_groups),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
