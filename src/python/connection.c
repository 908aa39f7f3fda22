#include "python/connection.h"

#include <errno.h>
#include <time.h>

#include "python/job.h"

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
    Py_BEGIN_ALLOW_THREADS ist_client_free(client);
    Py_END_ALLOW_THREADS
}

void ist_connection_leave(struct ist_connection_object *connection) {
    connection->users--;
    if (connection->closing && connection->users == 0) {
        release(connection);
    }
}

static PyObject *connection_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    const char *endpoints;
    unsigned long long connect_timeout_ns, request_timeout_ns;
    if (kwargs != NULL && PyDict_Size(kwargs) > 0) {
        PyErr_SetString(PyExc_TypeError, "Client takes no keywords");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "sKK:Client", &endpoints, &connect_timeout_ns, &request_timeout_ns)) {
        return NULL;
    }
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    struct ist_connection_object *self = (struct ist_connection_object *)allocate(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->expected_bytes = EXPECTED_BYTES_MIN;
    struct ist_client_options options = {.endpoints = endpoints,
                                         .connect_timeout_ns = connect_timeout_ns,
                                         .request_timeout_ns = request_timeout_ns};
    char error[ERROR_BYTES] = "";
    enum ist_status status;
    Py_BEGIN_ALLOW_THREADS status = ist_client_new(&options, &self->client, error, sizeof(error));
    Py_END_ALLOW_THREADS if (status != IST_OK) {
        PyErr_Format(PyExc_ConnectionError, "%s", error);
        Py_DECREF((PyObject *)self);
        return NULL;
    }
    return (PyObject *)self;
}

