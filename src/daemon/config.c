#include "daemon/config.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/size.h"
#include "daemon/option.h"
#include "store/runs.h"

#define SHOWN_BYTES_MAX 60 /* of a value that is wrong */

/* Bytes of strangers in a line of ours: no second line, no control of the terminal. */
static enum ist_status refuse(char *error) {
    for (char *c = error; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f) {
            *c = '?';
        }
    }
    return IST_CONFIG;
}

#define REFUSE(error, ...) (snprintf((error), IST_CONFIG_ERROR_BYTES, __VA_ARGS__), refuse(error))

static enum ist_status set(const struct ist_option *option, struct ist_config *config,
                           const char *source, const char *text, char *error) {
    if (option->set(option, config, text)) {
        return IST_OK;
    }
    return REFUSE(error, "%s: '%.*s' is not %s", source, SHOWN_BYTES_MAX, text, option->expects);
}

/* ---- the environment --------------------------------------------------------------------------------- */

static const char *find_variable(char *const *environment, const char *name) {
    size_t length = strlen(name);
    for (; *environment != NULL; environment++) {
        if (strncmp(*environment, name, length) == 0 && (*environment)[length] == '=') {
            return *environment + length + 1;
        }
    }
    return NULL;
}

static enum ist_status read_environment(char *const *environment, struct ist_config *config,
                                        char *error) {
    const struct ist_option *option;
    for (size_t i = 0; (option = ist_option_at(i)) != NULL; i++) {
        char variable[IST_OPTION_VARIABLE_BYTES];
        ist_option_variable(option, variable);
        const char *text = find_variable(environment, variable);
        if (text == NULL || text[0] == '\0') {
            continue;
        }
        if (strcmp(option->name, "host") == 0) {
            config->host_count = 0;
        }
        enum ist_status status = set(option, config, variable, text, error);
        if (status != IST_OK) {
            return status;
        }
    }
    return IST_OK;
}

/* ---- the command line -------------------------------------------------------------------------------- */

/* A word of the command line that names an option. */
struct named {
    const struct ist_option *option; /* NULL: help or version */
    enum ist_wish wish;
    bool negated;
    const char *value;                      /* behind '='; NULL when there is none */
    char source[IST_OPTION_VARIABLE_BYTES]; /* "--log-level" */
};

/* How `name` is meant by a word of `length` bytes: wholly, by its beginning, or not at all. */
enum match { MATCH_NONE, MATCH_PREFIX, MATCH_WHOLE };

static enum match match(const char *word, size_t length, const char *name) {
    if (length == 0 || strncmp(word, name, length) != 0) {
        return MATCH_NONE;
    }
    return name[length] == '\0' ? MATCH_WHOLE : MATCH_PREFIX;
}

/* Keeps the better of two; of two beginnings, counts. */
static void consider(struct named *best, enum match *best_match, size_t *prefixes, enum match found,
                     const struct named *candidate) {
    *prefixes += found == MATCH_PREFIX;
    if (found > *best_match) {
        *best = *candidate;
        *best_match = found;
    }
}

/* The option that `word` names, in full or by a beginning that no other has, as argparse and getopt allow. */
static enum ist_status find_named(const char *word, struct named *named, char *error) {
    const char *name = word + 2;
    size_t length = strcspn(name, "=");
    enum match best = MATCH_NONE;
    size_t prefixes = 0;
    const struct ist_option *option;
    for (size_t i = 0; (option = ist_option_at(i)) != NULL; i++) {
        struct named found = {.option = option};
        consider(named, &best, &prefixes, match(name, length, option->name), &found);
        if (option->argument == NULL && length > 3 && strncmp(name, "no-", 3) == 0) {
            found.negated = true;
            consider(named, &best, &prefixes, match(name + 3, length - 3, option->name), &found);
        }
    }
    consider(named, &best, &prefixes, match(name, length, "help"),
             &(struct named){.wish = IST_WISH_HELP});
    consider(named, &best, &prefixes, match(name, length, "version"),
             &(struct named){.wish = IST_WISH_VERSION});
    if (best == MATCH_NONE) {
        return REFUSE(error, "%.*s: there is no such option", SHOWN_BYTES_MAX, word);
    }
    if (best == MATCH_PREFIX && prefixes > 1) {
        return REFUSE(error, "%.*s: could be more than one option", SHOWN_BYTES_MAX, word);
    }
    named->value = name[length] == '=' ? name + length + 1 : NULL;
    if (named->option != NULL) {
        snprintf(named->source, sizeof(named->source), "--%s%s", named->negated ? "no-" : "",
                 named->option->name);
    }
    return IST_OK;
}

struct words {
    int count, at;
    char *const *all;
};

