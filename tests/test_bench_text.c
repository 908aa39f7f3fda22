/* src/tools/bench_text, bench_grammar: what is sent to Redis and memcached to the byte, and every answer however
 * it is cut up. The server here is a script: it reads what it must be sent, and writes what it was told to. */
#include "tests/support.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tools/bench_text.h"

#define TIMEOUT_NS (10 * IST_NS_PER_SEC)
#define HEARD_MAX 8192

struct script {
    const char *expected, *answer;
    size_t piece; /* bytes of the answer that are written at a time */
    int listener;
    char directory[32];
    struct sockaddr_un address;
    char endpoint[128];
    pthread_t thread;
    char heard[HEARD_MAX];
    size_t heard_bytes;
};

static void *script_run(void *arg) {
    struct script *script = arg;
    int fd = accept(script->listener, NULL, NULL);
    size_t expected = strlen(script->expected);
    while (script->heard_bytes < expected) {
        ssize_t got = read(fd, script->heard + script->heard_bytes, expected - script->heard_bytes);
        if (got <= 0) {
            break;
        }
        script->heard_bytes += (size_t)got;
    }
    size_t bytes = strlen(script->answer);
    for (size_t at = 0; at < bytes; at += script->piece) {
        size_t piece = bytes - at < script->piece ? bytes - at : script->piece;
        if (send(fd, script->answer + at, piece, MSG_NOSIGNAL) < 0) {
            break;
        }
    }
    close(fd);
    return NULL;
}

static void script_start(struct script *script, const char *expected, const char *answer,
                         size_t piece) {
    *script = (struct script){.expected = expected, .answer = answer, .piece = piece};
    script->address.sun_family = AF_UNIX;
    strcpy(script->directory, "/tmp/ist-text-XXXXXX");
    assert_non_null(mkdtemp(script->directory));
    snprintf(script->address.sun_path, sizeof script->address.sun_path, "%s/socket", script->directory);
    snprintf(script->endpoint, sizeof script->endpoint, "unix:%s", script->address.sun_path);
    script->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(
        bind(script->listener, (struct sockaddr *)&script->address, sizeof script->address), 0);
    assert_int_equal(listen(script->listener, 1), 0);
    assert_int_equal(pthread_create(&script->thread, NULL, script_run, script), 0);
}

static void script_end(struct script *script) {
    pthread_join(script->thread, NULL);
    close(script->listener);
    unlink(script->address.sun_path);
    rmdir(script->directory);
    script->heard[script->heard_bytes] = '\0';
    assert_string_equal(script->heard, script->expected);
}

static void *open_link(const struct ist_bench_peer *peer, const struct script *script) {
    void *link = NULL;
    char error[256] = "";
    const struct ist_bench_target target = {.endpoint = script->endpoint, .timeout_ns = TIMEOUT_NS};
    if (peer->open(&target, &link, error, sizeof error) != IST_OK) {
        fail_msg("%s", error);
    }
    return link;
}

static struct ist_key key(const char *text) {
    return (struct ist_key){.data = text, .bytes = strlen(text)};
}

/* The requests of a conversation: a put, gets with a hit, a miss and line ends in the value, an exists. */
struct conversation {
    struct ist_put_item puts[2];
    struct ist_get_item gets[3];
    struct ist_key keys[2];
    bool present[2];
    uint8_t *buffers[3]; /* each ends at a page that cannot be touched */
    struct ist_bench_request requests[3];
    enum ist_status statuses[3];
    size_t done;
};

static void on_done(struct ist_bench_request *request, enum ist_status status) {
    struct conversation *conversation = request->owner;
    conversation->statuses[request - conversation->requests] = status;
    conversation->done++;
}

#define BUFFER_BYTES 9

static void conversation_init(struct conversation *conversation) {
    *conversation = (struct conversation){
        .puts = {{.key = key("a"), .value = "xyz", .value_bytes = 3},
                 {.key = key("bb"), .value = "1\r\n2", .value_bytes = 4}},
        .gets = {{.key = key("a")}, {.key = key("none")}, {.key = key("bb")}},
        .keys = {key("a"), key("none")},
        .present = {false, true},
    };
    for (size_t i = 0; i < 3; i++) {
        conversation->buffers[i] = guarded_new(BUFFER_BYTES);
        conversation->gets[i].buffer = conversation->buffers[i];
        conversation->gets[i].buffer_bytes = BUFFER_BYTES;
        conversation->requests[i] = (struct ist_bench_request){.puts = conversation->puts,
                                                               .gets = conversation->gets,
                                                               .keys = conversation->keys,
                                                               .present = conversation->present,
                                                               .done = on_done,
                                                               .owner = conversation,
                                                               .op = i == 0   ? IST_BENCH_PUT
                                                                     : i == 1 ? IST_BENCH_GET
                                                                              : IST_BENCH_EXISTS,
                                                               .count = i == 1 ? 3 : 2};
        conversation->statuses[i] = IST_AGAIN;
    }
}

