/* What every file of the extension module needs: Python through its limited API, the client library, shorthands.
 *
 * The module is a thin layer: it turns keys and buffers into items of the C API, lets go of the interpreter's
 * lock while the library works, and hands back statuses. Policy (exceptions, event loops, limits) is Python's. */
#ifndef IST_PYTHON_NATIVE_H
#define IST_PYTHON_NATIVE_H

/* The buffer protocol is part of the stable ABI since 3.11; older interpreters build for themselves alone. */
#ifndef PY_SSIZE_T_CLEAN
#define PY_SSIZE_T_CLEAN
#endif
#include <Python.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "infinistore/infinistore.h"

/* A method that takes its arguments as an array. */
#define FAST_METHOD(function) ((PyCFunction)(void (*)(void))(function)), METH_FASTCALL

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#endif
