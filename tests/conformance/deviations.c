/* Where a kind of device is known to end a case in another way than the specification has it: the case, the status,
 * why, and how we know. Nothing else may deviate. */
#include "tests/conformance/conformance.h"

static const struct {
    const char *kind, *name;
    enum ibv_wc_status status;
    const char *why;
} deviations[] = {
    {"rxe", "bad lkey", IBV_WC_LOC_QP_OP_ERR, "seen on 6.1; rxe_req.c, rxe_requester()"},
    {"rxe", "bad lkey", IBV_WC_WR_FLUSH_ERR, "seen on 6.12: all requests are flushed, this one too"},
    {"rxe", "long send, sender", IBV_WC_REM_OP_ERR,
     "seen on both; rxe_resp.c, RESPST_ERR_MALFORMED_WQE"},
    {"rxe", "long send, receiver", IBV_WC_LOC_QP_OP_ERR, "the same"},
    {"rxe", "last receive of an SRQ", NOTHING_COMES, "seen on 6.1; in rxe_resp.c of 6.12 it is there"},
};

bool is_known_deviation(const char *kind, const char *name, enum ibv_wc_status status) {
    for (size_t i = 0; i < sizeof(deviations) / sizeof(deviations[0]); i++) {
        if (strcmp(deviations[i].kind, kind) == 0 && strcmp(deviations[i].name, name) == 0 &&
            deviations[i].status == status) {
            return true;
        }
    }
    return false;
}
