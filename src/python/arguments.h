/* What methods take and answer. */
#ifndef IST_PYTHON_ARGUMENTS_H
#define IST_PYTHON_ARGUMENTS_H

#include "python/native.h"

/* A number that is not negative. False: an exception. */
bool ist_number_of(PyObject *object, uint64_t *value);

/* As many numbers as there are arguments. False: an exception. */
bool ist_numbers_of(PyObject *const *args, Py_ssize_t given, uint64_t *values, Py_ssize_t wanted);

/* (status, detail). detail: taken over; NULL: there is an exception already, and so is the answer. */
PyObject *ist_answer(int status, PyObject *detail);

/* A new reference. */
PyObject *ist_none(void);

#endif
