/* The daemon's command line and environment. The first byte says how many of the lines that follow are variables; the
 * others are arguments. What is accepted lies within the limits, what is not is told in one line. */
#include <stdio.h>
#include <stdlib.h>

#include "daemon/config.h"
#include "daemon/option.h"
#include "fuzz/fuzz.h"

#define WORDS_MAX 40u

struct words {
    char *words[WORDS_MAX + 1]; /* NULL behind the last */
    size_t count;
};

static void add_word(struct words *words, struct ist_span line) {
    char *word = malloc(line.bytes + 1);
    IST_ASSERT(word != NULL && words->count < WORDS_MAX);
    memcpy(word, line.data, line.bytes);
    word[line.bytes] = '\0';
    words->words[words->count++] = word;
    words->words[words->count] = NULL;
}

static void free_words(struct words *words) {
    while (words->count > 0) {
        free(words->words[--words->count]);
    }
}

static void read_lines(struct fuzz_input *input, size_t variables, struct words *arguments,
                       struct words *environment) {
    add_word(arguments, ist_span_of_string("infinistore"));
    while (input->bytes > 0 && arguments->count < WORDS_MAX && environment->count < WORDS_MAX) {
        const uint8_t *end = memchr(input->data, '\n', input->bytes);
        size_t bytes = end == NULL ? input->bytes : (size_t)(end - input->data);
        struct ist_span line = fuzz_take(input, bytes);
        (void)fuzz_take(input, 1);
        if (variables > 0) {
            variables--;
            add_word(environment, line);
        } else {
            add_word(arguments, line);
        }
    }
}

static void check_line(const char *error) {
    size_t length = strnlen(error, IST_CONFIG_ERROR_BYTES);
    IST_ASSERT(length > 0 && length < IST_CONFIG_ERROR_BYTES);
    for (size_t i = 0; i < length; i++) {
        IST_ASSERT((unsigned char)error[i] >= 0x20 && error[i] != 0x7f);
    }
}

static void check_config(const struct ist_config *config) {
    IST_ASSERT(config->host_count >= 1 && config->host_count <= IST_CONFIG_HOSTS_MAX);
    for (size_t i = 0; i < config->host_count; i++) {
        size_t length = strnlen(config->hosts[i], IST_CONFIG_HOST_BYTES);
        IST_ASSERT(length > 0 && length < IST_CONFIG_HOST_BYTES);
    }
    IST_ASSERT(config->log_level <= IST_LOG_DEBUG && config->link_type <= IST_DEVICE_LINK_ETHERNET);
    IST_ASSERT(config->min_block_bytes >= 512 && config->min_block_bytes <= config->prealloc_bytes);
    IST_ASSERT((config->min_block_bytes & (config->min_block_bytes - 1)) == 0);
    IST_ASSERT(config->max_pool_bytes == 0 || config->max_pool_bytes >= config->prealloc_bytes);
    IST_ASSERT(config->evict_interval_sec > 0);
    IST_ASSERT(config->evict_min_threshold >= 0 && config->evict_max_threshold <= 1);
    IST_ASSERT(config->evict_min_threshold <= config->evict_max_threshold);
    IST_ASSERT(config->sessions_max >= 1 && config->ib_port >= 1 && config->hint_gid_index >= -1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    struct fuzz_input input = fuzz_input_of(data, bytes);
    struct words arguments = {0}, environment = {0};
    size_t variables = fuzz_u8(&input);
    read_lines(&input, variables, &arguments, &environment);
    static struct ist_config config;
    enum ist_wish wish = (enum ist_wish)99;
    char error[IST_CONFIG_ERROR_BYTES] = "";
    enum ist_status status = ist_config_read((int)arguments.count, arguments.words, environment.words,
                                             &config, &wish, error);
    if (status == IST_OK) {
        IST_ASSERT(wish == IST_WISH_SERVE || wish == IST_WISH_HELP || wish == IST_WISH_VERSION);
        if (wish == IST_WISH_SERVE) {
            check_config(&config);
        }
    } else {
        IST_ASSERT(status == IST_CONFIG && wish == (enum ist_wish)99);
        check_line(error);
    }
    free_words(&arguments);
    free_words(&environment);
    return 0;
}

/* ---- seeds ------------------------------------------------------------------------------------------------- */

static void seed_text(fuzz_seed_fn seed, const char *name, uint8_t variables, const char *text) {
    char out[2048] = {(char)variables};
    size_t length = strlen(text);
    IST_ASSERT(length < sizeof(out));
    memcpy(out + 1, text, length);
    seed(name, out, 1 + length);
}

void fuzz_seeds(fuzz_seed_fn seed) {
    /* Each option in both forms, with a value that is one of its kind. */
    const struct ist_option *option;
    for (size_t i = 0; (option = ist_option_at(i)) != NULL; i++) {
        static const char *const values[] = {"1", "64K", "0.5", "name"};
        char text[256], variable[IST_OPTION_VARIABLE_BYTES];
        const char *value = values[i % 4];
        ist_option_variable(option, variable);
        snprintf(text, sizeof(text), "%s=%s\n--%s=%s\n--%s\n%s", variable, value, option->name, value,
                 option->name, value);
        seed_text(seed, option->name, 1, text);
    }
    seed_text(seed, "usual", 0,
              "--host\n127.0.0.1\n--host=::1\n--service-port=0\n--manage-port\n0\n--log-level=debug\n"
              "--prealloc-size=1\n--minimal-allocate-size=4\n--auto-increase\n--no-hugepages\n"
              "--enable-periodic-evict\n--evict-interval=0.5\n--evict-min-threshold=0.2\n"
              "--evict-max-threshold=0.9\n--link-type=Ethernet\n--hint-gid-index=-1");
    seed_text(seed, "wrong", 0, "--evict-min-threshold=0.9\n--evict-max-threshold=0.1");
    seed_text(seed, "unknown", 0, "--no-such=\x1b[2J");
    seed_text(seed, "help", 0, "--help\n--wrong");
    seed_text(seed, "version", 0, "--version");
}
