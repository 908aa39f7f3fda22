#include "python/connection.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "python/arguments.h"
#include "python/memory.h"

#define ERROR_BYTES 512
/* What a value of unknown length is expected to have at first: a smaller one costs nothing, as memory that is not
 * touched is not there; a larger one a second round trip. */
#define EXPECTED_BYTES_MIN (64u << 10)
#define READ_TRIES 8

/* ---- life ---------------------------------------------------------------------------------------------- */

struct ist_client *ist_connection_enter(struct ist_connection_object *connection) {
    if (connection->client == NULL || connection->closing) {
        return NULL;
    }
    connection->users++;
    return connection->client;
}

/* Ends what is in flight: callbacks run here, they do not want the interpreter. */
static void release(struct ist_connection_object *connection) {
    struct ist_client *client = connection->client;
    connection->client = NULL;
    PyThreadState *thread = PyEval_SaveThread();
    ist_client_free(client);
    PyEval_RestoreThread(thread);
}

/* The library's: in any thread, without the interpreter's lock. */
static void keep_warning(void *arg, const char *line) {
    struct ist_connection_object *self = arg;
    pthread_mutex_lock(&self->warning_lock);
    snprintf(self->warning, sizeof(self->warning), "%s", line);
    self->warned = true;
    pthread_mutex_unlock(&self->warning_lock);
}

static void tell_warning(struct ist_connection_object *self) {
    char line[IST_CONNECTION_WARNING_BYTES];
    pthread_mutex_lock(&self->warning_lock);
    bool warned = self->warned;
    if (warned) {
        self->warned = false;
        memcpy(line, self->warning, sizeof(line));
    }
    pthread_mutex_unlock(&self->warning_lock);
    if (!warned) {
        return;
    }
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    PyObject *result = PyObject_CallFunction(self->on_warning, "s", line);
    if (result == NULL) {
        PyErr_WriteUnraisable(self->on_warning);
    }
    Py_XDECREF(result);
    PyErr_Restore(type, value, trace);
}

static void connection_dealloc(PyObject *object) {
    struct ist_connection_object *self = (struct ist_connection_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (self->client != NULL) {
        release(self);
    }
    ist_registered_fini(&self->registered);
    pthread_mutex_destroy(&self->warning_lock);
    Py_XDECREF(self->on_warning);
    freefunc free_object = (freefunc)PyType_GetSlot(type, Py_tp_free);
    free_object(object);
    Py_DECREF((PyObject *)type);
}

static PyObject *allocate(PyTypeObject *type, PyObject *on_warning) {
    allocfunc allocate_object = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    struct ist_connection_object *self = (struct ist_connection_object *)allocate_object(type, 0);
    if (self != NULL) {
        self->expected_bytes = EXPECTED_BYTES_MIN;
        pthread_mutex_init(&self->warning_lock, NULL); /* cannot fail: man pthread_mutex_init, glibc */
        Py_INCREF(on_warning);
        self->on_warning = on_warning;
    }
    return (PyObject *)self;
}

void ist_connection_leave(struct ist_connection_object *connection) {
    tell_warning(connection);
    connection->users--;
    if (connection->closing && connection->users == 0) {
        release(connection);
    }
}

/* or_may: also when it is not connected, and nobody knows by what it will be. */
static bool moves_by_rdma(struct ist_connection_object *self, bool or_may) {
    struct ist_client *client = self->wanted != IST_TRANSPORT_TCP ? ist_connection_enter(self) : NULL;
    if (client == NULL) {
        return false;
    }
    PyThreadState *thread = PyEval_SaveThread();
    bool does = ist_client_transport(client) == IST_TRANSPORT_RDMA ||
                (or_may && ist_client_incarnation(client) == 0);
    PyEval_RestoreThread(thread);
    ist_connection_leave(self);
    return does;
}

/* A connection that takes RDMA alone uses nothing else after it has been lost, either. */
static bool demands_registered(struct ist_connection_object *self) {
    return self->wanted == IST_TRANSPORT_RDMA || moves_by_rdma(self, true);
}

struct ist_job_memory ist_connection_memory(struct ist_connection_object *connection) {
    return (struct ist_job_memory){.registered = &connection->registered,
                                   .values_too = demands_registered(connection)};
}

/* OSError keeps a pair as errno, here a status, and text. */
static void raise_refusal(enum ist_status status, const char *text) {
    PyObject *pair = Py_BuildValue("is", (int)status, text);
    if (pair != NULL) {
        PyErr_SetObject(PyExc_ConnectionError, pair);
        Py_DECREF(pair);
    }
}

/* Client(endpoints, connect_timeout_ns, request_timeout_ns, transport, device, port, link, gid_index, on_warning) */
static PyObject *connection_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    unsigned long long connect_timeout_ns, request_timeout_ns;
    unsigned transport, link;
    int gid_index;
    PyObject *on_warning;
    struct ist_client_options options = {0};
    (void)kwargs;
    if (!PyArg_ParseTuple(args, "sKKIzIIiO:Client", &options.endpoints, &connect_timeout_ns,
                          &request_timeout_ns, &transport, &options.device, &options.port, &link,
                          &gid_index, &on_warning)) {
        return NULL;
    }
    PyObject *object = allocate(type, on_warning);
    if (object == NULL) {
        return NULL;
    }
    struct ist_connection_object *self = (struct ist_connection_object *)object;
    options.connect_timeout_ns = connect_timeout_ns;
    options.request_timeout_ns = request_timeout_ns;
    options.transport = (enum ist_transport)transport;
    options.link = (enum ist_client_link)link;
    options.use_gid_index = gid_index >= 0;
    options.gid_index = gid_index >= 0 ? (unsigned)gid_index : 0;
    options.warn = keep_warning;
    options.warn_arg = self;
    self->wanted = options.transport;
    char error[ERROR_BYTES] = "";
    PyThreadState *thread = PyEval_SaveThread();
    enum ist_status status = ist_client_new(&options, &self->client, error, sizeof(error));
    PyEval_RestoreThread(thread);
    if (status != IST_OK) {
        raise_refusal(status, error);
        Py_DECREF(object);
        return NULL;
    }
    tell_warning(self);
    return object;
}