static void conversation_fini(struct conversation *conversation) {
    for (size_t i = 0; i < 3; i++) {
        guarded_free(conversation->buffers[i], BUFFER_BYTES);
    }
}

static void assert_understood(const struct conversation *conversation) {
    assert_int_equal(conversation->statuses[0], IST_OK);
    assert_int_equal(conversation->statuses[1], IST_NOT_FOUND);
    assert_int_equal(conversation->statuses[2], IST_OK);
    assert_int_equal(conversation->gets[0].value_bytes, 3);
    assert_memory_equal(conversation->buffers[0], "xyz", 3);
    assert_int_equal(conversation->gets[1].status, IST_NOT_FOUND);
    assert_int_equal(conversation->gets[2].value_bytes, 4);
    assert_memory_equal(conversation->buffers[2], "1\r\n2", 4);
    assert_true(conversation->present[0] && !conversation->present[1]);
}

static const char redis_asked[] = "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$3\r\nxyz\r\n"
                                  "*3\r\n$3\r\nSET\r\n$2\r\nbb\r\n$4\r\n1\r\n2\r\n"
                                  "*2\r\n$3\r\nGET\r\n$1\r\na\r\n"
                                  "*2\r\n$3\r\nGET\r\n$4\r\nnone\r\n"
                                  "*2\r\n$3\r\nGET\r\n$2\r\nbb\r\n"
                                  "*2\r\n$6\r\nEXISTS\r\n$1\r\na\r\n"
                                  "*2\r\n$6\r\nEXISTS\r\n$4\r\nnone\r\n";
static const char redis_answered[] = "+OK\r\n+OK\r\n"
                                     "$3\r\nxyz\r\n$-1\r\n$4\r\n1\r\n2\r\n"
                                     ":1\r\n:0\r\n";

static const char memcached_asked[] = "set a 0 0 3\r\nxyz\r\nset bb 0 0 4\r\n1\r\n2\r\n"
                                      "get a\r\nget none\r\nget bb\r\n"
                                      "mg a\r\nmg none\r\n";
static const char memcached_answered[] = "STORED\r\nSTORED\r\n"
                                         "VALUE a 0 3\r\nxyz\r\nEND\r\nEND\r\n"
                                         "VALUE bb 0 4\r\n1\r\n2\r\nEND\r\n"
                                         "HD\r\nEN\r\n";

static void talk(const struct ist_bench_peer *peer, const char *asked, const char *answered,
                 size_t piece) {
    struct script script;
    struct conversation conversation;
    script_start(&script, asked, answered, piece);
    void *link = open_link(peer, &script);
    conversation_init(&conversation);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(peer->submit(link, &conversation.requests[i]), IST_OK);
    }
    while (conversation.done < 3) {
        size_t before = conversation.done;
        assert_int_equal(peer->wait(link), IST_OK);
        assert_true(conversation.done > before);
    }
    assert_understood(&conversation);
    peer->close(link);
    assert_int_equal(conversation.done, 3);
    script_end(&script);
    conversation_fini(&conversation);
}

static void test_wait__pipelined__understood_in_pieces_of_any_size(void **state) {
    (void)state;
    for (size_t piece = 1; piece <= sizeof redis_answered; piece++) {
        talk(ist_bench_redis(), redis_asked, redis_answered, piece);
        talk(ist_bench_memcached(), memcached_asked, memcached_answered, piece);
    }
}

static void test_call__one_request__answered_without_done(void **state) {
    (void)state;
    struct script script;
    struct conversation conversation;
    script_start(&script, "get a\r\nget none\r\nget bb\r\n",
                 "VALUE a 0 3\r\nxyz\r\nEND\r\nEND\r\nVALUE bb 0 9\r\n123456789\r\nEND\r\n", 4);
    void *link = open_link(ist_bench_memcached(), &script);
    conversation_init(&conversation);
    assert_int_equal(ist_bench_memcached()->call(link, &conversation.requests[1]), IST_NOT_FOUND);
    assert_int_equal(conversation.done, 0);
    assert_ptr_equal(conversation.requests[1].owner, &conversation);
    assert_memory_equal(conversation.buffers[0], "xyz", 3);
    assert_memory_equal(conversation.buffers[2], "123456789", 9);
    ist_bench_memcached()->close(link);
    script_end(&script);
    conversation_fini(&conversation);
}

