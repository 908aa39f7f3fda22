/* infinistore._infinistore.Client: a client of the C library as a Python object.
 *
 * Any thread may call it; the interpreter's lock is let go of while the library works. close() may come at any time:
 * whoever is in a call finishes it, the last one frees. What the library warns of is handed to Python by the next who
 * leaves a call, with the interpreter's lock. */
#ifndef IST_PYTHON_CONNECTION_H
#define IST_PYTHON_CONNECTION_H

#include <pthread.h>

#include "python/job.h"
#include "python/native.h"
#include "python/registered.h"

#define IST_CONNECTION_WARNING_BYTES 512

struct ist_connection_object {
    PyObject ob_base;
    struct ist_client *client; /* NULL: closed */
    size_t users;              /* in a call, without the interpreter's lock */
    bool closing;
    enum ist_transport wanted;
    uint64_t expected_bytes; /* of the next value whose length is not known */
    struct ist_registered registered;

    PyObject *on_warning;         /* owned: is called with a line */
    pthread_mutex_t warning_lock; /* guards: */
    bool warned;
    char warning[IST_CONNECTION_WARNING_BYTES];
};

extern PyType_Spec ist_connection_spec;

/* Between these the client is not freed, and the lock may be let go of. NULL: closed, do not leave. */
struct ist_client *ist_connection_enter(struct ist_connection_object *connection);
void ist_connection_leave(struct ist_connection_object *connection);

/* Where the values of a job may lie now. */
struct ist_job_memory ist_connection_memory(struct ist_connection_object *connection);

#endif