static void connection_dealloc(PyObject *object) {
    struct ist_connection_object *self = (struct ist_connection_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (self->client != NULL) {
        release(self);
    }
    ist_regions_fini(&self->regions);
    freefunc free_object = (freefunc)PyType_GetSlot(type, Py_tp_free);
    free_object(object);
    Py_DECREF((PyObject *)type);
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

static bool number_of(PyObject *object, uint64_t *value) {
    unsigned long long result = PyLong_AsUnsignedLongLong(object);
    *value = result;
    return result != (unsigned long long)-1 || PyErr_Occurred() == NULL;
}

/* As many numbers as there are arguments, all unsigned. */
static bool numbers_of(PyObject *const *args, Py_ssize_t given, uint64_t *values, Py_ssize_t wanted) {
    if (given != wanted) {
        PyErr_Format(PyExc_TypeError, "%zd arguments are wanted", wanted);
        return false;
    }
    for (Py_ssize_t i = 0; i < wanted; i++) {
        if (!number_of(args[i], &values[i])) {
            return false;
        }
    }
    return true;
}

/* (status, detail); detail: stolen. */
static PyObject *answer(int status, PyObject *detail) {
    if (detail == NULL) {
        return NULL;
    }
    PyObject *pair = Py_BuildValue("iO", status, detail);
    Py_DECREF(detail);
    return pair;
}

static PyObject *none(void) {
    Py_INCREF(Py_None);
    return Py_None;
}

static int run(struct ist_connection_object *self, struct ist_job *job, uint64_t timeout_ns) {
    struct ist_client *client = ist_connection_enter(self);
    if (client == NULL) {
        return IST_PEER;
    }
    enum ist_status status;
    Py_BEGIN_ALLOW_THREADS status = ist_job_run(job, client, timeout_ns);
    Py_END_ALLOW_THREADS ist_connection_leave(self);
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
    if (!number_of(args[0], &kind) || !numbers_of(args + 3, 2, numbers, 2)) {
        return NULL;
    }
    struct ist_job *job;
    int status =
        ist_job_new((unsigned)kind, args[1], args[2], (unsigned)numbers[0], &self->regions, &job);
    if (status == -2) {
        return NULL;
    }
    if (status == IST_OK) {
        status = run(self, job, numbers[1]);
    }
    PyObject *result = answer(status, ist_job_detail(job, status));
    ist_job_free(job);
    return result;
}

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * IST_NS_PER_SEC + (uint64_t)now.tv_nsec;
}

/* One try to get a value into new memory. buffer: the caller's, with any answer but an exception (-2). */
static int read_into(struct ist_connection_object *self, struct ist_get_item *item, uint64_t timeout_ns,
                     PyObject **buffer) {
    *buffer = PyByteArray_FromStringAndSize(NULL, (Py_ssize_t)item->buffer_bytes);
    if (*buffer == NULL) {
        return -2;
    }
    item->buffer = PyByteArray_AsString(*buffer);
    struct ist_client *client = ist_connection_enter(self);
    if (client == NULL) {
        return IST_PEER;
    }
    enum ist_status status;
    Py_BEGIN_ALLOW_THREADS status = ist_get(client, item, 1, timeout_ns);
    Py_END_ALLOW_THREADS ist_connection_leave(self);
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
    if (!number_of(args[1], &timeout_ns) || !ist_job_key(args[0], &item.key)) {
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
        return answer(status, buffer);
    }
    Py_XDECREF(buffer);
    if (status == -2 || status == IST_OK) {
        return NULL;
    }
    return answer(status == IST_TOO_SMALL ? IST_TIMEOUT : status, none());
}

static PyObject *connection_purge(PyObject *object, PyObject *const *args, Py_ssize_t count) {
    struct ist_connection_object *self = (struct ist_connection_object *)object;
    uint64_t timeout_ns, purged = 0;
    if (!numbers_of(args, count, &timeout_ns, 1)) {
        return NULL;
    }
    enum ist_status status = IST_PEER;
    struct ist_client *client = ist_connection_enter(self);
    if (client != NULL) {
        Py_BEGIN_ALLOW_THREADS status = ist_purge(client, &purged, timeout_ns);
        Py_END_ALLOW_THREADS ist_connection_leave(self);
    }
    return answer((int)status, PyLong_FromUnsignedLongLong(purged));
}

static PyObject *connection_ping(PyObject *object, PyObject *const *args, Py_ssize_t count) {
    struct ist_connection_object *self = (struct ist_connection_object *)object;
    uint64_t timeout_ns;
    if (!numbers_of(args, count, &timeout_ns, 1)) {
        return NULL;
    }
    enum ist_status status = IST_PEER;
    struct ist_client *client = ist_connection_enter(self);
    if (client != NULL) {
        Py_BEGIN_ALLOW_THREADS status = ist_ping(client, timeout_ns);
        Py_END_ALLOW_THREADS ist_connection_leave(self);
    }
    return answer((int)status, none());
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
    if (!numbers_of(args, count, &timeout_ns, 1)) {
        return NULL;
    }
    enum ist_status status = IST_PEER;
    struct ist_metrics *metrics = NULL;
    struct ist_client *client = ist_connection_enter(self);
    if (client != NULL) {
        Py_BEGIN_ALLOW_THREADS status = ist_stat(client, &metrics, timeout_ns);
        Py_END_ALLOW_THREADS ist_connection_leave(self);
    }
    PyObject *result = answer((int)status, dictionary_of(metrics));
    ist_metrics_free(metrics);
    return result;
}

/* ---- memory -------------------------------------------------------------------------------------------- */

/* (address, bytes), both sensible. */
static bool region_of(PyObject *const *args, Py_ssize_t count, uint64_t region[2]) {
    uint64_t end;
    if (!numbers_of(args, count, region, 2)) {
        return false;
    }
    if (region[0] == 0 || region[1] == 0 || __builtin_add_overflow(region[0], region[1], &end)) {
        PyErr_SetString(PyExc_ValueError, "no such memory");
        return false;
    }
    return true;
}

static PyObject *connection_register(PyObject *object, PyObject *const *args, Py_ssize_t count) {
    struct ist_connection_object *self = (struct ist_connection_object *)object;
    uint64_t region[2];
    if (!region_of(args, count, region)) {
        return NULL;
    }
    return ist_regions_add(&self->regions, region[0], region[1]) ? PyLong_FromLong(IST_OK)
                                                                 : PyErr_NoMemory();
}

static PyObject *connection_unregister(PyObject *object, PyObject *const *args, Py_ssize_t count) {
    struct ist_connection_object *self = (struct ist_connection_object *)object;
    uint64_t region[2];
    if (!region_of(args, count, region)) {
        return NULL;
    }
    return ist_regions_remove(&self->regions, region[0], region[1]) ? PyLong_FromLong(IST_OK)
                                                                    : PyErr_NoMemory();
}

static PyObject *connection_is_registered(PyObject *object, PyObject *const *args, Py_ssize_t count) {
    const struct ist_connection_object *self = (struct ist_connection_object *)object;
    uint64_t region[2];
    if (!region_of(args, count, region)) {
        return NULL;
    }
    return PyBool_FromLong(ist_regions_contain(&self->regions, region[0], region[1]));
}

/* ---- figures ------------------------------------------------------------------------------------------- */

static PyObject *connection_incarnation(PyObject *object, void *unused) {
    (void)unused;
    struct ist_connection_object *self = (struct ist_connection_object *)object;
    uint64_t incarnation = 0;
    struct ist_client *client = ist_connection_enter(self);
    if (client != NULL) {
        Py_BEGIN_ALLOW_THREADS incarnation = ist_client_incarnation(client);
        Py_END_ALLOW_THREADS ist_connection_leave(self);
    }
    return PyLong_FromUnsignedLongLong(incarnation);
}

static PyObject *connection_closed(PyObject *object, void *unused) {
    (void)unused;
    const struct ist_connection_object *self = (struct ist_connection_object *)object;
    return PyBool_FromLong(self->client == NULL || self->closing);
}

static PyMethodDef methods[] = {
    {"call", FAST_METHOD(connection_call),
     "call(kind, keys, values, flags, timeout_ns): (status, detail)"},
    {"read", FAST_METHOD(connection_read), "read(key, timeout_ns): (status, bytearray or None)"},
    {"purge", FAST_METHOD(connection_purge), "purge(timeout_ns): (status, how many keys went)"},
    {"ping", FAST_METHOD(connection_ping), "ping(timeout_ns): (status, None)"},
    {"stat", FAST_METHOD(connection_stat), "stat(timeout_ns): (status, {name: value})"},
    {"register", FAST_METHOD(connection_register), "register(address, bytes): status"},
    {"unregister", FAST_METHOD(connection_unregister), "unregister(address, bytes): status"},
    {"is_registered", FAST_METHOD(connection_is_registered), "is_registered(address, bytes): bool"},
    {"close", connection_close, METH_NOARGS, "Ends what is in flight; calls that block finish."},
    {0},
};

static PyGetSetDef properties[] = {
    {"incarnation", connection_incarnation, NULL, "Of the server's process; 0: not connected.", NULL},
    {"closed", connection_closed, NULL, "close() was called.", NULL},
    {0},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "Client(endpoints, connect_timeout_ns, request_timeout_ns): connects."},
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
