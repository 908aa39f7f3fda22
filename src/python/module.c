/* infinistore._infinistore: the types and constants, for the Python side of the package alone. */
#include "python/channel.h"
#include "python/connection.h"
#include "python/job.h"

struct state {
    PyObject *connection_type; /* owned */
};

PyMODINIT_FUNC PyInit__infinistore(void);

PyObject *ist_module_connection_type(PyTypeObject *channel_type) {
    const struct state *state = PyType_GetModuleState(channel_type);
    return state == NULL ? NULL : state->connection_type;
}

static const struct {
    const char *name;
    long value;
} constants[] = {
    {"PUT", IST_JOB_PUT},
    {"GET", IST_JOB_GET},
    {"PUT_BLOCKS", IST_JOB_PUT_BLOCKS},
    {"GET_BLOCKS", IST_JOB_GET_BLOCKS},
    {"EXISTS", IST_JOB_EXISTS},
    {"MATCH_PREFIX", IST_JOB_MATCH_PREFIX},
    {"MATCH_LAST", IST_JOB_MATCH_LAST},
    {"REMOVE", IST_JOB_REMOVE},
    {"NOT_REGISTERED", IST_JOB_NOT_REGISTERED},
    {"TRANSPORT_TCP", IST_TRANSPORT_TCP},
    {"TRANSPORT_RDMA", IST_TRANSPORT_RDMA},
    {"TRANSPORT_AUTO", IST_TRANSPORT_AUTO},
    {"LINK_ANY", IST_CLIENT_LINK_ANY},
    {"LINK_ETHERNET", IST_CLIENT_LINK_ETHERNET},
    {"IF_ABSENT", IST_IF_ABSENT},
    {"KEYS_PER_REQUEST_MAX", IST_KEYS_PER_REQUEST_MAX},
};

static PyObject *status_text(PyObject *module, PyObject *number) {
    (void)module;
    long status = PyLong_AsLong(number);
    if (status == -1 && PyErr_Occurred() != NULL) {
        return NULL;
    }
    return PyUnicode_FromString(ist_status_text((enum ist_status)status));
}

static PyMethodDef functions[] = {
    {"status_text", status_text, METH_O, "status_text(status): one plain sentence"},
    {0},
};

static bool add_type(PyObject *module, PyType_Spec *spec, const char *name, PyObject **kept) {
    PyObject *type = PyType_FromModuleAndSpec(module, spec, NULL);
    if (type == NULL) {
        return false;
    }
    bool added = PyModule_AddObjectRef(module, name, type) == 0;
    if (added && kept != NULL) {
        *kept = type;
    } else {
        Py_DECREF(type);
    }
    return added;
}

static int execute(PyObject *module) {
    struct state *state = PyModule_GetState(module);
    if (!add_type(module, &ist_connection_spec, "Client", &state->connection_type) ||
        !add_type(module, &ist_channel_spec, "Channel", NULL) ||
        PyModule_AddStringConstant(module, "VERSION", IST_VERSION) != 0) {
        return -1;
    }
    for (size_t i = 0; i < COUNT_OF(constants); i++) {
        if (PyModule_AddIntConstant(module, constants[i].name, constants[i].value) != 0) {
            return -1;
        }
    }
    return 0;
}

static int traverse(PyObject *module, visitproc visit, void *arg) {
    struct state *state = PyModule_GetState(module);
    Py_VISIT(state->connection_type);
    return 0;
}

static int clear(PyObject *module) {
    struct state *state = PyModule_GetState(module);
    Py_CLEAR(state->connection_type);
    return 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, execute},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "infinistore._infinistore",
    .m_doc = "The C client of InfiniStore; use the package's classes instead.",
    .m_size = sizeof(struct state),
    .m_methods = functions,
    .m_slots = slots,
    .m_traverse = traverse,
    .m_clear = clear,
};

PyMODINIT_FUNC PyInit__infinistore(void) {
    return PyModuleDef_Init(&definition);
}