/* Everything that ends a conversation too early ends it with an error, and every request once. */
static void test_wait__answers_cut_anywhere__peer(void **state) {
    (void)state;
    char cut[sizeof redis_answered];
    for (size_t bytes = 0; bytes + 1 < sizeof redis_answered; bytes++) {
        struct script script;
        struct conversation conversation;
        memcpy(cut, redis_answered, bytes);
        cut[bytes] = '\0';
        script_start(&script, redis_asked, cut, sizeof cut);
        void *link = open_link(ist_bench_redis(), &script);
        conversation_init(&conversation);
        for (size_t i = 0; i < 3; i++) {
            assert_int_equal(ist_bench_redis()->submit(link, &conversation.requests[i]), IST_OK);
        }
        enum ist_status status = IST_OK;
        while (status == IST_OK) {
            status = ist_bench_redis()->wait(link);
        }
        assert_int_equal(status, IST_PEER);
        assert_true(conversation.done < 3);
        ist_bench_redis()->close(link);
        assert_int_equal(conversation.done, 3);
        assert_int_equal(conversation.statuses[2], IST_PEER);
        script_end(&script);
        conversation_fini(&conversation);
    }
}

static void assert_refused(const struct ist_bench_peer *peer, size_t request, const char *asked,
                           const char *answer) {
    struct script script;
    struct conversation conversation;
    script_start(&script, asked, answer, strlen(answer));
    void *link = open_link(peer, &script);
    conversation_init(&conversation);
    conversation.requests[request].count = 1;
    assert_int_equal(peer->call(link, &conversation.requests[request]), IST_PROTOCOL);
    peer->close(link);
    assert_int_equal(conversation.done, 0); /* call() never says so */
    script_end(&script);
    conversation_fini(&conversation);
}

static void test_call__answers_that_are_none__protocol(void **state) {
    (void)state;
    static const char set[] = "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$3\r\nxyz\r\n";
    static const char get[] = "*2\r\n$3\r\nGET\r\n$1\r\na\r\n";
    assert_refused(ist_bench_redis(), 0, set, "-OOM command not allowed\r\n");
    assert_refused(ist_bench_redis(), 0, set, "HTTP/1.1 400 Bad Request\r\n");
    assert_refused(ist_bench_redis(), 1, get, ":1\r\n");
    assert_refused(ist_bench_redis(), 1, get, "$10\r\n1234567890\r\n"); /* beyond the buffer */
    assert_refused(ist_bench_memcached(), 0, "set a 0 0 3\r\nxyz\r\n",
                   "SERVER_ERROR out of memory\r\n");
    assert_refused(ist_bench_memcached(), 1, "get a\r\n", "VALUE a 0 99999999999999999999\r\n");
    char endless[2000];
    memset(endless, 'x', sizeof endless);
    endless[sizeof endless - 1] = '\0';
    assert_refused(ist_bench_redis(), 0, set, endless);
}

/* More keys than one system call takes, and more answers than the buffer holds at once. */
static void test_submit__a_large_batch__all_sent_and_answered(void **state) {
    (void)state;
    enum { KEYS = 100 };
    char asked[HEARD_MAX] = "", answer[HEARD_MAX] = "", names[KEYS][8];
    struct ist_put_item puts[KEYS];
    for (size_t i = 0; i < KEYS; i++) {
        snprintf(names[i], sizeof names[i], "k%02zu", i);
        puts[i] = (struct ist_put_item){.key = key(names[i]), .value = "v", .value_bytes = 1};
        sprintf(asked + strlen(asked), "set %s 0 0 1\r\nv\r\n", names[i]);
        strcat(answer, "STORED\r\n");
    }
    struct script script;
    struct conversation conversation;
    script_start(&script, asked, answer, 5);
    void *link = open_link(ist_bench_memcached(), &script);
    conversation_init(&conversation);
    struct ist_bench_request request = conversation.requests[0];
    request.puts = puts;
    request.count = KEYS;
    assert_int_equal(ist_bench_memcached()->call(link, &request), IST_OK);
    ist_bench_memcached()->close(link);
    script_end(&script);
    conversation_fini(&conversation);
}

static void test_open__nobody_there__peer_with_the_endpoint(void **state) {
    (void)state;
    static const char *const endpoints[] = {"unix:/nonexistent/socket", "127.0.0.1:1", "nowhere"};
    for (size_t i = 0; i < 3; i++) {
        void *link = NULL;
        char error[256] = "";
        const struct ist_bench_target target = {.endpoint = endpoints[i], .timeout_ns = TIMEOUT_NS};
        assert_int_equal(ist_bench_redis()->open(&target, &link, error, sizeof error), IST_PEER);
        assert_non_null(strstr(error, endpoints[i]));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wait__pipelined__understood_in_pieces_of_any_size),
        cmocka_unit_test(test_call__one_request__answered_without_done),
        cmocka_unit_test(test_wait__answers_cut_anywhere__peer),
        cmocka_unit_test(test_call__answers_that_are_none__protocol),
        cmocka_unit_test(test_submit__a_large_batch__all_sent_and_answered),
        cmocka_unit_test(test_open__nobody_there__peer_with_the_endpoint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
