/* Sizes as people write them. */
#ifndef IST_BASE_SIZE_H
#define IST_BASE_SIZE_H

#include <stddef.h>
#include <stdint.h>

#include "infinistore/status.h"

/* "16" means 16 * unit; "512M", "4K", "1.5G", "2T", "64KiB", "100B" mean what they say, powers of 1024, upper or
 * lower case, with or without "B" or "iB". No sign, no spaces. Returns OK, INVALID (not such a text, or the
 * result does not fit in 64 bits or is no whole number of bytes). */
enum ist_status ist_size_parse(const char *text, uint64_t unit, uint64_t *bytes);

#define IST_SIZE_TEXT_MAX 16
/* "4 KiB", "1.5 GiB", "17 B": for people. out has IST_SIZE_TEXT_MAX bytes. Returns out. */
char *ist_size_text(uint64_t bytes, char *out);

#endif
