/* One request: what the C library borrows until it is done (items, keys, buffers), with references to the Python
 * objects behind them, so that they stay while the request runs, whatever becomes of who asked. */
#ifndef IST_PYTHON_JOB_H
#define IST_PYTHON_JOB_H

#include "python/native.h"
#include "python/registered.h"

enum ist_job_kind {
    IST_JOB_PUT, /* values: a sequence, each a buffer, (address, bytes), or the same with its owner */
    IST_JOB_GET, /* the same, writable */
    IST_JOB_PUT_BLOCKS, /* keys: pairs (key, offset); values: a pair (address, bytes of each) */
    IST_JOB_GET_BLOCKS, /* the same */
    IST_JOB_EXISTS,     /* values: None, here and below */
    IST_JOB_MATCH_PREFIX,
    IST_JOB_MATCH_LAST,
    IST_JOB_REMOVE,
};
#define IST_JOB_KINDS 8u

/* Instead of a status: a block, or a value that would have to be, is outside all registered memory. */
#define IST_JOB_NOT_REGISTERED (-1)
/* Instead of a status: a Python exception is set. */
#define IST_JOB_EXCEPTION (-2)

struct ist_job {
    enum ist_job_kind kind;
    unsigned flags; /* of a put */
    size_t count;
    union {
        struct ist_put_item *puts;
        struct ist_get_item *gets;
        struct ist_key *keys;
    };
    PyObject **objects; /* owned: of each key */
    PyObject
        *values; /* owned: a tuple of them, with the owners of what is named by its address; or NULL */
    Py_buffer *views; /* of the values that are buffers; NULL: there are none */
    size_t view_count;
    bool *present;
    union {
        size_t number;
        int64_t index;
    };
    size_t refused; /* with NOT_REGISTERED: which block or value */

    /* Of an asynchronous one. */
    PyObject *future;            /* owned */
    struct ist_channel *channel; /* owned */
    struct ist_job *next;        /* of those that are done */
    enum ist_status status;
};

/* Where values may lie. */
struct ist_job_memory {
    const struct ist_registered *registered;
    bool values_too; /* not only blocks must be in it, but all values, as RDMA demands */
};

/* Parses what Python handed over.
 * job  the caller's on success: ist_job_free()
 * Returns OK or NOT_REGISTERED with a job, EXCEPTION without. */
int ist_job_new(unsigned kind, PyObject *keys, PyObject *values, unsigned flags,
                const struct ist_job_memory *memory, struct ist_job **job);
/* With the interpreter's lock held. NULL is legal. */
void ist_job_free(struct ist_job *job);

/* Without the interpreter's lock: the blocking form, and the other, which calls `done` with the job. */
enum ist_status ist_job_run(struct ist_job *job, struct ist_client *client, uint64_t timeout_ns);
enum ist_status ist_job_submit(struct ist_job *job, struct ist_client *client, uint64_t timeout_ns,
                               ist_done_fn done);

/* key: borrowed from the object, str or bytes. False: an exception. */
bool ist_job_key(PyObject *object, struct ist_key *key);

/* What it brought, a new reference; NULL with an exception:
 *   PUT          a tuple of statuses
 *   GET          a pair of tuples: statuses, true lengths
 *   ..._BLOCKS   None when all is well, else a tuple of statuses
 *   EXISTS       a tuple of bools
 *   others       a number; MATCH_LAST: -1 for none
 * With NOT_REGISTERED: the number of the block or value.
 * Of what failed as a whole (status: that of a session) only the first three are worth anything. */
PyObject *ist_job_detail(const struct ist_job *job, int status);

#endif
