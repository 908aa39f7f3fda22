/* The simulator's command line, and the line that runs a seed again. */
#include <getopt.h>
#include <string.h>

#include "sim/command.h"
#include "tests/support.h"

#define ARGUMENTS_MAX 16

/* words: separated by blanks. Returns what sim_command_parse() does. */
static int parse(struct sim_command *command, const char *words) {
    static char text[SIM_REPLAY_BYTES];
    char *arguments[ARGUMENTS_MAX + 1], *rest = text, *word;
    int count = 0;
    snprintf(text, sizeof(text), "infinistore-sim %s", words);
    while ((word = strsep(&rest, " ")) != NULL) {
        assert_true(count < ARGUMENTS_MAX);
        arguments[count++] = word;
    }
    arguments[count] = NULL;
    optind = 0; /* man 3 getopt: a new scan */
    return sim_command_parse(command, count, arguments);
}

static void test_parse__good__understood(void **state) {
    (void)state;
    static struct sim_command command;
    assert_int_equal(parse(&command, "run --seed 17 --log"), 0);
    assert_int_equal(command.task, SIM_TASK_RUN);
    assert_true(command.from == 17 && command.to == 17 && command.log);
    assert_int_equal(parse(&command, "sweep --seeds 3..9 --jobs 5"), 0);
    assert_int_equal(command.task, SIM_TASK_SWEEP);
    assert_true(command.from == 3 && command.to == 9 && command.jobs == 5 && !command.log);
    assert_int_equal(parse(&command, "canary --canary lost-pin"), 0);
    assert_int_equal(command.canary, SIM_CANARY_LOST_PIN);
    assert_int_equal(parse(&command, "shrink --seed 2 --operations 100 --skip-operations 0-9,17"), 0);
    assert_int_equal(command.operations, 100);
    assert_true(sim_mask_has(&command.skip_operations, 0));
    assert_true(sim_mask_has(&command.skip_operations, 9));
    assert_false(sim_mask_has(&command.skip_operations, 10));
    assert_true(sim_mask_has(&command.skip_operations, 17));
    assert_false(sim_mask_has(&command.skip_operations, 18));
    assert_false(sim_mask_has(&command.skip_faults, 0));
    assert_false(command.calm);
    assert_int_equal(parse(&command, "run --seed 3 --calm"), 0);
    assert_true(command.calm);
    assert_int_equal(parse(&command, "speed"), 0);
    assert_int_equal(command.task, SIM_TASK_SPEED);
    assert_true(command.calm && command.from == 1 && command.to > 100);
}

static void test_parse__bad__refused(void **state) {
    (void)state;
    static struct sim_command command;
    static const char *const bad[] = {
        "",
        "walk",
        "run --seed",
        "run --seed x",
        "run --seed -1",
        "run --seed 5x",
        "run --seeds 5..",
        "run --seeds 5..4",
        "run --seeds 5..6..7",
        "sweep --jobs 0",
        "run --canary parrot",
        "run --skip-operations 9-3",
        "run --skip-operations ,",
        "run --skip-faults 1,2,x",
        "run --operations 0",
        "run --trace /nonexistent/trace",
        "run 17",
        "run --fast",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (parse(&command, bad[i]) != 1 + 2) {
            fail_msg("%s", bad[i]);
        }
    }
}

static void test_parse__help__nothing_to_do(void **state) {
    (void)state;
    static struct sim_command command;
    assert_int_equal(parse(&command, "--help"), 1);
    assert_int_equal(parse(&command, "sweep --help"), 1);
    assert_int_equal(parse(&command, "canary --list"), 1);
}

/* What is printed when a run fails asks for the same run. */
static void test_replay__parsed_again__the_same(void **state) {
    (void)state;
    static struct sim_command command, again;
    char line[SIM_REPLAY_BYTES];
    assert_int_equal(parse(&command, "sweep --seeds 1..9 --canary lost-pin --operations 50 --calm "
                                     "--skip-operations 0-9,17 --skip-faults 3"),
                     0);
    sim_command_replay(&command, 7, line);
    assert_int_equal(strncmp(line, "replay: infinistore-sim ", 24), 0);
    assert_int_equal(parse(&again, line + 24), 0);
    assert_int_equal(again.task, SIM_TASK_RUN);
    assert_true(again.from == 7 && again.to == 7);
    assert_int_equal(again.canary, command.canary);
    assert_int_equal(again.operations, 50);
    assert_true(again.calm);
    assert_memory_equal(&again.skip_operations, &command.skip_operations,
                        sizeof(command.skip_operations));
    assert_memory_equal(&again.skip_faults, &command.skip_faults, sizeof(command.skip_faults));
}

static void test_canaries__names__found_again(void **state) {
    (void)state;
    size_t count = 0;
    for (size_t i = 1; sim_canary_name(i) != NULL; i++, count++) {
        assert_int_equal(sim_canary_find(sim_canary_name(i)), i);
    }
    assert_true(count >= 12);
    assert_int_equal(sim_canary_find("none"), SIM_CANARY_NONE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse__good__understood),
        cmocka_unit_test(test_parse__bad__refused),
        cmocka_unit_test(test_parse__help__nothing_to_do),
        cmocka_unit_test(test_replay__parsed_again__the_same),
        cmocka_unit_test(test_canaries__names__found_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
