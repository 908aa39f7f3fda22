#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/size.h"
#include "tools/doctor_findings.h"
#include "tools/doctor_names.h"

/* What the daemon would like of a device; it makes do with less. */
#define QUEUE_PAIR_WR_GOOD 64u
#define REGISTRATION_BYTES_GOOD (1ull << 30)
#define MTU_BYTES_GOOD 2048u

/* An interface for the example of a soft-RoCE device: one that is up and Ethernet, else any name. */
static const char *example_interface(const struct ist_doctor_machine *machine) {
    for (size_t i = 0; i < machine->interfaces_count; i++) {
        if (machine->interfaces[i].is_up && machine->interfaces[i].is_ethernet) {
            return machine->interfaces[i].name;
        }
    }
    return "eth0";
}

/* ---- no device -------------------------------------------------------------------------------------- */

static void judge_modules(const struct ist_doctor_machine *machine,
                          struct ist_doctor_findings *findings) {
    static const char subject[] = "kernel";
    static const char load[] = "modprobe ib_uverbs\n"
                               "at each start: echo ib_uverbs >/etc/modules-load.d/rdma.conf";
    if (machine->has_class_verbs) {
        ist_doctor_add(findings, IST_DOCTOR_OK, subject, NULL,
                       "RDMA for programs (ib_uverbs) is there");
        return;
    }
    switch (machine->uverbs) {
    case IST_DOCTOR_MODULE_FOUND:
        ist_doctor_add(findings, IST_DOCTOR_PROBLEM, subject, load,
                       "its RDMA for programs (ib_uverbs) is not loaded");
        break;
    case IST_DOCTOR_MODULE_ABSENT:
        ist_doctor_add(
            findings, IST_DOCTOR_PROBLEM, subject,
            "install the modules that belong to this kernel (Ubuntu: linux-modules-extra-$(uname -r);\n"
            "Debian: a kernel whose name does not end in -cloud), or one with CONFIG_INFINIBAND and\n"
            "CONFIG_INFINIBAND_USER_ACCESS; then modprobe ib_uverbs",
            "%s has no RDMA: there is no module ib_uverbs", machine->kernel);
        break;
    case IST_DOCTOR_MODULE_UNKNOWN:
    case IST_DOCTOR_MODULE_LOADED:
        ist_doctor_add(
            findings, IST_DOCTOR_PROBLEM, subject,
            "on the host, where the kernel's modules are: modprobe ib_uverbs",
            "%s shows no RDMA (no /sys/class/infiniband_verbs), and its modules cannot be seen "
            "from here%s",
            machine->kernel, machine->is_container ? ", a container" : "");
        break;
    }
}

static void advise_device(const struct ist_doctor_machine *machine,
                          struct ist_doctor_findings *findings) {
    char advice[IST_DOCTOR_TEXT_MAX];
    snprintf(
        advice, sizeof(advice),
        "a card: lspci | grep -i -e infiniband -e ethernet; then load its driver, as modprobe mlx5_ib\n"
        "without a card, for tests: %srdma link add rxe0 type rxe netdev %s",
        machine->rxe == IST_DOCTOR_MODULE_ABSENT
            ? "a kernel with the module rdma_rxe, which this one lacks; there "
            : "modprobe rdma_rxe && ",
        example_interface(machine));
    ist_doctor_add(findings, IST_DOCTOR_PROBLEM, "devices", advice, "the kernel has no RDMA device");
}

static void judge_no_device(const struct ist_doctor_facts *facts,
                            struct ist_doctor_findings *findings) {
    const struct ist_doctor_machine *machine = facts->machine;
    if (!machine->has_class_verbs || machine->devices == 0) {
        advise_device(machine, findings);
        return;
    }
    switch (machine->nodes) {
    case IST_DOCTOR_NODES_NONE:
        ist_doctor_add(
            findings, IST_DOCTOR_PROBLEM, "devices",
            "a container: docker run --device=/dev/infiniband --ulimit memlock=-1 ..., or a device "
            "plugin of Kubernetes\n"
            "else: udevadm trigger, and look at ls -l /dev/infiniband",
            "the kernel has %u, but no device file /dev/infiniband/uverbs* is here", machine->devices);
        break;
    case IST_DOCTOR_NODES_DENIED:
        ist_doctor_add(
            findings, IST_DOCTOR_PROBLEM, "devices",
            "usermod -aG rdma USER, and log in again; or chmod 666 /dev/infiniband/uverbs*, which "
            "rdma-core's udev rules do",
            "this user may not open %s", machine->denied);
        break;
    case IST_DOCTOR_NODES_GOOD:
        ist_doctor_add(findings, IST_DOCTOR_PROBLEM, "devices",
                       "install the libraries' drivers (Debian: ibverbs-providers; RHEL: libibverbs)\n"
                       "in a container they must be of the host's rdma-core or newer",
                       "the kernel has %u, but libibverbs finds none%s%s", machine->devices,
                       facts->survey->error == 0 ? "" : ": ",
                       facts->survey->error == 0 ? "" : strerror(facts->survey->error));
        break;
    }
}

