/* infinistore._infinistore.Channel: the asynchronous requests that one event loop has on a client.
 *
 * The loop watches two descriptors and calls process() when one is readable: the client's (there is work for
 * whoever comes first) and the channel's own event. The library may run a request's callback in any thread, also in
 * one that waits in a blocking call; it only puts the request on the channel's list and sets the event. So nothing is ever
 * fired into a loop, running or closed: the loop comes and takes what is done. */
#ifndef IST_PYTHON_CHANNEL_H
#define IST_PYTHON_CHANNEL_H

#include "python/native.h"

extern PyType_Spec ist_channel_spec;

/* For the check of the constructor's argument. */
PyObject *ist_module_connection_type(PyTypeObject *channel_type);

#endif
