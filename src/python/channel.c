#include "python/channel.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "python/arguments.h"
#include "python/connection.h"
#include "python/job.h"

struct ist_channel {
    PyObject ob_base;
    struct ist_connection_object *connection; /* owned */
    int client_fd, event_fd;                  /* client_fd: a duplicate, it outlives the client */
    size_t in_flight; /* submitted and not yet taken; guarded by the interpreter's lock */

    pthread_mutex_t lock; /* never held together with another */
    struct ist_job *first, *last;
    bool attending; /* process() is at work and will look at the list */
    bool event_set;
};

/* ---- the library's callback ------------------------------------------------------------------------------ */

/* In any thread, without the interpreter's lock. */
static void done(void *arg, enum ist_status status) {
    struct ist_job *job = arg;
    struct ist_channel *channel = job->channel;
    job->status = status;
    job->next = NULL;
    pthread_mutex_lock(&channel->lock);
    *(channel->last == NULL ? &channel->first : &channel->last->next) = job;
    channel->last = job;
    if (!channel->attending && !channel->event_set) {
        channel->event_set = true;
        ssize_t written = write(channel->event_fd, &(uint64_t){1}, sizeof(uint64_t));
        (void)written; /* cannot fail: the counter is 0 */
    }
    pthread_mutex_unlock(&channel->lock);
}

static void attend(struct ist_channel *channel) {
    pthread_mutex_lock(&channel->lock);
    channel->attending = true;
    if (channel->event_set) {
        uint64_t count;
        ssize_t got = read(channel->event_fd, &count, sizeof(count));
        (void)got;
        channel->event_set = false;
    }
    pthread_mutex_unlock(&channel->lock);
}

static struct ist_job *take(struct ist_channel *channel) {
    pthread_mutex_lock(&channel->lock);
    struct ist_job *first = channel->first;
    channel->first = channel->last = NULL;
    channel->attending = false;
    pthread_mutex_unlock(&channel->lock);
    return first;
}

/* ---- from the loop --------------------------------------------------------------------------------------- */

static int submit(struct ist_channel *self, struct ist_job *job, uint64_t timeout_ns) {
    struct ist_client *client = ist_connection_enter(self->connection);
    if (client == NULL) {
        return IST_PEER;
    }
    enum ist_status status;
    Py_INCREF((PyObject *)self);
    job->channel = self;
    self->in_flight++;
    PyThreadState *thread = PyEval_SaveThread();
    status = ist_job_submit(job, client, timeout_ns, done); /* from here on `job` may be done */
    PyEval_RestoreThread(thread);
    if (status != IST_OK) {
        self->in_flight--;
    }
    ist_connection_leave(self->connection);
    return (int)status;
}

/* submit(future, kind, keys, values, flags, timeout_ns): None, or (status, detail) when it was refused */
static PyObject *channel_submit(PyObject *object, PyObject *const *args, Py_ssize_t count) {
    struct ist_channel *self = (struct ist_channel *)object;
    if (count != 6) {
        PyErr_SetString(PyExc_TypeError, "submit(future, kind, keys, values, flags, timeout_ns)");
        return NULL;
    }
    unsigned long kind = PyLong_AsUnsignedLong(args[1]), flags = PyLong_AsUnsignedLong(args[4]);
    unsigned long long timeout_ns = PyLong_AsUnsignedLongLong(args[5]);
    if (PyErr_Occurred() != NULL) {
        return NULL;
    }
    const struct ist_job_memory memory = ist_connection_memory(self->connection);
    struct ist_job *job;
    int status = ist_job_new((unsigned)kind, args[2], args[3], (unsigned)flags, &memory, &job);
    if (status == IST_JOB_EXCEPTION) {
        return NULL;
    }
    if (status == IST_OK) {
        Py_INCREF(args[0]);
        job->future = args[0];
        status = submit(self, job, timeout_ns);
        if (status == IST_OK) {
            Py_RETURN_NONE;
        }
    }
    PyObject *result = ist_answer(status, ist_job_detail(job, status));
    ist_job_free(job);
    return result;
}

/* (future, status, detail) of each, appended. False: an exception; what follows is lost, which only happens when memory
 * has run out. */
static bool append(PyObject *list, struct ist_job *job) {
    PyObject *detail = ist_job_detail(job, (int)job->status);
    PyObject *triple =
        detail == NULL ? NULL : Py_BuildValue("OiO", job->future, (int)job->status, detail);
    bool appended = triple != NULL && PyList_Append(list, triple) == 0;
    Py_XDECREF(detail);
    Py_XDECREF(triple);
    return appended;
}

