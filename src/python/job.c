#include "python/job.h"

#include <string.h>

/* ---- from Python --------------------------------------------------------------------------------------- */

static bool takes_values(enum ist_job_kind kind) {
    return kind == IST_JOB_PUT || kind == IST_JOB_GET;
}

static bool takes_blocks(enum ist_job_kind kind) {
    return kind == IST_JOB_PUT_BLOCKS || kind == IST_JOB_GET_BLOCKS;
}

static bool is_put(enum ist_job_kind kind) {
    return kind == IST_JOB_PUT || kind == IST_JOB_PUT_BLOCKS;
}

static bool is_get(enum ist_job_kind kind) {
    return kind == IST_JOB_GET || kind == IST_JOB_GET_BLOCKS;
}

/* Any object that can be an index: numpy's numbers too. */
static bool unsigned_of(PyObject *object, uint64_t *value) {
    PyObject *number = PyNumber_Index(object);
    if (number == NULL) {
        return false;
    }
    unsigned long long result = PyLong_AsUnsignedLongLong(number);
    Py_DECREF(number);
    if (result == (unsigned long long)-1 && PyErr_Occurred() != NULL) {
        return false;
    }
    *value = result;
    return true;
}

bool ist_job_key(PyObject *object, struct ist_key *key) {
    Py_ssize_t bytes = 0;
    const char *data = NULL;
    char *mutable = NULL;
    if (PyUnicode_Check(object)) {
        data = PyUnicode_AsUTF8AndSize(object, &bytes);
    } else if (PyBytes_Check(object)) {
        data = PyBytes_AsStringAndSize(object, &mutable, &bytes) == 0 ? mutable : NULL;
    } else {
        PyErr_SetString(PyExc_TypeError, "a key is str or bytes");
    }
    if (data == NULL) {
        return false;
    }
    *key = (struct ist_key){.data = data, .bytes = (size_t)bytes};
    return true;
}

static struct ist_key *key_at(struct ist_job *job, size_t i) {
    if (is_put(job->kind)) {
        return &job->puts[i].key;
    }
    return is_get(job->kind) ? &job->gets[i].key : &job->keys[i];
}

static void set_value(struct ist_job *job, size_t i, uintptr_t address, uint64_t bytes) {
    void *place = (void *)address; /* it came from Python as a number or as a buffer */
    if (is_put(job->kind)) {
        job->puts[i].value = place;
        job->puts[i].value_bytes = bytes;
    } else {
        job->gets[i].buffer = place;
        job->gets[i].buffer_bytes = bytes;
    }
}

/* A pair of numbers, behind which there may be so many objects more. */
static bool pair_of(PyObject *pair, Py_ssize_t more, const char *what, uint64_t *first,
                    uint64_t *second) {
    if (!PyTuple_Check(pair) || PyTuple_Size(pair) < 2 || PyTuple_Size(pair) > 2 + more) {
        PyErr_Format(PyExc_TypeError, "%s is a pair of numbers", what);
        return false;
    }
    return unsigned_of(PyTuple_GetItem(pair, 0), first) &&
           unsigned_of(PyTuple_GetItem(pair, 1), second);
}

static bool parse_value(struct ist_job *job, size_t i, PyObject *value) {
    if (PyTuple_Check(value)) {
        uint64_t address, bytes;
        if (!pair_of(value, 1, "a place in memory", &address, &bytes)) {
            return false;
        }
        set_value(job, i, address, bytes);
        return true;
    }
    Py_buffer *view = &job->views[job->view_count];
    int flags = is_get(job->kind) ? PyBUF_WRITABLE : PyBUF_SIMPLE;
    if (PyObject_GetBuffer(value, view, flags) != 0) {
        return false;
    }
    job->view_count++;
    set_value(job, i, (uintptr_t)view->buf, (uint64_t)view->len);
    return true;
}

static bool parse_key(struct ist_job *job, size_t i, PyObject *object) {
    if (!ist_job_key(object, key_at(job, i))) {
        return false;
    }
    Py_INCREF(object);
    job->objects[i] = object;
    return true;
}

/* Returns OK, NOT_REGISTERED, or EXCEPTION with one set. */
static int parse_block(struct ist_job *job, size_t i, PyObject *block, uint64_t base, uint64_t bytes,
                       const struct ist_job_memory *memory) {
    if (!PySequence_Check(block) || PySequence_Size(block) != 2) {
        PyErr_SetString(PyExc_TypeError, "a block is a pair (key, offset)");
        return IST_JOB_EXCEPTION;
    }
    PyObject *key = PySequence_GetItem(block, 0), *number = PySequence_GetItem(block, 1);
    uint64_t offset = 0, address = 0;
    bool parsed =
        key != NULL && number != NULL && parse_key(job, i, key) && unsigned_of(number, &offset);
    Py_XDECREF(key);
    Py_XDECREF(number);
    if (!parsed) {
        return IST_JOB_EXCEPTION;
    }
    if (__builtin_add_overflow(base, offset, &address) ||
        (bytes != 0 && !ist_registered_contains(memory->registered, address, bytes))) {
        job->refused = i;
        return IST_JOB_NOT_REGISTERED;
    }
    set_value(job, i, address, bytes);
    return IST_OK;
}

