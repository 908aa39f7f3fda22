#include "tools/bench_grammar.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int redis_write(char *out, size_t room, enum ist_bench_op op, struct ist_key key,
                       uint64_t bytes) {
    const char *verb = "";
    switch (op) {
    case IST_BENCH_PUT: verb = "SET"; break;
    case IST_BENCH_GET: verb = "GET"; break;
    case IST_BENCH_EXISTS:
    case IST_BENCH_MATCH: verb = "EXISTS"; break;
    case IST_BENCH_REMOVE: verb = "DEL"; break;
    }
    int used = snprintf(out, room, "*%d\r\n$%zu\r\n%s\r\n$%zu\r\n%.*s\r\n", op == IST_BENCH_PUT ? 3 : 2,
                        strlen(verb), verb, key.bytes, (int)key.bytes, (const char *)key.data);
    if (op == IST_BENCH_PUT) {
        used += snprintf(out + used, room - (size_t)used, "$%llu\r\n", (unsigned long long)bytes);
    }
    return used;
}

static enum ist_bench_reply redis_read(const char *line, enum ist_bench_op op, uint64_t *bytes) {
    if (op == IST_BENCH_PUT) {
        return strcmp(line, "+OK") == 0 ? IST_BENCH_REPLY_OK : IST_BENCH_REPLY_ERROR;
    }
    if (op == IST_BENCH_GET) {
        if (strcmp(line, "$-1") == 0) {
            return IST_BENCH_REPLY_MISSING;
        }
        *bytes = strtoull(line + 1, NULL, 10);
        return line[0] == '$' ? IST_BENCH_REPLY_VALUE : IST_BENCH_REPLY_ERROR;
    }
    if (line[0] != ':') {
        return IST_BENCH_REPLY_ERROR;
    }
    return line[1] == '0' ? IST_BENCH_REPLY_MISSING : IST_BENCH_REPLY_OK;
}

/* memcached's doc/protocol.txt; mg is its meta get, here without flags: the key's presence alone. */
static int memcached_write(char *out, size_t room, enum ist_bench_op op, struct ist_key key,
                           uint64_t bytes) {
    int length = (int)key.bytes;
    const char *text = key.data;
    switch (op) {
    case IST_BENCH_PUT:
        return snprintf(out, room, "set %.*s 0 0 %llu\r\n", length, text, (unsigned long long)bytes);
    case IST_BENCH_GET: return snprintf(out, room, "get %.*s\r\n", length, text);
    case IST_BENCH_EXISTS:
    case IST_BENCH_MATCH: break;
    case IST_BENCH_REMOVE: return snprintf(out, room, "delete %.*s\r\n", length, text);
    }
    return snprintf(out, room, "mg %.*s\r\n", length, text);
}

static enum ist_bench_reply memcached_read(const char *line, enum ist_bench_op op, uint64_t *bytes) {
    switch (op) {
    case IST_BENCH_PUT: return strcmp(line, "STORED") == 0 ? IST_BENCH_REPLY_OK : IST_BENCH_REPLY_ERROR;
    case IST_BENCH_GET: {
        if (strcmp(line, "END") == 0) {
            return IST_BENCH_REPLY_MISSING;
        }
        const char *last = strrchr(line, ' ');
        if (strncmp(line, "VALUE ", 6) != 0 || last == NULL) {
            return IST_BENCH_REPLY_ERROR;
        }
        *bytes = strtoull(last + 1, NULL, 10);
        return IST_BENCH_REPLY_VALUE;
    }
    case IST_BENCH_EXISTS:
    case IST_BENCH_MATCH: break;
    case IST_BENCH_REMOVE:
        if (strcmp(line, "NOT_FOUND") == 0) {
            return IST_BENCH_REPLY_MISSING;
        }
        return strcmp(line, "DELETED") == 0 ? IST_BENCH_REPLY_OK : IST_BENCH_REPLY_ERROR;
    }
    if (strcmp(line, "EN") == 0) {
        return IST_BENCH_REPLY_MISSING;
    }
    return strncmp(line, "HD", 2) == 0 ? IST_BENCH_REPLY_OK : IST_BENCH_REPLY_ERROR;
}

const struct ist_bench_grammar *ist_bench_redis_grammar(void) {
    static const struct ist_bench_grammar grammar = {redis_write, redis_read, "\r\n"};
    return &grammar;
}

const struct ist_bench_grammar *ist_bench_memcached_grammar(void) {
    static const struct ist_bench_grammar grammar = {memcached_write, memcached_read, "\r\nEND\r\n"};
    return &grammar;
}