static PyObject *connection_close(PyObject *object, PyObject *unused) {
    (void)unused;
    struct ist_connection_object *self = (struct ist_connection_object *)object;
    if (self->client != NULL && !self->closing) {
        self->closing = true;
        if (self->users == 0) {
            release(self);
        }
    }
    Py_RETURN_NONE;
}

/* ---- calls --------------------------------------------------------------------------------------------- */

static int run(struct ist_connection_object *self, struct ist_job *job, uint64_t timeout_ns) {
    struct ist_client *client = ist_connection_enter(self);
    if (client == NULL) {
        return IST_PEER;
    }
    PyThreadState *thread = PyEval_SaveThread();
    enum ist_status status = ist_job_run(job, client, timeout_ns);
    PyEval_RestoreThread(thread);
    ist_connection_leave(self);
    return (int)status;
}

/* call(kind, keys, values, flags, timeout_ns) */
static PyObject *connection_call(PyObject *object, PyObject *const *args, Py_ssize_t count) {
    struct ist_connection_object *self = (struct ist_connection_object *)object;
    uint64_t kind, numbers[2];
    if (count != 5) {
        PyErr_SetString(PyExc_TypeError, "call(kind, keys, values, flags, timeout_ns)");
        return NULL;
    }
    if (!ist_number_of(args[0], &kind) || !ist_numbers_of(args + 3, 2, numbers, 2)) {
        return NULL;
    }
    const struct ist_job_memory memory = ist_connection_memory(self);
    struct ist_job *job;
    int status = ist_job_new((unsigned)kind, args[1], args[2], (unsigned)numbers[0], &memory, &job);
    if (status == IST_JOB_EXCEPTION) {
        return NULL;
    }
    if (status == IST_OK) {
        status = run(self, job, numbers[1]);
    }
    PyObject *result = ist_answer(status, ist_job_detail(job, status));
    ist_job_free(job);
    return result;
}

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * IST_NS_PER_SEC + (uint64_t)now.tv_nsec;
}