/* process(): [(future, status, detail), ...] of what is done */
static PyObject *channel_process(PyObject *object, PyObject *unused) {
    (void)unused;
    struct ist_channel *self = (struct ist_channel *)object;
    PyObject *list = PyList_New(0);
    if (list == NULL) {
        return NULL;
    }
    attend(self);
    struct ist_client *client = ist_connection_enter(self->connection);
    if (client != NULL) {
        PyThreadState *thread = PyEval_SaveThread();
        (void)ist_client_process(client);
        PyEval_RestoreThread(thread);
        ist_connection_leave(self->connection);
    }
    bool complete = true;
    for (struct ist_job *job = take(self), *next; job != NULL; job = next) {
        next = job->next;
        self->in_flight--;
        complete = append(list, job) && complete;
        ist_job_free(job);
    }
    if (!complete) {
        Py_DECREF(list);
        return NULL;
    }
    return list;
}

/* ---- life ---------------------------------------------------------------------------------------------- */

static PyObject *channel_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    PyObject *connection, *connection_type = ist_module_connection_type(type);
    (void)kwargs;
    if (connection_type == NULL ||
        !PyArg_ParseTuple(args, "O!:Channel", connection_type, &connection)) {
        return NULL;
    }
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    struct ist_channel *self = (struct ist_channel *)allocate(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->client_fd = self->event_fd = -1;
    pthread_mutex_init(&self->lock, NULL); /* cannot fail: man pthread_mutex_init, glibc */
    Py_INCREF(connection);
    self->connection = (struct ist_connection_object *)connection;
    if (self->connection->client == NULL || self->connection->closing) {
        PyErr_SetString(PyExc_ConnectionError, "closed");
        goto fail;
    }
    self->client_fd = fcntl(ist_client_fd(self->connection->client), F_DUPFD_CLOEXEC, 0);
    self->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (self->client_fd < 0 || self->event_fd < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        goto fail;
    }
    return (PyObject *)self;

fail:
    Py_DECREF((PyObject *)self);
    return NULL;
}

static void close_fds(struct ist_channel *self) {
    if (self->client_fd >= 0) {
        close(self->client_fd);
    }
    if (self->event_fd >= 0) {
        close(self->event_fd);
    }
    self->client_fd = self->event_fd = -1;
}

/* Nothing is in flight: each job holds a reference. */
static void channel_dealloc(PyObject *object) {
    struct ist_channel *self = (struct ist_channel *)object;
    PyTypeObject *type = Py_TYPE(object);
    close_fds(self);
    pthread_mutex_destroy(&self->lock);
    Py_XDECREF((PyObject *)self->connection);
    freefunc free_object = (freefunc)PyType_GetSlot(type, Py_tp_free);
    free_object(object);
    Py_DECREF((PyObject *)type);
}

static PyObject *channel_client_fd(PyObject *object, void *unused) {
    (void)unused;
    return PyLong_FromLong(((struct ist_channel *)object)->client_fd);
}

static PyObject *channel_event_fd(PyObject *object, void *unused) {
    (void)unused;
    return PyLong_FromLong(((struct ist_channel *)object)->event_fd);
}

static PyObject *channel_in_flight(PyObject *object, void *unused) {
    (void)unused;
    return PyLong_FromSize_t(((struct ist_channel *)object)->in_flight);
}

static PyMethodDef methods[] = {
    {"submit", FAST_METHOD(channel_submit),
     "submit(future, kind, keys, values, flags, timeout_ns): None, or (status, detail) when refused"},
    {"process", channel_process, METH_NOARGS,
     "process(): [(future, status, detail), ...] of what is done"},
    {0},
};

static PyGetSetDef properties[] = {
    {"client_fd", channel_client_fd, NULL, "Readable: the client has something to do.", NULL},
    {"event_fd", channel_event_fd, NULL, "Readable: requests are done.", NULL},
    {"in_flight", channel_in_flight, NULL, "Submitted and not yet handed out by process().", NULL},
    {0},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "Channel(client): the requests of one event loop."},
    {Py_tp_new, channel_new},
    {Py_tp_dealloc, channel_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {0, NULL},
};

PyType_Spec ist_channel_spec = {
    .name = "infinistore._infinistore.Channel",
    .basicsize = sizeof(struct ist_channel),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = slots,
};