/* ---- GIDs ------------------------------------------------------------------------------------------- */

struct tally {
    size_t usable, first_version, elsewhere;
    enum ist_gid_rank best;
};

static struct tally tally_of(const struct ist_survey_port *port) {
    struct tally tally = {.best = IST_GID_UNUSABLE};
    for (size_t i = 0; i < port->gids_count; i++) {
        const struct ist_gid_entry *gid = &port->gids[i];
        enum ist_gid_rank rank = ist_gid_rank(gid, NULL, NULL);
        tally.usable += rank != IST_GID_UNUSABLE;
        tally.first_version += gid->type == IST_GID_ROCE_V1;
        tally.elsewhere += gid->type != IST_GID_ROCE_V1 && !gid->is_here;
        tally.best = rank > tally.best ? rank : tally.best;
    }
    return tally;
}

static const char address_advice[] =
    "give its network interface an address: ip address add 10.0.0.1/24 dev NETDEV\n"
    "and switch it on: ip link set NETDEV up";

static void judge_gids(const char *subject, const struct ist_survey_port *port,
                       struct ist_doctor_findings *findings) {
    struct tally tally = tally_of(port);
    if (tally.best == IST_GID_LINK_LOCAL && port->link == IST_DEVICE_LINK_ETHERNET) {
        ist_doctor_add(
            findings, IST_DOCTOR_WARNING, subject, address_advice,
            "its only usable GIDs are link-local: they reach machines on the same link, no others");
    } else if (tally.usable > 0) {
        ist_doctor_add(findings, IST_DOCTOR_OK, subject, NULL, "%zu of its %zu GIDs can be used",
                       tally.usable, port->gids_count);
    } else if (tally.elsewhere > 0) {
        ist_doctor_add(
            findings, IST_DOCTOR_PROBLEM, subject,
            "a container: run it in the host's network (--network=host), or give it an interface of\n"
            "the card (macvlan, SR-IOV); look at: rdma system, rdma dev set DEVICE netns NAME",
            "its GIDs belong to a network interface of another network namespace");
    } else if (tally.first_version > 0) {
        ist_doctor_add(
            findings, IST_DOCTOR_PROBLEM, subject,
            "give its network interface an IP address; a card that offers no v2 then is too old, or "
            "set "
            "to v1\n(mlx4: options mlx4_core roce_mode=2)",
            "all its GIDs are of RoCE v1, which does not cross routers and v2 peers do not hear");
    } else {
        ist_doctor_add(findings, IST_DOCTOR_PROBLEM, subject, address_advice, "it has no GID");
    }
}

/* ---- ports and devices -------------------------------------------------------------------------------- */

static const char *advice_for_state(const struct ist_survey_port *port) {
    bool waits = port->state == IST_PORT_INITIALISING || port->state == IST_PORT_ARMED;
    if (port->link == IST_DEVICE_LINK_INFINIBAND) {
        return waits ? "a subnet manager must run somewhere in the fabric: systemctl start opensm"
                     : "look at the cable and the switch: ibstat, iblinkinfo";
    }
    return "switch its network interface on, and look at the cable: ip link set NETDEV up; ethtool "
           "NETDEV";
}

