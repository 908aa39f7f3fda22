#include "infinistore/status.h"

const char *ist_status_name(enum ist_status status) {
    switch (status) {
    case IST_OK: return "OK";
    case IST_AGAIN: return "AGAIN";
    case IST_NOT_FOUND: return "NOT_FOUND";
    case IST_EXISTS: return "EXISTS";
    case IST_NO_SPACE: return "NO_SPACE";
    case IST_TOO_BIG: return "TOO_BIG";
    case IST_TOO_SMALL: return "TOO_SMALL";
    case IST_INVALID: return "INVALID";
    case IST_NO_MEMORY: return "NO_MEMORY";
    case IST_PROTOCOL: return "PROTOCOL";
    case IST_PEER: return "PEER";
    case IST_TIMEOUT: return "TIMEOUT";
    case IST_DEVICE: return "DEVICE";
    case IST_CONFIG: return "CONFIG";
    }
    return "UNKNOWN";
}

const char *ist_status_text(enum ist_status status) {
    switch (status) {
    case IST_OK: return "done";
    case IST_AGAIN: return "try again later";
    case IST_NOT_FOUND: return "no such key";
    case IST_EXISTS: return "the key exists";
    case IST_NO_SPACE: return "the pool is full and everything in it is in use";
    case IST_TOO_BIG: return "the value is larger than the pool";
    case IST_TOO_SMALL: return "the buffer is shorter than the value";
    case IST_INVALID: return "an argument is outside its limits";
    case IST_NO_MEMORY: return "out of memory";
    case IST_PROTOCOL: return "the peer does not speak this protocol";
    case IST_PEER: return "no connection to the peer";
    case IST_TIMEOUT: return "the deadline passed";
    case IST_DEVICE: return "the RDMA device is missing or failed";
    case IST_CONFIG: return "an option is wrong";
    }
    return "unknown status";
}
