/* Protection domains and memory regions. */
#include <sys/mman.h>
#include <unistd.h>

#include "sim/hca/objects.h"

#undef ibv_reg_mr
#undef ibv_reg_mr_iova

/* ---- protection domains -------------------------------------------------------------------------- */

static struct ibv_pd *alloc_pd(struct ibv_context *context) {
    struct ist_hca *hca = hca_of(context);
    struct hca_pd *pd = ist_allocate_zeroed(hca->config.alloc, 1, sizeof(*pd));
    if (pd == NULL) {
        return NULL;
    }
    pd->pd.context = context;
    pd->pd.handle = (uint32_t)++hca_device(context)->pds;
    hca_context(context)->objects++;
    hca->counts.pds++;
    return &pd->pd;
}

struct ibv_pd *ibv_alloc_pd(struct ibv_context *context) {
    struct ist_hca *hca = hca_enter();
    struct ist_hca_device *device = hca_device(context);
    struct ibv_pd *pd = NULL;
    int error = hca_context_gone(context) ? EIO : ENOMEM;
    if (!hca_fails(hca, IST_HCA_CALL_CREATE, __func__) && error == ENOMEM &&
        device->pds < device->config.max_pd) {
        pd = alloc_pd(context);
    }
    hca_leave();
    if (pd == NULL) {
        errno = error;
    }
    return pd;
}

int ibv_dealloc_pd(struct ibv_pd *pd) {
    struct ibv_context *context = pd->context;
    struct ist_hca *hca = hca_enter();
    int error = EBUSY;
    if (hca_pd(pd)->users == 0) {
        error = hca_fails(hca, IST_HCA_CALL_DESTROY, __func__) ? EIO : 0;
        hca_device(context)->pds--;
        hca_context(context)->objects--;
        hca->counts.pds--;
        ist_release(hca->config.alloc, hca_pd(pd));
    }
    hca_leave();
    return error;
}

/* ---- memory regions ------------------------------------------------------------------------------ */

#define PAGES_AT_ONCE 1024

/* Whether the kernel could pin it. */
static bool is_mapped(const void *addr, size_t bytes) {
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t end = (uintptr_t)addr + bytes;
    unsigned char resident[PAGES_AT_ONCE];
    for (uintptr_t at = (uintptr_t)addr & ~(page - 1); at < end; at += PAGES_AT_ONCE * page) {
        uintptr_t rest = end - at;
        size_t piece = rest < PAGES_AT_ONCE * page ? rest : PAGES_AT_ONCE * page;
        if (mincore((void *)at, piece, resident) != 0) {
            return false;
        }
    }
    return true;
}

#define ACCESS_REMOTE_CHANGE (IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC)
#define ACCESS_KNOWN                                                                                   \
    (IBV_ACCESS_LOCAL_WRITE | ACCESS_REMOTE_CHANGE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_MW_BIND |     \
     IBV_ACCESS_OPTIONAL_RANGE)

/* 0 or an errno value. man reg_mr: LOCAL_WRITE must be set when REMOTE_WRITE or REMOTE_ATOMIC is. */
static int check_registration(const struct ist_hca_device *device, uintptr_t addr, size_t length,
                              uint64_t iova, unsigned access) {
    if ((access & ~(unsigned)ACCESS_KNOWN) != 0) {
        return (access & (IBV_ACCESS_ON_DEMAND | IBV_ACCESS_ZERO_BASED)) != 0 ? EOPNOTSUPP : EINVAL;
    }
    if ((access & ACCESS_REMOTE_CHANGE) != 0 && (access & IBV_ACCESS_LOCAL_WRITE) == 0) {
        return EINVAL;
    }
    if (length == 0 || length > device->config.max_mr_size || addr + length < addr ||
        iova + length < iova) {
        return EINVAL;
    }
    return device->mrs < device->config.max_mr ? 0 : ENOMEM;
}

/* A region, with its keys, of nothing yet. NULL: no memory. */
static struct hca_mr *new_mr(struct ibv_pd *pd) {
    struct ist_hca *hca = hca_of(pd->context);
    struct hca_mr *mr = ist_allocate_zeroed(hca->config.alloc, 1, sizeof(*mr));
    if (mr == NULL) {
        return NULL;
    }
    if (!hca_numbers_add(&hca->lkeys, mr, &mr->mr.lkey)) {
        goto free_mr;
    }
    if (!hca_numbers_add(&hca->rkeys, mr, &mr->mr.rkey)) {
        goto remove_lkey;
    }
    mr->mr.context = pd->context;
    mr->mr.pd = pd;
    mr->mr.handle = (uint32_t)++hca_device(pd->context)->mrs;
    hca_pd(pd)->users++;
    hca->counts.mrs++;
    return mr;

remove_lkey:
    hca_numbers_remove(&hca->lkeys, mr->mr.lkey);
free_mr:
    ist_release(hca->config.alloc, mr);
    return NULL;
}