/* One try to get a value into new memory. buffer: the caller's, with any answer but EXCEPTION. */
static int read_into(struct ist_connection_object *self, struct ist_get_item *item, uint64_t timeout_ns,
                     PyObject **buffer) {
    *buffer = PyByteArray_FromStringAndSize(NULL, (Py_ssize_t)item->buffer_bytes);
    if (*buffer == NULL) {
        return IST_JOB_EXCEPTION;
    }
    item->buffer = PyByteArray_AsString(*buffer);
    struct ist_client *client = ist_connection_enter(self);
    if (client == NULL) {
        return IST_PEER;
    }
    PyThreadState *thread = PyEval_SaveThread();
    enum ist_status status = ist_get(client, item, 1, timeout_ns);
    PyEval_RestoreThread(thread);
    ist_connection_leave(self);
    return (int)status;
}

/* read(key, timeout_ns): (status, bytearray), or (status, None). A value may be replaced by a longer one between
 * two tries. */
static PyObject *connection_read(PyObject *object, PyObject *const *args, Py_ssize_t count) {
    struct ist_connection_object *self = (struct ist_connection_object *)object;
    struct ist_get_item item = {.buffer_bytes = self->expected_bytes};
    uint64_t timeout_ns;
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "read(key, timeout_ns)");
        return NULL;
    }
    if (!ist_number_of(args[1], &timeout_ns) || !ist_job_key(args[0], &item.key)) {
        return NULL;
    }
    uint64_t start_ns = now_ns(), left_ns = timeout_ns;
    PyObject *buffer = NULL;
    int status = IST_TOO_SMALL;
    for (int i = 0; i < READ_TRIES && status == IST_TOO_SMALL && left_ns > 0; i++) {
        Py_XDECREF(buffer);
        status = read_into(self, &item, left_ns, &buffer);
        item.buffer_bytes = status == IST_TOO_SMALL ? item.value_bytes : item.buffer_bytes;
        uint64_t spent_ns = now_ns() - start_ns;
        left_ns = spent_ns < timeout_ns ? timeout_ns - spent_ns : 0;
    }
    if (status == IST_OK && PyByteArray_Resize(buffer, (Py_ssize_t)item.value_bytes) == 0) {
        self->expected_bytes =
            item.value_bytes > EXPECTED_BYTES_MIN ? item.value_bytes : EXPECTED_BYTES_MIN;
        return ist_answer(status, buffer);
    }
    Py_XDECREF(buffer);
    if (status == IST_JOB_EXCEPTION || status == IST_OK) {
        return NULL;
    }
    return ist_answer(status == IST_TOO_SMALL ? IST_TIMEOUT : status, ist_none());
}

static PyObject *connection_purge(PyObject *object, PyObject *const *args, Py_ssize_t count) {
    struct ist_connection_object *self = (struct ist_connection_object *)object;
    uint64_t timeout_ns, purged = 0;
    if (!ist_numbers_of(args, count, &timeout_ns, 1)) {
        return NULL;
    }
    enum ist_status status = IST_PEER;
    struct ist_client *client = ist_connection_enter(self);
    if (client != NULL) {
        PyThreadState *thread = PyEval_SaveThread();
        status = ist_purge(client, &purged, timeout_ns);
        PyEval_RestoreThread(thread);
        ist_connection_leave(self);
    }
    return ist_answer((int)status, PyLong_FromUnsignedLongLong(purged));
}

static PyObject *connection_ping(PyObject *object, PyObject *const *args, Py_ssize_t count) {
    struct ist_connection_object *self = (struct ist_connection_object *)object;
    uint64_t timeout_ns;
    if (!ist_numbers_of(args, count, &timeout_ns, 1)) {
        return NULL;
    }
    enum ist_status status = IST_PEER;
    struct ist_client *client = ist_connection_enter(self);
    if (client != NULL) {
        PyThreadState *thread = PyEval_SaveThread();
        status = ist_ping(client, timeout_ns);
        PyEval_RestoreThread(thread);
        ist_connection_leave(self);
    }
    return ist_answer((int)status, ist_none());
}

static PyObject *dictionary_of(const struct ist_metrics *metrics) {
    PyObject *dictionary = PyDict_New();
    for (size_t i = 0; dictionary != NULL && metrics != NULL && i < metrics->count; i++) {
        PyObject *value = PyFloat_FromDouble(metrics->items[i].value);
        if (value == NULL || PyDict_SetItemString(dictionary, metrics->items[i].name, value) != 0) {
            Py_CLEAR(dictionary);
        }
        Py_XDECREF(value);
    }
    return dictionary;
}

