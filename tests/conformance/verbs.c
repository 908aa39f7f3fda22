/* All of the conformance tests, once for each round of the place. */
#include "tests/conformance/conformance.h"

#define SKIPPED 77 /* what test runners take for "cannot run here" */

int main(void) {
    int failed = 0;
    for (int round = 0; round < place_rounds() && failed == 0; round++) {
        if (!place_begin(round)) {
            return SKIPPED;
        }
        failed += run_transfer_tests();
        failed += run_error_tests();
        failed += run_object_tests();
        if (failed == 0) {
            place_end();
        }
    }
    return failed != 0;
}