static struct ibv_mr *register_memory(struct ibv_pd *pd, void *addr, size_t length, uint64_t iova,
                                      unsigned access, const char *function) {
    struct ist_hca *hca = hca_enter();
    struct hca_mr *mr = NULL;
    int error = check_registration(hca_device(pd->context), (uintptr_t)addr, length, iova, access);
    hca_wait_for_pages(hca, hca_device(pd->context));
    if (hca_fails(hca, IST_HCA_CALL_REGISTER, function)) {
        error = ENOMEM;
    } else if (hca_context_gone(pd->context)) {
        error = EIO;
    } else if (error == 0 && !is_mapped(addr, length)) {
        error = EFAULT;
    } else if (error == 0) {
        mr = new_mr(pd);
        error = ENOMEM;
    }
    if (mr != NULL) {
        mr->mr.addr = addr;
        mr->mr.length = length;
        mr->iova = iova;
        mr->access = access;
        hca_note(hca, "register", mr->mr.lkey, length, access);
    }
    hca_leave();
    if (mr == NULL) {
        errno = error;
        return NULL;
    }
    return &mr->mr;
}

struct ibv_mr *ibv_reg_mr(struct ibv_pd *pd, void *addr, size_t length, int access) {
    return register_memory(pd, addr, length, (uintptr_t)addr, (unsigned)access, __func__);
}

struct ibv_mr *ibv_reg_mr_iova(struct ibv_pd *pd, void *addr, size_t length, uint64_t iova,
                               int access) {
    return register_memory(pd, addr, length, iova, (unsigned)access, __func__);
}

struct ibv_mr *ibv_reg_mr_iova2(struct ibv_pd *pd, void *addr, size_t length, uint64_t iova,
                                unsigned int access) {
    return register_memory(pd, addr, length, iova, access, __func__);
}

/* Any descriptor that can be mapped plays GPU memory. */
struct ibv_mr *ibv_reg_dmabuf_mr(struct ibv_pd *pd, uint64_t offset, size_t length, uint64_t iova,
                                 int fd, int access) {
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    const uint64_t before = offset % page;
    if (!hca_device(pd->context)->config.dmabuf) {
        errno = EOPNOTSUPP;
        return NULL;
    }
    size_t bytes = (size_t)(before + length);
    uint8_t *mapping =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)(offset - before));
    if (mapping == MAP_FAILED) {
        return NULL;
    }
    struct ibv_mr *mr = register_memory(pd, mapping + before, length, iova, (unsigned)access, __func__);
    if (mr == NULL) {
        int error = errno;
        munmap(mapping, bytes);
        errno = error;
        return NULL;
    }
    struct hca_mr *it = HCA_CONTAINER(mr, struct hca_mr, mr);
    it->mapping = mapping;
    it->mapping_bytes = bytes;
    mr->addr = NULL; /* as libibverbs leaves it; see base_of() */
    return mr;
}

int ibv_dereg_mr(struct ibv_mr *mr) {
    struct hca_mr *it = HCA_CONTAINER(mr, struct hca_mr, mr);
    struct ist_hca *hca = hca_enter();
    int error = hca_fails(hca, IST_HCA_CALL_DESTROY, __func__) ? EIO : 0;
    hca_note(hca, "deregister", mr->lkey, 0, 0);
    hca_numbers_remove(&hca->lkeys, mr->lkey);
    hca_numbers_remove(&hca->rkeys, mr->rkey);
    hca_pd(mr->pd)->users--;
    hca_device(mr->context)->mrs--;
    hca->counts.mrs--;
    if (it->mapping != NULL) {
        munmap(it->mapping, it->mapping_bytes);
    }
    ist_release(hca->config.alloc, it);
    hca_leave();
    return error;
}

/* ---- access -------------------------------------------------------------------------------------- */

static uint8_t *base_of(const struct hca_mr *mr) {
    if (mr->mapping != NULL) {
        return (uint8_t *)mr->mapping + (mr->mapping_bytes - mr->mr.length);
    }
    return mr->mr.addr;
}

static uint8_t *reach(struct hca_mr *mr, struct ibv_pd *pd, uint64_t addr, uint64_t bytes,
                      unsigned access) {
    if (mr == NULL || mr->mr.pd != pd || (mr->access & access) != access) {
        return NULL;
    }
    if (addr < mr->iova || bytes > mr->mr.length || addr - mr->iova > mr->mr.length - bytes) {
        return NULL;
    }
    return base_of(mr) + (addr - mr->iova);
}

uint8_t *hca_local(struct ibv_pd *pd, uint32_t lkey, uint64_t addr, uint64_t bytes, unsigned access) {
    return reach(hca_numbers_find(&hca_of(pd->context)->lkeys, lkey), pd, addr, bytes, access);
}

uint8_t *hca_remote(struct ibv_pd *pd, uint32_t rkey, uint64_t addr, uint64_t bytes, unsigned access) {
    return reach(hca_numbers_find(&hca_of(pd->context)->rkeys, rkey), pd, addr, bytes, access);
}