/* severity: of a port that does not work; less when another one does. */
static void judge_port(const struct ist_survey_device *device, const struct ist_survey_port *port,
                       enum ist_doctor_level severity, struct ist_doctor_findings *findings) {
    char subject[96];
    snprintf(subject, sizeof(subject), "%s port %u", device->name, port->number);
    if (port->error != 0) {
        ist_doctor_add(findings, severity, subject, NULL, "it cannot be asked: %s",
                       strerror(port->error));
        return;
    }
    if (port->state != IST_PORT_ACTIVE) {
        ist_doctor_add(findings, severity, subject, advice_for_state(port), "it is %s",
                       ist_doctor_state_name(port->state));
        return;
    }
    if (port->link == IST_DEVICE_LINK_INFINIBAND && port->lid == 0) {
        ist_doctor_add(findings, severity, subject,
                       "a subnet manager must run somewhere in the fabric: systemctl start opensm",
                       "it has no LID");
    }
    if (port->link == IST_DEVICE_LINK_ETHERNET && port->mtu_bytes < MTU_BYTES_GOOD &&
        port->mtu_bytes < port->mtu_bytes_max) {
        ist_doctor_add(
            findings, IST_DOCTOR_WARNING, subject,
            "raise that of the network interface on every machine, where the switches allow it:\n"
            "ip link set NETDEV mtu 4200 (or 9000)",
            "its RDMA MTU is %u, and could be %u", port->mtu_bytes, port->mtu_bytes_max);
    }
    judge_gids(subject, port, findings);
}

static void judge_limits(const struct ist_survey_device *device, struct ist_doctor_findings *findings) {
    const struct ist_device_limits *limits = &device->limits;
    if (limits->reads_out == 0 || limits->reads_in == 0) {
        ist_doctor_add(findings, IST_DOCTOR_PROBLEM, device->name, NULL,
                       "it has no RDMA READ, by which values are put");
    } else if (limits->srq_wr == 0) {
        ist_doctor_add(findings, IST_DOCTOR_PROBLEM, device->name, NULL,
                       "it has no shared receive queues, which the server needs");
    } else if (limits->queue_pair_wr < QUEUE_PAIR_WR_GOOD ||
               limits->registration_bytes < REGISTRATION_BYTES_GOOD) {
        ist_doctor_add(findings, IST_DOCTOR_WARNING, device->name, NULL,
                       "small: %u requests a queue pair, regions of %llu bytes", limits->queue_pair_wr,
                       (unsigned long long)limits->registration_bytes);
    } else {
        ist_doctor_add(findings, IST_DOCTOR_OK, device->name, NULL,
                       "its capabilities suffice; dma-buf (GPU memory): %s",
                       device->dmabuf == IST_DMABUF_YES  ? "yes"
                       : device->dmabuf == IST_DMABUF_NO ? "no"
                                                         : "not to be found out");
    }
    if (device->is_soft_roce) {
        ist_doctor_add(findings, IST_DOCTOR_WARNING, device->name, NULL,
                       "soft-RoCE: the processor moves the bytes; good for tests, slower than TCP");
    }
}

static bool has_active_port(const struct ist_survey *survey) {
    for (size_t i = 0; i < survey->devices_count; i++) {
        for (size_t k = 0; k < survey->devices[i].ports_count; k++) {
            const struct ist_survey_port *port = &survey->devices[i].ports[k];
            if (port->error == 0 && port->state == IST_PORT_ACTIVE) {
                return true;
            }
        }
    }
    return false;
}

static void judge_device(const struct ist_survey_device *device, enum ist_doctor_level severity,
                         struct ist_doctor_findings *findings) {
    if (device->error == EACCES || device->error == EPERM) {
        ist_doctor_add(findings, severity, device->name,
                       "usermod -aG rdma USER, and log in again; or chmod 666 /dev/infiniband/uverbs*",
                       "this user may not open it");
        return;
    }
    if (device->error != 0) {
        ist_doctor_add(findings, severity, device->name, "dmesg | tail tells more",
                       "it cannot be used: %s", strerror(device->error));
        return;
    }
    judge_limits(device, findings);
    for (size_t i = 0; i < device->ports_count; i++) {
        judge_port(device, &device->ports[i], severity, findings);
    }
}

void ist_doctor_judge_devices(const struct ist_doctor_facts *facts,
                              struct ist_doctor_findings *findings) {
    const struct ist_survey *survey = facts->survey;
    judge_modules(facts->machine, findings);
    if (survey->devices_count == 0) {
        judge_no_device(facts, findings);
        return;
    }
    enum ist_doctor_level severity = has_active_port(survey) ? IST_DOCTOR_WARNING : IST_DOCTOR_PROBLEM;
    for (size_t i = 0; i < survey->devices_count; i++) {
        judge_device(&survey->devices[i], severity, findings);
    }
}
