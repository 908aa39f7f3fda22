/* The software HCA as the place: two RoCE devices; a round is a seed. */
#include "tests/conformance/conformance.h"

#include <stdlib.h>

#include "sim/hca/hca.h"

static struct ist_hca *hca;

int place_rounds(void) {
    return getenv("IST_TEST_SHORT") != NULL ? 1 : 10;
}

bool place_begin(int round) {
    struct ist_hca_config config;
    struct ist_hca_device_config device;
    ist_hca_config_init(&config, (uint64_t)round + 1);
    config.progress_in_calls = true;
    config.spurious_events = 0; /* one test says when there is no event */
    hca = ist_hca_new(&config);
    assert_non_null(hca);
    for (uint8_t i = 0; i < 2; i++) {
        ist_hca_device_config_roce(&device, i == 0 ? "hca0" : "hca1", i);
        assert_non_null(ist_hca_add_device(hca, &device));
    }
    place.kind = "hca";
    return true;
}

void place_end(void) {
    ist_hca_free(hca); /* nothing is left */
}

void place_names(const char *name[2]) {
    name[0] = "hca0";
    name[1] = "hca1";
}
