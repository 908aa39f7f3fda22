#include "fuzz/fuzz.h"

#include <stdlib.h>

/* cmocka's assertions, in what the tests share, end the process: a fuzzer wants it to be a crash. */
int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    return setenv("CMOCKA_TEST_ABORT", "1", 1);
}
