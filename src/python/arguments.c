#include "python/arguments.h"

bool ist_number_of(PyObject *object, uint64_t *value) {
    unsigned long long result = PyLong_AsUnsignedLongLong(object);
    *value = result;
    return result != (unsigned long long)-1 || PyErr_Occurred() == NULL;
}

bool ist_numbers_of(PyObject *const *args, Py_ssize_t given, uint64_t *values, Py_ssize_t wanted) {
    if (given != wanted) {
        PyErr_Format(PyExc_TypeError, "%zd arguments are wanted", wanted);
        return false;
    }
    for (Py_ssize_t i = 0; i < wanted; i++) {
        if (!ist_number_of(args[i], &values[i])) {
            return false;
        }
    }
    return true;
}

PyObject *ist_answer(int status, PyObject *detail) {
    if (detail == NULL) {
        return NULL;
    }
    PyObject *pair = Py_BuildValue("iO", status, detail);
    Py_DECREF(detail);
    return pair;
}

PyObject *ist_none(void) {
    Py_INCREF(Py_None);
    return Py_None;
}
