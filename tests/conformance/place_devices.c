/* Real devices as the place: those of CONFORMANCE_DEVICES=a,b, else the first two with an active port 1, else the only
 * one, connected to itself. */
#include "tests/conformance/conformance.h"

#include <stdio.h>
#include <stdlib.h>

static char names[2][IBV_SYSFS_NAME_MAX];

int place_rounds(void) {
    return 1;
}

static bool is_active(struct ibv_device *device) {
    struct ibv_port_attr port;
    struct ibv_context *context = ibv_open_device(device);
    if (context == NULL) {
        return false;
    }
    bool active = ibv_query_port(context, 1, &port) == 0 && port.state == IBV_PORT_ACTIVE;
    ibv_close_device(context);
    return active;
}

bool place_begin(int round) {
    (void)round;
    const char *asked = getenv("CONFORMANCE_DEVICES");
    if (asked != NULL && sscanf(asked, "%63[^,],%63s", names[0], names[1]) == 2) {
        return true;
    }
    int devices = 0, found = 0;
    struct ibv_device **list = ibv_get_device_list(&devices);
    for (int i = 0; i < devices && found < 2; i++) {
        if (is_active(list[i])) {
            snprintf(names[found++], sizeof(names[0]), "%s", ibv_get_device_name(list[i]));
        }
    }
    if (list != NULL) {
        ibv_free_device_list(list);
    }
    if (found == 0) {
        fprintf(stderr, "no RDMA device with an active port\n");
        return false;
    }
    if (found == 1) {
        memcpy(names[1], names[0], sizeof(names[0]));
    }
    return true;
}

void place_end(void) {
}

void place_names(const char *name[2]) {
    name[0] = names[0];
    name[1] = names[1];
}
