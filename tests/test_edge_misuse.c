/* What an edge must not do: each is one of our own bugs, and ends the process at once instead of later somewhere else. */
#include "tests/rdma_talk.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

struct stage {
    struct world world;
    struct ist_session *session;
    struct bytes in, out;
};

/* A session that has said HELLO, with a reply to a PING that waits. */
static void stage_init(struct stage *stage) {
    *stage = (struct stage){0};
    world_init(&stage->world, (struct world_options){0});
    stage->session = world_open(&stage->world);
    say_hello(&stage->in, 1);
    edge_run(&stage->world, stage->session, &stage->in, &stage->out);
    stage->in.count = 0;
    say_header(&stage->in, IST_OP_PING, 0, 2, 0, 0);
    edge_feed(&stage->world, stage->session, stage->in.data, stage->in.count);
}

static void stage_fini(struct stage *stage) {
    ist_session_close(stage->session);
    world_fini(&stage->world);
    bytes_free(&stage->in);
    bytes_free(&stage->out);
}

/* `wrong` aborts, in a child. */
static void assert_aborts(void (*wrong)(struct stage *stage), struct stage *stage) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const struct rlimit none = {0};
        setrlimit(RLIMIT_CORE, &none);
        signal(SIGABRT, SIG_DFL);
        int null = open("/dev/null", O_WRONLY);
        dup2(null, STDERR_FILENO);
        wrong(stage);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static uint64_t name_received(struct stage *stage, size_t max) {
    struct ist_buffer buffers[4];
    uint64_t sum = 0;
    size_t named = ist_session_recv_buffers(stage->session, buffers, max);
    for (size_t i = 0; i < named; i++) {
        sum += buffers[i].bytes;
    }
    return sum;
}

static uint64_t name_sent(struct stage *stage, size_t max) {
    struct ist_buffer buffers[4];
    uint64_t sum = 0;
    size_t named = ist_session_send_buffers(stage->session, buffers, max);
    for (size_t i = 0; i < named; i++) {
        sum += buffers[i].bytes;
    }
    return sum;
}

static void receive_more_than_named(struct stage *stage) {
    uint64_t named = name_received(stage, 4);
    ist_session_received(stage->session, named + 1, stage->world.now_ns);
}

static void receive_more_than_named_last(struct stage *stage) {
    (void)name_received(stage, 4);
    uint64_t named = name_received(stage, 4); /* counts alone */
    ist_session_received(stage->session, named + 1, stage->world.now_ns);
}

static void receive_nothing(struct stage *stage) {
    (void)name_received(stage, 4);
    ist_session_received(stage->session, 0, stage->world.now_ns);
}

static void receive_twice(struct stage *stage) {
    struct ist_buffer buffer;
    assert_int_equal(ist_session_recv_buffers(stage->session, &buffer, 1), 1);
    memset(buffer.memory, 'I', 1);
    ist_session_received(stage->session, 1, stage->world.now_ns);
    ist_session_received(stage->session, 1, stage->world.now_ns);
}

static void send_more_than_named(struct stage *stage) {
    uint64_t named = name_sent(stage, 4);
    ist_session_sent(stage->session, named + 1, stage->world.now_ns);
}

static void send_more_than_named_last(struct stage *stage) {
    (void)name_sent(stage, 4);
    uint64_t named = name_sent(stage, 4);
    ist_session_sent(stage->session, named + 1, stage->world.now_ns);
}

static void send_nothing(struct stage *stage) {
    (void)name_sent(stage, 4);
    ist_session_sent(stage->session, 0, stage->world.now_ns);
}

static void send_twice(struct stage *stage) {
    (void)name_sent(stage, 4);
    ist_session_sent(stage->session, 1, stage->world.now_ns);
    ist_session_sent(stage->session, 1, stage->world.now_ns);
}

static void send_what_is_not_wanted(struct stage *stage) {
    edge_take(&stage->world, stage->session, &stage->out, SIZE_MAX);
    (void)name_sent(stage, 4);
}

static void receive_what_is_not_wanted(struct stage *stage) {
    edge_feed(&stage->world, stage->session, "no frame", 8);
    (void)name_received(stage, 4);
}

static void copied_nothing(struct stage *stage) {
    ist_session_copied(stage->session, stage->world.now_ns);
}

static void work_over_a_stream(struct stage *stage) {
    struct ist_work work;
    (void)ist_session_work(stage->session, &work, 1, stage->world.now_ns);
}

static void work_done_that_was_not_given(struct stage *stage) {
    ist_session_work_done(stage->session, 1, stage->world.now_ns);
}

static void peer_that_did_not_ask(struct stage *stage) {
    (void)ist_session_peer(stage->session);
}

static void connected_without_being_asked(struct stage *stage) {
    const struct ist_endpoint none = {.status = IST_DEVICE};
    ist_session_connected(stage->session, &none, stage->world.now_ns);
}

static void free_with_a_session(struct stage *stage) {
    ist_engine_free(stage->world.engine);
}

static void test_edge__breaks_a_rule__aborts(void **state) {
    (void)state;
    static void (*const wrongs[])(struct stage *) = {
        receive_more_than_named,
        receive_more_than_named_last,
        receive_nothing,
        receive_twice,
        send_more_than_named,
        send_more_than_named_last,
        send_nothing,
        send_twice,
        send_what_is_not_wanted,
        receive_what_is_not_wanted,
        copied_nothing,
        work_over_a_stream,
        work_done_that_was_not_given,
        peer_that_did_not_ask,
        connected_without_being_asked,
        free_with_a_session,
    };
    struct stage stage;
    stage_init(&stage);
    for (size_t i = 0; i < sizeof(wrongs) / sizeof(wrongs[0]); i++) {
        print_message("rule %zu\n", i); /* the last one shown is the one that is not kept */
        assert_aborts(wrongs[i], &stage);
    }
    stage_fini(&stage);
}

/* What only looks strange is allowed. */
static void test_edge__names_nothing_or_twice__no_harm(void **state) {
    (void)state;
    struct stage stage;
    stage_init(&stage);
    assert_int_equal(name_received(&stage, 0), 0);
    assert_int_equal(name_sent(&stage, 0), 0);
    assert_int_equal(name_received(&stage, 4), name_received(&stage, 4));
    assert_int_equal(name_sent(&stage, 4), IST_FRAME_BYTES);
    assert_int_equal(name_sent(&stage, 4), IST_FRAME_BYTES);
    ist_session_sent(stage.session, IST_FRAME_BYTES, stage.world.now_ns);
    ist_engine_check(stage.world.engine);
    stage_fini(&stage);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_edge__breaks_a_rule__aborts),
        cmocka_unit_test(test_edge__names_nothing_or_twice__no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