static int parse_blocks(struct ist_job *job, PyObject *blocks, PyObject *place,
                        const struct ist_job_memory *memory) {
    uint64_t base, bytes;
    if (!pair_of(place, 0, "where blocks lie", &base, &bytes)) {
        return IST_JOB_EXCEPTION;
    }
    for (size_t i = 0; i < job->count; i++) {
        int status = parse_block(job, i, PyTuple_GetItem(blocks, (Py_ssize_t)i), base, bytes, memory);
        if (status != IST_OK) {
            return status;
        }
    }
    return IST_OK;
}

static bool parse_keys(struct ist_job *job, PyObject *keys) {
    for (size_t i = 0; i < job->count; i++) {
        if (!parse_key(job, i, PyTuple_GetItem(keys, (Py_ssize_t)i))) {
            return false;
        }
    }
    return true;
}

static bool parse_values(struct ist_job *job, PyObject *values) {
    PyObject *tuple = PySequence_Tuple(values);
    bool parsed = tuple != NULL;
    if (parsed && (size_t)PyTuple_Size(tuple) != job->count) {
        PyErr_SetString(PyExc_ValueError, "as many values as keys are wanted");
        parsed = false;
    }
    for (size_t i = 0; parsed && i < job->count; i++) {
        parsed = parse_value(job, i, PyTuple_GetItem(tuple, (Py_ssize_t)i));
    }
    job->values = tuple;
    return parsed;
}

static size_t item_bytes(enum ist_job_kind kind) {
    if (is_put(kind)) {
        return sizeof(struct ist_put_item);
    }
    return is_get(kind) ? sizeof(struct ist_get_item) : sizeof(struct ist_key) + sizeof(bool);
}

