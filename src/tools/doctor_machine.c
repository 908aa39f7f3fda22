#include "tools/doctor_machine.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#define PATH_BYTES 1024
#define TEXT_BYTES 8192
#define CAP_IPC_LOCK_BIT 14 /* man capabilities; linux/capability.h */
#define ARPHRD_ETHER_TYPE 1 /* linux/if_arp.h */
#define ENTRIES_MAX 4096u   /* of a directory: more are not looked at */

__attribute__((format(printf, 3, 4))) static void make_path(char path[PATH_BYTES], const char *root,
                                                            const char *format, ...) {
    va_list arguments;
    int used = snprintf(path, PATH_BYTES, "%s", root);
    if (used < 0 || used >= PATH_BYTES) {
        path[0] = '\0';
        return;
    }
    va_start(arguments, format);
    vsnprintf(path + used, (size_t)(PATH_BYTES - used), format, arguments);
    va_end(arguments);
}

static bool exists(const char *root, const char *name) {
    char path[PATH_BYTES];
    make_path(path, root, "%s", name);
    return access(path, F_OK) == 0;
}

/* The file's first bytes as a string, "" when it cannot be read. */
static bool read_text(const char *path, char text[TEXT_BYTES]) {
    text[0] = '\0';
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    ssize_t bytes = read(fd, text, TEXT_BYTES - 1);
    close(fd);
    text[bytes < 0 ? 0 : bytes] = '\0';
    return bytes >= 0;
}

/* The number behind "name:" in a text of lines; 0 when there is none. */
static uint64_t number_of(const char *text, const char *name, int base) {
    size_t length = strlen(name);
    for (const char *line = text; line != NULL && *line != '\0';) {
        if (strncmp(line, name, length) == 0 && line[length] == ':') {
            return strtoull(line + length + 1, NULL, base);
        }
        line = strchr(line, '\n');
        line = line == NULL ? NULL : line + 1;
    }
    return 0;
}

static uint64_t number_in(const char *root, const char *directory, const char *name, const char *file) {
    char path[PATH_BYTES], text[TEXT_BYTES];
    make_path(path, root, "%s/%s/%s", directory, name, file);
    return read_text(path, text) ? strtoull(text, NULL, 10) : 0;
}

/* ---- modules and devices ---------------------------------------------------------------------------- */

/* Is "/name.ko" in one of the files that say which modules there are? */
static bool is_listed(const char *path, const char *name) {
    FILE *file = fopen(path, "re");
    char line[TEXT_BYTES], wanted[64];
    bool found = false;
    snprintf(wanted, sizeof(wanted), "/%s.ko", name);
    while (file != NULL && !found && fgets(line, sizeof(line), file) != NULL) {
        line[strcspn(line, ": \n")] = '\0'; /* what it depends on does not count */
        found = strstr(line, wanted) != NULL;
    }
    if (file != NULL) {
        fclose(file);
    }
    return found;
}

static enum ist_doctor_module module_of(const char *root, const char *kernel, const char *name) {
    char path[PATH_BYTES];
    make_path(path, root, "/sys/module/%s", name);
    if (access(path, F_OK) == 0) {
        return IST_DOCTOR_MODULE_LOADED;
    }
    make_path(path, root, "/lib/modules/%s/modules.builtin", kernel);
    if (is_listed(path, name)) {
        return IST_DOCTOR_MODULE_LOADED;
    }
    make_path(path, root, "/lib/modules/%s/modules.dep", kernel);
    if (access(path, R_OK) != 0) {
        return IST_DOCTOR_MODULE_UNKNOWN;
    }
    return is_listed(path, name) ? IST_DOCTOR_MODULE_FOUND : IST_DOCTOR_MODULE_ABSENT;
}

static unsigned count_entries(const char *root, const char *name) {
    char path[PATH_BYTES];
    make_path(path, root, "%s", name);
    DIR *directory = opendir(path);
    unsigned count = 0;
    while (directory != NULL && count < ENTRIES_MAX) {
        const struct dirent *entry = readdir(directory);
        if (entry == NULL) {
            break;
        }
        count += entry->d_name[0] != '.';
    }
    if (directory != NULL) {
        closedir(directory);
    }
    return count;
}

static void read_nodes(const char *root, struct ist_doctor_machine *machine) {
    char path[PATH_BYTES];
    make_path(path, root, "/dev/infiniband");
    DIR *directory = opendir(path);
    for (unsigned i = 0; directory != NULL && i < ENTRIES_MAX; i++) {
        const struct dirent *entry = readdir(directory);
        if (entry == NULL) {
            break;
        }
        if (strncmp(entry->d_name, "uverbs", 6) != 0) {
            continue;
        }
        make_path(path, root, "/dev/infiniband/%s", entry->d_name);
        if (access(path, R_OK | W_OK) == 0) {
            machine->nodes =
                machine->nodes == IST_DOCTOR_NODES_NONE ? IST_DOCTOR_NODES_GOOD : machine->nodes;
        } else {
            machine->nodes = IST_DOCTOR_NODES_DENIED;
            snprintf(machine->denied, sizeof(machine->denied), "/dev/infiniband/%.40s", entry->d_name);
        }
    }
    if (directory != NULL) {
        closedir(directory);
    }
}

