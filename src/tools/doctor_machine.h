/* What of this machine, beside its devices, decides whether RDMA works: read from /proc, /sys and /dev. */
#ifndef IST_TOOLS_DOCTOR_MACHINE_H
#define IST_TOOLS_DOCTOR_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A module of the kernel. */
enum ist_doctor_module {
    IST_DOCTOR_MODULE_UNKNOWN, /* not loaded; whether it could be is not to be seen from here (a container) */
    IST_DOCTOR_MODULE_ABSENT, /* this kernel does not have it */
    IST_DOCTOR_MODULE_FOUND,  /* it can be loaded */
    IST_DOCTOR_MODULE_LOADED, /* or built in */
};

/* The device files by which programs reach RDMA devices, /dev/infiniband/uverbs*. */
enum ist_doctor_nodes { IST_DOCTOR_NODES_NONE, IST_DOCTOR_NODES_DENIED, IST_DOCTOR_NODES_GOOD };

#define IST_DOCTOR_INTERFACES_MAX 64u
#define IST_DOCTOR_NO_LIMIT UINT64_MAX

struct ist_doctor_interface {
    uint32_t index;
    char name[16];
    uint32_t mtu_bytes;
    bool is_up, is_ethernet; /* Ethernet: not loopback, a tunnel, ... */
};

struct ist_doctor_machine {
    char kernel[65];
    bool is_container;
    uint64_t memory_bytes;
    /* RDMA */
    bool has_class_infiniband, has_class_verbs; /* ib_core and ib_uverbs are there */
    unsigned devices; /* that the kernel has, whether we may use them or not */
    enum ist_doctor_module uverbs, rxe;
    enum ist_doctor_nodes nodes;
    char denied[64]; /* DENIED: the first one */
    /* memory */
    uint64_t memlock_bytes, memlock_bytes_max; /* soft and hard limit, or IST_DOCTOR_NO_LIMIT */
    bool may_lock;                             /* CAP_IPC_LOCK: the limit does not count */
    uint64_t huge_page_bytes, huge_pages, huge_pages_free;
    char transparent[16]; /* huge pages: "always", "madvise", "never"; "" where the kernel has none */
    /* GPUs */
    bool has_nvidia, has_amd;
    bool has_peer_memory; /* nvidia_peermem, nv_peer_mem, or amdgpu's own */
    /* network interfaces of this namespace */
    struct ist_doctor_interface interfaces[IST_DOCTOR_INTERFACES_MAX];
    size_t interfaces_count;
};

/* root: what stands before /proc, /sys, /dev and /lib; "" but in tests. Limits and the kernel's name are always this
 * process's. What cannot be read is taken as absent. */
void ist_doctor_machine_read(const char *root, struct ist_doctor_machine *machine);

/* NULL: none of this index. */
const struct ist_doctor_interface *
ist_doctor_machine_interface(const struct ist_doctor_machine *machine, uint32_t index);

#endif
