/* infinistore._infinistore.Client: a client of the C library as a Python object.
 *
 * Any thread may call it; the interpreter's lock is let go of while the library works. close() may come at any time:
 * whoever is in a call finishes it, the last one frees. */
#ifndef IST_PYTHON_CONNECTION_H
#define IST_PYTHON_CONNECTION_H

#include "python/native.h"
#include "python/regions.h"

struct ist_connection_object {
    PyObject ob_base;
    struct ist_client *client; /* NULL: closed */
    size_t users;              /* in a call, without the interpreter's lock */
    bool closing;
    uint64_t expected_bytes; /* of the next value whose length is not known */
    struct ist_regions regions;
};

extern PyType_Spec ist_connection_spec;

/* Between these the client is not freed, and the lock may be let go of. NULL: closed, do not leave. */
struct ist_client *ist_connection_enter(struct ist_connection_object *connection);
void ist_connection_leave(struct ist_connection_object *connection);

#endif
