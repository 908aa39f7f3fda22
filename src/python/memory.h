/* Methods of Client that make memory known to it, and take that back. They answer a status, and keep the table of
 * registered.h what the library's own is. */
#ifndef IST_PYTHON_MEMORY_H
#define IST_PYTHON_MEMORY_H

#include "python/native.h"

/* register(address, bytes) */
PyObject *ist_memory_method_register(PyObject *object, PyObject *const *args, Py_ssize_t count);
/* register_dmabuf(fd, offset, address, bytes) */
PyObject *ist_memory_method_register_dmabuf(PyObject *object, PyObject *const *args, Py_ssize_t count);
/* unregister(address, bytes) */
PyObject *ist_memory_method_unregister(PyObject *object, PyObject *const *args, Py_ssize_t count);

#endif
