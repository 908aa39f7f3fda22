/* How Redis and memcached write what a cache is asked, and what they answer: a line a key, and a value behind
 * some of them. */
#ifndef IST_TOOLS_BENCH_GRAMMAR_H
#define IST_TOOLS_BENCH_GRAMMAR_H

#include <stddef.h>
#include <stdint.h>

#include "infinistore/infinistore.h"
#include "tools/bench_options.h"

/* What a reply line says of its key. */
enum ist_bench_reply {
    IST_BENCH_REPLY_OK,
    IST_BENCH_REPLY_VALUE,
    IST_BENCH_REPLY_MISSING,
    IST_BENCH_REPLY_ERROR
};

struct ist_bench_grammar {
    /* The words before the value, or all of them where there is none. Returns their length. */
    int (*write)(char *out, size_t room, enum ist_bench_op op, struct ist_key key, uint64_t bytes);
    /* bytes: of the value that follows, for IST_BENCH_REPLY_VALUE. */
    enum ist_bench_reply (*read)(const char *line, enum ist_bench_op op, uint64_t *bytes);
    const char *behind_value; /* what follows the bytes of a value that is got */
};

/* RESP, as Redis 7 speaks it until it is asked for another version. */
const struct ist_bench_grammar *ist_bench_redis_grammar(void);
/* The text protocol of memcached 1.6. */
const struct ist_bench_grammar *ist_bench_memcached_grammar(void);

#endif
