/* libibverbs' numbers as this room says them. For the files of this room only. */
#ifndef IST_VERBS_ATTRIBUTES_H
#define IST_VERBS_ATTRIBUTES_H

#include <infiniband/verbs.h>
#include <stdint.h>

/* 0: no MTU that there is. */
static inline uint32_t ist_mtu_bytes(enum ibv_mtu mtu) {
    return mtu >= IBV_MTU_256 && mtu <= IBV_MTU_4096 ? 128u << mtu : 0;
}

/* Capabilities are signed, for no reason. */
static inline uint32_t ist_positive(int value) {
    return value > 0 ? (uint32_t)value : 0;
}

#endif