static void read_rdma(const char *root, struct ist_doctor_machine *machine) {
    machine->has_class_infiniband = exists(root, "/sys/class/infiniband");
    machine->has_class_verbs = exists(root, "/sys/class/infiniband_verbs");
    machine->devices = count_entries(root, "/sys/class/infiniband");
    machine->uverbs = module_of(root, machine->kernel, "ib_uverbs");
    machine->rxe = module_of(root, machine->kernel, "rdma_rxe");
    if (machine->has_class_verbs) {
        machine->uverbs =
            IST_DOCTOR_MODULE_LOADED; /* built in, which not every kernel tells otherwise */
    }
    read_nodes(root, machine);
}

/* ---- memory ----------------------------------------------------------------------------------------- */

static uint64_t limit_of(rlim_t limit) {
    return limit == RLIM_INFINITY ? IST_DOCTOR_NO_LIMIT : (uint64_t)limit;
}

static void read_memory(const char *root, struct ist_doctor_machine *machine) {
    char path[PATH_BYTES], text[TEXT_BYTES];
    struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
    (void)getrlimit(RLIMIT_MEMLOCK, &limit);
    machine->memlock_bytes = limit_of(limit.rlim_cur);
    machine->memlock_bytes_max = limit_of(limit.rlim_max);
    make_path(path, root, "/proc/self/status");
    if (read_text(path, text)) {
        machine->may_lock = (number_of(text, "CapEff", 16) >> CAP_IPC_LOCK_BIT & 1) != 0;
    }
    make_path(path, root, "/proc/meminfo");
    if (read_text(path, text)) {
        machine->memory_bytes = number_of(text, "MemTotal", 10) << 10;
        machine->huge_page_bytes = number_of(text, "Hugepagesize", 10) << 10;
        machine->huge_pages = number_of(text, "HugePages_Total", 10);
        machine->huge_pages_free = number_of(text, "HugePages_Free", 10);
    }
    make_path(path, root, "/sys/kernel/mm/transparent_hugepage/enabled");
    if (read_text(path, text)) { /* "always [madvise] never" */
        const char *open = strchr(text, '[');
        size_t length = open == NULL ? 0 : strcspn(open + 1, "]\n");
        snprintf(machine->transparent, sizeof(machine->transparent), "%.*s", (int)length,
                 open == NULL ? "" : open + 1);
    }
}

static void read_gpus(const char *root, struct ist_doctor_machine *machine) {
    machine->has_nvidia = exists(root, "/proc/driver/nvidia") || exists(root, "/dev/nvidiactl");
    machine->has_amd = exists(root, "/dev/kfd");
    machine->has_peer_memory = exists(root, "/sys/module/nvidia_peermem") ||
                               exists(root, "/sys/module/nv_peer_mem") ||
                               exists(root, "/sys/kernel/mm/memory_peers");
}

/* ---- network interfaces ------------------------------------------------------------------------------- */

static void read_interfaces(const char *root, struct ist_doctor_machine *machine) {
    static const char class[] = "/sys/class/net";
    char path[PATH_BYTES], text[TEXT_BYTES];
    make_path(path, root, "%s", class);
    DIR *directory = opendir(path);
    for (unsigned i = 0; directory != NULL && i < ENTRIES_MAX; i++) {
        const struct dirent *entry = readdir(directory);
        if (entry == NULL || machine->interfaces_count == IST_DOCTOR_INTERFACES_MAX) {
            break;
        }
        struct ist_doctor_interface *interface = &machine->interfaces[machine->interfaces_count];
        if (entry->d_name[0] == '.' || strlen(entry->d_name) >= sizeof(interface->name)) {
            continue;
        }
        *interface = (struct ist_doctor_interface){
            .index = (uint32_t)number_in(root, class, entry->d_name, "ifindex"),
            .mtu_bytes = (uint32_t)number_in(root, class, entry->d_name, "mtu"),
            .is_ethernet = number_in(root, class, entry->d_name, "type") == ARPHRD_ETHER_TYPE};
        snprintf(interface->name, sizeof(interface->name), "%.15s", entry->d_name);
        make_path(path, root, "%s/%s/operstate", class, entry->d_name);
        interface->is_up = read_text(path, text) && strncmp(text, "down", 4) != 0;
        machine->interfaces_count += interface->index != 0;
    }
    if (directory != NULL) {
        closedir(directory);
    }
}

const struct ist_doctor_interface *
ist_doctor_machine_interface(const struct ist_doctor_machine *machine, uint32_t index) {
    for (size_t i = 0; i < machine->interfaces_count; i++) {
        if (machine->interfaces[i].index == index) {
            return &machine->interfaces[i];
        }
    }
    return NULL;
}

void ist_doctor_machine_read(const char *root, struct ist_doctor_machine *machine) {
    struct utsname name;
    *machine = (struct ist_doctor_machine){0};
    if (uname(&name) == 0) {
        snprintf(machine->kernel, sizeof(machine->kernel), "%s", name.release);
    }
    machine->is_container = exists(root, "/.dockerenv") || exists(root, "/run/.containerenv") ||
                            exists(root, "/var/run/secrets/kubernetes.io");
    read_rdma(root, machine);
    read_memory(root, machine);
    read_gpus(root, machine);
    read_interfaces(root, machine);
}