static PyObject *connection_stat(PyObject *object, PyObject *const *args, Py_ssize_t count) {
    struct ist_connection_object *self = (struct ist_connection_object *)object;
    uint64_t timeout_ns;
    if (!ist_numbers_of(args, count, &timeout_ns, 1)) {
        return NULL;
    }
    enum ist_status status = IST_PEER;
    struct ist_metrics *metrics = NULL;
    struct ist_client *client = ist_connection_enter(self);
    if (client != NULL) {
        PyThreadState *thread = PyEval_SaveThread();
        status = ist_stat(client, &metrics, timeout_ns);
        PyEval_RestoreThread(thread);
        ist_connection_leave(self);
    }
    PyObject *result = ist_answer((int)status, dictionary_of(metrics));
    ist_metrics_free(metrics);
    return result;
}

/* ---- figures ------------------------------------------------------------------------------------------- */

static PyObject *connection_incarnation(PyObject *object, void *unused) {
    (void)unused;
    struct ist_connection_object *self = (struct ist_connection_object *)object;
    uint64_t incarnation = 0;
    struct ist_client *client = ist_connection_enter(self);
    if (client != NULL) {
        PyThreadState *thread = PyEval_SaveThread();
        incarnation = ist_client_incarnation(client);
        PyEval_RestoreThread(thread);
        ist_connection_leave(self);
    }
    return PyLong_FromUnsignedLongLong(incarnation);
}

static PyObject *connection_closed(PyObject *object, void *unused) {
    (void)unused;
    const struct ist_connection_object *self = (struct ist_connection_object *)object;
    return PyBool_FromLong(self->client == NULL || self->closing);
}

static PyObject *connection_is_rdma(PyObject *object, void *unused) {
    (void)unused;
    return PyBool_FromLong(moves_by_rdma((struct ist_connection_object *)object, false));
}

static PyObject *connection_demands_registered(PyObject *object, void *unused) {
    (void)unused;
    return PyBool_FromLong(demands_registered((struct ist_connection_object *)object));
}

static PyMethodDef methods[] = {
    {"call", FAST_METHOD(connection_call),
     "call(kind, keys, values, flags, timeout_ns): (status, detail)"},
    {"read", FAST_METHOD(connection_read), "read(key, timeout_ns): (status, bytearray or None)"},
    {"purge", FAST_METHOD(connection_purge), "purge(timeout_ns): (status, how many keys went)"},
    {"ping", FAST_METHOD(connection_ping), "ping(timeout_ns): (status, None)"},
    {"stat", FAST_METHOD(connection_stat), "stat(timeout_ns): (status, {name: value})"},
    {"register", FAST_METHOD(ist_memory_method_register), "register(address, bytes): status"},
    {"unregister", FAST_METHOD(ist_memory_method_unregister), "unregister(address, bytes): status"},
    {"register_dmabuf", FAST_METHOD(ist_memory_method_register_dmabuf),
     "register_dmabuf(fd, offset, address, bytes): status"},
    {"close", connection_close, METH_NOARGS, "Ends what is in flight; calls that block finish."},
    {0},
};

static PyGetSetDef properties[] = {
    {"incarnation", connection_incarnation, NULL, "Of the server's process; 0: not connected.", NULL},
    {"is_rdma", connection_is_rdma, NULL, "Values move by RDMA now.", NULL},
    {"demands_registered", connection_demands_registered, NULL,
     "Values must lie in registered memory: they move by RDMA, or may by the next request.", NULL},
    {"closed", connection_closed, NULL, "close() was called.", NULL},
    {0},
};

static PyType_Slot slots[] = {
    {Py_tp_doc,
     "Client(endpoints, connect_timeout_ns, request_timeout_ns, transport, device, port, link, "
     "gid_index, on_warning): connects."},
    {Py_tp_new, connection_new},
    {Py_tp_dealloc, connection_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {0, NULL},
};

PyType_Spec ist_connection_spec = {
    .name = "infinistore._infinistore.Client",
    .basicsize = sizeof(struct ist_connection_object),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = slots,
};