/* One piece of memory: the struct, then items, objects, views, booleans. */
static struct ist_job *allocate(enum ist_job_kind kind, size_t count) {
    size_t views = takes_values(kind) ? count : 0;
    size_t bytes = sizeof(struct ist_job) + count * (item_bytes(kind) + sizeof(PyObject *)) +
                   views * sizeof(Py_buffer);
    struct ist_job *job = PyMem_Calloc(1, bytes);
    if (job == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    job->kind = kind;
    job->count = count;
    job->objects = (PyObject **)(job + 1);
    if (views > 0) {
        job->views = (Py_buffer *)(job->objects + count);
        job->puts = (struct ist_put_item *)(job->views + views);
    } else {
        job->puts = (struct ist_put_item *)(job->objects + count);
    }
    if (!is_put(kind) && !is_get(kind)) {
        job->present = (bool *)(job->keys + count);
    }
    return job;
}

static bool is_outside(const struct ist_job *job, size_t i, const struct ist_registered *registered) {
    bool put = is_put(job->kind);
    uint64_t address = put ? (uintptr_t)job->puts[i].value : (uintptr_t)job->gets[i].buffer;
    uint64_t bytes = put ? job->puts[i].value_bytes : job->gets[i].buffer_bytes;
    return bytes != 0 && !ist_registered_contains(registered, address, bytes);
}

static int check_values(struct ist_job *job, const struct ist_registered *registered) {
    for (size_t i = 0; i < job->count; i++) {
        if (is_outside(job, i, registered)) {
            job->refused = i;
            return IST_JOB_NOT_REGISTERED;
        }
    }
    return IST_OK;
}

static int parse(struct ist_job *job, PyObject *keys, PyObject *values,
                 const struct ist_job_memory *memory) {
    if (takes_blocks(job->kind)) {
        return parse_blocks(job, keys, values, memory);
    }
    if (!parse_keys(job, keys) || (takes_values(job->kind) && !parse_values(job, values))) {
        return IST_JOB_EXCEPTION;
    }
    return memory->values_too && takes_values(job->kind) ? check_values(job, memory->registered)
                                                         : IST_OK;
}

int ist_job_new(unsigned kind, PyObject *keys, PyObject *values, unsigned flags,
                const struct ist_job_memory *memory, struct ist_job **job) {
    if (kind >= IST_JOB_KINDS) {
        PyErr_SetString(PyExc_ValueError, "no such kind of request");
        return IST_JOB_EXCEPTION;
    }
    PyObject *tuple = PySequence_Tuple(keys);
    if (tuple == NULL) {
        return IST_JOB_EXCEPTION;
    }
    struct ist_job *new = allocate(kind, (size_t)PyTuple_Size(tuple));
    int status = IST_JOB_EXCEPTION;
    if (new != NULL) {
        new->flags = flags;
        status = parse(new, tuple, values, memory);
    }
    Py_DECREF(tuple);
    if (status == IST_JOB_EXCEPTION) {
        ist_job_free(new);
        return IST_JOB_EXCEPTION;
    }
    *job = new;
    return status;
}

void ist_job_free(struct ist_job *job) {
    if (job == NULL) {
        return;
    }
    for (size_t i = 0; i < job->view_count; i++) {
        PyBuffer_Release(&job->views[i]);
    }
    for (size_t i = 0; i < job->count; i++) {
        Py_XDECREF(job->objects[i]);
    }
    Py_XDECREF(job->values);
    Py_XDECREF(job->future);
    Py_XDECREF((PyObject *)job->channel);
    PyMem_Free(job);
}

/* ---- to the library ------------------------------------------------------------------------------------ */

enum ist_status ist_job_run(struct ist_job *job, struct ist_client *client, uint64_t timeout_ns) {
    struct ist_job *o = job;
    switch (o->kind) {
    case IST_JOB_PUT:
    case IST_JOB_PUT_BLOCKS: return ist_put(client, o->puts, o->count, o->flags, timeout_ns);
    case IST_JOB_GET:
    case IST_JOB_GET_BLOCKS: return ist_get(client, o->gets, o->count, timeout_ns);
    case IST_JOB_EXISTS: return ist_exists(client, o->keys, o->count, o->present, timeout_ns);
    case IST_JOB_MATCH_PREFIX:
        return ist_match_prefix(client, o->keys, o->count, &o->number, timeout_ns);
    case IST_JOB_MATCH_LAST: return ist_match_last(client, o->keys, o->count, &o->index, timeout_ns);
    case IST_JOB_REMOVE: return ist_remove(client, o->keys, o->count, &o->number, timeout_ns);
    }
    return IST_INVALID;
}

enum ist_status ist_job_submit(struct ist_job *job, struct ist_client *client, uint64_t timeout_ns,
                               ist_done_fn done) {
    struct ist_job *o = job;
    switch (o->kind) {
    case IST_JOB_PUT:
    case IST_JOB_PUT_BLOCKS:
        return ist_put_async(client, o->puts, o->count, o->flags, timeout_ns, done, o);
    case IST_JOB_GET:
    case IST_JOB_GET_BLOCKS: return ist_get_async(client, o->gets, o->count, timeout_ns, done, o);
    case IST_JOB_EXISTS:
        return ist_exists_async(client, o->keys, o->count, o->present, timeout_ns, done, o);
    case IST_JOB_MATCH_PREFIX:
        return ist_match_prefix_async(client, o->keys, o->count, &o->number, timeout_ns, done, o);
    case IST_JOB_MATCH_LAST:
        return ist_match_last_async(client, o->keys, o->count, &o->index, timeout_ns, done, o);
    case IST_JOB_REMOVE:
        return ist_remove_async(client, o->keys, o->count, &o->number, timeout_ns, done, o);
    }
    return IST_INVALID;
}

/* ---- to Python ----------------------------------------------------------------------------------------- */

static PyObject *number_at(const struct ist_job *job, size_t i, bool length) {
    if (is_put(job->kind)) {
        return PyLong_FromLong(job->puts[i].status);
    }
    if (is_get(job->kind)) {
        const struct ist_get_item *item = &job->gets[i];
        return length ? PyLong_FromUnsignedLongLong(item->value_bytes) : PyLong_FromLong(item->status);
    }
    return PyBool_FromLong(job->present[i]);
}

static PyObject *tuple_of(const struct ist_job *job, bool length) {
    PyObject *tuple = PyTuple_New((Py_ssize_t)job->count);
    for (size_t i = 0; tuple != NULL && i < job->count; i++) {
        PyObject *number = number_at(job, i, length);
        if (number == NULL || PyTuple_SetItem(tuple, (Py_ssize_t)i, number) != 0) {
            Py_DECREF(tuple);
            return NULL;
        }
    }
    return tuple;
}

static PyObject *statuses_and_lengths(const struct ist_job *job) {
    PyObject *statuses = tuple_of(job, false);
    PyObject *lengths = statuses == NULL ? NULL : tuple_of(job, true);
    PyObject *pair = lengths == NULL ? NULL : PyTuple_Pack(2, statuses, lengths);
    Py_XDECREF(statuses);
    Py_XDECREF(lengths);
    return pair;
}

PyObject *ist_job_detail(const struct ist_job *job, int status) {
    if (status == IST_JOB_NOT_REGISTERED) {
        return PyLong_FromSize_t(job->refused);
    }
    switch (job->kind) {
    case IST_JOB_PUT: return tuple_of(job, false);
    case IST_JOB_GET: return statuses_and_lengths(job);
    case IST_JOB_PUT_BLOCKS:
    case IST_JOB_GET_BLOCKS:
        if (status == IST_OK) {
            Py_RETURN_NONE;
        }
        return tuple_of(job, false);
    case IST_JOB_EXISTS: return tuple_of(job, false);
    case IST_JOB_MATCH_PREFIX:
    case IST_JOB_REMOVE: return PyLong_FromSize_t(job->number);
    case IST_JOB_MATCH_LAST: return PyLong_FromLongLong(job->index);
    }
    Py_RETURN_NONE;
}
