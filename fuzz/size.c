/* Sizes as people write them, beside a second reader of the same grammar:
 *
 *   digits [ "." digits ] [ ("B" | one of "KMGTPE" [ "B" | "iB" ]) ]      in upper or lower case
 *
 * The first byte chooses the unit, the rest is the text. */
#include <ctype.h>
#include <stdlib.h>

#include "base/size.h"
#include "fuzz/fuzz.h"

#define DIGITS_MAX 18u /* more of them are not compared: they may not fit */

/* -1: no such text; -2: too many digits to say. */
static __int128 read_size(const char *text, uint64_t unit) {
    size_t whole = strspn(text, "0123456789"), part = 0;
    const char *at = text + whole;
    if (whole == 0) {
        return -1;
    }
    if (*at == '.') {
        part = strspn(at + 1, "0123456789");
        at += 1 + part;
        if (part == 0) {
            return -1;
        }
    }
    if (*at != '\0') {
        const char *powers = "BKMGTPE", *power = strchr(powers, toupper((unsigned char)*at));
        if (power == NULL || *power == '\0') {
            return -1;
        }
        bool is_bytes = power == powers;
        at++;
        if (!is_bytes && strcasecmp(at, "b") != 0 && strcasecmp(at, "ib") != 0 && *at != '\0') {
            return -1;
        }
        if (is_bytes && *at != '\0') {
            return -1;
        }
        unit = 1ull << (10 * (power - powers));
    }
    if (whole + part > DIGITS_MAX) {
        return -2;
    }
    __int128 number = 0, scale = 1;
    for (size_t i = 0; i < whole; i++) {
        number = number * 10 + (text[i] - '0');
    }
    for (size_t i = 0; i < part; i++) {
        number = number * 10 + (text[whole + 1 + i] - '0');
        scale *= 10;
    }
    number *= unit;
    return number % scale != 0 || number / scale > UINT64_MAX ? -1 : number / scale;
}

/* What people are shown reads as nearly the same. */
static void check_text(uint64_t bytes) {
    char text[IST_SIZE_TEXT_MAX];
    IST_ASSERT(ist_size_text(bytes, text) == text && strlen(text) < sizeof(text));
    char *space = strchr(text, ' ');
    IST_ASSERT(space != NULL);
    double shown = strtod(text, NULL);
    const char *powers = "BKMGTPE", *power = strchr(powers, space[1]);
    IST_ASSERT(power != NULL && shown < 1024);
    double again = shown * (double)(1ull << (10 * (power - powers)));
    double difference = again > (double)bytes ? again - (double)bytes : (double)bytes - again;
    IST_ASSERT(difference <= (double)bytes * 0.051);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    struct fuzz_input input = fuzz_input_of(data, bytes);
    uint64_t unit = 1ull << (10 * (fuzz_u8(&input) % 5u)), size = 4711;
    char *text = malloc(input.bytes + 1);
    IST_ASSERT(text != NULL);
    memcpy(text, input.data, input.bytes);
    text[input.bytes] = '\0';
    enum ist_status status = ist_size_parse(text, unit, &size);
    __int128 expected = read_size(text, unit);
    IST_ASSERT(status == IST_OK || (status == IST_INVALID && size == 4711));
    IST_ASSERT(expected == -2 || (status == IST_OK) == (expected >= 0));
    IST_ASSERT(expected < 0 || size == (uint64_t)expected);
    check_text(size);
    free(text);
    return 0;
}

void fuzz_seeds(fuzz_seed_fn seed) {
    static const char *const texts[] = {"\00116",   "\003512M",    "\0004k",
                                        "\0031.5G", "\0012TiB",    "\00064kib",
                                        "\000100B", "\0010.5",     "\0000.0009765625K",
                                        "\00016E",  "\00315.999E", "\0001iB",
                                        "\0011.",   "\001.5",      "\00018446744073709551615"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        const char name[] = {(char)('a' + i), '\0'};
        seed(name, texts[i], 1 + strlen(texts[i] + 1));
    }
}
