#include <string.h>

#include "base/size.h"
#include "tools/doctor_findings.h"

/* Below this not even a small pool can be registered; a large one needs more than any limit that one would set. */
#define MEMLOCK_BYTES_MIN (256ull << 20)

static const char memlock_advice[] =
    "for this shell and what it starts: ulimit -l unlimited\n"
    "for good: a line \"* - memlock unlimited\" in /etc/security/limits.d/rdma.conf, and log in again\n"
    "a systemd service: LimitMEMLOCK=infinity; a container: --ulimit memlock=-1";

static void judge_memlock(const struct ist_doctor_machine *machine, bool has_devices,
                          struct ist_doctor_findings *findings) {
    static const char subject[] = "locked memory";
    char limit[IST_SIZE_TEXT_MAX];
    if (machine->memlock_bytes == IST_DOCTOR_NO_LIMIT) {
        ist_doctor_add(findings, IST_DOCTOR_OK, subject, NULL, "no limit");
        return;
    }
    ist_size_text(machine->memlock_bytes, limit);
    if (machine->may_lock) {
        ist_doctor_add(
            findings, IST_DOCTOR_OK, subject, NULL,
            "the limit of %s (ulimit -l) does not count for this user, who has CAP_IPC_LOCK; it "
            "does for others",
            limit);
        return;
    }
    bool is_small = machine->memlock_bytes < MEMLOCK_BYTES_MIN;
    ist_doctor_add(findings, has_devices && is_small ? IST_DOCTOR_PROBLEM : IST_DOCTOR_WARNING, subject,
                   memlock_advice,
                   "limited to %s (ulimit -l): the pool, and a client's buffers, must be locked to be "
                   "registered, and what is larger is refused",
                   limit);
}

static void judge_huge_pages(const struct ist_doctor_machine *machine,
                             struct ist_doctor_findings *findings) {
    static const char subject[] = "huge pages";
    char page[IST_SIZE_TEXT_MAX], reserved[IST_SIZE_TEXT_MAX];
    ist_size_text(machine->huge_page_bytes, page);
    ist_size_text(machine->huge_page_bytes * machine->huge_pages_free, reserved);
    bool has_transparent =
        strcmp(machine->transparent, "always") == 0 || strcmp(machine->transparent, "madvise") == 0;
    if (machine->huge_pages_free > 0) {
        ist_doctor_add(findings, IST_DOCTOR_OK, subject, NULL, "%s reserved and free, of %s each%s",
                       reserved, page, has_transparent ? "; transparent ones, too" : "");
    } else if (has_transparent) {
        ist_doctor_add(findings, IST_DOCTOR_OK, subject, NULL,
                       "transparent ones (%s); none are reserved", machine->transparent);
    } else {
        ist_doctor_add(
            findings, IST_DOCTOR_WARNING, subject,
            "echo madvise >/sys/kernel/mm/transparent_hugepage/enabled\n"
            "or reserve as many as the pool needs: sysctl vm.nr_hugepages=N",
            "none: registering the pool takes longer, and cards look up addresses more slowly");
    }
}

static void judge_gpus(const struct ist_doctor_machine *machine, struct ist_doctor_findings *findings) {
    static const char subject[] = "GPU memory";
    if (!machine->has_nvidia && !machine->has_amd) {
        ist_doctor_add(findings, IST_DOCTOR_OK, subject, NULL,
                       "no GPU is seen here: nothing is needed");
    } else if (machine->has_peer_memory || (machine->has_amd && !machine->has_nvidia)) {
        ist_doctor_add(findings, IST_DOCTOR_OK, subject, NULL,
                       "peer memory: GPU pointers can be registered as they are");
    } else {
        ist_doctor_add(
            findings, IST_DOCTOR_WARNING, subject,
            "modprobe nvidia_peermem\n"
            "or register it by dma-buf, where kernel, driver and card support that (see the devices)",
            "no peer memory module: GPU pointers cannot be registered as they are");
    }
}

void ist_doctor_judge_machine(const struct ist_doctor_machine *machine, bool has_devices,
                              struct ist_doctor_findings *findings) {
    judge_memlock(machine, has_devices, findings);
    judge_huge_pages(machine, findings);
    judge_gpus(machine, findings);
}
