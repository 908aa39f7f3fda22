#include "python/memory.h"

#include "python/arguments.h"
#include "python/connection.h"

/* (address, bytes), both sensible. */
static bool region_of(PyObject *const *args, Py_ssize_t count, uint64_t region[2]) {
    uint64_t end;
    if (!ist_numbers_of(args, count, region, 2)) {
        return false;
    }
    if (region[0] == 0 || region[1] == 0 || __builtin_add_overflow(region[0], region[1], &end)) {
        PyErr_SetString(PyExc_ValueError, "no such memory");
        return false;
    }
    return true;
}

/* What a call on a range answers. */
typedef enum ist_status (*region_call_fn)(struct ist_client *client, void *address, size_t bytes);

static int call_on_region(struct ist_connection_object *self, region_call_fn call,
                          const uint64_t region[2]) {
    struct ist_client *client = ist_connection_enter(self);
    if (client == NULL) {
        return IST_PEER;
    }
    PyThreadState *thread = PyEval_SaveThread();
    enum ist_status status = call(client, (void *)(uintptr_t)region[0], region[1]);
    PyEval_RestoreThread(thread);
    ist_connection_leave(self);
    return (int)status;
}

static enum ist_status unregister_memory(struct ist_client *client, void *address, size_t bytes) {
    return ist_memory_unregister(client, address, bytes);
}

/* Keeps in the own table what the library has taken into its own. */
static PyObject *remember(struct ist_connection_object *self, int status, const uint64_t region[2]) {
    if (status == IST_OK && ist_registered_reserve(&self->registered)) {
        ist_registered_add(&self->registered, region[0], region[1]);
    } else if (status == IST_OK) {
        (void)call_on_region(self, unregister_memory, region);
        status = IST_NO_MEMORY;
    }
    return PyLong_FromLong(status);
}

PyObject *ist_memory_method_register(PyObject *object, PyObject *const *args, Py_ssize_t count) {
    struct ist_connection_object *self = (struct ist_connection_object *)object;
    uint64_t region[2];
    if (!region_of(args, count, region)) {
        return NULL;
    }
    return remember(self, call_on_region(self, ist_memory_register, region), region);
}

/* register_dmabuf(fd, offset, address, bytes) */
PyObject *ist_memory_method_register_dmabuf(PyObject *object, PyObject *const *args, Py_ssize_t count) {
    struct ist_connection_object *self = (struct ist_connection_object *)object;
    uint64_t file[2], region[2];
    if (count != 4) {
        PyErr_SetString(PyExc_TypeError, "register_dmabuf(fd, offset, address, bytes)");
        return NULL;
    }
    if (!ist_numbers_of(args, 2, file, 2) || !region_of(args + 2, 2, region)) {
        return NULL;
    }
    int status = IST_PEER;
    struct ist_client *client = ist_connection_enter(self);
    if (client != NULL) {
        PyThreadState *thread = PyEval_SaveThread();
        enum ist_status answered = ist_memory_register_dmabuf(client, (int)file[0], file[1], region[1],
                                                              (void *)(uintptr_t)region[0]);
        PyEval_RestoreThread(thread);
        ist_connection_leave(self);
        status = (int)answered;
    }
    return remember(self, status, region);
}

PyObject *ist_memory_method_unregister(PyObject *object, PyObject *const *args, Py_ssize_t count) {
    struct ist_connection_object *self = (struct ist_connection_object *)object;
    uint64_t region[2];
    if (!region_of(args, count, region)) {
        return NULL;
    }
    int status = call_on_region(self, unregister_memory, region);
    if (status == IST_OK) {
        ist_registered_remove(&self->registered, region[0], region[1]);
    }
    return PyLong_FromLong(status);
}