/* The option's value, from behind '=' or the next word. */
static enum ist_status take_value(struct words *words, const struct named *named, const char **text,
                                  char *error) {
    if (named->option->argument == NULL) {
        if (named->negated && named->value != NULL) {
            return REFUSE(error, "%s: takes no value", named->source);
        }
        *text = named->value != NULL ? named->value : named->negated ? "no" : "yes";
        return IST_OK;
    }
    if (named->value != NULL) {
        *text = named->value;
        return IST_OK;
    }
    if (words->at == words->count) {
        return REFUSE(error, "%s: needs a value: %s", named->source, named->option->expects);
    }
    *text = words->all[words->at++];
    return IST_OK;
}

static enum ist_status read_words(struct words *words, struct ist_config *config, enum ist_wish *wish,
                                  char *error) {
    bool own_hosts = false;
    while (words->at < words->count) {
        const char *word = words->all[words->at++];
        if (strcmp(word, "-h") == 0) {
            *wish = IST_WISH_HELP;
            return IST_OK;
        }
        if (strncmp(word, "--", 2) != 0 || word[2] == '\0') {
            return REFUSE(error, "%.*s: is no option; try --help", SHOWN_BYTES_MAX, word);
        }
        struct named named = {0};
        enum ist_status status = find_named(word, &named, error);
        if (status != IST_OK) {
            return status;
        }
        if (named.option == NULL) {
            *wish = named.wish;
            return IST_OK;
        }
        const char *text = NULL;
        status = take_value(words, &named, &text, error);
        if (status != IST_OK) {
            return status;
        }
        if (!own_hosts && strcmp(named.option->name, "host") == 0) {
            own_hosts = true;
            config->host_count = 0;
        }
        status = set(named.option, config, named.source, text, error);
        if (status != IST_OK) {
            return status;
        }
    }
    return IST_OK;
}

/* ---- what must fit together --------------------------------------------------------------------------- */

/* Both ways to say it: which one was used does not matter for what is wrong. */
#define PREALLOC "--prealloc-size (INFINISTORE_PREALLOC_SIZE)"
#define MAX_POOL "--max-pool-size (INFINISTORE_MAX_POOL_SIZE)"
#define MIN_BLOCK "--minimal-allocate-size (INFINISTORE_MINIMAL_ALLOCATE_SIZE)"
#define EVICT_MIN "--evict-min-threshold (INFINISTORE_EVICT_MIN_THRESHOLD)"

static enum ist_status check(const struct ist_config *config, char *error) {
    char pool[IST_SIZE_TEXT_MAX], max[IST_SIZE_TEXT_MAX], block[IST_SIZE_TEXT_MAX];
    ist_size_text(config->prealloc_bytes, pool);
    ist_size_text(config->max_pool_bytes, max);
    ist_size_text(config->min_block_bytes, block);
    uint64_t most = config->min_block_bytes * IST_RUNS_GRANULES_MAX;
    if (config->prealloc_bytes > most) {
        return REFUSE(error, PREALLOC ": %s is too much for blocks of %s", pool, block);
    }
    if (config->max_pool_bytes > most) {
        return REFUSE(error, MAX_POOL ": %s is too much for blocks of %s", max, block);
    }
    if (config->max_pool_bytes != 0 && config->max_pool_bytes < config->prealloc_bytes) {
        return REFUSE(error, MAX_POOL ": %s is less than --prealloc-size, %s", max, pool);
    }
    if (config->min_block_bytes > config->prealloc_bytes) {
        return REFUSE(error, MIN_BLOCK ": %s is more than --prealloc-size, %s", block, pool);
    }
    if (config->evict_min_threshold > config->evict_max_threshold) {
        return REFUSE(error, EVICT_MIN ": %g is more than --evict-max-threshold, %g",
                      config->evict_min_threshold, config->evict_max_threshold);
    }
    return IST_OK;
}

enum ist_status ist_config_read(int count, char *const *arguments, char *const *environment,
                                struct ist_config *config, enum ist_wish *wish,
                                char error[IST_CONFIG_ERROR_BYTES]) {
    struct words words = {.count = count, .at = 1, .all = arguments};
    struct ist_config new;
    enum ist_wish wanted = IST_WISH_SERVE;
    char word_error[IST_CONFIG_ERROR_BYTES];
    ist_option_defaults(&new);
    enum ist_status status = read_environment(environment, &new, error);
    enum ist_status word_status = read_words(&words, &new, &wanted, word_error);
    if (word_status == IST_OK && wanted != IST_WISH_SERVE) {
        status = IST_OK; /* --help helps, whatever the environment says */
    } else if (status == IST_OK && word_status != IST_OK) {
        memcpy(error, word_error, sizeof(word_error));
        status = word_status;
    } else if (status == IST_OK) {
        status = check(&new, error);
    }
    if (status == IST_OK) {
        *config = new;
        *wish = wanted;
    }
    return status;
}
